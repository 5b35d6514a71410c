//! Pure: the scope of kinds, which decides the id of an object before anything else does.
//!
//! ```text
//! objects of a build, kinds that the server serves ─Scopes→ Desired without a namespace where the kind has none
//! ```
//! A build may write a namespace on an object of the cluster: `namespace:` of a kustomization and `targetNamespace` do
//! so on every custom kind, since kustomize does not know its scope. Flux asks the server for the scope and leaves the
//! namespace out of the id. With the namespace in the id, the same object has two ids, and the one that the inventory
//! holds looks like an object that left the build.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::apply::desired::Desired;
use crate::apply::object_ref::ObjectRef;

/// Whether the objects of a kind have a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Each object is in a namespace.
    Namespaced,
    /// The objects belong to the cluster.
    Cluster,
}

/// The group and kind of objects. All versions of a kind have the same scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKind {
    /// Empty for the core group.
    pub group: String,
    /// As a manifest writes it: `ConfigMap`.
    pub kind: String,
}

impl GroupKind {
    /// The kind of an object.
    pub fn of(object: &ObjectRef) -> Self {
        Self {
            group: object.group.clone(),
            kind: object.kind.clone(),
        }
    }
}

/// The scopes of the kinds of one build and its inventory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes {
    known: BTreeMap<GroupKind, Scope>,
    /// Kinds of which the server did not tell whether it serves them.
    unanswered: BTreeSet<GroupKind>,
}

impl Scopes {
    /// The scopes that the definitions of a build give to their kinds. The server knows these kinds only after the
    /// definitions were applied.
    pub fn of_definitions<'d>(objects: impl IntoIterator<Item = &'d Desired>) -> Self {
        let scopes = objects.into_iter().filter_map(|desired| {
            let reference = &desired.reference;
            let is_definition = reference.kind == "CustomResourceDefinition"
                && reference.group == "apiextensions.k8s.io";
            is_definition.then(|| defined(&desired.manifest["spec"]))?
        });
        Self {
            known: scopes.collect(),
            unanswered: BTreeSet::new(),
        }
    }

    /// Notes the scope that the server tells. It counts more than the definition of a build, since the scope of a served
    /// kind cannot change.
    pub fn learn(&mut self, kind: GroupKind, scope: Scope) {
        self.known.insert(kind, scope);
    }

    /// Notes that the server did not tell whether it serves a kind. A kind that it does not serve has no objects, and
    /// is not noted here.
    pub fn fail(&mut self, kind: GroupKind) {
        self.unanswered.insert(kind);
    }

    /// The scope of a kind, if it is known.
    pub fn of(&self, object: &ObjectRef) -> Option<Scope> {
        self.known.get(&GroupKind::of(object)).copied()
    }

    /// Gives an object its place: an object of the cluster has no namespace, neither in its id nor in its manifest.
    pub fn place(&self, desired: &mut Desired) {
        if self.of(&desired.reference) != Some(Scope::Cluster) {
            return;
        }
        desired.reference.namespace.clear();
        if let Some(metadata) = desired.manifest["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
    }

    /// The objects of an inventory with the ids that Flux gives them, each once.
    pub fn placed(&self, inventory: Vec<ObjectRef>) -> Vec<ObjectRef> {
        let mut seen = BTreeSet::new();
        let placed = inventory.into_iter().map(|mut object| {
            if self.of(&object) == Some(Scope::Cluster) {
                object.namespace.clear();
            }
            object
        });
        placed.filter(|object| seen.insert(object.id())).collect()
    }

    /// The kinds of which nothing may be deleted: those that the build renders while their scope is not known, and those
    /// that the server did not answer for.
    pub fn unknown<'o>(
        &self,
        rendered: impl IntoIterator<Item = &'o ObjectRef>,
    ) -> BTreeSet<GroupKind> {
        let rendered = rendered.into_iter();
        let unknown = rendered.filter(|object| self.of(object).is_none());
        let unanswered = self.unanswered.iter();
        let unanswered = unanswered.filter(|kind| !self.known.contains_key(kind));
        unknown
            .map(GroupKind::of)
            .chain(unanswered.cloned())
            .collect()
    }
}

/// The kind that a definition defines, and its scope.
fn defined(spec: &Value) -> Option<(GroupKind, Scope)> {
    let kind = GroupKind {
        group: spec["group"].as_str()?.to_owned(),
        kind: spec["names"]["kind"].as_str()?.to_owned(),
    };
    let scope = match spec["scope"].as_str()? {
        "Cluster" => Scope::Cluster,
        "Namespaced" => Scope::Namespaced,
        _ => return None,
    };
    Some((kind, scope))
}

/// Rendered objects that may be the same as an object that is about to be deleted, under another namespace or group.
///
/// An object never changes its name or kind. The caller compares the uids, and deletes nothing that a build renders.
pub fn namesakes<'r>(
    object: &ObjectRef,
    rendered: &'r [ObjectRef],
) -> impl Iterator<Item = &'r ObjectRef> {
    let (kind, name, id) = (object.kind.clone(), object.name.clone(), object.id());
    rendered
        .iter()
        .filter(move |other| other.kind == kind && other.name == name && other.id() != id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn desired(api_version: &str, kind: &str, namespace: &str, name: &str) -> Desired {
        Desired {
            reference: ObjectRef::new(api_version, kind, namespace, name),
            manifest: json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}),
            source: None,
            hash: [0; 32],
        }
    }

    fn pool() -> Desired {
        desired("karpenter.sh/v1", "NodePool", "karpenter", "pool-a")
    }

    fn definition(scope: &str) -> Desired {
        let mut definition = desired(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "",
            "nodepools.karpenter.sh",
        );
        definition.manifest["spec"] =
            json!({"group": "karpenter.sh", "scope": scope, "names": {"kind": "NodePool"}});
        definition
    }

    /// Asserts the id of a `NodePool` that a build puts into a namespace, and the namespace of its manifest.
    fn check(scopes: &Scopes, id: &str, namespace: &Value) {
        let mut placed = pool();
        scopes.place(&mut placed);
        assert_eq!(placed.reference.id(), id);
        assert_eq!(placed.manifest["metadata"]["namespace"], *namespace);
        let inventory = scopes.placed(vec![pool().reference]);
        assert_eq!(inventory[0].id(), id);
    }

    #[test]
    fn an_object_of_the_cluster_has_the_id_that_flux_gives_it() {
        let mut scopes = Scopes::default();
        check(
            &scopes,
            "karpenter_pool-a_karpenter.sh_NodePool",
            &json!("karpenter"),
        );
        scopes.learn(GroupKind::of(&pool().reference), Scope::Cluster);
        check(&scopes, "_pool-a_karpenter.sh_NodePool", &json!(null));
        scopes.learn(GroupKind::of(&pool().reference), Scope::Namespaced);
        check(
            &scopes,
            "karpenter_pool-a_karpenter.sh_NodePool",
            &json!("karpenter"),
        );
    }

    #[test]
    fn a_definition_of_the_same_build_tells_the_scope() {
        let of = |objects: &[Desired]| Scopes::of_definitions(objects);
        let cluster = of(&[definition("Cluster"), pool()]);
        check(&cluster, "_pool-a_karpenter.sh_NodePool", &json!(null));
        assert_eq!(cluster.of(&pool().reference), Some(Scope::Cluster));
        let namespaced = of(&[definition("Namespaced")]);
        assert_eq!(namespaced.of(&pool().reference), Some(Scope::Namespaced));
        assert_eq!(of(&[definition("Other")]), Scopes::default());
        assert_eq!(of(&[pool()]), Scopes::default());
        let unknown = of(&[]).unknown([&pool().reference, &definition("").reference]);
        assert_eq!(unknown.len(), 2);
        assert!(cluster.unknown([&pool().reference]).is_empty());
    }

    #[test]
    fn of_a_kind_that_the_server_did_not_answer_for_nothing_is_known() {
        let kind = GroupKind::of(&pool().reference);
        let mut scopes = Scopes::default();
        scopes.fail(kind.clone());
        assert_eq!(scopes.unknown([]), [kind.clone()].into());
        scopes.learn(kind, Scope::Cluster);
        assert!(scopes.unknown([]).is_empty());
    }

    #[test]
    fn an_inventory_names_an_object_once_that_it_held_under_two_ids() {
        let mut scopes = Scopes::default();
        scopes.learn(GroupKind::of(&pool().reference), Scope::Cluster);
        let flux = ObjectRef::new("karpenter.sh/v1", "NodePool", "", "pool-a");
        let placed = scopes.placed(vec![flux.clone(), pool().reference]);
        assert_eq!(placed, [flux]);
    }

    #[test]
    fn namesakes_have_another_id_and_the_same_kind_and_name() {
        let rendered = [
            pool().reference,
            ObjectRef::new("karpenter.sh/v1", "NodePool", "", "pool-b"),
            ObjectRef::new("karpenter.k8s.aws/v1", "NodePool", "", "pool-a"),
            ObjectRef::new("v1", "ConfigMap", "", "pool-a"),
            ObjectRef::new("karpenter.sh/v1beta1", "NodePool", "", "pool-a"),
        ];
        let object = ObjectRef::new("karpenter.sh/v1", "NodePool", "", "pool-a");
        let found: Vec<String> = namesakes(&object, &rendered).map(ObjectRef::id).collect();
        assert_eq!(
            found,
            [
                "karpenter_pool-a_karpenter.sh_NodePool",
                "_pool-a_karpenter.k8s.aws_NodePool"
            ]
        );
    }
}

//! Pure: what the inventories of Kustomizations and the owners of fields mean.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use crate::apply::object_ref::ObjectRef;
use crate::apply::scope::Scopes;

/// The ids of an inventory that overlayd writes otherwise, each with its new form. Flux writes the same form, so that
/// there are none after Flux.
pub fn changed_ids(inventory: &[ObjectRef], scopes: &Scopes) -> Vec<(String, String)> {
    let changed = inventory.iter().filter_map(|object| {
        let placed = scopes.placed(vec![object.clone()]);
        let (before, after) = (object.id(), placed.first()?.id());
        (before != after).then_some((before, after))
    });
    changed.collect()
}

/// How many objects each field manager owns fields of, besides the status.
pub fn field_managers<'o>(
    objects: impl IntoIterator<Item = &'o [ManagedFieldsEntry]>,
) -> BTreeMap<String, usize> {
    let mut managers = BTreeMap::new();
    for fields in objects {
        let mut of_object: Vec<&str> = fields
            .iter()
            .filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty())
            .filter_map(|entry| entry.manager.as_deref())
            .collect();
        of_object.sort_unstable();
        of_object.dedup();
        for manager in of_object {
            *managers.entry(manager.to_owned()).or_default() += 1;
        }
    }
    managers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apply::scope::{GroupKind, Scope};

    #[test]
    fn ids_change_only_where_a_kind_of_the_cluster_has_a_namespace() {
        let pool = ObjectRef::new("karpenter.sh/v1", "NodePool", "karpenter", "a");
        let map = ObjectRef::new("v1", "ConfigMap", "n", "a");
        let mut scopes = Scopes::default();
        scopes.learn(GroupKind::of(&pool), Scope::Cluster);
        scopes.learn(GroupKind::of(&map), Scope::Namespaced);
        let changed = changed_ids(&[pool, map], &scopes);
        let expected = (
            "karpenter_a_karpenter.sh_NodePool",
            "_a_karpenter.sh_NodePool",
        );
        assert_eq!(changed, [(expected.0.to_owned(), expected.1.to_owned())]);
    }

    #[test]
    fn managers_are_counted_once_for_each_object() {
        let fields = |managers: &[&str]| -> Vec<ManagedFieldsEntry> {
            let entries = managers.iter().map(|manager| json!({"manager": manager}));
            serde_json::from_value(entries.collect()).unwrap()
        };
        let (a, b) = (
            fields(&["kustomize-controller", "helm", "helm"]),
            fields(&["helm"]),
        );
        let counted = field_managers([a.as_slice(), b.as_slice()]);
        let counted: Vec<(&str, usize)> = counted
            .iter()
            .map(|(manager, count)| (manager.as_str(), *count))
            .collect();
        assert_eq!(counted, [("helm", 2), ("kustomize-controller", 1)]);
    }
}

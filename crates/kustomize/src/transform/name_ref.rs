//! Pure: after objects were renamed, the fields of others that hold their names follow.

use std::collections::{BTreeMap, BTreeSet};

use goyaml::{Node, NodeKind, Text};

use crate::budget::{Budget, as_u64};
use crate::error::{BuildError, Problem};
use crate::gvk::Gvk;
use crate::resource::{Key, NON_NAMESPACEABLE, ResId, ResMap, Resource, effective_namespace};
use crate::schema::{FieldSpec, FieldTables, is_cluster_scoped};
use crate::walk::{Missing, leads_somewhere, walk_mut};

/// Mends every reference in the set.
pub(crate) fn transform(
    resources: &mut ResMap,
    tables: &FieldTables,
    budget: &Budget,
) -> Result<(), BuildError> {
    let rows = RowsByReferrer::of(tables);
    resources.ensure_index();
    let origins = Origins::of(resources);
    for position in 0..resources.len() {
        let resource = resources.get(position);
        let original = resource.original_id();
        let rows = rows.matching(&original.gvk);
        budget.charge_steps(1 + rows.len())?;
        let before = budget.bytes();
        let Some(mended) = mend(resources, &origins, resource, &rows, budget)? else {
            continue;
        };
        resources.change_at(position, |resource| {
            resource.weight = (resource.weight + budget.bytes()).saturating_sub(before);
            resource.change(|node| *node = mended);
        });
    }
    Ok(())
}

/// The tree of one object with its references mended; nothing if none had to be.
fn mend(
    resources: &ResMap,
    origins: &Origins,
    resource: &Resource,
    rows: &[(&Gvk, &FieldSpec)],
    budget: &Budget,
) -> Result<Option<Node>, BuildError> {
    let mut referrer = None;
    let mut node = resource.node().clone();
    let mut changed = false;
    for (target, row) in rows {
        // Most fields are not there: nothing is made for them.
        if !leads_somewhere(&node, &row.path) {
            continue;
        }
        let referrer = match &referrer {
            Some(referrer) => referrer,
            None => referrer.insert(Referrer::of(resource)?),
        };
        let search = Search {
            resources,
            origins,
            referrer,
            target,
            budget,
            of_role: row.path.ends_with(&["roleRef", "name"]),
        };
        let mut visit = |field: &mut Node| {
            changed |= search.field(field)?;
            Ok(())
        };
        walk_mut(&mut node, &row.path, Missing::Skip, &mut visit)
            .map_err(|problem| resource.about(problem))?;
    }
    Ok(changed.then_some(node))
}

/// The rows of all targets, found by the kind of the object that refers.
struct RowsByReferrer<'t> {
    /// The target and the row, by the kind of the referrer; an empty kind is for any.
    rows: BTreeMap<&'t str, Vec<(&'t Gvk, &'t FieldSpec)>>,
}

impl<'t> RowsByReferrer<'t> {
    /// Turns the tables around: they are written by target.
    fn of(tables: &'t FieldTables) -> Self {
        let mut rows: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for reference in &tables.name_references {
            for row in &reference.referrers {
                rows.entry(&row.gvk.kind)
                    .or_default()
                    .push((&reference.target, row));
            }
        }
        Self { rows }
    }

    /// The rows for a kind: its own first, then those for any.
    fn matching(&self, gvk: &Gvk) -> Vec<(&'t Gvk, &'t FieldSpec)> {
        let for_kind = |kind: &str| self.rows.get(kind).map_or(&[][..], Vec::as_slice);
        let any_kind = if gvk.kind.is_empty() {
            &[][..]
        } else {
            for_kind("")
        };
        for_kind(&gvk.kind)
            .iter()
            .chain(any_kind)
            .copied()
            .filter(|(_, row)| row.gvk.selects(gvk))
            .collect()
    }
}

/// The object that refers.
struct Referrer<'r> {
    /// The object itself.
    resource: &'r Resource,
    /// Its effective namespace.
    namespace: &'r Text,
    /// Its kind has no namespace, so it may refer to any.
    cluster_scoped: bool,
    /// The group and kind that a `roleRef` asks for.
    role: (&'r str, &'r str),
    /// The namespaces that the subjects of a role binding name.
    subject_namespaces: BTreeSet<&'r str>,
}

impl<'r> Referrer<'r> {
    /// Reads what the rules of role bindings need.
    fn of(resource: &'r Resource) -> Result<Self, BuildError> {
        let text = |path: &[&str]| {
            resource
                .node()
                .at(path)
                .and_then(Node::as_text)
                .unwrap_or_default()
        };
        Ok(Self {
            resource,
            namespace: effective_namespace(resource.id()),
            cluster_scoped: is_cluster_scoped(&resource.id().gvk),
            role: (text(&["roleRef", "apiGroup"]), text(&["roleRef", "kind"])),
            subject_namespaces: subject_namespaces(resource)?,
        })
    }
}

/// The namespaces of a role binding's service accounts, each of which must be named if the field is there.
fn subject_namespaces(resource: &Resource) -> Result<BTreeSet<&str>, BuildError> {
    let mut namespaces = BTreeSet::new();
    if &*resource.id().gvk.kind != "RoleBinding" {
        return Ok(namespaces);
    }
    let subjects = resource.node().get("subjects").and_then(Node::as_sequence);
    for subject in subjects.into_iter().flatten() {
        let is_account = subject.get("kind").and_then(Node::as_text) == Some("ServiceAccount");
        let Some(namespace) = subject.get("namespace").filter(|_| is_account) else {
            continue;
        };
        let Some(namespace) = namespace.as_str() else {
            let message = format!(
                "namespace is blank for resource `{}`",
                resource.id().show_long()
            );
            let hint = "give each subject of kind ServiceAccount a namespace, or none the field";
            return Err(resource.about(BuildError::from(Problem::Malformed(message)).hint(hint)));
        };
        namespaces.insert(namespace);
    }
    Ok(namespaces)
}

/// The search for what one row of one object refers to.
struct Search<'s> {
    /// All objects of the build.
    resources: &'s ResMap,
    /// Which former names belong to which objects.
    origins: &'s Origins,
    /// The object that refers.
    referrer: &'s Referrer<'s>,
    /// The kind that the row refers to.
    target: &'s Gvk,
    /// What the build may still use.
    budget: &'s Budget,
    /// The field is the name of a role, whose group and kind stand beside it.
    of_role: bool,
}

impl Search<'_> {
    /// Mends one field; true if it changed.
    fn field(&self, field: &mut Node) -> Result<bool, Problem> {
        match &mut field.kind {
            NodeKind::Scalar(scalar) => {
                let name = scalar.text.clone();
                if name.is_empty() {
                    return Ok(false);
                }
                let Some(found) = self.find(&name, None)? else {
                    return Ok(false);
                };
                let new = found.id().name.clone();
                let changed = new != name;
                if changed {
                    self.budget.resize(as_u64(name.len()), as_u64(new.len()))?;
                    let line = field.line;
                    *field = Node::string(new);
                    field.line = line;
                }
                Ok(changed)
            }
            NodeKind::Sequence(list) => {
                let mut changed = false;
                for element in list.iter_mut() {
                    changed |= self.field(element)?;
                }
                Ok(changed)
            }
            NodeKind::Mapping(_) => self.map(field),
        }
    }

    /// Mends a reference that is a map with a name and perhaps a namespace, as subjects of role bindings are.
    fn map(&self, field: &mut Node) -> Result<bool, Problem> {
        let text = |name: &str| {
            field
                .get(name)
                .and_then(Node::as_scalar)
                .map(|scalar| scalar.text.clone())
        };
        let Some(name) = text("name") else {
            return Err(Problem::Transform(
                "path config error; no 'name' field in node".to_owned(),
            ));
        };
        let namespace = text("namespace");
        let Some(found) = self.find(&name, namespace.as_deref())? else {
            return Ok(false);
        };
        let (new_name, new_namespace) = (found.id().name.clone(), found.id().namespace.clone());
        let same_namespace = new_namespace.is_empty() || namespace.as_ref() == Some(&new_namespace);
        if new_name == name && same_namespace {
            return Ok(false);
        }
        self.budget
            .charge_bytes(new_name.len() + new_namespace.len())?;
        if let Some(map) = field.as_mapping_mut() {
            map.insert("name", Node::string(new_name));
            if !new_namespace.is_empty() {
                map.insert("namespace", Node::string(new_namespace));
            }
        }
        Ok(true)
    }

    /// The positions of what may be meant: in the namespaces that count, or anywhere for a cluster-scoped referrer.
    fn positions(&self, name: &str) -> Vec<usize> {
        let mut positions: Vec<u32> = if self.referrer.cluster_scoped {
            self.resources.found(Key::Name(name)).to_vec()
        } else {
            let own = [&**self.referrer.namespace, NON_NAMESPACEABLE];
            let namespaces = own
                .iter()
                .chain(&self.referrer.subject_namespaces)
                .collect::<BTreeSet<_>>();
            namespaces
                .into_iter()
                .flat_map(|namespace| self.resources.found(Key::NameIn(name, namespace)))
                .copied()
                .collect()
        };
        positions.sort_unstable();
        positions.dedup();
        positions.into_iter().map(|at| at as usize).collect()
    }

    /// The one resource that the name means, if any.
    fn find(&self, name: &str, namespace: Option<&str>) -> Result<Option<&Resource>, Problem> {
        let positions = self.positions(name);
        self.budget.charge_steps(1 + 8 * positions.len())?;
        let candidates: Vec<&Resource> = positions
            .into_iter()
            .map(|position| self.resources.get(position))
            .filter(|candidate| {
                // One that was never renamed needs no change.
                candidate
                    .previous
                    .iter()
                    .any(|previous| *previous.name == *name)
            })
            .filter(|candidate| namespace.is_none_or(|wanted| self.is_in(candidate, wanted)))
            .filter(|candidate| self.can_be_meant(candidate))
            .filter(|candidate| {
                candidate
                    .previous_ids()
                    .any(|id| self.target.selects(&id.gvk))
            })
            .filter(|candidate| self.role_fits(candidate))
            .filter(|candidate| self.same_namespace(candidate))
            .collect();
        self.choose(&candidates, name, namespace.is_some())
    }

    /// kustomize looks for the namespace among the original ones, and among those of today only if nothing that
    /// can be meant comes from it (nameref.go).
    fn is_in(&self, candidate: &Resource, wanted: &str) -> bool {
        let originals = self.origins.0.get(wanted);
        let is_original = originals
            .into_iter()
            .flatten()
            .any(|namespace| self.namespace_can_be_meant(namespace));
        if is_original {
            **effective_namespace(&candidate.original_id()) == *wanted
        } else {
            **effective_namespace(candidate.id()) == *wanted
        }
    }

    /// True if the referrer can see the namespace of an object.
    fn can_be_meant(&self, candidate: &Resource) -> bool {
        self.namespace_can_be_meant(effective_namespace(candidate.id()))
    }

    /// True for the referrer's own namespace, for those of its subjects, and for objects of the cluster.
    fn namespace_can_be_meant(&self, namespace: &Text) -> bool {
        self.referrer.cluster_scoped
            || &**namespace == NON_NAMESPACEABLE
            || namespace == self.referrer.namespace
            || self.referrer.subject_namespaces.contains(&**namespace)
    }

    /// True unless the field is a role of another group or kind, today and before.
    fn role_fits(&self, candidate: &Resource) -> bool {
        let (group, kind) = self.referrer.role;
        !self.of_role
            || candidate
                .previous_ids()
                .any(|id| *id.gvk.group == *group && *id.gvk.kind == *kind)
    }

    /// True if both are in one namespace, as far as the kinds have any. Service accounts are referred to across namespaces.
    fn same_namespace(&self, candidate: &Resource) -> bool {
        self.referrer.cluster_scoped
            || is_cluster_scoped(&candidate.id().gvk)
            || &*candidate.id().gvk.kind == "ServiceAccount"
            || effective_namespace(candidate.id()) == self.referrer.namespace
    }

    // kustomize asks for fitting prefixes and suffixes only when more than one is left (nameref.go).
    /// The object that is meant, of those that have the name; `None` if it cannot be told.
    fn choose<'c>(
        &self,
        candidates: &[&'c Resource],
        name: &str,
        is_map: bool,
    ) -> Result<Option<&'c Resource>, Problem> {
        if candidates.len() <= 1 {
            return Ok(candidates.first().copied());
        }
        let referrer = self.referrer.resource;
        // One list is the ending of the other, or, at first, either is empty.
        let fits = |mine: &[Text], theirs: &[Text], empty_fits: bool| {
            if mine.is_empty() || theirs.is_empty() {
                return empty_fits || (mine.is_empty() && theirs.is_empty());
            }
            mine.ends_with(theirs) || theirs.ends_with(mine)
        };
        let fitting = |empty_fits: bool, from: &[&'c Resource]| -> Vec<&'c Resource> {
            let all = from.iter().filter(|candidate| {
                fits(&referrer.prefixes, &candidate.prefixes, empty_fits)
                    && fits(&referrer.suffixes, &candidate.suffixes, empty_fits)
            });
            all.copied().collect()
        };
        let mut left = fitting(true, candidates);
        if left.len() > 1 {
            left = fitting(false, &left);
        }
        let Some(&first) = left.first() else {
            return Ok(None);
        };
        let alike = |id: &ResId| {
            id.name == first.id().name && (!is_map || id.namespace == first.id().namespace)
        };
        if left.iter().all(|candidate| alike(candidate.id())) {
            return Ok(Some(first));
        }
        let ids: Vec<String> = left
            .iter()
            .map(|candidate| candidate.id().show_long())
            .collect();
        Err(Problem::Identity(format!(
            "found multiple possible referrals for name `{name}`: {}",
            ids.join(", ")
        )))
    }
}

/// Which namespaces of today the objects of each original namespace are in.
struct Origins(BTreeMap<Text, BTreeSet<Text>>);

impl Origins {
    fn of(resources: &ResMap) -> Self {
        let mut origins: BTreeMap<Text, BTreeSet<Text>> = BTreeMap::new();
        for resource in resources.iter() {
            let original = resource.original_id();
            origins
                .entry(effective_namespace(&original).clone())
                .or_default()
                .insert(effective_namespace(resource.id()).clone());
        }
        Self(origins)
    }
}

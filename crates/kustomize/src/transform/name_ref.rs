//! Pure: after objects were renamed, the fields of others that hold their names follow.

use std::collections::BTreeSet;

use goyaml::{Node, NodeKind, Text};

use crate::error::{BuildError, Problem};
use crate::resource::{
    Gvk, NON_NAMESPACEABLE, NameIndex, ResId, ResMap, Resource, effective_namespace,
    split_api_version,
};
use crate::schema::{FieldSpec, FieldTables, is_cluster_scoped};
use crate::walk::{Missing, walk_mut};

/// Mends every reference in the set.
pub(crate) fn transform(resources: &mut ResMap, tables: &FieldTables) -> Result<(), BuildError> {
    let index = NameIndex::of(resources);
    let renamed = Renamed::of(resources);
    let rows = RowsByReferrer::of(tables);
    for position in 0..resources.len() {
        let original = resources.get(position).original_id();
        for (target, row) in rows.matching(&original.gvk) {
            let referrer = Referrer::of(resources.get(position), target, row);
            let mut node = resources.get(position).node().clone();
            let search = Search {
                resources,
                index: &index,
                renamed: &renamed,
                referrer: &referrer,
            };
            let mut changed = false;
            let mut visit = |field: &mut Node| {
                changed |= search.field(field)?;
                Ok(())
            };
            walk_mut(&mut node, &row.path, Missing::Skip, &mut visit)
                .map_err(|problem| super::about(problem, resources.get(position)))?;
            if changed {
                resources.get_mut(position).change(|old| *old = node);
            }
        }
    }
    Ok(())
}

/// The rows of all targets, found by the kind of the object that refers.
struct RowsByReferrer<'t> {
    rows: std::collections::BTreeMap<&'t str, Vec<(&'t Gvk, &'t FieldSpec)>>,
}

impl<'t> RowsByReferrer<'t> {
    fn of(tables: &'t FieldTables) -> Self {
        let mut rows: std::collections::BTreeMap<&str, Vec<_>> = std::collections::BTreeMap::new();
        for reference in &tables.name_references {
            for row in &reference.referrers {
                rows.entry(&row.gvk.kind)
                    .or_default()
                    .push((&reference.target, row));
            }
        }
        Self { rows }
    }

    fn matching<'r>(&'r self, gvk: &'r Gvk) -> impl Iterator<Item = (&'t Gvk, &'t FieldSpec)> + 'r {
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
            .filter(move |(_, row)| row.gvk.selects(gvk))
    }
}

/// Which resources were ever renamed: others cannot be meant by a reference that must change.
struct Renamed(BTreeSet<usize>);

impl Renamed {
    fn of(resources: &ResMap) -> Self {
        let renamed = resources
            .iter()
            .enumerate()
            .filter(|(_, resource)| !resource.previous.is_empty());
        Self(renamed.map(|(position, _)| position).collect())
    }
}

/// The object that refers, and how.
struct Referrer<'r> {
    resource: &'r Resource,
    namespace: Text,
    cluster_scoped: bool,
    target: &'r Gvk,
    /// The group and kind that a `roleRef` asks for.
    role: Option<(String, String)>,
    /// The namespaces that the subjects of a role binding name.
    subject_namespaces: BTreeSet<String>,
}

impl<'r> Referrer<'r> {
    fn of(resource: &'r Resource, target: &'r Gvk, row: &FieldSpec) -> Self {
        let node = resource.node();
        let text = |path: &[&str]| {
            node.at(path)
                .and_then(Node::as_text)
                .unwrap_or_default()
                .to_owned()
        };
        let path = row.path.show();
        let role = path.ends_with("roleRef/name").then(|| {
            let group = text(&["roleRef", "apiGroup"]);
            (
                split_api_version(&group).0.to_owned().max(group),
                text(&["roleRef", "kind"]),
            )
        });
        let subjects = (&*resource.id().gvk.kind == "RoleBinding")
            .then(|| node.get("subjects").and_then(Node::as_sequence))
            .flatten();
        let service_accounts = subjects.into_iter().flatten().filter(|subject| {
            subject.get("kind").and_then(Node::as_text) == Some("ServiceAccount")
        });
        let namespaces =
            service_accounts.filter_map(|subject| subject.get("namespace").and_then(Node::as_text));
        Self {
            resource,
            namespace: effective_namespace(resource.id()),
            cluster_scoped: is_cluster_scoped(&resource.id().gvk),
            target,
            role,
            subject_namespaces: namespaces.map(str::to_owned).collect(),
        }
    }
}

struct Search<'s> {
    resources: &'s ResMap,
    index: &'s NameIndex,
    renamed: &'s Renamed,
    referrer: &'s Referrer<'s>,
}

impl Search<'_> {
    /// Mends one field; true if it changed.
    fn field(&self, field: &mut Node) -> Result<bool, Problem> {
        match &mut field.kind {
            NodeKind::Scalar(scalar) => {
                let name = scalar.text.clone();
                if name.is_empty() || self.index.named(&name).is_empty() {
                    return Ok(false);
                }
                let Some(found) = self.find(&name, None)? else {
                    return Ok(false);
                };
                let new = found.id().name.clone();
                let changed = new != name;
                if changed {
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
        if let Some(map) = field.as_mapping_mut() {
            map.insert("name", Node::string(new_name));
            if !new_namespace.is_empty() {
                map.insert("namespace", Node::string(new_namespace));
            }
        }
        Ok(true)
    }

    /// The one resource that the name means, if any.
    fn find(&self, name: &str, namespace: Option<&str>) -> Result<Option<&Resource>, Problem> {
        let named = self
            .index
            .named(name)
            .iter()
            .filter(|position| self.renamed.0.contains(position));
        let candidates: Vec<&Resource> = named
            .map(|&position| self.resources.get(position))
            .filter(|candidate| {
                candidate
                    .previous
                    .iter()
                    .any(|previous| *previous.name == *name)
            })
            .filter(|candidate| namespace.is_none_or(|wanted| is_in_namespace(candidate, wanted)))
            .filter(|candidate| self.can_be_meant(candidate))
            .filter(|candidate| {
                candidate
                    .previous_ids()
                    .any(|id| self.referrer.target.selects(&id.gvk))
            })
            .filter(|candidate| self.role_fits(candidate))
            .filter(|candidate| self.same_namespace(candidate))
            .collect();
        self.choose(&candidates, name, namespace.is_some())
    }

    fn can_be_meant(&self, candidate: &Resource) -> bool {
        let namespace = effective_namespace(candidate.id());
        self.referrer.cluster_scoped
            || &*namespace == NON_NAMESPACEABLE
            || namespace == self.referrer.namespace
            || self.referrer.subject_namespaces.contains(&*namespace)
    }

    fn role_fits(&self, candidate: &Resource) -> bool {
        let Some((group, kind)) = &self.referrer.role else {
            return true;
        };
        candidate
            .previous_ids()
            .any(|id| *id.gvk.group == **group && *id.gvk.kind == **kind)
    }

    fn same_namespace(&self, candidate: &Resource) -> bool {
        self.referrer.cluster_scoped
            || is_cluster_scoped(&candidate.id().gvk)
            || &*candidate.id().gvk.kind == "ServiceAccount"
            || effective_namespace(candidate.id()) == self.referrer.namespace
    }

    // kustomize asks for fitting prefixes and suffixes only when more than one is left (nameref.go).
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

/// The original namespace, or today's if there is none, compared as effective ones are.
fn is_in_namespace(candidate: &Resource, wanted: &str) -> bool {
    let wanted = if wanted.is_empty() { "default" } else { wanted };
    let original = candidate.original_id();
    *effective_namespace(&original) == *wanted || *effective_namespace(candidate.id()) == *wanted
}

//! Pure: the merge schema: which lists of which kinds merge by which keys, and which kinds have no namespace.
//!
//! The data is flat (kind → path of a list → merge keys); a [`Position`] is a kind and a path in it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;

use crate::gvk::{Gvk, split_api_version};

/// How a list merges: by these keys of its elements, or, without keys, as a set of scalars.
pub(crate) type ListMerge = Vec<String>;

/// Scopes and merge keys by kind.
#[derive(Debug, Default)]
pub(crate) struct MergeSchema {
    /// `apiVersion Kind` → its lists. A kind with a schema but no merging list has an empty map.
    kinds: BTreeMap<String, Arc<BTreeMap<String, ListMerge>>>,
    /// Kind → the groups and versions of that kind whose scope is known, and whether it is the cluster.
    scopes: BTreeMap<String, Vec<(String, String, Scope)>>,
}

/// Where the objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// In the cluster.
    Cluster,
    /// In namespaces.
    Namespaced,
}

/// Where the definitions stand that other schemas refer to most.
const DEFINITIONS: [(&str, &str, &str); 12] = [
    (
        "apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "v1 Pod",
        "metadata",
    ),
    ("api.core.v1.Container", "v1 Pod", "spec.containers[]"),
    (
        "api.core.v1.EphemeralContainer",
        "v1 Pod",
        "spec.ephemeralContainers[]",
    ),
    ("api.core.v1.PodSpec", "v1 Pod", "spec"),
    ("api.core.v1.PodTemplateSpec", "v1 PodTemplate", "template"),
    ("api.core.v1.ServiceSpec", "v1 Service", "spec"),
    ("api.core.v1.Volume", "v1 Pod", "spec.volumes[]"),
    ("api.apps.v1.DaemonSetSpec", "apps/v1 DaemonSet", "spec"),
    ("api.apps.v1.DeploymentSpec", "apps/v1 Deployment", "spec"),
    ("api.apps.v1.StatefulSetSpec", "apps/v1 StatefulSet", "spec"),
    ("api.batch.v1.JobSpec", "batch/v1 Job", "spec"),
    (
        "api.batch.v1.JobTemplateSpec",
        "batch/v1 CronJob",
        "spec.jobTemplate",
    ),
];

/// A place in the schema of a kind.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    lists: Arc<BTreeMap<String, ListMerge>>,
    path: String,
}

/// The embedded file.
#[derive(Deserialize)]
struct Data {
    /// All kinds.
    kinds: Vec<Kind>,
    /// Merge keys of lists by their paths, shared by kinds that have the same.
    sets: BTreeMap<String, BTreeMap<String, ListMerge>>,
}

/// One kind of the embedded file.
#[derive(Deserialize)]
struct Kind {
    /// `version Kind` or `group/version Kind`.
    k: String,
    #[serde(default)]
    lists: Option<String>,
    #[serde(default)]
    schema: bool,
    #[serde(default)]
    scope: Option<String>,
}

impl MergeSchema {
    /// The schema of Kubernetes v1.21, which kustomize embeds.
    pub(crate) fn builtin() -> &'static Self {
        static SCHEMA: OnceLock<MergeSchema> = OnceLock::new();
        SCHEMA.get_or_init(|| {
            let data = include_str!("merge_schema.json");
            Self::from_data(
                serde_json::from_str(data).expect("the embedded schema is valid; a test reads it"),
            )
        })
    }

    /// Indexes the embedded file.
    fn from_data(data: Data) -> Self {
        let sets: BTreeMap<String, Arc<_>> = data
            .sets
            .into_iter()
            .map(|(name, set)| (name, Arc::new(set)))
            .collect();
        let mut schema = Self::default();
        for kind in data.kinds {
            if let Some((api_version, name)) = kind.k.split_once(' ')
                && let Some(scope) = &kind.scope
            {
                let (group, version) = split_api_version(api_version);
                let scope = match scope.as_str() {
                    "Cluster" => Scope::Cluster,
                    _ => Scope::Namespaced,
                };
                let of_kind = schema.scopes.entry(name.to_owned()).or_default();
                of_kind.push((group.to_owned(), version.to_owned(), scope));
            }
            if kind.schema {
                let set = kind
                    .lists
                    .and_then(|name| sets.get(&name).cloned())
                    .unwrap_or_default();
                schema.kinds.insert(kind.k, set);
            }
        }
        schema
    }

    /// A schema made of lists by kind, in place of the built-in one.
    pub(crate) fn of(kinds: BTreeMap<String, BTreeMap<String, ListMerge>>) -> Self {
        let kinds = kinds
            .into_iter()
            .map(|(kind, lists)| (kind, Arc::new(lists)))
            .collect();
        Self {
            kinds,
            ..Self::default()
        }
    }

    /// Adds the kinds of another schema that are not there.
    pub(crate) fn add(&mut self, other: &Self) {
        for (kind, lists) in &other.kinds {
            self.kinds
                .entry(kind.clone())
                .or_insert_with(|| lists.clone());
        }
    }

    /// Where the objects of a kind live, if that is known.
    fn scope(&self, gvk: &Gvk) -> Option<Scope> {
        let of_kind = self.scopes.get(&*gvk.kind)?;
        of_kind
            .iter()
            .find(|(group, version, _)| **group == *gvk.group && **version == *gvk.version)
            .map(|(_, _, scope)| *scope)
    }

    /// True for a kind that is known to have no namespace.
    pub(crate) fn is_cluster_scoped(&self, gvk: &Gvk) -> bool {
        self.scope(gvk) == Some(Scope::Cluster)
    }

    /// True if the scope of the kind is known.
    pub(crate) fn is_known(&self, gvk: &Gvk) -> bool {
        self.scope(gvk).is_some()
    }

    /// A definition of Kubernetes' own that schemas of others refer to: the place where a kind has it.
    pub(crate) fn definition(&self, name: &str) -> Option<Position> {
        let name = name.strip_prefix("io.k8s.")?;
        let (_, kind, path) = DEFINITIONS.iter().find(|(known, ..)| *known == name)?;
        let lists = self.kinds.get(*kind)?;
        Some(Position {
            lists: lists.clone(),
            path: (*path).to_owned(),
        })
    }

    /// The root of a kind's schema, if the kind is known.
    pub(crate) fn kind(&self, api_version: &str, kind: &str) -> Option<Position> {
        let lists = self.kinds.get(&format!("{api_version} {kind}"))?;
        Some(Position {
            lists: lists.clone(),
            path: String::new(),
        })
    }
}

impl Position {
    /// A place whose list merges so, and whose elements are those of another place.
    pub(crate) fn of_list(keys: ListMerge, element: Option<&Self>) -> Self {
        let mut lists = BTreeMap::from([(String::new(), keys)]);
        if let Some(element) = element {
            lists.extend(
                element
                    .below()
                    .map(|(path, keys)| (format!("[]{path}"), keys)),
            );
        }
        Self {
            lists: Arc::new(lists),
            path: String::new(),
        }
    }

    /// The lists below this place, by the rest of their paths.
    pub(crate) fn below(&self) -> impl Iterator<Item = (String, ListMerge)> + '_ {
        let rests = self
            .lists
            .iter()
            .filter_map(|(path, keys)| Some((path.strip_prefix(&self.path)?, keys)));
        rests
            .filter(|(rest, _)| rest.is_empty() || rest.starts_with(['.', '[']))
            .map(|(rest, keys)| (rest.to_owned(), keys.clone()))
    }

    /// The field of a map. A path that only `*` (any key) covers is written with it.
    pub(crate) fn field(&self, key: &str) -> Self {
        let joined = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        Self {
            lists: self.lists.clone(),
            path: joined,
        }
    }

    /// Any element of a list.
    pub(crate) fn element(&self) -> Self {
        Self {
            lists: self.lists.clone(),
            path: format!("{}[]", self.path),
        }
    }

    /// How the list here merges; `None` if it is replaced whole.
    pub(crate) fn list_merge(&self) -> Option<&ListMerge> {
        self.lists.get(&self.path).or_else(|| {
            let with_wildcard = self
                .lists
                .iter()
                .find(|(path, _)| path.contains('*') && covers(path, &self.path));
            with_wildcard.map(|(_, keys)| keys)
        })
    }
}

/// Whether a path with `[]` for lists leads to, or through, another.
fn covers(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('.'), path.split('.'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || (a == "*" && !b.is_empty()) => {}
            (Some(a), Some(b)) if a == "*[]" && b.ends_with("[]") => {}
            _ => return false,
        }
    }
}

//! Pure: the merge schema: which lists of which kinds merge by which keys, and which kinds have no namespace.
//!
//! The data is flat (kind → path of a list → merge keys); a [`Position`] is a kind and a path in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde::Deserialize;

use crate::resource::Gvk;

/// How a list merges: by these keys of its elements, or, without keys, as a set of scalars.
pub(crate) type ListMerge = Vec<String>;

/// Scopes and merge keys by kind.
#[derive(Debug, Default)]
pub(crate) struct MergeSchema {
    /// `apiVersion Kind` → its lists. A kind with a schema but no merging list has an empty map.
    kinds: BTreeMap<String, Arc<BTreeMap<String, ListMerge>>>,
    cluster_scoped: BTreeSet<Gvk>,
}

/// A place in the schema of a kind.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    lists: Arc<BTreeMap<String, ListMerge>>,
    path: String,
}

#[derive(Deserialize)]
struct Data {
    kinds: Vec<Kind>,
    sets: BTreeMap<String, BTreeMap<String, ListMerge>>,
}

#[derive(Deserialize)]
struct Kind {
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

    fn from_data(data: Data) -> Self {
        let sets: BTreeMap<String, Arc<_>> = data
            .sets
            .into_iter()
            .map(|(name, set)| (name, Arc::new(set)))
            .collect();
        let mut schema = Self::default();
        for kind in data.kinds {
            if kind.scope.as_deref() == Some("Cluster")
                && let Some((api_version, name)) = kind.k.split_once(' ')
            {
                schema.cluster_scoped.insert(Gvk::new(api_version, name));
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
            cluster_scoped: BTreeSet::new(),
        }
    }

    pub(crate) fn is_cluster_scoped(&self, gvk: &Gvk) -> bool {
        self.cluster_scoped.contains(gvk)
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

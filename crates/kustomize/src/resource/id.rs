//! Pure: what an object is called, and when two names mean the same object.

use std::sync::LazyLock;

use goyaml::{Node, Text};

use crate::schema;

/// Stands for the namespace of what has none, in ids and selectors.
pub(crate) const NON_NAMESPACEABLE: &str = "_non_namespaceable_";

/// Group, version and kind. An empty group is the core group, or an absent `apiVersion`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Gvk {
    pub(crate) group: Text,
    pub(crate) version: Text,
    pub(crate) kind: Text,
}

/// Group, version, kind, name and namespace as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResId {
    pub(crate) gvk: Gvk,
    pub(crate) name: Text,
    pub(crate) namespace: Text,
}

/// Shared texts that most ids have.
static EMPTY: LazyLock<Text> = LazyLock::new(|| "".into());
static DEFAULT: LazyLock<Text> = LazyLock::new(|| "default".into());
static NO_NAMESPACE: LazyLock<Text> = LazyLock::new(|| NON_NAMESPACEABLE.into());

impl Default for Gvk {
    fn default() -> Self {
        Self {
            group: EMPTY.clone(),
            version: EMPTY.clone(),
            kind: EMPTY.clone(),
        }
    }
}

impl Gvk {
    pub(crate) fn new(api_version: &str, kind: impl Into<Text>) -> Self {
        let (group, version) = split_api_version(api_version);
        Self {
            group: shared(group),
            version: shared(version),
            kind: kind.into(),
        }
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// True if this is what an `apiVersion` and a kind say.
    fn is(&self, api_version: &str, kind: &str) -> bool {
        let (group, version) = split_api_version(api_version);
        *self.group == *group && *self.version == *version && *self.kind == *kind
    }

    /// True if each part that `self` gives is equal in `other`.
    pub(crate) fn selects(&self, other: &Self) -> bool {
        (self.group.is_empty() || self.group == other.group)
            && (self.version.is_empty() || self.version == other.version)
            && (self.kind.is_empty() || self.kind == other.kind)
    }

    /// Kind first, with words for what is missing, as kustomize prints an id.
    pub(crate) fn show_long(&self) -> String {
        format!(
            "{}.{}.{}",
            or(&self.kind, "[noKind]"),
            or(&self.version, "[noVer]"),
            or(&self.group, "[noGrp]")
        )
    }

    /// The text by which kinds of equal rank are sorted.
    pub(crate) fn sort_text(&self) -> String {
        format!(
            "{}_{}_{}",
            or(&self.group, "~G"),
            or(&self.version, "~V"),
            or(&self.kind, "~K")
        )
    }
}

fn or<'t>(text: &'t str, other: &'t str) -> &'t str {
    if text.is_empty() { other } else { text }
}

fn shared(text: &str) -> Text {
    if text.is_empty() {
        EMPTY.clone()
    } else {
        text.into()
    }
}

pub(crate) fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The texts that an id is made of, where they stand in a tree.
struct Parts<'n> {
    api_version: &'n str,
    kind: &'n str,
    name: Option<&'n Text>,
    namespace: Option<&'n Text>,
}

impl<'n> Parts<'n> {
    fn of(node: &'n Node) -> Self {
        let text = |node: Option<&'n Node>| {
            node.and_then(Node::as_scalar)
                .map_or("", |scalar| &*scalar.text)
        };
        let metadata = node.get("metadata");
        let of_metadata = |key: &str| {
            metadata
                .and_then(|metadata| metadata.get(key))
                .and_then(|node| {
                    node.as_scalar()
                        .filter(|_| key == "name" || !node.is_null())
                })
                .map(|scalar| &scalar.text)
        };
        Self {
            api_version: text(node.get("apiVersion")),
            kind: text(node.get("kind")),
            name: of_metadata("name"),
            namespace: of_metadata("namespace"),
        }
    }
}

impl ResId {
    pub(crate) fn of(node: &Node) -> Self {
        let parts = Parts::of(node);
        Self {
            gvk: Gvk::new(parts.api_version, parts.kind),
            name: parts.name.unwrap_or(&EMPTY).clone(),
            namespace: parts.namespace.unwrap_or(&EMPTY).clone(),
        }
    }

    /// Reads the id of a tree that may have changed. Keeps the texts that are equal.
    pub(super) fn update(&mut self, node: &Node) {
        let parts = Parts::of(node);
        if !self.gvk.is(parts.api_version, parts.kind) {
            self.gvk = Gvk::new(parts.api_version, parts.kind);
        }
        for (mine, now) in [
            (&mut self.name, parts.name),
            (&mut self.namespace, parts.namespace),
        ] {
            let now = now.unwrap_or(&EMPTY);
            if mine != now {
                mine.clone_from(now);
            }
        }
    }

    /// Equal group, version, kind, name and effective namespace.
    pub(crate) fn means(&self, other: &Self) -> bool {
        self.name == other.name
            && self.gvk == other.gvk
            && effective_namespace(self) == effective_namespace(other)
    }

    pub(crate) fn show(&self) -> String {
        if self.namespace.is_empty() || &*self.namespace == NON_NAMESPACEABLE {
            format!("{} {}", self.gvk.kind, self.name)
        } else {
            format!("{} {}/{}", self.gvk.kind, self.namespace, self.name)
        }
    }

    /// As kustomize prints it: `Deployment.v1.apps/web.[noNs]`.
    pub(crate) fn show_long(&self) -> String {
        let namespace = or(&self.namespace, "[noNs]");
        format!("{}/{}.{namespace}", self.gvk.show_long(), self.name)
    }
}

/// The namespace that counts: a token for cluster-scoped kinds, `default` for none.
pub(crate) fn effective_namespace(id: &ResId) -> &Text {
    if schema::is_cluster_scoped(&id.gvk) {
        &NO_NAMESPACE
    } else if id.namespace.is_empty() {
        &DEFAULT
    } else {
        &id.namespace
    }
}

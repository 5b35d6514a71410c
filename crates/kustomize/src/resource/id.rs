//! Pure: what an object is called, and when two names mean the same object.

use goyaml::{Node, Text};

use crate::schema;

/// Stands for the namespace of what has none, in ids and selectors.
pub(crate) const NON_NAMESPACEABLE: &str = "_non_namespaceable_";

/// Group, version and kind. An empty group is the core group, or an absent `apiVersion`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
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

impl Gvk {
    pub(crate) fn new(api_version: &str, kind: impl Into<Text>) -> Self {
        let (group, version) = split_api_version(api_version);
        Self {
            group: group.into(),
            version: version.into(),
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

    /// True if each part that `self` gives is equal in `other`.
    pub(crate) fn selects(&self, other: &Self) -> bool {
        (self.group.is_empty() || self.group == other.group)
            && (self.version.is_empty() || self.version == other.version)
            && (self.kind.is_empty() || self.kind == other.kind)
    }

    /// Kind first, with words for what is missing, as kustomize prints an id.
    pub(crate) fn show_long(&self) -> String {
        let or = |text: &Text, other: &str| {
            if text.is_empty() {
                other.to_owned()
            } else {
                text.to_string()
            }
        };
        format!(
            "{}.{}.{}",
            or(&self.kind, "[noKind]"),
            or(&self.version, "[noVer]"),
            or(&self.group, "[noGrp]")
        )
    }

    /// The text by which kinds of equal rank are sorted.
    pub(crate) fn sort_text(&self) -> String {
        let or = |text: &Text, other: &str| {
            if text.is_empty() {
                other.to_owned()
            } else {
                text.to_string()
            }
        };
        format!(
            "{}_{}_{}",
            or(&self.group, "~G"),
            or(&self.version, "~V"),
            or(&self.kind, "~K")
        )
    }
}

pub(crate) fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

impl ResId {
    pub(crate) fn of(node: &Node) -> Self {
        let text = |path: &[&str]| {
            node.at(path)
                .and_then(Node::as_scalar)
                .map(|scalar| scalar.text.clone())
        };
        let api_version = text(&["apiVersion"]).unwrap_or_default();
        Self {
            gvk: Gvk::new(&api_version, text(&["kind"]).unwrap_or_default()),
            name: text(&["metadata", "name"]).unwrap_or_default(),
            namespace: node
                .at(&["metadata", "namespace"])
                .and_then(Node::as_text)
                .unwrap_or_default()
                .into(),
        }
    }

    /// Equal group, version, kind, name and effective namespace.
    pub(crate) fn means(&self, other: &Self) -> bool {
        self.name == other.name
            && self.gvk == other.gvk
            && effective_namespace(self) == effective_namespace(other)
    }

    /// The id with its effective namespace, to be compared and indexed.
    pub(crate) fn canonical(&self) -> (Gvk, Text, Text) {
        (
            self.gvk.clone(),
            self.name.clone(),
            effective_namespace(self),
        )
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
        let namespace = if self.namespace.is_empty() {
            "[noNs]"
        } else {
            &self.namespace
        };
        format!("{}/{}.{namespace}", self.gvk.show_long(), self.name)
    }
}

/// The namespace that counts: a token for cluster-scoped kinds, `default` for none.
pub(crate) fn effective_namespace(id: &ResId) -> Text {
    if schema::is_cluster_scoped(&id.gvk) {
        return NON_NAMESPACEABLE.into();
    }
    if id.namespace.is_empty() {
        "default".into()
    } else {
        id.namespace.clone()
    }
}

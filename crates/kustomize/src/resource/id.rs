//! Pure: what an object is called, and when two names mean the same object.

use std::sync::LazyLock;

use goyaml::{Node, Text};

use crate::gvk::{EMPTY, Gvk, or};
use crate::schema;

/// Stands for the namespace of what has none, in ids and selectors.
pub(crate) const NON_NAMESPACEABLE: &str = "_non_namespaceable_";

/// Group, version, kind, name and namespace as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResId {
    /// Group, version and kind.
    pub(crate) gvk: Gvk,
    /// `metadata.name`.
    pub(crate) name: Text,
    /// `metadata.namespace` as written: empty where none is given, also for objects of the cluster.
    pub(crate) namespace: Text,
}

/// Shared texts that most ids have.
static DEFAULT: LazyLock<Text> = LazyLock::new(|| "default".into());
/// The same for [`NON_NAMESPACEABLE`].
static NO_NAMESPACE: LazyLock<Text> = LazyLock::new(|| NON_NAMESPACEABLE.into());

/// The texts that an id is made of, where they stand in a tree.
struct Parts<'n> {
    api_version: &'n str,
    kind: &'n str,
    name: Option<&'n Text>,
    namespace: Option<&'n Text>,
}

impl<'n> Parts<'n> {
    /// Reads the parts. What is no scalar counts as absent.
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
    /// The id that a tree has now.
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

    /// For our own messages: `Deployment prod/web`, or `Namespace prod` where there is no namespace.
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

//! Pure: the name of an object in the cluster, and Flux's id for it.

use std::fmt;

use serde_json::Value;

use crate::names::NamespacedName;

/// The group, version and kind of objects, by which a kind is watched and reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gvk {
    /// Empty for the core group.
    pub group: String,
    /// `v1`, `v1beta1`, …
    pub version: String,
    /// As a manifest writes it: `ConfigMap`.
    pub kind: String,
}

/// Group, version, kind, namespace and name of an object. The version is no part of its identity ([`ObjectRef::id`]).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Empty for the core group.
    pub group: String,
    /// As a manifest writes it: `ConfigMap`.
    pub kind: String,
    /// Empty for an object of the cluster.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `v1`, `v1beta1`, …
    pub version: String,
}

impl ObjectRef {
    /// The reference of a manifest. A field that is missing is an empty text.
    pub fn of_manifest(manifest: &Value) -> Self {
        let text = |pointer: &str| {
            let text = manifest.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or_default()
        };
        Self::new(
            text("/apiVersion"),
            text("/kind"),
            text("/metadata/namespace"),
            text("/metadata/name"),
        )
    }

    /// The reference of an object; `api_version` is `group/version`, or `version` for the core group.
    pub fn new(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let own = |text: &str| text.to_owned();
        Self {
            group: own(group),
            version: own(version),
            kind: own(kind),
            namespace: own(namespace),
            name: own(name),
        }
    }

    /// `group/version`, or `version` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Its group, version and kind.
    pub fn gvk(&self) -> Gvk {
        Gvk {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
        }
    }

    /// Its namespace and name.
    pub fn name(&self) -> NamespacedName {
        NamespacedName::new(&self.namespace, &self.name)
    }

    /// The Kustomization that this object is, if it is one.
    pub fn unit(&self) -> Option<NamespacedName> {
        let is_unit = self.group == "kustomize.toolkit.fluxcd.io" && self.kind == "Kustomization";
        is_unit.then(|| self.name())
    }

    /// Flux's id of an object in an inventory: `<namespace>_<name>_<group>_<kind>`, with `:` in names of RBAC objects
    /// written `__`.
    pub fn id(&self) -> String {
        let name = if self.name_may_have_colon() {
            self.name.replace(':', "__")
        } else {
            self.name.clone()
        };
        format!("{}_{name}_{}_{}", self.namespace, self.group, self.kind)
    }

    fn name_may_have_colon(&self) -> bool {
        matches!(
            &*self.kind,
            "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding"
        )
    }

    /// Reads an id back: the namespace ends at the first `_`, and the last two `_` enclose the group. None for a text
    /// that is no id.
    pub fn parse(id: &str, version: &str) -> Option<Self> {
        let (namespace, rest) = id.split_once('_')?;
        let (rest, kind) = rest.rsplit_once('_')?;
        let (name, group) = rest.rsplit_once('_')?;
        if name.is_empty() || kind.is_empty() {
            return None;
        }
        let own = |text: &str| text.to_owned();
        let name = name.replace("__", ":");
        Some(Self {
            group: own(group),
            version: own(version),
            kind: own(kind),
            namespace: own(namespace),
            name,
        })
    }
}

/// `Kind/namespace/name`, as Flux writes it in messages.
impl fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(formatter, "{}/{}", self.kind, self.name)
        } else {
            write!(formatter, "{}/{}/{}", self.kind, self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_flux_and_read_back() {
        for (reference, id) in [
            (
                ObjectRef::new("v1", "Service", "default", "app"),
                "default_app__Service",
            ),
            (
                ObjectRef::new(
                    "rbac.authorization.k8s.io/v1",
                    "ClusterRole",
                    "",
                    "system:x",
                ),
                "_system__x_rbac.authorization.k8s.io_ClusterRole",
            ),
            (
                ObjectRef::new(
                    "apiextensions.k8s.io/v1",
                    "CustomResourceDefinition",
                    "",
                    "a.b.c",
                ),
                "_a.b.c_apiextensions.k8s.io_CustomResourceDefinition",
            ),
        ] {
            assert_eq!(reference.id(), id);
            assert_eq!(ObjectRef::parse(id, &reference.version), Some(reference));
        }
        assert_eq!(ObjectRef::parse("nonsense", "v1"), None);
    }
}

//! Pure: whether a kind reports its state: built-in knowledge, and what the definition of a kind tells.
//!
//! Most kinds say in `status.conditions` how far their controller is. An object without conditions either waits for its
//! controller, or is of a kind that never has any; waiting for the latter would never end.

use serde_json::Value;

/// What the definition of a kind tells of its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatusSchema {
    /// The definition is not known, or the kind is built into Kubernetes.
    #[default]
    Unknown,
    /// There is no status subresource, or its schema has no conditions: no controller reports a state.
    Silent,
    /// The schema of the status has conditions.
    Conditions,
}

/// What is known of a kind without its definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reporting {
    /// overlayd serves the kind, and each object gets conditions.
    Always,
    /// No controller reports on this object.
    Never,
    /// The definition tells it.
    ByDefinition,
}

/// Groups of Kubernetes whose names look like those of custom kinds.
const BUILT_IN: [&str; 15] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

impl StatusSchema {
    /// What a `CustomResourceDefinition` tells of one of its versions.
    pub fn of_definition(definition: &Value, version: &str) -> Self {
        let versions = definition["spec"]["versions"].as_array();
        let mut versions = versions.into_iter().flatten();
        let Some(version) = versions.find(|other| other["name"] == version) else {
            return Self::Unknown;
        };
        let conditions = "/schema/openAPIV3Schema/properties/status/properties/conditions";
        let has_status = !version["subresources"]["status"].is_null();
        if has_status && version.pointer(conditions).is_some() {
            Self::Conditions
        } else {
            Self::Silent
        }
    }

    /// True if the health of a live object depends on the definition of its kind.
    pub fn matters_for(object: &Value) -> bool {
        let conditions = object["status"]["conditions"].as_array();
        conditions.is_none_or(Vec::is_empty)
            && is_custom(group_of(object))
            && Reporting::of(object) == Reporting::ByDefinition
    }
}

impl Reporting {
    pub(crate) fn of(object: &Value) -> Self {
        let kind = object["kind"].as_str().unwrap_or_default();
        match (group_of(object), kind) {
            ("external-secrets.io", "ExternalSecret")
            | ("kustomize.toolkit.fluxcd.io", "Kustomization")
            | ("source.toolkit.fluxcd.io", "GitRepository")
            | ("notification.toolkit.fluxcd.io", "Receiver") => Self::Always,
            // A store of another controller class is served by another process, if at all.
            ("external-secrets.io", "SecretStore" | "ClusterSecretStore") => {
                match object["spec"]["controller"].as_str() {
                    None | Some("") => Self::Always,
                    Some(_) => Self::ByDefinition,
                }
            }
            // Flux keeps the address of an OCI repository, and nothing of its state.
            ("source.toolkit.fluxcd.io", "HelmRepository") if object["spec"]["type"] == "oci" => {
                Self::Never
            }
            _ => Self::ByDefinition,
        }
    }
}

fn group_of(object: &Value) -> &str {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn is_custom(group: &str) -> bool {
    group.contains('.') && !BUILT_IN.contains(&group)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_tells_whether_a_kind_has_conditions() {
        let check = |version: &Value, expected: StatusSchema| {
            let definition = json!({"spec": {"versions": [{"name": "v0"}, version]}});
            assert_eq!(
                StatusSchema::of_definition(&definition, "v1"),
                expected,
                "{version}"
            );
        };
        let schema = |status: Value| json!({"openAPIV3Schema": {"properties": {"status": status}}});
        let with = schema(json!({"properties": {"conditions": {"type": "array"}}}));
        let without = schema(json!({"properties": {"phase": {"type": "string"}}}));
        let status = json!({"status": {}});
        let version = |subresources: &Value, schema: &Value| json!({"name": "v1", "subresources": subresources, "schema": schema});
        check(&version(&status, &with), StatusSchema::Conditions);
        check(&version(&status, &without), StatusSchema::Silent);
        check(&version(&json!({}), &with), StatusSchema::Silent);
        check(&json!({"name": "v1"}), StatusSchema::Silent);
        check(&json!({"name": "v2"}), StatusSchema::Unknown);
    }

    #[test]
    fn the_definition_matters_for_custom_kinds_without_conditions() {
        let check = |api_version: &str, kind: &str, more: Value, expected: bool| {
            let mut object = json!({"apiVersion": api_version, "kind": kind});
            json_patch::merge(&mut object, &more);
            assert_eq!(StatusSchema::matters_for(&object), expected, "{object}");
        };
        check("example.com/v1", "Shop", json!({}), true);
        let conditions = json!({"status": {"conditions": [{"type": "Ready"}]}});
        check("example.com/v1", "Shop", conditions, false);
        check("v1", "ConfigMap", json!({}), false);
        check("networking.k8s.io/v1", "Ingress", json!({}), false);
        check("gateway.networking.k8s.io/v1", "Gateway", json!({}), true);
        check("external-secrets.io/v1", "ExternalSecret", json!({}), false);
        check("external-secrets.io/v1", "SecretStore", json!({}), false);
        let foreign = json!({"spec": {"controller": "other"}});
        check("external-secrets.io/v1", "SecretStore", foreign, true);
        let oci = json!({"spec": {"type": "oci"}});
        check("source.toolkit.fluxcd.io/v1", "HelmRepository", oci, false);
        check(
            "source.toolkit.fluxcd.io/v1",
            "HelmRepository",
            json!({}),
            true,
        );
    }
}

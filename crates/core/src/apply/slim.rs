//! Pure: the metadata of an object without the field paths of its managers, which are most of it and not needed here.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
use kube::Resource;
use kube::core::discovery::ApiResource;
use kube::core::{DynamicResourceScope, ObjectMeta};
use serde::{Deserialize, Deserializer};

/// An object of any kind, of which only the metadata is requested and kept.
#[derive(Debug, Clone)]
pub struct Slim {
    /// The metadata, with the managers but without their fields.
    pub metadata: ObjectMeta,
}

/// The answer of the API server.
#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    metadata: RawMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    labels: Option<std::collections::BTreeMap<String, String>>,
    annotations: Option<std::collections::BTreeMap<String, String>>,
    managed_fields: Option<Vec<RawEntry>>,
}

#[derive(Deserialize)]
struct RawEntry {
    manager: Option<String>,
    operation: Option<String>,
    subresource: Option<String>,
    time: Option<Time>,
}

impl<'de> Deserialize<'de> for Slim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?.metadata;
        let managers = raw.managed_fields.map(|entries| {
            let entries = entries.into_iter().map(|entry| ManagedFieldsEntry {
                manager: entry.manager,
                operation: entry.operation,
                subresource: entry.subresource,
                time: entry.time,
                ..ManagedFieldsEntry::default()
            });
            entries.collect()
        });
        let metadata = ObjectMeta {
            name: raw.name,
            namespace: raw.namespace,
            uid: raw.uid,
            resource_version: raw.resource_version,
            generation: raw.generation,
            labels: raw.labels,
            annotations: raw.annotations,
            managed_fields: managers,
            ..ObjectMeta::default()
        };
        Ok(Self { metadata })
    }
}

impl Resource for Slim {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn metadata_api() -> bool {
        true
    }

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::last_applied::change_token;

    #[test]
    fn the_change_token_needs_no_field_paths() {
        let text = r#"{"metadata": {
            "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 3,
            "labels": {"l": "1"}, "annotations": {"a": "2"}, "ownerReferences": [],
            "managedFields": [{"manager": "kubectl", "operation": "Update", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:data": {}}}]
        }}"#;
        let slim: Slim = serde_json::from_str(text).unwrap();
        let whole: serde_json::Value = serde_json::from_str(text).unwrap();
        let whole: ObjectMeta = serde_json::from_value(whole["metadata"].clone()).unwrap();
        assert_eq!(change_token(&slim.metadata), change_token(&whole));
        let entry = &slim.metadata.managed_fields.unwrap()[0];
        assert_eq!(entry.manager.as_deref(), Some("kubectl"));
        assert!(entry.fields_v1.is_none() && entry.time.is_some());
    }
}

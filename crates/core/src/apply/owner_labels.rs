//! Pure: the owner of an object as its labels name it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::api::annotations::{OWNER_NAME, OWNER_NAMESPACE};
use crate::names::NamespacedName;

/// The Kustomization that the labels of a live object name; both parts are empty without labels.
pub fn label_owner(metadata: &ObjectMeta) -> NamespacedName {
    let label = |name: &str| {
        let labels = metadata.labels.as_ref();
        let label = labels.and_then(|labels| labels.get(name));
        label.cloned().unwrap_or_default()
    };
    NamespacedName::new(label(OWNER_NAMESPACE), label(OWNER_NAME))
}

/// The Kustomization that the labels of a manifest name; both parts are empty without labels.
pub fn manifest_owner(manifest: &Value) -> NamespacedName {
    let label = |name: &str| {
        let label = manifest["metadata"]["labels"][name].as_str();
        label.unwrap_or_default().to_owned()
    };
    NamespacedName::new(label(OWNER_NAMESPACE), label(OWNER_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_from_labels() {
        let manifest = serde_json::json!({"metadata": {"labels": {OWNER_NAME: "app", OWNER_NAMESPACE: "team"}}});
        assert_eq!(
            manifest_owner(&manifest),
            NamespacedName::new("team", "app")
        );
        let metadata: ObjectMeta = serde_json::from_value(manifest["metadata"].clone()).unwrap();
        assert_eq!(label_owner(&metadata), NamespacedName::new("team", "app"));
        assert_eq!(
            label_owner(&ObjectMeta::default()),
            NamespacedName::default()
        );
    }
}

//! Pure: the ExternalSecret that owns a Secret, and how the Secret shows it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::annotations::CREATED_BY;
use crate::secrets::hash::created_by;

/// The ExternalSecret on whose behalf the Secret is written.
#[derive(Debug, Clone, Default)]
pub struct SecretOwner {
    /// Its name.
    pub name: String,
    /// Its namespace, which is that of the Secret.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its labels, which are copied where no template sets any.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, which are copied where no template sets any.
    pub annotations: BTreeMap<String, String>,
}

/// True if the object's controller has this uid.
pub fn is_controlled_by(metadata: &ObjectMeta, uid: &str) -> bool {
    let mut references = metadata.owner_references.iter().flatten();
    references.any(|reference| reference.controller == Some(true) && reference.uid == uid)
}

/// True if the Secret was created for an owner, by its label and its controller. The label alone proves nothing: any user
/// may write it.
pub fn was_created_by(metadata: &ObjectMeta, owner: &SecretOwner) -> bool {
    let label = metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(CREATED_BY));
    label == Some(&created_by(&owner.namespace, &owner.name))
        && is_controlled_by(metadata, &owner.uid)
}

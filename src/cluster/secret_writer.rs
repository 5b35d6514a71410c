//! Talks to the API server: carries out a [`SecretWrite`].

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};

use crate::cluster::error::is_not_found;
use overlayd_core::secrets::decide::{Precondition, SecretWrite};
use overlayd_core::secrets::hash::field_manager;

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretWriteResult {
    Created,
    Updated,
    Nothing,
    /// The Secret is not there, and is not ours to create.
    Absent,
    /// The stores have no values, and neither is there a Secret (any more).
    Deleted,
    /// The stores have no values, and the Secret stays.
    Retained,
}

/// Writes, under the field manager of the ExternalSecret, with plain create and update as External Secrets does. Gives
/// the resource version of what was written.
pub(crate) async fn write(
    api: &Api<Secret>,
    owner: &str,
    write: SecretWrite,
) -> Result<(SecretWriteResult, Option<String>), kube::Error> {
    let params = PostParams {
        field_manager: Some(field_manager(owner)),
        ..PostParams::default()
    };
    let version = |secret: Secret| secret.metadata.resource_version;
    Ok(match write {
        SecretWrite::Leave => (SecretWriteResult::Nothing, None),
        SecretWrite::Absent => (SecretWriteResult::Absent, None),
        SecretWrite::Retain => (SecretWriteResult::Retained, None),
        SecretWrite::Delete(which) => {
            if let Some(which) = which {
                delete(api, &which).await?;
            }
            (SecretWriteResult::Deleted, None)
        }
        SecretWrite::Create(secret) => {
            let created = api.create(&params, &secret).await?;
            (SecretWriteResult::Created, version(created))
        }
        SecretWrite::Update(secret) => {
            let name = secret.metadata.name.clone().unwrap_or_default();
            let updated = api.replace(&name, &params, &secret).await?;
            (SecretWriteResult::Updated, version(updated))
        }
    })
}

/// Deletes exactly this Secret. One that is gone, or is another by now, stays as it is.
pub(crate) async fn delete(api: &Api<Secret>, which: &Precondition) -> Result<bool, kube::Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(which.uid.clone()),
            resource_version: Some(which.resource_version.clone()),
        }),
        ..DeleteParams::background()
    };
    match api.delete(&which.name, &params).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

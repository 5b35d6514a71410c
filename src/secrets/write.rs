//! Talks to the API server: carries out a [`SecretWrite`].

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};

use super::decide::SecretWrite;
use super::hash::field_manager;

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Created,
    Updated,
    Nothing,
    /// The Secret is not there, and is not ours to create.
    Absent,
}

/// Writes, under the field manager of the ExternalSecret, with plain create and update as External Secrets does.
pub(crate) async fn write(
    api: &Api<Secret>,
    owner: &str,
    write: SecretWrite,
) -> Result<Written, kube::Error> {
    let params = PostParams {
        field_manager: Some(field_manager(owner)),
        ..PostParams::default()
    };
    match write {
        SecretWrite::Leave => Ok(Written::Nothing),
        SecretWrite::Absent => Ok(Written::Absent),
        SecretWrite::Create(secret) => api.create(&params, &secret).await.map(|_| Written::Created),
        SecretWrite::Update(secret) => {
            let name = secret.metadata.name.clone().unwrap_or_default();
            api.replace(&name, &params, &secret)
                .await
                .map(|_| Written::Updated)
        }
    }
}

//! Talks to the API server: asks whether a kind is about to go, before what came of its objects is deleted.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::{Client, CustomResourceExt};

use crate::cluster::error::is_forbidden;

/// The metadata of the definition of a kind; none if it is gone. Without the right to read it, it counts as one that
/// stays, as it did before this was asked.
pub(super) async fn definition<K: CustomResourceExt>(
    client: &Client,
) -> Result<Option<ObjectMeta>, kube::Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = K::crd_name();
    match definitions.get_metadata_opt(name).await {
        Ok(found) => Ok(found.map(|found| found.metadata)),
        Err(error) if is_forbidden(&error) => {
            tracing::warn!(
                definition = name,
                "the definition may not be read, so that its deletion cannot be told from that of one object; give overlayd the right `get` on customresourcedefinitions"
            );
            Ok(Some(ObjectMeta::default()))
        }
        Err(error) => Err(error),
    }
}

/// True if the definition of a kind is being deleted, or is gone: all its objects go with it, whatever git says.
pub(super) async fn is_definition_ending<K: CustomResourceExt>(
    client: &Client,
) -> Result<bool, kube::Error> {
    let definition = definition::<K>(client).await?;
    Ok(definition.is_none_or(|metadata| metadata.deletion_timestamp.is_some()))
}

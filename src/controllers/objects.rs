//! Talks to the API server: the API of an object, and writes of its status and its finalizers.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use overlayd_core::api::git_repository::GitRepository;
use overlayd_core::names::NamespacedName;

/// The field manager of statuses.
pub(crate) const STATUS_MANAGER: &str = "overlayd-status";

/// The API of a namespaced kind, where the object is.
pub(crate) fn api_of<K>(client: &Client, object: &K) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), &object.namespace().unwrap_or_default())
}

/// The Secrets of an object's namespace.
pub(crate) fn secrets_of<K: Resource>(client: &Client, object: &K) -> Api<Secret> {
    Api::namespaced(client.clone(), &object.namespace().unwrap_or_default())
}

/// A GitRepository as the API server has it; `None` if it does not exist.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn git_repository(
    client: &Client,
    name: &NamespacedName,
) -> kube::Result<Option<GitRepository>> {
    let api: Api<GitRepository> = Api::namespaced(client.clone(), &name.namespace);
    api.get_opt(&name.name).await
}

/// Writes a status whole, in one request. Gives the resource version of the object after the write.
///
/// # Errors
/// The API server does not take the status.
pub(crate) async fn write_status<K, S>(
    api: &Api<K>,
    object: &K,
    status: &S,
) -> Result<Option<String>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize + Sync,
{
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any()},
        "status": status,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    api.patch_status(&object.name_any(), &params, &Patch::Apply(&patch))
        .await
        .map(|written| written.resource_version())
}

/// Adds a finalizer, unless the object has it.
///
/// # Errors
/// The object has changed meanwhile, which the resource version guards against, or the API server does not take it.
pub(crate) async fn add_finalizer<K>(api: &Api<K>, object: &K, name: &str) -> kube::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut finalizers = object.finalizers().to_vec();
    if finalizers.iter().any(|finalizer| finalizer == name) {
        return Ok(());
    }
    finalizers.push(name.to_owned());
    write_finalizers(api, object, &finalizers).await
}

/// Removes a finalizer, if the object has it.
///
/// # Errors
/// As [`add_finalizer`].
pub(crate) async fn remove_finalizer<K>(api: &Api<K>, object: &K, name: &str) -> kube::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut finalizers = object.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != name);
    if finalizers.len() == object.finalizers().len() {
        return Ok(());
    }
    write_finalizers(api, object, &finalizers).await
}

/// Replaces all finalizers of the version that was read.
async fn write_finalizers<K>(api: &Api<K>, object: &K, finalizers: &[String]) -> kube::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let patch = json!({
        "metadata": {"finalizers": finalizers, "resourceVersion": object.resource_version()},
    });
    let params = PatchParams::default();
    api.patch(&object.name_any(), &params, &Patch::Merge(&patch))
        .await
        .map(drop)
}

//! Talks to the API server: how the objects of a kind are reached, and the live object.

use kube::Resource;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::{DynamicResourceScope, GroupVersionKind};
use kube::discovery::{ApiCapabilities, Scope};
use serde_json::Value;

use overlayd_core::apply::object_ref::ObjectRef;

use crate::cluster::apply::Applier;
use crate::cluster::apply::error::RequestError;

impl Applier {
    /// The API of an object's kind. A namespaced object must say its namespace.
    pub(crate) async fn api(
        &self,
        reference: &ObjectRef,
    ) -> Result<Api<DynamicObject>, RequestError> {
        self.api_as(reference).await
    }

    /// The same, for another view of the object.
    pub(super) async fn api_as<K>(&self, reference: &ObjectRef) -> Result<Api<K>, RequestError>
    where
        K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>,
    {
        let (resource, namespaced) = self.kind(reference).await?;
        let client = self.client.clone();
        match (namespaced, reference.namespace.as_str()) {
            (false, _) => Ok(Api::all_with(client, &resource)),
            (true, "") => Err(RequestError::NoNamespace),
            (true, namespace) => Ok(Api::namespaced_with(client, namespace, &resource)),
        }
    }

    /// A kind that was discovered before.
    pub(super) fn known(&self, reference: &ObjectRef) -> Option<(ApiResource, bool)> {
        let kinds = self.kinds.lock();
        kinds.get(&reference.gvk()).cloned()
    }

    /// The resource of a kind, and whether it is namespaced.
    pub(super) async fn kind(
        &self,
        reference: &ObjectRef,
    ) -> Result<(ApiResource, bool), RequestError> {
        if let Some(known) = self.known(reference) {
            return Ok(known);
        }
        let gvk = GroupVersionKind::gvk(&reference.group, &reference.version, &reference.kind);
        let found = kube::discovery::pinned_kind(&self.client, &gvk).await;
        let (resource, capabilities): (ApiResource, ApiCapabilities) =
            found.map_err(|error| match &error {
                kube::Error::Api(status) if status.code == 404 => {
                    RequestError::no_such_kind(reference)
                }
                kube::Error::Discovery(_) => RequestError::no_such_kind(reference),
                _ => error.into(),
            })?;
        let entry = (resource, capabilities.scope == Scope::Namespaced);
        let mut kinds = self.kinds.lock();
        kinds.insert(reference.gvk(), entry.clone());
        Ok(entry)
    }

    /// The live object, for waits and messages.
    pub(crate) async fn get(&self, reference: &ObjectRef) -> Result<Option<Value>, RequestError> {
        let api = self.api(reference).await?;
        let live = api.get_opt(&reference.name).await?;
        Ok(live.map(serde_json::to_value).transpose()?)
    }
}

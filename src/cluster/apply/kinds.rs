//! Talks to the API server: how the objects of a kind are reached, and the live object.

use jiff::Timestamp;
use kube::Resource;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::{DynamicResourceScope, GroupVersionKind};
use kube::discovery::{ApiCapabilities, Scope};
use serde_json::Value;

use overlayd_core::apply::health::{Report, health_by};
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::status_schema::StatusSchema;

use crate::cluster::apply::Applier;
use crate::cluster::apply::error::RequestError;

/// The kind that defines others.
const DEFINITION: &str = "CustomResourceDefinition";

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
        match self.known(reference) {
            Some(known) => Ok(known),
            None => self.discover(reference).await,
        }
    }

    /// The same, as the server has it now: a definition may have been deleted and created again.
    pub(super) async fn discover(
        &self,
        reference: &ObjectRef,
    ) -> Result<(ApiResource, bool), RequestError> {
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

    /// What the definition of an object's kind tells of its status. Nothing, if the kind is built in or the definition
    /// cannot be read.
    pub(crate) async fn status_schema(&self, reference: &ObjectRef) -> StatusSchema {
        let Ok((resource, _)) = self.kind(reference).await else {
            return StatusSchema::Unknown;
        };
        // Definitions hold no secrets, and few service accounts may read them.
        let watched = self.live.as_ref().map(|live| live.client());
        let client = watched.unwrap_or_else(|| self.client.clone());
        let definitions = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", DEFINITION);
        let api: Api<DynamicObject> = Api::all_with(client, &ApiResource::from_gvk(&definitions));
        let name = format!("{}.{}", resource.plural, resource.group);
        let Ok(Some(definition)) = api.get_opt(&name).await else {
            return StatusSchema::Unknown;
        };
        StatusSchema::of_definition(&definition.data, &resource.version)
    }

    /// The health of an object, by the rules for its kind.
    pub(crate) async fn health(&self, reference: &ObjectRef, live: Option<&Value>) -> Report {
        let schema = match live {
            Some(live) if StatusSchema::matters_for(live) => self.status_schema(reference).await,
            _ => StatusSchema::Unknown,
        };
        health_by(live, schema, Timestamp::now())
    }

    /// The live object, for waits and messages.
    pub(crate) async fn get(&self, reference: &ObjectRef) -> Result<Option<Value>, RequestError> {
        let api = self.api(reference).await?;
        let live = api.get_opt(&reference.name).await?;
        Ok(live.map(serde_json::to_value).transpose()?)
    }
}

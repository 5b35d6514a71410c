//! Talks to the API server: how the objects of a kind are reached, and what is there.

use kube::Resource;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::{DynamicResourceScope, GroupVersionKind};
use kube::discovery::{ApiCapabilities, Scope};
use serde_json::Value;

use crate::cluster::apply::Applier;
use crate::cluster::error::{describe, is_not_found};
use overlayd_core::apply::object_ref::ObjectRef;

impl Applier {
    /// The API of an object's kind. A namespaced object must say its namespace.
    pub(super) async fn api(&self, reference: &ObjectRef) -> Result<Api<DynamicObject>, String> {
        self.api_as(reference).await
    }

    /// The same, for another view of the object.
    pub(super) async fn api_as<K>(&self, reference: &ObjectRef) -> Result<Api<K>, String>
    where
        K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>,
    {
        let (resource, namespaced) = self.kind(reference).await?;
        let client = self.client.clone();
        match (namespaced, reference.namespace.as_str()) {
            (false, _) => Ok(Api::all_with(client, &resource)),
            (true, "") => {
                Err("namespace not specified; set `namespace` in the kustomization".to_owned())
            }
            (true, namespace) => Ok(Api::namespaced_with(client, namespace, &resource)),
        }
    }

    /// A kind that was asked for before.
    pub(super) fn known(&self, reference: &ObjectRef) -> Option<(ApiResource, bool)> {
        let kinds = self.kinds.lock();
        kinds.get(&reference.gvk()).cloned()
    }

    pub(super) async fn kind(&self, reference: &ObjectRef) -> Result<(ApiResource, bool), String> {
        if let Some(known) = self.known(reference) {
            return Ok(known);
        }
        let gvk = GroupVersionKind::gvk(&reference.group, &reference.version, &reference.kind);
        let found = kube::discovery::pinned_kind(&self.client, &gvk).await;
        let (resource, capabilities): (ApiResource, ApiCapabilities) =
            found.map_err(|error| match &error {
                kube::Error::Discovery(_) => no_such_kind(reference),
                _ if is_not_found(&error) => no_such_kind(reference),
                _ => describe(&error),
            })?;
        let entry = (resource, capabilities.scope == Scope::Namespaced);
        let mut kinds = self.kinds.lock();
        kinds.insert(reference.gvk(), entry.clone());
        Ok(entry)
    }

    /// The live object, for waits and messages.
    pub(crate) async fn get(&self, reference: &ObjectRef) -> Result<Option<Value>, String> {
        let api = self.api(reference).await?;
        let live = api
            .get_opt(&reference.name)
            .await
            .map_err(|error| describe(&error))?;
        live.map(|live| serde_json::to_value(live).map_err(|error| error.to_string()))
            .transpose()
    }
}

pub(super) fn no_such_kind(reference: &ObjectRef) -> String {
    format!(
        "no matches for kind `{}` in version `{}`; is its definition applied first?",
        reference.kind,
        reference.api_version()
    )
}

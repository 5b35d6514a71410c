//! What `SecretStore` and `ClusterSecretStore` have in common, and which stores this process serves.

use std::fmt::Debug;

use kube::api::Api;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use crate::controllers::events::Component;
use crate::controllers::objects::api_of;
use overlayd_core::api::external_secret::StoreKind;
use overlayd_core::api::secret_store::{
    ClusterSecretStore, SecretStore, SecretStoreSpec, SecretStoreStatus,
};
use overlayd_core::aws::reader_key::{ReaderKey, reader_key};
use overlayd_core::names::StoreName;
use overlayd_core::secrets::provider_error::StoreError;
use overlayd_core::secrets::store_state::StoreState;

/// The class of stores and generators that this process serves (`--controller-class`). Those without a class are served
/// by every process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControllerClass(pub(crate) String);

impl ControllerClass {
    /// True for a store that this process serves.
    pub(crate) fn serves(&self, store: &SecretStoreSpec) -> bool {
        self.serves_class(store.controller.as_deref().unwrap_or_default())
    }

    /// True for the class of a store or a generator that this process serves.
    pub(crate) fn serves_class(&self, class: &str) -> bool {
        class.is_empty() || class == self.0
    }
}

/// The parts that both kinds of store have.
pub(crate) trait Store:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug
{
    /// The kind, as references name it.
    const KIND: StoreKind;
    /// The name under which its events are reported.
    const COMPONENT: Component;
    /// The spec that both kinds share.
    fn store_spec(&self) -> &SecretStoreSpec;
    /// The status, if one was written.
    fn store_status(&self) -> Option<&SecretStoreStatus>;
    /// The API that serves the object.
    fn api(&self, client: &Client) -> Api<Self>;

    /// The namespace and name, by which its identity is made.
    fn store_name(&self) -> StoreName<'_> {
        let meta = self.meta();
        StoreName {
            namespace: meta.namespace.as_deref(),
            name: meta.name.as_deref().unwrap_or_default(),
        }
    }

    /// The state that ExternalSecrets depend on.
    fn store_state(&self) -> StoreState {
        let (spec, status) = (self.store_spec(), self.store_status());
        StoreState::new(Self::KIND, self.meta(), spec, status)
    }

    /// The identity that reads for the store itself. `None` if it depends on the namespace of the ExternalSecret.
    fn reader_key(&self) -> Result<Option<ReaderKey>, StoreError> {
        reader_key(self.store_name(), self.store_spec(), None)
    }
}

impl Store for SecretStore {
    const KIND: StoreKind = StoreKind::SecretStore;
    const COMPONENT: Component = Component::SecretStore;
    fn store_spec(&self) -> &SecretStoreSpec {
        &self.spec
    }
    fn store_status(&self) -> Option<&SecretStoreStatus> {
        self.status.as_ref()
    }
    fn api(&self, client: &Client) -> Api<Self> {
        api_of(client, self)
    }
}

impl Store for ClusterSecretStore {
    const KIND: StoreKind = StoreKind::ClusterSecretStore;
    const COMPONENT: Component = Component::ClusterSecretStore;
    fn store_spec(&self) -> &SecretStoreSpec {
        &self.spec.store
    }
    fn store_status(&self) -> Option<&SecretStoreStatus> {
        self.status.as_ref()
    }
    fn api(&self, client: &Client) -> Api<Self> {
        Api::all(client.clone())
    }
}

//! `SecretStore` and `ClusterSecretStore`: says whether a store can be used.

use std::sync::Arc;

use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::context::memory_key;
use super::events::Component;
use super::status::{Says, secrets_condition};
use super::{Context, ReconcileError};
use crate::api::external_secret::StoreKind;
use crate::api::secret_store::{
    Capabilities, ClusterSecretStore, SecretStore, SecretStoreSpec, SecretStoreStatus,
};
use crate::secrets::desired::StoreRef;

/// A store as its users see it.
#[derive(Debug, Clone)]
pub(crate) struct StoreObject {
    /// Kind, namespace and name.
    pub(crate) id: String,
    pub(crate) spec: SecretStoreSpec,
    pub(crate) generation: i64,
    pub(crate) ready: bool,
    /// The message of the Ready condition.
    pub(crate) message: String,
}

/// Reads the store that a reference names. The error says what to do.
pub(crate) async fn resolve_store(
    context: &Context,
    reference: &StoreRef,
    namespace: &str,
) -> Result<StoreObject, String> {
    let missing = || {
        format!(
            "{reference} does not exist{}",
            match reference.kind {
                StoreKind::SecretStore =>
                    format!(" in namespace `{namespace}`; is a ClusterSecretStore meant?"),
                StoreKind::ClusterSecretStore => String::new(),
            }
        )
    };
    let unreadable = |error: kube::Error| {
        format!(
            "{reference} cannot be read: {}",
            crate::apply::execute::describe(&error)
        )
    };
    match reference.kind {
        StoreKind::SecretStore => {
            let api: Api<SecretStore> = Api::namespaced(context.client.clone(), namespace);
            let store = api
                .get_opt(&reference.name)
                .await
                .map_err(unreadable)?
                .ok_or_else(missing)?;
            Ok(StoreObject::new(
                &store,
                store.spec.clone(),
                store.status.as_ref(),
            ))
        }
        StoreKind::ClusterSecretStore => {
            let api: Api<ClusterSecretStore> = Api::all(context.client.clone());
            let store = api
                .get_opt(&reference.name)
                .await
                .map_err(unreadable)?
                .ok_or_else(missing)?;
            Ok(StoreObject::new(
                &store,
                store.spec.store.clone(),
                store.status.as_ref(),
            ))
        }
    }
}

impl StoreObject {
    fn new<K: Resource<DynamicType = ()>>(
        object: &K,
        spec: SecretStoreSpec,
        status: Option<&SecretStoreStatus>,
    ) -> Self {
        let ready = status.and_then(|status| {
            status
                .conditions
                .iter()
                .find(|condition| condition.type_ == "Ready")
        });
        Self {
            id: memory_key(object),
            spec,
            generation: object.meta().generation.unwrap_or_default(),
            ready: ready.is_some_and(|condition| condition.status == "True"),
            message: ready
                .and_then(|condition| condition.message.clone())
                .unwrap_or_default(),
        }
    }

    /// The gate: a store that is not ready is not asked, and one with conditions only by those it admits.
    pub(crate) fn check_usable(&self, reference: &StoreRef, namespace: &str) -> Result<(), String> {
        if !self.ready {
            let why = if self.message.is_empty() {
                "it was not validated yet"
            } else {
                &self.message
            };
            return Err(format!("{reference} is not ready: {why}"));
        }
        let named = self
            .spec
            .conditions
            .iter()
            .any(|condition| condition.namespaces.iter().any(|name| name == namespace));
        if self.spec.conditions.is_empty() || named {
            return Ok(());
        }
        let others = self.spec.conditions.iter().any(|condition| {
            condition.namespace_selector.is_some() || !condition.namespace_regexes.is_empty()
        });
        if others {
            return Err(format!(
                "{reference}: `spec.conditions` with selectors or regexes is not supported yet, so its use is denied"
            ));
        }
        Err(format!(
            "using {reference} is not allowed from namespace `{namespace}`: denied by spec.condition"
        ))
    }
}

/// What both kinds of store have.
pub(crate) trait Store:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug
{
    /// Under which name its events are reported.
    const COMPONENT: Component;
    /// The spec without its kind's wrapping.
    fn store_spec(&self) -> &SecretStoreSpec;
    /// The status, if one was written.
    fn store_status(&self) -> Option<&SecretStoreStatus>;
    /// The API that serves the object.
    fn api(&self, context: &Context) -> Api<Self>;
}

impl Store for SecretStore {
    const COMPONENT: Component = Component::SecretStore;
    fn store_spec(&self) -> &SecretStoreSpec {
        &self.spec
    }
    fn store_status(&self) -> Option<&SecretStoreStatus> {
        self.status.as_ref()
    }
    fn api(&self, context: &Context) -> Api<Self> {
        context.api_of(self)
    }
}

impl Store for ClusterSecretStore {
    const COMPONENT: Component = Component::ClusterSecretStore;
    fn store_spec(&self) -> &SecretStoreSpec {
        &self.spec.store
    }
    fn store_status(&self) -> Option<&SecretStoreStatus> {
        self.status.as_ref()
    }
    fn api(&self, context: &Context) -> Api<Self> {
        Api::all(context.client.clone())
    }
}

/// Validates the store and says so.
pub(crate) async fn reconcile<S: Store>(
    object: Arc<S>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let class = object
        .store_spec()
        .controller
        .as_deref()
        .unwrap_or_default();
    if object.meta().deletion_timestamp.is_some()
        || !(class.is_empty() || class == context.settings.controller_class)
    {
        return Ok(Action::await_change());
    }
    let key = memory_key(&*object);
    let now = Timestamp::now();
    let fingerprint = format!("{:?}", object.meta().generation);
    if let Some(rest) = context.memory.rest(&key, &fingerprint, now) {
        return Ok(Action::requeue(rest));
    }
    let validated = validate(&*object, &context).await;
    let old = object.store_status().cloned().unwrap_or_default();
    let (says_status, reason, message) = match &validated {
        Ok(_) => ("True", "Valid", "store validated".to_owned()),
        Err((summary, detail)) => (
            "False",
            "InvalidProviderConfig",
            format!("{summary}: {detail}"),
        ),
    };
    let says = Says {
        type_: "Ready",
        status: says_status,
        reason,
        message: &message,
    };
    let changed = !old.conditions.iter().any(|condition| {
        condition.status == says_status && condition.message.as_deref() == Some(&message)
    });
    let new = SecretStoreStatus {
        conditions: vec![secrets_condition(&old.conditions, &says, now)],
        capabilities: validated.as_ref().ok().copied().or(old.capabilities),
    };
    let wait = match &validated {
        Ok(_) => {
            context
                .memory
                .succeeded(&key, &fingerprint, now, context.settings.store_interval);
            context.settings.store_interval
        }
        Err(_) => context.memory.failed(
            &key,
            &fingerprint,
            now,
            (
                std::time::Duration::from_secs(1),
                context.settings.store_interval,
            ),
        ),
    };
    if changed {
        let type_ = if validated.is_ok() {
            EventType::Normal
        } else {
            EventType::Warning
        };
        context
            .events
            .publish(S::COMPONENT, &*object, type_, reason, &message)
            .await;
    }
    if object.store_status() != Some(&new) {
        context
            .write_status(&object.api(&context), &object, &new)
            .await?;
    }
    Ok(Action::requeue(wait))
}

/// What the store can do, or what is wrong: a summary in the words of External Secrets, and the detail.
async fn validate<S: Store>(
    object: &S,
    context: &Context,
) -> Result<Capabilities, (&'static str, String)> {
    let provider = context
        .providers
        .of(&memory_key(object), object.store_spec())
        .await;
    let provider = provider.map_err(|error| ("unable to create client", error.to_string()))?;
    provider
        .validate()
        .await
        .map_err(|error| ("unable to validate store", error.to_string()))?;
    tracing::debug!(store = %object.name_any(), "validated");
    Ok(provider.capabilities())
}

//! `SecretStore` and `ClusterSecretStore`: says whether a store can be used.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::controllers::context::memory_key;
use crate::controllers::events::Component;
use crate::controllers::unreadable::Readable;
use crate::controllers::{Context, ReconcileError};
use crate::secrets::provider::{Provider, Validation};
use overlayd_core::api::annotations::{IGNORE_MAINTENANCE, STORE_FINALIZER};
use overlayd_core::api::external_secret::StoreKind;
use overlayd_core::api::secret_store::{
    Capabilities, ClusterSecretStore, SecretStore, SecretStoreSpec, SecretStoreStatus,
};
use overlayd_core::aws::identity::StoreName;
use overlayd_core::aws::reader_key::ReaderKey;
use overlayd_core::aws::reader_key::reader_key;
use overlayd_core::conditions::{Says, secrets_condition};
use overlayd_core::schedule::parse_duration;
use overlayd_core::secrets::admission::admits;
use overlayd_core::secrets::desired::StoreRef;
use overlayd_core::secrets::provider_error::StoreError;

/// A store as its users see it.
#[derive(Debug, Clone)]
pub(crate) struct StoreObject {
    /// Kind, namespace and name.
    pub(crate) id: String,
    pub(crate) spec: SecretStoreSpec,
    namespace: Option<String>,
    name: String,
    pub(crate) created: Timestamp,
    /// Nobody has validated it yet.
    pub(crate) is_unknown: bool,
    pub(crate) generation: i64,
    pub(crate) ready: bool,
    /// The message of the Ready condition.
    pub(crate) message: String,
}

/// The store that a reference names, as it was seen last. The error says what to do.
pub(crate) fn resolve_store(
    context: &Context,
    reference: &StoreRef,
    namespace: &str,
) -> Result<StoreObject, String> {
    let name = &reference.name;
    match reference.kind {
        StoreKind::SecretStore => {
            let store = context
                .caches
                .stores
                .get(&ObjectRef::new(name).within(namespace));
            let missing = || {
                format!(
                    "{reference} does not exist in namespace `{namespace}`; is a ClusterSecretStore meant?"
                )
            };
            store.as_deref().map(StoreObject::new).ok_or_else(missing)
        }
        StoreKind::ClusterSecretStore => {
            let store = context.caches.cluster_stores.get(&ObjectRef::new(name));
            let missing = || format!("{reference} does not exist");
            store.as_deref().map(StoreObject::new).ok_or_else(missing)
        }
    }
}

impl StoreObject {
    fn new<S: Store>(object: &S) -> Self {
        let status = object.store_status();
        let conditions = status.iter().flat_map(|status| &status.conditions);
        let mut conditions = conditions.filter(|condition| condition.type_ == "Ready");
        let ready = conditions.next();
        Self {
            id: memory_key(object),
            spec: object.store_spec().clone(),
            namespace: object.namespace(),
            name: object.name_any(),
            created: object
                .creation_timestamp()
                .map(|time| time.0)
                .unwrap_or_default(),
            is_unknown: ready.is_none(),
            generation: object.meta().generation.unwrap_or_default(),
            ready: ready.is_some_and(|condition| condition.status == "True"),
            message: ready
                .and_then(|condition| condition.message.clone())
                .unwrap_or_default(),
        }
    }

    /// True for one for all namespaces.
    pub(crate) fn is_cluster(&self) -> bool {
        self.namespace.is_none()
    }

    /// By what it is known.
    pub(crate) fn name(&self) -> StoreName<'_> {
        StoreName {
            namespace: self.namespace.as_deref(),
            name: &self.name,
        }
    }

    /// The gate: a store that is not ready is not asked, and one with conditions only by those it admits.
    pub(crate) fn check_usable(
        &self,
        context: &Context,
        reference: &StoreRef,
        namespace: &str,
    ) -> Result<(), String> {
        if self.is_cluster() {
            let known = context.caches.namespaces.get(&ObjectRef::new(namespace));
            let labels = known
                .as_ref()
                .and_then(|known| known.metadata.labels.clone());
            let admitted = admits(
                &self.spec.conditions,
                namespace,
                &labels.unwrap_or_default(),
            );
            if !admitted.map_err(|error| format!("{reference}: {error}"))? {
                return Err(format!(
                    "using {reference} is not allowed from namespace `{namespace}`: denied by spec.condition"
                ));
            }
        }
        if !self.ready && context.settings.flood_gate {
            let why = if self.message.is_empty() {
                "it was not validated yet"
            } else {
                &self.message
            };
            return Err(format!("{reference} is not ready: {why}"));
        }
        Ok(())
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

    /// By what the store is known.
    fn store_name(&self) -> StoreName<'_> {
        let meta = self.meta();
        StoreName {
            namespace: meta.namespace.as_deref(),
            name: meta.name.as_deref().unwrap_or_default(),
        }
    }

    /// Who reads for the store itself, before anybody uses it; nothing if that depends on who does.
    fn reader_key(&self) -> Result<Option<ReaderKey>, StoreError> {
        reader_key(self.store_name(), self.store_spec(), None)
    }
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
    object: Readable<S>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    if !context.settings.serves(object.store_spec()) {
        return Ok(Action::await_change());
    }
    if object.meta().deletion_timestamp.is_some() {
        // External Secrets holds a store back for PushSecrets, which are not served here.
        context
            .set_finalizer(&object.api(&context), &object, STORE_FINALIZER, false)
            .await?;
        return Ok(Action::await_change());
    }
    let key = memory_key(&*object);
    let now = Timestamp::now();
    let listens = context.rotations.of(&*object);
    let meta = object.meta();
    let fingerprint = format!("{:?} {:?} {listens:?}", meta.uid, meta.generation);
    if let Some(rest) = context.reconcile_cache.rest(&key, &fingerprint, now) {
        return Ok(Action::requeue(rest));
    }
    let interval = interval(object.store_spec(), context.settings.store_interval);
    let validated = match &interval {
        Ok(_) => validate(&*object, &context).await,
        Err(error) => Err(("unable to validate store", error.clone())),
    };
    let interval = interval.unwrap_or(context.settings.store_interval);
    let old = object.store_status().cloned().unwrap_or_default();
    let (status, reason, message) = match &validated {
        Ok((Validation::Ready, _)) => ("True", "Valid", "store validated".to_owned()),
        Ok((Validation::Unknown, _)) => (
            "True",
            "ValidationUnknown",
            "could not determine validation status".to_owned(),
        ),
        Err((summary, detail)) => (
            "False",
            "InvalidProviderConfig",
            format!("{summary}: {detail}"),
        ),
    };
    let says = Says {
        type_: "Ready",
        status,
        reason,
        message: &message,
    };
    let changed = !old.conditions.iter().any(|condition| {
        condition.type_ == "Ready"
            && condition.status == status
            && condition.message.as_deref() == Some(&message)
    });
    let capabilities = validated
        .as_ref()
        .ok()
        .map(|(_, capabilities)| *capabilities);
    let mut conditions = vec![secrets_condition(&old.conditions, &says, now)];
    conditions.extend(listens.iter().map(|listens| {
        let says = Says {
            type_: "RotationEvents",
            status: listens.status,
            reason: listens.reason,
            message: &listens.message,
        };
        secrets_condition(&old.conditions, &says, now)
    }));
    let new = SecretStoreStatus {
        conditions,
        capabilities: capabilities.or(old.capabilities),
    };
    let wait = if validated.is_ok() {
        context
            .reconcile_cache
            .succeeded(&key, &fingerprint, now, interval);
        interval
    } else {
        let bounds = (Duration::from_secs(1), interval);
        context
            .reconcile_cache
            .failed(&key, &fingerprint, now, bounds)
    };
    if changed {
        let type_ = if reason == "Valid" {
            EventType::Normal
        } else {
            EventType::Warning
        };
        context
            .events
            .publish(S::COMPONENT, &*object, type_, reason, &message)
            .await;
        warn_unmaintained(&*object, &context).await;
    }
    context.metrics.store(
        &S::kind(&()),
        &object.meta().namespace.clone().unwrap_or_default(),
        &object.name_any(),
        validated.is_ok(),
    );
    if object.store_status() != Some(&new) {
        context
            .write_status(&object.api(&context), &object, &new)
            .await?;
    }
    Ok(Action::requeue(wait))
}

/// Forgets a store that is gone.
pub(crate) fn forget(context: &Context, kind: &str, namespace: &str, name: &str) {
    let id = format!("{kind}/{namespace}/{name}");
    context.reconcile_cache.forget(&id);
    context.store_gates.forget(&id);
    context.metrics.forget_store(kind, namespace, name);
}

/// How often the store is validated, or what is wrong with what it says.
fn interval(spec: &SecretStoreSpec, default: Duration) -> Result<Duration, String> {
    let bad = |text: &str| {
        format!("`spec.refreshInterval: {text}` is neither seconds nor a duration such as 5m")
    };
    let interval = match &spec.refresh_interval {
        None => return Ok(default),
        Some(IntOrString::Int(seconds)) => {
            let seconds = u64::try_from(*seconds).map_err(|_| bad(&seconds.to_string()))?;
            Duration::from_secs(seconds)
        }
        Some(IntOrString::String(text)) if text.is_empty() => return Ok(default),
        Some(IntOrString::String(text)) => parse_duration(text).ok_or_else(|| bad(text))?,
    };
    Ok(if interval.is_zero() {
        default
    } else {
        interval
    })
}

/// Says of a provider that nobody keeps that it is so, as External Secrets does.
async fn warn_unmaintained<S: Store>(object: &S, context: &Context) {
    let provider = provider_of(object, context).await;
    let provider = provider.ok().flatten();
    let kept = provider.is_some_and(|provider| !provider.is_maintained());
    if kept && !object.annotations().contains_key(IGNORE_MAINTENANCE) {
        let note = "the provider of this store is not maintained: it is for tests";
        context
            .events
            .publish(
                S::COMPONENT,
                object,
                EventType::Warning,
                "StoreUnmaintained",
                note,
            )
            .await;
    }
}

/// What the store can do, or what is wrong: a summary in the words of External Secrets, and the detail.
async fn validate<S: Store>(
    object: &S,
    context: &Context,
) -> Result<(Validation, Capabilities), (&'static str, String)> {
    let provider = provider_of(object, context).await;
    let provider = provider.map_err(|error| ("unable to create client", error.to_string()))?;
    // Who reads depends on who uses the store, so nothing can be tried.
    let Some(provider) = provider else {
        return Ok((Validation::Ready, Capabilities::ReadWrite));
    };
    let validation = provider
        .validate()
        .await
        .map_err(|error| ("unable to validate store", error.to_string()))?;
    tracing::debug!(store = %object.name_any(), "validated");
    Ok((validation, provider.capabilities()))
}

/// The provider of the store itself, before anybody uses it.
async fn provider_of<S: Store>(
    object: &S,
    context: &Context,
) -> Result<Option<Arc<dyn Provider>>, StoreError> {
    let providers = &context.providers;
    providers
        .of(object.store_name(), object.store_spec(), None)
        .await
}

//! `SecretStore` and `ClusterSecretStore`: validates the store, and says in its status whether it can be used.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Client, ResourceExt as _};

use crate::controllers::ReconcileError;
use crate::controllers::events::Events;
use crate::controllers::objects::{remove_finalizer, write_status};
use crate::controllers::rotation::Rotations;
use crate::controllers::stores::{ControllerClass, Store};
use crate::controllers::unreadable::Readable;
use crate::metrics::{Metrics, ReconcileResult};
use crate::permits::KeyedSemaphores;
use crate::secrets::provider::{Provider, Providers, Validation};
use overlayd_core::api::annotations::{IGNORE_MAINTENANCE, STORE_FINALIZER};
use overlayd_core::api::secret_store::Capabilities;
use overlayd_core::aws::queue::QueueCondition;
use overlayd_core::conditions::ConditionState;
use overlayd_core::names::{NamespacedName, ObjectKey};
use overlayd_core::reconcile_cache::{Fingerprint, ReconcileCache};
use overlayd_core::secrets::observed::Urgency;
use overlayd_core::secrets::provider_error::StoreError;
use overlayd_core::secrets::store_validation::{
    StoreValidationError, ValidationReport, validation_interval,
};

/// What the controllers of both kinds of store work with.
pub(crate) struct SecretStoreContext {
    pub(crate) client: Client,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reconcile_cache: Arc<ReconcileCache>,
    /// The permits of each store, which are forgotten with it.
    pub(crate) store_permits: Arc<KeyedSemaphores<Urgency>>,
    pub(crate) providers: Arc<Providers>,
    /// What is known of the queues of rotation events.
    pub(crate) rotations: Arc<Rotations>,
    pub(crate) settings: StoreSettings,
}

/// What the flags say about stores.
#[derive(Debug, Clone)]
pub(crate) struct StoreSettings {
    pub(crate) class: ControllerClass,
    /// The interval at which stores are validated.
    pub(crate) interval: Duration,
}

/// What a provider says of a store, and what the store can do.
type Validated = Result<(Validation, Capabilities), StoreValidationError>;

/// Validates the store when its time has come, and says in its status what came of it.
pub(crate) async fn reconcile<S: Store>(
    object: Readable<S>,
    context: Arc<SecretStoreContext>,
) -> Result<Action, ReconcileError> {
    if !context.settings.class.serves(object.store_spec()) {
        return Ok(Action::await_change());
    }
    if object.meta().deletion_timestamp.is_some() {
        // External Secrets keeps a store for its PushSecrets, which are not served here.
        let api = object.api(&context.client);
        remove_finalizer(&api, &*object, STORE_FINALIZER).await?;
        return Ok(Action::await_change());
    }
    let (key, now) = (ObjectKey::of(&*object), Timestamp::now());
    let queue = context.rotations.of(&*object);
    let fingerprint = fingerprint(&*object, queue.as_ref());
    if let Some(rest) = context
        .reconcile_cache
        .rest(&key, &fingerprint, Instant::now())
    {
        return Ok(Action::requeue(rest));
    }
    let default = context.settings.interval;
    let interval = validation_interval(object.store_spec(), default);
    let timer = context.metrics.start(&S::kind(&()));
    let (validated, interval) = match interval {
        Ok(interval) => (validate(&*object, &context).await, interval),
        Err(error) => (Err(StoreValidationError::Interval(error)), default),
    };
    let namespace = object.namespace().unwrap_or_default();
    let result = ReconcileResult::of(&validated);
    timer.finish(result, &object.name_any(), &namespace);
    let wait = record_in_cache(&context, (&key, &fingerprint), interval, &validated);
    record_status(&*object, &context, queue.as_ref(), now, &validated).await?;
    Ok(Action::requeue(wait))
}

/// Everything that decides what a validation finds, besides AWS.
fn fingerprint<S: Store>(object: &S, queue: Option<&QueueCondition>) -> Fingerprint {
    let metadata = object.meta();
    let uid = metadata.uid.clone().unwrap_or_default();
    let generation = metadata.generation.unwrap_or_default().to_string();
    let queue = queue.map_or_else(Vec::new, |queue| {
        vec![
            queue.status.to_owned(),
            queue.reason.to_owned(),
            queue.message.clone(),
        ]
    });
    Fingerprint::of([uid, generation].into_iter().chain(queue))
}

/// Records the validation, and gives the wait before the next one.
fn record_in_cache(
    context: &SecretStoreContext,
    (key, fingerprint): (&ObjectKey, &Fingerprint),
    interval: Duration,
    validated: &Validated,
) -> Duration {
    let (cache, now) = (&context.reconcile_cache, Instant::now());
    if validated.is_ok() {
        cache.succeeded(key, fingerprint, now, interval);
        return interval;
    }
    let bounds = (Duration::from_secs(1), interval);
    cache.failed(key, fingerprint, now, bounds)
}

/// Writes the event, the metric and the status of a validation.
async fn record_status<S: Store>(
    object: &S,
    context: &SecretStoreContext,
    queue: Option<&QueueCondition>,
    now: Timestamp,
    validated: &Validated,
) -> Result<(), kube::Error> {
    let old = object.store_status().cloned().unwrap_or_default();
    let report = ValidationReport::new(validated.as_ref().map(|(validation, _)| *validation));
    if report.is_news(&old) {
        let type_ = if report.is_normal() {
            EventType::Normal
        } else {
            EventType::Warning
        };
        let (reason, message) = (report.reason, &report.message);
        context
            .events
            .publish(S::COMPONENT, object, type_, reason, message)
            .await;
        warn_unmaintained(object, context).await;
    }
    let namespace = object.namespace().unwrap_or_default();
    let (kind, name) = (S::kind(&()), object.name_any());
    context
        .metrics
        .store(&kind, &namespace, &name, validated.is_ok());
    let queue = queue.map(|queue| ConditionState {
        type_: "RotationEvents",
        status: queue.status,
        reason: queue.reason,
        message: &queue.message,
    });
    let capabilities = validated.as_ref().map(|(_, capabilities)| *capabilities);
    let new = report.next_status(&old, capabilities.ok(), queue.as_ref(), now);
    if object.store_status() == Some(&new) {
        return Ok(());
    }
    let written = write_status(&object.api(&context.client), object, &new).await;
    written.map(drop)
}

/// Forgets a store that is gone.
pub(crate) fn forget(context: &SecretStoreContext, key: &ObjectKey) {
    context.reconcile_cache.forget(key);
    context.store_permits.forget(key);
    let NamespacedName { namespace, name } = &key.name;
    context.metrics.forget_store(&key.kind, namespace, name);
}

/// Writes a warning event about a provider that is only for tests, as External Secrets does.
async fn warn_unmaintained<S: Store>(object: &S, context: &SecretStoreContext) {
    let provider = provider_of(object, context).await.ok().flatten();
    let is_unmaintained = provider.is_some_and(|provider| !provider.is_maintained());
    if is_unmaintained && !object.annotations().contains_key(IGNORE_MAINTENANCE) {
        let (type_, reason) = (EventType::Warning, "StoreUnmaintained");
        let note = "the provider of this store is not maintained: it is for tests";
        context
            .events
            .publish(S::COMPONENT, object, type_, reason, note)
            .await;
    }
}

/// Tries the store as cheaply as possible.
async fn validate<S: Store>(object: &S, context: &SecretStoreContext) -> Validated {
    let provider = provider_of(object, context).await;
    let provider = provider.map_err(StoreValidationError::Client)?;
    // The identity depends on the namespace of the ExternalSecret, so nothing can be tried.
    let Some(provider) = provider else {
        return Ok((Validation::Ready, Capabilities::ReadWrite));
    };
    let validation = provider
        .validate()
        .await
        .map_err(StoreValidationError::Provider)?;
    tracing::debug!(store = %object.name_any(), "validated");
    Ok((validation, provider.capabilities()))
}

/// The provider of the store itself, without an ExternalSecret. `None` if it depends on the ExternalSecret's namespace.
async fn provider_of<S: Store>(
    object: &S,
    context: &SecretStoreContext,
) -> Result<Option<Arc<dyn Provider>>, StoreError> {
    let providers = &context.providers;
    providers
        .of(object.store_name(), object.store_spec(), None)
        .await
}

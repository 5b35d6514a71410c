//! Talks to the API server: records what came of a sync: in the caches, as events, and in the status.

use std::time::Instant;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;

use crate::controllers::ReconcileError;
use crate::controllers::events::Component;
use crate::controllers::external_secret::context::ExternalSecretContext;
use crate::controllers::external_secret::error::SecretSyncError;
use crate::controllers::external_secret::read::{StoreReads, watch};
use crate::controllers::external_secret::sync::Synchronized;
use crate::controllers::objects::{api_of, write_status};
use overlayd_core::api::external_secret::ExternalSecret;
use overlayd_core::names::{NamespacedName, ObjectKey};
use overlayd_core::reconcile_cache::Fingerprint;
use overlayd_core::secrets::last_sync::LastSync;
use overlayd_core::secrets::observed::{
    ObservedExternalSecret, Requeue, requeue_after_sync, target_name, version,
};
use overlayd_core::secrets::retry::retry_bounds;
use overlayd_core::secrets::sync_status::{
    SecretSyncFailure, StatusContext, SyncOutcome, contention_event, next_status, sync_events,
    write_event,
};

/// A sync, with its outcome or error.
pub(super) type SecretSyncResult = Result<SyncOutcome, SecretSyncError>;

/// The action of kube's controller that a requeue stands for.
pub(super) fn action(requeue: Requeue) -> Action {
    match requeue {
        Requeue::After(wait) => Action::requeue(wait),
        Requeue::OnChange => Action::await_change(),
    }
}

/// Records a Secret that was found as it should be: it is not read again before it changes, and the values that another
/// process has read are watched by this one.
pub(super) fn record_kept(
    observed: &ObservedExternalSecret<'_>,
    context: &ExternalSecretContext,
    last_sync: Option<LastSync>,
    reads: Result<StoreReads, SecretSyncError>,
) {
    let name = NamespacedName::of(observed.object);
    if let Some(last_sync) = last_sync {
        // As after a sync, so that alerts see no gap after a restart.
        context
            .metrics
            .external_secret_is(&name.namespace, &name.name, true);
        context.last_syncs.set(&name, last_sync);
    }
    if let (Ok(reads), false) = (reads, context.fetcher.is_watched(&name)) {
        watch(observed, context, reads.watchable());
    }
}

/// Records a sync in the caches, and gives the time of the next one.
///
/// # Errors
/// A conflict with another writer of the Secret: the reconcile is tried again at once, and no condition tells it.
pub(super) fn record_in_caches(
    observed: &ObservedExternalSecret<'_>,
    context: &ExternalSecretContext,
    fingerprint: &Fingerprint,
    result: Result<Synchronized, SecretSyncError>,
) -> Result<(SecretSyncResult, Requeue), ReconcileError> {
    let object = observed.object;
    let (name, key) = (NamespacedName::of(object), ObjectKey::of(object));
    match result {
        Ok(Synchronized {
            mut outcome,
            reading,
        }) => {
            context.reconcile_cache.forget(&key);
            let last_sync = observed.last_sync_of(&outcome);
            outcome.note_contention(&last_sync.repairs, object.spec.target.creation_policy);
            context.last_syncs.set(&name, last_sync);
            let is_watched = watch(observed, context, reading);
            if !is_watched {
                context.fetcher.unwatch(&name);
            }
            let settings = &context.settings;
            let requeue =
                requeue_after_sync(object, is_watched, settings.status_heartbeat, |interval| {
                    settings.jitter.spread(interval, object)
                });
            Ok((Ok(outcome), requeue))
        }
        Err(SecretSyncError::Conflict(error)) => {
            context.last_syncs.failed(&name);
            Err(error.into())
        }
        Err(error) => {
            context.last_syncs.failed(&name);
            let bounds = retry_bounds(error.class());
            let wait = context
                .reconcile_cache
                .failed(&key, fingerprint, Instant::now(), bounds);
            Ok((Err(error), Requeue::After(wait)))
        }
    }
}

/// Writes the events of a sync, and logs it.
pub(super) async fn publish_events(
    context: &ExternalSecretContext,
    object: &ExternalSecret,
    result: &SecretSyncResult,
) {
    let publish = async |type_, reason: &str, note: &str| {
        context
            .events
            .publish(Component::ExternalSecrets, object, type_, reason, note)
            .await;
    };
    let NamespacedName { namespace, name } = NamespacedName::of(object);
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            let (note, category) = (error.to_string(), error.category());
            tracing::warn!(external_secret = %name, %namespace, category, error = note, "not synced");
            return publish(EventType::Warning, "UpdateFailed", &note).await;
        }
    };
    for event in sync_events(outcome) {
        publish(EventType::Normal, event.reason, &event.note).await;
    }
    if let Some(event) = contention_event(outcome) {
        tracing::warn!(external_secret = %name, %namespace, note = event.note, "contended");
        publish(EventType::Warning, event.reason, &event.note).await;
    }
    if let Some((reason, _)) = write_event(outcome) {
        tracing::info!(external_secret = %name, %namespace, reason, "synced");
    }
}

/// Counts the sync, and writes the status if it says something new.
pub(super) async fn record_status(
    context: &ExternalSecretContext,
    object: &ExternalSecret,
    result: &SecretSyncResult,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let name = NamespacedName::of(object);
    context
        .metrics
        .external_secret(&name.namespace, &name.name, result.is_ok());
    let old = object.status.clone().unwrap_or_default();
    let failure = |error: &SecretSyncError| SecretSyncFailure {
        message: error.condition_message(),
    };
    let result = result.as_ref().map_err(failure);
    let facts = StatusContext {
        target: &target_name(object),
        creation: object.spec.target.creation_policy,
        version: &version(object),
        heartbeat: context.settings.status_heartbeat,
        now,
    };
    let new = next_status(&old, result.as_ref().copied(), &facts);
    if object.status.as_ref() == Some(&new) {
        return Ok(());
    }
    let api = api_of(&context.client, object);
    let written = write_status(&api, object, &new).await;
    written.map(drop).inspect_err(|_| {
        // The next sync says what could not be written, and it must not wait for a change.
        context.last_syncs.failed(&name);
        context.fetcher.unwatch(&name);
    })
}

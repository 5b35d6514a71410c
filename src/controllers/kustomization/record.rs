//! Records how a reconcile ended: status, events, metrics, and what the next reconcile builds on.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;
use overlayd_core::api::kustomization::{Kustomization, KustomizationStatus};
use overlayd_core::kustomization::due::RequeueTimes;
use overlayd_core::kustomization::events::{ReconcileEvent, events};
use overlayd_core::kustomization::is_ready;
use overlayd_core::kustomization::status::{Attempt, KustomizationOutcome};
use overlayd_core::names::NamespacedName;
use overlayd_core::schedule::parse_interval;

use crate::controllers::events::Component;
use crate::controllers::kustomization::context::{KustomizationContext, KustomizationSettings};
use crate::controllers::objects::write_status;
use crate::metrics::UnitState;

/// The interval of an object whose interval cannot be read.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(300);

/// Writes a status, unless it is the one that the object has already.
pub(super) async fn write(
    context: &KustomizationContext,
    api: &Api<Kustomization>,
    object: &Kustomization,
    status: &KustomizationStatus,
) -> Result<(), kube::Error> {
    if context.written.newest(object) == *status {
        return Ok(());
    }
    let version = write_status(api, object, status).await?;
    context.written.put(object, version.as_deref(), status);
    Ok(())
}

/// The times of an object, by which the next reconcile is due.
pub(super) fn requeue_times(
    object: &Kustomization,
    settings: &KustomizationSettings,
    applied_until: Option<Timestamp>,
) -> RequeueTimes {
    let interval = parse_interval(&object.spec.interval).unwrap_or(DEFAULT_INTERVAL);
    let retry = object.spec.retry_interval.as_deref();
    RequeueTimes {
        interval,
        jittered_interval: settings.jitter.spread(interval, object),
        retry_interval: retry.and_then(parse_interval),
        dependency_interval: settings.requeue_dependency,
        applied_until,
    }
}

/// The state of a Kustomization, for the metrics.
pub(super) fn unit_state(
    status: &KustomizationStatus,
    outcome: &KustomizationOutcome,
    now: Timestamp,
) -> UnitState {
    let inventory = status.inventory.as_ref();
    let mut state = UnitState {
        is_ready: is_ready(status),
        inventory: inventory.map_or(0, |inventory| inventory.entries.len()),
        ..UnitState::default()
    };
    match outcome {
        KustomizationOutcome::Applied(applied) => {
            state.succeeded = Some(now.as_second());
            if !applied.digest.is_empty() {
                state.drifted = Some(applied.drifted.len());
                state.opted_out = Some(applied.opted_out.len());
            }
        }
        KustomizationOutcome::Failed(failure) => {
            state.pending_deletions = failure.pending_deletions;
        }
        _ => {}
    }
    state
}

/// Publishes the outcome of a reconcile in events and in the log. `old` is the status before it.
pub(super) async fn announce(
    context: &KustomizationContext,
    object: &Kustomization,
    old: &KustomizationStatus,
    outcome: &KustomizationOutcome,
    attempt: &Attempt,
) {
    let revision = attempt.revision.as_deref();
    log(&object.name_any(), revision, outcome);
    for event in events(old, object, outcome, attempt) {
        publish(context, object, revision, &event).await;
    }
}

/// Publishes an event about a revision.
pub(super) async fn publish(
    context: &KustomizationContext,
    object: &Kustomization,
    revision: Option<&str>,
    event: &ReconcileEvent,
) {
    let mut facts = vec![("revision", revision.unwrap_or_default())];
    if event.is_commit_status {
        facts.push(("commit_status", "update"));
    }
    let told = (event.severity, event.reason, event.note.as_str());
    let (events, component) = (&context.events, Component::Kustomize);
    events.publish_with(component, object, &facts, told).await;
}

fn log(name: &str, revision: Option<&str>, outcome: &KustomizationOutcome) {
    match outcome {
        KustomizationOutcome::Applied(applied) => {
            let (changes, deletions) = (&applied.changes, &applied.deletions);
            if !changes.is_empty() || !deletions.is_empty() {
                tracing::info!(kustomization = %name, revision, changes, deletions, "applied");
            }
        }
        KustomizationOutcome::Failed(failure) => {
            let (reason, error) = (failure.reason, &failure.message);
            tracing::warn!(kustomization = %name, revision, reason, error, "not applied");
        }
        _ => {}
    }
}

/// Logs and counts a revision that changes nothing.
pub(super) fn log_skipped(context: &KustomizationContext, unit: &NamespacedName) {
    let NamespacedName { namespace, name } = unit;
    tracing::info!(
        namespace,
        kustomization = name,
        "the revision changes nothing that was built"
    );
    context.metrics.skipped_build(namespace, name);
}

//! What a reconcile says at its end: status, events, and when it is done again.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::EventType;
use kube::{Resource as _, ResourceExt as _};

use crate::controllers::Context;
use crate::controllers::context::Settings;
use crate::controllers::events::Component;
use crate::controllers::kustomization::{Outcome, SyncError, is_ready};
use crate::daemon::metrics::UnitState;
use overlayd_core::api::kustomization::{HistoryEntry, Kustomization, KustomizationStatus};
use overlayd_core::apply::guard::GuardError;
use overlayd_core::apply::plan::PlanError;
use overlayd_core::conditions::{Progress, Says, flux_condition, flux_conditions};
use overlayd_core::schedule::{parse_duration, seconds};

/// The condition of a Kustomization outside of its windows.
const WINDOW: &str = "SyncWindow";

/// Writes what came of a reconcile into the status.
pub(super) fn conclude(
    object: &Kustomization,
    status: &mut KustomizationStatus,
    outcome: &Outcome,
    revision: Option<String>,
    started: Timestamp,
    now: Timestamp,
) {
    let generation = object.meta().generation.unwrap_or_default();
    let (progress, reason, message) = match outcome {
        Outcome::Done(_) => {
            status.observed_generation = generation;
            status.last_attempted_revision.clone_from(&revision);
            status.last_applied_revision.clone_from(&revision);
            let message = format!("Applied revision: {}", revision.unwrap_or_default());
            (Progress::Ready, "ReconciliationSucceeded", message)
        }
        Outcome::Waiting { message, .. } => (Progress::Waiting, "Progressing", message.clone()),
        Outcome::Closed(wait) => return closed(object, status, *wait, now),
        Outcome::Reported(lines) => {
            status.observed_generation = generation;
            status.last_attempted_revision.clone_from(&revision);
            reported(lines, &revision.unwrap_or_default())
        }
        Outcome::Failed(error) if error.is_stalled() => {
            status.observed_generation = generation;
            (Progress::Stalled, error.reason(), error.to_string())
        }
        Outcome::Failed(error) => (Progress::Retrying, error.reason(), error.to_string()),
    };
    remember(status, outcome, reason, started, now);
    let old = std::mem::take(&mut status.conditions);
    status.conditions = flux_conditions(&old, generation, progress, reason, &message, now);
    let more = asides(outcome, &old);
    let more = more.iter().map(|(type_, message)| {
        let says = Says {
            type_,
            status: "True",
            reason: type_,
            message,
        };
        flux_condition(&old, generation, &says, now)
    });
    status.conditions.extend(more);
    let healthy = match outcome {
        _ if !object.spec.wait && object.spec.health_checks.is_empty() => None,
        Outcome::Done(_) => Some(("True", "Succeeded", "Health check passed")),
        Outcome::Waiting { message, .. } => Some(("Unknown", "Progressing", message.as_str())),
        Outcome::Failed(SyncError::Health(message)) => {
            Some(("False", "HealthCheckFailed", message.as_str()))
        }
        // Nothing is known anew.
        Outcome::Failed(_) | Outcome::Reported(_) | Outcome::Closed(_) => {
            let known = old
                .into_iter()
                .filter(|condition| condition.type_ == "Healthy");
            status.conditions.extend(known);
            return;
        }
    };
    if let Some((state, reason, message)) = healthy {
        let says = Says {
            type_: "Healthy",
            status: state,
            reason,
            message,
        };
        let condition = flux_condition(&old, generation, &says, now);
        status.conditions.push(condition);
    }
}

/// What stands beside `Ready`: what was left as it is. Of a build that was skipped nothing is known anew.
fn asides(outcome: &Outcome, old: &[Condition]) -> Vec<(&'static str, String)> {
    let kept = |type_: &'static str| {
        let found = old.iter().find(|condition| condition.type_ == type_);
        found.map(|found| (type_, found.message.clone()))
    };
    match outcome {
        Outcome::Done(applied) if !applied.digest.is_empty() => {
            let drifted = ("Drifted", applied.drifted.join("; "));
            let opted_out = ("OptedOut", applied.opted_out.join("; "));
            let asides = [drifted, opted_out].into_iter();
            asides.filter(|(_, message)| !message.is_empty()).collect()
        }
        _ => [kept("Drifted"), kept("OptedOut")]
            .into_iter()
            .flatten()
            .collect(),
    }
}

/// What is said where nothing may be changed.
fn reported(lines: &[String], revision: &str) -> (Progress, &'static str, String) {
    if lines.is_empty() {
        let message = format!("report only: revision {revision} would change nothing");
        return (Progress::Ready, "InSync", message);
    }
    let message = format!(
        "report only: revision {revision} would change this: {}",
        lines.join("; ")
    );
    (Progress::Reported, "OutOfSync", message)
}

/// Outside of its windows an object stays as it is, and says so.
fn closed(
    object: &Kustomization,
    status: &mut KustomizationStatus,
    wait: Duration,
    now: Timestamp,
) {
    let opens = seconds(now.checked_add(wait).unwrap_or(now));
    let message = format!(
        "outside of its sync windows: nothing is applied, corrected or deleted; looked at again at {opens}"
    );
    let generation = object.meta().generation.unwrap_or_default();
    let old = std::mem::take(&mut status.conditions);
    let says = Says {
        type_: WINDOW,
        status: "False",
        reason: "Closed",
        message: &message,
    };
    let condition = flux_condition(&old, generation, &says, now);
    status.conditions = old
        .into_iter()
        .filter(|condition| condition.type_ != WINDOW)
        .collect();
    status.conditions.push(condition);
}

/// Keeps the last outcomes of what was built, newest first, as Flux does. A reconcile that brings nothing new is not
/// counted, since that would cost a write each time.
fn remember(
    status: &mut KustomizationStatus,
    outcome: &Outcome,
    reason: &str,
    started: Timestamp,
    now: Timestamp,
) {
    const KEPT: usize = 5;
    let digest = match outcome {
        Outcome::Done(applied) if !applied.digest.is_empty() => &applied.digest,
        _ => return,
    };
    let took = Duration::try_from(now.duration_since(started)).unwrap_or_default();
    let revision = status.last_attempted_revision.clone().unwrap_or_default();
    if let Some(last) = status.history.first_mut()
        && last.digest == *digest
        && last.last_reconciled_status == reason
    {
        if last.metadata.get("revision") != Some(&revision) {
            last.metadata.insert("revision".to_owned(), revision);
            last.last_reconciled = seconds(now);
            last.last_reconciled_duration = format!("{}ms", took.as_millis());
            last.total_reconciliations += 1;
        }
        return;
    }
    let entry = HistoryEntry {
        digest: digest.clone(),
        first_reconciled: seconds(now),
        last_reconciled: seconds(now),
        last_reconciled_duration: format!("{}ms", took.as_millis()),
        last_reconciled_status: reason.to_owned(),
        total_reconciliations: 1,
        metadata: [("revision".to_owned(), revision)].into(),
    };
    status.history.insert(0, entry);
    status.history.truncate(KEPT);
}

/// How it stands, for the metrics.
pub(super) fn state(status: &KustomizationStatus, outcome: &Outcome, now: Timestamp) -> UnitState {
    let inventory = status.inventory.as_ref();
    let mut state = UnitState {
        is_ready: is_ready(status),
        inventory: inventory.map_or(0, |inventory| inventory.entries.len()),
        ..UnitState::default()
    };
    match outcome {
        Outcome::Done(applied) => {
            state.succeeded = Some(now.as_second());
            if !applied.digest.is_empty() {
                state.drifted = Some(applied.drifted.len());
                state.opted_out = Some(applied.opted_out.len());
            }
        }
        Outcome::Failed(SyncError::Plan(PlanError::Guarded(GuardError { count, .. }))) => {
            state.pending_deletions = *count;
        }
        _ => {}
    }
    state
}

/// Says what came of a reconcile, in events and in the log.
pub(super) async fn announce(
    context: &Context,
    object: &Kustomization,
    outcome: &Outcome,
    revision: Option<&str>,
) {
    let revision = revision.unwrap_or_default();
    let publish = async |type_, reason: &str, note: &str| {
        context
            .events
            .publish_of(
                Component::Kustomize,
                object,
                revision,
                type_,
                (reason, note),
            )
            .await;
    };
    match outcome {
        Outcome::Waiting { .. } | Outcome::Closed(_) => {}
        Outcome::Done(applied) => {
            if !applied.changes.is_empty() {
                let changes = &applied.changes;
                tracing::info!(kustomization = %object.name_any(), revision, changes, "applied");
                publish(EventType::Normal, "Progressing", changes).await;
            }
            if !applied.drifted.is_empty() {
                publish(EventType::Warning, "Drifted", &applied.drifted.join("\n")).await;
            }
        }
        Outcome::Reported(lines) if lines.is_empty() => {}
        Outcome::Reported(lines) => {
            publish(EventType::Normal, "OutOfSync", &lines.join("\n")).await;
        }
        // That both objects are new and the source is not there yet is no event.
        Outcome::Failed(SyncError::Source(_)) if revision.is_empty() => {}
        Outcome::Failed(error) => {
            tracing::warn!(kustomization = %object.name_any(), revision, reason = error.reason(), %error, "not applied");
            let type_ = match error {
                SyncError::Dependency(_) => EventType::Normal,
                _ => EventType::Warning,
            };
            publish(type_, error.reason(), &error.to_string()).await;
        }
    }
}

/// How long the object can be left alone.
pub(super) fn next_wait(
    object: &Kustomization,
    settings: &Settings,
    outcome: &Outcome,
    due: Option<Timestamp>,
    now: Timestamp,
) -> Duration {
    const FOUGHT: Duration = Duration::from_secs(121);
    let interval = parse_duration(&object.spec.interval).unwrap_or(Duration::from_secs(300));
    let retry = object
        .spec
        .retry_interval
        .as_deref()
        .and_then(parse_duration);
    match (outcome, due) {
        (Outcome::Waiting { again, .. }, _) => *again,
        (Outcome::Closed(wait), _) => (*wait).max(Duration::from_millis(100)),
        // A fight that is left alone for a while is looked at again after that.
        (Outcome::Done(applied), None) if !applied.drifted.is_empty() => interval.min(FOUGHT),
        (Outcome::Reported(_), _) => settings.jittered(interval, object),
        (Outcome::Done(_), Some(due)) => due.duration_since(now).try_into().unwrap_or_default(),
        (Outcome::Done(_), None) => settings.jittered(interval, object),
        // A dependency wakes its dependents; this is the net below that.
        (Outcome::Failed(SyncError::Dependency(_)), _) => settings.requeue_dependency,
        (Outcome::Failed(error), _) if error.is_stalled() => Duration::from_secs(3600),
        (Outcome::Failed(_), _) => retry.unwrap_or(interval),
    }
}

//! Pure: the status of a Kustomization after a reconcile: one function from the outcome to conditions and history.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::kustomization::{
    HistoryEntry, Kustomization, KustomizationSpec, KustomizationStatus,
};
use crate::conditions::{ConditionState, Progress, flux_condition, flux_conditions};
use crate::schedule::seconds;

/// The type of the condition of a Kustomization outside of its sync windows.
const SYNC_WINDOW: &str = "SyncWindow";
/// The condition and failure reason of objects that did not become healthy, as Flux calls it.
pub const HEALTH_CHECK_FAILED: &str = "HealthCheckFailed";
/// The reason of `Ready` after a revision was applied, as Flux calls it.
pub const SUCCEEDED: &str = "ReconciliationSucceeded";
/// The condition of objects that differ from git and were left so.
const DRIFTED: &str = "Drifted";
/// How many history entries a status keeps, as Flux does.
const HISTORY_LENGTH: usize = 5;

/// How a reconcile ended. Messages are those that users read, with values of Secrets taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KustomizationOutcome {
    /// The revision is applied, healthy, and everything else is pruned.
    Applied(AppliedRevision),
    /// Nothing was changed because only a report is wanted: one line for each object that would change.
    Reported(Vec<String>),
    /// Nothing was changed because the sync windows are closed for this time.
    HeldBack(Duration),
    /// A rollout waits, for health or to settle.
    RollingOut {
        /// What it waits for.
        message: String,
        /// It is continued after this time at the latest.
        after: Duration,
    },
    /// The revision was not applied to its end.
    Failed(SyncFailure),
}

/// What an applied revision has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppliedRevision {
    /// What was created or changed in the cluster, one line for each object; empty if nothing was.
    pub changes: String,
    /// What was deleted, one line for each object; empty if nothing was.
    pub deletions: String,
    /// When the rollout began, if it waited through several reconciles.
    pub began: Option<Timestamp>,
    /// Names what was built; empty if nothing was, because nothing that decides had changed.
    pub digest: String,
    /// What others have changed and was left so, one line for each object.
    pub drifted: Vec<String>,
    /// Objects that ask to be left alone, and how, one line for each.
    pub opted_out: Vec<String>,
    /// What is not deleted yet, and why; empty if everything is.
    pub postponed: String,
}

/// Why a revision was not applied to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncFailure {
    /// When it is tried again.
    pub class: ErrorClass,
    /// The reason of the condition and of the event, in Flux's words.
    pub reason: &'static str,
    /// What failed, where, and what to do.
    pub message: String,
    /// How many deletions wait for an approval.
    pub pending_deletions: usize,
}

impl SyncFailure {
    /// True if the revision could not be built, so that it is not known what the Kustomization wants.
    pub fn is_unbuilt(&self) -> bool {
        matches!(self.reason, "BuildFailed" | "ArtifactFailed")
    }

    /// True if the revision was tried: nothing else stood in the way of the build.
    fn is_attempt(&self) -> bool {
        const BEFORE: [&str; 6] = [
            "AccessDenied",
            "DependencyNotReady",
            "FeatureGateDisabled",
            "InvalidAnnotation",
            "InvalidCELExpression",
            "InvalidReference",
        ];
        !BEFORE.contains(&self.reason)
    }
}

/// When an error is worth another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// At the retry interval.
    Transient,
    /// When the thing that it needs changes.
    Waiting,
    /// When the spec changes.
    Permanent,
}

/// One reconcile, for its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The revision of the source; `None` if it has fetched nothing yet.
    pub revision: Option<String>,
    /// Names what was built; empty if nothing was.
    pub digest: String,
    /// When the reconcile began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

/// The conditions and the history after an outcome. Inventory and handled requests of `status` stay as they are.
pub fn next_status(
    mut status: KustomizationStatus,
    object: &Kustomization,
    outcome: &KustomizationOutcome,
    attempt: &Attempt,
) -> KustomizationStatus {
    let generation = object.metadata.generation.unwrap_or_default();
    let old = std::mem::take(&mut status.conditions);
    if let KustomizationOutcome::HeldBack(wait) = outcome {
        status.conditions = held_back(old, generation, *wait, attempt.ended);
        return status;
    }
    if is_observed(outcome) {
        status.observed_generation = generation;
    }
    match outcome {
        KustomizationOutcome::Applied(_) => {
            status.last_attempted_revision.clone_from(&attempt.revision);
            status.last_applied_revision.clone_from(&attempt.revision);
        }
        KustomizationOutcome::Failed(failure) if !failure.is_attempt() => {}
        _ if attempt.revision.is_some() => {
            status.last_attempted_revision.clone_from(&attempt.revision);
        }
        _ => {}
    }
    let revision = attempt.revision.as_deref().unwrap_or_default();
    let notes = notes(outcome, &old);
    let (progress, reason, message) = ready(outcome, revision, &notes);
    match outcome {
        KustomizationOutcome::Applied(applied) if !applied.digest.is_empty() => {
            record(&mut status, &applied.digest, reason, attempt);
        }
        KustomizationOutcome::Failed(_) if !attempt.digest.is_empty() => {
            record(&mut status, &attempt.digest, reason, attempt);
        }
        _ => {}
    }
    status.conditions =
        flux_conditions(&old, generation, progress, reason, &message, attempt.ended);
    let extra = notes
        .into_iter()
        .map(|(type_, message)| (type_, "True", type_, message));
    for (type_, status_, reason, message) in extra.chain(healthy(&object.spec, outcome)) {
        let state = ConditionState {
            type_,
            status: status_,
            reason,
            message: &message,
        };
        let condition = flux_condition(&old, generation, &state, attempt.ended);
        status.conditions.push(condition);
    }
    if keeps_health(&object.spec, outcome) {
        let known = old.into_iter().filter(|known| known.type_ == "Healthy");
        status.conditions.extend(known);
    }
    status
}

/// True if nothing more is done for the generation, so that clients which wait for it can go on.
fn is_observed(outcome: &KustomizationOutcome) -> bool {
    match outcome {
        KustomizationOutcome::Applied(_) | KustomizationOutcome::Reported(_) => true,
        KustomizationOutcome::Failed(failure) => failure.class == ErrorClass::Permanent,
        KustomizationOutcome::RollingOut { .. } | KustomizationOutcome::HeldBack(_) => false,
    }
}

/// What `Ready` and its companions say.
fn ready(
    outcome: &KustomizationOutcome,
    revision: &str,
    notes: &[Note],
) -> (Progress, &'static str, String) {
    match outcome {
        KustomizationOutcome::Applied(_) => {
            let drifted = notes.iter().find(|(type_, _)| *type_ == DRIFTED);
            let drifted = drifted.map(|(_, lines)| format!("; not in line with it: {lines}"));
            let drifted = drifted.unwrap_or_default();
            let message = format!("Applied revision: {revision}{drifted}");
            (Progress::Ready, SUCCEEDED, message)
        }
        KustomizationOutcome::RollingOut { message, .. } => {
            (Progress::Waiting, "Progressing", message.clone())
        }
        KustomizationOutcome::Reported(lines) if lines.is_empty() => (
            Progress::Ready,
            "InSync",
            format!("report only: revision {revision} would change nothing"),
        ),
        KustomizationOutcome::Reported(lines) => (
            Progress::Reported,
            "OutOfSync",
            format!(
                "report only: revision {revision} would change this: {}",
                lines.join("; ")
            ),
        ),
        KustomizationOutcome::Failed(failure) => {
            let progress = match failure.class {
                ErrorClass::Permanent => Progress::Stalled,
                ErrorClass::Transient | ErrorClass::Waiting => Progress::Retrying,
            };
            (progress, failure.reason, failure.message.clone())
        }
        // The other conditions stay as they are.
        KustomizationOutcome::HeldBack(_) => (Progress::Reported, "Closed", String::new()),
    }
}

type ConditionText = (&'static str, &'static str, &'static str, String);

/// `Healthy`, where health was checked and is known anew.
fn healthy(spec: &KustomizationSpec, outcome: &KustomizationOutcome) -> Option<ConditionText> {
    if !checks_health(spec) {
        return None;
    }
    let (status, reason, message) = match outcome {
        KustomizationOutcome::Applied(_) => ("True", "Succeeded", "Health check passed".to_owned()),
        KustomizationOutcome::RollingOut { message, .. } => {
            ("Unknown", "Progressing", message.clone())
        }
        KustomizationOutcome::Failed(failure) if failure.reason == HEALTH_CHECK_FAILED => {
            ("False", HEALTH_CHECK_FAILED, failure.message.clone())
        }
        _ => return None,
    };
    Some(("Healthy", status, reason, message))
}

/// True if a former `Healthy` still holds: health was not checked this time.
fn keeps_health(spec: &KustomizationSpec, outcome: &KustomizationOutcome) -> bool {
    checks_health(spec) && healthy(spec, outcome).is_none()
}

/// True if a spec asks for health checks.
pub(crate) fn checks_health(spec: &KustomizationSpec) -> bool {
    spec.wait || !spec.health_checks.is_empty()
}

/// A condition that is there only while it is true: its type, which is its reason too, and its message.
type Note = (&'static str, String);

/// `Drifted`, `OptedOut` and `PrunePending`: objects that were left as they are. An outcome without a build keeps what
/// was known.
fn notes(outcome: &KustomizationOutcome, old: &[Condition]) -> Vec<Note> {
    const TYPES: [&str; 3] = [DRIFTED, "OptedOut", "PrunePending"];
    match outcome {
        KustomizationOutcome::Applied(applied) if !applied.digest.is_empty() => {
            let (drifted, opted_out) = (&applied.drifted, &applied.opted_out);
            let postponed = applied.postponed.clone();
            let messages = [drifted.join("; "), opted_out.join("; "), postponed];
            let notes = TYPES.into_iter().zip(messages);
            notes.filter(|(_, message)| !message.is_empty()).collect()
        }
        _ => {
            let kept = TYPES.map(|type_| {
                let known = old.iter().find(|condition| condition.type_ == type_);
                known.map(|known| (type_, known.message.clone()))
            });
            kept.into_iter().flatten().collect()
        }
    }
}

/// Outside of its sync windows an object keeps its conditions and gets one that says so.
fn held_back(
    old: Vec<Condition>,
    generation: i64,
    wait: Duration,
    now: Timestamp,
) -> Vec<Condition> {
    let opens = seconds(now.checked_add(wait).unwrap_or(now));
    let message = format!(
        "outside of its sync windows: nothing is applied, corrected or deleted; looked at again at {opens}"
    );
    let state = ConditionState {
        type_: SYNC_WINDOW,
        status: "False",
        reason: "Closed",
        message: &message,
    };
    let condition = flux_condition(&old, generation, &state, now);
    let others = old.into_iter().filter(|old| old.type_ != SYNC_WINDOW);
    others.chain([condition]).collect()
}

/// Records what was built in the history, newest first, as Flux does. A reconcile that brings nothing new is not
/// counted, because that would cost a status write each time.
fn record(status: &mut KustomizationStatus, digest: &str, reason: &str, attempt: &Attempt) {
    let now = attempt.ended;
    let took = Duration::try_from(now.duration_since(attempt.started)).unwrap_or_default();
    let took = format!("{}ms", took.as_millis());
    let revision = attempt.revision.clone().unwrap_or_default();
    if let Some(last) = status.history.first_mut()
        && last.digest == digest
        && last.last_reconciled_status == reason
    {
        if last.metadata.get("revision") != Some(&revision) {
            last.metadata.insert("revision".to_owned(), revision);
            last.last_reconciled = seconds(now);
            last.last_reconciled_duration = took;
            last.total_reconciliations += 1;
        }
        return;
    }
    let entry = HistoryEntry {
        digest: digest.to_owned(),
        first_reconciled: seconds(now),
        last_reconciled: seconds(now),
        last_reconciled_duration: took,
        last_reconciled_status: reason.to_owned(),
        total_reconciliations: 1,
        metadata: [("revision".to_owned(), revision)].into(),
    };
    status.history.insert(0, entry);
    status.history.truncate(HISTORY_LENGTH);
}

#[cfg(test)]
mod tests;

//! Pure: the events that a reconcile of a Kustomization publishes, with the reasons and texts of Flux.
//!
//! `(former status, outcome, attempt) ─events→ ReconcileEvent`. The revision that succeeded is told by one event with the
//! fact `commit_status`, by which Flux's notification-controller turns the status of the commit green.

use std::time::Duration;

use crate::api::kustomization::{Kustomization, KustomizationStatus};
use crate::events::Severity;
use crate::kustomization::is_ready;
use crate::kustomization::status::{
    AppliedRevision, Attempt, ErrorClass, KustomizationOutcome, SUCCEEDED, SyncFailure,
    checks_health,
};

/// The reason of events about a reconcile that is under way.
pub const PROGRESSING: &str = "Progressing";
/// The reason of a failure to get the files of the source.
pub const ARTIFACT_FAILED: &str = "ArtifactFailed";

/// An event about a reconcile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconcileEvent {
    /// Whether it tells of a failure.
    pub severity: Severity,
    /// The reason, in the words of Flux.
    pub reason: &'static str,
    /// For people.
    pub note: String,
    /// It reports the outcome of the revision to the git server.
    pub is_commit_status: bool,
}

impl ReconcileEvent {
    fn info(reason: &'static str, note: impl Into<String>) -> Self {
        Self {
            severity: Severity::Info,
            reason,
            note: note.into(),
            is_commit_status: false,
        }
    }

    fn error(reason: &'static str, note: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            ..Self::info(reason, note)
        }
    }
}

/// The events of an outcome, in the order in which they are published. `old` is the status before the outcome.
pub fn events(
    old: &KustomizationStatus,
    object: &Kustomization,
    outcome: &KustomizationOutcome,
    attempt: &Attempt,
) -> Vec<ReconcileEvent> {
    match outcome {
        KustomizationOutcome::RollingOut { .. } | KustomizationOutcome::HeldBack(_) => Vec::new(),
        KustomizationOutcome::Applied(applied) => of_success(old, object, applied, attempt),
        KustomizationOutcome::Reported(lines) if lines.is_empty() => Vec::new(),
        KustomizationOutcome::Reported(lines) => {
            vec![ReconcileEvent::info("OutOfSync", lines.join("\n"))]
        }
        KustomizationOutcome::Failed(failure) => of_failure(failure),
    }
}

fn of_success(
    old: &KustomizationStatus,
    object: &Kustomization,
    applied: &AppliedRevision,
    attempt: &Attempt,
) -> Vec<ReconcileEvent> {
    let is_new_revision = old.last_applied_revision != attempt.revision;
    let has_changes = !applied.changes.is_empty() || !applied.deletions.is_empty();
    let took = print(took(applied, attempt));
    let mut events = changes(&applied.changes, &applied.deletions);
    if !applied.drifted.is_empty() {
        let note = applied.drifted.join("\n");
        events.push(ReconcileEvent::error("Drifted", note));
    }
    // Where nothing was built, health was not checked either.
    let is_checked = checks_health(&object.spec) && !applied.digest.is_empty();
    if is_checked && (!is_healthy(old) || is_new_revision && has_changes) {
        let note = format!("Health check passed in {took}");
        events.push(ReconcileEvent::info(PROGRESSING, note));
    }
    // An interval without news is not told: it would cost an event each time.
    if is_new_revision || has_changes || !is_ready(old) {
        let interval = crate::schedule::parse_duration(&object.spec.interval);
        let next = print(interval.unwrap_or_default());
        let note = format!("Reconciliation finished in {took}, next run in {next}");
        events.push(ReconcileEvent {
            is_commit_status: true,
            ..ReconcileEvent::info(SUCCEEDED, note)
        });
    }
    events
}

/// The events of what was changed, and of what was deleted. They are two, so that a long list of changes does not push
/// the deletions beyond the end of a note.
pub fn changes(changes: &str, deletions: &str) -> Vec<ReconcileEvent> {
    let told = [changes, deletions].into_iter();
    let told = told.filter(|text| !text.is_empty());
    told.map(|text| ReconcileEvent::info(PROGRESSING, text))
        .collect()
}

fn of_failure(failure: &SyncFailure) -> Vec<ReconcileEvent> {
    let (reason, note) = (failure.reason, failure.message.as_str());
    match failure.class {
        // The Kustomization and its source are both new, and the source is not fetched yet.
        ErrorClass::Waiting if reason == ARTIFACT_FAILED => Vec::new(),
        ErrorClass::Waiting => vec![ReconcileEvent::info(reason, note)],
        ErrorClass::Transient | ErrorClass::Permanent => vec![ReconcileEvent::error(reason, note)],
    }
}

fn is_healthy(status: &KustomizationStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| condition.type_ == "Healthy" && condition.status == "True")
}

/// The time from the beginning of the rollout, which may have waited through several reconciles.
fn took(applied: &AppliedRevision, attempt: &Attempt) -> Duration {
    let began = applied.began.unwrap_or(attempt.started);
    Duration::try_from(attempt.ended.duration_since(began)).unwrap_or_default()
}

/// A duration as Go prints it, in whole milliseconds.
fn print(duration: Duration) -> String {
    let milliseconds = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    gocompat::duration::print(milliseconds.saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::kustomization::fixture::kustomization;
    use crate::kustomization::status::next_status;

    fn attempt(revision: &str) -> Attempt {
        let started = Timestamp::from_second(1_767_225_600).unwrap();
        Attempt {
            revision: Some(revision.to_owned()),
            started,
            ended: started + Duration::from_millis(1500),
            digest: String::new(),
        }
    }

    fn applied(changes: &str, deletions: &str) -> KustomizationOutcome {
        KustomizationOutcome::Applied(AppliedRevision {
            changes: changes.to_owned(),
            deletions: deletions.to_owned(),
            digest: "d".to_owned(),
            ..AppliedRevision::default()
        })
    }

    fn failed(class: ErrorClass, reason: &'static str) -> KustomizationOutcome {
        KustomizationOutcome::Failed(SyncFailure {
            class,
            reason,
            message: "broken".to_owned(),
            pending_deletions: 0,
        })
    }

    /// Checks the events of outcomes in a row, each with its revision, as `type reason: note`.
    fn check(spec: &Value, outcomes: &[(&str, KustomizationOutcome)], expected: &[&[&str]]) {
        let object = kustomization("app", spec, &json!({}));
        let mut status = KustomizationStatus::default();
        for ((revision, outcome), expected) in outcomes.iter().zip(expected) {
            let attempt = attempt(revision);
            let events = events(&status, &object, outcome, &attempt);
            let lines: Vec<String> = events.iter().map(line).collect();
            assert_eq!(&lines, expected, "{revision}: {outcome:?}");
            status = next_status(status, &object, outcome, &attempt);
        }
        assert_eq!(outcomes.len(), expected.len());
    }

    fn line(event: &ReconcileEvent) -> String {
        let mark = if event.is_commit_status { " *" } else { "" };
        let type_ = event.severity.event_type();
        format!("{type_} {}: {}{mark}", event.reason, event.note)
    }

    const FINISHED: &str =
        "Normal ReconciliationSucceeded: Reconciliation finished in 1.5s, next run in 1m0s *";

    #[test]
    fn each_revision_and_each_recovery_is_told_and_an_interval_without_news_is_not() {
        let skipped = KustomizationOutcome::Applied(AppliedRevision::default());
        check(
            &json!({}),
            &[
                ("a", applied("ConfigMap/n/a created", "")),
                ("a", applied("", "")),
                ("b", applied("", "ConfigMap/n/a deleted")),
                ("c", skipped),
                ("c", failed(ErrorClass::Transient, "BuildFailed")),
                ("c", applied("", "")),
                ("c", applied("ConfigMap/n/a configured", "")),
            ],
            &[
                &["Normal Progressing: ConfigMap/n/a created", FINISHED],
                &[],
                &["Normal Progressing: ConfigMap/n/a deleted", FINISHED],
                // No file of the build has changed, but the commit waits for its status.
                &[FINISHED],
                &["Warning BuildFailed: broken"],
                &[FINISHED],
                &["Normal Progressing: ConfigMap/n/a configured", FINISHED],
            ],
        );
    }

    #[test]
    fn health_is_told_after_a_failure_and_for_a_new_revision_with_changes() {
        const PASSED: &str = "Normal Progressing: Health check passed in 1.5s";
        check(
            &json!({"wait": true}),
            &[
                ("a", applied("ConfigMap/n/a created", "")),
                ("a", applied("", "")),
                ("b", applied("", "")),
                ("b", failed(ErrorClass::Transient, "HealthCheckFailed")),
                ("b", applied("", "")),
                ("c", applied("ConfigMap/n/a configured", "")),
            ],
            &[
                &[
                    "Normal Progressing: ConfigMap/n/a created",
                    PASSED,
                    FINISHED,
                ],
                &[],
                &[FINISHED],
                &["Warning HealthCheckFailed: broken"],
                &[PASSED, FINISHED],
                &[
                    "Normal Progressing: ConfigMap/n/a configured",
                    PASSED,
                    FINISHED,
                ],
            ],
        );
    }

    #[test]
    fn a_source_that_is_only_new_is_no_event_and_one_that_is_missing_is_a_warning() {
        check(
            &json!({}),
            &[
                ("", failed(ErrorClass::Waiting, ARTIFACT_FAILED)),
                ("", failed(ErrorClass::Transient, ARTIFACT_FAILED)),
                ("a", failed(ErrorClass::Waiting, "DependencyNotReady")),
                ("a", failed(ErrorClass::Permanent, "PruneFailed")),
            ],
            &[
                &[],
                &["Warning ArtifactFailed: broken"],
                &["Normal DependencyNotReady: broken"],
                &["Warning PruneFailed: broken"],
            ],
        );
    }

    #[test]
    fn what_is_left_as_it_is_is_told_each_time() {
        let drifted = KustomizationOutcome::Applied(AppliedRevision {
            drifted: vec!["ConfigMap/n/a: data.key".to_owned()],
            digest: "d".to_owned(),
            ..AppliedRevision::default()
        });
        let reported = |lines: &[&str]| {
            KustomizationOutcome::Reported(lines.iter().map(|&line| line.to_owned()).collect())
        };
        check(
            &json!({}),
            &[
                ("a", drifted.clone()),
                ("a", drifted),
                ("a", reported(&[])),
                ("a", reported(&["+ one", "- two"])),
                ("a", KustomizationOutcome::HeldBack(Duration::ZERO)),
            ],
            &[
                &["Warning Drifted: ConfigMap/n/a: data.key", FINISHED],
                &["Warning Drifted: ConfigMap/n/a: data.key"],
                &[],
                &["Normal OutOfSync: + one\n- two"],
                &[],
            ],
        );
    }

    #[test]
    fn the_duration_is_that_of_the_whole_rollout() {
        let object = kustomization("app", &json!({"interval": "1h"}), &json!({}));
        let attempt = attempt("a");
        let began = attempt.started - Duration::from_secs(60);
        let outcome = KustomizationOutcome::Applied(AppliedRevision {
            began: Some(began),
            ..AppliedRevision::default()
        });
        let events = events(&KustomizationStatus::default(), &object, &outcome, &attempt);
        assert_eq!(
            events.last().map(|event| event.note.as_str()),
            Some("Reconciliation finished in 1m1.5s, next run in 1h0m0s")
        );
    }
}

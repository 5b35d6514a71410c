//! Outcomes in, conditions and history out.

use serde_json::{Value, json};

use super::*;
use crate::kustomization::fixture::kustomization;

fn attempt(revision: &str, second: i64) -> Attempt {
    let started = Timestamp::from_second(1_767_225_600 + second).unwrap();
    Attempt {
        revision: Some(revision.to_owned()),
        digest: String::new(),
        started,
        ended: started + Duration::from_millis(1500),
    }
}

fn applied(digest: &str) -> KustomizationOutcome {
    KustomizationOutcome::Applied(AppliedRevision {
        digest: digest.to_owned(),
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

fn rolling() -> KustomizationOutcome {
    KustomizationOutcome::RollingOut {
        message: "waits".to_owned(),
        after: Duration::from_secs(1),
    }
}

/// Conditions as `Type=Status Reason: message`.
fn lines(status: &KustomizationStatus) -> Vec<String> {
    let line = |c: &Condition| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message);
    status.conditions.iter().map(line).collect()
}

/// The conditions after outcomes in a row.
fn check(spec: &Value, outcomes: &[KustomizationOutcome], expected: &[&str]) {
    let object = kustomization("app", spec, &json!({}));
    let mut status = KustomizationStatus::default();
    for outcome in outcomes {
        status = next_status(status, &object, outcome, &attempt("main@sha1:a", 0));
    }
    assert_eq!(lines(&status), expected);
}

#[test]
fn conditions_without_health_checks() {
    let spec = json!({});
    check(
        &spec,
        &[applied("d")],
        &["Ready=True ReconciliationSucceeded: Applied revision: main@sha1:a"],
    );
    check(
        &spec,
        &[rolling()],
        &[
            "Reconciling=True Progressing: waits",
            "Ready=Unknown Progressing: waits",
        ],
    );
    check(
        &spec,
        &[failed(ErrorClass::Transient, "BuildFailed")],
        &[
            "Reconciling=True ProgressingWithRetry: broken",
            "Ready=False BuildFailed: broken",
        ],
    );
    check(
        &spec,
        &[failed(ErrorClass::Waiting, "DependencyNotReady")],
        &[
            "Reconciling=True ProgressingWithRetry: broken",
            "Ready=False DependencyNotReady: broken",
        ],
    );
    check(
        &spec,
        &[failed(ErrorClass::Permanent, "AccessDenied")],
        &[
            "Stalled=True AccessDenied: broken",
            "Ready=False AccessDenied: broken",
        ],
    );
    check(
        &spec,
        &[KustomizationOutcome::Reported(Vec::new())],
        &["Ready=True InSync: report only: revision main@sha1:a would change nothing"],
    );
    check(
        &spec,
        &[KustomizationOutcome::Reported(vec![
            "x".to_owned(),
            "y".to_owned(),
        ])],
        &["Ready=False OutOfSync: report only: revision main@sha1:a would change this: x; y"],
    );
}

#[test]
fn health_is_known_anew_or_kept() {
    let spec = json!({"wait": true});
    let ready = "Ready=True ReconciliationSucceeded: Applied revision: main@sha1:a";
    check(
        &spec,
        &[applied("d")],
        &[ready, "Healthy=True Succeeded: Health check passed"],
    );
    check(
        &spec,
        &[applied("d"), rolling()],
        &[
            "Reconciling=True Progressing: waits",
            "Ready=Unknown Progressing: waits",
            "Healthy=Unknown Progressing: waits",
        ],
    );
    check(
        &spec,
        &[
            rolling(),
            failed(ErrorClass::Transient, HEALTH_CHECK_FAILED),
        ],
        &[
            "Reconciling=True ProgressingWithRetry: broken",
            "Ready=False HealthCheckFailed: broken",
            "Healthy=False HealthCheckFailed: broken",
        ],
    );
    check(
        &spec,
        &[applied("d"), failed(ErrorClass::Transient, "BuildFailed")],
        &[
            "Reconciling=True ProgressingWithRetry: broken",
            "Ready=False BuildFailed: broken",
            "Healthy=True Succeeded: Health check passed",
        ],
    );
    check(
        &json!({"healthChecks": [{"kind": "Deployment", "name": "a"}]}),
        &[applied("d")],
        &[ready, "Healthy=True Succeeded: Health check passed"],
    );
}

#[test]
fn objects_that_were_left_as_they_are_are_named_until_the_next_build() {
    let left = KustomizationOutcome::Applied(AppliedRevision {
        digest: "d".to_owned(),
        drifted: vec!["a: replicas".to_owned(), "b: image".to_owned()],
        opted_out: vec!["c: disabled".to_owned()],
        postponed: "d stays".to_owned(),
        ..AppliedRevision::default()
    });
    let ready = "Ready=True ReconciliationSucceeded: Applied revision: main@sha1:a";
    let notes = [
        "Ready=True ReconciliationSucceeded: Applied revision: main@sha1:a; not in line with it: a: replicas; b: image",
        "Drifted=True Drifted: a: replicas; b: image",
        "OptedOut=True OptedOut: c: disabled",
        "PrunePending=True PrunePending: d stays",
    ];
    let spec = json!({});
    check(&spec, std::slice::from_ref(&left), &notes);
    check(&spec, &[left.clone(), applied("")], &notes);
    check(&spec, &[left, applied("d")], &[ready]);
}

#[test]
fn a_closed_window_adds_a_condition_and_changes_nothing_else() {
    let object = kustomization("app", &json!({}), &json!({}));
    let before = next_status(
        KustomizationStatus::default(),
        &object,
        &applied("d"),
        &attempt("main@sha1:a", 0),
    );
    let closed = KustomizationOutcome::HeldBack(Duration::from_secs(60));
    let held = next_status(before.clone(), &object, &closed, &attempt("main@sha1:b", 0));
    assert_eq!(
        lines(&held)[1..],
        [
            "SyncWindow=False Closed: outside of its sync windows: nothing is applied, corrected or deleted; looked at again at 2026-01-01T00:01:01Z"
        ]
    );
    assert_eq!(held.conditions[..1], before.conditions);
    let without = |status: &KustomizationStatus| KustomizationStatus {
        conditions: Vec::new(),
        ..status.clone()
    };
    assert_eq!(without(&held), without(&before));
    let again = next_status(held.clone(), &object, &closed, &attempt("main@sha1:b", 60));
    assert_eq!(again.conditions.len(), 2);
    let open = next_status(again, &object, &applied("d"), &attempt("main@sha1:b", 120));
    assert_eq!(open.conditions.len(), 1);
}

#[test]
fn revisions_and_the_observed_generation_follow_the_outcome() {
    let object = kustomization("app", &json!({}), &json!({}));
    let check = |outcome: &KustomizationOutcome, expected: (i64, Option<&str>, Option<&str>)| {
        let status = KustomizationStatus {
            observed_generation: -1,
            ..KustomizationStatus::default()
        };
        let status = next_status(status, &object, outcome, &attempt("r", 0));
        let actual = (
            status.observed_generation,
            status.last_attempted_revision.as_deref(),
            status.last_applied_revision.as_deref(),
        );
        assert_eq!(actual, expected, "{outcome:?}");
    };
    check(&applied("d"), (1, Some("r"), Some("r")));
    check(
        &KustomizationOutcome::Reported(Vec::new()),
        (1, Some("r"), None),
    );
    check(&rolling(), (-1, Some("r"), None));
    check(
        &failed(ErrorClass::Transient, "BuildFailed"),
        (-1, Some("r"), None),
    );
    check(
        &failed(ErrorClass::Permanent, "PruneFailed"),
        (1, Some("r"), None),
    );
    check(
        &failed(ErrorClass::Waiting, "DependencyNotReady"),
        (-1, None, None),
    );
    check(
        &failed(ErrorClass::Permanent, "AccessDenied"),
        (1, None, None),
    );
}

#[test]
fn the_history_counts_what_is_new_and_keeps_five_entries() {
    let object = kustomization("app", &json!({}), &json!({}));
    let mut status = KustomizationStatus::default();
    let mut apply = |digest: &str, revision: &str, second: i64| {
        let attempt = attempt(revision, second);
        status = next_status(
            std::mem::take(&mut status),
            &object,
            &applied(digest),
            &attempt,
        );
        let entry = |entry: &HistoryEntry| {
            let revision = &entry.metadata["revision"];
            format!(
                "{} {revision} {}",
                entry.digest, entry.total_reconciliations
            )
        };
        status
            .history
            .iter()
            .map(entry)
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(apply("d1", "a", 0), "d1 a 1");
    assert_eq!(apply("d1", "a", 10), "d1 a 1", "nothing new");
    assert_eq!(apply("", "b", 20), "d1 a 1", "nothing was built");
    assert_eq!(apply("d1", "b", 30), "d1 b 2");
    assert_eq!(apply("d2", "c", 40), "d2 c 1, d1 b 2");
    for (number, revision) in ["d", "e", "f", "g"].into_iter().enumerate() {
        apply(&format!("d{}", number + 3), revision, 50);
    }
    let last = apply("d6", "g", 60);
    assert_eq!(last, "d6 g 1, d5 f 1, d4 e 1, d3 d 1, d2 c 1");
    let entry = &status.history[0];
    assert_eq!(entry.last_reconciled_status, "ReconciliationSucceeded");
    assert_eq!(entry.last_reconciled_duration, "1500ms");
    assert_eq!(entry.first_reconciled, "2026-01-01T00:00:51Z");
}

#[test]
fn the_history_has_failures_of_what_was_built() {
    let object = kustomization("app", &json!({}), &json!({}));
    let mut status = KustomizationStatus::default();
    let mut fail = |digest: &str, reason: &'static str| {
        let attempt = Attempt {
            digest: digest.to_owned(),
            ..attempt("r", 0)
        };
        let outcome = failed(ErrorClass::Transient, reason);
        status = next_status(std::mem::take(&mut status), &object, &outcome, &attempt);
        let entries = status.history.iter();
        let entries = entries.map(|entry| {
            let status = &entry.last_reconciled_status;
            format!("{} {status} {}", entry.digest, entry.total_reconciliations)
        });
        entries.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(fail("", "BuildFailed"), "", "nothing was built");
    assert_eq!(fail("d", HEALTH_CHECK_FAILED), "d HealthCheckFailed 1");
    assert_eq!(fail("d", HEALTH_CHECK_FAILED), "d HealthCheckFailed 1");
    let both = "d ReconciliationFailed 1, d HealthCheckFailed 1";
    assert_eq!(fail("d", "ReconciliationFailed"), both);
}

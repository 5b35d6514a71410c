//! Decisions of the `GitRepository` controller: observed values in, step, status, event and requeue out.

use serde_json::{Value, json};

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba98";
const EARLIER: &str = "2026-01-01T00:00:00Z";
const NOW: &str = "2026-01-02T00:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// An object of generation 3 whose spec has these fields besides.
fn object(spec: &Value) -> GitRepository {
    let mut object = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
        "metadata": {"name": "app", "namespace": "shop", "generation": 3, "uid": "u"},
        "spec": {"url": "https://git.example/app.git", "interval": "5m"},
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn with_status(spec: &Value, status: GitRepositoryStatus) -> GitRepository {
    let mut object = object(spec);
    object.status = Some(status);
    object
}

fn commit(id: &str, content: &str) -> FetchedCommit {
    FetchedCommit {
        url: "https://git.example/app.git".to_owned(),
        revision: Revision {
            name: Some("main".to_owned()),
            commit: id.to_owned(),
        },
        subject: "Add web".to_owned(),
        content: content.to_owned(),
        included: Vec::new(),
    }
}

fn fetched(id: &str, content: &str) -> FetchOutcome {
    FetchOutcome::Fetched(commit(id, content))
}

fn failure() -> FetchFailure {
    FetchFailure::new("GitOperationFailed", "unable to reach it")
}

/// The status of a success at an earlier time.
fn earlier() -> GitRepositoryStatus {
    next_status(&object(&json!({})), &fetched(COMMIT, "c1"), time(EARLIER))
}

#[test]
fn the_step_that_is_due() {
    let minute = Some(Duration::from_secs(60));
    let check = |object: &GitRepository, rest, expected| {
        assert_eq!(next_step(object, rest), expected);
    };
    let plain = object(&json!({}));
    check(&plain, None, RepositoryStep::Fetch);
    check(
        &plain,
        minute,
        RepositoryStep::Rest(Duration::from_secs(60)),
    );
    let suspended = object(&json!({"suspend": true}));
    check(&suspended, None, RepositoryStep::Suspend);
    let mut deleted = suspended;
    deleted.metadata.deletion_timestamp = Some(serde_json::from_value(json!(NOW)).unwrap());
    check(&deleted, minute, RepositoryStep::Finalize);
}

#[test]
fn the_change_token_differs_with_all_that_decides() {
    let plain = object(&json!({}));
    let token = change_token(&plain, &[]);
    assert_eq!(token, change_token(&plain.clone(), &[]));
    let mut generation = plain.clone();
    generation.metadata.generation = Some(4);
    let mut uid = plain.clone();
    uid.metadata.uid = Some("v".to_owned());
    let mut requested = plain.clone();
    let annotations = [(REQUESTED_AT.to_owned(), "now".to_owned())];
    requested.metadata.annotations = Some(annotations.into());
    let suspended = object(&json!({"suspend": true}));
    for changed in [generation, uid, requested, suspended] {
        assert_ne!(change_token(&changed, &[]), token, "{changed:?}");
    }
    let missing = change_token(&plain, &[None]);
    let included = change_token(&plain, &[Some("c1".to_owned())]);
    let moved = change_token(&plain, &[Some("c2".to_owned())]);
    assert!(missing != included && included != moved);
    // What the status or a label says decides nothing.
    let mut labelled = with_status(&json!({}), earlier());
    labelled.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    assert_eq!(change_token(&labelled, &[]), token);
}

#[test]
fn the_next_reconcile_is_due() {
    let check = |interval: &str, outcome: &FetchOutcome, expected| {
        let object = object(&json!({"interval": interval}));
        assert_eq!(outcome.requeue(&object), expected, "{outcome:?}");
    };
    let after = |seconds| SourceRequeue::AfterInterval(Duration::from_secs(seconds));
    check("5m", &fetched(COMMIT, "c1"), after(300));
    check("often", &fetched(COMMIT, "c1"), after(60));
    check(
        "5m",
        &FetchOutcome::Failed(failure()),
        SourceRequeue::AfterBackoff,
    );
    let incomplete = FetchOutcome::Incomplete(failure());
    check("5m", &incomplete, SourceRequeue::AfterDependency);
    let hour = SourceRequeue::After(Duration::from_secs(3600));
    check("5m", &FetchOutcome::Stalled(failure()), hour);
}

/// The conditions as `Type=Status Reason`, in their order.
fn conditions(status: &GitRepositoryStatus) -> Vec<String> {
    let conditions = status.conditions.iter();
    let text = conditions.map(|it| format!("{}={} {}", it.type_, it.status, it.reason));
    text.collect()
}

fn check_conditions(object: &GitRepository, outcome: &FetchOutcome, expected: &[&str]) {
    let status = next_status(object, outcome, time(NOW));
    assert_eq!(conditions(&status), expected, "{outcome:?}");
}

#[test]
fn conditions_of_each_outcome_at_first() {
    let never = object(&json!({}));
    let check = |outcome, expected: &[&str]| check_conditions(&never, &outcome, expected);
    check(
        fetched(COMMIT, "c1"),
        &["Ready=True Succeeded", "ArtifactInStorage=True Succeeded"],
    );
    check(
        FetchOutcome::Failed(failure()),
        &[
            "Reconciling=True ProgressingWithRetry",
            "Ready=False GitOperationFailed",
            "FetchFailed=True GitOperationFailed",
        ],
    );
    check(
        FetchOutcome::Incomplete(FetchFailure::new("NoArtifact", "m")),
        &[
            "Reconciling=True ProgressingWithRetry",
            "Ready=False NoArtifact",
            "IncludeUnavailable=True NoArtifact",
        ],
    );
    check(
        FetchOutcome::Stalled(FetchFailure::new("URLInvalid", "m")),
        &[
            "Stalled=True URLInvalid",
            "Ready=False URLInvalid",
            "FetchFailed=True URLInvalid",
        ],
    );
}

#[test]
fn a_failure_keeps_what_is_in_service() {
    let object = with_status(&json!({}), earlier());
    let outcome = FetchOutcome::Failed(failure());
    check_conditions(
        &object,
        &outcome,
        &[
            "Reconciling=True ProgressingWithRetry",
            "Ready=False GitOperationFailed",
            "ArtifactInStorage=True Succeeded",
            "FetchFailed=True GitOperationFailed",
        ],
    );
    let status = next_status(&object, &outcome, time(NOW));
    assert_eq!(status.artifact, earlier().artifact);
    let messages: Vec<&str> = status
        .conditions
        .iter()
        .map(|it| it.message.as_str())
        .collect();
    let stored = format!("stored artifact for revision 'main@sha1:{COMMIT}'");
    let failed = "unable to reach it";
    assert_eq!(messages, [failed, failed, &stored, failed]);
}

#[test]
fn the_generation_is_observed_unless_the_fetch_is_tried_again() {
    let check = |outcome: FetchOutcome, expected: i64| {
        let mut old = earlier();
        old.observed_generation = 2;
        let object = with_status(&json!({}), old);
        let status = next_status(&object, &outcome, time(NOW));
        assert_eq!(status.observed_generation, expected, "{outcome:?}");
    };
    check(fetched(COMMIT, "c1"), 3);
    check(FetchOutcome::Stalled(failure()), 3);
    check(FetchOutcome::Failed(failure()), 2);
    check(FetchOutcome::Incomplete(failure()), 2);
}

#[test]
fn a_success_observes_the_spec() {
    let spec = json!({
        "recurseSubmodules": true, "ignore": "*.md", "sparseCheckout": ["deploy"],
        "include": [{"repository": {"name": "base"}}],
    });
    let object = object(&spec);
    let status = next_status(&object, &fetched(COMMIT, "c1"), time(NOW));
    assert!(status.observed_recurse_submodules);
    assert_eq!(status.observed_ignore.as_deref(), Some("*.md"));
    assert_eq!(status.observed_sparse_checkout, ["deploy"]);
    assert_eq!(status.observed_include, object.spec.include);
    let failed = next_status(&object, &FetchOutcome::Failed(failure()), time(NOW));
    assert!(!failed.observed_recurse_submodules && failed.observed_include.is_empty());
}

#[test]
fn an_artifact_is_written_when_its_files_or_revision_change() {
    let check = |outcome: &FetchOutcome, is_new: bool| {
        let object = with_status(&json!({}), earlier());
        let status = next_status(&object, outcome, time(NOW));
        let artifact = status.artifact.unwrap();
        let written = if is_new { NOW } else { EARLIER };
        assert_eq!(artifact.last_update_time, written, "{outcome:?}");
    };
    check(&fetched(COMMIT, "c1"), false);
    check(&fetched(COMMIT, "c2"), true);
    check(&fetched(OTHER, "c1"), true);
}

#[test]
fn an_artifact_names_the_commit() {
    let artifact = earlier().artifact.unwrap();
    let url = format!("https://git.example/app.git#{COMMIT}");
    assert_eq!(artifact.url, url);
    assert_eq!(artifact.path, format!("gitrepository/shop/app/{COMMIT}"));
    assert_eq!(artifact.revision, format!("main@sha1:{COMMIT}"));
    assert_eq!(artifact.digest.as_deref(), Some("sha256:c1"));
}

#[test]
fn the_time_of_an_included_artifact_moves_with_its_content() {
    let with = |contents: [&str; 2]| {
        let mut commit = commit(COMMIT, "c1");
        let mut included = contents.map(|content| self::commit(OTHER, content));
        included[1].url = "https://git.example/other.git".to_owned();
        commit.included = included.into();
        FetchOutcome::Fetched(commit)
    };
    let first = next_status(&object(&json!({})), &with(["a", "b"]), time(EARLIER));
    let second = with_status(&json!({}), first);
    let status = next_status(&second, &with(["a", "changed"]), time(NOW));
    let times: Vec<&str> = status
        .included_artifacts
        .iter()
        .map(|artifact| artifact.last_update_time.as_str())
        .collect();
    assert_eq!(times, [EARLIER, NOW]);
}

#[test]
fn a_request_is_recorded_as_handled() {
    let mut object = with_status(&json!({"suspend": true}), earlier());
    let annotations = [(REQUESTED_AT.to_owned(), "t1".to_owned())];
    object.metadata.annotations = Some(annotations.into());
    let suspended = suspended_status(&object);
    assert_eq!(suspended.last_handled_reconcile_at.as_deref(), Some("t1"));
    let expected = GitRepositoryStatus {
        last_handled_reconcile_at: Some("t1".to_owned()),
        ..earlier()
    };
    assert_eq!(suspended, expected);
    for outcome in [fetched(COMMIT, "c1"), FetchOutcome::Failed(failure())] {
        let status = next_status(&object, &outcome, time(NOW));
        assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("t1"));
    }
}

#[test]
fn a_success_that_changes_nothing_leaves_the_status_as_it_is() {
    let object = with_status(&json!({}), earlier());
    assert_eq!(
        next_status(&object, &fetched(COMMIT, "c1"), time(NOW)),
        earlier()
    );
}

#[test]
fn an_event_is_written_for_each_failure_each_recovery_and_each_new_commit() {
    let check = |old: &GitRepositoryStatus, outcome: &FetchOutcome, expected| {
        assert_eq!(event(old, outcome), expected, "{outcome:?}");
    };
    let never = GitRepositoryStatus::default();
    let of = |commit: &str| ArtifactEvent {
        note: "stored artifact for commit 'Add web'".to_owned(),
        revision: format!("main@sha1:{commit}"),
        digest: "sha256:c1".to_owned(),
    };
    let new = |commit| Some(FetchEvent::NewArtifact(of(commit)));
    check(&never, &fetched(COMMIT, "c1"), new(COMMIT));
    check(&earlier(), &fetched(OTHER, "c1"), new(OTHER));
    check(&earlier(), &fetched(COMMIT, "c1"), None);
    let broken = with_status(&json!({}), earlier());
    let outcome = FetchOutcome::Failed(failure());
    let broken = next_status(&broken, &outcome, time(NOW));
    let recovered = Some(FetchEvent::Recovered(of(COMMIT)));
    check(&broken, &fetched(COMMIT, "c1"), recovered);
    check(&broken, &fetched(OTHER, "c1"), new(OTHER));
    let failed = Some(FetchEvent::Failed(failure()));
    check(&earlier(), &FetchOutcome::Failed(failure()), failed.clone());
    check(
        &earlier(),
        &FetchOutcome::Incomplete(failure()),
        failed.clone(),
    );
    check(&earlier(), &FetchOutcome::Stalled(failure()), failed);
}

#[test]
fn an_included_repository_that_is_missing_differs_from_a_new_one() {
    let name = NamespacedName::new("shop", "base");
    let check = |found: Option<&GitRepository>, expected: &FetchFailure| {
        assert_eq!(&include_failure(&name, found), expected);
    };
    let missing = "GitRepository `shop/base`, which is included, does not exist";
    check(None, &FetchFailure::new("NotFound", missing));
    let new = "GitRepository `shop/base`, which is included, has fetched nothing yet";
    check(
        Some(&object(&json!({}))),
        &FetchFailure::new("NoArtifact", new),
    );
}

#[test]
fn a_suspended_object_keeps_the_revision_of_its_artifact() {
    let revision = |object: &GitRepository| {
        let revision = suspended_revision(object);
        revision.map(|revision| revision.to_string())
    };
    assert_eq!(revision(&object(&json!({"suspend": true}))), None);
    let fetched = with_status(&json!({"suspend": true}), earlier());
    assert_eq!(revision(&fetched), Some(format!("main@sha1:{COMMIT}")));
}

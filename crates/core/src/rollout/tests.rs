//! Conversations with a rollout: observations in, steps out.

use serde_json::json;

use super::*;
use crate::apply::desired::Desired;
use crate::apply::guard::GuardStage;

/// Seconds after the beginning of a conversation.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

fn unit(name: &str) -> NamespacedName {
    NamespacedName::new("team", name)
}

fn object(name: &str) -> ObjectRef {
    ObjectRef::new("apps/v1", "Deployment", "team", name)
}

fn objects(names: &str) -> Vec<ObjectRef> {
    names.split_whitespace().map(object).collect()
}

fn wave(names: &str) -> Wave {
    let desired = |reference: ObjectRef| Desired {
        reference,
        manifest: json!({}),
        source: None,
        hash: [0; 32],
    };
    Wave(vec![objects(names).into_iter().map(desired).collect()])
}

fn spec(fields: &serde_json::Value) -> KustomizationSpec {
    let mut spec = json!({
        "interval": "1m", "prune": true, "wait": true, "timeout": "60s",
        "sourceRef": {"kind": "GitRepository", "name": "repo"},
    });
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

/// A rollout of waves, each written as the names of its objects.
fn rollout(waves: &[&str], prune: &str) -> Rollout {
    rollout_of(waves, prune, OnError::Stop, json!({}))
}

#[expect(clippy::needless_pass_by_value, reason = "tests pass literals")]
fn rollout_of(
    waves: &[&str],
    prune: &str,
    on_error: OnError,
    fields: serde_json::Value,
) -> Rollout {
    let plan = ApplyPlan {
        waves: waves.iter().map(|names| wave(names)).collect(),
        prune: objects(prune),
        on_error,
        ..ApplyPlan::default()
    };
    Rollout::new(plan, &spec(&fields), &unit("app"), Vec::new())
}

fn applied() -> Observation {
    Observation::Applied {
        skipped: Vec::new(),
        result: Ok(()),
    }
}

fn failure(name: &str) -> ObjectFailure {
    ObjectFailure {
        object: object(name),
        source: None,
        reason: "denied".to_owned(),
        is_denied: false,
    }
}

fn refused(name: &str) -> Observation {
    Observation::Applied {
        skipped: Vec::new(),
        result: Err(ApplyError::Refused(vec![failure(name)])),
    }
}

/// Health written as `name:Health` words.
fn health(text: &str) -> Observation {
    let report = |word: &str| {
        let (name, health) = word.split_once(':').unwrap();
        let health = match health {
            "current" => Health::Current,
            "failed" => Health::Failed,
            "missing" => Health::NotFound,
            _ => Health::InProgress,
        };
        let reason = match health {
            Health::Current => "",
            _ => "because",
        };
        (
            object(name),
            Report {
                health,
                reason: reason.to_owned(),
            },
        )
    };
    Observation::Health(text.split_whitespace().map(report).collect())
}

fn ownership(undecided: Option<&str>, handed_over: &str) -> Observation {
    Observation::Ownership {
        undecided: undecided.map(|name| Undecided {
            unit: unit(name.trim_end_matches('?')),
            reason: if name.ends_with('?') {
                UndecidedReason::NotBuilt
            } else {
                UndecidedReason::Open
            },
        }),
        refusal: None,
        handed_over: objects(handed_over).into_iter().collect(),
    }
}

/// A step in one line.
fn text(step: &Step) -> String {
    let names = |objects: &mut dyn Iterator<Item = &ObjectRef>| {
        let names = objects.map(|object| format!(" {}", object.name));
        names.collect::<String>()
    };
    match step {
        Step::ApplyWave(wave) => {
            let mut objects = wave.objects().map(|desired| &desired.reference);
            format!("apply{}", names(&mut objects))
        }
        Step::CheckHealth(objects) => format!("check{}", names(&mut objects.iter())),
        Step::Wait { message, after } => format!("wait {} ms: {message}", after.as_millis()),
        Step::CheckOwnership(objects) => format!("owners{}", names(&mut objects.iter())),
        Step::Prune(objects) => format!("prune{}", names(&mut objects.iter())),
        Step::Done => "done".to_owned(),
        Step::Fail(error) => format!("fail: {error}"),
    }
}

/// Holds a conversation: at each time an observation, and the step that is expected.
fn check(rollout: &mut Rollout, conversation: Vec<(i64, Observation, &str)>) {
    for (turn, (seconds, observation, expected)) in conversation.into_iter().enumerate() {
        let step = rollout.advance(observation, at(seconds));
        assert_eq!(text(&step), expected, "turn {turn}");
    }
}

use Observation::{Pruned, Resumed};

#[test]
fn a_wave_waits_until_the_last_one_is_healthy_and_deletions_come_last() {
    check(
        &mut rollout(&["db", "app web"], "old"),
        vec![
            (0, Resumed, "apply db"),
            (0, applied(), "check db"),
            (
                0,
                health("db:progressing"),
                "wait 500 ms: waiting for health: [Deployment/team/db status: 'InProgress': because]",
            ),
            (1, Resumed, "check db"),
            (1, health("db:current"), "apply app web"),
            (2, applied(), "check db app web"),
            (
                3,
                health("db:current app:current web:current"),
                "owners old",
            ),
            (3, ownership(None, ""), "prune old"),
            (4, Pruned(Ok(())), "done"),
        ],
    );
}

#[test]
fn only_unhealthy_objects_are_pending_and_checked_again() {
    let mut rollout = rollout(&["a b"], "");
    assert!(rollout.pending().is_empty());
    check(
        &mut rollout,
        vec![
            (0, Resumed, "apply a b"),
            (0, applied(), "check a b"),
            (
                0,
                health("a:current b:missing"),
                "wait 500 ms: waiting for health: [Deployment/team/b status: 'NotFound': because]",
            ),
        ],
    );
    assert_eq!(rollout.pending(), objects("b"));
    check(
        &mut rollout,
        vec![
            (1, Resumed, "check b"),
            (1, health("b:current"), "prune"),
            (1, Pruned(Ok(())), "done"),
        ],
    );
    assert!(rollout.pending().is_empty());
}

#[test]
fn the_time_between_checks_doubles_and_never_passes_the_timeout() {
    let mut rollout = rollout(&["a"], "");
    rollout.advance(Resumed, at(0));
    rollout.advance(applied(), at(0));
    for (seconds, expected) in [
        (0, 500),
        (1, 1000),
        (2, 2000),
        (4, 4000),
        (8, 8000),
        (16, 15_000),
        (31, 15_000),
        (50, 10_000),
        (59, 1000),
    ] {
        rollout.advance(Resumed, at(seconds));
        let step = rollout.advance(health("a:progressing"), at(seconds));
        let Step::Wait { after, .. } = step else {
            panic!("{step:?}");
        };
        assert_eq!(after.as_millis(), expected, "after {seconds} s");
    }
    check(
        &mut rollout,
        vec![
            (60, Resumed, "check a"),
            (
                60,
                health("a:progressing"),
                "fail: timeout waiting for health after 60 s: [Deployment/team/a status: 'InProgress': because]",
            ),
        ],
    );
}

#[test]
fn every_wave_has_the_whole_timeout() {
    check(
        &mut rollout(&["a", "b"], ""),
        vec![
            (0, Resumed, "apply a"),
            (0, applied(), "check a"),
            (59, health("a:current"), "apply b"),
            (59, applied(), "check a b"),
            (
                118,
                health("a:current b:progressing"),
                "wait 500 ms: waiting for health: [Deployment/team/b status: 'InProgress': because]",
            ),
        ],
    );
}

#[test]
fn a_failed_object_ends_the_rollout_before_the_timeout() {
    check(
        &mut rollout(&["a b", "c"], "old"),
        vec![
            (0, Resumed, "apply a b"),
            (0, applied(), "check a b"),
            (
                1,
                health("a:failed b:progressing"),
                "fail: failed early due to stalled resources: [Deployment/team/a status: 'Failed': because, Deployment/team/b status: 'InProgress': because]",
            ),
        ],
    );
}

#[test]
fn a_refused_object_ends_the_rollout() {
    check(
        &mut rollout(&["a b", "c"], "old"),
        vec![
            (0, Resumed, "apply a b"),
            (0, refused("b"), "fail: Deployment/team/b: denied"),
        ],
    );
}

#[test]
fn with_continue_the_rest_of_a_wave_is_checked_and_no_later_wave_is_applied() {
    check(
        &mut rollout_of(&["a b", "c"], "old", OnError::Continue, json!({})),
        vec![
            (0, Resumed, "apply a b"),
            (0, refused("b"), "check a"),
            (1, health("a:current"), "fail: Deployment/team/b: denied"),
        ],
    );
    check(
        &mut rollout_of(&["b"], "old", OnError::Continue, json!({})),
        vec![
            (0, Resumed, "apply b"),
            (0, refused("b"), "fail: Deployment/team/b: denied"),
        ],
    );
    let timed_out = Observation::Applied {
        skipped: Vec::new(),
        result: Err(ApplyError::NotEstablished(ObjectRef::new(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "",
            "crd",
        ))),
    };
    check(
        &mut rollout_of(&["b"], "", OnError::Continue, json!({})),
        vec![
            (0, Resumed, "apply b"),
            (
                0,
                timed_out,
                "fail: timed out waiting for CustomResourceDefinition/crd",
            ),
        ],
    );
}

#[test]
fn objects_that_were_left_out_of_the_plan_fail_the_rollout_after_the_others_are_applied() {
    let plan = ApplyPlan {
        waves: vec![wave("a")],
        prune: objects("old"),
        on_error: OnError::Continue,
        ..ApplyPlan::default()
    };
    let failures = vec![failure("b")];
    check(
        &mut Rollout::new(plan, &spec(&json!({})), &unit("app"), failures),
        vec![
            (0, Resumed, "apply a"),
            (0, applied(), "check a"),
            (1, health("a:current"), "fail: Deployment/team/b: denied"),
        ],
    );
}

#[test]
fn the_health_of_a_skipped_object_does_not_count() {
    let skipped = Observation::Applied {
        skipped: objects("a"),
        result: Ok(()),
    };
    check(
        &mut rollout(&["a", "b"], ""),
        vec![
            (0, Resumed, "apply a"),
            (0, skipped, "apply b"),
            (0, applied(), "check b"),
            (0, health("b:current"), "prune"),
        ],
    );
}

const WAITS: &str = "wait 1000 ms: everything is applied; before 2 objects are deleted, it waits to know whether Kustomization `team/other` wants them";

#[test]
fn deletions_wait_until_every_kustomization_has_said_what_it_wants() {
    let mut rollout = rollout(&[], "y x");
    check(
        &mut rollout,
        vec![
            (0, Resumed, "owners y x"),
            (0, ownership(Some("other"), ""), WAITS),
            (10, Resumed, "owners y x"),
            (10, ownership(Some("other"), ""), WAITS),
            (11, Resumed, "owners y x"),
            (11, ownership(None, "y"), "prune x"),
            (11, Pruned(Ok(())), "done"),
        ],
    );
    assert_eq!(rollout.postponed(), None);
}

#[test]
fn deletions_are_left_for_later_where_a_kustomization_does_not_say_what_it_wants() {
    let mut slow = rollout(&[], "y x");
    check(
        &mut slow,
        vec![
            (0, Resumed, "owners y x"),
            (0, ownership(Some("other"), ""), WAITS),
            (30, Resumed, "owners y x"),
            (30, ownership(Some("other"), "x"), "prune"),
            (30, Pruned(Ok(())), "done"),
        ],
    );
    let postponed = slow.postponed().unwrap();
    assert_eq!(postponed.objects, objects("y x"));
    assert_eq!(
        postponed.to_string(),
        "not deleted yet, since Kustomization `team/other` has not said whether it wants them: Deployment/team/y, Deployment/team/x"
    );
    let mut failed = rollout(&[], "x");
    check(
        &mut failed,
        vec![
            (0, Resumed, "owners x"),
            (0, ownership(Some("other?"), ""), "prune"),
            (0, Pruned(Ok(())), "done"),
        ],
    );
    assert_eq!(
        failed.postponed().unwrap().to_string(),
        "not deleted yet, since Kustomization `team/other` has not said whether it wants them: Deployment/team/x; it cannot be built of this revision: mend it, or suspend it to go on without it"
    );
}

#[test]
fn deletions_that_need_an_approval_fail_the_rollout() {
    let refusal = GuardError {
        why: "2 of 2 objects would be deleted".to_owned(),
        stage: GuardStage::Planned,
        objects: vec!["a".to_owned()],
        count: 2,
        hash: "h".to_owned(),
    };
    let refused = Observation::Ownership {
        undecided: None,
        refusal: Some(refusal),
        handed_over: BTreeSet::new(),
    };
    let expected = "fail: 2 of 2 objects would be deleted; everything is applied, and nothing was deleted. These would go: a. To approve exactly this, set the annotation `overlayd.dev/approve-deletions: h`";
    check(
        &mut rollout(&[], "x"),
        vec![(0, Resumed, "owners x"), (0, refused, expected)],
    );
}

/// A plan of one wave with these objects.
fn plan_of(objects: Vec<Desired>) -> ApplyPlan {
    ApplyPlan {
        waves: vec![Wave(vec![objects])],
        ..ApplyPlan::default()
    }
}

fn desired(reference: ObjectRef, manifest: serde_json::Value) -> Desired {
    Desired {
        reference,
        manifest,
        source: None,
        hash: [0; 32],
    }
}

#[test]
fn a_kustomization_does_not_wait_for_itself() {
    let units = ["app", "child"].map(|name| {
        let api_version = "kustomize.toolkit.fluxcd.io/v1";
        ObjectRef::new(api_version, "Kustomization", "team", name)
    });
    let plan = || {
        plan_of(
            units
                .iter()
                .map(|unit| desired(unit.clone(), json!({})))
                .collect(),
        )
    };
    let named = json!({"wait": false, "healthChecks": [
        {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "name": "app"},
    ]});
    for (fields, expected) in [(json!({}), "check child"), (named, "prune")] {
        let rollout = &mut Rollout::new(plan(), &spec(&fields), &unit("app"), Vec::new());
        check(
            rollout,
            vec![(0, Resumed, "apply app child"), (0, applied(), expected)],
        );
    }
}

#[test]
fn a_job_that_its_ttl_has_removed_is_done() {
    let job = ObjectRef::new("batch/v1", "Job", "team", "migrate");
    for (manifest, is_done) in [
        (json!({"spec": {"ttlSecondsAfterFinished": 0}}), true),
        (json!({"spec": {}}), false),
    ] {
        let plan = plan_of(vec![desired(job.clone(), manifest)]);
        let mut rollout = Rollout::new(plan, &spec(&json!({})), &unit("app"), Vec::new());
        rollout.advance(Resumed, at(0));
        rollout.advance(applied(), at(0));
        let gone = Report {
            health: Health::NotFound,
            reason: "it does not exist".to_owned(),
        };
        let step = rollout.advance(Observation::Health(vec![(job.clone(), gone)]), at(1));
        assert_eq!(matches!(step, Step::Prune(_)), is_done, "{step:?}");
    }
}

#[test]
fn an_object_that_cannot_be_deleted_fails_the_rollout() {
    check(
        &mut rollout(&[], "x"),
        vec![
            (0, Resumed, "owners x"),
            (0, ownership(None, ""), "prune x"),
            (
                0,
                Pruned(Err(ApplyError::Prune(vec![failure("x")]))),
                "fail: 1 object failed to prune: Deployment/team/x: denied",
            ),
        ],
    );
}

#[test]
fn without_wait_only_named_objects_are_checked_after_the_last_wave() {
    let named = json!({"wait": false, "healthChecks": [{"kind": "Deployment", "name": "a"}]});
    check(
        &mut rollout_of(&["a b"], "", OnError::Stop, named),
        vec![
            (0, Resumed, "apply a b"),
            (0, applied(), "check a"),
            (0, health("a:current"), "prune"),
        ],
    );
    check(
        &mut rollout_of(&["a b"], "", OnError::Stop, json!({"wait": false})),
        vec![(0, Resumed, "apply a b"), (0, applied(), "prune")],
    );
}

#[test]
fn an_answer_to_another_step_repeats_the_question() {
    check(
        &mut rollout(&["a"], "x"),
        vec![
            (0, Pruned(Ok(())), "apply a"),
            (0, applied(), "check a"),
            (0, ownership(None, ""), "check a"),
            (0, health("a:current"), "owners x"),
            (0, health("a:current"), "owners x"),
            (0, ownership(None, "x"), "prune"),
            (0, Resumed, "prune"),
        ],
    );
}

#[test]
fn a_message_lists_ten_objects_and_counts_the_others() {
    let names: Vec<String> = (0..12).map(|number| format!("o{number}")).collect();
    let mut rollout = rollout(&[&names.join(" ")], "");
    rollout.advance(Resumed, at(0));
    rollout.advance(applied(), at(0));
    let reports: Vec<String> = names.iter().map(|name| format!("{name}:no")).collect();
    let step = text(&rollout.advance(health(&reports.join(" ")), at(0)));
    assert_eq!(step.matches("status:").count(), 10, "{step}");
    assert!(step.ends_with("] and 2 more"), "{step}");
    assert_eq!(rollout.pending().len(), 12);
}

#[test]
fn details_follow_the_reason_of_an_unhealthy_object() {
    let mut unhealthy = UnhealthyObject {
        object: object("a"),
        report: Report {
            health: Health::Failed,
            reason: "because".to_owned(),
        },
        details: vec!["pod a-1: crashed".to_owned()],
    };
    assert_eq!(
        unhealthy.to_string(),
        "Deployment/team/a status: 'Failed': because; pod a-1: crashed"
    );
    unhealthy.report.reason.clear();
    assert_eq!(
        unhealthy.to_string(),
        "Deployment/team/a status: 'Failed': pod a-1: crashed"
    );
}

#[test]
fn the_health_timeout_is_that_of_the_spec_or_comes_from_the_interval() {
    for (interval, timeout, expected) in [
        ("10m", Some("90s"), 90),
        ("10m", None, 570),
        ("40s", None, 30),
        ("nonsense", None, 30),
        ("1m", Some("nonsense"), 30),
    ] {
        let spec = spec(&json!({"interval": interval, "timeout": timeout}));
        assert_eq!(
            health_timeout(&spec).as_secs(),
            expected,
            "{interval} {timeout:?}"
        );
    }
}

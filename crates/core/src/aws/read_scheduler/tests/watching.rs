//! What is watched, and what goes wrong.

use crate::aws::read_scheduler::tests::*;

#[test]
fn a_thousand_secrets_cost_fifty_calls_a_minute_and_wake_nobody() {
    let mut talk = Talk::new(SECRETS);
    let mut answers = Vec::new();
    for n in 0..1000 {
        talk.put(&format!("s{n}"), "1");
        answers.push((n, talk.ask("x", &format!("s{n}"))));
    }
    assert_eq!(talk.run(1).len(), 50);
    for (n, mut answer) in answers {
        let told = answer.try_recv().unwrap().unwrap();
        let digest = talk.scheduler.digest(&told);
        let id = question(&format!("s{n}"));
        let minute = Duration::from_secs(60);
        let name = user(&n.to_string());
        assert!(!talk.scheduler.watch(&name, &id, digest, minute, talk.now));
    }
    let mut minutes = Vec::new();
    for _ in 0..5 {
        minutes.push(talk.run(60).len());
    }
    assert_eq!(minutes, [50; 5]);
    assert!(
        talk.scheduler
            .confirmed(&user("7"), &question("s7"))
            .is_some()
    );
}

#[test]
fn a_change_wakes_those_who_use_it_and_its_value_waits_for_them() {
    let mut talk = Talk::new(SECRETS);
    talk.put("a", "1");
    talk.follow("x", "a", 60);
    talk.follow("y", "a", 60);
    talk.put("a", "2");
    let calls = talk.calls_after(60_000);
    assert_eq!(talk.answer(&calls), ["x", "y"]);
    assert_eq!(shown(talk.ask("x", "a").try_recv().unwrap()), "2");
    assert_eq!(
        shown(talk.ask("x", "a").try_recv().unwrap()),
        "waits",
        "it is given once"
    );
    talk.later(11_000);
    assert_eq!(
        shown(talk.ask("y", "a").try_recv().unwrap()),
        "waits",
        "it is not kept for long"
    );
    assert_eq!(talk.scheduler.held_bytes, 0);
}

#[test]
fn a_value_that_has_changed_before_it_is_watched_is_noticed() {
    let mut talk = Talk::new(SECRETS);
    talk.put("a", "1");
    talk.follow("x", "a", 60);
    let mut answer = talk.ask("y", "a");
    talk.later(25);
    let (calls, _) = talk.plan();
    talk.answer(&calls);
    let old = talk.scheduler.digest(&answer.try_recv().unwrap().unwrap());
    talk.put("a", "2");
    let _answer = talk.ask("z", "a");
    talk.later(25);
    let (calls, _) = talk.plan();
    assert_eq!(talk.answer(&calls), ["x"]);
    let minute = Duration::from_secs(60);
    assert!(
        talk.scheduler
            .watch(&user("y"), &question("a"), old, minute, talk.now)
    );
}

#[test]
fn an_error_of_one_secret_is_told_to_those_who_asked_for_it() {
    let mut talk = Talk::new(SECRETS);
    talk.put("a", "1");
    let (mut good, mut bad) = (talk.ask("x", "a"), talk.ask("y", "b"));
    talk.later(5);
    let (calls, _) = talk.plan();
    let mut each = vec![(
        Arc::new(question("b")),
        Err(denied("secretsmanager:GetSecretValue")),
        Origin::default(),
    )];
    let CallResult::Each(answers) = talk.answers(&[Arc::new(question("a"))]) else {
        unreachable!()
    };
    each.extend(answers);
    talk.hear(&calls[0], CallResult::Each(each));
    assert_eq!(shown(good.try_recv().unwrap()), "1");
    let told = shown(bad.try_recv().unwrap());
    assert!(
        told.contains("lacks `secretsmanager:GetSecretValue`"),
        "{told}"
    );
}

#[test]
fn where_batches_are_denied_secrets_are_read_singly_and_it_is_said_once() {
    let mut talk = Talk::new(SECRETS);
    talk.put("a", "1");
    let mut answers = [talk.ask("x", "a"), talk.ask("y", "b")];
    talk.later(5);
    let (calls, _) = talk.plan();
    let heard = CallResult::Nothing(denied("secretsmanager:BatchGetSecretValue"));
    let said = talk.hear(&calls[0], heard);
    assert_eq!(said, ["denied secretsmanager:BatchGetSecretValue"]);
    let (calls, text) = talk.plan();
    assert!(text.starts_with("single a; single b; "), "{text}");
    talk.answer(&calls);
    assert_eq!(
        answers
            .each_mut()
            .map(|answer| shown(answer.try_recv().unwrap())),
        ["1", "missing"]
    );
    // An hour later it may be allowed.
    talk.later(3_600_000);
    let _again = [talk.ask("x", "a"), talk.ask("y", "b")];
    talk.later(25);
    assert!(talk.plan().1.starts_with("batch a b; "));
}

#[test]
fn one_that_spoils_a_batch_is_found_and_the_others_go_together_again() {
    let mut talk = Talk::new(SECRETS);
    talk.put("a", "1");
    let mut answers = [talk.ask("x", "a"), talk.ask("y", "bad")];
    talk.later(5);
    let (calls, _) = talk.plan();
    let invalid = ProviderError::Other {
        key: "a".to_owned(),
        reason: "ValidationException".to_owned(),
    };
    assert!(
        talk.hear(&calls[0], CallResult::Nothing(invalid.clone()))
            .is_empty()
    );
    let (calls, text) = talk.plan();
    assert!(text.starts_with("single a; single bad; "), "{text}");
    talk.answer(&calls[..1]);
    let bad = vec![(
        Arc::new(question("bad")),
        Err(invalid.about("bad")),
        Origin::default(),
    )];
    talk.hear(&calls[1], CallResult::Each(bad));
    let told = answers
        .each_mut()
        .map(|answer| shown(answer.try_recv().unwrap()));
    assert_eq!(
        told,
        ["1", "error: reading `bad` failed: ValidationException"]
    );
    let _again = [talk.ask("x", "a"), talk.ask("y", "bad")];
    talk.later(25);
    assert!(talk.plan().1.starts_with("single bad; batch a; "));
}

#[test]
fn an_outage_is_not_hammered_and_its_end_wakes_those_who_met_it() {
    let mut talk = Talk::new(SECRETS);
    talk.put("a", "1");
    for _ in 0..5 {
        let mut answer = talk.ask("x", "a");
        talk.later(25);
        let (calls, _) = talk.plan();
        talk.hear(&calls[0], CallResult::Nothing(broken()));
        assert_eq!(
            shown(answer.try_recv().unwrap()),
            "error: reading `a` failed: broken"
        );
    }
    let mut answer = talk.ask("y", "b");
    talk.later(25);
    let (calls, text) = talk.plan();
    assert!(calls.is_empty(), "{text}");
    assert_eq!(
        shown(answer.try_recv().unwrap()),
        "error: reading `b` failed: broken; it failed so often that it is asked again only after a pause"
    );
    // One call tries for all.
    talk.later(1000);
    let _first = talk.ask("x", "a");
    talk.later(25);
    let (calls, text) = talk.plan();
    assert!(text.starts_with("batch a; "), "{text}");
    let _second = talk.ask("y", "b");
    talk.later(25);
    assert!(talk.plan().0.is_empty());
    assert_eq!(talk.answer(&calls), ["x", "y"]);
    assert!(talk.plan().1.starts_with("batch b; "));
}

#[test]
fn one_poll_that_fails_is_nobodys_business_and_two_are() {
    let mut talk = Talk::new(SECRETS);
    talk.put("a", "1");
    talk.follow("x", "a", 60);
    talk.later(60_025);
    let (calls, _) = talk.plan();
    assert!(
        talk.hear(&calls[0], CallResult::Nothing(broken()))
            .is_empty()
    );
    assert!(
        talk.scheduler
            .confirmed(&user("x"), &question("a"))
            .is_some()
    );
    talk.later(3025);
    let (calls, _) = talk.plan();
    assert_eq!(talk.hear(&calls[0], CallResult::Nothing(broken())), ["x"]);
    assert_eq!(
        shown(talk.ask("x", "a").try_recv().unwrap()),
        "error: reading `a` failed: broken"
    );
    assert!(
        talk.scheduler
            .confirmed(&user("x"), &question("a"))
            .is_none()
    );
    // The same value as before is news to one that has failed.
    talk.later(60_025);
    let (calls, _) = talk.plan();
    assert_eq!(talk.answer(&calls), ["x"]);
}

#[test]
fn while_nothing_is_asked_those_who_watch_are_told() {
    let mut talk = Talk::new(SECRETS);
    talk.put("a", "1");
    talk.follow("x", "a", 1);
    for _ in 0..5 {
        let _answer = talk.ask("y", "b");
        talk.later(25);
        let (calls, _) = talk.plan();
        talk.hear(&calls[0], CallResult::Nothing(broken()));
    }
    talk.now += Duration::from_millis(950);
    let plan = talk.scheduler.plan(talk.now);
    assert!(
        plan.calls.is_empty() && plan.wake.is_empty(),
        "once is nobody's business"
    );
    talk.later(200);
    talk.scheduler.circuit.failed(talk.now, 1.0);
    talk.later(800);
    let plan = talk.scheduler.plan(talk.now);
    assert_eq!((plan.calls.len(), plan.wake), (0, vec![user("x")]));
    let told = shown(talk.ask("x", "a").try_recv().unwrap());
    assert!(told.contains("asked again only after a pause"), "{told}");
}

#[test]
fn where_intervals_are_long_a_list_tells_what_has_moved_and_only_that_is_read() {
    let mut talk = Talk::new(SECRETS);
    for n in 0..60 {
        talk.put(&format!("s{n}"), "1");
        talk.follow(&format!("x{n}"), &format!("s{n}"), 3600);
    }
    talk.start = talk.now;
    assert_eq!(talk.run(3600), ["3298 s: list"]);
    talk.put("s7", "2");
    assert_eq!(talk.run(3600), ["6598 s: list", "6598 s: batch 1"]);
    // Once a day everything is read in full.
    let day = talk.run(90_000);
    let batches = day.iter().filter(|call| call.contains("batch"));
    assert_eq!(batches.count(), 3 + 1, "{day:?}");
    assert!(day.len() < 35, "{day:?}");
}

#[test]
fn a_list_that_is_too_long_or_denied_is_not_used() {
    let mut talk = Talk::new(SECRETS);
    for n in 0..60 {
        talk.put(&format!("s{n}"), "1");
        talk.follow(&format!("x{n}"), &format!("s{n}"), 3600);
    }
    talk.later(3_500_000);
    let (calls, text) = talk.plan();
    assert!(
        text.starts_with("list 2; "),
        "three pages cost more than three batches: {text}"
    );
    talk.hear(&calls[0], CallResult::TooLong(3));
    let made = talk.run(7200);
    assert!(
        made.iter().all(|call| call.contains("batch")) && made.len() <= 9,
        "{made:?}"
    );
    // After a day it is tried again, and AWS says no.
    talk.scheduler.listing.pages = None;
    talk.scheduler.choose(talk.now);
    talk.later(3_600_000);
    let (calls, text) = talk.plan();
    assert!(text.contains("list"), "{text}");
    let list = calls
        .iter()
        .find(|call| matches!(call, Call::List(_)))
        .unwrap();
    let said = talk.hear(
        list,
        CallResult::Nothing(denied("secretsmanager:ListSecrets")),
    );
    assert_eq!(said, ["denied secretsmanager:ListSecrets"]);
}

#[test]
fn what_nobody_wants_any_more_is_forgotten() {
    let mut talk = Talk::new(SECRETS);
    talk.put("a", "1");
    talk.follow("x", "a", 60);
    let (number, answer) = talk.announce("y", "b");
    drop(answer);
    talk.scheduler.cancel(number, &question("b"));
    talk.scheduler.unwatch(&user("x"), &question("a"), talk.now);
    talk.run(200);
    assert!(talk.scheduler.is_idle() && talk.scheduler.schedule.is_empty());
    assert!(talk.scheduler.urgent.is_empty() && talk.scheduler.announced.is_empty());
    assert!(talk.scheduler.intervals.is_empty());
}

#[test]
fn a_list_that_fails_is_not_waited_for() {
    let mut talk = Talk::new(SECRETS);
    for n in 0..60 {
        talk.put(&format!("s{n}"), "1");
        talk.follow(&format!("x{n}"), &format!("s{n}"), 3600);
    }
    talk.later(3_500_000);
    let (calls, text) = talk.plan();
    assert!(text.starts_with("list"), "{text}");
    talk.hear(&calls[0], CallResult::Nothing(broken()));
    let made = talk.run(600);
    assert!(
        made.iter().all(|call| call.contains("batch")) && made.len() >= 3,
        "{made:?}"
    );
}

#[test]
fn who_takes_its_time_is_told_of_what_has_changed_meanwhile() {
    let mut talk = Talk::new(SECRETS);
    talk.put("a", "1");
    let mut answer = talk.ask("x", "a");
    talk.later(5);
    let (calls, _) = talk.plan();
    talk.answer(&calls);
    let used = talk.scheduler.digest(&answer.try_recv().unwrap().unwrap());
    // So long that nobody remembers the answer.
    talk.run(300);
    assert!(talk.scheduler.is_idle());
    talk.put("a", "2");
    let minute = Duration::from_secs(60);
    talk.scheduler
        .watch(&user("x"), &question("a"), used, minute, talk.now);
    // And one that has not read it in this process.
    talk.scheduler
        .watch(&user("y"), &question("a"), Digest::Unread, minute, talk.now);
    let calls = talk.calls_after(60_000);
    assert_eq!(talk.answer(&calls), ["x", "y"]);
    talk.later(60_025);
    let (calls, _) = talk.plan();
    assert!(talk.answer(&calls).is_empty(), "they know it by now");
}

#[test]
fn who_came_along_and_was_left_out_is_asked_for_again() {
    let mut talk = Talk::new(SECRETS);
    talk.put("a", "1");
    talk.put("b", "2");
    let (number, mut later) = talk.announce("y", "b");
    let _now = talk.ask("x", "a");
    talk.later(5);
    let (calls, text) = talk.plan();
    assert!(text.starts_with("batch a b; "), "{text}");
    // It is wanted while it is on its way, and the answer says nothing of it.
    talk.scheduler.request_now(number, &question("b"), talk.now);
    let heard = talk.answers(&[Arc::new(question("a"))]);
    talk.hear(&calls[0], heard);
    let (calls, text) = talk.plan();
    assert!(text.starts_with("single b; "), "{text}");
    talk.answer(&calls);
    assert_eq!(shown(later.try_recv().unwrap()), "2");
}

#[test]
fn one_forbidden_parameter_keeps_no_others_from_going_together() {
    let parameters = ServiceCapabilities {
        batch: 10,
        batches_versions: true,
        lists: false,
    };
    let mut talk = Talk::new(parameters);
    talk.put("/a", "1");
    let _answers = [talk.ask("x", "/a"), talk.ask("y", "/forbidden")];
    talk.later(5);
    let (calls, _) = talk.plan();
    assert!(
        talk.hear(&calls[0], CallResult::Nothing(denied("ssm:GetParameters")))
            .is_empty()
    );
    let (calls, text) = talk.plan();
    assert!(text.starts_with("single /a; single /forbidden; "), "{text}");
    talk.answer(&calls[..1]);
    let refused = vec![(
        Arc::new(question("/forbidden")),
        Err(denied("ssm:GetParameter")),
        Origin::default(),
    )];
    talk.hear(&calls[1], CallResult::Each(refused));
    let _again = [
        talk.ask("x", "/a"),
        talk.ask("y", "/b"),
        talk.ask("y", "/forbidden"),
    ];
    talk.later(25);
    let (_, text) = talk.plan();
    assert!(
        text.starts_with("single /forbidden; batch /a /b; "),
        "{text}"
    );
}

//! Subscriptions, and calls that fail.

use crate::aws::read_scheduler::tests::*;

#[test]
fn a_thousand_secrets_cost_fifty_calls_a_minute_and_wake_no_subscriber() {
    let mut conversation = Conversation::new(SECRETS);
    let mut answers = Vec::new();
    for n in 0..1000 {
        conversation.put(&format!("s{n}"), "1");
        answers.push((n, conversation.ask("x", &format!("s{n}"))));
    }
    assert_eq!(conversation.run(1).len(), 50);
    for (n, mut answer) in answers {
        let answer = answer.try_recv().unwrap().unwrap();
        let digest = conversation.scheduler.digest(&answer);
        let id = secret_id(&format!("s{n}"));
        let minute = Duration::from_secs(60);
        let name = subscriber(&n.to_string());
        assert!(
            !conversation
                .scheduler
                .watch(&name, &id, digest, minute, conversation.now)
        );
    }
    let mut minutes = Vec::new();
    for _ in 0..5 {
        minutes.push(conversation.run(60).len());
    }
    assert_eq!(minutes, [50; 5]);
    assert!(
        conversation
            .scheduler
            .confirmed(&subscriber("7"), &secret_id("s7"))
            .is_some()
    );
}

#[test]
fn a_change_wakes_its_subscribers_and_the_value_is_held_for_them() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    conversation.follow("x", "a", 60);
    conversation.follow("y", "a", 60);
    conversation.put("a", "2");
    let calls = conversation.calls_after(60_000);
    assert_eq!(conversation.answer(&calls), ["x", "y"]);
    assert_eq!(shown(conversation.ask("x", "a").try_recv().unwrap()), "2");
    assert_eq!(
        shown(conversation.ask("x", "a").try_recv().unwrap()),
        "waits",
        "a held value is given once"
    );
    conversation.later(11_000);
    assert_eq!(
        shown(conversation.ask("y", "a").try_recv().unwrap()),
        "waits",
        "a held value is not kept for long"
    );
    assert_eq!(conversation.scheduler.held.bytes(), 0);
}

#[test]
fn a_value_that_has_changed_before_it_is_watched_is_reported() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    conversation.follow("x", "a", 60);
    let mut answer = conversation.ask("y", "a");
    conversation.later(25);
    let (calls, _) = conversation.plan();
    conversation.answer(&calls);
    let old = conversation
        .scheduler
        .digest(&answer.try_recv().unwrap().unwrap());
    conversation.put("a", "2");
    let _answer = conversation.ask("z", "a");
    conversation.later(25);
    let (calls, _) = conversation.plan();
    assert_eq!(conversation.answer(&calls), ["x"]);
    let minute = Duration::from_secs(60);
    assert!(conversation.scheduler.watch(
        &subscriber("y"),
        &secret_id("a"),
        old,
        minute,
        conversation.now
    ));
}

#[test]
fn an_error_of_one_secret_reaches_its_readers_only() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    let (mut good, mut bad) = (conversation.ask("x", "a"), conversation.ask("y", "b"));
    conversation.later(5);
    let (calls, _) = conversation.plan();
    let mut each = vec![(
        Arc::new(secret_id("b")),
        Err(denied("secretsmanager:GetSecretValue")),
        Origin::default(),
    )];
    let CallResult::Answers(answers) = conversation.answers(&[Arc::new(secret_id("a"))]) else {
        unreachable!()
    };
    each.extend(answers);
    conversation.finish(&calls[0], CallResult::Answers(each));
    assert_eq!(shown(good.try_recv().unwrap()), "1");
    let answer = shown(bad.try_recv().unwrap());
    assert!(
        answer.contains("lacks `secretsmanager:GetSecretValue`"),
        "{answer}"
    );
}

#[test]
fn where_batches_are_denied_secrets_are_read_singly_and_the_denial_is_reported_once() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    let mut answers = [conversation.ask("x", "a"), conversation.ask("y", "b")];
    conversation.later(5);
    let (calls, _) = conversation.plan();
    let result = CallResult::Failed(denied("secretsmanager:BatchGetSecretValue"));
    let said = conversation.finish(&calls[0], result);
    assert_eq!(said, ["denied secretsmanager:BatchGetSecretValue"]);
    let (calls, text) = conversation.plan();
    assert!(text.starts_with("single a; single b; "), "{text}");
    conversation.answer(&calls);
    assert_eq!(
        answers
            .each_mut()
            .map(|answer| shown(answer.try_recv().unwrap())),
        ["1", "missing"]
    );
    // An hour later it may be allowed.
    conversation.later(3_600_000);
    let _again = [conversation.ask("x", "a"), conversation.ask("y", "b")];
    conversation.later(25);
    assert!(conversation.plan().1.starts_with("batch a b; "));
}

#[test]
fn a_secret_that_makes_a_batch_fail_is_read_alone_from_then_on() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    let mut answers = [conversation.ask("x", "a"), conversation.ask("y", "bad")];
    conversation.later(5);
    let (calls, _) = conversation.plan();
    let invalid = ProviderError::Other {
        key: "a".to_owned(),
        reason: "ValidationException".to_owned(),
    };
    assert!(
        conversation
            .finish(&calls[0], CallResult::Failed(invalid.clone()))
            .is_empty()
    );
    let (calls, text) = conversation.plan();
    assert!(text.starts_with("single a; single bad; "), "{text}");
    conversation.answer(&calls[..1]);
    let bad = vec![(
        Arc::new(secret_id("bad")),
        Err(invalid.about("bad")),
        Origin::default(),
    )];
    conversation.finish(&calls[1], CallResult::Answers(bad));
    let answer = answers
        .each_mut()
        .map(|answer| shown(answer.try_recv().unwrap()));
    assert_eq!(
        answer,
        ["1", "error: reading `bad` failed: ValidationException"]
    );
    let _again = [conversation.ask("x", "a"), conversation.ask("y", "bad")];
    conversation.later(25);
    assert!(conversation.plan().1.starts_with("single bad; batch a; "));
}

#[test]
fn an_outage_opens_the_circuit_and_its_end_wakes_blocked_subscribers() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    for _ in 0..5 {
        let mut answer = conversation.ask("x", "a");
        conversation.later(25);
        let (calls, _) = conversation.plan();
        conversation.finish(&calls[0], CallResult::Failed(broken()));
        assert_eq!(
            shown(answer.try_recv().unwrap()),
            "error: reading `a` failed: broken"
        );
    }
    let mut answer = conversation.ask("y", "b");
    conversation.later(25);
    let (calls, text) = conversation.plan();
    assert!(calls.is_empty(), "{text}");
    assert_eq!(
        shown(answer.try_recv().unwrap()),
        "error: reading `b` failed: broken; it failed so often that it is asked again only after a pause"
    );
    // One call tries for all others.
    conversation.later(1000);
    let _first = conversation.ask("x", "a");
    conversation.later(25);
    let (calls, text) = conversation.plan();
    assert!(text.starts_with("batch a; "), "{text}");
    let _second = conversation.ask("y", "b");
    conversation.later(25);
    assert!(conversation.plan().0.is_empty());
    assert_eq!(conversation.answer(&calls), ["x", "y"]);
    assert!(conversation.plan().1.starts_with("batch b; "));
}

#[test]
fn one_failed_poll_wakes_no_subscriber_and_two_do() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    conversation.follow("x", "a", 60);
    conversation.later(60_025);
    let (calls, _) = conversation.plan();
    assert!(
        conversation
            .finish(&calls[0], CallResult::Failed(broken()))
            .is_empty()
    );
    assert!(
        conversation
            .scheduler
            .confirmed(&subscriber("x"), &secret_id("a"))
            .is_some()
    );
    conversation.later(3025);
    let (calls, _) = conversation.plan();
    assert_eq!(
        conversation.finish(&calls[0], CallResult::Failed(broken())),
        ["x"]
    );
    assert_eq!(
        shown(conversation.ask("x", "a").try_recv().unwrap()),
        "error: reading `a` failed: broken"
    );
    assert!(
        conversation
            .scheduler
            .confirmed(&subscriber("x"), &secret_id("a"))
            .is_none()
    );
    // The same value as before is news to a subscriber that got an error.
    conversation.later(60_025);
    let (calls, _) = conversation.plan();
    assert_eq!(conversation.answer(&calls), ["x"]);
}

#[test]
fn while_the_circuit_is_open_subscribers_get_its_error() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    conversation.follow("x", "a", 1);
    for _ in 0..5 {
        let _answer = conversation.ask("y", "b");
        conversation.later(25);
        let (calls, _) = conversation.plan();
        conversation.finish(&calls[0], CallResult::Failed(broken()));
    }
    conversation.now += Duration::from_millis(950);
    let plan = conversation.scheduler.plan(conversation.now);
    assert!(
        plan.calls.is_empty() && plan.wake.is_empty(),
        "one failure wakes no subscriber"
    );
    conversation.later(200);
    conversation
        .scheduler
        .circuit
        .failed(&broken(), conversation.now, 1.0);
    conversation.later(800);
    let plan = conversation.scheduler.plan(conversation.now);
    assert_eq!((plan.calls.len(), plan.wake), (0, vec![subscriber("x")]));
    let answer = shown(conversation.ask("x", "a").try_recv().unwrap());
    assert!(
        answer.contains("asked again only after a pause"),
        "{answer}"
    );
}

#[test]
fn where_intervals_are_long_a_list_tells_which_secrets_have_changed_and_only_those_are_read() {
    let mut conversation = Conversation::new(SECRETS);
    for n in 0..60 {
        conversation.put(&format!("s{n}"), "1");
        conversation.follow(&format!("x{n}"), &format!("s{n}"), 3600);
    }
    conversation.start = conversation.now;
    assert_eq!(conversation.run(3600), ["3298 s: list"]);
    conversation.put("s7", "2");
    assert_eq!(conversation.run(3600), ["6598 s: list", "6598 s: batch 1"]);
    // Once a day everything is read in full.
    let day = conversation.run(90_000);
    let batches = day.iter().filter(|call| call.contains("batch"));
    assert_eq!(batches.count(), 3 + 1, "{day:?}");
    assert!(day.len() < 35, "{day:?}");
}

#[test]
fn a_list_that_is_too_long_or_denied_is_not_used() {
    let mut conversation = Conversation::new(SECRETS);
    for n in 0..60 {
        conversation.put(&format!("s{n}"), "1");
        conversation.follow(&format!("x{n}"), &format!("s{n}"), 3600);
    }
    conversation.later(3_500_000);
    let (calls, text) = conversation.plan();
    assert!(
        text.starts_with("list 2; "),
        "three pages cost more than three batches: {text}"
    );
    conversation.finish(&calls[0], CallResult::ListTooLong { pages: 3 });
    let made = conversation.run(7200);
    assert!(
        made.iter().all(|call| call.contains("batch")) && made.len() <= 9,
        "{made:?}"
    );
    // After a day a list is tried again, and a policy denies it.
    conversation.scheduler.listing.forget_pages();
    conversation.scheduler.choose_listing(conversation.now);
    conversation.later(3_600_000);
    let (calls, text) = conversation.plan();
    assert!(text.contains("list"), "{text}");
    let list = calls
        .iter()
        .find(|call| matches!(call, Call::List(_)))
        .unwrap();
    let said = conversation.finish(
        list,
        CallResult::Failed(denied("secretsmanager:ListSecrets")),
    );
    assert_eq!(said, ["denied secretsmanager:ListSecrets"]);
}

#[test]
fn a_secret_without_subscribers_and_readers_is_forgotten() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    conversation.follow("x", "a", 60);
    let (number, answer) = conversation.announce("y", "b");
    drop(answer);
    conversation.scheduler.cancel(number);
    conversation
        .scheduler
        .unwatch(&subscriber("x"), &secret_id("a"), conversation.now);
    conversation.run(200);
    assert!(conversation.scheduler.is_idle() && conversation.scheduler.schedule.is_empty());
    assert!(conversation.scheduler.queue.is_empty());
    assert!(conversation.scheduler.listing.intervals().is_empty());
}

#[test]
fn while_lists_fail_batches_are_read() {
    let mut conversation = Conversation::new(SECRETS);
    for n in 0..60 {
        conversation.put(&format!("s{n}"), "1");
        conversation.follow(&format!("x{n}"), &format!("s{n}"), 3600);
    }
    conversation.later(3_500_000);
    let (calls, text) = conversation.plan();
    assert!(text.starts_with("list"), "{text}");
    conversation.finish(&calls[0], CallResult::Failed(broken()));
    let made = conversation.run(600);
    assert!(
        made.iter().all(|call| call.contains("batch")) && made.len() >= 3,
        "{made:?}"
    );
}

#[test]
fn a_subscriber_that_watches_late_is_woken_for_what_has_changed_meanwhile() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    let mut answer = conversation.ask("x", "a");
    conversation.later(5);
    let (calls, _) = conversation.plan();
    conversation.answer(&calls);
    let used = conversation
        .scheduler
        .digest(&answer.try_recv().unwrap().unwrap());
    // So long that the scheduler forgets the answer.
    conversation.run(300);
    assert!(conversation.scheduler.is_idle());
    conversation.put("a", "2");
    let minute = Duration::from_secs(60);
    conversation.scheduler.watch(
        &subscriber("x"),
        &secret_id("a"),
        used,
        minute,
        conversation.now,
    );
    // And a subscriber that has not read it in this process.
    conversation.scheduler.watch(
        &subscriber("y"),
        &secret_id("a"),
        Digest::Unread,
        minute,
        conversation.now,
    );
    let calls = conversation.calls_after(60_000);
    assert_eq!(conversation.answer(&calls), ["x", "y"]);
    conversation.later(60_025);
    let (calls, _) = conversation.plan();
    assert!(
        conversation.answer(&calls).is_empty(),
        "they know it by now"
    );
}

#[test]
fn an_announced_secret_that_the_batch_left_out_is_read_again() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    conversation.put("b", "2");
    let (number, mut later) = conversation.announce("y", "b");
    let _now = conversation.ask("x", "a");
    conversation.later(5);
    let (calls, text) = conversation.plan();
    assert!(text.starts_with("batch a b; "), "{text}");
    // It is requested while its call is in flight, and the answer leaves it out.
    conversation.scheduler.request_now(number, conversation.now);
    let result = conversation.answers(&[Arc::new(secret_id("a"))]);
    conversation.finish(&calls[0], result);
    let (calls, text) = conversation.plan();
    assert!(text.starts_with("single b; "), "{text}");
    conversation.answer(&calls);
    assert_eq!(shown(later.try_recv().unwrap()), "2");
}

#[test]
fn one_denied_parameter_does_not_keep_the_others_from_a_batch() {
    let parameters = ServiceCapabilities {
        batch: 10,
        batches_versions: true,
        lists: false,
    };
    let mut conversation = Conversation::new(parameters);
    conversation.put("/a", "1");
    let _answers = [
        conversation.ask("x", "/a"),
        conversation.ask("y", "/forbidden"),
    ];
    conversation.later(5);
    let (calls, _) = conversation.plan();
    assert!(
        conversation
            .finish(&calls[0], CallResult::Failed(denied("ssm:GetParameters")))
            .is_empty()
    );
    let (calls, text) = conversation.plan();
    assert!(text.starts_with("single /a; single /forbidden; "), "{text}");
    conversation.answer(&calls[..1]);
    let refused = vec![(
        Arc::new(secret_id("/forbidden")),
        Err(denied("ssm:GetParameter")),
        Origin::default(),
    )];
    conversation.finish(&calls[1], CallResult::Answers(refused));
    let _again = [
        conversation.ask("x", "/a"),
        conversation.ask("y", "/b"),
        conversation.ask("y", "/forbidden"),
    ];
    conversation.later(25);
    let (_, text) = conversation.plan();
    assert!(
        text.starts_with("single /forbidden; batch /a /b; "),
        "{text}"
    );
}

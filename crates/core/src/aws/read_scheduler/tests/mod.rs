//! What is asked of AWS and when, as a conversation with the scheduler.

mod random;
mod watching;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::oneshot;

use crate::aws::read_scheduler::*;
use crate::names::NamespacedName;
use crate::secrets::SecretValue;

const SECRETS: ServiceCapabilities = ServiceCapabilities {
    batch: 20,
    batches_versions: false,
    lists: true,
};

/// A scheduler, a clock, and the values that AWS holds.
struct Conversation {
    scheduler: ReadScheduler,
    start: Instant,
    now: Instant,
    values: BTreeMap<String, String>,
    calls: usize,
}

/// `id`, or `id@version`.
fn secret_id(text: &str) -> SecretId {
    match text.split_once('@') {
        Some((id, version)) => SecretId::new(id, version),
        None => SecretId::current(text),
    }
}

fn subscriber(name: &str) -> NamespacedName {
    NamespacedName::new("team", name)
}

fn arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:r:1:secret:{name}-AbCdEf")
}

fn shown(answer: Option<ReadAnswer>) -> String {
    match answer {
        None => "waits".to_owned(),
        Some(Ok(LookupResult::Value(value))) => {
            String::from_utf8_lossy(value.expose()).into_owned()
        }
        Some(Ok(_)) => "missing".to_owned(),
        Some(Err(error)) => format!("error: {error}"),
    }
}

fn broken() -> ProviderError {
    ProviderError::Unavailable {
        key: "first".to_owned(),
        reason: "broken".to_owned(),
    }
}

fn denied(action: &'static str) -> ProviderError {
    ProviderError::AccessDenied {
        key: "first".to_owned(),
        action,
        code: "AccessDenied".to_owned(),
    }
}

impl Conversation {
    fn new(capabilities: ServiceCapabilities) -> Self {
        let now = Instant::now();
        Self {
            scheduler: ReadScheduler::new(capabilities, [7; 32]),
            start: now,
            now,
            values: BTreeMap::new(),
            calls: 0,
        }
    }

    fn put(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    fn later(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    fn announce(&mut self, name: &str, id: &str) -> (u64, oneshot::Receiver<ReadAnswer>) {
        self.scheduler
            .announce(Some(subscriber(name)), &secret_id(id), self.now)
    }

    fn ask(&mut self, name: &str, id: &str) -> oneshot::Receiver<ReadAnswer> {
        let (number, answer) = self.announce(name, id);
        self.scheduler.request_now(number, self.now);
        answer
    }

    /// The calls that are made a while after a secret became due, when nothing more is requested.
    fn calls_after(&mut self, milliseconds: u64) -> Vec<Call> {
        self.later(milliseconds);
        self.plan();
        self.later(25);
        self.plan().0
    }

    /// The calls to make now, and when to plan again.
    fn plan(&mut self) -> (Vec<Call>, String) {
        let plan = self.scheduler.plan(self.now);
        let mut text = String::new();
        for call in &plan.calls {
            let names = |group: &Vec<Arc<SecretId>>| {
                let ids = group.iter().map(|secret| match secret.version.as_str() {
                    "" => secret.id.clone(),
                    version => format!("{}@{version}", secret.id),
                });
                ids.collect::<Vec<_>>().join("=")
            };
            match call {
                Call::Batch(groups) if groups.len() > 5 => {
                    let _ = write!(text, "batch of {}; ", groups.len());
                }
                Call::Batch(groups) => {
                    let groups: Vec<_> = groups.iter().map(names).collect();
                    let _ = write!(text, "batch {}; ", groups.join(" "));
                }
                Call::Single(secret) => {
                    let _ = write!(text, "single {}; ", names(&vec![secret.clone()]));
                }
                Call::List(pages) => {
                    let _ = write!(text, "list {pages}; ");
                }
            }
        }
        let next = plan
            .next
            .map(|at| at.saturating_duration_since(self.now).as_millis());
        let next = next.map_or_else(|| "never".to_owned(), |next| format!("{next} ms"));
        self.calls += plan.calls.len();
        (plan.calls, format!("{text}next {next}"))
    }

    fn answers(&self, secrets: &[Arc<SecretId>]) -> CallResult {
        let answers = secrets.iter().map(|secret| {
            let name = secret.id.rsplit(':').next().unwrap_or_default();
            let name = name.strip_suffix("-AbCdEf").unwrap_or(name);
            let (answer, origin) = match self.values.get(name) {
                Some(value) => (
                    Ok(LookupResult::Value(SecretValue::from(
                        value.clone().into_bytes(),
                    ))),
                    Origin {
                        arn: Some(arn(name)),
                        version_id: Some(value.clone()),
                    },
                ),
                None => (Ok(LookupResult::Missing), Origin::default()),
            };
            (secret.clone(), answer, origin)
        });
        CallResult::Answers(answers.collect())
    }

    fn finish(&mut self, call: &Call, result: CallResult) -> Vec<String> {
        let effects = self.scheduler.finish_call(call, result, self.now, 1.0);
        let woken = effects.wake.into_iter().map(|user| user.name);
        woken
            .chain(effects.denied.map(|action| format!("denied {action}")))
            .collect()
    }

    /// Lets AWS answer, and gives the subscribers that are woken.
    fn answer(&mut self, calls: &[Call]) -> Vec<String> {
        let mut woken = Vec::new();
        for call in calls {
            let result = match call {
                Call::List(_) => CallResult::List {
                    secrets: self.list(),
                    pages: 1,
                },
                Call::Single(secret) => self.answers(std::slice::from_ref(secret)),
                Call::Batch(groups) => {
                    self.answers(&groups.iter().flatten().cloned().collect::<Vec<_>>())
                }
            };
            woken.extend(self.finish(call, result));
        }
        woken
    }

    fn list(&self) -> Vec<ListedSecret> {
        let listed = |(name, value): (&String, &String)| ListedSecret {
            name: name.clone(),
            arn: arn(name),
            stages: [("AWSCURRENT".to_owned(), value.clone())].into(),
        };
        self.values.iter().map(listed).collect()
    }

    /// Reads and watches, as an ExternalSecret does.
    fn follow(&mut self, name: &str, id: &str, interval: u64) {
        let mut answer = self.ask(name, id);
        self.later(30);
        let (calls, _) = self.plan();
        self.answer(&calls);
        let answer = answer.try_recv().unwrap().unwrap();
        let digest = self.scheduler.digest(&answer);
        let interval = Duration::from_secs(interval);
        self.scheduler.watch(
            &subscriber(name),
            &secret_id(id),
            digest,
            interval,
            self.now,
        );
    }

    /// Lets the clock run, AWS answering at once, and gives the calls that were made.
    fn run(&mut self, seconds: u64) -> Vec<String> {
        let end = self.now + Duration::from_secs(seconds);
        let mut made = Vec::new();
        loop {
            let plan = self.scheduler.plan(self.now);
            for call in &plan.calls {
                let at = self.now.saturating_duration_since(self.start).as_secs();
                let what = match call {
                    Call::Batch(groups) => format!("batch {}", groups.len()),
                    Call::Single(_) => "single".to_owned(),
                    Call::List(_) => "list".to_owned(),
                };
                made.push(format!("{at} s: {what}"));
            }
            self.answer(&plan.calls);
            if !plan.calls.is_empty() {
                continue;
            }
            match plan.next {
                Some(next) if next <= end => self.now = next.max(self.now),
                _ => break,
            }
        }
        self.now = end;
        made
    }
}

#[test]
fn secrets_that_are_requested_together_are_read_by_one_batch_and_each_once() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    conversation.put("b", "2");
    let mut answers: Vec<_> = [("x", "a"), ("y", "a"), ("z", "b"), ("z", "none")]
        .map(|(name, id)| conversation.ask(name, id))
        .into();
    assert_eq!(conversation.plan().1, "next 5 ms", "more may come");
    conversation.later(5);
    let (calls, text) = conversation.plan();
    assert_eq!(text, "batch a b none; next never");
    assert_eq!(conversation.plan().1, "next never", "it is on its way");
    assert!(conversation.answer(&calls).is_empty());
    let answer: Vec<_> = answers
        .iter_mut()
        .map(|answer| shown(answer.try_recv().unwrap()))
        .collect();
    assert_eq!(answer, ["1", "1", "2", "missing"]);
}

#[test]
fn full_batches_are_sent_at_once_and_announced_secrets_fill_the_last() {
    let mut conversation = Conversation::new(SECRETS);
    let announced: Vec<_> = (0..50)
        .map(|n| conversation.announce("later", &format!("l{n}")))
        .collect();
    let asked: Vec<_> = (0..45)
        .map(|n| conversation.ask("now", &format!("n{n}")))
        .collect();
    let (calls, text) = conversation.plan();
    assert_eq!(text, "batch of 20; batch of 20; next 25 ms");
    conversation.later(25);
    let (more, text) = conversation.plan();
    assert_eq!(
        text, "batch of 20; next 59975 ms",
        "five, and fifteen that are wanted later"
    );
    conversation.answer(&calls);
    conversation.answer(&more);
    assert_eq!(
        asked
            .into_iter()
            .filter_map(|mut answer| answer.try_recv().unwrap())
            .count(),
        45
    );
    let given = announced
        .into_iter()
        .filter_map(|(_, mut answer)| answer.try_recv().unwrap());
    assert_eq!(given.count(), 15);
}

#[test]
fn a_secret_that_is_requested_and_announced_is_read_by_one_call() {
    let mut conversation = Conversation::new(SECRETS);
    let _announced = conversation.announce("later", "n0");
    let _asked: Vec<_> = (0..21)
        .map(|n| conversation.ask("now", &format!("n{n}")))
        .collect();
    conversation.later(25);
    assert_eq!(conversation.plan().1, "batch of 20; batch n20; next never");
}

#[test]
fn names_and_arns_of_one_secret_are_one_group() {
    let mut conversation = Conversation::new(SECRETS);
    conversation.put("a", "1");
    let partial = "arn:aws:secretsmanager:r:1:secret:a";
    for id in ["a", &arn("a"), partial] {
        conversation.follow("x", id, 60);
    }
    conversation.later(60_000);
    conversation.plan();
    conversation.later(10);
    let (_, text) = conversation.plan();
    assert_eq!(text, format!("batch a={}={partial}; next never", arn("a")));
}

#[test]
fn versions_that_a_batch_cannot_ask_for_are_read_singly() {
    let mut conversation = Conversation::new(SECRETS);
    let _answers =
        ["a@AWSCURRENT", "a@AWSPREVIOUS", "a@uuid/1", "b"].map(|id| conversation.ask("x", id));
    conversation.later(25);
    let (_, text) = conversation.plan();
    assert_eq!(
        text,
        "single a@AWSPREVIOUS; single a@uuid/1; batch a@AWSCURRENT b; next never"
    );
    let parameters = ServiceCapabilities {
        batch: 10,
        batches_versions: true,
        lists: false,
    };
    let mut conversation = Conversation::new(parameters);
    let _answers = ["/a", "/a@3"].map(|id| conversation.ask("x", id));
    conversation.later(5);
    assert_eq!(conversation.plan().1, "batch /a /a@3; next never");
}

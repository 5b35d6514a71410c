//! Random conversations with the scheduler: whatever happens, its parts agree, and no reader is forgotten.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::aws::read_scheduler::tests::*;

/// The ids that are asked for: names, ARNs of the same secrets, and versions.
const IDS: [&str; 10] = [
    "a",
    "arn:aws:secretsmanager:r:1:secret:a-AbCdEf",
    "a@AWSCURRENT",
    "a@AWSPREVIOUS",
    "b",
    "b@uuid/1",
    "c",
    "d",
    "e",
    "f",
];
const SUBSCRIBERS: [&str; 4] = ["w", "x", "y", "z"];
const INTERVALS: [u64; 4] = [1, 60, 3600, 7200];
const PAUSES: [u64; 8] = [0, 5, 25, 1000, 11_000, 60_000, 3_600_000, 90_000_000];

/// One thing that happens.
#[derive(Debug, Clone)]
enum Event {
    Announce(Option<usize>, usize),
    RequestNow(Index),
    Cancel(Index),
    /// The reader goes away without a word.
    DropReceiver(Index),
    Watch(usize, usize, usize, UsedValue),
    Unwatch(usize, usize),
    RefreshNow(usize),
    ResetCircuit,
    /// The secret gets another value, or is deleted.
    Change(usize, Option<u8>),
    Finish(Index, Reply),
    Pause(usize),
    Plan,
}

/// The value that a subscriber says it has used.
#[derive(Debug, Clone, Copy)]
enum UsedValue {
    Unread,
    Missing,
    LastAnswer,
}

/// How the service answers a call.
#[derive(Debug, Clone, Copy)]
enum Reply {
    Complete,
    /// The secrets whose bit is not set are left out.
    Partial(u8),
    /// The secrets whose bit is set are denied.
    SomeDenied(u8),
    Unavailable,
    Invalid,
    ActionDenied,
    TooLong,
}

fn event() -> impl Strategy<Value = Event> {
    let id = 0..IDS.len();
    let name = 0..SUBSCRIBERS.len();
    let used = prop_oneof![
        Just(UsedValue::Unread),
        Just(UsedValue::Missing),
        Just(UsedValue::LastAnswer)
    ];
    let reply = prop_oneof![
        6 => Just(Reply::Complete),
        2 => any::<u8>().prop_map(Reply::Partial),
        2 => any::<u8>().prop_map(Reply::SomeDenied),
        3 => Just(Reply::Unavailable),
        1 => Just(Reply::Invalid),
        1 => Just(Reply::ActionDenied),
        1 => Just(Reply::TooLong),
    ];
    prop_oneof![
        6 => (proptest::option::weighted(0.8, name.clone()), id.clone())
            .prop_map(|(name, id)| Event::Announce(name, id)),
        6 => any::<Index>().prop_map(Event::RequestNow),
        1 => any::<Index>().prop_map(Event::Cancel),
        1 => any::<Index>().prop_map(Event::DropReceiver),
        5 => (name.clone(), id.clone(), 0..INTERVALS.len(), used)
            .prop_map(|(name, id, interval, used)| Event::Watch(name, id, interval, used)),
        2 => (name, id.clone()).prop_map(|(name, id)| Event::Unwatch(name, id)),
        1 => id.clone().prop_map(Event::RefreshNow),
        1 => Just(Event::ResetCircuit),
        2 => (id, proptest::option::weighted(0.8, any::<u8>()))
            .prop_map(|(id, value)| Event::Change(id, value)),
        8 => (any::<Index>(), reply).prop_map(|(index, reply)| Event::Finish(index, reply)),
        5 => (0..PAUSES.len()).prop_map(Event::Pause),
        8 => Just(Event::Plan),
    ]
}

/// A reader, and its answer once it has come.
struct Reader {
    number: u64,
    receiver: Option<oneshot::Receiver<ReadAnswer>>,
    is_answered: bool,
}

/// A conversation, with everything that is under way in it.
struct World {
    conversation: Conversation,
    readers: Vec<Reader>,
    calls: Vec<Call>,
    woken: BTreeSet<NamespacedName>,
}

impl World {
    fn new(capabilities: ServiceCapabilities) -> Self {
        Self {
            conversation: Conversation::new(capabilities),
            readers: Vec::new(),
            calls: Vec::new(),
            woken: BTreeSet::new(),
        }
    }

    /// Lets something happen, and checks what must be true whatever happens.
    fn apply(&mut self, event: &Event) {
        self.woken.clear();
        let before = self.subscriptions();
        let served = self.act(event);
        self.check();
        // A subscriber that watches again says itself what it knows.
        if !matches!(event, Event::Watch(..)) {
            self.check_news(&before, &served);
        }
    }

    /// Gives the subscribers that got an answer themselves, so that nothing has to wake them.
    fn act(&mut self, event: &Event) -> BTreeSet<NamespacedName> {
        let now = self.conversation.now;
        let scheduler = &mut self.conversation.scheduler;
        match event {
            Event::Announce(name, id) => {
                let name = name.map(|name| subscriber(SUBSCRIBERS[name]));
                let (number, receiver) = scheduler.announce(name, &secret_id(IDS[*id]), now);
                self.readers.push(Reader {
                    number,
                    receiver: Some(receiver),
                    is_answered: false,
                });
            }
            Event::RequestNow(index) => {
                if let Some(reader) = pick(&mut self.readers, *index) {
                    scheduler.request_now(reader.number, now);
                }
            }
            Event::Cancel(index) => {
                if let Some(reader) = pick(&mut self.readers, *index) {
                    scheduler.cancel(reader.number);
                    reader.receiver = None;
                }
            }
            Event::DropReceiver(index) => {
                if let Some(reader) = pick(&mut self.readers, *index) {
                    reader.receiver = None;
                }
            }
            Event::Watch(name, id, interval, used) => {
                let (name, id) = (subscriber(SUBSCRIBERS[*name]), secret_id(IDS[*id]));
                let used = match used {
                    UsedValue::Unread => Digest::Unread,
                    UsedValue::Missing => Digest::Missing,
                    UsedValue::LastAnswer => {
                        let last = scheduler.last_answer(&id);
                        last.map_or(Digest::Unread, |(digest, _)| digest)
                    }
                };
                let interval = Duration::from_secs(INTERVALS[*interval]);
                if scheduler.watch(&name, &id, used, interval, now) {
                    self.woken.insert(name);
                }
            }
            Event::Unwatch(name, id) => {
                scheduler.unwatch(&subscriber(SUBSCRIBERS[*name]), &secret_id(IDS[*id]), now);
            }
            Event::RefreshNow(id) => scheduler.refresh_now(&secret_id(IDS[*id]), now),
            Event::ResetCircuit => self.woken.extend(scheduler.reset_circuit(now)),
            Event::Change(id, value) => {
                let name = secret_id(IDS[*id]).id;
                match value {
                    Some(value) => self.conversation.put(&name, &value.to_string()),
                    None => {
                        self.conversation.values.remove(&name);
                    }
                }
            }
            Event::Finish(index, reply) => return self.finish(*index, *reply),
            Event::Pause(pause) => self.conversation.later(PAUSES[*pause]),
            Event::Plan => {
                self.plan();
            }
        }
        BTreeSet::new()
    }

    fn plan(&mut self) -> Option<Instant> {
        let scheduler = &mut self.conversation.scheduler;
        let plan = scheduler.plan(self.conversation.now);
        for call in &plan.calls {
            if let Call::Batch(groups) = call {
                assert!(
                    groups.len() <= scheduler.capabilities.batch,
                    "a batch too large"
                );
                assert!(groups.iter().all(|group| !group.is_empty()));
            }
        }
        self.calls.extend(plan.calls);
        self.woken.extend(plan.wake);
        plan.next
    }

    fn finish(&mut self, index: Index, reply: Reply) -> BTreeSet<NamespacedName> {
        if self.calls.is_empty() {
            return BTreeSet::new();
        }
        self.finish_at(index.index(self.calls.len()), reply)
    }

    fn finish_at(&mut self, place: usize, reply: Reply) -> BTreeSet<NamespacedName> {
        let call = self.calls.remove(place);
        let result = self.result(&call, reply);
        let pending = self.conversation.scheduler.queue.subscribers();
        let now = self.conversation.now;
        let scheduler = &mut self.conversation.scheduler;
        let effects = scheduler.finish_call(&call, result, now, 0.5);
        self.woken.extend(effects.wake);
        let left = scheduler.queue.subscribers();
        let served = pending
            .into_iter()
            .filter(|(number, _)| !left.contains_key(number));
        served.map(|(_, name)| name).collect()
    }

    fn result(&self, call: &Call, reply: Reply) -> CallResult {
        let conversation = &self.conversation;
        let action = match call {
            Call::Batch(_) if conversation.scheduler.capabilities.batches_versions => {
                "ssm:GetParameters"
            }
            Call::Batch(_) => "secretsmanager:BatchGetSecretValue",
            Call::Single(_) => "secretsmanager:GetSecretValue",
            Call::List(_) => "secretsmanager:ListSecrets",
        };
        let is_set = |bits: u8, place: usize| bits & (1 << (place % 8)) != 0;
        let secrets = call.secrets();
        let answers = |secrets: &[Arc<SecretId>]| conversation.answers(secrets);
        match (reply, call) {
            (Reply::Unavailable, _) => CallResult::Failed(broken()),
            (Reply::ActionDenied, _) => CallResult::Failed(denied(action)),
            (Reply::Invalid, _) => CallResult::Failed(ProviderError::Other {
                key: "first".to_owned(),
                reason: "ValidationException".to_owned(),
            }),
            (Reply::TooLong, Call::List(pages)) => CallResult::ListTooLong { pages: pages + 1 },
            (_, Call::List(_)) => CallResult::List {
                secrets: conversation.list(),
                pages: 1,
            },
            (Reply::Partial(bits), _) => {
                let some = secrets.iter().enumerate();
                let some = some.filter(|(place, _)| is_set(bits, *place));
                let some: Vec<_> = some.map(|(_, secret)| secret.clone()).collect();
                answers(&some)
            }
            (Reply::SomeDenied(bits), _) => {
                let CallResult::Answers(mut all) = answers(&secrets) else {
                    unreachable!()
                };
                for (place, (secret, answer, origin)) in all.iter_mut().enumerate() {
                    if is_set(bits, place) {
                        *answer = Err(denied("secretsmanager:GetSecretValue").about(&secret.id));
                        *origin = Origin::default();
                    }
                }
                CallResult::Answers(all)
            }
            _ => answers(&secrets),
        }
    }

    /// What each subscriber knows of each secret.
    fn subscriptions(&self) -> BTreeMap<(NamespacedName, Arc<SecretId>), Digest> {
        let entries = self.conversation.scheduler.entries.iter();
        let all = entries.flat_map(|(secret, entry)| {
            let subscribers = entry.subscribers.iter();
            subscribers.map(|known| ((known.name.clone(), secret.clone()), known.digest))
        });
        all.collect()
    }

    /// A subscriber that knows another value than the scheduler is woken, or has got the new one itself.
    fn check_news(
        &self,
        before: &BTreeMap<(NamespacedName, Arc<SecretId>), Digest>,
        served: &BTreeSet<NamespacedName>,
    ) {
        for (key, digest) in self.subscriptions() {
            let (name, secret) = &key;
            let last = self.conversation.scheduler.last_answer(secret);
            if let Some((last, _)) = last {
                assert!(
                    digest == last || digest == Digest::Unread,
                    "{name} knows what the scheduler knows of {secret:?}"
                );
            }
            let is_other = before.get(&key).is_some_and(|before| *before != digest);
            assert!(
                !is_other || self.woken.contains(name) || served.contains(name),
                "{name} is woken for {secret:?}"
            );
        }
    }

    /// What must be true at any time.
    fn check(&mut self) {
        let scheduler = &self.conversation.scheduler;
        let in_flight: Vec<_> = self.calls.iter().flat_map(Call::secrets).collect();
        let unique: BTreeSet<_> = in_flight.iter().cloned().collect();
        assert_eq!(in_flight.len(), unique.len(), "a secret is in flight twice");
        assert_eq!(scheduler.calls_in_flight, self.calls.len());
        scheduler.queue.check(|secret| unique.contains(secret));
        scheduler.schedule.check();
        scheduler.held.check();
        let mut intervals: BTreeMap<Duration, usize> = BTreeMap::new();
        for (secret, entry) in &scheduler.entries {
            assert_eq!(entry.is_in_flight, unique.contains(secret), "{secret:?}");
            let is_scheduled = scheduler.schedule.time_of(secret).is_some();
            assert_eq!(is_scheduled, !entry.is_in_flight, "{secret:?}");
            if let Some(interval) = entry.interval() {
                *intervals.entry(interval).or_default() += 1;
            }
        }
        assert_eq!(scheduler.listing.intervals(), &intervals);
        let scheduled = scheduler.schedule.iter().map(|(_, secret)| secret);
        for secret in scheduled.chain(&unique) {
            assert!(
                scheduler.entries.contains_key(secret),
                "{secret:?} is forgotten"
            );
        }
        self.check_readers();
    }

    /// Each reader has exactly one answer, or stays queued.
    fn check_readers(&mut self) {
        let queued = self.conversation.scheduler.queue.numbers();
        for reader in &mut self.readers {
            let Some(receiver) = &mut reader.receiver else {
                continue;
            };
            if !reader.is_answered {
                let answer = receiver.try_recv().expect("a reader is not dropped");
                reader.is_answered = answer.is_some();
            }
            assert_ne!(
                reader.is_answered,
                queued.contains(&reader.number),
                "reader {} has an answer or is queued",
                reader.number
            );
        }
    }

    /// Lets the service answer everything, until there is nothing to do for a moment.
    fn settle(&mut self) {
        for _ in 0..200 {
            let next = self.plan();
            while !self.calls.is_empty() {
                self.finish_at(0, Reply::Complete);
            }
            self.check();
            match next {
                Some(next) if next <= self.conversation.now + Duration::from_secs(60) => {
                    self.conversation.now = next.max(self.conversation.now);
                }
                _ => return,
            }
        }
    }

    /// A reader that wants its answer gets it.
    fn check_that_all_are_answered(&mut self) {
        for reader in &self.readers {
            let now = self.conversation.now;
            self.conversation.scheduler.request_now(reader.number, now);
        }
        for _ in 0..3 {
            self.settle();
        }
        for reader in &self.readers {
            assert!(
                reader.receiver.is_none() || reader.is_answered,
                "a reader still waits"
            );
        }
    }

    /// When nothing is wanted any more, nothing is left.
    fn check_that_all_is_forgotten(&mut self) {
        let now = self.conversation.now;
        for name in SUBSCRIBERS {
            for id in IDS {
                let scheduler = &mut self.conversation.scheduler;
                scheduler.unwatch(&subscriber(name), &secret_id(id), now);
            }
        }
        for reader in self.readers.drain(..) {
            self.conversation.scheduler.cancel(reader.number);
        }
        for _ in 0..3 {
            self.settle();
            self.conversation.later(61_000);
        }
        self.plan();
        let scheduler = &self.conversation.scheduler;
        assert!(scheduler.is_idle(), "{:?}", scheduler.entries);
        assert!(scheduler.queue.is_empty() && scheduler.schedule.is_empty());
        assert!(scheduler.listing.intervals().is_empty());
        assert_eq!((scheduler.held.bytes(), scheduler.calls_in_flight), (0, 0));
    }
}

fn pick(readers: &mut [Reader], index: Index) -> Option<&mut Reader> {
    let count = readers.len();
    (count > 0).then(|| &mut readers[index.index(count)])
}

fn capabilities() -> impl Strategy<Value = ServiceCapabilities> {
    // Batches are small here, so that random conversations fill them.
    prop_oneof![
        Just(ServiceCapabilities {
            batch: 3,
            batches_versions: false,
            lists: true,
        }),
        Just(ServiceCapabilities {
            batch: 2,
            batches_versions: true,
            lists: false,
        }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_all_parts_agree_and_no_reader_is_forgotten(
        capabilities in capabilities(),
        events in proptest::collection::vec(event(), 1..120),
    ) {
        let mut world = World::new(capabilities);
        for name in ["a", "b", "c", "d"] {
            world.conversation.put(name, "1");
        }
        for event in &events {
            world.apply(event);
        }
        world.check_that_all_are_answered();
        world.check_that_all_is_forgotten();
    }
}

//! Pure: everything that is asked of one service as one identity: who waits, what is known, who is to be told when it
//! changes, and which calls are to be made now.
//!
//! ```text
//! announce, request_now ─┐                          ┌→ answers to those who wait
//! watch ──────────┼→ topics ─plan(now)→ calls ─answered→ what is known ─┤
//! refresh_now, listed ───┘                          └→ users to wake, whose new value is held for a moment
//! ```
//! Values pass through; what stays is a digest under a key of this process, and the id of the version.

mod delivery;
mod planning;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use sha2::{Digest as _, Sha256};

use crate::aws::arn::{is_same_secret, stage_of};
use crate::aws::throttle::Circuit;
use crate::names::NamespacedName;
use crate::secrets::compose::LookupResult;
use crate::secrets::provider_error::ProviderError;

pub use delivery::{CallResult, Effects, ListedSecret};

/// What is said of a secret. An error is about this secret alone, or about all that was asked.
pub type ReadAnswer = Result<LookupResult, ProviderError>;

/// A secret by its id (a name or an ARN), and the version: empty, a stage, or `uuid/` and an id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretId {
    pub id: String,
    pub version: String,
}

/// An answer without its value: enough to see that it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    Value([u8; 16]),
    Missing,
    Failed,
    /// It was not read yet.
    Unread,
}

/// What an answer came with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    pub arn: Option<String>,
    pub version_id: Option<String>,
}

/// A call to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Several secrets at once. Each group is one secret by all the ids that it is asked by.
    Batch(Vec<Vec<Arc<SecretId>>>),
    Single(Arc<SecretId>),
    /// Which version each secret has, on so many pages at most.
    List(usize),
}

/// What is to be done now, and when to ask again.
#[derive(Debug, Default)]
pub struct Plan {
    pub calls: Vec<Call>,
    /// Those who are to be told that nothing can be asked.
    pub wake: Vec<NamespacedName>,
    pub next: Option<Instant>,
}

/// What a service can be asked in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceCapabilities {
    /// Ids in a batch.
    pub batch: usize,
    /// A batch can ask for versions, too.
    pub batches_versions: bool,
    /// There is a list that tells versions.
    pub lists: bool,
}

impl ServiceCapabilities {
    /// True if a batch can ask for this version.
    pub fn batches(&self, version: &str) -> bool {
        self.batches_versions || stage_of(version) == Some("AWSCURRENT")
    }
}

/// How long the first of a batch waits for others; while others are on their way, more come soon.
const GATHER: Duration = Duration::from_millis(5);
const GATHER_BUSY: Duration = Duration::from_millis(25);
/// Calls in flight.
const MOST_CALLS: usize = 8;
/// What a list says may be so old.
const LAG: Duration = Duration::from_secs(300);
/// Everything is read in full at least so often, whatever lists say.
const NET: Duration = Duration::from_secs(24 * 3600);
/// A failed poll is tried again after this, or after the interval if that is shorter.
const RETRY: Duration = Duration::from_secs(60);
/// One that failed for the first time is tried again sooner, before anybody is told.
const SECOND_TRY: Duration = Duration::from_secs(3);
/// What AWS denies is tried again after a while, for people mend policies.
const DENIED: Duration = Duration::from_secs(3600);
/// How long a new value waits for those who were woken for it, and how much may wait.
const HOLD: Duration = Duration::from_secs(10);
const HOLD_BYTES: usize = 8 << 20;
/// A topic that nobody watches or waits for is forgotten after this.
const IDLE: Duration = Duration::from_secs(60);

/// Who waits for an answer.
#[derive(Debug)]
struct PendingReader {
    user: Option<NamespacedName>,
    is_urgent: bool,
    /// The call that will answer is on its way.
    is_sent: bool,
    since: Instant,
    reply: oneshot::Sender<ReadAnswer>,
}

/// What was known last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LastRead {
    digest: Digest,
    origin: Origin,
    /// It was so at this time, by a read or a list.
    confirmed: Instant,
    /// The last read that gave an answer.
    read: Instant,
}

#[derive(Debug)]
struct HeldValue {
    told: ReadAnswer,
    until: Instant,
    takers: Vec<NamespacedName>,
}

/// Who is to be woken.
#[derive(Debug)]
struct Subscriber {
    user: NamespacedName,
    interval: Duration,
    /// What it knows: what it has used, was given, or was woken for.
    digest: Digest,
    since: Instant,
}

#[derive(Debug, Default)]
struct SecretEntry {
    /// By their numbers. Mostly nobody.
    waiting: Vec<(u64, PendingReader)>,
    known: Option<LastRead>,
    tried: Option<Instant>,
    is_in_flight: bool,
    /// It cannot be in a batch: it spoils it.
    is_alone: bool,
    /// Polls that failed in a row, and may not next time.
    failures: u8,
    users: Vec<Subscriber>,
    held: Option<HeldValue>,
    /// Its place in the schedule.
    due: Option<Instant>,
}

impl SecretEntry {
    fn waiting_mut(&mut self, number: u64) -> Option<&mut PendingReader> {
        let mut waiting = self.waiting.iter_mut();
        waiting
            .find(|(known, _)| *known == number)
            .map(|(_, waiting)| waiting)
    }

    fn take_waiting(&mut self, number: u64) -> Option<PendingReader> {
        let place = self
            .waiting
            .iter()
            .position(|(known, _)| *known == number)?;
        let (_, waiting) = self.waiting.swap_remove(place);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        Some(waiting)
    }

    fn interval(&self) -> Option<Duration> {
        self.users.iter().map(|watcher| watcher.interval).min()
    }
}

/// The scheduler of one service and identity.
#[derive(Debug)]
pub struct ReadScheduler {
    capabilities: ServiceCapabilities,
    /// Of this process, for digests.
    secret: [u8; 32],
    topics: BTreeMap<Arc<SecretId>, SecretEntry>,
    /// Those who wait, by their numbers.
    urgent: BTreeMap<u64, Arc<SecretId>>,
    announced: BTreeMap<u64, Arc<SecretId>>,
    schedule: BTreeSet<(Instant, Arc<SecretId>)>,
    holds: BTreeSet<(Instant, Arc<SecretId>)>,
    held_bytes: usize,
    /// How many topics are watched at which interval.
    intervals: BTreeMap<Duration, usize>,
    number: u64,
    in_flight: usize,
    circuit: Circuit,
    /// Why the circuit is open.
    trouble: Option<ProviderError>,
    /// Those who were told of trouble, to be woken at its end.
    blocked_subscribers: BTreeSet<NamespacedName>,
    batch_denied: Option<Instant>,
    /// Batches in a row that were denied as a whole, though it may have been for one of them.
    denied_batches: u8,
    list_denied: Option<Instant>,
    listing: Listing,
}

/// How lists are used.
#[derive(Debug, Default)]
struct Listing {
    /// How many pages the last list had, or at least has, and when that was found.
    pages: Option<(usize, Instant)>,
    /// Where lists are the cheaper way: the next one.
    due: Option<Instant>,
    is_in_flight: bool,
}

impl ReadScheduler {
    pub fn new(capabilities: ServiceCapabilities, secret: [u8; 32]) -> Self {
        Self {
            capabilities,
            secret,
            topics: BTreeMap::new(),
            urgent: BTreeMap::new(),
            announced: BTreeMap::new(),
            schedule: BTreeSet::new(),
            holds: BTreeSet::new(),
            held_bytes: 0,
            intervals: BTreeMap::new(),
            number: 0,
            in_flight: 0,
            circuit: Circuit::default(),
            trouble: None,
            blocked_subscribers: BTreeSet::new(),
            batch_denied: None,
            denied_batches: 0,
            list_denied: None,
            listing: Listing::default(),
        }
    }

    /// What is left of an answer.
    pub fn digest(&self, told: &ReadAnswer) -> Digest {
        match told {
            Ok(LookupResult::Value(value)) => {
                let mut hash = Sha256::new();
                hash.update(self.secret);
                hash.update(value.expose());
                let hashed: [u8; 32] = hash.finalize().into();
                let mut digest = [0; 16];
                digest.copy_from_slice(&hashed[..16]);
                Digest::Value(digest)
            }
            Ok(LookupResult::Missing | LookupResult::Found(_)) => Digest::Missing,
            Err(_) => Digest::Failed,
        }
    }

    /// Says that an answer will be wanted: it may come along with others. What is held for the user is given at once.
    pub fn announce(
        &mut self,
        user: Option<NamespacedName>,
        question: &SecretId,
        now: Instant,
    ) -> (u64, oneshot::Receiver<ReadAnswer>) {
        let (reply, answer) = oneshot::channel();
        self.number += 1;
        let question = self.topic(question, now);
        if let Some(user) = &user
            && let Some(told) = self.take_held(&question, user, now)
        {
            // Whoever asks no more has gone.
            let _ = reply.send(told);
            return (self.number, answer);
        }
        let waiting = PendingReader {
            user,
            is_urgent: false,
            is_sent: false,
            since: now,
            reply,
        };
        if let Some(topic) = self.topics.get_mut(&question) {
            topic.waiting.push((self.number, waiting));
        }
        self.announced.insert(self.number, question);
        (self.number, answer)
    }

    /// Says that the answer is wanted now. It may be on its way already, and it may be left out there.
    pub fn request_now(&mut self, number: u64, question: &SecretId, now: Instant) {
        let Some((question, _)) = self.topics.get_key_value(question) else {
            return;
        };
        let question = question.clone();
        let topic = self.topics.get_mut(&question);
        let Some(waiting) = topic.and_then(|topic| topic.waiting_mut(number)) else {
            return;
        };
        waiting.is_urgent = true;
        waiting.since = now;
        if !waiting.is_sent {
            self.announced.remove(&number);
            self.urgent.insert(number, question);
        }
    }

    /// Says that it is wanted no more.
    pub fn cancel(&mut self, number: u64, question: &SecretId) {
        self.urgent.remove(&number);
        self.announced.remove(&number);
        if let Some(topic) = self.topics.get_mut(question) {
            topic.take_waiting(number);
        }
    }

    /// Lets a user be woken when one of these changes from what it has used. True if one has by now.
    pub fn watch(
        &mut self,
        user: &NamespacedName,
        question: &SecretId,
        used: Digest,
        interval: Duration,
        now: Instant,
    ) -> bool {
        let question = self.topic(question, now);
        let Some(topic) = self.topics.get_mut(&question) else {
            return false;
        };
        let before = topic.interval();
        let known = topic.known.as_ref();
        // Who has not read it is woken by the next answer, whatever it is.
        let known = known.filter(|_| used != Digest::Unread);
        let changed = known.is_some_and(|known| known.digest != used);
        let watcher = Subscriber {
            user: user.clone(),
            interval,
            digest: known.map_or(used, |known| known.digest),
            since: now,
        };
        let place = topic.users.iter().position(|known| known.user == *user);
        match place.and_then(|place| topic.users.get_mut(place)) {
            Some(known) => *known = watcher,
            None => {
                // Most have one user.
                topic.users.reserve_exact(1);
                topic.users.push(watcher);
            }
        }
        self.recount(&question, before, now);
        changed
    }

    /// Lets a user not be woken any more.
    pub fn unwatch(&mut self, user: &NamespacedName, question: &SecretId, now: Instant) {
        let Some((question, topic)) = self.topics.get_key_value(question) else {
            return;
        };
        let (question, before) = (question.clone(), topic.interval());
        if let Some(topic) = self.topics.get_mut(&question) {
            topic.users.retain(|known| known.user != *user);
        }
        self.recount(&question, before, now);
    }

    /// Since when it is known to be as the user knows it. Nothing if it is not known, or in trouble.
    pub fn confirmed(&self, user: &NamespacedName, question: &SecretId) -> Option<Instant> {
        let topic = self.topics.get(question)?;
        let known = topic.known.as_ref()?;
        let is_user = topic.users.iter().any(|known| known.user == *user);
        (is_user && known.digest != Digest::Failed).then_some(known.confirmed)
    }

    /// What is watched of a secret, by whatever ids it is asked. `arn` is how its ARN begins, where only its name is known.
    pub fn about(&self, spellings: &[String], arn: Option<&str>) -> Vec<Arc<SecretId>> {
        let from = |id: &str| {
            let first = SecretId {
                id: id.to_owned(),
                version: String::new(),
            };
            self.topics.range(first..)
        };
        let exact = spellings.iter().flat_map(|id| {
            let here = from(id).take_while(move |(question, _)| question.id == *id);
            here.collect::<Vec<_>>()
        });
        let by_arn = arn.into_iter().flat_map(|arn| {
            let below = from(arn).take_while(move |(question, _)| question.id.starts_with(arn));
            let same = below.filter(move |(question, _)| is_same_secret(&question.id, arn));
            same.collect::<Vec<_>>()
        });
        let watched = exact
            .chain(by_arn)
            .filter(|(_, topic)| !topic.users.is_empty());
        watched.map(|(question, _)| question.clone()).collect()
    }

    /// What is known of a secret, and the id of its version.
    pub fn known(&self, question: &SecretId) -> Option<(Digest, Option<String>)> {
        let known = self.topics.get(question)?.known.as_ref()?;
        Some((known.digest, known.origin.version_id.clone()))
    }

    /// True if nobody watches or waits.
    pub fn is_idle(&self) -> bool {
        self.topics.is_empty()
    }

    /// The topic of a question, and the one copy of the question.
    fn topic(&mut self, question: &SecretId, now: Instant) -> Arc<SecretId> {
        if let Some((known, _)) = self.topics.get_key_value(question) {
            return known.clone();
        }
        let question = Arc::new(question.clone());
        self.topics.insert(question.clone(), SecretEntry::default());
        self.reschedule(&question, now);
        question
    }

    fn take_held(
        &mut self,
        question: &Arc<SecretId>,
        user: &NamespacedName,
        now: Instant,
    ) -> Option<ReadAnswer> {
        let topic = self.topics.get_mut(question)?;
        let held = topic.held.as_mut()?;
        let place = held.takers.iter().position(|taker| taker == user)?;
        held.takers.swap_remove(place);
        let told = (held.until > now).then(|| held.told.clone());
        if held.takers.is_empty() {
            self.let_go(question);
        }
        told
    }

    fn let_go(&mut self, question: &Arc<SecretId>) {
        let topic = self.topics.get_mut(question);
        if let Some(held) = topic.and_then(|topic| topic.held.take()) {
            self.held_bytes -= size(&held.told);
            self.holds.remove(&(held.until, question.clone()));
        }
    }

    fn hold(
        &mut self,
        question: &Arc<SecretId>,
        told: &ReadAnswer,
        takers: Vec<NamespacedName>,
        now: Instant,
    ) {
        self.let_go(question);
        let size = size(told);
        if takers.is_empty() || self.held_bytes + size > HOLD_BYTES {
            return;
        }
        let until = now + HOLD;
        if let Some(topic) = self.topics.get_mut(question) {
            self.held_bytes += size;
            self.holds.insert((until, question.clone()));
            topic.held = Some(HeldValue {
                told: told.clone(),
                until,
                takers,
            });
        }
    }

    /// Counts a topic under its interval, and gives it its place in the schedule.
    fn recount(&mut self, question: &Arc<SecretId>, before: Option<Duration>, now: Instant) {
        let after = self.topics.get(question).and_then(SecretEntry::interval);
        if before != after {
            if let Some(before) = before
                && let Some(count) = self.intervals.get_mut(&before)
            {
                *count -= 1;
                if *count == 0 {
                    self.intervals.remove(&before);
                }
            }
            if let Some(after) = after {
                *self.intervals.entry(after).or_default() += 1;
            }
            self.choose(now);
        }
        self.reschedule(question, now);
    }

    fn reschedule(&mut self, question: &Arc<SecretId>, now: Instant) {
        let is_listing = self.listing.due.is_some();
        let Some(topic) = self.topics.get(question) else {
            return;
        };
        let due = next_look(question, topic, is_listing, now);
        self.place(question, due);
    }

    /// Gives a topic its place in the schedule.
    fn place(&mut self, question: &Arc<SecretId>, due: Instant) {
        let topic = self.topics.get_mut(question);
        // One that is on its way gets its place when it is answered.
        let Some(topic) = topic.filter(|topic| !topic.is_in_flight) else {
            return;
        };
        if let Some(before) = topic.due.replace(due) {
            self.schedule.remove(&(before, question.clone()));
        }
        self.schedule.insert((due, question.clone()));
    }
}

/// When a topic is to be looked at next: to be read, or to be forgotten.
fn next_look(question: &SecretId, topic: &SecretEntry, is_listing: bool, now: Instant) -> Instant {
    let tried = topic.tried.unwrap_or(now);
    let Some(interval) = topic.interval() else {
        return tried.max(now) + IDLE;
    };
    let known = topic.known.as_ref();
    if topic.failures == 1 {
        return tried + interval.min(SECOND_TRY);
    }
    match known {
        Some(known) if known.digest == Digest::Failed => tried + interval.min(RETRY),
        // A version by its id never changes; it may be deleted.
        Some(known) if question.version.starts_with("uuid/") => known.read + NET.max(interval),
        Some(known) if is_listing && interval > LAG => (known.read + NET).max(tried + interval),
        _ => tried + interval,
    }
}

fn size(told: &ReadAnswer) -> usize {
    match told {
        Ok(LookupResult::Value(value)) => value.expose().len(),
        _ => 0,
    }
}

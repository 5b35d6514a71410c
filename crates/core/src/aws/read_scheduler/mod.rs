//! Pure: the read scheduler of one service and identity. It decides which calls are made now, which pending readers an
//! answer goes to, and which subscribers are woken because a secret has changed.
//!
//! ```text
//! announce, request_now ─┐                              ┌→ answers to pending readers
//! watch, unwatch ────────┼→ entries ─plan(now)→ calls ─finish_call─┤
//! refresh_now ───────────┘                              └→ subscribers to wake, whose new value is held for a moment
//! ```
//!
//! Values pass through. What stays of a value is a digest under a key of this process, and the id of the version.
//!
//! Each part keeps its own invariant: `queue` the pending readers, `schedule` the time of each secret,
//! `held_values` the new values that wait for their subscribers, `availability` what the service refuses, `listing`
//! the choice between lists and batches, and `entry` what is known of one secret. This file and the two steps,
//! `planning` and `delivery`, keep them in agreement.

mod availability;
mod delivery;
mod entry;
mod held_values;
mod listing;
mod planning;
mod queue;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use sha2::{Digest as _, Sha256};

use crate::aws::arn::{is_same_secret, stage_of};
use crate::aws::read_scheduler::availability::{Denials, ServiceCircuit};
use crate::aws::read_scheduler::entry::{SecretEntry, Subscriber};
use crate::aws::read_scheduler::held_values::HeldValues;
use crate::aws::read_scheduler::listing::{ListAccess, Listing};
use crate::aws::read_scheduler::queue::ReadQueue;
use crate::aws::read_scheduler::schedule::Schedule;
use crate::names::NamespacedName;
use crate::secrets::compose::LookupResult;
use crate::secrets::provider_error::ProviderError;

pub use delivery::{CallResult, Effects, ListedSecret};

/// The answer about a secret. An error is about this secret alone, or about everything that was asked.
pub type ReadAnswer = Result<LookupResult, ProviderError>;

/// A secret, and which of its versions is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretId {
    /// A name, an ARN, or an ARN without the random characters at its end, as `SecretId` of Secrets Manager's API.
    pub id: String,
    /// Empty for the current version, a stage such as `AWSPREVIOUS`, or `uuid/` and the id of a version.
    pub version: String,
}

impl SecretId {
    /// A version of a secret.
    pub fn new(id: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            version: version.into(),
        }
    }

    /// The current version of a secret.
    pub fn current(id: impl Into<String>) -> Self {
        Self::new(id, "")
    }

    /// True if the version is given by its id, so that its value never changes.
    pub fn is_version_id(&self) -> bool {
        self.version.starts_with("uuid/")
    }
}

/// An answer without its value: enough to see that the value has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// The first half of a SHA-256 of the value, under a key of this process.
    Value([u8; 16]),
    /// There is no such secret.
    Missing,
    /// The answer was an error.
    Failed,
    /// The secret was not read yet.
    Unread,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The whole ARN of the secret.
    pub arn: Option<String>,
    /// The id of the version that was read.
    pub version_id: Option<String>,
}

/// A call to the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Reads several secrets at once. Each group is one secret by all the ids that subscribers use for it.
    Batch(Vec<Vec<Arc<SecretId>>>),
    /// Reads one secret.
    Single(Arc<SecretId>),
    /// Reads the version of every secret in the account, on so many pages at most.
    List(usize),
}

impl Call {
    /// The secrets that the call reads. A list reads none.
    pub fn secrets(&self) -> Vec<Arc<SecretId>> {
        match self {
            Self::Batch(groups) => groups.iter().flatten().cloned().collect(),
            Self::Single(secret) => vec![secret.clone()],
            Self::List(_) => Vec::new(),
        }
    }
}

/// What is to be done now, and when to plan again.
#[derive(Debug, Default)]
pub struct CallPlan {
    /// The calls to make now.
    pub calls: Vec<Call>,
    /// The subscribers to wake, because their secrets cannot be read.
    pub wake: Vec<NamespacedName>,
    /// When to plan again if nothing happens before; nothing if only a new request or the end of a call matters.
    pub next: Option<Instant>,
}

/// What a service can do in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceCapabilities {
    /// Secrets in a batch, at most.
    pub batch: usize,
    /// A batch can ask for other versions than the current one.
    pub batches_versions: bool,
    /// The service has a list that tells the versions of secrets.
    pub lists: bool,
}

impl ServiceCapabilities {
    /// True if a batch can ask for this version.
    pub fn batches(&self, version: &str) -> bool {
        self.batches_versions || stage_of(version) == Some("AWSCURRENT")
    }
}

/// The read scheduler of one service and identity.
#[derive(Debug)]
pub struct ReadScheduler {
    capabilities: ServiceCapabilities,
    /// A random key of this process, so that a digest tells nothing outside of it.
    digest_key: [u8; 32],
    entries: BTreeMap<Arc<SecretId>, SecretEntry>,
    queue: ReadQueue,
    schedule: Schedule,
    held: HeldValues,
    listing: Listing,
    circuit: ServiceCircuit,
    denials: Denials,
    calls_in_flight: usize,
}

impl ReadScheduler {
    /// A scheduler that knows no secret yet. `digest_key` is random and stays in this process.
    pub fn new(capabilities: ServiceCapabilities, digest_key: [u8; 32]) -> Self {
        Self {
            capabilities,
            digest_key,
            entries: BTreeMap::new(),
            queue: ReadQueue::default(),
            schedule: Schedule::default(),
            held: HeldValues::default(),
            listing: Listing::default(),
            circuit: ServiceCircuit::default(),
            denials: Denials::default(),
            calls_in_flight: 0,
        }
    }

    /// The digest of an answer.
    pub fn digest(&self, answer: &ReadAnswer) -> Digest {
        match answer {
            Ok(LookupResult::Value(value)) => {
                let mut hash = Sha256::new();
                hash.update(self.digest_key);
                hash.update(value.expose());
                let hash: [u8; 32] = hash.finalize().into();
                let mut half = [0; 16];
                half.copy_from_slice(&hash[..16]);
                Digest::Value(half)
            }
            Ok(LookupResult::Missing | LookupResult::Found(_)) => Digest::Missing,
            Err(_) => Digest::Failed,
        }
    }

    /// Announces that an answer will be wanted, so that it may come along with a call for others. The subscriber gets a
    /// value that is held for it at once. Gives the number of the reader, for [`Self::request_now`] and [`Self::cancel`].
    pub fn announce(
        &mut self,
        subscriber: Option<NamespacedName>,
        secret: &SecretId,
        now: Instant,
    ) -> (u64, oneshot::Receiver<ReadAnswer>) {
        let (reply, receiver) = oneshot::channel();
        let number = self.queue.next_number();
        let secret = self.enter(secret, now);
        if let Some(name) = &subscriber
            && let Some(answer) = self.held.take(&secret, name, now)
        {
            // A reader that has gone away needs no answer.
            let _ = reply.send(answer);
        } else {
            self.queue.announce(number, subscriber, secret, reply, now);
        }
        (number, receiver)
    }

    /// Requests the answer of an announced reader now. If its call is in flight and leaves it out, it is asked again.
    pub fn request_now(&mut self, number: u64, now: Instant) {
        self.queue.request_now(number, now);
    }

    /// Removes a reader that does not want its answer any more.
    pub fn cancel(&mut self, number: u64) {
        self.queue.remove(number);
    }

    /// Wakes a subscriber from now on when a secret is not as the digest says. True if that is known already.
    pub fn watch(
        &mut self,
        subscriber: &NamespacedName,
        secret: &SecretId,
        used: Digest,
        interval: Duration,
        now: Instant,
    ) -> bool {
        let secret = self.enter(secret, now);
        let Some(entry) = self.entries.get_mut(&secret) else {
            return false;
        };
        let before = entry.interval();
        let last = entry.last_read.as_ref();
        // A subscriber that has not read the secret is woken by the next answer, whatever it is.
        let last = last.filter(|_| used != Digest::Unread);
        let has_changed = last.is_some_and(|last| last.digest != used);
        let digest = last.map_or(used, |last| last.digest);
        entry.subscribe(Subscriber {
            name: subscriber.clone(),
            interval,
            digest,
            since: now,
        });
        self.recount(&secret, before, now);
        has_changed
    }

    /// Wakes a subscriber no more for a secret.
    pub fn unwatch(&mut self, subscriber: &NamespacedName, secret: &SecretId, now: Instant) {
        let Some((secret, _)) = self.entries.get_key_value(secret) else {
            return;
        };
        let secret = secret.clone();
        if let Some(entry) = self.entries.get_mut(&secret) {
            let before = entry.interval();
            entry.subscribers.retain(|known| known.name != *subscriber);
            self.recount(&secret, before, now);
        }
    }

    /// Since when a secret is known to be as the subscriber knows it. Nothing if that is not known, or if the last read
    /// failed.
    pub fn confirmed(&self, subscriber: &NamespacedName, secret: &SecretId) -> Option<Instant> {
        let entry = self.entries.get(secret)?;
        let mut subscribers = entry.subscribers.iter();
        let is_subscribed = subscribers.any(|known| known.name == *subscriber);
        let last = entry.last_read.as_ref()?;
        (is_subscribed && !entry.has_failed()).then_some(last.confirmed)
    }

    /// The watched ids of a secret: those that are spelled so, and those that mean the same ARN. `arn` is the ARN without
    /// the random characters at its end, where only the name is known.
    pub fn watched_ids(&self, spellings: &[String], arn: Option<&str>) -> Vec<Arc<SecretId>> {
        let from = |id: &str| self.entries.range(SecretId::current(id)..);
        let exact = spellings.iter().flat_map(|id| {
            let same = from(id).take_while(move |(secret, _)| secret.id == *id);
            same.collect::<Vec<_>>()
        });
        let by_arn = arn.into_iter().flat_map(|arn| {
            let below = from(arn).take_while(move |(secret, _)| secret.id.starts_with(arn));
            let same = below.filter(move |(secret, _)| is_same_secret(&secret.id, arn));
            same.collect::<Vec<_>>()
        });
        let watched = exact.chain(by_arn).filter(|(_, entry)| entry.is_watched());
        watched.map(|(secret, _)| secret.clone()).collect()
    }

    /// The digest of the last answer, and the id of its version.
    pub fn last_answer(&self, secret: &SecretId) -> Option<(Digest, Option<String>)> {
        let last = self.entries.get(secret)?.last_read.as_ref()?;
        Some((last.digest, last.origin.version_id.clone()))
    }

    /// True if no secret is watched, wanted, or remembered for a moment.
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty()
    }

    /// Calls a day at present, for all that is watched.
    pub fn calls_per_day(&self, now: Instant) -> f64 {
        self.listing.calls_per_day(self.secrets_per_call(), now)
    }

    /// Plans a read of a secret for now.
    pub fn refresh_now(&mut self, secret: &SecretId, now: Instant) {
        let known = self.entries.get_key_value(secret);
        if let Some(secret) = known.map(|(secret, _)| secret.clone()) {
            self.set_time(&secret, now);
        }
    }

    /// Closes the circuit because its cause may be gone, for example after new credentials. Plans a read of everything that
    /// failed, and gives the subscribers that got an error.
    pub fn reset_circuit(&mut self, now: Instant) -> Vec<NamespacedName> {
        let blocked = self.circuit.close();
        self.refresh_failed(now);
        blocked
    }

    /// Plans a read of every secret whose last answer was an error.
    fn refresh_failed(&mut self, now: Instant) {
        let failed = self.entries.iter().filter(|(_, entry)| entry.has_failed());
        let failed: Vec<_> = failed.map(|(secret, _)| secret.clone()).collect();
        for secret in failed {
            self.set_time(&secret, now);
        }
    }

    /// The one copy of an id. A secret that is new gets an entry.
    fn enter(&mut self, secret: &SecretId, now: Instant) -> Arc<SecretId> {
        if let Some((known, _)) = self.entries.get_key_value(secret) {
            return known.clone();
        }
        let secret = Arc::new(secret.clone());
        self.entries.insert(secret.clone(), SecretEntry::default());
        self.reschedule(&secret, now);
        secret
    }

    /// Follows the shortest interval of a secret, which was `before`.
    fn recount(&mut self, secret: &Arc<SecretId>, before: Option<Duration>, now: Instant) {
        let after = self.entries.get(secret).and_then(SecretEntry::interval);
        if before != after {
            self.listing.recount(before, after);
            self.choose_listing(now);
        }
        self.reschedule(secret, now);
    }

    /// Chooses between lists and batches. Each secret gets another time if the choice is another than before.
    fn choose_listing(&mut self, now: Instant) {
        let access = if self.capabilities.lists && !self.denials.are_lists_denied() {
            ListAccess::Allowed
        } else {
            ListAccess::Unavailable
        };
        let batch = self.secrets_per_call();
        if self.listing.choose(access, batch, now) {
            let all: Vec<_> = self.entries.keys().cloned().collect();
            for secret in all {
                self.reschedule(&secret, now);
            }
        }
    }

    /// How many secrets one call reads at present.
    fn secrets_per_call(&self) -> usize {
        if self.denials.are_batches_denied() {
            1
        } else {
            self.capabilities.batch
        }
    }

    /// Gives a secret the time that follows from its entry.
    fn reschedule(&mut self, secret: &Arc<SecretId>, now: Instant) {
        let is_listing = self.listing.is_used();
        if let Some(entry) = self.entries.get(secret) {
            let at = entry.next_time(secret, is_listing, now);
            self.set_time(secret, at);
        }
    }

    /// Gives a secret a time. A secret whose call is in flight gets one when the call ends.
    fn set_time(&mut self, secret: &Arc<SecretId>, at: Instant) {
        let entry = self.entries.get(secret);
        if entry.is_some_and(|entry| !entry.is_in_flight) {
            self.schedule.set(secret, at);
        }
    }
}

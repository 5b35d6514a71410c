//! Pure: the calls to make now, so that batches are full and no reader waits for long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::aws::read_scheduler::entry::SecretEntry;
use crate::aws::read_scheduler::{Call, CallPlan, Effects, Origin, ReadScheduler, SecretId};
use crate::names::NamespacedName;
use crate::secrets::provider_error::ProviderError;

/// How long the first secret of a batch waits for others. While calls are in flight, more requests come soon.
const GATHER: Duration = Duration::from_millis(5);
const GATHER_BUSY: Duration = Duration::from_millis(25);
/// Calls in flight, at most.
const MOST_CALLS: usize = 8;

/// Each group is one secret by all the ids that subscribers use for it.
type Groups = Vec<Vec<Arc<SecretId>>>;

impl ReadScheduler {
    /// The calls to make now. They count as in flight until [`ReadScheduler::finish_call`].
    pub fn plan(&mut self, now: Instant) -> CallPlan {
        self.held.release_expired(now);
        self.forget_idle(now);
        if self.denials.lift(now) {
            self.choose_listing(now);
        }
        let mut plan = CallPlan::default();
        if let Some(wait) = self.circuit.wait(now) {
            plan.wake = self.refuse(now);
            plan.next = earliest([Some(now + wait), self.next_event(now)]);
            return plan;
        }
        let most = if self.circuit.is_open() {
            1
        } else {
            MOST_CALLS
        };
        let mut room = most.saturating_sub(self.calls_in_flight);
        if room > 0 && self.listing.is_due(now) {
            let pages = self.listing.most_pages(self.secrets_per_call());
            plan.calls.push(Call::List(pages));
            self.listing.start();
            room -= 1;
        }
        self.plan_reads(&mut plan, room, now);
        for call in &plan.calls {
            self.mark_in_flight(call);
        }
        plan.next = earliest([plan.next, self.next_event(now)]);
        plan
    }

    /// Adds single reads, full batches, and a batch that is not full if its secrets have waited for long enough.
    fn plan_reads(&self, plan: &mut CallPlan, mut room: usize, now: Instant) {
        let (wanted, since) = self.wanted(now, room);
        let (together, alone): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|secret| self.is_batchable(secret));
        for secret in alone.into_iter().take(room) {
            plan.calls.push(Call::Single(secret));
            room -= 1;
        }
        let mut groups = self.groups(&together);
        while room > 0 && groups.len() >= self.capabilities.batch {
            let full = groups.drain(..self.capabilities.batch).collect();
            plan.calls.push(Call::Batch(full));
            room -= 1;
        }
        if room == 0 || groups.is_empty() {
            return;
        }
        let is_busy = self.calls_in_flight > 0 || !plan.calls.is_empty();
        let gather = if is_busy { GATHER_BUSY } else { GATHER };
        let ready = since.unwrap_or(now) + gather;
        if ready <= now {
            // Calls of this plan are not marked as in flight yet.
            let planned = plan.calls.iter().flat_map(Call::secrets).collect();
            self.fill(&mut groups, planned, now);
            plan.calls.push(Call::Batch(groups));
        } else {
            plan.next = Some(ready);
        }
    }

    /// The secrets to read now, those of pending readers first, and since when the last of them is wanted. No more than so
    /// many calls can take, and one.
    fn wanted(&self, now: Instant, room: usize) -> (Vec<Arc<SecretId>>, Option<Instant>) {
        let most = room * self.capabilities.batch + 1;
        let mut wanted: Vec<Arc<SecretId>> = Vec::new();
        let mut taken: BTreeSet<&SecretId> = BTreeSet::new();
        let mut last_since = None;
        let requested = self.queue.requested();
        let requested = requested.filter(|(secret, _)| self.is_free(secret));
        let polls = self.schedule.due(now);
        let polls = polls.filter(|(_, secret)| self.is_free(secret) && self.is_watched(secret));
        let polls = polls.map(|(at, secret)| (secret, Some(at)));
        for (secret, since) in requested.chain(polls) {
            if wanted.len() >= most {
                break;
            }
            if taken.insert(secret) {
                last_since = since.max(last_since);
                wanted.push(secret.clone());
            }
        }
        (wanted, last_since)
    }

    /// True if no call for this secret is in flight.
    fn is_free(&self, secret: &SecretId) -> bool {
        let entry = self.entries.get(secret);
        entry.is_some_and(|entry| !entry.is_in_flight)
    }

    fn is_watched(&self, secret: &SecretId) -> bool {
        let entry = self.entries.get(secret);
        entry.is_some_and(SecretEntry::is_watched)
    }

    fn is_batchable(&self, secret: &SecretId) -> bool {
        let entry = self.entries.get(secret);
        let is_alone = entry.is_some_and(|entry| entry.is_alone);
        !is_alone
            && self.capabilities.batches(&secret.version)
            && !self.denials.are_batches_denied()
            && self.capabilities.batch > 1
    }

    /// Puts the ids of one secret together.
    fn groups(&self, secrets: &[Arc<SecretId>]) -> Groups {
        let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut groups: Groups = Vec::new();
        for secret in secrets {
            let place = *places
                .entry(self.identity_of(secret))
                .or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push(secret.clone()),
                None => groups.push(vec![secret.clone()]),
            }
        }
        groups
    }

    /// What two ids of one secret have in common: the ARN if it is known, else the id; and the version.
    fn identity_of<'b>(&'b self, secret: &'b SecretId) -> (&'b str, &'b str) {
        let entry = self.entries.get(secret);
        let last = entry.and_then(|entry| entry.last_read.as_ref());
        let arn = last.and_then(|last| last.origin.arn.as_deref());
        let version = match secret.version.as_str() {
            "AWSCURRENT" => "",
            version => version,
        };
        (arn.unwrap_or(&secret.id), version)
    }

    /// Fills a batch with secrets that are announced, then with those whose poll comes soon. Other calls take those in
    /// `planned`.
    fn fill(&self, groups: &mut Groups, planned: BTreeSet<Arc<SecretId>>, now: Instant) {
        /// How many polls are looked at.
        const AHEAD: usize = 400;
        let mut taken = planned;
        taken.extend(groups.iter().flatten().cloned());
        let polls = self.schedule.iter().take(AHEAD);
        let polls = polls.filter(|(at, secret)| self.is_poll_soon(secret, *at, now));
        let polls = polls.map(|(_, secret)| secret);
        for secret in self.queue.announced().chain(polls) {
            if !self.is_free(secret) || taken.contains(secret) || !self.is_batchable(secret) {
                continue;
            }
            let identity = self.identity_of(secret);
            let place = groups
                .iter()
                .position(|group| self.identity_of(&group[0]) == identity);
            match place {
                Some(place) => groups[place].push(secret.clone()),
                None if groups.len() < self.capabilities.batch => groups.push(vec![secret.clone()]),
                None => break,
            }
            taken.insert(secret.clone());
        }
    }

    /// True if a poll is due within a tenth of its interval.
    fn is_poll_soon(&self, secret: &SecretId, at: Instant, now: Instant) -> bool {
        let entry = self.entries.get(secret);
        let interval = entry.and_then(SecretEntry::interval);
        interval.is_some_and(|interval| at <= now + interval / 10)
    }

    /// Marks what a call reads as in flight. The call answers the readers of this moment.
    fn mark_in_flight(&mut self, call: &Call) {
        self.calls_in_flight += 1;
        for secret in call.secrets() {
            if let Some(entry) = self.entries.get_mut(&secret) {
                entry.is_in_flight = true;
                self.schedule.remove(&secret);
                self.queue.mark_sent(&secret);
            }
        }
    }

    /// The next moment at which there is something to do. What is due and was not sent waits for the end of a call.
    fn next_event(&self, now: Instant) -> Option<Instant> {
        let events = [
            self.schedule.first(),
            self.held.next_end(),
            self.listing.next(),
        ];
        events.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Forgets the secrets that no subscriber watches and no reader waits for.
    fn forget_idle(&mut self, now: Instant) {
        let due = self.schedule.due(now);
        let idle = due.filter(|(_, secret)| !self.is_watched(secret));
        let idle: Vec<_> = idle.map(|(_, secret)| secret.clone()).collect();
        for secret in idle {
            if self.queue.is_wanted(&secret) {
                self.reschedule(&secret, now);
            } else {
                self.schedule.remove(&secret);
                self.held.release(&secret);
                self.entries.remove(&secret);
            }
        }
    }

    /// While the circuit is open: gives pending readers the error that opened it, and counts polls that are due as failed.
    /// Gives the subscribers to wake.
    fn refuse(&mut self, now: Instant) -> Vec<NamespacedName> {
        let Some(cause) = self.circuit.cause().cloned() else {
            return Vec::new();
        };
        let paused = |id: &str| ProviderError::Paused(Box::new(cause.clone().about(id)));
        for (secret, mut reader) in self.queue.take_requested() {
            self.circuit.block(reader.subscriber.take());
            reader.answer(Err(paused(&secret.id)));
        }
        let due = self.schedule.due(now);
        let due = due.filter(|(_, secret)| self.is_watched(secret));
        let due: Vec<_> = due.map(|(_, secret)| secret.clone()).collect();
        let mut effects = Effects::default();
        for secret in due {
            let answer = Err(paused(&secret.id));
            self.deliver(&secret, &answer, Origin::default(), &mut effects, now);
        }
        effects.wake
    }
}

fn earliest(times: [Option<Instant>; 2]) -> Option<Instant> {
    times.into_iter().flatten().min()
}

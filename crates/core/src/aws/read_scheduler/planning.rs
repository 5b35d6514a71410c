//! Pure: which calls are to be made now, so that batches are full and nobody waits for long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::aws::read_scheduler::{
    Call, DENIED, Effects, GATHER, GATHER_BUSY, LAG, MOST_CALLS, NET, Origin, Plan, ReadScheduler,
    SecretEntry, SecretId,
};
use crate::names::NamespacedName;
use crate::secrets::provider_error::ProviderError;

/// One secret by all the ids that it is asked by.
type Groups = Vec<Vec<Arc<SecretId>>>;

/// A day, for costs.
const DAY: Duration = Duration::from_secs(86_400);

impl ReadScheduler {
    /// The calls to make now. They are on their way from here on, until [`ReadScheduler::heard`].
    pub fn plan(&mut self, now: Instant) -> Plan {
        self.forget_old(now);
        self.lift_denials(now);
        let mut plan = Plan::default();
        if let Some(wait) = self.circuit.closed_for(now) {
            plan.wake = self.refuse(now);
            plan.next = [Some(now + wait), self.next(now)]
                .into_iter()
                .flatten()
                .min();
            return plan;
        }
        let most = if self.circuit.is_open() {
            1
        } else {
            MOST_CALLS
        };
        let mut room = most.saturating_sub(self.in_flight);
        if room > 0 && self.is_list_due(now) {
            plan.calls.push(Call::List(self.most_pages()));
            self.listing.is_in_flight = true;
            room -= 1;
        }
        let (due, since) = self.due(now, room);
        let (together, singly): (Vec<_>, Vec<_>) = due
            .into_iter()
            .partition(|question| self.is_batchable(question));
        for question in singly.into_iter().take(room) {
            plan.calls.push(Call::Single(question));
            room -= 1;
        }
        let mut groups = self.groups(&together);
        while room > 0 && groups.len() >= self.capabilities.batch {
            let full = groups.drain(..self.capabilities.batch).collect();
            plan.calls.push(Call::Batch(full));
            room -= 1;
        }
        if room > 0 && !groups.is_empty() {
            let busy = self.in_flight > 0 || !plan.calls.is_empty();
            let gather = if busy { GATHER_BUSY } else { GATHER };
            let ready = since.unwrap_or(now) + gather;
            if ready <= now {
                self.fill(&mut groups, now);
                plan.calls.push(Call::Batch(groups));
            } else {
                plan.next = Some(ready);
            }
        }
        for call in &plan.calls {
            self.send(call);
        }
        plan.next = [plan.next, self.next(now)].into_iter().flatten().min();
        plan
    }

    /// Everything that is wanted now, those who wait first, and since when the last of them has waited.
    fn due(&self, now: Instant, room: usize) -> (Vec<Arc<SecretId>>, Option<Instant>) {
        let most = room * self.capabilities.batch + 1;
        let mut due: Vec<Arc<SecretId>> = Vec::new();
        let mut taken: BTreeSet<&SecretId> = BTreeSet::new();
        let mut since = None;
        let free = |topic: &SecretEntry| !topic.is_in_flight;
        for (number, question) in &self.urgent {
            let topic = self.topics.get(question).filter(|topic| free(topic));
            if due.len() >= most {
                break;
            }
            let Some(topic) = topic.filter(|_| taken.insert(question)) else {
                continue;
            };
            let mut all = topic.waiting.iter();
            let waiting = all.find(|(known, _)| known == number);
            let waiting = waiting.map(|(_, waiting)| waiting.since);
            since = waiting.max(since);
            due.push(question.clone());
        }
        for (at, question) in self.schedule.range(..(now, last())) {
            if due.len() >= most {
                break;
            }
            let topic = self.topics.get(question);
            let is_poll = topic.is_some_and(|topic| free(topic) && !topic.users.is_empty());
            if is_poll && taken.insert(question) {
                since = since.max(Some(*at));
                due.push(question.clone());
            }
        }
        (due, since)
    }

    fn is_batchable(&self, question: &SecretId) -> bool {
        let is_alone = self
            .topics
            .get(question)
            .is_some_and(|topic| topic.is_alone);
        let version = self.capabilities.batches(&question.version);
        !is_alone && version && self.batch_denied.is_none() && self.capabilities.batch > 1
    }

    /// The same secret once, by whatever ids it is asked.
    fn groups(&self, questions: &[Arc<SecretId>]) -> Groups {
        let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut groups: Groups = Vec::new();
        for question in questions {
            let key = self.canonical(question);
            let place = *places.entry(key).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push(question.clone()),
                None => groups.push(vec![question.clone()]),
            }
        }
        groups
    }

    /// The ARN if it is known, else the id; with the version where that tells apart.
    fn canonical<'b>(&'b self, question: &'b SecretId) -> (&'b str, &'b str) {
        let topic = self.topics.get(question);
        let known = topic.and_then(|topic| topic.known.as_ref());
        let arn = known.and_then(|known| known.origin.arn.as_deref());
        let version = match question.version.as_str() {
            "AWSCURRENT" => "",
            version => version,
        };
        (arn.unwrap_or(&question.id), version)
    }

    /// Takes along what is announced, then what is to be read soon.
    fn fill(&self, groups: &mut Groups, now: Instant) {
        /// How far the schedule is looked at.
        const AHEAD: usize = 400;
        let mut taken: BTreeSet<Arc<SecretId>> = groups.iter().flatten().cloned().collect();
        let soon = |topic: &SecretEntry| {
            let slack = topic.interval().unwrap_or_default() / 10;
            topic.due.is_some_and(|due| due <= now + slack)
        };
        let announced = self.announced.values();
        let scheduled = self
            .schedule
            .iter()
            .take(AHEAD)
            .map(|(_, question)| question);
        let scheduled = scheduled.filter(|question| {
            let topic = self.topics.get(*question);
            topic.is_some_and(|topic| !topic.users.is_empty() && soon(topic))
        });
        for question in announced.chain(scheduled) {
            let is_free = self
                .topics
                .get(question)
                .is_some_and(|topic| !topic.is_in_flight);
            if !is_free || taken.contains(question) || !self.is_batchable(question) {
                continue;
            }
            let key = self.canonical(question);
            let place = groups
                .iter()
                .position(|group| self.canonical(&group[0]) == key);
            match place {
                Some(place) => groups[place].push(question.clone()),
                None if groups.len() < self.capabilities.batch => {
                    groups.push(vec![question.clone()])
                }
                None => break,
            }
            taken.insert(question.clone());
        }
    }

    /// Marks what is on its way. Those who wait for it now are those who will be answered.
    fn send(&mut self, call: &Call) {
        self.in_flight += 1;
        let questions: Vec<Arc<SecretId>> = match call {
            Call::List(_) => Vec::new(),
            Call::Single(question) => vec![question.clone()],
            Call::Batch(groups) => groups.iter().flatten().cloned().collect(),
        };
        for question in questions {
            let Some(topic) = self.topics.get_mut(&question) else {
                continue;
            };
            topic.is_in_flight = true;
            if let Some(due) = topic.due.take() {
                self.schedule.remove(&(due, question.clone()));
            }
            for (number, waiting) in &mut topic.waiting {
                waiting.is_sent = true;
                self.urgent.remove(number);
                self.announced.remove(number);
            }
        }
    }

    /// When there is something to do without anything new.
    fn next(&self, now: Instant) -> Option<Instant> {
        let scheduled = self.schedule.first().map(|(at, _)| *at);
        let holds = self.holds.first().map(|(at, _)| *at);
        let list = self.listing.due.filter(|_| !self.listing.is_in_flight);
        // What is due and could not be sent waits for a call to end.
        let later = [scheduled, holds, list].into_iter().flatten();
        later.filter(|at| *at > now).min()
    }

    /// Lets go of what was held for too long, and forgets what nobody cares for.
    fn forget_old(&mut self, now: Instant) {
        while let Some((until, question)) = self.holds.first().cloned() {
            if until > now {
                break;
            }
            self.let_go(&question);
            self.holds.remove(&(until, question));
        }
        let past = self.schedule.range(..(now, last()));
        let idle = past.filter(|(_, question)| {
            let topic = self.topics.get(question);
            topic.is_none_or(|topic| topic.users.is_empty())
        });
        let idle: Vec<_> = idle.cloned().collect();
        for (at, question) in idle {
            let topic = self.topics.get(&question);
            if topic.is_some_and(|topic| !topic.waiting.is_empty()) {
                // It is looked at again later: somebody waits.
                self.reschedule(&question, now);
            } else {
                self.schedule.remove(&(at, question.clone()));
                self.let_go(&question);
                self.topics.remove(&question);
            }
        }
    }

    fn lift_denials(&mut self, now: Instant) {
        let is_over = |denied: Option<Instant>| denied.is_some_and(|at| at + DENIED <= now);
        if is_over(self.batch_denied) {
            self.batch_denied = None;
        }
        if is_over(self.list_denied) {
            self.list_denied = None;
            self.choose(now);
        }
    }

    /// Tells those who wait that nothing is asked at present, and counts what is due as failed. Gives who is to be woken.
    fn refuse(&mut self, now: Instant) -> Vec<NamespacedName> {
        let Some(trouble) = self.trouble.clone() else {
            return Vec::new();
        };
        let refused = |id: &str| ProviderError::Paused(Box::new(trouble.clone().about(id)));
        for (number, question) in std::mem::take(&mut self.urgent) {
            let topic = self.topics.get_mut(&question);
            let Some(waiting) = topic.and_then(|topic| topic.take_waiting(number)) else {
                continue;
            };
            self.blocked_subscribers.extend(waiting.user);
            // Whoever waits no more has gone.
            let _ = waiting.reply.send(Err(refused(&question.id)));
        }
        let due = self.schedule.range(..(now, last()));
        let due = due.filter(|(_, question)| {
            let topic = self.topics.get(question);
            topic.is_some_and(|topic| !topic.is_in_flight && !topic.users.is_empty())
        });
        let due: Vec<_> = due.map(|(_, question)| question.clone()).collect();
        let mut effects = Effects::default();
        for question in due {
            let told = Err(refused(&question.id));
            self.tell(&question, &told, Origin::default(), &mut effects, now);
        }
        effects.wake
    }

    fn is_list_due(&self, now: Instant) -> bool {
        !self.listing.is_in_flight && self.listing.due.is_some_and(|due| due <= now)
    }

    /// Chooses the cheaper way to see changes: batches, or lists where intervals allow for their lag.
    pub fn choose(&mut self, now: Instant) {
        let was = self.listing.due.is_some();
        let period = self.list_period();
        let is_better = self.capabilities.lists
            && self.list_denied.is_none()
            && period.is_some_and(|period| {
                let pages = self.pages(now);
                self.list_cost(pages, period) < self.batch_cost()
            });
        self.listing.due = match (is_better, self.listing.due, period) {
            (true, Some(due), Some(period)) => Some(due.min(now + period)),
            (true, None, Some(period)) => Some(now + period),
            _ => None,
        };
        if was != self.listing.due.is_some() {
            let all: Vec<_> = self.topics.keys().cloned().collect();
            for question in all {
                self.reschedule(&question, now);
            }
        }
    }

    fn slow(&self) -> impl Iterator<Item = (Duration, usize)> + '_ {
        let slow = self
            .intervals
            .range(LAG..)
            .filter(|(interval, _)| **interval > LAG);
        slow.map(|(interval, count)| (*interval, *count))
    }

    /// How often lists must be read, so that what they say is never older than the shortest interval.
    pub fn list_period(&self) -> Option<Duration> {
        const LEAST: Duration = Duration::from_secs(60);
        let (shortest, _) = self.slow().next()?;
        Some(shortest.saturating_sub(LAG).max(LEAST))
    }

    /// Pages of a list: as the last one had it, or as many as what is watched would fill.
    fn pages(&self, now: Instant) -> usize {
        let lately = |at: Instant| now.saturating_duration_since(at) < DAY;
        match self.listing.pages {
            Some((pages, at)) if lately(at) => pages,
            _ => self
                .slow()
                .map(|(_, count)| count)
                .sum::<usize>()
                .div_ceil(100),
        }
    }

    /// So many pages, and a list is no longer the cheaper way.
    fn most_pages(&self) -> usize {
        let Some(period) = self.list_period() else {
            return 1;
        };
        let mut pages = 1;
        while pages < 10_000 && self.list_cost(pages + 1, period) < self.batch_cost() {
            pages += 1;
        }
        pages
    }

    /// Calls a day.
    fn list_cost(&self, pages: usize, period: Duration) -> f64 {
        let lists = number(pages) * DAY.as_secs_f64() / period.as_secs_f64();
        let net = self.slow().map(|(_, count)| self.calls_for(count));
        lists + net.sum::<f64>() * DAY.as_secs_f64() / NET.as_secs_f64()
    }

    fn batch_cost(&self) -> f64 {
        let slow = self.slow();
        slow.map(|(interval, count)| self.polls(interval, count))
            .sum()
    }

    /// Calls a day that read so many secrets at an interval.
    fn polls(&self, interval: Duration, count: usize) -> f64 {
        self.calls_for(count) * DAY.as_secs_f64() / interval.as_secs_f64().max(1.0)
    }

    /// Calls that read so many secrets once.
    fn calls_for(&self, secrets: usize) -> f64 {
        let each = match self.batch_denied {
            Some(_) => 1,
            None => self.capabilities.batch,
        };
        number(secrets.div_ceil(each.max(1)))
    }

    /// Calls a day at present, for what is watched.
    pub fn calls_per_day(&self, now: Instant) -> f64 {
        let is_listing = self.listing.due.is_some();
        let by_reads = self.intervals.iter();
        let by_reads = by_reads.filter(|(interval, _)| !(is_listing && **interval > LAG));
        let lists = match self.list_period().filter(|_| is_listing) {
            Some(period) => self.list_cost(self.pages(now), period),
            None => 0.0,
        };
        let polls = by_reads.map(|(interval, count)| self.polls(*interval, *count));
        polls.sum::<f64>() + lists
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// After every question, so that a range up to it holds all of a time.
fn last() -> Arc<SecretId> {
    Arc::new(SecretId {
        id: char::MAX.to_string(),
        version: String::new(),
    })
}

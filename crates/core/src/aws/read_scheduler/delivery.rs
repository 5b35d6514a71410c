//! Pure: what becomes of an answer: who is told, what is known from then on, and who is to be woken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::aws::read_scheduler::{
    Call, Digest, LastRead, Origin, ReadAnswer, ReadScheduler, SecretId, stage_of,
};
use crate::names::NamespacedName;
use crate::secrets::provider_error::{Class, ProviderError};

/// So many batches in a row may be denied for one of those in them.
const DENIED_BATCHES: u8 = 3;

/// What came of a call.
#[derive(Debug)]
pub enum CallResult {
    /// An answer for each question. One that is left out was not answered.
    Each(Vec<(Arc<SecretId>, ReadAnswer, Origin)>),
    /// The whole of a list, and how many pages it had.
    Listed(Vec<ListedSecret>, usize),
    /// The list is longer than it is worth.
    TooLong(usize),
    /// The call failed as a whole.
    Nothing(ProviderError),
}

/// A secret in a list: which version has which stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedSecret {
    pub name: String,
    pub arn: String,
    /// From stage to the id of the version.
    pub stages: BTreeMap<String, String>,
}

/// What is to be done about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Those for whom something has changed.
    pub wake: Vec<NamespacedName>,
    /// An action that is denied, said once.
    pub denied: Option<&'static str>,
}

impl ReadScheduler {
    /// Takes in what came of a call. `chance`, from 0 to 1, spreads those who try again.
    pub fn heard(&mut self, call: &Call, heard: CallResult, now: Instant, chance: f64) -> Effects {
        self.in_flight = self.in_flight.saturating_sub(1);
        let mut effects = Effects::default();
        self.judge(&heard, &mut effects, now, chance);
        match call {
            Call::List(_) => self.listed(heard, &mut effects, now),
            Call::Single(question) => {
                let questions = std::slice::from_ref(question);
                self.read(questions, heard, &mut effects, now);
            }
            Call::Batch(groups) => {
                let questions: Vec<_> = groups.iter().flatten().cloned().collect();
                self.read(&questions, heard, &mut effects, now);
            }
        }
        effects
    }

    /// Is it AWS that fails, or what was asked?
    fn judge(&mut self, heard: &CallResult, effects: &mut Effects, now: Instant, chance: f64) {
        let trouble = match heard {
            CallResult::Nothing(error) => {
                Some(error).filter(|error| error.class() == Class::Trouble)
            }
            // A single question's answer is the call's.
            CallResult::Each(answers) => match answers.as_slice() {
                [(_, Err(error), _)] if error.class() == Class::Trouble => Some(error),
                _ => None,
            },
            CallResult::Listed(..) | CallResult::TooLong(_) => None,
        };
        match trouble {
            Some(error) => {
                self.circuit.failed(now, chance);
                self.trouble = Some(error.clone());
            }
            None => {
                if self.circuit.is_open() {
                    effects
                        .wake
                        .extend(std::mem::take(&mut self.blocked_subscribers));
                    self.retry_failed(now);
                }
                self.circuit.succeeded();
                self.blocked_subscribers.clear();
            }
        }
    }

    /// What kept everything from being read may be over. Gives those who met it.
    pub fn mend(&mut self, now: Instant) -> Vec<NamespacedName> {
        self.circuit.succeeded();
        self.retry_failed(now);
        std::mem::take(&mut self.blocked_subscribers)
            .into_iter()
            .collect()
    }

    /// What failed while AWS did is read at once.
    fn retry_failed(&mut self, now: Instant) {
        let failed = self.topics.iter().filter(|(_, topic)| {
            let known = topic.known.as_ref();
            !topic.is_in_flight && known.is_some_and(|known| known.digest == Digest::Failed)
        });
        let failed: Vec<_> = failed.map(|(question, _)| question.clone()).collect();
        for question in failed {
            self.refresh_now(&question, now);
        }
    }

    /// Lets a secret be read at once.
    pub fn refresh_now(&mut self, question: &SecretId, now: Instant) {
        let known = self.topics.get_key_value(question);
        if let Some(question) = known.map(|(question, _)| question.clone()) {
            self.place(&question, now);
        }
    }

    fn read(
        &mut self,
        questions: &[Arc<SecretId>],
        heard: CallResult,
        effects: &mut Effects,
        now: Instant,
    ) {
        let is_batch = questions.len() > 1;
        let answers = match heard {
            CallResult::Each(answers) => {
                if is_batch {
                    self.denied_batches = 0;
                }
                answers
            }
            // Parameter Store denies a whole batch for one name in it.
            CallResult::Nothing(error)
                if is_batch_denied(&error)
                    && self.capabilities.batches_versions
                    && self.denied_batches < DENIED_BATCHES =>
            {
                self.denied_batches += 1;
                self.alone(questions);
                return self.again(questions, now);
            }
            CallResult::Nothing(error) if is_batch_denied(&error) => {
                if self.batch_denied.replace(now).is_none() {
                    effects.denied = error.action();
                }
                self.choose(now);
                return self.again(questions, now);
            }
            // One of them spoils it for the others: each is asked by itself.
            CallResult::Nothing(error) if is_batch && error.class() == Class::Final => {
                self.alone(questions);
                return self.again(questions, now);
            }
            CallResult::Nothing(error) => {
                let each = questions.iter().map(|question| {
                    let error = error.clone().about(&question.id);
                    (question.clone(), Err(error), Origin::default())
                });
                each.collect()
            }
            CallResult::Listed(..) | CallResult::TooLong(_) => Vec::new(),
        };
        let mut left: Vec<Arc<SecretId>> = questions.to_vec();
        for (question, told, origin) in answers {
            left.retain(|other| *other != question);
            self.tell(&question, &told, origin, effects, now);
        }
        self.alone(&left);
        self.again(&left, now);
    }

    fn alone(&mut self, questions: &[Arc<SecretId>]) {
        for question in questions {
            if let Some(topic) = self.topics.get_mut(question) {
                topic.is_alone = true;
            }
        }
    }

    /// Lets them be asked again, for the same who wait.
    fn again(&mut self, questions: &[Arc<SecretId>], now: Instant) {
        for question in questions {
            let Some(topic) = self.topics.get_mut(question) else {
                continue;
            };
            topic.is_in_flight = false;
            for (number, waiting) in &mut topic.waiting {
                waiting.is_sent = false;
                let waits = if waiting.is_urgent {
                    &mut self.urgent
                } else {
                    &mut self.announced
                };
                waits.insert(*number, question.clone());
            }
            if topic.users.is_empty() {
                self.reschedule(question, now);
            } else {
                self.refresh_now(question, now);
            }
        }
    }

    /// Tells everybody.
    pub fn tell(
        &mut self,
        question: &Arc<SecretId>,
        told: &ReadAnswer,
        origin: Origin,
        effects: &mut Effects,
        now: Instant,
    ) {
        let digest = self.digest(told);
        let Some(topic) = self.topics.get_mut(question) else {
            return;
        };
        topic.is_in_flight = false;
        topic.tried = Some(now);
        topic.is_alone &= told.is_err();
        let sent: Vec<u64> = topic
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.is_sent)
            .map(|(number, _)| *number)
            .collect();
        let mut served: Vec<NamespacedName> = Vec::new();
        let mut is_event = false;
        for number in sent {
            let Some(waiting) = topic.take_waiting(number) else {
                continue;
            };
            is_event |= waiting.user.is_none();
            served.extend(waiting.user);
            // Whoever waits no more has gone.
            let _ = waiting.reply.send(told.clone());
        }
        let is_trouble = |error: &ProviderError| error.class() == Class::Trouble;
        let in_trouble = told.as_ref().err().is_some_and(is_trouble);
        if in_trouble {
            self.blocked_subscribers.extend(served.iter().cloned());
        }
        topic.failures = if in_trouble {
            topic.failures.saturating_add(1)
        } else {
            0
        };
        // One failure that may pass is nobody's business: it is tried again first.
        if topic.failures == 1 && served.is_empty() && topic.known.is_some() {
            return self.reschedule(question, now);
        }
        match (&mut topic.known, told) {
            (Some(known), Err(_)) => known.digest = Digest::Failed,
            (known, _) => {
                *known = Some(LastRead {
                    digest,
                    origin,
                    confirmed: now,
                    read: now,
                });
            }
        }
        let mut takers: Vec<NamespacedName> = Vec::new();
        for watcher in &mut topic.users {
            // Who has not read it yet does so at its interval, unless something has happened.
            let is_early = now < watcher.since + watcher.interval.mul_f64(0.9);
            if watcher.digest == Digest::Unread && is_early && !is_event {
                continue;
            }
            let knows = std::mem::replace(&mut watcher.digest, digest) == digest;
            if !knows && !served.contains(&watcher.user) {
                takers.push(watcher.user.clone());
            }
        }
        self.hold(question, told, takers.clone(), now);
        effects.wake.extend(takers);
        self.reschedule(question, now);
    }

    fn listed(&mut self, heard: CallResult, effects: &mut Effects, now: Instant) {
        self.listing.is_in_flight = false;
        let next = self.list_period().map(|period| now + period);
        match heard {
            CallResult::Listed(all, pages) => {
                self.listing.pages = Some((pages, now));
                self.listing.due = next;
                self.compare(&all, now);
            }
            CallResult::TooLong(pages) => self.listing.pages = Some((pages, now)),
            CallResult::Nothing(error) if error.class() == Class::Denied => {
                if self.list_denied.replace(now).is_none() {
                    effects.denied = error.action();
                }
            }
            // Nobody waits for lists that do not come: for an hour everything is read in batches.
            CallResult::Nothing(_) | CallResult::Each(_) => self.list_denied = Some(now),
        }
        self.choose(now);
    }

    /// Reads what has another version by now, and what a list does not name.
    fn compare(&mut self, all: &[ListedSecret], now: Instant) {
        let by_arn: BTreeMap<&str, &ListedSecret> = all
            .iter()
            .map(|listed| (listed.arn.as_str(), listed))
            .collect();
        let by_name: BTreeMap<&str, &ListedSecret> = all
            .iter()
            .map(|listed| (listed.name.as_str(), listed))
            .collect();
        let mut moved = Vec::new();
        for (question, topic) in &mut self.topics {
            let is_slow = topic
                .interval()
                .is_some_and(|interval| interval > super::LAG);
            let (Some(known), Some(stage), true) =
                (&mut topic.known, stage_of(&question.version), is_slow)
            else {
                continue;
            };
            let arn = known.origin.arn.as_deref().unwrap_or(&question.id);
            let listed = by_arn
                .get(arn)
                .or_else(|| by_name.get(question.id.as_str()));
            let version = listed.and_then(|listed| listed.stages.get(stage));
            let is_same = match (&known.origin.version_id, version) {
                (Some(known), Some(version)) => known == version,
                // A secret that was missing is missing still.
                (None, None) => known.digest == Digest::Missing,
                _ => false,
            };
            if is_same && known.digest != Digest::Failed {
                known.confirmed = now;
            } else {
                moved.push(question.clone());
            }
        }
        for question in moved {
            self.refresh_now(&question, now);
        }
    }
}

fn is_batch_denied(error: &ProviderError) -> bool {
    error.class() == Class::Denied
        && error.action().is_some_and(|action| {
            action.ends_with(":BatchGetSecretValue") || action.ends_with(":GetParameters")
        })
}

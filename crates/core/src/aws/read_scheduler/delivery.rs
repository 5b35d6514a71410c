//! Pure: the end of a call: which readers get an answer, what is known from then on, and which subscribers are woken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::aws::arn::stage_of;
use crate::aws::read_scheduler::availability::DenialNews;
use crate::aws::read_scheduler::entry::{LastRead, ReadCause};
use crate::aws::read_scheduler::listing::LAG;
use crate::aws::read_scheduler::{Call, Digest, Origin, ReadAnswer, ReadScheduler, SecretId};
use crate::names::NamespacedName;
use crate::secrets::provider_error::{Class, ProviderError};

/// The result of a call.
#[derive(Debug)]
pub enum CallResult {
    /// An answer for each secret. A secret that is left out was not answered, and is asked again by itself.
    Answers(Vec<(Arc<SecretId>, ReadAnswer, Origin)>),
    /// The whole of a list.
    List {
        /// Every secret of the account.
        secrets: Vec<ListedSecret>,
        /// How many pages the list had.
        pages: usize,
    },
    /// The list has at least so many pages, which is more than it is worth.
    ListTooLong {
        /// The pages that were read, and one more.
        pages: usize,
    },
    /// The call failed as a whole.
    Failed(ProviderError),
}

/// A secret in a list: which version has which stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedSecret {
    /// The name of the secret.
    pub name: String,
    /// Its whole ARN.
    pub arn: String,
    /// From stage to the id of the version, as `SecretVersionsToStages` has it the other way round.
    pub stages: BTreeMap<String, String>,
}

/// What the caller does after a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The subscribers for which something has changed.
    pub wake: Vec<NamespacedName>,
    /// An action that a policy denies, the first time that it is denied.
    pub denied: Option<&'static str>,
}

impl ReadScheduler {
    /// Takes in the result of a call of [`ReadScheduler::plan`]. `jitter`, from 0 to 1, spreads repeated calls of many
    /// schedulers.
    pub fn finish_call(
        &mut self,
        call: &Call,
        result: CallResult,
        now: Instant,
        jitter: f64,
    ) -> Effects {
        self.calls_in_flight = self.calls_in_flight.saturating_sub(1);
        let mut effects = Effects::default();
        match service_failure(&result) {
            Some(error) => self.circuit.failed(error, now, jitter),
            None => self.call_worked(&mut effects, now),
        }
        match call {
            Call::List(_) => self.finish_list(result, &mut effects, now),
            Call::Single(_) | Call::Batch(_) => {
                self.finish_read(&call.secrets(), result, &mut effects, now);
            }
        }
        effects
    }

    /// The service answers again: subscribers that got an error are woken, and what failed is read at once.
    fn call_worked(&mut self, effects: &mut Effects, now: Instant) {
        let was_open = self.circuit.is_open();
        let blocked = self.circuit.close();
        if was_open {
            effects.wake.extend(blocked);
            self.refresh_failed(now);
        }
    }

    fn finish_read(
        &mut self,
        secrets: &[Arc<SecretId>],
        result: CallResult,
        effects: &mut Effects,
        now: Instant,
    ) {
        let is_batch = secrets.len() > 1;
        let answers = match result {
            CallResult::Answers(answers) => {
                if is_batch {
                    self.denials.batch_answered();
                }
                answers
            }
            CallResult::Failed(error) if is_batch_denied(&error) => {
                return self.batch_denied(secrets, &error, effects, now);
            }
            // One of the secrets makes the batch fail for the others: each is asked by itself.
            CallResult::Failed(error) if is_batch && error.class() == Class::Final => {
                return self.ask_each_alone(secrets, now);
            }
            CallResult::Failed(error) => {
                let each = secrets.iter().map(|secret| {
                    let error = error.clone().about(&secret.id);
                    (secret.clone(), Err(error), Origin::default())
                });
                each.collect()
            }
            CallResult::List { .. } | CallResult::ListTooLong { .. } => Vec::new(),
        };
        let mut unanswered: Vec<Arc<SecretId>> = secrets.to_vec();
        for (secret, answer, origin) in answers {
            // An answer that was not asked for, or comes a second time, is of no call.
            if let Some(place) = unanswered.iter().position(|other| *other == secret) {
                unanswered.swap_remove(place);
                self.deliver(&secret, &answer, origin, effects, now);
            }
        }
        self.ask_each_alone(&unanswered, now);
    }

    /// A policy denies a batch. Parameter Store denies it for one name in it, so each name is asked by itself first;
    /// Secrets Manager has an action for batches, so no batch is sent for a while.
    fn batch_denied(
        &mut self,
        secrets: &[Arc<SecretId>],
        error: &ProviderError,
        effects: &mut Effects,
        now: Instant,
    ) {
        if self.capabilities.batches_versions && self.denials.may_be_about_one() {
            return self.ask_each_alone(secrets, now);
        }
        if self.denials.deny_batches(now) == DenialNews::First {
            effects.denied = error.action();
        }
        self.choose_listing(now);
        self.ask_again(secrets, now);
    }

    /// Lets secrets be asked again by calls of their own.
    fn ask_each_alone(&mut self, secrets: &[Arc<SecretId>], now: Instant) {
        for secret in secrets {
            if let Some(entry) = self.entries.get_mut(secret) {
                entry.is_alone = true;
            }
        }
        self.ask_again(secrets, now);
    }

    /// Lets secrets be asked again, for the readers that wait for them.
    fn ask_again(&mut self, secrets: &[Arc<SecretId>], now: Instant) {
        for secret in secrets {
            let Some(entry) = self.entries.get_mut(secret) else {
                continue;
            };
            entry.is_in_flight = false;
            let is_watched = entry.is_watched();
            self.queue.put_back(secret);
            if is_watched {
                self.set_time(secret, now);
            } else {
                self.reschedule(secret, now);
            }
        }
    }

    /// Delivers an answer to the readers of its call, and wakes the subscribers for which it is news.
    pub(super) fn deliver(
        &mut self,
        secret: &Arc<SecretId>,
        answer: &ReadAnswer,
        origin: Origin,
        effects: &mut Effects,
        now: Instant,
    ) {
        let digest = self.digest(answer);
        let Some(entry) = self.entries.get_mut(secret) else {
            return;
        };
        entry.is_in_flight = false;
        entry.tried = Some(now);
        entry.is_alone &= answer.is_err();
        let mut served: Vec<NamespacedName> = Vec::new();
        let mut cause = ReadCause::Poll;
        for mut reader in self.queue.take_sent(secret) {
            match reader.subscriber.take() {
                Some(subscriber) => served.push(subscriber),
                None => cause = ReadCause::Event,
            }
            reader.answer(answer.clone());
        }
        let error = answer.as_ref().err();
        if error.is_some_and(|error| error.class() == Class::Trouble) {
            self.circuit.block(served.iter().cloned());
            entry.failures = entry.failures.saturating_add(1);
        } else {
            entry.failures = 0;
        }
        // A single failure that may pass wakes no subscriber: the read is repeated first.
        if entry.failures == 1 && served.is_empty() && entry.last_read.is_some() {
            return self.reschedule(secret, now);
        }
        entry.record(digest, origin, now);
        let mut takers = entry.notify(digest, cause, now);
        takers.retain(|taker| !served.contains(taker));
        self.held.hold(secret, answer, takers.clone(), now);
        effects.wake.extend(takers);
        self.reschedule(secret, now);
    }

    fn finish_list(&mut self, result: CallResult, effects: &mut Effects, now: Instant) {
        self.listing.end();
        match result {
            CallResult::List { secrets, pages } => {
                self.listing.read(pages, now);
                self.compare_versions(&secrets, now);
            }
            CallResult::ListTooLong { pages } => self.listing.too_long(pages, now),
            CallResult::Failed(error) if error.class() == Class::Denied => {
                if self.denials.deny_lists(now) == DenialNews::First {
                    effects.denied = error.action();
                }
            }
            // Changes must be seen though lists fail: for an hour everything is read in batches.
            CallResult::Failed(_) | CallResult::Answers(_) => {
                self.denials.deny_lists(now);
            }
        }
        self.choose_listing(now);
    }

    /// Confirms the secrets whose version a list tells unchanged, and reads the others at once.
    fn compare_versions(&mut self, all: &[ListedSecret], now: Instant) {
        let by_arn: BTreeMap<&str, &ListedSecret> =
            all.iter().map(|secret| (&*secret.arn, secret)).collect();
        let by_name: BTreeMap<&str, &ListedSecret> =
            all.iter().map(|secret| (&*secret.name, secret)).collect();
        let mut moved = Vec::new();
        for (secret, entry) in &mut self.entries {
            let is_slow = entry.interval().is_some_and(|interval| interval > LAG);
            let (Some(last), Some(stage), true) =
                (&mut entry.last_read, stage_of(&secret.version), is_slow)
            else {
                continue;
            };
            let arn = last.origin.arn.as_deref().unwrap_or(&secret.id);
            let listed = by_arn.get(arn).or_else(|| by_name.get(&*secret.id));
            let version = listed.and_then(|listed| listed.stages.get(stage));
            if is_confirmed(last, version) {
                last.confirmed = now;
            } else {
                moved.push(secret.clone());
            }
        }
        for secret in moved {
            self.set_time(&secret, now);
        }
    }
}

/// True if a list that tells this version of a secret, or none, agrees with the last answer.
fn is_confirmed(last: &LastRead, listed: Option<&String>) -> bool {
    match (&last.origin.version_id, listed) {
        _ if last.digest == Digest::Failed => false,
        (Some(known), Some(listed)) => known == listed,
        // A secret that was missing is still missing.
        (None, None) => last.digest == Digest::Missing,
        _ => false,
    }
}

/// The error that says that the service is broken or unreachable, not that one secret is wrong.
fn service_failure(result: &CallResult) -> Option<&ProviderError> {
    let error = match result {
        CallResult::Failed(error) => error,
        // The answer about a single secret is the call's.
        CallResult::Answers(answers) => match answers.as_slice() {
            [(_, Err(error), _)] => error,
            _ => return None,
        },
        CallResult::List { .. } | CallResult::ListTooLong { .. } => return None,
    };
    (error.class() == Class::Trouble).then_some(error)
}

/// True if the identity lacks the action of batches: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieving-secrets_batch.html>.
fn is_batch_denied(error: &ProviderError) -> bool {
    error.class() == Class::Denied
        && error.action().is_some_and(|action| {
            action.ends_with(":BatchGetSecretValue") || action.ends_with(":GetParameters")
        })
}

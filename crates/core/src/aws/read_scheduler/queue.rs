//! Pure: the readers that wait for an answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::channel::oneshot;

use crate::aws::read_scheduler::{ReadAnswer, SecretId};
use crate::names::NamespacedName;

/// A reader that waits for the answer about one secret.
#[derive(Debug)]
pub(super) struct PendingReader {
    /// The object that wants the value. An event (a rotation message, a probe) has none.
    pub(super) subscriber: Option<NamespacedName>,
    secret: Arc<SecretId>,
    /// A reader that only announced itself never causes a call.
    is_requested: bool,
    /// The call that will answer it is in flight.
    is_sent: bool,
    /// When it was announced or requested.
    since: Instant,
    reply: oneshot::Sender<ReadAnswer>,
}

impl PendingReader {
    /// Gives the reader its answer. A reader that has gone away in the meantime gets none.
    pub(super) fn answer(self, answer: ReadAnswer) {
        let _ = self.reply.send(answer);
    }
}

/// All pending readers, by number.
///
/// Invariant: `requested` and `announced` together hold exactly the readers whose call is not in flight, each in the one
/// that its `is_requested` names, and `by_secret` holds exactly the numbers of `readers`.
#[derive(Debug, Default)]
pub(super) struct ReadQueue {
    readers: BTreeMap<u64, PendingReader>,
    by_secret: BTreeMap<Arc<SecretId>, Vec<u64>>,
    /// Readers that want their answer now, the oldest first.
    requested: BTreeMap<u64, Arc<SecretId>>,
    /// Readers that take an answer only if a call is made for another reason.
    announced: BTreeMap<u64, Arc<SecretId>>,
    last_number: u64,
}

impl ReadQueue {
    /// A number that no other reader has.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Adds a reader that is announced and not yet requested.
    pub(super) fn announce(
        &mut self,
        number: u64,
        subscriber: Option<NamespacedName>,
        secret: Arc<SecretId>,
        reply: oneshot::Sender<ReadAnswer>,
        now: Instant,
    ) {
        let numbers = self.by_secret.entry(secret.clone()).or_default();
        numbers.push(number);
        self.announced.insert(number, secret.clone());
        let reader = PendingReader {
            subscriber,
            secret,
            is_requested: false,
            is_sent: false,
            since: now,
            reply,
        };
        self.readers.insert(number, reader);
    }

    /// Requests the answer of an announced reader now. A reader that has its answer already is left alone.
    pub(super) fn request_now(&mut self, number: u64, now: Instant) {
        let Some(reader) = self.readers.get_mut(&number) else {
            return;
        };
        reader.is_requested = true;
        reader.since = now;
        if !reader.is_sent {
            self.announced.remove(&number);
            self.requested.insert(number, reader.secret.clone());
        }
    }

    /// Removes a reader, whether its call is in flight or not.
    pub(super) fn remove(&mut self, number: u64) -> Option<PendingReader> {
        let reader = self.readers.remove(&number)?;
        self.requested.remove(&number);
        self.announced.remove(&number);
        if let Some(numbers) = self.by_secret.get_mut(&reader.secret) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_secret.remove(&reader.secret);
            }
        }
        Some(reader)
    }

    /// True if a reader waits for this secret.
    pub(super) fn is_wanted(&self, secret: &SecretId) -> bool {
        self.by_secret.contains_key(secret)
    }

    /// Notes that a call for this secret is in flight. It answers the readers of this moment, and no later ones.
    pub(super) fn mark_sent(&mut self, secret: &SecretId) {
        for number in self.by_secret.get(secret).into_iter().flatten() {
            if let Some(reader) = self.readers.get_mut(number) {
                reader.is_sent = true;
            }
            self.requested.remove(number);
            self.announced.remove(number);
        }
    }

    /// Puts the readers of a secret back, because its call gave no answer for it.
    pub(super) fn put_back(&mut self, secret: &Arc<SecretId>) {
        for number in self.by_secret.get(secret).into_iter().flatten() {
            let Some(reader) = self.readers.get_mut(number) else {
                continue;
            };
            reader.is_sent = false;
            let queue = if reader.is_requested {
                &mut self.requested
            } else {
                &mut self.announced
            };
            queue.insert(*number, secret.clone());
        }
    }

    /// Takes the readers that the call in flight for this secret answers.
    pub(super) fn take_sent(&mut self, secret: &SecretId) -> Vec<PendingReader> {
        let numbers = self.by_secret.get(secret).cloned().unwrap_or_default();
        let is_sent = |number: &u64| {
            self.readers
                .get(number)
                .is_some_and(|reader| reader.is_sent)
        };
        let sent: Vec<u64> = numbers.into_iter().filter(is_sent).collect();
        sent.into_iter()
            .filter_map(|number| self.remove(number))
            .collect()
    }

    /// Takes every reader that wants its answer now and has no call in flight.
    pub(super) fn take_requested(&mut self) -> Vec<(Arc<SecretId>, PendingReader)> {
        let requested: Vec<_> = self.requested.clone().into_iter().collect();
        requested
            .into_iter()
            .filter_map(|(number, secret)| Some((secret, self.remove(number)?)))
            .collect()
    }

    /// The secrets that are wanted now, the oldest reader first, and since when.
    pub(super) fn requested(&self) -> impl Iterator<Item = (&Arc<SecretId>, Option<Instant>)> {
        self.requested.iter().map(|(number, secret)| {
            let since = self.readers.get(number).map(|reader| reader.since);
            (secret, since)
        })
    }

    /// The secrets that are announced, the oldest reader first.
    pub(super) fn announced(&self) -> impl Iterator<Item = &Arc<SecretId>> {
        self.announced.values()
    }
}

#[cfg(test)]
impl ReadQueue {
    /// True if no reader waits.
    pub(super) fn is_empty(&self) -> bool {
        self.readers.is_empty()
            && self.by_secret.is_empty()
            && self.requested.is_empty()
            && self.announced.is_empty()
    }

    /// The numbers of all readers.
    pub(super) fn numbers(&self) -> std::collections::BTreeSet<u64> {
        self.readers.keys().copied().collect()
    }

    /// The subscribers that wait for an answer, by the numbers of their readers.
    pub(super) fn subscribers(&self) -> BTreeMap<u64, NamespacedName> {
        let readers = self.readers.iter();
        readers
            .filter_map(|(number, reader)| Some((*number, reader.subscriber.clone()?)))
            .collect()
    }

    /// Checks what the type promises. `is_in_flight` tells whether a call for a secret is under way.
    pub(super) fn check(&self, is_in_flight: impl Fn(&SecretId) -> bool) {
        let numbers: Vec<u64> = self.readers.keys().copied().collect();
        let mut by_secret: Vec<u64> = self.by_secret.values().flatten().copied().collect();
        by_secret.sort_unstable();
        assert_eq!(numbers, by_secret, "both maps hold the same readers");
        for (number, reader) in &self.readers {
            assert!(self.by_secret[&reader.secret].contains(number));
            let places = (
                self.requested.get(number) == Some(&reader.secret),
                self.announced.get(number) == Some(&reader.secret),
            );
            let expected = match (reader.is_sent, reader.is_requested) {
                (true, _) => (false, false),
                (false, true) => (true, false),
                (false, false) => (false, true),
            };
            assert_eq!(places, expected, "reader {number} stands in one queue");
            assert!(
                !reader.is_sent || is_in_flight(&reader.secret),
                "the call of reader {number} is in flight"
            );
        }
        let queued = self.requested.keys().chain(self.announced.keys());
        assert!(
            queued
                .into_iter()
                .all(|number| self.readers.contains_key(number))
        );
    }
}

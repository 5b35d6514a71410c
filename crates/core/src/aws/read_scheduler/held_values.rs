//! Pure: new answers that wait for a moment for the subscribers that were woken for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::aws::read_scheduler::{ReadAnswer, SecretId};
use crate::names::NamespacedName;
use crate::secrets::compose::LookupResult;

/// How long an answer is held. A woken reconcile starts within seconds; later it reads again.
const HOLD: Duration = Duration::from_secs(10);
/// How many bytes of values are held at most, so that a mass rotation cannot fill the memory.
const HOLD_BYTES: usize = 8 << 20;

/// An answer, and the subscribers that have not taken it yet.
#[derive(Debug)]
struct HeldValue {
    answer: ReadAnswer,
    until: Instant,
    takers: Vec<NamespacedName>,
}

/// The answers that are held, one per secret at most.
///
/// Invariant: `bytes` is the size of all values, `by_end` holds each secret with its end, and each value has a taker.
#[derive(Debug, Default)]
pub(super) struct HeldValues {
    values: BTreeMap<Arc<SecretId>, HeldValue>,
    by_end: BTreeSet<(Instant, Arc<SecretId>)>,
    bytes: usize,
}

impl HeldValues {
    /// Holds an answer for its takers, in place of the one before. An answer without takers, or beyond the limit, is
    /// not held: its takers read again.
    pub(super) fn hold(
        &mut self,
        secret: &Arc<SecretId>,
        answer: &ReadAnswer,
        takers: Vec<NamespacedName>,
        now: Instant,
    ) {
        self.release(secret);
        let size = size(answer);
        if takers.is_empty() || self.bytes + size > HOLD_BYTES {
            return;
        }
        let until = now + HOLD;
        self.bytes += size;
        self.by_end.insert((until, secret.clone()));
        let held = HeldValue {
            answer: answer.clone(),
            until,
            takers,
        };
        self.values.insert(secret.clone(), held);
    }

    /// Gives a subscriber the answer that is held for it. Each subscriber gets it once.
    pub(super) fn take(
        &mut self,
        secret: &Arc<SecretId>,
        subscriber: &NamespacedName,
        now: Instant,
    ) -> Option<ReadAnswer> {
        let held = self.values.get_mut(secret)?;
        let place = held.takers.iter().position(|taker| taker == subscriber)?;
        held.takers.swap_remove(place);
        let answer = (held.until > now).then(|| held.answer.clone());
        if held.takers.is_empty() {
            self.release(secret);
        }
        answer
    }

    /// Drops what is held of a secret.
    pub(super) fn release(&mut self, secret: &Arc<SecretId>) {
        if let Some(held) = self.values.remove(secret) {
            self.bytes -= size(&held.answer);
            self.by_end.remove(&(held.until, secret.clone()));
        }
    }

    /// Drops what was held for long enough.
    pub(super) fn release_expired(&mut self, now: Instant) {
        while let Some((until, secret)) = self.by_end.first().cloned() {
            if until > now {
                break;
            }
            self.release(&secret);
        }
    }

    /// When the next answer is dropped.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.by_end.first().map(|(until, _)| *until)
    }
}

fn size(answer: &ReadAnswer) -> usize {
    match answer {
        Ok(LookupResult::Value(value)) => value.expose().len(),
        _ => 0,
    }
}

#[cfg(test)]
impl HeldValues {
    /// The size of all values.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Checks what the type promises.
    pub(super) fn check(&self) {
        let sizes = self.values.values().map(|held| size(&held.answer));
        assert_eq!(self.bytes, sizes.sum::<usize>(), "held bytes");
        assert!(self.bytes <= HOLD_BYTES);
        assert_eq!(self.values.len(), self.by_end.len());
        for (secret, held) in &self.values {
            assert!(self.by_end.contains(&(held.until, secret.clone())));
            assert!(!held.takers.is_empty(), "a value without takers is dropped");
        }
    }
}

//! Pure: when each secret is looked at next: to be read, or to be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::aws::read_scheduler::SecretId;

/// The next time of each secret.
///
/// Invariant: both collections hold the same pairs, and a secret has one time at most. A secret whose call is in flight
/// has none.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    by_time: BTreeSet<(Instant, Arc<SecretId>)>,
    times: BTreeMap<Arc<SecretId>, Instant>,
}

impl Schedule {
    /// Sets the time of a secret, in place of the one that it had.
    pub(super) fn set(&mut self, secret: &Arc<SecretId>, at: Instant) {
        if let Some(before) = self.times.insert(secret.clone(), at) {
            self.by_time.remove(&(before, secret.clone()));
        }
        self.by_time.insert((at, secret.clone()));
    }

    /// Removes a secret.
    pub(super) fn remove(&mut self, secret: &Arc<SecretId>) {
        if let Some(at) = self.times.remove(secret) {
            self.by_time.remove(&(at, secret.clone()));
        }
    }

    /// The first time of all.
    pub(super) fn first(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Every secret with its time, the earliest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Instant, &Arc<SecretId>)> {
        self.by_time.iter().map(|(at, secret)| (*at, secret))
    }

    /// The secrets whose time has come, the earliest first.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = (Instant, &Arc<SecretId>)> {
        self.iter().take_while(move |(at, _)| *at <= now)
    }
}

#[cfg(test)]
impl Schedule {
    /// True if no secret has a time.
    pub(super) fn is_empty(&self) -> bool {
        self.by_time.is_empty() && self.times.is_empty()
    }

    /// The time of a secret.
    pub(super) fn time_of(&self, secret: &SecretId) -> Option<Instant> {
        self.times.get(secret).copied()
    }

    /// Checks what the type promises.
    pub(super) fn check(&self) {
        assert_eq!(self.by_time.len(), self.times.len());
        for (at, secret) in &self.by_time {
            assert_eq!(self.times.get(secret), Some(at), "{secret:?}");
        }
    }
}

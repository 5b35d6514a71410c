//! Pure: what was handled when, so that a wake-up that brings nothing new costs nothing.
//!
//! A controller wakes on every change of its object, its own status writes included. The fingerprint of
//! all that decides (generation, annotations, revision, …) tells a real change from an echo.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::schedule::backoff;

/// What is remembered of each object, by kind and name.
#[derive(Debug, Default)]
pub struct ReconcileCache(Mutex<BTreeMap<String, Entry>>);

#[derive(Debug, Clone, Default)]
struct Entry {
    fingerprint: String,
    /// Not to be handled again before, unless the fingerprint changes.
    until: Option<Timestamp>,
    failures: u32,
}

impl ReconcileCache {
    /// How long the object can be left alone, if nothing that decides has changed.
    pub fn rest(&self, key: &str, fingerprint: &str, now: Timestamp) -> Option<Duration> {
        let entries = self.0.lock();
        let entry = entries
            .get(key)
            .filter(|entry| entry.fingerprint == fingerprint)?;
        let rest = Duration::try_from(entry.until?.duration_since(now)).ok()?;
        (!rest.is_zero()).then_some(rest)
    }

    /// Remembers a success that holds for a time.
    pub fn succeeded(&self, key: &str, fingerprint: &str, now: Timestamp, holds: Duration) {
        let entry = Entry {
            fingerprint: fingerprint.to_owned(),
            until: now.checked_add(holds).ok(),
            failures: 0,
        };
        self.0.lock().insert(key.to_owned(), entry);
    }

    /// Remembers a failure, and gives the wait before the next try: doubled each time within the bounds.
    pub fn failed(
        &self,
        key: &str,
        fingerprint: &str,
        now: Timestamp,
        bounds: (Duration, Duration),
    ) -> Duration {
        let mut entries = self.0.lock();
        let entry = entries.entry(key.to_owned()).or_default();
        let failures = if entry.fingerprint == fingerprint {
            entry.failures
        } else {
            0
        };
        let wait = backoff(bounds.0, bounds.1, failures);
        *entry = Entry {
            fingerprint: fingerprint.to_owned(),
            until: now.checked_add(wait).ok(),
            failures: failures + 1,
        };
        wait
    }

    /// Forgets all objects whose key begins so.
    pub fn forget_kind(&self, kind: &str) {
        self.0.lock().retain(|key, _| !key.starts_with(kind));
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, key: &str) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_rests_and_a_change_does_not() {
        let memory = ReconcileCache::default();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let later = now + Duration::from_secs(20);
        let minute = Duration::from_secs(60);
        memory.succeeded("a", "1", now, minute);
        assert_eq!(memory.rest("a", "1", later), Some(Duration::from_secs(40)));
        assert_eq!(memory.rest("a", "2", later), None);
        assert_eq!(memory.rest("a", "1", now + minute), None);
        assert_eq!(memory.rest("b", "1", now), None);
    }

    #[test]
    fn failures_back_off_until_something_changes() {
        let memory = ReconcileCache::default();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let bounds = (Duration::from_secs(1), Duration::from_secs(5));
        let waits: Vec<u64> = (0..4)
            .map(|_| memory.failed("a", "1", now, bounds).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 5]);
        assert_eq!(memory.failed("a", "2", now, bounds).as_secs(), 1);
    }
}

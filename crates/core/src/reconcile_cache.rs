//! Pure: the reconcile cache: which objects were reconciled when, so that a wake-up without news costs nothing.
//!
//! A controller wakes on every change of its object, its own status writes included. The fingerprint of everything that
//! decides (generation, annotations, revision, …) tells a real change from an echo of the controller's own write.
//!
//! Times are monotonic: a step of the wall clock lets no object rest longer or shorter.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::names::ObjectKey;
use crate::schedule::backoff;

/// A digest of everything that decides what a reconcile does. Equal fingerprints mean that nothing relevant has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The digest of the texts of all parts, in order. Parts are told apart: `ab`, `c` differs from `a`, `bc`.
    pub fn of<P: Display>(parts: impl IntoIterator<Item = P>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            let text = part.to_string();
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
        Self(hash.finalize().into())
    }
}

impl From<&str> for Fingerprint {
    fn from(text: &str) -> Self {
        Self::of([text])
    }
}

impl From<&String> for Fingerprint {
    fn from(text: &String) -> Self {
        Self::of([text])
    }
}

impl From<&Self> for Fingerprint {
    fn from(fingerprint: &Self) -> Self {
        fingerprint.clone()
    }
}

/// The last reconcile of each object.
#[derive(Debug, Default)]
pub struct ReconcileCache(Mutex<BTreeMap<ObjectKey, CachedReconcile>>);

/// The last reconcile of one object.
#[derive(Debug, Clone)]
struct CachedReconcile {
    fingerprint: Fingerprint,
    /// The object rests until then, unless the fingerprint changes.
    until: Option<Instant>,
    failures: u32,
}

impl ReconcileCache {
    /// How long the object can still rest. `None` if it must be reconciled: it is not known, its fingerprint has changed,
    /// or its time has come.
    pub fn rest(
        &self,
        key: &ObjectKey,
        fingerprint: impl Into<Fingerprint>,
        now: Instant,
    ) -> Option<Duration> {
        let fingerprint = fingerprint.into();
        let cache = self.0.lock();
        let last = cache
            .get(key)
            .filter(|last| last.fingerprint == fingerprint)?;
        let rest = last.until?.checked_duration_since(now)?;
        (!rest.is_zero()).then_some(rest)
    }

    /// Records a success that holds for `holds`.
    pub fn succeeded(
        &self,
        key: &ObjectKey,
        fingerprint: impl Into<Fingerprint>,
        now: Instant,
        holds: Duration,
    ) {
        let success = CachedReconcile {
            fingerprint: fingerprint.into(),
            until: now.checked_add(holds),
            failures: 0,
        };
        self.0.lock().insert(key.clone(), success);
    }

    /// Records a failure, and gives the wait before the next attempt: doubled after each failure in a row under the same
    /// fingerprint, within `bounds` (the first and the longest wait).
    pub fn failed(
        &self,
        key: &ObjectKey,
        fingerprint: impl Into<Fingerprint>,
        now: Instant,
        bounds: (Duration, Duration),
    ) -> Duration {
        let fingerprint = fingerprint.into();
        let mut cache = self.0.lock();
        let last = cache
            .get(key)
            .filter(|last| last.fingerprint == fingerprint);
        let failures = last.map_or(0, |last| last.failures);
        let wait = backoff(bounds.0, bounds.1, failures);
        let failure = CachedReconcile {
            fingerprint,
            until: now.checked_add(wait),
            failures: failures + 1,
        };
        cache.insert(key.clone(), failure);
        wait
    }

    /// Forgets all objects of a kind, so that none of them rests.
    pub fn forget_kind(&self, kind: &str) {
        self.0.lock().retain(|key, _| key.kind != kind);
    }

    /// How many objects are known.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// True if none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets an object: one that is gone, or whose next reconcile must not rest.
    pub fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NamespacedName;

    fn key(kind: &'static str, name: &str) -> ObjectKey {
        ObjectKey::new(kind, NamespacedName::new("team", name))
    }

    /// Some moment of the monotonic clock, which has no fixed one.
    fn moment() -> Instant {
        static MOMENT: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        *MOMENT
    }

    #[test]
    fn an_echo_rests_and_a_change_does_not() {
        let cache = ReconcileCache::default();
        let now = moment();
        let later = now + Duration::from_secs(20);
        let minute = Duration::from_secs(60);
        let (a, same_name) = (key("SecretStore", "a"), key("ExternalSecret", "a"));
        cache.succeeded(&a, "1", now, minute);
        cache.succeeded(&same_name, "1", now, minute);
        assert_eq!(cache.rest(&a, "1", later), Some(Duration::from_secs(40)));
        assert_eq!(cache.rest(&a, "2", later), None);
        assert_eq!(cache.rest(&a, "1", now + minute), None);
        assert_eq!(cache.rest(&key("SecretStore", "b"), "1", now), None);
        cache.forget_kind("SecretStore");
        assert_eq!(cache.rest(&a, "1", later), None);
        assert!(cache.rest(&same_name, "1", later).is_some());
    }

    #[test]
    fn failures_back_off_until_something_changes() {
        let cache = ReconcileCache::default();
        let now = moment();
        let bounds = (Duration::from_secs(1), Duration::from_secs(5));
        let a = key("SecretStore", "a");
        let waits: Vec<u64> = (0..4)
            .map(|_| cache.failed(&a, "1", now, bounds).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 5]);
        assert_eq!(cache.failed(&a, "2", now, bounds).as_secs(), 1);
        cache.forget(&a);
        assert_eq!(cache.failed(&a, "2", now, bounds).as_secs(), 1);
    }

    #[test]
    fn the_parts_of_a_fingerprint_are_told_apart() {
        assert_eq!(Fingerprint::of(["a", "b"]), Fingerprint::of(["a", "b"]));
        assert_ne!(Fingerprint::of(["ab", "c"]), Fingerprint::of(["a", "bc"]));
        assert_ne!(Fingerprint::of(["a"]), Fingerprint::of(["a", ""]));
    }
}

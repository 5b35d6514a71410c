//! Pure: what the queue of a controller holds, for its metrics.
//!
//! The queue itself is kube's, which shows nothing of it. What is put into it, what begins and what ends is seen from
//! outside: `added → started → ended`, each with the key of the object and the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The key of an object: a hash of its name, so that a long queue takes little memory.
pub type WorkKey = u64;

/// The objects of one controller that wait for a reconcile, and those that are being reconciled.
#[derive(Debug, Default)]
pub struct WorkQueue {
    waiting: BTreeMap<WorkKey, Instant>,
    running: BTreeMap<WorkKey, Instant>,
}

impl WorkQueue {
    /// An object was woken. False if it waits already.
    pub fn added(&mut self, key: WorkKey, now: Instant) -> bool {
        let is_new = !self.waiting.contains_key(&key);
        self.waiting.entry(key).or_insert(now);
        is_new
    }

    /// A reconcile begins. Returns how long the object has waited; `None` if a timer woke it, which is not seen.
    pub fn started(&mut self, key: WorkKey, now: Instant) -> Option<Duration> {
        self.running.insert(key, now);
        let since = self.waiting.remove(&key)?;
        Some(now.saturating_duration_since(since))
    }

    /// A reconcile has ended. Returns how long it took.
    pub fn ended(&mut self, key: WorkKey, now: Instant) -> Duration {
        let since = self.running.remove(&key).unwrap_or(now);
        now.saturating_duration_since(since)
    }

    /// Forgets an object that is gone, and is not reconciled any more.
    pub fn forget(&mut self, key: WorkKey) {
        self.waiting.remove(&key);
    }

    /// How many objects wait.
    pub fn depth(&self) -> usize {
        self.waiting.len()
    }

    /// How long all reconciles that are under way have taken so far.
    pub fn unfinished(&self, now: Instant) -> Duration {
        self.times(now).sum()
    }

    /// How long the longest reconcile that is under way has taken so far.
    pub fn longest(&self, now: Instant) -> Duration {
        self.times(now).max().unwrap_or_default()
    }

    fn times(&self, now: Instant) -> impl Iterator<Item = Duration> {
        let since = self.running.values();
        since.map(move |since| now.saturating_duration_since(*since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_waits_once_and_is_reconciled_after_that() {
        let base = Instant::now();
        let at = |seconds: u64| base + Duration::from_secs(seconds);
        let seconds = Duration::from_secs;
        let mut queue = WorkQueue::default();
        assert!(queue.added(1, at(0)));
        assert!(!queue.added(1, at(1)), "it waits already");
        assert!(queue.added(2, at(1)));
        assert_eq!(queue.depth(), 2);
        assert_eq!(queue.started(1, at(3)), Some(seconds(3)));
        assert_eq!(queue.started(3, at(4)), None, "a timer woke it");
        assert!(queue.added(1, at(5)), "it is woken again meanwhile");
        assert_eq!((queue.depth(), queue.unfinished(at(6))), (2, seconds(5)));
        assert_eq!(queue.longest(at(6)), seconds(3));
        assert_eq!(queue.ended(1, at(7)), seconds(4));
        assert_eq!(queue.ended(3, at(7)), seconds(3));
        assert_eq!(queue.longest(at(9)), Duration::ZERO);
        queue.forget(2);
        assert_eq!(queue.depth(), 1);
    }
}

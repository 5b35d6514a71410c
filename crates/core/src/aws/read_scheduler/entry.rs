//! Pure: what is known of one secret, and the subscribers that are woken when it changes.

use std::time::{Duration, Instant};

use crate::aws::read_scheduler::listing::{FULL_READ, LAG};
use crate::aws::read_scheduler::{Digest, Origin, SecretId};
use crate::names::NamespacedName;

/// A failed poll is repeated after this, or after the interval if that is shorter.
const RETRY: Duration = Duration::from_secs(60);
/// The first failed poll is repeated sooner, before any subscriber is woken.
const FIRST_RETRY: Duration = Duration::from_secs(3);
/// An entry without subscribers and readers is forgotten after this.
const IDLE: Duration = Duration::from_secs(60);

/// The last answer about a secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastRead {
    pub(super) digest: Digest,
    pub(super) origin: Origin,
    /// The secret was so at this time, by a read or a list.
    pub(super) confirmed: Instant,
    /// The last read that gave an answer.
    pub(super) read: Instant,
}

/// An object that is woken when a secret changes.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) name: NamespacedName,
    pub(super) interval: Duration,
    /// The value that the subscriber knows: it has used it, was given it, or was woken for it.
    pub(super) digest: Digest,
    pub(super) since: Instant,
}

/// What the scheduler keeps of one secret.
#[derive(Debug, Default)]
pub(super) struct SecretEntry {
    pub(super) last_read: Option<LastRead>,
    /// The last call that was to read it, whatever came of it.
    pub(super) tried: Option<Instant>,
    pub(super) is_in_flight: bool,
    /// A batch with this secret fails as a whole, so it is read by a call of its own.
    pub(super) is_alone: bool,
    /// Reads that failed in a row for a reason that may pass.
    pub(super) failures: u8,
    pub(super) subscribers: Vec<Subscriber>,
}

impl SecretEntry {
    /// The shortest interval of all subscribers; nothing if there are none.
    pub(super) fn interval(&self) -> Option<Duration> {
        let subscribers = self.subscribers.iter();
        subscribers.map(|subscriber| subscriber.interval).min()
    }

    /// True if a subscriber wants the secret to be polled.
    pub(super) fn is_watched(&self) -> bool {
        !self.subscribers.is_empty()
    }

    /// True if the last answer was an error.
    pub(super) fn has_failed(&self) -> bool {
        let last = self.last_read.as_ref();
        last.is_some_and(|last| last.digest == Digest::Failed)
    }

    /// Adds a subscriber, or replaces it.
    pub(super) fn subscribe(&mut self, subscriber: Subscriber) {
        let mut known = self.subscribers.iter_mut();
        match known.find(|known| known.name == subscriber.name) {
            Some(known) => *known = subscriber,
            None => {
                // Most secrets have one subscriber.
                self.subscribers.reserve_exact(1);
                self.subscribers.push(subscriber);
            }
        }
    }

    /// Records an answer. An error leaves the time of the last good read.
    pub(super) fn record(&mut self, digest: Digest, origin: Origin, now: Instant) {
        match &mut self.last_read {
            Some(last) if digest == Digest::Failed => last.digest = Digest::Failed,
            last => {
                *last = Some(LastRead {
                    digest,
                    origin,
                    confirmed: now,
                    read: now,
                });
            }
        }
    }

    /// Tells the subscribers of an answer, and gives those for whom it is news. A subscriber that has not read the secret
    /// yet does so at its interval, unless an event caused the read.
    pub(super) fn notify(
        &mut self,
        digest: Digest,
        cause: ReadCause,
        now: Instant,
    ) -> Vec<NamespacedName> {
        let mut news = Vec::new();
        for subscriber in &mut self.subscribers {
            let is_early = now < subscriber.since + subscriber.interval.mul_f64(0.9);
            let is_unread = subscriber.digest == Digest::Unread;
            if is_unread && is_early && cause == ReadCause::Poll {
                continue;
            }
            let before = std::mem::replace(&mut subscriber.digest, digest);
            if before != digest {
                news.push(subscriber.name.clone());
            }
        }
        news
    }

    /// When the secret is looked at next: to be read, or to be forgotten. `is_listing` tells whether lists watch the
    /// secrets with long intervals.
    pub(super) fn next_time(&self, secret: &SecretId, is_listing: bool, now: Instant) -> Instant {
        let tried = self.tried.unwrap_or(now);
        let Some(interval) = self.interval() else {
            return tried.max(now) + IDLE;
        };
        if self.failures == 1 {
            return tried + interval.min(FIRST_RETRY);
        }
        match &self.last_read {
            Some(last) if last.digest == Digest::Failed => tried + interval.min(RETRY),
            // A version by its id never changes; it may be deleted.
            Some(last) if secret.is_version_id() => last.read + FULL_READ.max(interval),
            Some(last) if is_listing && interval > LAG => {
                (last.read + FULL_READ).max(tried + interval)
            }
            _ => tried + interval,
        }
    }
}

/// Why a secret was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadCause {
    /// An interval has passed, or a subscriber requested the secret.
    Poll,
    /// A message says that the secret has changed.
    Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    /// An entry that was read just now, with a subscriber of an interval.
    fn read_entry(interval: Duration, digest: Digest, now: Instant) -> SecretEntry {
        let mut entry = SecretEntry {
            tried: Some(now),
            ..SecretEntry::default()
        };
        entry.subscribe(Subscriber {
            name: NamespacedName::new("team", "x"),
            interval,
            digest,
            since: now,
        });
        entry.record(digest, Origin::default(), now);
        entry
    }

    #[track_caller]
    fn check(
        version: &str,
        interval: Duration,
        digest: Digest,
        is_listing: bool,
        expected: Duration,
    ) {
        let now = Instant::now();
        let secret = SecretId::new("a", version);
        let entry = read_entry(interval, digest, now);
        let next = entry.next_time(&secret, is_listing, now);
        assert_eq!(
            next - now,
            expected,
            "{version} {interval:?} {digest:?} {is_listing}"
        );
    }

    #[test]
    fn the_next_time_depends_on_the_interval_the_version_and_the_last_answer() {
        let value = Digest::Value([1; 16]);
        check("", MINUTE, value, false, MINUTE);
        check("", HOUR, value, false, HOUR);
        check("", HOUR, value, true, FULL_READ);
        check("", MINUTE, value, true, MINUTE);
        check("", HOUR, Digest::Missing, false, HOUR);
        check("", HOUR, Digest::Failed, true, RETRY);
        check(
            "",
            Duration::from_secs(5),
            Digest::Failed,
            false,
            Duration::from_secs(5),
        );
        check("uuid/1", MINUTE, value, false, FULL_READ);
    }

    #[test]
    fn an_entry_without_subscribers_is_kept_for_a_while() {
        let now = Instant::now();
        let entry = SecretEntry::default();
        assert_eq!(
            entry.next_time(&SecretId::new("a", ""), false, now),
            now + IDLE
        );
    }

    #[test]
    fn only_subscribers_that_know_another_value_get_news() {
        let now = Instant::now();
        let (old, new) = (Digest::Value([1; 16]), Digest::Value([2; 16]));
        let mut entry = read_entry(HOUR, old, now);
        let unread = Subscriber {
            name: NamespacedName::new("team", "unread"),
            interval: HOUR,
            digest: Digest::Unread,
            since: now,
        };
        entry.subscribe(unread);
        let mut names = |digest, cause, now| {
            let news = entry.notify(digest, cause, now);
            news.into_iter().map(|name| name.name).collect::<Vec<_>>()
        };
        assert!(names(old, ReadCause::Poll, now).is_empty());
        assert_eq!(names(new, ReadCause::Poll, now), ["x"]);
        assert_eq!(names(new, ReadCause::Event, now), ["unread"]);
        assert_eq!(names(old, ReadCause::Poll, now + HOUR), ["x", "unread"]);
    }
}

//! Pure: the cheaper way to see changes: batches that read every value, or lists that tell the version of every secret.
//!
//! Secrets Manager bills each call (<https://aws.amazon.com/secrets-manager/pricing/>). A batch reads 20 values, a page of
//! `ListSecrets` tells the versions of 100 secrets, of all that the account has. What a list says may be minutes old, so
//! that only secrets with long intervals are watched by lists.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a list says may be so old. AWS documents lists as eventually consistent:
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html>.
pub(super) const LAG: Duration = Duration::from_secs(300);
/// Every secret is read in full at least so often, whatever lists say.
pub(super) const FULL_READ: Duration = Duration::from_secs(24 * 3600);
/// Secrets on a page of a list.
const PAGE: usize = 100;
/// A day, for costs.
const DAY: Duration = Duration::from_secs(86_400);

/// Whether lists can be used at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListAccess {
    /// The service has lists, and they are allowed.
    Allowed,
    /// The service has none, or a policy denies them.
    Unavailable,
}

/// How many secrets are watched at which interval, and whether lists or batches watch them.
///
/// Invariant: `intervals` counts each watched secret once, under its shortest interval, and holds no zero.
#[derive(Debug, Default)]
pub(super) struct Listing {
    intervals: BTreeMap<Duration, usize>,
    /// How many pages the last list had, or at least has, and when that was found.
    pages: Option<(usize, Instant)>,
    /// The time of the next list, while lists are the cheaper way.
    due: Option<Instant>,
    is_in_flight: bool,
}

impl Listing {
    /// Moves one secret from an interval to another. Nothing stands for a secret that is not watched.
    pub(super) fn recount(&mut self, before: Option<Duration>, after: Option<Duration>) {
        if let Some(before) = before
            && let Some(count) = self.intervals.get_mut(&before)
        {
            *count -= 1;
            if *count == 0 {
                self.intervals.remove(&before);
            }
        }
        if let Some(after) = after {
            *self.intervals.entry(after).or_default() += 1;
        }
    }

    /// True while lists watch the secrets with long intervals.
    pub(super) fn is_used(&self) -> bool {
        self.due.is_some()
    }

    /// True if a list is to be read now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.is_in_flight && self.due.is_some_and(|due| due <= now)
    }

    /// The time of the next list, unless one is in flight.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_in_flight)
    }

    /// A list is in flight.
    pub(super) fn start(&mut self) {
        self.is_in_flight = true;
    }

    /// The list in flight has ended, whatever came of it.
    pub(super) fn end(&mut self) {
        self.is_in_flight = false;
    }

    /// A whole list was read.
    pub(super) fn read(&mut self, pages: usize, now: Instant) {
        self.pages = Some((pages, now));
        self.due = self.period().map(|period| now + period);
    }

    /// A list was longer than it is worth.
    pub(super) fn too_long(&mut self, pages: usize, now: Instant) {
        self.pages = Some((pages, now));
    }

    /// Chooses between lists and batches by the calls that each costs a day. `batch` is how many secrets one call reads.
    /// True if the choice is another than before, so that every secret has another time.
    pub(super) fn choose(&mut self, access: ListAccess, batch: usize, now: Instant) -> bool {
        let was_used = self.is_used();
        let period = self.period();
        let is_better = access == ListAccess::Allowed
            && period.is_some_and(|period| {
                self.list_cost(self.expected_pages(now), period, batch) < self.batch_cost(batch)
            });
        self.due = match (is_better, self.due, period) {
            (true, Some(due), Some(period)) => Some(due.min(now + period)),
            (true, None, Some(period)) => Some(now + period),
            _ => None,
        };
        was_used != self.is_used()
    }

    /// The secrets whose intervals are long enough for lists.
    fn slow(&self) -> impl Iterator<Item = (Duration, usize)> + '_ {
        let slow = self.intervals.iter();
        slow.map(|(interval, count)| (*interval, *count))
            .filter(|(interval, _)| *interval > LAG)
    }

    /// How often lists must be read, so that what they say is never older than the shortest interval.
    fn period(&self) -> Option<Duration> {
        const LEAST: Duration = Duration::from_secs(60);
        let (shortest, _) = self.slow().next()?;
        Some(shortest.saturating_sub(LAG).max(LEAST))
    }

    /// Pages of a list: as the last one had it, or as many as what is watched would fill.
    fn expected_pages(&self, now: Instant) -> usize {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < DAY;
        match self.pages {
            Some((pages, at)) if is_recent(at) => pages,
            _ => {
                let watched: usize = self.slow().map(|(_, count)| count).sum();
                watched.div_ceil(PAGE)
            }
        }
    }

    /// The most pages with which a list is still the cheaper way.
    pub(super) fn most_pages(&self, batch: usize) -> usize {
        /// A million secrets: more than an account may have.
        const MOST: usize = 10_000;
        let Some(period) = self.period() else {
            return 1;
        };
        let batches = self.batch_cost(batch);
        let mut pages = 1;
        while pages < MOST && self.list_cost(pages + 1, period, batch) < batches {
            pages += 1;
        }
        pages
    }

    /// Calls a day if lists watch the slow secrets: the lists, and the full reads.
    fn list_cost(&self, pages: usize, period: Duration, batch: usize) -> f64 {
        let lists = float(pages) * DAY.as_secs_f64() / period.as_secs_f64();
        let full = self.slow().map(|(_, count)| calls_for(count, batch));
        lists + full.sum::<f64>() * DAY.as_secs_f64() / FULL_READ.as_secs_f64()
    }

    /// Calls a day if batches watch the slow secrets.
    fn batch_cost(&self, batch: usize) -> f64 {
        let slow = self.slow();
        slow.map(|(interval, count)| poll_cost(interval, count, batch))
            .sum()
    }

    /// Calls a day at present, for all that is watched.
    pub(super) fn calls_per_day(&self, batch: usize, now: Instant) -> f64 {
        let is_used = self.is_used();
        let by_batches = self.intervals.iter();
        let by_batches = by_batches.filter(|(interval, _)| !(is_used && **interval > LAG));
        let batches = by_batches.map(|(interval, count)| poll_cost(*interval, *count, batch));
        let lists = match self.period().filter(|_| is_used) {
            Some(period) => self.list_cost(self.expected_pages(now), period, batch),
            None => 0.0,
        };
        batches.sum::<f64>() + lists
    }
}

/// Calls a day that read so many secrets at an interval.
fn poll_cost(interval: Duration, count: usize, batch: usize) -> f64 {
    calls_for(count, batch) * DAY.as_secs_f64() / interval.as_secs_f64().max(1.0)
}

/// Calls that read so many secrets once.
fn calls_for(secrets: usize, batch: usize) -> f64 {
    float(secrets.div_ceil(batch.max(1)))
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
impl Listing {
    /// How many secrets are watched at which interval.
    pub(super) fn intervals(&self) -> &BTreeMap<Duration, usize> {
        &self.intervals
    }

    /// Lets the number of pages be found out again.
    pub(super) fn forget_pages(&mut self) {
        self.pages = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn watching(count: usize, interval: Duration) -> Listing {
        let mut listing = Listing::default();
        for _ in 0..count {
            listing.recount(None, Some(interval));
        }
        listing
    }

    #[track_caller]
    fn check(count: usize, interval: Duration, access: ListAccess, expected: bool) {
        let mut listing = watching(count, interval);
        listing.choose(access, 20, Instant::now());
        assert_eq!(listing.is_used(), expected, "{count} at {interval:?}");
    }

    #[test]
    fn lists_are_chosen_where_they_cost_fewer_calls() {
        use ListAccess::{Allowed, Unavailable};
        check(1000, HOUR, Allowed, true);
        check(1000, HOUR, Unavailable, false);
        // One batch an hour is less than one list every 55 minutes.
        check(20, HOUR, Allowed, false);
        // A list may be five minutes old, which is too old for these.
        check(1000, LAG, Allowed, false);
        check(1000, LAG + Duration::from_secs(1), Allowed, false);
    }

    #[test]
    fn a_secret_that_is_watched_no_more_is_not_counted() {
        let mut listing = watching(2, HOUR);
        listing.recount(Some(HOUR), Some(LAG));
        listing.recount(Some(HOUR), None);
        assert_eq!(listing.intervals(), &[(LAG, 1)].into());
        listing.recount(Some(LAG), None);
        assert!(listing.intervals().is_empty());
    }

    #[test]
    fn a_list_has_no_more_pages_than_it_is_worth() {
        let now = Instant::now();
        let mut listing = watching(60, HOUR);
        assert!(listing.choose(ListAccess::Allowed, 20, now));
        assert_eq!(listing.most_pages(20), 2);
        listing.too_long(3, now);
        assert!(listing.choose(ListAccess::Allowed, 20, now));
        assert!(!listing.is_used());
        let later = now + DAY;
        assert!(
            listing.choose(ListAccess::Allowed, 20, later),
            "a day later it is tried again"
        );
    }
}

//! Pure: how long ago everything that an ExternalSecret reads was known to be unchanged.

use std::time::{Duration, Instant};

/// The age of the oldest confirmation. Nothing if a secret is not confirmed, or if a poll is overdue, so that the caller
/// reads by itself. A poll is overdue after two intervals and a minute, because one poll may fail and be repeated.
pub fn confirmed_ago(
    confirmed: impl IntoIterator<Item = Option<Instant>>,
    interval: Duration,
    now: Instant,
) -> Option<Duration> {
    let mut oldest: Option<Instant> = None;
    for confirmed in confirmed {
        let confirmed = confirmed?;
        oldest = Some(oldest.map_or(confirmed, |oldest| oldest.min(confirmed)));
    }
    let ago = now.saturating_duration_since(oldest?);
    let late = interval * 2 + Duration::from_secs(60);
    (ago <= late).then_some(ago)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ages: &[Option<u64>], interval: u64, expected: Option<u64>) {
        let start = Instant::now();
        let now = start + Duration::from_secs(100_000);
        let at = |age: &Option<u64>| age.map(|age| start + Duration::from_secs(100_000 - age));
        let ago = confirmed_ago(ages.iter().map(at), Duration::from_secs(interval), now);
        assert_eq!(
            ago,
            expected.map(Duration::from_secs),
            "{ages:?} at {interval}"
        );
    }

    #[test]
    fn the_oldest_confirmation_counts() {
        check(&[Some(3), Some(7)], 60, Some(7));
        check(&[Some(3), None], 60, None);
        check(&[], 60, None);
    }

    #[test]
    fn an_overdue_poll_confirms_nothing() {
        check(&[Some(180)], 60, Some(180));
        check(&[Some(181)], 60, None);
        check(&[Some(7000)], 3600, Some(7000));
    }
}

//! Pure: intervals: durations as Go writes them, jitter and backoff.

use std::time::Duration;

use jiff::Timestamp;

/// Reads a Go duration: one or more decimal numbers with a unit (`1h30m`, `1.5s`, `500ms`).
/// Gives `None` for a negative duration and for a text that is no duration; `0` is zero.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at_checked(digits)?;
        let number: f64 = number.parse().ok()?;
        let unit_length = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_length)?;
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number * unit;
        rest = after;
    }
    // At most ten years, which is longer than any interval and safe to add to any time.
    Duration::try_from_secs_f64(seconds.min(315_360_000.0)).ok()
}

/// No interval of a spec is shorter: a reconcile makes requests to the API server and to other servers, and a tenant must
/// not turn it into a loop.
pub const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the interval of a spec, as [`parse_duration`] does. A shorter one than [`LEAST_INTERVAL`] counts as that.
pub fn parse_interval(text: &str) -> Option<Duration> {
    parse_duration(text).map(|interval| interval.max(LEAST_INTERVAL))
}

/// A time as Kubernetes writes it: RFC 3339 in UTC, to the second.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Spreads a wait by up to `percent`, earlier or later. Equal seeds give equal waits; the seed is made of an object, so that
/// objects of equal intervals do not reconcile together.
pub fn jittered(wait: Duration, percent: u8, seed: u64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a fraction of 2^20 steps is exact"
    )]
    let fraction = (seed % (1 << 20)) as f64 / f64::from(1 << 20);
    let spread = f64::from(percent) / 100.0;
    wait.mul_f64(1.0 - spread + fraction * 2.0 * spread)
}

/// The wait after `failures` failures in a row, counted from 0: `first`, doubled each time, and `most` at most.
pub fn backoff(first: Duration, most: Duration, failures: u32) -> Duration {
    first
        .saturating_mul(1_u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX))
        .min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, expected) in [
            ("1h30m", Some(5400.0)),
            ("1.5s", Some(1.5)),
            ("500ms", Some(0.5)),
            ("1h0m0s", Some(3600.0)),
            ("0", Some(0.0)),
            ("1d", None),
            ("-1s", None),
            ("5", None),
            ("", None),
        ] {
            assert_eq!(
                parse_duration(text).map(|duration| duration.as_secs_f64()),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn no_interval_is_a_loop() {
        for (text, expected) in [("0s", 1.0), ("1ms", 1.0), ("1.5s", 1.5), ("1m", 60.0)] {
            let interval = parse_interval(text).map(|interval| interval.as_secs_f64());
            assert_eq!(interval, Some(expected), "{text}");
        }
        assert_eq!(parse_interval("-1s"), None);
    }

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        let waits: Vec<u64> = (0..12)
            .map(|n| backoff(Duration::from_secs(1), Duration::from_secs(420), n).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 420, 420, 420]);
    }

    #[test]
    fn jitter_stays_within_its_percentage() {
        for seed in 0..2000 {
            let wait = jittered(Duration::from_secs(100), 5, seed * 997).as_secs_f64();
            assert!((95.0..=105.0).contains(&wait), "{wait}");
            let still = jittered(Duration::from_secs(100), 0, seed * 997);
            assert_eq!(still, Duration::from_secs(100));
        }
    }
}

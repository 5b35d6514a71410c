//! Pure: how fast calls are made: a token bucket per account, region and API, and a circuit breaker per reader.
//!
//! The quotas: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>, and for Parameter Store
//! <https://docs.aws.amazon.com/general/latest/gr/ssm.html>. Adaptive rates follow the SDKs' adaptive retry mode:
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>.

use std::time::{Duration, Instant};

/// The groups of actions that share a quota, with the quota in calls a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// `BatchGetSecretValue`: 100 calls a second.
    Batch,
    /// `ListSecrets`: 100.
    List,
    /// `GetSecretValue` and `DescribeSecret`: 10,000 together.
    Secret,
    /// All reads of Parameter Store: 40, unless the account pays for more.
    Parameter,
}

impl Api {
    /// Calls a second at most, and calls at once after a pause. Both together stay below the quota, so that other
    /// clients of the account get a part of it.
    fn limits(self) -> (f64, f64) {
        match self {
            Self::Batch => (60.0, 20.0),
            Self::List => (40.0, 10.0),
            Self::Secret => (2000.0, 200.0),
            Self::Parameter => (25.0, 10.0),
        }
    }
}

/// A token bucket. A throttled call halves its rate, and calls that are answered raise it again.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    most: f64,
    burst: f64,
    /// Calls a second.
    rate: f64,
    /// Negative while calls wait.
    tokens: f64,
    filled: Instant,
    /// When the rate was halved last.
    slowed: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(api: Api, now: Instant) -> Self {
        let (most, burst) = api.limits();
        Self {
            most,
            burst,
            rate: most,
            tokens: burst,
            filled: now,
            slowed: None,
        }
    }

    /// Takes a token, and gives the time to wait before the call.
    pub fn turn(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        self.filled = now;
        self.tokens -= 1.0;
        let missing = (-self.tokens).max(0.0);
        Duration::from_secs_f64(missing / self.rate)
    }

    /// True if no call took a token for so long that a new bucket would be the same.
    pub fn is_idle(&self, now: Instant) -> bool {
        const IDLE: Duration = Duration::from_secs(3600);
        now.saturating_duration_since(self.filled) >= IDLE
    }

    /// A call was answered.
    pub fn answered(&mut self) {
        self.rate = (self.rate + self.most / 100.0).min(self.most);
    }

    /// A call was throttled. Other calls in flight are throttled too, so all of half a second count once.
    pub fn throttled(&mut self, now: Instant) {
        const ONCE: Duration = Duration::from_millis(500);
        let lately = |slowed| now.saturating_duration_since(slowed) < ONCE;
        if !self.slowed.is_some_and(lately) {
            self.slowed = Some(now);
            self.rate = (self.rate / 2.0).max(self.most / 50.0);
            self.tokens = self.tokens.min(0.0);
        }
    }
}

/// A circuit breaker: after failures in a row no call is made for a while, then one call tries for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Circuit {
    failures: u32,
    until: Option<Instant>,
}

impl Circuit {
    /// Failures in a row that open it.
    const FAILURES: u32 = 5;

    /// How long no call may be made; nothing if one may.
    pub fn wait(&mut self, now: Instant) -> Option<Duration> {
        let wait = self.until?.checked_duration_since(now)?;
        (!wait.is_zero()).then_some(wait)
    }

    /// A call worked.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A call failed. `jitter`, from 0 to 1, spreads the next tries of many readers.
    pub fn failed(&mut self, now: Instant, jitter: f64) {
        // Calls that were in flight when it opened tell nothing new.
        if self.until.is_some_and(|until| now < until) {
            return;
        }
        self.failures += 1;
        if let Some(after) = self.failures.checked_sub(Self::FAILURES) {
            let bounds = (Duration::from_secs(1), Duration::from_secs(30));
            let wait = crate::schedule::backoff(bounds.0, bounds.1, after);
            self.until = Some(now + spread(wait, jitter));
        }
    }

    /// True while no call may be made, and for the first call afterwards.
    pub fn is_open(&self) -> bool {
        self.until.is_some()
    }
}

/// Between half and the whole of a wait, by `jitter` from 0 to 1.
pub fn spread(wait: Duration, jitter: f64) -> Duration {
    wait.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waits of so many calls that are wanted at once.
    fn times(bucket: &mut TokenBucket, start: Instant, calls: usize) -> Vec<f64> {
        let turns = (0..calls).map(|_| bucket.turn(start).as_secs_f64());
        turns.collect()
    }

    #[test]
    fn no_second_holds_more_calls_than_the_quota() {
        let start = Instant::now();
        for (api, quota) in [
            (Api::Batch, 100),
            (Api::List, 100),
            (Api::Secret, 10_000),
            (Api::Parameter, 40),
        ] {
            let mut bucket = TokenBucket::new(api, start);
            let times = times(&mut bucket, start, 5000);
            for (first, time) in times.iter().enumerate() {
                let within = times[first..]
                    .iter()
                    .take_while(|other| *other - time < 1.0);
                let count = within.count();
                assert!(count <= quota, "{api:?}: {count} calls in a second");
            }
        }
    }

    #[test]
    fn a_pause_gives_back_no_more_than_the_burst() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(Api::Batch, start);
        let waits = times(&mut bucket, start, 21);
        assert!(waits[..20].iter().all(|wait| *wait == 0.0) && waits[20] > 0.0);
        let later = start + Duration::from_secs(3600);
        let waits = times(&mut bucket, later, 21);
        assert!(waits[..20].iter().all(|wait| *wait == 0.0) && waits[20] > 0.0);
    }

    #[test]
    fn throttling_halves_the_rate_once_and_answers_raise_it() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(Api::Batch, start);
        for _ in 0..20 {
            bucket.throttled(start);
        }
        assert!((bucket.rate - 30.0).abs() < 1e-9, "{}", bucket.rate);
        for second in 1..50 {
            bucket.throttled(start + Duration::from_secs(second));
        }
        assert!(
            (bucket.rate - 1.2).abs() < 1e-9,
            "never nothing: {}",
            bucket.rate
        );
        for _ in 0..1000 {
            bucket.answered();
        }
        assert!((bucket.rate - 60.0).abs() < 1e-9, "{}", bucket.rate);
    }

    #[test]
    fn a_bucket_that_nothing_uses_is_dropped() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(Api::Batch, start);
        bucket.turn(start + Duration::from_secs(60));
        assert!(!bucket.is_idle(start + Duration::from_secs(3600)));
        assert!(bucket.is_idle(start + Duration::from_secs(3660)));
    }

    #[test]
    fn a_circuit_opens_after_failures_in_a_row_and_waits_longer_each_time() {
        let start = Instant::now();
        let mut circuit = Circuit::default();
        for _ in 0..4 {
            circuit.failed(start, 1.0);
        }
        assert_eq!(circuit.wait(start), None);
        circuit.failed(start, 1.0);
        assert_eq!(circuit.wait(start), Some(Duration::from_secs(1)));
        let later = start + Duration::from_secs(1);
        assert_eq!(circuit.wait(later), None, "one tries");
        circuit.failed(later, 1.0);
        assert_eq!(circuit.wait(later), Some(Duration::from_secs(2)));
        circuit.failed(later, 1.0);
        assert_eq!(
            circuit.wait(later),
            Some(Duration::from_secs(2)),
            "it counts once"
        );
        let later = later + Duration::from_secs(2);
        circuit.failed(later, 0.0);
        assert_eq!(
            circuit.wait(later),
            Some(Duration::from_secs(2)),
            "half of four"
        );
        circuit.succeeded();
        assert!(!circuit.is_open());
        circuit.failed(later, 1.0);
        assert_eq!(circuit.wait(later), None);
    }
}

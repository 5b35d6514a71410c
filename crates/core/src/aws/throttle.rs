//! Pure: how fast AWS is asked, and when it is left alone: a bucket per account, region and API; a circuit per store.

use std::time::{Duration, Instant};

/// The APIs that have quotas of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// `BatchGetSecretValue`: 100 calls a second.
    Batch,
    /// `ListSecrets`: 100.
    List,
    /// `GetSecretValue` and `DescribeSecret`: 10,000 together.
    Secret,
    /// Every read of Parameter Store: 40, unless the account pays for more.
    Parameter,
}

impl Api {
    /// Calls a second at most, and at once after a pause. Both together stay below the quota, and leave some of it to
    /// others in the account.
    fn limits(self) -> (f64, f64) {
        match self {
            Self::Batch => (60.0, 20.0),
            Self::List => (40.0, 10.0),
            Self::Secret => (2000.0, 200.0),
            Self::Parameter => (25.0, 10.0),
        }
    }
}

/// A token bucket that gets slower when AWS says so, and faster again while it does not.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    most: f64,
    burst: f64,
    /// Calls a second.
    rate: f64,
    /// Below one, somebody waits.
    tokens: f64,
    filled: Instant,
    /// When AWS said so last.
    slowed: Option<Instant>,
}

impl TokenBucket {
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

    /// Takes the next turn, and gives the wait until it.
    pub fn turn(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        self.filled = now;
        self.tokens -= 1.0;
        let missing = (-self.tokens).max(0.0);
        Duration::from_secs_f64(missing / self.rate)
    }

    /// AWS has answered.
    pub fn answered(&mut self) {
        self.rate = (self.rate + self.most / 100.0).min(self.most);
    }

    /// AWS says that it is asked too fast. What was on the way says it again, and counts once.
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

/// Leaves alone what fails again and again, and tries it with one call from time to time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Circuit {
    failures: u32,
    until: Option<Instant>,
}

impl Circuit {
    /// So many failures in a row open it.
    const PATIENCE: u32 = 5;

    /// How long nobody should ask; nothing if somebody may. Who comes after that wait tries for all.
    pub fn closed_for(&mut self, now: Instant) -> Option<Duration> {
        let wait = self.until?.checked_duration_since(now)?;
        (!wait.is_zero()).then_some(wait)
    }

    /// It works.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It does not. `chance`, from 0 to 1, spreads those who try again.
    pub fn failed(&mut self, now: Instant, chance: f64) {
        // What was on its way when it opened says nothing new.
        if self.until.is_some_and(|until| now < until) {
            return;
        }
        self.failures += 1;
        if let Some(after) = self.failures.checked_sub(Self::PATIENCE) {
            let bounds = (Duration::from_secs(1), Duration::from_secs(30));
            let wait = crate::schedule::backoff(bounds.0, bounds.1, after);
            self.until = Some(now + spread(wait, chance));
        }
    }

    /// True while it is left alone, or tried for the first time after that.
    pub fn is_open(&self) -> bool {
        self.until.is_some()
    }
}

/// Between half and the whole of a wait.
pub fn spread(wait: Duration, chance: f64) -> Duration {
    wait.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When so many calls, all wanted at once, are made.
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
    fn a_circuit_opens_after_failures_in_a_row_and_waits_longer_each_time() {
        let start = Instant::now();
        let mut circuit = Circuit::default();
        for _ in 0..4 {
            circuit.failed(start, 1.0);
        }
        assert_eq!(circuit.closed_for(start), None);
        circuit.failed(start, 1.0);
        assert_eq!(circuit.closed_for(start), Some(Duration::from_secs(1)));
        let later = start + Duration::from_secs(1);
        assert_eq!(circuit.closed_for(later), None, "one tries");
        circuit.failed(later, 1.0);
        assert_eq!(circuit.closed_for(later), Some(Duration::from_secs(2)));
        circuit.failed(later, 1.0);
        assert_eq!(
            circuit.closed_for(later),
            Some(Duration::from_secs(2)),
            "it counts once"
        );
        let later = later + Duration::from_secs(2);
        circuit.failed(later, 0.0);
        assert_eq!(
            circuit.closed_for(later),
            Some(Duration::from_secs(2)),
            "half of four"
        );
        circuit.succeeded();
        assert!(!circuit.is_open());
        circuit.failed(later, 1.0);
        assert_eq!(circuit.closed_for(later), None);
    }
}

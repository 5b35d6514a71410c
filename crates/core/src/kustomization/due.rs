//! Pure: what a reconcile does now, and when the object is due again.

use std::time::Duration;

use jiff::Timestamp;

use crate::cron_windows::Window;
use crate::kustomization::status::{ErrorClass, KustomizationOutcome};

/// Events since the last reconcile that ask for work although what the Kustomization asks for is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReconcileTriggers {
    /// It was blocked by `dependsOn`, and a dependency has changed since.
    pub is_unblocked: bool,
    /// Others have changed an object that it has applied, or a ConfigMap or Secret that it reads.
    pub is_drifted: bool,
    /// An object whose health it waits for has changed.
    pub is_health_changed: bool,
}

impl ReconcileTriggers {
    /// How long the object rests, or `None` if there is work. `rest` is what remains of the time that the last outcome
    /// holds; it is `None` if that is over, or if what the Kustomization asks for has changed. A wake-up without an
    /// event is an echo of our own status write.
    pub fn rest(self, rest: Option<Duration>) -> Option<Duration> {
        let has_event = self.is_unblocked || self.is_drifted || self.is_health_changed;
        rest.filter(|_| !has_event)
    }
}

/// What decides what a reconcile does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkInput {
    /// Whether the sync windows are open.
    pub window: Window,
    /// A rollout of the same revision and spec waits to be continued.
    pub has_rollout: bool,
    /// The revision changes nothing that was built, and the object is due again at this time.
    pub applied_until: Option<Timestamp>,
}

/// What a reconcile does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nothing, because the sync windows are closed for this time.
    HoldBack(Duration),
    /// Continue the rollout.
    ContinueRollout,
    /// Nothing is built: what is applied is what the revision would make.
    KeepApplied,
    /// Build, plan, and begin a rollout.
    Sync,
}

impl WorkInput {
    /// Decides what a reconcile does.
    pub fn decide(self) -> Work {
        match self {
            Self {
                window: Window::Closed(wait),
                ..
            } => Work::HoldBack(wait),
            Self {
                has_rollout: true, ..
            } => Work::ContinueRollout,
            Self {
                applied_until: Some(_),
                ..
            } => Work::KeepApplied,
            Self { .. } => Work::Sync,
        }
    }
}

/// The times that decide when an object is due again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequeueTimes {
    /// `spec.interval`
    pub interval: Duration,
    /// The interval, spread so that objects with the same interval are not all due at once.
    pub jittered_interval: Duration,
    /// `spec.retryInterval`
    pub retry_interval: Option<Duration>,
    /// How long a blocked object waits for its dependencies, should no event come.
    pub dependency_interval: Duration,
    /// Of a revision that changes nothing: when the object is due in any case.
    pub applied_until: Option<Timestamp>,
}

/// How long the object can be left alone after an outcome.
pub fn requeue_after(
    outcome: &KustomizationOutcome,
    times: &RequeueTimes,
    now: Timestamp,
) -> Duration {
    /// Objects that others change again and again are left to them for two minutes, and corrected after that.
    const AFTER_DRIFT: Duration = Duration::from_secs(121);
    /// Waits for the end of a closed window are at least this long.
    const LEAST: Duration = Duration::from_millis(100);
    /// An error that only a change of the spec mends is looked at again after this time.
    const AFTER_STALLED: Duration = Duration::from_secs(3600);
    match outcome {
        KustomizationOutcome::RollingOut { after, .. } => *after,
        KustomizationOutcome::HeldBack(wait) => (*wait).max(LEAST),
        KustomizationOutcome::Applied(applied) => match times.applied_until {
            Some(due) => due.duration_since(now).try_into().unwrap_or_default(),
            None if !applied.drifted.is_empty() => times.interval.min(AFTER_DRIFT),
            None => times.jittered_interval,
        },
        KustomizationOutcome::Reported(_) => times.jittered_interval,
        KustomizationOutcome::Failed(failure) => match failure.class {
            ErrorClass::Waiting => times.dependency_interval,
            ErrorClass::Permanent => AFTER_STALLED,
            ErrorClass::Transient => times.retry_interval.unwrap_or(times.interval),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kustomization::status::{AppliedRevision, SyncFailure};

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    #[test]
    fn an_echo_rests_and_every_event_ends_the_rest() {
        let check = |triggers: ReconcileTriggers, expected: Option<Duration>| {
            assert_eq!(triggers.rest(Some(MINUTE)), expected, "{triggers:?}");
            assert_eq!(triggers.rest(None), None, "the rest is over: {triggers:?}");
        };
        let none = ReconcileTriggers::default();
        check(none, Some(MINUTE));
        check(
            ReconcileTriggers {
                is_unblocked: true,
                ..none
            },
            None,
        );
        check(
            ReconcileTriggers {
                is_drifted: true,
                ..none
            },
            None,
        );
        check(
            ReconcileTriggers {
                is_health_changed: true,
                ..none
            },
            None,
        );
    }

    #[test]
    fn closed_windows_come_first_then_rollouts_then_what_is_applied_already() {
        let nothing = WorkInput {
            window: Window::Open,
            has_rollout: false,
            applied_until: None,
        };
        let check = |input: WorkInput, expected: Work| assert_eq!(input.decide(), expected);
        check(nothing, Work::Sync);
        let applied = WorkInput {
            applied_until: Some(at(60)),
            ..nothing
        };
        check(applied, Work::KeepApplied);
        let rollout = WorkInput {
            has_rollout: true,
            ..applied
        };
        check(rollout, Work::ContinueRollout);
        let closed = WorkInput {
            window: Window::Closed(MINUTE),
            ..rollout
        };
        check(closed, Work::HoldBack(MINUTE));
    }

    #[test]
    fn an_object_is_due_again_as_its_outcome_asks() {
        let times = RequeueTimes {
            interval: Duration::from_secs(600),
            jittered_interval: Duration::from_secs(610),
            retry_interval: None,
            dependency_interval: Duration::from_secs(30),
            applied_until: None,
        };
        let check = |outcome: &KustomizationOutcome, times: RequeueTimes, expected: f64| {
            let wait = requeue_after(outcome, &times, at(0)).as_secs_f64();
            assert!((wait - expected).abs() < 1e-9, "{outcome:?}: {wait}");
        };
        let applied = |drifted: &[&str]| {
            KustomizationOutcome::Applied(AppliedRevision {
                drifted: drifted.iter().map(|&text| text.to_owned()).collect(),
                ..AppliedRevision::default()
            })
        };
        let failed = |class| {
            KustomizationOutcome::Failed(SyncFailure {
                class,
                reason: "BuildFailed",
                message: String::new(),
                pending_deletions: 0,
            })
        };
        let rolling = KustomizationOutcome::RollingOut {
            message: String::new(),
            after: Duration::from_millis(500),
        };
        check(&rolling, times, 0.5);
        check(&KustomizationOutcome::HeldBack(MINUTE), times, 60.0);
        check(&KustomizationOutcome::HeldBack(Duration::ZERO), times, 0.1);
        check(&KustomizationOutcome::Reported(Vec::new()), times, 610.0);
        check(&applied(&[]), times, 610.0);
        check(&applied(&["x"]), times, 121.0);
        let skipped = RequeueTimes {
            applied_until: Some(at(45)),
            ..times
        };
        check(&applied(&[]), skipped, 45.0);
        let late = RequeueTimes {
            applied_until: Some(at(-1)),
            ..times
        };
        check(&applied(&[]), late, 0.0);
        check(&failed(ErrorClass::Waiting), times, 30.0);
        check(&failed(ErrorClass::Permanent), times, 3600.0);
        check(&failed(ErrorClass::Transient), times, 600.0);
        let retry = RequeueTimes {
            retry_interval: Some(MINUTE),
            ..times
        };
        check(&failed(ErrorClass::Transient), retry, 60.0);
    }
}

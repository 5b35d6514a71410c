//! Pure: makes conditions of outcomes: those of Flux's kinds, and the condition of External Secrets' kinds.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::secret_store::StatusCondition;

/// A longer message is cut, because the API server refuses conditions with more than 32,768 characters.
const MAX_MESSAGE: usize = 32_000;

/// The content of a condition, without times and generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionState<'s> {
    /// Such as `Ready`.
    pub type_: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// One word in camel case.
    pub reason: &'s str,
    /// For people.
    pub message: &'s str,
}

/// The progress of a reconcile, for the conditions `Ready`, `Reconciling` and `Stalled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Done, until something changes or the interval ends.
    Ready,
    /// Applied, and not healthy yet.
    Waiting,
    /// The cluster differs from what is wanted, and nothing is changed because only a report is asked for.
    Reported,
    /// Failed; will be tried again.
    Retrying,
    /// Failed; only a change of the spec can help.
    Stalled,
}

/// The conditions of a Flux kind, as kstatus reads them: never `Ready` and `Reconciling` at once. Conditions of `old` with
/// the same type and status keep their transition time.
pub fn flux_conditions(
    old: &[Condition],
    generation: i64,
    progress: Progress,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let ready = |status| ConditionState {
        type_: "Ready",
        status,
        reason,
        message,
    };
    let reconciling = |reason| ConditionState {
        type_: "Reconciling",
        status: "True",
        reason,
        message,
    };
    let states = match progress {
        Progress::Ready => vec![ready("True")],
        Progress::Reported => vec![ready("False")],
        Progress::Waiting => vec![reconciling("Progressing"), ready("Unknown")],
        Progress::Retrying => vec![reconciling("ProgressingWithRetry"), ready("False")],
        Progress::Stalled => vec![
            ConditionState {
                type_: "Stalled",
                status: "True",
                reason,
                message,
            },
            ready("False"),
        ],
    };
    states
        .iter()
        .map(|state| flux_condition(old, generation, state, now))
        .collect()
}

/// A message that the API server takes.
fn cut(message: &str) -> String {
    let mut letters = message.chars();
    let mut cut: String = letters.by_ref().take(MAX_MESSAGE).collect();
    if letters.next().is_some() {
        cut.push('…');
    }
    cut
}

/// A condition of a Flux kind; its transition time moves only with its status.
pub fn flux_condition(
    old: &[Condition],
    generation: i64,
    state: &ConditionState<'_>,
    now: Timestamp,
) -> Condition {
    let before = old
        .iter()
        .find(|condition| condition.type_ == state.type_ && condition.status == state.status);
    Condition {
        type_: state.type_.to_owned(),
        status: state.status.to_owned(),
        reason: state.reason.to_owned(),
        message: cut(state.message),
        observed_generation: Some(generation),
        last_transition_time: before
            .map_or_else(|| Time(now), |before| before.last_transition_time.clone()),
    }
}

/// The condition of an External Secrets kind; its transition time moves only with its status.
pub fn secrets_condition(
    old: &[StatusCondition],
    state: &ConditionState<'_>,
    now: Timestamp,
) -> StatusCondition {
    let before = old
        .iter()
        .find(|condition| condition.type_ == state.type_ && condition.status == state.status);
    StatusCondition {
        type_: state.type_.to_owned(),
        status: state.status.to_owned(),
        reason: Some(state.reason.to_owned()),
        message: Some(state.message.chars().take(MAX_MESSAGE).collect()),
        last_transition_time: before
            .and_then(|before| before.last_transition_time.clone())
            .or(Some(Time(now))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_with_the_status_alone() {
        let (first, second): (Timestamp, Timestamp) = (
            "2026-01-01T00:00:00Z".parse().unwrap(),
            "2026-01-02T00:00:00Z".parse().unwrap(),
        );
        let ready = flux_conditions(&[], 1, Progress::Ready, "A", "one", first);
        let still = flux_conditions(&ready, 2, Progress::Ready, "B", "two", second);
        assert_eq!(still[0].last_transition_time, Time(first));
        let failed = flux_conditions(&still, 2, Progress::Retrying, "C", "three", second);
        let names: Vec<_> = failed
            .iter()
            .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("Reconciling", "True", "ProgressingWithRetry"),
                ("Ready", "False", "C")
            ]
        );
        assert_eq!(failed[1].last_transition_time, Time(second));
    }
}

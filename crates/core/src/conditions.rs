//! Pure: conditions out of outcomes. One function per dialect: Flux's, and External Secrets'.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::secret_store::StatusCondition;

/// A message longer than this is cut: the API server takes no more in a condition.
const MAX_MESSAGE: usize = 32_000;

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Says<'s> {
    pub type_: &'static str,
    pub status: &'static str,
    pub reason: &'s str,
    pub message: &'s str,
}

/// Where a reconcile stands, for the conditions `Ready`, `Reconciling` and `Stalled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Done, until something changes or the interval ends.
    Ready,
    /// Applied; waits to be healthy.
    Waiting,
    /// Not as it is wanted, and to be left so.
    Reported,
    /// Failed; will be tried again.
    Retrying,
    /// Failed; only a change of the spec can help.
    Stalled,
}

/// The conditions of a Flux kind, as kstatus wants them: never Ready and Reconciling at once.
pub fn flux_conditions(
    old: &[Condition],
    generation: i64,
    progress: Progress,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let message: String = message.chars().take(MAX_MESSAGE).collect();
    let message = message.as_str();
    let ready = |status| Says {
        type_: "Ready",
        status,
        reason,
        message,
    };
    let reconciling = |reason| Says {
        type_: "Reconciling",
        status: "True",
        reason,
        message,
    };
    let says = match progress {
        Progress::Ready => vec![ready("True")],
        Progress::Reported => vec![ready("False")],
        Progress::Waiting => vec![reconciling("Progressing"), ready("Unknown")],
        Progress::Retrying => vec![reconciling("ProgressingWithRetry"), ready("False")],
        Progress::Stalled => vec![
            Says {
                type_: "Stalled",
                status: "True",
                reason,
                message,
            },
            ready("False"),
        ],
    };
    says.iter()
        .map(|says| flux_condition(old, generation, says, now))
        .collect()
}

/// One condition; its transition time moves only with its status.
pub fn flux_condition(
    old: &[Condition],
    generation: i64,
    says: &Says<'_>,
    now: Timestamp,
) -> Condition {
    let before = old
        .iter()
        .find(|condition| condition.type_ == says.type_ && condition.status == says.status);
    Condition {
        type_: says.type_.to_owned(),
        status: says.status.to_owned(),
        reason: says.reason.to_owned(),
        message: says.message.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: before
            .map_or_else(|| Time(now), |before| before.last_transition_time.clone()),
    }
}

/// The one condition of an External Secrets kind.
pub fn secrets_condition(
    old: &[StatusCondition],
    says: &Says<'_>,
    now: Timestamp,
) -> StatusCondition {
    let before = old
        .iter()
        .find(|condition| condition.type_ == says.type_ && condition.status == says.status);
    StatusCondition {
        type_: says.type_.to_owned(),
        status: says.status.to_owned(),
        reason: Some(says.reason.to_owned()),
        message: Some(says.message.chars().take(MAX_MESSAGE).collect()),
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

//! Pure: the validation of a store: how often, with which result, and what its status says of it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::secret_store::{Capabilities, SecretStoreSpec, SecretStoreStatus};
use crate::conditions::{ConditionState, secrets_condition};
use crate::schedule::parse_duration;
use crate::secrets::provider_error::{ProviderError, StoreError};

/// What a provider says of a store that it could try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// The store works.
    Ready,
    /// The store may or may not work.
    Unknown,
}

/// Why a store is not valid. The texts begin with the words of External Secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreValidationError {
    /// The spec does not make a provider.
    #[error("unable to create client: {0}")]
    Client(StoreError),
    /// The provider refuses.
    #[error("unable to validate store: {0}")]
    Provider(ProviderError),
    /// The interval of validations is no duration.
    #[error("unable to validate store: {0}")]
    Interval(StoreIntervalError),
}

/// `spec.refreshInterval` of a store cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`spec.refreshInterval: {0}` is neither seconds nor a duration such as 5m")]
pub struct StoreIntervalError(String);

/// How often a store is validated: its `refreshInterval`, or the default where that is absent, empty or zero.
///
/// # Errors
/// The interval is neither a number of seconds nor a duration as Go writes it.
pub fn validation_interval(
    spec: &SecretStoreSpec,
    default: Duration,
) -> Result<Duration, StoreIntervalError> {
    let invalid = |text: &str| StoreIntervalError(text.to_owned());
    let interval = match &spec.refresh_interval {
        None => return Ok(default),
        Some(IntOrString::Int(seconds)) => {
            let seconds = u64::try_from(*seconds).map_err(|_| invalid(&seconds.to_string()))?;
            Duration::from_secs(seconds)
        }
        Some(IntOrString::String(text)) if text.is_empty() => return Ok(default),
        Some(IntOrString::String(text)) => parse_duration(text).ok_or_else(|| invalid(text))?,
    };
    Ok(if interval.is_zero() {
        default
    } else {
        interval
    })
}

/// What the `Ready` condition and the event of a validation say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationReport {
    /// `True` or `False`.
    pub status: &'static str,
    /// The condition's reason, in the words of External Secrets.
    pub reason: &'static str,
    /// The condition's message.
    pub message: String,
}

impl ValidationReport {
    /// The report of a validation.
    pub fn new(validated: Result<Validation, &StoreValidationError>) -> Self {
        let (status, reason, message) = match validated {
            Ok(Validation::Ready) => ("True", "Valid", "store validated".to_owned()),
            Ok(Validation::Unknown) => (
                "True",
                "ValidationUnknown",
                "could not determine validation status".to_owned(),
            ),
            Err(error) => ("False", "InvalidProviderConfig", error.to_string()),
        };
        Self {
            status,
            reason,
            message,
        }
    }

    /// True if the event of this report is a normal one; a warning otherwise.
    pub fn is_normal(&self) -> bool {
        self.reason == "Valid"
    }

    /// True if the status does not say the same yet, so that an event is due.
    pub fn is_news(&self, old: &SecretStoreStatus) -> bool {
        !old.conditions.iter().any(|condition| {
            condition.type_ == "Ready"
                && condition.status == self.status
                && condition.message.as_deref() == Some(&self.message)
        })
    }

    /// The status after the validation. `queue` is the condition about rotation events, if the store has a queue. Without
    /// capabilities, those that were known before stay.
    pub fn next_status(
        &self,
        old: &SecretStoreStatus,
        capabilities: Option<Capabilities>,
        queue: Option<&ConditionState<'_>>,
        now: Timestamp,
    ) -> SecretStoreStatus {
        let ready = ConditionState {
            type_: "Ready",
            status: self.status,
            reason: self.reason,
            message: &self.message,
        };
        let says = [Some(&ready), queue].into_iter().flatten();
        SecretStoreStatus {
            conditions: says
                .map(|says| secrets_condition(&old.conditions, says, now))
                .collect(),
            capabilities: capabilities.or(old.capabilities),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_interval_is_seconds_or_a_duration() {
        let check = |interval: Value, expected: &str| {
            let spec = json!({"provider": {}, "refreshInterval": interval});
            let spec: SecretStoreSpec = serde_json::from_value(spec).unwrap();
            let text = match validation_interval(&spec, Duration::from_secs(300)) {
                Ok(interval) => format!("{} s", interval.as_secs()),
                Err(error) => error.to_string(),
            };
            assert_eq!(text, expected, "{interval}");
        };
        check(Value::Null, "300 s");
        check(json!(""), "300 s");
        check(json!(0), "300 s");
        check(json!("0s"), "300 s");
        check(json!(60), "60 s");
        check(json!("1m30s"), "90 s");
        check(
            json!(-1),
            "`spec.refreshInterval: -1` is neither seconds nor a duration such as 5m",
        );
        check(
            json!("soon"),
            "`spec.refreshInterval: soon` is neither seconds nor a duration such as 5m",
        );
    }

    #[test]
    fn the_status_says_what_the_validation_found() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check = |validated: Result<Validation, StoreValidationError>, expected: &str| {
            let report = ValidationReport::new(validated.as_ref().map(|valid| *valid));
            let old = SecretStoreStatus::default();
            assert!(report.is_news(&old));
            let status = report.next_status(&old, None, None, now);
            assert!(!report.is_news(&status), "said once");
            let ValidationReport {
                status,
                reason,
                message,
            } = &report;
            let kind = if report.is_normal() {
                "Normal"
            } else {
                "Warning"
            };
            assert_eq!(format!("{kind} {status} {reason}: {message}"), expected);
        };
        check(Ok(Validation::Ready), "Normal True Valid: store validated");
        check(
            Ok(Validation::Unknown),
            "Warning True ValidationUnknown: could not determine validation status",
        );
        check(
            Err(StoreValidationError::Client(StoreError::FakeData(2))),
            "Warning False InvalidProviderConfig: unable to create client: `provider.fake.data[2]` needs a key and a value",
        );
        check(
            Err(StoreValidationError::Provider(ProviderError::Credentials(
                "none".into(),
            ))),
            "Warning False InvalidProviderConfig: unable to validate store: no credentials: none",
        );
        check(
            Err(StoreValidationError::Interval(StoreIntervalError(
                "soon".into(),
            ))),
            "Warning False InvalidProviderConfig: unable to validate store: `spec.refreshInterval: soon` is neither seconds nor a duration such as 5m",
        );
    }

    #[test]
    fn a_failed_validation_keeps_the_capabilities_and_a_queue_has_its_own_condition() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let report = ValidationReport::new(Ok(Validation::Ready));
        let queue = ConditionState {
            type_: "RotationEvents",
            status: "True",
            reason: "Listening",
            message: "m",
        };
        let capabilities = Some(Capabilities::ReadWrite);
        let old = SecretStoreStatus::default();
        let first = report.next_status(&old, capabilities, Some(&queue), now);
        let types = first
            .conditions
            .iter()
            .map(|condition| condition.type_.as_str());
        assert_eq!(types.collect::<Vec<_>>(), ["Ready", "RotationEvents"]);
        let failure = StoreValidationError::Provider(ProviderError::Credentials("none".into()));
        let failed = ValidationReport::new(Err(&failure)).next_status(&first, None, None, now);
        assert_eq!(failed.capabilities, capabilities);
        assert_eq!(failed.conditions.len(), 1);
    }
}

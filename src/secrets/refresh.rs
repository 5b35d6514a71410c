//! Pure: is a refresh due, and when is the next one?

use std::time::Duration;

use jiff::Timestamp;

use crate::api::external_secret::{ExternalSecretSpec, ExternalSecretStatus, RefreshPolicy};
use crate::schedule::parse_duration;

/// What the clock and the status say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Read the values now.
    Now,
    /// Not before this wait is over.
    In(Duration),
    /// Never again, unless something else changes.
    Never,
}

/// The interval between refreshes; zero means once.
pub(crate) fn interval(spec: &ExternalSecretSpec) -> Option<Duration> {
    parse_duration(&spec.refresh_interval)
}

/// Decides by policy, interval, the version that was synced, and the time.
pub(crate) fn due(
    spec: &ExternalSecretSpec,
    status: &ExternalSecretStatus,
    version: &str,
    now: Timestamp,
) -> Due {
    let synced = status
        .synced_resource_version
        .as_deref()
        .filter(|version| !version.is_empty());
    let refreshed = status.refresh_time.as_ref().map(|time| time.0);
    let (Some(synced), Some(refreshed)) = (synced, refreshed) else {
        return Due::Now;
    };
    match spec.refresh_policy.unwrap_or(RefreshPolicy::Periodic) {
        RefreshPolicy::CreatedOnce => Due::Never,
        RefreshPolicy::OnChange if synced == version => Due::Never,
        RefreshPolicy::OnChange => Due::Now,
        RefreshPolicy::Periodic => {
            let interval = interval(spec).unwrap_or_default();
            if interval.is_zero() {
                return Due::Never;
            }
            if synced != version || refreshed > now {
                return Due::Now;
            }
            let passed = Duration::try_from(now.duration_since(refreshed)).unwrap_or_default();
            match interval.checked_sub(passed) {
                Some(rest) if !rest.is_zero() => Due::In(rest),
                _ => Due::Now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn policies_by_time_and_version() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let refreshed: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check =
            |policy: Option<RefreshPolicy>, interval: &str, synced: Option<&str>, expected: Due| {
                let spec = ExternalSecretSpec {
                    refresh_policy: policy,
                    refresh_interval: interval.into(),
                    ..ExternalSecretSpec::default()
                };
                let status = ExternalSecretStatus {
                    synced_resource_version: synced.map(str::to_owned),
                    refresh_time: synced.map(|_| Time(refreshed)),
                    ..ExternalSecretStatus::default()
                };
                assert_eq!(
                    due(&spec, &status, "1-a", now),
                    expected,
                    "{policy:?} {interval} {synced:?}"
                );
            };
        use RefreshPolicy::{CreatedOnce, OnChange, Periodic};
        check(None, "1h", None, Due::Now);
        check(None, "1h", Some("1-a"), Due::In(Duration::from_secs(3000)));
        check(Some(Periodic), "10m", Some("1-a"), Due::Now);
        check(None, "1h", Some("1-b"), Due::Now);
        // Documented: an interval of zero ignores later changes of the spec.
        check(None, "0", Some("1-b"), Due::Never);
        check(Some(CreatedOnce), "1m", Some("1-b"), Due::Never);
        check(Some(OnChange), "1m", Some("1-a"), Due::Never);
        check(Some(OnChange), "1m", Some("1-b"), Due::Now);
    }
}

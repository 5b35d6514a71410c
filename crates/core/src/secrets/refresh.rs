//! Pure: decides whether a refresh is due, and when the next one is.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::external_secret::{ExternalSecretSpec, ExternalSecretStatus, RefreshPolicy};
use crate::cron_windows::Window;
use crate::schedule::{LEAST_INTERVAL, parse_duration};
use crate::secrets::owner::is_controlled_by;
use crate::secrets::sync_windows::window;

/// When the values are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Read the values now.
    Now,
    /// Read the values after this wait.
    In(Duration),
    /// Never again, unless something else changes.
    Never,
}

/// What has changed since the last refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// An object that holds templates has changed, which counts as a change of the spec.
    pub sources: bool,
    /// A value in a store has changed.
    pub values: bool,
}

/// The interval between refreshes; zero and negative ones mean once. `None` if it is no duration.
pub fn interval(spec: &ExternalSecretSpec) -> Option<Duration> {
    match spec.refresh_interval.strip_prefix('-') {
        Some(text) => parse_duration(text).map(|_| Duration::ZERO),
        None => parse_duration(&spec.refresh_interval).map(|interval| match interval {
            Duration::ZERO => Duration::ZERO,
            interval => interval.max(LEAST_INTERVAL),
        }),
    }
}

/// How often values are read again. `None` if they are read once, or only when the spec changes.
pub fn periodic_interval(spec: &ExternalSecretSpec) -> Option<Duration> {
    let is_periodic = spec
        .refresh_policy
        .is_none_or(|policy| policy == RefreshPolicy::Periodic);
    let interval = interval(spec).filter(|interval| !interval.is_zero());
    interval.filter(|_| is_periodic)
}

/// How often watched values are polled. `None` if the interval alone does not decide when they are read.
pub fn watch_interval(spec: &ExternalSecretSpec) -> Option<Duration> {
    // Sync windows decide when values are read.
    periodic_interval(spec).filter(|_| spec.sync_windows.is_none())
}

/// Decides by policy, interval, the version that was synced, what has changed, and the time.
pub fn due(
    spec: &ExternalSecretSpec,
    status: &ExternalSecretStatus,
    version: &str,
    changes: Changes,
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
        RefreshPolicy::OnChange if synced == version && !changes.sources => Due::Never,
        RefreshPolicy::OnChange => Due::Now,
        RefreshPolicy::Periodic => {
            let interval = interval(spec).unwrap_or_default();
            if interval.is_zero() {
                return Due::Never;
            }
            if synced != version || changes.sources || refreshed > now {
                return Due::Now;
            }
            let passed = Duration::try_from(now.duration_since(refreshed)).unwrap_or_default();
            match interval.checked_sub(passed) {
                Some(rest) if !rest.is_zero() && !changes.values => Due::In(rest),
                // Sync windows bound periodic refreshes, not those that a change asks for.
                _ => match spec
                    .sync_windows
                    .as_ref()
                    .map(|windows| window(windows, now))
                {
                    Some(Window::Closed(wait)) => Due::In(wait),
                    Some(Window::Open) | None => Due::Now,
                },
            }
        }
    }
}

/// True if the Secret already holds the values that were generated for the refresh that is due now: the process ended
/// between the write of the Secret and that of the status. Times are those of the API server, to the second.
pub fn is_generated(
    object: &ObjectMeta,
    status: &ExternalSecretStatus,
    secret: &ObjectMeta,
    manager: &str,
) -> bool {
    /// A status is written within this time after its Secret.
    const MARGIN: Duration = Duration::from_secs(2);
    let entries = secret.managed_fields.iter().flatten();
    let entries = entries.filter(|entry| entry.manager.as_deref() == Some(manager));
    let written = entries
        .filter_map(|entry| Some(entry.time.as_ref()?.0))
        .max();
    let fields = object.managed_fields.iter().flatten();
    let fields = fields.filter(|entry| entry.subresource.is_none());
    let changed = fields
        .filter_map(|entry| Some(entry.time.as_ref()?.0))
        .max();
    let owner = object.uid.as_deref().unwrap_or_default();
    let Some(written) = written.filter(|_| is_controlled_by(secret, owner)) else {
        return false;
    };
    match &status.refresh_time {
        None => changed.is_none_or(|changed| changed <= written),
        Some(refreshed) => {
            refreshed.0 + MARGIN < written && changed.is_none_or(|changed| changed < written)
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    const SOURCES: Changes = Changes {
        sources: true,
        values: false,
    };

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
                    due(&spec, &status, "1-a", Changes::default(), now),
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
        let stale = |policy, synced: &str| {
            let spec = ExternalSecretSpec {
                refresh_policy: Some(policy),
                refresh_interval: "1h".into(),
                ..ExternalSecretSpec::default()
            };
            let status = ExternalSecretStatus {
                synced_resource_version: Some(synced.to_owned()),
                refresh_time: Some(Time(refreshed)),
                ..ExternalSecretStatus::default()
            };
            due(&spec, &status, "1-a", SOURCES, now)
        };
        assert_eq!(stale(Periodic, "1-a"), Due::Now);
        assert_eq!(stale(OnChange, "1-a"), Due::Now);
        assert_eq!(stale(CreatedOnce, "1-a"), Due::Never);
    }

    #[test]
    fn what_was_generated_before_a_crash_is_known() {
        let at = |time: &str| format!("2026-01-01T00:{time}Z");
        let check = |refreshed: Option<&str>, changed: &str, written: &str, expected: bool| {
            let object: ObjectMeta = serde_json::from_value(serde_json::json!({
                "uid": "u", "managedFields": [
                    {"manager": "kubectl", "time": at(changed)},
                    {"manager": "overlayd-status", "subresource": "status", "time": at("59:59")},
                ],
            }))
            .unwrap();
            let secret: ObjectMeta = serde_json::from_value(serde_json::json!({
                "managedFields": [{"manager": "m", "time": at(written)}],
                "ownerReferences": [{"uid": "u", "controller": true, "apiVersion": "a", "kind": "k", "name": "n"}],
            }))
            .unwrap();
            let status = ExternalSecretStatus {
                refresh_time: refreshed.map(|time| Time(at(time).parse().unwrap())),
                ..ExternalSecretStatus::default()
            };
            let known = is_generated(&object, &status, &secret, "m");
            assert_eq!(known, expected, "{refreshed:?} {changed} {written}");
            assert!(!is_generated(&object, &status, &secret, "another"));
        };
        check(None, "00:10", "00:10", true);
        check(None, "00:11", "00:10", false);
        check(Some("00:10"), "00:05", "00:11", false);
        check(Some("00:10"), "00:05", "10:00", true);
        check(Some("00:10"), "10:00", "10:00", false);
    }
}

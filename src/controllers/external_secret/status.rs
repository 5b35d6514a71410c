//! What is said of a sync: the condition, the events, and when the status is worth a write.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;

use crate::cluster::secret_writer::SecretWriteResult;
use crate::controllers::Context;
use crate::controllers::events::Component;
use crate::controllers::external_secret::sync::{SecretSyncError, SyncOutcome};
use overlayd_core::api::external_secret::{
    Binding, CreationPolicy, ExternalSecret, ExternalSecretStatus,
};
use overlayd_core::conditions::{Says, secrets_condition};

/// What a retained Secret is said with, in the words of External Secrets.
const RETAINED: &str = "secret retained due to DeletionPolicy=Retain";

/// True if the condition Ready holds.
pub(super) fn is_ready(status: &ExternalSecretStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// True if the condition Ready has this reason.
pub(super) fn has_reason(status: &ExternalSecretStatus, reason: &str) -> bool {
    let mut conditions = status.conditions.iter();
    conditions
        .any(|condition| condition.type_ == "Ready" && condition.reason.as_deref() == Some(reason))
}

/// True if the stores had no values, and there was no Secret to retain.
pub(super) fn is_retained_without(status: &ExternalSecretStatus) -> bool {
    let mut conditions = status.conditions.iter();
    let message = |message: &String| message.starts_with(RETAINED);
    status.binding.name.is_empty()
        && conditions.any(|condition| condition.message.as_ref().is_some_and(message))
}

/// The condition's reason and message.
fn says(result: &Result<SyncOutcome, SecretSyncError>) -> (bool, &'static str, String) {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            let message = format!("{}: {error}", error.summary());
            return (false, "SecretSyncedError", message);
        }
    };
    let (reason, message) = match outcome.written {
        SecretWriteResult::Created | SecretWriteResult::Updated | SecretWriteResult::Nothing => {
            ("SecretSynced", "secret synced")
        }
        SecretWriteResult::Absent => (
            "SecretMissing",
            "secret will not be created due to CreationPolicy=Merge",
        ),
        SecretWriteResult::Deleted => (
            "SecretDeleted",
            "secret deleted due to DeletionPolicy=Delete",
        ),
        SecretWriteResult::Retained => ("SecretSynced", RETAINED),
    };
    let hint = match outcome.written {
        SecretWriteResult::Retained => ": the stores have no values for it",
        _ if outcome.is_frozen => {
            "; target.immutable keeps its old values until the Secret is deleted"
        }
        _ => "",
    };
    (true, reason, format!("{message}{hint}"))
}

/// The status after a sync. Where nothing but the time has changed, the time moves once per heartbeat.
pub(super) fn next(
    object: &ExternalSecret,
    old: &ExternalSecretStatus,
    result: &Result<SyncOutcome, SecretSyncError>,
    target: &str,
    version: &str,
    now: Timestamp,
    heartbeat: Option<Duration>,
) -> ExternalSecretStatus {
    let (ok, reason, message) = says(result);
    let says = Says {
        type_: "Ready",
        status: if ok { "True" } else { "False" },
        reason,
        message: &message,
    };
    let condition = secrets_condition(&old.conditions, &says, now);
    let mut new = ExternalSecretStatus {
        conditions: vec![condition],
        ..old.clone()
    };
    let Ok(outcome) = result else {
        return new;
    };
    // Where nothing was written, nothing is bound.
    let bound = object.spec.target.creation_policy != CreationPolicy::None;
    match outcome.written {
        SecretWriteResult::Created | SecretWriteResult::Updated | SecretWriteResult::Nothing
            if bound =>
        {
            target.clone_into(&mut new.binding.name);
        }
        SecretWriteResult::Deleted => new.binding = Binding::default(),
        _ => {}
    }
    new.synced_resource_version = Some(version.to_owned());
    let beat = is_beat(old, heartbeat, outcome.finished);
    let wrote = matches!(
        outcome.written,
        SecretWriteResult::Created | SecretWriteResult::Updated
    );
    if beat || wrote || outcome.is_generated || new != *old {
        // Cut, not rounded: a time to come would be due at once.
        let finished = Timestamp::from_second(outcome.finished.as_second());
        new.refresh_time = Some(Time(finished.unwrap_or(outcome.finished)));
    }
    new
}

/// True if it is time to write the time.
pub(super) fn is_beat(
    written: &ExternalSecretStatus,
    heartbeat: Option<Duration>,
    now: Timestamp,
) -> bool {
    written.refresh_time.as_ref().is_none_or(|time| {
        let passed = Duration::try_from(now.duration_since(time.0)).unwrap_or_default();
        heartbeat.is_some_and(|heartbeat| passed >= heartbeat)
    })
}

/// Writes the events of a sync.
pub(super) async fn announce(
    context: &Context,
    object: &ExternalSecret,
    result: &Result<SyncOutcome, SecretSyncError>,
) {
    let publish = async |type_, reason: &str, note: &str| {
        context
            .events
            .publish(Component::ExternalSecrets, object, type_, reason, note)
            .await;
    };
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            let note = error.to_string();
            tracing::warn!(external_secret = %name, %namespace, error = note, "not synced");
            return publish(EventType::Warning, "UpdateFailed", &note).await;
        }
    };
    // Said when it is news: when the Secret changes with it.
    let changed = !matches!(outcome.written, SecretWriteResult::Nothing);
    for key in outcome.missing.iter().filter(|_| changed) {
        let note = format!("secret `{key}` does not exist in its store and is left out");
        publish(EventType::Normal, "MissingProviderSecret", &note).await;
    }
    for orphan in &outcome.orphans {
        let note = format!("secret {orphan} deleted: the target has another name now");
        publish(EventType::Normal, "Deleted", &note).await;
    }
    let (reason, note) = match outcome.written {
        SecretWriteResult::Nothing | SecretWriteResult::Absent | SecretWriteResult::Retained => {
            return;
        }
        SecretWriteResult::Deleted if !outcome.was_deleted => return,
        SecretWriteResult::Created => ("Created", "secret created"),
        SecretWriteResult::Updated => ("Updated", "secret updated"),
        SecretWriteResult::Deleted => ("Deleted", "secret deleted due to DeletionPolicy=Delete"),
    };
    tracing::info!(external_secret = %name, %namespace, reason, "synced");
    publish(EventType::Normal, reason, note).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(written: SecretWriteResult, finished: &str) -> SyncOutcome {
        SyncOutcome {
            written,
            missing: Vec::new(),
            orphans: Vec::new(),
            is_frozen: false,
            was_deleted: false,
            is_generated: false,
            rendered: [0; 32],
            secret_version: String::new(),
            finished: finished.parse().unwrap(),
            reading: None,
        }
    }

    #[test]
    fn the_time_moves_when_something_changes_or_once_per_heartbeat() {
        let object = ExternalSecret::new(
            "db",
            overlayd_core::api::external_secret::ExternalSecretSpec::default(),
        );
        let next = |old: &ExternalSecretStatus, written, version: &str, finished: &str| {
            let result = Ok(outcome(written, finished));
            let now = finished.parse().unwrap();
            super::next(
                &object,
                old,
                &result,
                "db",
                version,
                now,
                Some(Duration::from_secs(600)),
            )
        };
        let time =
            |status: &ExternalSecretStatus| status.refresh_time.as_ref().unwrap().0.to_string();
        let first = next(
            &ExternalSecretStatus::default(),
            SecretWriteResult::Created,
            "1-a",
            "2026-01-01T00:00:00.9Z",
        );
        assert_eq!(time(&first), "2026-01-01T00:00:00Z", "never in the future");
        assert_eq!(first.binding.name, "db");
        let same = next(
            &first,
            SecretWriteResult::Nothing,
            "1-a",
            "2026-01-01T00:05:00Z",
        );
        assert_eq!(same, first);
        let beat = next(
            &first,
            SecretWriteResult::Nothing,
            "1-a",
            "2026-01-01T00:10:01Z",
        );
        assert_eq!(time(&beat), "2026-01-01T00:10:01Z");
        let changed = next(
            &first,
            SecretWriteResult::Nothing,
            "2-a",
            "2026-01-01T00:05:00Z",
        );
        assert_eq!(time(&changed), "2026-01-01T00:05:00Z");
        let written = next(
            &first,
            SecretWriteResult::Updated,
            "1-a",
            "2026-01-01T00:05:00Z",
        );
        assert_eq!(time(&written), "2026-01-01T00:05:00Z");
        let deleted = next(
            &first,
            SecretWriteResult::Deleted,
            "1-a",
            "2026-01-01T00:05:00Z",
        );
        assert!(deleted.binding.name.is_empty());
        assert!(has_reason(&deleted, "SecretDeleted"));
    }
}

//! Pure: what the status and the events of an ExternalSecret say of a sync, and when a status is worth a write.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::external_secret::{Binding, CreationPolicy, ExternalSecretStatus};
use crate::conditions::{ConditionState, secrets_condition};
use crate::secrets::contention::{Contention, RepairHistory};
use crate::secrets::hash::RenderedHash;

/// The message of a Secret that was retained, in the words of External Secrets.
const RETAINED: &str = "secret retained due to DeletionPolicy=Retain";

/// What a write to the cluster did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretWriteResult {
    /// The Secret did not exist.
    Created,
    /// The Secret has changed.
    Updated,
    /// The Secret was as it should be.
    Nothing,
    /// The Secret does not exist, and the creation policy does not let this ExternalSecret create it.
    Absent,
    /// The stores have no values, and the Secret does not exist (any more).
    Deleted,
    /// The stores have no values, and the Secret stays.
    Retained,
}

/// Why a sync was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncCause {
    /// A refresh is due, or the last sync has failed.
    Refresh,
    /// Another writer has changed the Secret, and no refresh is due.
    Repair,
    /// The Secret is created once, and a former ExternalSecret of this name has created it: it is kept.
    Takeover,
}

/// What came of a sync that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncOutcome {
    /// What was done to the Secret.
    pub written: SecretWriteResult,
    /// Keys that the stores do not have, and that the deletion policy lets them miss.
    pub missing: Vec<String>,
    /// Secrets of a former target that were deleted.
    pub orphans: Vec<String>,
    /// True if `target.immutable` kept old values that differ from those of the stores.
    pub is_frozen: bool,
    /// True if a Secret existed and was deleted.
    pub was_deleted: bool,
    /// True if a generator made values.
    pub is_generated: bool,
    /// Why the Secret was looked at.
    pub cause: SyncCause,
    /// The field managers of the Secret's data besides our own.
    pub other_writers: Vec<String>,
    /// Set if another writer changes the Secret again and again.
    pub contention: Option<Contention>,
    /// The hash of the rendered Secret. `None` if nothing was rendered.
    pub rendered: Option<RenderedHash>,
    /// The resource version of the Secret; empty if there is none.
    pub secret_version: String,
    /// When the sync finished.
    pub finished: Timestamp,
}

impl SyncOutcome {
    /// An outcome that has done nothing yet.
    pub fn new(is_generated: bool, now: Timestamp) -> Self {
        Self {
            written: SecretWriteResult::Nothing,
            missing: Vec::new(),
            orphans: Vec::new(),
            is_frozen: false,
            was_deleted: false,
            is_generated,
            cause: SyncCause::Refresh,
            other_writers: Vec::new(),
            contention: None,
            rendered: None,
            secret_version: String::new(),
            finished: now,
        }
    }

    /// Notes that another writer changes the Secret again and again, if its repairs say so.
    pub fn note_contention(&mut self, repairs: &RepairHistory, creation: CreationPolicy) {
        self.contention =
            (self.cause == SyncCause::Repair && repairs.is_contended()).then(|| Contention {
                writers: self.other_writers.clone(),
                creation,
            });
    }
}

/// A sync that failed, as its condition tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSyncFailure {
    /// The message of the condition.
    pub message: String,
}

/// True if the condition `Ready` is `True`.
pub fn is_ready(status: &ExternalSecretStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// True if the condition `Ready` has this reason.
pub fn has_reason(status: &ExternalSecretStatus, reason: &str) -> bool {
    let mut conditions = status.conditions.iter();
    conditions
        .any(|condition| condition.type_ == "Ready" && condition.reason.as_deref() == Some(reason))
}

/// True if the stores had no values, and there was no Secret to retain.
pub fn is_retained_without_secret(status: &ExternalSecretStatus) -> bool {
    let mut conditions = status.conditions.iter();
    let is_retained = |message: &String| message.starts_with(RETAINED);
    status.binding.name.is_empty()
        && conditions.any(|condition| condition.message.as_ref().is_some_and(is_retained))
}

/// The reason and the message of the condition after a sync that succeeded.
fn reason_and_message(outcome: &SyncOutcome) -> (&'static str, String) {
    use SecretWriteResult::{Absent, Created, Deleted, Nothing, Retained, Updated};
    let (reason, message) = match outcome.written {
        Created | Updated | Nothing => ("SecretSynced", "secret synced"),
        Absent => (
            "SecretMissing",
            "secret will not be created due to CreationPolicy=Merge",
        ),
        Deleted => (
            "SecretDeleted",
            "secret deleted due to DeletionPolicy=Delete",
        ),
        Retained => ("SecretSynced", RETAINED),
    };
    let hint = match outcome.written {
        Retained => ": the stores have no values for it",
        _ if outcome.cause == SyncCause::Takeover => {
            "; the Secret that existed is kept, since it is created once"
        }
        _ if outcome.is_frozen => {
            "; target.immutable keeps its old values until the Secret is deleted"
        }
        _ => "",
    };
    let contention = outcome.contention.as_ref().map(Contention::message);
    let contention = contention.map(|message| format!("; {message}"));
    (
        reason,
        format!("{message}{hint}{}", contention.unwrap_or_default()),
    )
}

/// What the next status depends on besides the status that is written and the sync.
#[derive(Debug, Clone, Copy)]
pub struct StatusContext<'c> {
    /// The name of the target Secret.
    pub target: &'c str,
    /// Its creation policy.
    pub creation: CreationPolicy,
    /// The `syncedResourceVersion` of the ExternalSecret that was synced.
    pub version: &'c str,
    /// How often the time of a refresh is written where nothing else has changed; never if `None`.
    pub heartbeat: Option<Duration>,
    /// When the reconcile began.
    pub now: Timestamp,
}

/// The status after a sync. Where nothing but the time has changed, `refreshTime` moves once per heartbeat.
pub fn next_status(
    old: &ExternalSecretStatus,
    result: Result<&SyncOutcome, &SecretSyncFailure>,
    context: &StatusContext<'_>,
) -> ExternalSecretStatus {
    let (status, (reason, message)) = match result {
        Ok(outcome) => ("True", reason_and_message(outcome)),
        Err(failure) => ("False", ("SecretSyncedError", failure.message.clone())),
    };
    let says = ConditionState {
        type_: "Ready",
        status,
        reason,
        message: &message,
    };
    let condition = secrets_condition(&old.conditions, &says, context.now);
    let mut new = ExternalSecretStatus {
        conditions: vec![condition],
        ..old.clone()
    };
    let Ok(outcome) = result else {
        return new;
    };
    use SecretWriteResult::{Created, Deleted, Nothing, Updated};
    // With creation policy None no Secret is written, so none is bound.
    let is_bound = context.creation != CreationPolicy::None;
    match outcome.written {
        Created | Updated | Nothing if is_bound => {
            context.target.clone_into(&mut new.binding.name);
        }
        Deleted => new.binding = Binding::default(),
        _ => {}
    }
    new.synced_resource_version = Some(context.version.to_owned());
    let is_due = is_heartbeat_due(old, context.heartbeat, outcome.finished);
    let has_written = matches!(outcome.written, Created | Updated);
    if is_due || has_written || outcome.is_generated || new != *old {
        // Cut to the second, not rounded: a time in the future would be due at once.
        let finished = Timestamp::from_second(outcome.finished.as_second());
        new.refresh_time = Some(Time(finished.unwrap_or(outcome.finished)));
    }
    new
}

/// True if it is time to write the time of a refresh, though nothing else has changed.
pub fn is_heartbeat_due(
    written: &ExternalSecretStatus,
    heartbeat: Option<Duration>,
    now: Timestamp,
) -> bool {
    written.refresh_time.as_ref().is_none_or(|time| {
        let passed = Duration::try_from(now.duration_since(time.0)).unwrap_or_default();
        heartbeat.is_some_and(|heartbeat| passed >= heartbeat)
    })
}

/// A normal event about a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncEvent {
    /// The reason, in the words of External Secrets.
    pub reason: &'static str,
    /// The note. It names keys and objects, never values.
    pub note: String,
}

/// The events of a sync that succeeded. A sync that changes nothing has none but those of deleted orphans.
pub fn sync_events(outcome: &SyncOutcome) -> Vec<SyncEvent> {
    let mut events = Vec::new();
    if outcome.written != SecretWriteResult::Nothing {
        events.extend(outcome.missing.iter().map(|key| SyncEvent {
            reason: "MissingProviderSecret",
            note: format!("secret `{key}` does not exist in its store and is left out"),
        }));
    }
    events.extend(outcome.orphans.iter().map(|orphan| SyncEvent {
        reason: "Deleted",
        note: format!("secret {orphan} deleted: the target has another name now"),
    }));
    events.extend(write_event(outcome).map(|(reason, note)| SyncEvent {
        reason,
        note: note.to_owned(),
    }));
    events
}

/// The warning about another writer that changes the Secret again and again.
pub fn contention_event(outcome: &SyncOutcome) -> Option<SyncEvent> {
    let contention = outcome.contention.as_ref()?;
    Some(SyncEvent {
        reason: "SecretContended",
        note: contention.message(),
    })
}

/// The reason and note of what was done to the Secret, if it has changed.
pub fn write_event(outcome: &SyncOutcome) -> Option<(&'static str, &'static str)> {
    match outcome.written {
        SecretWriteResult::Created => Some(("Created", "secret created")),
        SecretWriteResult::Updated => Some(("Updated", "secret updated")),
        SecretWriteResult::Deleted if outcome.was_deleted => {
            Some(("Deleted", "secret deleted due to DeletionPolicy=Delete"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SecretWriteResult::{Absent, Created, Deleted, Nothing, Retained, Updated};

    fn outcome(written: SecretWriteResult, finished: &str) -> SyncOutcome {
        SyncOutcome {
            written,
            ..SyncOutcome::new(false, finished.parse().unwrap())
        }
    }

    fn next(
        old: &ExternalSecretStatus,
        outcome: &SyncOutcome,
        version: &str,
    ) -> ExternalSecretStatus {
        let context = StatusContext {
            target: "db",
            creation: CreationPolicy::Owner,
            version,
            heartbeat: Some(Duration::from_secs(600)),
            now: outcome.finished,
        };
        next_status(old, Ok(outcome), &context)
    }

    #[test]
    fn the_time_moves_when_something_changes_or_once_per_heartbeat() {
        let next = |old: &ExternalSecretStatus, written, version: &str, finished: &str| {
            next(old, &outcome(written, finished), version)
        };
        let time =
            |status: &ExternalSecretStatus| status.refresh_time.as_ref().unwrap().0.to_string();
        let first = next(
            &ExternalSecretStatus::default(),
            Created,
            "1-a",
            "2026-01-01T00:00:00.9Z",
        );
        assert_eq!(time(&first), "2026-01-01T00:00:00Z", "never in the future");
        assert_eq!(first.binding.name, "db");
        let same = next(&first, Nothing, "1-a", "2026-01-01T00:05:00Z");
        assert_eq!(same, first);
        let beat = next(&first, Nothing, "1-a", "2026-01-01T00:10:01Z");
        assert_eq!(time(&beat), "2026-01-01T00:10:01Z");
        let changed = next(&first, Nothing, "2-a", "2026-01-01T00:05:00Z");
        assert_eq!(time(&changed), "2026-01-01T00:05:00Z");
        let written = next(&first, Updated, "1-a", "2026-01-01T00:05:00Z");
        assert_eq!(time(&written), "2026-01-01T00:05:00Z");
        let deleted = next(&first, Deleted, "1-a", "2026-01-01T00:05:00Z");
        assert!(deleted.binding.name.is_empty());
        assert!(has_reason(&deleted, "SecretDeleted"));
    }

    /// Checks `status reason: message` of the condition after a sync.
    fn check_condition(
        result: Result<&SyncOutcome, &SecretSyncFailure>,
        expected: &str,
    ) -> ExternalSecretStatus {
        let context = StatusContext {
            target: "db",
            creation: CreationPolicy::None,
            version: "1-a",
            heartbeat: None,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        let status = next_status(&ExternalSecretStatus::default(), result, &context);
        let [ready] = status.conditions.as_slice() else {
            panic!("expected one condition, got {:?}", status.conditions);
        };
        let (reason, message) = (ready.reason.as_deref(), ready.message.as_deref());
        let text = format!("{} {}: {}", ready.status, reason.unwrap(), message.unwrap());
        assert_eq!(text, expected);
        status
    }

    #[test]
    fn conditions_have_the_words_of_external_secrets() {
        let at = "2026-01-01T00:00:00Z";
        let synced = "True SecretSynced: secret synced";
        let status = check_condition(Ok(&outcome(Nothing, at)), synced);
        assert!(is_ready(&status));
        assert!(
            status.binding.name.is_empty(),
            "nothing is written under None"
        );
        check_condition(
            Ok(&outcome(Absent, at)),
            "True SecretMissing: secret will not be created due to CreationPolicy=Merge",
        );
        check_condition(
            Ok(&outcome(Deleted, at)),
            "True SecretDeleted: secret deleted due to DeletionPolicy=Delete",
        );
        let status = check_condition(
            Ok(&outcome(Retained, at)),
            "True SecretSynced: secret retained due to DeletionPolicy=Retain: the stores have no values for it",
        );
        assert!(is_retained_without_secret(&status));
        let kept = SyncOutcome {
            cause: SyncCause::Takeover,
            ..outcome(Updated, at)
        };
        check_condition(
            Ok(&kept),
            "True SecretSynced: secret synced; the Secret that existed is kept, since it is created once",
        );
        let contended = SyncOutcome {
            contention: Some(Contention {
                writers: vec!["other".into()],
                creation: CreationPolicy::Owner,
            }),
            ..outcome(Updated, at)
        };
        check_condition(
            Ok(&contended),
            "True SecretSynced: secret synced; the Secret is changed again and again by `other`, so repairs wait longer each time; with `creationPolicy: Merge` the keys of other writers stay",
        );
        let event = contention_event(&contended).unwrap();
        assert_eq!(event.reason, "SecretContended");
        assert_eq!(contention_event(&kept), None);
        let frozen = SyncOutcome {
            is_frozen: true,
            ..outcome(Nothing, at)
        };
        check_condition(
            Ok(&frozen),
            "True SecretSynced: secret synced; target.immutable keeps its old values until the Secret is deleted",
        );
        let failed = check_condition(
            Err(&SecretSyncFailure {
                message: "m".into(),
            }),
            "False SecretSyncedError: m",
        );
        assert!(!is_ready(&failed) && !is_retained_without_secret(&failed));
        assert_eq!(failed.refresh_time, None);
    }

    #[test]
    fn a_heartbeat_is_due_first_and_after_its_interval() {
        let check = |written: Option<&str>, heartbeat: Option<u64>, expected: bool| {
            let status = ExternalSecretStatus {
                refresh_time: written.map(|time| Time(time.parse().unwrap())),
                ..ExternalSecretStatus::default()
            };
            let now = "2026-01-01T00:10:00Z".parse().unwrap();
            let is_due = is_heartbeat_due(&status, heartbeat.map(Duration::from_secs), now);
            assert_eq!(is_due, expected, "{written:?} {heartbeat:?}");
        };
        check(None, None, true);
        check(Some("2026-01-01T00:00:00Z"), None, false);
        check(Some("2026-01-01T00:00:00Z"), Some(600), true);
        check(Some("2026-01-01T00:00:01Z"), Some(600), false);
    }

    #[test]
    fn events_tell_changes_of_the_secret_and_nothing_else() {
        let check = |outcome: SyncOutcome, expected: &[&str]| {
            let events = sync_events(&outcome).into_iter();
            let events = events.map(|SyncEvent { reason, note }| format!("{reason}: {note}"));
            assert_eq!(events.collect::<Vec<_>>(), expected);
        };
        let with_missing = |written| SyncOutcome {
            missing: vec!["k".into()],
            orphans: vec!["old".into()],
            ..outcome(written, "2026-01-01T00:00:00Z")
        };
        let orphan = "Deleted: secret old deleted: the target has another name now";
        let missing =
            "MissingProviderSecret: secret `k` does not exist in its store and is left out";
        check(with_missing(Nothing), &[orphan]);
        check(with_missing(Retained), &[missing, orphan]);
        check(with_missing(Deleted), &[missing, orphan]);
        check(
            with_missing(Created),
            &[missing, orphan, "Created: secret created"],
        );
        check(
            with_missing(Updated),
            &[missing, orphan, "Updated: secret updated"],
        );
        let deleted = SyncOutcome {
            was_deleted: true,
            ..outcome(Deleted, "2026-01-01T00:00:00Z")
        };
        check(
            deleted,
            &["Deleted: secret deleted due to DeletionPolicy=Delete"],
        );
    }
}

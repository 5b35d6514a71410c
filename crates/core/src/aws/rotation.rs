//! Pure: what a rotation event means: which readers it concerns, when its secrets are read as the event says, and what
//! becomes of its message.

use std::time::Duration;

use crate::aws::arn::spellings;
use crate::aws::cloudtrail::SecretChange;
use crate::aws::identity::{Identity, partition};
use crate::aws::reader_key::{ReaderKey, Service};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOutcome {
    /// The secrets that it names were read.
    Handled,
    /// No ExternalSecret here uses the secrets that it names, or it changes no value.
    Ignored,
    /// The queue delivers it again.
    Failed,
    /// It has failed too often, and is deleted.
    Dropped,
}

impl MessageOutcome {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }

    /// True if the message is deleted from the queue.
    pub fn is_final(self) -> bool {
        self != Self::Failed
    }
}

/// How often a message is tried. Polling sees the change at the next interval anyway.
pub const MOST_TRIES: u32 = 3;

/// What becomes of a message that has failed. `receives` is `ApproximateReceiveCount`:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>.
pub fn after_failure(receives: u32) -> MessageOutcome {
    if receives >= MOST_TRIES {
        MessageOutcome::Dropped
    } else {
        MessageOutcome::Failed
    }
}

/// Secrets Manager may give the old value for a moment after an event, so the secret is read again after these waits.
pub const READ_AGAIN: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(4),
];

/// A secret that was read again because of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reread {
    /// The value is another than before.
    pub has_changed: bool,
    /// The current version was read, not another stage or a version by its id.
    pub is_current: bool,
    /// The id of the version that was read.
    pub version_id: Option<String>,
}

/// True if a secret was read as the event says. Without the id of a version, a value that differs is the only sign.
pub fn is_settled(change: &SecretChange, reread: &Reread) -> bool {
    match (&change.version_id, &reread.version_id) {
        // Other versions than the current one move at their own times.
        (Some(wanted), Some(read)) if reread.is_current => wanted == read,
        _ => reread.has_changed,
    }
}

/// True if a reader may read the secret of an event. With an identity, the event is for this identity alone.
pub fn concerns(change: &SecretChange, key: &ReaderKey, only: Option<&Identity>) -> bool {
    only.is_none_or(|only| *only == key.identity)
        && key.service == Service::SecretsManager
        && key.identity.region == change.region
}

/// The ids by which the secret of an event may be watched, and, where the event has only a name, the ARN without the random
/// characters at its end.
pub fn watched_as(change: &SecretChange) -> (Vec<String>, Option<String>) {
    let spellings = spellings(&change.secret);
    let account = change.account.as_ref().filter(|_| spellings.len() == 1);
    let arn = account.map(|account| {
        let (region, name) = (&change.region, &change.secret);
        let partition = partition(region);
        format!("arn:{partition}:secretsmanager:{region}:{account}:secret:{name}")
    });
    (spellings, arn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::identity::Base;
    use crate::aws::reader_key::Retry;

    fn change(secret: &str, version_id: Option<&str>) -> SecretChange {
        SecretChange {
            event: "PutSecretValue".to_owned(),
            region: "eu-west-1".to_owned(),
            account: Some("1".to_owned()),
            secret: secret.to_owned(),
            version_id: version_id.map(str::to_owned),
        }
    }

    #[track_caller]
    fn check(
        wanted: Option<&str>,
        read: Option<&str>,
        is_current: bool,
        has_changed: bool,
        expected: bool,
    ) {
        let reread = Reread {
            has_changed,
            is_current,
            version_id: read.map(str::to_owned),
        };
        assert_eq!(
            is_settled(&change("a", wanted), &reread),
            expected,
            "{wanted:?} {reread:?}"
        );
    }

    #[test]
    fn a_secret_is_settled_at_the_version_of_the_event() {
        check(Some("v2"), Some("v2"), true, false, true);
        check(Some("v2"), Some("v1"), true, true, false);
        check(Some("v2"), Some("v1"), false, true, true);
        check(None, Some("v1"), true, true, true);
        check(None, Some("v1"), true, false, false);
        check(Some("v2"), None, true, false, false);
    }

    #[test]
    fn a_message_that_fails_again_and_again_is_dropped() {
        let outcomes = [1, 2, 3, 9].map(|receives| after_failure(receives).as_str());
        assert_eq!(outcomes, ["failed", "failed", "dropped", "dropped"]);
        assert!(!MessageOutcome::Failed.is_final() && MessageOutcome::Dropped.is_final());
    }

    #[test]
    fn an_event_concerns_readers_of_its_region_and_identity() {
        let identity = |region: &str| Identity {
            region: region.to_owned(),
            base: Base::Process,
            roles: Vec::new(),
        };
        let key = |region: &str, service| ReaderKey {
            identity: identity(region),
            service,
            retry: Retry {
                attempts: 1,
                interval: None,
            },
        };
        let change = change("a", None);
        let here = key("eu-west-1", Service::SecretsManager);
        assert!(concerns(&change, &here, None));
        assert!(concerns(&change, &here, Some(&identity("eu-west-1"))));
        assert!(!concerns(&change, &here, Some(&identity("us-east-1"))));
        assert!(!concerns(
            &change,
            &key("us-east-1", Service::SecretsManager),
            None
        ));
        assert!(!concerns(
            &change,
            &key("eu-west-1", Service::ParameterStore),
            None
        ));
    }

    #[test]
    fn a_name_is_also_watched_by_the_arn_that_it_has_in_the_account() {
        let arn = "arn:aws:secretsmanager:eu-west-1:1:secret:app/db";
        assert_eq!(
            watched_as(&change("app/db", None)),
            (vec!["app/db".to_owned()], Some(arn.to_owned()))
        );
        let (spellings, none) = watched_as(&change(&format!("{arn}-AbCdEf"), None));
        assert_eq!((spellings.len(), none), (4, None));
    }
}

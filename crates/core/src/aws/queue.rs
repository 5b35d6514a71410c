//! Pure: a queue of rotation events: which queue a store names, and what the store's condition says of it.

use crate::api::annotations::ROTATION_QUEUE;
use crate::aws::identity::{Base, Identity};
use crate::aws::reader_key::ReaderKey;
use crate::secrets::provider_error::StoreError;

/// A queue, and the identity that reads it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queue {
    /// The URL of the queue.
    pub url: String,
    /// As which identity it is read.
    pub identity: Identity,
    /// Its events are for the secrets of all identities; otherwise for those of its own identity alone.
    pub is_for_all: bool,
}

impl Queue {
    /// The name of the queue, which is the end of its URL.
    pub fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }
}

/// The region in the URL of a queue: <https://docs.aws.amazon.com/general/latest/gr/sqs-service.html>, the older form
/// included.
pub fn region_of(url: &str) -> Option<&str> {
    let host = url.split("://").nth(1)?.split('/').next()?;
    let mut labels = host.split('.');
    let (first, second) = (labels.next()?, labels.next()?);
    match (first, host.contains("amazonaws.com")) {
        ("sqs", true) => Some(second),
        (region, true) if second == "queue" => Some(region),
        _ => None,
    }
}

/// Why the queue that a store names is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreQueueError {
    /// The annotation holds no URL.
    #[error("annotation `{ROTATION_QUEUE}` is no URL")]
    Url,
    /// A `SecretStore` would read the queue with the identity of overlayd itself.
    #[error(
        "annotation `{ROTATION_QUEUE}` of a SecretStore needs `auth` of its own; a ClusterSecretStore does not"
    )]
    OwnAuth,
    /// The identity depends on the namespace of the ExternalSecret.
    #[error(
        "annotation `{ROTATION_QUEUE}` needs a store whose identity does not depend on the namespace that uses it"
    )]
    NoIdentity,
    /// The store cannot be used at all.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a store belongs to a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreScope {
    /// A `SecretStore`.
    Namespace,
    /// A `ClusterSecretStore`.
    Cluster,
}

/// The queue that a store names by its annotation. `key` is the store's reader. A user who may make stores in one namespace
/// must not drain the queue of another, so a `SecretStore` needs an identity of its own.
///
/// # Errors
///
/// Fails if the annotation is no URL, and if the store has no identity that may read the queue.
pub fn store_queue(
    url: &str,
    scope: StoreScope,
    key: Result<Option<ReaderKey>, StoreError>,
) -> Result<Queue, StoreQueueError> {
    if url::Url::parse(url).is_err() {
        return Err(StoreQueueError::Url);
    }
    let identity = key?.ok_or(StoreQueueError::NoIdentity)?.identity;
    if scope == StoreScope::Namespace && identity.base == Base::Process {
        return Err(StoreQueueError::OwnAuth);
    }
    Ok(Queue {
        url: url.to_owned(),
        identity,
        is_for_all: false,
    })
}

/// Whether a queue can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueState {
    /// Its messages arrive.
    Listening,
    /// It cannot be read, and why. Changes are still seen at each interval.
    Lost(String),
}

/// What a store's condition says of its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueCondition {
    /// `True` or `False`.
    pub status: &'static str,
    /// `Listening` or `QueueUnavailable`.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl QueueCondition {
    /// The condition of a queue that is read, or cannot be read.
    pub fn of_state(queue: &Queue, state: &QueueState) -> Self {
        let name = queue.name();
        match state {
            QueueState::Listening => Self {
                status: "True",
                reason: "Listening",
                message: format!("rotations arrive by queue `{name}`"),
            },
            QueueState::Lost(reason) => Self::unavailable(format!(
                "queue `{name}` cannot be read, so rotations are seen at the next interval: {reason}"
            )),
        }
    }

    /// The condition of a store whose queue is not read.
    pub fn unavailable(message: String) -> Self {
        Self {
            status: "False",
            reason: "QueueUnavailable",
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::reader_key::{Retry, Service};

    #[test]
    fn the_region_stands_in_the_address() {
        for (url, expected) in [
            ("https://sqs.eu-west-1.amazonaws.com/1/q", Some("eu-west-1")),
            (
                "https://sqs.cn-north-1.amazonaws.com.cn/1/q",
                Some("cn-north-1"),
            ),
            (
                "https://eu-west-1.queue.amazonaws.com/1/q",
                Some("eu-west-1"),
            ),
            ("http://127.0.0.1:5000/1/q", None),
            ("nonsense", None),
        ] {
            assert_eq!(region_of(url), expected, "{url}");
        }
    }

    const URL: &str = "https://sqs.eu-west-1.amazonaws.com/1/q";

    fn key(base: Base) -> ReaderKey {
        ReaderKey {
            identity: Identity {
                region: "eu-west-1".to_owned(),
                base,
                roles: Vec::new(),
            },
            service: Service::SecretsManager,
            retry: Retry {
                attempts: 1,
                interval: None,
            },
        }
    }

    #[track_caller]
    fn check(
        url: &str,
        scope: StoreScope,
        key: Result<Option<ReaderKey>, StoreError>,
        expected: &str,
    ) {
        let text = match store_queue(url, scope, key) {
            Ok(queue) => format!("{} as {}", queue.name(), queue.identity),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn a_store_of_a_namespace_reads_a_queue_with_an_identity_of_its_own() {
        use StoreScope::{Cluster, Namespace};
        let own = Base::ServiceAccount {
            namespace: "team".to_owned(),
            name: "sa".to_owned(),
            audiences: Vec::new(),
        };
        let process = || Ok(Some(key(Base::Process)));
        check(
            URL,
            Namespace,
            Ok(Some(key(own))),
            "q as the role of ServiceAccount team/sa in eu-west-1",
        );
        check(
            URL,
            Cluster,
            process(),
            "q as the daemon's own identity in eu-west-1",
        );
        check(
            URL,
            Namespace,
            process(),
            "error: annotation `overlayd.dev/rotation-queue` of a SecretStore needs `auth` of its own; a ClusterSecretStore does not",
        );
        check(
            "q",
            Cluster,
            process(),
            "error: annotation `overlayd.dev/rotation-queue` is no URL",
        );
        check(
            URL,
            Cluster,
            Ok(None),
            "error: annotation `overlayd.dev/rotation-queue` needs a store whose identity does not depend on the namespace that uses it",
        );
        check(
            URL,
            Cluster,
            Err(StoreError::Region("a/b".to_owned())),
            "error: `provider.aws.region` must be a host label, not `a/b`",
        );
    }

    #[test]
    fn a_condition_names_the_queue_and_what_follows() {
        let queue = Queue {
            url: URL.to_owned(),
            identity: key(Base::Process).identity,
            is_for_all: true,
        };
        let text = |state: &QueueState| {
            let condition = QueueCondition::of_state(&queue, state);
            format!(
                "{} {} {}",
                condition.status, condition.reason, condition.message
            )
        };
        assert_eq!(
            text(&QueueState::Listening),
            "True Listening rotations arrive by queue `q`"
        );
        assert_eq!(
            text(&QueueState::Lost("no".to_owned())),
            "False QueueUnavailable queue `q` cannot be read, so rotations are seen at the next interval: no"
        );
    }
}

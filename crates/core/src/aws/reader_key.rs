//! Pure: which reader serves a store: the identity, the service, and how calls are repeated.

use std::time::Duration;

use super::identity::{Base, Identity, identify};
use super::read_scheduler::{SecretId, ServiceCapabilities};
use crate::api::secret_store::{AwsService, RetrySettings, SecretStoreSpec};
use crate::names::StoreName;
use crate::schedule::parse_duration;
use crate::secrets::provider_error::StoreError;

/// The services of AWS that hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Secrets Manager.
    SecretsManager,
    /// Parameter Store of Systems Manager.
    ParameterStore,
}

impl Service {
    /// What the service can do in one call: 20 secrets in a `BatchGetSecretValue`
    /// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_BatchGetSecretValue.html>), 10 names in a
    /// `GetParameters` (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html>).
    pub fn capabilities(self) -> ServiceCapabilities {
        match self {
            Self::SecretsManager => ServiceCapabilities {
                batch: 20,
                batches_versions: false,
                lists: true,
            },
            // No list of Parameter Store tells versions in fewer calls than batches read values.
            Self::ParameterStore => ServiceCapabilities {
                batch: 10,
                batches_versions: true,
                lists: false,
            },
        }
    }
}

/// How calls that fail are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Retry {
    /// Calls at most, the first one included.
    pub attempts: u32,
    /// The wait between calls; nothing for a wait that grows.
    pub interval: Option<Duration>,
}

impl Retry {
    /// `maxRetries` counts attempts, as in External Secrets, and `retryInterval` is the wait between them.
    pub fn of(settings: Option<&RetrySettings>) -> Self {
        /// External Secrets repeats the call until the SDK's retry quota is used up.
        const UNBOUNDED: u32 = 20;
        let attempts = settings.and_then(|settings| settings.max_retries);
        let interval = settings.and_then(|settings| settings.retry_interval.as_deref());
        Self {
            attempts: match attempts {
                None => 3,
                Some(0) => UNBOUNDED,
                Some(attempts) => u32::try_from(attempts).unwrap_or(1),
            },
            interval: interval.and_then(parse_duration),
        }
    }
}

/// The key of a reader. Stores of the same key share the session, the scheduler and all answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReaderKey {
    /// As which identity secrets are read, and in which region.
    pub identity: Identity,
    /// From which service.
    pub service: Service,
    /// How calls that fail are repeated.
    pub retry: Retry,
}

/// A read that a reader makes together with the reads of other stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedRead {
    /// The reader, which stores of the same key share.
    pub reader: ReaderKey,
    /// The secret, with the store's prefix.
    pub secret: SecretId,
}

/// The reader of a store, for an ExternalSecret of the namespace `user`. Nothing if the identity depends on the namespace
/// and none is given.
///
/// # Errors
///
/// Fails for another provider than `aws`, for a service that is not supported, for a `retryInterval` that is no duration, and
/// for an `auth` that is incomplete.
pub fn reader_key(
    name: StoreName<'_>,
    spec: &SecretStoreSpec,
    user: Option<&str>,
) -> Result<Option<ReaderKey>, StoreError> {
    let Some(aws) = &spec.provider.aws else {
        let name = spec.provider.others.keys().next().cloned();
        return Err(StoreError::Provider(name.unwrap_or_default()));
    };
    let service = match aws.service {
        AwsService::SecretsManager => Service::SecretsManager,
        AwsService::ParameterStore => Service::ParameterStore,
        AwsService::CertificateManager => {
            let field = "service: CertificateManager";
            return Err(StoreError::Unsupported(field.to_owned()));
        }
    };
    let retry = spec.retry_settings.as_ref();
    let interval = retry.and_then(|retry| retry.retry_interval.as_deref());
    if let Some(text) = interval
        && parse_duration(text).is_none()
    {
        return Err(StoreError::RetryInterval(text.to_owned()));
    }
    Ok(identify(name, aws, user)?.map(|identity| ReaderKey {
        identity,
        service,
        retry: Retry::of(retry),
    }))
}

/// Whether a SecretStore may read as the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreAuth {
    /// One without `auth` reads as the daemon, as in External Secrets.
    Optional,
    /// One without `auth` is refused (`--require-store-auth`), because the author of such a store would read all that the
    /// daemon may.
    Required,
}

/// Checks the identity of a store. A ClusterSecretStore may always read as the daemon, since an administrator made it.
///
/// # Errors
/// A SecretStore would read as the daemon, and that is not allowed.
pub fn check_auth(
    name: StoreName<'_>,
    identity: &Identity,
    rule: StoreAuth,
) -> Result<(), StoreError> {
    let is_as_daemon = identity.base == Base::Process;
    if rule == StoreAuth::Required && is_as_daemon && name.namespace.is_some() {
        return Err(StoreError::NoAuth);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_store_that_reads_as_the_daemon_can_be_forbidden() {
        let check = |namespace: Option<&str>, more: Value, rule, expected: &str| {
            let mut aws = json!({"service": "SecretsManager", "region": "eu-west-1"});
            for (key, value) in more.as_object().into_iter().flatten() {
                aws[key] = value.clone();
            }
            let spec = serde_json::from_value(json!({"provider": {"aws": aws}})).unwrap();
            let name = StoreName {
                namespace,
                name: "aws",
            };
            let key = reader_key(name, &spec, Some("team")).unwrap().unwrap();
            let text = match check_auth(name, &key.identity, rule) {
                Ok(()) => "fine".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(text.starts_with(expected), "{text}");
        };
        let refused = "a SecretStore needs `provider.aws.auth` here";
        let account = json!({"auth": {"jwt": {"serviceAccountRef": {"name": "app"}}}});
        check(Some("team"), json!({}), StoreAuth::Optional, "fine");
        check(Some("team"), json!({}), StoreAuth::Required, refused);
        let role = json!({"role": "arn:aws:iam::1:role/a"});
        check(Some("team"), role, StoreAuth::Required, refused);
        check(
            Some("team"),
            json!({"auth": {}}),
            StoreAuth::Required,
            refused,
        );
        check(Some("team"), account, StoreAuth::Required, "fine");
        check(None, json!({}), StoreAuth::Required, "fine");
    }

    #[test]
    fn attempts_are_counted_as_external_secrets_counts_them() {
        let check =
            |attempts: Option<i32>, interval: Option<&str>, expected: (u32, Option<u64>)| {
                let settings = RetrySettings {
                    max_retries: attempts,
                    retry_interval: interval.map(str::to_owned),
                };
                let retry = Retry::of(Some(&settings));
                let interval = retry.interval.map(|interval| interval.as_secs());
                assert_eq!((retry.attempts, interval), expected);
            };
        check(None, None, (3, None));
        check(Some(5), Some("10s"), (5, Some(10)));
        check(Some(0), None, (20, None));
        check(Some(-1), None, (1, None));
        assert_eq!(Retry::of(None).attempts, 3);
    }
}

//! Pure: which reader serves a store: the identity, the service, and how calls are tried again.

use std::time::Duration;

use super::identity::{Identity, StoreName, identify};
use super::read_scheduler::ServiceCapabilities;
use crate::api::secret_store::{AwsService, RetrySettings, SecretStoreSpec};
use crate::schedule::parse_duration;
use crate::secrets::provider_error::StoreError;

/// Services that hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    SecretsManager,
    ParameterStore,
}

impl Service {
    /// What it can be asked in one call.
    pub fn capabilities(self) -> ServiceCapabilities {
        match self {
            Self::SecretsManager => ServiceCapabilities {
                batch: 20,
                batches_versions: false,
                lists: true,
            },
            // It has no list that tells versions for less than a batch costs.
            Self::ParameterStore => ServiceCapabilities {
                batch: 10,
                batches_versions: true,
                lists: false,
            },
        }
    }
}

/// How calls are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Retry {
    pub attempts: u32,
    /// Between tries; nothing for a wait that grows.
    pub interval: Option<Duration>,
}

impl Retry {
    /// `maxRetries` counts attempts, as in External Secrets, and `retryInterval` is the wait between them.
    pub fn of(settings: Option<&RetrySettings>) -> Self {
        /// Where External Secrets tries until the SDK's quota is used up.
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

/// Who reads from where. Stores of the same key share everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReaderKey {
    pub identity: Identity,
    pub service: Service,
    pub retry: Retry,
}

/// Which reader serves a store; nothing if it depends on who uses it, or if there is nothing to read from AWS.
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

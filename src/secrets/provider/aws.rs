//! Talks to AWS: what its services have in common: configuration, credentials, and errors by their codes.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::config::ProvideCredentials as _;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use super::ProviderError;
use crate::api::secret_store::RetrySettings;
use crate::causes::causes;
use crate::schedule::parse_duration;

/// What the process knows of AWS: addresses that replace the usual ones. The SDK reads its own variables.
#[derive(Debug, Clone, Default)]
pub(crate) struct AwsEnvironment {
    /// `AWS_SECRETSMANAGER_ENDPOINT`, for people who come from External Secrets.
    pub(crate) secrets_manager_endpoint: Option<String>,
    /// `AWS_SSM_ENDPOINT`, likewise.
    pub(crate) parameter_store_endpoint: Option<String>,
}

/// The default chain's configuration for a region.
pub(super) async fn configuration(region: &str, retry: Option<&RetrySettings>) -> SdkConfig {
    // Without these an answer that never comes would be waited for.
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(15))
        .operation_timeout(Duration::from_secs(60))
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .timeout_config(timeouts);
    if let Some(retry) = retry {
        loader = loader.retry_config(retry_config(retry));
    }
    loader.load().await
}

/// `maxRetries` counts attempts, as in External Secrets, and `retryInterval` is the wait between them.
fn retry_config(settings: &RetrySettings) -> RetryConfig {
    /// Where External Secrets tries until the SDK's quota is used up.
    const UNBOUNDED: u32 = 20;
    let attempts = match settings.max_retries {
        None => 3,
        Some(0) => UNBOUNDED,
        Some(attempts) => u32::try_from(attempts).unwrap_or(1),
    };
    let config = RetryConfig::standard().with_max_attempts(attempts);
    let interval = settings.retry_interval.as_deref().and_then(parse_duration);
    match interval {
        Some(interval) => config
            .with_initial_backoff(interval)
            .with_max_backoff(interval),
        None => config,
    }
}

/// Asks for credentials. Their values are not looked at; that there are some is the answer.
pub(super) async fn has_credentials(config: &SdkConfig) -> Result<(), ProviderError> {
    let Some(provider) = config.credentials_provider() else {
        return Err(ProviderError::Credentials(
            "the default chain is empty".to_owned(),
        ));
    };
    let credentials = provider.provide_credentials().await;
    credentials
        .map(drop)
        .map_err(|error| ProviderError::Credentials(causes(&error)))
}

/// Sorts an error by its code; nothing if it says that there is no such secret. The message of the service is left
/// out, for it may quote a value.
pub(super) fn classify<E>(
    key: &str,
    action: &'static str,
    error: &SdkError<E>,
) -> Option<ProviderError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let key = key.to_owned();
    let code = error.code().unwrap_or_default().to_owned();
    let message = error.message().unwrap_or_default();
    Some(match code.as_str() {
        "ResourceNotFoundException" | "ParameterNotFound" => return None,
        // A secret that is scheduled for deletion is answered with either of these.
        "InvalidRequestException" | "InvalidParameterException"
            if message.contains("marked for deletion") || message.contains("marked deleted") =>
        {
            return None;
        }
        "AccessDeniedException" | "AccessDenied" => {
            ProviderError::AccessDenied { key, action, code }
        }
        "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException"
        | "RequestLimitExceeded" => ProviderError::Throttled { key, code },
        "" => ProviderError::Other {
            key,
            reason: transport(error),
        },
        _ => ProviderError::Other { key, reason: code },
    })
}

/// The same where nothing in particular was asked for, so that nothing can be missing.
pub(super) fn failed<E>(what: &str, action: &'static str, error: &SdkError<E>) -> ProviderError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    classify(what, action, error).unwrap_or_else(|| ProviderError::Other {
        key: what.to_owned(),
        reason: error.code().unwrap_or_default().to_owned(),
    })
}

/// What went wrong before there was an answer with a code.
fn transport<E>(error: &SdkError<E>) -> String {
    match error {
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::DispatchFailure(failure) => {
            let cause = failure.as_connector_error().map(|error| causes(error));
            format!(
                "the request could not be sent: {}",
                cause.unwrap_or_default()
            )
        }
        SdkError::ConstructionFailure(_) => "the request is invalid".to_owned(),
        SdkError::ResponseError(_) => "the answer could not be read".to_owned(),
        SdkError::ServiceError(answer) => format!(
            "the service answered HTTP {}",
            answer.raw().status().as_u16()
        ),
        _ => "unknown failure".to_owned(),
    }
}

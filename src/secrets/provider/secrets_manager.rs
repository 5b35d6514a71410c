//! Talks to AWS: Secrets Manager, with the credentials that the SDK's default chain finds.

use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::ProvideCredentials as _;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Provider, ProviderError};
use crate::api::secret_store::Capabilities;
use crate::causes::causes;
use crate::metrics::Metrics;
use crate::secrets::SecretValue;

/// What the process knows of AWS: addresses that replace the usual ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct AwsEnvironment {
    /// `AWS_SECRETSMANAGER_ENDPOINT`, for people who come from External Secrets. The SDK reads its own variables.
    pub(crate) secrets_manager_endpoint: Option<String>,
}

/// Secrets Manager in one region, as the identity of this process.
#[derive(Debug)]
pub(crate) struct SecretsManager {
    client: Client,
    config: SdkConfig,
    prefix: String,
    metrics: Arc<Metrics>,
}

impl SecretsManager {
    pub(crate) async fn new(
        environment: &AwsEnvironment,
        region: &str,
        prefix: String,
        metrics: Arc<Metrics>,
    ) -> Self {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .load()
            .await;
        let mut service = aws_sdk_secretsmanager::config::Builder::from(&config);
        if let Some(endpoint) = &environment.secrets_manager_endpoint {
            service = service.endpoint_url(endpoint);
        }
        Self {
            client: Client::from_conf(service.build()),
            config,
            prefix,
            metrics,
        }
    }

    async fn read(&self, key: &str, version: &str) -> Result<SecretValue, ProviderError> {
        let id = format!("{}{key}", self.prefix);
        let mut request = self.client.get_secret_value().secret_id(&id);
        request = match version.strip_prefix("uuid/") {
            Some(version_id) => request.version_id(version_id),
            None if version.is_empty() => request.version_stage("AWSCURRENT"),
            None => request.version_stage(version),
        };
        let answer = request.send().await;
        self.metrics
            .provider_call("AWS/SecretsManager", "GetSecretValue", answer.is_ok());
        let answer =
            answer.map_err(|error| classify(&id, "secretsmanager:GetSecretValue", &error))?;
        match (answer.secret_string, answer.secret_binary) {
            (Some(text), _) => Ok(SecretValue::from(text.into_bytes())),
            (None, Some(blob)) => Ok(SecretValue::from(blob.into_inner())),
            (None, None) => Err(ProviderError::Other {
                key: id,
                reason: "the answer holds no value".to_owned(),
            }),
        }
    }

    async fn credentials(&self) -> Result<(), ProviderError> {
        let Some(provider) = self.config.credentials_provider() else {
            return Err(ProviderError::Credentials(
                "the default chain is empty".to_owned(),
            ));
        };
        // Their values are not looked at; that there are some is the answer.
        provider
            .provide_credentials()
            .await
            .map(drop)
            .map_err(|error| ProviderError::Credentials(causes(&error)))
    }
}

impl Provider for SecretsManager {
    fn get<'a>(
        &'a self,
        key: &'a str,
        version: &'a str,
    ) -> BoxFuture<'a, Result<SecretValue, ProviderError>> {
        self.read(key, version).boxed()
    }

    fn validate(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        self.credentials().boxed()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ReadWrite
    }
}

/// Sorts an error by its code. The message of the service is left out, but where the code says nothing.
fn classify<E>(key: &str, action: &'static str, error: &SdkError<E>) -> ProviderError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let key = key.to_owned();
    let code = error.code().unwrap_or_default().to_owned();
    let message = error.message().unwrap_or_default();
    match code.as_str() {
        "ResourceNotFoundException" => ProviderError::NotFound { key },
        // A secret that is scheduled for deletion is answered with either of these.
        "InvalidRequestException" | "InvalidParameterException"
            if message.contains("marked for deletion") =>
        {
            ProviderError::NotFound { key }
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
    }
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

//! Talks to nobody: the errors of the SDK as errors of a provider.

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use overlayd_core::aws::error_code::error_of_code;
use overlayd_core::error_chain::causes;
use overlayd_core::secrets::provider_error::ProviderError;

/// The error of a call; nothing if it says that there is no such secret. The message of the service is left out, because it
/// may quote a value.
pub(super) fn classify<E>(
    key: &str,
    action: &'static str,
    error: &SdkError<E>,
) -> Option<ProviderError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.code().unwrap_or_default();
    if code.is_empty() {
        return Some(ProviderError::Unavailable {
            key: key.to_owned(),
            reason: transport(error),
        });
    }
    let known = error_of_code(key, action, code, error.message().unwrap_or_default())?;
    Some(match known {
        ProviderError::Other { key, reason } if is_broken(error) => {
            ProviderError::Unavailable { key, reason }
        }
        known => known,
    })
}

/// True if the HTTP status says that the service is broken, whatever the code is.
fn is_broken<E>(error: &SdkError<E>) -> bool {
    let answer = error.raw_response();
    answer.is_some_and(|answer| answer.status().is_server_error())
}

/// Why there is no answer with a code.
pub(super) fn transport<E>(error: &SdkError<E>) -> String {
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

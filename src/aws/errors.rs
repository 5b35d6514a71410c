//! Talks to nobody: errors of AWS by their codes.

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use overlayd_core::error_chain::causes;
use overlayd_core::secrets::provider_error::ProviderError;

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
    let code = error.code().unwrap_or_default();
    if code.is_empty() {
        return Some(ProviderError::Unavailable {
            key: key.to_owned(),
            reason: transport(error),
        });
    }
    let known = by_code(key, action, code, error.message().unwrap_or_default())?;
    Some(match known {
        ProviderError::Other { key, reason } if is_broken(error) => {
            ProviderError::Unavailable { key, reason }
        }
        known => known,
    })
}

/// The same of a code and its message, as a batch has them for each secret.
pub(super) fn by_code(
    key: &str,
    action: &'static str,
    code: &str,
    message: &str,
) -> Option<ProviderError> {
    let (key, code) = (key.to_owned(), code.to_owned());
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
        "ExpiredToken"
        | "ExpiredTokenException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch" => ProviderError::Refused { key, code },
        "InternalServiceError"
        | "InternalServerError"
        | "InternalFailure"
        | "ServiceUnavailable" => ProviderError::Unavailable { key, reason: code },
        _ => ProviderError::Other { key, reason: code },
    })
}

/// True for an answer that says that the service is broken, whatever its code.
fn is_broken<E>(error: &SdkError<E>) -> bool {
    let answer = error.raw_response();
    answer.is_some_and(|answer| answer.status().is_server_error())
}

/// What went wrong before there was an answer with a code.
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

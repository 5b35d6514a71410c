//! Pure: what an error code of AWS means for a read.
//!
//! The codes are those of the API references of Secrets Manager
//! (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html>), Systems Manager
//! (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html>) and STS.

use crate::secrets::provider_error::ProviderError;

/// The error that a code stands for; nothing if it says that there is no such secret. `action` is the action as policies
/// name it. The message of the service is only searched, never repeated, because it may quote a value.
pub fn error_of_code(
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

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "secretsmanager:GetSecretValue";

    #[track_caller]
    fn check(code: &str, message: &str, expected: &str) {
        let text = match error_of_code("app/db", GET, code, message) {
            None => "no such secret".to_owned(),
            Some(error) => format!("{:?}: {error}", error.class()),
        };
        assert_eq!(text, expected, "{code}");
    }

    #[test]
    fn a_secret_that_is_deleted_does_not_exist() {
        check("ResourceNotFoundException", "", "no such secret");
        check("ParameterNotFound", "", "no such secret");
        let message =
            "You can't perform this operation on the secret because it was marked for deletion.";
        check("InvalidRequestException", message, "no such secret");
        check(
            "InvalidParameterException",
            "it was marked deleted",
            "no such secret",
        );
    }

    #[test]
    fn codes_say_whether_a_later_read_may_work() {
        check(
            "AccessDeniedException",
            "",
            "Denied: access to `app/db` is denied: the identity lacks `secretsmanager:GetSecretValue` on it (AccessDeniedException)",
        );
        check(
            "ThrottlingException",
            "",
            "Trouble: throttled while reading `app/db` (ThrottlingException)",
        );
        check(
            "ExpiredTokenException",
            "",
            "Trouble: reading `app/db` failed: ExpiredTokenException",
        );
        check(
            "InternalServiceError",
            "",
            "Trouble: reading `app/db` failed: InternalServiceError",
        );
        check(
            "DecryptionFailure",
            "",
            "Final: reading `app/db` failed: DecryptionFailure",
        );
        check(
            "InvalidRequestException",
            "",
            "Final: reading `app/db` failed: InvalidRequestException",
        );
    }

    #[test]
    fn the_message_of_the_service_is_never_repeated() {
        check(
            "ValidationException",
            "hunter2",
            "Final: reading `app/db` failed: ValidationException",
        );
    }
}

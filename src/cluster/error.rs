//! Pure: the errors of the API server: their class, their category for metrics, and their text in one line.
//!
//! Controllers and commands ask here, and do not read status codes themselves. The text of an error that concerns a
//! Secret is redacted here too: the API server and its webhooks quote what they refuse, and that may be a value.

use kube::core::Status;

use overlayd_core::error_chain::causes;

/// What an error of the API server means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApiErrorClass {
    /// 404: the object, or its kind, does not exist.
    NotFound,
    /// 409: another writer was faster, or the object exists already.
    Conflict,
    /// 410: the resource version of a watch or list is too old.
    Gone,
    /// 429: the API server asks for fewer requests.
    Throttled,
    /// 403: this identity has no right to do it, or an admission webhook refuses it.
    Forbidden,
    /// Any other answer of the API server.
    Refused,
    /// No answer that can be read: the connection failed, or the kind is not known.
    Transport,
}

impl ApiErrorClass {
    /// The class of an error.
    pub(crate) fn of(error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Transport;
        };
        match status.code {
            403 => Self::Forbidden,
            404 => Self::NotFound,
            409 => Self::Conflict,
            410 => Self::Gone,
            429 => Self::Throttled,
            _ => Self::Refused,
        }
    }

    /// The value of the metric label `category`; these words are part of the metric's interface.
    pub(crate) fn category(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Transport => "connection",
            Self::NotFound | Self::Gone | Self::Throttled | Self::Forbidden | Self::Refused => {
                "api"
            }
        }
    }
}

/// True if the object, or its kind, does not exist.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    ApiErrorClass::of(error) == ApiErrorClass::NotFound
}

/// True if another writer was faster, or the object exists already.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    ApiErrorClass::of(error) == ApiErrorClass::Conflict
}

/// True if the identity of the request has no right, or an admission webhook refuses it.
pub(crate) fn is_forbidden(error: &kube::Error) -> bool {
    ApiErrorClass::of(error) == ApiErrorClass::Forbidden
}

/// True if the identity of the request has no right; not if an admission webhook refuses it.
pub(crate) fn is_denied(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if is_by_rights(status))
}

/// The server's own words, without the wrapping of the client. Only for objects that hold no secret values.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => causes(other),
    }
}

/// True if the message of an answer about a `Secret` may quote a value: only refusals that speak of names and rights
/// cannot.
pub(crate) fn may_quote(status: &Status) -> bool {
    !matches!(status.code, 401 | 404 | 409 | 429) && !is_by_rights(status)
}

/// The text of an error about the Secret that an ExternalSecret writes: the reason of the refusal and the fields that it
/// concerns, and never the server's message, which may quote a value.
pub(crate) fn describe_fields(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else {
        return describe(error);
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fields: Vec<String> = causes
        .map(|cause| cause.field.split('[').next().unwrap_or_default().to_owned())
        .collect();
    let about = if fields.is_empty() {
        String::new()
    } else {
        format!(" about {}", fields.join(", "))
    };
    format!(
        "the API server refuses the Secret: {} ({}){about}",
        status.reason, status.code
    )
}

/// True for a refusal by rights, and not by a webhook, which may write any text.
fn is_by_rights(status: &Status) -> bool {
    status.code == 403 && status.message.contains(" cannot ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// An answer of the API server with this code, whose message quotes a value.
    fn api(code: u16, reason: &str, message: &str, causes: &Value) -> kube::Error {
        let status = json!({
            "status": "Failure", "code": code, "reason": reason, "message": message,
            "details": {"causes": causes},
        });
        kube::Error::Api(serde_json::from_value(status).unwrap())
    }

    #[test]
    fn a_class_is_told_by_the_code() {
        use ApiErrorClass::{Conflict, Forbidden, Gone, NotFound, Refused, Throttled, Transport};
        let classes = [
            (403, Forbidden, "api"),
            (404, NotFound, "api"),
            (409, Conflict, "conflict"),
            (410, Gone, "api"),
            (422, Refused, "api"),
            (429, Throttled, "api"),
            (500, Refused, "api"),
        ];
        for (code, class, category) in classes {
            let error = api(code, "R", "m", &json!([]));
            assert_eq!(ApiErrorClass::of(&error), class, "{code}");
            assert_eq!(class.category(), category, "{code}");
            assert_eq!(is_not_found(&error), code == 404, "{code}");
            assert_eq!(is_conflict(&error), code == 409, "{code}");
            assert_eq!(is_forbidden(&error), code == 403, "{code}");
        }
        let error = kube::Error::LinesCodecMaxLineLengthExceeded;
        assert_eq!(ApiErrorClass::of(&error), Transport);
        assert_eq!(Transport.category(), "connection");
    }

    #[test]
    fn an_error_about_a_secret_quotes_no_value() {
        let causes = json!([{"field": "data[password]", "message": "canary"}]);
        let by_rights = "secrets \"db\" is forbidden: User \"u\" cannot patch resource";
        let of_secret = [
            (422, "Invalid", "data: \"canary\"", false),
            (403, "Forbidden", "admission webhook denied: canary", false),
            (403, "Forbidden", by_rights, true),
            (409, "Conflict", "another manager owns .data.a", true),
            (429, "TooManyRequests", "too many requests", true),
        ];
        for (code, reason, message, is_shown) in of_secret {
            let error = api(code, reason, message, &causes);
            let kube::Error::Api(status) = &error else {
                panic!("an answer of the API server")
            };
            assert_eq!(may_quote(status), !is_shown, "{message}");
            assert_eq!(describe(&error), message);
            let text = describe_fields(&error);
            let expected =
                format!("the API server refuses the Secret: {reason} ({code}) about data");
            assert_eq!(text, expected);
        }
        let error = api(409, "Conflict", "canary", &json!([]));
        let expected = "the API server refuses the Secret: Conflict (409)";
        assert_eq!(describe_fields(&error), expected);
    }
}

//! Pure: when credentials are renewed, and why there are none.

use std::time::{Duration, SystemTime};

/// Whether credentials can still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialAge {
    /// They work for a while.
    Fresh,
    /// They still work, and should be renewed.
    Ageing,
    /// They do not work any more.
    Expired,
}

/// The age of credentials that were loaded at a time and expire at another. Credentials that never expire are renewed after
/// a quarter of an hour, because the file or Secret that they come from may change.
pub fn credential_age(
    loaded: SystemTime,
    expiry: Option<SystemTime>,
    now: SystemTime,
) -> CredentialAge {
    const RENEW_ENDLESS: Duration = Duration::from_secs(15 * 60);
    const MARGIN: Duration = Duration::from_secs(5 * 60);
    /// A call with these would arrive too late.
    const TRANSFER: Duration = Duration::from_millis(500);
    let Some(expiry) = expiry else {
        let passed = now.duration_since(loaded).unwrap_or_default();
        return if passed < RENEW_ENDLESS {
            CredentialAge::Fresh
        } else {
            CredentialAge::Ageing
        };
    };
    let left = expiry.duration_since(now).unwrap_or_default();
    let lifetime = expiry.duration_since(loaded).unwrap_or_default();
    if left <= TRANSFER {
        CredentialAge::Expired
    } else if left <= MARGIN.min(lifetime / 5) {
        CredentialAge::Ageing
    } else {
        CredentialAge::Fresh
    }
}

/// Why an identity has no credentials. Texts hold names and codes only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The SDK's default chain found none. The text is its error chain.
    #[error("{0}")]
    DefaultChain(String),
    /// A `ServiceAccount` or a Secret is needed, and the command has no cluster.
    #[error("this identity needs a cluster, and none was given")]
    NoCluster,
    /// The source did not answer.
    #[error("they did not come in time")]
    Timeout,
    /// The `ServiceAccount` does not exist.
    #[error("ServiceAccount `{0}` does not exist")]
    NoServiceAccount(String),
    /// The `ServiceAccount` names no role.
    #[error(
        "ServiceAccount `{name}` has no annotation `{annotation}`; it names the role to assume"
    )]
    NoRole {
        /// The `ServiceAccount`.
        name: String,
        /// The annotation that names the role.
        annotation: &'static str,
    },
    /// The API server did not give a `ServiceAccount`, or a token for it.
    #[error("{request} ServiceAccount `{name}` failed: {reason}")]
    ServiceAccount {
        /// `reading`, or `a token of`.
        request: &'static str,
        /// The `ServiceAccount`.
        name: String,
        /// What the API server says.
        reason: String,
    },
    /// A session tag that STS does not accept.
    #[error("the session tag `{0}` is none")]
    SessionTag(String),
    /// STS denies the role.
    #[error(
        "{action} of {role} is denied ({code}): its trust policy must name the caller, and the caller must be allowed {action} on it"
    )]
    RoleDenied {
        /// `sts:AssumeRole`, or `sts:AssumeRoleWithWebIdentity`.
        action: &'static str,
        /// The ARN of the role.
        role: String,
        /// The code of STS.
        code: String,
    },
    /// STS gave no answer, or an error.
    #[error("{action} of {role} failed: {reason}")]
    AssumeRole {
        /// `sts:AssumeRole`, or `sts:AssumeRoleWithWebIdentity`.
        action: &'static str,
        /// The ARN of the role.
        role: String,
        /// The code of STS, or what went wrong on the way.
        reason: String,
    },
    /// STS answered without credentials.
    #[error("STS gave no credentials for {0}")]
    Empty(String),
    /// A Secret with keys cannot be used.
    #[error("{place} {problem}")]
    Secret {
        /// The Secret, or the key in it.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The error for a code of STS. A code that is empty stands for a request without an answer, and `transport` says why.
pub fn sts_error(
    action: &'static str,
    role: &str,
    code: &str,
    transport: impl FnOnce() -> String,
) -> CredentialError {
    let role = role.to_owned();
    match code {
        "AccessDenied" | "AccessDeniedException" => CredentialError::RoleDenied {
            action,
            role,
            code: code.to_owned(),
        },
        "" => CredentialError::AssumeRole {
            action,
            role,
            reason: transport(),
        },
        code => CredentialError::AssumeRole {
            action,
            role,
            reason: code.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lifetime: Option<f64>, now: f64, expected: CredentialAge) {
        let start = SystemTime::UNIX_EPOCH;
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let age = credential_age(start, lifetime.map(at), at(now));
        assert_eq!(age, expected, "{lifetime:?} at {now}");
    }

    #[test]
    fn credentials_are_renewed_before_they_expire() {
        for (lifetime, now, expected) in [
            (Some(3600.0), 0.0, CredentialAge::Fresh),
            (Some(3600.0), 3299.0, CredentialAge::Fresh),
            (Some(3600.0), 3301.0, CredentialAge::Ageing),
            (Some(3600.0), 3599.8, CredentialAge::Expired),
            (Some(3600.0), 9999.0, CredentialAge::Expired),
            (Some(10.0), 7.0, CredentialAge::Fresh),
            (Some(10.0), 8.5, CredentialAge::Ageing),
            (Some(0.2), 0.0, CredentialAge::Expired),
            (None, 10.0, CredentialAge::Fresh),
            (None, 901.0, CredentialAge::Ageing),
        ] {
            check(lifetime, now, expected);
        }
    }

    #[test]
    fn an_error_of_sts_says_what_to_change() {
        let text = |code: &str| {
            let error = sts_error("sts:AssumeRole", "arn:r", code, || {
                "no answer in time".to_owned()
            });
            error.to_string()
        };
        assert_eq!(
            text("AccessDenied"),
            "sts:AssumeRole of arn:r is denied (AccessDenied): its trust policy must name the caller, and the caller must be allowed sts:AssumeRole on it"
        );
        assert_eq!(
            text(""),
            "sts:AssumeRole of arn:r failed: no answer in time"
        );
        assert_eq!(
            text("MalformedPolicyDocument"),
            "sts:AssumeRole of arn:r failed: MalformedPolicyDocument"
        );
    }
}

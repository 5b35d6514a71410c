//! Pure: why a store cannot be used as it is written, and why its provider could not be read.

/// Why a provider could not be read. Texts are made of names and codes only: a provider's own text may quote a value.
///
/// The field `key` of each variant names the secret; `*` stands for a search or a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// A policy denies the action.
    #[error("access to `{key}` is denied: the identity lacks `{action}` on it ({code})")]
    AccessDenied {
        /// The secret.
        key: String,
        /// The action, as policies name it.
        action: &'static str,
        /// The code of the error.
        code: String,
    },
    /// There are no credentials, for this reason.
    #[error("no credentials: {0}")]
    Credentials(String),
    /// The credentials have expired, or are not known.
    #[error("reading `{key}` failed: {code}")]
    Refused {
        /// The secret.
        key: String,
        /// The code of the error.
        code: String,
    },
    /// The service asks for fewer calls.
    #[error("throttled while reading `{key}` ({code})")]
    Throttled {
        /// The secret.
        key: String,
        /// The code of the error.
        code: String,
    },
    /// The service is broken, or cannot be reached.
    #[error("reading `{key}` failed: {reason}")]
    Unavailable {
        /// The secret.
        key: String,
        /// The reason.
        reason: String,
    },
    /// Calls failed so often that none is made for a while; this is the last error.
    #[error("{0}; it failed so often that it is asked again only after a pause")]
    Paused(Box<Self>),
    /// Anything else that concerns this secret alone.
    #[error("reading `{key}` failed: {reason}")]
    Other {
        /// The secret.
        key: String,
        /// The reason.
        reason: String,
    },
}

/// What can be expected of reading again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It fails until a policy is changed.
    Denied,
    /// It may work in a moment, for this secret and all others.
    Trouble,
    /// It concerns this secret alone.
    Final,
}

impl ProviderError {
    /// What can be expected of reading again.
    pub fn class(&self) -> Class {
        match self {
            Self::AccessDenied { .. } => Class::Denied,
            Self::Credentials(_)
            | Self::Refused { .. }
            | Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Paused(_) => Class::Trouble,
            Self::Other { .. } => Class::Final,
        }
    }

    /// The action that a policy denies; `None` if none does.
    pub fn action(&self) -> Option<&'static str> {
        match self {
            Self::AccessDenied { action, .. } => Some(action),
            _ => None,
        }
    }

    /// The same error, about another secret.
    #[must_use]
    pub fn about(mut self, id: &str) -> Self {
        match &mut self {
            Self::AccessDenied { key, .. }
            | Self::Refused { key, .. }
            | Self::Throttled { key, .. }
            | Self::Unavailable { key, .. }
            | Self::Other { key, .. } => id.clone_into(key),
            Self::Paused(cause) => **cause = (**cause).clone().about(id),
            Self::Credentials(_) => {}
        }
        self
    }
}

/// Why a store cannot be used as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// overlayd does not have this provider.
    #[error("provider `{0}` is not supported by overlayd")]
    Provider(String),
    /// overlayd does not have this field of the provider.
    #[error("`provider.aws.{0}` is not supported yet")]
    Unsupported(String),
    /// A reference to a key of a Secret is incomplete.
    #[error("`provider.aws.{0}` must name a Secret and a key")]
    IncompleteKey(&'static str),
    /// A reference to a `ServiceAccount` is incomplete.
    #[error("`provider.aws.{0}` must name a ServiceAccount")]
    IncompleteAccount(&'static str),
    /// The store would read as the daemon, which a flag forbids.
    #[error(
        "a SecretStore needs `provider.aws.auth` here: without it, it would read all that overlayd may (`--require-store-auth`)"
    )]
    NoAuth,
    /// The region would change the host that is called.
    #[error("`provider.aws.region` must be a host label, not `{0}`")]
    Region(String),
    /// The interval between attempts is no duration.
    #[error("`retrySettings.retryInterval: {0}` is not a duration; write it as 10s, 5m or 1h30m")]
    RetryInterval(String),
    /// An entry of the provider `fake`, by its position from 0, is incomplete.
    #[error("`provider.fake.data[{0}]` needs a key and a value")]
    FakeData(usize),
}

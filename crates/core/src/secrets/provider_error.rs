//! Pure: why a store cannot be used, and why its provider did not answer.

/// Why a provider did not answer. Texts are made of names and codes only: what a provider says may quote a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    #[error("access to `{key}` is denied: the identity lacks `{action}` on it ({code})")]
    AccessDenied {
        key: String,
        action: &'static str,
        code: String,
    },
    #[error("no credentials: {0}")]
    Credentials(String),
    /// The credentials are too old, or not known.
    #[error("reading `{key}` failed: {code}")]
    Refused { key: String, code: String },
    #[error("throttled while reading `{key}` ({code})")]
    Throttled { key: String, code: String },
    /// The service is broken, or cannot be reached.
    #[error("reading `{key}` failed: {reason}")]
    Unavailable { key: String, reason: String },
    #[error("{0}; it failed so often that it is asked again only after a pause")]
    Paused(Box<Self>),
    #[error("reading `{key}` failed: {reason}")]
    Other { key: String, reason: String },
}

/// What can be expected of asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Somebody has to change a policy.
    Denied,
    /// It may work in a moment, for this secret and all others.
    Trouble,
    /// It is about this secret.
    Final,
}

impl ProviderError {
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

    /// The action that is denied.
    pub fn action(&self) -> Option<&'static str> {
        match self {
            Self::AccessDenied { action, .. } => Some(action),
            _ => None,
        }
    }

    /// The same, about another key.
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
    #[error("provider `{0}` is not supported by overlayd")]
    Provider(String),
    #[error("`provider.aws.{0}` is not supported yet")]
    Unsupported(String),
    #[error("`provider.aws.{0}` must name a Secret and a key")]
    IncompleteKey(&'static str),
    #[error("`provider.aws.{0}` must name a ServiceAccount")]
    IncompleteAccount(&'static str),
    #[error("`provider.aws.region` must be a host label, not `{0}`")]
    Region(String),
    #[error("`retrySettings.retryInterval: {0}` is not a duration; write it as 10s, 5m or 1h30m")]
    RetryInterval(String),
    #[error("`provider.fake.data[{0}]` needs a key and a value")]
    FakeData(usize),
}

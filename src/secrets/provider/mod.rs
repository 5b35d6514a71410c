//! Where values come from. A provider is one file behind one trait.

mod fake;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::SecretValue;
use super::aws::identity::{StoreName, identify};
use super::aws::{AwsStore, Fetcher, Question, Reader, ReaderKey, Retry, Service};
use super::compose::Answer;
use super::desired::{Ask, Search};
use crate::api::secret_store::{AwsService, Capabilities, SecretStoreSpec};
use crate::schedule::parse_duration;

use fake::Fake;

/// Reads values from one store.
pub(crate) trait Provider: Send + Sync + std::fmt::Debug {
    /// Answers a question. What does not exist is an answer; everything that may be otherwise soon is an error.
    fn read<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, ProviderError>>;

    /// Where a question is asked together with those of others, and how it is asked there.
    fn shared(&self, _ask: &Ask) -> Option<(Arc<Reader>, Question)> {
        None
    }

    /// Checks that the store can be used at all, as cheaply as it can be told.
    fn validate(&self) -> BoxFuture<'_, Result<Validation, ProviderError>>;

    /// What the store can do.
    fn capabilities(&self) -> Capabilities;

    /// True if a secret that lacks a property counts as missing.
    fn is_lenient(&self) -> bool {
        false
    }

    /// False for one that External Secrets warns about.
    fn is_maintained(&self) -> bool {
        true
    }
}

/// What can be said of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validation {
    Ready,
    /// It may or may not work.
    Unknown,
}

/// Why a provider did not answer. Texts are made of names and codes only: what a provider says may quote a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderError {
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
pub(crate) enum Class {
    /// Somebody has to change a policy.
    Denied,
    /// It may work in a moment, for this secret and all others.
    Trouble,
    /// It is about this secret.
    Final,
}

impl ProviderError {
    pub(crate) fn class(&self) -> Class {
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
    pub(crate) fn action(&self) -> Option<&'static str> {
        match self {
            Self::AccessDenied { action, .. } => Some(action),
            _ => None,
        }
    }

    /// The same, about another key.
    pub(crate) fn about(mut self, id: &str) -> Self {
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
pub(crate) enum StoreError {
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

/// The names that a search wants.
pub(super) fn pattern(search: &Search) -> Result<regex::Regex, ProviderError> {
    let text = search.name.as_deref().unwrap_or_default();
    gocompat::regex::compile(text).map_err(|error| ProviderError::Other {
        key: "*".to_owned(),
        reason: format!("`find.name.regexp`: {}", error.code()),
    })
}

/// Tags as a JSON object.
pub(super) fn tags(tags: impl Iterator<Item = (String, String)>) -> SecretValue {
    let tags: BTreeMap<String, String> = tags.collect();
    SecretValue::from(serde_json::json!(tags).to_string().into_bytes())
}

/// What makes a provider of a store.
#[derive(Debug)]
pub(crate) struct Providers {
    fetcher: Arc<Fetcher>,
}

impl Providers {
    pub(crate) fn new(fetcher: Arc<Fetcher>) -> Self {
        Self { fetcher }
    }

    /// The provider of a store, for an ExternalSecret of a namespace. Nothing if it depends on the namespace and none is
    /// given.
    pub(crate) async fn of(
        &self,
        name: StoreName<'_>,
        spec: &SecretStoreSpec,
        user: Option<&str>,
    ) -> Result<Option<Arc<dyn Provider>>, StoreError> {
        if let Some(fake) = &spec.provider.fake {
            let empty = |entry: &crate::api::secret_store::FakeData| {
                entry.key.is_empty() || entry.value.is_empty()
            };
            return match fake.data.iter().position(empty) {
                Some(index) => Err(StoreError::FakeData(index)),
                None => Ok(Some(Arc::new(Fake::new(fake.clone())))),
            };
        }
        let Some(key) = reader_key(name, spec, user)? else {
            return Ok(None);
        };
        let prefix = spec.provider.aws.as_ref();
        let prefix = prefix
            .and_then(|aws| aws.prefix.clone())
            .unwrap_or_default();
        let reader = self.fetcher.reader(&key).await;
        Ok(Some(Arc::new(AwsStore::new(
            self.fetcher.clone(),
            reader,
            prefix,
        ))))
    }
}

/// Which reader serves a store; nothing if it depends on who uses it, or if there is nothing to read from AWS.
pub(crate) fn reader_key(
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

//! Where values come from. A provider is one file behind one trait.

mod aws;
#[cfg(test)]
mod cases;
mod fake;
mod parameter_store;
mod secrets_manager;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use gotemplate::re2;
use tokio::sync::Mutex;

use super::SecretValue;
use super::compose::Answer;
use super::desired::{Ask, Search};
use crate::api::secret_store::{AwsProvider, AwsService, Capabilities, SecretStoreSpec};
use crate::metrics::Metrics;
use crate::schedule::parse_duration;

pub(crate) use aws::AwsEnvironment;
use fake::Fake;
use parameter_store::ParameterStore;
use secrets_manager::SecretsManager;

/// Reads values from one store.
pub(crate) trait Provider: Send + Sync + std::fmt::Debug {
    /// Answers a question. What does not exist is an answer; everything that may be otherwise soon is an error.
    fn read<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, ProviderError>>;

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
    #[error("throttled while reading `{key}` ({code})")]
    Throttled { key: String, code: String },
    #[error("reading `{key}` failed: {reason}")]
    Other { key: String, reason: String },
}

/// Why a store cannot be used as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("provider `{0}` is not supported by overlayd")]
    Provider(String),
    #[error("`provider.aws.{0}` is not supported yet")]
    Unsupported(String),
    #[error("`provider.aws.region` must be a host label, not `{0}`")]
    Region(String),
    #[error("`retrySettings.retryInterval: {0}` is not a duration; write it as 10s, 5m or 1h30m")]
    RetryInterval(String),
    #[error("`provider.fake.data[{0}]` needs a key and a value")]
    FakeData(usize),
}

/// The names that a search wants.
fn pattern(search: &Search) -> Result<regex::Regex, ProviderError> {
    let text = search.name.as_deref().unwrap_or_default();
    re2::compile(text).map_err(|reason| ProviderError::Other {
        key: "*".to_owned(),
        reason: format!("`find.name.regexp`: {reason}"),
    })
}

/// Tags as a JSON object.
fn tags(tags: impl Iterator<Item = (String, String)>) -> SecretValue {
    let tags: BTreeMap<String, String> = tags.collect();
    SecretValue::from(serde_json::json!(tags).to_string().into_bytes())
}

/// By store: the spec it was made for, and the provider.
type Kept = BTreeMap<String, (SecretStoreSpec, Arc<dyn Provider>)>;

/// A provider for each store, kept while its spec stays the same.
#[derive(Debug)]
pub(crate) struct Providers {
    environment: AwsEnvironment,
    metrics: Arc<Metrics>,
    kept: Mutex<Kept>,
}

impl Providers {
    pub(crate) fn new(environment: AwsEnvironment, metrics: Arc<Metrics>) -> Self {
        Self {
            environment,
            metrics,
            kept: Mutex::default(),
        }
    }

    /// The provider of a store. `id` names the store: kind, namespace and name.
    pub(crate) async fn of(
        &self,
        id: &str,
        spec: &SecretStoreSpec,
    ) -> Result<Arc<dyn Provider>, StoreError> {
        let mut kept = self.kept.lock().await;
        if let Some((known, provider)) = kept.get(id)
            && known == spec
        {
            return Ok(provider.clone());
        }
        let provider = self.make(spec).await?;
        kept.insert(id.to_owned(), (spec.clone(), provider.clone()));
        Ok(provider)
    }

    /// Forgets a store that is gone.
    pub(crate) fn forget(&self, id: &str) {
        // One that is being made at this moment is of a store that is there.
        if let Ok(mut kept) = self.kept.try_lock() {
            kept.remove(id);
        }
    }

    async fn make(&self, spec: &SecretStoreSpec) -> Result<Arc<dyn Provider>, StoreError> {
        if let Some(fake) = &spec.provider.fake {
            let empty = |entry: &crate::api::secret_store::FakeData| {
                entry.key.is_empty() || entry.value.is_empty()
            };
            return match fake.data.iter().position(empty) {
                Some(index) => Err(StoreError::FakeData(index)),
                None => Ok(Arc::new(Fake::new(fake.clone()))),
            };
        }
        let Some(aws) = &spec.provider.aws else {
            let name = spec.provider.others.keys().next().cloned();
            return Err(StoreError::Provider(name.unwrap_or_default()));
        };
        check_aws(spec, aws)?;
        let prefix = aws.prefix.clone().unwrap_or_default();
        let config = aws::configuration(&aws.region, spec.retry_settings.as_ref()).await;
        let (environment, metrics) = (&self.environment, self.metrics.clone());
        Ok(match aws.service {
            AwsService::ParameterStore => {
                Arc::new(ParameterStore::new(environment, config, prefix, metrics))
            }
            _ => Arc::new(SecretsManager::new(environment, config, prefix, metrics)),
        })
    }
}

fn check_aws(spec: &SecretStoreSpec, aws: &AwsProvider) -> Result<(), StoreError> {
    let auth = aws.auth.as_ref();
    let set = [
        (
            "service: CertificateManager",
            aws.service == AwsService::CertificateManager,
        ),
        ("auth.jwt", auth.is_some_and(|auth| auth.jwt.is_some())),
        (
            "auth.secretRef",
            auth.is_some_and(|auth| auth.secret_ref.is_some()),
        ),
        ("role", aws.role.is_some()),
        ("additionalRoles", !aws.additional_roles.is_empty()),
    ];
    if let Some((field, _)) = set.iter().find(|(_, set)| *set) {
        return Err(StoreError::Unsupported((*field).to_owned()));
    }
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if aws.region.is_empty() || !aws.region.bytes().all(is_label) {
        return Err(StoreError::Region(aws.region.clone()));
    }
    let retry = spec.retry_settings.as_ref();
    match retry.and_then(|retry| retry.retry_interval.as_deref()) {
        Some(text) if parse_duration(text).is_none() => {
            Err(StoreError::RetryInterval(text.to_owned()))
        }
        _ => Ok(()),
    }
}

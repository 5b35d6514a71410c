//! Where values come from. A provider is one file behind one trait.

mod secrets_manager;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::SecretValue;
use crate::api::secret_store::{AwsService, Capabilities, SecretStoreSpec};
use crate::metrics::Metrics;

pub(crate) use secrets_manager::{AwsEnvironment, SecretsManager};

/// Reads values from one store.
pub(crate) trait Provider: Send + Sync + std::fmt::Debug {
    /// The value of a key at a version (empty for the current one).
    fn get<'a>(
        &'a self,
        key: &'a str,
        version: &'a str,
    ) -> BoxFuture<'a, Result<SecretValue, ProviderError>>;

    /// Checks that the store can be used at all, as cheaply as it can be told.
    fn validate(&self) -> BoxFuture<'_, Result<(), ProviderError>>;

    /// What the store can do.
    fn capabilities(&self) -> Capabilities;
}

/// Why a provider did not answer. Texts are made of names and codes only: what a provider says may quote a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderError {
    #[error("secret `{key}` does not exist")]
    NotFound { key: String },
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

    async fn make(&self, spec: &SecretStoreSpec) -> Result<Arc<dyn Provider>, StoreError> {
        let Some(aws) = &spec.provider.aws else {
            let name = spec
                .provider
                .others
                .keys()
                .next()
                .cloned()
                .unwrap_or_default();
            return Err(StoreError::Provider(name));
        };
        let auth = aws.auth.as_ref();
        let set = [
            (
                "service: ParameterStore",
                aws.service == AwsService::ParameterStore,
            ),
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
        let is_label = !aws.region.is_empty()
            && aws
                .region
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_label {
            return Err(StoreError::Region(aws.region.clone()));
        }
        let prefix = aws.prefix.clone().unwrap_or_default();
        let provider =
            SecretsManager::new(&self.environment, &aws.region, prefix, self.metrics.clone()).await;
        Ok(Arc::new(provider))
    }
}

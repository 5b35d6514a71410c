//! Where values come from. A provider is one file behind one trait.

mod fake;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::aws::{AwsStore, Fetcher, Reader};
use overlayd_core::api::secret_store::{Capabilities, SecretStoreSpec};
use overlayd_core::aws::identity::StoreName;
use overlayd_core::aws::read_scheduler::SecretId;
use overlayd_core::aws::reader_key::reader_key;
use overlayd_core::secrets::SecretValue;
use overlayd_core::secrets::compose::LookupResult;
use overlayd_core::secrets::desired::{Lookup, Search};
use overlayd_core::secrets::provider_error::{ProviderError, StoreError};

use fake::Fake;

/// Reads values from one store.
pub(crate) trait Provider: Send + Sync + std::fmt::Debug {
    /// Answers a question. What does not exist is an answer; everything that may be otherwise soon is an error.
    fn read<'a>(&'a self, ask: &'a Lookup) -> BoxFuture<'a, Result<LookupResult, ProviderError>>;

    /// Where a question is asked together with those of others, and how it is asked there.
    fn shared(&self, _ask: &Lookup) -> Option<(Arc<Reader>, SecretId)> {
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

/// The names that a search wants.
pub(crate) fn pattern(search: &Search) -> Result<regex::Regex, ProviderError> {
    let text = search.name.as_deref().unwrap_or_default();
    gocompat::regex::compile(text).map_err(|error| ProviderError::Other {
        key: "*".to_owned(),
        reason: format!("`find.name.regexp`: {}", error.code()),
    })
}

/// Tags as a JSON object.
pub(crate) fn tags(tags: impl Iterator<Item = (String, String)>) -> SecretValue {
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
            let empty = |entry: &overlayd_core::api::secret_store::FakeData| {
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

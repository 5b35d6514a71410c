//! The providers that values are read from, each behind the trait [`Provider`].

pub(crate) mod aws;
mod fake;

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::aws::Fetcher;
use overlayd_core::api::secret_store::{Capabilities, SecretStoreSpec};
use overlayd_core::aws::reader_key::{SharedRead, StoreAuth, check_auth, reader_key};
use overlayd_core::names::StoreName;
use overlayd_core::secrets::compose::LookupResult;
use overlayd_core::secrets::desired::Lookup;
use overlayd_core::secrets::provider_error::{ProviderError, StoreError};
pub(crate) use overlayd_core::secrets::store_validation::Validation;

use aws::AwsStore;
use fake::Fake;

/// Reads values from one store.
pub(crate) trait Provider: Send + Sync + std::fmt::Debug {
    /// Looks something up. A secret that does not exist is a result; everything that may change soon is an error.
    fn read<'a>(&'a self, lookup: &'a Lookup)
    -> BoxFuture<'a, Result<LookupResult, ProviderError>>;

    /// The read that answers a lookup together with those of other stores; nothing for a lookup that is made alone.
    fn shared(&self, _lookup: &Lookup) -> Option<SharedRead> {
        None
    }

    /// Checks that the store can be used, as cheaply as possible.
    fn validate(&self) -> BoxFuture<'_, Result<Validation, ProviderError>>;

    /// What the store can do.
    fn capabilities(&self) -> Capabilities;

    /// True if a secret that lacks a property counts as missing.
    fn is_lenient(&self) -> bool {
        false
    }

    /// False for a provider that External Secrets warns about.
    fn is_maintained(&self) -> bool {
        true
    }
}

/// Makes the provider of a store.
#[derive(Debug)]
pub(crate) struct Providers {
    fetcher: Arc<Fetcher>,
    auth: StoreAuth,
}

impl Providers {
    /// Providers that read by this fetcher. `auth` says whether a SecretStore may read as the daemon.
    pub(crate) fn new(fetcher: Arc<Fetcher>, auth: StoreAuth) -> Self {
        Self { fetcher, auth }
    }

    /// The provider of a store, for ExternalSecrets of a namespace. `None` if it depends on the namespace and none is given.
    pub(crate) async fn of(
        &self,
        name: StoreName<'_>,
        spec: &SecretStoreSpec,
        namespace: Option<&str>,
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
        let Some(key) = reader_key(name, spec, namespace)? else {
            return Ok(None);
        };
        check_auth(name, &key.identity, self.auth)?;
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

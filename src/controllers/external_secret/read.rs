//! Talks to AWS: reads the values of an ExternalSecret: single values together with other ExternalSecrets, searches and
//! tags by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};

use crate::aws::Reading;
use crate::controllers::external_secret::context::ExternalSecretContext;
use crate::controllers::external_secret::error::SecretSyncError;
use crate::secrets::provider::Provider;
use overlayd_core::names::NamespacedName;
use overlayd_core::secrets::compose::{FetchedValues, LookupResult};
use overlayd_core::secrets::desired::{StoreLookup, StoreRef};
use overlayd_core::secrets::observed::{ObservedExternalSecret, SyncOptions};
use overlayd_core::secrets::refresh::watch_interval;

/// How many lookups that are not shared run at once.
const CONCURRENT_LOOKUPS: usize = 8;

/// The lookups of an ExternalSecret. None is made before [`StoreReads::fetch`].
pub(super) struct StoreReads {
    /// Those that are batched with others', in the order of the reading.
    shared: Vec<StoreLookup>,
    reading: Reading,
    alone: Vec<(StoreLookup, Arc<dyn Provider>)>,
    /// Stores in which a secret that lacks a property counts as missing.
    lenient: Vec<StoreRef>,
}

impl StoreReads {
    /// Announces the lookups to the read scheduler, so that batches of others can take them along.
    pub(super) async fn announce(
        observed: &ObservedExternalSecret<'_>,
        context: &ExternalSecretContext,
        options: &SyncOptions<'_>,
    ) -> Result<Self, SecretSyncError> {
        let desired = observed.desired.as_ref().map_err(Clone::clone)?;
        let providers = providers(observed, context, options).await?;
        let lenient = providers
            .iter()
            .filter(|(_, provider)| provider.is_lenient());
        let lenient = lenient.map(|(reference, _)| (*reference).clone()).collect();
        let (mut shared, mut ids, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        for lookup in desired.lookups() {
            let provider = providers.get(&lookup.store);
            let provider =
                provider.ok_or_else(|| SecretSyncError::UnknownStore(lookup.store.clone()))?;
            match provider.shared(&lookup.lookup) {
                Some(id) => {
                    shared.push(lookup);
                    ids.push(id);
                }
                None => alone.push((lookup, provider.clone())),
            }
        }
        let name = NamespacedName::of(observed.object);
        Ok(Self {
            shared,
            reading: context.fetcher.announce(Some(&name), ids).await,
            alone,
            lenient,
        })
    }

    /// Makes all lookups, and waits for their results.
    pub(super) async fn fetch(
        &mut self,
        name: &NamespacedName,
    ) -> Result<FetchedValues, SecretSyncError> {
        let mut fetched = FetchedValues::default();
        fetched.lenient.extend(self.lenient.iter().cloned());
        let results = self.reading.take(name).await?;
        fetched.results = self.shared.iter().cloned().zip(results).collect();
        let alone = self.alone.iter();
        let alone: Vec<_> = alone
            .map(|(lookup, provider)| provider.read(&lookup.lookup))
            .collect();
        let results = futures::stream::iter(alone).buffered(CONCURRENT_LOOKUPS);
        let results: Vec<LookupResult> = results.try_collect().await?;
        let alone = self.alone.iter().map(|(lookup, _)| lookup.clone());
        fetched.results.extend(alone.zip(results));
        Ok(fetched)
    }

    /// The reading, if everything that was read can be watched for changes.
    pub(super) fn watchable(self) -> Option<Reading> {
        (self.alone.is_empty() && !self.shared.is_empty()).then_some(self.reading)
    }
}

/// The provider of each store, for the namespace of the ExternalSecret.
async fn providers<'o>(
    observed: &'o ObservedExternalSecret<'_>,
    context: &ExternalSecretContext,
    options: &SyncOptions<'_>,
) -> Result<BTreeMap<&'o StoreRef, Arc<dyn Provider>>, SecretSyncError> {
    let namespace = observed.namespace();
    let mut providers: BTreeMap<&StoreRef, Arc<dyn Provider>> = BTreeMap::new();
    for store in &observed.stores {
        let (reference, state) = (&store.reference, observed.usable(store, &options.stores)?);
        let provider = context
            .providers
            .of(state.store_name(), &state.spec, Some(namespace))
            .await;
        let provider = provider.map_err(|error| SecretSyncError::StoreSpec {
            reference: reference.clone(),
            error,
        })?;
        let provider = provider.ok_or_else(|| SecretSyncError::NoIdentity(reference.clone()))?;
        providers.insert(reference, provider);
    }
    Ok(providers)
}

/// Subscribes the ExternalSecret to changes of the values that were read. False if that is not possible: then the
/// interval decides when they are read again.
pub(super) fn watch(
    observed: &ObservedExternalSecret<'_>,
    context: &ExternalSecretContext,
    reading: Option<Reading>,
) -> bool {
    let object = observed.object;
    let (Some(reading), Some(interval)) = (reading, watch_interval(&object.spec)) else {
        return false;
    };
    let name = NamespacedName::of(object);
    context.fetcher.watch(&name, &reading, interval);
    true
}

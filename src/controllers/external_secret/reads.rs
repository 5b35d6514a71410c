//! What an ExternalSecret asks its stores: values together with all others who ask, searches and tags by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;

use crate::aws::Reading;
use crate::controllers::Context;
use crate::controllers::external_secret::Stores;
use crate::controllers::external_secret::sync::SecretSyncError;
use crate::secrets::provider::Provider;
use overlayd_core::api::external_secret::ExternalSecret;
use overlayd_core::names::NamespacedName;
use overlayd_core::secrets::compose::{FetchedValues, LookupResult};
use overlayd_core::secrets::desired::{DesiredSecret, StoreLookup, StoreRef};

/// How many questions that are asked alone are on their way at once.
const AT_ONCE: usize = 8;

/// What will be asked. Nothing is, before [`Reads::take`].
pub(super) struct Reads {
    /// Those that are read together with others, in the order of the reading.
    shared: Vec<StoreLookup>,
    reading: Reading,
    alone: Vec<(StoreLookup, Arc<dyn Provider>)>,
    lenient: Vec<StoreRef>,
}

impl Reads {
    /// Says what will be wanted, so that it can come along with what others want.
    pub(super) async fn announce(
        object: &ExternalSecret,
        context: &Context,
        stores: &Stores,
        desired: &DesiredSecret,
        user: &NamespacedName,
    ) -> Result<Self, SecretSyncError> {
        let namespace = object.namespace().unwrap_or_default();
        let mut providers: BTreeMap<&StoreRef, Arc<dyn Provider>> = BTreeMap::new();
        let mut lenient = Vec::new();
        for (reference, store) in stores {
            let store = store
                .as_ref()
                .map_err(|error| SecretSyncError::Store(error.clone()))?;
            store
                .check_usable(context, reference, &namespace)
                .map_err(SecretSyncError::Store)?;
            let provider = context
                .providers
                .of(store.name(), &store.spec, Some(&namespace))
                .await
                .map_err(|error| SecretSyncError::Store(format!("{reference}: {error}")))?
                .ok_or_else(|| SecretSyncError::Store(format!("{reference} has no identity")))?;
            if provider.is_lenient() {
                lenient.push(reference.clone());
            }
            providers.insert(reference, provider);
        }
        let (mut shared, mut questions, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        for read in desired.lookups() {
            let provider = providers.get(&read.store);
            let provider = provider
                .ok_or_else(|| SecretSyncError::Store(format!("{} is not known", read.store)))?;
            match provider.shared(&read.lookup) {
                Some(question) => {
                    shared.push(read);
                    questions.push(question);
                }
                None => alone.push((read, provider.clone())),
            }
        }
        Ok(Self {
            shared,
            reading: context.fetcher.announce(Some(user), questions).await,
            alone,
            lenient,
        })
    }

    /// Asks, and waits for all answers.
    pub(super) async fn take(
        &mut self,
        user: &NamespacedName,
    ) -> Result<FetchedValues, SecretSyncError> {
        let mut fetched = FetchedValues::default();
        fetched.lenient.extend(self.lenient.iter().cloned());
        let answers = self.reading.take(user).await?;
        fetched.results = self.shared.iter().cloned().zip(answers).collect();
        let alone = self.alone.iter();
        let alone: Vec<_> = alone
            .map(|(read, provider)| provider.read(&read.lookup))
            .collect();
        let answers = futures::stream::iter(alone).buffered(AT_ONCE);
        let answers: Vec<LookupResult> = answers.try_collect().await?;
        let alone = self.alone.iter().map(|(read, _)| read.clone());
        fetched.results.extend(alone.zip(answers));
        Ok(fetched)
    }

    /// What was read, if all of it can be watched for changes.
    pub(super) fn watchable(self) -> Option<Reading> {
        (self.alone.is_empty() && !self.shared.is_empty()).then_some(self.reading)
    }
}

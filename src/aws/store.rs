//! A store of AWS: a reader, which it shares with other stores of its identity, and a prefix.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::aws::fetcher::{Fetcher, Reader};
use crate::secrets::provider::{Provider, Validation};
use overlayd_core::api::secret_store::Capabilities;
use overlayd_core::aws::read_scheduler::SecretId;
use overlayd_core::secrets::compose::LookupResult;
use overlayd_core::secrets::desired::Lookup;
use overlayd_core::secrets::provider_error::ProviderError;

/// One store.
#[derive(Debug)]
pub(crate) struct AwsStore {
    fetcher: Arc<Fetcher>,
    reader: Arc<Reader>,
    prefix: String,
}

impl AwsStore {
    pub(crate) fn new(fetcher: Arc<Fetcher>, reader: Arc<Reader>, prefix: String) -> Self {
        Self {
            fetcher,
            reader,
            prefix,
        }
    }
}

impl Provider for AwsStore {
    fn shared(&self, ask: &Lookup) -> Option<(Arc<Reader>, SecretId)> {
        let Lookup::Value { key, version } = ask else {
            return None;
        };
        let question = SecretId {
            id: format!("{}{key}", self.prefix),
            version: version.clone(),
        };
        Some((self.reader.clone(), question))
    }

    fn read<'a>(&'a self, ask: &'a Lookup) -> BoxFuture<'a, Result<LookupResult, ProviderError>> {
        async move {
            match ask {
                Lookup::Value { .. } => {
                    let questions = self.shared(ask).into_iter().collect();
                    let told = self.fetcher.announce(None, questions).take_each().await;
                    told.into_iter().next().unwrap_or(Ok(LookupResult::Missing))
                }
                Lookup::Tags { key } => {
                    let id = format!("{}{key}", self.prefix);
                    self.reader.remote.tags(&id).await
                }
                // A prefix is for keys alone.
                Lookup::Find(search) => self.reader.remote.find(search).await,
            }
        }
        .boxed()
    }

    fn validate(&self) -> BoxFuture<'_, Result<Validation, ProviderError>> {
        async {
            // Their values are not looked at; that there are some is the answer.
            let credentials = self.reader.session.credentials.get().await;
            let credentials = credentials.map_err(ProviderError::Credentials);
            credentials.map(|_| Validation::Ready)
        }
        .boxed()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ReadWrite
    }
}

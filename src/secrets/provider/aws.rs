//! Talks to AWS: the stores of Secrets Manager and Parameter Store. Stores of one identity share a reader; each has its own
//! prefix.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::aws::{Fetcher, Reader};
use crate::secrets::provider::{Provider, Validation};
use overlayd_core::api::secret_store::Capabilities;
use overlayd_core::aws::read_scheduler::SecretId;
use overlayd_core::aws::reader_key::SharedRead;
use overlayd_core::secrets::compose::LookupResult;
use overlayd_core::secrets::desired::Lookup;
use overlayd_core::secrets::provider_error::ProviderError;

/// One store.
#[derive(Debug)]
pub(crate) struct AwsStore {
    /// Announces reads to the scheduler of the reader.
    fetcher: Arc<Fetcher>,
    /// The service and the identity of the store.
    reader: Arc<Reader>,
    /// `spec.provider.aws.prefix`; empty for none.
    prefix: String,
}

impl AwsStore {
    /// A store that reads by this reader. `prefix` is put before every key.
    pub(crate) fn new(fetcher: Arc<Fetcher>, reader: Arc<Reader>, prefix: String) -> Self {
        Self {
            fetcher,
            reader,
            prefix,
        }
    }
}

impl Provider for AwsStore {
    fn shared(&self, lookup: &Lookup) -> Option<SharedRead> {
        let Lookup::Value { key, version } = lookup else {
            return None;
        };
        Some(SharedRead {
            reader: self.reader.key.clone(),
            secret: SecretId::new(format!("{}{key}", self.prefix), version),
        })
    }

    fn read<'a>(
        &'a self,
        lookup: &'a Lookup,
    ) -> BoxFuture<'a, Result<LookupResult, ProviderError>> {
        async move {
            match lookup {
                Lookup::Value { .. } => {
                    let shared = self.shared(lookup).into_iter().collect();
                    let mut reading = self.fetcher.announce(None, shared).await;
                    let answers = reading.take_each().await;
                    answers
                        .into_iter()
                        .next()
                        .unwrap_or(Ok(LookupResult::Missing))
                }
                Lookup::Tags { key } => {
                    let id = format!("{}{key}", self.prefix);
                    self.reader.service.tags(&id).await
                }
                // A prefix is for keys alone.
                Lookup::Find(search) => self.reader.service.find(search).await,
            }
        }
        .boxed()
    }

    fn validate(&self) -> BoxFuture<'_, Result<Validation, ProviderError>> {
        async {
            // A store is usable if its identity has credentials, whatever they are.
            match self.reader.session.credentials.get().await {
                Ok(_) => Ok(Validation::Ready),
                Err(error) => Err(ProviderError::Credentials(error.to_string())),
            }
        }
        .boxed()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ReadWrite
    }
}

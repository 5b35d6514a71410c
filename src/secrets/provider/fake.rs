//! Pure: the provider `fake`, for tests: its values are written in the store.

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};

use crate::secrets::provider::{Provider, Validation};
use overlayd_core::api::secret_store::{Capabilities, FakeProvider};
use overlayd_core::secrets::compose::LookupResult;
use overlayd_core::secrets::desired::{Lookup, Search};
use overlayd_core::secrets::provider_error::ProviderError;
use overlayd_core::secrets::search::name_pattern;
use overlayd_core::secrets::{SecretData, SecretValue};

/// The values of one store.
#[derive(Debug)]
pub(crate) struct Fake {
    spec: FakeProvider,
}

impl Fake {
    /// A provider with the values of a spec.
    pub(crate) fn new(spec: FakeProvider) -> Self {
        Self { spec }
    }

    /// The result of a lookup. It needs no request, so it never waits.
    fn look_up(&self, lookup: &Lookup) -> Result<LookupResult, ProviderError> {
        match lookup {
            Lookup::Value { key, version } => {
                let mut entries = self.spec.data.iter();
                let found = entries.find(|entry| {
                    entry.key == *key && entry.version.as_deref().unwrap_or_default() == version
                });
                Ok(found.map_or(LookupResult::Missing, |entry| {
                    LookupResult::Value(value(&entry.value))
                }))
            }
            Lookup::Tags { key } => Err(ProviderError::Other {
                key: key.clone(),
                reason: "the fake provider has no tags".to_owned(),
            }),
            Lookup::Find(search) => self.find(search).map(LookupResult::Found),
        }
    }

    /// The matching values. Of several versions, the one whose name sorts last.
    fn find(&self, search: &Search) -> Result<SecretData, ProviderError> {
        if search.name.is_none() {
            return Err(ProviderError::Other {
                key: "*".to_owned(),
                reason: "the fake provider finds by name alone".to_owned(),
            });
        }
        let pattern = name_pattern(search)?;
        let mut entries: Vec<_> = self
            .spec
            .data
            .iter()
            .filter(|entry| pattern.is_match(&entry.key))
            .collect();
        entries.sort_by_key(|entry| entry.version.clone());
        let found = entries.iter();
        Ok(found
            .map(|entry| (entry.key.clone(), value(&entry.value)))
            .collect())
    }
}

/// A value of the spec.
fn value(text: &str) -> SecretValue {
    SecretValue::from(text.as_bytes().to_vec())
}

impl Provider for Fake {
    fn read<'a>(
        &'a self,
        lookup: &'a Lookup,
    ) -> BoxFuture<'a, Result<LookupResult, ProviderError>> {
        ready(self.look_up(lookup)).boxed()
    }

    fn validate(&self) -> BoxFuture<'_, Result<Validation, ProviderError>> {
        let result = match self.spec.validation_result.unwrap_or_default() {
            0 => Ok(Validation::Ready),
            1 => Ok(Validation::Unknown),
            _ => Err(ProviderError::Other {
                key: "*".to_owned(),
                reason: "`validationResult` says so".to_owned(),
            }),
        };
        ready(result).boxed()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ReadWrite
    }

    fn is_lenient(&self) -> bool {
        true
    }

    fn is_maintained(&self) -> bool {
        false
    }
}

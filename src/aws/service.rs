//! The requests that each service of AWS answers, behind one trait, with one file per service.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;

use overlayd_core::aws::read_scheduler::{CallResult, ReadAnswer, SecretId};
use overlayd_core::secrets::SecretData;
use overlayd_core::secrets::compose::LookupResult;
use overlayd_core::secrets::desired::Search;
use overlayd_core::secrets::provider_error::ProviderError;
use overlayd_core::secrets::search::FoundValues;

/// One service, as one identity.
pub(crate) trait SecretService: Send + Sync + std::fmt::Debug {
    /// Reads several secrets in one call. Each group is one secret by all its ids, and only the first id is sent.
    fn batch<'a>(&'a self, groups: &'a [Vec<Arc<SecretId>>]) -> BoxFuture<'a, CallResult>;

    /// Reads one secret.
    fn single<'a>(&'a self, secret: &'a Arc<SecretId>) -> BoxFuture<'a, CallResult>;

    /// Lists the versions of all secrets, on so many pages at most.
    fn list(&self, most_pages: usize) -> BoxFuture<'_, CallResult>;

    /// The tags of a secret as a JSON object.
    fn tags<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<LookupResult, ProviderError>>;

    /// The values of all secrets that a search finds, by name.
    fn find<'a>(&'a self, search: &'a Search)
    -> BoxFuture<'a, Result<LookupResult, ProviderError>>;
}

/// The values of several names, each read by a call of its own. A secret that was deleted since it was listed is left out.
pub(super) async fn values_of<F>(
    names: Vec<String>,
    read: impl Fn(String) -> F,
) -> Result<SecretData, ProviderError>
where
    F: Future<Output = (String, ReadAnswer)>,
{
    /// How many are read at once.
    const AT_ONCE: usize = 8;
    let values = futures::stream::iter(names).map(read).buffered(AT_ONCE);
    let values = values.map(|(name, answer)| match answer? {
        LookupResult::Value(value) => Ok(Some((name, value))),
        _ => Ok(None),
    });
    let mut values = pin!(values);
    let mut found = FoundValues::default();
    while let Some(value) = values.next().await {
        if let Some((name, value)) = value? {
            found.insert(name, value)?;
        }
    }
    Ok(found.into_data())
}

//! What a service of AWS can be asked: one file per service behind this trait.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::board::{Abilities, Heard, Question};
use crate::secrets::compose::Answer;
use crate::secrets::desired::Search;
use crate::secrets::provider::ProviderError;

/// One service, as one identity.
pub(super) trait Remote: Send + Sync + std::fmt::Debug {
    fn abilities(&self) -> Abilities;

    /// Several secrets in one call; each group is one secret.
    fn batch<'a>(&'a self, groups: &'a [Vec<Arc<Question>>]) -> BoxFuture<'a, Heard>;

    /// One secret.
    fn single<'a>(&'a self, question: &'a Arc<Question>) -> BoxFuture<'a, Heard>;

    /// The versions of all secrets, on so many pages at most.
    fn list(&self, most_pages: usize) -> BoxFuture<'_, Heard>;

    /// The tags of a secret as a JSON object.
    fn tags<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Answer, ProviderError>>;

    /// The values of all that fit.
    fn find<'a>(&'a self, search: &'a Search) -> BoxFuture<'a, Result<Answer, ProviderError>>;
}

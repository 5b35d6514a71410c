//! Pure: from an `ExternalSecret` to what its Secret holds:
//!
//! ```text
//! ExternalSecret ─resolve→ DesiredSecret ─fetch→ Fetched ─compose→ SecretData
//! SecretData ─render→ RenderedSecret ─decide→ SecretWrite
//! ```
//! Fetching and writing are not here.

pub mod admission;
pub mod compose;
pub mod composition_budget;
pub mod contention;
pub mod created_once;
pub mod decide;
#[cfg(test)]
mod decide_matrix;
pub mod decoding;
pub mod dependency_index;
pub mod desired;
pub mod generate;
pub mod hash;
pub mod last_sync;
pub mod observed;
pub mod owner;
pub mod property;
pub mod provider_error;
pub mod refresh;
pub mod render;
pub mod render_error;
pub mod retry;
pub mod rewrite;
pub mod search;
pub mod store_state;
pub mod store_validation;
pub mod sync_status;
pub mod sync_windows;
pub mod template_from;
mod value;

use std::collections::BTreeMap;

pub use value::SecretValue;

/// The data of a Secret: key to value.
pub type SecretData = BTreeMap<String, SecretValue>;

/// The data as `key=value key=value`.
#[cfg(test)]
pub(crate) fn shown(data: &SecretData) -> String {
    let pair = |(key, value): (&String, &SecretValue)| {
        format!("{key}={}", String::from_utf8_lossy(value.expose()))
    };
    data.iter().map(pair).collect::<Vec<_>>().join(" ")
}

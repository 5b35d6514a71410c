//! From an `ExternalSecret` to a Secret:
//!
//! ```text
//! ExternalSecret ─resolve→ DesiredSecret ─fetch→ Fetched ─compose→ SecretData
//! SecretData ─render→ RenderedSecret ─decide→ SecretWrite ─write→ SyncOutcome ⇒ status
//! ```
//! [`desired`], [`refresh`], [`compose`], [`property`], [`rewrite`], [`template_from`],
//! [`render`], [`hash`] and [`decide`] are pure. [`provider`] reads
//! from the outside, [`write`](mod@write) is the only code of this half that changes objects.

pub(crate) mod admission;
pub(crate) mod aws;
pub(crate) mod compose;
pub(crate) mod decide;
#[cfg(test)]
mod decide_matrix;
pub(crate) mod desired;
pub(crate) mod generate;
pub(crate) mod hash;
pub(crate) mod property;
pub(crate) mod provider;
pub(crate) mod refresh;
pub(crate) mod render;
pub(crate) mod rewrite;
pub(crate) mod template_from;
mod value;
pub(crate) mod windows;
pub(crate) mod write;

use std::collections::BTreeMap;

pub(crate) use value::SecretValue;

/// The data of a Secret: key to value.
pub(crate) type SecretData = BTreeMap<String, SecretValue>;

/// The data as `key=value key=value`.
#[cfg(test)]
pub(crate) fn shown(data: &SecretData) -> String {
    let pair = |(key, value): (&String, &SecretValue)| {
        format!("{key}={}", String::from_utf8_lossy(value.expose()))
    };
    data.iter().map(pair).collect::<Vec<_>>().join(" ")
}

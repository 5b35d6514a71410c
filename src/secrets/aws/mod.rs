//! AWS as it should be used: one session per identity, one plan for everything that is due, changes seen as cheaply as
//! may be.
//!
//! ```text
//! store ─identify→ Identity ─session→ credentials, once for all
//! Question ─announce→ Board ─plan→ calls ─remote→ answers ─heard→ Board ⇒ who waits is told, who watches is woken
//! ```
//! [`identity`], [`ids`], [`pace`], [`board`], [`event`], [`iam`] and [`cost`] are pure.

mod board;
mod call;
#[cfg(test)]
mod cases;
pub(crate) mod cost;
mod errors;
mod event;
mod fetcher;
pub(crate) mod iam;
pub(crate) mod identity;
mod ids;
mod pace;
mod parameter_store;
pub(crate) mod probe;
mod remote;
mod rotation;
mod secrets_manager;
mod sessions;
mod store;
mod sts;
pub(crate) mod usage;

pub(crate) use board::Question;
pub(crate) use fetcher::{Denied, Fetcher, Reader, ReaderKey, Reading, Retry, Service, Stirred};
pub(crate) use rotation::{Fate, Listener, Queue, QueueState, Said, region_of};
pub(crate) use sessions::{AwsEnvironment, Sessions};
pub(crate) use store::AwsStore;

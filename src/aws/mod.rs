//! AWS as it should be used: one session per identity, one plan for everything that is due, changes seen as cheaply as
//! may be.
//!
//! ```text
//! store ─identify→ Identity ─session→ credentials, once for all
//! Question ─announce→ Board ─plan→ calls ─remote→ answers ─heard→ Board ⇒ who waits is told, who watches is woken
//! ```
//! What is asked, when, and of whom is decided in `overlayd_core::aws`.

mod call;
#[cfg(test)]
mod cases;
mod errors;
mod fetcher;
mod parameter_store;
pub(crate) mod probe;
mod remote;
mod rotation;
mod secrets_manager;
mod sessions;
mod store;
mod sts;

pub(crate) use fetcher::{Denied, Fetcher, Reader, Reading, Stirred};
pub(crate) use rotation::{Fate, Listener, QueueState, Said};
pub(crate) use sessions::{AwsEnvironment, Sessions};
pub(crate) use store::AwsStore;

//! AWS as it should be used: one session per identity, one plan for everything that is due, changes seen as cheaply as
//! may be.
//!
//! ```text
//! store ─identify→ Identity ─session→ credentials, once for all
//! SecretId ─announce→ ReadScheduler ─plan→ calls ─remote→ answers ─heard→ ReadScheduler ⇒ who waits is told, who watches is woken
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

pub(crate) use fetcher::{Denied, Fetcher, Reader, Reading, WakeUps};
pub(crate) use rotation::{Listener, MessageOutcome, QueueEvent, QueueState};
pub(crate) use sessions::{AwsEnvironment, Sessions};
pub(crate) use store::AwsStore;

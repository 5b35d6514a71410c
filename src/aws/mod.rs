//! Reads secrets from AWS: one session per identity, one read scheduler per service and identity, and as few calls as
//! possible.
//!
//! ```text
//! store ─identify→ Identity ─Sessions→ credentials, loaded once for all readers
//! SharedRead ─announce→ ReadScheduler ─plan→ calls ─SecretService→ results ─finish_call→ ReadScheduler
//!     ⇒ answers for pending readers, wake-ups for subscribers
//! ```
//! `overlayd_core::aws` decides which calls are made, when, and as which identity. The files here make them.

mod call;
#[cfg(test)]
mod cases;
mod cluster_client;
mod credential_cache;
mod environment;
mod errors;
mod fetcher;
mod parameter_store;
pub(crate) mod probe;
mod reader;
mod reading;
mod rotation;
mod secrets_manager;
mod service;
mod sessions;
mod sts;
mod wake_ups;

pub(crate) use environment::AwsEnvironment;
pub(crate) use fetcher::Fetcher;
pub(crate) use reader::Reader;
pub(crate) use reading::Reading;
pub(crate) use rotation::{Listener, QueueEvent};
pub(crate) use sessions::Sessions;
pub(crate) use wake_ups::{Denied, WakeUps};

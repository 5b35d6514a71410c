//! Talks to the API server: clients, watches of what was applied, and the only code that changes objects.

pub(crate) mod apply;
pub(crate) mod client;
pub(crate) mod error;
pub(crate) mod impersonation;
pub(crate) mod secret_writer;
pub(crate) mod watch;

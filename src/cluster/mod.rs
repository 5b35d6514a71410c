//! Talks to the API server: clients, errors, watches of applied objects, and the only code that changes objects.

pub(crate) mod apply;
pub(crate) mod client;
pub(crate) mod error;
pub(crate) mod impersonation;
pub(crate) mod migration;
pub(crate) mod secret_writer;
pub(crate) mod served;
pub(crate) mod survey;
pub(crate) mod uninstall;
pub(crate) mod watch;

//! From a repository's address to a tree of files: `GitSource ─fetch→ Revision ─snapshot→ FileTree`.
//!
//! [`view`] says what of a commit is in service. [`mirror`] owns git2 and keeps one bare mirror per address and
//! credential, into which it fetches only when a ref moved. [`snapshot`] reads trees from the mirror's
//! object store, without a checkout. [`remote`] serves builds whose bases stand in other repositories, and
//! [`submodules`] what a tree takes from others. [`transport`] carries git's smart HTTP over the one
//! TLS stack, and [`ssh`] the same over SSH.

mod known_hosts;
pub(crate) mod mirror;
pub(crate) mod remote;
pub(crate) mod snapshot;
mod ssh;
pub(crate) mod submodules;
mod transport;
pub(crate) mod view;

pub(crate) use mirror::{Fetched, Mirrors};
pub(crate) use remote::Remotes;

/// Registers the HTTP transport with libgit2. Call once, before anything else uses git.
pub(crate) fn initialize() {
    transport::register();
}

//! From a repository's address to a tree of files: `GitSource ─fetch→ Revision ─snapshot→ FileTree`.
//!
//! [`mirrors`] keeps one bare mirror per address, credentials and way to the server, and removes those whose source is
//! gone. [`mirror`] owns git2 and fetches only when a ref has moved. [`snapshot`] reads trees from the mirror's object store, without a checkout, and [`view`] decides which files of
//! a commit are in service. [`remote`] serves builds whose bases are in other repositories, and [`submodules`] fetches
//! those of a tree. [`transport`] carries git's smart HTTP over the one TLS stack, and [`ssh`] the same over SSH.

#[cfg(test)]
mod cases;
mod known_hosts;
mod life;
pub(crate) mod mirror;
mod mirrors;
pub(crate) mod remote;
pub(crate) mod snapshot;
mod ssh;
pub(crate) mod submodules;
mod transport;
pub(crate) mod view;

pub(crate) use mirror::Fetched;
pub(crate) use mirrors::Mirrors;
pub(crate) use remote::Remotes;

/// Registers the HTTP transport with libgit2. Call once, before anything else uses git.
pub(crate) fn initialize() {
    transport::register();
}

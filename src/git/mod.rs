//! From a repository's address to a tree of files: `GitSource ─fetch→ Revision ─snapshot→ FileTree`.
//!
//! [`mirrors`] keeps one bare mirror per address, credentials and way to the server, and removes those whose source is
//! gone; [`life`] remembers what was found out about one. [`mirror`] fetches into it only when a ref has moved. [`fetched`]
//! is a commit with what of it is in service. [`snapshot`] reads its tree from the mirror's object store, without a checkout,
//! through the layers of [`view`] and by way of [`objects`], which asks for sizes first. [`remote`] serves builds whose bases
//! are in other repositories, and
//! [`submodules`] fetches those of a tree. [`transport`] carries git's smart HTTP over the one TLS stack, and [`ssh`] the
//! same over SSH; [`registration`] hands both to libgit2.

#[cfg(test)]
mod cases;
pub(crate) mod fetched;
mod known_hosts;
mod life;
mod mirror;
mod mirrors;
mod objects;
mod registration;
pub(crate) mod remote;
pub(crate) mod snapshot;
mod ssh;
pub(crate) mod submodules;
mod transport;
pub(crate) mod view;

pub(crate) use fetched::Fetched;
pub(crate) use mirrors::Mirrors;
pub(crate) use remote::Remotes;

/// Registers the HTTP transport with libgit2. Call once, before anything else uses git.
pub(crate) fn initialize() {
    registration::register();
}

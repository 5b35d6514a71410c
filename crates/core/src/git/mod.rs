//! Pure: a repository's address, its refs, and which of its files count: `GitRepository → GitSource`.

pub mod credentials;
pub mod ignore;
pub mod proxy;
pub mod repository_status;
pub mod revision;
pub mod source;

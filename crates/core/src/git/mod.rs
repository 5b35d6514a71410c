//! Pure: a repository's address, credentials and refs (`GitRepository → GitSource`), which of its files count, and the
//! decisions of its controller.

pub mod credentials;
pub mod ignore;
mod name_pattern;
pub mod proxy;
pub mod reach;
pub mod redirect;
pub mod repository_status;
pub mod revision;
pub mod source;
pub mod storage_fault;

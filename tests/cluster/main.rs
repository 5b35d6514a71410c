//! Against a real API server: one control plane and one daemon for all tests, a namespace and a repository for each.

mod bad_input;
mod bed;
mod hygiene;
mod lifecycle;
mod secrets;
mod sync;

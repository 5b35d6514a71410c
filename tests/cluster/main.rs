//! Against a real API server: one control plane and one daemon for all tests, a namespace and a repository for each.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "tests: what fails here fails the test, and manifests are written where they are used"
)]

mod aws;
mod bad_input;
mod bed;
mod crashes;
mod desk;
mod dropin;
mod events;
mod force;
mod git;
mod guards;
mod hygiene;
mod lifecycle;
mod migration;
mod moto;
mod moves;
mod operation;
mod panics;
mod policies;
mod receivers;
mod recorded_peers;
mod removal;
mod rights;
mod rollouts;
mod rotations;
mod secrets;
mod sources;
mod stores;
mod sync;
mod takeover;
mod tenants;
mod units;

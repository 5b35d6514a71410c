//! `cargo xtask bench`: overlayd, its peers and the least possible work, measured in one run.
//!
//! Machines differ and are noisy, so an absolute time says little. Each measurement therefore stands beside another
//! one of the same run: a peer that does the same, or the *floor*, which is the least work that leads to the same
//! result (plain writes of the same objects). The ratio is what can be compared between machines and versions.

mod build;
mod daemon;
mod process;
mod secrets;
mod sync;

use anyhow::Result;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum BenchTask {
    /// `overlayd build`, `kustomize build`, and reading and printing alone, on generated trees.
    Build(build::BuildArgs),
    /// The sync loop on a real API server, compared with plain applies of the same objects.
    Sync(sync::SyncArgs),
    /// ExternalSecrets from AWS on a real API server, compared with plain writes of the same Secrets and statuses.
    Secrets(secrets::SecretsArgs),
}

/// Runs one benchmark, and prints each figure as it is known.
pub(crate) fn bench(task: &BenchTask) -> Result<()> {
    match task {
        BenchTask::Build(args) => build::build(args),
        BenchTask::Sync(args) => sync::sync(args),
        BenchTask::Secrets(args) => secrets::secrets(args),
    }
}

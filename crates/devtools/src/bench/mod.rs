//! `cargo xtask bench`: overlayd, its peers and the least possible work, measured in one run.

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

pub(crate) fn bench(task: &BenchTask) -> Result<()> {
    match task {
        BenchTask::Build(args) => build::build(args),
        BenchTask::Sync(args) => sync::sync(args),
        BenchTask::Secrets(args) => secrets::secrets(args),
    }
}

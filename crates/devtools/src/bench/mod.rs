//! `cargo xtask bench`: overlayd beside its peers and beside the floor, in one run.

mod build;
mod daemon;
mod process;
mod secrets;
mod sync;

use anyhow::Result;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum BenchTask {
    /// `overlayd build` beside `kustomize build` on generated trees, and beside reading and printing alone.
    Build(build::BuildArgs),
    /// The sync loop on a real API server, beside plain applies of the same objects.
    Sync(sync::SyncArgs),
    /// ExternalSecrets from AWS on a real API server, beside plain writes of the same Secrets and statuses.
    Secrets(secrets::SecretsArgs),
}

pub(crate) fn bench(task: &BenchTask) -> Result<()> {
    match task {
        BenchTask::Build(args) => build::build(args),
        BenchTask::Sync(args) => sync::sync(args),
        BenchTask::Secrets(args) => secrets::secrets(args),
    }
}

//! overlayd: one daemon that applies kustomize overlays from git and turns ExternalSecrets into Secrets.
//!
//! This crate is the shell: it watches, fetches, writes and serves. What is decided is in `overlayd_core`.
//!
//! ```text
//! sync     GitSource ─fetch→ Revision ─snapshot→ FileTree ─build→ Rendered
//!          Rendered ─plan→ ApplyPlan ─execute→ ChangeSet ⇒ inventory, status
//! secrets  ExternalSecret ─resolve→ DesiredSecret ─fetch→ Fetched ─compose→ SecretData
//!          SecretData ─render→ RenderedSecret ─decide→ SecretWrite ─write→ status
//! ```
//! ARCHITECTURE.md tells more. The library exists for the program and its tests; it promises nothing to others.

// A cut at a byte inside a letter panics, and texts come from strangers.
#![warn(clippy::string_slice)]

mod cli;
mod daemon;

mod aws;
mod cluster;
mod controllers;
mod expression;
mod git;
mod metrics;
mod permits;
mod secrets;
mod tasks;

mod failpoints;
mod https;
mod random;

/// Runs the program with the arguments of the process.
pub fn main() -> std::process::ExitCode {
    cli::main(daemon::run::run)
}

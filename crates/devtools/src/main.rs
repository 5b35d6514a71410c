//! The commands of `cargo xtask` that talk to a cluster or to AWS, or that compare our output with that of others.
//!
//! `xtask` builds this program together with the daemon and starts it. So it has the dependencies of the daemon, in the
//! same versions and with the same features, and none of them is compiled twice.
// A cut at a byte inside a letter panics.
#![warn(clippy::string_slice)]

mod bench;
mod demo;
mod eks;
#[path = "../../kustomize/tests/generator/mod.rs"]
mod generator;
mod oracle;
#[path = "../../goyaml/tests/values/mod.rs"]
mod values;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about)]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// The main job on a real local control plane: a commit becomes a Secret.
    Demo(demo::DemoArgs),
    /// Asks the peers (kustomize, Go's templates, Go's YAML) and compares; `--record` keeps their answers.
    Oracle(oracle::OracleArgs),
    /// Measures overlayd and its peers in one run.
    #[command(subcommand)]
    Bench(bench::BenchTask),
    /// Creates the AWS side for EKS: Pod Identity add-on, role, policy, association.
    SetupEks(eks::SetupArgs),
    /// Creates or updates the AWS secret and waits until `db-creds` follows.
    TestSecret(eks::TestSecretArgs),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Task::Demo(args) => demo::demo(&args),
        Task::Oracle(args) => oracle::oracle(&args),
        Task::Bench(task) => bench::bench(&task),
        Task::SetupEks(args) => eks::setup(&args),
        Task::TestSecret(args) => eks::test_secret(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            testbed::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap_or_else(|_| PathBuf::from("."))
}

/// A cargo command at the root.
fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

/// Runs a command to its end with its output shown.
fn run(command: &mut Command) -> Result<()> {
    let name = format!(
        "{} {}",
        command.get_program().to_string_lossy(),
        command
            .get_args()
            .map(|arg| arg.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    );
    let status = command
        .status()
        .with_context(|| format!("cannot run `{name}`"))?;
    ensure!(status.success(), "`{name}` failed ({status})");
    Ok(())
}

/// The daemon that was built together with this program: cargo puts both into one folder.
fn overlayd() -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know its own path")?;
    let overlayd = own.with_file_name("overlayd");
    ensure!(
        overlayd.exists(),
        "{} does not exist; `cargo xtask` builds it",
        overlayd.display()
    );
    Ok(overlayd)
}

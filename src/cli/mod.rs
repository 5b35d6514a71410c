//! The command line: `args` as typed, one file per command, `report` for errors, `output` for results.

mod apply;
pub(crate) mod args;
mod aws;
mod build;
pub(crate) mod cluster;
pub(crate) mod config;
mod diff;
mod disk;
mod gitops_args;
mod migrate;
mod objects;
pub(crate) mod output;
mod panics;
mod peer_flags;
pub(crate) mod report;
mod switch;
mod template;
mod uninstall;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

pub(crate) use args::RunArgs;
use args::{Args, Command};
pub(crate) use gitops_args::GitOpsArgs;

use crate::failpoints;
use overlayd_core::migrate::MigrationVerdict;
use overlayd_core::schedule::parse_duration;

/// Parses the arguments, runs the command, and reports a failure. The exit code is 0 for success, 1 for a failure, and 2 for
/// invalid arguments.
///
/// `daemon` is what `overlayd run` does. It is an argument because the daemon needs this module for its configuration and its
/// reports.
pub(crate) fn main<D, F>(daemon: D) -> ExitCode
where
    D: FnOnce(RunArgs) -> F,
    F: Future<Output = Result<(), report::Failure>>,
{
    panics::install();
    failpoints::point("start");
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return invalid_arguments(&error),
    };
    // The one TLS stack, for git, AWS and the API server alike.
    let provider = rustls::crypto::aws_lc_rs::default_provider().install_default();
    debug_assert!(provider.is_ok(), "nothing else installs a provider");
    let result = match args.command {
        Command::Diff(args) => {
            return block_on(diff::diff(args)).map_or_else(
                |failure| report::failure_of_diff(&failure),
                |found| match found {
                    diff::DiffResult::Same => ExitCode::SUCCESS,
                    diff::DiffResult::Different => ExitCode::from(1),
                    diff::DiffResult::Refused => ExitCode::from(2),
                },
            );
        }
        Command::Migrate(args) => {
            return block_on(migrate::migrate(args)).map_or_else(
                |failure| report::failure_of_diff(&failure),
                |gravest| match gravest {
                    MigrationVerdict::Served => ExitCode::SUCCESS,
                    MigrationVerdict::Difference | MigrationVerdict::Beside => ExitCode::from(1),
                    MigrationVerdict::Refused => ExitCode::from(2),
                },
            );
        }
        Command::Run(args) => block_on(daemon(*args)),
        Command::Build(args) => build::build(&args),
        Command::Apply(args) => block_on(apply::apply(args)),
        Command::Template(args) => template::template(&args),
        Command::Iam(args) => block_on(aws::iam(args)),
        Command::Cost(args) => block_on(aws::cost(args)),
        Command::Get(args) => block_on(objects::get(args)),
        Command::Reconcile(args) => block_on(objects::reconcile(args)),
        Command::Suspend(args) => block_on(objects::suspend(args)),
        Command::Resume(args) => block_on(objects::resume(args)),
        Command::Uninstall(args) => block_on(uninstall::uninstall(args)),
        Command::Crds => {
            output::write(&overlayd_core::api::crds::to_yaml()).map_err(report::Failure::from)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report::failure(&failure),
    }
}

/// Reports invalid arguments. Flags that somebody has moved here from a peer are named together.
fn invalid_arguments(error: &clap::Error) -> ExitCode {
    let flags = match error.kind() {
        clap::error::ErrorKind::UnknownArgument => peer_flags::peer_flags(std::env::args()),
        _ => Vec::new(),
    };
    if flags.is_empty() {
        report::usage(error)
    } else {
        report::peer_flags(&flags)
    }
}

/// The duration of `--timeout`.
fn timeout(text: &str) -> Result<Duration, report::Failure> {
    parse_duration(text).ok_or_else(|| {
        report::Failure::new(format!("`--timeout {text}` is no duration"))
            .because("write it as 90s or 3m", None)
    })
}

/// Runs a command on a runtime of its own.
fn block_on<T>(
    command: impl Future<Output = Result<T, report::Failure>>,
) -> Result<T, report::Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(command);
    // What still runs on a blocking thread (a git fetch) must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

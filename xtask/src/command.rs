//! Talks to the machine: other programs, run at the root of the repository.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{Tool, Tools};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap_or_else(|_| PathBuf::from("."))
}

/// A cargo command at the root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// A tool at the root: the machine's own, or ours, which is installed if it is missing.
///
/// The spell check is always ours, since another version knows other words.
pub(crate) fn tool(tool: Tool) -> Result<Command> {
    let on_path = match tool {
        Tool::Just => is_on_path("just"),
        Tool::CargoDeny => is_on_path("cargo-deny"),
        _ => None,
    };
    let program = match on_path {
        Some(program) => program,
        None => Tools::open()?.need(tool)?,
    };
    let mut command = Command::new(program);
    command.current_dir(root());
    Ok(command)
}

/// The first file of that name in the folders of `PATH`. It is not tried whether it can be run.
fn is_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(name));
    candidates.find(|candidate| candidate.is_file())
}

/// Runs a command to its end with its output shown.
///
/// # Errors
///
/// The command cannot be started, or it ends with another code than 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = text_of(command);
    let status = command
        .status()
        .with_context(|| format!("cannot run `{name}`"))?;
    ensure!(status.success(), "`{name}` failed ({status})");
    Ok(())
}

/// Replaces this process with a command, so that signals, standard input and the exit code are the command's own.
/// Returns only if that fails.
pub(crate) fn run_instead_of_us(command: &mut Command) -> Result<()> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run `{}`", text_of(command)))
}

/// The program and its arguments, for messages.
fn text_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words = program.file_name().into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

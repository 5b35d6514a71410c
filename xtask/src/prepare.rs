//! Talks to the machine: builds the Rust side and the tools at the same time.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tools::{Installer, Job, say, side_by_side};

use crate::command::{cargo, run};
use crate::{Tool, Tools};

/// A program of the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    /// `overlayd`.
    Daemon,
    /// `devtools`, which does the work of the large commands.
    Devtools,
}

impl Binary {
    /// The programs that a command of `devtools` needs.
    pub(crate) fn of(command: &str) -> Vec<Self> {
        match command {
            "demo" | "oracle" => vec![Self::Daemon, Self::Devtools],
            // Measurements build the daemon themselves, as it is released.
            _ => vec![Self::Devtools],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Daemon => "overlayd",
            Self::Devtools => "devtools",
        }
    }
}

/// A program that [`prepare`] has built. Cargo puts it into the folder of this one.
pub(crate) fn program(binary: Binary) -> Result<Command> {
    let own = std::env::current_exe().context("this program does not know its own path")?;
    Ok(Command::new(own.with_file_name(binary.name())))
}

/// Builds programs of the workspace and installs the tools that are missing, at the same time.
pub(crate) fn prepare(binaries: &[Binary], tools: &[Tool]) -> Result<()> {
    // The features of the whole workspace, as in `cargo test --workspace`: so each crate is compiled once for both.
    let mut build = cargo(&["build", "--workspace"]);
    for binary in binaries {
        build.args(["--bin", binary.name()]);
    }
    let names: Vec<_> = binaries.iter().map(|binary| binary.name()).collect();
    let rust = (!binaries.is_empty()).then_some((names.join(" and "), build));
    prepare_with(rust, tools)
}

/// As [`prepare`], with any command of cargo's and the name of what it builds.
pub(crate) fn prepare_with(rust: Option<(String, Command)>, tools: &[Tool]) -> Result<()> {
    let cache = Tools::open()?;
    let missing: Vec<Tool> = tools
        .iter()
        .copied()
        .filter(|tool| !cache.has(*tool))
        .collect();
    if missing.is_empty() {
        return rust.map_or(Ok(()), |(_, mut command)| run(&mut command));
    }
    ensure_installers(&missing)?;
    let mut jobs = Vec::new();
    if let Some((name, mut command)) = rust {
        jobs.push(Job {
            name,
            work: Box::new(move || run(&mut command)),
        });
    }
    for installer in Installer::ALL {
        let of_installer = |tool: &&Tool| tool.installer() == installer;
        let tools: Vec<Tool> = missing.iter().filter(of_installer).copied().collect();
        if !tools.is_empty() {
            let names: Vec<_> = tools.iter().map(|tool| tool.name()).collect();
            let cache = cache.clone();
            jobs.push(Job {
                name: names.join(", "),
                work: Box::new(move || {
                    let mut tools = tools.into_iter();
                    tools.try_for_each(|tool| cache.need(tool).map(drop))
                }),
            });
        }
    }
    announce(&jobs);
    side_by_side(jobs)
}

fn announce(jobs: &[Job<'_>]) {
    let names: Vec<_> = jobs.iter().map(|job| job.name.as_str()).collect();
    say(&format!(
        "This run builds what is missing, {} things at the same time: {}.\nLater runs find it in the target folder and in {}.",
        jobs.len(),
        names.join("; "),
        tools::cache_dir().display(),
    ));
}

/// Fails before the first build if a program is missing that a later one needs.
fn ensure_installers(tools: &[Tool]) -> Result<()> {
    for tool in tools {
        let program = tool.installer().program();
        let found = Command::new(program)
            .arg(if program == "go" {
                "version"
            } else {
                "--version"
            })
            .output();
        ensure!(
            found.is_ok_and(|output| output.status.success()),
            "`{program}` cannot be run; it is needed to install {}",
            tool.name()
        );
    }
    Ok(())
}

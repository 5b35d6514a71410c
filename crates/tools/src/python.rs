//! Talks to the machine: tools that pip installs, each into an environment of its own.
//!
//! One environment each costs two seconds and some disk. In return, a command installs only the packages that it
//! needs, and none of them forces an older version of a shared dependency on another.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cache::key_of;
use crate::progress::count_lines;
use crate::{Progress, Tool, Tools};

/// The package of a tool and the program in it.
fn package(tool: Tool) -> (&'static str, &'static str) {
    match tool {
        Tool::AwsCli => ("awscli>=1.40,<2", "aws"),
        Tool::Just => ("rust-just>=1.40,<2", "just"),
        // An exact version: a newer dictionary would fail CI for words in unchanged files.
        Tool::Typos => ("typos==1.52.0", "typos"),
        _ => ("moto[server]==5.2.5", "python"),
    }
}

impl Tools {
    fn python_environment(&self, tool: Tool) -> PathBuf {
        let (package, program) = package(tool);
        self.directory
            .join(format!("pip-{program}-{}", key_of([package])))
    }

    pub(crate) fn python_path(&self, tool: Tool) -> PathBuf {
        let (_, program) = package(tool);
        self.python_environment(tool).join("bin").join(program)
    }

    pub(crate) fn python_environment_is_complete(&self, tool: Tool) -> bool {
        self.python_environment(tool).join("complete").exists()
    }

    pub(crate) fn install_with_pip(&self, tool: Tool) -> Result<()> {
        let (package, program) = package(tool);
        let environment = self.python_environment(tool);
        let progress = Progress::start(&format!("installing {} with pip", tool.name()));
        let log = self.log(&format!("pip-{program}"));
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(&environment);
        progress.run(&mut venv, &log)?;
        let mut pip = Command::new(environment.join("bin/pip"));
        // Python compiles what it imports anyway; compiling everything now takes longer than the installation.
        pip.args(["install", "--no-compile", "--disable-pip-version-check"])
            .arg(package);
        progress.run_counting(&mut pip, &log, |output| {
            count_lines(output, "Collecting ", "package")
        })?;
        File::create(environment.join("complete"))?;
        progress.done();
        Ok(())
    }
}

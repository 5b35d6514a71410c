//! Talks to the machine: cargo-deny, which `cargo install` builds.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::progress::count_lines;
use crate::{Progress, Tool, Tools};

/// A requirement, since new kinds of advisories need new versions.
const CARGO_DENY: &str = "cargo-deny@^0.20";

impl Tools {
    fn cargo_root(&self) -> PathBuf {
        self.directory.join("cargo-deny")
    }

    pub(crate) fn cargo_path(&self) -> PathBuf {
        self.cargo_root().join("bin/cargo-deny")
    }

    pub(crate) fn install_with_cargo(&self) -> Result<()> {
        let progress = Progress::start(&format!(
            "installing {} with cargo, which takes some minutes",
            Tool::CargoDeny.name()
        ));
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["install", "--locked", CARGO_DENY, "--root"])
            .arg(self.cargo_root());
        progress.run_counting(&mut cargo, &self.log("cargo-deny"), |output| {
            count_lines(output, "Compiling ", "crate")
        })?;
        progress.done();
        Ok(())
    }
}

//! A work tree that commits and pushes, as a person would.
//!
//! git runs without the settings of the user and with a fixed identity, so that a commit does not depend on the
//! machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

/// A clone with one remote. Dropped, it is removed.
#[derive(Debug)]
pub struct WorkTree {
    directory: TempDir,
}

/// Runs git in a folder, with an identity of its own and none of the user's settings.
pub(crate) fn git(directory: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .current_dir(directory)
        .args([
            "-c",
            "user.name=Test Bed",
            "-c",
            "user.email=testbed@example.com",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!(
            "git {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl WorkTree {
    pub(crate) fn create(bare: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        git(
            directory.path(),
            &["init", "--quiet", "--initial-branch=main"],
        )?;
        git(
            directory.path(),
            &["remote", "add", "origin", &bare.display().to_string()],
        )?;
        Ok(Self { directory })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let file = self.path().join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(std::fs::write(file, text)?)
    }

    /// Copies a file or folder of the disk.
    pub fn copy(&self, from: &Path, to: &str) -> Result<()> {
        copy(from, &self.path().join(to))
    }

    /// Commits everything and pushes it to a branch, forced. Gives the commit's id.
    pub fn push(&self, message: &str, branch: &str) -> Result<String> {
        git(self.path(), &["add", "--all"])?;
        git(
            self.path(),
            &["commit", "--quiet", "--allow-empty", "--message", message],
        )?;
        git(
            self.path(),
            &[
                "push",
                "--quiet",
                "--force",
                "origin",
                &format!("HEAD:refs/heads/{branch}"),
            ],
        )?;
        git(self.path(), &["rev-parse", "HEAD"])
    }

    /// Runs git in the work tree.
    pub fn git(&self, args: &[&str]) -> Result<String> {
        git(self.path(), args)
    }
}

fn copy(from: &Path, to: &PathBuf) -> Result<()> {
    if from.is_dir() {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

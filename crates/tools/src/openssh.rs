//! Talks to the machine: OpenSSH's server, from Debian's packages, unpacked into the cache folder and not installed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{Progress, Tool, Tools, say};

/// The files of OpenSSH that a test server needs.
#[derive(Debug, Clone)]
pub struct Sshd {
    /// The server.
    pub program: PathBuf,
    /// `ssh-keygen`.
    pub keygen: PathBuf,
    /// The folder of the libraries that the server loads.
    pub libraries: PathBuf,
}

/// Debian's packages of it; the last lets the server have accounts that the machine does not have.
const PACKAGES: [&str; 4] = [
    "openssh-server",
    "openssh-client",
    "libwrap0",
    "libnss-wrapper",
];

impl Tools {
    /// True if [`sshd`](Self::sshd) works here: it is in the cache, or the machine has Debian's packages.
    pub fn has_sshd(&self) -> bool {
        self.has(Tool::OpenSsh) || Command::new("apt-get").arg("--version").output().is_ok()
    }

    /// OpenSSH's server; unpacked first if it is missing.
    ///
    /// # Errors
    ///
    /// As [`need`](Self::need).
    pub fn sshd(&self) -> Result<Sshd> {
        let program = self.need(Tool::OpenSsh)?;
        let directory = self.openssh_directory();
        let libraries = std::fs::read_dir(directory.join("usr/lib"))?;
        let mut libraries = libraries.filter_map(|entry| Some(entry.ok()?.path()));
        let libraries = libraries.find(|path| path.join("libnss_wrapper.so").exists());
        Ok(Sshd {
            program,
            keygen: directory.join("usr/bin/ssh-keygen"),
            libraries: libraries.context("the packages of OpenSSH hold no libnss_wrapper")?,
        })
    }

    fn openssh_directory(&self) -> PathBuf {
        self.directory.join("openssh")
    }

    pub(crate) fn sshd_path(&self) -> PathBuf {
        self.openssh_directory().join("usr/sbin/sshd")
    }

    pub(crate) fn openssh_is_complete(&self) -> bool {
        self.openssh_directory().join("complete").exists()
    }

    pub(crate) fn unpack_openssh(&self) -> Result<()> {
        let directory = self.openssh_directory();
        let progress = Progress::start("unpacking OpenSSH from Debian's packages");
        // An interrupted run may have left a part of it.
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory)?;
        let log = self.log("openssh");
        if let Err(error) = progress.run(&mut download(&directory), &log) {
            // A new machine has no list of packages yet, and an old list names versions that are gone.
            say(&format!(
                "  {error:#}\n  trying again after `apt-get update`"
            ));
            progress.run(Command::new("apt-get").arg("update"), &log)?;
            progress.run(&mut download(&directory), &log)?;
        }
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                let mut unpack = Command::new("dpkg");
                progress.run(unpack.arg("-x").arg(&path).arg(&directory), &log)?;
            }
        }
        File::create(directory.join("complete"))?;
        progress.done();
        Ok(())
    }
}

fn download(directory: &Path) -> Command {
    let mut apt = Command::new("apt-get");
    apt.current_dir(directory).arg("download").args(PACKAGES);
    apt
}

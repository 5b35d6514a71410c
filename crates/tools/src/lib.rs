//! Talks to the machine: installs the programs that our own commands need and that a machine may lack.
//!
//! A [`Tool`] is one such program. [`Tools::need`] gives its path, and builds or installs it first where it is
//! missing: from Go modules, with pip, from Debian's packages, or with cargo. Everything is kept in
//! [`cache_dir`], outside every work tree, so a fresh clone finds it again. [`Progress`] tells the user what is
//! being waited for, and [`side_by_side`] does several such steps at the same time.
//!
//! The crate depends on nothing but `anyhow`. So `xtask` is compiled in seconds and speaks before the large crates are
//! even downloaded.
#![warn(missing_docs)]
// A cut at a byte inside a letter panics.
#![warn(clippy::string_slice)]

mod cache;
mod cargo;
mod go;
mod openssh;
mod progress;
mod python;

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

pub use cache::cache_dir;
pub use openssh::Sshd;
pub use progress::{Job, Progress, say, side_by_side};

/// A program that is built or installed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// etcd, kube-apiserver and kube-controller-manager in one binary, built from Go modules.
    ControlPlane,
    /// kustomize, whose output is the specification of ours.
    Kustomize,
    /// KWOK, which plays the nodes of a cluster.
    Kwok,
    /// A program of ours that prints how Go's packages render a template or print a value.
    Oracle,
    /// moto, a server that answers as AWS does. The path is that of its Python.
    Moto,
    /// The AWS command line.
    AwsCli,
    /// just, which runs the recipes of the `justfile`.
    Just,
    /// typos, the spell check.
    Typos,
    /// OpenSSH's server. The path is that of `sshd`; [`Tools::sshd`] gives the other files of it.
    OpenSsh,
    /// cargo-deny, which checks licences, advisories and versions of dependencies.
    CargoDeny,
}

/// How a tool comes to the machine. Tools of one installer are installed in turn, those of several at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installer {
    /// `go build` or `go install`.
    Go,
    /// `pip install` into an environment of its own.
    Pip,
    /// `apt-get download`, unpacked and not installed.
    Debian,
    /// `cargo install`.
    Cargo,
}

impl Installer {
    /// All of them, the slowest first.
    pub const ALL: [Self; 4] = [Self::Go, Self::Cargo, Self::Pip, Self::Debian];

    /// The program that must be on the machine.
    pub fn program(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Pip => "python3",
            Self::Debian => "apt-get",
            Self::Cargo => "cargo",
        }
    }
}

impl Tool {
    /// What the user calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "the Kubernetes control plane",
            Self::Kustomize => "kustomize",
            Self::Kwok => "KWOK",
            Self::Oracle => "the oracle of templates",
            Self::Moto => "moto",
            Self::AwsCli => "the AWS CLI",
            Self::Just => "just",
            Self::Typos => "typos",
            Self::OpenSsh => "OpenSSH's server",
            Self::CargoDeny => "cargo-deny",
        }
    }

    /// How it is installed.
    pub fn installer(self) -> Installer {
        match self {
            Self::ControlPlane | Self::Kustomize | Self::Kwok | Self::Oracle => Installer::Go,
            Self::Moto | Self::AwsCli | Self::Just | Self::Typos => Installer::Pip,
            Self::OpenSsh => Installer::Debian,
            Self::CargoDeny => Installer::Cargo,
        }
    }
}

/// The tools in the cache folder.
#[derive(Debug, Clone)]
pub struct Tools {
    directory: PathBuf,
}

impl Tools {
    /// The tools of this user, in [`cache_dir`].
    ///
    /// # Errors
    ///
    /// If the folder cannot be created.
    pub fn open() -> Result<Self> {
        let directory = cache_dir();
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(Self { directory })
    }

    /// True if a tool needs no installation.
    pub fn has(&self, tool: Tool) -> bool {
        match tool.installer() {
            Installer::Go | Installer::Cargo => self.path(tool).exists(),
            Installer::Pip => self.python_environment_is_complete(tool),
            Installer::Debian => self.openssh_is_complete(),
        }
    }

    /// The path of a tool. It is installed first if it is missing, by one process at a time.
    ///
    /// # Errors
    ///
    /// If the installation fails; the error ends with the last lines of its output.
    pub fn need(&self, tool: Tool) -> Result<PathBuf> {
        if !self.has(tool) {
            let lock = File::create(self.directory.join(format!("{tool:?}.lock")))?;
            lock.lock()?;
            // Another process may have installed it while this one waited for the lock.
            if !self.has(tool) {
                self.install(tool)?;
            }
        }
        Ok(self.path(tool))
    }

    /// The binary of the control plane.
    ///
    /// # Errors
    ///
    /// As [`need`](Self::need).
    pub fn control_plane(&self) -> Result<PathBuf> {
        self.need(Tool::ControlPlane)
    }

    /// The real kustomize.
    ///
    /// # Errors
    ///
    /// As [`need`](Self::need).
    pub fn kustomize(&self) -> Result<PathBuf> {
        self.need(Tool::Kustomize)
    }

    fn path(&self, tool: Tool) -> PathBuf {
        match tool.installer() {
            Installer::Go => self.go_path(tool),
            Installer::Pip => self.python_path(tool),
            Installer::Debian => self.sshd_path(),
            Installer::Cargo => self.cargo_path(),
        }
    }

    fn install(&self, tool: Tool) -> Result<()> {
        match tool.installer() {
            Installer::Go => self.install_with_go(tool),
            Installer::Pip => self.install_with_pip(tool),
            Installer::Debian => self.unpack_openssh(),
            Installer::Cargo => self.install_with_cargo(),
        }
    }

    /// The file that keeps the output of an installation.
    fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }
}

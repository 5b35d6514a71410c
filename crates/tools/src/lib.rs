//! Builds and installs what the test bed needs, once, into the cache folder.

mod cache;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest, Sha256};

pub use cache::cache_dir;

const MAIN_GO: &str = include_str!("../controlplane/main.go");
const GO_MOD: &str = include_str!("../controlplane/go.mod");
const GO_SUM: &str = include_str!("../controlplane/go.sum");
/// The oracle of templates and YAML.
const ORACLE: [(&str, &str); 3] = [
    ("main.go", include_str!("../oracle/main.go")),
    ("go.mod", include_str!("../oracle/go.mod")),
    ("go.sum", include_str!("../oracle/go.sum")),
];
/// The version that the control plane says it is, as in its `go.mod`.
const KUBERNETES: &str = "v1.36.3";
const KUSTOMIZE: &str = "v5.8.2";
const KWOK: &str = "v0.7.0";
/// What Python brings: the AWS judge, the AWS CLI, and `just`.
const PYTHON_PACKAGES: [&str; 3] = [
    "moto[server]==5.2.5",
    "awscli>=1.40,<2",
    "rust-just>=1.40,<2",
];

/// The tools in the cache folder.
#[derive(Debug, Clone)]
pub struct Tools {
    directory: PathBuf,
}

/// Says on standard error what is being waited for.
pub fn say(text: &str) {
    // Nobody listening is no failure.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A long step: says what it is, then every few seconds that it still runs, then how long it took.
#[derive(Debug)]
pub struct Progress {
    what: String,
    started: Instant,
}

impl Progress {
    /// Begins a step.
    pub fn start(what: &str) -> Self {
        say(&format!("… {what}"));
        Self {
            what: what.to_owned(),
            started: Instant::now(),
        }
    }

    /// Runs a command to its end, saying every 15 seconds that it still runs. Its output is shown if it fails.
    pub fn run(&self, command: &mut Command, log: &Path) -> Result<()> {
        let file = File::create(log)?;
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| {
                format!(
                    "`{name}` is needed for this and cannot be run: {}",
                    self.what
                )
            })?;
        let mut said = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if said.elapsed() > Duration::from_secs(15) {
                say(&format!(
                    "  {} ({} s so far)",
                    self.what,
                    self.started.elapsed().as_secs()
                ));
                said = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        if !status.success() {
            let output = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = output.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            bail!("{} failed ({status}):\n{tail}", self.what);
        }
        Ok(())
    }

    /// Ends the step.
    pub fn done(self) {
        say(&format!(
            "✓ {} ({:.1} s)",
            self.what,
            self.started.elapsed().as_secs_f64()
        ));
    }
}

impl Tools {
    /// The tools of this user.
    pub fn open() -> Result<Self> {
        let directory = cache_dir();
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(Self { directory })
    }

    /// One build at a time, also among processes.
    fn locked<T>(&self, name: &str, build: impl FnOnce() -> Result<T>) -> Result<T> {
        let file = File::create(self.directory.join(format!("{name}.lock")))?;
        file.lock()?;
        build()
    }

    /// The control plane's binary: from Go modules, cached by the content of its sources.
    pub fn control_plane(&self) -> Result<PathBuf> {
        let key = key_of([MAIN_GO, GO_MOD, GO_SUM, KUBERNETES]);
        let binary = self
            .directory
            .join(format!("controlplane-{KUBERNETES}-{key}"));
        if binary.exists() {
            return Ok(binary);
        }
        self.locked("controlplane", || {
            if !binary.exists() {
                self.build_control_plane(&binary)?;
            }
            Ok(binary.clone())
        })
    }

    fn build_control_plane(&self, binary: &Path) -> Result<()> {
        let progress = Progress::start(&format!(
            "building the Kubernetes {KUBERNETES} control plane from Go modules, once; this takes about 5 minutes"
        ));
        let sources = self.directory.join("controlplane-src");
        std::fs::create_dir_all(&sources)?;
        for (name, text) in [("main.go", MAIN_GO), ("go.mod", GO_MOD), ("go.sum", GO_SUM)] {
            std::fs::write(sources.join(name), text)?;
        }
        let mut parts = KUBERNETES.trim_start_matches('v').split('.');
        let (major, minor) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let version = "k8s.io/component-base/version";
        let flags = format!(
            "-s -w -X {version}.gitVersion={KUBERNETES} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
        );
        let unfinished = binary.with_extension("part");
        let mut go = Command::new("go");
        go.current_dir(&sources)
            .args(["build", "-trimpath", "-ldflags", &flags, "-o"])
            .arg(&unfinished)
            .arg(".");
        progress.run(&mut go, &self.directory.join("controlplane.log"))?;
        std::fs::rename(&unfinished, binary)?;
        progress.done();
        Ok(())
    }

    /// The real kustomize, by which ours is judged.
    pub fn kustomize(&self) -> Result<PathBuf> {
        self.go_install("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", KUSTOMIZE)
    }

    /// The program that stands for nodes.
    pub fn kwok(&self) -> Result<PathBuf> {
        self.go_install("kwok", "sigs.k8s.io/kwok/cmd/kwok", KWOK)
    }

    /// A program of a Go module.
    fn go_install(&self, program: &str, module: &str, version: &str) -> Result<PathBuf> {
        let directory = self.directory.join(format!("{program}-{version}"));
        let binary = directory.join(program);
        self.locked(program, || {
            if !binary.exists() {
                let progress = Progress::start(&format!(
                    "installing {program} {version} with `go install`, once"
                ));
                std::fs::create_dir_all(&directory)?;
                let mut go = Command::new("go");
                go.args(["install", &format!("{module}@{version}")])
                    .env("GOBIN", &directory);
                progress.run(&mut go, &self.directory.join(format!("{program}.log")))?;
                progress.done();
            }
            Ok(binary.clone())
        })
    }

    /// The program that says what Go's packages make of templates and values.
    pub fn go_oracle(&self) -> Result<PathBuf> {
        let key = key_of(ORACLE.map(|(_, text)| text));
        let binary = self.directory.join(format!("oracle-{key}"));
        self.locked("oracle", || {
            if !binary.exists() {
                let progress = Progress::start("building the oracle of templates with Go, once");
                let sources = self.directory.join("oracle-src");
                std::fs::create_dir_all(&sources)?;
                for (name, text) in ORACLE {
                    std::fs::write(sources.join(name), text)?;
                }
                let unfinished = binary.with_extension("part");
                let mut go = Command::new("go");
                go.current_dir(&sources)
                    .args(["build", "-trimpath", "-o"])
                    .arg(&unfinished)
                    .arg(".");
                progress.run(&mut go, &self.directory.join("oracle.log"))?;
                std::fs::rename(&unfinished, &binary)?;
                progress.done();
            }
            Ok(binary.clone())
        })
    }

    /// A Python program of ours: `moto_server`, `aws` or `just`.
    pub fn python(&self, program: &str) -> Result<PathBuf> {
        let key = key_of(PYTHON_PACKAGES);
        let environment = self.directory.join(format!("python-{key}"));
        let complete = environment.join("complete");
        self.locked("python", || {
            if !complete.exists() {
                let progress =
                    Progress::start("installing moto, the AWS CLI and just with pip, once");
                let log = self.directory.join("python.log");
                progress.run(
                    Command::new("python3")
                        .args(["-m", "venv"])
                        .arg(&environment),
                    &log,
                )?;
                let mut pip = Command::new(environment.join("bin/pip"));
                pip.args(["install", "--quiet", "--disable-pip-version-check"])
                    .args(PYTHON_PACKAGES);
                progress.run(&mut pip, &log)?;
                File::create(&complete)?;
                progress.done();
            }
            Ok(environment.join("bin").join(program))
        })
    }
}

/// OpenSSH's server, and what it needs.
#[derive(Debug, Clone)]
pub struct Sshd {
    pub program: PathBuf,
    pub keygen: PathBuf,
    pub libraries: PathBuf,
}

/// Debian's packages of it; the last gives it accounts of its own.
const SSHD_PACKAGES: [&str; 4] = [
    "openssh-server",
    "openssh-client",
    "libwrap0",
    "libnss-wrapper",
];

impl Tools {
    /// True if [`sshd`](Self::sshd) is there, or can be had.
    pub fn has_sshd(&self) -> bool {
        let is_there = self.directory.join("openssh/complete").exists();
        is_there || Command::new("apt-get").arg("--version").output().is_ok()
    }

    /// OpenSSH's server, from Debian's packages, unpacked into the cache folder and not installed.
    pub fn sshd(&self) -> Result<Sshd> {
        let directory = self.directory.join("openssh");
        let complete = directory.join("complete");
        self.locked("openssh", || {
            if complete.exists() {
                return Ok(());
            }
            let progress = Progress::start("unpacking OpenSSH from Debian's packages, once");
            // What an interrupted run left.
            let _ = std::fs::remove_dir_all(&directory);
            std::fs::create_dir_all(&directory)?;
            let log = self.directory.join("openssh.log");
            let mut download = Command::new("apt-get");
            download
                .current_dir(&directory)
                .arg("download")
                .args(SSHD_PACKAGES);
            progress.run(&mut download, &log)?;
            for entry in std::fs::read_dir(&directory)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "deb") {
                    progress.run(
                        Command::new("dpkg").arg("-x").arg(&path).arg(&directory),
                        &log,
                    )?;
                }
            }
            File::create(&complete)?;
            progress.done();
            Ok(())
        })?;
        let libraries = std::fs::read_dir(directory.join("usr/lib"))?;
        let mut libraries = libraries.filter_map(|entry| Some(entry.ok()?.path()));
        let libraries = libraries.find(|path| path.join("libnss_wrapper.so").exists());
        Ok(Sshd {
            program: directory.join("usr/sbin/sshd"),
            keygen: directory.join("usr/bin/ssh-keygen"),
            libraries: libraries.context("the packages of OpenSSH hold no libnss_wrapper")?,
        })
    }
}

/// A short name for what something is made of.
fn key_of(texts: impl IntoIterator<Item = &'static str>) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update(text);
    }
    let digest = hasher.finalize();
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

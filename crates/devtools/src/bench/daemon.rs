//! A daemon that is measured: what it has asked of the API server, its CPU and its memory.
//!
//! Requests come from its own metrics, CPU and memory from `/proc`, so nothing is added to the process that is
//! measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::{Background, free_port, http_get, wait_for};

/// Long enough for everything that is measured.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// Builds the program as it is released.
///
/// A debug build would measure something else.
pub(super) fn build() -> Result<PathBuf> {
    crate::run(&mut crate::cargo(&[
        "build",
        "--release",
        "--bin",
        "overlayd",
    ]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| crate::root().join("target"), PathBuf::from);
    Ok(target.join("release/overlayd"))
}

/// A running daemon. Dropped, it ends.
pub(super) struct Daemon {
    pub(super) process: Background,
    pub(super) port: u16,
}

impl Daemon {
    /// Starts one and waits until it is ready.
    pub(super) fn start(
        binary: &Path,
        kubeconfig: &Path,
        directory: &Path,
        more: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(binary);
        let listen = format!("127.0.0.1:{port}");
        command
            .args(["run", "--listen", &listen, "--data-dir"])
            .arg(directory.join("data"))
            .env("KUBECONFIG", kubeconfig);
        more(&mut command);
        let log = directory.join("overlayd.log");
        let mut process = Background::start("overlayd", &mut command, &log)?;
        wait_for("the daemon", PATIENCE, || {
            process.check()?;
            ensure!(http_get(port, "/readyz")?.0 == 200, "not ready");
            Ok(())
        })?;
        Ok(Self { process, port })
    }

    /// Requests to the API server that are not watches, by method and code.
    pub(super) fn counts(&self) -> Result<BTreeMap<String, u64>> {
        let (_, text) = http_get(self.port, "/metrics")?;
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("rest_client_requests_total"));
        let counts = lines.filter_map(|line| {
            let (labels, count) = line.rsplit_once(' ')?;
            Some((labels.to_owned(), count.parse().ok()?))
        });
        Ok(counts.collect())
    }

    /// All requests but watches, since the start.
    pub(super) fn requests(&self) -> Result<u64> {
        Ok(self.counts()?.values().sum())
    }

    /// Requests that change something.
    pub(super) fn writes(&self) -> Result<u64> {
        let counts = self.counts()?;
        let writes = counts
            .iter()
            .filter(|(labels, _)| !labels.contains("\"GET\""));
        Ok(writes.map(|(_, count)| count).sum())
    }

    /// Seconds of CPU so far.
    ///
    /// The kernel counts in hundredths of a second. User and system time are both in it.
    pub(super) fn cpu(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields: Vec<&str> = text
            .rsplit_once(')')
            .context("no process")?
            .1
            .split_whitespace()
            .collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks / 100.0)
    }

    /// MiB, by the name of a field of the kernel's.
    ///
    /// The fields are those of `/proc/PID/status`: `VmRSS` is the memory now, `VmHWM` the most so far.
    pub(super) fn memory(&self, field: &str) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{field}:")));
        let number: Option<u64> =
            line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
        Ok(number.context("the kernel does not say")? / 1024)
    }
}

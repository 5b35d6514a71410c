//! Runs whole processes, and measures their time and their peak memory.
//!
//! The kernel forgets the peak when a process ends, so it is read again and again while the process runs; the reading
//! is frequent for small processes, which end soon, and rare for large ones, so as not to disturb them.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// One run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) wall: Duration,
    /// Peak memory in KiB, as the kernel last reported it before the process ended.
    pub(super) peak: u64,
}

/// The median time and peak of several runs.
pub(super) fn median(runs: usize, command: impl Fn() -> Command) -> Result<Run> {
    let mut walls = Vec::new();
    let mut peaks = Vec::new();
    for _ in 0..runs {
        let run = run(&mut command())?;
        walls.push(run.wall);
        peaks.push(run.peak);
    }
    walls.sort();
    peaks.sort_unstable();
    Ok(Run {
        wall: walls[runs / 2],
        peak: peaks[runs / 2],
    })
}

/// One run, which must succeed. The output is thrown away.
fn run(command: &mut Command) -> Result<Run> {
    let name = command.get_program().to_string_lossy().into_owned();
    let started = Instant::now();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let status_file = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{name} failed");
            return Ok(Run {
                wall: started.elapsed(),
                peak,
            });
        }
        peak = peak.max(high_water_mark(&status_file));
        std::thread::sleep(Duration::from_micros(if peak > 100_000 {
            5000
        } else {
            300
        }));
    }
}

/// The peak in KiB; 0 once the process is gone.
fn high_water_mark(status: &std::path::Path) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok())
        .unwrap_or(0)
}

//! Talks to the user, on standard error: what is being waited for, how far it is, and how long it took.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How often a long step says that it still runs.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Writes a line to standard error. On a terminal it replaces a progress bar that cargo may have drawn there; cargo
/// draws it again below.
pub fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let clear = if stderr.is_terminal() { "\r\x1b[K" } else { "" };
    // A closed standard error is no reason to fail.
    let _ = writeln!(stderr, "{clear}{text}");
}

/// `45.1 s` or `2 m 5 s`.
fn show(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} m {} s", seconds / 60, seconds % 60),
    }
}

/// `1 package`, `12 packages`: the number of lines of an output that begin with a word.
pub(crate) fn count_lines(output: &str, beginning: &str, noun: &str) -> String {
    let lines = output.lines().map(str::trim_start);
    let number = lines.filter(|line| line.starts_with(beginning)).count();
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

/// A long step. It says what it is at its start, how far it is every ten seconds, and how long it took at its end.
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

    /// Runs a command to its end. Its output goes into the file `log`.
    ///
    /// # Errors
    ///
    /// If the program is missing or fails; the error ends with the last lines of the output.
    pub fn run(&self, command: &mut Command, log: &Path) -> Result<()> {
        self.run_counting(command, log, |_| String::new())
    }

    /// As [`run`](Self::run); `count` makes of the output so far how far the command is, such as `12 of 30 packages`.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_counting(
        &self,
        command: &mut Command,
        log: &Path,
        count: impl Fn(&str) -> String,
    ) -> Result<()> {
        let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("`{name}` cannot be run; it is needed for {}", self.what))?;
        let output = || std::fs::read_to_string(log).unwrap_or_default();
        let mut said = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if said.elapsed() > HEARTBEAT {
                self.heartbeat(&count(&output()));
                said = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        if !status.success() {
            let output = output();
            let lines: Vec<&str> = output.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            bail!("{} failed ({status}):\n{tail}", self.what);
        }
        Ok(())
    }

    fn heartbeat(&self, count: &str) {
        let separator = if count.is_empty() { "" } else { ", " };
        let elapsed = show(self.started.elapsed());
        say(&format!("  {}: {count}{separator}{elapsed}", self.what));
    }

    /// Ends the step.
    pub fn done(self) {
        say(&format!(
            "✓ {} ({})",
            self.what,
            show(self.started.elapsed())
        ));
    }
}

/// Work that [`side_by_side`] does on a thread of its own.
pub struct Job<'a> {
    /// What is ready when the work is done.
    pub name: String,
    /// The work.
    pub work: Box<dyn FnOnce() -> Result<()> + Send + 'a>,
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Job").field(&self.name).finish()
    }
}

/// Does several jobs at the same time, and says which of them have ended and how many there are.
///
/// A job that fails says so at once. The others still run to their end, because what they build is kept for the next
/// attempt.
///
/// # Errors
///
/// If a job fails; with more than one failure, the first in the order of `jobs`.
pub fn side_by_side(jobs: Vec<Job<'_>>) -> Result<()> {
    let (total, ended) = (jobs.len(), AtomicUsize::new(0));
    let run = |job: Job<'_>| {
        let started = Instant::now();
        let result = (job.work)();
        let number = ended.fetch_add(1, Ordering::Relaxed) + 1;
        let (mark, outcome) = match &result {
            Ok(()) => ("✓", "ready"),
            Err(_) => ("✗", "failed"),
        };
        say(&format!(
            "{mark} {number} of {total}: {} {outcome} ({})",
            job.name,
            show(started.elapsed())
        ));
        result
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = jobs
            .into_iter()
            .map(|job| scope.spawn(|| run(job)))
            .collect();
        let results: Vec<Result<()>> = threads
            .into_iter()
            .map(|thread| {
                let joined = thread.join();
                joined.unwrap_or_else(|_| Err(anyhow::anyhow!("a job ended with a panic")))
            })
            .collect();
        results.into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{Job, Progress, count_lines, show, side_by_side};

    #[test]
    fn times_are_shown_in_minutes_and_seconds() {
        assert_eq!(show(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(show(Duration::from_secs(125)), "2 m 5 s");
    }

    #[test]
    fn lines_are_counted_by_their_beginning() {
        let output = "   Compiling a v1\n    Finished\n   Compiling b v2\n";
        assert_eq!(count_lines(output, "Compiling ", "crate"), "2 crates");
        assert_eq!(count_lines(output, "Finished", "crate"), "1 crate");
    }

    #[test]
    fn a_failure_shows_the_end_of_the_output() {
        let log = std::env::temp_dir().join(format!("overlayd-tools-{}.log", std::process::id()));
        let result = Progress::start("a test")
            .run(Command::new("sh").args(["-c", "echo broken; exit 3"]), &log);
        let _ = std::fs::remove_file(&log);
        let error = result.expect_err("the command fails").to_string();
        assert!(
            error.starts_with("a test failed (exit status: 3)"),
            "{error}"
        );
        assert!(error.ends_with("broken"), "{error}");
    }

    #[test]
    fn every_job_runs_to_its_end_though_another_fails() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let job = |name: &str, work: Box<dyn FnOnce() -> anyhow::Result<()> + Send>| Job {
            name: name.to_owned(),
            work,
        };
        let result = side_by_side(vec![
            job("the first", Box::new(|| anyhow::bail!("it is broken"))),
            job("the second", Box::new(move || Ok(sender.send(2)?))),
        ]);
        assert_eq!(
            result.expect_err("the first fails").to_string(),
            "it is broken"
        );
        assert_eq!(receiver.recv(), Ok(2));
    }
}

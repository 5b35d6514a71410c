//! Crashes and panics on demand, so that tests can see what they leave behind. Only debug builds have them.
//!
//! `OVERLAYD_CRASH_AT=apply:3` kills the process when it reaches the failpoint `apply` for the third time.
//! `OVERLAYD_PANIC_AT=apply:3` panics there instead, with a text that must not appear in any log or condition.

#[cfg(debug_assertions)]
use std::sync::OnceLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU32, Ordering};

/// A failpoint: a place where a crash would hurt most.
///
/// # Panics
/// The environment variable of a test names this failpoint.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    static CRASH: Failpoint = Failpoint::of("OVERLAYD_CRASH_AT");
    static PANIC: Failpoint = Failpoint::of("OVERLAYD_PANIC_AT");
    if CRASH.is_reached(name) {
        // SIGKILL, as the kernel ends a process without memory: nothing is written or closed.
        let id = std::process::id().to_string();
        let _ = std::process::Command::new("kill")
            .args(["-KILL", &id])
            .status();
        std::thread::park();
    }
    assert!(!PANIC.is_reached(name), "canary-text-of-a-panic");
}

/// The failpoint that an environment variable names, and how often it was reached.
#[cfg(debug_assertions)]
struct Failpoint {
    variable: &'static str,
    wanted: OnceLock<Option<(String, u32)>>,
    passed: AtomicU32,
}

#[cfg(debug_assertions)]
impl Failpoint {
    /// The failpoint of a variable, which is read at the first point.
    const fn of(variable: &'static str) -> Self {
        Self {
            variable,
            wanted: OnceLock::new(),
            passed: AtomicU32::new(0),
        }
    }

    /// True once, at the count that the variable gives.
    fn is_reached(&self, name: &str) -> bool {
        let wanted = self.wanted.get_or_init(|| {
            let text = std::env::var(self.variable).ok()?;
            let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
            Some((name.to_owned(), times.parse().ok()?))
        });
        let Some((wanted, times)) = wanted else {
            return false;
        };
        wanted == name && self.passed.fetch_add(1, Ordering::Relaxed) + 1 == *times
    }
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_name: &str) {}

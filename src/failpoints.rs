//! A crash or panic on demand, for tests that want to know what it leaves behind. Only debug builds have it.
//!
//! `OVERLAYD_CRASH_AT=apply:3` kills the process when it comes to the point `apply` for the third time.
//! `OVERLAYD_PANIC_AT=apply:3` lets that work panic instead, with a text that must be seen nowhere.

#[cfg(debug_assertions)]
use std::sync::OnceLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU32, Ordering};

/// A point at which a crash would hurt.
///
/// # Panics
/// If a test asks for it.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    static CRASH: Failpoint = Failpoint::of("OVERLAYD_CRASH_AT");
    static PANIC: Failpoint = Failpoint::of("OVERLAYD_PANIC_AT");
    if CRASH.is_reached(name) {
        // As the kernel ends a process that has too much memory: nothing is written or closed.
        let id = std::process::id().to_string();
        let _ = std::process::Command::new("kill")
            .args(["-KILL", &id])
            .status();
        std::thread::park();
    }
    assert!(!PANIC.is_reached(name), "canary-text-of-a-panic");
}

/// A point that a variable names, with how often it is passed.
#[cfg(debug_assertions)]
struct Failpoint {
    variable: &'static str,
    wanted: OnceLock<Option<(String, u32)>>,
    passed: AtomicU32,
}

#[cfg(debug_assertions)]
impl Failpoint {
    const fn of(variable: &'static str) -> Self {
        Self {
            variable,
            wanted: OnceLock::new(),
            passed: AtomicU32::new(0),
        }
    }

    /// True for the one time that the variable names.
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

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_name: &str) {}

//! A crash on demand, for tests that want to know what a crash leaves behind. Only debug builds have it.
//!
//! `OVERLAYD_CRASH_AT=apply:3` kills the process when it comes to the point `apply` for the third time.

/// A point at which a crash would hurt.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("OVERLAYD_CRASH_AT").ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), times.parse().ok()?))
    });
    let Some((wanted, times)) = wanted else {
        return;
    };
    if wanted == name && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *times {
        // As the kernel ends a process that has too much memory: nothing is written or closed.
        let id = std::process::id().to_string();
        let _ = std::process::Command::new("kill")
            .args(["-KILL", &id])
            .status();
        std::thread::park();
    }
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_name: &str) {}

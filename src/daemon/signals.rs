//! How the daemon is asked to end: by a signal from outside, and by a watched value within.

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;

/// The signals that end the process. A signal that arrives while nothing waits for it is kept until the next wait.
pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// The runtime cannot register a handler.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and gives its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits until the daemon stops. All tasks of the daemon watch the same value.
pub(super) async fn stopped(mut stopping: watch::Receiver<bool>) {
    // The sender is dropped only when the daemon ends, which is a stop too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

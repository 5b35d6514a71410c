//! Logs: one subscriber, as text for people or as JSON for machines.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogEncoding {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    #[default]
    Json,
}

/// Starts logging to standard error. A second call changes nothing.
pub(crate) fn start(level: &str, encoding: LogEncoding) -> Result<(), String> {
    // Libraries below warnings would only repeat what we say ourselves, and might say more than they should.
    let filter =
        EnvFilter::try_new(format!("warn,overlayd={level}")).map_err(|error| error.to_string())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let started = match encoding {
        LogEncoding::Text => builder.try_init(),
        LogEncoding::Json => builder.json().flatten_event(true).try_init(),
    };
    drop(started);
    Ok(())
}

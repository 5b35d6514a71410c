//! Logs: one subscriber, which writes text for people or JSON for machines.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::cli::args::LogEncoding;

/// Starts logging to standard error. A second call changes nothing.
///
/// # Errors
/// The level is no level.
pub(crate) fn start(level: &str, encoding: LogEncoding) -> Result<(), ParseError> {
    // Libraries log only warnings: below that, they repeat what overlayd logs itself, and may log more than they should.
    let filter = EnvFilter::try_new(format!("warn,overlayd={level}"))?;
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

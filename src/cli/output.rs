//! The only place that writes to standard output and standard error.

use std::io::Write as _;

/// Writes a result to standard output. A pipe that was closed by its reader is no failure.
pub(crate) fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes a message to standard error. A failure of that cannot be reported anywhere.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes messages to standard error, each on a line of its own.
pub(crate) fn notes(texts: &[String]) {
    for text in texts {
        note(&format!("note: {text}"));
    }
}

//! Pure: an error and its causes in one line.

/// The texts of an error and of all its sources, separated by `: `.
///
/// A source whose text is already part of the line is not repeated. Debug forms are never used, since they may hold whole
/// responses of a server.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

//! Pure: an error and its causes in one line, each by its own words.

/// Walks the chain. A cause that is already in the text is not repeated; debug forms, which may hold whole
/// answers of a server, are never used.
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

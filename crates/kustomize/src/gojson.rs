//! Pure: JSON as Go's encoder writes it.

use std::fmt::Write as _;

/// Go's JSON encoder escapes what HTML would mind, and two line separators.
pub(crate) fn go_escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

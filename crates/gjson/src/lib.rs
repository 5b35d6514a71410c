//! Pure: values at paths in JSON texts, as the `property` of an ExternalSecret names them: `user.name`, `list.0`,
//! `users.#(name=="a").id`, `{user,pass}`, `@values`.
//!
//! The path language is that of the Go package [gjson](https://github.com/tidwall/gjson/blob/master/SYNTAX.md), which
//! External Secrets uses. Its behaviour at the corners is the same too: the text is scanned along the path and not
//! parsed as a whole, so a text that is not quite JSON may still have a value, and of several members with the same name
//! the first counts that has the rest of the path.
//!
//! A path is parsed into steps (`path`) that are followed through the text (`find`, on top of `scan`, `strings` and
//! `wildcard`); `@` begins a modifier (`modifiers`, `pretty`). `work` counts what all of them do.
//!
//! ```
//! let json = br#"{"users":[{"name":"a","id":1},{"name":"b","id":2}]}"#;
//! assert_eq!(gjson::get(json, r#"users.#(name=="b").id"#)?.as_deref(), Some(&b"2"[..]));
//! assert_eq!(gjson::get(json, "users.7")?, None);
//! # Ok::<(), gjson::TooMuch>(())
//! ```
//!
//! Paths and texts are untrusted: the number of bytes that are read or made and the depth of a path are bounded.
#![warn(missing_docs)]
// A cut at a byte inside a letter panics, and texts come from strangers.
#![warn(clippy::string_slice)]

mod find;
mod modifiers;
mod path;
mod pretty;
mod scan;
mod strings;
mod wildcard;
mod work;

use find::Search;

/// A path asks for more work than is allowed: its modifiers or queries read the text too often, make too much text, or
/// nest too deeply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch;

impl std::fmt::Display for TooMuch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the path asks for more work than is allowed")
    }
}

impl std::error::Error for TooMuch {}

/// The value at a path, as gjson's `Get` and `Result.String` give it; nothing if the path leads nowhere.
///
/// A string is given without its quotes and escapes, `null` as an empty text, a number without an exponent, and anything
/// else as it stands in the text.
///
/// # Errors
/// The path asks for more work than is allowed.
pub fn get(json: &[u8], path: &str) -> Result<Option<Vec<u8>>, TooMuch> {
    let found = Search::default().get(json, path.as_bytes())?;
    Ok(found.exists().then(|| found.text().into_owned()))
}

//! Pure: paths into JSON texts, as the `property` of an ExternalSecret writes them: `user.name`, `list.0`,
//! `users.#(name=="a").id`, `{user,pass}`, `@values`.
//!
//! The language and its corners are those of the Go package gjson, which External Secrets uses: a path is followed
//! through the text without reading it whole, so text that is not quite JSON may still give an answer, and of two
//! members of one name the first that leads on counts.
//!
//! ```
//! let json = br#"{"users":[{"name":"a","id":1},{"name":"b","id":2}]}"#;
//! assert_eq!(gjson::get(json, r#"users.#(name=="b").id"#)?.as_deref(), Some(&b"2"[..]));
//! assert_eq!(gjson::get(json, "users.7")?, None);
//! # Ok::<(), gjson::TooMuch>(())
//! ```
//!
//! Paths and texts are untrusted: the bytes that are looked at or made, and how deep a path leads, are bounded.

mod find;
mod modifiers;
mod path;
mod pretty;
mod scan;
mod strings;
mod wildcard;

use find::Search;

/// The path asks for more work than is allowed: it repeats, doubles or nests too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch;

impl std::fmt::Display for TooMuch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the path asks for more work than is allowed")
    }
}

impl std::error::Error for TooMuch {}

/// What a path leads to, as text: a string without its quotes, null as nothing, numbers without an exponent, the
/// rest as it is written. None if it leads nowhere.
pub fn get(json: &[u8], path: &str) -> Result<Option<Vec<u8>>, TooMuch> {
    let found = Search::default().get(json, path.as_bytes())?;
    Ok(found.exists().then(|| found.text().into_owned()))
}

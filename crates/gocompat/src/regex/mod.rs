//! Pure: regular expressions in the syntax of Go's `regexp` package, which is RE2's.
//!
//! A pattern is parsed by Go's rules into nodes (`parse`, `class`), the nodes are printed in the syntax of the
//! `regex` crate (`print`), and that crate compiles the text. Both engines return the leftmost match and
//! prefer the first alternative, so a translated pattern matches what the pattern matches in Go.
//!
//! The syntaxes look alike and differ in many places. In Go, for example, `{`, `}` and `]` may stand for themselves,
//! `\d`, `\w`, `\s`, `\b` and `[[:alpha:]]` mean ASCII characters only, `\Q…\E` quotes, and neither `&&` nor a
//! bracket has a meaning inside a class. In the `regex` crate, the flags `x` and `u`, properties such as
//! `\p{Alphabetic}` and classes inside classes exist; Go refuses them.
//!
//! ```
//! let regex = gocompat::regex::compile(r"^a{,2}[[a&&b]+\Q.\E$")?;
//! assert!(regex.is_match("a{,2}[&."));
//! let error = gocompat::regex::compile("a**").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "error parsing regexp: invalid nested repetition operator: `**`"
//! );
//! # Ok::<(), gocompat::regex::SyntaxError>(())
//! ```

mod class;
mod error;
mod node;
mod parse;
mod print;
mod template;
mod unicode;

use ::regex::{Regex, RegexBuilder};

pub use error::{ErrorCode, SyntaxError};
pub use template::{expand, replace_all};

/// The largest compiled pattern (bytes). Go allows about 128 MiB, which a stranger's pattern must not take.
const MAX_COMPILED_SIZE: usize = 1 << 20;

/// The deepest nesting that the `regex` crate accepts. Go's limit of 1000 levels has been checked before; a level in
/// Go can be a group and a repetition in the printed pattern.
const NEST_LIMIT: u32 = 5000;

/// Compiles a pattern as `regexp.Compile` does.
///
/// # Errors
/// The error that Go gives for the pattern, or [`ErrorCode::Large`] if the compiled pattern takes more than 1 MiB.
pub fn compile(pattern: &str) -> Result<Regex, SyntaxError> {
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated)
        .size_limit(MAX_COMPILED_SIZE)
        .nest_limit(NEST_LIMIT)
        .build()
        .map_err(|error| {
            let code = match error {
                ::regex::Error::CompiledTooBig(_) => ErrorCode::Large,
                _ => ErrorCode::Internal,
            };
            SyntaxError::new(code, pattern)
        })
}

/// Prints a pattern of Go's syntax in the syntax of the `regex` crate.
///
/// Groups keep their order. A group keeps its name, except where the `regex` crate cannot have it: Go allows names
/// that begin with a digit or stand twice. [`expand`] and [`replace_all`] know these groups by their names in Go.
///
/// # Errors
/// The error that Go gives for the pattern.
pub fn translate(pattern: &str) -> Result<String, SyntaxError> {
    Ok(print::print(&parse::parse(pattern)?))
}

/// About how many states the automaton of a pattern has, with all repetitions written out.
///
/// Compiling a pattern takes time in proportion to its states, and a search takes time up to states × bytes of the text.
/// A caller with untrusted patterns charges both before it compiles.
///
/// # Errors
/// The error that Go gives for the pattern.
pub fn states(pattern: &str) -> Result<usize, SyntaxError> {
    Ok(parse::parse(pattern)?.states)
}

/// Escapes all characters that have a meaning in a pattern, as `regexp.QuoteMeta` does.
pub fn quote_meta(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

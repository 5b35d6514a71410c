//! Pure: Go's `text/template` with the functions of sprig and of External Secrets, for the templates of
//! ExternalSecrets.
//!
//! A template is cut into tokens (`lex`), read into nodes (`parse`) and executed (`exec`) on values that have Go's
//! types (`value`). Functions stand in tables (`builtins`, `sprig`, `eso`) with the types of their parameters.
//!
//! ```
//! let data = [("user", &b"u"[..])];
//! let template = gotemplate::Template::parse("url", "postgres://{{ .user | upper }}@db")?;
//! let text = template.render(data, &gotemplate::Environment::fixed())?;
//! assert_eq!(text, b"postgres://U@db");
//! # Ok::<(), gotemplate::TemplateError>(())
//! ```
//!
//! Time and random bytes are arguments ([`Environment`]). Templates and values are untrusted: output, steps and
//! recursion are bounded, and an error never holds a value.

mod builtins;
mod der;
mod digits;
mod error;
mod eso;
mod exec;
mod functions;
mod lex;
mod machine;
mod methods;
mod node;
mod number;
mod parse;
mod printf;
mod sprig;
mod time;
mod value;

use std::cell::{Cell, RefCell};

pub use error::TemplateError;
use jiff::Timestamp;
pub use machine::{Limits, MissingKey};
pub use sprig::json::print_json;

use error::ParseError;
use exec::Failure;
use machine::RandomBytes;
use parse::Parsed;

/// What stands around the actions of a template.
pub const DELIMITERS: (&str, &str) = ("{{", "}}");

/// The largest template (bytes).
const MAX_TEMPLATE: usize = 1 << 20;

/// A template, read.
#[derive(Debug)]
pub struct Template {
    name: String,
    text: String,
    parsed: Parsed,
}

/// What a render may use.
pub struct Environment<'e> {
    /// The time that `now` gives.
    pub now: Timestamp,
    /// Fills a slice with random bytes.
    random: RandomBytes<'e>,
    /// A render has looked at the time, or has used chance.
    used: Cell<bool>,
    /// What a missing key is.
    pub missing_key: MissingKey,
    /// How much is too much.
    pub limits: Limits,
}

impl<'e> Environment<'e> {
    /// An environment with the time and a source of random bytes.
    pub fn new(now: Timestamp, random: impl FnMut(&mut [u8]) + 'e) -> Self {
        Self {
            now,
            random: RefCell::new(Box::new(random)),
            used: Cell::new(false),
            missing_key: MissingKey::default(),
            limits: Limits::default(),
        }
    }

    /// An environment without time and chance, for tests.
    pub fn fixed() -> Self {
        let mut next = 0_u8;
        Self::new(Timestamp::UNIX_EPOCH, move |bytes| {
            for byte in bytes {
                next = next.wrapping_mul(109).wrapping_add(89);
                *byte = next;
            }
        })
    }

    /// True if something that was rendered with it would be different another time, though its data were the same.
    pub fn is_volatile(&self) -> bool {
        self.used.get()
    }

    /// The same, but a missing key is nothing instead of an error.
    #[must_use]
    pub fn with_missing_key(mut self, missing_key: MissingKey) -> Self {
        self.missing_key = missing_key;
        self
    }
}

impl Template {
    /// Reads a template with the usual delimiters.
    ///
    /// # Errors
    /// What is wrong with it, and the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        Self::parse_with(name, text, DELIMITERS)
    }

    /// Reads a template whose actions stand between other delimiters.
    ///
    /// # Errors
    /// What is wrong with it, and the line.
    pub fn parse_with(
        name: &str,
        text: &str,
        delimiters: (&str, &str),
    ) -> Result<Self, TemplateError> {
        let or = |given: &'static str| move |text: &'_ str| text.is_empty().then_some(given);
        let left = or(DELIMITERS.0)(delimiters.0).unwrap_or(delimiters.0);
        let right = or(DELIMITERS.1)(delimiters.1).unwrap_or(delimiters.1);
        let parsed = if text.len() > MAX_TEMPLATE {
            Err(ParseError {
                at: 0,
                message: format!("the template is larger than {MAX_TEMPLATE} bytes"),
            })
        } else {
            lex::lex(text, (left, right))
                .and_then(|tokens| parse::parse(tokens, &functions::exists))
        };
        match parsed {
            Ok(parsed) => Ok(Self {
                name: name.to_owned(),
                text: text.to_owned(),
                parsed,
            }),
            Err(error) => Err(TemplateError {
                name: name.to_owned(),
                line: place(text, error.at).0,
                column: None,
                context: None,
                message: error.message,
                detail: None,
            }),
        }
    }

    /// Executes the template on a map of strings.
    ///
    /// # Errors
    /// What could not be done, and where.
    pub fn render<'d>(
        &self,
        data: impl IntoIterator<Item = (&'d str, &'d [u8])>,
        environment: &Environment<'_>,
    ) -> Result<Vec<u8>, TemplateError> {
        exec::execute(&self.parsed, &exec::data_of(data), environment)
            .map_err(|failure| self.error(*failure))
    }

    fn error(&self, failure: Failure) -> TemplateError {
        let (line, column) = place(&self.text, failure.at);
        let definition = failure.definition.unwrap_or_else(|| self.name.clone());
        TemplateError {
            name: self.name.clone(),
            line,
            column: Some(column),
            context: Some((definition, failure.part)),
            message: failure.fault.message,
            detail: failure.fault.detail,
        }
    }
}

/// The line, from 1, and the byte in it, from 0.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = String::from_utf8_lossy(before).matches('\n').count() + 1;
    let column = before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(before.len(), |newline| before.len() - newline - 1);
    (line, column)
}

//! Pure: Go's `text/template` with the functions of sprig and of External Secrets, for the templates of
//! ExternalSecrets.
//!
//! A template passes through three steps: [`Template::parse`] splits the text into tokens (`lex`) and parses the tokens
//! into nodes (`parse`, `node`); [`Template::render`] executes the nodes (`exec`) on values that have Go's types
//! (`value`). Data and output are bytes, most often UTF-8.
//!
//! The modules are layers; each uses only the layers above it in this list:
//!
//! - `error`, `number`, `digits`, `der`, `pem`, `time`: text forms and errors, which know no template.
//! - `value`, `printf`, `methods`: Go's values, how they print, and the methods of times, durations and versions.
//! - `environment`, `machine`: what a render may use, and how much it has used.
//! - `signature`: the shape of a function, with the types of its parameters.
//! - `builtins`, `sprig`, `eso`: the functions, in tables of rows.
//! - `functions`: the table of all functions.
//! - `lex`, `node`, `parse`, `exec`: the language.
//!
//! ```
//! let data = [("user", &b"u"[..])];
//! let template = gotemplate::Template::parse("url", "postgres://{{ .user | upper }}@db")?;
//! let text = template.render(data, &gotemplate::Environment::fixed())?;
//! assert_eq!(text, b"postgres://U@db");
//! # Ok::<(), gotemplate::TemplateError>(())
//! ```
//!
//! The time and a source of random bytes are arguments ([`Environment`]), so that a render can be repeated. Templates and
//! values are untrusted: [`Limits`] bounds output, steps and recursion, and the message of an error never holds a value.
#![warn(missing_docs)]
// A cut at a byte inside a letter panics, and texts come from strangers.
#![warn(clippy::string_slice)]

mod builtins;
mod der;
mod digits;
mod environment;
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
mod pem;
mod printf;
mod signature;
mod sprig;
mod time;
mod value;

pub use environment::{Environment, Limits, MissingKey};
pub use error::TemplateError;
pub use sprig::json::print_json;

use error::ParseError;
use exec::Failure;
use parse::Parsed;

/// The delimiters of actions that Go uses by default: left and right.
pub const DELIMITERS: (&str, &str) = ("{{", "}}");

/// The largest template (bytes).
const MAX_TEMPLATE: usize = 1 << 20;

/// A parsed template. It can be rendered any number of times.
#[derive(Debug)]
pub struct Template {
    name: String,
    text: String,
    parsed: Parsed,
}

impl Template {
    /// Parses a template with the default delimiters. Errors show `name`, as `template.New(name)` does in Go.
    ///
    /// # Errors
    /// The syntax error with its line, from 1; or a template of more than 1 MiB.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        Self::parse_with(name, text, DELIMITERS)
    }

    /// Parses a template with the given delimiters, left and right. An empty delimiter means the default one, as in
    /// Go's `Template.Delims`.
    ///
    /// # Errors
    /// The syntax error with its line, from 1; or a template of more than 1 MiB.
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

    /// Executes the template on a map of strings, which is the data (`.`) of the template, and gives the output.
    ///
    /// # Errors
    /// The part of the template that failed, with its place; or the limit of the environment that was reached.
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

/// The line of an offset, from 1, and the byte in that line, from 0.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = String::from_utf8_lossy(before).matches('\n').count() + 1;
    let column = before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(before.len(), |newline| before.len() - newline - 1);
    (line, column)
}

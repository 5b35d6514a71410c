//! Pure: why a template cannot be parsed or executed, in the form of Go's errors.
//!
//! There are three types for three distances. A `Fault` is what a function says; it knows no place. `exec` adds the
//! place and makes a `Failure` of it, and `Template` adds the name and the line, which gives the public
//! `TemplateError`.
//!
//! Data are secrets. So the message of each is made of names, types and places only, and what may hold a value goes
//! into `detail`, which `overlayd template` shows to the user who runs it and which no condition, event or log gets.

use std::fmt;

/// A syntax error at a byte offset of the template.
///
/// The message is Go's. A template is written by the user and holds no secret, so the message may quote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParseError {
    pub(crate) at: usize,
    pub(crate) message: String,
}

/// Why a function or an operation failed. The message never holds a value of the data, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    /// A longer message that may hold a value; only for people who may see the values.
    pub(crate) detail: Option<String>,
}

/// The result of a function.
pub(crate) type Outcome<T> = Result<T, Fault>;

impl Fault {
    /// A failure with a message that holds no value.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            detail: None,
        }
    }

    /// A failure with a message that holds no value, and a longer one that may hold a value.
    pub(crate) fn hiding(message: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            detail: Some(detail.into()),
        }
    }
}

/// Fails with a message that holds no value.
pub(crate) fn fault<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Fault::new(message))
}

/// Why a template cannot be parsed or rendered. It prints as Go's error does, with names and places but never a value:
/// `template: url:1:3: executing "url" at <.user>: map has no entry for key "user"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// The template's name.
    pub name: String,
    /// The line, from 1.
    pub line: usize,
    /// The byte in the line, from 0; none for a syntax error.
    pub column: Option<usize>,
    /// The name of the template or `define` that was executed, and the text of the part that failed; none for a syntax
    /// error.
    pub context: Option<(String, String)>,
    /// The reason. It never holds a value of the data.
    pub message: String,
    /// A longer message of a function. It may hold a value of the data, so only people who may see the values may see
    /// it.
    pub detail: Option<String>,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "template: {}:{}", self.name, self.line)?;
        if let Some(column) = self.column {
            write!(formatter, ":{column}")?;
        }
        if let Some((definition, part)) = &self.context {
            write!(formatter, ": executing {definition:?} at <{part}>")?;
        }
        write!(formatter, ": {}", self.message)
    }
}

impl std::error::Error for TemplateError {}

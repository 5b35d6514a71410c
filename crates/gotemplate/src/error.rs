//! Pure: why a template cannot be read or executed, in Go's words: name, line, column, and where in the template.

use std::fmt;

/// A problem of reading, at a byte of the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParseError {
    pub(crate) at: usize,
    pub(crate) message: String,
}

/// A problem of a function or of an operation: what is wrong, and whether its words may hold a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    /// What a person may see who may see the values, too.
    pub(crate) detail: Option<String>,
}

/// The result of a function.
pub(crate) type Outcome<T> = Result<T, Fault>;

impl Fault {
    /// Words that hold no value.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            detail: None,
        }
    }

    /// Words that hold no value, and others that do.
    pub(crate) fn hiding(message: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            detail: Some(detail.into()),
        }
    }
}

/// Fails with words that hold no value.
pub(crate) fn fault<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Fault::new(message))
}

/// Why a template cannot be rendered. The text has names and places, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// The template's name.
    pub name: String,
    /// The line, from 1.
    pub line: usize,
    /// The byte in the line, from 0; none for a template that cannot be read.
    pub column: Option<usize>,
    /// The name of the definition that was executed, and the part of it that failed.
    pub context: Option<(String, String)>,
    /// What is wrong.
    pub message: String,
    /// What a function said beyond the message. It may hold a value, so it is for those alone who may see values.
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

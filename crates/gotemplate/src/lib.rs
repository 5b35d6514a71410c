//! Pure: Go's `text/template`, for the templates of ExternalSecrets. Narrow for now, and strict: what it does
//! not know is an error that names it.
//!
//! A template is cut into tokens (`lex`), read into nodes (`parse`) and executed
//! (`exec`) on a map of strings. Actions, comments, trim markers, pipelines, variables, `if`, `else if`,
//! `with`, `range`, parentheses and a few functions work.
//!
//! ```
//! let data = [("user".to_owned(), "u".to_owned())].into();
//! let text = gotemplate::render("url", "postgres://{{ .user | upper }}@db", &data)?;
//! assert_eq!(text, "postgres://U@db");
//! # Ok::<(), gotemplate::TemplateError>(())
//! ```

mod exec;
mod functions;
mod lex;
mod parse;
mod value;

use std::collections::BTreeMap;

/// Why a template cannot be rendered. The text has the place and names, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: {name}:{line}: {message}")]
pub struct TemplateError {
    /// The template's name.
    pub name: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// The most that one template may print (bytes).
const MAX_OUTPUT: usize = 8 << 20;

/// Renders a template on a map of strings. A field that the map lacks is an error.
///
/// # Errors
/// If the template cannot be read, or what it asks for cannot be done.
pub fn render(
    name: &str,
    template: &str,
    data: &BTreeMap<String, String>,
) -> Result<String, TemplateError> {
    let fail = |failure: Failure| TemplateError {
        name: name.to_owned(),
        line: failure.line,
        message: failure.message,
    };
    let nodes = lex::lex(template).and_then(parse::parse).map_err(fail)?;
    exec::execute(&nodes, data).map_err(fail)
}

/// A message and its line, before it has the template's name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    line: usize,
    message: String,
}

fn failure<T>(line: usize, message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure {
        line,
        message: message.into(),
    })
}

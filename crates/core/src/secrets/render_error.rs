//! Pure: why the template of an ExternalSecret cannot be rendered.

/// Why a template cannot be rendered. The text names fields and keys, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The template is invalid, or fails on the data.
    #[error("`target.template.{field}`: {source}")]
    Template {
        /// The field of the template.
        field: String,
        /// The error of the template engine.
        #[source]
        source: gotemplate::TemplateError,
    },
    /// An object that holds templates, or a key of it, does not exist. It may be created later.
    #[error("`target.template.{field}`: {what}")]
    Missing {
        /// The field of the template.
        field: String,
        /// Which object or key is missing.
        what: String,
    },
    /// A template of keys and values does not render to a YAML map of strings.
    #[error("`target.template.{field}` renders to what is no YAML map of texts: {reason}")]
    NoMap {
        /// The field of the template.
        field: String,
        /// What it renders to instead.
        reason: &'static str,
    },
    /// A rendered value is not in the encoding that the strategy names.
    #[error(
        "`target.template.{field}`: value {position} of {count}, in the order of their keys, is not {encoding}"
    )]
    Encoding {
        /// The field of the template.
        field: String,
        /// The position of the value, from 1. The key is not named: it may itself be a value.
        position: usize,
        /// The number of values.
        count: usize,
        /// The encoding.
        encoding: &'static str,
    },
    /// A rendered key is invalid: its position, from 1, and the number of keys.
    #[error(
        "key {0} of {1}, in the order of their names, is no valid key of a Secret: letters, digits, `-`, `_` and `.` are"
    )]
    InvalidKey(usize, usize),
    /// The Secret would exceed the limit of the API server.
    #[error(
        "the Secret would hold {size} bytes, and no more than 1 MiB fits; the largest value has {largest} bytes{}",
        .key.as_ref().map(|key| format!(" under `{key}`")).unwrap_or_default()
    )]
    TooLarge {
        /// The size of all values, in bytes.
        size: usize,
        /// The key of the largest value, if it is written in the spec. A rendered key may itself be a value.
        key: Option<String>,
        /// The size of the largest value, in bytes.
        largest: usize,
    },
}

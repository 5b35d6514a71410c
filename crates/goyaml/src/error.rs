//! Pure: what can be wrong with a text that is read or a tree that is printed.

use crate::scalar::Scalar;

/// Why a text could not be read. Lines count from 1, over the whole text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The text is not YAML.
    #[error("line {line}: {message}")]
    Syntax {
        /// Where the parser stopped.
        line: usize,
        /// What it expected or found.
        message: String,
    },
    /// A line that begins with `---` goes on with something else than a comment.
    #[error("line {line}: invalid document separator: `{text}`")]
    Separator {
        /// The line of the separator.
        line: usize,
        /// The line's text, cut to 80 characters.
        text: String,
    },
    /// A mapping has a key twice.
    #[error("line {line}: mapping key `{key}` already defined at line {first}")]
    DuplicateKey {
        /// The second place.
        line: usize,
        /// The first place.
        first: usize,
        /// The key.
        key: String,
    },
    /// A mapping has a key that JSON cannot have.
    #[error("line {line}: mapping key `{key}` is not a string; put it in quotes")]
    KeyType {
        /// The line of the key.
        line: usize,
        /// The key as written; empty for a list or mapping.
        key: String,
    },
    /// `<<` stands before something that is not a mapping.
    #[error("line {line}: map merge requires map or sequence of maps as the value")]
    Merge {
        /// The line of the value.
        line: usize,
    },
    /// An alias stands inside the node that it names.
    #[error("line {line}: anchor contains itself")]
    Recursion {
        /// The line of the alias.
        line: usize,
    },
    /// The text, or what its aliases expand to, is larger than the limits allow.
    #[error("line {line}: document is too large: more than {limit} {what}")]
    Limit {
        /// Where the limit was passed.
        line: usize,
        /// What was counted.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// The text is not UTF-8.
    #[error("line {line}: invalid UTF-8")]
    Encoding {
        /// The line of the first bad byte.
        line: usize,
    },
}

impl ReadError {
    /// The line the error is at, counted from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::Syntax { line, .. }
            | Self::Separator { line, .. }
            | Self::DuplicateKey { line, .. }
            | Self::KeyType { line, .. }
            | Self::Merge { line }
            | Self::Recursion { line }
            | Self::Limit { line, .. }
            | Self::Encoding { line } => *line,
        }
    }
}

/// Why a tree could not be printed or turned into JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrintError {
    /// JSON has no infinity and no NaN.
    #[error("line {line}: `{text}` has no JSON form")]
    NotFinite {
        /// The line the scalar was read from; 0 for a made one.
        line: u32,
        /// The scalar's text.
        text: String,
    },
    /// Go refuses U+007F to U+009F but U+0085.
    #[error("line {line}: control characters are not allowed")]
    ControlCharacter {
        /// The line the scalar was read from; 0 for a made one.
        line: u32,
    },
    /// A scalar's text is none of its type.
    #[error("line {line}: cannot read `{text}` as {wanted}")]
    Mismatch {
        /// The line the scalar was read from; 0 for a made one.
        line: u32,
        /// The scalar's text.
        text: String,
        /// The type.
        wanted: &'static str,
    },
    /// JSON knows no keys but strings.
    #[error("line {line}: key `{key}` is not a string")]
    Key {
        /// The line of the key's value.
        line: u32,
        /// The key's text.
        key: String,
    },
    /// A `!!binary` scalar is not base64.
    #[error("line {line}: `!!binary` value is not base64")]
    Binary {
        /// The line the scalar was read from; 0 for a made one.
        line: u32,
    },
}

impl PrintError {
    /// The line that the scalar was read from, counted from 1; 0 for a made one.
    pub fn line(&self) -> u32 {
        match self {
            Self::NotFinite { line, .. }
            | Self::ControlCharacter { line }
            | Self::Mismatch { line, .. }
            | Self::Key { line, .. }
            | Self::Binary { line } => *line,
        }
    }

    pub(crate) fn mismatch(scalar: &Scalar, line: u32) -> Self {
        Self::Mismatch {
            line,
            text: scalar.text.to_string(),
            wanted: scalar.tag.name(),
        }
    }
}

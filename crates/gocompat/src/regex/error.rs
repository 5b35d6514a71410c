//! Pure: why a pattern is invalid, in the words of Go's `regexp/syntax`.

use std::fmt;

/// Why a pattern is invalid. The text is Go's: ``error parsing regexp: missing closing ): `(a` ``.
///
/// The text quotes the pattern. Where a pattern can be a secret, [`SyntaxError::code`] says what is wrong without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    code: ErrorCode,
    expression: String,
}

impl SyntaxError {
    pub(super) fn new(code: ErrorCode, expression: &str) -> Self {
        Self {
            code,
            expression: expression.to_owned(),
        }
    }

    /// What is wrong, without any text of the pattern.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The part of the pattern that Go's error quotes; for some errors the whole pattern, for some nothing.
    pub fn expression(&self) -> &str {
        &self.expression
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, expression } = self;
        write!(formatter, "error parsing regexp: {code}: `{expression}`")
    }
}

impl std::error::Error for SyntaxError {}

/// The kinds of syntax errors, as `syntax.ErrorCode` has them. Errors of invalid UTF-8 are missing, since a `str` has
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// The `regex` crate refuses what Go accepts: a Unicode script that its tables do not have.
    Internal,
    /// A range whose end is before its start, or a class name that does not exist.
    InvalidCharRange,
    /// A backslash before a letter or digit that has no meaning after it, such as a backreference.
    InvalidEscape,
    /// A group name that is empty, not closed, or has other characters than ASCII letters, digits and `_`.
    InvalidNamedCapture,
    /// Text after `(?` that is neither a flag, a name nor a `:`, such as a lookahead.
    InvalidPerlOp,
    /// A repetition of a repetition, such as `a**`.
    InvalidRepeatOp,
    /// A repetition of more than 1000, of more than 1000 in total when nested, or with its end before its start.
    InvalidRepeatSize,
    /// A class that is not closed.
    MissingBracket,
    /// A group that is not closed.
    MissingParen,
    /// A repetition with nothing before it.
    MissingRepeatArgument,
    /// A backslash at the end of the pattern.
    TrailingBackslash,
    /// A `)` that closes no group.
    UnexpectedParen,
    /// More than 1000 levels of groups, repetitions, alternations and sequences.
    NestingDepth,
    /// A pattern whose compiled form is too large.
    Large,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Internal => "regexp/syntax: internal error",
            Self::InvalidCharRange => "invalid character class range",
            Self::InvalidEscape => "invalid escape sequence",
            Self::InvalidNamedCapture => "invalid named capture",
            Self::InvalidPerlOp => "invalid or unsupported Perl syntax",
            Self::InvalidRepeatOp => "invalid nested repetition operator",
            Self::InvalidRepeatSize => "invalid repeat count",
            Self::MissingBracket => "missing closing ]",
            Self::MissingParen => "missing closing )",
            Self::MissingRepeatArgument => "missing argument to repetition operator",
            Self::TrailingBackslash => "trailing backslash at end of expression",
            Self::UnexpectedParen => "unexpected )",
            Self::NestingDepth => "expression nests too deeply",
            Self::Large => "expression too large",
        })
    }
}

/// The text between the starts of two parts of a pattern, of which the second is the end of the first. Errors quote it.
pub(super) fn read_between<'p>(from: &'p str, rest: &str) -> &'p str {
    from.strip_suffix(rest).unwrap_or(from)
}

//! Pure: what a scalar means. A plain text is given its type here, and a typed text its value.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::number::{Number, parse_number};
use crate::timestamp::parse_timestamp;

/// Shared immutable text.
pub type Text = Arc<str>;

/// A leaf: its text, and the type that was settled when it was read.
///
/// Both are kept, since writing another text into a field keeps the field's type.
#[derive(Debug, Clone)]
pub struct Scalar {
    /// The text, escapes and folding undone.
    pub text: Text,
    /// The type.
    pub tag: Tag,
    /// Scalars of one tree with the same number (but 0) are one scalar that stands in several places, for those
    /// who care: whoever writes one writes all. Reading and printing do not look at it.
    pub link: u32,
    /// Written as a folded block scalar (`>`), which go-yaml v3 does not always read as it wrote it
    /// (see [`settle_folds`](crate::settle_folds)).
    pub folded: bool,
    /// Written within brackets, where no block scalar can stand.
    pub bracketed: bool,
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.tag == other.tag && self.text == other.text
    }
}

impl Eq for Scalar {}

impl Scalar {
    /// A scalar that stands in one place.
    pub fn new(text: impl Into<Text>, tag: Tag) -> Self {
        Self {
            text: text.into(),
            tag,
            link: 0,
            folded: false,
            bracketed: false,
        }
    }
}

/// The types of YAML's core schema, and those that Go adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// `null`, `~`, or nothing.
    Null,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// Any other number.
    Float,
    /// Text.
    Str,
    /// A date or a time. JSON has none: it prints as text.
    Timestamp,
    /// Base64, by the explicit tag `!!binary` alone.
    Binary,
    /// Not settled: whatever the text looks like once it is printed. Made, never read.
    Untyped,
}

/// The value of a scalar, as JSON knows values.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer of up to 64 bits, signed or not.
    Int(i128),
    /// A float that is not an integer of 64 bits. May be infinite or not a number.
    Float(f64),
    /// Text.
    Str(String),
    /// `!!binary` text that is not base64.
    BadBinary,
    /// A text that its type cannot have: `!!int x`, or what a replacement wrote into a field of that type.
    Mismatch,
}

impl Tag {
    /// What to call the type in a message.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "boolean",
            Self::Int => "integer",
            Self::Float => "number",
            Self::Str => "string",
            Self::Timestamp => "timestamp",
            Self::Binary => "binary",
            Self::Untyped => "untyped",
        }
    }
}

/// The type of an unquoted text under go-yaml v3: YAML 1.2 booleans, YAML 1.1 numbers and dates.
pub fn resolve(text: &str) -> Tag {
    let Some(first) = text.bytes().next() else {
        return Tag::Null;
    };
    match first {
        b'0'..=b'9' | b'+' | b'-' | b'.' => resolve_number(text),
        b'~' if text == "~" => Tag::Null,
        b'n' | b'N' if matches!(text, "null" | "Null" | "NULL") => Tag::Null,
        b't' | b'T' if matches!(text, "true" | "True" | "TRUE") => Tag::Bool,
        b'f' | b'F' if matches!(text, "false" | "False" | "FALSE") => Tag::Bool,
        _ => Tag::Str,
    }
}

fn resolve_number(text: &str) -> Tag {
    if text.as_bytes()[0].is_ascii_digit() && parse_timestamp(text).is_some() {
        return Tag::Timestamp;
    }
    match parse_number(text) {
        Some(Number::Int(_)) => Tag::Int,
        Some(Number::Float(_)) => Tag::Float,
        None => Tag::Str,
    }
}

/// True for the words that YAML 1.1 reads as booleans and YAML 1.2 does not.
pub(crate) fn is_yaml11_word(text: &str) -> bool {
    yaml11_bool(text).is_some()
}

/// The value of a YAML 1.1 boolean that YAML 1.2 takes for text.
pub(crate) fn yaml11_bool(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

impl Scalar {
    /// The value, or that the text has another type than it should (go-yaml's `resolve`).
    pub fn meaning(&self) -> Meaning {
        let text = &*self.text;
        match self.tag {
            Tag::Str => Meaning::Str(text.to_owned()),
            Tag::Null if resolve(text) == Tag::Null => Meaning::Null,
            Tag::Bool => match text {
                "true" | "True" | "TRUE" => Meaning::Bool(true),
                "false" | "False" | "FALSE" => Meaning::Bool(false),
                _ => yaml11_bool(text).map_or(Meaning::Mismatch, Meaning::Bool),
            },
            Tag::Int => match parse_number(text) {
                Some(Number::Int(value)) => Meaning::Int(value),
                _ => Meaning::Mismatch,
            },
            Tag::Float => match parse_number(text) {
                Some(Number::Int(value)) => Meaning::Int(value),
                Some(Number::Float(value)) => float_meaning(value),
                None => Meaning::Mismatch,
            },
            Tag::Timestamp => parse_timestamp(text).map_or(Meaning::Mismatch, Meaning::Str),
            Tag::Binary => binary_meaning(text),
            Tag::Null => Meaning::Mismatch,
            Tag::Untyped => Self::new(self.text.clone(), resolve(text)).meaning(),
        }
    }
}

/// A float whose shortest digits are an integer of 64 bits prints as one, since JSON does not tell them apart.
///
/// Go writes a float below 1e21 into JSON with its shortest digits and zeros, and reads that text again; so
/// `-9223372036854775809` is first the float -2^63, then the text `-9223372036854776000`, which is a float again.
fn float_meaning(value: f64) -> Meaning {
    if value.fract() != 0.0 || value.abs() >= 1e21 {
        return Meaning::Float(value);
    }
    let digits: Option<i128> = format!("{value}").parse().ok();
    let fits = |digits: &i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(digits);
    digits
        .filter(fits)
        .map_or(Meaning::Float(value), Meaning::Int)
}

fn binary_meaning(text: &str) -> Meaning {
    let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    match STANDARD.decode(compact) {
        Ok(bytes) => Meaning::Str(String::from_utf8_lossy(&bytes).into_owned()),
        Err(_) => Meaning::BadBinary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_that_are_integers_of_64_bits() {
        for (text, meaning) in [
            ("1e3", Meaning::Int(1000)),
            ("-0.0", Meaning::Int(0)),
            ("9007199254740993.0", Meaning::Int(9_007_199_254_740_992)),
            (
                "-9223372036854775809",
                Meaning::Float(-9_223_372_036_854_775_808.0),
            ),
            (
                "18446744073709551616",
                Meaning::Float(18_446_744_073_709_551_616.0),
            ),
            ("1e19", Meaning::Int(10_000_000_000_000_000_000)),
            ("1e21", Meaning::Float(1e21)),
        ] {
            let scalar = Scalar::new(text, resolve(text));
            assert_eq!(scalar.meaning(), meaning, "{text}");
        }
    }

    #[test]
    fn plain_text_is_typed_as_go_types_it() {
        for (text, tag) in [
            ("", Tag::Null),
            ("~", Tag::Null),
            ("NULL", Tag::Null),
            ("nULL", Tag::Str),
            ("True", Tag::Bool),
            ("yes", Tag::Str),
            ("0644", Tag::Int),
            ("08", Tag::Float),
            ("1_000", Tag::Int),
            ("_1", Tag::Str),
            ("0x1F", Tag::Int),
            ("0b2", Tag::Str),
            (".5", Tag::Float),
            ("+.5", Tag::Float),
            ("1.", Tag::Float),
            ("1e3", Tag::Float),
            ("1e", Tag::Str),
            (".", Tag::Str),
            ("-", Tag::Str),
            ("1:30", Tag::Str),
            (".inf", Tag::Float),
            ("inf", Tag::Str),
            ("2020-01-01", Tag::Timestamp),
            ("2020-13-01", Tag::Str),
            ("2001-12-14 21:59:43", Tag::Timestamp),
            ("1.2.3", Tag::Str),
        ] {
            assert_eq!(resolve(text), tag, "{text:?}");
        }
    }
}

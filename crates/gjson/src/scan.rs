//! Pure: values in a JSON text, found without reading it whole.
//!
//! A value ends where its first byte says: a string at its quote, an object or array at the bracket that balances it,
//! a number at a blank, comma or bracket, a literal at the first byte that is no small letter. Nothing is validated,
//! so `truthy` counts as true, and a text that is cut off has values up to its end, as in gjson.
//!
//! Positions are bytes. All borders are ASCII, so a value begins and ends between letters of a UTF-8 text.

use std::borrow::Cow;

use crate::strings::unescape;

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    #[default]
    Null,
    False,
    True,
    Number,
    String,
    /// An object or an array.
    Nested,
}

/// A value and how it is written; without writing, it is nothing at all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found<'j> {
    pub(crate) kind: Kind,
    pub(crate) raw: Cow<'j, [u8]>,
}

impl<'j> Found<'j> {
    pub(crate) fn new(kind: Kind, raw: &'j [u8]) -> Self {
        Self {
            kind,
            raw: Cow::Borrowed(raw),
        }
    }

    /// A text that was made on the way.
    pub(crate) fn made(kind: Kind, raw: Vec<u8>) -> Self {
        Self {
            kind,
            raw: Cow::Owned(raw),
        }
    }

    /// `null` exists, and has a text; what was not found has none.
    pub(crate) fn exists(&self) -> bool {
        self.kind != Kind::Null || !self.raw.is_empty()
    }

    pub(crate) fn is_array(&self) -> bool {
        self.kind == Kind::Nested && self.raw.first() == Some(&b'[')
    }

    pub(crate) fn is_object(&self) -> bool {
        self.kind == Kind::Nested && self.raw.first() == Some(&b'{')
    }

    /// The value of a number, or zero.
    pub(crate) fn number(&self) -> f64 {
        float(&self.raw)
    }

    /// `Result.Bool`: the texts `1`, `t` and `true`, in any case, and numbers other than 0.
    pub(crate) fn is_true(&self) -> bool {
        match self.kind {
            Kind::True => true,
            Kind::String => matches!(&*self.text().to_ascii_lowercase(), b"1" | b"t" | b"true"),
            Kind::Number => self.number() != 0.0,
            _ => false,
        }
    }

    /// The value as text.
    ///
    /// `Result.String`. A whole number keeps all its digits; any other is printed as a 64-bit float.
    pub(crate) fn text(&self) -> Cow<'_, [u8]> {
        match self.kind {
            Kind::Null => Cow::Borrowed(b""),
            Kind::False => Cow::Borrowed(b"false"),
            Kind::True => Cow::Borrowed(b"true"),
            Kind::String => unquoted(&self.raw),
            Kind::Nested => Cow::Borrowed(&self.raw),
            Kind::Number => {
                let digits = self.raw.strip_prefix(b"-").unwrap_or(&self.raw);
                if digits.iter().all(u8::is_ascii_digit) {
                    return Cow::Borrowed(&self.raw);
                }
                Cow::Owned(decimal(self.number()).into_bytes())
            }
        }
    }
}

/// The shortest text without an exponent that gives the number again.
fn decimal(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        number.to_string()
    }
}

/// The number of a text; zero if it is no number.
pub(crate) fn float(text: &[u8]) -> f64 {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

/// A string without its quotes and escapes.
pub(crate) fn unquoted(raw: &[u8]) -> Cow<'_, [u8]> {
    let inner = raw.strip_prefix(b"\"").unwrap_or(raw);
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    if inner.contains(&b'\\') {
        Cow::Owned(unescape(inner))
    } else {
        Cow::Borrowed(inner)
    }
}

/// Without the blanks around it.
pub(crate) fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b'\0'..=b' ', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b'\0'..=b' '] = text {
        text = rest;
    }
    text
}

/// The end of a string whose first quote is at `at`; none if nothing closes it.
pub(crate) fn string_end(json: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The end of the value that the bracket at `at` opens (or whatever stands there, counted as a bracket); the end of
/// the text if nothing closes it.
pub(crate) fn nested_end(json: &[u8], at: usize) -> usize {
    let (mut at, mut depth) = (at + 1, 1_usize);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => match string_end(json, at) {
                Some(end) => {
                    at = end;
                    continue;
                }
                None => return json.len(),
            },
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    json.len()
}

/// The end of a number that begins at `at`.
fn number_end(json: &[u8], at: usize) -> usize {
    let rest = json.get(at + 1..).unwrap_or_default();
    let length = rest
        .iter()
        .position(|byte| *byte <= b' ' || matches!(byte, b',' | b']' | b'}'));
    length.map_or(json.len(), |length| at + 1 + length)
}

/// The end of `true`, `false` or `null` that begins at `at`, however many small letters it has.
fn literal_end(json: &[u8], at: usize) -> usize {
    let rest = json.get(at + 1..).unwrap_or_default();
    let length = rest.iter().position(|byte| !byte.is_ascii_lowercase());
    length.map_or(json.len(), |length| at + 1 + length)
}

/// The kind of value that begins at a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    String,
    Nested,
    Literal(Kind),
    Number,
    /// No value.
    Other,
}

/// `nan`, `inf` and the like begin a number, as in gjson.
pub(crate) fn begin(json: &[u8], at: usize) -> Begin {
    match json[at] {
        b'"' => Begin::String,
        b'{' | b'[' => Begin::Nested,
        b't' => Begin::Literal(Kind::True),
        b'f' => Begin::Literal(Kind::False),
        b'n' if json.get(at + 1).is_none_or(|next| *next == b'u') => Begin::Literal(Kind::Null),
        b'n' | b'+' | b'-' | b'0'..=b'9' | b'i' | b'I' | b'N' => Begin::Number,
        _ => Begin::Other,
    }
}

/// The value that begins at `at` and where it ends; none for a string that nothing closes and where no value begins.
pub(crate) fn value_at(json: &[u8], at: usize) -> Option<(Found<'_>, usize)> {
    let (kind, end) = match begin(json, at) {
        Begin::String => (Kind::String, string_end(json, at)?),
        Begin::Nested => (Kind::Nested, nested_end(json, at)),
        Begin::Literal(kind) => (kind, literal_end(json, at)),
        Begin::Number => (Kind::Number, number_end(json, at)),
        Begin::Other => return None,
    };
    Some((Found::new(kind, &json[at..end]), end))
}

/// The next value at or after `at`, whatever stands before it, and where it ends.
pub(crate) fn next_value(json: &[u8], at: usize) -> Option<(Found<'_>, usize)> {
    let start = (at..json.len()).find(|at| begin(json, *at) != Begin::Other)?;
    value_at(json, start)
}

/// A whole text as a value: an object or array takes all that follows it along.
pub(crate) fn whole(json: &[u8]) -> Found<'_> {
    for at in 0..json.len() {
        match json[at] {
            b'{' | b'[' => return Found::new(Kind::Nested, &json[at..]),
            byte if byte <= b' ' => {}
            b'"' => {
                let end = string_end(json, at).unwrap_or(json.len());
                return Found::new(Kind::String, &json[at..end]);
            }
            _ => {
                let found = value_at(json, at);
                return found.map(|(found, _)| found).unwrap_or_default();
            }
        }
    }
    Found::default()
}

/// The members of an object: the key as it is written, and the value.
pub(crate) fn members(json: &[u8]) -> impl Iterator<Item = (&[u8], Found<'_>)> {
    let mut at = 1;
    std::iter::from_fn(move || {
        let start = (at..json.len()).find(|at| json[*at] == b'"')?;
        let end = string_end(json, start)?;
        let (value, next) = next_value(json, end)?;
        at = next;
        Some((&json[start..end], value))
    })
}

/// The elements of an array.
pub(crate) fn elements(json: &[u8]) -> impl Iterator<Item = Found<'_>> {
    let mut at = 1;
    std::iter::from_fn(move || {
        let (value, next) = next_value(json, at)?;
        at = next;
        Some(value)
    })
}

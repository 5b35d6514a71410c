//! Pure: JSON as Go's `encoding/json` reads and prints it.
//!
//! The functions are those of sprig's `defaults.go`. `fromJson` gives nil for a text that is no JSON, and the
//! `toJson` family an empty text for a value that has no JSON form; those with `must` fail. Numbers become `float64`,
//! so whole numbers above 2⁵³ lose digits, and large ones print with an exponent, as in Go.
//!
//! Printing differs from `serde_json` in what Go does: `<`, `>`, `&`, U+2028 and U+2029 are escaped, each byte that is
//! no UTF-8 becomes `\ufffd`, and floats have Go's exponents.

#![expect(
    clippy::unnecessary_wraps,
    reason = "the table of functions gives the signature"
)]

use std::fmt::Write as _;

use crate::error::{Fault, Outcome, fault};
use crate::machine::Machine;
use crate::signature::{Row, any, bytes};
use crate::value::{MAX_DEPTH, Value};

pub(crate) const ROWS: &[Row] = &[
    ("fromJson", "s", |machine, v| {
        allocate_parsed(machine, bytes(v, 0))?;
        Ok(parse(bytes(v, 0)).unwrap_or(Value::Nil))
    }),
    ("mustFromJson", "s", |machine, v| {
        allocate_parsed(machine, bytes(v, 0))?;
        parse(bytes(v, 0))
    }),
    ("toJson", "w", |_, v| lenient(any(v, 0), Style::COMPACT)),
    ("toPrettyJson", "w", |_, v| {
        lenient(any(v, 0), Style::PRETTY)
    }),
    ("toRawJson", "w", |_, v| lenient(any(v, 0), Style::RAW)),
    ("mustToJson", "w", |_, v| strict(any(v, 0), Style::COMPACT)),
    ("mustToPrettyJson", "w", |_, v| {
        strict(any(v, 0), Style::PRETTY)
    }),
    ("mustToRawJson", "w", |_, v| strict(any(v, 0), Style::RAW)),
];

/// How to print.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    pretty: bool,
    /// `<`, `>` and `&` are escaped.
    html: bool,
}

impl Style {
    pub(crate) const COMPACT: Self = Self {
        pretty: false,
        html: true,
    };
    /// Two spaces for each level, as sprig's `json.MarshalIndent(v, "", "  ")`.
    const PRETTY: Self = Self {
        pretty: true,
        html: true,
    };
    /// Without the escapes for HTML.
    const RAW: Self = Self {
        pretty: false,
        html: false,
    };
}

/// An empty text where `strict` fails.
fn lenient(value: &Value, style: Style) -> Outcome<Value> {
    Ok(strict(value, style).unwrap_or_else(|_| Value::str("")))
}

fn strict(value: &Value, style: Style) -> Outcome<Value> {
    let text = print(value, style)?;
    Ok(Value::str(text))
}

/// Charges the values that a JSON text may be parsed to: `[1,1]` has one for every two bytes.
fn allocate_parsed(machine: &mut Machine<'_>, text: &[u8]) -> Outcome<()> {
    /// A parsed value and the value that is made of it, in bytes.
    const VALUE_BYTES: usize = 128;
    let (mut values, mut in_string, mut is_escaped) = (1_usize, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    machine.allocate(
        values
            .saturating_mul(VALUE_BYTES)
            .saturating_add(text.len()),
    )
}

/// Parses one JSON value; numbers become floats, as in Go. The message of an error has the position and nothing of the
/// text.
pub(crate) fn parse(text: &[u8]) -> Outcome<Value> {
    let text = String::from_utf8_lossy(text);
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Fault::new(format!("invalid JSON at line {line} column {column}"))
    })?;
    Ok(of_json(json))
}

/// A JSON value with the types that `json.Unmarshal` gives an `interface {}`.
pub(crate) fn of_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => Value::Float64(number.as_f64().unwrap_or(0.0)),
        serde_json::Value::String(text) => Value::str(text),
        serde_json::Value::Array(values) => Value::list(values.into_iter().map(of_json).collect()),
        serde_json::Value::Object(fields) => Value::dict(
            fields
                .into_iter()
                .map(|(key, value)| (key.into_bytes().into(), of_json(value))),
        ),
    }
}

/// Prints JSON as Go's `json.Marshal` prints a value that `json.Unmarshal` has read into an `interface{}`: without
/// spaces, keys sorted, numbers as 64-bit floats, and `<`, `>` and `&` escaped.
pub fn print_json(json: serde_json::Value) -> String {
    // A value that was parsed from JSON is never too deep and always has a JSON form.
    print(&of_json(json), Style::COMPACT).unwrap_or_default()
}

/// Prints a value, keys sorted.
pub(crate) fn print(value: &Value, style: Style) -> Outcome<String> {
    let mut out = String::new();
    write(&mut out, value, style, 0)?;
    Ok(out)
}

/// Times, versions and certificates have the form of their `MarshalJSON` or of their fields in Go; bytes and
/// durations are numbers. A number that is not finite has no form.
fn write(out: &mut String, value: &Value, style: Style, depth: usize) -> Outcome<()> {
    if depth > MAX_DEPTH {
        return fault("json: the value is nested too deeply");
    }
    match value {
        Value::Nil => out.push_str("null"),
        Value::Bool(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Int(_) | Value::Int64(_) | Value::Uint8(_) | Value::Duration(_) => {
            let _ = write!(out, "{}", value.as_int().unwrap_or(0));
        }
        Value::Float64(float) if float.is_finite() => out.push_str(&number(*float)),
        Value::Float64(_) => return fault("json: unsupported value"),
        Value::Str(text) => string(out, text, style),
        Value::List(values, _) => {
            let items = values.iter().map(|value| (None, value.clone()));
            collection(out, ('[', ']'), items.collect(), style, depth)?;
        }
        Value::Dict(_) | Value::Strings(_) => {
            let entries = value.entries().unwrap_or_default().into_iter();
            let entries = entries.map(|(key, value)| (Some(key), value));
            collection(out, ('{', '}'), entries.collect(), style, depth)?;
        }
        Value::Time(time) => {
            let text = time.format("2006-01-02T15:04:05.999999999Z07:00");
            string(out, text.as_bytes(), style);
        }
        Value::Semver(version) => string(out, version.to_string().as_bytes(), style),
        Value::Certificate(certificate) => {
            let fields = [("Cert", &certificate.cert), ("Key", &certificate.key)];
            let entries = fields.map(|(key, text)| (Some(key.as_bytes().into()), Value::str(text)));
            collection(out, ('{', '}'), entries.into(), style, depth)?;
        }
    }
    Ok(())
}

/// An object or array; an empty one stays on one line.
fn collection(
    out: &mut String,
    (open, close): (char, char),
    items: Vec<(Option<crate::value::Bytes>, Value)>,
    style: Style,
    depth: usize,
) -> Outcome<()> {
    out.push(open);
    let is_empty = items.is_empty();
    let line = |out: &mut String, depth: usize| {
        if style.pretty && !is_empty {
            out.push('\n');
            out.push_str(&"  ".repeat(depth));
        }
    };
    for (index, (key, value)) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        line(out, depth + 1);
        if let Some(key) = key {
            string(out, &key, style);
            out.push_str(if style.pretty { ": " } else { ":" });
        }
        write(out, &value, style, depth + 1)?;
    }
    line(out, depth);
    out.push(close);
    Ok(())
}

/// A float: plain digits between 1e-6 and 1e21, else with an exponent.
///
/// The rule is `floatEncoder` of `encoding/json`, which follows ECMAScript.
pub(crate) fn number(float: f64) -> String {
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = goyaml::shortest(float);
        return match text.split_once('e') {
            Some((mantissa, exponent)) if !exponent.starts_with('-') => {
                format!("{mantissa}e+{exponent}")
            }
            _ => text,
        };
    }
    // Negative zero keeps its sign in Go, too. The digits are those of the shortest form, whose ties are Go's.
    let shortest = goyaml::shortest(float);
    let mantissa = shortest.split('e').next().unwrap_or_default();
    let mut digits = mantissa.chars().filter(char::is_ascii_digit);
    let mut leading = true;
    let positional = format!("{float}");
    let characters = positional.chars().map(|c| {
        leading &= !matches!(c, '1'..='9');
        match c {
            '0'..='9' if !leading => digits.next().unwrap_or(c),
            _ => c,
        }
    });
    characters.collect()
}

fn string(out: &mut String, text: &[u8], style: Style) {
    out.push('"');
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '<' | '>' | '&' if style.html => {
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => {
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        if !chunk.invalid().is_empty() {
            // One mark per byte, as Go decodes.
            chunk.invalid().iter().for_each(|_| out.push_str("\\ufffd"));
        }
    }
    out.push('"');
}

//! Pure: the functions of Go's `text/template` itself, except `and` and `or`, which must not evaluate all their
//! arguments.
//!
//! The rules are those of `text/template/funcs.go`. `eq` compares its first argument with each of the others and is
//! true if one is equal. Comparing an `int` with a `float64`, or a number with a text, is an error and not false.

use std::cmp::Ordering;

use crate::error::{Outcome, fault};
use crate::machine::Machine;
use crate::printf::{print, printf, println, to_text};
use crate::signature::{Row, any, bytes};
use crate::value::{MAX_DEPTH, Value};

pub(crate) const ROWS: &[Row] = &[
    ("not", "a", |_, values| {
        Ok(Value::Bool(!any(values, 0).is_true()))
    }),
    ("eq", "ww*", |_, values| equal(values)),
    ("ne", "ww", |_, values| {
        Ok(Value::Bool(!is_equal(&values[0], &values[1])?))
    }),
    ("lt", "aa", |_, values| {
        compared(values, |order| order == Ordering::Less)
    }),
    ("le", "aa", |_, values| {
        compared(values, |order| order != Ordering::Greater)
    }),
    ("gt", "aa", |_, values| {
        compared(values, |order| order == Ordering::Greater)
    }),
    ("ge", "aa", |_, values| {
        compared(values, |order| order != Ordering::Less)
    }),
    ("index", "aa*", |_, values| index(values)),
    ("len", "a", |_, values| length(any(values, 0))),
    ("print", "w*", |_, values| Ok(Value::str(print(values)))),
    ("println", "w*", |_, values| Ok(Value::str(println(values)))),
    ("printf", "sw*", format),
    ("html", "w*", |_, values| {
        Ok(Value::str(html(&one_text(values))))
    }),
    ("js", "w*", |_, values| {
        Ok(Value::str(js(&one_text(values))))
    }),
    ("urlquery", "w*", |_, values| {
        Ok(Value::str(query_escape(&one_text(values))))
    }),
    ("call", "aa*", |_, values| match any(values, 0) {
        Value::Nil => fault("call of nil"),
        value => fault(format!("non-function of type {}", value.type_name())),
    }),
];

fn format(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    machine.allocate(most_printed(bytes(values, 0), &values[1..]))?;
    Ok(Value::str(printf(bytes(values, 0), &values[1..])))
}

/// At most how many bytes a format makes of its arguments: every verb may print every argument, and pads each value
/// inside to the largest width.
fn most_printed(format: &[u8], arguments: &[Value]) -> usize {
    // Go ignores widths above this.
    const MAX_WIDTH: usize = 1_000_000;
    let verbs = format.split(|&byte| byte == b'%').count() - 1;
    let numbers = format
        .split(|byte| !byte.is_ascii_digit())
        .filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    // `*` takes the width from an argument.
    let given = arguments
        .iter()
        .filter(|_| format.contains(&b'*'))
        .filter_map(|value| usize::try_from(value.as_int()?.unsigned_abs()).ok());
    let width = numbers
        .chain(given)
        .filter(|width| *width <= MAX_WIDTH)
        .max()
        .unwrap_or(0);
    let sizes = arguments
        .iter()
        .map(|value| extent(value, 0))
        .fold((0_usize, 0_usize), |sum, one| {
            (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1))
        });
    let (values, bytes) = sizes;
    verbs.saturating_mul(bytes.saturating_add(values.saturating_mul(width)))
}

/// How many values are inside a value, and how many bytes their texts have. The walk through them is charged already.
fn extent(value: &Value, depth: usize) -> (usize, usize) {
    let add = |sum: (usize, usize), one: (usize, usize)| {
        (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1))
    };
    match value {
        _ if depth > MAX_DEPTH => (1, 0),
        Value::Str(text) => (1, text.len()),
        Value::List(values, _) => values
            .iter()
            .fold((1, 0), |sum, value| add(sum, extent(value, depth + 1))),
        Value::Dict(map) => map.borrow().iter().fold((1, 0), |sum, (key, value)| {
            add(add(sum, (1, key.len())), extent(value, depth + 1))
        }),
        Value::Strings(map) => map.iter().fold((1, 0), |sum, (key, text)| {
            add(sum, (2, key.len() + text.len()))
        }),
        _ => (1, 32),
    }
}

/// The arguments as one text: a single string as it is, others as `print` prints them.
fn one_text(values: &[Value]) -> Vec<u8> {
    match values {
        [Value::Str(text)] => text.to_vec(),
        [Value::Nil] => b"<no value>".to_vec(),
        _ => print(values),
    }
}

/// The kinds that can be compared with each other (`basicKind` of `funcs.go`).
#[derive(PartialEq, Clone, Copy)]
enum Basic {
    Bool,
    Int,
    Uint,
    Float,
    Str,
}

fn basic(value: &Value) -> Option<Basic> {
    match value {
        Value::Bool(_) => Some(Basic::Bool),
        Value::Int(_) | Value::Int64(_) | Value::Duration(_) => Some(Basic::Int),
        Value::Uint8(_) => Some(Basic::Uint),
        Value::Float64(_) => Some(Basic::Float),
        Value::Str(_) => Some(Basic::Str),
        _ => None,
    }
}

const INCOMPATIBLE: &str = "incompatible types for comparison";

fn equal(values: &[Value]) -> Outcome<Value> {
    let [first, others @ ..] = values else {
        return fault("missing argument for comparison");
    };
    if others.is_empty() {
        return fault("missing argument for comparison");
    }
    for other in others {
        if is_equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn is_equal(a: &Value, b: &Value) -> Outcome<bool> {
    if matches!(a, Value::Nil) || matches!(b, Value::Nil) {
        return Ok(matches!((a, b), (Value::Nil, Value::Nil)));
    }
    match (basic(a), basic(b)) {
        (Some(x), Some(y)) => match (x, y) {
            (Basic::Int | Basic::Uint, Basic::Int | Basic::Uint) => Ok(a.as_int() == b.as_int()),
            _ if x == y => order(a, b).map(|order| order == Some(Ordering::Equal)),
            _ => fault(INCOMPATIBLE),
        },
        // Structs that Go can compare are compared by their fields.
        (None, None) if a.type_name() == b.type_name() => match a {
            Value::Time(_) | Value::Semver(_) | Value::Certificate(_) => {
                Ok(crate::value::deep_equal(a, b))
            }
            value => fault(format!("non-comparable type {}", value.type_name())),
        },
        (None, _) if matches!(a, Value::List(..) | Value::Dict(_) | Value::Strings(_)) => {
            fault(format!("non-comparable type {}", a.type_name()))
        }
        (_, None) if matches!(b, Value::List(..) | Value::Dict(_) | Value::Strings(_)) => {
            fault(format!("non-comparable type {}", b.type_name()))
        }
        _ => fault(INCOMPATIBLE),
    }
}

/// The order of two values of one kind; none where a float is not a number.
fn order(a: &Value, b: &Value) -> Outcome<Option<Ordering>> {
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Float64(a), Value::Float64(b)) => a.partial_cmp(b),
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        _ => match (a.as_int(), b.as_int()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => return fault(INCOMPATIBLE),
        },
    })
}

fn compared(values: &[Value], holds: fn(Ordering) -> bool) -> Outcome<Value> {
    let (a, b) = (&values[0], &values[1]);
    let kinds = match (basic(a), basic(b)) {
        (Some(x), Some(y)) => (x, y),
        _ => return fault("invalid type for comparison"),
    };
    match kinds {
        (Basic::Bool, Basic::Bool) => fault("invalid type for comparison"),
        (Basic::Int | Basic::Uint, Basic::Int | Basic::Uint) => {
            order(a, b).map(|order| Value::Bool(order.is_some_and(holds)))
        }
        (x, y) if x == y => order(a, b).map(|order| Value::Bool(order.is_some_and(holds))),
        _ => fault(INCOMPATIBLE),
    }
}

/// Goes into lists, texts and maps, key by key. A key that a map does not have gives the zero value of its elements;
/// an index beyond the end is an error.
fn index(values: &[Value]) -> Outcome<Value> {
    let mut item = values[0].clone();
    if matches!(item, Value::Nil) {
        return fault("index of untyped nil");
    }
    for key in &values[1..] {
        item = match &item {
            Value::List(list, _) => position(key, list.len()).map(|at| list[at].clone())?,
            Value::Str(text) => position(key, text.len()).map(|at| Value::Uint8(text[at]))?,
            Value::Dict(_) | Value::Strings(_) => match key {
                Value::Str(key) => item.entry(key).unwrap_or_else(|| match &item {
                    Value::Strings(_) => Value::str(""),
                    _ => Value::Nil,
                }),
                Value::Nil => return fault("value is nil; should be of type string"),
                key => {
                    return fault(format!(
                        "value has type {}; should be string",
                        key.type_name()
                    ));
                }
            },
            Value::Nil => return fault("index of nil pointer"),
            other => return fault(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

/// A whole number of any type, within the length.
fn position(key: &Value, length: usize) -> Outcome<usize> {
    let index = match key {
        Value::Nil => return fault("cannot index slice/array with nil"),
        key => key.as_int(),
    };
    match index {
        None => fault(format!(
            "cannot index slice/array with type {}",
            key.type_name()
        )),
        Some(index) => match usize::try_from(index).ok().filter(|index| *index < length) {
            Some(index) => Ok(index),
            None => fault(format!("index out of range: {index}")),
        },
    }
}

/// Texts are counted in bytes.
fn length(value: &Value) -> Outcome<Value> {
    let length = match value {
        Value::Str(text) => text.len(),
        Value::List(values, _) => values.len(),
        Value::Dict(map) => map.borrow().len(),
        Value::Strings(map) => map.len(),
        Value::Nil => return fault("len of nil pointer"),
        other => return fault(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// `template.HTMLEscape`, which replaces a zero byte by U+FFFD.
fn html(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            0 => out.extend_from_slice("\u{fffd}".as_bytes()),
            b'"' => out.extend_from_slice(b"&#34;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            byte => out.push(byte),
        }
    }
    out
}

/// `template.JSEscape`.
fn js(text: &[u8]) -> Vec<u8> {
    let mut out = String::new();
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(character))),
            '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04X}", u32::from(character))),
            '\u{7f}' => out.push_str("\\u007F"),
            _ if !character.is_ascii() && character.escape_debug().count() > 1 => {
                out.push_str(&format!("\\u{:04X}", u32::from(character)));
            }
            _ => out.push(character),
        }
    }
    out.into_bytes()
}

/// `url.QueryEscape`
pub(crate) fn query_escape(text: &[u8]) -> String {
    let mut out = String::new();
    for &byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// How sprig makes a string of a value: text as it is, others as `%v`.
pub(crate) fn string_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Str(text) => text.to_vec(),
        value => to_text(value),
    }
}

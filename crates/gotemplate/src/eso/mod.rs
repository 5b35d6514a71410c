//! Pure: the functions that External Secrets adds to sprig. YAML and PEM are here, keys and certificates in the files
//! below.
//!
//! They are those of the package `template/v2` of External Secrets. Their errors hold no value, while the original
//! quotes keys and texts in some.

pub(crate) mod chains;
pub(crate) mod keys;
pub(crate) mod keystores;
#[cfg(test)]
mod tests;

use goyaml::{Mapping, Meaning, Node, NodeKind, ReadOptions, Sequence, Tag};

use crate::error::{Outcome, fault};
use crate::machine::Machine;
use crate::pem::next_block;
use crate::signature::{Row, any, bytes, text};
use crate::sprig::json;
use crate::value::{MAX_DEPTH, Value};

/// `toYaml` gives an empty text for a value that has no YAML form. `fromYaml` never fails: an error becomes a map
/// with the only key `Error`.
pub(crate) const ROWS: &[Row] = &[
    ("toYaml", "w", |_, v| Ok(to_yaml(any(v, 0)))),
    ("fromYaml", "s", |machine, v| {
        /// The reader's limit of nodes, and the memory of each until it is a value.
        const MOST_NODES: usize = 200_000;
        const NODE_BYTES: usize = 160;
        let separates = |byte: &&u8| matches!(byte, b'\n' | b',' | b':' | b'-' | b'[' | b'{');
        let nodes = bytes(v, 0).iter().filter(separates).count() + 1;
        machine.allocate(nodes.min(MOST_NODES).saturating_mul(NODE_BYTES))?;
        Ok(from_yaml(&text(v, 0)))
    }),
    ("filterPEM", "ss", filter_pem),
];

/// The YAML of a value by way of its JSON, without the last new line; nothing if it has none.
fn to_yaml(value: &Value) -> Value {
    let text = node_of(value, 0)
        .and_then(|node| goyaml::print(&node).ok())
        .unwrap_or_default();
    Value::str(text.strip_suffix('\n').unwrap_or(&text))
}

/// The node of the YAML that the JSON of a value has; nothing for a number that is not finite, and for too deep a
/// value.
fn node_of(value: &Value, depth: usize) -> Option<Node> {
    if depth > MAX_DEPTH {
        return None;
    }
    Some(match value {
        Value::Nil => Node::null(),
        Value::Bool(value) => Node::bool(*value),
        Value::Float64(float) if !float.is_finite() => return None,
        Value::Float64(float) => Node::plain(json::number(*float)),
        Value::Str(text) => Node::string(String::from_utf8_lossy(text)),
        Value::List(values, _) => {
            let nodes = values.iter().map(|value| node_of(value, depth + 1));
            nodes.collect::<Option<Sequence>>()?.into()
        }
        Value::Dict(_) | Value::Strings(_) => {
            let entries = value.entries().unwrap_or_default().into_iter();
            let entries = entries.map(|(key, value)| {
                let key = String::from_utf8_lossy(&key).into_owned();
                Some((key, node_of(&value, depth + 1)?))
            });
            entries.collect::<Option<Mapping>>()?.into()
        }
        Value::Time(_) | Value::Semver(_) | Value::Certificate(_) => {
            let json = json::print(value, json::Style::COMPACT).ok()?;
            return node_of(&json::parse(json.as_bytes()).ok()?, depth + 1);
        }
        value => Node::int(value.as_int()?),
    })
}

/// YAML as sigs.k8s.io/yaml reads it into a map; an error is a map with the only key `Error`.
fn from_yaml(text: &str) -> Value {
    let failed = |message: String| Value::dict([(b"Error"[..].into(), Value::str(message))]);
    let nodes = match goyaml::read(text, &ReadOptions::sigs()) {
        Ok(nodes) => nodes,
        Err(error) => {
            return failed(format!("error converting YAML to JSON: yaml: {error}"));
        }
    };
    match nodes.first() {
        None => Value::dict([]),
        Some(node) if node.is_null() => Value::dict([]),
        Some(node) => match (&node.kind, value_of(node)) {
            (NodeKind::Mapping(_), Some(value)) => value,
            (_, Some(_)) => failed(format!(
                "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                json_kind(node)
            )),
            (_, None) => failed("error converting YAML to JSON: unsupported value".to_owned()),
        },
    }
}

/// The name that `encoding/json` gives a value in an error.
fn json_kind(node: &Node) -> &'static str {
    match &node.kind {
        NodeKind::Sequence(_) => "array",
        NodeKind::Mapping(_) => "object",
        NodeKind::Scalar(scalar) => match scalar.tag {
            Tag::Bool => "bool",
            Tag::Int | Tag::Float => "number",
            _ => "string",
        },
    }
}

/// A value with the types of `json.Unmarshal`: every number is a `float64`. Nothing if JSON cannot hold it, such as
/// `.nan`.
#[expect(clippy::cast_precision_loss, reason = "numbers are floats after JSON")]
fn value_of(node: &Node) -> Option<Value> {
    Some(match &node.kind {
        NodeKind::Sequence(nodes) => {
            Value::list(nodes.iter().map(value_of).collect::<Option<_>>()?)
        }
        NodeKind::Mapping(entries) => {
            let entries = entries
                .iter()
                .map(|entry| Some((entry.key.as_bytes().into(), value_of(&entry.value)?)));
            Value::dict(entries.collect::<Option<Vec<_>>>()?)
        }
        // Dates stay as they were written.
        NodeKind::Scalar(scalar) if scalar.tag == Tag::Timestamp => Value::str(&*scalar.text),
        NodeKind::Scalar(scalar) => match scalar.meaning() {
            Meaning::Null => Value::Nil,
            Meaning::Bool(value) => Value::Bool(value),
            Meaning::Int(value) => Value::Float64(value as f64),
            Meaning::Float(value) if value.is_finite() => Value::Float64(value),
            Meaning::Str(text) => Value::str(text),
            Meaning::Float(_) | Meaning::BadBinary | Meaning::Mismatch => return None,
        },
    })
}

/// The blocks of a type, in order.
///
/// The type is compared without regard to case. Blocks of other types are left out; a text in which the search ends
/// before its end is an error only if nothing was found.
fn filter_pem(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let (wanted, text) = (text(values, 0), text(values, 1));
    // A block without an end is searched for its end through the whole text.
    let blocks = text.matches("-----BEGIN ").count();
    machine.spend(text.len().saturating_mul(blocks) / 4096)?;
    // The text before the first block is skipped.
    let first = text.find("-----BEGIN ").unwrap_or_default();
    let mut rest = text.get(first..).unwrap_or_default();
    let mut kept = String::new();
    while let Some((block, after)) = next_block(rest) {
        if block.label.eq_ignore_ascii_case(&wanted) {
            kept.push_str(&block.encode());
        }
        rest = after;
    }
    if kept.is_empty() && !rest.trim().is_empty() {
        return fault("could not decode the PEM blocks");
    }
    Ok(Value::str(kept))
}

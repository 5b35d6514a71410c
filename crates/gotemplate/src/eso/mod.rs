//! Pure: the functions that External Secrets adds: YAML and PEM here, keys and certificates below.

pub(crate) mod chains;
pub(crate) mod keys;
pub(crate) mod keystores;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gocompat::base64::{Alphabet, decode as decode_base64};
use goyaml::{Mapping, Meaning, Node, NodeKind, ReadOptions, Sequence, Tag};

use crate::error::{Outcome, fault};
use crate::functions::{Row, any, text};
use crate::machine::Machine;
use crate::sprig::json;
use crate::value::{MAX_DEPTH, Value};

pub(crate) const ROWS: &[Row] = &[
    ("toYaml", "a", |machine, v| to_yaml(machine, any(v, 0))),
    ("fromYaml", "s", |_, v| Ok(from_yaml(&text(v, 0)))),
    ("filterPEM", "ss", filter_pem),
];

/// The YAML of a value by way of its JSON, without the last new line; nothing if it has none.
fn to_yaml(machine: &mut Machine<'_>, value: &Value) -> Outcome<Value> {
    let text = node_of(value, 0)
        .and_then(|node| goyaml::print(&node).ok())
        .unwrap_or_default();
    machine.spend(text.len() / 64)?;
    Ok(Value::str(text.strip_suffix('\n').unwrap_or(&text)))
}

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

/// YAML as sigs.k8s.io/yaml reads it into a map; an error is a map with the one key `Error`.
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

/// One block of a PEM text.
pub(crate) struct Block {
    pub(crate) label: String,
    headers: Vec<String>,
    pub(crate) bytes: Vec<u8>,
}

impl Block {
    pub(crate) fn new(label: &str, bytes: Vec<u8>) -> Self {
        Self {
            label: label.to_owned(),
            headers: Vec::new(),
            bytes,
        }
    }

    pub(crate) fn encode(&self) -> String {
        let mut out = format!("-----BEGIN {}-----\n", self.label);
        for header in &self.headers {
            out.push_str(header);
            out.push('\n');
        }
        if !self.headers.is_empty() {
            out.push('\n');
        }
        let encoded = STANDARD.encode(&self.bytes);
        for line in encoded.as_bytes().chunks(64) {
            out.push_str(&String::from_utf8_lossy(line));
            out.push('\n');
        }
        out.push_str(&format!("-----END {}-----\n", self.label));
        out
    }
}

/// The next block and what follows it, as Go's `pem.Decode` finds it.
pub(crate) fn next_block(text: &str) -> Option<(Block, &str)> {
    let mut from = 0;
    loop {
        let offset = text[from..].find("-----BEGIN ")?;
        let start = from + offset;
        from = start + 1;
        let at_line_start = start == 0 || text.as_bytes()[start - 1] == b'\n';
        let after = &text[start + "-----BEGIN ".len()..];
        let (label, body) = match after.split_once("-----") {
            Some((label, body)) if at_line_start && !label.contains('\n') => (label, body),
            _ => continue,
        };
        let end = format!("-----END {label}-----");
        let Some(end_at) = body.find(&end) else {
            continue;
        };
        let (content, rest) = (&body[..end_at], &body[end_at + end.len()..]);
        let (headers, encoded): (Vec<&str>, Vec<&str>) = content
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .partition(|line| line.contains(": "));
        let Ok(bytes) = decode_base64(encoded.concat().as_bytes(), Alphabet::Standard) else {
            continue;
        };
        let rest = rest.strip_prefix('\r').unwrap_or(rest);
        let block = Block {
            label: label.to_owned(),
            headers: headers.into_iter().map(str::to_owned).collect(),
            bytes,
        };
        return Some((block, rest.strip_prefix('\n').unwrap_or(rest)));
    }
}

/// The blocks of a type, in order.
fn filter_pem(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let (wanted, text) = (text(values, 0), text(values, 1));
    // What stands before the first block is no part of it.
    let mut rest = text.find("-----BEGIN ").map_or(&*text, |at| &text[at..]);
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

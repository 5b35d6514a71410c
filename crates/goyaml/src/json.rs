//! Pure: nodes to JSON values and back.

use serde_json::{Map, Number, Value};

use crate::error::PrintError;
use crate::node::{Mapping, Node, NodeKind, Sequence};
use crate::print::check_key;
use crate::scalar::{Meaning, Scalar};

/// The JSON value of a tree. Dates become text, and numbers lose their spelling.
pub fn to_json(node: &Node) -> Result<Value, PrintError> {
    match &node.kind {
        NodeKind::Scalar(scalar) => scalar_to_json(scalar, node.line),
        NodeKind::Sequence(sequence) => sequence
            .iter()
            .map(to_json)
            .collect::<Result<_, _>>()
            .map(Value::Array),
        NodeKind::Mapping(mapping) => {
            let fields = mapping.iter().map(|entry| {
                check_key(entry)?;
                Ok((entry.key.to_string(), to_json(&entry.value)?))
            });
            fields.collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
    }
}

fn scalar_to_json(scalar: &Scalar, line: u32) -> Result<Value, PrintError> {
    Ok(match scalar.meaning() {
        Meaning::Null => Value::Null,
        Meaning::Bool(value) => Value::Bool(value),
        Meaning::Int(value) => Number::from_i128(value).map_or(Value::Null, Value::Number),
        Meaning::Float(value) => {
            let number = Number::from_f64(value);
            Value::Number(number.ok_or_else(|| PrintError::NotFinite {
                line,
                text: scalar.text.to_string(),
            })?)
        }
        Meaning::Str(text) => Value::String(text),
        Meaning::BadBinary => return Err(PrintError::Binary { line }),
        Meaning::Mismatch => return Err(PrintError::mismatch(scalar, line)),
    })
}

/// The tree of a JSON value.
pub fn from_json(value: &Value) -> Node {
    match value {
        Value::Null => Node::null(),
        Value::Bool(value) => Node::bool(*value),
        Value::Number(number) => Node::plain(number.to_string()),
        Value::String(text) => Node::string(text.as_str()),
        Value::Array(values) => values.iter().map(from_json).collect::<Sequence>().into(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.as_str(), from_json(value)))
            .collect::<Mapping>()
            .into(),
    }
}

//! Pure: JSON patches (RFC 6902), by way of the `json-patch` crate, with what kustomize does beyond the RFC.

use goyaml::{Booleans, DuplicateKeys, Keys, Node, ReadOptions};
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};
use serde_json::{Number, Value};

use crate::budget::{Budget, Cost, NODE_BYTES, as_u64, check_depth, weigh};
use crate::error::Problem;

/// A list of operations, each with its line in the text.
pub(crate) struct Operations {
    patch: Patch,
    lines: Vec<usize>,
    /// The bytes that are charged for the patch itself, to be given back when it is done.
    bytes: u64,
}

/// An operation that cannot be applied.
pub(crate) struct Failure {
    pub(crate) problem: Problem,
    /// The line of the operation in the text of the patch; 0 where the object itself is the reason.
    pub(crate) line: usize,
}

impl Operations {
    /// Gives back what the patch itself was charged.
    pub(crate) fn release(self, budget: &Budget) {
        budget.release(self.bytes);
    }

    /// True if the patch sets all annotations at once.
    pub(crate) fn replaces_annotations(&self) -> bool {
        self.patch.iter().any(|operation| {
            matches!(
                operation.path().as_str(),
                "" | "/metadata" | "/metadata/annotations"
            )
        })
    }
}

/// Reads a list of operations, or says why it is none. YAML is read as sigs.k8s.io/yaml does: `yes` is true.
pub(crate) fn read(
    text: &str,
    line_of: impl Fn(usize) -> usize,
    budget: &Budget,
) -> Result<Operations, Problem> {
    let mut bytes = 0;
    let malformed = |error: &dyn std::fmt::Display| Problem::Malformed(error.to_string());
    let json: Value = if text.starts_with('[') {
        serde_json::from_str(text).map_err(|error| {
            Problem::Malformed(format!(
                "what begins with `[` is read as JSON, and is none: {error}"
            ))
        })?
    } else {
        let options = ReadOptions {
            booleans: Booleans::Yaml11,
            duplicate_keys: DuplicateKeys::LastWins,
            keys: Keys::AsJson,
            ..ReadOptions::default()
        };
        let nodes = goyaml::read(text, &options).map_err(|error| malformed(&error))?;
        let node = nodes.first().cloned().unwrap_or_default();
        // The operations hold their values as JSON, in which nothing is shared.
        let weight = weigh(&node);
        bytes = 2 * weight.bytes;
        budget.charge(Cost::Steps, weight.nodes)?;
        budget.charge(Cost::Bytes, bytes)?;
        goyaml::to_json(&node).map_err(|error| malformed(&error))?
    };
    let mut patch = Patch::default();
    for (index, operation) in json.as_array().into_iter().flatten().enumerate() {
        let operation = serde_json::from_value(operation.clone()).map_err(|error| {
            Problem::Malformed(format!(
                "operation {index} is none of a JSON patch: {error}"
            ))
        })?;
        patch.0.push(operation);
    }
    let lines = (0..patch.len()).map(line_of).collect();
    Ok(Operations {
        patch,
        lines,
        bytes,
    })
}

/// Applies the operations one after the other.
///
/// kustomize takes the object through Go's JSON: every number becomes a float.
/// The growth of the object is charged before each operation, and belongs to the caller, who measures the result.
pub(crate) fn apply(
    node: &Node,
    operations: &Operations,
    budget: &Budget,
) -> Result<Node, Failure> {
    let mut node = node.clone();
    goyaml::settle_folds(&mut node);
    let mut json = goyaml::to_json(&node).map_err(|error| Failure {
        problem: Problem::Transform(error.to_string()),
        line: 0,
    })?;
    numbers_to_floats(&mut json);
    for (index, operation) in operations.patch.iter().enumerate() {
        let line = operations.lines.get(index).copied().unwrap_or_default();
        let Some(operation) = adapted(&json, operation) else {
            continue;
        };
        charge(&json, &operation, budget).map_err(|problem| Failure {
            problem: in_operation(index, &operation, problem),
            line,
        })?;
        let applied = json_patch::patch(&mut json, std::slice::from_ref(&operation));
        applied.map_err(|error| Failure {
            problem: Problem::Transform(reason(index, &operation, &json, &error)),
            line,
        })?;
    }
    Ok(goyaml::from_json(&json))
}

/// Charges what an operation adds to the document, and the elements that it moves.
fn charge(document: &Value, operation: &PatchOperation, budget: &Budget) -> Result<(), Problem> {
    let path = operation.path().as_str();
    let levels = path.matches('/').count();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    if let Some(Value::Array(list)) = document.pointer(parent) {
        budget.charge_steps(1 + list.len() / 16)?;
    }
    let added = match operation {
        PatchOperation::Add(add) => Some(&add.value),
        PatchOperation::Replace(replace) => Some(&replace.value),
        PatchOperation::Copy(copy) => document.pointer(copy.from.as_str()),
        PatchOperation::Move(moved) => document.pointer(moved.from.as_str()),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
    };
    let size = added.map(size_of).unwrap_or_default();
    budget.charge(Cost::Steps, 1 + size.bytes / NODE_BYTES)?;
    check_depth(levels + size.depth, path)?;
    match operation {
        PatchOperation::Move(_) => Ok(()),
        _ => budget.charge(Cost::Bytes, size.bytes),
    }
}

/// How large a JSON value is.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    bytes: u64,
    depth: usize,
}

fn size_of(value: &Value) -> Size {
    let mut size = Size {
        bytes: NODE_BYTES,
        depth: 0,
    };
    let mut below = |key: &str, value: &Value| {
        let part = size_of(value);
        size.bytes += as_u64(key.len()) + part.bytes;
        size.depth = size.depth.max(part.depth + 1);
    };
    match value {
        Value::Array(values) => values.iter().for_each(|value| below("", value)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| below(key, value)),
        Value::String(text) => size.bytes += as_u64(text.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    size
}

/// Says in which operation a budget or a limit was passed.
fn in_operation(index: usize, operation: &PatchOperation, problem: Problem) -> Problem {
    let place = format!(
        "operation {index} ({}) at `{}`",
        name(operation),
        operation.path()
    );
    match problem {
        Problem::Limit(message) => Problem::Limit(format!("{place}: {message}")),
        other => other.in_budget_at(&place),
    }
}

/// What is wrong with an operation: the part of its path that is not there, if that is it.
fn reason(
    index: usize,
    operation: &PatchOperation,
    document: &Value,
    error: &json_patch::PatchError,
) -> String {
    let of_source = match operation {
        PatchOperation::Move(operation) => Some(operation.from.as_str()),
        PatchOperation::Copy(operation) => Some(operation.from.as_str()),
        _ => None,
    };
    let path = operation.path().as_str();
    // What is added need not be there, but what it is added to.
    let wanted = match (operation, of_source) {
        (_, Some(source)) => source,
        (PatchOperation::Add(_) | PatchOperation::Replace(_), None) => {
            path.rsplit_once('/').map_or("", |(parent, _)| parent)
        }
        _ => path,
    };
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let why = match (missing_step(document, wanted), document.pointer(parent)) {
        (Some(step), _) => format!("the object has no `{step}`"),
        (None, Some(Value::Array(list))) => {
            format!("`{parent}` is a list of {} elements", list.len())
        }
        (None, _) => error.kind.to_string(),
    };
    format!("operation {index} ({}) at `{path}`: {why}", name(operation))
}

/// The shortest start of a path where nothing stands.
fn missing_step<'p>(document: &Value, path: &'p str) -> Option<&'p str> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
    ends.chain(std::iter::once(path.len()))
        .filter_map(|end| path.get(..end))
        .find(|start| document.pointer(start).is_none())
}

fn name(operation: &PatchOperation) -> &'static str {
    match operation {
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
        PatchOperation::Test(_) => "test",
    }
}

/// `replace` of a missing key adds it; a negative index counts from the end; numbers are floats;
/// `test` of a missing key against null holds, which leaves no operation.
fn adapted(document: &Value, operation: &PatchOperation) -> Option<PatchOperation> {
    let mut operation = operation.clone();
    // What is added at -1 comes last; what is changed at -1 was last.
    let beyond = usize::from(matches!(operation, PatchOperation::Add(_)));
    let path = absolute(document, operation.path().as_str(), beyond);
    match &mut operation {
        PatchOperation::Replace(replace) => {
            numbers_to_floats(&mut replace.value);
            replace.path = path.clone().unwrap_or_else(|| replace.path.clone());
            let exists = document.pointer(replace.path.as_str()).is_some();
            let parent = replace
                .path
                .parent()
                .and_then(|parent| document.pointer(parent.as_str()));
            if !exists && parent.is_some_and(Value::is_object) {
                return Some(PatchOperation::Add(AddOperation {
                    path: replace.path.clone(),
                    value: replace.value.clone(),
                }));
            }
        }
        PatchOperation::Add(add) => {
            numbers_to_floats(&mut add.value);
            add.path = path.unwrap_or_else(|| add.path.clone());
        }
        PatchOperation::Test(test) => {
            numbers_to_floats(&mut test.value);
            test.path = path.unwrap_or_else(|| test.path.clone());
            if test.value.is_null() && document.pointer(test.path.as_str()).is_none() {
                return None;
            }
        }
        PatchOperation::Remove(remove) => {
            return Some(PatchOperation::Remove(RemoveOperation {
                path: path.unwrap_or_else(|| remove.path.clone()),
            }));
        }
        PatchOperation::Move(_) | PatchOperation::Copy(_) => {}
    }
    Some(operation)
}

/// The path with negative indexes counted out.
fn absolute(
    document: &Value,
    path: &str,
    beyond: usize,
) -> Option<json_patch::jsonptr::PointerBuf> {
    if !path.contains("/-") {
        return None;
    }
    let mut resolved = String::new();
    let tokens = path.matches('/').count();
    for (index, token) in path.split('/').skip(1).enumerate() {
        let beyond = if index + 1 == tokens { beyond } else { 0 };
        let list = document.pointer(&resolved).and_then(Value::as_array);
        let negative = token
            .strip_prefix('-')
            .and_then(|digits| digits.parse::<usize>().ok());
        resolved.push('/');
        match (list, negative) {
            (Some(list), Some(back)) if (1..=list.len() + beyond).contains(&back) => {
                resolved.push_str(&(list.len() + beyond - back).to_string());
            }
            _ => resolved.push_str(token),
        }
    }
    json_patch::jsonptr::PointerBuf::parse(resolved).ok()
}

fn numbers_to_floats(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64() {
                *number = exact_or_float(number, float);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(numbers_to_floats),
        Value::Object(fields) => fields.values_mut().for_each(numbers_to_floats),
        _ => {}
    }
}

/// The float as Go prints it in JSON: without a fraction below 1e21, and no more digits than tell it from others.
fn exact_or_float(number: &Number, float: f64) -> Number {
    let integral = (float.fract() == 0.0 && float.abs() < 1.8e19).then(|| float.to_string());
    integral
        .and_then(|digits| digits.parse().ok())
        .and_then(Number::from_i128)
        .or_else(|| Number::from_f64(float))
        .unwrap_or_else(|| number.clone())
}

//! Pure: functions on lists. All of them take a list of strings too; the result is then a list of any values.
//!
//! They are those of sprig's `list.go`. In sprig, a function without `must` panics where the other returns an error,
//! and both end the render; so each pair has one implementation here. No function changes its list: each result is a
//! new one.

use std::rc::Rc;

use crate::error::{Outcome, fault};
use crate::machine::Machine;
use crate::signature::{Row, any, int};
use crate::value::{Element, Value, deep_equal};

/// What may surprise:
///
/// - `first` and `last` of an empty list give nil, which prints as `<no value>`.
/// - `without`, `has` and `uniq` compare as Go's `reflect.DeepEqual`: the `int` 1 and the `int64` 1 (of `add`)
///   differ.
/// - `has` takes the value first and the list last, so that a list can come from a pipeline.
/// - `compact` drops what `empty` holds for: 0 and false, too.
/// - `slice` counts from 0 and leaves its end out; it is the only function that keeps the type of its list.
pub(crate) const ROWS: &[Row] = &[
    ("list", "a*", |_, v| Ok(Value::list(v.to_vec()))),
    ("tuple", "a*", |_, v| Ok(Value::list(v.to_vec()))),
    ("first", "a", first),
    ("mustFirst", "a", first),
    ("last", "a", last),
    ("mustLast", "a", last),
    ("rest", "a", rest),
    ("mustRest", "a", rest),
    ("initial", "a", initial),
    ("mustInitial", "a", initial),
    ("append", "aa", append),
    ("mustAppend", "aa", append),
    ("push", "aa", append),
    ("mustPush", "aa", append),
    ("prepend", "aa", prepend),
    ("mustPrepend", "aa", prepend),
    ("reverse", "a", reverse),
    ("mustReverse", "a", reverse),
    ("uniq", "w", uniq),
    ("mustUniq", "w", uniq),
    ("without", "ww*", without),
    ("mustWithout", "ww*", without),
    ("has", "ww", has),
    ("mustHas", "ww", has),
    ("compact", "a", compact),
    ("mustCompact", "a", compact),
    ("slice", "aa*", slice),
    ("mustSlice", "aa*", slice),
    ("concat", "a*", concat),
    ("chunk", "ia", chunk),
    ("mustChunk", "ia", chunk),
];

/// The elements of a list. Any other value is an error.
pub(crate) fn elements<'v>(value: &'v Value, what: &str) -> Outcome<&'v Rc<Vec<Value>>> {
    match value {
        Value::List(values, _) => Ok(values),
        Value::Nil => fault(format!("Cannot {what} nil")),
        other => fault(format!("Cannot {what} type {}", other.kind_name())),
    }
}

fn first(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let list = elements(any(values, 0), "find first on")?;
    Ok(list.first().cloned().unwrap_or(Value::Nil))
}

fn last(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let list = elements(any(values, 0), "find last on")?;
    Ok(list.last().cloned().unwrap_or(Value::Nil))
}

/// A list, or the nil list where there is nothing to give.
fn rest(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let list = elements(any(values, 0), "find rest on")?;
    Ok(Value::list(list.iter().skip(1).cloned().collect()))
}

fn initial(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let list = elements(any(values, 0), "find initial on")?;
    let length = list.len().saturating_sub(1);
    Ok(Value::list(list[..length].to_vec()))
}

fn append(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let list = elements(any(values, 0), "push on")?;
    Ok(Value::list(
        list.iter().chain([&values[1]]).cloned().collect(),
    ))
}

fn prepend(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let list = elements(any(values, 0), "prepend on")?;
    Ok(Value::list(
        std::iter::once(&values[1])
            .chain(list.iter())
            .cloned()
            .collect(),
    ))
}

fn reverse(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let list = elements(any(values, 0), "find reverse on")?;
    Ok(Value::list(list.iter().rev().cloned().collect()))
}

/// True if a value of the same type and content is among the values.
fn holds(values: &[Value], wanted: &Value) -> bool {
    values.iter().any(|value| deep_equal(value, wanted))
}

fn uniq(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let list = elements(any(values, 0), "find uniq on")?;
    machine.spend(list.len().saturating_mul(list.len()) / 16)?;
    let mut distinct: Vec<Value> = Vec::new();
    for value in list.iter() {
        if !holds(&distinct, value) {
            distinct.push(value.clone());
        }
    }
    Ok(Value::list(distinct))
}

fn without(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let list = elements(any(values, 0), "find without on")?;
    machine.spend(list.len().saturating_mul(values.len()) / 16)?;
    let kept = list
        .iter()
        .filter(|value| !holds(&values[1..], value))
        .cloned()
        .collect();
    Ok(Value::list(kept))
}

fn has(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    if matches!(values[1], Value::Nil) {
        return Ok(Value::Bool(false));
    }
    let list = elements(&values[1], "find has on")?;
    Ok(Value::Bool(holds(list, &values[0])))
}

fn compact(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let list = elements(any(values, 0), "compact on")?;
    let kept = list
        .iter()
        .filter(|value| value.is_true() || matches!(value, Value::Time(_)))
        .cloned()
        .collect();
    Ok(Value::list(kept))
}

/// Keeps the type of the list; an empty list gives nil.
fn slice(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let Value::List(list, element) = &values[0] else {
        return match &values[0] {
            Value::Nil => fault("list should be type of slice or array but nil"),
            other => fault(format!(
                "list should be type of slice or array but {}",
                other.kind_name()
            )),
        };
    };
    if list.is_empty() {
        return Ok(Value::Nil);
    }
    let index = |at: usize| values.get(at).map(super::numbers::to_int);
    let from = usize::try_from(index(1).unwrap_or(0));
    let to = index(2).map_or(Ok(list.len()), usize::try_from);
    match from
        .ok()
        .zip(to.ok())
        .and_then(|(from, to)| list.get(from..to))
    {
        Some(part) => Ok(Value::List(Rc::new(part.to_vec()), *element)),
        None => fault("reflect.Value.Slice: slice index out of bounds"),
    }
}

fn concat(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let mut all = Vec::new();
    for value in values {
        all.extend(elements(value, "concat")?.iter().cloned());
    }
    Ok(Value::list(all))
}

/// Lists of `size` elements, of which the last may be shorter. A size below 1 is an error.
fn chunk(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let list = elements(&values[1], "chunk")?;
    let size = usize::try_from(int(values, 0)).unwrap_or(0);
    if size == 0 {
        return fault("chunk: the size must be above 0");
    }
    let chunks = list
        .chunks(size)
        .map(|chunk| Value::List(Rc::new(chunk.to_vec()), Element::Any));
    Ok(Value::list(chunks.collect()))
}

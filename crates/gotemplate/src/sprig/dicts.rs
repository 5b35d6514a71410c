//! Pure: functions on maps. `set`, `unset` and `merge` change their first map, as in sprig.
//!
//! They are those of sprig's `dict.go`. Maps are shared: a variable, a list and another map may hold the same one,
//! and a change through one of them is seen through all. So a map could hold itself, which Go would print until its
//! stack ends; such a change is refused (`check_acyclic`).
//!
//! The data of the template is a `map[string]string`. It is no `map[string]interface {}`, so functions that take one
//! (`get`, `hasKey`, `keys`) refuse it, here as in Go.

use std::rc::Rc;

use crate::builtins::string_of;
use crate::error::{Outcome, fault};
use crate::machine::Machine;
use crate::signature::{Row, any, bytes};
use crate::value::{Bytes, Dict, MAX_DEPTH, Value, check_acyclic};

/// What may surprise:
///
/// - `get` and `pluck` do not fail for a missing key: `get` gives an empty text, and `pluck` leaves the map out.
/// - `dict` with an odd number of arguments gives the last key an empty text. Keys that are no text are printed.
/// - `keys` and `values` are in the order of the keys, and not in Go's random order, so that the output does not
///   change.
/// - `merge` keeps what the first map has unless it is empty; `mergeOverwrite` lets the last map win.
pub(crate) const ROWS: &[Row] = &[
    ("dict", "w*", |_, v| {
        let pairs = v.chunks(2).map(|pair| {
            let key: Bytes = string_of(&pair[0]).into();
            (key, pair.get(1).cloned().unwrap_or_else(|| Value::str("")))
        });
        Ok(Value::dict(pairs))
    }),
    ("get", "ds", |_, v| {
        Ok(v[0].entry(bytes(v, 1)).unwrap_or_else(|| Value::str("")))
    }),
    ("set", "dsa", |_, v| {
        let Value::Dict(map) = &v[0] else {
            return fault("assignment to entry in nil map");
        };
        check_acyclic(map, &v[2])?;
        map.borrow_mut().insert(bytes(v, 1).into(), v[2].clone());
        Ok(v[0].clone())
    }),
    ("unset", "ds", |_, v| {
        if let Value::Dict(map) = &v[0] {
            map.borrow_mut().remove(bytes(v, 1));
        }
        Ok(v[0].clone())
    }),
    ("hasKey", "ds", |_, v| {
        Ok(Value::Bool(v[0].entry(bytes(v, 1)).is_some()))
    }),
    ("pluck", "sd*", |_, v| {
        let found = v[1..].iter().filter_map(|map| map.entry(bytes(v, 0)));
        Ok(Value::list(found.collect()))
    }),
    ("keys", "d*", |_, v| {
        let entries = v.iter().flat_map(|map| map.entries().unwrap_or_default());
        Ok(Value::strings(entries.map(|(key, _)| key)))
    }),
    ("values", "d", |_, v| {
        let entries = v[0].entries().unwrap_or_default();
        Ok(Value::list(
            entries.into_iter().map(|(_, value)| value).collect(),
        ))
    }),
    ("pick", "ds*", |_, v| {
        let picked = (1..v.len()).filter_map(|at| {
            let key = bytes(v, at);
            Some((Bytes::from(key), v[0].entry(key)?))
        });
        Ok(Value::dict(picked))
    }),
    ("omit", "ds*", |_, v| {
        let omitted = |key: &Bytes| (1..v.len()).any(|at| bytes(v, at) == &**key);
        let entries = v[0].entries().unwrap_or_default();
        Ok(Value::dict(
            entries.into_iter().filter(|(key, _)| !omitted(key)),
        ))
    }),
    ("merge", "dd*", |machine, v| {
        merge(machine, v, Winner::First)
    }),
    ("mustMerge", "dd*", |machine, v| {
        merge(machine, v, Winner::First)
    }),
    ("mergeOverwrite", "dd*", |machine, v| {
        merge(machine, v, Winner::Last)
    }),
    ("mustMergeOverwrite", "dd*", |machine, v| {
        merge(machine, v, Winner::Last)
    }),
    ("dig", "aaa*", dig),
    ("deepCopy", "w", copy),
    ("mustDeepCopy", "w", copy),
];

/// Which of two values stays.
#[derive(Clone, Copy, PartialEq)]
enum Winner {
    /// The value in the destination wins, unless it is empty.
    First,
    /// The value in the source wins, even if it is empty.
    Last,
}

/// Merges the other maps into the first one, in their order, and gives the first one.
fn merge(machine: &mut Machine<'_>, values: &[Value], winner: Winner) -> Outcome<Value> {
    let Value::Dict(into) = &values[0] else {
        return fault("cannot merge into a nil map");
    };
    for from in &values[1..] {
        if let Value::Dict(from) = from {
            merge_into(machine, into, from, winner, 0)?;
        }
    }
    Ok(values[0].clone())
}

/// The rules are those of dario.cat/mergo, `deepMerge`: maps are merged key by key, lists are values like others. The
/// entries are copied first, because both maps may share a part.
fn merge_into(
    machine: &mut Machine<'_>,
    into: &Dict,
    from: &Dict,
    winner: Winner,
    depth: usize,
) -> Outcome<()> {
    if Rc::ptr_eq(into, from) {
        return Ok(());
    }
    if depth > MAX_DEPTH {
        return fault("maps are nested too deeply");
    }
    let entries: Vec<(Bytes, Value)> = from
        .borrow()
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    machine.spend(entries.len())?;
    machine.allocate(entries.len().saturating_mul(64))?;
    for (key, new) in entries {
        let old = into.borrow().get(&key).cloned();
        match (&old, &new) {
            (Some(Value::Dict(old)), Value::Dict(new)) => {
                merge_into(machine, old, new, winner, depth + 1)?;
                continue;
            }
            // A map is not replaced by something else.
            (Some(Value::Dict(_)), _) if winner == Winner::First => continue,
            (Some(old), _) if winner == Winner::First && old.is_true() => continue,
            _ => {}
        }
        check_acyclic(into, &new)?;
        into.borrow_mut().insert(key, new);
    }
    Ok(())
}

/// `dig "a" "b" default map`
///
/// A key that is missing on the way gives the default value; a value on the way that is no map is an error.
fn dig(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let [path @ .., default, map] = values else {
        return fault("dig needs at least three arguments");
    };
    if path.is_empty() {
        return fault("dig needs at least three arguments");
    }
    let mut current = map.clone();
    for key in path {
        let Value::Str(key) = key else {
            return fault("dig: a key is not a string");
        };
        match &current {
            Value::Dict(_) => {}
            other => {
                return fault(format!(
                    "interface conversion: interface {{}} is {}, not map[string]interface {{}}",
                    other.type_name()
                ));
            }
        }
        match current.entry(key) {
            Some(value) => current = value,
            None => return Ok(default.clone()),
        }
    }
    Ok(current)
}

fn copy(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    match any(values, 0) {
        Value::Nil => fault("cannot copy nil"),
        value => deep_copy(machine, value, 0),
    }
}

/// Values that cannot be changed are shared and not copied.
fn deep_copy(machine: &mut Machine<'_>, value: &Value, depth: usize) -> Outcome<Value> {
    machine.spend(1)?;
    machine.allocate(64)?;
    if depth > MAX_DEPTH {
        return fault("values are nested too deeply");
    }
    match value {
        Value::Dict(map) => {
            let mut copy = Vec::new();
            for (key, value) in map.borrow().iter() {
                copy.push((key.clone(), deep_copy(machine, value, depth + 1)?));
            }
            Ok(Value::dict(copy))
        }
        Value::List(values, element) => {
            let mut copy = Vec::new();
            for value in values.iter() {
                copy.push(deep_copy(machine, value, depth + 1)?);
            }
            Ok(Value::List(Rc::new(copy), *element))
        }
        other => Ok(other.clone()),
    }
}

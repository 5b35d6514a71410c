//! Pure: defaults, choices, and questions about types.
//!
//! They are those of sprig's `defaults.go` and `reflect.go`. Empty means what Go's `if` takes for false: nil, 0,
//! false, and empty texts, lists and maps. A time is never empty, not even the zero time.

use crate::error::{Fault, Outcome, fault};
use crate::machine::Machine;
use crate::signature::{Row, any, bytes, text};
use crate::value::{Value, deep_equal};

/// What may surprise:
///
/// - `default` takes the fallback first, so that the value can come from a pipeline. It replaces 0 and false, too.
/// - `ternary` takes the value for true, the value for false, and the condition last. Both values are evaluated.
/// - `all` of no arguments is true, and `any` of none is false.
/// - `typeIs` takes Go's names: `string`, `int`, `map[string]interface {}`. `kindIs` takes those of `reflect`:
///   `slice`, `map`.
pub(crate) const ROWS: &[Row] = &[
    ("default", "aa*", |_, v| {
        Ok(v.get(1)
            .filter(|given| !is_empty(given))
            .unwrap_or(&v[0])
            .clone())
    }),
    ("empty", "a", |_, v| Ok(Value::Bool(is_empty(any(v, 0))))),
    ("coalesce", "a*", |_, v| {
        Ok(v.iter()
            .find(|value| !is_empty(value))
            .cloned()
            .unwrap_or(Value::Nil))
    }),
    ("all", "a*", |_, v| Ok(Value::Bool(!v.iter().any(is_empty)))),
    ("any", "a*", |_, v| {
        Ok(Value::Bool(v.iter().any(|value| !is_empty(value))))
    }),
    ("ternary", "aab", |_, v| {
        Ok(v[usize::from(!matches!(v[2], Value::Bool(true)))].clone())
    }),
    ("fail", "s", fail),
    ("typeOf", "a", |_, v| Ok(Value::str(any(v, 0).type_name()))),
    ("typeIs", "sa", |_, v| {
        Ok(Value::Bool(bytes(v, 0) == v[1].type_name().as_bytes()))
    }),
    ("typeIsLike", "sa", |_, v| {
        let (wanted, actual) = (text(v, 0), v[1].type_name());
        Ok(Value::Bool(
            *wanted == *actual || format!("*{wanted}") == actual,
        ))
    }),
    ("kindOf", "a", |_, v| Ok(Value::str(any(v, 0).kind_name()))),
    ("kindIs", "sa", |_, v| {
        Ok(Value::Bool(bytes(v, 0) == v[1].kind_name().as_bytes()))
    }),
    ("deepEqual", "ww", |_, v| {
        Ok(Value::Bool(deep_equal(&v[0], &v[1])))
    }),
];

/// Whether `default` replaces the value. Structs are never empty.
fn is_empty(value: &Value) -> bool {
    !value.is_true()
}

/// The message may be made of values, so it is hidden from people who may not see them.
fn fail(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let message = text(values, 0);
    if message.is_empty() {
        return fault("the template failed itself");
    }
    Err(Fault::hiding(
        "the template failed itself (its message may hold a value; `overlayd template` shows it)",
        message.into_owned(),
    ))
}

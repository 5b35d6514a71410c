//! Pure: values with the types that Go gives them. `int`, `int64` and `float64` are three types, since `eq`, `printf`
//! and the parameters of functions tell them apart.
//!
//! Copying a value is cheap: lists and texts are shared and never change, and maps are shared and change for all who
//! hold them, as Go's do. Values are not `Send`, because a render stays on one thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use gocompat::semver::Version;

use crate::error::{Outcome, fault};
use crate::time::Time;

/// Text as Go has it: bytes, most often UTF-8.
pub(crate) type Bytes = Rc<[u8]>;

/// A map of any values, which `set` and `merge` change in place.
pub(crate) type Dict = Rc<RefCell<BTreeMap<Bytes, Value>>>;

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// No value, or a nil interface.
    Nil,
    Bool(bool),
    Int(i64),
    Int64(i64),
    /// A byte, as `index` of a string gives it.
    Uint8(u8),
    Float64(f64),
    Str(Bytes),
    List(Rc<Vec<Self>>, Element),
    Dict(Dict),
    /// `map[string]string`, which the data of a template is.
    Strings(Rc<BTreeMap<Bytes, Bytes>>),
    Time(Rc<Time>),
    /// Nanoseconds.
    Duration(i64),
    Semver(Rc<Version>),
    /// A generated certificate with its key.
    Certificate(Rc<Certificate>),
}

/// The type of a list's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Any,
    Str,
    Int,
    Uint8,
}

/// A certificate and its private key, PEM.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Value {
    pub(crate) fn str(text: impl AsRef<[u8]>) -> Self {
        Self::Str(text.as_ref().into())
    }

    /// `[]interface {}`
    pub(crate) fn list(values: Vec<Self>) -> Self {
        Self::List(Rc::new(values), Element::Any)
    }

    /// `[]string`
    pub(crate) fn strings(texts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let texts = texts.into_iter().map(Self::str).collect();
        Self::List(Rc::new(texts), Element::Str)
    }

    /// `[]int`
    pub(crate) fn ints(numbers: impl IntoIterator<Item = i64>) -> Self {
        let numbers = numbers.into_iter().map(Self::Int).collect();
        Self::List(Rc::new(numbers), Element::Int)
    }

    /// `map[string]interface {}`; of entries with the same key, the last counts.
    pub(crate) fn dict(entries: impl IntoIterator<Item = (Bytes, Self)>) -> Self {
        Self::Dict(Rc::new(RefCell::new(entries.into_iter().collect())))
    }

    /// The name of the type, as `%T` prints it in Go.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Uint8(_) => "uint8",
            Self::Float64(_) => "float64",
            Self::Str(_) => "string",
            Self::List(_, Element::Any) => "[]interface {}",
            Self::List(_, Element::Str) => "[]string",
            Self::List(_, Element::Int) => "[]int",
            Self::List(_, Element::Uint8) => "[]uint8",
            Self::Dict(_) => "map[string]interface {}",
            Self::Strings(_) => "map[string]string",
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
            Self::Semver(_) => "*semver.Version",
            Self::Certificate(_) => "sprig.certificate",
        }
    }

    /// The name of the kind, as `reflect.Kind` prints it in Go.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Nil => "invalid",
            Self::List(..) => "slice",
            Self::Dict(_) | Self::Strings(_) => "map",
            Self::Time(_) | Self::Certificate(_) => "struct",
            Self::Duration(_) => "int64",
            Self::Semver(_) => "ptr",
            _ => self.type_name(),
        }
    }

    /// `template.IsTrue`: zero, empty and nil are false, and structs are true.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Int64(value) | Self::Duration(value) => *value != 0,
            Self::Uint8(value) => *value != 0,
            Self::Float64(value) => *value != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(values, _) => !values.is_empty(),
            Self::Dict(map) => !map.borrow().is_empty(),
            Self::Strings(map) => !map.is_empty(),
            Self::Time(_) | Self::Semver(_) | Self::Certificate(_) => true,
        }
    }

    /// The value of an integer of any type.
    pub(crate) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) | Self::Int64(value) | Self::Duration(value) => Some(*value),
            Self::Uint8(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The entry of a map.
    pub(crate) fn entry(&self, key: &[u8]) -> Option<Self> {
        match self {
            Self::Dict(map) => map.borrow().get(key).cloned(),
            Self::Strings(map) => map.get(key).cloned().map(Self::Str),
            _ => None,
        }
    }

    /// The entries of a map, by key.
    pub(crate) fn entries(&self) -> Option<Vec<(Bytes, Self)>> {
        match self {
            Self::Dict(map) => Some(
                map.borrow()
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            ),
            Self::Strings(map) => Some(
                map.iter()
                    .map(|(key, value)| (key.clone(), Self::Str(value.clone())))
                    .collect(),
            ),
            _ => None,
        }
    }
}

/// The deepest nesting of values, so that recursive functions do not exhaust the stack.
pub(crate) const MAX_DEPTH: usize = 128;

/// Refuses a value that is nested too deeply or holds the map itself: Go would never finish printing it.
pub(crate) fn check_acyclic(holder: &Dict, value: &Value) -> Outcome<()> {
    fn walk(holder: &Dict, value: &Value, depth: usize) -> Outcome<()> {
        if depth > MAX_DEPTH {
            return fault(format!("values are nested deeper than {MAX_DEPTH} levels"));
        }
        match value {
            Value::Dict(map) if Rc::ptr_eq(map, holder) => fault("a map cannot hold itself"),
            Value::Dict(map) => {
                let map = map.borrow();
                map.values()
                    .try_for_each(|value| walk(holder, value, depth + 1))
            }
            Value::List(values, _) => values
                .iter()
                .try_for_each(|value| walk(holder, value, depth + 1)),
            _ => Ok(()),
        }
    }
    walk(holder, value, 0)
}

/// Equality as Go's `reflect.DeepEqual` has it: types count.
pub(crate) fn deep_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b))
        | (Value::Int64(a), Value::Int64(b))
        | (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Uint8(a), Value::Uint8(b)) => a == b,
        #[expect(clippy::float_cmp, reason = "Go compares floats exactly, too")]
        (Value::Float64(a), Value::Float64(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::List(a, x), Value::List(b, y)) => {
            x == y && a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| deep_equal(a, b))
        }
        (Value::Dict(a), Value::Dict(b)) => {
            if Rc::ptr_eq(a, b) {
                return true;
            }
            let (a, b) = (a.borrow(), b.borrow());
            a.len() == b.len()
                && a.iter()
                    .zip(b.iter())
                    .all(|((k, a), (l, b))| k == l && deep_equal(a, b))
        }
        (Value::Strings(a), Value::Strings(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Semver(a), Value::Semver(b)) => a == b,
        (Value::Certificate(a), Value::Certificate(b)) => a == b,
        _ => false,
    }
}

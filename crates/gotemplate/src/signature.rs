//! Pure: the shape of a function of a template: its name, the types of its parameters, and a Rust function that takes
//! the arguments. The files that implement functions build on this one; only `functions` knows them all.
//!
//! A table has a row for each function, such as `("repeat", "is", repeat)`. `exec` checks number and types by the row
//! before the call, with Go's messages, so an implementation may rely on them.

use crate::error::{Outcome, fault};
use crate::machine::Machine;
use crate::value::{Element, Value};

/// A function with its parameters.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    parameters: Vec<Parameter>,
    /// The last parameter takes any number of arguments.
    variadic: bool,
    /// The function goes through all values inside its arguments (letter `w`), so these are charged before the call.
    pub(crate) walks: bool,
    pub(crate) call: Call,
}

/// The implementation of a function. The arguments have the right number and types.
pub(crate) type Call = fn(&mut Machine<'_>, &[Value]) -> Outcome<Value>;

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameter {
    Any,
    Str,
    Int,
    Uint32,
    Float64,
    Bool,
    /// `map[string]interface {}`
    Dict,
    /// `[]interface {}`, or nil.
    List,
    Time,
    Certificate,
}

/// A row of a table of functions: the name, the parameters, and the implementation. A letter stands for each
/// parameter (see `Parameter::of`), and `*` at the end means that the last one repeats.
pub(crate) type Row = (&'static str, &'static str, Call);

impl Function {
    pub(crate) fn of((name, parameters, call): &Row) -> Self {
        let walks = parameters.contains('w');
        let (parameters, variadic) = match parameters.strip_suffix('*') {
            Some(parameters) => (parameters, true),
            None => (*parameters, false),
        };
        Self {
            name,
            parameters: parameters.chars().map(Parameter::of).collect(),
            variadic,
            walks,
            call: *call,
        }
    }

    /// The parameter that an argument is for.
    pub(crate) fn parameter(&self, index: usize) -> Parameter {
        let last = self.parameters.len().saturating_sub(1);
        self.parameters
            .get(index.min(last))
            .copied()
            .unwrap_or(Parameter::Any)
    }

    /// The error if the number of arguments is wrong.
    pub(crate) fn wrong_count(&self, given: usize) -> Option<String> {
        let wanted = self.parameters.len();
        let name = self.name;
        if self.variadic {
            let least = wanted - 1;
            return (given < least).then(|| {
                format!("wrong number of args for {name}: want at least {least} got {given}")
            });
        }
        (given != wanted)
            .then(|| format!("wrong number of args for {name}: want {wanted} got {given}"))
    }
}

impl Parameter {
    fn of(letter: char) -> Self {
        match letter {
            's' => Self::Str,
            'i' => Self::Int,
            'u' => Self::Uint32,
            'f' => Self::Float64,
            'b' => Self::Bool,
            'd' => Self::Dict,
            'l' => Self::List,
            't' => Self::Time,
            'c' => Self::Certificate,
            // `a`, or `w` if the function goes through all values inside.
            _ => Self::Any,
        }
    }

    /// A literal `nil` is refused for all other parameters.
    pub(crate) fn can_be_nil(self) -> bool {
        matches!(self, Self::Any | Self::Dict | Self::List)
    }

    /// The type as `reflect.Type` prints it.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Str => "string",
            Self::Int => "int",
            Self::Uint32 => "uint32",
            Self::Float64 => "float64",
            Self::Bool => "bool",
            Self::Dict => "map[string]interface {}",
            Self::List => "[]interface {}",
            Self::Time => "time.Time",
            Self::Certificate => "sprig.certificate",
        }
    }

    /// As Go's messages about literals name it.
    pub(crate) fn short_name(self) -> &'static str {
        match self {
            Self::Int | Self::Uint32 => "integer",
            Self::Float64 => "float",
            other => other.type_name(),
        }
    }

    /// Checks that a value fits the parameter. A nil map or list stays nil.
    pub(crate) fn accept(self, value: Value) -> Outcome<Value> {
        let fits = match self {
            Self::Any => true,
            Self::Str => matches!(value, Value::Str(_)),
            Self::Int => matches!(value, Value::Int(_)),
            Self::Uint32 => false,
            Self::Float64 => matches!(value, Value::Float64(_)),
            Self::Bool => matches!(value, Value::Bool(_)),
            Self::Dict => matches!(value, Value::Dict(_) | Value::Nil),
            Self::List => matches!(value, Value::List(_, Element::Any) | Value::Nil),
            Self::Time => matches!(value, Value::Time(_)),
            Self::Certificate => matches!(value, Value::Certificate(_)),
        };
        if fits {
            return Ok(value);
        }
        let wanted = self.type_name();
        fault(match value {
            Value::Nil => format!("invalid value; expected {wanted}"),
            value => format!(
                "wrong type for value; expected {wanted}; got {}",
                value.type_name()
            ),
        })
    }
}

/// The bytes of a string argument.
pub(crate) fn bytes(values: &[Value], index: usize) -> &[u8] {
    match values.get(index) {
        Some(Value::Str(text)) => text,
        _ => &[],
    }
}

/// The text of a string argument; bytes that are not UTF-8 become U+FFFD.
pub(crate) fn text(values: &[Value], index: usize) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes(values, index))
}

/// An integer argument.
pub(crate) fn int(values: &[Value], index: usize) -> i64 {
    values.get(index).and_then(Value::as_int).unwrap_or(0)
}

/// Any argument; nil if it is not given.
pub(crate) fn any(values: &[Value], index: usize) -> &Value {
    values.get(index).unwrap_or(&Value::Nil)
}

//! Pure: the nodes of a template. Each prints as Go prints it, since error messages show it.
//!
//! The types follow `text/template/parse/node.go`, with fewer kinds: comments are not kept, `define` makes an entry
//! of `Parsed::definitions`, and `block` becomes a definition and a `Template` node. A place (`at`) is a byte offset
//! in the template; it becomes a line and a column only when an error is shown.

use std::fmt;
use std::rc::Rc;

use crate::number::Number;

/// A list of things to do in order.
pub(crate) type List = Vec<Node>;

/// One thing to do.
///
/// Texts are counted references, so that executing a loop does not copy them.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(Rc<str>),
    /// `{{ pipeline }}`
    Action(Pipe),
    /// `with` sets the dot to the value of its pipeline, `if` leaves it alone.
    If(Branch),
    With(Branch),
    /// `else` is executed if there is nothing to iterate over.
    Range(Branch),
    /// `{{ template "name" pipeline }}`
    Template {
        at: usize,
        name: String,
        pipe: Option<Pipe>,
    },
    /// Ends the innermost `range`; the parser has checked that there is one.
    Break,
    Continue,
}

/// `if`, `with` and `range`.
///
/// `otherwise` is empty if there is no `else`.
#[derive(Debug, Clone)]
pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) list: List,
    pub(crate) otherwise: List,
}

/// Commands, each of which gets the result of the command before it as its last argument.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pipe {
    pub(crate) at: usize,
    /// The variables that are declared or assigned, with their `$`.
    pub(crate) variables: Vec<String>,
    /// `=`, which changes a variable, and not `:=`, which declares a variable.
    pub(crate) assigns: bool,
    pub(crate) commands: Vec<Command>,
}

/// A function or value with its arguments.
///
/// There is at least one argument; the first is what is called or printed.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) arguments: Vec<Argument>,
}

/// An operand and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Argument {
    pub(crate) at: usize,
    pub(crate) operand: Operand,
}

/// A value or a function. A literal keeps how it was written, because messages show that.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    /// The number in all types that it fits, and as it was written.
    Number(Number, String),
    /// The value, and as it was written.
    String(Rc<[u8]>, String),
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`; the name with its `$` first.
    Variable(Vec<String>),
    /// A function.
    ///
    /// The parser has checked that there is such a function.
    Identifier(String),
    /// `(pipeline)`
    Pipe(Box<Pipe>),
    /// `(pipeline).a.b`
    Chain(Box<Argument>, Vec<String>),
}

impl fmt::Display for Pipe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let operator = if self.assigns { "=" } else { ":=" };
            write!(formatter, "{} {operator} ", self.variables.join(", "))?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" | ")?;
            }
            command.fmt(formatter)?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, argument) in self.arguments.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" ")?;
            }
            match &argument.operand {
                Operand::Pipe(pipe) => write!(formatter, "({pipe})")?,
                operand => operand.fmt(formatter)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dot => formatter.write_str("."),
            Self::Nil => formatter.write_str("nil"),
            Self::Bool(value) => value.fmt(formatter),
            Self::Number(_, text) | Self::String(_, text) => formatter.write_str(text),
            Self::Field(names) => names
                .iter()
                .try_for_each(|name| write!(formatter, ".{name}")),
            Self::Variable(names) => formatter.write_str(&names.join(".")),
            Self::Identifier(name) => formatter.write_str(name),
            Self::Pipe(pipe) => pipe.fmt(formatter),
            Self::Chain(argument, names) => {
                match &argument.operand {
                    Self::Pipe(pipe) => write!(formatter, "({pipe})")?,
                    operand => operand.fmt(formatter)?,
                }
                names
                    .iter()
                    .try_for_each(|name| write!(formatter, ".{name}"))
            }
        }
    }
}

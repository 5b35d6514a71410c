//! Pure: executing nodes on a value, with the rules of Go's `text/template`.
//!
//! The rules are those of `text/template/exec.go`; the functions have the names of Go's where they do the same
//! (`pipeline` is `evalPipeline`, `argument` is `evalArg`). A few that surprise:
//!
//! - A field of `.` that does not exist is an error or `<no value>`, by `missingkey`. A field of *that* is an error
//!   only with `missingkey=error`.
//! - A literal adapts to the type of a parameter (`1` is an `int`, a `float64` or an `interface{}`), while a value
//!   must have the type exactly: `add 1 .x` takes any, `repeat .x "a"` fails for a text `"3"`.
//! - `and` and `or` stop at the argument that decides and give that argument, not a truth value.
//! - A pipeline passes its value on as the *last* argument.
//!
//! Each failure names the part of the template that was evaluated last (`Part`), as Go's `ErrorContext` does, and
//! never a value of the data. Work is charged against the limits of the environment before it is done.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::environment::{Environment, Limits, MissingKey};
use crate::error::{Fault, Outcome};
use crate::functions;
use crate::machine::Machine;
use crate::node::{Argument, Branch, Command, List, Node, Operand, Pipe};
use crate::parse::Parsed;
use crate::printf::format_value;
use crate::signature::{Function, Parameter};
use crate::value::{Element, Value};

/// Where execution failed, and why.
///
/// `at` is a byte offset in the template, and `part` is the text of the node there as Go prints it.
pub(crate) struct Failure {
    pub(crate) at: usize,
    /// The definition that was executed; none for the template itself.
    pub(crate) definition: Option<String>,
    pub(crate) part: String,
    pub(crate) fault: Fault,
}

/// The failure is boxed, since it is large and every step returns this type.
type Run<T> = Result<T, Box<Failure>>;

/// How a list of nodes ended.
///
/// `Break` and `Continue` end the lists up to the innermost `range`.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// Executes a template.
///
/// `data` becomes the dot and `$`. The output that was written before a failure is lost, since a half rendered value
/// is of no use to anybody.
pub(crate) fn execute(
    parsed: &Parsed,
    data: &Value,
    environment: &Environment<'_>,
) -> Run<Vec<u8>> {
    let mut state = State {
        definitions: &parsed.definitions,
        missing_key: environment.missing_key,
        limits: environment.limits,
        machine: Machine::new(environment),
        variables: vec![("$".to_owned(), data.clone())],
        out: Vec::new(),
        definition: None,
        depth: 0,
        values: 0,
        current: Part::Start,
    };
    state.list(data, &parsed.root)?;
    Ok(state.out)
}

/// What changes while a template is executed. Variables are a stack, of which each block removes its own at its end;
/// the name that stands last is found first, so an inner variable hides an outer one.
struct State<'s> {
    definitions: &'s BTreeMap<String, List>,
    missing_key: MissingKey,
    limits: Limits,
    machine: Machine<'s>,
    variables: Vec<(String, Value)>,
    out: Vec<u8>,
    definition: Option<String>,
    depth: usize,
    /// Values within values, on the call stack.
    values: usize,
    current: Part<'s>,
}

/// A part of the template, to be named in an error.
#[derive(Clone, Copy)]
enum Part<'s> {
    Start,
    Action(&'s Pipe),
    Pipe(&'s Pipe),
    Command(&'s Command),
    Argument(&'s Argument),
    Template(usize, &'s str),
}

impl Part<'_> {
    /// The byte offset and the text that an error shows.
    fn show(self) -> (usize, String) {
        match self {
            Self::Start => (0, String::new()),
            Self::Action(pipe) => (pipe.at, format!("{{{{{pipe}}}}}")),
            Self::Pipe(pipe) => (pipe.at, pipe.to_string()),
            Self::Command(command) => (command.arguments[0].at, command.to_string()),
            Self::Argument(argument) => (argument.at, argument.operand.to_string()),
            Self::Template(at, name) => (at, format!("{{{{template {name:?}}}}}")),
        }
    }
}

impl<'s> State<'s> {
    /// Says what is being evaluated, which an error shows. As in Go, an outer part is not named again after an inner.
    fn at(&mut self, part: Part<'s>) {
        self.current = part;
    }

    fn fail<T>(&self, fault: Fault) -> Run<T> {
        let (at, part) = self.current.show();
        Err(Box::new(Failure {
            at,
            definition: self.definition.clone(),
            part,
            fault,
        }))
    }

    fn error<T>(&self, message: impl Into<String>) -> Run<T> {
        self.fail(Fault::new(message))
    }

    /// Charges a step against the limit of the environment.
    fn step(&mut self) -> Run<()> {
        match self.machine.spend(1) {
            Ok(()) => Ok(()),
            Err(fault) => self.fail(fault),
        }
    }

    fn list(&mut self, dot: &Value, list: &'s List) -> Run<Flow> {
        for node in list {
            let flow = self.node(dot, node)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, dot: &Value, node: &'s Node) -> Run<Flow> {
        match node {
            Node::Text(text) => self.write(text.as_bytes())?,
            Node::Action(pipe) => {
                self.at(Part::Action(pipe));
                let value = self.pipeline(dot, pipe)?;
                if pipe.variables.is_empty() {
                    self.at(Part::Action(pipe));
                    self.print(&value)?;
                }
            }
            Node::If(branch) => return self.if_or_with(dot, branch, false),
            Node::With(branch) => return self.if_or_with(dot, branch, true),
            Node::Range(branch) => return self.range(dot, branch),
            Node::Template { at, name, pipe } => {
                self.at(Part::Template(*at, name));
                self.template(dot, name, pipe.as_ref())?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    /// Appends to the output, up to the limit of bytes.
    fn write(&mut self, bytes: &[u8]) -> Run<()> {
        if let Err(fault) = self.machine.write(self.out.len(), bytes.len()) {
            return self.fail(fault);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes a value as `fmt.Print` does; no value prints as `<no value>`. Values share their parts, so the walk
    /// through them is charged first.
    fn print(&mut self, value: &Value) -> Run<()> {
        if let Err(fault) = self.machine.spend_walk(value, 1) {
            return self.fail(fault);
        }
        let mut text = Vec::new();
        match value {
            Value::Nil => text.extend_from_slice(b"<no value>"),
            value => format_value(&mut text, value),
        }
        self.write(&text)
    }

    fn if_or_with(&mut self, dot: &Value, branch: &'s Branch, changes_dot: bool) -> Run<Flow> {
        let scope = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let flow = if value.is_true() {
            let dot = if changes_dot { &value } else { dot };
            self.list(dot, &branch.list)
        } else {
            self.list(dot, &branch.otherwise)
        };
        self.variables.truncate(scope);
        flow
    }

    /// Iterates over a list, a map in the order of its keys, or the integers below a number (Go 1.22). `nil` counts
    /// as empty, and anything else is an error. A variable of the pipeline is set anew in each turn.
    fn range(&mut self, dot: &Value, branch: &'s Branch) -> Run<Flow> {
        let scope = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let names = branch.pipe.variables.len();
        let pairs: Box<dyn Iterator<Item = (Value, Value)>> = match &value {
            Value::Nil => Box::new(std::iter::empty()),
            Value::List(values, _) => {
                let values = values.clone();
                let indexed = (0_i64..).zip(0..values.len());
                Box::new(indexed.map(move |(index, at)| (Value::Int(index), values[at].clone())))
            }
            Value::Dict(_) | Value::Strings(_) => {
                let entries = value.entries().unwrap_or_default().into_iter();
                Box::new(entries.map(|(key, value)| (Value::Str(key), value)))
            }
            Value::Int(count) | Value::Int64(count) => {
                if names > 1 {
                    let message =
                        format!("can't use {count} to iterate over more than one variable");
                    return self.error(message);
                }
                let is_int = matches!(value, Value::Int(_));
                let number = move |n| {
                    if is_int {
                        Value::Int(n)
                    } else {
                        Value::Int64(n)
                    }
                };
                Box::new((0..*count).map(move |n| (number(n), number(n))))
            }
            other => {
                let message = format!("range can't iterate over a {}", other.type_name());
                return self.error(message);
            }
        };
        let mut flow = Flow::On;
        let mut empty = true;
        for (index, element) in pairs {
            empty = false;
            self.step()?;
            let mark = self.variables.len();
            self.bind(&branch.pipe, scope, &index, &element)?;
            let ended = self.list(&element, &branch.list)?;
            self.variables.truncate(mark);
            if ended == Flow::Break {
                break;
            }
        }
        if empty {
            flow = self.list(dot, &branch.otherwise)?;
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    /// One variable gets the element, two get the index and the element.
    fn bind(&mut self, pipe: &'s Pipe, scope: usize, index: &Value, element: &Value) -> Run<()> {
        let values: &[&Value] = match pipe.variables.len() {
            0 => &[],
            1 => &[element],
            _ => &[index, element],
        };
        for (offset, (name, value)) in pipe.variables.iter().zip(values).enumerate() {
            if pipe.assigns {
                self.assign(name, value)?;
            } else {
                self.variables[scope + offset].1 = (*value).clone();
            }
        }
        Ok(())
    }

    /// Changes the innermost variable of that name. The parser has checked that there is one.
    fn assign(&mut self, name: &str, value: &Value) -> Run<()> {
        let found = self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| known == name);
        match found {
            Some((_, old)) => {
                *old = value.clone();
                Ok(())
            }
            None => self.error(format!("undefined variable: {name}")),
        }
    }

    /// Executes a definition, with the value of the pipeline (or nil) as its dot and `$`. It sees no other variable.
    /// Recursion is bounded, as by Go's `maxExecDepth`.
    fn template(&mut self, dot: &Value, name: &str, pipe: Option<&'s Pipe>) -> Run<()> {
        let definitions = self.definitions;
        let Some(list) = definitions.get(name) else {
            return self.error(format!("template {name:?} not defined"));
        };
        if self.depth >= self.limits.depth {
            let message = format!("exceeded maximum template depth ({})", self.limits.depth);
            return self.error(message);
        }
        let dot = match pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Nil,
        };
        let variables = std::mem::replace(&mut self.variables, vec![("$".to_owned(), dot.clone())]);
        let definition = self.definition.replace(name.to_owned());
        self.depth += 1;
        let done = self.list(&dot, list);
        self.depth -= 1;
        if done.is_ok() {
            self.definition = definition;
        }
        self.variables = variables;
        done.map(drop)
    }

    /// Evaluates the commands one after another and sets the variables of the pipeline. It prints nothing.
    fn pipeline(&mut self, dot: &Value, pipe: &'s Pipe) -> Run<Value> {
        self.at(Part::Pipe(pipe));
        self.step()?;
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.variables {
            if pipe.assigns {
                self.assign(name, &value)?;
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    /// `last` is the result of the command before in the pipeline.
    fn command(&mut self, dot: &Value, command: &'s Command, last: Option<Value>) -> Run<Value> {
        let first = &command.arguments[0];
        match &first.operand {
            Operand::Identifier(name) => {
                self.at(Part::Argument(first));
                let arguments = &command.arguments[1..];
                self.function(dot, name, arguments, last, Part::Command(command))
            }
            Operand::Field(names) => {
                self.at(Part::Argument(first));
                self.with_methods(dot.clone(), names, command, last, dot)
            }
            Operand::Variable(names) if names.len() > 1 => {
                self.at(Part::Argument(first));
                let value = self.variable(&names[0])?;
                self.with_methods(value, &names[1..], command, last, dot)
            }
            Operand::Chain(inner, names) => {
                self.at(Part::Argument(first));
                let value = self.value(dot, inner)?;
                self.with_methods(value, names, command, last, dot)
            }
            Operand::Pipe(pipe) => {
                self.not_a_function(command, last.as_ref())?;
                self.pipeline(dot, pipe)
            }
            operand => {
                self.at(Part::Argument(first));
                self.not_a_function(command, last.as_ref())?;
                if matches!(operand, Operand::Nil) {
                    return self.error("nil is not a command");
                }
                self.value(dot, first)
            }
        }
    }

    /// Fails if a value that cannot be called has arguments.
    fn not_a_function(&self, command: &Command, last: Option<&Value>) -> Run<()> {
        if command.arguments.len() > 1 || last.is_some() {
            let operand = &command.arguments[0].operand;
            return self.error(format!("can't give argument to non-function {operand}"));
        }
        Ok(())
    }

    /// Fields, of which the last may be a method with arguments, such as `.Format` of a time.
    fn with_methods(
        &mut self,
        value: Value,
        names: &[String],
        command: &'s Command,
        last: Option<Value>,
        dot: &Value,
    ) -> Run<Value> {
        let arguments = &command.arguments[1..];
        if arguments.is_empty() && last.is_none() {
            return self.fields(value, names);
        }
        let Some((method, path)) = names.split_last() else {
            return Ok(value);
        };
        let receiver = self.fields(value, path)?;
        let mut values = Vec::new();
        if !matches!(receiver, Value::Dict(_) | Value::Strings(_)) {
            for argument in arguments {
                values.push(self.value(dot, argument)?);
            }
            values.extend(last);
        }
        match crate::methods::call(&receiver, method, &values) {
            Some(Ok(value)) => Ok(value),
            Some(Err(fault)) => self.fail(fault),
            None if receiver.entries().is_some() => {
                self.error(format!("{method} is not a method but has arguments"))
            }
            None => self.field(&receiver, method),
        }
    }

    /// The value of an operand where any type will do.
    fn value(&mut self, dot: &Value, argument: &'s Argument) -> Run<Value> {
        self.values += 1;
        if self.values > 400 {
            return self.error("values are nested too deeply");
        }
        let value = self.value_of(dot, argument);
        self.values -= 1;
        value
    }

    fn value_of(&mut self, dot: &Value, argument: &'s Argument) -> Run<Value> {
        self.at(Part::Argument(argument));
        match &argument.operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::String(text, _) => Ok(Value::Str(text.clone())),
            Operand::Number(number, text) => {
                if number.looks_like_float
                    && let Some(float) = number.float
                {
                    return Ok(Value::Float64(float));
                }
                match number.int {
                    Some(int) => Ok(Value::Int(int)),
                    None => self.error(format!("{text} overflows int")),
                }
            }
            Operand::Field(names) => self.fields(dot.clone(), names),
            Operand::Variable(names) => {
                let value = self.variable(&names[0])?;
                self.fields(value, &names[1..])
            }
            Operand::Identifier(name) => {
                self.function(dot, name, &[], None, Part::Argument(argument))
            }
            Operand::Pipe(pipe) => self.pipeline(dot, pipe),
            Operand::Chain(inner, names) => {
                let value = self.value(dot, inner)?;
                self.fields(value, names)
            }
        }
    }

    /// The innermost variable of that name, with its `$`.
    fn variable(&self, name: &str) -> Run<Value> {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        match found {
            Some((_, value)) => Ok(value.clone()),
            None => self.error(format!("undefined variable: {name}")),
        }
    }

    fn fields(&self, mut value: Value, names: &[String]) -> Run<Value> {
        for name in names {
            value = self.field(&value, name)?;
        }
        Ok(value)
    }

    /// A key of a map, or a method or field of another value without arguments. What a missing key gives depends on
    /// `missingkey`; the default value of Go (`missingkey=default`) prints `<no value>` too, so there are two rules
    /// only.
    fn field(&self, value: &Value, name: &str) -> Run<Value> {
        match value {
            Value::Nil if self.missing_key == MissingKey::Error => {
                self.error(format!("nil pointer evaluating interface {{}}.{name}"))
            }
            Value::Nil => Ok(Value::Nil),
            Value::Dict(_) | Value::Strings(_) => match value.entry(name.as_bytes()) {
                Some(value) => Ok(value),
                None if self.missing_key == MissingKey::Error => {
                    self.error(format!("map has no entry for key {name:?}"))
                }
                None => Ok(Value::Nil),
            },
            value => match crate::methods::call(value, name, &[]) {
                Some(Ok(value)) => Ok(value),
                Some(Err(fault)) => self.fail(fault),
                None => self.error(format!(
                    "can't evaluate field {name} in type {}",
                    value.type_name()
                )),
            },
        }
    }

    /// Calls a function: checks the number of arguments, evaluates each for the type of its parameter, and charges
    /// the work. `whole` is the part of the template that is to be named if the function fails.
    fn function(
        &mut self,
        dot: &Value,
        name: &str,
        arguments: &'s [Argument],
        last: Option<Value>,
        whole: Part<'s>,
    ) -> Run<Value> {
        if matches!(name, "and" | "or") {
            return self.and_or_or(dot, name, arguments, last);
        }
        let Some(function) = functions::find(name) else {
            return self.error(format!("{name:?} is not a defined function"));
        };
        let given = arguments.len() + usize::from(last.is_some());
        if let Some(message) = function.wrong_count(given) {
            return self.error(message);
        }
        let mut values = Vec::with_capacity(given);
        for (index, argument) in arguments.iter().enumerate() {
            values.push(self.argument(dot, argument, function.parameter(index))?);
        }
        if let Some(last) = last {
            match function.parameter(given - 1).accept(last) {
                Ok(value) => values.push(value),
                Err(fault) => return self.fail(fault),
            }
        }
        self.call(function, &values, whole)
    }

    fn call(&mut self, function: &Function, values: &[Value], whole: Part<'s>) -> Run<Value> {
        // Work is in proportion to what goes in and what comes out. A function that makes more of its arguments than that
        // charges the rest itself before it begins.
        let result = self
            .charge(function, values)
            .and_then(|()| (function.call)(&mut self.machine, values))
            .and_then(|value| {
                self.machine.allocate(size(&value))?;
                Ok(value)
            });
        result.or_else(|fault| {
            self.at(whole);
            let name = function.name;
            self.fail(Fault {
                message: format!("error calling {name}: {}", fault.message),
                detail: fault
                    .detail
                    .map(|detail| format!("error calling {name}: {detail}")),
            })
        })
    }

    /// A function that walks through its arguments is charged for all values inside, another for their size at the
    /// top.
    fn charge(&mut self, function: &Function, values: &[Value]) -> Outcome<()> {
        /// The most bytes that one byte becomes: `\u003c` in a JSON text.
        const ESCAPED: usize = 6;
        if !function.walks {
            let cost = values.iter().map(size).sum::<usize>() / 64;
            return self.machine.spend(1 + cost);
        }
        self.machine.spend(1)?;
        values
            .iter()
            .try_for_each(|value| self.machine.spend_walk(value, ESCAPED))
    }

    /// `and` and `or` evaluate only as far as they must, and give one of their arguments.
    fn and_or_or(
        &mut self,
        dot: &Value,
        name: &str,
        arguments: &'s [Argument],
        last: Option<Value>,
    ) -> Run<Value> {
        if arguments.is_empty() && last.is_none() {
            return self.error(format!(
                "wrong number of args for {name}: want at least 1 got 0"
            ));
        }
        let stops_at = name == "or";
        let mut value = Value::Nil;
        for argument in arguments {
            value = self.value(dot, argument)?;
            if value.is_true() == stops_at {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// An argument for a parameter of a type: literals adapt, other values must fit.
    fn argument(
        &mut self,
        dot: &Value,
        argument: &'s Argument,
        parameter: Parameter,
    ) -> Run<Value> {
        self.at(Part::Argument(argument));
        let wrong = |found: &str| format!("expected {}; found {found}", parameter.short_name());
        match (&argument.operand, parameter) {
            (Operand::Nil, parameter) if !parameter.can_be_nil() => {
                self.error(format!("cannot assign nil to {}", parameter.type_name()))
            }
            (Operand::Number(number, text), Parameter::Int | Parameter::Uint32) => {
                match number.int {
                    Some(int) => Ok(Value::Int(int)),
                    None => self.error(wrong(text)),
                }
            }
            (Operand::Number(number, text), Parameter::Float64) => match number.float {
                Some(float) => Ok(Value::Float64(float)),
                None => self.error(wrong(text)),
            },
            (
                literal @ (Operand::Number(..) | Operand::Bool(_) | Operand::String(..)),
                parameter,
            ) if parameter != Parameter::Any => {
                let value = self.value(dot, argument)?;
                match parameter.accept(value) {
                    Ok(value) => Ok(value),
                    Err(_) => self.error(wrong(&literal.to_string())),
                }
            }
            _ => {
                let value = self.value(dot, argument)?;
                match parameter.accept(value) {
                    Ok(value) => Ok(value),
                    Err(fault) => self.fail(fault),
                }
            }
        }
    }
}

/// About how many bytes a value has, not looking far into it.
fn size(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.len(),
        Value::List(values, element) => match element {
            Element::Any | Element::Str => values.iter().map(shallow_size).sum(),
            Element::Int | Element::Uint8 => values.len() * 16,
        },
        Value::Dict(map) => map.borrow().values().map(shallow_size).sum(),
        _ => 16,
    }
}

fn shallow_size(value: &Value) -> usize {
    match value {
        Value::Str(text) => 16 + text.len(),
        _ => 32,
    }
}

/// The value of the data of a template: a map of strings.
pub(crate) fn data_of<'d>(data: impl IntoIterator<Item = (&'d str, &'d [u8])>) -> Value {
    let entries = data
        .into_iter()
        .map(|(key, value)| (key.as_bytes().into(), value.into()));
    Value::Strings(Rc::new(entries.collect()))
}

//! Pure: executes nodes on a map.

use std::collections::BTreeMap;

use crate::parse::{Branch, Node, Operand, Pipeline};
use crate::value::Value;
use crate::{Failure, MAX_OUTPUT, failure, functions};

/// Renders nodes with the data as dot.
pub(crate) fn execute(nodes: &[Node], data: &BTreeMap<String, String>) -> Result<String, Failure> {
    let map = data
        .iter()
        .map(|(key, value)| (key.clone(), Value::Text(value.clone())));
    let dot = Value::Map(map.collect());
    let mut state = State {
        variables: vec![(String::new(), dot.clone())],
        output: String::new(),
    };
    state.list(nodes, &dot)?;
    Ok(state.output)
}

/// What a branch does to the dot.
#[derive(Clone, Copy, PartialEq)]
enum Dot {
    Stays,
    Moves,
}

struct State {
    /// Declared variables, innermost last. The one without a name is `$`.
    variables: Vec<(String, Value)>,
    output: String,
}

impl State {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<(), Failure> {
        for node in nodes {
            match node {
                Node::Text(text) => self.print(text, 0)?,
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.print(&value.print(), pipeline.line)?;
                    }
                }
                Node::If(branch) => self.scoped(|state| state.branch(branch, dot, Dot::Stays))?,
                Node::With(branch) => self.scoped(|state| state.branch(branch, dot, Dot::Moves))?,
                Node::Range(branch) => self.scoped(|state| state.range(branch, dot))?,
            }
        }
        Ok(())
    }

    fn print(&mut self, text: &str, line: usize) -> Result<(), Failure> {
        if self.output.len() + text.len() > MAX_OUTPUT {
            return failure(
                line,
                format!("the template prints more than {MAX_OUTPUT} bytes"),
            );
        }
        self.output.push_str(text);
        Ok(())
    }

    /// Variables that are declared inside end with it.
    fn scoped(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let depth = self.variables.len();
        let result = run(self);
        self.variables.truncate(depth);
        result
    }

    /// `with` moves the dot, `if` does not.
    fn branch(&mut self, branch: &Branch, dot: &Value, dot_moves: Dot) -> Result<(), Failure> {
        let value = self.pipeline(&branch.pipeline, dot)?;
        if value.is_true() {
            let inner = if dot_moves == Dot::Moves { &value } else { dot };
            return self.list(&branch.then, inner);
        }
        self.list(&branch.otherwise, dot)
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<(), Failure> {
        let names = branch.pipeline.variables.clone();
        let pipeline = Pipeline {
            variables: Vec::new(),
            ..branch.pipeline.clone()
        };
        let value = self.pipeline(&pipeline, dot)?;
        let entries = match value {
            Value::Map(map) => map
                .into_iter()
                .map(|(key, value)| (Value::Text(key), value))
                .collect(),
            Value::Nil => Vec::new(),
            Value::Int(count) => (0..count.clamp(0, 100_000))
                .map(|index| (Value::Int(index), Value::Int(index)))
                .collect(),
            other => {
                return failure(
                    pipeline.line,
                    format!("range can't iterate over a {}", other.kind()),
                );
            }
        };
        if entries.is_empty() {
            return self.list(&branch.otherwise, dot);
        }
        for (key, value) in entries {
            self.scoped(|state| {
                match &names[..] {
                    [only] => state.variables.push((only.clone(), value.clone())),
                    [first, second] => {
                        state.variables.push((first.clone(), key));
                        state.variables.push((second.clone(), value.clone()));
                    }
                    _ => {}
                }
                state.list(&branch.then, &value)
            })?;
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Failure> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value, dot, pipeline.line)?);
        }
        let value = value.unwrap_or(Value::Nil);
        if let Some(name) = pipeline.variables.last() {
            self.set(name, value.clone(), pipeline)?;
        }
        Ok(value)
    }

    fn set(&mut self, name: &str, value: Value, pipeline: &Pipeline) -> Result<(), Failure> {
        if !pipeline.assigns {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        match self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| known == name)
        {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => failure(pipeline.line, format!("undefined variable \"${name}\"")),
        }
    }

    fn command(
        &mut self,
        command: &[Operand],
        last: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Value, Failure> {
        let Operand::Function(name) = &command[0] else {
            if command.len() > 1 || last.is_some() {
                return failure(line, "can't give argument to non-function");
            }
            return self.operand(&command[0], dot, line);
        };
        // `and` and `or` stop at the first value that decides.
        if matches!(name.as_str(), "and" | "or") {
            return self.logic(name, &command[1..], last, dot, line);
        }
        let mut arguments = Vec::with_capacity(command.len());
        for operand in &command[1..] {
            arguments.push(self.operand(operand, dot, line)?);
        }
        arguments.extend(last);
        functions::call(name, &arguments).or_else(|message| failure(line, message))
    }

    fn logic(
        &mut self,
        name: &str,
        operands: &[Operand],
        last: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Value, Failure> {
        let mut value = Value::Nil;
        for operand in operands {
            value = self.operand(operand, dot, line)?;
            if value.is_true() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value, line: usize) -> Result<Value, Failure> {
        match operand {
            Operand::Field(fields) => take(dot.clone(), fields, line),
            Operand::Variable(name, fields) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let Some((_, value)) = found else {
                    return failure(line, format!("undefined variable \"${name}\""));
                };
                take(value.clone(), fields, line)
            }
            Operand::Function(name) => {
                functions::call(name, &[]).or_else(|message| failure(line, message))
            }
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::Nil => Ok(Value::Nil),
            Operand::Int(value) => Ok(Value::Int(*value)),
            Operand::Float(value) => Ok(Value::Float(*value)),
            Operand::Text(text) => Ok(Value::Text(text.clone())),
            Operand::Pipeline(pipeline, fields) => {
                let value = self.pipeline(pipeline, dot)?;
                take(value, fields, line)
            }
        }
    }
}

/// Follows fields. A key that a map lacks is an error, as External Secrets has it.
fn take(value: Value, fields: &[String], line: usize) -> Result<Value, Failure> {
    fields.iter().try_fold(value, |value, field| match value {
        Value::Map(mut map) => map.remove(field).map_or_else(
            || failure(line, format!("map has no entry for key \"{field}\"")),
            Ok,
        ),
        other => failure(
            line,
            format!("can't evaluate field {field} in type {}", other.kind()),
        ),
    })
}

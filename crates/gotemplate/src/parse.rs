//! Pure: tokens to nodes.

use crate::lex::{Kind, Token};
use crate::{Failure, failure};

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Text(String),
    /// Prints the value of a pipeline, unless that declares or assigns.
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
}

/// A pipeline that decides, and what follows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Branch {
    pub(crate) pipeline: Pipeline,
    pub(crate) then: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pipeline {
    pub(crate) line: usize,
    /// `$x :=`, `$i, $x :=`
    pub(crate) variables: Vec<String>,
    /// `=` in place of `:=`
    pub(crate) assigns: bool,
    pub(crate) commands: Vec<Vec<Operand>>,
}

/// One word of a command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Bool(bool),
    Nil,
    Int(i64),
    Float(f64),
    Text(String),
    Pipeline(Box<Pipeline>, Vec<String>),
}

/// Levels of nesting, of branches and parentheses together.
const MAX_DEPTH: usize = 100;

/// Reads a whole template.
pub(crate) fn parse(tokens: Vec<Token>) -> Result<Vec<Node>, Failure> {
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
    };
    let (nodes, end) = parser.list()?;
    match end {
        Stop::Template => Ok(nodes),
        Stop::Else | Stop::End => failure(parser.line(), "unexpected {{end}} or {{else}}"),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Template,
    Else,
    End,
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn line(&self) -> usize {
        let token = self.tokens.get(self.at).or_else(|| self.tokens.last());
        token.map_or(1, |token| token.line)
    }

    fn next(&mut self) -> Option<Kind> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        Some(token.kind.clone())
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn word_is(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Kind::Word(found)) if found == word)
    }

    fn expect_close(&mut self) -> Result<(), Failure> {
        match self.next() {
            Some(Kind::Close) => Ok(()),
            _ => failure(self.line(), "unexpected token before the end of the action"),
        }
    }

    fn deeper(&mut self) -> Result<(), Failure> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            failure(self.line(), "the template is nested too deeply")
        } else {
            Ok(())
        }
    }

    fn list(&mut self) -> Result<(Vec<Node>, Stop), Failure> {
        let mut nodes = Vec::new();
        loop {
            match self.next() {
                None => return Ok((nodes, Stop::Template)),
                Some(Kind::Text(text)) => nodes.push(Node::Text(text)),
                Some(Kind::Open) => {
                    if self.word_is("end") {
                        self.at += 1;
                        self.expect_close()?;
                        return Ok((nodes, Stop::End));
                    }
                    if self.word_is("else") {
                        self.at += 1;
                        return Ok((nodes, Stop::Else));
                    }
                    nodes.push(self.action()?);
                }
                Some(_) => return failure(self.line(), "unexpected token outside of an action"),
            }
        }
    }

    fn action(&mut self) -> Result<Node, Failure> {
        let keyword = match self.peek() {
            Some(Kind::Word(word)) => word.clone(),
            _ => String::new(),
        };
        let wrap = match keyword.as_str() {
            "if" => Node::If,
            "with" => Node::With,
            "range" => Node::Range,
            "define" | "template" | "block" | "break" | "continue" => {
                return failure(self.line(), format!("`{keyword}` is not supported yet"));
            }
            _ => {
                let pipeline = self.pipeline()?;
                self.expect_close()?;
                return Ok(Node::Action(pipeline));
            }
        };
        self.at += 1;
        Ok(wrap(self.branch()?))
    }

    fn branch(&mut self) -> Result<Branch, Failure> {
        self.deeper()?;
        let pipeline = self.pipeline()?;
        self.expect_close()?;
        let (then, end) = self.list()?;
        let otherwise = match end {
            Stop::End => Vec::new(),
            Stop::Template => return failure(self.line(), "unexpected EOF: an {{end}} is missing"),
            Stop::Else => self.otherwise()?,
        };
        self.depth -= 1;
        Ok(Branch {
            pipeline,
            then,
            otherwise,
        })
    }

    /// After `else`: another condition, or the rest.
    fn otherwise(&mut self) -> Result<Vec<Node>, Failure> {
        if self.word_is("if") {
            self.at += 1;
            return Ok(vec![Node::If(self.branch()?)]);
        }
        if self.word_is("with") {
            self.at += 1;
            return Ok(vec![Node::With(self.branch()?)]);
        }
        self.expect_close()?;
        match self.list()? {
            (nodes, Stop::End) => Ok(nodes),
            _ => failure(self.line(), "expected {{end}} after {{else}}"),
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, Failure> {
        let line = self.line();
        let (variables, assigns) = self.declaration();
        let mut commands = vec![Vec::new()];
        loop {
            match self.peek() {
                Some(Kind::Close | Kind::Right(_)) | None => break,
                Some(Kind::Pipe) => {
                    self.at += 1;
                    commands.push(Vec::new());
                }
                Some(_) => {
                    let operand = self.operand()?;
                    commands
                        .iter_mut()
                        .last()
                        .into_iter()
                        .for_each(|command| command.push(operand.clone()));
                }
            }
        }
        if commands.iter().any(Vec::is_empty) {
            return failure(line, "missing value for command");
        }
        Ok(Pipeline {
            line,
            variables,
            assigns,
            commands,
        })
    }

    /// `$x :=`, `$x =` or `$i, $x :=`; nothing is taken if none is there.
    fn declaration(&mut self) -> (Vec<String>, bool) {
        let start = self.at;
        let mut variables = Vec::new();
        loop {
            match self.next() {
                Some(Kind::Variable(name, fields)) if fields.is_empty() && !name.is_empty() => {
                    variables.push(name);
                }
                _ => break,
            }
            match self.next() {
                Some(Kind::Comma) => {}
                Some(Kind::Declare) => return (variables, false),
                Some(Kind::Assign) => return (variables, true),
                _ => break,
            }
        }
        self.at = start;
        (Vec::new(), false)
    }

    fn operand(&mut self) -> Result<Operand, Failure> {
        let line = self.line();
        Ok(match self.next() {
            Some(Kind::Field(fields)) => Operand::Field(fields),
            Some(Kind::Variable(name, fields)) => Operand::Variable(name, fields),
            Some(Kind::Quoted(text)) => Operand::Text(text),
            Some(Kind::Number(text)) => number(&text, line)?,
            Some(Kind::Word(word)) => match word.as_str() {
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                "nil" => Operand::Nil,
                _ => Operand::Function(word),
            },
            Some(Kind::Left) => {
                self.deeper()?;
                let pipeline = self.pipeline()?;
                self.depth -= 1;
                match self.next() {
                    Some(Kind::Right(fields)) => Operand::Pipeline(Box::new(pipeline), fields),
                    _ => return failure(line, "unclosed left paren"),
                }
            }
            _ => return failure(line, "unexpected token in an action"),
        })
    }
}

fn number(text: &str, line: usize) -> Result<Operand, Failure> {
    if let Ok(value) = text.parse() {
        return Ok(Operand::Int(value));
    }
    match text.parse() {
        Ok(value) if !text.contains("inf") && !text.contains("nan") => Ok(Operand::Float(value)),
        _ => failure(line, format!("bad number syntax: `{text}`")),
    }
}

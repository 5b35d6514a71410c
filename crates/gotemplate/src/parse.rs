//! Pure: tokens to nodes, as Go's parser has it: variables must be declared, functions must exist.
//!
//! The rules and messages are those of `text/template/parse/parse.go`. The parser is a recursive descent with a
//! function for each thing that the language has: `list` reads nodes up to `end` or `else`, `pipeline` reads `a | b
//! c`, `command` reads one part of it, `argument` reads an operand with its fields. The variables in scope are kept
//! in a list that is cut back at the end of each block.
//!
//! A template that parses can still fail when it is executed: types, missing keys and the names of templates are
//! checked then. Templates come from tenants, so the nesting is bounded (`MAX_DEPTH`) and the stack cannot overflow.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::str::Chars;

use crate::error::ParseError;
use crate::lex::{Kind, Token};
use crate::node::{Argument, Branch, Command, List, Node, Operand, Pipe};
use crate::number::{self, Number};

/// A parsed template with its definitions.
///
/// The text outside of all definitions is the root. A `define` may stand after its use.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) root: List,
    pub(crate) definitions: BTreeMap<String, List>,
}

/// Nesting of actions and parentheses.
const MAX_DEPTH: usize = 200;

/// Parses tokens, of which the last is `Kind::End`. `is_function` says which names a command may call; Go asks its
/// function map at this point, too, so a template with an unknown function does not parse even if the call is never
/// reached.
pub(crate) fn parse(
    tokens: Vec<Token>,
    is_function: &dyn Fn(&str) -> bool,
) -> Result<Parsed, ParseError> {
    let mut parser = Parser {
        tokens,
        next: 0,
        is_function,
        variables: vec!["$".to_owned()],
        definitions: BTreeMap::new(),
        ranges: 0,
        depth: 0,
    };
    let mut root = List::new();
    loop {
        match parser.peek().kind {
            Kind::End => break,
            Kind::LeftDelimiter if parser.is_definition() => parser.definition()?,
            _ => match parser.text_or_action()? {
                Item::Node(node) => root.push(node),
                Item::End => return parser.error("unexpected {{end}}"),
                Item::Else => return parser.error("unexpected {{else}}"),
            },
        }
    }
    Ok(Parsed {
        root,
        definitions: parser.definitions,
    })
}

/// The tokens, the place among them, and what is in scope there.
struct Parser<'p> {
    tokens: Vec<Token>,
    next: usize,
    is_function: &'p dyn Fn(&str) -> bool,
    variables: Vec<String>,
    definitions: BTreeMap<String, List>,
    ranges: usize,
    depth: usize,
}

/// What stands next in a list of nodes: a node, or what ends the list.
enum Item {
    Node(Node),
    End,
    Else,
}

type Parse<T> = Result<T, ParseError>;

impl Parser<'_> {
    /// The next token. At the end, it is the end token again and again.
    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
    }

    fn peek_word(&mut self) -> &Token {
        self.skip_space();
        self.peek()
    }

    fn take_word(&mut self) -> Token {
        self.skip_space();
        self.take()
    }

    /// Fails at the token that was taken last, whose line Go's message names.
    fn error<T>(&self, message: impl Into<String>) -> Parse<T> {
        let last = self.next.saturating_sub(1).min(self.tokens.len() - 1);
        Err(ParseError {
            at: self.tokens[last].at,
            message: message.into(),
        })
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parse<Token> {
        let token = self.take_word();
        if token.kind == kind {
            Ok(token)
        } else {
            unexpected(&token, context)
        }
    }

    /// Counts a level of nesting. A caller that does not fail counts it back.
    fn deeper(&mut self) -> Parse<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.error(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        Ok(())
    }

    /// True if the action that begins here is a `define`, which is allowed outside of all blocks only.
    fn is_definition(&self) -> bool {
        let mut after = self.tokens[self.next + 1..]
            .iter()
            .skip_while(|token| token.kind == Kind::Space);
        after
            .next()
            .is_some_and(|token| token.kind == Kind::Keyword && token.text == "define")
    }

    /// `{{ define "name" }} … {{ end }}`. The definition sees none of the variables around it but its own `$`.
    fn definition(&mut self) -> Parse<()> {
        const CONTEXT: &str = "define clause";
        self.take();
        self.take_word();
        let token = self.take_word();
        let name = name(&token, CONTEXT)?;
        self.expect(Kind::RightDelimiter, CONTEXT)?;
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (list, end) = self.list()?;
        if !matches!(end, Item::End) {
            return self.error(format!("unexpected {{{{else}}}} in {CONTEXT}"));
        }
        self.variables = variables;
        self.define(name, list)
    }

    /// A definition may replace an empty definition of the same name, and no other.
    ///
    /// This is `Tree.add` of `parse.go`. A text of white space alone counts as empty, so a file of definitions may be
    /// parsed over another.
    fn define(&mut self, name: String, list: List) -> Parse<()> {
        let is_empty = |list: &List| {
            list.iter()
                .all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
        };
        match self.definitions.get(&name) {
            Some(old) if !is_empty(old) && !is_empty(&list) => self.error(format!(
                "template: multiple definition of template {name:?}"
            )),
            Some(old) if !is_empty(old) => Ok(()),
            _ => {
                self.definitions.insert(name, list);
                Ok(())
            }
        }
    }

    /// Everything up to `end` or `else`.
    fn list(&mut self) -> Parse<(List, Item)> {
        self.deeper()?;
        let mut list = List::new();
        loop {
            if self.peek().kind == Kind::End {
                return self.error("unexpected EOF");
            }
            match self.text_or_action()? {
                Item::Node(node) => list.push(node),
                end => {
                    self.depth -= 1;
                    return Ok((list, end));
                }
            }
        }
    }

    fn text_or_action(&mut self) -> Parse<Item> {
        let token = self.take_word();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text.into()))),
            Kind::LeftDelimiter => self.action(),
            _ => unexpected(&token, "input"),
        }
    }

    /// The rest of an action after its left delimiter: a control structure or a pipeline.
    fn action(&mut self) -> Parse<Item> {
        let token = self.peek_word().clone();
        if token.kind != Kind::Keyword {
            let pipe = self.pipeline("command", Kind::RightDelimiter)?;
            return Ok(Item::Node(Node::Action(pipe)));
        }
        self.take();
        let node = match token.text.as_str() {
            "if" => Node::If(self.branch("if")?),
            "with" => Node::With(self.branch("with")?),
            "range" => Node::Range(self.branch("range")?),
            "template" => self.template()?,
            "block" => self.block()?,
            "break" => self.jump(&token, Node::Break)?,
            "continue" => self.jump(&token, Node::Continue)?,
            "end" => {
                self.expect(Kind::RightDelimiter, "end")?;
                return Ok(Item::End);
            }
            "else" => {
                let next = self.peek_word();
                let chained = next.kind == Kind::Keyword && matches!(&*next.text, "if" | "with");
                if !chained {
                    self.expect(Kind::RightDelimiter, "else")?;
                }
                return Ok(Item::Else);
            }
            _ => return unexpected(&token, "command"),
        };
        Ok(Item::Node(node))
    }

    /// `break` and `continue`, which stand inside of a `range` only.
    fn jump(&mut self, token: &Token, node: Node) -> Parse<Node> {
        let next = self.take_word();
        if next.kind != Kind::RightDelimiter {
            return unexpected(&next, &format!("{{{{{}}}}}", token.text));
        }
        if self.ranges == 0 {
            return self.error(format!("{{{{{}}}}} outside {{{{range}}}}", token.text));
        }
        Ok(node)
    }

    /// `if`, `with` and `range` with their `else`. `{{ else if x }}` is an `if` inside of the `else`, which shares
    /// its `end`; the same goes for `else with` after a `with`. Variables that the pipeline declares live up to the
    /// `end`.
    fn branch(&mut self, context: &'static str) -> Parse<Branch> {
        self.deeper()?;
        let scope = self.variables.len();
        let pipe = self.pipeline(context, Kind::RightDelimiter)?;
        self.ranges += usize::from(context == "range");
        let (list, end) = self.list()?;
        self.ranges -= usize::from(context == "range");
        let mut otherwise = List::new();
        if matches!(end, Item::Else) {
            let next = self.peek_word().clone();
            if next.kind == Kind::Keyword && next.text == context {
                self.take();
                let inner = self.branch(context)?;
                otherwise.push(if context == "if" {
                    Node::If(inner)
                } else {
                    Node::With(inner)
                });
            } else if next.kind == Kind::Keyword && matches!(&*next.text, "if" | "with") {
                return unexpected(&next, "else");
            } else {
                let (list, end) = self.list()?;
                if !matches!(end, Item::End) {
                    return self.error("expected end; found {{else}}");
                }
                otherwise = list;
            }
        }
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(Branch {
            pipe,
            list,
            otherwise,
        })
    }

    /// `{{ template "name" }}` or `{{ template "name" pipeline }}`. The name is a constant; whether there is such a
    /// template is seen when the node is executed.
    fn template(&mut self) -> Parse<Node> {
        const CONTEXT: &str = "template clause";
        let token = self.take_word();
        let at = token.at;
        let name = name(&token, CONTEXT)?;
        let pipe = if self.peek_word().kind == Kind::RightDelimiter {
            self.take();
            None
        } else {
            Some(self.pipeline(CONTEXT, Kind::RightDelimiter)?)
        };
        Ok(Node::Template { at, name, pipe })
    }

    /// `block` defines a template and executes it in place.
    fn block(&mut self) -> Parse<Node> {
        const CONTEXT: &str = "block clause";
        let token = self.take_word();
        let at = token.at;
        let name = name(&token, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::RightDelimiter)?;
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (list, end) = self.list()?;
        if !matches!(end, Item::End) {
            return self.error(format!("unexpected {{{{else}}}} in {CONTEXT}"));
        }
        self.variables = variables;
        self.define(name.clone(), list)?;
        Ok(Node::Template {
            at,
            name,
            pipe: Some(pipe),
        })
    }

    /// Reads commands up to the token `end`, which is taken too. `context` names the surrounding structure in
    /// messages.
    fn pipeline(&mut self, context: &str, end: Kind) -> Parse<Pipe> {
        self.deeper()?;
        let mut pipe = Pipe {
            at: self.peek_word().at,
            ..Pipe::default()
        };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.peek_word().clone();
            if token.kind == end {
                self.take();
                check_stages(&pipe, context, &token)?;
                self.depth -= 1;
                return Ok(pipe);
            }
            match token.kind {
                Kind::Bool
                | Kind::Character
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParenthesis => {
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return unexpected(&token, context),
            }
        }
    }

    /// `$x :=`, `$x =`, and `$i, $x :=` of a range.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Parse<()> {
        loop {
            let start = self.next;
            let variable = self.peek_word().clone();
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            self.take();
            let operator = self.peek_word().clone();
            match operator.kind {
                Kind::Assign | Kind::Declare => {
                    self.take();
                    pipe.assigns = operator.kind == Kind::Assign;
                    self.declare(pipe, variable.text);
                    return Ok(());
                }
                Kind::Comma => {
                    self.take();
                    self.declare(pipe, variable.text);
                    if context != "range" || pipe.variables.len() > 1 {
                        return self.error(format!("too many declarations in {context}"));
                    }
                    let next = self.peek_word().kind;
                    if !matches!(
                        next,
                        Kind::Variable | Kind::RightDelimiter | Kind::RightParenthesis
                    ) {
                        return self.error("range can only initialize variables");
                    }
                }
                _ => {
                    // It was an argument.
                    self.next = start;
                    return Ok(());
                }
            }
        }
    }

    /// The variable is in scope from here on, even in the pipeline that gives it its value.
    fn declare(&mut self, pipe: &mut Pipe, name: String) {
        self.variables.push(name.clone());
        pipe.variables.push(name);
    }

    /// A function or a value with its arguments, up to the next `|` or the end of the pipeline.
    fn command(&mut self) -> Parse<Command> {
        let mut arguments = Vec::new();
        loop {
            self.skip_space();
            arguments.extend(self.argument()?);
            let token = self.peek().clone();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelimiter | Kind::RightParenthesis => break,
                Kind::Pipe => {
                    self.take();
                    break;
                }
                _ => return unexpected(&token, "operand"),
            }
        }
        if arguments.is_empty() {
            return self.error("empty command");
        }
        Ok(Command { arguments })
    }

    /// An operand with the fields that follow it.
    fn argument(&mut self) -> Parse<Option<Argument>> {
        let Some(term) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        let at = self.peek().at;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(field_name(&self.take()));
        }
        let operand = match term.operand {
            Operand::Field(mut names) => {
                names.extend(fields);
                Operand::Field(names)
            }
            Operand::Variable(mut names) => {
                names.extend(fields);
                Operand::Variable(names)
            }
            Operand::Bool(_)
            | Operand::String(..)
            | Operand::Number(..)
            | Operand::Nil
            | Operand::Dot => {
                return self.error(format!(
                    "unexpected . after term {:?}",
                    term.operand.to_string()
                ));
            }
            Operand::Identifier(_) | Operand::Pipe(_) | Operand::Chain(..) => {
                Operand::Chain(Box::new(term), fields)
            }
        };
        Ok(Some(Argument { at, operand }))
    }

    /// An operand without the fields after it; nothing if the next token begins none. A function's name is checked
    /// here.
    fn term(&mut self) -> Parse<Option<Argument>> {
        let token = self.peek_word().clone();
        let operand = match token.kind {
            Kind::Identifier => {
                if !(self.is_function)(&token.text) {
                    self.take();
                    return self.error(format!("function {:?} not defined", token.text));
                }
                Operand::Identifier(token.text.clone())
            }
            Kind::Dot => Operand::Dot,
            Kind::Nil => Operand::Nil,
            Kind::Bool => Operand::Bool(token.text == "true"),
            Kind::Field => Operand::Field(vec![field_name(&token)]),
            Kind::Variable => {
                if !self.variables.contains(&token.text) {
                    self.take();
                    return self.error(format!("undefined variable {:?}", token.text));
                }
                Operand::Variable(vec![token.text.clone()])
            }
            Kind::Number => match number::parse(&token.text) {
                Some(number) => Operand::Number(number, token.text.clone()),
                None => return self.error(format!("bad number syntax: {:?}", token.text)),
            },
            Kind::Character => Operand::Number(self.character(&token)?, token.text.clone()),
            Kind::String | Kind::RawString => Operand::String(string(&token)?, token.text.clone()),
            Kind::LeftParenthesis => {
                self.take();
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParenthesis)?;
                return Ok(Some(Argument {
                    at: pipe.at,
                    operand: Operand::Pipe(Box::new(pipe)),
                }));
            }
            _ => return Ok(None),
        };
        self.take();
        Ok(Some(Argument {
            at: token.at,
            operand,
        }))
    }

    /// The number of a character constant: exactly one character after its escapes are resolved.
    fn character(&self, token: &Token) -> Parse<Number> {
        let bytes = unquote(without_quotes(&token.text), '\'');
        let text = bytes
            .as_deref()
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        let mut characters = text.unwrap_or_default().chars();
        match (characters.next(), characters.next()) {
            (Some(character), None) => Ok(number::of_character(character)),
            _ => self.error(format!("malformed character constant: {}", token.text)),
        }
    }
}

/// The name in a token `.name`.
fn field_name(token: &Token) -> String {
    let name = token.text.strip_prefix('.');
    name.unwrap_or(&token.text).to_owned()
}

/// The text of a quoted token without its first and its last letter, which are the quotes.
fn without_quotes(text: &str) -> &str {
    let mut letters = text.chars();
    letters.next();
    letters.next_back();
    letters.as_str()
}

/// The constant name of a template.
fn name(token: &Token, context: &str) -> Parse<String> {
    match token.kind {
        Kind::String | Kind::RawString => {
            let bytes = string(token)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        _ => unexpected(token, context),
    }
}

fn unexpected<T>(token: &Token, context: &str) -> Parse<T> {
    Err(ParseError {
        at: token.at,
        message: format!("unexpected {} in {context}", show(token)),
    })
}

/// The bytes of a quoted or raw string. Bytes, since `"\xff"` is no UTF-8. A raw string loses its carriage returns,
/// as in Go.
fn string(token: &Token) -> Parse<Rc<[u8]>> {
    let inner = without_quotes(&token.text);
    if token.kind == Kind::RawString {
        return Ok(inner.replace('\r', "").into_bytes().into());
    }
    match unquote(inner, '"') {
        Some(bytes) => Ok(bytes.into()),
        None => Err(ParseError {
            at: token.at,
            message: "invalid syntax".to_owned(),
        }),
    }
}

/// Only the first command of a pipeline can be a plain value.
///
/// The rule is `checkPipeline` of `parse.go`: a value cannot take the result of the command before it.
fn check_stages(pipe: &Pipe, context: &str, end: &Token) -> Parse<()> {
    let fail = |message: String| {
        Err(ParseError {
            at: end.at,
            message,
        })
    };
    if pipe.commands.is_empty() {
        return fail(format!("missing value for {context}"));
    }
    for (index, command) in pipe.commands.iter().enumerate().skip(1) {
        let first = &command.arguments[0].operand;
        let is_value = matches!(
            first,
            Operand::Bool(_)
                | Operand::Dot
                | Operand::Nil
                | Operand::Number(..)
                | Operand::String(..)
        );
        if is_value {
            return fail(format!(
                "non executable command in pipeline stage {}",
                index + 1
            ));
        }
    }
    Ok(())
}

/// The bytes of a quoted text, or nothing if Go has no such escape.
///
/// The escapes are those of Go's `strconv.Unquote`. `quote` is the quotation mark around the text: only this one may
/// be escaped. An octal escape has three digits, `\x` two, `\u` four and `\U` eight.
fn unquote(inner: &str, quote: char) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.next()?;
        match escape {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            '\\' => bytes.push(b'\\'),
            _ if escape == quote => bytes.push(u8::try_from(quote).ok()?),
            'x' => bytes.push(u8::try_from(code(&mut rest, 2, 16)?).ok()?),
            'u' | 'U' => {
                let digits = if escape == 'u' { 4 } else { 8 };
                let character = char::from_u32(code(&mut rest, digits, 16)?)?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            '0'..='7' => {
                let first = escape.to_digit(8)?;
                let value = first * 64 + code(&mut rest, 2, 8)?;
                bytes.push(u8::try_from(value).ok()?);
            }
            _ => return None,
        }
    }
    Some(bytes)
}

/// The number of exactly so many digits, which are taken from the start of `rest`.
fn code(rest: &mut Chars<'_>, digits: usize, base: u32) -> Option<u32> {
    let (text, after) = rest.as_str().split_at_checked(digits)?;
    *rest = after.chars();
    text.chars().all(|c| c.is_digit(base)).then_some(())?;
    u32::from_str_radix(text, base).ok()
}

/// A token in a message.
///
/// As Go's `item.String` shows it: at most ten characters, keywords in angle brackets.
fn show(token: &Token) -> String {
    match token.kind {
        Kind::End => "EOF".to_owned(),
        Kind::Keyword => format!("<{}>", token.text),
        _ if token.text.len() > 10 => {
            format!("{:?}...", token.text.chars().take(10).collect::<String>())
        }
        _ => format!("{:?}", token.text),
    }
}

//! Pure: text to tokens: what stands outside of `{{ }}` as it is, what stands inside word by word.

use crate::{Failure, failure};

/// A token and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text outside of actions.
    Text(String),
    /// The start of an action.
    Open,
    /// The end of an action.
    Close,
    /// A keyword, function, `true`, `false` or `nil`.
    Word(String),
    /// `.a.b`, without the first dot; empty for the dot alone.
    Field(Vec<String>),
    /// `$x`, with the fields after it; `$` alone has an empty name.
    Variable(String, Vec<String>),
    /// A number, as written.
    Number(String),
    /// A string, escapes undone.
    Quoted(String),
    /// `|`
    Pipe,
    /// `(`
    Left,
    /// `)`, and the fields that are taken of what stands before it.
    Right(Vec<String>),
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
}

/// Cuts a template into tokens.
pub(crate) fn lex(template: &str) -> Result<Vec<Token>, Failure> {
    let mut tokens = Vec::new();
    let (mut rest, mut line, mut trim) = (template, 1, false);
    while let Some(start) = rest.find("{{") {
        let (text, after) = rest.split_at(start);
        let after = &after[2..];
        let trims_left = after
            .strip_prefix('-')
            .is_some_and(|inner| inner.starts_with(char::is_whitespace));
        push_text(&mut tokens, text, line, trim, trims_left);
        line += text.matches('\n').count();
        let body = if trims_left {
            after[1..].trim_start_matches(' ')
        } else {
            after
        };
        let (end, trims_right) = action(&mut tokens, body, &mut line)?;
        trim = trims_right;
        rest = end;
    }
    push_text(&mut tokens, rest, line, trim, false);
    Ok(tokens)
}

fn push_text(tokens: &mut Vec<Token>, text: &str, line: usize, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        tokens.push(Token {
            kind: Kind::Text(text.to_owned()),
            line,
        });
    }
}

/// One action up to its end; what stands after it, and whether space after it goes.
fn action<'t>(
    tokens: &mut Vec<Token>,
    body: &'t str,
    line: &mut usize,
) -> Result<(&'t str, bool), Failure> {
    if let Some(comment) = body.trim_start().strip_prefix("/*") {
        let Some((inside, after)) = comment.split_once("*/") else {
            return failure(*line, "unclosed comment");
        };
        *line += inside.matches('\n').count();
        return close(after.trim_start()).ok_or_else(|| Failure {
            line: *line,
            message: "comment ends before closing delimiter".to_owned(),
        });
    }
    tokens.push(Token {
        kind: Kind::Open,
        line: *line,
    });
    let mut rest = body;
    loop {
        let trimmed = rest.trim_start();
        *line += rest[..rest.len() - trimmed.len()].matches('\n').count();
        let spaced = trimmed.len() < rest.len();
        rest = trimmed;
        let ends = close(rest).filter(|(_, trims)| !trims || spaced);
        if let Some(end) = ends {
            tokens.push(Token {
                kind: Kind::Close,
                line: *line,
            });
            return Ok(end);
        }
        let (kind, length) = token(rest, *line)?;
        *line += rest[..length].matches('\n').count();
        tokens.push(Token { kind, line: *line });
        rest = &rest[length..];
    }
}

fn close(rest: &str) -> Option<(&str, bool)> {
    match rest.strip_prefix("-}}") {
        Some(after) => Some((after, true)),
        None => rest.strip_prefix("}}").map(|after| (after, false)),
    }
}

fn token(rest: &str, line: usize) -> Result<(Kind, usize), Failure> {
    let Some(first) = rest.chars().next() else {
        return failure(line, "unclosed action");
    };
    match first {
        '|' => Ok((Kind::Pipe, 1)),
        '(' => Ok((Kind::Left, 1)),
        ')' => {
            let (fields, length) = fields(&rest[1..]);
            Ok((Kind::Right(fields), 1 + length))
        }
        ',' => Ok((Kind::Comma, 1)),
        ':' if rest.starts_with(":=") => Ok((Kind::Declare, 2)),
        '=' => Ok((Kind::Assign, 1)),
        '.' => {
            let (fields, length) = fields(rest);
            Ok((Kind::Field(fields), length.max(1)))
        }
        '$' => {
            let name = word(&rest[1..]);
            let (fields, length) = fields(&rest[1 + name.len()..]);
            Ok((
                Kind::Variable(name.to_owned(), fields),
                1 + name.len() + length,
            ))
        }
        '"' => quoted(rest, line),
        '`' => match rest[1..].find('`') {
            Some(end) => Ok((Kind::Quoted(rest[1..=end].to_owned()), end + 2)),
            None => failure(line, "unterminated raw quoted string"),
        },
        '0'..='9' | '-' | '+' => {
            let digits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
            let length = 1 + rest[1..].find(|c| !digits(c)).unwrap_or(rest.len() - 1);
            Ok((Kind::Number(rest[..length].to_owned()), length))
        }
        _ if first.is_alphabetic() || first == '_' => {
            let word = word(rest);
            Ok((Kind::Word(word.to_owned()), word.len()))
        }
        _ => failure(line, format!("unexpected character `{first}` in an action")),
    }
}

fn word(rest: &str) -> &str {
    let end = rest
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(rest.len());
    &rest[..end]
}

/// `.a.b`, and how long it is.
fn fields(rest: &str) -> (Vec<String>, usize) {
    let (mut fields, mut length) = (Vec::new(), 0);
    while let Some(after) = rest[length..].strip_prefix('.') {
        let name = word(after);
        if name.is_empty() {
            break;
        }
        fields.push(name.to_owned());
        length += 1 + name.len();
    }
    (fields, length)
}

fn quoted(rest: &str, line: usize) -> Result<(Kind, usize), Failure> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((Kind::Quoted(text), at + 1)),
            '\n' => break,
            '\\' => match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(escaped @ ('"' | '\\')) => text.push(escaped),
                _ => return failure(line, "this escape in a quoted string is not supported yet"),
            },
            _ => text.push(character),
        }
    }
    failure(line, "unterminated quoted string")
}

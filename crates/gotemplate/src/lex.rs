//! Pure: template text to tokens, with trim markers, comments and Go's literals.
//!
//! The rules are those of `text/template/parse/lex.go`. The text is read once, from left to right: text up to the
//! next left delimiter is one token, then the tokens of the action follow up to the right delimiter. A comment makes
//! no token at all. All tokens are made before the parser begins, so a mistake in the last action is reported
//! although an action before it does not parse; Go, which lexes while it parses, reports the first mistake of either
//! kind.
//!
//! Trim markers are `{{- ` and ` -}}`: a `-` needs a blank on its inner side, or it is the sign of a number.

use crate::error::ParseError;

/// One token and where it stands (byte offset in the template).
///
/// A space is a token too, because `f .x` is a call with an argument and `f.x` is a field of the result of `f`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// As it was written.
    pub(crate) text: String,
    pub(crate) at: usize,
}

/// The kind of a token. Keywords are identifiers with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text outside of actions.
    Text,
    /// `{{`, or what the template has in its place. The trim marker is not a part of it.
    LeftDelimiter,
    /// `}}`, without its trim marker.
    RightDelimiter,
    /// White space within an action, which separates arguments.
    Space,
    /// `name`
    Identifier,
    /// `.name`
    Field,
    /// `$` or `$name`
    Variable,
    Dot,
    Nil,
    /// `true` or `false`
    Bool,
    /// A number, or `'c'`.
    Number,
    /// `"text"`, escapes still in it.
    String,
    /// `` `text` ``
    RawString,
    /// `'c'`, with its quotes and escapes. It is a number to the parser.
    Character,
    Pipe,
    Comma,
    Assign,
    Declare,
    LeftParenthesis,
    RightParenthesis,
    /// A word of `KEYWORDS`, which begins or ends a control structure.
    Keyword,
    /// The end of the template. It is always the last token, so that a parser can look ahead without a check.
    End,
}

const KEYWORDS: [&str; 10] = [
    "block", "break", "continue", "define", "else", "end", "if", "range", "template", "with",
];
const COMMENT: (&str, &str) = ("/*", "*/");
/// White space as Go's lexer trims it.
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits a template into tokens, the last of which is `End`.
///
/// Delimiters must not be empty. The errors are Go's: an action, a comment or a quoted text that nothing closes, a
/// letter that no token begins with, a number that is none, and parentheses that do not match within an action.
pub(crate) fn lex(text: &str, delimiters: (&str, &str)) -> Result<Vec<Token>, ParseError> {
    let (left, right) = delimiters;
    let mut lexer = Lexer {
        text,
        at: 0,
        left,
        right,
        tokens: Vec::new(),
        parentheses: 0,
    };
    while lexer.text_then_action()? {}
    lexer.push(Kind::End, lexer.at, lexer.at);
    Ok(lexer.tokens)
}

/// The state of the lexer: the place in the text, and how many parentheses of the current action are open.
struct Lexer<'t> {
    text: &'t str,
    at: usize,
    left: &'t str,
    right: &'t str,
    tokens: Vec<Token>,
    parentheses: usize,
}

/// A letter of a name: an underscore, or a letter or digit of any script, as `isAlphaNumeric` of `lex.go`.
fn is_alphanumeric(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

impl<'t> Lexer<'t> {
    /// The text that is left. `at` moves by whole letters, so it never stands inside a letter.
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The text between two places, each of which `at` has stood on or passed by whole letters.
    fn between(&self, from: usize, to: usize) -> &'t str {
        self.text.get(from..to).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn push(&mut self, kind: Kind, from: usize, to: usize) {
        self.tokens.push(Token {
            kind,
            text: self.between(from, to).to_owned(),
            at: from,
        });
    }

    /// Text up to the next action, and the action. False at the end.
    fn text_then_action(&mut self) -> Result<bool, ParseError> {
        let Some((text, inside)) = self.rest().split_once(self.left) else {
            if !self.rest().is_empty() {
                self.push(Kind::Text, self.at, self.text.len());
            }
            self.at = self.text.len();
            return Ok(false);
        };
        let open = self.at + text.len();
        let trims = has_left_trim(inside);
        let kept = if trims {
            text.trim_end_matches(SPACES)
        } else {
            text
        };
        if !kept.is_empty() {
            self.push(Kind::Text, self.at, self.at + kept.len());
        }
        self.at = open + self.left.len() + if trims { 2 } else { 0 };
        if self.rest().starts_with(COMMENT.0) {
            self.comment(open)?;
        } else {
            self.push(Kind::LeftDelimiter, open, self.at);
            self.parentheses = 0;
            while self.inside_action()? {}
        }
        Ok(true)
    }

    /// Skips a comment, of which `/*` stands at the current place. It must close the action: `{{/* a */ b}}` is an
    /// error.
    fn comment(&mut self, open: usize) -> Result<(), ParseError> {
        let Some(end) = self.rest().find(COMMENT.1) else {
            return error(open, "unclosed comment");
        };
        self.at += end + COMMENT.1.len();
        match self.right_delimiter() {
            None => error(self.at, "comment ends before closing delimiter"),
            Some(trims) => {
                self.close(trims);
                Ok(())
            }
        }
    }

    /// Whether the right delimiter stands here, and whether it trims.
    fn right_delimiter(&self) -> Option<bool> {
        let rest = self.rest();
        let trimmed = rest
            .strip_prefix(SPACES)
            .and_then(|rest| rest.strip_prefix('-'));
        if trimmed.is_some_and(|rest| rest.starts_with(self.right)) {
            return Some(true);
        }
        rest.starts_with(self.right).then_some(false)
    }

    /// Passes the right delimiter and, if it trims, its marker and the white space after it.
    fn close(&mut self, trims: bool) {
        self.at += self.right.len() + if trims { 2 } else { 0 };
        if trims {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(SPACES).len();
        }
    }

    /// One token of an action. False after the right delimiter.
    fn inside_action(&mut self) -> Result<bool, ParseError> {
        if let Some(trims) = self.right_delimiter() {
            if self.parentheses > 0 {
                return error(self.at, "unclosed left paren");
            }
            let from = self.at + if trims { 2 } else { 0 };
            self.push(Kind::RightDelimiter, from, from + self.right.len());
            self.close(trims);
            return Ok(false);
        }
        let Some(character) = self.peek() else {
            return error(self.at, "unclosed action");
        };
        let from = self.at;
        match character {
            ' ' | '\t' | '\r' | '\n' => self.space(),
            '=' => self.symbol(Kind::Assign, 1),
            ':' if self.rest().starts_with(":=") => self.symbol(Kind::Declare, 2),
            ':' => return error(from, "expected :="),
            '|' => self.symbol(Kind::Pipe, 1),
            ',' => self.symbol(Kind::Comma, 1),
            '"' => self.quoted('"', Kind::String)?,
            '\'' => self.quoted('\'', Kind::Character)?,
            '`' => self.raw()?,
            '$' => {
                self.at += 1;
                self.word(from, Kind::Variable)?;
            }
            '.' if begins_fraction(self.rest()) => self.number()?,
            '.' => {
                self.at += 1;
                self.word(from, Kind::Field)?;
            }
            '+' | '-' | '0'..='9' => self.number()?,
            '(' => {
                self.parentheses += 1;
                self.symbol(Kind::LeftParenthesis, 1);
            }
            ')' => {
                if self.parentheses == 0 {
                    return error(from, "unexpected right paren");
                }
                self.parentheses -= 1;
                self.symbol(Kind::RightParenthesis, 1);
            }
            _ if is_alphanumeric(character) => self.word(from, Kind::Identifier)?,
            _ => {
                return error(from, format!("unexpected {character:?} in action"));
            }
        }
        Ok(true)
    }

    fn symbol(&mut self, kind: Kind, length: usize) {
        self.push(kind, self.at, self.at + length);
        self.at += length;
    }

    /// White space; a trim marker that follows keeps a space of its own.
    fn space(&mut self) {
        let from = self.at;
        while self.peek().is_some_and(|c| SPACES.contains(&c)) && self.right_delimiter().is_none() {
            self.at += 1;
        }
        self.push(Kind::Space, from, self.at);
    }

    /// A text in quotes. A backslash takes the next character along, whatever it is, but a line break ends the text
    /// without a quote. Escapes are checked by the parser.
    fn quoted(&mut self, quote: char, kind: Kind) -> Result<(), ParseError> {
        let from = self.at;
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((offset, character)) = characters.next() {
            match character {
                '\\' if characters.next().is_some_and(|(_, next)| next != '\n') => {}
                '\\' | '\n' => break,
                _ if character == quote => {
                    self.at = from + offset + 1;
                    self.push(kind, from, self.at);
                    return Ok(());
                }
                _ => {}
            }
        }
        let what = if kind == Kind::String {
            "unterminated quoted string"
        } else {
            "unterminated character constant"
        };
        error(from, what)
    }

    /// A text in backquotes, in which everything stands for itself, line breaks too.
    fn raw(&mut self) -> Result<(), ParseError> {
        let from = self.at;
        let after = self.rest().strip_prefix('`').unwrap_or_default();
        let Some((inner, _)) = after.split_once('`') else {
            return error(from, "unterminated raw quoted string");
        };
        self.at = from + "`".len() + inner.len() + "`".len();
        self.push(Kind::RawString, from, self.at);
        Ok(())
    }

    /// The rest of an identifier, a field or a variable.
    fn word(&mut self, from: usize, kind: Kind) -> Result<(), ParseError> {
        let rest = self.rest();
        let length = rest
            .find(|c: char| !is_alphanumeric(c))
            .unwrap_or(rest.len());
        self.at += length;
        if !self.at_terminator() {
            let bad = self.peek().unwrap_or_default();
            return error(self.at, format!("bad character {}", unicode(bad)));
        }
        let word = self.between(from, self.at);
        let kind = match kind {
            Kind::Identifier if KEYWORDS.contains(&word) => Kind::Keyword,
            Kind::Identifier if matches!(word, "true" | "false") => Kind::Bool,
            Kind::Identifier if word == "nil" => Kind::Nil,
            Kind::Field if word == "." => Kind::Dot,
            kind => kind,
        };
        self.push(kind, from, self.at);
        Ok(())
    }

    /// Whether the next character may follow a word.
    ///
    /// Go lets a delimiter end a word too, so that `{{.x}}` needs no space.
    fn at_terminator(&self) -> bool {
        match self.peek() {
            None => true,
            Some(c) => {
                SPACES.contains(&c)
                    || matches!(c, '.' | ',' | '|' | ':' | ')' | '(')
                    || self.rest().starts_with(self.right)
            }
        }
    }

    /// A number. Everything that could belong to a number is taken first and checked then, as `scanNumber` and
    /// `lexNumber` of `lex.go` do, so the message shows `1x` and not `1`.
    fn number(&mut self) -> Result<(), ParseError> {
        let from = self.at;
        let rest = self.rest();
        let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        let mut length = rest.len() - unsigned.len();
        let bytes = rest.as_bytes();
        let is_hex = unsigned.starts_with("0x") || unsigned.starts_with("0X");
        while let Some(&byte) = bytes.get(length) {
            let after_exponent = length > 0
                && (matches!(bytes[length - 1], b'p' | b'P')
                    || (!is_hex && matches!(bytes[length - 1], b'e' | b'E')));
            let fits = byte.is_ascii_alphanumeric()
                || matches!(byte, b'_' | b'.')
                || (after_exponent && matches!(byte, b'+' | b'-'));
            if !fits {
                break;
            }
            length += 1;
        }
        self.at += length;
        let number = self.between(from, self.at);
        if !is_number(number) || self.peek().is_some_and(is_alphanumeric) {
            return error(from, format!("bad number syntax: {number:?}"));
        }
        self.push(Kind::Number, from, self.at);
        Ok(())
    }
}

/// `.5` is a number, while `.name` is a field.
fn begins_fraction(text: &str) -> bool {
    text.strip_prefix('.')
        .is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))
}

/// True if the left delimiter has a trim marker: a `-` and a blank. `{{-1}}` is the number -1.
fn has_left_trim(inside: &str) -> bool {
    inside
        .strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(SPACES))
}

/// `U+002D '-'`, as Go names a character.
fn unicode(character: char) -> String {
    format!("U+{:04X} {character:?}", u32::from(character))
}

fn is_number(text: &str) -> bool {
    crate::number::parse(text).is_some()
}

fn error<T>(at: usize, message: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError {
        at,
        message: message.into(),
    })
}

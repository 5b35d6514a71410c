//! Pure: `postBuild`: puts variables into the text of what was built: `${name}`, with defaults, cuts and replacements.
//!
//! The grammar is that of `github.com/fluxcd/pkg/envsubst`. A text is scanned once, from left to right, and values are not
//! scanned again. `$$` stands for one dollar.

use std::collections::{BTreeMap, BTreeSet};

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// Why variables cannot be put into a text. The messages name variables and never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubstituteError {
    /// Variables without a value or a default, all of them.
    #[error("{}", missing(.0))]
    Missing(BTreeSet<String>),
    /// An expression that cannot be evaluated: its beginning, and the reason.
    #[error("`{0}`: {1}")]
    Grammar(String, GrammarError),
    /// The text would become larger than 8 MiB.
    #[error("`${{…}}`: the text becomes too long")]
    TooLong,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// Expressions in arguments of expressions, 32 levels deep.
    #[error("expressions within expressions go too deep")]
    TooDeep,
    /// `${` without a name after it.
    #[error("the name of a variable is missing, or is none; write $${{ for a plain ${{")]
    NoName,
    /// A character that is no operator after the name.
    #[error("a closing brace is missing after the name; write $${{ for a plain ${{")]
    NoOperator,
    /// The end of the text, or a character after the argument.
    #[error("a closing brace is missing; write $${{ for a plain ${{")]
    NotClosed,
    /// `${name:offset:length}` with a length below zero.
    #[error("a length cannot be negative")]
    NegativeLength,
    /// `${name/pattern` without a replacement.
    #[error("a replacement needs a second `/`")]
    NoReplacement,
}

fn missing(names: &BTreeSet<String>) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let are = if names.len() == 1 {
        "variable"
    } else {
        "variables"
    };
    format!(
        "no value for {are} {}; give it one in `postBuild`, or a default: ${{name:-default}}",
        names.join(", ")
    )
}

/// How deep expressions can be nested.
const MAX_DEPTH: usize = 32;
/// The longest result, in bytes.
const MAX_TEXT: usize = 8 << 20;

/// Puts the variables into a text. If `strict`, variables without a value are an error; otherwise they are empty.
///
/// # Errors
/// An expression that cannot be evaluated, or all variables without a value.
pub fn substitute(
    text: &str,
    variables: &Variables,
    strict: bool,
) -> Result<String, SubstituteError> {
    let mut scan = Scan {
        text,
        at: 0,
        variables,
        missing: BTreeSet::new(),
    };
    let mut out = String::with_capacity(text.len());
    while let Some(dollar) = scan.rest().find('$') {
        out.push_str(&scan.rest()[..dollar]);
        scan.at += dollar;
        if scan.take("$$") {
            out.push('$');
        } else if scan.rest().starts_with("${") {
            out.push_str(&scan.expression(MAX_DEPTH)?);
        } else {
            scan.at += 1;
            out.push('$');
        }
        if out.len() > MAX_TEXT {
            return Err(SubstituteError::TooLong);
        }
    }
    out.push_str(scan.rest());
    if strict && !scan.missing.is_empty() {
        return Err(SubstituteError::Missing(scan.missing));
    }
    Ok(out)
}

/// True for a name that a variable can have: letters, digits and `_`, without a digit at the beginning.
pub fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    let first = letters.next();
    first.is_some_and(|first| first == '_' || first.is_ascii_alphabetic())
        && letters.all(|letter| letter == '_' || letter.is_ascii_alphanumeric())
}

/// A position in a text, and what was found before it.
struct Scan<'t> {
    text: &'t str,
    at: usize,
    variables: &'t Variables,
    missing: BTreeSet<String>,
}

/// A character that ends an argument.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Brace,
    Colon,
    Slash,
}

impl<'t> Scan<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn error<T>(&self, start: usize, reason: GrammarError) -> Result<T, SubstituteError> {
        let shown: String = self.text[start..].chars().take(24).collect();
        let shown = shown.split('\n').next().unwrap_or_default().to_owned();
        Err(SubstituteError::Grammar(shown, reason))
    }

    /// Evaluates an expression, from its `${` to its `}`.
    fn expression(&mut self, depth: usize) -> Result<String, SubstituteError> {
        let start = self.at;
        if depth == 0 {
            return self.error(start, GrammarError::TooDeep);
        }
        self.at += 2;
        let is_length = self.take("#");
        let name = self.name();
        if name.is_empty() {
            return self.error(start, GrammarError::NoName);
        }
        let value = self.variables.get(name);
        if is_length {
            self.close(start)?;
            return Ok(self.needed(name, value).len().to_string());
        }
        let result = match self.default(depth)? {
            Some(default) => {
                let given = value.filter(|value| !value.is_empty());
                given.cloned().unwrap_or(default)
            }
            None => {
                let value = self.needed(name, value);
                self.operation(value, start, depth)?
            }
        };
        self.close(start)?;
        Ok(result)
    }

    /// The default after `:-` and its kin, if there is one. Flux treats all of them alike.
    fn default(&mut self, depth: usize) -> Result<Option<String>, SubstituteError> {
        let operators = [":=", ":-", ":+", ":?", "="];
        if operators.into_iter().any(|operator| self.take(operator)) {
            return self.argument(&[End::Brace], depth).map(Some);
        }
        Ok(None)
    }

    /// Changes a value as the operator after the name says.
    fn operation(
        &mut self,
        value: &str,
        start: usize,
        depth: usize,
    ) -> Result<String, SubstituteError> {
        if self.rest().starts_with('}') {
            return Ok(value.to_owned());
        }
        if self.rest().starts_with('/') {
            return self.replace(value, start, depth);
        }
        // An operator comes before the shorter one that it begins with.
        let operators = ["^^", "^", ",,", ",", ":", "##", "#", "%%", "%"];
        let operator = operators.into_iter().find(|operator| self.take(operator));
        let (side, length) = match operator {
            Some("^^") => return Ok(value.to_uppercase()),
            Some("^") => return Ok(first(value, |letter| letter.to_uppercase().collect())),
            Some(",,") => return Ok(value.to_lowercase()),
            Some(",") => return Ok(first(value, |letter| letter.to_lowercase().collect())),
            Some(":") => return self.cut(value, start, depth),
            Some("##") => (Side::Front, Length::Longest),
            Some("#") => (Side::Front, Length::Shortest),
            Some("%%") => (Side::Back, Length::Longest),
            Some("%") => (Side::Back, Length::Shortest),
            _ => return self.error(start, GrammarError::NoOperator),
        };
        let pattern = self.argument(&[End::Brace], depth)?;
        Ok(trim(value, &pattern, side, length))
    }

    /// The value of a variable; empty, and recorded as missing, if there is none.
    fn needed(&mut self, name: &str, value: Option<&'t String>) -> &'t str {
        match value {
            Some(value) => value,
            None => {
                self.missing.insert(name.to_owned());
                ""
            }
        }
    }

    fn name(&mut self) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
        let name = &rest[..end.unwrap_or(rest.len())];
        self.at += name.len();
        name
    }

    fn close(&mut self, start: usize) -> Result<(), SubstituteError> {
        if self.take("}") {
            Ok(())
        } else {
            self.error(start, GrammarError::NotClosed)
        }
    }

    /// Text and expressions up to one of the ends, which is not taken.
    fn argument(&mut self, ends: &[End], depth: usize) -> Result<String, SubstituteError> {
        self.argument_with(ends, &[], depth)
    }

    /// The argument of a replacement, in which `\/` and `\\` stand for `/` and `\`.
    fn escaped(&mut self, ends: &[End], depth: usize) -> Result<String, SubstituteError> {
        self.argument_with(ends, &["\\/", "\\\\"], depth)
    }

    fn argument_with(
        &mut self,
        ends: &[End],
        escapes: &[&str],
        depth: usize,
    ) -> Result<String, SubstituteError> {
        let mut out = String::new();
        while let Some(letter) = self.rest().chars().next() {
            if self.rest().starts_with("${") {
                out.push_str(&self.expression(depth - 1)?);
                continue;
            }
            let end = match letter {
                '}' => Some(End::Brace),
                ':' => Some(End::Colon),
                '/' => Some(End::Slash),
                _ => None,
            };
            if end.is_some_and(|end| ends.contains(&end)) {
                break;
            }
            if escapes.iter().any(|escape| self.take(escape)) {
                out.push_str(&self.text[self.at - 1..self.at]);
                continue;
            }
            out.push(letter);
            self.at += letter.len_utf8();
        }
        Ok(out)
    }

    /// `${v:offset:length}`, in bytes.
    fn cut(&mut self, value: &str, start: usize, depth: usize) -> Result<String, SubstituteError> {
        let ends = [End::Brace, End::Colon];
        let offset = self.argument(&ends, depth)?;
        let length = if self.take(":") {
            Some(self.argument(&[End::Brace], depth)?)
        } else {
            None
        };
        let Ok(offset) = offset.parse::<i64>() else {
            return Ok(value.to_owned());
        };
        let bytes = value.as_bytes();
        let from = if offset < 0 {
            let back = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
            bytes.len().saturating_sub(back)
        } else {
            usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(bytes.len())
        };
        let rest = &bytes[from..];
        let kept = match length.map(|length| length.parse::<i64>()) {
            None => rest,
            Some(Err(_)) => return Ok(value.to_owned()),
            Some(Ok(length)) => match usize::try_from(length) {
                Ok(length) => &rest[..length.min(rest.len())],
                Err(_) => return self.error(start, GrammarError::NegativeLength),
            },
        };
        Ok(String::from_utf8_lossy(kept).into_owned())
    }

    /// `${v/a/b}`, `${v//a/b}`, `${v/#a/b}`, `${v/%a/b}`.
    fn replace(
        &mut self,
        value: &str,
        start: usize,
        depth: usize,
    ) -> Result<String, SubstituteError> {
        let operator = ["//", "/#", "/%", "/"]
            .into_iter()
            .find(|operator| self.take(operator))
            .unwrap_or("/");
        let pattern = self.escaped(&[End::Slash, End::Brace], depth)?;
        if !self.take("/") {
            return self.error(start, GrammarError::NoReplacement);
        }
        let new = self.escaped(&[End::Brace], depth)?;
        Ok(match operator {
            "//" => value.replace(&pattern, &new),
            "/#" | "/%" if new.is_empty() => value.to_owned(),
            "/#" => match value.strip_prefix(&*pattern) {
                Some(rest) => format!("{new}{rest}"),
                None => value.to_owned(),
            },
            "/%" => match value.strip_suffix(&*pattern) {
                Some(rest) => format!("{rest}{new}"),
                None => value.to_owned(),
            },
            _ => value.replacen(&*pattern, &new, 1),
        })
    }
}

/// Changes the first letter.
fn first(value: &str, change: impl Fn(char) -> String) -> String {
    let mut letters = value.chars();
    match letters.next() {
        Some(letter) => change(letter) + letters.as_str(),
        None => String::new(),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Front,
    Back,
}

#[derive(Clone, Copy, PartialEq)]
enum Length {
    Shortest,
    Longest,
}

/// Takes off the shortest or longest part, of one character at least, that matches the pattern.
fn trim(value: &str, pattern: &str, side: Side, length: Length) -> String {
    let ordered = |text: &str| -> Vec<char> {
        match side {
            Side::Front => text.chars().collect(),
            // envsubst reverses the pattern too, so classes and escapes do not work at the back.
            Side::Back => text.chars().rev().collect(),
        }
    };
    let (letters, pattern) = (ordered(value), parts(&ordered(pattern)));
    let mut states = closure(&pattern, [0].into());
    let mut found = None;
    for (at, letter) in letters.iter().enumerate() {
        let next = states
            .iter()
            .filter_map(|state| match pattern.get(*state)? {
                PatternPart::Any => Some(*state),
                PatternPart::One => Some(state + 1),
                PatternPart::Letter(wanted) => (wanted == letter).then_some(state + 1),
                PatternPart::Class { negated, ranges } => {
                    let inside = ranges
                        .iter()
                        .any(|(from, to)| from <= letter && letter <= to);
                    (inside != *negated).then_some(state + 1)
                }
            });
        states = closure(&pattern, next.collect());
        if states.contains(&pattern.len()) {
            found = Some(at + 1);
            if length == Length::Shortest {
                break;
            }
        }
    }
    let rest = &letters[found.unwrap_or(0)..];
    match side {
        Side::Front => rest.iter().collect(),
        Side::Back => rest.iter().rev().collect(),
    }
}

/// One part of a glob pattern.
enum PatternPart {
    /// `*`
    Any,
    /// `?`
    One,
    Letter(char),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Parses a glob pattern.
fn parts(pattern: &[char]) -> Vec<PatternPart> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(letter) = pattern.get(at) {
        at += 1;
        parts.push(match letter {
            '*' => PatternPart::Any,
            '?' => PatternPart::One,
            '\\' if at < pattern.len() => {
                at += 1;
                PatternPart::Letter(pattern[at - 1])
            }
            '[' => match class(&pattern[at..]) {
                Some((class, length)) => {
                    at += length;
                    class
                }
                None => PatternPart::Letter('['),
            },
            other => PatternPart::Letter(*other),
        });
    }
    parts
}

/// A character class after its opening bracket, and its length with the closing bracket.
fn class(pattern: &[char]) -> Option<(PatternPart, usize)> {
    let negated = matches!(pattern.first(), Some('^' | '!'));
    let start = usize::from(negated);
    let end = pattern
        .iter()
        .skip(start)
        .position(|letter| *letter == ']')?
        + start;
    let mut ranges = Vec::new();
    let mut inside = &pattern[start..end];
    while let [from, rest @ ..] = inside {
        match rest {
            ['-', to, rest @ ..] => {
                ranges.push((*from, *to));
                inside = rest;
            }
            _ => {
                ranges.push((*from, *from));
                inside = rest;
            }
        }
    }
    Some((PatternPart::Class { negated, ranges }, end + 1))
}

/// Adds the states that are reached without a letter, because a star can match nothing.
fn closure(pattern: &[PatternPart], mut states: BTreeSet<usize>) -> BTreeSet<usize> {
    let mut waiting: Vec<usize> = states.iter().copied().collect();
    while let Some(state) = waiting.pop() {
        if matches!(pattern.get(state), Some(PatternPart::Any)) && states.insert(state + 1) {
            waiting.push(state + 1);
        }
    }
    states
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables() -> Variables {
        let pairs = [
            ("v", "value"),
            ("y", "one"),
            ("path", "a/b/c"),
            ("file", "a.b.c"),
            ("abcd", "abcd"),
            ("empty", ""),
            ("n", "-2"),
        ];
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    fn check(text: &str, expected: &str) {
        let actual = match substitute(text, &variables(), true) {
            Ok(text) => text,
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(actual, expected, "{text}");
    }

    #[test]
    fn every_form() {
        for (text, expected) in [
            ("a ${v} b", "a value b"),
            ("${#v}", "5"),
            ("${v^} ${v^^} ${y,} ${y,,}", "Value VALUE one one"),
            ("${x:-d} ${x:=d} ${x=d} ${x:+d} ${x:?d}", "d d d d d"),
            ("${empty:-d} ${v:-d}", "d value"),
            ("${x:-a${y}b}", "aoneb"),
            ("${x:=${y^^}}", "ONE"),
            ("${x:-}", ""),
            ("${abcd:1:2} ${abcd:1} ${abcd:9} ${abcd:2:9}", "bc bcd  cd"),
            ("${abcd: -1}", "abcd"),
            ("${abcd:${n}}", "cd"),
            ("${path#*/} ${path##*/}", "b/c c"),
            ("${file%.*} ${file%%.*}", "a.b a"),
            ("${v#x} ${v#} ${v#v?l}", "value value ue"),
            ("${v#[a-v]} ${v#[^a-v]}", "alue value"),
            ("${path/\\//-} ${path//\\//-}", "a-b/c a-b-c"),
            ("${v/l/L} ${v/x/y} ${v/l/}", "vaLue value vaue"),
            ("${v/#va/VA} ${v/%ue/UE} ${v/#va/}", "VAlue valUE value"),
            (
                "$${v} $$ $v $(v) $$${v} $$$${v}",
                "${v} $ $v $(v) $value $${v}",
            ),
            ("cost: $5", "cost: $5"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn errors_name_the_expression_or_the_missing_variables() {
        check(
            "${a} ${v} ${b^^} ${#c} ${d/x/y} ${e:-}",
            "error: no value for variables `a`, `b`, `c`, `d`; give it one in `postBuild`, or a default: ${name:-default}",
        );
        for text in [
            "${a.b}", "${a-b}", "${v+d}", "${v?d}", "${a", "${v:-x", "${v/a}",
        ] {
            let result = substitute(text, &variables(), false);
            assert!(
                matches!(result, Err(SubstituteError::Grammar(..))),
                "{text}: {result:?}"
            );
        }
        check(
            "${}",
            "error: `${}`: the name of a variable is missing, or is none; write $${ for a plain ${",
        );
        check(
            "${v:0:-1}",
            "error: `${v:0:-1}`: a length cannot be negative",
        );
        assert_eq!(
            substitute("${x}-${v}", &variables(), false),
            Ok("-value".to_owned())
        );
        let deep = "${x:-".repeat(100);
        check(
            &deep,
            "error: `${x:-${x:-${x:-${x:-${x:`: expressions within expressions go too deep",
        );
    }

    #[test]
    fn names_of_variables() {
        for (name, expected) in [
            ("a", true),
            ("_A1", true),
            ("1a", false),
            ("tls.crt", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r"[${}#%/:\-=^,a-c*?\[\]\\ ]{0,24}", value in r"[a-c/*.é]{0,8}") {
            let variables = Variables::from([("a".to_owned(), value)]);
            let _ = substitute(&text, &variables, true);
        }

        /// A text whose dollars are doubled comes back with single dollars.
        #[test]
        fn an_escaped_text_comes_back(text in any::<String>()) {
            let escaped = text.replace('$', "$$");
            prop_assert_eq!(substitute(&escaped, &Variables::new(), true), Ok(text));
        }
    }
}

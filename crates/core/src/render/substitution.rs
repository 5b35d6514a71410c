//! Pure: `postBuild`: puts variables into the text of what was built: `${name}`, with defaults, cuts and replacements.
//!
//! The grammar is that of `github.com/fluxcd/pkg/envsubst`. A text is scanned once, from left to right, and values are not
//! scanned again. `$$` stands for one dollar.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::render::glob::{GlobPattern, Length, Side};

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
    /// The text would become longer than an object may be: the beginning of the expression, and the length in bytes.
    #[error("`{0}`: the text of the object would have {1} bytes; it may have {MAX_TEXT}")]
    TooLong(String, usize),
    /// The build would use more than its budget.
    #[error("`{expression}` would need {needed} {unit}; the variables of a build have {limit}")]
    Budget {
        /// The beginning of the expression.
        expression: String,
        /// `bytes` or `steps`.
        unit: &'static str,
        /// How much the build would have used with it.
        needed: u64,
        /// How much it may use.
        limit: u64,
    },
}

impl SubstituteError {
    /// True if the build would fit with a larger budget of bytes.
    pub fn needs_memory(&self) -> bool {
        matches!(self, Self::Budget { unit: BYTES, .. })
    }
}

/// The unit of memory in messages.
const BYTES: &str = "bytes";

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
    /// More names are counted and not listed.
    const LISTED: usize = 20;
    let listed: Vec<String> = names
        .iter()
        .take(LISTED)
        .map(|name| format!("`{name}`"))
        .collect();
    let are = if names.len() == 1 {
        "variable"
    } else {
        "variables"
    };
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "no value for {are} {}{more}; give it one in `postBuild`, or a default: ${{name:-default}}",
        listed.join(", ")
    )
}

/// How deep expressions can be nested.
const MAX_DEPTH: usize = 32;
/// The longest text of one object, in bytes.
const MAX_TEXT: usize = 8 << 20;

/// Bytes that are read or copied in one step.
pub const BYTES_PER_STEP: usize = 16;

/// Whether a variable without a value and without a default is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingVariables {
    /// It is an error.
    Refused,
    /// It is an empty text.
    Empty,
}

/// How much memory and work the variables of one build may take.
///
/// A few bytes of a text can ask for gigabytes (`${a///${b}}` puts `b` behind each letter of `a`), and a pattern can be
/// compared with each place of a value. So each operation is charged *before* it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubstitutionLimits {
    /// Bytes by which the objects grow in all, with what one object needs on the way.
    pub bytes: u64,
    /// Steps, of about a nanosecond: comparisons with a part of a pattern, and copies of [`BYTES_PER_STEP`] bytes.
    pub steps: u64,
}

impl Default for SubstitutionLimits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            steps: 300_000_000,
        }
    }
}

/// What the variables of one build have used of their limits.
#[derive(Debug, Clone, Default)]
pub struct SubstitutionBudget {
    limits: SubstitutionLimits,
    bytes: u64,
    steps: u64,
}

impl SubstitutionBudget {
    /// The budget of a build that begins.
    pub fn new(limits: SubstitutionLimits) -> Self {
        Self {
            limits,
            bytes: 0,
            steps: 0,
        }
    }

    /// Charges the values that an object has more than before its variables were put in: a short text can be a long list.
    ///
    /// # Errors
    /// The objects of the build would need more memory than the limit.
    pub fn charge_values(&mut self, before: &Value, after: &Value) -> Result<(), SubstituteError> {
        /// The memory of one value beside its text, in bytes.
        const OF_VALUE: usize = 96;
        let more = values(after).saturating_sub(values(before));
        self.charge("${…}", more.saturating_mul(OF_VALUE), 0)
    }

    /// Charges what an expression is about to make and to read; the expression begins at `start`.
    fn charge(&mut self, start: &str, bytes: usize, steps: usize) -> Result<(), SubstituteError> {
        let units = [
            (BYTES, &mut self.bytes, bytes, self.limits.bytes),
            ("steps", &mut self.steps, steps, self.limits.steps),
        ];
        for (unit, used, amount, limit) in units {
            let needed = used.saturating_add(as_u64(amount));
            if needed > limit {
                return Err(SubstituteError::Budget {
                    expression: beginning(start),
                    unit,
                    needed,
                    limit,
                });
            }
            *used = needed;
        }
        Ok(())
    }
}

/// The steps to copy so many bytes.
fn copying(bytes: usize) -> usize {
    bytes / BYTES_PER_STEP + 1
}

/// How many values a value holds, with itself.
fn values(value: &Value) -> usize {
    let below: usize = match value {
        Value::Array(list) => list.iter().map(values).sum(),
        Value::Object(map) => map.values().map(values).sum(),
        _ => 0,
    };
    below + 1
}

fn as_u64(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// The beginning of an expression, for messages: at most 24 characters of its first line.
fn beginning(expression: &str) -> String {
    let line = expression.split('\n').next().unwrap_or_default();
    line.chars().take(24).collect()
}

/// Puts the variables into the text of one object. The budget is that of the build.
///
/// # Errors
/// An expression that cannot be evaluated or would use more than the budget, or all variables without a value.
pub fn substitute(
    text: &str,
    variables: &Variables,
    missing: MissingVariables,
    budget: &mut SubstitutionBudget,
) -> Result<String, SubstituteError> {
    let held = budget.bytes;
    let mut scan = Scan {
        rest: text,
        variables,
        missing: BTreeSet::new(),
        budget,
    };
    let result = scan.whole();
    let without_value = scan.missing;
    // What was needed on the way is free again; the growth of the object stays.
    budget.bytes = held;
    let result = result?;
    budget.charge("${…}", result.len().saturating_sub(text.len()), 0)?;
    if missing == MissingVariables::Refused && !without_value.is_empty() {
        return Err(SubstituteError::Missing(without_value));
    }
    Ok(result)
}

/// True for a name that a variable can have: letters, digits and `_`, without a digit at the beginning.
pub fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    let first = letters.next();
    first.is_some_and(|first| first == '_' || first.is_ascii_alphabetic())
        && letters.all(|letter| letter == '_' || letter.is_ascii_alphanumeric())
}

/// What is left of a text, and what was found before.
struct Scan<'t, 'b> {
    rest: &'t str,
    variables: &'t Variables,
    missing: BTreeSet<String>,
    budget: &'b mut SubstitutionBudget,
}

/// A character that ends an argument.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Brace,
    Colon,
    Slash,
}

impl<'t> Scan<'t, '_> {
    /// The whole text with its expressions evaluated.
    fn whole(&mut self) -> Result<String, SubstituteError> {
        self.budget.charge(self.rest, 0, copying(self.rest.len()))?;
        let held = self.budget.bytes;
        let mut out = String::with_capacity(self.rest.len());
        while let Some((before, after)) = self.rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                self.rest = after;
                out.push('$');
            } else if after.starts_with('{') {
                self.rest = self.rest.strip_prefix(before).unwrap_or_default();
                let start = self.rest;
                let value = self.expression(MAX_DEPTH)?;
                let length = out.len() + value.len();
                if length > MAX_TEXT {
                    return Err(SubstituteError::TooLong(beginning(start), length));
                }
                out.push_str(&value);
                // One value after another is made, so their memory is not added up.
                self.budget.bytes = held.saturating_add(as_u64(out.len()));
            } else {
                self.rest = after;
                out.push('$');
            }
        }
        out.push_str(self.rest);
        Ok(out)
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Evaluates an expression, from its `${` to its `}`. The result is charged.
    fn expression(&mut self, depth: usize) -> Result<String, SubstituteError> {
        let start = self.rest;
        if depth == 0 {
            return wrong(start, GrammarError::TooDeep);
        }
        self.take("${");
        let is_length = self.take("#");
        let name = self.name();
        if name.is_empty() {
            return wrong(start, GrammarError::NoName);
        }
        let value = self.variables.get(name);
        if is_length {
            self.close(start)?;
            let text = self.needed(name, value).len().to_string();
            self.budget.charge(start, text.len(), 1)?;
            return Ok(text);
        }
        let result = match self.default(depth)? {
            Some(default) => match value.filter(|value| !value.is_empty()) {
                Some(given) => self.copied(given, start)?,
                None => default,
            },
            None => {
                let value = self.needed(name, value);
                self.operation(value, start, depth)?
            }
        };
        self.close(start)?;
        Ok(result)
    }

    /// A copy of a value, which is charged.
    fn copied(&mut self, value: &str, start: &str) -> Result<String, SubstituteError> {
        self.budget
            .charge(start, value.len(), copying(value.len()))?;
        Ok(value.to_owned())
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
        start: &'t str,
        depth: usize,
    ) -> Result<String, SubstituteError> {
        /// The longest text that a letter becomes in the other case, in times of its own length.
        const CASE_GROWTH: usize = 3;
        if self.rest.starts_with('}') {
            return self.copied(value, start);
        }
        if self.rest.starts_with('/') {
            return self.replace(value, start, depth);
        }
        // An operator comes before the shorter one that it begins with.
        let operators = ["^^", "^", ",,", ",", ":", "##", "#", "%%", "%"];
        let operator = operators.into_iter().find(|operator| self.take(operator));
        let recased = value.len().saturating_mul(CASE_GROWTH);
        let (side, length) = match operator {
            Some("^^" | "^" | ",," | ",") => {
                self.budget.charge(start, recased, recased)?;
                return Ok(match operator {
                    Some("^^") => value.to_uppercase(),
                    Some(",,") => value.to_lowercase(),
                    Some("^") => first(value, |letter| letter.to_uppercase().collect()),
                    _ => first(value, |letter| letter.to_lowercase().collect()),
                });
            }
            Some(":") => return self.cut(value, start, depth),
            Some("##") => (Side::Front, Length::Longest),
            Some("#") => (Side::Front, Length::Shortest),
            Some("%%") => (Side::Back, Length::Longest),
            Some("%") => (Side::Back, Length::Shortest),
            _ => return wrong(start, GrammarError::NoOperator),
        };
        let pattern = self.argument(&[End::Brace], depth)?;
        let steps = GlobPattern::steps(value, &pattern);
        let bytes = GlobPattern::bytes(value, &pattern);
        self.budget.charge(start, bytes, steps)?;
        Ok(GlobPattern::new(&pattern, side).trim(value, length))
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
        let rest = self.rest;
        let other = |letter: char| !(letter.is_alphanumeric() || letter == '_');
        let name = rest.split(other).next().unwrap_or_default();
        self.take(name);
        name
    }

    fn close(&mut self, start: &str) -> Result<(), SubstituteError> {
        if self.take("}") {
            Ok(())
        } else {
            wrong(start, GrammarError::NotClosed)
        }
    }

    /// Text and expressions up to one of the ends, which is not taken.
    fn argument(&mut self, ends: &[End], depth: usize) -> Result<String, SubstituteError> {
        self.argument_with(ends, &[], depth)
    }

    /// The argument of a replacement, in which `\/` and `\\` stand for `/` and `\`.
    fn escaped(&mut self, ends: &[End], depth: usize) -> Result<String, SubstituteError> {
        self.argument_with(ends, &[('/', "\\/"), ('\\', "\\\\")], depth)
    }

    fn argument_with(
        &mut self,
        ends: &[End],
        escapes: &[(char, &str)],
        depth: usize,
    ) -> Result<String, SubstituteError> {
        let mut out = String::new();
        while let Some(letter) = self.rest.chars().next() {
            if self.rest.starts_with("${") {
                let start = self.rest;
                let value = self.expression(depth - 1)?;
                self.budget
                    .charge(start, value.len(), copying(value.len()))?;
                out.push_str(&value);
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
            let mut escapes = escapes.iter();
            if let Some((letter, _)) = escapes.find(|(_, escape)| self.take(escape)) {
                out.push(*letter);
                continue;
            }
            out.push(letter);
            let mut letters = self.rest.chars();
            letters.next();
            self.rest = letters.as_str();
        }
        Ok(out)
    }

    /// `${v:offset:length}`, in bytes.
    fn cut(&mut self, value: &str, start: &str, depth: usize) -> Result<String, SubstituteError> {
        /// A byte that is no UTF-8 becomes a letter of three bytes.
        const REPLACED: usize = 3;
        let ends = [End::Brace, End::Colon];
        let offset = self.argument(&ends, depth)?;
        let length = if self.take(":") {
            Some(self.argument(&[End::Brace], depth)?)
        } else {
            None
        };
        self.budget.charge(
            start,
            value.len().saturating_mul(REPLACED),
            copying(value.len()),
        )?;
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
                Err(_) => return wrong(start, GrammarError::NegativeLength),
            },
        };
        Ok(String::from_utf8_lossy(kept).into_owned())
    }

    /// `${v/a/b}`, `${v//a/b}`, `${v/#a/b}`, `${v/%a/b}`.
    fn replace(
        &mut self,
        value: &str,
        start: &str,
        depth: usize,
    ) -> Result<String, SubstituteError> {
        let operator = ["//", "/#", "/%", "/"]
            .into_iter()
            .find(|operator| self.take(operator))
            .unwrap_or("/");
        let pattern = self.escaped(&[End::Slash, End::Brace], depth)?;
        if !self.take("/") {
            return wrong(start, GrammarError::NoReplacement);
        }
        let new = self.escaped(&[End::Brace], depth)?;
        let times = match operator {
            "//" => {
                // The search is linear in both.
                let steps = copying(value.len().saturating_add(pattern.len()));
                self.budget.charge(start, 0, steps)?;
                value.matches(&pattern).count()
            }
            _ => 1,
        };
        let made = times.saturating_mul(new.len()).saturating_add(value.len());
        self.budget.charge(start, made, copying(made))?;
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

fn wrong<T>(expression: &str, reason: GrammarError) -> Result<T, SubstituteError> {
    Err(SubstituteError::Grammar(beginning(expression), reason))
}

/// Changes the first letter.
fn first(value: &str, change: impl Fn(char) -> String) -> String {
    let mut letters = value.chars();
    match letters.next() {
        Some(letter) => change(letter) + letters.as_str(),
        None => String::new(),
    }
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

    fn with(
        text: &str,
        variables: &Variables,
        missing: MissingVariables,
    ) -> Result<String, SubstituteError> {
        substitute(text, variables, missing, &mut SubstitutionBudget::default())
    }

    fn check(text: &str, expected: &str) {
        let actual = match with(text, &variables(), MissingVariables::Refused) {
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
            let result = with(text, &variables(), MissingVariables::Empty);
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
            with("${x}-${v}", &variables(), MissingVariables::Empty),
            Ok("-value".to_owned())
        );
        let deep = "${x:-".repeat(100);
        check(
            &deep,
            "error: `${x:-${x:-${x:-${x:-${x:`: expressions within expressions go too deep",
        );
    }

    /// `a` and `b` have this many bytes each.
    fn refused(text: &str, length: usize, expected: &str) {
        let value = |letter: &str| letter.repeat(length);
        let variables = Variables::from([
            ("a".to_owned(), value("a")),
            ("b".to_owned(), value("b")),
            ("s".to_owned(), value("*a")),
        ]);
        let result = with(text, &variables, MissingVariables::Refused);
        let error = result.expect_err("too much is refused").to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.len() < 200, "{error}");
    }

    #[test]
    fn what_multiplies_is_refused_before_it_is_made() {
        // 3.1 GB.
        let bytes = "would need 1600160000 bytes; the variables of a build have 67108864";
        refused("${a///${b}}", 40_000, bytes);
        refused("${a//a/${b}}", 40_000, "`${a//a/${b}}` would need");
        refused("${a//a/${b}}", 40_000, "bytes; the variables of a build");
        refused("${a^^}", 30_000_000, "bytes; the variables of a build");
        refused(
            "${a}${a}${a}",
            4_000_000,
            "would have 12000000 bytes; it may have 8388608",
        );
        let nested = "${x:-${a}${x:-${a}${x:-${a}}}}".repeat(3);
        refused(&nested, 8_000_000, "bytes; the variables of a build");
    }

    #[test]
    fn the_time_of_patterns_is_charged_before_they_are_compared() {
        for operator in ["#", "##", "%", "%%"] {
            let expression = format!("${{a{operator}${{s}}}}");
            refused(&expression, 40_000, "steps; the variables of a build have");
            // 8 KB: five seconds when each place was compared with a set.
            let variables = Variables::from([
                ("a".to_owned(), "a".repeat(8_000)),
                ("s".to_owned(), "*a".repeat(4_000)),
            ]);
            assert!(with(&expression, &variables, MissingVariables::Refused).is_ok());
        }
        let pattern = format!("${{a#{}}}", "[".repeat(1_000_000));
        assert!(with(&pattern, &variables(), MissingVariables::Empty).is_ok());
    }

    #[test]
    fn the_objects_of_a_build_share_one_budget() {
        let limits = SubstitutionLimits {
            bytes: 1_000,
            steps: 10_000,
        };
        let mut budget = SubstitutionBudget::new(limits);
        let variables = Variables::from([("a".to_owned(), "a".repeat(304))]);
        let mut next = || substitute("${a}", &variables, MissingVariables::Refused, &mut budget);
        assert!((0..3).all(|_| next().is_ok()));
        assert_eq!(
            next().expect_err("900 bytes are used").to_string(),
            "`${a}` would need 1204 bytes; the variables of a build have 1000"
        );
    }

    #[test]
    fn a_long_list_of_missing_variables_is_counted() {
        let text: String = (0..1_000).map(|at| format!("${{x{at}}}")).collect();
        let error = with(&text, &variables(), MissingVariables::Refused).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(" and 980 more;") && error.len() < 400,
            "{error}"
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
            let _ = with(&text, &variables, MissingVariables::Refused);
        }

        /// A text whose dollars are doubled comes back with single dollars.
        #[test]
        fn an_escaped_text_comes_back(text in any::<String>()) {
            let escaped = text.replace('$', "$$");
            prop_assert_eq!(with(&escaped, &Variables::new(), MissingVariables::Refused), Ok(text));
        }
    }
}

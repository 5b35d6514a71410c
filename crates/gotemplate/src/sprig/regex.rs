//! Pure: functions on regular expressions, in Go's syntax.
//!
//! They are those of sprig's `regex.go`. The syntax is translated by `gocompat::regex`, so look-around and back
//! references are refused as in Go, and a search takes linear time. A pattern with large repetitions is expensive
//! even so; it is charged by the states of its automaton before it is compiled.
//!
//! In sprig, `regexMatch` gives false for a bad pattern, and the other functions without `must` panic; a panic ends
//! the render as an error does, so both forms have one implementation here.

use ::regex::Captures;
use gocompat::regex::{self, SyntaxError, quote_meta};

use crate::error::{Fault, Outcome};
use crate::machine::Machine;
use crate::signature::{Row, bytes, int, text};
use crate::value::Value;

pub(crate) const ROWS: &[Row] = &[
    ("regexMatch", "ss", |machine, v| {
        let Ok(states) = regex::states(&text(v, 0)) else {
            return Ok(Value::Bool(false));
        };
        spend_search(machine, states, bytes(v, 1).len())?;
        Ok(Value::Bool(
            regex::compile(&text(v, 0)).is_ok_and(|regex| regex.is_match(&text(v, 1))),
        ))
    }),
    ("mustRegexMatch", "ss", |machine, v| {
        let pattern = Pattern::compile(machine, v)?;
        Ok(Value::Bool(pattern.regex.is_match(&text(v, 1))))
    }),
    ("regexFind", "ss", find),
    ("mustRegexFind", "ss", find),
    ("regexFindAll", "ssi", find_all),
    ("mustRegexFindAll", "ssi", find_all),
    ("regexReplaceAll", "sss", replace_all),
    ("mustRegexReplaceAll", "sss", replace_all),
    ("regexReplaceAllLiteral", "sss", replace_all_literal),
    ("mustRegexReplaceAllLiteral", "sss", replace_all_literal),
    ("regexSplit", "ssi", split),
    ("mustRegexSplit", "ssi", split),
    ("regexQuoteMeta", "s", |_, v| {
        Ok(Value::str(quote_meta(&text(v, 0))))
    }),
];

/// A compiled pattern.
struct Pattern {
    regex: ::regex::Regex,
    /// About how many states its automaton has.
    states: usize,
}

impl Pattern {
    /// Compiles the first argument, after charging that and a search through the second. A pattern may come from a value,
    /// so the message does not show it.
    fn compile(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Self> {
        let pattern = text(values, 0);
        let hidden = |error: SyntaxError| {
            Fault::hiding(
                format!("error parsing regexp: {}", error.code()),
                error.to_string(),
            )
        };
        let states = regex::states(&pattern).map_err(hidden)?;
        spend_search(machine, states, bytes(values, 1).len())?;
        let regex = regex::compile(&pattern).map_err(hidden)?;
        Ok(Self { regex, states })
    }

    /// Calls a function for each match. After a match the search goes on, and may read all that is left of the text, so
    /// it is charged again.
    fn each_match<'t>(
        &self,
        machine: &mut Machine<'_>,
        subject: &'t str,
        mut found: impl FnMut(&mut Machine<'_>, &Captures<'t>) -> Outcome<()>,
    ) -> Outcome<()> {
        for captures in self.regex.captures_iter(subject) {
            let end = captures.get(0).map_or(subject.len(), |whole| whole.end());
            machine.spend(1 + search_cost(self.states, subject.len() - end))?;
            found(machine, &captures)?;
        }
        Ok(())
    }

    /// Replaces all matches by what `replacement` appends. Before each, `most` says how many bytes that may be.
    fn replace_all(
        &self,
        machine: &mut Machine<'_>,
        subject: &str,
        most: impl Fn(usize) -> usize,
        replacement: impl Fn(&Captures<'_>, &mut String),
    ) -> Outcome<Value> {
        let mut out = String::with_capacity(subject.len());
        let mut from = 0;
        self.each_match(machine, subject, |machine, captures| {
            let Some(whole) = captures.get(0) else {
                return Ok(());
            };
            machine.allocate(most(whole.len()))?;
            out.push_str(subject.get(from..whole.start()).unwrap_or_default());
            replacement(captures, &mut out);
            from = whole.end();
            Ok(())
        })?;
        out.push_str(subject.get(from..).unwrap_or_default());
        Ok(Value::str(out))
    }
}

/// Charges what it takes to compile a pattern and to search a text with it once.
fn spend_search(machine: &mut Machine<'_>, states: usize, text: usize) -> Outcome<()> {
    machine.spend(states.saturating_add(search_cost(states, text)))
}

/// A search may take time in proportion to states × bytes.
fn search_cost(states: usize, text: usize) -> usize {
    states.saturating_mul(text) / 1024
}

fn find(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let pattern = Pattern::compile(machine, values)?;
    let subject = text(values, 1);
    let found = pattern.regex.find(&subject);
    Ok(Value::str(found.map_or("", |found| found.as_str())))
}

fn find_all(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let pattern = Pattern::compile(machine, values)?;
    let subject = text(values, 1);
    let most = usize::try_from(int(values, 2)).unwrap_or(usize::MAX);
    let mut all = Vec::new();
    for found in pattern.regex.find_iter(&subject).take(most) {
        machine.spend(1 + search_cost(pattern.states, subject.len() - found.end()))?;
        machine.allocate(48 + found.len())?;
        all.push(found.as_str());
    }
    Ok(Value::strings(all))
}

fn replace_all(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let pattern = Pattern::compile(machine, values)?;
    let (subject, template) = (text(values, 1), text(values, 2));
    // Each variable may stand for the whole match.
    let variables = template.matches('$').count();
    pattern.replace_all(
        machine,
        &subject,
        |length| {
            template
                .len()
                .saturating_add(length.saturating_mul(variables))
        },
        |captures, out| regex::expand(&pattern.regex, captures, &template, out),
    )
}

fn replace_all_literal(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let pattern = Pattern::compile(machine, values)?;
    let (subject, replacement) = (text(values, 1), text(values, 2));
    pattern.replace_all(
        machine,
        &subject,
        |_| replacement.len(),
        |_, out| out.push_str(&replacement),
    )
}

/// `Regexp.Split`
fn split(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let pattern = Pattern::compile(machine, values)?;
    let is_empty = bytes(values, 0).is_empty();
    let (subject, most) = (text(values, 1), int(values, 2));
    if most == 0 {
        return Ok(Value::strings(Vec::<&str>::new()));
    }
    if !is_empty && subject.is_empty() {
        return Ok(Value::strings([""]));
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    // Matches begin and end between letters.
    let between = |begin, end| subject.get(begin..end).unwrap_or_default();
    let mut parts = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for found in pattern.regex.find_iter(&subject).take(most) {
        machine.spend(1 + search_cost(pattern.states, subject.len() - found.end()))?;
        if parts.len() + 1 >= most {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            machine.allocate(48)?;
            parts.push(between(begin, end));
        }
        begin = found.end();
    }
    if end != subject.len() {
        parts.push(between(begin, subject.len()));
    }
    Ok(Value::strings(parts))
}

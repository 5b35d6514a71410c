//! Pure: functions on regular expressions, in Go's syntax.

use gocompat::regex::{self, quote_meta};

use crate::error::{Fault, Outcome};
use crate::machine::Machine;
use crate::signature::{Row, int, text};
use crate::value::Value;

pub(crate) const ROWS: &[Row] = &[
    ("regexMatch", "ss", |_, v| {
        Ok(Value::Bool(
            regex::compile(&text(v, 0)).is_ok_and(|regex| regex.is_match(&text(v, 1))),
        ))
    }),
    ("mustRegexMatch", "ss", |_, v| {
        Ok(Value::Bool(compile(&text(v, 0))?.is_match(&text(v, 1))))
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

/// A pattern may come from a value, so its text is hidden.
fn compile(pattern: &str) -> Outcome<::regex::Regex> {
    regex::compile(pattern).map_err(|error| {
        Fault::hiding(
            format!("error parsing regexp: {}", error.code()),
            error.to_string(),
        )
    })
}

fn find(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let regex = compile(&text(values, 0))?;
    let subject = text(values, 1);
    Ok(Value::str(
        regex.find(&subject).map_or("", |found| found.as_str()),
    ))
}

fn find_all(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let regex = compile(&text(values, 0))?;
    let subject = text(values, 1);
    let most = usize::try_from(int(values, 2)).unwrap_or(usize::MAX);
    let found = regex.find_iter(&subject).take(most);
    Ok(Value::strings(found.map(|found| found.as_str())))
}

fn replace_all(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let regex = compile(&text(values, 0))?;
    let (subject, replacement) = (text(values, 1), text(values, 2));
    machine.spend(subject.len().saturating_mul(replacement.len().max(1)) / 256)?;
    Ok(Value::str(regex::replace_all(
        &regex,
        &subject,
        &replacement,
    )))
}

fn replace_all_literal(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let regex = compile(&text(values, 0))?;
    let (subject, replacement) = (text(values, 1), text(values, 2));
    machine.spend(subject.len().saturating_mul(replacement.len().max(1)) / 256)?;
    let literal = ::regex::NoExpand(&replacement);
    Ok(Value::str(&*regex.replace_all(&subject, literal)))
}

/// `Regexp.Split`
fn split(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let pattern = text(values, 0);
    let regex = compile(&pattern)?;
    let (subject, most) = (text(values, 1), int(values, 2));
    if most == 0 {
        return Ok(Value::strings(Vec::<&str>::new()));
    }
    if !pattern.is_empty() && subject.is_empty() {
        return Ok(Value::strings([""]));
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for found in regex.find_iter(&subject).take(most) {
        if parts.len() + 1 >= most {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            parts.push(&subject[begin..end]);
        }
        begin = found.end();
    }
    if end != subject.len() {
        parts.push(&subject[begin..]);
    }
    Ok(Value::strings(parts))
}

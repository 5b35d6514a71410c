//! Pure: replacement templates, as `Regexp.Expand` and `Regexp.ReplaceAllString` read them.

use std::sync::LazyLock;

use ::regex::{Captures, Regex};

/// The name of a group in the syntax of the `regex` crate, which allows neither a digit at the start nor the same
/// name twice. `earlier` is the number of groups of that name before it.
pub(super) fn mangled(name: &str, earlier: usize) -> String {
    if earlier == 0 && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return name.to_owned();
    }
    // Go's names have no dots.
    format!("_.{earlier}.{name}")
}

/// The name of a group in Go.
fn plain(name: &str) -> &str {
    let mangled = name
        .strip_prefix("_.")
        .and_then(|rest| rest.split_once('.'));
    mangled.map_or(name, |(_, name)| name)
}

/// Replaces every match of a compiled pattern by a template, as `Regexp.ReplaceAllString` does. For the template, see
/// [`expand`].
pub fn replace_all(regex: &Regex, text: &str, template: &str) -> String {
    let replaced = regex.replace_all(text, |captures: &Captures<'_>| {
        let mut out = String::new();
        expand(regex, captures, template, &mut out);
        out
    });
    replaced.into_owned()
}

/// Appends a template to `out`, with the values of a match for its variables, as `Regexp.ExpandString` does.
///
/// `$1` and `$name` stand for groups, and so do `${1}` and `${name}`; `$$` is a `$`. A name without braces is as long
/// as possible: `$1x` is `${1x}`. A group that does not exist or has not matched is empty. A `$` that begins none of
/// these stands for itself.
pub fn expand(regex: &Regex, captures: &Captures<'_>, template: &str, out: &mut String) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = parse_name(rest) {
            out.push_str(group(regex, captures, name));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
}

/// The text of a group, by its number or name. Of several groups with the same name, the first that has matched counts.
fn group<'t>(regex: &Regex, captures: &Captures<'t>, name: &str) -> &'t str {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    let has_leading_zero = name.len() > 1 && name.starts_with('0');
    let found = match name.parse::<usize>() {
        Ok(number) if is_number && !has_leading_zero => captures.get(number),
        _ => regex
            .capture_names()
            .enumerate()
            .filter(|(_, other)| other.is_some_and(|other| plain(other) == name))
            .find_map(|(index, _)| captures.get(index)),
    };
    found.map_or("", |found| found.as_str())
}

/// Parses `name` or `{name}`, and gives the text after it.
fn parse_name(text: &str) -> Option<(&str, &str)> {
    static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\A[\p{L}\p{Nd}_]+").ok());
    let braced = text.strip_prefix('{');
    let inside = braced.unwrap_or(text);
    let end = NAME.as_ref()?.find(inside)?.end();
    let (name, rest) = inside.split_at(end);
    match braced {
        Some(_) => Some((name, rest.strip_prefix('}')?)),
        None => Some((name, rest)),
    }
}

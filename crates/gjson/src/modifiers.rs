//! Pure: `@keys`, `@flatten` and the like: texts made of texts.
//!
//! A modifier takes the JSON before it and an argument (`@flatten:{"deep":true}`) and gives a new JSON, in which the
//! path goes on. They are those of gjson 1.18 (`modifiers` in `gjson.go`); users cannot add any. Its `SYNTAX.md` describes
//! each.
//!
//! Modifiers are lenient: one that does not fit its input gives it back (`@reverse` of a text) or gives nothing
//! (`@group` of an array). The work of each is in proportion to its input, which the search has charged, or is
//! charged here. `@dig` alone follows a path, so the search itself runs it.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use crate::TooMuch;
use crate::pretty::{self, Style};
use crate::scan::{Found, elements, members, nested_end, string_end, trimmed, unquoted, whole};
use crate::strings::quote;
use crate::work::Work;

/// Makes a new text of the text before the modifier and of its argument.
type OnText = fn(&Work, &[u8], &[u8]) -> Result<Vec<u8>, TooMuch>;

/// What a modifier does.
#[derive(Clone, Copy)]
pub(crate) enum Modifier {
    /// It makes a new text of the text before it.
    OnText(OnText),
    /// It follows the path in its argument everywhere in the text. Only the search can do that.
    Dig,
}

/// A modifier as a path calls it.
pub(crate) struct Call<'p> {
    pub(crate) modifier: Modifier,
    /// The text behind the colon; empty without one.
    pub(crate) argument: &'p [u8],
    /// The path after the modifier.
    pub(crate) rest: &'p [u8],
}

/// The modifiers by name.
const MODIFIERS: &[(&str, Modifier)] = &[
    ("pretty", Modifier::OnText(pretty)),
    (
        "ugly",
        Modifier::OnText(|_, json, _| Ok(pretty::without_blanks(json))),
    ),
    ("reverse", Modifier::OnText(|_, json, _| Ok(reverse(json)))),
    ("this", Modifier::OnText(|_, json, _| Ok(json.to_vec()))),
    (
        "flatten",
        Modifier::OnText(|work, json, argument| flatten(work, json, option(argument, b"deep"))),
    ),
    (
        "join",
        Modifier::OnText(|_, json, argument| Ok(join(json, option(argument, b"preserve")))),
    ),
    (
        "valid",
        Modifier::OnText(|_, json, _| {
            Ok(if is_valid(json) {
                json.to_vec()
            } else {
                Vec::new()
            })
        }),
    ),
    ("keys", Modifier::OnText(|_, json, _| Ok(keys(json)))),
    ("values", Modifier::OnText(|_, json, _| Ok(values(json)))),
    (
        "tostr",
        Modifier::OnText(|work, json, _| {
            work.charge(6 * json.len())?;
            let mut out = Vec::new();
            quote(&mut out, json);
            Ok(out)
        }),
    ),
    (
        "fromstr",
        Modifier::OnText(|_, json, _| {
            let text = || whole(json).text().into_owned();
            Ok(if is_valid(json) { text() } else { Vec::new() })
        }),
    ),
    ("group", Modifier::OnText(|_, json, _| Ok(group(json)))),
    ("dig", Modifier::Dig),
];

/// True for the name of a modifier.
pub(crate) fn exists(name: &[u8]) -> bool {
    MODIFIERS.iter().any(|(known, _)| known.as_bytes() == name)
}

/// Reads the modifier at the start of a path; nothing if there is none of that name.
pub(crate) fn call(path: &[u8]) -> Option<Call<'_>> {
    let end = path
        .iter()
        .position(|byte| matches!(byte, b':' | b'|' | b'.'));
    let (name, rest) = path.split_at(end.unwrap_or(path.len()));
    let (_, modifier) = MODIFIERS
        .iter()
        .find(|(known, _)| known.as_bytes() == &name[1..])?;
    let (argument, rest) = match rest.strip_prefix(b":") {
        Some(rest) => rest.split_at(argument_end(rest)),
        None => (&[][..], rest),
    };
    Some(Call {
        modifier: *modifier,
        argument,
        rest,
    })
}

/// Where the argument at the start of a path ends: behind its bracket or quote, or else before the next `|`. A dot is
/// a part of it.
fn argument_end(rest: &[u8]) -> usize {
    let balanced = |at: usize| match rest[at] {
        b'"' => string_end(rest, at).unwrap_or(rest.len()),
        _ => nested_end(rest, at),
    };
    if matches!(rest.first(), Some(b'{' | b'[' | b'"')) {
        return balanced(0);
    }
    let mut at = 0;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'|' => return at,
            b'{' | b'[' | b'"' | b'(' => at = balanced(at),
            _ => at += 1,
        }
    }
    rest.len()
}

/// True for a JSON text.
pub(crate) fn is_valid(json: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(json).is_ok()
}

/// The value of an option in a modifier's argument.
fn option(argument: &[u8], name: &[u8]) -> bool {
    let mut options = members(argument);
    argument.first() == Some(&b'{')
        && options.any(|(key, value)| *unquoted(key) == *name && value.is_true())
}

/// Prints the text as the argument asks for.
fn pretty(work: &Work, json: &[u8], argument: &[u8]) -> Result<Vec<u8>, TooMuch> {
    let style = style(argument);
    work.charge(style.indent.len().saturating_mul(json.len()))?;
    pretty::print(json, &style)
}

/// The options of `@pretty`: `sortKeys`, `indent`, `prefix` and `width`. Only blanks are taken as indent and prefix.
fn style(argument: &[u8]) -> Style {
    let mut style = Style::default();
    if argument.first() != Some(&b'{') {
        return style;
    }
    let blanks = |value: &Found<'_>| {
        let text = value.text();
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        text.iter().copied().filter(blank).collect::<Vec<u8>>()
    };
    for (key, value) in members(argument) {
        match &*unquoted(key) {
            b"sortKeys" => style.sort_keys = value.is_true(),
            b"indent" => style.indent = blanks(&value),
            b"prefix" => style.prefix = blanks(&value),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a width that is cut is wide"
            )]
            b"width" => style.width = value.number() as i64,
            _ => {}
        }
    }
    style
}

/// Parts between brackets, with commas.
pub(crate) fn bracketed(open: u8, parts: &[Vec<u8>], close: u8) -> Vec<u8> {
    let mut out = vec![open];
    out.extend(parts.join(&b','));
    out.push(close);
    out
}

/// A member of an object as text; the key has its quotes.
fn member(key: &[u8], value: &Found<'_>) -> Vec<u8> {
    [key, b":", &value.raw].concat()
}

/// Elements or members in the opposite order.
fn reverse(json: &[u8]) -> Vec<u8> {
    let found = whole(json);
    if found.is_array() {
        let mut parts: Vec<_> = elements(&found.raw)
            .map(|value| value.raw.into_owned())
            .collect();
        parts.reverse();
        return bracketed(b'[', &parts, b']');
    }
    if found.is_object() {
        let parts = members(&found.raw).map(|(key, value)| member(key, &value));
        let mut parts: Vec<_> = parts.collect();
        parts.reverse();
        return bracketed(b'{', &parts, b'}');
    }
    json.to_vec()
}

/// The text between the brackets of an object or array.
fn inner(json: &[u8]) -> &[u8] {
    let json = trimmed(json);
    match json {
        [b'[' | b'{', inner @ .., _] => inner,
        other => other,
    }
}

/// Puts the elements of arrays in place of these arrays, of all levels if `deep`.
fn flatten(work: &Work, json: &[u8], deep: bool) -> Result<Vec<u8>, TooMuch> {
    work.charge(json.len())?;
    let found = whole(json);
    if !found.is_array() {
        return Ok(json.to_vec());
    }
    let mut parts = Vec::new();
    for value in elements(&found.raw) {
        let text = if !value.is_array() {
            value.raw.into_owned()
        } else if deep {
            let flat = work.deeper(|| flatten(work, &value.raw, deep))?;
            inner(&flat).to_vec()
        } else {
            inner(&value.raw).to_vec()
        };
        let text = text.trim_ascii().to_vec();
        if !text.is_empty() {
            parts.push(text);
        }
    }
    Ok(bracketed(b'[', &parts, b']'))
}

/// Makes one object of the objects of an array. With `preserve`, members of the same name all stay.
fn join(json: &[u8], preserve: bool) -> Vec<u8> {
    let found = whole(json);
    if !found.is_array() {
        return json.to_vec();
    }
    let objects: Vec<Found<'_>> = elements(&found.raw).filter(Found::is_object).collect();
    if preserve {
        let parts: Vec<_> = objects
            .iter()
            .map(|object| inner(&object.raw).to_vec())
            .collect();
        return bracketed(b'{', &parts, b'}');
    }
    // The first place of a key, and its last value.
    let mut places = BTreeMap::new();
    let mut parts: Vec<(&[u8], Vec<u8>)> = Vec::new();
    for (key, value) in objects.iter().flat_map(|object| members(&object.raw)) {
        let value = value.raw.into_owned();
        match places.get(&*unquoted(key)) {
            Some(place) => {
                let (_, old): &mut (&[u8], Vec<u8>) = &mut parts[*place];
                *old = value;
            }
            None => {
                places.insert(unquoted(key).into_owned(), parts.len());
                parts.push((key, value));
            }
        }
    }
    let parts: Vec<_> = parts
        .iter()
        .map(|(key, value)| [key, &b":"[..], value].concat())
        .collect();
    bracketed(b'{', &parts, b'}')
}

/// The keys of an object; `null` for each element of an array, since it has no keys.
fn keys(json: &[u8]) -> Vec<u8> {
    let found = whole(json);
    let parts: Vec<Vec<u8>> = if found.is_object() {
        members(&found.raw).map(|(key, _)| key.to_vec()).collect()
    } else if found.is_array() {
        elements(&found.raw).map(|_| b"null".to_vec()).collect()
    } else if found.exists() {
        vec![b"null".to_vec()]
    } else {
        Vec::new()
    };
    bracketed(b'[', &parts, b']')
}

/// The values of an object; an array stays as it is, and a plain value becomes an array.
fn values(json: &[u8]) -> Vec<u8> {
    let found = whole(json);
    if found.is_array() {
        return json.to_vec();
    }
    let parts: Vec<Vec<u8>> = if found.is_object() {
        members(&found.raw)
            .map(|(_, value)| value.raw.into_owned())
            .collect()
    } else if found.exists() {
        vec![found.raw.into_owned()]
    } else {
        Vec::new()
    };
    bracketed(b'[', &parts, b']')
}

/// An object of arrays becomes an array of objects.
fn group(json: &[u8]) -> Vec<u8> {
    let found = whole(json);
    if !found.is_object() {
        return Vec::new();
    }
    let mut groups: Vec<Vec<Vec<u8>>> = Vec::new();
    for (key, value) in members(&found.raw).filter(|(_, value)| value.is_array()) {
        for (index, value) in elements(&value.raw).enumerate() {
            if index == groups.len() {
                groups.push(Vec::new());
            }
            groups[index].push(member(key, &value));
        }
    }
    let groups: Vec<_> = groups
        .iter()
        .map(|members| bracketed(b'{', members, b'}'))
        .collect();
    bracketed(b'[', &groups, b']')
}

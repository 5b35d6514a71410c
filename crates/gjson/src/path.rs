//! Pure: parsing the first step of a path: the key, the rest, and whether the rest is a new path on the found value.
//!
//! A path is never parsed as a whole. `find` asks for one step, which is read as a `key` if the text has an object
//! there and as an `element` if it has an array, and goes on with the rest. So the same path may mean different
//! things in different texts, and a mistake behind a step that leads nowhere is not seen, as in gjson.
//!
//! The functions follow `gjson.go` 1.18: `key` is `parseObjectPath`, `element` is `parseArrayPath`, `Query::read` is
//! `parseQuery`, `selection` is `parseSubSelectors`. Offsets are bytes; all that has a meaning is ASCII.

use std::borrow::Cow;

use crate::modifiers;
use crate::scan::{nested_end, string_end, trimmed, unquoted};

/// The rest of a path after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next<'p> {
    /// The step is the last one.
    Nothing,
    /// The path goes on inside.
    Inside(&'p [u8]),
    /// The rest is a new path on the found value.
    Pipe(&'p [u8]),
}

/// A step into an object.
///
/// `wild` says that the name has a `*` or `?` that is not escaped. A name without wildcards has lost its escapes;
/// with them, it keeps those, and `wildcard` reads them.
pub(crate) struct Key<'p> {
    pub(crate) name: Cow<'p, [u8]>,
    pub(crate) wild: bool,
    pub(crate) next: Next<'p>,
}

/// Whether the text after a dot is a path of its own: a modifier or a selection.
fn begins_path(rest: &[u8]) -> bool {
    match rest.first() {
        Some(b'@') => {
            let end = rest.iter().position(|byte| b".|:".contains(byte));
            modifiers::exists(&rest[1..end.unwrap_or(rest.len())])
        }
        Some(b'[' | b'{') => true,
        _ => false,
    }
}

/// After a dot, a modifier or a selection is a new path on the found value, as if a `|` stood there.
fn after_dot(rest: &[u8]) -> Next<'_> {
    if begins_path(rest) {
        Next::Pipe(rest)
    } else {
        Next::Inside(rest)
    }
}

/// Reads a step into an object, up to the first `.` or `|` that is not escaped. It cannot fail: every text is a name.
pub(crate) fn key(path: &[u8]) -> Key<'_> {
    let mut name = Cow::Borrowed(path);
    let mut wild = false;
    // An escape stands for its letter, which the name is copied for.
    let mut escaped: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        match byte {
            b'|' | b'.' => {
                name = match escaped {
                    Some(text) => Cow::Owned(text),
                    None => Cow::Borrowed(&path[..at]),
                };
                let rest = &path[at + 1..];
                let next = if *byte == b'|' {
                    Next::Pipe(rest)
                } else {
                    after_dot(rest)
                };
                return Key { name, wild, next };
            }
            b'\\' => {
                let text = escaped.get_or_insert_with(|| path[..at].to_vec());
                at += 1;
                text.extend(path.get(at));
            }
            _ => {
                wild |= matches!(byte, b'*' | b'?');
                if let Some(text) = &mut escaped {
                    text.push(*byte);
                }
            }
        }
        at += 1;
    }
    if let Some(text) = escaped {
        name = Cow::Owned(text);
    }
    Key {
        name,
        wild,
        next: Next::Nothing,
    }
}

/// A step into an array.
pub(crate) struct Element<'p> {
    pub(crate) what: What<'p>,
    pub(crate) next: Next<'p>,
}

/// What a step into an array asks for.
pub(crate) enum What<'p> {
    /// The index of an element; nothing if the key is no index.
    Index(Option<usize>),
    /// How many there are.
    Count,
    /// A path for each of them.
    Each(&'p [u8]),
    /// Those that a condition holds for: the first, or all.
    Query { query: Query<'p>, all: bool },
    /// Something with `#` that is neither.
    Unknown,
}

/// Reads a step into an array. A step with `#` takes the dot after it as `Inside`, even before a modifier, since the
/// rest is a path for each element.
pub(crate) fn element(path: &[u8]) -> Element<'_> {
    let mut query = None;
    let mut hash = false;
    let mut at = 0;
    let (part, next) = loop {
        let Some(byte) = path.get(at) else {
            break (path, Next::Nothing);
        };
        match byte {
            b'|' => break (&path[..at], Next::Pipe(&path[at + 1..])),
            b'.' => {
                let rest = &path[at + 1..];
                let next = if hash {
                    Next::Inside(rest)
                } else {
                    after_dot(rest)
                };
                break (&path[..at], next);
            }
            b'#' => {
                hash = true;
                if at == 0 && matches!(path.get(1), Some(b'[' | b'(')) {
                    let Some((found, end)) = Query::read(path) else {
                        break (path, Next::Nothing);
                    };
                    let all = path.get(end) == Some(&b'#');
                    query = Some(What::Query { query: found, all });
                    at = end - 1;
                }
            }
            _ => {}
        }
        at += 1;
    };
    let what = match (query, part, next) {
        (Some(query), ..) => query,
        (None, b"#", Next::Inside(rest)) => What::Each(rest),
        (None, b"#", _) => What::Count,
        _ if hash => What::Unknown,
        _ => What::Index(index(part)),
    };
    Element { what, next }
}

/// An index of digits alone.
fn index(part: &[u8]) -> Option<usize> {
    let digits = !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(part).ok().filter(|_| digits)?;
    text.parse().ok()
}

/// `#(path op value)`.
///
/// The path leads to what is compared in each element, and may be empty. The operator is one of `=`, `==` (kept as
/// `=`), `!=`, `<`, `<=`, `>`, `>=`, `%` and `!%`, or empty for a query that only asks whether the path leads
/// anywhere.
pub(crate) struct Query<'p> {
    pub(crate) path: &'p [u8],
    pub(crate) operator: &'p [u8],
    pub(crate) value: Cow<'p, [u8]>,
}

impl<'p> Query<'p> {
    /// Reads a query at the beginning of a path, and where it ends.
    fn read(path: &'p [u8]) -> Option<(Self, usize)> {
        let (mut at, mut depth) = (2, 1);
        let mut value_at = None;
        loop {
            let byte = *path.get(at)?;
            match byte {
                b'!' | b'=' | b'<' | b'>' | b'%' if depth == 1 && value_at.is_none() => {
                    value_at = Some(at);
                }
                b'\\' => at += 1,
                b'[' | b'(' => depth += 1,
                b']' | b')' => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                b'"' => at = string_end(path, at)? - 1,
                _ => {}
            }
            at += 1;
        }
        let Some(value_at) = value_at else {
            let query = Self {
                path: trimmed(&path[2..at]),
                operator: b"",
                value: Cow::Borrowed(b""),
            };
            return Some((query, at + 1));
        };
        let mut rest = trimmed(&path[value_at..at]);
        let length = match rest {
            [_] => 1,
            [b'!', b'=' | b'%', ..] | [b'<' | b'>', b'=', ..] => 2,
            [b'=', b'=', ..] => {
                rest = &rest[1..];
                1
            }
            [b'!', ..] => 0,
            _ => 1,
        };
        let (operator, value) = rest.split_at(length);
        let value = trimmed(value);
        let quoted = value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"");
        let query = Self {
            path: trimmed(&path[2..value_at]),
            operator,
            value: if quoted {
                unquoted(value)
            } else {
                Cow::Borrowed(value)
            },
        };
        Some((query, at + 1))
    }
}

/// A path cut at the first pipe that is outside of queries.
///
/// Inside of a query, and after a backslash, `|` is a letter like others.
pub(crate) fn split_pipe(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.contains(&b'|') {
        return None;
    }
    if path.first() == Some(&b'{') {
        let end = nested_end(path, 0);
        let rest = path.get(end..)?.strip_prefix(b"|")?;
        return Some((&path[..end], rest));
    }
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        match byte {
            b'\\' => at += 1,
            b'|' => return Some((&path[..at], &path[at + 1..])),
            b'.' if path.get(at + 1) == Some(&b'#')
                && matches!(path.get(at + 2), Some(b'[' | b'(')) =>
            {
                at = query_end(path, at + 2)?;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The bracket that closes the bracket at `at`; brackets of the other kind do not count.
fn query_end(path: &[u8], at: usize) -> Option<usize> {
    let open = path[at];
    let close = if open == b'[' { b']' } else { b')' };
    let (mut at, mut depth) = (at + 1, 1);
    loop {
        let byte = *path.get(at)?;
        if byte == b'\\' {
            at += 1;
        } else if byte == open {
            depth += 1;
        } else if byte == close {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        } else if byte == b'"' {
            at = string_end(path, at)? - 1;
        }
        at += 1;
    }
}

/// One of several paths of a selection, with the name it is to have.
pub(crate) struct Selected<'p> {
    pub(crate) name: &'p [u8],
    pub(crate) path: &'p [u8],
}

/// The paths of `[a,b]` or `{"x":a,b}`, and the rest of the path after it.
///
/// The result is nothing if the bracket is never closed; the path is then one of plain keys.
pub(crate) fn selection(path: &[u8]) -> Option<(Vec<Selected<'_>>, &[u8])> {
    let mut selected = Vec::new();
    let (mut at, mut start, mut depth) = (1, 1, 1);
    let (mut colon, mut modifier) = (None, false);
    let mut push = |start: usize, colon: Option<usize>, end: usize| {
        selected.push(match colon {
            None => Selected {
                name: b"",
                path: &path[start..end],
            },
            Some(colon) => Selected {
                name: &path[start..colon],
                path: &path[colon + 1..end],
            },
        });
    };
    loop {
        match *path.get(at)? {
            b'\\' => at += 1,
            // The colon of a modifier is for its argument.
            b'@' if matches!(path[at - 1], b'.' | b'|') => modifier = true,
            b':' if !modifier && colon.is_none() && depth == 1 => colon = Some(at),
            b',' if depth == 1 => {
                push(start, colon.take(), at);
                modifier = false;
                start = at + 1;
            }
            b'"' => at = string_end(path, at)? - 1,
            b'[' | b'(' | b'{' => depth += 1,
            b']' | b')' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    push(start, colon, at);
                    return Some((selected, &path[at + 1..]));
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// The last part of a path.
///
/// It names a selected value that has no name of its own. A modifier is a part, too: `{a.@keys}` gives `@keys`.
pub(crate) fn last_name(path: &[u8]) -> &[u8] {
    for at in (0..path.len()).rev() {
        let ends = matches!(path[at], b'|' | b'.');
        if ends && !(at > 0 && path[at - 1] == b'\\') {
            return &path[at + 1..];
        }
    }
    path
}

/// True for a name that can stand as a key.
pub(crate) fn is_simple(name: &[u8]) -> bool {
    !name
        .iter()
        .any(|byte| *byte < b' ' || b"[]{}()#|!".contains(byte))
}

//! Pure: functions on text.
//!
//! They are those of sprig's `strings.go`, which passes many on to Go's `strings` and to the packages goutils and
//! xstrings. Text is bytes, as in Go. What counts bytes there counts bytes here: `trunc`, `substr`, `abbrev` and
//! `wrap` cut a letter of several bytes into pieces, and the output is then no UTF-8. What goes through letters
//! (`upper`, `title`, `shuffle`) reads bytes that are no UTF-8 as U+FFFD.

use std::rc::Rc;

use super::words::{self, simple_upper};
use crate::builtins::string_of;
use crate::error::{Outcome, fault};
use crate::machine::Machine;
use crate::printf::{quote, to_text};
use crate::signature::{Row, any, bytes, int, text};
use crate::value::{Bytes, Element, Value};

/// What may surprise:
///
/// - `trimAll` and `trimall` take a set of characters, and not a prefix or suffix.
/// - `quote` and `cat` leave nil out; `quote` escapes as Go does: a byte that is no
///   UTF-8 becomes `\xff`, which YAML reads as the letter `ÿ`.
/// - `nindent` begins with a line break, so that it can stand after a key of YAML.
/// - `split` gives a map with the keys `_0`, `_1` and so on, whose fields a template can name; `splitList` gives a
///   list.
/// - `sortAlpha` and `join` take a single value for a list with one element.
/// - `plural` looks at its count only, and knows no grammar.
/// - `abbrev` with a width below 4 gives the text as it is, and so does `abbrevboth` if there is no room for its
///   dots.
/// - `randAlphaNum` and its kin take the random bytes of the environment.
pub(crate) const ROWS: &[Row] = &[
    ("hello", "", |_, _| Ok(Value::str("Hello!"))),
    ("trim", "s", |_, v| Ok(Value::str(text(v, 0).trim()))),
    ("trimAll", "ss", trim_all),
    ("trimall", "ss", trim_all),
    ("trimSuffix", "ss", |_, v| {
        let text = bytes(v, 1);
        Ok(Value::str(text.strip_suffix(bytes(v, 0)).unwrap_or(text)))
    }),
    ("trimPrefix", "ss", |_, v| {
        let text = bytes(v, 1);
        Ok(Value::str(text.strip_prefix(bytes(v, 0)).unwrap_or(text)))
    }),
    ("upper", "s", |_, v| {
        Ok(Value::str(mapped(&text(v, 0), simple_upper)))
    }),
    ("lower", "s", |_, v| {
        Ok(Value::str(mapped(&text(v, 0), simple_lower)))
    }),
    ("title", "s", |_, v| Ok(Value::str(title(&text(v, 0))))),
    ("untitle", "s", |_, v| Ok(Value::str(untitle(&text(v, 0))))),
    ("repeat", "is", repeat),
    ("substr", "iis", |_, v| {
        substring(int(v, 0), int(v, 1), bytes(v, 2))
    }),
    ("trunc", "is", |_, v| {
        Ok(Value::str(truncate(int(v, 0), bytes(v, 1))))
    }),
    ("nospace", "s", |_, v| {
        // goutils takes each byte for a character.
        let characters = bytes(v, 0).iter().map(|&byte| char::from(byte));
        Ok(Value::str(
            characters
                .filter(|c| !c.is_whitespace())
                .collect::<String>(),
        ))
    }),
    ("contains", "ss", |machine, v| {
        spend_find(machine, bytes(v, 1), bytes(v, 0))?;
        Ok(Value::Bool(find(bytes(v, 1), bytes(v, 0)).is_some()))
    }),
    ("hasPrefix", "ss", |_, v| {
        Ok(Value::Bool(bytes(v, 1).starts_with(bytes(v, 0))))
    }),
    ("hasSuffix", "ss", |_, v| {
        Ok(Value::Bool(bytes(v, 1).ends_with(bytes(v, 0))))
    }),
    ("replace", "sss", replace),
    ("quote", "w*", |_, v| {
        Ok(joined(v, |value| quote(&string_of(value), '"', false)))
    }),
    ("squote", "w*", |_, v| {
        Ok(joined(v, |value| [b"'", &*to_text(value), b"'"].concat()))
    }),
    ("cat", "w*", |_, v| Ok(joined(v, to_text))),
    ("indent", "is", |machine, v| {
        indent(machine, int(v, 0), bytes(v, 1), "")
    }),
    ("nindent", "is", |machine, v| {
        indent(machine, int(v, 0), bytes(v, 1), "\n")
    }),
    ("splitList", "ss", |machine, v| {
        Ok(Value::strings(split(
            machine,
            bytes(v, 1),
            bytes(v, 0),
            None,
        )?))
    }),
    ("split", "ss", |machine, v| {
        Ok(numbered(&split(machine, bytes(v, 1), bytes(v, 0), None)?))
    }),
    ("splitn", "sis", |machine, v| {
        let most = Some(int(v, 1));
        Ok(numbered(&split(machine, bytes(v, 2), bytes(v, 0), most)?))
    }),
    ("join", "sw", |machine, v| {
        let texts = texts_of(any(v, 1));
        machine.allocate(texts.len().saturating_mul(bytes(v, 0).len()))?;
        Ok(Value::str(texts.join(bytes(v, 0))))
    }),
    ("toString", "w", |_, v| Ok(Value::str(string_of(any(v, 0))))),
    ("toStrings", "w", |_, v| {
        Ok(Value::strings(texts_of(any(v, 0))))
    }),
    ("sortAlpha", "w", |_, v| {
        let mut texts = match any(v, 0) {
            list @ Value::List(..) => texts_of(list),
            other => vec![string_of(other)],
        };
        texts.sort();
        Ok(Value::strings(texts))
    }),
    ("plural", "ssi", |_, v| {
        Ok(v[usize::from(int(v, 2) != 1)].clone())
    }),
    ("abbrev", "is", |_, v| {
        let width = int(v, 0);
        Ok(Value::str(if width < 4 {
            bytes(v, 1).to_vec()
        } else {
            abbreviate(bytes(v, 1), 0, width)
        }))
    }),
    ("abbrevboth", "iis", |_, v| {
        let (left, right) = (int(v, 0), int(v, 1));
        Ok(Value::str(if right < 4 || (left > 0 && right < 7) {
            bytes(v, 2).to_vec()
        } else {
            abbreviate(bytes(v, 2), left, right)
        }))
    }),
    ("initials", "s", |_, v| {
        let text = text(v, 0);
        let firsts = text
            .split_whitespace()
            .filter_map(|word| word.bytes().next());
        Ok(Value::str(firsts.map(char::from).collect::<String>()))
    }),
    ("swapcase", "s", |_, v| {
        Ok(Value::str(swap_case(&text(v, 0))))
    }),
    ("snakecase", "s", |_, v| {
        Ok(Value::str(words::connected(&text(v, 0), '_')))
    }),
    ("kebabcase", "s", |_, v| {
        Ok(Value::str(words::connected(&text(v, 0), '-')))
    }),
    ("camelcase", "s", |_, v| {
        Ok(Value::str(words::camel(&text(v, 0))))
    }),
    ("wrap", "is", |_, v| {
        Ok(Value::str(wrap(bytes(v, 1), int(v, 0), b"\n", false)))
    }),
    ("wrapWith", "iss", |machine, v| {
        let separator = if bytes(v, 1).is_empty() {
            b"\n"
        } else {
            bytes(v, 1)
        };
        // A line ends at a space or at the width.
        let words = bytes(v, 2).split(|&byte| byte == b' ').count();
        let width = usize::try_from(int(v, 0)).unwrap_or(1).max(1);
        let lines = words + bytes(v, 2).len() / width;
        machine.allocate(lines.saturating_mul(separator.len()))?;
        Ok(Value::str(wrap(bytes(v, 2), int(v, 0), separator, true)))
    }),
    ("shuffle", "s", |machine, v| {
        machine.spend(bytes(v, 0).len() / 4)?;
        machine.allocate(bytes(v, 0).len().saturating_mul(5))?;
        let mut characters: Vec<char> = text(v, 0).chars().collect();
        for at in (1..characters.len()).rev() {
            characters.swap(at, below(machine, at + 1));
        }
        Ok(Value::str(characters.into_iter().collect::<String>()))
    }),
    ("randAlphaNum", "i", |machine, v| {
        random_text(
            machine,
            int(v, 0),
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
        )
    }),
    ("randAlpha", "i", |machine, v| {
        random_text(
            machine,
            int(v, 0),
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        )
    }),
    ("randNumeric", "i", |machine, v| {
        random_text(machine, int(v, 0), "0123456789")
    }),
    ("randAscii", "i", |machine, v| {
        let ascii: String = (' '..='~').collect();
        random_text(machine, int(v, 0), &ascii)
    }),
];

fn trim_all(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let (cut, text) = (text(values, 0), text(values, 1));
    // Each character of the text is looked for among those to cut.
    machine.spend(text.len().saturating_mul(cut.len()) / 4096)?;
    Ok(Value::str(text.trim_matches(|c| cut.contains(c))))
}

/// Maps each letter to exactly one letter, as Go's `strings.Map` with `unicode.ToUpper` does: `ß` stays as it is.
fn mapped(text: &str, map: fn(char) -> char) -> String {
    text.chars().map(map).collect()
}

/// `unicode.ToLower`.
fn simple_lower(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        // `İ` alone becomes two; Go takes the first.
        (Some(one), Some(_)) => one,
        _ => c,
    }
}

/// Go's `strings.Title`: a word begins after whatever is no letter, digit, underscore or mark.
fn title(text: &str) -> String {
    let mut before = ' ';
    text.chars()
        .map(|c| {
            let begins = if before.is_ascii() {
                !(before.is_ascii_alphanumeric() || before == '_')
            } else {
                !before.is_alphanumeric() && before.is_whitespace()
            };
            before = c;
            if begins { simple_upper(c) } else { c }
        })
        .collect()
}

/// goutils' `Uncapitalize`: the first letter of each word, where only white space ends a word.
fn untitle(text: &str) -> String {
    let mut begins = true;
    text.chars()
        .map(|c| {
            let mapped = if begins { simple_lower(c) } else { c };
            begins = c.is_whitespace();
            mapped
        })
        .collect()
}

/// goutils' `SwapCase`. The original makes a lower-case letter after white space a title letter; for all letters that
/// have one capital, that is the capital.
fn swap_case(text: &str) -> String {
    let mut after_space = true;
    text.chars()
        .map(|c| {
            if c.is_uppercase() {
                after_space = false;
                simple_lower(c)
            } else if c.is_lowercase() {
                after_space = false;
                simple_upper(c)
            } else {
                after_space = c.is_whitespace();
                c
            }
        })
        .collect()
}

/// `strings.Repeat`. The length of the result is charged before it is made.
fn repeat(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let Ok(count) = usize::try_from(int(values, 0)) else {
        return fault("strings: negative Repeat count");
    };
    let text = bytes(values, 1);
    machine.allocate(text.len().saturating_mul(count))?;
    Ok(Value::str(text.repeat(count)))
}

/// The rules are `substring` of sprig: a negative start means the beginning, and an end that is negative or too large
/// means the end of the text. A start beyond the end is an error, as the panic of Go's slice is.
fn substring(start: i64, end: i64, text: &[u8]) -> Outcome<Value> {
    let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let (from, to) = match (start, end) {
        (start, end) if start < 0 => (0, end),
        (start, end) if end < 0 || end > length => (start, length),
        pair => pair,
    };
    let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    match range.and_then(|(from, to)| text.get(from..to)) {
        Some(part) => Ok(Value::str(part)),
        None => fault("runtime error: slice bounds out of range"),
    }
}

/// The first bytes, or the last ones if the count is negative.
fn truncate(count: i64, text: &[u8]) -> &[u8] {
    let length = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if length >= text.len() {
        text
    } else if count < 0 {
        &text[text.len() - length..]
    } else {
        &text[..length]
    }
}

/// Charges a search: in the worst case, the part is compared at each place of the text.
fn spend_find(machine: &mut Machine<'_>, text: &[u8], part: &[u8]) -> Outcome<()> {
    machine.spend(text.len().saturating_mul(part.len()) / 16_384)
}

/// The offset of the first place of a part in a text; an empty part is found at once.
pub(crate) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

/// `strings.ReplaceAll`, which puts the new text around every letter if the old one is empty.
fn replace(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let (old, new, text) = (bytes(values, 0), bytes(values, 1), bytes(values, 2));
    spend_find(machine, text, old)?;
    let mut out = Vec::with_capacity(text.len());
    if old.is_empty() {
        // Between all characters, and at both ends.
        machine.allocate((text.len() + 1).saturating_mul(new.len()))?;
        for chunk in text.utf8_chunks() {
            for character in chunk.valid().chars() {
                out.extend_from_slice(new);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            for byte in chunk.invalid() {
                out.extend_from_slice(new);
                out.push(*byte);
            }
        }
        out.extend_from_slice(new);
        return Ok(Value::str(out));
    }
    let mut rest = text;
    while let Some(at) = find(rest, old) {
        machine.spend(1)?;
        machine.allocate(new.len())?;
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    out.extend_from_slice(rest);
    Ok(Value::str(out))
}

/// The texts of all arguments but nil, with spaces between them.
fn joined(values: &[Value], form: impl Fn(&Value) -> Vec<u8>) -> Value {
    let texts: Vec<Vec<u8>> = values
        .iter()
        .filter(|value| !matches!(value, Value::Nil))
        .map(form)
        .collect();
    Value::str(texts.join(&b' '))
}

/// Puts so many spaces after each line break and at the beginning, on empty lines, too. `before` stands in front of
/// all.
fn indent(machine: &mut Machine<'_>, spaces: i64, text: &[u8], before: &str) -> Outcome<Value> {
    let Ok(spaces) = usize::try_from(spaces) else {
        return fault("strings: negative Repeat count");
    };
    let lines = text.split(|&byte| byte == b'\n').count();
    machine.allocate(lines.saturating_add(1).saturating_mul(spaces))?;
    let padding = " ".repeat(spaces);
    let mut out = before.as_bytes().to_vec();
    out.extend_from_slice(padding.as_bytes());
    for &byte in text {
        out.push(byte);
        if byte == b'\n' {
            out.extend_from_slice(padding.as_bytes());
        }
    }
    Ok(Value::str(out))
}

/// `strings.SplitN`; without a separator, character by character.
///
/// `most` parts at most, of which the last has the rest; a negative number means all, and 0 none.
fn split<'t>(
    machine: &mut Machine<'_>,
    text: &'t [u8],
    separator: &[u8],
    most: Option<i64>,
) -> Outcome<Vec<&'t [u8]>> {
    let most = match most {
        Some(0) => return Ok(Vec::new()),
        Some(most) if most > 0 => usize::try_from(most).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    spend_find(machine, text, separator)?;
    let mut parts = Vec::new();
    let mut rest = text;
    if separator.is_empty() {
        machine.spend(text.len().min(most))?;
        machine.allocate(text.len().min(most).saturating_mul(PART_BYTES))?;
        for chunk in text.utf8_chunks() {
            let letters = chunk.valid().chars().map(char::len_utf8);
            for length in letters.chain(chunk.invalid().iter().map(|_| 1)) {
                if parts.len() + 1 >= most {
                    break;
                }
                let (one, after) = rest.split_at(length);
                parts.push(one);
                rest = after;
            }
        }
        if !rest.is_empty() {
            parts.push(rest);
        }
        return Ok(parts);
    }
    while parts.len() + 1 < most
        && let Some(at) = find(rest, separator)
    {
        machine.spend(1)?;
        machine.allocate(PART_BYTES)?;
        parts.push(&rest[..at]);
        rest = &rest[at + separator.len()..];
    }
    parts.push(rest);
    Ok(parts)
}

/// The memory of a part beside its text, in bytes: a slice, then a value of a list or an entry of a map.
const PART_BYTES: usize = 64;

/// The parts as a map of `_0`, `_1` and so on.
fn numbered(parts: &[&[u8]]) -> Value {
    let entries = parts.iter().enumerate().map(|(index, part)| {
        let key: Bytes = format!("_{index}").into_bytes().into();
        (key, Bytes::from(*part))
    });
    Value::Strings(Rc::new(entries.collect()))
}

/// The elements of a list as text, without nil; any other value is the only element.
pub(crate) fn texts_of(value: &Value) -> Vec<Vec<u8>> {
    match value {
        Value::Nil => Vec::new(),
        Value::List(values, Element::Int | Element::Uint8) => {
            values.iter().map(string_of).collect()
        }
        Value::List(values, _) => values
            .iter()
            .filter(|value| !matches!(value, Value::Nil))
            .map(string_of)
            .collect(),
        value => vec![string_of(value)],
    }
}

/// goutils' `AbbreviateFull`, counted in bytes.
///
/// At most `width` bytes from about `offset` on, with dots where something is left out. An offset up to 4 counts as
/// the beginning, because the dots would take as much room as what they stand for.
fn abbreviate(text: &[u8], offset: i64, width: i64) -> Vec<u8> {
    let (Ok(width), Ok(mut offset)) = (usize::try_from(width), usize::try_from(offset.max(0)))
    else {
        return text.to_vec();
    };
    if text.len() <= width {
        return text.to_vec();
    }
    offset = offset.min(text.len());
    if text.len() - offset < width - 3 {
        offset = text.len() - (width - 3);
    }
    const MARK: &[u8] = b"...";
    if offset <= 4 {
        return [&text[..width - 3], MARK].concat();
    }
    if width < 7 {
        return Vec::new();
    }
    if offset + width - 3 < text.len() {
        let width = i64::try_from(width - 3).unwrap_or(i64::MAX);
        return [MARK, &abbreviate(&text[offset..], 0, width)].concat();
    }
    [MARK, &text[text.len() - (width - 3)..]].concat()
}

/// goutils' `WrapCustom`, counted in bytes.
///
/// A line ends at the last space that fits. A longer word is cut if `breaks_words`, and else stands on a line of its
/// own. A width below 1 counts as 1. Line breaks of the text itself count as letters.
fn wrap(text: &[u8], width: i64, separator: &[u8], breaks_words: bool) -> Vec<u8> {
    let width = usize::try_from(width.max(1)).unwrap_or(usize::MAX);
    let mut out = Vec::new();
    let mut offset = 0;
    while text.len() - offset > width {
        if text[offset] == b' ' {
            offset += 1;
            continue;
        }
        let end = offset + width;
        let space = text[offset..=end].iter().rposition(|&byte| byte == b' ');
        if let Some(at) = space {
            out.extend_from_slice(&text[offset..offset + at]);
            out.extend_from_slice(separator);
            offset += at + 1;
        } else if breaks_words {
            out.extend_from_slice(&text[offset..end]);
            out.extend_from_slice(separator);
            offset = end;
        } else if let Some(at) = text[end..].iter().position(|&byte| byte == b' ') {
            out.extend_from_slice(&text[offset..end + at]);
            out.extend_from_slice(separator);
            offset = end + at + 1;
        } else {
            out.extend_from_slice(&text[offset..]);
            return out;
        }
    }
    out.extend_from_slice(&text[offset..]);
    out
}

/// A random number below a bound, each as likely as the others.
pub(crate) fn below(machine: &Machine<'_>, bound: usize) -> usize {
    let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
    // Numbers above the last whole multiple are drawn again.
    let limit = u64::MAX - u64::MAX % bound;
    loop {
        let mut random = [0; 8];
        machine.random(&mut random);
        let number = u64::from_le_bytes(random);
        if number < limit {
            return usize::try_from(number % bound).unwrap_or(0);
        }
    }
}

/// So many letters of an ASCII alphabet, each as likely as the others. A negative length counts as 0.
fn random_text(machine: &mut Machine<'_>, length: i64, alphabet: &str) -> Outcome<Value> {
    let length = usize::try_from(length).unwrap_or(0);
    machine.spend(length / 4)?;
    machine.allocate(length)?;
    let alphabet = alphabet.as_bytes();
    let text: Vec<u8> = (0..length)
        .map(|_| alphabet[below(machine, alphabet.len())])
        .collect();
    Ok(Value::str(text))
}

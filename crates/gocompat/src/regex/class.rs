//! Pure: character classes and escapes, in Go's syntax, to classes of the `regex` crate.
//!
//! Inside the printed brackets stand only ranges of escaped characters and classes in brackets of their own, so no
//! character of the pattern can get a meaning that it has in the `regex` crate alone.

use super::error::{ErrorCode, SyntaxError, read_between};
use super::node::Fold;
use super::unicode;

/// A class that matches nothing.
pub(super) const NOTHING: &str = r"[^\x00-\x{10FFFF}]";
const ANYTHING: &str = r"[\x00-\x{10FFFF}]";

/// The names that `[[:name:]]` may have; they mean the same ASCII characters in both syntaxes.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

const MAX_CODE_POINT: u32 = 0x10_FFFF;

type Parsed<T> = Result<T, SyntaxError>;

fn fail<T>(code: ErrorCode, expression: &str) -> Parsed<T> {
    Err(SyntaxError::new(code, expression))
}

fn folded(class: String, fold: Fold) -> String {
    match fold {
        Fold::Exact => class,
        Fold::AnyCase => format!("(?i:{class})"),
    }
}

/// Parses a class from its opening bracket on. Gives it in the syntax of the `regex` crate, and the text after it.
pub(super) fn parse_class(text: &str, fold: Fold) -> Parsed<(String, &str)> {
    let mut rest = text.get(1..).unwrap_or_default();
    let negated = rest.strip_prefix('^');
    rest = negated.unwrap_or(rest);
    let mut items = String::new();
    let mut first = true;
    loop {
        // A bracket that comes first is a literal.
        if let Some(after) = rest.strip_prefix(']').filter(|_| !first) {
            let class = match (items.is_empty(), negated.is_some()) {
                (true, false) => NOTHING.to_owned(),
                (true, true) => ANYTHING.to_owned(),
                (false, false) => format!("[{items}]"),
                (false, true) => format!("[^{items}]"),
            };
            return Ok((folded(class, fold), after));
        }
        first = false;
        rest = parse_item(text, rest, &mut items)?;
    }
}

/// Parses a part of a class, prints it, and gives the text after it.
fn parse_item<'p>(class: &'p str, text: &'p str, items: &mut String) -> Parsed<&'p str> {
    if let Some((name, rest)) = text.strip_prefix("[:").and_then(|t| t.split_once(":]")) {
        let plain = name.strip_prefix('^').unwrap_or(name);
        if !POSIX_CLASSES.contains(&plain) {
            return fail(ErrorCode::InvalidCharRange, read_between(text, rest));
        }
        items.push_str(&format!("[:{name}:]"));
        return Ok(rest);
    }
    if let Some((shorthand, rest)) = parse_shorthand(text, Fold::Exact)? {
        items.push_str(&shorthand);
        return Ok(rest);
    }
    let (low, mut rest) = parse_class_char(class, text)?;
    let mut high = low;
    // A dash before the closing bracket is a literal.
    let range = rest.strip_prefix('-');
    if let Some(after) = range.filter(|after| !after.is_empty() && !after.starts_with(']')) {
        (high, rest) = parse_class_char(class, after)?;
        if high < low {
            return fail(ErrorCode::InvalidCharRange, read_between(text, rest));
        }
    }
    push_range(items, low, high);
    Ok(rest)
}

fn parse_class_char<'p>(class: &str, text: &'p str) -> Parsed<(u32, &'p str)> {
    match text.chars().next() {
        None => fail(ErrorCode::MissingBracket, class),
        Some('\\') => parse_escape(text),
        Some(c) => Ok((u32::from(c), after(text, c))),
    }
}

/// Prints a range of code points without the surrogates, which no text has.
fn push_range(items: &mut String, low: u32, high: u32) {
    let low = if (0xD800..0xE000).contains(&low) {
        0xE000
    } else {
        low
    };
    let high = if (0xD800..0xE000).contains(&high) {
        0xD7FF
    } else {
        high
    };
    if low <= high {
        items.push_str(&format!("\\x{{{low:X}}}-\\x{{{high:X}}}"));
    }
}

/// Parses `\d`, `\w`, `\s`, `\pN`, `\p{Name}` and their negations. The result stands for itself or inside brackets.
pub(super) fn parse_shorthand(text: &str, fold: Fold) -> Parsed<Option<(String, &str)>> {
    let Some(rest) = text.strip_prefix('\\') else {
        return Ok(None);
    };
    let Some(letter) = rest.chars().next() else {
        return Ok(None);
    };
    let class = match letter {
        'd' => "[0-9]",
        'w' => "[0-9A-Za-z_]",
        's' => r"[\t\n\f\r ]",
        'D' => "[^0-9]",
        'W' => "[^0-9A-Za-z_]",
        'S' => r"[^\t\n\f\r ]",
        'p' | 'P' => return parse_property(text, fold).map(Some),
        _ => return Ok(None),
    };
    let class = folded(class.to_owned(), fold);
    Ok(Some((class, after(rest, letter))))
}

/// Parses `\pN`, `\p{Name}`, `\p{^Name}`, and these with `\P`.
fn parse_property(text: &str, fold: Fold) -> Parsed<(String, &str)> {
    let rest = text.get(2..).unwrap_or_default();
    let (name, rest) = match rest.strip_prefix('{') {
        Some(rest) => match rest.split_once('}') {
            Some(parts) => parts,
            None => return fail(ErrorCode::InvalidCharRange, text),
        },
        None => rest.split_at(rest.chars().next().map_or(0, char::len_utf8)),
    };
    let (is_inverted, plain) = match name.strip_prefix('^') {
        Some(plain) => (true, plain),
        None => (false, name),
    };
    let Some(property) = unicode::property(plain) else {
        return fail(ErrorCode::InvalidCharRange, read_between(text, rest));
    };
    let is_negated = text.starts_with(r"\P") != is_inverted;
    let class = match (property, is_negated) {
        (unicode::Property::Surrogates, false) => NOTHING.to_owned(),
        (unicode::Property::Surrogates, true) => ANYTHING.to_owned(),
        (unicode::Property::Named(name), false) => format!("\\p{{{name}}}"),
        (unicode::Property::Named(name), true) => format!("\\P{{{name}}}"),
    };
    Ok((folded(class, fold), rest))
}

/// Parses an escape that stands for a single code point, and gives the text after it.
pub(super) fn parse_escape(text: &str) -> Parsed<(u32, &str)> {
    let rest = text.get(1..).unwrap_or_default();
    let Some(c) = rest.chars().next() else {
        return fail(ErrorCode::TrailingBackslash, "");
    };
    let rest = after(rest, c);
    let code_point = match c {
        'a' => 0x07,
        'f' => 0x0C,
        'n' => 0x0A,
        'r' => 0x0D,
        't' => 0x09,
        'v' => 0x0B,
        'x' => return parse_hexadecimal(text, rest),
        // A single digit would be a backreference, which RE2 does not have.
        '0' => return Ok(parse_octal(0, rest)),
        '1'..='7' if rest.starts_with(|c| matches!(c, '0'..='7')) => {
            return Ok(parse_octal(u32::from(c) - u32::from('0'), rest));
        }
        // Characters that are no word characters always stand for themselves.
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
        _ => return fail(ErrorCode::InvalidEscape, read_between(text, rest)),
    };
    Ok((code_point, rest))
}

/// Up to two more octal digits.
fn parse_octal(first: u32, text: &str) -> (u32, &str) {
    let (mut value, mut rest) = (first, text);
    for _ in 0..2 {
        let Some(digit) = rest.chars().next().and_then(|c| c.to_digit(8)) else {
            break;
        };
        value = value * 8 + digit;
        rest = rest.get(1..).unwrap_or_default();
    }
    (value, rest)
}

/// Two digits, or any number of digits in braces. `escape` is the whole text from the backslash on.
fn parse_hexadecimal<'p>(escape: &str, text: &'p str) -> Parsed<(u32, &'p str)> {
    let mut characters = text.chars();
    let invalid = |rest: &str| fail(ErrorCode::InvalidEscape, read_between(escape, rest));
    let Some(first) = characters.next() else {
        return invalid(text);
    };
    if first != '{' {
        // Go reads two characters before it looks at them.
        let second = characters.next();
        let digits = first.to_digit(16).zip(second.and_then(|c| c.to_digit(16)));
        let rest = characters.as_str();
        return match digits {
            Some((high, low)) => Ok((high * 16 + low, rest)),
            None => invalid(rest),
        };
    }
    let mut value = None;
    for c in characters.by_ref() {
        if c == '}' {
            break;
        }
        let larger = c
            .to_digit(16)
            .map(|digit| value.unwrap_or(0) * 16 + digit)
            .filter(|value| *value <= MAX_CODE_POINT);
        if larger.is_none() {
            return invalid(characters.as_str());
        }
        value = larger;
    }
    let rest = characters.as_str();
    match value.filter(|_| read_between(escape, rest).ends_with('}')) {
        Some(value) => Ok((value, rest)),
        None => invalid(rest),
    }
}

/// The text after its first character.
fn after(text: &str, first: char) -> &str {
    text.get(first.len_utf8()..).unwrap_or_default()
}

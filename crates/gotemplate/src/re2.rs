//! Pure: RE2's syntax, which Go's `regexp` has, in terms of the `regex` crate: classes mean ASCII, `\Q…\E` quotes,
//! a bracket within a class is plain, and repeats are bounded.

use regex::{Regex, RegexBuilder};

/// Go refuses repeats beyond this.
const MAX_REPEAT: u32 = 1000;
/// Bytes that a compiled pattern may take.
const MAX_SIZE: usize = 1 << 20;

/// Compiles a pattern.
///
/// # Errors
/// What is wrong with it, without its text.
pub fn compile(pattern: &str) -> Result<Regex, &'static str> {
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated)
        .size_limit(MAX_SIZE)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "expression too large",
            _ => "invalid syntax",
        })
}

fn translate(pattern: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut class: Option<usize> = None;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match (c, class) {
            ('\\', _) => rest = escape(rest, class.is_some(), &mut out)?,
            ('[', None) => {
                out.push('[');
                if let Some(after) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = after;
                }
                // A bracket that comes first is plain.
                if let Some(after) = rest.strip_prefix(']') {
                    out.push_str("\\]");
                    rest = after;
                }
                class = Some(out.len());
            }
            (']', Some(_)) => {
                out.push(']');
                class = None;
            }
            ('[', Some(_)) if rest.starts_with(':') => {
                let end = rest.find(":]").ok_or("invalid character class range")?;
                out.push('[');
                out.push_str(&rest[..end + 2]);
                rest = &rest[end + 2..];
            }
            ('[' | '&' | '~', Some(_)) => {
                out.push('\\');
                out.push(c);
            }
            ('-', Some(_)) if rest.starts_with('-') => out.push_str("\\-"),
            ('{', None) => {
                check_repeat(rest)?;
                let is_repeat = rest.starts_with(|c: char| c.is_ascii_digit())
                    && rest.find('}').is_some_and(|end| {
                        rest[..end].chars().all(|c| c.is_ascii_digit() || c == ',')
                    });
                if !is_repeat {
                    out.push('\\');
                }
                out.push('{');
            }
            _ => out.push(c),
        }
    }
    match class {
        None => Ok(out),
        Some(_) => Err("missing closing ]"),
    }
}

fn escape<'r>(rest: &'r str, in_class: bool, out: &mut String) -> Result<&'r str, &'static str> {
    let c = rest.chars().next().ok_or("trailing backslash")?;
    let after = &rest[c.len_utf8()..];
    let ascii = match c {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => "\\t\\n\\f\\r ",
        'D' if !in_class => "^0-9",
        'W' if !in_class => "^0-9A-Za-z_",
        'S' if !in_class => "^\\t\\n\\f\\r ",
        'D' => "[^0-9]",
        'W' => "[^0-9A-Za-z_]",
        'S' => "[^\\t\\n\\f\\r ]",
        'b' if !in_class => {
            out.push_str("(?-u:\\b)");
            return Ok(after);
        }
        'B' if !in_class => {
            out.push_str("(?-u:\\B)");
            return Ok(after);
        }
        'Q' => {
            let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(quoted));
            return Ok(after);
        }
        '1'..='9' => return Err("invalid escape sequence"),
        'p' | 'P' | 'x' | 'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'A' | 'z' | '0' => {
            out.push('\\');
            out.push(c);
            return Ok(after);
        }
        c if c.is_ascii_punctuation() => {
            out.push_str(&regex::escape(&c.to_string()));
            // Punctuation that has no meaning stays itself.
            return Ok(after);
        }
        c if c.is_ascii_alphanumeric() => return Err("invalid escape sequence"),
        c => {
            out.push(c);
            return Ok(after);
        }
    };
    if in_class {
        out.push_str(ascii);
    } else {
        out.push('[');
        out.push_str(ascii);
        out.push(']');
    }
    Ok(after)
}

fn check_repeat(rest: &str) -> Result<(), &'static str> {
    let inside = rest.split('}').next().unwrap_or_default();
    let too_many = inside
        .split(',')
        .filter_map(|number| number.parse::<u32>().ok())
        .any(|number| number > MAX_REPEAT);
    if too_many {
        return Err("invalid repeat count");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let is_match = |pattern: &str, text: &str| compile(pattern).unwrap().is_match(text);
        assert!(!is_match(r"^\d+$", "٣"));
        assert!(is_match(r"^[\w.]+$", "a_1.b"));
        assert!(!is_match(r"^\w+$", "é"));
        assert!(is_match(r"^\Qa.b\E$", "a.b"));
        assert!(is_match(r"^[[a]+$", "[a"));
        assert!(is_match(r"^[a&&b]+$", "a&b"));
        assert!(is_match("^a{,2}$", "a{,2}"));
        assert!(is_match(r"^[[:alpha:]]+$", "ab"));
        for bad in [r"(?=a)", r"\1", "(", "[a", "a{1001}", r"\K"] {
            assert!(compile(bad).is_err(), "{bad}");
        }
    }
}

//! The paths that code names (`a::b::c`), with imports spread out: `use a::{b, c::d}` names `a::b` and `a::c::d`.

/// A path, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) position: usize,
    pub(crate) segments: Vec<String>,
    /// The name that `pub use` gives it for others.
    pub(crate) exported: Option<String>,
}

impl Named {
    pub(crate) fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// Every path in code without comments and literals.
pub(crate) fn paths(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    let mut is_public = false;
    while let Some((position, token)) = tokens.get(at) {
        if *token == "use" {
            at = import(&tokens, at + 1, &mut Vec::new(), is_public, &mut found);
        } else if is_word(token) && tokens.get(at + 1).is_some_and(|next| next.1 == "::") {
            let mut segments = vec![(*token).to_owned()];
            while let [(_, "::"), (_, next), ..] = &tokens[at + 1..]
                && is_word(next)
            {
                segments.push((*next).to_owned());
                at += 2;
            }
            found.push(Named {
                position: *position,
                segments,
                exported: None,
            });
        }
        let token = tokens.get(at).map_or("", |token| token.1);
        is_public = token == "pub" || (is_public && matches!(token, "(" | ")" | "crate" | "super"));
        at += 1;
    }
    found
}

/// Reads one tree of an import, and gives the position of what ends it: `,`, `}` or `;`.
fn import(
    tokens: &[(usize, &str)],
    start: usize,
    prefix: &mut Vec<String>,
    is_public: bool,
    found: &mut Vec<Named>,
) -> usize {
    let depth = prefix.len();
    let mut at = start;
    let mut alias = None;
    while let Some((position, token)) = tokens.get(at) {
        match *token {
            "::" => {}
            "as" => {
                at += 1;
                alias = tokens.get(at).map(|token| token.1.to_owned());
            }
            "{" => {
                loop {
                    at = import(tokens, at + 1, prefix, is_public, found);
                    if tokens.get(at).is_none_or(|token| token.1 != ",") {
                        break;
                    }
                }
                prefix.truncate(depth);
                return at + 1;
            }
            "," | "}" | ";" => {
                if prefix.len() > depth {
                    // `self` at the end is the module itself; at the beginning it is where we are.
                    if prefix.len() > 1 && prefix.last().is_some_and(|last| last == "self") {
                        prefix.pop();
                    }
                    let exported = is_public
                        .then(|| alias.or_else(|| prefix.last().cloned()))
                        .flatten();
                    found.push(Named {
                        position: *position,
                        segments: prefix.clone(),
                        exported,
                    });
                }
                prefix.truncate(depth);
                return at;
            }
            word => prefix.push(word.to_owned()),
        }
        at += 1;
    }
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Words, `::`, and every other character that is no space.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = code[at..].chars().next() {
        let rest = &code[at..];
        let length = if is_word(rest) {
            rest.find(|next: char| !next.is_alphanumeric() && next != '_')
                .unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push((at, &rest[..length]));
        }
        at += length;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(code: &str) -> Vec<String> {
        paths(code).iter().map(Named::text).collect()
    }

    #[test]
    fn imports_are_spread_out() {
        let cases: [(&str, &[&str]); 6] = [
            ("use a::b;", &["a::b"]),
            (
                "use std::{fs, io::{self, Read as _}};",
                &["std::fs", "std::io", "std::io::Read"],
            ),
            (
                "use a::{b::{c, d}, e}; fn f() {}",
                &["a::b::c", "a::b::d", "a::e"],
            ),
            ("pub(crate) use self::a::*;", &["self::a::*"]),
            ("fn a() -> b::C { d::e::<F>(g) }", &["b::C", "d::e"]),
            ("use a;", &["a"]),
        ];
        for (code, expected) in cases {
            assert_eq!(texts(code), expected, "{code}");
        }
    }

    #[test]
    fn exports_are_known_by_their_new_name() {
        let exported = |code: &str| -> Vec<Option<String>> {
            paths(code).into_iter().map(|path| path.exported).collect()
        };
        assert_eq!(exported("pub(crate) use a::B;"), [Some("B".to_owned())]);
        assert_eq!(exported("pub use a::{B as C};"), [Some("C".to_owned())]);
        assert_eq!(exported("use a::B;"), [None]);
        assert_eq!(exported("pub fn a() {} use b::C;"), [None]);
    }
}

//! Rust text for the rules: code without comments and literals, and a file without its tests.

/// The text with every comment, string and character literal replaced by spaces.
///
/// Length, line breaks and byte offsets stay the same, so a position in the answer is a position in the text.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut blank = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = opaque_end(bytes, at);
        match end {
            Some(end) => {
                erase(&mut blank[at..end]);
                at = end;
            }
            None => at = after_word(bytes, at),
        }
    }
    String::from_utf8(blank).expect("only whole literals and comments are replaced, by spaces")
}

/// The text without its test items: what is under `#[cfg(test)]` or `#[test]` is replaced by spaces.
///
/// A cut item is one module, function, import, constant, type, implementation, field, variant or statement, with all of
/// its attributes. Code after the item stays, wherever the attribute stands in the file.
pub(crate) fn product(text: &str) -> String {
    let code = code(text);
    let mut kept = text.as_bytes().to_vec();
    let mut at = 0;
    while let Some(start) = code[at..].find('#').map(|found| at + found) {
        let Some(attribute) = Attribute::at(&code, start) else {
            at = start + 1;
            continue;
        };
        if !attribute.is_test() {
            at = attribute.end;
            continue;
        }
        let end = if attribute.is_inner {
            text.len()
        } else {
            item_end(&code, attribute.end)
        };
        erase(&mut kept[start..end]);
        at = end;
    }
    String::from_utf8(kept).expect("only whole items are replaced, by spaces")
}

/// The names of modules that exist in tests alone and have a file of their own.
pub(crate) fn test_modules(text: &str) -> Vec<String> {
    let all = modules(&code(text));
    let kept = modules(&code(&product(text)));
    all.into_iter()
        .filter(|name| !kept.contains(name))
        .collect()
}

/// The names of `mod name;` declarations.
fn modules(code: &str) -> Vec<String> {
    let declarations = code.split(';').filter_map(|declaration| {
        let mut words = declaration.split_whitespace().rev();
        let name = words.next()?;
        (words.next()? == "mod").then(|| name.to_owned())
    });
    declarations.collect()
}

/// The position of the bracket that closes the one at `open`.
pub(crate) fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(offset);
                }
            }
            _ => {}
        }
    }
    None
}

/// The identifiers and keywords of a code, with their positions.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + code[at..].find(is_word)?;
        let rest = &code[start..];
        let length = rest.find(|character| !is_word(character));
        let end = length.map_or(code.len(), |length| start + length);
        at = end;
        Some((start, &code[start..end]))
    })
}

/// The number of the line that a position is in, from 1.
pub(crate) fn line_of(text: &str, position: usize) -> usize {
    text[..position].matches('\n').count() + 1
}

struct Attribute {
    /// What stands between the brackets, without spaces.
    content: String,
    /// `#![…]`, which concerns all of the file.
    is_inner: bool,
    /// The position after the closing bracket.
    end: usize,
}

impl Attribute {
    fn at(code: &str, start: usize) -> Option<Self> {
        let rest = code[start..].strip_prefix('#')?;
        let (is_inner, rest) = match rest.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if !rest.starts_with('[') {
            return None;
        }
        let open = code.len() - rest.len();
        let close = closing(code, open)?;
        let content = code[open + 1..close].split_whitespace().collect();
        Some(Self {
            content,
            is_inner,
            end: close + 1,
        })
    }

    fn is_test(&self) -> bool {
        let content = self.content.as_str();
        content == "test"
            || content.ends_with("::test")
            || content == "cfg(test)"
            || content.starts_with("cfg(all(test,")
    }
}

/// The position after the item that begins at `start`, which may have more attributes.
fn item_end(code: &str, start: usize) -> usize {
    let mut at = start;
    loop {
        at += code[at..].len() - code[at..].trim_start().len();
        match Attribute::at(code, at) {
            Some(attribute) => at = attribute.end,
            None => break,
        }
    }
    let form = Form::of(&code[at..]);
    while let Some(byte) = code.as_bytes().get(at) {
        match byte {
            b';' => return at + 1,
            b',' if form == Form::Part => return at + 1,
            b'(' | b'[' => at = closing(code, at).unwrap_or(code.len() - 1),
            b'{' => {
                at = closing(code, at).unwrap_or(code.len() - 1);
                if form != Form::UpToSemicolon {
                    let ends_in_comma = form == Form::Part && code[at + 1..].starts_with(',');
                    return at + 1 + usize::from(ends_in_comma);
                }
            }
            // The end of what the part stands in.
            b')' | b']' | b'}' => return at,
            _ => {}
        }
        at += 1;
    }
    code.len()
}

/// Where an item ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `use a::{b, c};`, `const A: B = B { … };`, `let a = { … };`
    UpToSemicolon,
    /// At its block, or at a semicolon if it has none: functions, modules, types, implementations.
    UpToBlock,
    /// A field, a variant, an arm or an expression.
    Part,
}

impl Form {
    fn of(code: &str) -> Self {
        let mut is_constant = false;
        for (_, word) in words(code) {
            match word {
                "fn" | "mod" | "struct" | "enum" | "trait" | "union" | "impl" | "macro_rules" => {
                    return Self::UpToBlock;
                }
                "const" => is_constant = true,
                "use" | "static" | "type" | "let" => return Self::UpToSemicolon,
                // A visibility, and what may stand before `fn`.
                "pub" | "crate" | "super" | "self" | "in" | "async" | "unsafe" | "extern" => {}
                _ => break,
            }
        }
        if is_constant {
            Self::UpToSemicolon
        } else {
            Self::Part
        }
    }
}

/// The position after the comment or literal that begins at `at`, if there is one.
fn opaque_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        let line = rest.iter().position(|byte| *byte == b'\n');
        return Some(line.map_or(bytes.len(), |line| at + line));
    }
    if rest.starts_with(b"/*") {
        return Some(block_comment_end(bytes, at));
    }
    if let Some(open) = raw_string_open(rest) {
        let prefix = rest.iter().take_while(|byte| byte.is_ascii_alphabetic());
        let hashes = open - prefix.count();
        return Some(raw_string_end(bytes, at + open + 1, hashes));
    }
    match rest {
        [b'"', ..] => Some(quoted_end(bytes, at + 1, b'"')),
        [b'b' | b'c', b'"', ..] => Some(quoted_end(bytes, at + 2, b'"')),
        [b'b', b'\'', ..] => Some(quoted_end(bytes, at + 2, b'\'')),
        [b'\'', b'\\', ..] => Some(quoted_end(bytes, at + 1, b'\'')),
        [b'\'', first, ..] => {
            let width = match first {
                0x00..0x80 => 1,
                0x80..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            // Otherwise it is a lifetime or a label.
            (rest.get(1 + width) == Some(&b'\'')).then_some(at + 2 + width)
        }
        _ => None,
    }
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The offset of the opening quote of `r"`, `r#"`, `br#"` or `cr"`.
fn raw_string_open(rest: &[u8]) -> Option<usize> {
    let prefix = match rest {
        [b'r', ..] => 1,
        [b'b' | b'c', b'r', ..] => 2,
        _ => return None,
    };
    let hashes = rest[prefix..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    (rest.get(prefix + hashes) == Some(&b'"')).then_some(prefix + hashes)
}

fn raw_string_end(bytes: &[u8], start: usize, hashes: usize) -> usize {
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let found = bytes[start..]
        .windows(end.len())
        .position(|window| window == end.as_slice());
    found.map_or(bytes.len(), |found| start + found + end.len())
}

fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            byte if *byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A letter before a quote is a prefix only where a word begins, so words are stepped over whole.
fn after_word(bytes: &[u8], at: usize) -> usize {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    let length = bytes[at..].iter().take_while(|byte| is_word(byte)).count();
    at + length.max(1)
}

fn erase(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left, without empty lines.
    fn left(text: &str) -> String {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// With one space for many.
    fn squeezed(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let cases = [
            ("a // b {\n c", "a c"),
            ("a /* { /* } */ } */ b", "a b"),
            (r#"x("a } \" }", y)"#, "x( , y)"),
            (r##"x(r#"a " } "#, y)"##, "x( , y)"),
            (r#"x(b"}", c"}", br"}")"#, "x( , , )"),
            ("x('}', '\\'', b'{', 'é')", "x( , , , )"),
            ("fn a<'a>(b: &'a str) {}", "fn a<'a>(b: &'a str) {}"),
            (
                "'outer: loop { break 'outer }",
                "'outer: loop { break 'outer }",
            ),
            ("r#type { attr \"}\" }", "r#type { attr }"),
        ];
        for (text, expected) in cases {
            assert_eq!(squeezed(&code(text)), expected);
            assert_eq!(code(text).len(), text.len(), "offsets stay");
        }
        let text = "let a = \"é\n\";\n";
        assert_eq!(code(text).len(), text.len(), "offsets stay");
        assert_eq!(code(text).lines().count(), 2, "lines stay");
    }

    #[test]
    fn test_items_are_cut_and_what_follows_stays() {
        let kept = "fn kept() {}";
        let items = [
            "#[cfg(test)]\nmod tests;",
            "#[cfg(test)]\nmod tests { fn a() { '}' } }",
            "#[cfg(test)]\npub(crate) fn a(b: [u8; 2]) -> String { \"}\".to_owned() /* } */ }",
            "#[cfg(test)]\nuse a::{b, c};",
            "#[cfg(test)]\npub(crate) const A: B = B { c: [1; 2] };",
            "#[cfg(test)]\nconst fn a() -> u8 { 1 }",
            "#[cfg(test)]\nstatic A: &[u8] = &[b'}'];",
            "#[cfg(test)]\nimpl A { fn b(&self) { let c = 'a'; } }",
            "#[cfg(test)]\nimpl<T> A for B<T> where T: C { fn d() {} }",
            "#[cfg(test)]\n#[expect(dead_code, reason = \"a { b\")]\npub(super) struct A(u8);",
            "#[ cfg( test ) ]\nmacro_rules! a { () => { } }",
            "#[cfg(all(test, unix))]\nasync fn a() {}",
            "#[test]\nfn a() { assert!(true); }",
            "#[tokio::test]\nasync fn a() { b().await; }",
        ];
        for item in items {
            let text = format!("use a;\n{item}\n{kept}\n");
            assert_eq!(left(&product(&text)), format!("use a;\n{kept}"), "{item}");
        }
    }

    #[test]
    fn parts_of_types_and_bodies_are_cut() {
        let cases = [
            ("enum A { #[cfg(test)] B(C), D }", "enum A { D }"),
            ("struct A { b: C, #[cfg(test)] d: E }", "struct A { b: C, }"),
            (
                "match a { #[cfg(test)] B => { c }, D => e }",
                "match a { D => e }",
            ),
            (
                "match a { #[cfg(test)] B => c(d, e), D => e }",
                "match a { D => e }",
            ),
            ("{ #[cfg(test)] a(b, c); d(); }", "{ d(); }"),
            ("{ #[cfg(test)] let a = { b }; d(); }", "{ d(); }"),
        ];
        for (text, expected) in cases {
            assert_eq!(squeezed(&product(text)), expected);
        }
    }

    #[test]
    fn other_attributes_cut_nothing() {
        for text in [
            "#[cfg(not(test))]\nfn a() {}",
            "#[cfg(unix)]\nfn a() {}",
            "// #[cfg(test)]\nfn a() {}",
            "const A: &str = \"#[cfg(test)]\";\nfn a() {}",
            "#[derive(Debug)]\nstruct A;",
        ] {
            assert_eq!(product(text), text);
        }
        assert_eq!(product("#![cfg(test)]\nfn a() {}").trim(), "");
    }

    #[test]
    fn modules_of_tests_are_known() {
        let text =
            "mod a;\n#[cfg(test)]\nmod cases;\npub(crate) mod b;\n#[cfg(test)]\nmod tests { }\n";
        assert_eq!(test_modules(text), ["cases"]);
    }
}

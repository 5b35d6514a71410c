//! Sizes: lines of code of files and functions, share of docs, lines of tests.
//!
//! `cargo test --test tidy the_shape -- --nocapture` prints them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::circles::circles;
use crate::source::Source;
use crate::text::{self, closing, line_of, words};

/// A function and how long it is, from the line of `fn` to the line of its closing brace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) position: usize,
    pub(crate) lines: usize,
}

/// The functions with a body in code without comments and literals, in order.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut words = words(code).peekable();
    while let Some((position, word)) = words.next() {
        if word != "fn" {
            continue;
        }
        // Without a name it is the type of a function.
        let Some((start, name)) = words.peek().copied() else {
            break;
        };
        if !code[position + 2..start].trim().is_empty() {
            continue;
        }
        if let Some(end) = body(code, start).and_then(|open| closing(code, open)) {
            found.push(Function {
                name: name.to_owned(),
                position,
                lines: line_of(code, end) - line_of(code, position) + 1,
            });
        }
    }
    found
}

/// The position of the brace that opens the body of the function whose name is at `start`.
fn body(code: &str, start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        match code.as_bytes().get(at)? {
            b'{' => return Some(at),
            b';' => return None,
            b'(' | b'[' => at = closing(code, at)?,
            _ => {}
        }
        at += 1;
    }
}

/// Lines with code, neither empty nor comment alone: those of the product, or all of a file of tests.
pub(crate) fn lines_of_code(source: &Source) -> usize {
    if source.is_test {
        count_code(&source.text)
    } else {
        count_code(&text::product(&source.text))
    }
}

fn count_code(text: &str) -> usize {
    let mut is_in_comment = false;
    let is_code = |line: &&str| {
        let line = line.trim();
        if is_in_comment {
            is_in_comment = !line.ends_with("*/");
            return false;
        }
        if line.starts_with("/*") {
            is_in_comment = !line.ends_with("*/");
            return false;
        }
        !line.is_empty() && !line.starts_with("//")
    };
    text.lines().filter(is_code).count()
}

/// What a package is made of, in lines.
#[derive(Debug, Default, Clone, Copy)]
struct Lines {
    code: usize,
    docs: usize,
    tests: usize,
}

impl Lines {
    fn of(source: &Source) -> Self {
        let all = count_code(&source.text);
        let code = if source.is_test {
            0
        } else {
            lines_of_code(source)
        };
        let is_doc = |line: &&str| {
            let line = line.trim_start();
            line.starts_with("///") || line.starts_with("//!")
        };
        let kept = if source.is_test {
            String::new()
        } else {
            text::product(&source.text)
        };
        Self {
            code,
            docs: kept.lines().filter(is_doc).count(),
            tests: all - code,
        }
    }

    fn add(&mut self, other: Self) {
        self.code += other.code;
        self.docs += other.docs;
        self.tests += other.tests;
    }
}

/// The lines of documentation for a hundred lines of code of a package, without its tests.
pub(crate) fn docs_per_hundred(sources: &[Source], package: &str) -> usize {
    let mut lines = Lines::default();
    for source in sources.iter().filter(|source| source.package() == package) {
        lines.add(Lines::of(source));
    }
    100 * lines.docs / lines.code.max(1)
}

/// The figures of the repository's shape, to be read.
pub(crate) fn shape(sources: &[Source]) -> String {
    let mut text = String::new();
    packages(sources, &mut text);
    longest(sources, &mut text);
    text.push_str("\nimport circles inside a folder\n");
    for (folder, circles) in circles(sources) {
        for circle in circles {
            let _ = writeln!(text, "  {folder}: {}", circle.join(" "));
        }
    }
    text
}

fn packages(sources: &[Source], text: &mut String) {
    let mut lines: BTreeMap<&str, Lines> = BTreeMap::new();
    for source in sources {
        let of_package = Lines::of(source);
        lines.entry(source.package()).or_default().add(of_package);
        if source.package() == "overlayd" && source.is_pure() {
            lines.entry("overlayd: pure").or_default().add(of_package);
        }
    }
    let _ = writeln!(
        text,
        "{:16}{:>8}{:>8}{:>16}{:>8}{:>24}",
        "package", "code", "docs", "docs per code", "tests", "tests per line of code"
    );
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of lines are small numbers"
    )]
    for (package, lines) in lines {
        let share = |part: usize| part as f64 / lines.code.max(1) as f64;
        let _ = writeln!(
            text,
            "{package:16}{:>8}{:>8}{:>14.1} %{:>8}{:>24.2}",
            lines.code,
            lines.docs,
            100.0 * share(lines.docs),
            lines.tests,
            share(lines.tests)
        );
    }
}

/// The longest files and functions of each package.
fn longest(sources: &[Source], text: &mut String) {
    const SHOWN: usize = 5;
    let mut files: BTreeMap<&str, Vec<(usize, String)>> = BTreeMap::new();
    let mut functions: BTreeMap<&str, Vec<(usize, String)>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test) {
        let of_package = files.entry(source.package()).or_default();
        of_package.push((lines_of_code(source), source.path.clone()));
        let of_package = functions.entry(source.package()).or_default();
        of_package.extend(self::functions(&source.code).into_iter().map(|function| {
            (
                function.lines,
                format!("{}::{}", source.path, function.name),
            )
        }));
    }
    for (title, lengths) in [("longest files", files), ("longest functions", functions)] {
        for (package, mut lengths) in lengths {
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            let percentile = lengths
                .get(lengths.len() / 100)
                .map_or(0, |(lines, _)| *lines);
            let _ = writeln!(
                text,
                "\n{package}: {title} (of {}; 99th percentile {percentile} lines)",
                lengths.len()
            );
            for (lines, name) in lengths.iter().take(SHOWN) {
                let _ = writeln!(text, "{lines:>6}  {name}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_by_their_braces() {
        let text = "fn a() {\n    if b { \"}\" }\n}\n\ntrait T {\n    fn c(&self);\n    fn d(&self) -> [u8; 2] {\n        x\n    }\n}\n\
            type F = fn(u8) -> u8;\nfn e<T>(f: fn() -> T)\nwhere\n    T: U,\n{}\n";
        let functions = functions(&text::code(text));
        let found: Vec<_> = functions
            .iter()
            .map(|function| (function.name.as_str(), function.lines))
            .collect();
        assert_eq!(found, [("a", 3), ("d", 3), ("e", 4)]);
    }

    #[test]
    fn comments_empty_lines_and_tests_are_no_lines_of_code() {
        let text = "//! Pure: a.\n\n/// Docs.\nfn a() {\n    // Why.\n    \"b\"\n}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        let sources = Source::planted("src/a.rs", text);
        assert_eq!(lines_of_code(&sources[0]), 3);
        let lines = Lines::of(&sources[0]);
        assert_eq!((lines.code, lines.docs, lines.tests), (3, 2, 4));
        assert_eq!(docs_per_hundred(&sources, "overlayd"), 66);
        assert_eq!(docs_per_hundred(&sources, "core"), 0);
    }

    #[test]
    fn the_shape_names_what_is_long() {
        let text = format!("fn long() {{\n{}}}\n", "    a();\n".repeat(80));
        let shape = shape(&Source::planted("src/a.rs", &text));
        assert!(shape.contains("    82  src/a.rs::long"), "{shape}");
        assert!(shape.contains("    82  src/a.rs\n"), "{shape}");
    }
}

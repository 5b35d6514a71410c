//! Pure: a text on many lines, or without blanks.
//!
//! The layout is that of github.com/tidwall/pretty 1.2, with its oddities: an array stays on one line only if it
//! holds no object and fits, and the width left over is counted from a slightly different place for later elements.
//! Texts that are no JSON lose the parts that begin no value.

use std::cmp::Ordering;

use crate::TooMuch;
use crate::scan::{float, nested_end, string_end, unquoted};

/// How a text is laid out.
pub(crate) struct Style {
    /// An array of plain values that fits stays on one line.
    pub(crate) width: i64,
    pub(crate) prefix: Vec<u8>,
    pub(crate) indent: Vec<u8>,
    pub(crate) sort_keys: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            width: 80,
            prefix: Vec::new(),
            indent: b"  ".to_vec(),
            sort_keys: false,
        }
    }
}

/// Objects and arrays within each other that are laid out.
const DEPTH: usize = 100;

/// Formats a text. Parts that are no JSON are left out.
pub(crate) fn print(json: &[u8], style: &Style) -> Result<Vec<u8>, TooMuch> {
    let mut printer = Printer {
        json,
        style,
        out: style.prefix.clone(),
        line: 0,
    };
    printer.value(0, 0)?;
    let mut out = printer.out;
    if !out.is_empty() {
        out.push(b'\n');
    }
    Ok(out)
}

/// The text without blanks between its parts.
pub(crate) fn without_blanks(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        if *byte == b'"' {
            let end = string_end(json, at).unwrap_or(json.len());
            out.extend_from_slice(&json[at..end]);
            at = end;
            continue;
        }
        if *byte > b' ' {
            out.push(*byte);
        }
        at += 1;
    }
    out
}

struct Printer<'a> {
    json: &'a [u8],
    style: &'a Style,
    out: Vec<u8>,
    /// Where the last line begins.
    line: usize,
}

impl Printer<'_> {
    /// `+`, `i`, `I` and `N` begin numbers that are none, as in gjson.
    fn begins_value(&self, at: usize) -> bool {
        let byte = self.json[at];
        byte.is_ascii_digit() || b"\"-{[tfniI+N".contains(&byte)
    }

    /// Prints the next value and gives where it ends.
    fn value(&mut self, at: usize, depth: usize) -> Result<usize, TooMuch> {
        let json = self.json;
        let Some(at) = (at..json.len()).find(|at| self.begins_value(*at)) else {
            return Ok(json.len());
        };
        match json[at] {
            b'"' => Ok(self.string(at)),
            b'{' | b'[' if depth == DEPTH => Err(TooMuch),
            b'{' => self.nested(at, depth, b'}'),
            b'[' => match self.on_one_line(at) {
                Some(end) => Ok(end),
                None => self.nested(at, depth, b']'),
            },
            b't' => Ok(self.literal(at, b"true")),
            b'f' => Ok(self.literal(at, b"false")),
            b'n' if json.get(at + 1).is_none_or(|next| *next == b'u') => {
                Ok(self.literal(at, b"null"))
            }
            _ => {
                let rest = &json[at + 1..];
                let ends = |byte: &u8| *byte <= b' ' || b",:]}".contains(byte);
                let end = rest
                    .iter()
                    .position(ends)
                    .map_or(json.len(), |end| at + 1 + end);
                self.out.extend_from_slice(&json[at..end]);
                Ok(end)
            }
        }
    }

    fn string(&mut self, at: usize) -> usize {
        let end = string_end(self.json, at).unwrap_or(self.json.len());
        self.out.extend_from_slice(&self.json[at..end]);
        end
    }

    fn literal(&mut self, at: usize, text: &[u8]) -> usize {
        self.out.extend_from_slice(text);
        at + text.len()
    }

    /// An array without objects that fits into the width.
    fn on_one_line(&mut self, at: usize) -> Option<usize> {
        let used = i64::try_from(self.out.len() - self.line).ok()?;
        let room = self.style.width - used;
        if self.style.width <= 0 || room <= 3 {
            return None;
        }
        let end = nested_end(self.json, at);
        let mut text = Vec::new();
        let mut inside = at;
        while inside < end {
            let byte = self.json[inside];
            match byte {
                b'{' => return None,
                b'"' => {
                    let string = string_end(self.json, inside).unwrap_or(end);
                    text.extend_from_slice(&self.json[inside..string]);
                    inside = string;
                    continue;
                }
                b',' => text.extend_from_slice(b", "),
                byte if byte > b' ' => text.push(byte),
                _ => {}
            }
            if i64::try_from(text.len()).is_ok_and(|length| length > room) {
                return None;
            }
            inside += 1;
        }
        let fits = i64::try_from(text.len()).is_ok_and(|length| length <= room);
        fits.then(|| {
            self.out.extend_from_slice(&text);
            end
        })
    }

    /// Prints the object or array at `at`, each member on a line of its own, and gives where it ends.
    fn nested(&mut self, at: usize, depth: usize, close: u8) -> Result<usize, TooMuch> {
        let json = self.json;
        self.out.push(json[at]);
        let mut lines: Vec<Line> = Vec::new();
        let begin = self.out.len();
        let mut at = at + 1;
        while at < json.len() {
            let byte = json[at];
            if byte == close {
                if self.style.sort_keys && close == b'}' {
                    self.sort(begin, lines.as_mut_slice());
                }
                if !lines.is_empty() {
                    self.new_line(depth);
                }
                self.out.push(close);
                return Ok(at + 1);
            }
            if byte <= b' ' || !(close == b']' || byte == b'"') {
                at += 1;
                continue;
            }
            if close == b']' && !self.begins_value(at) {
                at += 1;
                continue;
            }
            if !lines.is_empty() {
                self.out.push(b',');
            }
            let start = self.out.len();
            self.new_line(depth + 1);
            if close == b']' && !lines.is_empty() {
                // Here the original counts from behind the end of the line, not from before it.
                self.line += 1;
            }
            let mut key = Vec::new();
            if close == b'}' {
                let end = self.string(at);
                key.extend_from_slice(&json[at..end]);
                at = end;
                self.out.extend_from_slice(b": ");
            }
            let value = self.out.len();
            at = self.value(at, depth + 1)?;
            lines.push(Line {
                key,
                start,
                value,
                end: self.out.len(),
            });
        }
        Ok(json.len())
    }

    fn new_line(&mut self, depth: usize) {
        self.line = self.out.len();
        self.out.push(b'\n');
        self.out.extend_from_slice(&self.style.prefix);
        for _ in 0..depth {
            self.out.extend_from_slice(&self.style.indent);
        }
    }

    /// Puts the printed members of an object in the order of their keys, then of their values.
    fn sort(&mut self, begin: usize, lines: &mut [Line]) {
        let out = &self.out;
        lines.sort_by(|a, b| {
            let keys = unquoted(&a.key).cmp(&unquoted(&b.key));
            keys.then_with(|| compare(&out[a.value..a.end], &out[b.value..b.end]))
        });
        let sorted: Vec<&[u8]> = lines
            .iter()
            .map(|line| &out[line.start..line.end])
            .collect();
        let sorted = sorted.join(&b',');
        self.out.truncate(begin);
        self.out.extend(sorted);
    }
}

/// A printed member of an object: its key, and where it stands.
struct Line {
    key: Vec<u8>,
    start: usize,
    value: usize,
    end: usize,
}

/// The order of kinds for members whose keys are equal.
fn rank(value: &[u8]) -> u8 {
    match value.first() {
        None | Some(b'n') => 0,
        Some(b'f') => 1,
        Some(b'"') => 3,
        Some(b't') => 4,
        Some(b'[' | b'{') => 5,
        Some(_) => 2,
    }
}

fn compare(a: &[u8], b: &[u8]) -> Ordering {
    rank(a).cmp(&rank(b)).then_with(|| match rank(a) {
        3 => unquoted(a).cmp(&unquoted(b)),
        2 => float(a).total_cmp(&float(b)),
        _ => a.cmp(b),
    })
}

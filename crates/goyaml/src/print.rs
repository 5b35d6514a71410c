//! Pure: nodes to text, in the one form that `sigs.k8s.io/yaml` prints.
//!
//! The rules are those of libyaml's emitter as go-yaml v2 drives it: indent 2, lists not indented
//! under their key, sorted keys, lines folded once they pass column 80, non-ASCII text as it is.

use crate::error::PrintError;
use crate::natural::sort_natural;
use crate::node::{Entry, Mapping, NOT_A_STRING, Node, NodeKind, Sequence};
use crate::number::{format_float, parse_number};
use crate::scalar::{Meaning, Scalar, Tag, is_yaml11_word, resolve};
use crate::timestamp::parse_timestamp;

/// Not printable in libyaml, so a text that has it is quoted.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// Lines are folded behind this column, as libyaml does (characters).
const BEST_WIDTH: usize = 80;
/// Longer keys are written with `? key` (bytes).
const SIMPLE_KEY_LENGTH: usize = 128;

/// Prints one document.
pub fn print(node: &Node) -> Result<String, PrintError> {
    let mut text = String::new();
    print_into(node, &mut text)?;
    Ok(text)
}

/// Says whether a document can be printed, without printing it.
///
/// # Errors
/// The first value that cannot be: a control character, a number that is none, text that is not base64.
pub fn check(node: &Node) -> Result<(), PrintError> {
    match &node.kind {
        NodeKind::Mapping(mapping) => mapping.iter().try_for_each(|entry| {
            check_key(entry)?;
            check_text(&entry.key, entry.value.line)?;
            check(&entry.value)
        }),
        NodeKind::Sequence(sequence) => sequence.iter().try_for_each(check),
        NodeKind::Scalar(scalar) if scalar.tag == Tag::Str => check_text(&scalar.text, node.line),
        NodeKind::Scalar(scalar) => {
            let mut discarded = String::new();
            let mut printer = Printer {
                out: &mut discarded,
                column: 0,
            };
            printer.scalar(scalar, node.line, 0)
        }
    }
}

/// A key that was marked as no string when it was read has no JSON form.
pub(crate) fn check_key(entry: &Entry) -> Result<(), PrintError> {
    match entry.key.strip_prefix(NOT_A_STRING) {
        None => Ok(()),
        Some(key) => Err(PrintError::Key {
            line: entry.value.line,
            key: key.to_owned(),
        }),
    }
}

/// Text without control characters prints.
fn check_text(text: &str, line: u32) -> Result<(), PrintError> {
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if plain {
        return Ok(());
    }
    StringForm::of(text, line).map(drop)
}

/// Prints documents, with `---` lines between them.
pub fn print_all<'n>(nodes: impl IntoIterator<Item = &'n Node>) -> Result<String, PrintError> {
    let mut text = String::new();
    for node in nodes {
        if !text.is_empty() {
            text.push_str("---\n");
        }
        print_into(node, &mut text)?;
    }
    Ok(text)
}

/// Prints one document at the end of a text.
pub fn print_into(node: &Node, text: &mut String) -> Result<(), PrintError> {
    let mut printer = Printer {
        out: text,
        column: 0,
    };
    match &node.kind {
        NodeKind::Mapping(mapping) if !mapping.is_empty() => {
            printer.mapping(mapping, 0, Start::Here)?;
        }
        NodeKind::Sequence(sequence) if !sequence.is_empty() => {
            printer.sequence(sequence, 0, Start::Here)?;
        }
        // libyaml indents a lone block scalar, too.
        _ => printer.leaf(node, 2)?,
    }
    printer.newline();
    Ok(())
}

/// A text in the making.
struct Printer<'t> {
    /// What was printed so far.
    out: &'t mut String,
    /// In characters from 0.
    column: usize,
}

/// Where the first line of a block collection goes.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    /// Right here: the indent is already written (after `- `, or at the root).
    Here,
    /// On a line of its own.
    NextLine,
}

impl Printer<'_> {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.len();
    }

    fn push_char(&mut self, character: char) {
        self.out.push(character);
        self.column += 1;
    }

    fn newline(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn line_at(&mut self, indent: usize) {
        self.newline();
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    fn mapping(
        &mut self,
        mapping: &Mapping,
        indent: usize,
        start: Start,
    ) -> Result<(), PrintError> {
        let mut entries: Vec<&Entry> = mapping.iter().collect();
        sort_natural(&mut entries, &|entry: &&Entry| &entry.key);
        let mut start = start;
        for entry in entries {
            if start == Start::NextLine {
                self.line_at(indent);
            }
            start = Start::NextLine;
            self.entry(entry, indent)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, indent: usize) -> Result<(), PrintError> {
        let key = StringForm::of(&entry.key, entry.value.line)?;
        if entry.key.len() > SIMPLE_KEY_LENGTH || key.multiline {
            self.push("? ");
            self.string(&entry.key, &key, indent + 2);
            self.line_at(indent);
            self.push(": ");
            return self.inline_node(&entry.value, indent + 2);
        }
        self.simple_key(&entry.key, &key);
        self.push(":");
        match &entry.value.kind {
            NodeKind::Mapping(mapping) if !mapping.is_empty() => {
                self.mapping(mapping, indent + 2, Start::NextLine)
            }
            NodeKind::Sequence(sequence) if !sequence.is_empty() => {
                self.sequence(sequence, indent, Start::NextLine)
            }
            _ => {
                self.push(" ");
                self.leaf(&entry.value, indent + 2)
            }
        }
    }

    fn sequence(
        &mut self,
        sequence: &Sequence,
        indent: usize,
        start: Start,
    ) -> Result<(), PrintError> {
        let mut start = start;
        for node in sequence {
            if start == Start::NextLine {
                self.line_at(indent);
            }
            start = Start::NextLine;
            self.push("- ");
            self.inline_node(node, indent + 2)?;
        }
        Ok(())
    }

    /// A node after `- ` or `: `, where a block collection begins on the same line.
    fn inline_node(&mut self, node: &Node, indent: usize) -> Result<(), PrintError> {
        match &node.kind {
            NodeKind::Mapping(mapping) if !mapping.is_empty() => {
                self.mapping(mapping, indent, Start::Here)
            }
            NodeKind::Sequence(sequence) if !sequence.is_empty() => {
                self.sequence(sequence, indent, Start::Here)
            }
            _ => self.leaf(node, indent),
        }
    }

    fn leaf(&mut self, node: &Node, indent: usize) -> Result<(), PrintError> {
        match &node.kind {
            NodeKind::Mapping(_) => self.push("{}"),
            NodeKind::Sequence(_) => self.push("[]"),
            NodeKind::Scalar(scalar) => self.scalar(scalar, node.line, indent)?,
        }
        Ok(())
    }

    fn scalar(&mut self, scalar: &Scalar, line: u32, indent: usize) -> Result<(), PrintError> {
        if scalar.tag == Tag::Str {
            let form = StringForm::of(&scalar.text, line)?;
            self.string(&scalar.text, &form, indent);
            return Ok(());
        }
        match scalar.meaning() {
            Meaning::Null => self.push("null"),
            Meaning::Bool(value) => self.push(if value { "true" } else { "false" }),
            Meaning::Int(value) => self.push(&value.to_string()),
            Meaning::Float(value) if value.is_finite() => self.push(&format_float(value)),
            Meaning::Float(_) => {
                return Err(PrintError::NotFinite {
                    line,
                    text: scalar.text.to_string(),
                });
            }
            Meaning::BadBinary => return Err(PrintError::Binary { line }),
            Meaning::Mismatch => return Err(PrintError::mismatch(scalar, line)),
            Meaning::Str(text) => {
                let form = StringForm::of(&text, line)?;
                self.string(&text, &form, indent);
            }
        }
        Ok(())
    }

    fn simple_key(&mut self, key: &str, form: &StringForm) {
        match form.style {
            Style::Plain => self.push_text(key),
            Style::Single => self.single_quoted(key, None),
            Style::Double | Style::Literal => self.double_quoted(key, None),
        }
    }

    fn string(&mut self, text: &str, form: &StringForm, indent: usize) {
        match form.style {
            Style::Plain => self.plain(text, indent),
            Style::Single => self.single_quoted(text, Some(indent)),
            Style::Double => self.double_quoted(text, Some(indent)),
            Style::Literal => self.literal(text, indent),
        }
    }

    fn push_text(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += if text.is_ascii() {
            text.len()
        } else {
            text.chars().count()
        };
    }

    fn plain(&mut self, text: &str, indent: usize) {
        if self.column + text.len() <= BEST_WIDTH {
            return self.push_text(text);
        }
        let mut after_space = false;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let fold = character == ' '
                && !after_space
                && self.column > BEST_WIDTH
                && characters.peek().is_some_and(|&next| next != ' ');
            if fold {
                self.line_at(indent);
            } else {
                self.push_char(character);
            }
            after_space = character == ' ';
        }
    }

    /// Folds where an indent is given, that is, everywhere but in a simple key.
    fn single_quoted(&mut self, text: &str, indent: Option<usize>) {
        self.push("'");
        let mut after_space = false;
        let mut characters = text.chars().enumerate().peekable();
        while let Some((position, character)) = characters.next() {
            let next = characters.peek().map(|&(_, next)| next);
            let fold = character == ' '
                && !after_space
                && self.column > BEST_WIDTH
                && position > 0
                && next.is_some_and(|next| next != ' ');
            match indent {
                Some(indent) if fold => self.line_at(indent),
                _ if character == '\'' => self.push("''"),
                _ => self.push_char(character),
            }
            after_space = character == ' ';
        }
        self.push("'");
    }

    fn double_quoted(&mut self, text: &str, indent: Option<usize>) {
        self.push("\"");
        let mut after_space = false;
        let mut characters = text.chars().enumerate().peekable();
        while let Some((position, character)) = characters.next() {
            if needs_escape(character) {
                let escaped = escape(character);
                self.push(&escaped);
                after_space = false;
                continue;
            }
            let next = characters.peek().map(|&(_, next)| next);
            let fold = character == ' '
                && !after_space
                && self.column > BEST_WIDTH
                && position > 0
                && next.is_some();
            match indent {
                Some(indent) if fold => {
                    self.line_at(indent);
                    if next == Some(' ') {
                        self.push("\\");
                    }
                }
                _ => self.push_char(character),
            }
            after_space = character == ' ';
        }
        self.push("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.push("|");
        if text.starts_with([' ', '\n']) {
            self.push("2");
        }
        let body = match text.strip_suffix('\n') {
            None => {
                self.push("-");
                text
            }
            Some(body) => {
                if body.is_empty() || body.ends_with('\n') {
                    self.push("+");
                }
                body
            }
        };
        for line in body.split('\n') {
            if line.is_empty() {
                self.newline();
            } else {
                self.line_at(indent);
                self.push_text(line);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// How a string is written.
struct StringForm {
    style: Style,
    /// It has line breaks.
    multiline: bool,
}

impl StringForm {
    fn of(text: &str, line: u32) -> Result<Self, PrintError> {
        let shape = Shape::of(text);
        if shape.control {
            return Err(PrintError::ControlCharacter { line });
        }
        let style = if shape.breaks {
            if shape.special || shape.space_break || shape.ends_with_space {
                Style::Double
            } else {
                Style::Literal
            }
        } else if shape.special || reads_as_other_type(text) {
            Style::Double
        } else if shape.indicators || shape.outer_space || shape.other_breaks {
            Style::Single
        } else {
            Style::Plain
        };
        Ok(Self {
            style,
            multiline: shape.breaks,
        })
    }
}

/// What libyaml's analysis of a scalar finds (`yaml_emitter_analyze_scalar`).
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the findings are independent of each other"
)]
struct Shape {
    breaks: bool,
    /// U+2028 or U+2029, which break lines for libyaml.
    other_breaks: bool,
    special: bool,
    control: bool,
    indicators: bool,
    outer_space: bool,
    ends_with_space: bool,
    space_break: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut shape = Self {
            indicators: text.starts_with("---") || text.starts_with("..."),
            outer_space: bytes.first() == Some(&b' ') || bytes.last() == Some(&b' '),
            ends_with_space: bytes.last() == Some(&b' '),
            ..Self::default()
        };
        let mut previous = b' ';
        for (position, &byte) in bytes.iter().enumerate() {
            let next_is_blank = bytes
                .get(position + 1)
                .is_none_or(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0));
            match byte {
                b'\n' => {
                    shape.breaks = true;
                    shape.space_break |= previous == b' ' && position > 0;
                }
                b'#' if position == 0 || matches!(previous, b' ' | b'\t' | b'\n') => {
                    shape.indicators = true;
                }
                b',' | b'[' | b']' | b'{' | b'}' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\''
                | b'"' | b'%' | b'@' | b'`'
                    if position == 0 =>
                {
                    shape.indicators = true;
                }
                b'-' | b'?' if position == 0 && next_is_blank => shape.indicators = true,
                b':' if next_is_blank => shape.indicators = true,
                0..=0x1f => shape.special = true,
                0x7f => shape.control = true,
                _ => {}
            }
            previous = byte;
        }
        if !text.is_ascii() {
            for character in text.chars().filter(|c| !c.is_ascii()) {
                shape.control |=
                    ('\u{80}'..='\u{9f}').contains(&character) && character != '\u{85}';
                let breaks = matches!(character, '\u{2028}' | '\u{2029}');
                shape.other_breaks |= breaks;
                shape.special |= needs_escape(character) && !breaks;
            }
        }
        shape
    }
}

/// Where go-yaml v3 writes a text of one line without quotes.
pub(crate) struct PlainForm {
    /// Outside of brackets.
    pub(crate) block: bool,
    /// Within brackets, where commas, brackets and colons mean something.
    pub(crate) flow: bool,
    /// It has characters that only double quotes can hold.
    pub(crate) special: bool,
}

impl PlainForm {
    pub(crate) fn of(text: &str) -> Self {
        let shape = Shape::of(text);
        let has_tab = text.contains('\t');
        let needs_escape = text
            .chars()
            .any(|c| needs_escape(c) && !matches!(c, '"' | '\\' | '\t'));
        let block = !(shape.indicators || shape.outer_space || shape.other_breaks || has_tab);
        let flow_indicators = text.contains([',', '?', '[', ']', '{', '}', ':']);
        Self {
            block,
            flow: block && !flow_indicators,
            special: needs_escape || has_tab,
        }
    }
}

/// A text in double quotes, on one line.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        if needs_escape(character) {
            quoted.push_str(&escape(character));
        } else {
            quoted.push(character);
        }
    }
    quoted.push('"');
    quoted
}

/// A text in single quotes, on one line.
pub(crate) fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// True if a YAML 1.1 reader would not take the plain text for a string.
fn reads_as_other_type(text: &str) -> bool {
    let Some(first) = text.bytes().next() else {
        return true;
    };
    match first {
        b'0'..=b'9' | b'+' | b'-' | b'.' => {
            parse_number(text).is_some() || is_base60(text) || parse_timestamp(text).is_some()
        }
        b'y' | b'Y' | b'n' | b'N' | b'o' | b'O' | b't' | b'T' | b'f' | b'F' | b'~' => {
            resolve(text) != Tag::Str || is_yaml11_word(text)
        }
        _ => false,
    }
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`, the base-60 numbers of YAML 1.1.
fn is_base60(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut groups = whole.split(':');
    let first = groups.next().unwrap_or_default();
    let mut groups = groups.peekable();
    let digit_or_underscore = |b: u8| b.is_ascii_digit() || b == b'_';
    first.bytes().next().is_some_and(|b| b.is_ascii_digit())
        && first.bytes().all(digit_or_underscore)
        && groups.peek().is_some()
        && groups.all(|group| match group.as_bytes() {
            [ones] => ones.is_ascii_digit(),
            [b'0'..=b'5', ones] => ones.is_ascii_digit(),
            _ => false,
        })
        && fraction.bytes().all(digit_or_underscore)
}

/// True for what libyaml does not print raw, and for the marks of a double-quoted string.
fn needs_escape(character: char) -> bool {
    match character {
        '"' | '\\' => true,
        ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' => {
            character == BYTE_ORDER_MARK
        }
        _ => true,
    }
}

fn escape(character: char) -> String {
    let short = match character {
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        _ => "",
    };
    if !short.is_empty() {
        return short.to_owned();
    }
    match u32::from(character) {
        code @ 0..=0xff => format!("\\x{code:02X}"),
        code @ 0x100..=0xffff => format!("\\u{code:04X}"),
        code => format!("\\U{code:08X}"),
    }
}

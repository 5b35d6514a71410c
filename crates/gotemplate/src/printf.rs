//! Pure: Go's `fmt`: `Print`, `Println`, and `Printf` with its verbs, flags and diagnostics.
//!
//! The rules are those of `fmt/print.go` and `fmt/format.go`. A mistake in a format is never an error: it is written
//! into the output as `%!d(string=x)`, `%!d(MISSING)` or `%!(EXTRA int=1)`, and so into the Secret. Maps print in the
//! order of their keys, as Go sorts them.
//!
//! A format is read as UTF-8 and arguments are bytes, so a verb can be any letter. Widths count letters, except that
//! `%x` counts bytes. What a format may make is charged before it is executed (`builtins`), since widths multiply.

use std::rc::Rc;

use crate::digits::{binary, exponential, hexadecimal, in_base, shortest_or, with_point};
use crate::value::{Element, MAX_DEPTH, Value};

/// The flags, width and precision of one verb.
///
/// `%v` moves `+` and `#` to fields of their own (`plus_v`, `sharp_v`), because there they choose a form and not a
/// sign or a prefix.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "these are fmt's flags")]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
    /// `%+v`
    plus_v: bool,
    /// `%#v`
    sharp_v: bool,
}

/// Widths and precisions beyond this are refused, as in Go.
const TOO_LARGE: usize = 1_000_000;

/// `fmt.Sprint`: a space between operands where neither is a string.
pub(crate) fn print(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    let is_string = |value: &Value| matches!(value, Value::Str(_));
    for (index, value) in values.iter().enumerate() {
        if index > 0 && !is_string(value) && !is_string(&values[index - 1]) {
            out.push(b' ');
        }
        format_value(&mut out, value);
    }
    out
}

/// `fmt.Sprintln`: a space between all operands, and a new line.
pub(crate) fn println(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        format_value(&mut out, value);
    }
    out.push(b'\n');
    out
}

/// `%v`
pub(crate) fn format_value(out: &mut Vec<u8>, value: &Value) {
    Printer {
        out,
        spec: Spec::default(),
    }
    .argument(value, 'v', 0);
}

/// `%v` as text.
pub(crate) fn to_text(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    format_value(&mut out, value);
    out
}

/// `fmt.Sprintf`
///
/// Arguments that no verb has used are listed at the end, unless the format chooses its arguments by `[n]`.
pub(crate) fn printf(format: &[u8], values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    let format = String::from_utf8_lossy(format);
    let mut run = Run {
        rest: &format,
        values,
        next: 0,
        reordered: false,
        good_index: true,
        after_index: false,
    };
    while let Some((before, after)) = run.rest.split_once('%') {
        out.extend_from_slice(before.as_bytes());
        run.rest = after;
        run.verb(&mut out);
        if out.len() > 64 << 20 {
            break;
        }
    }
    out.extend_from_slice(run.rest.as_bytes());
    if !run.reordered && run.next < values.len() {
        out.extend_from_slice(b"%!(EXTRA ");
        for (index, value) in values[run.next..].iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            if matches!(value, Value::Nil) {
                out.extend_from_slice(b"<nil>");
            } else {
                out.extend_from_slice(value.type_name().as_bytes());
                out.push(b'=');
                format_value(&mut out, value);
            }
        }
        out.push(b')');
    }
    out
}

/// The state of one `Printf`.
///
/// The flags are those of `doPrintf`: `reordered` if any `[n]` was used, `good_index` if that of this verb was valid,
/// and `after_index` if one stands directly before, where a width may not follow.
struct Run<'f> {
    rest: &'f str,
    values: &'f [Value],
    next: usize,
    reordered: bool,
    good_index: bool,
    after_index: bool,
}

impl<'f> Run<'f> {
    /// The next letter of the format.
    fn take(&mut self) -> Option<char> {
        let mut letters = self.rest.chars();
        let character = letters.next()?;
        self.rest = letters.as_str();
        Some(character)
    }

    /// Digits as a number; nothing without digits, and for a number that Go finds too large.
    fn number(&mut self) -> Option<usize> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit());
        let (digits, after) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = after;
        digits.parse().ok().filter(|number| *number <= TOO_LARGE)
    }

    /// `[n]`
    fn index(&mut self) {
        let Some(inside) = self.rest.strip_prefix('[') else {
            return;
        };
        self.reordered = true;
        self.after_index = true;
        let (index, after) = match inside.split_once(']') {
            Some((index, after)) => (index.parse::<usize>().ok(), after),
            None => (None, inside),
        };
        self.rest = after;
        match index {
            Some(index) if (1..=self.values.len()).contains(&index) => self.next = index - 1,
            _ => self.good_index = false,
        }
    }

    /// `*`
    fn star(&mut self, after: &'f str) -> Option<i64> {
        self.rest = after;
        let value = self.values.get(self.next).and_then(Value::as_int);
        self.next += usize::from(self.next < self.values.len());
        self.after_index = false;
        value.filter(|value| value.unsigned_abs() <= TOO_LARGE as u64)
    }

    /// Reads what follows a `%` (flags, width, precision, verb) and prints the argument that it is for.
    fn verb(&mut self, out: &mut Vec<u8>) {
        let mut spec = Spec::default();
        self.good_index = true;
        self.after_index = false;
        while let Some(flag) = self.rest.chars().next() {
            match flag {
                '#' => spec.sharp = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                '-' => spec.minus = true,
                ' ' => spec.space = true,
                _ => break,
            }
            self.take();
        }
        self.index();
        self.width(&mut spec, out);
        self.precision(&mut spec, out);
        if !self.after_index {
            self.index();
        }
        let Some(verb) = self.take() else {
            out.extend_from_slice(b"%!(NOVERB)");
            return;
        };
        let mut name = [0; 4];
        let name = verb.encode_utf8(&mut name).as_bytes();
        if verb == '%' {
            out.push(b'%');
        } else if !self.good_index {
            out.extend([b"%!", name, b"(BADINDEX)"].concat());
        } else if let Some(value) = self.values.get(self.next) {
            self.next += 1;
            if verb == 'v' {
                spec.plus_v = std::mem::take(&mut spec.plus);
                spec.sharp_v = std::mem::take(&mut spec.sharp);
            }
            Printer { out, spec }.argument(value, verb, 0);
        } else {
            out.extend([b"%!", name, b"(MISSING)"].concat());
        }
    }

    /// A width, or `*` for the next argument. A negative argument means a width with the flag `-`.
    fn width(&mut self, spec: &mut Spec, out: &mut Vec<u8>) {
        if let Some(after) = self.rest.strip_prefix('*') {
            match self.star(after) {
                Some(width) => {
                    spec.minus |= width < 0;
                    spec.width = usize::try_from(width.unsigned_abs()).ok();
                }
                None => out.extend_from_slice(b"%!(BADWIDTH)"),
            }
        } else {
            spec.width = self.number();
            if self.after_index && spec.width.is_some() {
                self.good_index = false;
            }
        }
    }

    /// A precision after a point; a point alone means 0, and a negative argument means none.
    fn precision(&mut self, spec: &mut Spec, out: &mut Vec<u8>) {
        let Some(rest) = self.rest.strip_prefix('.') else {
            return;
        };
        self.rest = rest;
        if self.after_index {
            self.good_index = false;
        }
        self.index();
        if let Some(after) = self.rest.strip_prefix('*') {
            match self.star(after) {
                Some(precision) => spec.precision = usize::try_from(precision).ok(),
                None => out.extend_from_slice(b"%!(BADPREC)"),
            }
        } else {
            spec.precision = Some(self.number().unwrap_or(0));
        }
    }
}

/// Prints values with the flags of one verb.
struct Printer<'o> {
    out: &'o mut Vec<u8>,
    spec: Spec,
}

impl Printer<'_> {
    /// Pads to the width, counted in characters.
    fn pad(&mut self, text: &[u8]) {
        let length = String::from_utf8_lossy(text).chars().count();
        let padding = self.spec.width.unwrap_or(0).saturating_sub(length);
        if self.spec.minus {
            self.out.extend_from_slice(text);
            self.out.extend(std::iter::repeat_n(b' ', padding));
        } else {
            let fill = if self.spec.zero { b'0' } else { b' ' };
            self.out.extend(std::iter::repeat_n(fill, padding));
            self.out.extend_from_slice(text);
        }
    }

    /// `%!verb(type=value)`, for a verb that the type does not have.
    fn bad_verb(&mut self, value: &Value, verb: char) {
        let mut name = [0; 4];
        self.out.extend_from_slice(b"%!");
        self.out
            .extend_from_slice(verb.encode_utf8(&mut name).as_bytes());
        self.out.push(b'(');
        if matches!(value, Value::Nil) {
            self.out.extend_from_slice(b"<nil>");
        } else {
            self.out.extend_from_slice(value.type_name().as_bytes());
            self.out.push(b'=');
            // The flags stay in force, as in Go: `%!f(int=03)`.
            let spec = Spec {
                sharp_v: false,
                plus_v: false,
                ..self.spec
            };
            Printer {
                out: self.out,
                spec,
            }
            .argument(value, 'v', 1);
        }
        self.out.push(b')');
    }

    /// Prints a value by its type, as `printArg` does; `depth` is how many lists and maps it stands in. Beyond the
    /// limit, dots stand for the rest.
    fn argument(&mut self, value: &Value, verb: char, depth: usize) {
        if depth > MAX_DEPTH {
            self.out.extend_from_slice(b"...");
            return;
        }
        if verb == 'T' {
            return self.string(value.type_name().as_bytes(), 's', value);
        }
        match value {
            Value::Nil if verb == 'v' && self.spec.sharp_v && depth > 0 => {
                self.out.extend_from_slice(b"interface {}(nil)");
            }
            Value::Nil if depth > 0 => self.out.extend_from_slice(b"<nil>"),
            Value::Nil if verb == 'v' => self.pad(b"<nil>"),
            Value::Nil => self.bad_verb(value, verb),
            Value::Bool(flag) if matches!(verb, 't' | 'v') => {
                self.pad(if *flag { b"true" } else { b"false" });
            }
            Value::Int(number) | Value::Int64(number) => self.integer(*number, verb, value),
            Value::Uint8(number) if verb == 'v' && self.spec.sharp_v => {
                self.pad(format!("{number:#x}").as_bytes());
            }
            Value::Uint8(number) => self.integer(i64::from(*number), verb, value),
            Value::Float64(number) => self.float(*number, verb, value),
            Value::Str(text) => self.string(text, verb, value),
            Value::List(values, element) => self.list(values, *element, verb, value, depth),
            Value::Dict(_) | Value::Strings(_) => self.map(value, verb, depth),
            Value::Time(time) => self.stringer(&time.to_string(), verb, value),
            Value::Duration(nanoseconds) => {
                if matches!(verb, 'v' | 's' | 'q') {
                    self.stringer(&gocompat::duration::print(*nanoseconds), verb, value);
                } else {
                    self.integer(*nanoseconds, verb, value);
                }
            }
            Value::Semver(version) => self.stringer(&version.to_string(), verb, value),
            Value::Certificate(certificate) if matches!(verb, 'v' | 's') => {
                let (cert, key) = (&certificate.cert, &certificate.key);
                let text = match (self.spec.sharp_v, self.spec.plus_v) {
                    (true, _) => format!("sprig.certificate{{Cert:{cert:?}, Key:{key:?}}}"),
                    (_, true) => format!("{{Cert:{cert} Key:{key}}}"),
                    _ => format!("{{{cert} {key}}}"),
                };
                self.out.extend_from_slice(text.as_bytes());
            }
            Value::Bool(_) | Value::Certificate(_) => self.bad_verb(value, verb),
        }
    }

    /// A value with a `String` method: text verbs print what it gives.
    fn stringer(&mut self, text: &str, verb: char, value: &Value) {
        match verb {
            'v' | 's' | 'x' | 'X' | 'q' => self.string(text.as_bytes(), verb, value),
            _ => self.bad_verb(value, verb),
        }
    }

    /// Text with a verb: as it is, quoted, or its bytes in hexadecimal.
    fn string(&mut self, text: &[u8], verb: char, value: &Value) {
        match verb {
            'v' if self.spec.sharp_v => self.quoted(text),
            'v' | 's' => {
                let cut = self.truncated(text).to_vec();
                self.pad(&cut);
            }
            'x' | 'X' => self.hex(text, verb == 'X'),
            'q' => self.quoted(text),
            _ => self.bad_verb(value, verb),
        }
    }

    /// The first characters, if a precision is given.
    fn truncated<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let Some(precision) = self.spec.precision else {
            return text;
        };
        let starts = (0..text.len()).filter(|&at| !is_continuation(text, at));
        starts
            .skip(precision)
            .map(|at| &text[..at])
            .next()
            .unwrap_or(text)
    }

    /// `%q`: in double quotes, or in backquotes with the flag `#` where that is possible.
    fn quoted(&mut self, text: &[u8]) {
        let text = self.truncated(text);
        let raw_is_possible = std::str::from_utf8(text).is_ok_and(|text| {
            text.chars()
                .all(|c| c != '`' && c != '\u{7f}' && c != '\u{feff}' && (c >= ' ' || c == '\t'))
        });
        let quoted = if self.spec.sharp && raw_is_possible {
            [b"`", text, b"`"].concat()
        } else {
            quote(text, '"', self.spec.plus)
        };
        self.pad(&quoted);
    }

    /// `%x`: the flag space separates the bytes, and `#` puts `0x` before all of them or before each.
    fn hex(&mut self, text: &[u8], upper: bool) {
        let length = self
            .spec
            .precision
            .map_or(text.len(), |p| p.min(text.len()));
        let mut hex = String::new();
        for (index, byte) in text[..length].iter().enumerate() {
            if self.spec.space && index > 0 {
                hex.push(' ');
            }
            if self.spec.sharp && (self.spec.space || index == 0) {
                hex.push_str(if upper { "0X" } else { "0x" });
            }
            hex.push_str(&if upper {
                format!("{byte:02X}")
            } else {
                format!("{byte:02x}")
            });
        }
        self.pad(hex.as_bytes());
    }

    /// A whole number with a verb: in a base, as a character, as a quoted character, or as a code point.
    fn integer(&mut self, number: i64, verb: char, value: &Value) {
        match verb {
            'v' | 'd' => self.based(number, 10, verb, false),
            'b' => self.based(number, 2, verb, false),
            'o' | 'O' => self.based(number, 8, verb, false),
            'x' => self.based(number, 16, verb, false),
            'X' => self.based(number, 16, verb, true),
            'c' => {
                let character = character_of(number);
                self.pad(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            'q' => {
                let text = character_of(number).to_string();
                let quoted = quote(text.as_bytes(), '\'', self.spec.plus);
                self.pad(&quoted);
            }
            'U' => {
                let digits = self.spec.precision.unwrap_or(4).max(4);
                let mut text = format!("U+{number:0digits$X}");
                let character = u32::try_from(number).ok().and_then(char::from_u32);
                if self.spec.sharp
                    && let Some(character) = character.filter(|c| is_printable(*c) && *c >= ' ')
                {
                    text.push_str(&format!(" '{character}'"));
                }
                let zero = std::mem::take(&mut self.spec.zero);
                self.pad(text.as_bytes());
                self.spec.zero = zero;
            }
            _ => self.bad_verb(value, verb),
        }
    }

    /// A number in a base. A precision is the least number of digits; zeros that fill a width count as digits, so
    /// that a sign stands before them.
    fn based(&mut self, number: i64, base: u32, verb: char, upper: bool) {
        let negative = number < 0;
        let mut digits = in_base(number.unsigned_abs(), base, upper);
        // A precision of zero and a value of zero print nothing.
        if self.spec.precision == Some(0) && number == 0 {
            self.spec.zero = false;
            return self.pad(b"");
        }
        let signs = usize::from(negative || self.spec.plus || self.spec.space);
        let wanted = match (self.spec.precision, self.spec.width) {
            (Some(precision), _) => precision,
            (None, Some(width)) if self.spec.zero && !self.spec.minus => {
                width.saturating_sub(signs)
            }
            _ => 0,
        };
        while digits.len() < wanted {
            digits.insert(0, '0');
        }
        let prefix = match (verb, base) {
            ('O', _) => "0o",
            (_, 2) if self.spec.sharp => "0b",
            (_, 8) if self.spec.sharp && !digits.starts_with('0') => "0",
            (_, 16) if self.spec.sharp && upper => "0X",
            (_, 16) if self.spec.sharp => "0x",
            _ => "",
        };
        let text = format!("{}{prefix}{digits}", self.sign(negative));
        let zero = std::mem::take(&mut self.spec.zero);
        self.pad(text.as_bytes());
        self.spec.zero = zero;
    }

    /// The sign that the flags ask for.
    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.spec.plus, self.spec.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        }
    }

    /// A float with a verb. `NaN` and infinities are not filled with zeros, and a positive infinity has a `+` as soon
    /// as a flag asks for a sign.
    fn float(&mut self, number: f64, verb: char, value: &Value) {
        let precision = self.spec.precision;
        let text = match verb {
            'v' | 'g' | 'G' => shortest_or(number.abs(), precision),
            'e' | 'E' => exponential(number.abs(), precision.unwrap_or(6)),
            'f' | 'F' => format!("{:.*}", precision.unwrap_or(6), number.abs()),
            'x' | 'X' => hexadecimal(number.abs(), precision),
            'b' => binary(number.abs()),
            _ => return self.bad_verb(value, verb),
        };
        let text = if self.spec.sharp && !matches!(verb, 'x' | 'X' | 'b') {
            with_point(&text, verb, precision)
        } else {
            text
        };
        let text = if matches!(verb, 'E' | 'G' | 'X') {
            text.to_uppercase()
        } else {
            text
        };
        let text = match number {
            _ if number.is_nan() => "NaN".to_owned(),
            _ if number.is_infinite() => "Inf".to_owned(),
            _ => text,
        };
        let negative = number.is_sign_negative() && !number.is_nan();
        let infinite = !number.is_finite();
        let sign = if infinite && !negative && self.spec.plus {
            "+"
        } else if infinite && !negative && !number.is_nan() {
            if self.spec.space { " " } else { "+" }
        } else {
            self.sign(negative)
        };
        let zero = self.spec.zero;
        if infinite {
            self.spec.zero = false;
        }
        if self.spec.zero && !self.spec.minus && !sign.is_empty() {
            // Zeros go between the sign and the digits.
            self.out.extend_from_slice(sign.as_bytes());
            let width = self.spec.width;
            self.spec.width = width.map(|width| width.saturating_sub(sign.len()));
            self.pad(text.as_bytes());
            self.spec.width = width;
        } else {
            self.pad(format!("{sign}{text}").as_bytes());
        }
        self.spec.zero = zero;
    }

    /// Elements with the verb, in brackets; a list of bytes prints as text where the verb is one of text.
    fn list(
        &mut self,
        values: &Rc<Vec<Value>>,
        element: Element,
        verb: char,
        value: &Value,
        depth: usize,
    ) {
        if element == Element::Uint8 && matches!(verb, 's' | 'q' | 'x' | 'X') {
            let bytes: Vec<u8> = values
                .iter()
                .filter_map(Value::as_int)
                .filter_map(|byte| u8::try_from(byte).ok())
                .collect();
            return self.string(&bytes, verb, value);
        }
        if self.spec.sharp_v {
            self.out.extend_from_slice(value.type_name().as_bytes());
        }
        let (open, between, close): (&[u8], &[u8], &[u8]) = if self.spec.sharp_v {
            (b"{", b", ", b"}")
        } else {
            (b"[", b" ", b"]")
        };
        self.out.extend_from_slice(open);
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out.extend_from_slice(between);
            }
            self.argument(value, verb, depth + 1);
        }
        self.out.extend_from_slice(close);
    }

    /// `map[a:1 b:2]`, or Go's syntax for `%#v`.
    fn map(&mut self, value: &Value, verb: char, depth: usize) {
        let sharp = self.spec.sharp_v;
        if sharp {
            self.out.extend_from_slice(value.type_name().as_bytes());
        }
        self.out
            .extend_from_slice(if sharp { b"{" } else { b"map[" });
        for (index, (key, value)) in value.entries().unwrap_or_default().iter().enumerate() {
            if index > 0 {
                self.out.extend_from_slice(if sharp { b", " } else { b" " });
            }
            self.argument(&Value::Str(key.clone()), verb, depth + 1);
            self.out.push(b':');
            self.argument(value, verb, depth + 1);
        }
        self.out.push(if sharp { b'}' } else { b']' });
    }
}

fn is_continuation(text: &[u8], at: usize) -> bool {
    text[at] & 0xc0 == 0x80
}

/// The character of a code point; U+FFFD if there is none.
fn character_of(number: i64) -> char {
    u32::try_from(number)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or('\u{fffd}')
}

/// `strconv.Quote`, or `QuoteToASCII`.
pub(crate) fn quote(text: &[u8], quote: char, ascii: bool) -> Vec<u8> {
    let mut out = String::new();
    out.push(quote);
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            quote_character(&mut out, character, quote, ascii);
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push(quote);
    out.into_bytes()
}

/// `appendEscapedRune` of `strconv/quote.go`.
fn quote_character(out: &mut String, character: char, quote: char, ascii: bool) {
    match character {
        '\\' => out.push_str("\\\\"),
        _ if character == quote => {
            out.push('\\');
            out.push(character);
        }
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        ' '..='~' => out.push(character),
        _ if !ascii && is_printable(character) => out.push(character),
        _ if character < ' ' || character == '\u{7f}' => {
            out.push_str(&format!("\\x{:02x}", u32::from(character)));
        }
        _ if u32::from(character) < 0x10000 => {
            out.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
        _ => out.push_str(&format!("\\U{:08x}", u32::from(character))),
    }
}

/// Letters, marks, numbers, punctuation and symbols; of spaces, only the ASCII space.
fn is_printable(character: char) -> bool {
    // Rust's `Debug` escapes the same characters, and quotes besides.
    let escaped = character.escape_debug().count() > 1;
    (!escaped || matches!(character, '\'' | '"' | '\\'))
        && !(character.is_whitespace() && character != ' ')
        && character != '\u{ad}'
}

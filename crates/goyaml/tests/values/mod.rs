//! Random values for the oracle: texts that YAML could take for something else, numbers, nesting, long lines.
//!
//! A value is made from a seed alone, so a number names a case.

use serde_json::{Map, Value, json};

/// Texts that are, begin or contain what YAML reads as something.
const WORDS: [&str; 44] = [
    "",
    " ",
    "a",
    "true",
    "True",
    "yes",
    "no",
    "on",
    "off",
    "y",
    "n",
    "null",
    "Null",
    "~",
    "0",
    "-1",
    "0755",
    "0x1f",
    "0o17",
    "1_000",
    "1e3",
    ".5",
    "1.",
    "+1",
    ".inf",
    "-.inf",
    ".nan",
    "2020-01-01",
    "2020-01-01T00:00:00Z",
    "12:30",
    "1:2:3",
    "- a",
    "-",
    "a: b",
    "a:",
    ": a",
    "#x",
    "a #b",
    "'",
    "\"",
    "<<",
    "=",
    "%a",
    "@a",
];
const PIECES: [&str; 30] = [
    "word",
    "two words",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    ":",
    ": ",
    " #",
    "-",
    "- ",
    "?",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&a",
    "*a",
    "!",
    "|",
    ">",
    "'",
    "\"",
    "\\",
    "é",
    "☃",
    "💡",
    "0",
];

/// A small generator of numbers: the same seed gives the same value on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        let bound = u64::try_from(from.len()).unwrap_or(1);
        from[usize::try_from(self.below(bound)).unwrap_or_default()]
    }

    fn text(&mut self) -> String {
        match self.below(5) {
            0 | 1 => self.pick(&WORDS).to_owned(),
            2 => format!("{}{}", self.pick(&WORDS), self.pick(&PIECES)),
            // Long enough to be folded.
            3 => (0..self.below(40)).map(|_| self.pick(&PIECES)).collect(),
            _ => (0..self.below(8)).map(|_| self.pick(&PIECES)).collect(),
        }
    }

    /// Go's order of keys is none where a number has a leading zero ("0755" < "0x1f" < "1." < "0755"), so that the
    /// result depends on the order of its maps, which is random.
    fn key(&mut self) -> String {
        self.text().replace("0755", "755")
    }

    #[expect(clippy::cast_precision_loss, reason = "any number will do")]
    fn scalar(&mut self) -> Value {
        match self.below(9) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.next() >> self.below(64)),
            3 => json!((self.next() >> self.below(64)) as f64 / 1000.0),
            4 => json!(-1.5e-7 * self.below(1_000_000) as f64),
            _ => Value::String(self.text()),
        }
    }

    fn value(&mut self, depth: u64) -> Value {
        match self.below(4 + 4 * u64::from(depth == 0)) {
            0 if depth < 5 => (0..self.below(5)).map(|_| self.value(depth + 1)).collect(),
            1 | 4..=7 if depth < 5 => {
                let entries = (0..self.below(6)).map(|_| (self.key(), self.value(depth + 1)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            _ => self.scalar(),
        }
    }
}

/// The value of a seed.
pub(crate) fn value(seed: u64) -> Value {
    Random(seed).value(0)
}

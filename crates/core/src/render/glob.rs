//! Pure: glob patterns that cut the beginning or the end off a value: `${path##*/}`.
//!
//! The patterns are those of `github.com/fluxcd/pkg/envsubst`: `*`, `?`, `[…]`, and `\` before a letter that means itself.

/// The side of a value that is cut.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Side {
    /// The beginning.
    Front,
    /// The end.
    Back,
}

/// Which of several matches is cut.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Length {
    /// The shortest, of one character at least.
    Shortest,
    /// The longest.
    Longest,
}

/// A pattern for one side of a value.
pub(crate) struct GlobPattern {
    parts: Vec<GlobPart>,
    side: Side,
}

/// One part of a pattern.
enum GlobPart {
    /// `*`
    Any,
    /// `?`
    One,
    Letter(char),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl GlobPattern {
    /// The steps to compare a value with a pattern: each part with each letter.
    pub(crate) fn steps(value: &str, pattern: &str) -> usize {
        value
            .len()
            .saturating_add(1)
            .saturating_mul(pattern.len() + 1)
    }

    /// The memory to do so, in bytes.
    pub(crate) fn bytes(value: &str, pattern: &str) -> usize {
        let of_value = value.len().saturating_mul(size_of::<char>() + 1);
        let of_pattern = pattern
            .len()
            .saturating_mul(size_of::<GlobPart>() + size_of::<char>() + 2);
        of_value.saturating_add(of_pattern)
    }

    /// Parses a pattern.
    pub(crate) fn new(pattern: &str, side: Side) -> Self {
        // envsubst reverses the pattern too, so classes and escapes do not work at the back.
        let parts = parts(&ordered(pattern, side));
        Self { parts, side }
    }

    /// Takes off the shortest or longest part, of one character at least, that matches.
    pub(crate) fn trim(&self, value: &str, length: Length) -> String {
        let letters = ordered(value, self.side);
        let rest = &letters[self.matched(&letters, length)..];
        match self.side {
            Side::Front => rest.iter().collect(),
            Side::Back => rest.iter().rev().collect(),
        }
    }

    /// How many letters match; zero if none do.
    ///
    /// `reached[n]` says whether the first `n` parts match what was read. Each letter makes the next row out of the last one.
    fn matched(&self, letters: &[char], length: Length) -> usize {
        let mut reached = vec![false; self.parts.len() + 1];
        reached[0] = true;
        self.skip_stars(&mut reached);
        let mut next = vec![false; reached.len()];
        let mut found = 0;
        for (at, letter) in letters.iter().enumerate() {
            next.fill(false);
            for (number, part) in self.parts.iter().enumerate() {
                if reached[number] && part.matches(*letter) {
                    next[number + usize::from(!matches!(part, GlobPart::Any))] = true;
                }
            }
            std::mem::swap(&mut reached, &mut next);
            self.skip_stars(&mut reached);
            if reached[self.parts.len()] {
                found = at + 1;
                if length == Length::Shortest {
                    break;
                }
            }
        }
        found
    }

    /// Adds what is reached without a letter, because a star can match nothing.
    fn skip_stars(&self, reached: &mut [bool]) {
        for (number, part) in self.parts.iter().enumerate() {
            if reached[number] && matches!(part, GlobPart::Any) {
                reached[number + 1] = true;
            }
        }
    }
}

impl GlobPart {
    fn matches(&self, letter: char) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Letter(wanted) => *wanted == letter,
            Self::Class { negated, ranges } => {
                let mut ranges = ranges.iter();
                ranges.any(|(from, to)| (*from..=*to).contains(&letter)) != *negated
            }
        }
    }
}

/// The letters of a text, the end first for the back.
fn ordered(text: &str, side: Side) -> Vec<char> {
    match side {
        Side::Front => text.chars().collect(),
        Side::Back => text.chars().rev().collect(),
    }
}

/// Parses a pattern in the order in which it is compared.
fn parts(pattern: &[char]) -> Vec<GlobPart> {
    let mut parts = Vec::new();
    let mut at = 0;
    // Behind the last `]`, a `[` is a letter; so the pattern is not searched again for each of them.
    let last_bracket = pattern
        .iter()
        .rposition(|letter| *letter == ']')
        .unwrap_or(0);
    while let Some(letter) = pattern.get(at) {
        at += 1;
        parts.push(match letter {
            '*' => GlobPart::Any,
            '?' => GlobPart::One,
            '\\' if at < pattern.len() => {
                at += 1;
                GlobPart::Letter(pattern[at - 1])
            }
            '[' if at <= last_bracket => match class(&pattern[at..]) {
                Some((class, length)) => {
                    at += length;
                    class
                }
                None => GlobPart::Letter('['),
            },
            other => GlobPart::Letter(*other),
        });
    }
    parts
}

/// A character class after its opening bracket, and its length with the closing bracket.
fn class(pattern: &[char]) -> Option<(GlobPart, usize)> {
    let negated = matches!(pattern.first(), Some('^' | '!'));
    let start = usize::from(negated);
    let end = pattern
        .iter()
        .skip(start)
        .position(|letter| *letter == ']')?
        + start;
    let mut ranges = Vec::new();
    let mut inside = &pattern[start..end];
    while let [from, rest @ ..] = inside {
        match rest {
            ['-', to, rest @ ..] => {
                ranges.push((*from, *to));
                inside = rest;
            }
            _ => {
                ranges.push((*from, *from));
                inside = rest;
            }
        }
    }
    Some((GlobPart::Class { negated, ranges }, end + 1))
}

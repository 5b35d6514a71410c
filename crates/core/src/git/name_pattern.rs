//! Pure: patterns of file names as Go's `path/filepath.Match` reads them: `*`, `?`, `[a-c]`, `[^a]`, and `\` before a letter
//! that means itself.
//!
//! A pattern keeps its text and nothing else, so that a long list of a stranger takes no more memory than its file.

use std::str::Chars;

/// A well-formed pattern of one name of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamePattern(Box<str>);

/// What stands at a place of a pattern.
enum NamePart<'p> {
    /// `*`: any letters.
    Any,
    /// `?`: one letter.
    One,
    Letter(char),
    /// `[…]`: the text between the brackets, without the `^`.
    Class {
        negated: bool,
        members: &'p str,
    },
}

impl NamePattern {
    /// Nothing for a pattern that is malformed.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let mut letters = text.chars();
        while !letters.as_str().is_empty() {
            next_part(&mut letters)?;
        }
        Some(Self(text.into()))
    }

    /// Whether the whole name matches. Each comparison of a part with a letter is added to `steps`, of which there are at
    /// most as many as the product of both lengths.
    pub(crate) fn matches(&self, name: &str, steps: &mut u64) -> bool {
        let (mut pattern, mut letters) = (self.0.chars(), name.chars());
        // Where to go on if the parts after the last star do not match: with one letter more for the star.
        let mut star: Option<(Chars<'_>, Chars<'_>)> = None;
        loop {
            *steps = steps.saturating_add(1);
            let before = letters.clone();
            let here = match (next_part(&mut pattern), letters.next()) {
                (Some(NamePart::Any), _) => {
                    letters = before;
                    star = Some((pattern.clone(), letters.clone()));
                    true
                }
                (None, None) => return true,
                (Some(part), Some(letter)) => {
                    if let NamePart::Class { members, .. } = &part {
                        *steps =
                            steps.saturating_add(u64::try_from(members.len()).unwrap_or(u64::MAX));
                    }
                    part.matches(letter)
                }
                (_, None) | (None, _) => false,
            };
            if here {
                continue;
            }
            let Some((after_star, rest)) = &mut star else {
                return false;
            };
            if rest.next().is_none() {
                return false;
            }
            (pattern, letters) = (after_star.clone(), rest.clone());
        }
    }
}

impl NamePart<'_> {
    fn matches(&self, letter: char) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Letter(wanted) => *wanted == letter,
            Self::Class { negated, members } => {
                let mut members = members.chars();
                let mut is_member = false;
                while let Some((from, to)) = next_range(&mut members) {
                    is_member |= (from..=to).contains(&letter);
                }
                is_member != *negated
            }
        }
    }
}

/// Reads the next part; nothing at the end of the pattern and where it is malformed.
fn next_part<'p>(letters: &mut Chars<'p>) -> Option<NamePart<'p>> {
    Some(match letters.next()? {
        '*' => NamePart::Any,
        '?' => NamePart::One,
        '\\' => NamePart::Letter(letters.next()?),
        '[' => {
            let rest = letters.as_str();
            let (negated, members) = match rest.strip_prefix('^') {
                Some(members) => (true, members),
                None => (false, rest),
            };
            let mut left = members.chars();
            next_range(&mut left)?;
            while !left.as_str().starts_with(']') {
                next_range(&mut left)?;
            }
            let members = members.strip_suffix(left.as_str())?;
            left.next();
            *letters = left;
            NamePart::Class { negated, members }
        }
        letter => NamePart::Letter(letter),
    })
}

/// Reads the next letter or range of a class.
fn next_range(members: &mut Chars<'_>) -> Option<(char, char)> {
    let from = next_member(members)?;
    if members.as_str().starts_with('-') {
        members.next();
        return Some((from, next_member(members)?));
    }
    Some((from, from))
}

fn next_member(members: &mut Chars<'_>) -> Option<char> {
    match members.next()? {
        '-' | ']' => None,
        '\\' => members.next(),
        letter => Some(letter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("[x\\-]", "z", false),
            ("*x", "xxx", true),
        ] {
            let found = NamePattern::new(pattern).expect(pattern);
            assert_eq!(found.matches(name, &mut 0), expected, "{pattern} {name}");
        }
        for malformed in [
            "[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a[",
        ] {
            assert_eq!(NamePattern::new(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn a_match_takes_at_most_the_product_of_both_lengths() {
        let (stars, name) = ("*a".repeat(200) + "b", "a".repeat(400));
        let pattern = NamePattern::new(&stars).expect("well-formed");
        let mut steps = 0;
        assert!(!pattern.matches(&name, &mut steps));
        assert!(steps <= 401 * 401, "{steps}");
        let class = NamePattern::new(&format!("[{}]", "b".repeat(10_000))).expect("well-formed");
        assert!(!class.matches("a", &mut steps));
        assert!(steps > 10_000, "a class is charged for its members");
    }
}

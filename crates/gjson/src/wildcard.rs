//! Pure: `*` for any letters, `?` for one letter, `\` before a letter that means itself.
//!
//! The rules are those of `Match` in github.com/tidwall/match 1.1. The original goes back recursively; here only the
//! last star is tried again, which finds the same and takes at most the product of both lengths.

/// Whether a text matches a pattern. The work is bounded by the product of both lengths.
pub(crate) fn matches(text: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut wanted) = (0, 0);
    // The place to continue from if the pattern after the last star does not match.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(wanted) {
            Some(b'*') => {
                wanted += 1;
                star = Some((at, wanted));
                continue;
            }
            None => (at == text.len()).then_some((0, 0)),
            Some(b'?') => letter(text, at).map(|letter| (letter.len(), 1)),
            Some(byte) => {
                let escaped = usize::from(*byte == b'\\');
                let want = letter(pattern, wanted + escaped);
                let same = want.is_some() && letter(text, at) == want;
                same.then_some(want)
                    .flatten()
                    .map(|want| (want.len(), want.len() + escaped))
            }
        };
        match (step, star) {
            (Some((0, 0)), _) => return true,
            (Some((text, pattern)), _) => {
                at += text;
                wanted += pattern;
            }
            (None, None) => return false,
            (None, Some((from, after))) => {
                let Some(letter) = letter(text, from) else {
                    return false;
                };
                let next = from + letter.len();
                star = Some((next, after));
                (at, wanted) = (next, after);
            }
        }
    }
}

/// The bytes of the letter at a place; a byte that is no UTF-8 is a letter.
fn letter(text: &[u8], at: usize) -> Option<&[u8]> {
    let first = *text.get(at)?;
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let whole = text.get(at..at + length);
    let whole = whole.filter(|bytes| std::str::from_utf8(bytes).is_ok());
    Some(whole.unwrap_or_else(|| &text[at..=at]))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("", "*", true),
            ("abc", "a*c", true),
            ("abc", "a?c", true),
            ("ac", "a?c", false),
            ("aéc", "a?c", true),
            ("a*c", r"a\*c", true),
            ("abc", r"a\*c", false),
            ("abcabd", "*ab?", true),
            ("mississippi", "m*iss*p*", true),
            ("mississippi", "m*iss*x", false),
            ("abc", "abc*", true),
            ("abc", r"abc\", false),
        ] {
            assert_eq!(
                matches(text.as_bytes(), pattern.as_bytes()),
                expected,
                "{text} {pattern}"
            );
        }
    }
}

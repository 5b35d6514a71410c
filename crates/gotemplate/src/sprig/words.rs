//! Pure: `snakecase`, `kebabcase` and `camelcase`, word by word as xstrings splits them.
//!
//! The rules are those of `convert.go` of github.com/huandu/xstrings 1.5 (`ToSnakeCase`, `ToKebabCase`,
//! `ToCamelCase`). They are not symmetric: snake and kebab case split `HTTPServer2x` into words and keep punctuation,
//! while camel case knows connectors only and lowers a run of capitals.

/// The kinds of word that a text is split into.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Word {
    /// Digits and other numbers.
    Number,
    /// A capital with what belongs to it: `Status`, or `HTTP` before another word.
    UpperCase,
    /// Letters without a capital.
    Alphabet,
    /// `-`, `_` and white space, each of which becomes the connector of the result.
    Connector,
    Punctuation,
    /// Anything else, which is copied.
    Unknown,
}

fn is_connector(c: char) -> bool {
    c == '-' || c == '_' || c.is_whitespace()
}

fn is_punctuation(c: char) -> bool {
    // Go's `unicode.IsPunct`: symbols such as `$+<=>^|~` and the backquote are none.
    c.is_ascii_punctuation() && !matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~')
}

/// Letters of scripts without case are no part of a word (xstrings).
fn is_alphabet(c: char) -> bool {
    c.is_alphabetic()
        && !matches!(c, '\u{3034}'..'\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{20000}'..='\u{2fa1f}')
}

fn is_number(c: char) -> bool {
    c.is_numeric()
}

/// The first word and the rest.
fn next_word(text: &[char]) -> Option<(Word, &[char], &[char])> {
    let (&first, _) = text.split_first()?;
    let run =
        |belongs: fn(char) -> bool| text.iter().position(|&c| !belongs(c)).unwrap_or(text.len());
    let lower = |c: char| is_alphabet(c) && !c.is_uppercase();
    let (word, length) = if is_connector(first) {
        (Word::Connector, run(is_connector))
    } else if is_punctuation(first) {
        (Word::Punctuation, run(is_punctuation))
    } else if first.is_uppercase() {
        (Word::UpperCase, upper_case_word(text))
    } else if is_alphabet(first) {
        let length = text.iter().position(|&c| !lower(c));
        (Word::Alphabet, length.unwrap_or(text.len()))
    } else if is_number(first) {
        (Word::Number, run(is_number))
    } else {
        let known =
            |c: char| is_connector(c) || is_alphabet(c) || is_number(c) || is_punctuation(c);
        let length = text.iter().position(|&c| known(c));
        (Word::Unknown, length.unwrap_or(text.len()).max(1))
    };
    let (word_text, rest) = text.split_at(length);
    Some((word, word_text, rest))
}

/// `HTTPStatus` is `HTTP` and `Status`.
///
/// A run of capitals belongs together, except that its last one begins the next word if a small letter follows. The
/// result is the number of characters.
fn upper_case_word(text: &[char]) -> usize {
    let rest = &text[1..];
    match rest.first() {
        Some(c) if c.is_uppercase() => {
            let uppers = rest
                .iter()
                .position(|c| !c.is_uppercase())
                .unwrap_or(rest.len());
            match rest.get(uppers) {
                Some(&next) if is_alphabet(next) => uppers,
                _ => uppers + 1,
            }
        }
        Some(&c) if is_alphabet(c) => {
            let lowers = rest
                .iter()
                .position(|&c| !is_alphabet(c) || c.is_uppercase());
            lowers.unwrap_or(rest.len()) + 1
        }
        _ => 1,
    }
}

/// Lower-case words with a connector between them.
///
/// A number stays with the word before it (`id2`), unless small letters follow at once: `http2xx` is `http_2xx`.
pub(super) fn connected(text: &str, connector: char) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut words = Connected {
        out: String::new(),
        connector,
    };
    let Some((mut kind, mut word, mut rest)) = next_word(&characters) else {
        return words.out;
    };
    while !rest.is_empty() {
        let next = next_word(rest);
        let following = match kind {
            Word::Number => {
                words.push(kind, word);
                let next = words.take_alphanumeric(next);
                words.separate(next);
                next
            }
            Word::Connector | Word::Punctuation => {
                words.push(kind, word);
                next
            }
            _ => {
                words.push(kind, word);
                words.after_letters(next)
            }
        };
        match following {
            Some(found) => (kind, word, rest) = found,
            None => return words.out,
        }
    }
    words.push(kind, word);
    words.out
}

/// A word, and the characters after it.
type Found<'c> = Option<(Word, &'c [char], &'c [char])>;

/// The words that have been joined so far.
struct Connected {
    out: String,
    connector: char,
}

impl Connected {
    fn push(&mut self, kind: Word, word: &[char]) {
        match kind {
            Word::UpperCase => self.out.extend(word.iter().flat_map(|c| c.to_lowercase())),
            Word::Connector => self.out.extend(word.iter().map(|_| self.connector)),
            _ => self.out.extend(word),
        }
    }

    /// Writes a connector, unless the text ends or goes on with a separator of its own.
    fn separate(&mut self, next: Found<'_>) {
        if !matches!(next, None | Some((Word::Punctuation | Word::Connector, ..))) {
            self.out.push(self.connector);
        }
    }

    /// Writes the words of digits and small letters that follow at once, and gives what comes after them.
    fn take_alphanumeric<'c>(&mut self, mut next: Found<'c>) -> Found<'c> {
        while let Some((kind @ (Word::Alphabet | Word::Number), word, rest)) = next {
            self.push(kind, word);
            next = next_word(rest);
        }
        next
    }

    /// Joins the word after a word of letters, and gives the word to go on with.
    fn after_letters<'c>(&mut self, next: Found<'c>) -> Found<'c> {
        let Some((Word::Number, number, after)) = next else {
            self.separate(next);
            return next;
        };
        if after.is_empty() {
            return next;
        }
        let mut following = next_word(after);
        if matches!(following, Some((Word::Alphabet, ..))) {
            // Lower-case letters after a number: the number begins a word.
            self.out.push(self.connector);
            self.out.extend(number);
            following = self.take_alphanumeric(following);
        } else {
            // The number is a part of the word before it.
            self.out.extend(number);
        }
        self.separate(following);
        following
    }
}

/// Words joined, each with a capital.
///
/// Connectors at the start stay, and the last one of several in a row is dropped. A letter after a connector becomes
/// a capital, and the capitals after it become small: `HTTP_SERVER` is `HttpServer`.
pub(super) fn camel(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    let mut current = None;
    let mut first_is_upper = false;
    // Leading connectors stay.
    for c in characters.by_ref() {
        if is_connector(c) {
            out.push(c);
            continue;
        }
        first_is_upper = c.is_uppercase();
        current = Some(simple_upper(c));
        break;
    }
    let Some(mut current) = current else {
        // Of connectors alone, the last comes twice.
        out.extend(text.chars().last());
        return out;
    };
    for c in characters {
        let before = current;
        current = c;
        if is_connector(c) && is_connector(before) {
            out.push(before);
            continue;
        }
        if is_connector(before) {
            first_is_upper = c.is_uppercase();
            current = simple_upper(c);
            continue;
        }
        if first_is_upper {
            if c.is_uppercase() {
                current = c.to_lowercase().next().unwrap_or(c);
            } else {
                first_is_upper = false;
            }
        }
        out.push(before);
    }
    out.push(current);
    out
}

/// Maps a character to a single character, as `unicode.ToUpper` does: `ß` stays.
pub(crate) fn simple_upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_xstrings() {
        for (text, snake, camel_case) in [
            ("FirstName", "first_name", "FirstName"),
            ("HTTPServer", "http_server", "Httpserver"),
            ("myID2Foo", "my_id2_foo", "MyID2Foo"),
            ("a-b c.d", "a_b_c.d", "ABC.d"),
            ("NoHTTPS", "no_https", "NoHTTPS"),
            ("http2xx", "http_2xx", "Http2xx"),
            ("HTTP20xOK", "http_20x_ok", "Http20xOK"),
            ("Duration2m3s", "duration_2m3s", "Duration2m3s"),
            ("0x1Foo", "0x1_foo", "0x1Foo"),
            ("_leading", "_leading", "_Leading"),
            ("trailing_", "trailing_", "Trailing_"),
            ("a__b", "a__b", "A_B"),
            ("HTTP_SERVER", "http_server", "HttpServer"),
        ] {
            assert_eq!(connected(text, '_'), snake, "{text}");
            assert_eq!(camel(text), camel_case, "{text}");
        }
        assert_eq!(connected("a__b", '-'), "a--b");
    }
}

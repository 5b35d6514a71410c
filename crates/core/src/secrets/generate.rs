//! Pure: the values of generators. Random bytes are an argument.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use data_encoding::{BASE32, HEXLOWER};

use crate::api::generators::{FakeSpec, PasswordEncoding, PasswordSpec};
use crate::secrets::{SecretData, SecretValue};

/// A generator, of its own kind or in a `ClusterGenerator`.
#[derive(Debug, Clone, PartialEq)]
pub enum Generator {
    /// Random passwords.
    Password(PasswordSpec),
    /// A random UUID, version 4.
    Uuid,
    /// Fixed values, for tests.
    Fake(FakeSpec),
}

/// Why a generator's spec gives no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// The length is out of bounds.
    #[error("`length` must be from 1 to 65536, not {0}")]
    Length(i64),
    /// Digits and symbols together exceed the length.
    #[error("`digits` and `symbols` are more than `length` in all")]
    TooMany,
    /// There are fewer different characters than wanted, and none may repeat.
    #[error(
        "{wanted} {what} are wanted and there are {there} different ones; `allowRepeat` lets one come twice"
    )]
    TooFew {
        /// `letters`, `digits` or `symbols`.
        what: &'static str,
        /// How many are wanted.
        wanted: usize,
        /// How many different ones there are.
        there: usize,
    },
    /// There are too many symbols to choose from.
    #[error("`symbolCharacters` has {0} characters; it may have {MAX_SYMBOLS}")]
    Symbols(usize),
    /// The values of all generators of one ExternalSecret would be too large.
    #[error(
        "with the values of this generator, those of the ExternalSecret would have {needed} bytes; they may have {MAX_BYTES}"
    )]
    TooLarge {
        /// The bytes of all values.
        needed: usize,
    },
    /// A key is empty or occurs twice.
    #[error("`secretKeys` has an empty key or one that comes twice")]
    Keys,
}

/// The most bytes of all generated values of one ExternalSecret: a Secret holds 1 MiB.
const MAX_BYTES: usize = 2 << 20;
/// The most characters in `symbolCharacters`.
const MAX_SYMBOLS: usize = 4096;

/// The bytes of keys and values that generators have made for one ExternalSecret.
#[derive(Debug, Default)]
pub struct GeneratedBytes(usize);

impl GeneratedBytes {
    /// Charges values that are about to be made.
    fn charge(&mut self, bytes: usize) -> Result<(), GenerateError> {
        let needed = self.0.saturating_add(bytes);
        if needed > MAX_BYTES {
            return Err(GenerateError::TooLarge { needed });
        }
        self.0 = needed;
        Ok(())
    }
}

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
const SYMBOLS: &str = "~!@#$%^&*()_+`-={}|[]\\:\"<>?,./";

/// Fills a slice with random bytes.
pub type Random<'r> = dyn FnMut(&mut [u8]) + 'r;

/// Makes the values of a generator. A long password takes milliseconds, so this is work for a blocking thread.
///
/// # Errors
/// The spec of a password cannot be satisfied, or the values of the ExternalSecret would be too large.
pub fn generate(
    generator: &Generator,
    random: &mut Random<'_>,
    made: &mut GeneratedBytes,
) -> Result<SecretData, GenerateError> {
    match generator {
        Generator::Password(spec) => passwords(spec, random, made),
        Generator::Uuid => {
            made.charge(36)?;
            let value = SecretValue::from(uuid(random).into_bytes());
            Ok([("uuid".to_owned(), value)].into())
        }
        Generator::Fake(spec) => {
            let sizes = spec.data.iter().map(|(key, text)| key.len() + text.len());
            made.charge(sizes.sum())?;
            let value = |(key, text): (&String, &String)| {
                (key.clone(), SecretValue::from(text.clone().into_bytes()))
            };
            Ok(spec.data.iter().map(value).collect())
        }
    }
}

fn passwords(
    spec: &PasswordSpec,
    random: &mut Random<'_>,
    made: &mut GeneratedBytes,
) -> Result<SecretData, GenerateError> {
    let default = ["password".to_owned()];
    let keys = if spec.secret_keys.is_empty() {
        &default[..]
    } else {
        &spec.secret_keys
    };
    let distinct: BTreeSet<&String> = keys.iter().filter(|key| !key.is_empty()).collect();
    if distinct.len() != keys.len() {
        return Err(GenerateError::Keys);
    }
    /// A character of four bytes has eight hexadecimal digits.
    const LONGEST: usize = 8;
    let length = usize::try_from(spec.length).unwrap_or_default();
    let bytes = keys
        .iter()
        .map(|key| key.len().saturating_add(length.saturating_mul(LONGEST)));
    made.charge(bytes.fold(0, usize::saturating_add))?;
    let password = |key: &String| {
        let text = password(spec, random)?;
        let encoded = match spec.encoding {
            PasswordEncoding::Raw => text,
            PasswordEncoding::Base64 => STANDARD.encode(text),
            PasswordEncoding::Base64url => URL_SAFE.encode(text),
            PasswordEncoding::Base32 => BASE32.encode(text.as_bytes()),
            PasswordEncoding::Hex => HEXLOWER.encode(text.as_bytes()),
        };
        Ok((key.clone(), SecretValue::from(encoded.into_bytes())))
    };
    keys.iter().map(password).collect()
}

/// A password of the wanted number of letters, digits and symbols, in random order.
fn password(spec: &PasswordSpec, random: &mut Random<'_>) -> Result<String, GenerateError> {
    let length = usize::try_from(spec.length).ok();
    let length = length.filter(|length| (1..=65536).contains(length));
    let length = length.ok_or(GenerateError::Length(spec.length))?;
    let count = |given: Option<i64>| match given {
        Some(count) => usize::try_from(count).map_err(|_| GenerateError::TooMany),
        None => Ok(length / 4),
    };
    let (digits, symbols) = (count(spec.digits)?, count(spec.symbols)?);
    let letters = digits
        .checked_add(symbols)
        .and_then(|others| length.checked_sub(others))
        .ok_or(GenerateError::TooMany)?;
    let alphabet = if spec.no_upper {
        LOWER.to_owned()
    } else {
        format!("{LOWER}{UPPER}")
    };
    let symbol_characters = spec.symbol_characters.as_deref().unwrap_or(SYMBOLS);
    let symbol_count = symbol_characters.chars().count();
    if symbol_count > MAX_SYMBOLS {
        return Err(GenerateError::Symbols(symbol_count));
    }
    let (mut password, mut used) = (Vec::new(), BTreeSet::new());
    for (what, wanted, from) in [
        ("letters", letters, alphabet.as_str()),
        ("digits", digits, DIGITS),
        ("symbols", symbols, symbol_characters),
    ] {
        let from: Vec<char> = from.chars().collect();
        // Without repeats, what another class has taken is no longer there.
        let taken = |letter: &&char| !spec.allow_repeat && used.contains(*letter);
        let left: BTreeSet<&char> = from.iter().filter(|letter| !taken(letter)).collect();
        let there = left.len();
        if wanted > there && !(spec.allow_repeat && there > 0) {
            return Err(GenerateError::TooFew {
                what,
                wanted,
                there,
            });
        }
        let end = password.len() + wanted;
        while password.len() < end {
            let letter = from[below(from.len(), random)];
            if used.insert(letter) || spec.allow_repeat {
                password.push(letter);
            }
        }
    }
    // Each place is as likely as any other for each character.
    for last in (1..password.len()).rev() {
        password.swap(last, below(last + 1, random));
    }
    Ok(password.into_iter().collect())
}

/// A random number below a bound, each as likely as the others.
fn below(bound: usize, random: &mut Random<'_>) -> usize {
    let bound = u32::try_from(bound).unwrap_or(u32::MAX);
    let fair = u32::MAX - u32::MAX % bound;
    loop {
        let mut bytes = [0; 4];
        random(&mut bytes);
        let number = u32::from_le_bytes(bytes);
        if number < fair {
            return (number % bound) as usize;
        }
    }
}

/// A UUID of version 4.
fn uuid(random: &mut Random<'_>) -> String {
    let mut bytes = [0; 16];
    random(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let groups = [
        &bytes[..4],
        &bytes[4..6],
        &bytes[6..8],
        &bytes[8..10],
        &bytes[10..],
    ];
    groups.map(|group| HEXLOWER.encode(group)).join("-")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A generator of numbers that is as good as random here.
    fn chance() -> impl FnMut(&mut [u8]) {
        let mut state = 7_u64;
        move |bytes| {
            for byte in bytes {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                *byte = (state >> 33).to_le_bytes()[0];
            }
        }
    }

    fn made(spec: Value) -> Result<SecretData, GenerateError> {
        let spec = serde_json::from_value(spec).unwrap();
        generate(
            &Generator::Password(spec),
            &mut chance(),
            &mut GeneratedBytes::default(),
        )
    }

    fn text(data: &SecretData, key: &str) -> String {
        String::from_utf8(data[key].expose().to_vec()).unwrap()
    }

    #[test]
    fn passwords_have_the_characters_that_are_asked_for() {
        let count = |text: &str, of: &str| text.chars().filter(|c| of.contains(*c)).count();
        let data = made(json!({})).unwrap();
        let password = text(&data, "password");
        assert_eq!(password.chars().count(), 24);
        assert_eq!(count(&password, DIGITS), 6);
        assert_eq!(count(&password, SYMBOLS), 6);
        let letters: BTreeSet<char> = password.chars().collect();
        assert_eq!(letters.len(), 24, "nothing comes twice: {password}");

        let data = made(json!({"length": 50, "digits": 30, "symbols": 5, "symbolCharacters": "é!", "noUpper": true, "allowRepeat": true, "secretKeys": ["a", "b"]})).unwrap();
        for key in ["a", "b"] {
            let password = text(&data, key);
            assert_eq!(password.chars().count(), 50);
            assert_eq!(count(&password, DIGITS), 30);
            assert_eq!(count(&password, "é!"), 5);
            assert_eq!(count(&password, UPPER), 0);
        }
        assert_ne!(data["a"], data["b"]);
    }

    #[test]
    fn passwords_are_encoded() {
        for (encoding, length) in [
            ("base64", 32),
            ("base64url", 32),
            ("base32", 40),
            ("hex", 48),
        ] {
            let data = made(json!({"encoding": encoding})).unwrap();
            assert_eq!(text(&data, "password").len(), length, "{encoding}");
        }
    }

    #[test]
    fn what_cannot_be_made_is_said() {
        for (spec, expected) in [
            (
                json!({"length": 0}),
                "`length` must be from 1 to 65536, not 0",
            ),
            (
                json!({"length": 4, "digits": 3, "symbols": 3}),
                "`digits` and `symbols` are more than `length` in all",
            ),
            (
                json!({"length": 44}),
                "11 digits are wanted and there are 10 different ones; `allowRepeat` lets one come twice",
            ),
            (
                json!({"symbolCharacters": "", "allowRepeat": true}),
                "6 symbols are wanted and there are 0 different ones; `allowRepeat` lets one come twice",
            ),
            (
                json!({"length": 40, "digits": 10, "symbols": 5, "symbolCharacters": "0123456789"}),
                "5 symbols are wanted and there are 0 different ones; `allowRepeat` lets one come twice",
            ),
            (
                json!({"secretKeys": ["a", "a"]}),
                "`secretKeys` has an empty key or one that comes twice",
            ),
        ] {
            assert_eq!(made(spec).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn what_a_spec_multiplies_is_bounded_before_it_is_made() {
        let keys: Vec<String> = (0..1_000).map(|at| format!("k{at}")).collect();
        let many = json!({"length": 65536, "allowRepeat": true, "secretKeys": keys});
        let error = made(many).unwrap_err().to_string();
        assert!(
            error.contains("would have 524291890 bytes; they may have 2097152"),
            "{error}"
        );
        let symbols: String = ('\u{4e00}'..='\u{9fff}').collect();
        let many =
            json!({"length": 20_000, "digits": 0, "symbols": 20_000, "symbolCharacters": symbols});
        let error = made(many).unwrap_err().to_string();
        assert_eq!(
            error,
            "`symbolCharacters` has 20992 characters; it may have 4096"
        );
        let spec = serde_json::from_value(json!({"length": 65536, "allowRepeat": true})).unwrap();
        let generator = Generator::Password(spec);
        let mut bytes = GeneratedBytes::default();
        let mut again = || generate(&generator, &mut chance(), &mut bytes);
        assert!((0..3).all(|_| again().is_ok()));
        assert!(matches!(again(), Err(GenerateError::TooLarge { .. })));
    }

    #[test]
    fn a_password_uses_up_all_symbols_that_it_may_have() {
        let symbols: String = ('\u{4e00}'..).take(4_096).collect();
        let spec =
            json!({"length": 4_096, "digits": 0, "symbols": 4_096, "symbolCharacters": symbols});
        let password = text(&made(spec).unwrap(), "password");
        let letters: BTreeSet<char> = password.chars().collect();
        assert_eq!(letters.len(), 4_096);
    }

    #[test]
    fn uuids_and_fixed_values() {
        let data = generate(
            &Generator::Uuid,
            &mut chance(),
            &mut GeneratedBytes::default(),
        )
        .unwrap();
        let uuid = text(&data, "uuid");
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        let fake = serde_json::from_value(json!({"data": {"k": "v"}})).unwrap();
        let data = generate(
            &Generator::Fake(fake),
            &mut chance(),
            &mut GeneratedBytes::default(),
        )
        .unwrap();
        assert_eq!(text(&data, "k"), "v");
    }
}

//! Pure: base64 as Go's `encoding/base64` decodes it.
//!
//! Line breaks (`\r`, `\n`) are skipped anywhere, padding is required, nothing may follow it, and the bits that the
//! padding leaves over may be anything (Go is not strict unless it is told to be).

use std::fmt;

/// The characters for the values 62 and 63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// `+` and `/`, as `base64.StdEncoding`.
    Standard,
    /// `-` and `_`, as `base64.URLEncoding`.
    UrlSafe,
}

/// A text that is no base64. The message is Go's: `illegal base64 data at input byte 4`. It holds nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorruptInput {
    /// The offset in bytes that Go's `CorruptInputError` names: of the first byte that cannot be, or where the last
    /// group of four begins if its padding is missing.
    pub offset: usize,
}

impl fmt::Display for CorruptInput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "illegal base64 data at input byte {}",
            self.offset
        )
    }
}

impl std::error::Error for CorruptInput {}

/// Decodes a text as `Encoding.DecodeString` does.
///
/// ```
/// use gocompat::base64::{Alphabet, decode};
/// assert_eq!(decode(b"aGVs\nbG8=", Alphabet::Standard)?, b"hello");
/// # Ok::<(), gocompat::base64::CorruptInput>(())
/// ```
///
/// # Errors
/// The offset that Go's error names.
pub fn decode(text: &[u8], alphabet: Alphabet) -> Result<Vec<u8>, CorruptInput> {
    let mut input = Input { text, at: 0 };
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    loop {
        let (quantum, length) = input.quantum(alphabet)?;
        let bits = quantum
            .iter()
            .fold(0_u32, |bits, value| bits << 6 | u32::from(*value));
        // Four values of six bits are three bytes; the first byte of the word is empty.
        let [_, decoded @ ..] = bits.to_be_bytes();
        out.extend(decoded.iter().take(length.saturating_sub(1)));
        if length < 4 {
            return Ok(out);
        }
    }
}

fn value_of(byte: u8, alphabet: Alphabet) -> Option<u8> {
    match (byte, alphabet) {
        (b'A'..=b'Z', _) => Some(byte - b'A'),
        (b'a'..=b'z', _) => Some(byte - b'a' + 26),
        (b'0'..=b'9', _) => Some(byte - b'0' + 52),
        (b'+', Alphabet::Standard) | (b'-', Alphabet::UrlSafe) => Some(62),
        (b'/', Alphabet::Standard) | (b'_', Alphabet::UrlSafe) => Some(63),
        _ => None,
    }
}

struct Input<'t> {
    text: &'t [u8],
    at: usize,
}

impl Input<'_> {
    fn skip_line_breaks(&mut self) {
        while matches!(self.text.get(self.at), Some(b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The next group of four characters, and how many of them are no padding. Only the last group has fewer than four.
    fn quantum(&mut self, alphabet: Alphabet) -> Result<([u8; 4], usize), CorruptInput> {
        let mut quantum = [0_u8; 4];
        let mut length = 0;
        for slot in &mut quantum {
            self.skip_line_breaks();
            let Some(&byte) = self.text.get(self.at) else {
                // The text may end between groups only.
                return match length {
                    0 => Ok((quantum, 0)),
                    _ => Err(CorruptInput {
                        offset: self.at - length,
                    }),
                };
            };
            self.at += 1;
            match value_of(byte, alphabet) {
                Some(value) => *slot = value,
                None => {
                    self.padding(byte, length)?;
                    return Ok((quantum, length));
                }
            }
            length += 1;
        }
        Ok((quantum, length))
    }

    /// Reads the rest of the padding after its first character, and the end of the text.
    fn padding(&mut self, first: u8, length: usize) -> Result<(), CorruptInput> {
        if first != b'=' || length < 2 {
            return Err(CorruptInput {
                offset: self.at - 1,
            });
        }
        if length == 2 {
            self.skip_line_breaks();
            match self.text.get(self.at) {
                Some(b'=') => self.at += 1,
                Some(_) => {
                    return Err(CorruptInput {
                        offset: self.at - 1,
                    });
                }
                None => {
                    return Err(CorruptInput {
                        offset: self.text.len(),
                    });
                }
            }
        }
        self.skip_line_breaks();
        if self.at < self.text.len() {
            return Err(CorruptInput { offset: self.at });
        }
        Ok(())
    }
}

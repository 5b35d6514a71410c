//! Pure: strings of JSON, written and read as gjson does: `<`, `>` and `&` are escaped, a broken escape ends the text.

/// A text without its escapes. The text after a control character or an invalid escape is left out.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        if *byte < b' ' {
            return out;
        }
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let Some(escape) = text.get(at) else {
            return out;
        };
        at += 1;
        match escape {
            b'\\' | b'/' | b'"' => out.push(*escape),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let Some(mut code) = text.get(at..at + 4).map(hex) else {
                    return out;
                };
                at += 4;
                if (0xd800..0xe000).contains(&code)
                    && text.get(at..at + 2) == Some(b"\\u")
                    && let Some(low) = text.get(at + 2..at + 6).map(hex)
                {
                    at += 6;
                    code = pair(code, low);
                }
                let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return out,
        }
    }
    out
}

fn hex(digits: &[u8]) -> u32 {
    let text = std::str::from_utf8(digits).ok();
    let number = text.and_then(|text| u32::from_str_radix(text, 16).ok());
    number.unwrap_or(0)
}

/// The letter of two surrogates.
fn pair(high: u32, low: u32) -> u32 {
    if (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low) {
        0x1_0000 + ((high - 0xd800) << 10 | (low - 0xdc00))
    } else {
        u32::from(char::REPLACEMENT_CHARACTER)
    }
}

/// Writes a text as a string of JSON.
pub(crate) fn quote(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\u{8}' => out.extend_from_slice(b"\\b"),
                '\u{c}' => out.extend_from_slice(b"\\f"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..' ' => {
                    out.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes());
                }
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

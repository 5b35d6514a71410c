//! Pure: PEM texts, as Go's `encoding/pem` reads and writes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gocompat::base64::{Alphabet, decode as decode_base64};

/// One block of a PEM text.
pub(crate) struct Block {
    pub(crate) label: String,
    headers: Vec<String>,
    pub(crate) bytes: Vec<u8>,
}

impl Block {
    pub(crate) fn new(label: &str, bytes: Vec<u8>) -> Self {
        Self {
            label: label.to_owned(),
            headers: Vec::new(),
            bytes,
        }
    }

    pub(crate) fn encode(&self) -> String {
        let mut out = format!("-----BEGIN {}-----\n", self.label);
        for header in &self.headers {
            out.push_str(header);
            out.push('\n');
        }
        if !self.headers.is_empty() {
            out.push('\n');
        }
        let encoded = STANDARD.encode(&self.bytes);
        for line in encoded.as_bytes().chunks(64) {
            out.push_str(&String::from_utf8_lossy(line));
            out.push('\n');
        }
        out.push_str(&format!("-----END {}-----\n", self.label));
        out
    }
}

/// The next block and the text after it, as Go's `pem.Decode` finds them.
pub(crate) fn next_block(text: &str) -> Option<(Block, &str)> {
    let mut from = 0;
    loop {
        let offset = text[from..].find("-----BEGIN ")?;
        let start = from + offset;
        from = start + 1;
        let at_line_start = start == 0 || text.as_bytes()[start - 1] == b'\n';
        let after = &text[start + "-----BEGIN ".len()..];
        let (label, body) = match after.split_once("-----") {
            Some((label, body)) if at_line_start && !label.contains('\n') => (label, body),
            _ => continue,
        };
        let end = format!("-----END {label}-----");
        let Some(end_at) = body.find(&end) else {
            continue;
        };
        let (content, rest) = (&body[..end_at], &body[end_at + end.len()..]);
        let (headers, encoded): (Vec<&str>, Vec<&str>) = content
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .partition(|line| line.contains(": "));
        let Ok(bytes) = decode_base64(encoded.concat().as_bytes(), Alphabet::Standard) else {
            continue;
        };
        let rest = rest.strip_prefix('\r').unwrap_or(rest);
        let block = Block {
            label: label.to_owned(),
            headers: headers.into_iter().map(str::to_owned).collect(),
            bytes,
        };
        return Some((block, rest.strip_prefix('\n').unwrap_or(rest)));
    }
}

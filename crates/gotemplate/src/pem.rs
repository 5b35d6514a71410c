//! Pure: PEM texts, as Go's `encoding/pem` reads and writes them.
//!
//! Text around blocks is skipped, and so is a block whose end is missing or which is not base64; the search goes on
//! after its first line. Headers are kept in their order.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gocompat::base64::{Alphabet, decode as decode_base64};

/// One block of a PEM text.
///
/// The label is what stands after `BEGIN`, such as `CERTIFICATE`; the bytes are decoded.
pub(crate) struct Block {
    pub(crate) label: String,
    headers: Vec<String>,
    pub(crate) bytes: Vec<u8>,
}

impl Block {
    /// A block without headers.
    pub(crate) fn new(label: &str, bytes: Vec<u8>) -> Self {
        Self {
            label: label.to_owned(),
            headers: Vec::new(),
            bytes,
        }
    }

    /// `pem.EncodeToMemory`: lines of 64 characters, and a line break at the end.
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

const BEGIN: &str = "-----BEGIN ";

/// The next block and the text after it, as Go's `pem.Decode` finds them.
pub(crate) fn next_block(text: &str) -> Option<(Block, &str)> {
    let begins = text.match_indices(BEGIN);
    begins
        .filter_map(|(start, _)| text.split_at_checked(start))
        .filter(|(before, _)| before.is_empty() || before.ends_with('\n'))
        .find_map(|(_, block)| block_at_start(block))
}

/// The block that a text begins with, and the text after it; nothing if it has no end or is not base64.
fn block_at_start(text: &str) -> Option<(Block, &str)> {
    let (label, body) = text.strip_prefix(BEGIN)?.split_once("-----")?;
    if label.contains('\n') {
        return None;
    }
    let (content, rest) = body.split_once(&format!("-----END {label}-----"))?;
    let (headers, encoded): (Vec<&str>, Vec<&str>) = content
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .partition(|line| line.contains(": "));
    let bytes = decode_base64(encoded.concat().as_bytes(), Alphabet::Standard).ok()?;
    let rest = rest.strip_prefix('\r').unwrap_or(rest);
    let block = Block {
        label: label.to_owned(),
        headers: headers.into_iter().map(str::to_owned).collect(),
        bytes,
    };
    Some((block, rest.strip_prefix('\n').unwrap_or(rest)))
}

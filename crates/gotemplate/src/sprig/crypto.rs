//! Pure: encodings, hashes, passwords and symmetric encryption. Random bytes are an argument of the render.
//!
//! They are those of sprig's `crypto.go`, with `b64enc` and its kin of `strings.go` and `hexdec` of External Secrets.
//! Several give the text of an error as their *value* and let the render go on, as sprig does: `b64dec`, `b32dec`,
//! `hexdec`, `bcrypt`, `htpasswd` and `derivePassword`. A Secret can then hold `illegal base64 data at input byte 4`.

#![expect(
    clippy::unnecessary_wraps,
    reason = "the table of functions gives the signature"
)]

use aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use gocompat::base64::{Alphabet, decode as decode_base64};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use crate::error::{Outcome, fault};
use crate::machine::Machine;
use crate::signature::{Row, bytes, int, text};
use crate::value::Value;

pub(crate) const ROWS: &[Row] = &[
    ("b64enc", "s", |_, v| {
        Ok(Value::str(STANDARD.encode(bytes(v, 0))))
    }),
    ("b64dec", "s", |_, v| {
        let decoded = decode_base64(bytes(v, 0), Alphabet::Standard);
        // sprig returns the error's text as the value.
        let value = decoded.unwrap_or_else(|error| error.to_string().into_bytes());
        Ok(Value::str(value))
    }),
    ("b32enc", "s", |_, v| {
        Ok(Value::str(data_encoding::BASE32.encode(bytes(v, 0))))
    }),
    ("b32dec", "s", |_, v| {
        Ok(Value::str(match decode_base32(bytes(v, 0)) {
            Ok(decoded) => decoded,
            Err(at) => format!("illegal base32 data at input byte {at}").into_bytes(),
        }))
    }),
    ("hexdec", "s", |_, v| {
        Ok(Value::str(hex_decoded(bytes(v, 0))))
    }),
    ("sha1sum", "s", |_, v| {
        Ok(Value::str(hex(&Sha1::digest(bytes(v, 0)))))
    }),
    ("sha256sum", "s", |_, v| {
        Ok(Value::str(hex(&Sha256::digest(bytes(v, 0)))))
    }),
    ("sha512sum", "s", |_, v| {
        Ok(Value::str(hex(&Sha512::digest(bytes(v, 0)))))
    }),
    ("adler32sum", "s", |_, v| {
        Ok(Value::str(adler32(bytes(v, 0)).to_string()))
    }),
    ("randBytes", "i", |machine, v| {
        let length = usize::try_from(int(v, 0)).unwrap_or(0);
        machine.spend(length / 16)?;
        machine.allocate(length.saturating_mul(3))?;
        let mut random = vec![0; length];
        machine.random(&mut random);
        Ok(Value::str(STANDARD.encode(random)))
    }),
    ("uuidv4", "", |machine, _| {
        let mut random = [0; 16];
        machine.random(&mut random);
        random[6] = (random[6] & 0x0f) | 0x40;
        random[8] = (random[8] & 0x3f) | 0x80;
        let parts = [
            &random[..4],
            &random[4..6],
            &random[6..8],
            &random[8..10],
            &random[10..],
        ];
        Ok(Value::str(parts.map(hex).join("-")))
    }),
    ("bcrypt", "s", |machine, v| {
        bcrypt_of(machine, bytes(v, 0)).map(Value::str)
    }),
    ("htpasswd", "sss", htpasswd),
    ("derivePassword", "ussss", derive_password),
    ("encryptAES", "ss", encrypt),
    ("decryptAES", "ss", decrypt),
];

/// Work that a slow hash costs, in steps.
const SLOW_HASH: usize = 100_000;

/// Two small digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Decodes as Go's `encoding/base32` does. The error is the offset of the invalid byte.
fn decode_base32(text: &[u8]) -> Result<Vec<u8>, usize> {
    let compact: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    data_encoding::BASE32.decode(&compact).map_err(|error| {
        let wrong = compact
            .iter()
            .position(|byte| !matches!(byte, b'A'..=b'Z' | b'2'..=b'7' | b'='));
        wrong.unwrap_or(error.position)
    })
}

/// `hex.DecodeString`, with the text of its error in place of a value: for a digit that is none, else for an odd
/// length.
fn hex_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut out = Vec::new();
    for pair in text.chunks(2) {
        for &byte in pair {
            if digit(byte).is_none() {
                let byte = if byte.is_ascii_graphic() || byte == b' ' {
                    format!("U+{:04X} {:?}", byte, char::from(byte))
                } else {
                    format!("U+{byte:04X}")
                };
                return format!("encoding/hex: invalid byte: {byte}").into_bytes();
            }
        }
        match pair {
            [high, low] => {
                let value = digit(*high).unwrap_or(0) * 16 + digit(*low).unwrap_or(0);
                out.push(u8::try_from(value).unwrap_or(0));
            }
            _ => return b"encoding/hex: odd length hex string".to_vec(),
        }
    }
    out
}

/// The checksum of RFC 1950, which sprig prints as a decimal number.
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut a, mut b) = (1_u32, 0_u32);
    for &byte in bytes {
        a = (a + u32::from(byte)) % MODULUS;
        b = (b + a) % MODULUS;
    }
    b << 16 | a
}

/// A hash of bcrypt at Go's default cost of 10. A password of more than 72 bytes gives Go's error as the value.
fn bcrypt_of(machine: &mut Machine<'_>, password: &[u8]) -> Outcome<String> {
    const COST: u32 = 10;
    machine.spend(SLOW_HASH)?;
    if password.len() > 72 {
        return Ok(
            "failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes"
                .to_owned(),
        );
    }
    let mut salt = [0; 16];
    machine.random(&mut salt);
    match bcrypt::hash_with_salt(password, COST, salt) {
        Ok(parts) => Ok(parts.format_for_version(bcrypt::Version::TwoA)),
        Err(_) => fault("bcrypt failed"),
    }
}

/// A line of an htpasswd file. The third argument is `sha` for SHA-1, and anything else means bcrypt.
fn htpasswd(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let (user, password) = (text(values, 0), bytes(values, 1));
    if user.contains(':') {
        return Ok(Value::str(format!("invalid username: {user}")));
    }
    let hash = if bytes(values, 2) == b"sha" {
        format!("{{SHA}}{}", STANDARD.encode(Sha1::digest(password)))
    } else {
        bcrypt_of(machine, password)?
    };
    Ok(Value::str(format!("{user}:{hash}")))
}

/// The templates of Master Password, by type.
const PASSWORD_TEMPLATES: [(&str, &[&str]); 6] = [
    ("maximum", &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"]),
    (
        "long",
        &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
    ),
    ("medium", &["CvcnoCvc", "CvcCvcno"]),
    ("short", &["Cvcn"]),
    ("basic", &["aaanaaan", "aannaaan", "aaannaaa"]),
    ("pin", &["nnnn"]),
];

fn password_characters(class: char) -> &'static str {
    match class {
        'V' => "AEIOU",
        'C' => "BCDFGHJKLMNPQRSTVWXYZ",
        'v' => "aeiou",
        'c' => "bcdfghjklmnpqrstvwxyz",
        'A' => "AEIOUBCDFGHJKLMNPQRSTVWXYZ",
        'a' => "AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        'n' => "0123456789",
        'o' => "@&%?,=[]_:-+*$#!'^~;()/.",
        _ => "AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
    }
}

/// Master Password, version 1.
///
/// The arguments are a counter, the type of password, the master password, the user and the site. The key comes from
/// scrypt with N = 2¹⁵, r = 8 and p = 2, and a message authentication code of the site chooses the template and its
/// letters.
fn derive_password(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    machine.spend(SLOW_HASH)?;
    let kind = text(values, 1);
    let Some((_, templates)) = PASSWORD_TEMPLATES.iter().find(|(name, _)| *name == kind) else {
        return Ok(Value::str(format!("cannot find password template {kind}")));
    };
    let (password, user, site) = (bytes(values, 2), bytes(values, 3), bytes(values, 4));
    const SCOPE: &[u8] = b"com.lyndir.masterpassword";
    let length = |text: &[u8]| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    let salt = [SCOPE, &length(user), user].concat();
    let mut key = [0; 64];
    let parameters = scrypt::Params::new(15, 8, 2).ok();
    let derived = parameters
        .and_then(|parameters| scrypt::scrypt(password, &salt, &parameters, &mut key).ok());
    if derived.is_none() {
        return fault("failed to derive the password");
    }
    let counter = u32::try_from(int(values, 0)).unwrap_or(0).to_be_bytes();
    let message = [SCOPE, &length(site), site, &counter].concat();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(&message);
    let seed = mac.finalize().into_bytes();
    let template = templates[usize::from(seed[0]) % templates.len()];
    let derived: String = template
        .chars()
        .zip(seed.iter().skip(1))
        .map(|(class, seed)| {
            let characters = password_characters(class).as_bytes();
            char::from(characters[usize::from(*seed) % characters.len()])
        })
        .collect();
    Ok(Value::str(derived))
}

/// The first 32 bytes of the password, filled with zeros: sprig stretches no key.
fn aes_key(password: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    let length = password.len().min(32);
    key[..length].copy_from_slice(&password[..length]);
    key
}

/// AES-256 in CBC mode with the padding of PKCS#7. The result is the base64 of the initialization vector and the
/// blocks; an empty text stays empty.
fn encrypt(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let plain = bytes(values, 1);
    if plain.is_empty() {
        return Ok(Value::str(""));
    }
    let mut iv = [0; 16];
    machine.random(&mut iv);
    let cipher = cbc::Encryptor::<Aes256>::new(&aes_key(bytes(values, 0)).into(), &iv.into());
    let encrypted = cipher.encrypt_padded_vec::<Pkcs7>(plain);
    Ok(Value::str(STANDARD.encode([&iv[..], &encrypted].concat())))
}

/// The reverse of `encrypt`. Nothing authenticates the text, so a wrong password is noticed by its padding only, most
/// of the time.
fn decrypt(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    if bytes(values, 1).is_empty() {
        return Ok(Value::str(""));
    }
    let Ok(crypt) = decode_base64(bytes(values, 1), Alphabet::Standard) else {
        return fault("the text to decrypt is not base64");
    };
    let Some((iv, crypt)) = crypt.split_first_chunk::<16>() else {
        return fault("the text to decrypt is too short");
    };
    let cipher = cbc::Decryptor::<Aes256>::new(&aes_key(bytes(values, 0)).into(), &(*iv).into());
    match cipher.decrypt_padded_vec::<Pkcs7>(crypt) {
        Ok(plain) => Ok(Value::str(plain)),
        Err(_) => fault("the text cannot be decrypted with this password"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes() {
        assert_eq!(adler32(b"Wikipedia"), 300_286_872);
        assert_eq!(hex_decoded(b"6869"), b"hi");
        assert_eq!(
            hex_decoded(b"6x"),
            b"encoding/hex: invalid byte: U+0078 'x'"
        );
    }
}

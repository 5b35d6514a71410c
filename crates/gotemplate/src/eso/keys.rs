//! Pure: keys in other forms: JSON Web Keys to PEM, and a text that an RSA key opens.

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA512_MGF1SHA512, OaepPrivateDecryptingKey,
    PrivateDecryptingKey,
};
use gocompat::base64::{self, Alphabet};
use num_bigint::BigUint;
use serde_json::{Map, Value as Json};

use crate::der;
use crate::error::{Outcome, fault};
use crate::machine::Machine;
use crate::pem::{Block, next_block};
use crate::signature::{Row, bytes, text};
use crate::value::Value;

pub(crate) const ROWS: &[Row] = &[
    ("jwkPublicKeyPem", "s", |_, v| {
        let der = public_key(&read(bytes(v, 0))?)?;
        Ok(Value::str(Block::new("PUBLIC KEY", der).encode()))
    }),
    ("jwkPrivateKeyPem", "s", |_, v| {
        let der = private_key(&read(bytes(v, 0))?)?;
        Ok(Value::str(Block::new("PRIVATE KEY", der).encode()))
    }),
    ("rsaDecrypt", "ssss", rsa_decrypt),
];

/// The members of a JSON Web Key (RFC 7517).
fn read(text: &[u8]) -> Outcome<Map<String, Json>> {
    match serde_json::from_slice(text) {
        Ok(Json::Object(key)) => Ok(key),
        _ => fault("the key is no JSON Web Key: it is not a JSON object"),
    }
}

/// A member in URL-safe base64, with or without padding.
fn member(key: &Map<String, Json>, name: &str) -> Outcome<Vec<u8>> {
    let Some(text) = key.get(name).and_then(Json::as_str) else {
        return fault(format!("the JSON Web Key has no `{name}`"));
    };
    let text = text.trim_end_matches('=');
    let padded = format!("{text}{}", "=".repeat(text.len().wrapping_neg() % 4));
    match base64::decode(padded.as_bytes(), Alphabet::UrlSafe) {
        Ok(bytes) => Ok(bytes),
        Err(_) => fault(format!(
            "`{name}` of the JSON Web Key is not base64url text"
        )),
    }
}

fn kind(key: &Map<String, Json>) -> &str {
    key.get("kty").and_then(Json::as_str).unwrap_or_default()
}

/// A curve: its object identifier, and the length of its coordinates in bytes.
fn curve(key: &Map<String, Json>) -> Outcome<(&'static [u8], usize)> {
    match key.get("crv").and_then(Json::as_str).unwrap_or_default() {
        "P-256" => Ok((der::P256, 32)),
        "P-384" => Ok((der::P384, 48)),
        "P-521" => Ok((der::P521, 66)),
        _ => fault("`crv` of the JSON Web Key is none of P-256, P-384 and P-521"),
    }
}

fn unknown<T>(key: &Map<String, Json>) -> Outcome<T> {
    match kind(key) {
        "oct" => fault("a symmetric JSON Web Key has no PEM form"),
        "OKP" => fault("`crv` of the JSON Web Key is not Ed25519"),
        _ => fault("`kty` of the JSON Web Key is none of RSA, EC and OKP"),
    }
}

fn is_ed25519(key: &Map<String, Json>) -> bool {
    kind(key) == "OKP" && key.get("crv").and_then(Json::as_str) == Some("Ed25519")
}

/// An uncompressed point.
fn point(key: &Map<String, Json>, size: usize) -> Outcome<Vec<u8>> {
    let mut point = vec![4];
    for name in ["x", "y"] {
        point.extend(padded(member(key, name)?, size, name)?);
    }
    Ok(point)
}

/// A number with zeros before it, to the length that the curve asks for.
fn padded(number: Vec<u8>, size: usize, name: &str) -> Outcome<Vec<u8>> {
    match size.checked_sub(number.len()) {
        Some(missing) => Ok([vec![0; missing], number].concat()),
        None => fault(format!("`{name}` of the JSON Web Key is too long")),
    }
}

/// `SubjectPublicKeyInfo` as DER. A private key is refused, as by External Secrets.
fn public_key(key: &Map<String, Json>) -> Outcome<Vec<u8>> {
    if key.contains_key("d") {
        return fault("the JSON Web Key is a private one; its public key is not taken out of it");
    }
    match kind(key) {
        "RSA" => {
            let (modulus, exponent) = (member(key, "n")?, member(key, "e")?);
            let numbers = der::sequence(&[&der::unsigned(&modulus), &der::unsigned(&exponent)]);
            Ok(der::public_key(der::RSA_ALGORITHM, &numbers))
        }
        "EC" => {
            let (curve, size) = curve(key)?;
            Ok(der::public_key(&[der::EC, curve], &point(key, size)?))
        }
        _ if is_ed25519(key) => {
            let public = padded(member(key, "x")?, 32, "x")?;
            Ok(der::public_key(&[der::ED25519], &public))
        }
        _ => unknown(key),
    }
}

/// PKCS#8 as DER.
fn private_key(key: &Map<String, Json>) -> Outcome<Vec<u8>> {
    match kind(key) {
        "RSA" => {
            let numbers = rsa_numbers(key)?;
            Ok(der::private_key(
                der::RSA_ALGORITHM,
                &der::rsa_private_key(&numbers),
            ))
        }
        "EC" => {
            let (curve, size) = curve(key)?;
            let secret = padded(member(key, "d")?, size, "d")?;
            let inner = der::ec_private_key(&secret, &point(key, size)?);
            Ok(der::private_key(&[der::EC, curve], &inner))
        }
        _ if is_ed25519(key) => {
            let seed = padded(member(key, "d")?, 32, "d")?;
            Ok(der::private_key(&[der::ED25519], &der::octets(&seed)))
        }
        _ => unknown(key),
    }
}

/// n, e, d, p, q, and the numbers that follow from them.
fn rsa_numbers(key: &Map<String, Json>) -> Outcome<Vec<Vec<u8>>> {
    let number = |name| Ok(BigUint::from_bytes_be(&member(key, name)?));
    let (modulus, exponent) = (number("n")?, number("e")?);
    let (secret, first, second) = (number("d")?, number("p")?, number("q")?);
    let one = BigUint::from(1_u8);
    let inverse = (first > one && second > one).then(|| second.modinv(&first));
    let Some(inverse) = inverse.flatten() else {
        return fault("`p` and `q` of the JSON Web Key are no two primes");
    };
    if &first * &second != modulus {
        return fault("`n` of the JSON Web Key is not `p` times `q`");
    }
    let (by_first, by_second) = (&secret % (&first - &one), &secret % (&second - &one));
    let numbers = [
        modulus, exponent, secret, first, second, by_first, by_second, inverse,
    ];
    Ok(numbers.iter().map(BigUint::to_bytes_be).collect())
}

/// The steps that a private operation with an RSA key costs.
const RSA_STEPS: usize = 20_000;

/// The arguments are the scheme (`RSA-OAEP`, or `None` for no decryption), the hash, the text and the key as PEM. A
/// hash other than `SHA1` and `SHA512` means SHA-256.
fn rsa_decrypt(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let algorithm = match (&*text(values, 0), &*text(values, 1)) {
        ("None", _) => return Ok(Value::Str(bytes(values, 2).into())),
        ("RSA-OAEP", "SHA1") => &OAEP_SHA1_MGF1SHA1,
        ("RSA-OAEP", "SHA512") => &OAEP_SHA512_MGF1SHA512,
        ("RSA-OAEP", _) => &OAEP_SHA256_MGF1SHA256,
        _ => return fault("the scheme is none of None and RSA-OAEP"),
    };
    machine.spend(RSA_STEPS)?;
    let pem = text(values, 3);
    let Some(key) = next_block(&pem).and_then(|(block, _)| der::to_pkcs8(&block.bytes)) else {
        return fault("the private key is no PEM of PKCS#1 or PKCS#8");
    };
    let key = PrivateDecryptingKey::from_pkcs8(&key)
        .and_then(|key| Ok(OaepPrivateDecryptingKey::new(key)?));
    let Ok(key) = key else {
        return fault("the private key is no RSA key of 2048 to 8192 bits");
    };
    let mut opened = vec![0; key.min_output_size()];
    match key.decrypt(algorithm, bytes(values, 2), &mut opened, None) {
        Ok(opened) => Ok(Value::Str((&*opened).into())),
        Err(_) => fault("the private key does not open the text"),
    }
}

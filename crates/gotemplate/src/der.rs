//! Pure: the little of DER that keys need: elements taken apart and put together.
//!
//! The forms are PKCS#1 (RFC 8017), SEC1 (RFC 5915), PKCS#8 (RFC 5208) and `SubjectPublicKeyInfo` (RFC 5280). An
//! element is a tag, a length and a content; lengths that do not fit the text make the element unreadable, and
//! nothing is read beyond.

/// The object identifier of RSA keys.
pub(crate) const RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];
/// The object identifier of keys on elliptic curves; the curve follows it.
pub(crate) const EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// The object identifier of Ed25519 keys.
pub(crate) const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// The curve P-256.
pub(crate) const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The curve P-384.
pub(crate) const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// The curve P-521.
pub(crate) const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const NULL: &[u8] = &[0x05, 0x00];
const VERSION_0: &[u8] = &[INTEGER, 0x01, 0x00];
const VERSION_1: &[u8] = &[INTEGER, 0x01, 0x01];
/// The public point in a SEC1 key.
const POINT: u8 = 0xa1;
/// The curve in a SEC1 key.
const CURVE: u8 = 0xa0;

/// The content of the first element, which must have the tag, and the bytes after it.
pub(crate) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [found, first, rest @ ..] = der else {
        return None;
    };
    if *found != tag {
        return None;
    }
    let (length, rest) = match *first {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f).min(4))?;
            let length = bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        }
    };
    rest.split_at_checked(length)
}

/// An element of a tag and its parts.
fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let start = length.iter().position(|byte| *byte != 0).unwrap_or(0);
            let length = &length[start..];
            out.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
            out.extend_from_slice(length);
        }
    }
    out.extend(content);
    out
}

/// A sequence of parts.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tagged(SEQUENCE, parts)
}

/// A number that is not negative, from its bytes, the highest first.
pub(crate) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0);
    let bytes = start.map_or(&[0][..], |start| &bytes[start..]);
    let sign: &[u8] = if bytes[0] < 0x80 { &[] } else { &[0] };
    tagged(INTEGER, &[sign, bytes])
}

/// A public key of an algorithm (`SubjectPublicKeyInfo`).
pub(crate) fn public_key(algorithm: &[&[u8]], key: &[u8]) -> Vec<u8> {
    sequence(&[&sequence(algorithm), &tagged(BIT_STRING, &[&[0], key])])
}

/// The parts that name the algorithm of RSA.
pub(crate) const RSA_ALGORITHM: &[&[u8]] = &[RSA, NULL];

/// A private key of an algorithm (PKCS#8).
pub(crate) fn private_key(algorithm: &[&[u8]], key: &[u8]) -> Vec<u8> {
    sequence(&[
        VERSION_0,
        &sequence(algorithm),
        &tagged(OCTET_STRING, &[key]),
    ])
}

/// The numbers of an RSA key (PKCS#1).
pub(crate) fn rsa_private_key(numbers: &[Vec<u8>]) -> Vec<u8> {
    let numbers: Vec<Vec<u8>> = numbers.iter().map(|number| unsigned(number)).collect();
    let parts = std::iter::once(VERSION_0).chain(numbers.iter().map(Vec::as_slice));
    sequence(&parts.collect::<Vec<_>>())
}

/// A secret number and its public point (SEC1), without the curve.
pub(crate) fn ec_private_key(secret: &[u8], point: &[u8]) -> Vec<u8> {
    let point = tagged(BIT_STRING, &[&[0], point]);
    sequence(&[
        VERSION_1,
        &tagged(OCTET_STRING, &[secret]),
        &tagged(POINT, &[&point]),
    ])
}

/// An octet string.
pub(crate) fn octets(bytes: &[u8]) -> Vec<u8> {
    tagged(OCTET_STRING, &[bytes])
}

/// A private key in PKCS#8, whichever of PKCS#1, PKCS#8 and SEC1 it comes in.
pub(crate) fn to_pkcs8(key: &[u8]) -> Option<Vec<u8>> {
    let (fields, _) = element(key, SEQUENCE)?;
    let (_, rest) = element(fields, INTEGER)?;
    match *rest.first()? {
        SEQUENCE => Some(key.to_vec()),
        INTEGER => Some(private_key(RSA_ALGORITHM, key)),
        OCTET_STRING => {
            let (secret, rest) = element(rest, OCTET_STRING)?;
            let (curve, rest) = element(rest, CURVE)?;
            let inner = sequence(&[VERSION_1, &tagged(OCTET_STRING, &[secret]), rest]);
            Some(private_key(&[EC, curve], &inner))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_signs_are_written_as_they_are_read() {
        for length in [0, 1, 0x7f, 0x80, 0x100, 0x1_0000] {
            let content = vec![7; length];
            let der = octets(&content);
            assert_eq!(element(&der, OCTET_STRING), Some((&content[..], &[][..])));
        }
        assert_eq!(unsigned(&[0, 0, 0x80]), [0x02, 0x02, 0x00, 0x80]);
        assert_eq!(unsigned(&[]), [0x02, 0x01, 0x00]);
        assert_eq!(element(&[0x30, 0x84, 0xff], 0x30), None);
        assert_eq!(to_pkcs8(&[0x30, 0x00]), None);
    }
}

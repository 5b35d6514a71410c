//! Pure but for the generator of keys: private keys and certificates, as sprig makes them.
//!
//! They are those of sprig's `crypto.go` (`generatePrivateKey`, `generateCertificateAuthority` and so on). A
//! certificate is a value with the fields `Cert` and `Key`, both PEM, which other functions take as an authority.
//! Serial numbers and validity come from the environment, keys come from the cryptographic library, so two renders
//! never give the same key.
//!
//! An RSA key takes long to make, so it costs many steps, and a template can make about ten of them.

use std::net::IpAddr;
use std::rc::Rc;

use gocompat::base64::{self, Alphabet};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256,
    RsaKeySize, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::der::element;
use crate::error::{Outcome, fault};
use crate::machine::Machine;
use crate::pem::{Block, next_block};
use crate::signature::{Row, any, int, text};
use crate::value::{Certificate, Value};

pub(crate) const ROWS: &[Row] = &[
    ("genPrivateKey", "s", |machine, v| {
        Ok(Value::str(private_key(machine, &text(v, 0))?))
    }),
    ("genCA", "si", |machine, v| {
        let key = rsa_key(machine)?;
        authority(machine, &text(v, 0), int(v, 1), &key)
    }),
    ("genCAWithKey", "sis", |machine, v| {
        authority(machine, &text(v, 0), int(v, 1), &read_key(&text(v, 2))?)
    }),
    ("genSelfSignedCert", "saai", |machine, v| {
        let key = rsa_key(machine)?;
        leaf(machine, v, &key, None)
    }),
    ("genSelfSignedCertWithKey", "saais", |machine, v| {
        leaf(machine, v, &read_key(&text(v, 4))?, None)
    }),
    ("genSignedCert", "saaic", |machine, v| {
        let key = rsa_key(machine)?;
        leaf(machine, v, &key, Some(any(v, 4)))
    }),
    ("genSignedCertWithKey", "saaics", |machine, v| {
        leaf(machine, v, &read_key(&text(v, 5))?, Some(any(v, 4)))
    }),
    ("buildCustomCert", "ss", |_, v| {
        custom(&text(v, 0), &text(v, 1))
    }),
];

/// The steps that an RSA key costs, so that a template makes a few of them at most.
const RSA_STEPS: usize = 100_000;

fn rsa_key(machine: &mut Machine<'_>) -> Outcome<KeyPair> {
    machine.spend(RSA_STEPS)?;
    made(KeyPair::generate_rsa_for(
        &PKCS_RSA_SHA256,
        RsaKeySize::_2048,
    ))
}

/// The types are `rsa` (4096 bits), `ecdsa` (P-256) and `ed25519`. sprig's `dsa` is refused, since nothing accepts
/// such keys any more.
fn private_key(machine: &mut Machine<'_>, kind: &str) -> Outcome<String> {
    let key = match kind {
        "" | "rsa" => {
            machine.spend(4 * RSA_STEPS)?;
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096)
        }
        "ecdsa" => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        "ed25519" => KeyPair::generate_for(&PKCS_ED25519),
        "dsa" => return fault("DSA keys are too weak and are not made; use `ed25519`"),
        // As in sprig, a wrong type gives the error's text for a value.
        _ => return Ok(format!("Unknown type {kind}")),
    };
    key_pem(&made(key)?)
}

/// A certificate that signs itself and may sign others.
fn authority(machine: &mut Machine<'_>, name: &str, days: i64, key: &KeyPair) -> Outcome<Value> {
    let mut params = params(machine, name, days)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    certificate(&made(params.self_signed(key))?, key)
}

/// A certificate of a server and client: name, addresses, DNS names, days, and the authority that signs it.
fn leaf(
    machine: &mut Machine<'_>,
    values: &[Value],
    key: &KeyPair,
    authority: Option<&Value>,
) -> Outcome<Value> {
    let mut params = params(machine, &text(values, 0), int(values, 3))?;
    params.is_ca = IsCa::ExplicitNoCa;
    for address in strings(any(values, 1), "ips")? {
        let Ok(address) = address.parse::<IpAddr>() else {
            return fault(format!("error parsing ip: {address}"));
        };
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    for name in strings(any(values, 2), "alternate DNS names")? {
        let name = name.try_into();
        params.subject_alt_names.push(SanType::DnsName(made(name)?));
    }
    let Some(authority) = authority else {
        return certificate(&made(params.self_signed(key))?, key);
    };
    let Value::Certificate(authority) = authority else {
        return fault("the authority is no certificate");
    };
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_ca_cert_pem(&authority.cert, read_key(&authority.key)?);
    let signed = params.signed_by(key, &made(issuer)?);
    certificate(&made(signed)?, key)
}

/// What every certificate of sprig has (`getBaseCertTemplate`): a random serial number, the common name, validity
/// from now on for so many days, and the usages of servers and clients. A negative number of days gives a certificate
/// that has expired.
fn params(machine: &mut Machine<'_>, name: &str, days: i64) -> Outcome<CertificateParams> {
    let mut serial = [0; 16];
    machine.random(&mut serial);
    // Positive, and never shorter than it looks.
    serial[0] = serial[0] & 0x7f | 0x40;
    let now = made(OffsetDateTime::from_unix_timestamp(
        machine.time().as_second(),
    ))?;
    let Some(end) = now.checked_add(Duration::days(days.clamp(-100_000_000, 100_000_000))) else {
        return fault(format!("{days} days lead beyond the calendar"));
    };
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    (params.not_before, params.not_after) = (now, end);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

/// The texts of a list; none for nil.
fn strings(list: &Value, what: &str) -> Outcome<Vec<String>> {
    let items = match list {
        Value::Nil => return Ok(Vec::new()),
        Value::List(items, _) => items,
        _ => return fault(format!("{what} must be a list of strings")),
    };
    let text = |item: &Value| match item {
        Value::Str(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        _ => fault(format!("{what} must be a list of strings")),
    };
    items.iter().map(text).collect()
}

fn certificate(certificate: &rcgen::Certificate, key: &KeyPair) -> Outcome<Value> {
    let cert = Block::new("CERTIFICATE", certificate.der().to_vec()).encode();
    let key = key_pem(key)?;
    Ok(Value::Certificate(Rc::new(Certificate { cert, key })))
}

/// A certificate and a key of the template's own.
fn custom(cert: &str, key: &str) -> Outcome<Value> {
    let decoded = |text: &str, what: &str| match base64::decode(text.as_bytes(), Alphabet::Standard)
    {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(_) => fault(format!("unable to decode base64 {what}")),
    };
    let (cert, key) = (decoded(cert, "certificate")?, decoded(key, "private key")?);
    let Some((block, _)) = next_block(&cert) else {
        return fault("unable to decode certificate");
    };
    if x509_parser::parse_x509_certificate(&block.bytes).is_err() {
        return fault("error parsing certificate: it is no X.509 certificate");
    }
    read_key(&key)?;
    Ok(Value::Certificate(Rc::new(Certificate { cert, key })))
}

/// The key of the first PEM block, whatever its label says.
fn read_key(pem: &str) -> Outcome<KeyPair> {
    let Some((block, _)) = next_block(pem) else {
        return fault("no PEM data in the private key");
    };
    match KeyPair::try_from(block.bytes.as_slice()) {
        Ok(key) => Ok(key),
        Err(_) => fault("the private key is none that is known (PKCS#1, PKCS#8, SEC1)"),
    }
}

/// The PEM of a key in the form that Go gives it: PKCS#1 for RSA, SEC1 for P-256, else PKCS#8.
fn key_pem(key: &KeyPair) -> Outcome<String> {
    let der = key.serialize_der();
    let algorithm = key.algorithm();
    if algorithm == &PKCS_ED25519 {
        return Ok(Block::new("PRIVATE KEY", der).encode());
    }
    // PKCS#8 wraps the key after its version and algorithm; a key that is not wrapped has a number there.
    let inner = || {
        let (fields, _) = element(&der, 0x30)?;
        let (_, rest) = element(fields, 0x02)?;
        let (_, rest) = element(rest, 0x30)?;
        Some(element(rest, 0x04)?.0)
    };
    let inner = inner().unwrap_or(&der);
    if algorithm != &PKCS_ECDSA_P256_SHA256 {
        let label = if algorithm == &PKCS_RSA_SHA256 {
            "RSA PRIVATE KEY"
        } else {
            "EC PRIVATE KEY"
        };
        return Ok(Block::new(label, inner.to_vec()).encode());
    }
    let secret = element(inner, 0x30)
        .and_then(|(fields, _)| element(fields, 0x02))
        .and_then(|(_, rest)| element(rest, 0x04));
    let Some((secret, _)) = secret.filter(|(secret, _)| secret.len() == 32) else {
        return fault("the private key cannot be written");
    };
    let mut sec1 = vec![0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
    sec1.extend_from_slice(secret);
    // The curve, by which the key is known without its wrapping, and the public point.
    sec1.extend_from_slice(&[0xa0, 0x0a, 0x06, 0x08]);
    sec1.extend_from_slice(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    sec1.extend_from_slice(&[0xa1, 0x44, 0x03, 0x42, 0x00]);
    sec1.extend_from_slice(key.public_key_raw());
    Ok(Block::new("EC PRIVATE KEY", sec1).encode())
}

/// The message of a library, which knows names and numbers of the arguments but no key.
fn made<T, E: std::fmt::Display>(result: Result<T, E>) -> Outcome<T> {
    match result {
        Ok(value) => Ok(value),
        Err(error) => fault(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Environment, Template};

    fn render(template: &str) -> String {
        let rendered = Template::parse("t", template)
            .and_then(|template| template.render([], &Environment::fixed()));
        match rendered {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn keys_have_the_forms_that_go_gives_them() {
        for (kind, label) in [
            ("rsa", "RSA PRIVATE KEY"),
            ("ecdsa", "EC PRIVATE KEY"),
            ("ed25519", "PRIVATE KEY"),
        ] {
            let text = render(&format!("{{{{ genPrivateKey \"{kind}\" }}}}"));
            assert!(
                text.starts_with(&format!("-----BEGIN {label}-----\n")),
                "{text}"
            );
            // The encoded key is decoded and encodes to the same text.
            let again =
                format!("{{{{ $k := {text:?} }}}}{{{{ eq $k (genCAWithKey \"a\" 1 $k).Key }}}}");
            assert_eq!(render(&again), "true");
        }
        assert_eq!(render("{{ genPrivateKey \"x\" }}"), "Unknown type x");
    }

    #[test]
    fn an_authority_signs() {
        let chain = r#"{{ $ca := genCA "root" 365 }}{{ $c := genSignedCert "web" (list "10.0.0.1") (list "web.example") 30 $ca }}"#;
        let text = render(&format!("{chain}{{{{ $ca.Cert }}}}{{{{ $c.Cert }}}}"));
        let mut pems =
            x509_parser::pem::Pem::iter_from_buffer(text.as_bytes()).map(|pem| pem.expect("PEM"));
        let (root, web) = (pems.next().expect("a root"), pems.next().expect("a leaf"));
        let (root, web) = (
            root.parse_x509().expect("X.509"),
            web.parse_x509().expect("X.509"),
        );
        assert!(root.is_ca() && !web.is_ca());
        assert_eq!(web.issuer().to_string(), "CN=root");
        assert_eq!(web.subject().to_string(), "CN=web");
        web.verify_signature(Some(root.public_key()))
            .expect("the root signed it");
        let names = web.subject_alternative_name().expect("one").expect("names");
        let names: Vec<String> = names
            .value
            .general_names
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["IPAddress(0a:00:00:01)", "DNSName(web.example)"]);
        let validity = web.validity();
        assert_eq!(
            validity.not_after.timestamp() - validity.not_before.timestamp(),
            30 * 86400
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = render(r#"{{ genSelfSignedCert "a" (list "x") nil 1 }}"#);
        assert!(error.ends_with("error parsing ip: x"), "{error}");
        let error = render(r#"{{ buildCustomCert "!" "" }}"#);
        assert!(
            error.ends_with("unable to decode base64 certificate"),
            "{error}"
        );
        let error = render(r#"{{ range until 1000 }}{{ genCA "a" 1 }}{{ end }}"#);
        assert!(error.contains("steps"), "{error}");
    }
}

//! Pure but for its salts: PKCS#12 archives, read and made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p12_keystore::{
    Certificate, KeyStore, KeyStoreEntry, Pkcs12Archive, PrivateKey, PrivateKeyChain,
};
use sha1::{Digest as _, Sha1};
use x509_parser::x509::X509Name;

use super::chains::{certificates, ordered};
use crate::der;
use crate::error::{Outcome, fault};
use crate::machine::Machine;
use crate::pem::{Block, next_block};
use crate::signature::{Row, bytes, text};
use crate::value::Value;

pub(crate) const ROWS: &[Row] = &[
    ("pkcs12key", "s", |machine, v| {
        archive_key(machine, bytes(v, 0), "")
    }),
    ("pkcs12keyPass", "ss", |machine, v| {
        archive_key(machine, bytes(v, 1), &text(v, 0))
    }),
    ("pkcs12cert", "s", |machine, v| {
        archive_certificates(machine, bytes(v, 0), "")
    }),
    ("pkcs12certPass", "ss", |machine, v| {
        archive_certificates(machine, bytes(v, 1), &text(v, 0))
    }),
    ("pemToPkcs12", "ss", |machine, v| {
        key_store(machine, &text(v, 0), &text(v, 1), "", Chain::First)
    }),
    ("pemToPkcs12Pass", "sss", |machine, v| {
        let password = text(v, 2);
        key_store(machine, &text(v, 0), &text(v, 1), &password, Chain::First)
    }),
    ("fullPemToPkcs12", "ss", |machine, v| {
        key_store(machine, &text(v, 0), &text(v, 1), "", Chain::All)
    }),
    ("fullPemToPkcs12Pass", "sss", |machine, v| {
        let password = text(v, 2);
        key_store(machine, &text(v, 0), &text(v, 1), &password, Chain::All)
    }),
    ("pemTruststoreToPKCS12", "s", |machine, v| {
        trust_store(machine, &text(v, 0), "")
    }),
    ("pemTruststoreToPKCS12Pass", "ss", |machine, v| {
        trust_store(machine, &text(v, 0), &text(v, 1))
    }),
];

/// The steps that making or opening an archive costs: it takes thousands of rounds of hashing.
const STEPS: usize = 50_000;
/// Rounds of hashing between a password and its key, as External Secrets has them.
const ROUNDS: u32 = 2048;

/// How many of the certificates go into the archive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chain {
    First,
    All,
}

/// Opens an archive, which must hold one private key and at least one certificate. A wrong password and a broken
/// archive give the same message, since the library cannot always tell them apart.
fn open(machine: &mut Machine<'_>, data: &[u8], password: &str) -> Outcome<Pkcs12Archive> {
    machine.spend(STEPS)?;
    let Ok(archive) = Pkcs12Archive::from_pkcs12(data, password) else {
        return fault("the archive cannot be opened: it is no PKCS#12, or the password is another");
    };
    if archive.certs.is_empty() {
        return fault("the archive holds no certificate");
    }
    match archive.keys.len() {
        1 => Ok(archive),
        0 => fault("the archive holds no private key"),
        _ => fault("the archive holds more than one private key"),
    }
}

fn archive_key(machine: &mut Machine<'_>, data: &[u8], password: &str) -> Outcome<Value> {
    let archive = open(machine, data, password)?;
    let der = archive.keys[0].key.as_der().to_vec();
    Ok(Value::str(Block::new("PRIVATE KEY", der).encode()))
}

fn archive_certificates(machine: &mut Machine<'_>, data: &[u8], password: &str) -> Outcome<Value> {
    let archive = open(machine, data, password)?;
    let certificates = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec());
    let pems = ordered(certificates.collect())
        .into_iter()
        .map(|der| Block::new("CERTIFICATE", der).encode());
    Ok(Value::str(pems.collect::<String>()))
}

/// An archive with a key and one or all of its certificates, as base64. The key identifier is the SHA-1 of the first
/// certificate, which ties both together.
fn key_store(
    machine: &mut Machine<'_>,
    pem: &str,
    key: &str,
    password: &str,
    chain: Chain,
) -> Outcome<Value> {
    machine.spend(STEPS)?;
    let mut found = certificates(pem)?;
    if chain == Chain::First {
        found.truncate(1);
    }
    let Some(first) = found.first() else {
        return fault("the certificate is no PEM text");
    };
    let key = next_block(key).and_then(|(block, _)| der::to_pkcs8(&block.bytes));
    let Some(key) = key.and_then(|key| PrivateKey::from_der(&key).ok()) else {
        return fault("the private key is no PEM of PKCS#1, PKCS#8 or SEC1");
    };
    let id = Sha1::digest(first).to_vec();
    let chain = PrivateKeyChain::new(id, key, read(&found)?);
    let mut store = KeyStore::new();
    // The name that Java gives a key without one.
    store.add_entry("1", KeyStoreEntry::PrivateKeyChain(chain));
    write(&store, password)
}

fn read(certificates: &[Vec<u8>]) -> Outcome<Vec<Certificate>> {
    let read = |der: &Vec<u8>| Certificate::from_der(der);
    match certificates.iter().map(read).collect() {
        Ok(certificates) => Ok(certificates),
        Err(_) => fault("a certificate cannot be read"),
    }
}

/// An archive of certificates without a key, as Java reads a trust store. An empty text gives an empty archive.
fn trust_store(machine: &mut Machine<'_>, pem: &str, password: &str) -> Outcome<Value> {
    machine.spend(STEPS)?;
    let found = certificates(pem)?;
    if found.is_empty() && !pem.is_empty() {
        return fault("the certificates are no PEM text");
    }
    let mut store = KeyStore::new();
    for certificate in read(&found)? {
        let name = x509_parser::parse_x509_certificate(certificate.as_der())
            .map(|(_, parsed)| subject(parsed.subject()))
            .unwrap_or_default();
        // Java keeps one certificate for a name, so a second one needs another.
        let mut alias = name.clone();
        let mut number = 2;
        while store.entry(&alias).is_some() {
            alias = format!("{name}#{number}");
            number += 1;
        }
        store.add_entry(&alias, KeyStoreEntry::Certificate(certificate));
    }
    write(&store, password)
}

fn write(store: &KeyStore, password: &str) -> Outcome<Value> {
    let writer = store.writer(password);
    let writer = writer.encryption_iterations(ROUNDS).mac_iterations(ROUNDS);
    match writer.write() {
        Ok(archive) => Ok(Value::str(STANDARD.encode(archive))),
        Err(_) => fault("the archive cannot be written: a name or the password cannot be encoded"),
    }
}

/// A subject as Go writes it: the last part first.
fn subject(name: &X509Name<'_>) -> String {
    let attribute = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        let oid = attribute.attr_type().to_id_string();
        let label = match oid.as_str() {
            "2.5.4.3" => "CN",
            "2.5.4.5" => "SERIALNUMBER",
            "2.5.4.6" => "C",
            "2.5.4.7" => "L",
            "2.5.4.8" => "ST",
            "2.5.4.9" => "STREET",
            "2.5.4.10" => "O",
            "2.5.4.11" => "OU",
            "2.5.4.17" => "POSTALCODE",
            other => other,
        };
        format!(
            "{label}={}",
            escaped(attribute.as_str().unwrap_or_default())
        )
    };
    let parts: Vec<String> = name
        .iter_rdn()
        .map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

/// The escapes of RFC 2253, as `pkix.Name.String` of Go writes them.
fn escaped(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::new();
    for (at, letter) in text.chars().enumerate() {
        let at_edge = at == 0 || at == last;
        let special = matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || letter == ' ' && at_edge
            || letter == '#' && at == 0;
        if special {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

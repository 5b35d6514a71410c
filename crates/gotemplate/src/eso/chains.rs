//! Pure: chains of certificates: their order, their parts, the names they are for.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, Oid,
};
use x509_parser::parse_x509_certificate;

use crate::error::{Outcome, fault};
use crate::machine::Machine;
use crate::pem::{Block, next_block};
use crate::signature::{Row, text};
use crate::value::Value;

pub(crate) const ROWS: &[Row] = &[
    ("filterCertChain", "ss", filter_chain),
    ("certSANs", "s", names),
];

/// The key identifiers of a certificate, by which it finds its issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyIds {
    subject: Option<Vec<u8>>,
    authority: Option<Vec<u8>>,
}

impl KeyIds {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        const SUBJECT: &Oid<'_> = &OID_X509_EXT_SUBJECT_KEY_IDENTIFIER;
        const AUTHORITY: &Oid<'_> = &OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER;
        let extension = |oid| {
            let extension = certificate.get_extension_unique(oid).ok().flatten();
            extension.map(x509_parser::extensions::X509Extension::parsed_extension)
        };
        let subject = match extension(SUBJECT) {
            Some(ParsedExtension::SubjectKeyIdentifier(id)) => Some(id.0.to_vec()),
            _ => None,
        };
        let authority = match extension(AUTHORITY) {
            Some(ParsedExtension::AuthorityKeyIdentifier(id)) => {
                id.key_identifier.as_ref().map(|id| id.0.to_vec())
            }
            _ => None,
        };
        Self { subject, authority }
    }

    /// A certificate that names no issuer, or itself as the issuer.
    fn is_root(&self) -> bool {
        self.authority.is_none() || self.authority == self.subject
    }
}

/// The order from the leaf to the root, as positions.
///
/// The leaf is the only certificate that no other names as its issuer. Several leaves, a circle and certificates
/// beside the chain are errors. Signatures are not checked, as in External Secrets: the order is by key identifiers
/// alone.
fn order(certificates: &[KeyIds]) -> Outcome<Vec<usize>> {
    let parent = |child: usize| {
        // No identifier equals no identifier, as in External Secrets.
        (0..certificates.len()).find(|parent| {
            *parent != child && certificates[child].authority == certificates[*parent].subject
        })
    };
    let parents: Vec<Option<usize>> = (0..certificates.len()).map(parent).collect();
    let mut leaves = (0..certificates.len()).filter(|leaf| !parents.contains(&Some(*leaf)));
    let (Some(leaf), another) = (leaves.next(), leaves.next()) else {
        return fault("no leaf certificate found");
    };
    if another.is_some() {
        return fault("more than one leaf certificate found");
    }
    let mut chain = vec![leaf];
    while let Some(next) = chain.last().and_then(|last| parents[*last]) {
        if chain.contains(&next) {
            return fault("the certificates sign each other in a circle");
        }
        chain.push(next);
    }
    if chain.len() != certificates.len() {
        return fault("the certificates are no single chain");
    }
    Ok(chain)
}

/// Certificates as DER, from leaf to root if they are a chain, else as they are.
pub(crate) fn ordered(certificates: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let parsed: Option<Vec<KeyIds>> = certificates
        .iter()
        .map(|der| Some(KeyIds::of(&parse_x509_certificate(der).ok()?.1)))
        .collect();
    match parsed.map(|parsed| order(&parsed)) {
        Some(Ok(chain)) => chain.iter().map(|at| certificates[*at].clone()).collect(),
        _ => certificates,
    }
}

/// All certificates of a PEM text. A block of another kind is an error.
pub(crate) fn certificates(pem: &str) -> Outcome<Vec<Vec<u8>>> {
    let (mut found, mut rest) = (Vec::new(), pem);
    while let Some((block, after)) = next_block(rest) {
        if parse_x509_certificate(&block.bytes).is_err() {
            return fault(format!(
                "block {} of the PEM text ({}) is no X.509 certificate",
                found.len() + 1,
                if block.label == "CERTIFICATE" {
                    "CERTIFICATE"
                } else {
                    "another kind"
                }
            ));
        }
        found.push(block.bytes);
        rest = after;
    }
    Ok(found)
}

/// `leaf`, `intermediate` or `root` of a chain, as PEM; an empty text if the chain has none or the word is another.
fn filter_chain(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let (wanted, pem) = (text(values, 0), text(values, 1));
    let certificates = certificates(&pem)?;
    // Every certificate is compared with every other.
    machine.spend(certificates.len().saturating_mul(certificates.len()) / 8)?;
    let parse = |der: &Vec<u8>| {
        let parsed = parse_x509_certificate(der);
        parsed.map(|(_, certificate)| KeyIds::of(&certificate))
    };
    let Ok(ids) = certificates
        .iter()
        .map(parse)
        .collect::<Result<Vec<_>, _>>()
    else {
        return fault("no X.509 certificate");
    };
    let chain = order(&ids)?;
    let (first, last) = (chain[0], chain[chain.len() - 1]);
    let kept = match &*wanted {
        "leaf" if !ids[first].is_root() => vec![first],
        "root" if ids[last].is_root() => vec![last],
        "intermediate" => {
            let after = chain.iter().copied().skip(1);
            after.take_while(|at| !ids[*at].is_root()).collect()
        }
        _ => Vec::new(),
    };
    let pems = kept
        .iter()
        .map(|at| Block::new("CERTIFICATE", certificates[*at].clone()).encode());
    Ok(Value::str(pems.collect::<String>()))
}

/// DNS names, then addresses, e-mail addresses and URIs of the first certificate.
fn names(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let pem = text(values, 0);
    let Some((block, _)) = next_block(&pem) else {
        return fault("no PEM block found");
    };
    let Ok((_, certificate)) = parse_x509_certificate(&block.bytes) else {
        return fault("the first PEM block is no X.509 certificate");
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let mut sorted: Vec<(u8, String)> = names
        .iter()
        .filter_map(|name| {
            Some(match name {
                GeneralName::DNSName(name) => (0, (*name).to_owned()),
                GeneralName::IPAddress(bytes) => (1, address(bytes)?),
                GeneralName::RFC822Name(name) => (2, (*name).to_owned()),
                GeneralName::URI(uri) => (3, (*uri).to_owned()),
                _ => return None,
            })
        })
        .collect();
    // Stable: within a kind they stay in the certificate's order.
    sorted.sort_by_key(|(kind, _)| *kind);
    let names = sorted.into_iter().map(|(_, name)| name);
    Ok(Value::strings(names))
}

/// An address of four or sixteen bytes as Go prints it.
fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(sixteen).to_string())
}

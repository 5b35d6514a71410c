//! Pure: the hashes that External Secrets writes, so that either program recognises the other's work.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use sha3::{Digest, Sha3_224};

use crate::secrets::SecretData;
use crate::secrets::render::RenderedSecret;

fn sha3_224_hex(text: &str) -> String {
    HEXLOWER.encode(&Sha3_224::digest(text.as_bytes()))
}

/// The hash of a Secret's whole data: of Go's `%+v` of the map, `map[k1:[98 50] k2:[]]`.
pub fn data_hash(data: &SecretData) -> String {
    let mut text = zeroize::Zeroizing::new(String::from("map["));
    for (index, (key, value)) in data.iter().enumerate() {
        let separator = if index == 0 { "" } else { " " };
        let _ = write!(text, "{separator}{key}:[");
        for (position, byte) in value.expose().iter().enumerate() {
            let separator = if position == 0 { "" } else { " " };
            let _ = write!(text, "{separator}{byte}");
        }
        text.push(']');
    }
    text.push(']');
    sha3_224_hex(&text)
}

/// The SHA-256 hash of a whole rendered Secret, to compare the next rendering with. It never leaves the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenderedHash([u8; 32]);

/// The hash of everything that was rendered: data, type, labels, annotations and finalizers.
pub fn rendered_hash(rendered: &RenderedSecret) -> RenderedHash {
    let mut hash = sha2::Sha256::default();
    let mut add = |bytes: &[u8]| {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    for (key, value) in &rendered.data {
        add(key.as_bytes());
        add(value.expose());
    }
    let metadata = format!("{:?} {:?}", rendered.type_, rendered.metadata);
    add(metadata.as_bytes());
    RenderedHash(hash.finalize().into())
}

/// The value of the `created-by` label of an owned Secret.
pub fn created_by(namespace: &str, name: &str) -> String {
    sha3_224_hex(&format!("{namespace}/{name}"))
}

/// `<generation>-<hash of labels and annotations>`: `status.syncedResourceVersion`, which changes when the spec, a label
/// or an annotation does.
pub fn synced_resource_version<'m>(
    generation: i64,
    labels: impl IntoIterator<Item = (&'m String, &'m String)>,
    annotations: impl IntoIterator<Item = (&'m String, &'m String)>,
) -> String {
    fn map<'m>(pairs: impl IntoIterator<Item = (&'m String, &'m String)>) -> String {
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(key, value)| format!("{key}:{value}"))
            .collect();
        format!("map[{}]", pairs.join(" "))
    }
    let text = format!(
        "{{annotations:{} labels:{}}}",
        map(annotations),
        map(labels)
    );
    format!("{generation}-{}", sha3_224_hex(&text))
}

/// The field manager under which the Secret of an ExternalSecret of this name is written.
pub fn field_manager(name: &str) -> String {
    /// Longer names are hashed.
    const LIMIT: usize = 63;
    let manager = format!("externalsecrets.external-secrets.io/{name}");
    if manager.len() <= LIMIT {
        return manager;
    }
    format!(
        "externalsecrets.external-secrets.io/sha3/{}",
        sha3_224_hex(name)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::secrets::SecretValue;

    fn data(pairs: &[(&str, &str)]) -> SecretData {
        pairs
            .iter()
            .map(|(key, value)| {
                (
                    (*key).to_owned(),
                    SecretValue::from(value.as_bytes().to_vec()),
                )
            })
            .collect()
    }

    #[test]
    fn hashes_are_those_of_external_secrets() {
        assert_eq!(
            data_hash(&data(&[])),
            "74a974446e359fb3e6baff9bd0058950e6edd0f040888d9989b0a11b"
        );
        assert_eq!(
            data_hash(&data(&[("foo", "bar")])),
            "f2a604b87eb0cf673761e8cfea850f901fe73a3d1b2f338802107f36"
        );
        assert_eq!(
            data_hash(&data(&[("b", "x"), ("a", ""), ("c", "")])),
            "0be22cbcc6d45a6ffee8037bf96a36359db475f1a3ac28851198034b"
        );
        assert_eq!(
            created_by("default", "my-es"),
            "b8464376b5fe3535e690594280bfe59b60be2603cb6cbb6d6c8bcbb4"
        );
        let none = BTreeMap::new();
        assert_eq!(
            synced_resource_version(1, &none, &none),
            "1-f47fe3c0b255b6dd8047cdffa772587bb829efe7a1cb70febeda2eb2"
        );
    }

    #[test]
    fn long_names_are_hashed_in_the_field_manager() {
        assert_eq!(
            field_manager("db"),
            "externalsecrets.external-secrets.io/db"
        );
        assert!(
            field_manager(&"x".repeat(28)).starts_with("externalsecrets.external-secrets.io/sha3/")
        );
    }
}

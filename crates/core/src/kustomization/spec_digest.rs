//! Pure: a digest of everything that decides what is applied, to tell a real change from an echo of our own status write.

use std::fmt;

use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::api::annotations::{OVERLAYD_PREFIX, REQUESTED_AT};
use crate::api::kustomization::Kustomization;

/// SHA-256 of a value as canonical JSON: keys sorted, no spaces. Two digests are equal if the values are.
///
/// It is kept in memory only, because it may cover values of Secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecDigest([u8; 32]);

impl SpecDigest {
    /// The digest of a value.
    pub fn of(value: &Value) -> Self {
        let mut text = String::new();
        canonical(value, &mut text);
        Self(Sha256::digest(text).into())
    }

    /// The digest of what a Kustomization asks for: the generation of its spec, our annotations, and the annotation by
    /// which a reconcile is requested. The uid tells it from an older Kustomization of the same name.
    pub fn of_kustomization(object: &Kustomization) -> Self {
        let annotations = object.annotations().iter();
        let own: serde_json::Map<String, Value> = annotations
            .filter(|(name, _)| name.starts_with(OVERLAYD_PREFIX) || *name == REQUESTED_AT)
            .map(|(name, text)| (name.clone(), json!(text)))
            .collect();
        Self::of(&json!({
            "uid": object.meta().uid,
            "generation": object.meta().generation,
            "suspend": object.spec.suspend,
            "annotations": own,
        }))
    }

    /// The digest of this one and of a further value.
    #[must_use]
    pub fn and(&self, value: &Value) -> Self {
        Self::of(&json!([self.to_string(), value]))
    }
}

/// Hexadecimal, in lower case.
impl fmt::Display for SpecDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// Writes a value with sorted keys, whatever order its maps keep.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (key, value) in entries {
                canonical(&Value::String(key.clone()), text);
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for value in values {
                canonical(value, text);
                text.push(',');
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kustomization::fixture::kustomization;

    #[test]
    fn equal_values_have_equal_digests_whatever_the_order_of_their_keys() {
        let parse = |text: &str| SpecDigest::of(&serde_json::from_str(text).unwrap());
        let one = parse(r#"{"a": [1, {"x": null, "y": "é"}], "b": true}"#);
        assert_eq!(one, parse(r#"{"b":true,"a":[1,{"y":"\u00e9","x":null}]}"#));
        for other in [
            r#"{"a": [1, {"x": null, "y": "e"}], "b": true}"#,
            r#"{"a": [{"x": null, "y": "é"}, 1], "b": true}"#,
            r#"{"a": [1], "b": true}"#,
            "[]",
            "null",
        ] {
            assert_ne!(one, parse(other), "{other}");
        }
        assert_eq!(one.to_string().len(), 64);
    }

    #[test]
    fn what_decides_changes_the_digest_and_other_fields_do_not() {
        type Change = fn(&mut Kustomization);
        let digest = |change: Change| {
            let mut object = kustomization("app", &json!({}), &json!({}));
            change(&mut object);
            SpecDigest::of_kustomization(&object)
        };
        let annotate = |object: &mut Kustomization, name: &str| {
            object
                .annotations_mut()
                .insert(name.to_owned(), "x".to_owned());
        };
        let before = digest(|_| {});
        let changes: [(&str, bool, Change); 7] = [
            ("uid", true, |object| {
                object.metadata.uid = Some("v".to_owned());
            }),
            ("generation", true, |object| {
                object.metadata.generation = Some(2);
            }),
            ("suspend", true, |object| object.spec.suspend = true),
            ("resourceVersion", false, |object| {
                object.metadata.resource_version = Some("9".to_owned());
            }),
            ("labels", false, |object| {
                object.labels_mut().insert("a".to_owned(), "b".to_owned());
            }),
            ("status", false, |object| object.status = None),
            ("nothing", false, |_| {}),
        ];
        for (name, is_changed, change) in changes {
            assert_eq!(digest(change) != before, is_changed, "{name}");
        }
        for (name, is_changed) in [
            ("overlayd.dev/mode", true),
            ("reconcile.fluxcd.io/requestedAt", true),
            ("example.com/note", false),
        ] {
            let mut object = kustomization("app", &json!({}), &json!({}));
            annotate(&mut object, name);
            let after = SpecDigest::of_kustomization(&object);
            assert_eq!(after != before, is_changed, "{name}");
        }
    }

    #[test]
    fn a_further_value_makes_another_digest() {
        let one = SpecDigest::of(&json!({}));
        let two = one.and(&json!({"name": "value"}));
        assert_ne!(one, two);
        assert_eq!(two, one.and(&json!({"name": "value"})));
        assert_ne!(two, one.and(&json!({"name": "other"})));
    }
}

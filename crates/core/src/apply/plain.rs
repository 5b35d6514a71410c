//! Pure: objects whose every field can be checked here as the API server checks it, so that one of many represents all
//! in a dry run.
//!
//! The rules are those of `k8s.io/kubernetes/pkg/apis/core/validation` and of `apimachinery`'s names, made narrower:
//! for an object in doubt the API server is asked.

use serde_json::{Map, Value};

use crate::apply::desired::Desired;

/// The largest data of a ConfigMap, in bytes.
const MAX_DATA: usize = 1 << 20;
/// The largest annotations of an object, in bytes.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// True for a ConfigMap that the API server accepts if it accepts any other new one of the namespace.
pub fn is_plain(desired: &Desired) -> bool {
    let manifest = &desired.manifest;
    desired.reference.group.is_empty()
        && desired.reference.version == "v1"
        && desired.reference.kind == "ConfigMap"
        && only(manifest, &["apiVersion", "kind", "metadata", "data"])
        && has_plain_metadata(&manifest["metadata"])
        && is_plain_data(&manifest["data"])
}

fn only(value: &Value, fields: &[&str]) -> bool {
    let map = value.as_object();
    map.is_some_and(|map| map.keys().all(|key| fields.contains(&key.as_str())))
}

fn has_plain_metadata(metadata: &Value) -> bool {
    let name = metadata["name"].as_str().unwrap_or_default();
    only(metadata, &["name", "namespace", "labels", "annotations"])
        && is_subdomain(name)
        && pairs(&metadata["labels"], |key, value| {
            is_qualified(key) && is_label(value)
        })
        && pairs(&metadata["annotations"], |key, _| {
            is_qualified(&key.to_lowercase())
        })
        && size(&metadata["annotations"]) <= MAX_ANNOTATIONS
}

fn is_plain_data(data: &Value) -> bool {
    let is_key = |key: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        (1..=253).contains(&key.len())
            && !key.starts_with("..")
            && key != "."
            && key.bytes().all(is_letter)
    };
    pairs(data, |key, _| is_key(key)) && size(data) <= MAX_DATA
}

/// True if every entry of a map is a text that meets a condition; a missing map has no entries.
fn pairs(map: &Value, holds: impl Fn(&str, &str) -> bool) -> bool {
    let each = |map: &Map<String, Value>| {
        let mut entries = map.iter();
        entries.all(|(key, value)| value.as_str().is_some_and(|value| holds(key, value)))
    };
    map.is_null() || map.as_object().is_some_and(each)
}

fn size(map: &Value) -> usize {
    let entries = map.as_object().into_iter().flatten();
    entries
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum()
}

fn is_edge(byte: Option<u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// A name of an object: labels of lower case letters, digits and `-`, joined by dots.
fn is_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let is_letter =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        label.bytes().all(is_letter)
            && is_edge(label.bytes().next())
            && is_edge(label.bytes().last())
    };
    (1..=253).contains(&name.len()) && name.split('.').all(label)
}

fn is_label(value: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    value.is_empty()
        || (value.len() <= 63
            && value.bytes().all(is_letter)
            && is_edge(value.bytes().next())
            && is_edge(value.bytes().last()))
}

/// A key of a label or annotation: a name, with a domain before a `/` or without.
fn is_qualified(key: &str) -> bool {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_subdomain) && !name.is_empty() && is_label(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apply::object_ref::ObjectRef;

    fn check(change: &Value, expected: bool) {
        let mut manifest = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a.b-c", "namespace": "n", "labels": {"app.kubernetes.io/name": "a"}, "annotations": {"x": "any text"}},
            "data": {"key.yaml": "text"},
        });
        json_patch::merge(&mut manifest, change);
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
        let desired = Desired {
            reference: ObjectRef::new(
                "v1",
                manifest["kind"].as_str().unwrap_or_default(),
                "n",
                name,
            ),
            manifest,
            source: None,
            hash: [0; 32],
        };
        assert_eq!(is_plain(&desired), expected, "{change}");
    }

    #[test]
    fn an_object_in_doubt_is_not_plain() {
        check(&json!({}), true);
        check(&json!({"data": null}), true);
        check(&json!({"kind": "Secret"}), false);
        check(&json!({"immutable": true}), false);
        check(&json!({"metadata": {"name": "A"}}), false);
        check(&json!({"metadata": {"name": "a-"}}), false);
        check(&json!({"metadata": {"finalizers": []}}), false);
        check(&json!({"metadata": {"labels": {"a": "no spaces"}}}), false);
        check(&json!({"metadata": {"labels": {"/a": "b"}}}), false);
        check(&json!({"metadata": {"annotations": {"a b": "c"}}}), false);
        check(
            &json!({"metadata": {"annotations": {"a": "x".repeat(MAX_ANNOTATIONS)}}}),
            false,
        );
        check(&json!({"data": {"a b": "c"}}), false);
        check(&json!({"data": {"..": "c"}}), false);
        check(&json!({"data": {"a": 1}}), false);
        check(&json!({"data": {"a": "x".repeat(MAX_DATA)}}), false);
    }
}

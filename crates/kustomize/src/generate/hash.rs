//! Pure: the suffix that makes a new name of new content.

use std::collections::BTreeMap;

use goyaml::Node;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::budget::{Budget, Cost};
use crate::error::{BuildError, Problem};
use crate::gojson::go_escape;
use crate::resource::{NEEDS_HASH, ResMap, Resource};

/// Appends the hash to each name that wants one.
// kustomize adds hashes once, at the root, so that they cover patched content (kusttarget.go).
/// Appends the hash to the names of all objects that want it, and remembers the old names for references.
pub(crate) fn append_suffixes(resources: &mut ResMap, budget: &Budget) -> Result<(), BuildError> {
    for resource in resources
        .iter_mut()
        .filter(|resource| resource.wants_hash())
    {
        // The JSON that is hashed exists in several forms for a moment.
        let transient = 8 * resource.weight;
        budget
            .charge(Cost::Bytes, transient)
            .map_err(|problem| resource.about(problem))?;
        budget.release(transient);
        budget.charge(Cost::Steps, 8 * resource.walk_steps())?;
        let suffix = suffix(resource)?;
        resource.remember_id();
        let name = format!("{}-{suffix}", resource.id().name);
        resource.set_name(&name);
    }
    Ok(())
}

/// The hash of an object, as kustomize computes it (`hasher.go`).
fn suffix(resource: &Resource) -> Result<String, BuildError> {
    let mut node = resource.node().clone();
    goyaml::settle_folds(&mut node);
    let node = &node;
    let text = match &*resource.id().gvk.kind {
        "ConfigMap" => encode(
            node,
            &[("binaryData", Absent::Omit), ("data", Absent::Empty)],
            None,
        )?,
        "Secret" => {
            let secret_type = node.get("type").and_then(Node::as_text).unwrap_or_default();
            encode(
                node,
                &[("data", Absent::Empty), ("stringData", Absent::Omit)],
                Some(secret_type),
            )?
        }
        _ => whole(node)?,
    };
    Ok(shorten(&Sha256::digest(text.as_bytes())))
}

/// The compact JSON of an object of another kind, without its name and the note that asks for the hash.
///
/// kustomize hashes its parsed YAML there, with lines, columns, comments and styles (hasher.go), so that a comment
/// above a Job renames it. Here the content decides.
fn whole(node: &Node) -> Result<String, BuildError> {
    let mut node = node.clone();
    if let Some(metadata) = node.get_mut("metadata").and_then(Node::as_mapping_mut) {
        metadata.remove("name");
        if let Some(annotations) = metadata
            .get_mut("annotations")
            .and_then(Node::as_mapping_mut)
        {
            annotations.remove(NEEDS_HASH);
        }
    }
    let json = goyaml::to_json(&node).map_err(|error| Problem::Malformed(error.to_string()))?;
    let text = serde_json::to_string(&sorted(&json))
        .map_err(|error| Problem::Malformed(error.to_string()))?;
    Ok(go_escape(&text))
}

/// What stands for a field that is missing.
#[derive(Clone, Copy, PartialEq)]
enum Absent {
    Omit,
    /// kustomize writes an empty string for a field that is not there.
    Empty,
}

/// The compact JSON that is hashed. The name in it is always empty.
fn encode(
    node: &Node,
    fields: &[(&str, Absent)],
    secret_type: Option<&str>,
) -> Result<String, BuildError> {
    let mut object: BTreeMap<&str, Value> = BTreeMap::new();
    object.insert(
        "kind",
        Value::from(if secret_type.is_some() {
            "Secret"
        } else {
            "ConfigMap"
        }),
    );
    object.insert("name", Value::from(""));
    for (name, absent) in fields {
        match node.get(name) {
            Some(value) => {
                let json = goyaml::to_json(value)
                    .map_err(|error| Problem::Malformed(error.to_string()))?;
                object.insert(name, json);
            }
            None if *absent == Absent::Empty => drop(object.insert(name, Value::from(""))),
            None => {}
        }
    }
    if let Some(secret_type) = secret_type {
        object.insert("type", Value::from(secret_type));
    }
    let json = serde_json::to_string(&sorted(&serde_json::json!(object)))
        .map_err(|error| Problem::Malformed(error.to_string()))?;
    Ok(go_escape(&json))
}

/// Sorts keys at every level, whatever the map type of the JSON library keeps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let ordered: BTreeMap<&String, &Value> = fields.iter().collect();
            Value::Object(
                ordered
                    .into_iter()
                    .map(|(key, value)| (key.clone(), sorted(value)))
                    .collect(),
            )
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// The first ten hex digits, with those replaced that could spell words.
fn shorten(digest: &[u8]) -> String {
    let hex = digest
        .iter()
        .take(5)
        .flat_map(|byte| [byte >> 4, byte & 15]);
    hex.map(|digit| match digit {
        0 => 'g',
        1 => 'h',
        3 => 'k',
        10 => 'm',
        14 => 't',
        digit => char::from_digit(u32::from(digit), 16).unwrap_or('0'),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(yaml: &str) -> String {
        let node = goyaml::read(yaml, &goyaml::ReadOptions::default())
            .unwrap()
            .swap_remove(0);
        suffix(&Resource::new(node).unwrap()).unwrap()
    }

    #[test]
    fn the_hash_of_another_kind_is_that_of_its_content() {
        let first = hash("kind: Job\nmetadata: {name: a}\nspec: {x: 1}\n");
        let same = hash("# moved\n\nkind: Job\nmetadata: {name: b}\nspec:\n  x: 1 # one\n");
        let other = hash("kind: Job\nmetadata: {name: a}\nspec: {x: 2}\n");
        assert_eq!(first, same);
        assert_ne!(first, other);
    }

    #[test]
    fn known_hashes() {
        assert_eq!(
            hash("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}"),
            "bdg947hgcc"
        );
        assert_eq!(
            hash("{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}"),
            "6ct58987ht"
        );
        assert_eq!(
            hash(
                "{apiVersion: v1, kind: Secret, type: Opaque, metadata: {name: a}, data: {k: dg==}}"
            ),
            "ftgtgc4t9f"
        );
        assert_eq!(
            hash("{apiVersion: v1, kind: Secret, type: Opaque, metadata: {name: a}, data: {}}"),
            "46f8b28mk5"
        );
    }
}

//! Pure: how a generated object meets one of the same id: create, merge or replace.

use goyaml::{Mapping, Node};

use super::base64_lines::base64_lines;
use crate::error::{BuildError, Problem};
use crate::resource::{NEEDS_HASH, ResMap, Resource};

/// What a generator wants to do with an object that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    Create,
    Merge,
    Replace,
}

impl Behavior {
    /// Anything unknown means create, as in kustomize.
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "merge" => Self::Merge,
            "replace" => Self::Replace,
            _ => Self::Create,
        }
    }
}

/// Adds a generated object to the set, or puts it in the place of the one it merges with or replaces.
pub(crate) fn absorb(
    resources: &mut ResMap,
    new: Resource,
    behavior: Behavior,
) -> Result<(), BuildError> {
    let found = resources.with_any_id(new.id());
    let id = new.id().show_long();
    let problem =
        |message: String, hint: &str| Err(BuildError::from(Problem::Identity(message)).hint(hint));
    match (&found[..], behavior) {
        ([], Behavior::Create) => resources.append_all(vec![new]),
        ([], _) => problem(
            format!("id {id} does not exist; cannot merge or replace"),
            "remove `behavior`, or name an object of the resources, with its namespace",
        ),
        ([_], Behavior::Create) => problem(
            format!(
                "id {id} exists; can not use behavior: 'create', behavior must be merge or replace"
            ),
            "set `behavior: merge` or `behavior: replace`, or choose another name",
        ),
        (&[position], _) => {
            resources.change_at(position, |old| *old = combine(old, new, behavior));
            Ok(())
        }
        _ => problem(
            format!("found multiple objects with the id {id}"),
            "give the generator a namespace that only one of them has",
        ),
    }
}

/// The new object with the old one's place, name, namespace and history; labels and annotations merged.
fn combine(old: &Resource, new: Resource, behavior: Behavior) -> Resource {
    let mut result = old.clone();
    result.needs_hash = old.wants_hash() && new.wants_hash();
    if behavior == Behavior::Replace {
        result.origin.clone_from(&new.origin);
    }
    let weight = new.weight;
    let mut node = new.into_node();
    if let Some(metadata) = node.get_mut("metadata").and_then(Node::as_mapping_mut) {
        let old = old.node().get("metadata");
        for name in ["labels", "annotations"] {
            merge_field(
                metadata,
                old.and_then(|old| old.get(name)),
                name,
                Clone::clone,
            );
        }
        if let Some(annotations) = metadata
            .get_mut("annotations")
            .and_then(Node::as_mapping_mut)
        {
            // What it asks for is settled by now.
            annotations.remove(NEEDS_HASH);
        }
        for name in ["name", "namespace"] {
            match old.and_then(|old| old.get(name)) {
                Some(value) => metadata.insert(name, value.clone()),
                None => metadata.remove(name),
            };
        }
    }
    if behavior == Behavior::Merge
        && let Some(mapping) = node.as_mapping_mut()
    {
        // A Secret's text becomes data, as the API server would make it.
        if let Some(texts) = old.node().get("stringData") {
            merge_field(mapping, Some(texts), "data", encoded);
        }
        for name in ["data", "binaryData"] {
            merge_field(mapping, old.node().get(name), name, as_string);
        }
    }
    result.change(|tree| *tree = node);
    // Both are charged; the exact weight is settled at the end of the build.
    result.weight += weight;
    result
}

/// Puts the old entries below the new ones.
fn merge_field(into: &mut Mapping, old: Option<&Node>, name: &str, adapt: fn(&Node) -> Node) {
    let Some(old) = old.and_then(Node::as_mapping) else {
        return;
    };
    let old = old
        .iter()
        .map(|entry| (entry.key.clone(), adapt(&entry.value)));
    let mut merged: Mapping = old.collect();
    if let Some(new) = into.get(name).and_then(Node::as_mapping) {
        for entry in new {
            merged.insert(entry.key.clone(), entry.value.clone());
        }
    }
    into.insert(name, merged.into());
}

/// Data is a map of strings for kustomize, whatever the texts look like.
fn as_string(node: &Node) -> Node {
    Node::string(node.as_text().unwrap_or_default())
}

fn encoded(node: &Node) -> Node {
    let text = node.as_text().unwrap_or_default();
    Node::string(base64_lines(text.as_bytes()))
}

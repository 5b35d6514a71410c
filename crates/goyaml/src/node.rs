//! Pure: the tree. A [`Node`] is a scalar, a sequence or a mapping, and knows its line.

use std::sync::Arc;

use crate::scalar::{Meaning, Scalar, Tag, Text, resolve};

/// The first character of a key that is no string, where [`Keys::Marked`](crate::Keys::Marked) asks for it.
pub const NOT_A_STRING: char = '\0';

/// One node of a document, with the line it was read from (from 1; 0 for a made one).
///
/// Equality compares what is written (text and type), not where.
#[derive(Debug, Clone)]
pub struct Node {
    /// The line of the node's first character.
    pub line: u32,
    /// What stands there.
    pub kind: NodeKind,
}

/// The three kinds of node.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// A leaf.
    Scalar(Scalar),
    /// A list.
    Sequence(Sequence),
    /// A map, in the order of its text.
    Mapping(Mapping),
}

/// A list of nodes, shared until changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sequence(Arc<Vec<Node>>);

/// A map from text to node, shared until changed. Keys are distinct.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mapping(Arc<Vec<Entry>>);

/// One field of a [`Mapping`].
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Text,
    /// The value.
    pub value: Node,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::null()
    }
}

impl From<NodeKind> for Node {
    fn from(kind: NodeKind) -> Self {
        Self { line: 0, kind }
    }
}

impl From<Mapping> for Node {
    fn from(mapping: Mapping) -> Self {
        NodeKind::Mapping(mapping).into()
    }
}

impl From<Sequence> for Node {
    fn from(sequence: Sequence) -> Self {
        NodeKind::Sequence(sequence).into()
    }
}

impl Node {
    fn scalar(text: impl Into<Text>, tag: Tag) -> Self {
        NodeKind::Scalar(Scalar::new(text, tag)).into()
    }

    /// A string, whatever it looks like.
    pub fn string(text: impl Into<Text>) -> Self {
        Self::scalar(text, Tag::Str)
    }

    /// A scalar typed by its look, as if it stood unquoted in a manifest.
    pub fn plain(text: impl Into<Text>) -> Self {
        let text = text.into();
        let tag = resolve(&text);
        NodeKind::Scalar(Scalar::new(text, tag)).into()
    }

    /// A scalar typed by its look when it is printed.
    pub fn untyped(text: impl Into<Text>) -> Self {
        Self::scalar(text, Tag::Untyped)
    }

    /// `null`.
    pub fn null() -> Self {
        Self::scalar("null", Tag::Null)
    }

    /// An integer.
    pub fn int(value: i64) -> Self {
        Self::scalar(value.to_string(), Tag::Int)
    }

    /// A boolean.
    pub fn bool(value: bool) -> Self {
        Self::scalar(if value { "true" } else { "false" }, Tag::Bool)
    }

    /// An empty map.
    pub fn empty_mapping() -> Self {
        Mapping::default().into()
    }

    /// An empty list.
    pub fn empty_sequence() -> Self {
        Sequence::default().into()
    }

    /// True for a scalar of type null.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, NodeKind::Scalar(scalar) if scalar.tag == Tag::Null)
    }

    /// True for `{}` and `[]`.
    pub fn is_empty_collection(&self) -> bool {
        match &self.kind {
            NodeKind::Mapping(mapping) => mapping.is_empty(),
            NodeKind::Sequence(sequence) => sequence.is_empty(),
            NodeKind::Scalar(_) => false,
        }
    }

    /// The leaf, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            NodeKind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of any leaf but null.
    pub fn as_text(&self) -> Option<&str> {
        self.as_scalar()
            .filter(|scalar| scalar.tag != Tag::Null)
            .map(|scalar| &*scalar.text)
    }

    /// The text of a leaf of type string.
    pub fn as_str(&self) -> Option<&str> {
        self.as_scalar()
            .filter(|scalar| scalar.tag == Tag::Str)
            .map(|scalar| &*scalar.text)
    }

    /// The value of a leaf of type bool.
    pub fn as_bool(&self) -> Option<bool> {
        match self.as_scalar()?.meaning() {
            Meaning::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The list, if it is one.
    pub fn as_sequence(&self) -> Option<&Sequence> {
        match &self.kind {
            NodeKind::Sequence(sequence) => Some(sequence),
            _ => None,
        }
    }

    /// The list, to be changed.
    pub fn as_sequence_mut(&mut self) -> Option<&mut Sequence> {
        match &mut self.kind {
            NodeKind::Sequence(sequence) => Some(sequence),
            _ => None,
        }
    }

    /// The map, if it is one.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        match &self.kind {
            NodeKind::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// The map, to be changed.
    pub fn as_mapping_mut(&mut self) -> Option<&mut Mapping> {
        match &mut self.kind {
            NodeKind::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// The field of a map; `None` for anything else.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_mapping()?.get(key)
    }

    /// The field of a map, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        self.as_mapping_mut()?.get_mut(key)
    }

    /// The field at the end of a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// What to call this kind of node in a message.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            NodeKind::Mapping(_) => "map",
            NodeKind::Sequence(_) => "list",
            NodeKind::Scalar(scalar) => scalar.tag.name(),
        }
    }
}

impl Sequence {
    /// The elements.
    pub fn iter(&self) -> std::slice::Iter<'_, Node> {
        self.0.iter()
    }

    /// The elements, to be changed.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Node> {
        Arc::make_mut(&mut self.0).iter_mut()
    }

    /// The elements as a vector that may grow and shrink.
    pub fn make_mut(&mut self) -> &mut Vec<Node> {
        Arc::make_mut(&mut self.0)
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The element at an index from 0.
    pub fn get(&self, index: usize) -> Option<&Node> {
        self.0.get(index)
    }
}

impl FromIterator<Node> for Sequence {
    fn from_iter<I: IntoIterator<Item = Node>>(nodes: I) -> Self {
        Self(Arc::new(nodes.into_iter().collect()))
    }
}

impl IntoIterator for Sequence {
    type Item = Node;
    type IntoIter = std::vec::IntoIter<Node>;
    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

impl<'a> IntoIterator for &'a mut Sequence {
    type Item = &'a mut Node;
    type IntoIter = std::slice::IterMut<'a, Node>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<'a> IntoIterator for &'a Sequence {
    type Item = &'a Node;
    type IntoIter = std::slice::Iter<'a, Node>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Mapping {
    /// A map of entries whose keys are known to be distinct.
    pub(crate) fn from_distinct(entries: Vec<Entry>) -> Self {
        Self(Arc::new(entries))
    }

    /// The entries, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.0.iter()
    }

    /// The values with their keys, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Text, &mut Node)> {
        Arc::make_mut(&mut self.0)
            .iter_mut()
            .map(|entry| (&entry.key, &mut entry.value))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| &*entry.key)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn position(&self, key: &str) -> Option<usize> {
        self.0.iter().position(|entry| &*entry.key == key)
    }

    /// True if the key is there, whatever its value.
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_some()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.0
            .iter()
            .find(|entry| &*entry.key == key)
            .map(|entry| &entry.value)
    }

    /// The value of a key, to be changed. Copies the map only if the key is there.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let position = self.position(key)?;
        Some(&mut Arc::make_mut(&mut self.0)[position].value)
    }

    /// Sets a key, at its old place or at the end. Gives back the old value.
    pub fn insert(&mut self, key: impl Into<Text> + AsRef<str>, value: Node) -> Option<Node> {
        match self.get_mut(key.as_ref()) {
            Some(old) => Some(std::mem::replace(old, value)),
            None => {
                Arc::make_mut(&mut self.0).push(Entry {
                    key: key.into(),
                    value,
                });
                None
            }
        }
    }

    /// The value of a key, made with `default` if it is missing.
    pub fn entry_or(&mut self, key: &str, default: impl FnOnce() -> Node) -> &mut Node {
        let entries = Arc::make_mut(&mut self.0);
        let position = entries
            .iter()
            .position(|entry| &*entry.key == key)
            .unwrap_or_else(|| {
                entries.push(Entry {
                    key: key.into(),
                    value: default(),
                });
                entries.len() - 1
            });
        &mut entries[position].value
    }

    /// Removes a key. Gives back its value.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let position = self.position(key)?;
        Some(Arc::make_mut(&mut self.0).remove(position).value)
    }

    /// Keeps the entries for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Node) -> bool) {
        if self.0.iter().any(|entry| !keep(&entry.key, &entry.value)) {
            Arc::make_mut(&mut self.0).retain(|entry| keep(&entry.key, &entry.value));
        }
    }
}

impl<K: Into<Text> + AsRef<str>> FromIterator<(K, Node)> for Mapping {
    fn from_iter<I: IntoIterator<Item = (K, Node)>>(entries: I) -> Self {
        let mut mapping = Self::default();
        for (key, value) in entries {
            mapping.insert(key, value);
        }
        mapping
    }
}

impl IntoIterator for Mapping {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;
    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

impl<'a> IntoIterator for &'a Mapping {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

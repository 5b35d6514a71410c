//! Pure: the strategic merge of a patch into an object, with all its directives and quirks.
//!
//! The procedure is that of kyaml's `merge2` walker: maps field by field, lists by merge keys where the
//! schema has some, whole otherwise. Lists of the patch come first.

use std::cell::RefCell;
use std::collections::BTreeMap;

use goyaml::{Mapping, NOT_A_STRING, Node, NodeKind, Sequence, Tag, Text};

use crate::error::Problem;
use crate::link::Writes;
use crate::schema::{ListMerge, MergeSchema, Position, SchemaComments};

/// Merges a patch into a tree. `None` means that the patch deletes it.
/// The comments are those of the tree's file and of the patch's.
pub(crate) fn merge(
    dest: Node,
    patch: &Node,
    schema: &MergeSchema,
    comments: [&SchemaComments; 2],
) -> Result<Option<Node>, Problem> {
    let merge = Merge {
        schema,
        comments,
        writes: RefCell::default(),
    };
    let mut merged = merge.node(Some(dest), Some(patch), None)?;
    if let Some(node) = &mut merged {
        merge.writes.into_inner().settle(node);
        drop_empty_values(node);
    }
    Ok(merged)
}

struct Merge<'s> {
    schema: &'s MergeSchema,
    comments: [&'s SchemaComments; 2],
    writes: RefCell<Writes>,
}

/// What a map of the patch says about the map it is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

fn directive(map: &Mapping) -> Result<Option<Directive>, Problem> {
    let Some(value) = map.get("$patch") else {
        return Ok(None);
    };
    match value.as_text() {
        Some("merge") => Ok(Some(Directive::Merge)),
        Some("replace") => Ok(Some(Directive::Replace)),
        Some("delete") => Ok(Some(Directive::Delete)),
        other => Err(Problem::Transform(format!(
            "unknown patch strategy `{}`",
            other.unwrap_or_default()
        ))),
    }
}

fn without_directive(map: &Mapping) -> Mapping {
    let mut map = map.clone();
    map.remove("$patch");
    map
}

impl Merge<'_> {
    fn node(
        &self,
        dest: Option<Node>,
        patch: Option<&Node>,
        at: Option<&Position>,
    ) -> Result<Option<Node>, Problem> {
        let Some(patch) = patch else { return Ok(dest) };
        if patch.is_null() {
            return Ok(None);
        }
        let dest = dest.filter(|dest| !dest.is_null());
        if let Some(dest) = &dest {
            check_same_kind(dest, patch)?;
        }
        match &patch.kind {
            NodeKind::Scalar(scalar) => {
                let mut merged = dest.unwrap_or_else(|| patch.clone());
                merged.line = patch.line;
                let mut writes = self.writes.borrow_mut();
                writes.scalar(&mut merged, scalar.text.clone(), scalar.tag);
                Ok(Some(merged))
            }
            NodeKind::Mapping(map) => self.map(dest, map, patch.line, at),
            NodeKind::Sequence(list) => self.list(dest, list, patch, at),
        }
    }

    fn map(
        &self,
        dest: Option<Node>,
        patch: &Mapping,
        line: u32,
        at: Option<&Position>,
    ) -> Result<Option<Node>, Problem> {
        match directive(patch)? {
            Some(Directive::Delete) => return Ok(None),
            Some(Directive::Replace) => {
                let mut taken = without_directive(patch).into();
                take(&mut taken)?;
                return Ok(Some(taken));
            }
            Some(Directive::Merge) => return self.map(dest, &without_directive(patch), line, at),
            None => {}
        }
        let Some(mut dest) = dest else {
            let mut taken = Node::from(NodeKind::Mapping(patch.clone()));
            taken.line = line;
            take(&mut taken)?;
            return Ok(Some(taken));
        };
        let own = at.cloned().or_else(|| self.kind_of(&dest, patch));
        if let NodeKind::Mapping(fields) = &mut dest.kind {
            // kyaml goes through the fields by name, which shows where two of them are one value.
            let mut entries: Vec<_> = patch.iter().collect();
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            for entry in entries {
                // A key that is no string in the patch may be one here.
                let key = match entry.key.strip_prefix(NOT_A_STRING) {
                    Some(text) if fields.contains_key(text) => text.into(),
                    _ => entry.key.clone(),
                };
                // An empty map in the patch changes nothing that is there.
                let old = fields.get(&key).cloned();
                let position = self
                    .commented(old.as_ref(), &entry.value)
                    .or_else(|| own.as_ref().map(|own| own.field(&key)));
                match self.node(old, Some(&entry.value), position.as_ref())? {
                    Some(value) => drop(fields.insert(key, value)),
                    None => drop(fields.remove(&key)),
                }
            }
        }
        Ok(Some(dest))
    }

    /// The schema that a comment beside the field gives, in the tree or in the patch.
    fn commented(&self, dest: Option<&Node>, patch: &Node) -> Option<Position> {
        let [of_dest, of_patch] = self.comments;
        dest.and_then(|dest| of_dest.position(dest, self.schema))
            .or_else(|| of_patch.position(patch, self.schema))
    }

    /// A map with both `apiVersion` and `kind` takes that kind's schema.
    fn kind_of(&self, dest: &Node, patch: &Mapping) -> Option<Position> {
        let of = |api_version: Option<&Node>, kind: Option<&Node>| {
            let (api_version, kind) = (api_version?.as_text()?, kind?.as_text()?);
            self.schema.kind(api_version, kind)
        };
        of(dest.get("apiVersion"), dest.get("kind"))
            .or_else(|| of(patch.get("apiVersion"), patch.get("kind")))
    }

    fn list(
        &self,
        dest: Option<Node>,
        patch: &Sequence,
        patch_node: &Node,
        at: Option<&Position>,
    ) -> Result<Option<Node>, Problem> {
        let Some(keys) = at.and_then(Position::list_merge) else {
            return Ok(Some(patch_node.clone()));
        };
        let (list_directive, patch) = split_directives(patch)?;
        match list_directive {
            Some(Directive::Delete) => return Ok(None),
            Some(Directive::Replace) => {
                return Ok(Some(patch.into_iter().collect::<Sequence>().into()));
            }
            Some(Directive::Merge) | None => {}
        }
        let old: Vec<Node> = match &dest {
            Some(Node {
                kind: NodeKind::Sequence(list),
                ..
            }) => list.iter().cloned().collect(),
            _ => Vec::new(),
        };
        if patch.is_empty() {
            return Ok(dest.or_else(|| Some(patch_node.clone())));
        }
        if keys.is_empty() {
            return Ok(Some(union(&patch, &old)));
        }
        let element = at.map(Position::element);
        if dest.is_none() && patch.iter().all(|node| !has_directive(node)) {
            return Ok(Some(patch.into_iter().collect::<Sequence>().into()));
        }
        self.associative(old, &patch, keys, element.as_ref())
            .map(|list| Some(list.into_iter().collect::<Sequence>().into()))
    }

    /// The exact procedure of kyaml for lists with merge keys, degenerate cases and all.
    fn associative(
        &self,
        mut dest: Vec<Node>,
        patch: &[Node],
        keys: &ListMerge,
        at: Option<&Position>,
    ) -> Result<Vec<Node>, Problem> {
        let tuples = tuples(patch, &dest, keys);
        let used: Vec<usize> = (0..keys.len())
            .filter(|&key| tuples.iter().any(|tuple| !tuple[key].is_empty()))
            .collect();
        let used = if used.is_empty() {
            (0..keys.len()).collect()
        } else {
            used
        };
        let mut out = Output::new(keys, &used);
        let (mut dest_index, patch_index) = (Index::of(&dest, keys), Index::of(patch, keys));
        for tuple in &tuples {
            let in_dest = dest_index.find(&dest, tuple, keys);
            let in_patch = patch_index.find(patch, tuple, keys);
            let patch_node = in_patch
                .map(|position| strip_inner_replace(&patch[position]))
                .transpose()?;
            let merged = self.node(
                in_dest.map(|position| dest[position].clone()),
                patch_node.as_ref(),
                at,
            )?;
            match merged.filter(|node| !node.is_empty_collection()) {
                Some(merged) => {
                    if let Some(position) = in_dest {
                        dest[position] = merged.clone();
                    }
                    out.put(merged);
                }
                None => {
                    dest.retain(|element| !matches_tuple(element, tuple, keys));
                    dest_index = Index::of(&dest, keys);
                }
            }
        }
        for element in dest {
            out.settle(element);
        }
        Ok(out.elements)
    }
}

/// A value that comes with the patch and meets nothing: nulls in its maps are not fields,
/// and directives in its lists have done their work.
fn take(node: &mut Node) -> Result<(), Problem> {
    let Some(map) = node.as_mapping_mut() else {
        return Ok(());
    };
    map.retain(|_, value| !value.is_null());
    let keys: Vec<Text> = map
        .iter()
        .filter(|entry| entry.value.as_scalar().is_none())
        .map(|entry| entry.key.clone())
        .collect();
    for key in keys {
        let Some(value) = map.get(&key) else { continue };
        match &value.kind {
            NodeKind::Mapping(inner) => match directive(inner)? {
                Some(Directive::Delete) => drop(map.remove(&key)),
                Some(_) => {
                    let mut inner = Node::from(without_directive(inner));
                    take(&mut inner)?;
                    map.insert(key, inner);
                }
                None => {
                    if let Some(value) = map.get_mut(&key) {
                        take(value)?;
                    }
                }
            },
            NodeKind::Sequence(_) | NodeKind::Scalar(_) => {}
        }
    }
    Ok(())
}

/// In an element of a merging list, kyaml takes `$patch: replace` out and merges all the same.
fn strip_inner_replace(node: &Node) -> Result<Node, Problem> {
    let Some(map) = node.as_mapping() else {
        return Ok(node.clone());
    };
    Ok(match directive(map)? {
        Some(Directive::Replace) => without_directive(map).into(),
        _ => node.clone(),
    })
}

fn has_directive(node: &Node) -> bool {
    node.as_mapping()
        .is_some_and(|map| map.contains_key("$patch"))
}

/// Takes out the elements that are nothing but a directive.
fn split_directives(patch: &Sequence) -> Result<(Option<Directive>, Vec<Node>), Problem> {
    let mut found = None;
    let mut rest = Vec::with_capacity(patch.len());
    for node in patch {
        match node
            .as_mapping()
            .filter(|map| map.len() == 1)
            .map(directive)
            .transpose()?
            .flatten()
        {
            Some(directive) => found = Some(directive),
            None => rest.push(node.clone()),
        }
    }
    Ok((found, rest))
}

/// A set of scalars: the patch's first, each once.
fn union(patch: &[Node], dest: &[Node]) -> Node {
    let mut seen = std::collections::BTreeSet::new();
    let all = patch.iter().chain(dest);
    let distinct = all.filter(|node| match node.as_scalar() {
        Some(scalar) => seen.insert(scalar.text.clone()),
        None => true,
    });
    distinct.cloned().collect::<Sequence>().into()
}

/// The values of the merge keys of one element, as text; empty for a missing one.
type Tuple = Vec<Text>;

fn tuple_of(node: &Node, keys: &ListMerge) -> Tuple {
    keys.iter()
        .map(|key| key_text(node, key).unwrap_or_default())
        .collect()
}

fn key_text(node: &Node, key: &str) -> Option<Text> {
    node.get(key)
        .and_then(Node::as_scalar)
        .map(|scalar| scalar.text.clone())
}

/// The distinct tuples of the patch, then of dest (with several keys: of those that only the patch has, first);
/// tuples that differ only in what one of them lacks become one.
fn tuples(patch: &[Node], dest: &[Node], keys: &ListMerge) -> Vec<Tuple> {
    let mut seen = std::collections::BTreeSet::new();
    let all = patch.iter().chain(dest).map(|node| tuple_of(node, keys));
    let mut tuples: Vec<Tuple> = all.filter(|tuple| seen.insert(tuple.clone())).collect();
    if keys.len() < 2
        || tuples
            .iter()
            .all(|tuple| tuple.iter().all(|text| !text.is_empty()))
    {
        return tuples;
    }
    for i in 0..tuples.len() {
        for j in i + 1..tuples.len() {
            if let Some(joined) = joined(&tuples[i], &tuples[j]) {
                tuples[i].clone_from(&joined);
                tuples[j] = joined;
            }
        }
    }
    tuples
}

fn joined(a: &Tuple, b: &Tuple) -> Option<Tuple> {
    let pairs = || a.iter().zip(b);
    let one_equal = pairs().any(|(x, y)| x == y);
    let conflict = pairs().any(|(x, y)| !x.is_empty() && !y.is_empty() && x != y);
    (one_equal && !conflict).then(|| {
        pairs()
            .map(|(x, y)| if x.is_empty() { y.clone() } else { x.clone() })
            .collect()
    })
}

/// True if the element has every key, with the value that the tuple wants (an empty one matches any).
fn matches_tuple(element: &Node, tuple: &Tuple, keys: &ListMerge) -> bool {
    keys.iter()
        .zip(tuple)
        .all(|(key, wanted)| match key_text(element, key) {
            Some(text) => wanted.is_empty() || text == *wanted,
            None => wanted.is_empty(),
        })
}

/// Finds the first element that has a tuple's values, without looking through the list for each.
struct Index {
    by_first_key: BTreeMap<Text, Vec<usize>>,
}

impl Index {
    fn of(nodes: &[Node], keys: &ListMerge) -> Self {
        let mut by_first_key: BTreeMap<Text, Vec<usize>> = BTreeMap::new();
        for (position, node) in nodes.iter().enumerate() {
            let text = key_text(node, &keys[0]).unwrap_or_default();
            by_first_key.entry(text).or_default().push(position);
        }
        Self { by_first_key }
    }

    fn find(&self, nodes: &[Node], tuple: &Tuple, keys: &ListMerge) -> Option<usize> {
        let equal = |position: &usize| {
            let node = nodes.get(*position);
            node.is_some_and(|node| {
                keys.iter().zip(tuple).all(|(key, wanted)| {
                    wanted.is_empty() || key_text(node, key).as_ref() == Some(wanted)
                })
            })
        };
        if tuple[0].is_empty() {
            return (0..nodes.len()).find(equal);
        }
        self.by_first_key
            .get(&tuple[0])?
            .iter()
            .copied()
            .find(equal)
    }
}

/// The list in the making, in which an element takes the place of one with the same key values.
struct Output<'k> {
    keys: Vec<&'k str>,
    elements: Vec<Node>,
    by_values: BTreeMap<Tuple, usize>,
}

impl<'k> Output<'k> {
    fn new(keys: &'k ListMerge, used: &[usize]) -> Self {
        Self {
            keys: used.iter().map(|&key| keys[key].as_str()).collect(),
            elements: Vec::new(),
            by_values: BTreeMap::new(),
        }
    }

    fn values(&self, node: &Node) -> Tuple {
        self.keys
            .iter()
            .map(|key| key_text(node, key).unwrap_or_default())
            .collect()
    }

    fn put(&mut self, node: Node) {
        let values = self.values(&node);
        match self.by_values.get(&values) {
            Some(&position) => self.elements[position] = node,
            None => {
                self.by_values.insert(values, self.elements.len());
                self.elements.push(node);
            }
        }
    }

    /// Brings in what is left in dest. One that lacks a key is put at the end, once for each key it lacks.
    fn settle(&mut self, element: Node) {
        let (had, lacked): (Vec<&str>, Vec<&str>) =
            self.keys.iter().partition(|key| element.get(key).is_some());
        if lacked.is_empty() {
            // With several keys, dest's order is what counts.
            if self.keys.len() > 1 {
                self.remove_equal(&element, &had);
                self.elements.push(element);
            } else {
                self.put(element);
            }
            return;
        }
        if self.keys.len() > 1 {
            self.remove_equal(&element, &had);
        }
        if !self.elements.contains(&element) {
            self.elements.push(element);
        }
    }

    fn remove_equal(&mut self, element: &Node, keys: &[&str]) {
        self.elements.retain(|other| {
            !keys
                .iter()
                .all(|key| key_text(other, key) == key_text(element, key))
                || keys.is_empty()
        });
    }
}

/// What an SMP leaves behind in the whole object: fields with nothing after the colon go, and what a replacement
/// created becomes a string.
fn drop_empty_values(node: &mut Node) {
    if !has_empty_value(node) {
        return;
    }
    match &mut node.kind {
        NodeKind::Scalar(scalar) => scalar.tag = Tag::Str,
        NodeKind::Sequence(list) => list.iter_mut().for_each(drop_empty_values),
        NodeKind::Mapping(map) => {
            map.retain(|_, value| !is_empty_value(value));
            map.iter_mut()
                .for_each(|(_, value)| drop_empty_values(value));
        }
    }
}

fn has_empty_value(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Scalar(scalar) => scalar.tag == Tag::Untyped,
        NodeKind::Sequence(list) => list.iter().any(has_empty_value),
        NodeKind::Mapping(map) => map
            .iter()
            .any(|entry| is_empty_value(&entry.value) || has_empty_value(&entry.value)),
    }
}

fn is_empty_value(node: &Node) -> bool {
    node.is_null()
        && node
            .as_scalar()
            .is_some_and(|scalar| scalar.text.is_empty())
}

fn check_same_kind(dest: &Node, patch: &Node) -> Result<(), Problem> {
    let name = |node: &Node| match &node.kind {
        NodeKind::Scalar(_) => "ScalarNode",
        NodeKind::Sequence(_) => "SequenceNode",
        NodeKind::Mapping(_) => "MappingNode",
    };
    if name(dest) == name(patch) {
        return Ok(());
    }
    let message = format!(
        "wrong node kind: expected {} but got {}",
        name(dest),
        name(patch)
    );
    Err(Problem::Transform(message))
}

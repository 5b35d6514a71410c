//! Pure: the strategic merge of a patch into an object, with all its directives and quirks.
//!
//! The procedure is that of kyaml's `merge2` walker: maps field by field, lists by merge keys where the
//! schema has some, whole otherwise. Lists of the patch come first.

use std::cell::RefCell;
use std::collections::BTreeMap;

use goyaml::{Mapping, NOT_A_STRING, Node, NodeKind, Sequence, Tag, Text};

use crate::budget::Budget;
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
    budget: &Budget,
) -> Result<Option<Node>, Problem> {
    let merge = Merge {
        schema,
        comments,
        budget,
        writes: RefCell::default(),
    };
    let mut merged = merge.node(Some(dest), Some(patch), None)?;
    if let Some(node) = &mut merged {
        merge.writes.into_inner().settle(node);
        settle_untyped(node);
    }
    Ok(merged)
}

/// One merge of a patch into an object.
struct Merge<'s> {
    /// Decides how the lists of known kinds are merged.
    schema: &'s MergeSchema,
    /// The schemas of comments: of the object's file, then of the patch's.
    comments: [&'s SchemaComments; 2],
    /// What the build may still use.
    budget: &'s Budget,
    /// What was written to linked scalars; the others of each link follow at the end (see [`crate::link`]).
    writes: RefCell<Writes>,
}

/// What a map of the patch says about the map it is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directive {
    /// `merge`: what is done without a directive, too.
    Merge,
    /// `replace`: the map of the patch takes the place of the other.
    Replace,
    /// `delete`: the map is removed.
    Delete,
}

/// The directive of a map, from its key `$patch`.
fn directive(map: &Mapping) -> Result<Option<Directive>, Problem> {
    let Some(value) = map.get("$patch") else {
        return Ok(None);
    };
    match value.as_text() {
        Some("merge") => Ok(Some(Directive::Merge)),
        Some("replace") => Ok(Some(Directive::Replace)),
        Some("delete") => Ok(Some(Directive::Delete)),
        other => Err(Problem::Transform(format!(
            "unknown patch strategy `{}`; `$patch` takes `merge`, `replace` or `delete`",
            other.unwrap_or_default()
        ))),
    }
}

/// The map without the key `$patch`.
fn without_directive(map: &Mapping) -> Mapping {
    let mut map = map.clone();
    map.remove("$patch");
    map
}

impl Merge<'_> {
    /// Merges a node of the patch into one of the object; `None` if nothing is left. Null in the patch removes a field.
    fn node(
        &self,
        dest: Option<Node>,
        patch: Option<&Node>,
        at: Option<&Position>,
    ) -> Result<Option<Node>, Problem> {
        let Some(patch) = patch else {
            return dest.map_or(Ok(None), |dest| self.alone(dest, at));
        };
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

    /// Merges two maps, key by key, after the directive of the patch.
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
                return self.taken(&without_directive(patch), line, at);
            }
            Some(Directive::Merge) => {
                let mut dest = dest;
                // Where a part of the patch meets itself, its directive stands on both sides.
                if let Some(fields) = dest.as_mut().and_then(Node::as_mapping_mut)
                    && fields.get("$patch") == patch.get("$patch")
                {
                    fields.remove("$patch");
                }
                return self.map(dest, &without_directive(patch), line, at);
            }
            None => {}
        }
        let Some(mut dest) = dest else {
            return self.taken(patch, line, at);
        };
        let own = at.cloned().or_else(|| self.kind_of(&dest, patch));
        if let NodeKind::Mapping(fields) = &mut dest.kind {
            for (key, value) in sorted_fields(fields, patch) {
                let old = fields.get(&key).cloned();
                let position = self
                    .commented(old.as_ref(), value)
                    .or_else(|| own.as_ref().map(|own| own.field(&key)));
                let stays = |old: &Node| !self.settles(old, position.as_ref());
                if value.is_none() && old.as_ref().is_some_and(stays) {
                    continue;
                }
                let merged = self.node(old, value, position.as_ref());
                match merged.map_err(|problem| within(&key, problem))? {
                    Some(value) => drop(fields.insert(key, value)),
                    None => drop(fields.remove(&key)),
                }
            }
        }
        Ok(Some(dest))
    }

    /// A map that comes with the patch and meets nothing: kyaml puts it in place and then merges it with itself,
    /// so nulls in its maps are no fields, and elements of its lists that share a merge key become one.
    fn taken(
        &self,
        patch: &Mapping,
        line: u32,
        at: Option<&Position>,
    ) -> Result<Option<Node>, Problem> {
        let mut node = Node::from(NodeKind::Mapping(patch.clone()));
        node.line = line;
        self.map(Some(node), patch, line, at)
    }

    /// A part of the tree that the patch says nothing about. kyaml walks it all the same: fields with nothing after
    /// the colon go, and of list elements that share a merge key the last stays, at the place of the first.
    fn alone(&self, mut dest: Node, at: Option<&Position>) -> Result<Option<Node>, Problem> {
        if !self.settles(&dest, at) {
            return Ok(Some(dest));
        }
        match &mut dest.kind {
            NodeKind::Scalar(_) => Ok(None),
            NodeKind::Mapping(_) => self.map(Some(dest), &Mapping::default(), 0, at),
            NodeKind::Sequence(list) => {
                let Some(keys) = at.and_then(Position::list_merge) else {
                    return Ok(Some(dest));
                };
                let old: Vec<Node> = list.iter().cloned().collect();
                if keys.is_empty() {
                    return Ok(Some(union(&[], &old)));
                }
                let element = at.map(Position::element);
                let settled = self.associative(old, &[], keys, element.as_ref())?;
                Ok(Some(settled.into_iter().collect::<Sequence>().into()))
            }
        }
    }

    /// True if [`Self::alone`] would change the node. Looking first keeps shared parts shared.
    fn settles(&self, node: &Node, at: Option<&Position>) -> bool {
        match &node.kind {
            NodeKind::Scalar(_) => is_empty_value(node),
            NodeKind::Mapping(map) => {
                let own = at.cloned().or_else(|| self.kind_of(node, map));
                map.iter().any(|entry| {
                    let position = self
                        .commented(Some(&entry.value), None)
                        .or_else(|| own.as_ref().map(|own| own.field(&entry.key)));
                    self.settles(&entry.value, position.as_ref())
                })
            }
            NodeKind::Sequence(list) => {
                let Some(keys) = at.and_then(Position::list_merge) else {
                    return false;
                };
                let element = at.map(Position::element);
                let mut seen = std::collections::BTreeSet::new();
                list.iter().any(|node| {
                    let tuple = if keys.is_empty() {
                        node.as_scalar().map(|scalar| vec![scalar.text.clone()])
                    } else {
                        let tuple = tuple_of(node, keys);
                        let whole = tuple.iter().all(|text| !text.is_empty());
                        whole.then_some(tuple)
                    };
                    tuple.is_none_or(|tuple| !seen.insert(tuple))
                        || self.settles(node, element.as_ref())
                })
            }
        }
    }

    /// The schema that a comment beside the field gives, in the tree or in the patch.
    fn commented(&self, dest: Option<&Node>, patch: Option<&Node>) -> Option<Position> {
        let [of_dest, of_patch] = self.comments;
        dest.and_then(|dest| of_dest.position(dest, self.schema))
            .or_else(|| patch.and_then(|patch| of_patch.position(patch, self.schema)))
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

    /// Merges two lists: by the merge keys of the schema, as a set, or by taking the list of the patch.
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
        if patch.is_empty() && old.is_empty() {
            return Ok(dest.or_else(|| Some(patch_node.clone())));
        }
        if keys.is_empty() {
            return Ok(Some(union(&patch, &old)));
        }
        let element = at.map(Position::element);
        // A list that meets nothing is put in place and then merged with itself.
        let old = if dest.is_none() && patch.iter().all(|node| !has_directive(node)) {
            patch.clone()
        } else {
            old
        };
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
        let tuples = tuples(patch, &dest, keys, self.budget)?;
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
                    self.budget.charge_steps(dest.len())?;
                    dest.retain(|element| !matches_tuple(element, tuple, keys));
                    dest_index = Index::of(&dest, keys);
                }
            }
        }
        for element in dest {
            // Lists with several keys, and elements without a key, are compared with all that is there so far.
            let whole = keys.len() == 1 && element.get(&keys[0]).is_some();
            self.budget
                .charge_steps(if whole { 1 } else { out.elements.len() })?;
            out.settle(element);
        }
        Ok(out.elements)
    }
}

/// Says in which field a merge failed.
fn within(key: &str, problem: Problem) -> Problem {
    let Problem::Transform(message) = problem else {
        return problem;
    };
    Problem::Transform(match message.strip_prefix("at `") {
        Some(inner) => format!("at `{key}.{inner}"),
        None => format!("at `{key}`: {message}"),
    })
}

/// The fields of both maps by name, which shows where two of them are one value; with each, what the patch has for it.
fn sorted_fields<'p>(fields: &Mapping, patch: &'p Mapping) -> BTreeMap<Text, Option<&'p Node>> {
    let mut all: BTreeMap<Text, Option<&Node>> = fields
        .iter()
        .map(|entry| (entry.key.clone(), None))
        .collect();
    for entry in patch {
        // A key that is no string in the patch may be one here.
        let key = match entry.key.strip_prefix(NOT_A_STRING) {
            Some(text) if fields.contains_key(text) => text.into(),
            _ => entry.key.clone(),
        };
        all.insert(key, Some(&entry.value));
    }
    all
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

/// True for a map with the key `$patch`.
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

/// The values of all merge keys of an element.
fn tuple_of(node: &Node, keys: &ListMerge) -> Tuple {
    keys.iter()
        .map(|key| key_text(node, key).unwrap_or_default())
        .collect()
}

/// The text of one key; nothing for a map or a list.
fn key_text(node: &Node, key: &str) -> Option<Text> {
    node.get(key)
        .and_then(Node::as_scalar)
        .map(|scalar| scalar.text.clone())
}

/// The distinct tuples of the patch, then of dest (with several keys: of those that only the patch has, first);
/// tuples that differ only in what one of them lacks become one.
fn tuples(
    patch: &[Node],
    dest: &[Node],
    keys: &ListMerge,
    budget: &Budget,
) -> Result<Vec<Tuple>, Problem> {
    let mut seen = std::collections::BTreeSet::new();
    let all = patch.iter().chain(dest).map(|node| tuple_of(node, keys));
    let mut tuples: Vec<Tuple> = all.filter(|tuple| seen.insert(tuple.clone())).collect();
    if keys.len() < 2
        || tuples
            .iter()
            .all(|tuple| tuple.iter().all(|text| !text.is_empty()))
    {
        return Ok(tuples);
    }
    budget.charge_steps(tuples.len().saturating_mul(tuples.len()))?;
    for i in 0..tuples.len() {
        for j in i + 1..tuples.len() {
            if let Some(joined) = joined(&tuples[i], &tuples[j]) {
                tuples[i].clone_from(&joined);
                tuples[j] = joined;
            }
        }
    }
    Ok(tuples)
}

/// Two tuples as one, if they have a value in common and none that differs.
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
    /// An index of a list.
    fn of(nodes: &[Node], keys: &ListMerge) -> Self {
        let mut by_first_key: BTreeMap<Text, Vec<usize>> = BTreeMap::new();
        for (position, node) in nodes.iter().enumerate() {
            let text = key_text(node, &keys[0]).unwrap_or_default();
            by_first_key.entry(text).or_default().push(position);
        }
        Self { by_first_key }
    }

    /// The first element that has the values of a tuple, by its position.
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
    /// An empty list. `used` are the positions of the keys that any element has.
    fn new(keys: &'k ListMerge, used: &[usize]) -> Self {
        Self {
            keys: used.iter().map(|&key| keys[key].as_str()).collect(),
            elements: Vec::new(),
            by_values: BTreeMap::new(),
        }
    }

    /// The values of the used keys of an element.
    fn values(&self, node: &Node) -> Tuple {
        self.keys
            .iter()
            .map(|key| key_text(node, key).unwrap_or_default())
            .collect()
    }

    /// Puts an element in the place of one with the same values, or at the end.
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

    /// Removes the elements whose values of these keys are those of an element.
    fn remove_equal(&mut self, element: &Node, keys: &[&str]) {
        self.elements.retain(|other| {
            !keys
                .iter()
                .all(|key| key_text(other, key) == key_text(element, key))
                || keys.is_empty()
        });
    }
}

/// What a replacement created has no type yet; after a strategic merge it is a string.
fn settle_untyped(node: &mut Node) {
    if !has_untyped(node) {
        return;
    }
    match &mut node.kind {
        NodeKind::Scalar(scalar) => scalar.tag = Tag::Str,
        NodeKind::Sequence(list) => list.iter_mut().for_each(settle_untyped),
        NodeKind::Mapping(map) => map.iter_mut().for_each(|(_, value)| settle_untyped(value)),
    }
}

/// True if a replacement created something inside.
fn has_untyped(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Scalar(scalar) => scalar.tag == Tag::Untyped,
        NodeKind::Sequence(list) => list.iter().any(has_untyped),
        NodeKind::Mapping(map) => map.iter().any(|entry| has_untyped(&entry.value)),
    }
}

/// True for a key without a value: `a:`.
fn is_empty_value(node: &Node) -> bool {
    node.is_null()
        && node
            .as_scalar()
            .is_some_and(|scalar| scalar.text.is_empty())
}

/// Refuses a map for a list and the like, with the names of kyaml's node kinds, which kustomize prints.
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

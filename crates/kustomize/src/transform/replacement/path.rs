//! Pure: field paths with dots: `spec.containers.[name=web].image`, `metadata.annotations.[a.b/c]`, `items.*`.

use goyaml::{Mapping, Node, NodeKind, Sequence};
use regex::Regex;

use super::structured;
use crate::budget::{Budget, Cost, NODE_BYTES, as_u64};
use crate::error::Problem;
use crate::selector::compile_regex;

/// A parsed path.
#[derive(Debug, Clone)]
pub(crate) struct FieldPathSegments {
    /// The path as it is written, for messages.
    text: String,
    /// Its parts.
    segments: Vec<Segment>,
}

/// One part of a path.
#[derive(Debug, Clone)]
enum Segment {
    /// A key, or an index of a list.
    Key(String),
    /// `[key=value]`, or `[=value]` for a list of scalars; the value is a regular expression.
    Match {
        key: String,
        value: String,
        regex: Option<Regex>,
    },
    /// `*`
    Every,
}

impl FieldPathSegments {
    /// Splits at dots; `\.` is a dot within a key, and brackets may hold dots.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = vec![String::new()];
        let mut depth = 0_usize;
        let mut characters = text.chars().peekable();
        let push = |parts: &mut Vec<String>, character| {
            parts
                .iter_mut()
                .last()
                .into_iter()
                .for_each(|part| part.push(character));
        };
        while let Some(character) = characters.next() {
            match character {
                '\\' if characters.peek() == Some(&'.') => {
                    characters.next();
                    push(&mut parts, '.');
                }
                '.' if depth == 0 => parts.push(String::new()),
                '[' => {
                    depth += 1;
                    push(&mut parts, character);
                }
                ']' => {
                    depth = depth.saturating_sub(1);
                    push(&mut parts, character);
                }
                _ => push(&mut parts, character),
            }
        }
        let segments = parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(Segment::parse)
            .collect();
        Self {
            text: text.to_owned(),
            segments,
        }
    }

    /// The path as it is written.
    pub(crate) fn show(&self) -> &str {
        &self.text
    }

    /// How many levels the path goes down.
    pub(crate) fn levels(&self) -> usize {
        self.segments.len()
    }
}

impl Segment {
    /// Reads one part: `[key=value]`, `*`, or a key.
    fn parse(part: String) -> Self {
        if part == "*" {
            return Self::Every;
        }
        let Some(inner) = part
            .strip_prefix('[')
            .and_then(|part| part.strip_suffix(']'))
        else {
            return Self::Key(part);
        };
        match inner.split_once('=') {
            Some((key, value)) => {
                let (key, value) = (key.to_owned(), value.to_owned());
                Self::Match {
                    regex: compile_regex(&value).ok(),
                    key,
                    value,
                }
            }
            None => Self::Key(inner.to_owned()),
        }
    }

    /// True if an element of a list has the value that a part asks for.
    fn matches(&self, element: &Node) -> bool {
        let Self::Match { key, value, regex } = self else {
            return false;
        };
        let scalar = if key.is_empty() {
            element.as_scalar()
        } else {
            element.get(key).and_then(Node::as_scalar)
        };
        scalar.is_some_and(|scalar| {
            regex.as_ref().map_or(*scalar.text == **value, |regex| {
                regex.is_match(&scalar.text)
            })
        })
    }
}

/// The node at a path; the first one that a `[key=value]` finds. `-` is the last element of a list.
pub(crate) fn lookup<'n>(node: &'n Node, path: &FieldPathSegments) -> Option<&'n Node> {
    path.segments
        .iter()
        .try_fold(node, |node, segment| match (segment, &node.kind) {
            (Segment::Key(key), NodeKind::Mapping(map)) => map.get(key),
            (Segment::Key(key), NodeKind::Sequence(list)) if key == "-" => list.iter().last(),
            (Segment::Key(key), NodeKind::Sequence(list)) => list.get(key.parse().ok()?),
            (Segment::Match { .. }, NodeKind::Sequence(list)) => {
                list.iter().find(|element| segment.matches(element))
            }
            _ => None,
        })
}

/// A visit of the fields of a path.
pub(crate) struct Update<'u> {
    /// The path to follow.
    pub(crate) path: &'u FieldPathSegments,
    /// Missing fields are made on the way.
    pub(crate) create: bool,
    /// What will be written, whose kind decides which kind of field is made.
    pub(crate) value: &'u Node,
    /// What the build may still use.
    pub(crate) budget: &'u Budget,
}

/// Changes one field.
type Visit<'v> = &'v mut dyn FnMut(&mut Node) -> Result<(), Problem>;

impl Update<'_> {
    /// Visits each field of the path. False if there was none.
    pub(crate) fn run(&self, node: &mut Node, visit: Visit<'_>) -> Result<bool, Problem> {
        self.step(node, &self.path.segments, visit)
    }

    /// Follows the path from one of its parts on, and calls the function for each field at its end.
    fn step(
        &self,
        node: &mut Node,
        segments: &[Segment],
        visit: Visit<'_>,
    ) -> Result<bool, Problem> {
        let Some((first, rest)) = segments.split_first() else {
            visit(node)?;
            return Ok(true);
        };
        self.budget.charge(Cost::Steps, 1)?;
        if self.create && node.is_null() {
            node.kind = match first {
                Segment::Match { .. } => NodeKind::Sequence(Sequence::default()),
                Segment::Key(key) if key.parse::<usize>().is_ok() => {
                    NodeKind::Sequence(Sequence::default())
                }
                _ => NodeKind::Mapping(Mapping::default()),
            };
        }
        if node.is_null() {
            return Ok(false);
        }
        match &mut node.kind {
            // The path goes on below a text: it holds YAML or JSON of its own.
            NodeKind::Scalar(scalar) => {
                let text = scalar.text.clone();
                let mut found = false;
                let new = structured::rewrite(&text, self.budget, &mut |inner| {
                    found = self.step(inner, segments, visit)?;
                    Ok(())
                })?;
                if found {
                    let line = node.line;
                    self.budget.resize(as_u64(text.len()), as_u64(new.len()))?;
                    *node = Node::string(new);
                    node.line = line;
                }
                Ok(found)
            }
            NodeKind::Mapping(map) => self.fields(map, first, rest, visit),
            NodeKind::Sequence(list) => self.elements(list, first, rest, visit),
        }
    }

    /// Follows a key into a map, which is created if the options say so.
    fn fields(
        &self,
        map: &mut Mapping,
        first: &Segment,
        rest: &[Segment],
        visit: Visit<'_>,
    ) -> Result<bool, Problem> {
        match first {
            Segment::Key(key) => {
                if self.create && !map.contains_key(key) {
                    map.insert(key.as_str(), self.made(key, rest)?);
                }
                map.get_mut(key)
                    .map_or(Ok(false), |field| self.step(field, rest, visit))
            }
            Segment::Every => {
                let mut found = false;
                for (_, field) in map.iter_mut() {
                    found |= self.step(field, rest, visit)?;
                }
                Ok(found)
            }
            Segment::Match { .. } => Ok(false),
        }
    }

    /// Follows a part into a list: an index, a match, or all elements. `-` is behind the last.
    fn elements(
        &self,
        list: &mut Sequence,
        first: &Segment,
        rest: &[Segment],
        visit: Visit<'_>,
    ) -> Result<bool, Problem> {
        let mut found = false;
        match first {
            Segment::Key(key) => {
                let index: usize = key.parse().map_err(|_| {
                    Problem::Transform(format!(
                        "`{key}` in `{}` is no index of a list",
                        self.path.show()
                    ))
                })?;
                if self.create && index == list.len() {
                    let made = self.made("", rest)?;
                    list.make_mut().push(made);
                }
                if let Some(element) = list.iter_mut().nth(index) {
                    found = self.step(element, rest, visit)?;
                }
            }
            Segment::Every => {
                for element in list.iter_mut() {
                    found |= self.step(element, rest, visit)?;
                }
            }
            Segment::Match { key, value, .. } => {
                self.budget.charge_steps(list.len())?;
                if self.create && !list.iter().any(|element| first.matches(element)) {
                    self.budget.charge(
                        Cost::Bytes,
                        2 * NODE_BYTES + as_u64(key.len() + value.len()),
                    )?;
                    let element = if key.is_empty() {
                        Node::plain(value.as_str())
                    } else {
                        [(key.as_str(), Node::plain(value.as_str()))]
                            .into_iter()
                            .collect::<Mapping>()
                            .into()
                    };
                    list.make_mut().push(element);
                }
                for element in list.iter_mut().filter(|element| first.matches(element)) {
                    found |= self.step(element, rest, visit)?;
                }
            }
        }
        Ok(found)
    }

    /// A field that was not there.
    fn made(&self, key: &str, rest: &[Segment]) -> Result<Node, Problem> {
        self.budget
            .charge(Cost::Bytes, NODE_BYTES + as_u64(key.len()))?;
        Ok(if rest.is_empty() {
            blank(self.value)
        } else {
            Node::null()
        })
    }
}

/// A new field, of the kind of what is to be written.
fn blank(value: &Node) -> Node {
    match &value.kind {
        NodeKind::Scalar(_) => Node::untyped(""),
        NodeKind::Sequence(_) => Node::empty_sequence(),
        NodeKind::Mapping(_) => Node::empty_mapping(),
    }
}

//! Pure: text to nodes.
//!
//! The text is split into documents, each is parsed into events, and the events are put together:
//! types settled, aliases and merge keys expanded, duplicate keys refused.

use std::borrow::Cow;
use std::collections::BTreeMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle};

use crate::error::ReadError;
use crate::node::{Entry, Mapping, NOT_A_STRING, Node, NodeKind, Sequence};
use crate::number::format_float;
use crate::scalar::{Meaning, Scalar, Tag, Text, resolve, yaml11_bool};

/// How to read. The default is how kustomize reads resources.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions {
    /// Which words are booleans.
    pub booleans: Booleans,
    /// What to do with a key that stands twice in a map.
    pub duplicate_keys: DuplicateKeys,
    /// What to do with a key that is no string.
    pub keys: Keys,
    /// How much is too much.
    pub limits: Limits,
}

impl ReadOptions {
    /// As sigs.k8s.io/yaml reads, within limits for a text that a template made.
    pub fn sigs() -> Self {
        Self {
            booleans: Booleans::Yaml11,
            duplicate_keys: DuplicateKeys::LastWins,
            keys: Keys::AsJson,
            limits: Limits {
                nodes: 200_000,
                depth: 100,
                ..Limits::default()
            },
        }
    }
}

/// Which words are booleans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Booleans {
    /// `true` and `false` alone, as go-yaml v3 reads.
    #[default]
    Yaml12,
    /// `yes`, `no`, `on`, `off`, `y` and `n` too, as sigs.k8s.io/yaml reads; dates are texts there.
    Yaml11,
}

/// What to do with a key that stands twice in a map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DuplicateKeys {
    /// An error that names both lines.
    #[default]
    Refuse,
    /// The later value counts.
    LastWins,
}

/// What to do with a key that is no string (`1:`, `true:`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keys {
    /// An error.
    #[default]
    StringsOnly,
    /// It becomes the text that sigs.k8s.io/yaml makes of it on the way to JSON: `on:` is `true`, `0x1F:` is `31`.
    AsJson,
    /// Its text is the key, after [`NOT_A_STRING`]: who merges the map into another may find it there as a string;
    /// printing it is an error.
    Marked,
}

/// How much is too much, so that a small text cannot become a large tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text.
    pub bytes: usize,
    /// Nodes of one document, with everything its aliases expand to.
    pub nodes: usize,
    /// Levels of nesting, with everything its aliases expand to.
    pub depth: usize,
    /// Bytes of text that the aliases of all documents expand to, beyond what is written.
    pub expanded_bytes: usize,
    /// Keys that merge keys (`<<`) copy into the maps of all documents.
    pub merged_keys: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            nodes: 2_000_000,
            depth: 200,
            expanded_bytes: 16 << 20,
            merged_keys: 200_000,
        }
    }
}

/// Reads all documents of a text. Empty ones are left out.
pub fn read(text: &str, options: &ReadOptions) -> Result<Vec<Node>, ReadError> {
    let limit = options.limits.bytes;
    if text.len() > limit {
        return Err(ReadError::Limit {
            line: 1,
            what: "bytes",
            limit,
        });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    };
    let mut documents = Vec::new();
    let mut expanded = Expanded::default();
    for (first_line, document) in split_documents(&text)? {
        documents.extend(read_document(document, first_line, options, &mut expanded)?);
    }
    Ok(documents)
}

/// Splits at lines that begin with `---`, as kustomize does before it parses.
/// Each part comes with the number of lines before it.
pub fn split_documents(text: &str) -> Result<Vec<(usize, &str)>, ReadError> {
    let mut parts = Vec::new();
    let (mut start, mut first_line) = (0, 0);
    let (mut at, mut line) = (0, 0);
    for text_line in text.split_inclusive('\n') {
        if let Some(rest) = text_line.strip_prefix("---") {
            let rest = rest.trim();
            if !(rest.is_empty() || rest.starts_with('#')) {
                let text = text_line.trim_end().chars().take(80).collect();
                return Err(ReadError::Separator {
                    line: line + 1,
                    text,
                });
            }
            parts.push((first_line, text.get(start..at).unwrap_or_default()));
            start = at + text_line.len();
            first_line = line + 1;
        }
        at += text_line.len();
        line += 1;
    }
    parts.push((first_line, text.get(start..).unwrap_or_default()));
    Ok(parts)
}

fn read_document(
    text: &str,
    first_line: usize,
    options: &ReadOptions,
    expanded: &mut Expanded,
) -> Result<Option<Node>, ReadError> {
    if text
        .lines()
        .all(|line| line.is_empty() || line.starts_with('#'))
    {
        return Ok(None);
    }
    let mut composer = Composer::new(first_line, options, expanded);
    let mut parser = Parser::new_from_str_with_options(text, parser_options(options.limits));
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| ReadError::Syntax {
            line: first_line + error.marker().line(),
            message: error.info().clone(),
        })?;
        if matches!(event, Event::DocumentEnd) {
            break;
        }
        composer.take(event, &span)?;
    }
    // A document of comments alone is no document; an explicit `null` is one.
    let root = composer.root;
    Ok(root
        .filter(|node| !matches!(&node.kind, NodeKind::Scalar(scalar) if scalar.tag == Tag::Null && scalar.text.is_empty())))
}

pub(crate) fn parser_options(limits: Limits) -> Options {
    let mut options = Options::default();
    options.flow_nesting_limit = limits.depth;
    options.block_nesting_limit = limits.depth;
    // libyaml, and so Go, adds no line break to a block scalar that ends the text without one.
    options.block_scalar_eof_without_line_feed = true;
    // Comments are of no use here, and the parser bounds how many it keeps while it looks ahead.
    options.set_emit_comments(false);
    options
}

/// The size of a node with all below it.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: usize,
    depth: usize,
    /// Bytes of text.
    bytes: usize,
}

/// What aliases and merge keys brought so far, in all documents of a text.
#[derive(Debug, Clone, Copy, Default)]
struct Expanded {
    nodes: usize,
    bytes: usize,
    merged_keys: usize,
}

/// Puts events together. Open collections stand on a stack, so that depth costs no call stack.
struct Composer<'o> {
    options: &'o ReadOptions,
    first_line: usize,
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, Size)>,
    root: Option<Node>,
    nodes: usize,
    expanded: &'o mut Expanded,
}

/// A collection that is not closed yet.
struct Open {
    bracketed: bool,
    line: usize,
    anchor: usize,
    size: Size,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping(Fields),
}

#[derive(Default)]
struct Fields {
    entries: Vec<Entry>,
    /// The line of each entry's key.
    lines: Vec<usize>,
    /// Where each key stands, once there are too many to look through.
    index: BTreeMap<Text, usize>,
    /// The values of merge keys (`<<`), in order.
    merges: Vec<Node>,
    key: Option<Key>,
}

enum Key {
    Text(Text, usize),
    Merge,
}

/// Up to this many keys, looking through all is faster than an index.
const INDEX_FROM: usize = 24;

impl<'o> Composer<'o> {
    fn new(first_line: usize, options: &'o ReadOptions, expanded: &'o mut Expanded) -> Self {
        Self {
            options,
            first_line,
            open: Vec::new(),
            anchors: BTreeMap::new(),
            root: None,
            nodes: 0,
            expanded,
        }
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), ReadError> {
        let line = self.first_line + span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map(|tag| (tag.handle(), tag.suffix()));
                // The parser says `~` where nothing stands.
                let is_nothing = style == ScalarStyle::Plain && span.start == span.end;
                let text = if is_nothing { Cow::Borrowed("") } else { text };
                let text_bytes = text.len();
                let scalar = self.scalar(text, style, tag);
                let is_merge = style == ScalarStyle::Plain && &*scalar.text == "<<";
                let node = Node {
                    line: to_line(line),
                    kind: NodeKind::Scalar(scalar),
                };
                let size = Size {
                    nodes: 1,
                    depth: 1,
                    bytes: text_bytes,
                };
                self.place(node, size, anchor, line, is_merge)
            }
            Event::SequenceStart(style, anchor, _) => {
                self.begin(line, anchor, style, Content::Sequence(Vec::new()))
            }
            Event::MappingStart(style, anchor, _) => {
                self.begin(line, anchor, style, Content::Mapping(Fields::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => {
                let (node, size) = self
                    .anchors
                    .get(&id)
                    .cloned()
                    .ok_or(ReadError::Recursion { line })?;
                self.expand(size, line)?;
                self.place(node, size, 0, line, false)
            }
            _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        line: usize,
        anchor: usize,
        style: StructureStyle,
        content: Content,
    ) -> Result<(), ReadError> {
        if let Some(Open {
            content: Content::Mapping(fields),
            ..
        }) = self.open.last()
            && fields.key.is_none()
        {
            return Err(ReadError::KeyType {
                line,
                key: String::new(),
            });
        }
        self.open.push(Open {
            bracketed: style == StructureStyle::Flow,
            line,
            anchor,
            size: Size {
                nodes: 1,
                depth: 0,
                bytes: 0,
            },
            content,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), ReadError> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let kind = match open.content {
            Content::Sequence(nodes) => NodeKind::Sequence(nodes.into_iter().collect()),
            Content::Mapping(fields) => {
                self.count_merged(&fields, open.line)?;
                NodeKind::Mapping(fields.close()?)
            }
        };
        let size = Size {
            nodes: open.size.nodes,
            depth: open.size.depth + 1,
            bytes: open.size.bytes,
        };
        let node = Node {
            line: to_line(open.line),
            kind,
        };
        self.place(node, size, open.anchor, open.line, false)
    }

    /// Puts a complete node where it belongs: as key, value, element or root.
    fn place(
        &mut self,
        node: Node,
        size: Size,
        anchor: usize,
        line: usize,
        is_merge: bool,
    ) -> Result<(), ReadError> {
        self.check_size(size, line)?;
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let options = self.options;
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return Ok(());
        };
        open.size.nodes = open.size.nodes.saturating_add(size.nodes);
        open.size.bytes = open.size.bytes.saturating_add(size.bytes);
        open.size.depth = open.size.depth.max(size.depth);
        match &mut open.content {
            Content::Sequence(nodes) => {
                nodes.push(node);
                Ok(())
            }
            Content::Mapping(fields) if fields.key.is_none() => {
                fields.key = Some(if is_merge {
                    Key::Merge
                } else {
                    Key::Text(key_text(&node, line, options)?, line)
                });
                Ok(())
            }
            Content::Mapping(fields) => fields.insert(node, line, options.duplicate_keys),
        }
    }

    /// Counts what an alias stands for. Nodes are shared, but whoever prints or decodes them copies them.
    fn expand(&mut self, size: Size, line: usize) -> Result<(), ReadError> {
        let limits = self.options.limits;
        let expanded = &mut *self.expanded;
        expanded.nodes = expanded.nodes.saturating_add(size.nodes);
        expanded.bytes = expanded.bytes.saturating_add(size.bytes);
        let (what, limit) = if expanded.nodes > limits.nodes {
            ("nodes", limits.nodes)
        } else if expanded.bytes > limits.expanded_bytes {
            ("bytes that aliases stand for", limits.expanded_bytes)
        } else {
            return Ok(());
        };
        Err(ReadError::Limit { line, what, limit })
    }

    /// Counts the keys that merge keys copy, before they are copied.
    fn count_merged(&mut self, fields: &Fields, line: usize) -> Result<(), ReadError> {
        let keys = fields.merges.iter().filter_map(Node::as_mapping);
        let keys: usize = keys.map(Mapping::len).sum();
        self.expanded.merged_keys = self.expanded.merged_keys.saturating_add(keys);
        let limit = self.options.limits.merged_keys;
        if self.expanded.merged_keys <= limit {
            return Ok(());
        }
        Err(ReadError::Limit {
            line,
            what: "keys that `<<` merges",
            limit,
        })
    }

    fn check_size(&mut self, size: Size, line: usize) -> Result<(), ReadError> {
        let limits = self.options.limits;
        // Leaves and aliases add what they bring; a closed collection has been counted by its parts.
        self.nodes = self.nodes.saturating_add(usize::from(size.depth <= 1));
        if self.nodes > limits.nodes || size.nodes > limits.nodes {
            return Err(ReadError::Limit {
                line,
                what: "nodes",
                limit: limits.nodes,
            });
        }
        if size.depth + self.open.len() > limits.depth {
            return Err(ReadError::Limit {
                line,
                what: "levels of nesting",
                limit: limits.depth,
            });
        }
        Ok(())
    }

    fn scalar(&self, text: Cow<'_, str>, style: ScalarStyle, tag: Option<(&str, &str)>) -> Scalar {
        let tag = match tag {
            Some(("tag:yaml.org,2002:" | "!!", suffix)) => explicit_tag(suffix, &text),
            Some(_) => Tag::Str,
            None if style != ScalarStyle::Plain => Tag::Str,
            None => self.plain_tag(&text),
        };
        // sigs.k8s.io/yaml takes a time for a text where no type is asked for (decode.go of go-yaml v2).
        let tag = match tag {
            Tag::Timestamp if self.options.booleans == Booleans::Yaml11 => Tag::Str,
            tag => tag,
        };
        let mut scalar = Scalar::new(text, tag);
        scalar.folded = style == ScalarStyle::Folded;
        scalar.bracketed = self.open.last().is_some_and(|open| open.bracketed);
        scalar
    }

    fn plain_tag(&self, text: &str) -> Tag {
        match resolve(text) {
            Tag::Str
                if self.options.booleans == Booleans::Yaml11 && yaml11_bool(text).is_some() =>
            {
                Tag::Bool
            }
            tag => tag,
        }
    }
}

fn explicit_tag(suffix: &str, text: &str) -> Tag {
    match suffix {
        "null" => Tag::Null,
        "bool" => Tag::Bool,
        "int" => Tag::Int,
        "float" => Tag::Float,
        "timestamp" => Tag::Timestamp,
        "binary" => Tag::Binary,
        "str" => Tag::Str,
        _ => resolve(text),
    }
}

fn key_text(node: &Node, line: usize, options: &ReadOptions) -> Result<Text, ReadError> {
    let Some(scalar) = node.as_scalar() else {
        return Err(ReadError::KeyType {
            line,
            key: String::new(),
        });
    };
    match scalar.tag {
        Tag::Str | Tag::Binary => Ok(scalar.text.clone()),
        _ if options.keys == Keys::AsJson => json_key(scalar, line),
        _ if options.keys == Keys::Marked => Ok(format!("{NOT_A_STRING}{}", scalar.text).into()),
        _ => Err(ReadError::KeyType {
            line,
            key: scalar.text.to_string(),
        }),
    }
}

fn json_key(scalar: &Scalar, line: usize) -> Result<Text, ReadError> {
    match scalar.meaning() {
        Meaning::Bool(value) => Ok(value.to_string().into()),
        Meaning::Int(value) => Ok(value.to_string().into()),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "sigs.k8s.io/yaml formats keys as 32-bit floats"
        )]
        Meaning::Float(value) => Ok(format_float(f64::from(value as f32)).into()),
        Meaning::Str(text) => Ok(text.into()),
        Meaning::Null | Meaning::BadBinary | Meaning::Mismatch => Err(ReadError::KeyType {
            line,
            key: scalar.text.to_string(),
        }),
    }
}

fn to_line(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

impl Fields {
    fn insert(
        &mut self,
        value: Node,
        line: usize,
        duplicates: DuplicateKeys,
    ) -> Result<(), ReadError> {
        let Some(Key::Text(key, key_line)) = self.key.take() else {
            return self.merge(value, line);
        };
        match self.position(&key) {
            None => {
                if self.entries.len() >= INDEX_FROM {
                    self.index.insert(key.clone(), self.entries.len());
                }
                self.entries.push(Entry { key, value });
                self.lines.push(key_line);
                Ok(())
            }
            Some(at) if duplicates == DuplicateKeys::LastWins => {
                self.entries[at].value = value;
                Ok(())
            }
            Some(at) => Err(ReadError::DuplicateKey {
                line: key_line,
                first: self.lines[at],
                key: key.to_string(),
            }),
        }
    }

    fn position(&self, key: &str) -> Option<usize> {
        let unindexed = self.entries.iter().take(INDEX_FROM);
        unindexed
            .into_iter()
            .position(|entry| &*entry.key == key)
            .or_else(|| self.index.get(key).copied())
    }

    fn merge(&mut self, value: Node, line: usize) -> Result<(), ReadError> {
        match &value.kind {
            NodeKind::Mapping(_) => self.merges.push(value),
            NodeKind::Sequence(maps) if maps.iter().all(|map| map.as_mapping().is_some()) => {
                self.merges.extend(maps.iter().cloned());
            }
            _ => return Err(ReadError::Merge { line }),
        }
        Ok(())
    }

    /// The map's own keys win over merged ones, and of several merged maps the first wins.
    fn close(mut self) -> Result<Mapping, ReadError> {
        for merged in std::mem::take(&mut self.merges) {
            for entry in merged.as_mapping().into_iter().flatten() {
                if self.position(&entry.key).is_none() {
                    let line = entry.value.line as usize;
                    self.key = Some(Key::Text(entry.key.clone(), line));
                    let mut value = entry.value.clone();
                    if let NodeKind::Scalar(scalar) = &mut value.kind {
                        scalar.bracketed = false;
                    }
                    self.insert(value, line, DuplicateKeys::Refuse)?;
                }
            }
        }
        Ok(Mapping::from_distinct(self.entries))
    }
}

impl From<Vec<Node>> for Sequence {
    fn from(nodes: Vec<Node>) -> Self {
        nodes.into_iter().collect()
    }
}

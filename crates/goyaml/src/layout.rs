//! Pure: how a text is laid out, so that a tree that was read from it and changed can be written in its style.
//!
//! kustomize changes one value of a YAML text that stands in a field, and writes the text with go-yaml v3, which keeps
//! comments, the order of keys, and the style of each scalar and collection; it indents by two and drops empty lines.
//! [`Layout::read`] remembers what a [`Node`] does not know, and [`Layout::print`] writes a tree by it.
//!
//! Anchors, aliases, tags, several documents and quoted texts of several lines have no layout here.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

use crate::node::{Node, NodeKind};
use crate::print::{PlainForm, quoted, single_quoted};
use crate::read::{Limits, parser_options};
use crate::scalar::{Scalar, Tag, resolve};

/// The styles and comments of one document.
#[derive(Debug)]
pub struct Layout {
    root: Styled,
    /// Comments with a line of their own, by line.
    comments: BTreeMap<usize, Comment>,
    /// Comments behind something else, by line.
    trailing: BTreeMap<usize, String>,
    /// The lines that are empty.
    empty_lines: Vec<bool>,
}

#[derive(Debug)]
struct Comment {
    column: usize,
    text: String,
}

/// A node as it was written.
#[derive(Debug)]
struct Styled {
    column: usize,
    first_line: usize,
    last_line: usize,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    Scalar(ScalarStyle),
    Sequence(Flow, Vec<Styled>),
    /// The keys with their styles, and the values.
    Mapping(Flow, Vec<(String, Styled, Styled)>),
}

/// Whether a collection stands in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Brackets,
    Block,
}

impl Layout {
    /// Reads the layout of a text; nothing if it has something that none is kept for.
    pub fn read(text: &str) -> Option<Self> {
        let mut builder = Builder::default();
        let mut covered = vec![false; text.len()];
        let parser = Parser::new_from_str_with_options(text, parser_options(Limits::default()));
        for event in parser {
            let (event, span) = event.ok()?;
            if matches!(event, Event::Scalar(..)) {
                covered.get_mut(span.byte_range()?)?.fill(true);
            }
            builder.take(&event, &span)?;
        }
        let root = builder.root?;
        let mut layout = Self {
            root,
            comments: BTreeMap::new(),
            trailing: BTreeMap::new(),
            empty_lines: text.lines().map(|line| line.trim().is_empty()).collect(),
        };
        layout.take_comments(text, &covered);
        Some(layout)
    }

    fn take_comments(&mut self, text: &str, covered: &[bool]) {
        let mut start = 0;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let is_free = |at: usize| !covered.get(start + at).copied().unwrap_or_default();
            let after_blank = |before: &str| before.ends_with([' ', '\t']) || before.is_empty();
            let found = line
                .match_indices('#')
                .filter_map(|(at, _)| line.split_at_checked(at))
                .find(|(before, _)| is_free(before.len()) && after_blank(before));
            if let Some((before, after)) = found {
                let at = before.len();
                let comment = after.trim_end().to_owned();
                if before.trim().is_empty() {
                    let comment = Comment {
                        column: at,
                        text: comment,
                    };
                    self.comments.insert(index + 1, comment);
                } else {
                    self.trailing.insert(index + 1, comment);
                }
            }
            start += line.len();
        }
    }

    /// Writes a tree in this layout. What the layout does not know is written as a new part: block collections, texts
    /// without quotes where they need none.
    pub fn print(&self, node: &Node) -> String {
        let mut writer = Writer {
            layout: self,
            out: String::new(),
            next_comment: 0,
            indents: BTreeMap::new(),
            in_head: false,
        };
        writer.block(node, Some(&self.root), 0, Place::Line);
        writer.rest_of_comments();
        writer.out
    }
}

/// Puts events together.
#[derive(Default)]
struct Builder {
    open: Vec<(usize, usize, Open)>,
    root: Option<Styled>,
}

enum Open {
    Sequence(Flow, Vec<Styled>),
    Mapping(
        Flow,
        Vec<(String, Styled, Styled)>,
        Option<(String, Styled)>,
    ),
}

fn flow(style: StructureStyle) -> Flow {
    match style {
        StructureStyle::Flow => Flow::Brackets,
        StructureStyle::Block => Flow::Block,
    }
}

impl Builder {
    fn take(&mut self, event: &Event<'_>, span: &Span) -> Option<()> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, 0, None) => {
                let is_quoted =
                    matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
                if is_quoted && text.contains('\n') {
                    return None;
                }
                let styled = Styled {
                    column: span.start.col(),
                    first_line: line,
                    last_line: span.end.line(),
                    shape: Shape::Scalar(*style),
                };
                self.place(text, styled)
            }
            Event::SequenceStart(style, 0, None) => {
                self.open.push((
                    line,
                    span.start.col(),
                    Open::Sequence(flow(*style), Vec::new()),
                ));
                Some(())
            }
            Event::MappingStart(style, 0, None) => {
                let open = Open::Mapping(flow(*style), Vec::new(), None);
                self.open.push((line, span.start.col(), open));
                Some(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (first_line, column, open) = self.open.pop()?;
                let shape = match open {
                    Open::Sequence(flow, items) => Shape::Sequence(flow, items),
                    Open::Mapping(flow, entries, _) => Shape::Mapping(flow, entries),
                };
                let styled = Styled {
                    column,
                    first_line,
                    last_line: span.start.line(),
                    shape,
                };
                self.place("", styled)
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Some(()),
            Event::DocumentStart(..) if self.root.is_none() => Some(()),
            _ => None,
        }
    }

    fn place(&mut self, text: &str, styled: Styled) -> Option<()> {
        match self.open.last_mut() {
            None => {
                self.root = Some(styled);
            }
            Some((_, _, Open::Sequence(_, items))) => items.push(styled),
            Some((_, _, Open::Mapping(_, entries, key))) => match key.take() {
                None => *key = Some((text.to_owned(), styled)),
                Some((name, key)) if name != "<<" => entries.push((name, key, styled)),
                Some(_) => return None,
            },
        }
        Some(())
    }
}

/// Where a node begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the start of a line, whose indent is to be written.
    Line,
    /// After `- `.
    Inline,
}

struct Writer<'l> {
    layout: &'l Layout,
    out: String,
    /// The line up to which comments were written.
    next_comment: usize,
    /// The indent of what was written last from each column.
    indents: BTreeMap<usize, usize>,
    /// Nothing but comments was written so far.
    in_head: bool,
}

impl Writer<'_> {
    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    /// The comments above a line, at the indent of what follows; one that is further in belongs to what was written
    /// before. go-yaml leaves an empty line after a comment that ends a part, where the next part has its indent.
    fn comments_above(&mut self, line: usize, column: usize, indent: usize) {
        let layout = self.layout;
        let above = layout
            .comments
            .range(self.next_comment..line.max(self.next_comment));
        let is_empty = |line: usize| {
            let at = line.checked_sub(1);
            at.is_none_or(|at| layout.empty_lines.get(at).copied().unwrap_or_default())
        };
        for (&at, comment) in above {
            let is_first = self.out.is_empty() || self.in_head;
            self.in_head = is_first;
            let inner = self.indents.get(&comment.column).copied();
            let inner = inner.filter(|_| comment.column > column);
            self.indent(inner.unwrap_or(indent));
            self.out.push_str(&comment.text);
            self.out.push('\n');
            let block_start = (1..=at)
                .rev()
                .find(|line| !layout.comments.contains_key(line))
                .unwrap_or_default();
            let is_block_end = !layout.comments.contains_key(&(at + 1));
            let ends_a_part = match inner {
                Some(inner) => inner == indent,
                None => is_empty(at + 1) && (is_first || !is_empty(block_start)),
            };
            if is_block_end && ends_a_part {
                self.out.push('\n');
            }
        }
        self.in_head = false;
        self.next_comment = self.next_comment.max(line);
        self.indents.insert(column, indent);
    }

    fn rest_of_comments(&mut self) {
        let layout = self.layout;
        for (&at, comment) in layout.comments.range(self.next_comment..) {
            let before = at.checked_sub(2).and_then(|at| layout.empty_lines.get(at));
            if before.copied().unwrap_or_default() {
                self.out.push('\n');
            }
            self.out.push_str(&comment.text);
            self.out.push('\n');
        }
    }

    fn end_line(&mut self, line: Option<usize>) {
        if let Some(comment) = line.and_then(|line| self.layout.trailing.get(&line)) {
            self.out.push(' ');
            self.out.push_str(comment);
        }
        self.out.push('\n');
    }

    /// A node in block context, with the line break after it.
    fn block(&mut self, node: &Node, styled: Option<&Styled>, indent: usize, place: Place) {
        match &node.kind {
            NodeKind::Mapping(map) if !map.is_empty() && !is_flow(styled) => {
                let mut place = place;
                for entry in map {
                    let old = styled.and_then(|styled| styled.entry(&entry.key));
                    let key_style = old.and_then(|(key, _)| key.scalar_style());
                    if let Some((key, _)) = old.filter(|_| place == Place::Line) {
                        self.comments_above(key.first_line, key.column, indent);
                    }
                    if place == Place::Line {
                        self.indent(indent);
                    } else if let Some((key, _)) = old {
                        self.indents.insert(key.column, indent);
                    }
                    place = Place::Line;
                    let key = Scalar::new(entry.key.clone(), Tag::Str);
                    self.inline_scalar(&key, key_style, Flow::Block);
                    self.out.push(':');
                    self.value(&entry.value, old, indent);
                }
            }
            NodeKind::Sequence(list) if !list.is_empty() && !is_flow(styled) => {
                let mut place = place;
                for (index, element) in list.iter().enumerate() {
                    let old = styled.and_then(|styled| styled.item(index));
                    if let Some(old) = old.filter(|_| place == Place::Line) {
                        let column = styled.map_or(old.column, |list| list.column);
                        self.comments_above(old.first_line, column, indent);
                    }
                    if place == Place::Line {
                        self.indent(indent);
                    }
                    place = Place::Line;
                    self.out.push_str("- ");
                    self.block(element, old, indent + 2, Place::Inline);
                }
            }
            _ => self.leaf(node, styled, indent),
        }
    }

    /// What stands after a key and its colon.
    fn value(&mut self, value: &Node, old: Option<(&Styled, &Styled)>, indent: usize) {
        let styled = old.map(|(_, value)| value);
        let key_line = old.map(|(key, _)| key.last_line);
        match &value.kind {
            NodeKind::Mapping(map) if !map.is_empty() && !is_flow(styled) => {
                self.end_line(key_line);
                self.block(value, styled, indent + 2, Place::Line);
            }
            NodeKind::Sequence(list) if !list.is_empty() && !is_flow(styled) => {
                self.end_line(key_line);
                self.block(value, styled, indent, Place::Line);
            }
            NodeKind::Scalar(scalar) if scalar.text.is_empty() && scalar.tag == Tag::Null => {
                self.end_line(key_line);
            }
            _ => {
                self.out.push(' ');
                self.leaf(value, styled, indent + 2);
            }
        }
    }

    /// A scalar or a collection in brackets, with the line break after it.
    fn leaf(&mut self, node: &Node, styled: Option<&Styled>, indent: usize) {
        if let NodeKind::Scalar(scalar) = &node.kind {
            let style = styled.and_then(Styled::scalar_style);
            let is_block = matches!(style, Some(ScalarStyle::Literal | ScalarStyle::Folded));
            if is_block || (style.is_none() && scalar.text.contains('\n')) {
                self.block_scalar(scalar, style, indent);
                return;
            }
        }
        self.inline(node, styled, Flow::Block);
        self.end_line(styled.map(|styled| styled.last_line));
    }

    fn block_scalar(&mut self, scalar: &Scalar, style: Option<ScalarStyle>, indent: usize) {
        let text = &*scalar.text;
        if !crate::fold::may_be_block(text) || text.is_empty() {
            self.out.push_str(&quoted(text));
            self.out.push('\n');
            return;
        }
        let is_folded = style == Some(ScalarStyle::Folded);
        self.out.push(if is_folded { '>' } else { '|' });
        if text.starts_with([' ', '\n']) {
            self.out.push('2');
        }
        self.out.push_str(crate::fold::chomping_mark(text));
        self.out.push('\n');
        let body = if is_folded {
            crate::fold::written(text)
        } else {
            text.to_owned()
        };
        let body = body.strip_suffix('\n').unwrap_or(&body);
        for line in body.split('\n') {
            if !line.is_empty() {
                self.indent(indent);
                self.out.push_str(line);
            }
            self.out.push('\n');
        }
    }

    /// A node within one line.
    fn inline(&mut self, node: &Node, styled: Option<&Styled>, context: Flow) {
        match &node.kind {
            NodeKind::Scalar(scalar) => {
                self.inline_scalar(scalar, styled.and_then(Styled::scalar_style), context);
            }
            NodeKind::Sequence(list) => {
                self.out.push('[');
                for (index, element) in list.iter().enumerate() {
                    self.out.push_str(if index > 0 { ", " } else { "" });
                    let old = styled.and_then(|styled| styled.item(index));
                    self.inline(element, old, Flow::Brackets);
                }
                self.out.push(']');
            }
            NodeKind::Mapping(map) => {
                self.out.push('{');
                for (index, entry) in map.iter().enumerate() {
                    self.out.push_str(if index > 0 { ", " } else { "" });
                    let old = styled.and_then(|styled| styled.entry(&entry.key));
                    let key = Scalar::new(entry.key.clone(), Tag::Str);
                    let style = old.and_then(|(key, _)| key.scalar_style());
                    self.inline_scalar(&key, style, Flow::Brackets);
                    self.out.push_str(": ");
                    self.inline(&entry.value, old.map(|(_, value)| value), Flow::Brackets);
                }
                self.out.push('}');
            }
        }
    }

    fn inline_scalar(&mut self, scalar: &Scalar, style: Option<ScalarStyle>, context: Flow) {
        let text = &*scalar.text;
        if text.contains('\n') {
            self.out.push_str(&quoted(text));
            return;
        }
        let form = PlainForm::of(text);
        let reads_otherwise = scalar.tag == Tag::Str && resolve(text) != Tag::Str;
        let plain_fits = match context {
            Flow::Block => form.block,
            Flow::Brackets => form.flow && !text.is_empty(),
        };
        match style {
            Some(ScalarStyle::DoubleQuoted) => self.out.push_str(&quoted(text)),
            _ if form.special => self.out.push_str(&quoted(text)),
            Some(ScalarStyle::SingleQuoted) => self.out.push_str(&single_quoted(text)),
            _ if reads_otherwise => self.out.push_str(&quoted(text)),
            _ if plain_fits => self.out.push_str(text),
            _ => self.out.push_str(&single_quoted(text)),
        }
    }
}

fn is_flow(styled: Option<&Styled>) -> bool {
    matches!(
        styled.map(|styled| &styled.shape),
        Some(Shape::Sequence(Flow::Brackets, items)) if !items.is_empty()
    ) || matches!(
        styled.map(|styled| &styled.shape),
        Some(Shape::Mapping(Flow::Brackets, entries)) if !entries.is_empty()
    )
}

impl Styled {
    fn scalar_style(&self) -> Option<ScalarStyle> {
        match &self.shape {
            Shape::Scalar(style) => Some(*style),
            Shape::Sequence(..) | Shape::Mapping(..) => None,
        }
    }

    fn item(&self, index: usize) -> Option<&Self> {
        match &self.shape {
            Shape::Sequence(_, items) => items.get(index),
            Shape::Scalar(_) | Shape::Mapping(..) => None,
        }
    }

    fn entry(&self, name: &str) -> Option<(&Self, &Self)> {
        let Shape::Mapping(_, entries) = &self.shape else {
            return None;
        };
        entries
            .iter()
            .find(|(key, _, _)| key == name)
            .map(|(_, key, value)| (key, value))
    }
}

//! Pure: schemas in comments: `containers: # {"x-kubernetes-patch-merge-key": "name", …}` says how a list merges.
//!
//! A rare feature of kyaml. The reader of YAML skips comments, so they are read from the text, by line, and a field
//! is known by the line of its value: that of the comment, or the next where a block collection begins.

use std::collections::BTreeMap;

use goyaml::{Node, NodeKind};
use serde_json::Value;

use super::merge::{MergeSchema, Position};

/// The schemas that stand in comments of one file, by line.
#[derive(Debug, Clone, Default)]
pub(crate) struct SchemaComments {
    by_line: BTreeMap<u32, Value>,
}

impl SchemaComments {
    /// No comments.
    pub(crate) const NONE: &'static Self = &Self {
        by_line: BTreeMap::new(),
    };

    /// Reads the comments of a text. What is no schema is left out.
    pub(crate) fn read(text: &str) -> Self {
        if !text.contains("# {") {
            return Self::default();
        }
        let lines = text.lines().zip(1_u32..);
        let schemas = lines.filter_map(|(line, number)| {
            let (before, comment) = line.split_once(" # {")?;
            if before.trim().is_empty() {
                return None;
            }
            let schema = serde_json::from_str(&format!("{{{comment}")).ok()?;
            Some((number, schema))
        });
        Self {
            by_line: schemas.collect(),
        }
    }

    /// True for most files.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_line.is_empty()
    }

    /// The place in a schema of its own that a comment gives to a node.
    pub(crate) fn position(&self, node: &Node, schema: &MergeSchema) -> Option<Position> {
        if self.is_empty() || node.line == 0 {
            return None;
        }
        let above = match &node.kind {
            NodeKind::Scalar(_) => None,
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => self.by_line.get(&(node.line - 1)),
        };
        let comment = above.or_else(|| self.by_line.get(&node.line))?;
        if !comment["x-kubernetes-patch-strategy"]
            .as_str()
            .is_some_and(|strategy| strategy.contains("merge"))
        {
            return None;
        }
        let key = comment["x-kubernetes-patch-merge-key"].as_str();
        let keys = key.map(str::to_owned).into_iter().collect();
        let element = comment["items"]["$ref"]
            .as_str()
            .and_then(|reference| reference.rsplit('/').next())
            .and_then(|name| schema.definition(name));
        Some(Position::of_list(keys, element.as_ref()))
    }
}

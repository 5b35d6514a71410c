//! Pure: values that one transformer put into several fields of an object, and that stay one value.
//!
//! kustomize sets a label in the metadata, the selectors and the templates of an object by putting the *same* YAML
//! node into each map, and later writes change that node in place. So an overlay that changes the label of the
//! metadata alone changes the selector, too. People's outputs have that in them, so ours have it: scalars that are
//! one node there have the same [`goyaml::Scalar::link`] here, and who writes one writes all.

use goyaml::{Node, NodeKind, Tag, Text};

/// The linked scalars that were written, in order.
#[derive(Debug, Default)]
pub(crate) struct Writes(Vec<Write>);

/// A scalar that was written: its link, its new text and its new type.
#[derive(Debug)]
struct Write {
    link: u32,
    text: Text,
    tag: Tag,
}

impl Writes {
    /// How many linked scalars were written.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Writes a scalar over another one, which keeps its link and its line.
    pub(crate) fn scalar(&mut self, field: &mut Node, text: impl Into<Text>, tag: Tag) {
        let NodeKind::Scalar(scalar) = &mut field.kind else {
            field.kind = Node::string(text).kind;
            return;
        };
        scalar.text = text.into();
        scalar.tag = tag;
        if scalar.link != 0 {
            self.0.push(Write {
                link: scalar.link,
                text: scalar.text.clone(),
                tag,
            });
        }
    }

    /// Writes the same into everything that is linked to what was written.
    pub(crate) fn settle(self, root: &mut Node) {
        for write in &self.0 {
            if is_linked(root, write.link) {
                write.into(root);
            }
        }
    }
}

impl Write {
    /// Writes the text into its node.
    fn into(&self, node: &mut Node) {
        match &mut node.kind {
            NodeKind::Scalar(scalar) if scalar.link == self.link => {
                scalar.text = self.text.clone();
                scalar.tag = self.tag;
            }
            NodeKind::Scalar(_) => {}
            NodeKind::Sequence(list) if list.iter().any(|node| is_linked(node, self.link)) => {
                list.iter_mut().for_each(|node| self.into(node));
            }
            NodeKind::Mapping(map)
                if map.iter().any(|entry| is_linked(&entry.value, self.link)) =>
            {
                map.iter_mut().for_each(|(_, node)| self.into(node));
            }
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => {}
        }
    }
}

/// True for the node that a link marks.
fn is_linked(node: &Node, link: u32) -> bool {
    match &node.kind {
        NodeKind::Scalar(scalar) => scalar.link == link,
        NodeKind::Sequence(list) => list.iter().any(|node| is_linked(node, link)),
        NodeKind::Mapping(map) => map.iter().any(|entry| is_linked(&entry.value, link)),
    }
}

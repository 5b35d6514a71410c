//! Pure: walking to the fields of a row: maps by key, every list on the way entered, missing maps made if the row says so.

use goyaml::{Mapping, Node, NodeKind, Sequence};

use crate::budget::{MAX_DEPTH, check_depth};
use crate::error::Problem;
use crate::schema::{FieldPath, Segment};

/// What to make of the last field if it is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Nothing: the walk ends.
    Skip,
    /// A map.
    Mapping,
    /// An empty string.
    Scalar,
}

/// Visits each field that the path leads to.
pub(crate) fn walk_mut(
    node: &mut Node,
    path: &FieldPath,
    missing: Missing,
    visit: &mut dyn FnMut(&mut Node) -> Result<(), Problem>,
) -> Result<(), Problem> {
    // Looking first keeps shared nodes shared where there is nothing to visit.
    if missing == Missing::Skip && !leads_somewhere(node, path) {
        return Ok(());
    }
    let levels = path.segments.len();
    if levels > MAX_DEPTH {
        check_depth(levels, &path.show())?;
    }
    step(node, path, &path.segments, missing, visit)
}

/// True if there is something at the end of the path, or in its way.
pub(crate) fn leads_somewhere(node: &Node, path: &FieldPath) -> bool {
    leads(node, &path.segments)
}

/// True if all keys of a path are there.
fn leads(node: &Node, segments: &[Segment]) -> bool {
    let Some((first, rest)) = segments.split_first() else {
        return true;
    };
    match &node.kind {
        NodeKind::Sequence(elements) => elements.iter().any(|element| leads(element, segments)),
        NodeKind::Mapping(mapping) => mapping
            .get(&first.key)
            .is_some_and(|value| (first.list && value.is_null()) || leads(value, rest)),
        // A scalar in the way is an error, found by the walk itself.
        NodeKind::Scalar(_) => !node.is_null(),
    }
}

/// Follows one key, and enters every list on the way.
fn step(
    node: &mut Node,
    path: &FieldPath,
    segments: &[Segment],
    missing: Missing,
    visit: &mut dyn FnMut(&mut Node) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let Some((first, rest)) = segments.split_first() else {
        return visit(node);
    };
    if node.is_null() {
        if missing == Missing::Skip {
            return Ok(());
        }
        node.kind = NodeKind::Mapping(Mapping::default());
    }
    let kind = node.kind_name();
    match &mut node.kind {
        NodeKind::Sequence(elements) => elements
            .iter_mut()
            .try_for_each(|element| step(element, path, segments, missing, visit)),
        NodeKind::Mapping(mapping) => {
            let found = if first.list {
                let mut found = mapping.get_mut(&first.key);
                // kustomize makes an empty list of nothing where a row says list (fieldspec.go).
                if let Some(value) = found.as_mut().filter(|value| value.is_null()) {
                    value.kind = NodeKind::Sequence(Sequence::default());
                }
                found
            } else if missing == Missing::Skip {
                mapping.get_mut(&first.key)
            } else {
                Some(made(mapping, first, rest, missing))
            };
            found.map_or(Ok(()), |value| step(value, path, rest, missing, visit))
        }
        NodeKind::Scalar(_) => Err(Problem::Transform(format!(
            "considering field `{}`: expected sequence or mapping node, found a {}",
            path.show(),
            kind
        ))),
    }
}

/// The node that is made where one is missing.
fn made<'m>(
    mapping: &'m mut Mapping,
    segment: &Segment,
    rest: &[Segment],
    missing: Missing,
) -> &'m mut Node {
    let made = || {
        if rest.is_empty() && missing == Missing::Scalar {
            Node::string("")
        } else {
            Node::empty_mapping()
        }
    };
    let value = mapping.entry_or(&segment.key, made);
    if value.is_null() {
        *value = made();
    }
    value
}

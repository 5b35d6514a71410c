//! Pure: how much memory and work one build may use.
//!
//! A small repository can ask for a large build: a patch that copies a field into itself doubles it each time, and a
//! base that a hundred overlays use is changed a hundred times. So every step that makes objects larger charges the
//! budget *before* it allocates, and every loop that a repository can lengthen charges the steps that it takes.
//! Bytes are those that the objects of the build hold; a step that makes an object smaller gives bytes back.

use std::cell::Cell;

use goyaml::{Node, NodeKind};

use crate::error::Problem;
use crate::options::Limits;

/// Bytes of one node of a tree beside its text: the node, its entry in the parent, and the allocation of its text.
pub(crate) const NODE_BYTES: u64 = 96;

/// The deepest tree that may be made: as deep as one that can be read. Deeper trees could exhaust the stack.
pub(crate) const MAX_DEPTH: usize = 200;

/// What a charge counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Bytes that objects will hold.
    Bytes,
    /// Visits of a node, comparisons of names, and other work of some nanoseconds each.
    Steps,
}

/// What one build may still use.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    /// Bytes of distinct files, each of which raises the number of bytes that objects may hold.
    input: Cell<u64>,
    bytes: Cell<u64>,
    steps: Cell<u64>,
}

/// How large a tree is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Nodes with everything below them, shared parts as often as they are named.
    pub(crate) nodes: u64,
    /// Bytes in memory if nothing were shared, with the indentation that printing adds.
    pub(crate) bytes: u64,
    /// Levels below the node itself.
    pub(crate) depth: usize,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            input: Cell::new(0),
            bytes: Cell::new(0),
            steps: Cell::new(0),
        }
    }

    /// Raises the budget by a file that is part of the input. Each file may be granted once.
    pub(crate) fn grant(&self, file_bytes: usize) {
        self.input
            .set(self.input.get().saturating_add(as_u64(file_bytes)));
    }

    /// Bytes that objects may hold.
    fn byte_limit(&self) -> u64 {
        let per_byte = as_u64(self.limits.object_bytes_per_input_byte);
        let by_input = self.input.get().saturating_mul(per_byte);
        as_u64(self.limits.object_bytes).saturating_add(by_input)
    }

    /// Bytes charged so far and not given back.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Bytes that may still be charged.
    pub(crate) fn bytes_left(&self) -> u64 {
        self.byte_limit().saturating_sub(self.bytes.get())
    }

    /// Charges what a step is about to use.
    ///
    /// # Errors
    /// The build would use more than its budget. Then nothing is charged, and nothing may be allocated.
    pub(crate) fn charge(&self, cost: Cost, amount: u64) -> Result<(), Problem> {
        let (used, limit) = match cost {
            Cost::Bytes => (&self.bytes, self.byte_limit()),
            Cost::Steps => (&self.steps, self.limits.steps),
        };
        let needed = used.get().saturating_add(amount);
        if needed > limit {
            return Err(over_budget(cost, needed, limit));
        }
        used.set(needed);
        Ok(())
    }

    /// Charges the bytes of a text or of anything else whose size is a `usize`.
    ///
    /// # Errors
    /// The build would use more bytes than its budget.
    pub(crate) fn charge_bytes(&self, amount: usize) -> Result<(), Problem> {
        self.charge(Cost::Bytes, as_u64(amount))
    }

    /// Charges the steps of a loop of so many rounds.
    ///
    /// # Errors
    /// The build would take more steps than its budget.
    pub(crate) fn charge_steps(&self, amount: usize) -> Result<(), Problem> {
        self.charge(Cost::Steps, as_u64(amount))
    }

    /// Gives back bytes that are no longer held.
    pub(crate) fn release(&self, bytes: u64) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// Charges the growth of something from one size to another, or gives back what it lost.
    ///
    /// # Errors
    /// The build would use more bytes than its budget.
    pub(crate) fn resize(&self, from: u64, to: u64) -> Result<(), Problem> {
        if to < from {
            self.release(from - to);
            return Ok(());
        }
        self.charge(Cost::Bytes, to - from)
    }

    /// Charges what the aliases of a configuration add to its text: decoding copies every text as often as it is named.
    ///
    /// # Errors
    /// The build would use more bytes than its budget.
    pub(crate) fn charge_expansion(&self, node: &Node, text: &str) -> Result<(), Problem> {
        // Without aliases, no text is more than this many times smaller than its tree: `[1,1,1]`.
        const BYTES_PER_TEXT_BYTE: u64 = 64;
        let Weight { nodes, bytes, .. } = weigh(node);
        self.charge(Cost::Steps, nodes)?;
        let usual = as_u64(text.len()).saturating_mul(BYTES_PER_TEXT_BYTE);
        self.charge(Cost::Bytes, bytes.saturating_sub(usual))
    }
}

/// Refuses a path that would make a tree too deep.
///
/// # Errors
/// The path has more levels than any tree may have.
pub(crate) fn check_depth(levels: usize, path: &str) -> Result<(), Problem> {
    if levels <= MAX_DEPTH {
        return Ok(());
    }
    let start: String = path.chars().take(60).collect();
    Err(Problem::Limit(format!(
        "the field `{start}` would be {levels} levels deep; an object may have {MAX_DEPTH}"
    )))
}

fn over_budget(cost: Cost, needed: u64, limit: u64) -> Problem {
    let message = match cost {
        Cost::Bytes => format!(
            "the objects of the build would need {needed} bytes of memory; its budget is {limit}"
        ),
        Cost::Steps => format!("the build would need {needed} steps; its budget is {limit}"),
    };
    Problem::Budget(message)
}

/// Measures a tree.
pub(crate) fn weigh(node: &Node) -> Weight {
    let mut weight = Weight::default();
    add_weight(node, 0, &mut weight);
    weight
}

fn add_weight(node: &Node, depth: usize, weight: &mut Weight) {
    // Printing indents each level by two spaces.
    let indentation = as_u64(2 * depth);
    weight.depth = weight.depth.max(depth);
    weight.nodes += 1;
    weight.bytes += NODE_BYTES + indentation;
    match &node.kind {
        NodeKind::Scalar(scalar) => {
            weight.bytes += as_u64(scalar.text.len());
            // A block scalar is indented at every line.
            if depth > 4 && scalar.text.len() > 64 {
                let lines = scalar.text.bytes().filter(|&byte| byte == b'\n').count();
                weight.bytes += indentation * as_u64(lines);
            }
        }
        NodeKind::Sequence(list) => {
            for element in list {
                add_weight(element, depth + 1, weight);
            }
        }
        NodeKind::Mapping(map) => {
            for entry in map {
                weight.bytes += as_u64(entry.key.len());
                add_weight(&entry.value, depth + 1, weight);
            }
        }
    }
}

/// A size as a number that can be multiplied without overflow on any machine.
pub(crate) fn as_u64(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(object_bytes: usize, steps: u64) -> Budget {
        Budget::new(Limits {
            object_bytes,
            object_bytes_per_input_byte: 2,
            steps,
            ..Limits::default()
        })
    }

    #[test]
    fn a_charge_over_the_budget_is_refused_and_not_counted() {
        let budget = budget(100, 10);
        assert!(budget.charge(Cost::Bytes, 90).is_ok());
        let error = budget.charge(Cost::Bytes, 11).unwrap_err().to_string();
        assert_eq!(
            error,
            "the objects of the build would need 101 bytes of memory; its budget is 100"
        );
        assert!(budget.charge(Cost::Bytes, 10).is_ok());
        let error = budget.charge(Cost::Steps, 11).unwrap_err().to_string();
        assert_eq!(error, "the build would need 11 steps; its budget is 10");
        assert!(budget.charge(Cost::Bytes, u64::MAX).is_err());
    }

    #[test]
    fn input_raises_the_budget_and_released_bytes_can_be_charged_again() {
        let budget = budget(100, 10);
        budget.grant(50);
        assert!(budget.charge(Cost::Bytes, 200).is_ok());
        assert_eq!(budget.bytes_left(), 0);
        assert!(budget.resize(200, 150).is_ok());
        assert_eq!(budget.bytes_left(), 50);
        assert!(budget.resize(150, 201).is_err());
    }

    #[test]
    fn shared_parts_weigh_as_often_as_they_are_named() {
        let read = |text: &str| {
            let nodes = goyaml::read(text, &goyaml::ReadOptions::default()).unwrap();
            weigh(&nodes[0])
        };
        let shared = read("a: &x {text: long}\nb: *x\n");
        let written = read("a: {text: long}\nb: {text: long}\n");
        assert_eq!(shared, written);
        assert_eq!(shared.nodes, 5);
    }

    #[test]
    fn depth_is_limited() {
        assert!(check_depth(MAX_DEPTH, "a").is_ok());
        assert!(check_depth(MAX_DEPTH + 1, "a").is_err());
    }
}

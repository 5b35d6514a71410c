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
        let by_files = as_u64(self.limits.object_bytes).saturating_add(by_input);
        by_files.min(as_u64(self.limits.memory_bytes))
    }

    /// Bytes that the process has left for the build, whatever its files allow.
    pub(crate) fn memory_left(&self) -> u64 {
        as_u64(self.limits.memory_bytes).saturating_sub(self.bytes.get())
    }

    /// Checks that what is about to be parsed fits, without charging it: its objects are charged in their turn.
    ///
    /// # Errors
    /// It may take more bytes than the budget has left.
    pub(crate) fn check_room(&self, bytes: u64, file: &str) -> Result<(), Problem> {
        let (needed, limit) = (self.bytes.get().saturating_add(bytes), self.byte_limit());
        if needed > limit {
            return Err(Problem::Memory(format!(
                "with `{file}`, the objects of the build may need {needed} bytes of memory; its budget is {limit}"
            )));
        }
        Ok(())
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

    /// Charges the tree of a configuration, which stays for the whole build. Decoding copies what an alias stands for as
    /// often as it is named.
    ///
    /// # Errors
    /// The build would use more bytes than its budget.
    pub(crate) fn charge_expansion(&self, node: &Node) -> Result<(), Problem> {
        let Weight { nodes, bytes, .. } = weigh(node);
        self.charge(Cost::Steps, nodes)?;
        self.charge(Cost::Bytes, bytes)
    }
}

/// At most how many bytes the trees of a text take, before it is parsed: a node follows on a line break or on one of the
/// signs that separate nodes in a line. What aliases stand for is limited by the reader.
pub(crate) fn most_parsed(text: &[u8]) -> u64 {
    let mut next = text.iter().skip(1).chain([&b'\n']);
    let separates = |byte: &&u8| {
        let is_followed_by_blank = next.next().is_some_and(u8::is_ascii_whitespace);
        match byte {
            b'\n' | b',' | b'[' | b'{' => true,
            b'-' | b'?' => is_followed_by_blank,
            _ => false,
        }
    };
    let nodes = as_u64(text.iter().filter(separates).count()) + 1;
    nodes
        .saturating_mul(NODE_BYTES)
        .saturating_add(as_u64(text.len()))
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
    match cost {
        Cost::Bytes => Problem::Memory(format!(
            "the objects of the build would need {needed} bytes of memory; its budget is {limit}"
        )),
        Cost::Steps => Problem::Budget(format!(
            "the build would need {needed} steps; its budget is {limit}"
        )),
    }
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
    fn the_memory_of_the_process_bounds_what_files_allow() {
        let budget = Budget::new(Limits {
            object_bytes: 100,
            object_bytes_per_input_byte: 2,
            memory_bytes: 150,
            ..Limits::default()
        });
        budget.grant(1_000);
        assert_eq!((budget.bytes_left(), budget.memory_left()), (150, 150));
        let error = budget.check_room(151, "a.yaml").unwrap_err().to_string();
        assert!(error.contains("with `a.yaml`, "), "{error}");
        assert!(error.contains("may need 151 bytes"), "{error}");
        assert!(budget.check_room(150, "a.yaml").is_ok());
    }

    #[test]
    fn a_text_is_measured_before_it_is_parsed() {
        let list = format!("[{}1]", "1,".repeat(500));
        let lines = "a: {b: [c, d], e: f}\n- - - x\n";
        for text in [list.as_str(), "a: b\nc:\n- d\n- e: f\n  g: h\n", "a: b\n"] {
            let nodes = goyaml::read(text, &goyaml::ReadOptions::default()).unwrap();
            let weight = nodes.iter().map(|node| weigh(node).bytes).sum::<u64>();
            // Indentation counts when objects are charged, and not before.
            let indentation = 8 * nodes.iter().map(|node| weigh(node).nodes).sum::<u64>();
            assert!(
                most_parsed(text.as_bytes()) + indentation >= weight,
                "{text}"
            );
        }
        assert!(most_parsed(lines.as_bytes()) >= 8 * NODE_BYTES);
    }

    #[test]
    fn depth_is_limited() {
        assert!(check_depth(MAX_DEPTH, "a").is_ok());
        assert!(check_depth(MAX_DEPTH + 1, "a").is_err());
    }
}

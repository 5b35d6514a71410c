//! Pure: how much memory and work the data of one Secret may take while it is composed.
//!
//! A search finds thousands of secrets, and a short `rewrite` makes every key ten times longer at each step. So whatever
//! makes keys or values charges the budget *before* it allocates.

use std::cell::Cell;

/// Bytes of all keys and values that one composition reads and makes. A Secret holds 1 MiB.
const BYTES: usize = 32 << 20;
/// Steps of all regular expressions: states of the automaton × bytes of the keys.
const STEPS: usize = 500_000_000;
/// Bytes of an entry of a map beside its key and its value.
pub(crate) const ENTRY_BYTES: usize = 160;

/// What a composition may still use.
#[derive(Debug)]
pub(crate) struct CompositionBudget {
    bytes: Cell<usize>,
    steps: Cell<usize>,
}

/// Why a composition is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data would need {needed} {unit} with it; one ExternalSecret may use {limit}")]
pub struct OverBudget {
    /// What was charged in all, with what was refused.
    needed: usize,
    /// `bytes` or `steps`.
    unit: &'static str,
    limit: usize,
}

impl Default for CompositionBudget {
    fn default() -> Self {
        Self {
            bytes: Cell::new(0),
            steps: Cell::new(0),
        }
    }
}

impl CompositionBudget {
    /// Charges bytes that are about to be made or copied.
    pub(crate) fn charge_bytes(&self, amount: usize) -> Result<(), OverBudget> {
        charge(&self.bytes, amount, BYTES, "bytes")
    }

    /// Charges so many entries whose keys and values have these bytes in all.
    pub(crate) fn charge_entries(&self, entries: usize, bytes: usize) -> Result<(), OverBudget> {
        self.charge_bytes(entries.saturating_mul(ENTRY_BYTES).saturating_add(bytes))
    }

    /// Charges the search of a text for the matches of an expression of so many states.
    pub(crate) fn charge_search(&self, states: usize, text: usize) -> Result<(), OverBudget> {
        let steps = states.saturating_mul(text.saturating_add(1));
        charge(&self.steps, steps, STEPS, "steps")
    }
}

/// A key for a message: a key that was made can have megabytes.
pub(crate) fn shortened(key: &str) -> String {
    /// A key of a Secret has at most 253 characters.
    const MOST: usize = 253;
    let mut letters = key.chars();
    let mut start: String = letters.by_ref().take(MOST).collect();
    if !letters.as_str().is_empty() {
        start.push('…');
    }
    start
}

fn charge(
    used: &Cell<usize>,
    amount: usize,
    limit: usize,
    unit: &'static str,
) -> Result<(), OverBudget> {
    let needed = used.get().saturating_add(amount);
    if needed > limit {
        return Err(OverBudget {
            needed,
            unit,
            limit,
        });
    }
    used.set(needed);
    Ok(())
}

//! Pure: what a template may use, and how much of it.

use std::cell::{Cell, RefCell};

use jiff::Timestamp;

use crate::Environment;
use crate::error::{Outcome, fault};

/// What a field of a map is that has no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingKey {
    /// An error.
    #[default]
    Error,
    /// Nothing, which prints as `<no value>`.
    Invalid,
}

/// How much a template may do, so that no tenant's template can hold up the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of output.
    pub output: usize,
    /// Steps: nodes, calls, and a step for each 64 bytes that a function makes.
    pub steps: usize,
    /// Templates within templates.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            output: 8 << 20,
            steps: 2_000_000,
            depth: 100,
        }
    }
}

/// What functions may use, and what they have used up.
pub(crate) struct Machine<'m> {
    now: Timestamp,
    used: &'m Cell<bool>,
    random: &'m dyn Random,
    steps: usize,
}

/// A source of random bytes.
trait Random {
    fn fill(&self, bytes: &mut [u8]);
}

impl Random for RandomBytes<'_> {
    fn fill(&self, bytes: &mut [u8]) {
        (self.borrow_mut())(bytes);
    }
}

impl<'m> Machine<'m> {
    pub(crate) fn new(environment: &'m Environment<'_>) -> Self {
        Self {
            now: environment.now,
            used: &environment.used,
            random: &environment.random,
            steps: environment.limits.steps,
        }
    }

    /// Counts work against the limit.
    pub(crate) fn spend(&mut self, steps: usize) -> Outcome<()> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => {
                self.steps = 0;
                fault("the template does more than is allowed: its steps are used up")
            }
        }
    }

    /// The time of this render.
    pub(crate) fn time(&self) -> Timestamp {
        self.used.set(true);
        self.now
    }

    /// Random bytes.
    pub(crate) fn random(&self, bytes: &mut [u8]) {
        self.used.set(true);
        self.random.fill(bytes);
    }
}

/// Random bytes that a caller gives out.
pub(crate) type RandomBytes<'r> = RefCell<Box<dyn FnMut(&mut [u8]) + 'r>>;

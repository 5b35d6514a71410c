//! Pure: the state of a render that functions share: the time, random bytes, and the steps that are left.

use std::cell::Cell;

use jiff::Timestamp;

use crate::environment::{Environment, RandomBytes};
use crate::error::{Outcome, fault};

/// What functions may use, and how many steps they have left.
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

    /// Charges steps against the limit. A function charges its work before it does it, so that an input that multiplies
    /// is refused before it takes memory.
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

//! Pure: the state of a render that functions share: the time, random bytes, and the steps that are left.
//!
//! A function gets a `Machine` so that it neither reads a clock nor asks the system for randomness: a render is a
//! function of its arguments. The machine notes whether time or randomness was used, because such a template may give
//! another output tomorrow, and the daemon then refreshes it by its interval and not on changes alone.

use std::cell::Cell;

use jiff::Timestamp;

use crate::environment::{Environment, RandomBytes};
use crate::error::{Outcome, fault};
use crate::value::{Element, MAX_DEPTH, Value};

/// The state that functions share: the time, random bytes, and the steps that are left.
pub(crate) struct Machine<'m> {
    now: Timestamp,
    used: &'m Cell<bool>,
    random: &'m dyn Random,
    steps: usize,
}

/// A source of random bytes.
///
/// The source sits behind a `RefCell`, so that a shared environment can be rendered with.
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

    /// Charges a walk through all values inside a value, and to print them. Values share their parts, so a
    /// small list of lists can have more of them than there is memory for.
    pub(crate) fn spend_walk(&mut self, value: &Value) -> Outcome<()> {
        self.walk(value, 0)
    }

    fn walk(&mut self, value: &Value, depth: usize) -> Outcome<()> {
        if depth > MAX_DEPTH {
            // No function goes deeper.
            return Ok(());
        }
        // An element on a line of its own is indented by two spaces for each level.
        let element_cost = 1 + depth / 32;
        match value {
            Value::Str(text) => self.spend(text.len() / 64),
            Value::List(values, Element::Int | Element::Uint8) => {
                self.spend(values.len().saturating_mul(element_cost))
            }
            Value::List(values, _) => values.iter().try_for_each(|value| {
                self.spend(element_cost)?;
                self.walk(value, depth + 1)
            }),
            Value::Dict(map) => map.borrow().iter().try_for_each(|(key, value)| {
                self.spend(element_cost + key.len() / 64)?;
                self.walk(value, depth + 1)
            }),
            Value::Strings(map) => map.iter().try_for_each(|(key, text)| {
                self.spend(element_cost + (key.len() + text.len()) / 64)
            }),
            _ => Ok(()),
        }
    }

    /// The time of this render.
    ///
    /// Marks the render as volatile.
    pub(crate) fn time(&self) -> Timestamp {
        self.used.set(true);
        self.now
    }

    /// Random bytes.
    ///
    /// Marks the render as volatile, as `time` does. Keys and salts come from here, so the source must be a good one
    /// outside of tests.
    pub(crate) fn random(&self, bytes: &mut [u8]) {
        self.used.set(true);
        self.random.fill(bytes);
    }
}

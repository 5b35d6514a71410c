//! Pure: the state of a render that functions share: the time, random bytes, and the steps that are left.
//!
//! A function gets a `Machine` so that it neither reads a clock nor asks the system for randomness: a render is a
//! function of its arguments. The machine notes whether time or randomness was used, because such a template may give
//! another output tomorrow, and the daemon then refreshes it by its interval and not on changes alone.

use std::cell::Cell;

use jiff::Timestamp;

use crate::environment::{Environment, Limits, RandomBytes, Total};
use crate::error::{Outcome, fault};
use crate::value::{Element, MAX_DEPTH, Value};

/// The state that functions share: the time, random bytes, and the steps that are left.
pub(crate) struct Machine<'m> {
    now: Timestamp,
    used: &'m Cell<bool>,
    random: &'m dyn Random,
    limits: Limits,
    steps: usize,
    bytes: usize,
    total: &'m Total,
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
            limits: environment.limits,
            steps: 0,
            bytes: 0,
            total: &environment.total,
        }
    }

    /// Charges steps against the limit. A function charges its work before it does it, so that an input that multiplies
    /// is refused before it takes memory.
    pub(crate) fn spend(&mut self, steps: usize) -> Outcome<()> {
        let needed = self.steps.saturating_add(steps);
        if needed > self.limits.steps {
            let limit = self.limits.steps;
            return fault(format!(
                "the template does more than is allowed: it would need {needed} steps, and may take {limit}"
            ));
        }
        let of_all = self.total.steps.get().saturating_add(steps);
        if of_all > self.limits.steps_of_all {
            let limit = self.limits.steps_of_all;
            return fault(format!(
                "the templates do more than is allowed: together they would need {of_all} steps, and may take {limit}"
            ));
        }
        self.steps = needed;
        self.total.steps.set(of_all);
        Ok(())
    }

    /// Charges bytes that are about to be made, and the steps to make them.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Outcome<()> {
        let needed = self.bytes.saturating_add(bytes);
        if needed > self.limits.bytes {
            let limit = self.limits.bytes;
            return fault(format!(
                "the template makes more than is allowed: its values would need {needed} bytes, and may take {limit}"
            ));
        }
        self.bytes = needed;
        self.spend(bytes / 64)
    }

    /// Charges bytes that are about to be written to the output, of which `written` are there.
    pub(crate) fn write(&mut self, written: usize, bytes: usize) -> Outcome<()> {
        let needed = written.saturating_add(bytes);
        if needed > self.limits.output {
            let limit = self.limits.output;
            return fault(format!(
                "the output would have {needed} bytes, and may have {limit}"
            ));
        }
        let of_all = self.total.output.get().saturating_add(bytes);
        if of_all > self.limits.output_of_all {
            let limit = self.limits.output_of_all;
            return fault(format!(
                "the output of all templates together would have {of_all} bytes, and may have {limit}"
            ));
        }
        self.total.output.set(of_all);
        Ok(())
    }

    /// Charges a walk through all values inside a value, and to print them. Values share their parts, so a
    /// small list of lists can have more of them than there is memory for.
    ///
    /// A byte of a text may become so many as `growth` says where the walk prints it.
    pub(crate) fn spend_walk(&mut self, value: &Value, growth: usize) -> Outcome<()> {
        self.walk(value, growth, 0)
    }

    fn walk(&mut self, value: &Value, growth: usize, depth: usize) -> Outcome<()> {
        if depth > MAX_DEPTH {
            // No function goes deeper.
            return Ok(());
        }
        // An element on a line of its own is indented by two spaces for each level.
        let element_cost = 1 + depth / 32;
        // Brackets, a comma and the indentation of a line.
        let element_bytes = 8 + 2 * depth;
        match value {
            Value::Str(text) => self.allocate(text.len().saturating_mul(growth)),
            Value::List(values, Element::Int | Element::Uint8) => {
                self.allocate(values.len().saturating_mul(element_bytes))?;
                self.spend(values.len().saturating_mul(element_cost))
            }
            Value::List(values, _) => values.iter().try_for_each(|value| {
                self.allocate(element_bytes)?;
                self.spend(element_cost)?;
                self.walk(value, growth, depth + 1)
            }),
            Value::Dict(map) => map.borrow().iter().try_for_each(|(key, value)| {
                self.allocate(element_bytes.saturating_add(key.len().saturating_mul(growth)))?;
                self.spend(element_cost)?;
                self.walk(value, growth, depth + 1)
            }),
            Value::Strings(map) => map.iter().try_for_each(|(key, text)| {
                let bytes = (key.len() + text.len()).saturating_mul(growth);
                self.allocate(element_bytes.saturating_add(bytes))?;
                self.spend(element_cost)
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

//! Pure: the time, the random bytes and the limits of a render.
//!
//! One environment may serve several renders; `is_volatile` then speaks for all of them together.

use std::cell::{Cell, RefCell};

use jiff::Timestamp;

/// A function that fills a slice with random bytes.
pub(crate) type RandomBytes<'r> = RefCell<Box<dyn FnMut(&mut [u8]) + 'r>>;

/// The value of a field that the data does not have, as Go's option `missingkey` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingKey {
    /// The render fails (`missingkey=error`).
    #[default]
    Error,
    /// The field has no value, which prints as `<no value>` (`missingkey=invalid`).
    Invalid,
}

/// How much a template may do, so that no tenant's template can hold up the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of output.
    pub output: usize,
    /// Bytes of the values that functions and prints make, each as often as it is made: what is no longer used counts too.
    pub bytes: usize,
    /// Steps: one for each node and each call, and more for a function whose work grows with its arguments: about one
    /// for each 64 bytes that it reads or makes.
    pub steps: usize,
    /// Levels of templates that execute templates.
    pub depth: usize,
    /// Steps of all renders with one environment, so that many templates of one tenant take no longer than some of them.
    pub steps_of_all: usize,
    /// Bytes of output of all renders with one environment.
    pub output_of_all: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            output: 8 << 20,
            bytes: 64 << 20,
            steps: 2_000_000,
            depth: 100,
            steps_of_all: 20_000_000,
            output_of_all: 16 << 20,
        }
    }
}

/// The time, the random bytes and the limits of a render.
pub struct Environment<'e> {
    /// The time that `now` gives.
    pub now: Timestamp,
    pub(crate) random: RandomBytes<'e>,
    /// Whether a render has looked at the time or at random bytes.
    pub(crate) used: Cell<bool>,
    /// The value of a field that the data does not have.
    pub missing_key: MissingKey,
    /// How much a render may do.
    pub limits: Limits,
    /// What all renders with this environment have done so far.
    pub(crate) total: Total,
}

/// What all renders with one environment have done so far.
#[derive(Debug, Default)]
pub(crate) struct Total {
    pub(crate) steps: Cell<usize>,
    pub(crate) output: Cell<usize>,
}

impl<'e> Environment<'e> {
    /// An environment with a time and a function that fills a slice with random bytes. Limits are the default, and a
    /// missing key is an error.
    pub fn new(now: Timestamp, random: impl FnMut(&mut [u8]) + 'e) -> Self {
        Self {
            now,
            random: RefCell::new(Box::new(random)),
            used: Cell::new(false),
            missing_key: MissingKey::default(),
            limits: Limits::default(),
            total: Total::default(),
        }
    }

    /// An environment for tests: the time is 1970, and the random bytes are always the same.
    pub fn fixed() -> Self {
        let mut next = 0_u8;
        Self::new(Timestamp::UNIX_EPOCH, move |bytes| {
            for byte in bytes {
                next = next.wrapping_mul(109).wrapping_add(89);
                *byte = next;
            }
        })
    }

    /// Whether a template that was rendered with this environment has used the time or random bytes. Its output may
    /// then differ at the next render, although the data is the same.
    pub fn is_volatile(&self) -> bool {
        self.used.get()
    }

    /// The same environment with another rule for missing keys.
    #[must_use]
    pub fn with_missing_key(mut self, missing_key: MissingKey) -> Self {
        self.missing_key = missing_key;
        self
    }
}

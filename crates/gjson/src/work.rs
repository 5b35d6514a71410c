//! Pure: how much work a search may still do: bytes that are read or made, and levels of recursion.

use std::cell::Cell;

use crate::TooMuch;

/// Bytes that may be looked at or made in all.
const BYTES: usize = 64 << 20;
/// Bytes of memory that texts and lists of values may take, each as often as it is made.
const MADE: usize = 64 << 20;
/// Steps within steps.
const DEPTH: usize = 100;

/// The work that a search may still do. The counters are cells, because a level holds the work while the next one
/// charges it.
pub(crate) struct Work {
    bytes: Cell<usize>,
    made: Cell<usize>,
    depth: Cell<usize>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            bytes: Cell::new(BYTES),
            made: Cell::new(MADE),
            depth: Cell::new(DEPTH),
        }
    }
}

impl Work {
    /// Counts bytes against the limit.
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), TooMuch> {
        let cost = bytes.checked_add(1).ok_or(TooMuch)?;
        let left = self.bytes.get().checked_sub(cost).ok_or(TooMuch)?;
        self.bytes.set(left);
        Ok(())
    }

    /// Counts memory that is about to be taken.
    pub(crate) fn allocate(&self, bytes: usize) -> Result<(), TooMuch> {
        let left = self.made.get().checked_sub(bytes).ok_or(TooMuch)?;
        self.made.set(left);
        Ok(())
    }

    /// Runs `work` at the next level of depth.
    pub(crate) fn deeper<T>(
        &self,
        work: impl FnOnce() -> Result<T, TooMuch>,
    ) -> Result<T, TooMuch> {
        let left = self.depth.get().checked_sub(1).ok_or(TooMuch)?;
        self.depth.set(left);
        let result = work();
        self.depth.set(left + 1);
        result
    }
}

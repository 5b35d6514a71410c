//! Remembers of a mirror, from its clone until it cannot be read any more, what was found out about it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use git2::Oid;
use parking_lot::Mutex;

use crate::git::objects::is_too_large;
use overlayd_core::git::storage_fault::StorageFault;

/// So many commits are known to be complete; older ones are looked at again.
const MAX_COMPLETE: usize = 64;

/// The life of a mirror. A mirror that is cloned again begins another one.
#[derive(Debug)]
pub(crate) struct MirrorLife {
    /// Tells the lives of this process apart.
    number: u64,
    is_damaged: AtomicBool,
    /// Its size on the disk after the last fetch.
    bytes: AtomicU64,
    complete: Mutex<VecDeque<Oid>>,
}

impl Default for MirrorLife {
    fn default() -> Self {
        Self::new()
    }
}

impl MirrorLife {
    /// A life that has just begun.
    pub(crate) fn new() -> Self {
        static LIVES: AtomicU64 = AtomicU64::new(0);
        Self {
            number: LIVES.fetch_add(1, Ordering::Relaxed),
            is_damaged: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            complete: Mutex::default(),
        }
    }

    /// A number that no other life of this process has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Notes an error of a read. Missing and cut objects mean that the mirror is damaged; objects that are too large, and a
    /// lack of files or memory, do not.
    pub(crate) fn note_read_error(&self, error: &git2::Error) {
        let is_damage = StorageFault::of(error.message()) == StorageFault::Damaged;
        if is_damage && !is_too_large(error) {
            self.is_damaged.store(true, Ordering::Relaxed);
        }
    }

    /// True if a read has found damage. The next fetch clones the mirror again.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// The size on the disk, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn is_known_complete(&self, commit: Oid) -> bool {
        self.complete.lock().contains(&commit)
    }

    pub(super) fn note_complete(&self, commit: Oid) {
        let mut complete = self.complete.lock();
        complete.push_back(commit);
        if complete.len() > MAX_COMPLETE {
            complete.pop_front();
        }
    }
}

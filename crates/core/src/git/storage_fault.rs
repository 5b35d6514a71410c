//! Pure: what an error about the objects of a mirror means, and which mirrors may be removed.

use std::time::Duration;

/// A mirror that no source uses stays for this long, so that one that is created anew or used by a remote base from time
/// to time is not cloned each time.
const RETENTION: Duration = Duration::from_secs(3 * 3600);

/// What is wrong with the storage of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageFault {
    /// No space is left, or a quota of the file system is reached. The mirror stays as it is.
    Full,
    /// Files cannot be written or opened at all, such as on a read-only file system. The mirror stays as it is.
    Unusable,
    /// Objects are missing or cut. The mirror has to be cloned again.
    Damaged,
}

impl StorageFault {
    /// Tells the fault by the text of an error of the storage, in the words of the operating system.
    pub fn of(message: &str) -> Self {
        const FULL: [&str; 3] = [
            "no space left on device",
            "disk quota exceeded",
            "file too large",
        ];
        const UNUSABLE: [&str; 5] = [
            "read-only file system",
            "permission denied",
            "operation not permitted",
            "too many open files",
            "cannot allocate memory",
        ];
        let message = message.to_lowercase();
        let says = |text: &&str| message.contains(*text);
        if FULL.iter().any(&says) {
            Self::Full
        } else if UNUSABLE.iter().any(says) {
            Self::Unusable
        } else {
            Self::Damaged
        }
    }
}

/// Whether a source in service reads a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorUse {
    /// Builds read it.
    InService,
    /// No source in service is fetched into it, and it was not fetched into for this long.
    Idle(Duration),
}

/// True for a mirror whose source is gone.
pub fn is_collectable(mirror: MirrorUse) -> bool {
    matches!(mirror, MirrorUse::Idle(idle) if idle >= RETENTION)
}

/// How many bytes a source may still take on the disk, or `None` if its namespace has no quota. `used` are the bytes of the
/// namespace's other mirrors.
pub fn allowance(quota: Option<u64>, used: u64) -> Option<u64> {
    quota.map(|quota| quota.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_damage() {
        let check = |message: &str, expected| {
            assert_eq!(StorageFault::of(message), expected, "{message}");
        };
        use StorageFault::{Damaged, Full, Unusable};
        check("failed to write to 'pack': No space left on device", Full);
        check("Disk quota exceeded", Full);
        check("could not create 'x': Read-only file system", Unusable);
        check("could not open 'x': Too many open files", Unusable);
        check("failed to mmap: Cannot allocate memory", Unusable);
        check("object not found - no match for id (4b825dc6)", Damaged);
        check("failed to inflate packed object", Damaged);
        check("packfile is truncated", Damaged);
    }

    #[test]
    fn mirrors_of_sources_that_are_gone_are_collected_after_a_while() {
        assert!(!is_collectable(MirrorUse::InService));
        assert!(!is_collectable(MirrorUse::Idle(Duration::from_secs(60))));
        assert!(is_collectable(MirrorUse::Idle(RETENTION)));
    }

    #[test]
    fn what_is_left_of_a_quota() {
        assert_eq!(allowance(None, 7), None);
        assert_eq!(allowance(Some(10), 7), Some(3));
        assert_eq!(allowance(Some(10), 70), Some(0));
    }
}

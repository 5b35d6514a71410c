//! Pure: how the memory of the process is shared by the builds that run at once.
//!
//! A process that runs out of memory is killed, and the object that asked for too much kills it again after the restart. So
//! the builds reserve memory before they begin, and the sum of what they may use fits. Most builds are small: each begins
//! with a small share, so that several run at once. One that goes over its share runs again with a larger one, at last
//! with all of the memory and alone.

use kustomize::Limits;

use crate::render::substitution::SubstitutionLimits;

const MIB: u64 = 1 << 20;
/// What the process needs beside builds and caches: code, connections, watches, and the objects that they have brought.
const PROCESS_BYTES: u64 = 64 * MIB;
/// What builds share where no limit of memory is known.
const WITHOUT_LIMIT: u64 = 2048 * MIB;
/// The least that builds share. A build of some hundred objects fits.
const LEAST: u64 = 32 * MIB;
/// The memory of a byte of text in the cache of documents.
const CACHED_BYTES_PER_TEXT_BYTE: u64 = 4;

/// The memory that caches and builds may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The size of the cache of documents, in bytes of text.
    pub cache_text_bytes: u64,
    /// What all builds share.
    pub builds: BuildMemory,
}

/// The memory that all builds share, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildMemory(u64);

/// How much of the memory a build reserves. Each is twice the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Share {
    /// A quarter: what almost all builds need.
    #[default]
    Quarter,
    /// A half.
    Half,
    /// All of it; no other build runs at the same time.
    Whole,
}

impl Share {
    /// The share for a build that went over this one; `None` if it had all.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Quarter => Some(Self::Half),
            Self::Half => Some(Self::Whole),
            Self::Whole => None,
        }
    }
}

impl MemoryPlan {
    /// The plan for a process with a limit of memory. `cache_text_bytes` is the size of the cache that is wanted, and
    /// `builds` what builds share if a flag says so.
    ///
    /// Of what the process does not need itself, builds get a half and the cache a quarter at most. The rest is for templates,
    /// requests, and what allocators keep.
    pub fn new(limit: Option<u64>, cache_text_bytes: u64, builds: Option<u64>) -> Self {
        let free = limit.map(|limit| limit.saturating_sub(PROCESS_BYTES).max(limit / 4));
        let most_cached = free.map_or(u64::MAX, |free| free / 4 / CACHED_BYTES_PER_TEXT_BYTE);
        let by_limit = free.map_or(WITHOUT_LIMIT, |free| free / 2);
        Self {
            cache_text_bytes: cache_text_bytes.min(most_cached),
            builds: BuildMemory(builds.unwrap_or(by_limit).max(LEAST)),
        }
    }
}

impl BuildMemory {
    /// What all builds share, in bytes.
    pub fn total(self) -> u64 {
        self.0
    }

    /// The bytes that a build reserves.
    pub fn bytes(self, share: Share) -> u64 {
        match share {
            Share::Quarter => self.0 / 4,
            Share::Half => self.0 / 2,
            Share::Whole => self.0,
        }
    }

    /// The bytes that the objects of a build may hold: it holds them as trees and then as JSON, and needs some on the way.
    fn object_bytes(self, share: Share) -> u64 {
        self.bytes(share) / 5 * 2
    }

    /// The limits of a build with a share.
    pub fn limits(self, share: Share) -> Limits {
        let defaults = Limits::default();
        let bytes = |share| usize::try_from(self.object_bytes(share)).unwrap_or(usize::MAX);
        Limits {
            memory_bytes: bytes(share),
            // A file that is too large for this share may fit a larger one, so all shares have the same limit.
            file_bytes: defaults.file_bytes.min(bytes(Share::Whole) / 2),
            ..defaults
        }
    }

    /// The limits of the variables of a build with a share.
    pub fn substitution_limits(self, share: Share) -> SubstitutionLimits {
        let defaults = SubstitutionLimits::default();
        SubstitutionLimits {
            bytes: defaults.bytes.min(self.object_bytes(share) / 2),
            ..defaults
        }
    }
}

/// The limit of memory in a file of a control group: `memory.max` of version 2, or `memory.limit_in_bytes` of version 1.
/// `None` if there is none.
pub fn memory_limit(text: &str) -> Option<u64> {
    /// Version 1 writes a number of this size for no limit.
    const NO_LIMIT: u64 = 1 << 60;
    let bytes: u64 = text.trim().parse().ok()?;
    Some(bytes).filter(|bytes| *bytes > 0 && *bytes < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(limit_mib: Option<u64>, cache_mib: u64, flag_mib: Option<u64>) -> (u64, u64) {
        let plan = MemoryPlan::new(
            limit_mib.map(|mib| mib * MIB),
            cache_mib * MIB,
            flag_mib.map(|mib| mib * MIB),
        );
        (plan.cache_text_bytes / MIB, plan.builds.total() / MIB)
    }

    #[test]
    fn caches_and_builds_fit_the_memory_of_the_pod() {
        assert_eq!(plan(Some(256), 32, None), (12, 96));
        assert_eq!(plan(Some(1024), 32, None), (32, 480));
        assert_eq!(plan(Some(1024), 8, None), (8, 480));
        assert_eq!(plan(None, 32, None), (32, 2048), "no limit");
        assert_eq!(plan(Some(1024), 32, Some(100)), (32, 100), "the flag wins");
        assert_eq!(
            plan(Some(64), 32, None),
            (1, 32),
            "a build of some objects runs always"
        );
        for limit in [128, 256, 300, 512, 4096] {
            let (cache, builds) = plan(Some(limit), 4096, None);
            let sum = 4 * cache + builds + PROCESS_BYTES / MIB;
            assert!(sum <= limit, "{limit}: {sum}");
        }
    }

    #[test]
    fn a_build_that_goes_over_its_share_gets_more_until_it_had_all() {
        let memory = BuildMemory(100 * MIB);
        let shares = std::iter::successors(Some(Share::default()), |share| share.next());
        let bytes: Vec<u64> = shares.map(|share| memory.bytes(share) / MIB).collect();
        assert_eq!(bytes, [25, 50, 100]);
    }

    #[test]
    fn the_limits_of_a_build_fit_its_share() {
        let memory = BuildMemory(100 * MIB);
        for share in [Share::Quarter, Share::Half, Share::Whole] {
            let limits = memory.limits(share);
            let of_variables = memory.substitution_limits(share).bytes;
            let objects = u64::try_from(limits.memory_bytes).unwrap();
            assert!(
                2 * objects + of_variables <= memory.bytes(share),
                "{share:?}"
            );
            assert_eq!(limits.file_bytes, 20 * (1 << 20));
        }
    }

    #[test]
    fn limits_of_control_groups_are_read() {
        assert_eq!(memory_limit("268435456\n"), Some(256 * MIB));
        assert_eq!(memory_limit("max\n"), None);
        assert_eq!(memory_limit("9223372036854771712\n"), None);
        assert_eq!(memory_limit(""), None);
    }
}

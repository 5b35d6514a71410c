//! Builds for the `Kustomization` controller, and remembers which files each build read.
//!
//! A commit that changes none of them cannot change the result, so it is neither built nor applied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use kustomize::{
    BuildErrors, BuildOptions, DocumentCache, FileTree, Inputs, Limits, Rendered, RepoPath,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::git::{Fetched, Remotes, snapshot};
use overlayd_core::api::kustomization::KustomizationSpec;
use overlayd_core::build_memory::{BuildMemory, MemoryPlan, Share};
use overlayd_core::names::NamespacedName;
use overlayd_core::render::spec_overlay::{OverlaidTree, SpecOverlayError, overlay_spec};
use overlayd_core::render::substitution::SubstitutionLimits;

/// The state that all builds share.
#[derive(Debug)]
pub(crate) struct Builds {
    /// Files that were parsed, by their content, for builds of every source.
    cache: Arc<DocumentCache>,
    /// `None` if remote bases are refused.
    remotes: Option<Remotes>,
    /// The last complete build of each Kustomization.
    applied: Mutex<BTreeMap<NamespacedName, AppliedBuild>>,
    memory: BuildMemory,
    /// One permit for each MiB of the memory. It is fair: a build that needs much is not passed by ones that need little.
    free: Arc<Semaphore>,
    /// The objects whose last build needed more than the smallest share.
    shares: Mutex<BTreeMap<NamespacedName, Share>>,
}

/// Memory that a build has reserved. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    share: Share,
    memory: BuildMemory,
    _permit: OwnedSemaphorePermit,
}

impl Reservation {
    /// The limits of the build.
    pub(crate) fn limits(&self) -> Limits {
        self.memory.limits(self.share)
    }

    /// The limits of its variables.
    pub(crate) fn substitution_limits(&self) -> SubstitutionLimits {
        self.memory.substitution_limits(self.share)
    }
}

/// The last build of an object that was applied to its end.
#[derive(Debug)]
struct AppliedBuild {
    /// The change token of everything that decides besides the source.
    fingerprint: String,
    /// Every path that the build looked at, also those that did not exist, with what it found there.
    inputs: Arc<Inputs>,
    /// When the object is applied again in any case, to repair drift.
    due: Instant,
}

/// Why a build failed.
#[derive(Debug)]
pub(crate) enum NotBuilt {
    /// The mirror cannot be read.
    Mirror(git2::Error),
    /// The path does not exist, or leads out of the source.
    Path(String),
    /// The kustomization file cannot be made.
    SpecOverlay(SpecOverlayError),
    /// The build itself fails, each error with its place.
    Errors(BuildErrors),
}

impl Builds {
    /// Builds with a cache and within the memory of this plan.
    pub(crate) fn new(plan: MemoryPlan, remotes: Option<Remotes>) -> Self {
        let cache_bytes = usize::try_from(plan.cache_text_bytes).unwrap_or(usize::MAX);
        Self {
            cache: Arc::new(DocumentCache::new(cache_bytes)),
            remotes,
            applied: Mutex::default(),
            memory: plan.builds,
            free: Arc::new(Semaphore::new(mebibytes(plan.builds.total()) as usize)),
            shares: Mutex::default(),
        }
    }

    /// Reserves memory for a build of an object: as much as its last build needed. Waits until it is free.
    pub(crate) async fn reserve(&self, unit: &NamespacedName) -> Reservation {
        let share = self.shares.lock().get(unit).copied().unwrap_or_default();
        let permits = mebibytes(self.memory.bytes(share));
        let permit = self.free.clone().acquire_many_owned(permits).await;
        Reservation {
            share,
            memory: self.memory,
            _permit: permit.expect("the semaphore is never closed"),
        }
    }

    /// Notes that a build went over what it had reserved. True if another build may reserve more.
    pub(crate) fn went_over(&self, unit: &NamespacedName, reserved: &Reservation) -> bool {
        let Some(share) = reserved.share.next() else {
            return false;
        };
        self.shares.lock().insert(unit.clone(), share);
        true
    }

    /// Builds a directory of a source. Blocks: a large tree is milliseconds of pure work and reads of the mirror.
    pub(crate) fn build_blocking(
        &self,
        source: &Fetched,
        spec: &KustomizationSpec,
        options: &BuildOptions,
        runtime: &Handle,
    ) -> Result<Rendered, NotBuilt> {
        let path = spec.path.as_deref().unwrap_or_default();
        let tree = self.open(source).map_err(NotBuilt::Mirror)?;
        let directory = RepoPath::root()
            .join(path)
            .map_err(|problem| NotBuilt::Path(problem.to_string()))?;
        let found = tree.resolve(&directory);
        if found
            .map_err(|problem| NotBuilt::Errors(problem.into()))?
            .is_none()
        {
            return Err(NotBuilt::Path(format!("`{path}` is not in the source")));
        }
        let overlaid = overlay_spec(tree, &directory, spec).map_err(NotBuilt::SpecOverlay)?;
        let OverlaidTree { tree, is_generated } = overlaid;
        let rendered = match &self.remotes {
            None => kustomize::build(&tree, &directory, options),
            Some(remotes) => runtime.block_on(remotes.build(tree, &directory, options)),
        };
        let mut rendered = rendered.map_err(NotBuilt::Errors)?;
        if is_generated {
            // The kustomization was generated from the list of a folder, which inputs do not name, so that a later commit
            // cannot be compared.
            rendered.inputs.clear();
        }
        Ok(rendered)
    }

    /// The files of a source in service, with the shared cache.
    fn open(&self, source: &Fetched) -> Result<FileTree, git2::Error> {
        Ok(snapshot::open(source)?.with_cache(self.cache.clone()))
    }

    /// When the object is due again, if a build of this source would give what is already applied. Blocks for as many
    /// look-ups in the mirror as the build had inputs.
    pub(crate) fn still_applied(
        &self,
        unit: &NamespacedName,
        fingerprint: &str,
        source: &Fetched,
        now: Timestamp,
    ) -> Option<Timestamp> {
        // By the monotonic clock, so that a step of the wall clock defers no repair of drift.
        let (inputs, rest) = {
            let applied = self.lock();
            let last = applied.get(unit)?;
            let rest = last.due.checked_duration_since(Instant::now())?;
            (last.fingerprint == fingerprint && !rest.is_zero())
                .then(|| (last.inputs.clone(), rest))?
        };
        let unchanged = self.open(source).is_ok_and(|tree| tree.still_has(&inputs));
        unchanged.then(|| now.checked_add(rest).ok()).flatten()
    }

    /// Records a build that was applied completely, and when the object is due again.
    pub(crate) fn applied(
        &self,
        unit: &NamespacedName,
        fingerprint: &str,
        inputs: Inputs,
        due: Instant,
    ) {
        let last = AppliedBuild {
            fingerprint: fingerprint.to_owned(),
            inputs: Arc::new(inputs),
            due,
        };
        self.lock().insert(unit.clone(), last);
    }

    /// Forgets an object that is gone.
    pub(crate) fn remove(&self, unit: &NamespacedName) {
        self.forget(unit);
        self.shares.lock().remove(unit);
    }

    /// Forgets the last build of an object that may differ from it.
    pub(crate) fn forget(&self, unit: &NamespacedName) {
        self.lock().remove(unit);
    }

    /// The last builds, locked.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NamespacedName, AppliedBuild>> {
        self.applied.lock()
    }
}

/// Whole MiB, at least one.
fn mebibytes(bytes: u64) -> u32 {
    u32::try_from(bytes >> 20).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn builds(mib: u64) -> Builds {
        Builds::new(MemoryPlan::new(None, 1 << 20, Some(mib << 20)), None)
    }

    fn unit(name: &str) -> NamespacedName {
        NamespacedName::new("team", name)
    }

    #[test]
    fn what_runs_at_once_fits_the_memory_and_a_large_build_is_not_passed() {
        let builds = builds(100);
        let (small, large) = (unit("small"), unit("large"));
        let reserve = |unit| builds.reserve(unit).now_or_never();
        let first = reserve(&large).expect("a quarter is free");
        assert!(builds.went_over(&large, &first), "a half is more");
        drop(first);
        let half = reserve(&large).expect("a half is free");
        assert!(builds.went_over(&large, &half), "all of it is more");
        let quarter = reserve(&small).expect("a quarter is free beside a half");
        drop(half);
        let mut whole = Box::pin(builds.reserve(&large));
        assert!(
            whole.as_mut().now_or_never().is_none(),
            "a quarter is in use"
        );
        let mut later = Box::pin(builds.reserve(&small));
        assert!(
            later.as_mut().now_or_never().is_none(),
            "the large build is first"
        );
        drop(quarter);
        let whole = whole.now_or_never().expect("its turn");
        assert!(
            later.as_mut().now_or_never().is_none(),
            "all of it is in use"
        );
        assert!(!builds.went_over(&large, &whole), "there is no more");
        drop(whole);
        assert!(later.now_or_never().is_some());
    }

    #[test]
    fn a_unit_that_is_gone_begins_small_again() {
        let builds = builds(100);
        let unit = unit("a");
        let reserve = || builds.reserve(&unit).now_or_never().expect("it is free");
        let first = reserve();
        let small = first.limits().memory_bytes;
        builds.went_over(&unit, &first);
        drop(first);
        assert_eq!(reserve().limits().memory_bytes, 2 * small);
        builds.remove(&unit);
        assert_eq!(reserve().limits().memory_bytes, small);
    }
}

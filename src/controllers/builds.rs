//! Builds for the `Kustomization` controller, and remembers which files each build read.
//!
//! A commit that changes none of them cannot change the result, so it is neither built nor applied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use kustomize::{BuildErrors, BuildOptions, DocumentCache, FileTree, Inputs, Rendered, RepoPath};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;

use crate::git::{Fetched, Remotes, snapshot};
use overlayd_core::api::kustomization::KustomizationSpec;
use overlayd_core::names::NamespacedName;
use overlayd_core::render::spec_overlay::{OverlaidTree, SpecOverlayError, overlay_spec};

/// The state that all builds share.
#[derive(Debug)]
pub(crate) struct Builds {
    /// Files that were parsed, by their content, for builds of every source.
    cache: Arc<DocumentCache>,
    /// `None` if remote bases are refused.
    remotes: Option<Remotes>,
    /// The last complete build of each Kustomization.
    applied: Mutex<BTreeMap<NamespacedName, AppliedBuild>>,
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
    /// Builds with a cache of this many bytes of text.
    pub(crate) fn new(cache_bytes: usize, remotes: Option<Remotes>) -> Self {
        Self {
            cache: Arc::new(DocumentCache::new(cache_bytes)),
            remotes,
            applied: Mutex::default(),
        }
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

    /// Forgets an object that is gone, or that may differ from its last build.
    pub(crate) fn forget(&self, unit: &NamespacedName) {
        self.lock().remove(unit);
    }

    /// The last builds, locked.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NamespacedName, AppliedBuild>> {
        self.applied.lock()
    }
}

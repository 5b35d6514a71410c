//! Builds for the `Kustomization` controller, and remembers what each build looked at.
//!
//! A commit that changes nothing of that cannot change the result, so it is neither built nor applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kustomize::{BuildErrors, BuildOptions, DocumentCache, FileTree, Inputs, Rendered, RepoPath};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;

use crate::git::{Fetched, Remotes, snapshot};
use overlayd_core::api::kustomization::KustomizationSpec;
use overlayd_core::render::spec_overlay::{OverlaidTree, SpecOverlayError, overlay_spec};

/// What all builds share.
#[derive(Debug)]
pub(crate) struct Builds {
    cache: Arc<DocumentCache>,
    /// Nothing, if remote bases may not be used.
    remotes: Option<Remotes>,
    applied: Mutex<BTreeMap<String, Applied>>,
}

/// The last build of an object that was applied to its end.
#[derive(Debug)]
struct Applied {
    /// All that decides besides the source.
    fingerprint: String,
    inputs: Arc<Inputs>,
    /// When it is to be applied again in any case, to repair drift.
    due: Timestamp,
}

/// Why nothing was built.
#[derive(Debug)]
pub(crate) enum NotBuilt {
    Mirror(git2::Error),
    /// The path is not there, or leads out of the source.
    Path(String),
    /// The kustomization file cannot be made.
    SpecOverlay(SpecOverlayError),
    Errors(BuildErrors),
}

impl Builds {
    /// With a cache of so many bytes of text.
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
            // What a folder holds has no name, so nothing can be compared with the next commit's.
            rendered.inputs.clear();
        }
        Ok(rendered)
    }

    fn open(&self, source: &Fetched) -> Result<FileTree, git2::Error> {
        Ok(snapshot::open(source)?.with_cache(self.cache.clone()))
    }

    /// When the object is due again, if a build of this source would make what is applied already. Blocks for
    /// as many look-ups in the mirror as the build had inputs.
    pub(crate) fn still_applied(
        &self,
        key: &str,
        fingerprint: &str,
        source: &Fetched,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let (inputs, due) = {
            let applied = self.lock();
            let last = applied
                .get(key)
                .filter(|last| last.fingerprint == fingerprint && last.due > now)?;
            (last.inputs.clone(), last.due)
        };
        let unchanged = self.open(source).is_ok_and(|tree| tree.still_has(&inputs));
        unchanged.then_some(due)
    }

    /// Remembers what was applied to its end, and when it is due again.
    pub(crate) fn applied(&self, key: &str, fingerprint: &str, inputs: Inputs, due: Timestamp) {
        let last = Applied {
            fingerprint: fingerprint.to_owned(),
            inputs: Arc::new(inputs),
            due,
        };
        self.lock().insert(key.to_owned(), last);
    }

    /// Forgets an object: it is gone, or is no longer known to be as it was built.
    pub(crate) fn forget(&self, key: &str) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Applied>> {
        self.applied.lock()
    }
}

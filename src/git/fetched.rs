//! A commit that a mirror holds, and the part of it that is in service.
//!
//! A commit holds its view, and a view holds the commits that it includes, so the two are defined together.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use kustomize::RepoPath;
use sha2::{Digest as _, Sha256};

use crate::git::life::MirrorLife;
use overlayd_core::git::ignore::Ignore;
use overlayd_core::git::revision::Revision;
use overlayd_core::names::NamespacedName;

/// A commit that the mirror holds.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    /// The address, without credentials.
    pub(crate) url: String,
    /// The ref and the commit, printed as Flux prints them.
    pub(crate) revision: Revision,
    /// The bare repository that holds the commit's objects.
    pub(crate) mirror: PathBuf,
    /// Notes that the mirror cannot be read, so that it is cloned again.
    pub(crate) life: Arc<MirrorLife>,
    /// The id of the commit's tree: equal trees have equal ids.
    pub(crate) tree: String,
    /// The first line of the commit's message.
    pub(crate) subject: String,
    /// The submodules that were fetched with it, by their paths.
    pub(crate) submodules: Vec<(RepoPath, Arc<Self>)>,
    /// The part of the commit that is in service; `None` for all of it.
    pub(crate) view: Option<Arc<View>>,
    /// The digest of [`Fetched::content`], once it was asked for.
    pub(crate) content: OnceLock<String>,
}

impl Fetched {
    /// The mirrors that are read for these files: its own, and those of its submodules and includes.
    pub(crate) fn mirrors(&self) -> Vec<(&Path, &MirrorLife)> {
        let mut mirrors = vec![(self.mirror.as_path(), &*self.life)];
        let submodules = self.submodules.iter();
        mirrors.extend(submodules.flat_map(|(_, below)| below.mirrors()));
        let includes = self.view.iter().flat_map(|view| &view.includes);
        mirrors.extend(includes.flat_map(|include| include.fetched.mirrors()));
        mirrors
    }

    /// True if one of its mirrors cannot be read.
    pub(crate) fn is_damaged(&self) -> bool {
        self.mirrors().iter().any(|(_, life)| life.is_damaged())
    }

    /// A digest of the files that are in service, in hex: equal digests mean equal files. It is computed at the first call,
    /// when submodules and view are set.
    pub(crate) fn content(&self) -> &str {
        self.content.get_or_init(|| {
            let mut hash = Sha256::default();
            hash.update(&self.tree);
            for (path, below) in &self.submodules {
                hash.update(format!("\0submodule {path} {}", below.content()));
            }
            if let Some(view) = &self.view {
                hash.update(format!("\0{:?}\0{:?}", view.ignore, view.sparse));
                for include in &view.includes {
                    let content = include.fetched.content();
                    hash.update(format!(
                        "\0include {} {} {content}",
                        include.from, include.to
                    ));
                }
            }
            data_encoding::HEXLOWER.encode(&hash.finalize())
        })
    }
}

/// Which files of a commit are in service, and where others are added.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    /// Patterns of files that are not in service, in the order in which they count.
    pub(crate) ignore: Ignore,
    /// Only these directories are in service; all if the list is empty.
    pub(crate) sparse: Vec<RepoPath>,
    pub(crate) includes: Vec<Include>,
}

/// The tree of another source, or a part of it.
#[derive(Debug, Clone)]
pub(crate) struct Include {
    /// The other source.
    pub(crate) source: NamespacedName,
    /// The directory of the other source that is mounted.
    pub(crate) from: RepoPath,
    /// The place where it is mounted.
    pub(crate) to: RepoPath,
    /// The commit of the other source, with what of it is in service.
    pub(crate) fetched: Arc<Fetched>,
}

impl PartialEq for Include {
    fn eq(&self, other: &Self) -> bool {
        self.from == other.from
            && self.to == other.to
            && self.fetched.content() == other.fetched.content()
    }
}

impl View {
    /// True if a source is included, directly or by an include of an include, or if includes are nested deeper than `depth`.
    pub(crate) fn includes(&self, source: &NamespacedName, depth: usize) -> bool {
        let mut includes = self.includes.iter();
        includes.any(|include| {
            let below = include.fetched.view.as_ref();
            include.source == *source
                || depth == 0
                || below.is_some_and(|view| view.includes(source, depth - 1))
        })
    }
}

//! Pure: the files a build may read. A [`FileTree`] is an immutable snapshot, read as it is needed.
//!
//! Where the bytes come from (a git object store, a disk) is the shell's business, behind [`Files`].
//! Links are followed here, and none leads out of the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Problem;

/// A path below the root of a tree: segments joined by `/`, none of them empty, `.` or `..`.
/// The root itself is the empty path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RepoPath(String);

/// What stands at a path of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileEntry {
    /// A file's bytes.
    File(Arc<[u8]>),
    /// A directory.
    Directory,
    /// A symbolic link and where it points, as written.
    Link(String),
}

/// A source of files. Implementations answer for one immutable state.
pub trait Files: Send + Sync {
    /// What stands at the path, links not followed; `None` if nothing does.
    ///
    /// # Errors
    /// A message for the user if the entry exists but cannot be read.
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String>;
}

/// An immutable snapshot of files, cheap to clone, which remembers what was read from it.
#[derive(Clone)]
pub struct FileTree {
    files: Arc<dyn Files>,
    display: Display,
    read: Arc<Mutex<BTreeSet<RepoPath>>>,
}

#[derive(Debug, Clone)]
enum Display {
    Repository,
    Disk(RepoPath),
}

/// How many links one path may lead through.
const MAX_LINKS: usize = 40;

impl RepoPath {
    /// The root of the tree.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path as text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of one more segment.
    fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            Self(name.to_owned())
        } else {
            Self(format!("{}/{name}", self.0))
        }
    }

    /// The path without its last segment; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        Some(Self(
            self.0
                .rsplit_once('/')
                .map_or_else(String::new, |(parent, _)| parent.to_owned()),
        ))
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Joins a relative path, settling `.` and `..` by text alone.
    ///
    /// # Errors
    /// If `..` leads above the root.
    pub fn join(&self, relative: &str) -> Result<Self, Problem> {
        let mut path = self.clone();
        for segment in relative.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    path = path.parent().ok_or_else(|| {
                        Problem::Restricted(format!(
                            "path `{relative}` leaves the root of the tree"
                        ))
                    })?;
                }
                name => path = path.child(name),
            }
        }
        Ok(path)
    }

    /// True if `self` is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        ancestor.0.is_empty()
            || self.0 == ancestor.0
            || self
                .0
                .strip_prefix(&ancestor.0)
                .is_some_and(|rest| rest.starts_with('/'))
    }

    /// The rest of the path below `ancestor`.
    pub fn below(&self, ancestor: &Self) -> Option<&str> {
        if !self.is_within(ancestor) {
            return None;
        }
        Some(self.0[ancestor.0.len()..].trim_start_matches('/'))
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}

impl fmt::Debug for FileTree {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FileTree")
            .field("display", &self.display)
            .finish_non_exhaustive()
    }
}

impl FileTree {
    /// The tree of a repository; its paths are shown as they are.
    pub fn repository(files: Arc<dyn Files>) -> Self {
        Self {
            files,
            display: Display::Repository,
            read: Arc::default(),
        }
    }

    /// A tree whose root is the root of a disk; paths below `current` are shown relative to it.
    pub fn disk(files: Arc<dyn Files>, current: RepoPath) -> Self {
        Self {
            files,
            display: Display::Disk(current),
            read: Arc::default(),
        }
    }

    /// A tree made of texts, for tests.
    pub fn of(files: impl IntoIterator<Item = (impl Into<String>, impl Into<Vec<u8>>)>) -> Self {
        let mut entries = BTreeMap::new();
        for (path, bytes) in files {
            let path = RepoPath(path.into());
            let mut directory = path.parent();
            while let Some(above) = directory {
                directory = above.parent();
                entries.insert(above, FileEntry::Directory);
            }
            entries.insert(path, FileEntry::File(bytes.into().into()));
        }
        Self::repository(Arc::new(InMemory(entries)))
    }

    /// A path as a person would name it.
    pub fn show(&self, path: &RepoPath) -> String {
        match &self.display {
            Display::Repository => path.to_string(),
            Display::Disk(current) => match path.below(current) {
                Some("") => ".".to_owned(),
                Some(below) => below.to_owned(),
                None => format!("/{}", path.as_str()),
            },
        }
    }

    /// What was read so far, links followed: files, and directories that were looked for.
    pub fn inputs(&self) -> BTreeSet<RepoPath> {
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Follows links to the real path and what stands there; `None` if nothing does.
    ///
    /// # Errors
    /// If a link leaves the tree, links go in a circle, or the entry cannot be read.
    pub fn resolve(&self, path: &RepoPath) -> Result<Option<(RepoPath, FileEntry)>, Problem> {
        let mut links = 0;
        let mut real = RepoPath::root();
        let mut entry = FileEntry::Directory;
        let mut rest: Vec<String> = segments(path.as_str());
        while let Some(segment) = rest.pop() {
            if segment == ".." {
                real = real.parent().ok_or_else(|| self.link_escapes(path))?;
                entry = FileEntry::Directory;
                continue;
            }
            if entry != FileEntry::Directory {
                return Ok(None);
            }
            let next = real.child(&segment);
            self.remember(&next);
            match self.files.entry(&next).map_err(Problem::NotFound)? {
                None => return Ok(None),
                Some(FileEntry::Link(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Problem::NotFound(format!(
                            "too many links on the way to `{}`",
                            self.show(path)
                        )));
                    }
                    if target.starts_with('/') {
                        match self.display {
                            Display::Repository => return Err(self.link_escapes(path)),
                            Display::Disk(_) => real = RepoPath::root(),
                        }
                    }
                    rest.extend(segments(&target));
                }
                Some(found) => (real, entry) = (next, found),
            }
        }
        Ok(Some((real, entry)))
    }

    fn link_escapes(&self, path: &RepoPath) -> Problem {
        Problem::Restricted(format!(
            "a link on the way to `{}` leaves the root of the tree",
            self.show(path)
        ))
    }

    fn remember(&self, path: &RepoPath) {
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.clone());
    }
}

/// The segments of a path, last first, without those that mean nothing.
fn segments(path: &str) -> Vec<String> {
    path.rsplit('/')
        .filter(|segment| !matches!(*segment, "" | "."))
        .map(str::to_owned)
        .collect()
}

struct InMemory(BTreeMap<RepoPath, FileEntry>);

impl Files for InMemory {
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
        Ok(self.0.get(path).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_the_tree() {
        let base = RepoPath::root().join("overlays/prod").unwrap();
        assert_eq!(base.join("../../base").unwrap().as_str(), "base");
        assert!(matches!(
            base.join("../../../etc"),
            Err(Problem::Restricted(_))
        ));
    }

    #[test]
    fn links_stay_inside() {
        let files = BTreeMap::from([
            (RepoPath("a".into()), FileEntry::Directory),
            (RepoPath("a/up".into()), FileEntry::Link("../b".into())),
            (RepoPath("a/out".into()), FileEntry::Link("../../b".into())),
            (
                RepoPath("a/absolute".into()),
                FileEntry::Link("/etc/passwd".into()),
            ),
            (RepoPath("a/loop".into()), FileEntry::Link("loop".into())),
            (RepoPath("b".into()), FileEntry::File(Arc::from(*b"x"))),
        ]);
        let tree = FileTree::repository(Arc::new(InMemory(files)));
        let resolve = |path: &str| tree.resolve(&RepoPath(path.into()));
        assert_eq!(resolve("a/up").unwrap().unwrap().0.as_str(), "b");
        assert!(matches!(resolve("a/out"), Err(Problem::Restricted(_))));
        assert!(matches!(resolve("a/absolute"), Err(Problem::Restricted(_))));
        assert!(matches!(resolve("a/loop"), Err(Problem::NotFound(_))));
        assert_eq!(resolve("a/missing").unwrap(), None);
    }
}

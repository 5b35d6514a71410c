//! Pure: the files a build may read. A [`FileTree`] is an immutable snapshot, read as it is needed.
//!
//! Where the bytes come from (a git object store, a disk) is the shell's business, behind [`Files`].
//! Links are followed here, and none leads out of the tree. Remote bases are mounted beside the tree
//! (see [`crate::remote`]), and none leads out of its mount.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::DocumentCache;
use crate::error::{BuildError, Problem};
use crate::files::{FileEntry, Files, InMemory, Inputs};
use crate::path::{RepoPath, segments};
use crate::remote::{Provided, Remote, RemoteDirectory};

/// An immutable snapshot of files, cheap to clone, which remembers what was looked at.
#[derive(Clone)]
pub struct FileTree {
    files: Arc<dyn Files>,
    display: Display,
    seen: Arc<Mutex<Inputs>>,
    mounts: Vec<Mount>,
    remotes: BTreeMap<Remote, ProvidedAt>,
    cache: Option<Arc<DocumentCache>>,
    /// A file whose bytes are given with the build.
    replaced: Option<(RepoPath, Arc<[u8]>)>,
}

/// A tree fetched from elsewhere, below a path that no repository can have.
#[derive(Clone)]
struct Mount {
    root: RepoPath,
    /// What stands for the root in messages.
    shown: String,
    files: Arc<dyn Files>,
    content: Content,
}

/// What a mount holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Repository,
    /// One file, which is shown by its URL.
    File,
}

#[derive(Debug, Clone)]
enum Display {
    Repository,
    Disk(RepoPath),
}

/// How many links one path may lead through.
const MAX_LINKS: usize = 40;

impl fmt::Debug for FileTree {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FileTree")
            .field("display", &self.display)
            .finish_non_exhaustive()
    }
}

impl FileTree {
    fn new(files: Arc<dyn Files>, display: Display) -> Self {
        Self {
            files,
            display,
            seen: Arc::default(),
            mounts: Vec::new(),
            remotes: BTreeMap::new(),
            cache: None,
            replaced: None,
        }
    }

    /// The tree of a repository; its paths are shown as they are.
    pub fn repository(files: Arc<dyn Files>) -> Self {
        Self::new(files, Display::Repository)
    }

    /// A tree whose root is the root of a disk; paths below `current` are shown relative to it.
    pub fn disk(files: Arc<dyn Files>, current: RepoPath) -> Self {
        Self::new(files, Display::Disk(current))
    }

    /// A tree made of texts, for tests.
    pub fn of(files: impl IntoIterator<Item = (impl Into<String>, impl Into<Vec<u8>>)>) -> Self {
        Self::repository(Arc::new(InMemory::of(files)))
    }

    /// The same tree, whose files are parsed once per content, by all builds that share the cache.
    #[must_use]
    pub fn with_cache(mut self, cache: Arc<DocumentCache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// The same tree with other bytes in one file, which need not be there. What the build looked at names the file
    /// as it really is, so the bytes given here are for whoever gives them to remember.
    #[must_use]
    pub fn replacing(mut self, path: RepoPath, bytes: impl Into<Arc<[u8]>>) -> Self {
        // That nothing stands there may have been seen before.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(&path);
        drop(seen);
        self.replaced = Some((path, bytes.into()));
        self
    }

    /// The names of what stands in a directory, sorted.
    ///
    /// # Errors
    /// If it is no directory, or cannot be read.
    pub fn list(&self, path: &RepoPath) -> Result<Vec<String>, Problem> {
        let mut names = self.files.list(path).map_err(Problem::NotFound)?;
        names.sort();
        Ok(names)
    }

    /// The parsed documents of contents that were read before, by this build or another.
    pub(crate) fn cache(&self) -> Option<&DocumentCache> {
        self.cache.as_deref()
    }

    /// Puts files fetched from elsewhere beside the tree. Gives the path of their root.
    fn mount(&mut self, shown: &str, files: Arc<dyn Files>, content: Content) -> RepoPath {
        // A name with NUL stands in no repository and on no disk.
        let root = RepoPath(format!("\0{}", self.mounts.len()));
        self.mounts.push(Mount {
            root: root.clone(),
            shown: shown.to_owned(),
            files,
            content,
        });
        root
    }

    pub(crate) fn remember_remote(&mut self, remote: Remote, provided: ProvidedAt) {
        self.remotes.insert(remote, provided);
    }

    /// Where a remote stands, if it was provided.
    pub(crate) fn provided(&self, remote: &Remote) -> Option<&ProvidedAt> {
        self.remotes.get(remote)
    }

    /// The mount that a path lies in.
    fn mount_of(&self, path: &RepoPath) -> Option<&Mount> {
        if !path.0.starts_with('\0') {
            return None;
        }
        self.mounts.iter().find(|mount| path.is_within(&mount.root))
    }

    /// The root that no path from here may leave: that of the mount, if the path lies in one.
    pub(crate) fn mount_root(&self, path: &RepoPath) -> Option<&RepoPath> {
        self.mount_of(path).map(|mount| &mount.root)
    }

    /// A path as a person would name it.
    pub fn show(&self, path: &RepoPath) -> String {
        if let Some(mount) = self.mount_of(path) {
            return match path.below(&mount.root) {
                None | Some("") => mount.shown.clone(),
                Some(_) if mount.content == Content::File => mount.shown.clone(),
                Some(below) => format!("{}//{below}", mount.shown),
            };
        }
        match &self.display {
            Display::Repository => path.to_string(),
            Display::Disk(current) => match path.below(current) {
                Some("") => ".".to_owned(),
                Some(below) => below.to_owned(),
                None => format!("/{}", path.as_str()),
            },
        }
    }

    /// A path as it is seen from a directory: `../base/app.yaml`. Within a mount, from the mount's root.
    pub(crate) fn relative(&self, path: &RepoPath, from: &RepoPath) -> String {
        if let Some(root) = self.mount_root(path) {
            return path.below(root).unwrap_or_default().to_owned();
        }
        let (mine, theirs) = (segments(&path.0), segments(&from.0));
        let common = mine
            .iter()
            .rev()
            .zip(theirs.iter().rev())
            .take_while(|(mine, theirs)| mine == theirs)
            .count();
        let up = std::iter::repeat_n("..", theirs.len() - common);
        let down = mine.iter().rev().skip(common).map(String::as_str);
        up.chain(down).collect::<Vec<_>>().join("/")
    }

    /// The address and ref of the repository that a path was fetched from.
    pub(crate) fn remote_of(&self, path: &RepoPath) -> Option<(&str, Option<&str>)> {
        let root = self.mount_root(path)?;
        self.remotes.iter().find_map(|(remote, at)| match remote {
            Remote::Repository(repository) if at.as_ref() == Ok(root) => {
                Some((repository.url.as_str(), repository.reference.as_deref()))
            }
            _ => None,
        })
    }

    /// What was looked at so far, links followed, and what stood there. Mounted trees are not listed:
    /// they are fetched anew when they are asked for anew.
    pub fn inputs(&self) -> Inputs {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let own = seen.iter().filter(|(path, _)| !path.0.starts_with('\0'));
        own.map(|(path, entry)| (path.clone(), entry.clone()))
            .collect()
    }

    /// What was provided from elsewhere.
    pub(crate) fn remotes(&self) -> Vec<Remote> {
        self.remotes.keys().cloned().collect()
    }

    /// True if everything that an earlier build looked at still stands there unchanged.
    pub fn still_has(&self, inputs: &Inputs) -> bool {
        inputs.iter().all(|(path, then)| {
            // A file without a name for its content may have any.
            !matches!(then, Some(FileEntry::File(None)))
                && self
                    .files
                    .entry(path)
                    .is_ok_and(|now| now.as_ref() == then.as_ref())
        })
    }

    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, Problem> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = seen.get(path) {
            return Ok(entry.clone());
        }
        let entry = match self.mount_of(path) {
            Some(mount) if *path == mount.root => Ok(Some(FileEntry::Directory)),
            Some(mount) => {
                let below = path.below(&mount.root).unwrap_or_default();
                mount.files.entry(&RepoPath(below.to_owned()))
            }
            None => self.files.entry(path),
        };
        let entry = match (entry.map_err(Problem::NotFound)?, &self.replaced) {
            (None, Some((replaced, _))) if replaced == path => Some(FileEntry::File(None)),
            (entry, _) => entry,
        };
        seen.insert(path.clone(), entry.clone());
        Ok(entry)
    }

    /// True if a link stands in a directory, whose path is real.
    ///
    /// # Errors
    /// If the entry cannot be read.
    pub fn is_link(&self, path: &RepoPath) -> Result<bool, Problem> {
        let entry = self.entry(path)?;
        Ok(matches!(entry, Some(FileEntry::Link(_))))
    }

    /// The bytes of a file at its real path.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read(&self, real: &RepoPath) -> Result<Arc<[u8]>, Problem> {
        if let Some((replaced, bytes)) = &self.replaced
            && replaced == real
        {
            return Ok(bytes.clone());
        }
        let bytes = match self.mount_of(real) {
            Some(mount) => {
                let below = real.below(&mount.root).unwrap_or_default();
                mount.files.read(&RepoPath(below.to_owned()))
            }
            None => self.files.read(real),
        };
        bytes.map_err(Problem::NotFound)
    }

    /// Follows links to the real path and what stands there; `None` if nothing does.
    ///
    /// # Errors
    /// If a link leaves the tree, links go in a circle, or the entry cannot be read.
    pub fn resolve(&self, path: &RepoPath) -> Result<Option<(RepoPath, FileEntry)>, Problem> {
        let mut links = 0;
        let root = self.mount_root(path).cloned().unwrap_or_default();
        let mut real = root.clone();
        let mut entry = FileEntry::Directory;
        let mut rest: Vec<String> = segments(path.below(&root).unwrap_or_default());
        while let Some(segment) = rest.pop() {
            if segment == ".." {
                if real == root {
                    return Err(self.link_escapes(path));
                }
                real = real.parent().unwrap_or_default();
                entry = FileEntry::Directory;
                continue;
            }
            if entry != FileEntry::Directory {
                return Ok(None);
            }
            let next = real.child(&segment);
            match self.entry(&next)? {
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
                            Display::Disk(_) if root == RepoPath::root() => real = root.clone(),
                            _ => return Err(self.link_escapes(path)),
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
}

/// What a file from a URL is called in its mount.
const FILE: &str = "file";

/// Where a provided remote stands, or why it does not.
pub(crate) type ProvidedAt = Result<RepoPath, String>;

impl FileTree {
    /// The directory of a remote repository that was provided.
    ///
    /// # Errors
    /// Why the repository cannot be had.
    pub fn remote_directory(&self, wanted: &RemoteDirectory) -> Result<RepoPath, BuildError> {
        let remote = Remote::Repository(wanted.repository.clone());
        match self.provided(&remote) {
            Some(Ok(root)) => Ok(root.join(&wanted.directory)?),
            Some(Err(reason)) => {
                Err(Problem::NotFound(format!("cannot fetch `{remote}`: {reason}")).into())
            }
            None => Err(Problem::NotFound(format!("`{remote}` is not fetched")).into()),
        }
    }

    /// Hands over what a build needed, or says why it cannot be had.
    pub fn provide(&mut self, remote: Remote, outcome: Result<Provided, String>) {
        let provided = outcome.map(|provided| match provided {
            Provided::Files(files) => self.mount(&remote.to_string(), files, Content::Repository),
            Provided::Bytes(bytes) => {
                let files = Arc::new(InMemory::of([(FILE, bytes)]));
                self.mount(&remote.to_string(), files, Content::File)
                    .child(FILE)
            }
        });
        self.remember_remote(remote, provided);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::InMemoryEntry;

    #[test]
    fn links_stay_inside() {
        let files = BTreeMap::from([
            (RepoPath("a".into()), InMemoryEntry::Directory),
            (RepoPath("a/up".into()), InMemoryEntry::Link("../b".into())),
            (
                RepoPath("a/out".into()),
                InMemoryEntry::Link("../../b".into()),
            ),
            (
                RepoPath("a/absolute".into()),
                InMemoryEntry::Link("/etc/passwd".into()),
            ),
            (
                RepoPath("a/loop".into()),
                InMemoryEntry::Link("loop".into()),
            ),
            (RepoPath("b".into()), InMemoryEntry::File(Arc::from(*b"x"))),
        ]);
        let tree = FileTree::repository(Arc::new(InMemory(files)));
        let resolve = |path: &str| tree.resolve(&RepoPath(path.into()));
        assert_eq!(resolve("a/up").unwrap().unwrap().0.as_str(), "b");
        assert!(matches!(resolve("a/out"), Err(Problem::Restricted(_))));
        assert!(matches!(resolve("a/absolute"), Err(Problem::Restricted(_))));
        assert!(matches!(resolve("a/loop"), Err(Problem::NotFound(_))));
        assert_eq!(resolve("a/missing").unwrap(), None);
    }

    #[test]
    fn a_tree_still_has_what_did_not_change() {
        let then = FileTree::of([("a/x", "1"), ("a/y", "1")]);
        for path in ["a/x", "a/missing"] {
            then.resolve(&RepoPath(path.into())).unwrap();
        }
        let inputs = then.inputs();
        let has = |files: &[(&'static str, &'static str)]| {
            FileTree::of(files.iter().copied()).still_has(&inputs)
        };
        assert!(has(&[("a/x", "1"), ("a/y", "2"), ("b", "new")]));
        assert!(!has(&[("a/x", "2")]));
        assert!(!has(&[("a/x", "1"), ("a/missing", "")]));
        assert!(!has(&[("a", "1")]));
    }

    #[test]
    fn nothing_leads_out_of_a_mount() {
        let mut tree = FileTree::of([("secret", "x")]);
        let root = tree.mount(
            "https://git.example/r",
            Arc::new(InMemory(BTreeMap::from([
                (
                    RepoPath("out".into()),
                    InMemoryEntry::Link("../secret".into()),
                ),
                (RepoPath("in".into()), InMemoryEntry::File(Arc::from(*b"y"))),
            ]))),
            Content::Repository,
        );
        let resolve = |name: &str| tree.resolve(&root.child(name));
        assert!(matches!(resolve("out"), Err(Problem::Restricted(_))));
        let (real, _) = resolve("in").unwrap().unwrap();
        assert_eq!(&*tree.read(&real).unwrap(), b"y");
        assert_eq!(tree.show(&real), "https://git.example/r//in");
    }
}

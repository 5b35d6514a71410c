//! Pure: where the bytes of a tree come from: the trait [`Files`], and files in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use goyaml::Text;

use crate::path::RepoPath;

/// What stands at a path of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileEntry {
    /// A file. Its content has a name where the source of files knows one (a git blob's id):
    /// equal names mean equal bytes.
    File(Option<ContentId>),
    /// A directory.
    Directory,
    /// A symbolic link and where it points, as written.
    Link(String),
}

/// Names the bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(Text);

/// A source of files. Implementations answer for one immutable state.
pub trait Files: Send + Sync {
    /// What stands at the path, links not followed; `None` if nothing does.
    ///
    /// # Errors
    /// A message for the user if the entry exists but cannot be read.
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String>;

    /// The bytes of a file.
    ///
    /// # Errors
    /// A message for the user if they cannot be read, or are too many.
    fn read(&self, path: &RepoPath) -> Result<Arc<[u8]>, String>;

    /// The names of what stands in a directory, in any order.
    ///
    /// # Errors
    /// A message for the user if it is no directory or cannot be read.
    fn list(&self, path: &RepoPath) -> Result<Vec<String>, String>;
}

/// Everything a build looked at, and what stood there. Where all of it is the same, so is the result.
pub type Inputs = BTreeMap<RepoPath, Option<FileEntry>>;

impl ContentId {
    /// A name that the source of files vouches for, such as a git blob's id.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }
}

/// Files that are held in memory.
pub(crate) struct InMemory(pub(crate) BTreeMap<RepoPath, InMemoryEntry>);

/// What stands at a path in memory.
pub(crate) enum InMemoryEntry {
    /// A file with its bytes.
    File(Arc<[u8]>),
    /// A directory.
    Directory,
    #[cfg(test)]
    Link(String),
}

impl InMemory {
    pub(crate) fn of(
        files: impl IntoIterator<Item = (impl Into<String>, impl Into<Vec<u8>>)>,
    ) -> Self {
        let mut entries = BTreeMap::new();
        for (path, bytes) in files {
            let path = RepoPath(path.into());
            let mut directory = path.parent();
            while let Some(above) = directory {
                directory = above.parent();
                entries.insert(above, InMemoryEntry::Directory);
            }
            entries.insert(path, InMemoryEntry::File(bytes.into().into()));
        }
        Self(entries)
    }
}

impl Files for InMemory {
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
        Ok(self.0.get(path).map(|entry| match entry {
            InMemoryEntry::File(bytes) => FileEntry::File(Some(ContentId::of(bytes))),
            InMemoryEntry::Directory => FileEntry::Directory,
            #[cfg(test)]
            InMemoryEntry::Link(target) => FileEntry::Link(target.clone()),
        }))
    }

    fn read(&self, path: &RepoPath) -> Result<Arc<[u8]>, String> {
        match self.0.get(path) {
            Some(InMemoryEntry::File(bytes)) => Ok(bytes.clone()),
            _ => Err(format!("`{path}` is no file")),
        }
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<String>, String> {
        let children = self
            .0
            .keys()
            .filter(|child| child.parent().as_ref() == Some(path));
        Ok(children.map(|child| child.name().to_owned()).collect())
    }
}

impl ContentId {
    /// The SHA-256 of the bytes.
    fn of(bytes: &[u8]) -> Self {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(bytes);
        Self(
            digest
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                .into(),
        )
    }
}

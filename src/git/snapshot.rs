//! Reads git objects: the tree of a commit as a `FileTree`, without a checkout.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use git2::{FileMode, ObjectType, Oid, Repository};
use kustomize::{FileEntry, FileTree, Files, RepoPath};

use super::mirror::Fetched;

/// The files of one commit. Objects are immutable, so reading them late changes nothing.
struct CommitFiles {
    repository: Mutex<Repository>,
    tree: Oid,
    max_file_bytes: usize,
}

/// Blobs above this size are not manifests.
const MAX_FILE_BYTES: usize = 32 << 20;

/// Opens the tree of a fetched commit.
///
/// # Errors
/// If the mirror lost the commit.
pub(crate) fn open(fetched: &Fetched) -> Result<FileTree, git2::Error> {
    let files = CommitFiles::open(&fetched.mirror, &fetched.tree)?;
    Ok(FileTree::repository(Arc::new(files)))
}

impl CommitFiles {
    fn open(mirror: &Path, tree: &str) -> Result<Self, git2::Error> {
        let repository = Repository::open_bare(mirror)?;
        let tree = Oid::from_str(tree)?;
        repository.find_tree(tree)?;
        Ok(Self {
            repository: Mutex::new(repository),
            tree,
            max_file_bytes: MAX_FILE_BYTES,
        })
    }
}

impl Files for CommitFiles {
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
        let repository = self
            .repository
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let unreadable = |error: git2::Error| {
            format!("cannot read `{path}` from the mirror: {}", error.message())
        };
        let tree = repository.find_tree(self.tree).map_err(unreadable)?;
        let entry = match tree.get_path(Path::new(path.as_str())) {
            Ok(entry) => entry,
            Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        match entry.kind() {
            Some(ObjectType::Tree) => return Ok(Some(FileEntry::Directory)),
            Some(ObjectType::Blob) => {}
            _ => {
                return Err(format!(
                    "`{path}` is a submodule, which is not supported yet"
                ));
            }
        }
        let size = repository
            .odb()
            .and_then(|odb| odb.read_header(entry.id()))
            .map_err(unreadable)?
            .0;
        if size > self.max_file_bytes {
            return Err(format!(
                "`{path}` has {size} bytes; more than {} are not read",
                self.max_file_bytes
            ));
        }
        let blob = repository.find_blob(entry.id()).map_err(unreadable)?;
        if entry.filemode() == i32::from(FileMode::Link) {
            let target = String::from_utf8(blob.content().to_vec())
                .map_err(|_| format!("link `{path}` is not text"))?;
            return Ok(Some(FileEntry::Link(target)));
        }
        Ok(Some(FileEntry::File(blob.content().into())))
    }
}

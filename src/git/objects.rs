//! Reads single objects of a mirror, each after its size is known: a blob of 1.5 GB of zeros takes 6.5 MB in a pack, and
//! libgit2 unpacks an object whole.

use git2::{Blob, Commit, ErrorClass, ErrorCode, Oid, Repository, Tree};
use std::path::Path;

/// The largest commit, in bytes: its message is shown in part only.
const MAX_COMMIT_BYTES: usize = 1 << 20;
/// The largest tree, in bytes: about 200,000 names in one directory.
const MAX_TREE_BYTES: usize = 8 << 20;

/// A commit of a sane size.
///
/// # Errors
/// The mirror does not have it, or it is larger than any real commit.
pub(super) fn commit(repository: &Repository, id: Oid) -> Result<Commit<'_>, git2::Error> {
    check(repository, id, "commit", MAX_COMMIT_BYTES)?;
    repository.find_commit(id)
}

/// A directory of a sane size.
///
/// # Errors
/// The mirror does not have it, or it has more names than are read.
pub(super) fn tree(repository: &Repository, id: Oid) -> Result<Tree<'_>, git2::Error> {
    check(repository, id, "directory", MAX_TREE_BYTES)?;
    repository.find_tree(id)
}

/// A file of at most this many bytes.
///
/// # Errors
/// The mirror does not have it, or it is larger.
pub(super) fn blob(
    repository: &Repository,
    id: Oid,
    max_bytes: usize,
) -> Result<Blob<'_>, git2::Error> {
    check(repository, id, "file", max_bytes)?;
    repository.find_blob(id)
}

/// What a directory has at a path.
pub(super) struct GitEntry {
    pub(super) id: Oid,
    pub(super) kind: Option<git2::ObjectType>,
    pub(super) mode: i32,
}

/// Walks from a directory to a path; `None` if there is nothing.
///
/// # Errors
/// A directory on the way cannot be read.
pub(super) fn at_path(
    repository: &Repository,
    root: Oid,
    path: &Path,
) -> Result<Option<GitEntry>, git2::Error> {
    let mut found = GitEntry {
        id: root,
        kind: Some(git2::ObjectType::Tree),
        mode: i32::from(git2::FileMode::Tree),
    };
    for name in path {
        if found.kind != Some(git2::ObjectType::Tree) {
            return Ok(None);
        }
        let tree = tree(repository, found.id)?;
        let Some(entry) = name.to_str().and_then(|name| tree.get_name(name)) else {
            return Ok(None);
        };
        found = GitEntry {
            id: entry.id(),
            kind: entry.kind(),
            mode: entry.filemode(),
        };
    }
    Ok(Some(found))
}

/// Asks the size of an object, which is in its header.
fn check(
    repository: &Repository,
    id: Oid,
    kind: &str,
    max_bytes: usize,
) -> Result<(), git2::Error> {
    let (size, _) = repository.odb()?.read_header(id)?;
    if size <= max_bytes {
        return Ok(());
    }
    let message = format!("the {kind} {id} has {size} bytes; more than {max_bytes} are not read");
    Err(git2::Error::new(TOO_LARGE, ErrorClass::Object, message))
}

/// The code of an object that is larger than what is read. libgit2 uses it for buffers of its own alone.
const TOO_LARGE: ErrorCode = ErrorCode::BufSize;

/// True for an object that is there, and larger than what is read.
pub(super) fn is_too_large(error: &git2::Error) -> bool {
    error.code() == TOO_LARGE
}

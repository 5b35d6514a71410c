//! Reads a disk: files of the machine as a tree that the engine can build from.

use std::path::Path;
use std::sync::Arc;

use kustomize::{FileEntry, FileTree, Files, RepoPath};

use crate::cli::report::Failure;
use crate::git::view::Filtered;
use overlayd_core::git::ignore::Ignore;

/// The whole disk, since the bases of a kustomization may be outside of its directory.
struct Disk;

impl Files for Disk {
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
        let path = Path::new("/").join(path.as_str());
        let unreadable =
            |error: std::io::Error| format!("cannot read `{}`: {error}", path.display());
        let metadata = match std::fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(unreadable(error)),
        };
        if metadata.is_symlink() {
            let target = std::fs::read_link(&path).map_err(unreadable)?;
            let target = target
                .to_str()
                .ok_or_else(|| format!("link `{}` is not UTF-8", path.display()))?;
            return Ok(Some(FileEntry::Link(target.to_owned())));
        }
        if metadata.is_dir() {
            return Ok(Some(FileEntry::Directory));
        }
        if !metadata.is_file() {
            return Err(format!(
                "`{}` is neither a file nor a directory",
                path.display()
            ));
        }
        Ok(Some(FileEntry::File(None)))
    }

    fn read(&self, path: &RepoPath) -> Result<Arc<[u8]>, String> {
        let path = Path::new("/").join(path.as_str());
        match std::fs::read(&path) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(format!("cannot read `{}`: {error}", path.display())),
        }
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<String>, String> {
        let path = Path::new("/").join(path.as_str());
        let unreadable = |error| format!("cannot list `{}`: {error}", path.display());
        let entries = std::fs::read_dir(&path).map_err(unreadable)?;
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.map_err(unreadable)?.file_name();
            Ok(name.to_string_lossy().into_owned())
        };
        entries.map(name).collect()
    }
}

/// The tree of the disk, and a directory of it.
pub(super) fn open(directory: &Path) -> Result<(FileTree, RepoPath), Failure> {
    open_of(directory, Arc::new(Disk))
}

/// The same, without the files that a GitRepository leaves out by default.
pub(super) fn open_as_source(directory: &Path) -> Result<(FileTree, RepoPath), Failure> {
    let files = Filtered::new(Arc::new(Disk), Ignore::defaults());
    open_of(directory, Arc::new(files))
}

/// The tree of the whole disk, and the directory in it. Messages name paths as seen from the working directory.
fn open_of(directory: &Path, files: Arc<dyn Files>) -> Result<(FileTree, RepoPath), Failure> {
    let repo_path = |path: &Path| -> Result<RepoPath, Failure> {
        let text = path
            .to_str()
            .ok_or_else(|| Failure::new(format!("path `{}` is not UTF-8", path.display())))?;
        RepoPath::root()
            .join(text)
            .map_err(|problem| Failure::new(problem.to_string()))
    };
    let current = std::env::current_dir()?;
    let absolute = current.join(directory);
    let tree = FileTree::disk(files, repo_path(&current)?);
    Ok((tree, repo_path(&absolute)?))
}

//! Reads git objects: the tree of a commit as a `FileTree`, without a checkout.

use std::path::Path;
use std::sync::Arc;

use git2::{FileMode, ObjectType, Oid, Repository};
use kustomize::{ContentId, FileEntry, FileTree, Files, RepoPath};
use parking_lot::{Mutex, MutexGuard};

use crate::git::fetched::Fetched;
use crate::git::life::MirrorLife;
use crate::git::view::{Filtered, Mounted, Sparse};

/// The files of one commit. Objects are immutable, so reading them late changes nothing.
struct CommitFiles {
    repository: Mutex<Repository>,
    /// Notes damage. `None` for a repository that is no mirror of ours.
    life: Option<Arc<MirrorLife>>,
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
    Ok(FileTree::repository(files(fetched)?))
}

/// The files of a fetched commit that are in service.
///
/// # Errors
/// If the mirror lost the commit.
pub(crate) fn files(fetched: &Fetched) -> Result<Arc<dyn Files>, git2::Error> {
    let mut files = whole(fetched)?;
    let Some(view) = &fetched.view else {
        return Ok(files);
    };
    if !view.sparse.is_empty() {
        let directories = view.sparse.clone();
        files = Arc::new(Sparse { files, directories });
    }
    if !view.includes.is_empty() {
        let others = view.includes.iter().map(|include| {
            let files = self::files(&include.fetched)?;
            Ok((include.to.clone(), include.from.clone(), files))
        });
        let others = others.collect::<Result<_, git2::Error>>()?;
        files = Arc::new(Mounted { own: files, others });
    }
    let ignore = view.ignore.clone();
    Ok(Arc::new(Filtered { files, ignore }))
}

/// A commit's files with those of its submodules in their places.
fn whole(fetched: &Fetched) -> Result<Arc<dyn Files>, git2::Error> {
    let own: Arc<dyn Files> = Arc::new(CommitFiles::open(fetched)?);
    if fetched.submodules.is_empty() {
        return Ok(own);
    }
    let others = fetched
        .submodules
        .iter()
        .map(|(path, fetched)| Ok((path.clone(), RepoPath::root(), files(fetched)?)));
    let others = others.collect::<Result<_, git2::Error>>()?;
    Ok(Arc::new(Mounted { own, others }))
}

/// The files that leave things out of a source.
const IGNORE_FILE: &str = ".sourceignore";
/// The most ignore files of a commit, and the largest one, in bytes.
const MAX_IGNORE_FILES: usize = 200;
const MAX_IGNORE_BYTES: usize = 64 << 10;
/// The most directories of a commit that are walked, and the longest path of one.
const MAX_TREES: usize = 200_000;
const MAX_PATH: usize = 4096;

/// Why the ignore files of a commit cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IgnoreFilesError {
    #[error("{}", .0.message())]
    Mirror(#[from] git2::Error),
    #[error("the repository has more than {MAX_TREES} directories")]
    TooManyDirectories,
    #[error("the repository has more than {MAX_IGNORE_FILES} `{IGNORE_FILE}` files")]
    TooManyFiles,
    #[error("`{0}{IGNORE_FILE}` has more than {MAX_IGNORE_BYTES} bytes")]
    TooLarge(String),
}

/// The `.sourceignore` files of a commit, each with its directory, the root's first.
///
/// # Errors
/// The mirror cannot be read, or there are too many files, or one is too large.
pub(crate) fn source_ignores(fetched: &Fetched) -> Result<Vec<(String, String)>, IgnoreFilesError> {
    let ignores = read_ignores(fetched);
    if let Err(IgnoreFilesError::Mirror(error)) = &ignores {
        fetched.life.note_read_error(error);
    }
    ignores
}

fn read_ignores(fetched: &Fetched) -> Result<Vec<(String, String)>, IgnoreFilesError> {
    let repository = Repository::open_bare(&fetched.mirror)?;
    let root = Oid::from_str(&fetched.tree)?;
    let mut files = ignore_files(&repository, root)?;
    files.sort_by_key(|(directory, _)| directory.matches('/').count());
    let texts = files.into_iter().map(|(directory, id)| {
        let blob = repository.find_blob(id)?;
        if blob.size() > MAX_IGNORE_BYTES {
            return Err(IgnoreFilesError::TooLarge(directory));
        }
        let text = String::from_utf8_lossy(blob.content()).into_owned();
        Ok((directory, text))
    });
    texts.collect()
}

/// The directories with an ignore file, and the file's blob. The walk is bounded: a small repository can name the same
/// tree many times, and nest deeper than a path can be.
fn ignore_files(
    repository: &Repository,
    root: Oid,
) -> Result<Vec<(String, Oid)>, IgnoreFilesError> {
    let (mut files, mut trees) = (Vec::new(), 0);
    let mut left = vec![(root, String::new())];
    while let Some((id, directory)) = left.pop() {
        trees += 1;
        if trees > MAX_TREES {
            return Err(IgnoreFilesError::TooManyDirectories);
        }
        let tree = repository.find_tree(id)?;
        for entry in &tree {
            let Ok(name) = entry.name() else { continue };
            match entry.kind() {
                Some(ObjectType::Blob) if name == IGNORE_FILE => {
                    files.push((directory.clone(), entry.id()));
                }
                Some(ObjectType::Tree) if directory.len() < MAX_PATH => {
                    left.push((entry.id(), format!("{directory}{name}/")));
                }
                _ => {}
            }
        }
        if files.len() > MAX_IGNORE_FILES {
            return Err(IgnoreFilesError::TooManyFiles);
        }
    }
    Ok(files)
}

/// The tree of a commit of the repository that a directory lies in.
///
/// # Errors
/// There is no repository, or no such commit.
pub(crate) fn of_work_tree(directory: &Path, revision: &str) -> Result<FileTree, git2::Error> {
    let repository = Repository::discover(directory)?;
    let tree = repository.revparse_single(revision)?.peel_to_tree()?.id();
    let files = CommitFiles {
        repository: Mutex::new(repository),
        life: None,
        tree,
        max_file_bytes: MAX_FILE_BYTES,
    };
    Ok(FileTree::repository(Arc::new(files)))
}

/// The text of `.gitmodules`, if there is one.
///
/// # Errors
/// If the mirror cannot be read.
pub(crate) fn gitmodules(fetched: &Fetched) -> Result<Option<String>, git2::Error> {
    let files = CommitFiles::open(fetched)?;
    let path = RepoPath::root()
        .join(".gitmodules")
        .expect("a plain name leads nowhere else");
    // A file that cannot be read is not one that is missing: its submodules would be left out.
    let unreadable = |reason: String| git2::Error::from_str(&reason);
    match files.entry(&path).map_err(unreadable)? {
        Some(FileEntry::File(_)) => {
            let bytes = files.read(&path).map_err(unreadable)?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        _ => Ok(None),
    }
}

/// The commit that a tree has at a path, if that is a submodule.
///
/// # Errors
/// If the mirror cannot be read.
pub(crate) fn submodule_at(fetched: &Fetched, path: &RepoPath) -> Result<Option<Oid>, git2::Error> {
    let repository = Repository::open_bare(&fetched.mirror)?;
    let tree = repository.find_tree(Oid::from_str(&fetched.tree)?)?;
    match tree.get_path(Path::new(path.as_str())) {
        Ok(entry) => Ok((entry.kind() == Some(ObjectType::Commit)).then(|| entry.id())),
        Err(error) if is_missing_path(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// True if a tree has no such path. A tree that is missing on the way is an error about an object instead, and the path
/// may well exist.
fn is_missing_path(error: &git2::Error) -> bool {
    error.code() == git2::ErrorCode::NotFound && error.class() == git2::ErrorClass::Tree
}

impl CommitFiles {
    fn open(fetched: &Fetched) -> Result<Self, git2::Error> {
        let open = || {
            let repository = Repository::open_bare(&fetched.mirror)?;
            let tree = Oid::from_str(&fetched.tree)?;
            repository.find_tree(tree)?;
            Ok((repository, tree))
        };
        let opened = open().inspect_err(|error| fetched.life.note_read_error(error));
        let (repository, tree) = opened?;
        Ok(Self {
            repository: Mutex::new(repository),
            life: Some(fetched.life.clone()),
            tree,
            max_file_bytes: MAX_FILE_BYTES,
        })
    }
}

impl CommitFiles {
    fn unreadable(&self, path: &RepoPath, error: &git2::Error) -> String {
        if let Some(life) = &self.life {
            life.note_read_error(error);
        }
        format!("cannot read `{path}` from the mirror: {}", error.message())
    }

    /// The object at a path and its mode, if there is one.
    fn find(
        &self,
        repository: &Repository,
        path: &RepoPath,
    ) -> Result<Option<(Oid, Option<ObjectType>, i32)>, git2::Error> {
        let tree = repository.find_tree(self.tree)?;
        match tree.get_path(Path::new(path.as_str())) {
            Ok(entry) => Ok(Some((entry.id(), entry.kind(), entry.filemode()))),
            Err(error) if is_missing_path(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Repository> {
        self.repository.lock()
    }
}

impl Files for CommitFiles {
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
        if *path == RepoPath::root() {
            return Ok(Some(FileEntry::Directory));
        }
        let repository = self.lock();
        let unreadable = |error: git2::Error| self.unreadable(path, &error);
        let Some((id, kind, mode)) = self.find(&repository, path).map_err(unreadable)? else {
            return Ok(None);
        };
        match kind {
            Some(ObjectType::Tree) => return Ok(Some(FileEntry::Directory)),
            Some(ObjectType::Blob) => {}
            _ => {
                return Err(format!(
                    "`{path}` is a submodule, and submodules are not fetched here"
                ));
            }
        }
        if mode == i32::from(FileMode::Link) {
            let blob = repository.find_blob(id).map_err(unreadable)?;
            let target = String::from_utf8(blob.content().to_vec())
                .map_err(|_| format!("link `{path}` is not text"))?;
            return Ok(Some(FileEntry::Link(target)));
        }
        Ok(Some(FileEntry::File(Some(ContentId::new(&id.to_string())))))
    }

    fn read(&self, path: &RepoPath) -> Result<Arc<[u8]>, String> {
        let repository = self.lock();
        let unreadable = |error: git2::Error| self.unreadable(path, &error);
        let (id, ..) = self
            .find(&repository, path)
            .map_err(unreadable)?
            .ok_or_else(|| format!("`{path}` is not there"))?;
        let size = repository
            .odb()
            .and_then(|odb| odb.read_header(id))
            .map_err(unreadable)?
            .0;
        if size > self.max_file_bytes {
            return Err(format!(
                "`{path}` has {size} bytes; more than {} are not read",
                self.max_file_bytes
            ));
        }
        let blob = repository.find_blob(id).map_err(unreadable)?;
        Ok(blob.content().into())
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<String>, String> {
        let repository = self.lock();
        let unreadable = |error: git2::Error| self.unreadable(path, &error);
        let id = if *path == RepoPath::root() {
            self.tree
        } else {
            let found = self.find(&repository, path).map_err(unreadable)?;
            found.ok_or_else(|| format!("`{path}` is not there"))?.0
        };
        let tree = repository.find_tree(id).map_err(unreadable)?;
        let names = tree
            .iter()
            .filter_map(|entry| entry.name().ok().map(str::to_owned));
        Ok(names.collect())
    }
}

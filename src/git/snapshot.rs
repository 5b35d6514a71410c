//! Reads git objects: the tree of a commit as a `FileTree`, without a checkout.

use std::path::Path;
use std::sync::Arc;

use git2::{FileMode, ObjectType, Oid, Repository};
use kustomize::{ContentId, FileEntry, FileTree, Files, RepoPath};
use parking_lot::{Mutex, MutexGuard};

use crate::git::mirror::Fetched;
use crate::git::view::{Filtered, Mounted, Sparse};

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
    let own: Arc<dyn Files> = Arc::new(CommitFiles::open(&fetched.mirror, &fetched.tree)?);
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

/// The `.sourceignore` files of a commit, each with its directory, the root's first.
///
/// # Errors
/// If the mirror cannot be read, or they are too many or too large to be meant.
pub(crate) fn source_ignores(fetched: &Fetched) -> Result<Vec<(String, String)>, String> {
    const NAME: &str = ".sourceignore";
    const MOST: usize = 200;
    const LARGEST: usize = 64 << 10;
    const MOST_TREES: usize = 200_000;
    const LONGEST: usize = 4096;
    let unreadable = |error: git2::Error| error.message().to_owned();
    let repository = Repository::open_bare(&fetched.mirror).map_err(unreadable)?;
    let root = Oid::from_str(&fetched.tree).map_err(unreadable)?;
    let (mut found, mut trees) = (Vec::new(), 0);
    let mut left = vec![(root, String::new())];
    // What is large by repeating itself is not walked to its end, nor is what is nested deeper than a path can be.
    while let Some((id, directory)) = left.pop() {
        trees += 1;
        if trees > MOST_TREES {
            return Err(format!(
                "the repository has more than {MOST_TREES} directories"
            ));
        }
        let tree = repository.find_tree(id).map_err(unreadable)?;
        for entry in &tree {
            let Ok(name) = entry.name() else { continue };
            match entry.kind() {
                Some(ObjectType::Blob) if name == NAME => {
                    found.push((directory.clone(), entry.id()));
                }
                Some(ObjectType::Tree) if directory.len() < LONGEST => {
                    left.push((entry.id(), format!("{directory}{name}/")));
                }
                _ => {}
            }
        }
        if found.len() > MOST {
            return Err(format!(
                "the repository has more than {MOST} `{NAME}` files"
            ));
        }
    }
    found.sort_by_key(|(directory, _)| directory.matches('/').count());
    let texts = found.into_iter().map(|(directory, id)| {
        let blob = repository.find_blob(id).map_err(unreadable)?;
        if blob.size() > LARGEST {
            return Err(format!("`{directory}{NAME}` has more than {LARGEST} bytes"));
        }
        Ok((
            directory,
            String::from_utf8_lossy(blob.content()).into_owned(),
        ))
    });
    texts.collect()
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
    let files = CommitFiles::open(&fetched.mirror, &fetched.tree)?;
    let path = RepoPath::root()
        .join(".gitmodules")
        .expect("a plain name leads nowhere else");
    if !matches!(files.entry(&path), Ok(Some(FileEntry::File(_)))) {
        return Ok(None);
    }
    Ok(files
        .read(&path)
        .ok()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The commit that a tree has at a path, if that is a submodule.
///
/// # Errors
/// If the mirror cannot be read.
pub(crate) fn submodule_at(fetched: &Fetched, path: &RepoPath) -> Result<Option<Oid>, git2::Error> {
    let repository = Repository::open_bare(&fetched.mirror)?;
    let tree = repository.find_tree(Oid::from_str(&fetched.tree)?)?;
    let Ok(entry) = tree.get_path(Path::new(path.as_str())) else {
        return Ok(None);
    };
    Ok((entry.kind() == Some(ObjectType::Commit)).then(|| entry.id()))
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

impl CommitFiles {
    fn unreadable(path: &RepoPath, error: &git2::Error) -> String {
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
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
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
        let unreadable = |error: git2::Error| Self::unreadable(path, &error);
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
        let unreadable = |error: git2::Error| Self::unreadable(path, &error);
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
        let unreadable = |error: git2::Error| Self::unreadable(path, &error);
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

//! Reads git objects: the tree of a commit as a `FileTree`, without a checkout.

use std::path::Path;
use std::sync::Arc;

use git2::{FileMode, ObjectType, Oid, Repository};
use kustomize::{ContentId, FileEntry, FileTree, Files, RepoPath};
use parking_lot::{Mutex, MutexGuard};

use crate::git::fetched::Fetched;
use crate::git::life::MirrorLife;
use crate::git::objects::{self, GitEntry};
use crate::git::view::{Filtered, Mounted, Sparse};

/// The files of one commit. Objects are immutable, so reading them late changes nothing.
struct CommitFiles {
    /// libgit2's handle is not `Sync`; reads of one commit take turns.
    repository: Mutex<Repository>,
    /// Notes damage. `None` for a repository that is no mirror of ours.
    life: Option<Arc<MirrorLife>>,
    tree: Oid,
    max_file_bytes: usize,
}

/// Blobs above this size are not manifests.
const MAX_FILE_BYTES: usize = 32 << 20;
/// The longest target of a link, in bytes: as long as a path can be.
const MAX_LINK_BYTES: usize = 4096;
/// The largest `.gitmodules`, in bytes.
const MAX_MODULES_BYTES: usize = 256 << 10;

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
    Ok(Arc::new(Filtered::new(files, view.ignore.clone())))
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
/// The most bytes of the paths of all directories that are walked.
const MAX_PATHS_BYTES: usize = 64 << 20;

/// Why the ignore files of a commit cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IgnoreFilesError {
    /// The mirror has lost an object, or cannot be read.
    #[error("{}", .0.message())]
    Mirror(#[from] git2::Error),
    /// The walk has met more directories than it may.
    #[error(
        "the repository has more than {MAX_TREES} directories, or their paths have more than {MAX_PATHS_BYTES} bytes"
    )]
    TooManyDirectories,
    /// More ignore files than are read.
    #[error("the repository has more than {MAX_IGNORE_FILES} `{IGNORE_FILE}` files")]
    TooManyFiles,
    #[error("`{0}{IGNORE_FILE}` has {1} bytes; more than {MAX_IGNORE_BYTES} are not read")]
    TooLarge(String, usize),
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
        let (size, _) = repository.odb()?.read_header(id)?;
        if size > MAX_IGNORE_BYTES {
            return Err(IgnoreFilesError::TooLarge(directory, size));
        }
        let blob = objects::blob(&repository, id, MAX_IGNORE_BYTES)?;
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
    let (mut files, mut trees, mut path_bytes) = (Vec::new(), 0, 0);
    let mut left = vec![(root, String::new())];
    while let Some((id, directory)) = left.pop() {
        trees += 1;
        if trees > MAX_TREES {
            return Err(IgnoreFilesError::TooManyDirectories);
        }
        let tree = objects::tree(repository, id)?;
        for entry in &tree {
            let Ok(name) = entry.name() else { continue };
            match entry.kind() {
                Some(ObjectType::Blob) if name == IGNORE_FILE => {
                    files.push((directory.clone(), entry.id()));
                }
                Some(ObjectType::Tree) if directory.len() < MAX_PATH => {
                    path_bytes += directory.len() + name.len();
                    if left.len() > MAX_TREES || path_bytes > MAX_PATHS_BYTES {
                        return Err(IgnoreFilesError::TooManyDirectories);
                    }
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
/// The mirror cannot be read, or the file is too large.
pub(crate) fn gitmodules(fetched: &Fetched) -> Result<Option<String>, git2::Error> {
    let repository = Repository::open_bare(&fetched.mirror)?;
    let root = Oid::from_str(&fetched.tree)?;
    let found = objects::at_path(&repository, root, Path::new(".gitmodules"))?;
    let is_file = |found: &GitEntry| {
        found.kind == Some(ObjectType::Blob) && found.mode != i32::from(FileMode::Link)
    };
    let Some(found) = found.filter(is_file) else {
        return Ok(None);
    };
    let blob = objects::blob(&repository, found.id, MAX_MODULES_BYTES)?;
    Ok(Some(String::from_utf8_lossy(blob.content()).into_owned()))
}

/// The commit that a tree has at a path, if that is a submodule.
///
/// # Errors
/// If the mirror cannot be read.
pub(crate) fn submodule_at(fetched: &Fetched, path: &RepoPath) -> Result<Option<Oid>, git2::Error> {
    let repository = Repository::open_bare(&fetched.mirror)?;
    let root = Oid::from_str(&fetched.tree)?;
    let found = objects::at_path(&repository, root, Path::new(path.as_str()))?;
    let submodule = found.filter(|found| found.kind == Some(ObjectType::Commit));
    Ok(submodule.map(|found| found.id))
}

impl CommitFiles {
    fn open(fetched: &Fetched) -> Result<Self, git2::Error> {
        let open = || {
            let repository = Repository::open_bare(&fetched.mirror)?;
            let tree = Oid::from_str(&fetched.tree)?;
            objects::tree(&repository, tree)?;
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

    /// The object at a path, if there is one.
    fn find(
        &self,
        repository: &Repository,
        path: &RepoPath,
    ) -> Result<Option<GitEntry>, git2::Error> {
        objects::at_path(repository, self.tree, Path::new(path.as_str()))
    }

    /// The repository, locked for one read.
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
        let Some(found) = self.find(&repository, path).map_err(unreadable)? else {
            return Ok(None);
        };
        match found.kind {
            Some(ObjectType::Tree) => return Ok(Some(FileEntry::Directory)),
            Some(ObjectType::Blob) => {}
            _ => {
                return Err(format!(
                    "`{path}` is a submodule, and submodules are not fetched here"
                ));
            }
        }
        if found.mode == i32::from(FileMode::Link) {
            let blob = objects::blob(&repository, found.id, MAX_LINK_BYTES).map_err(unreadable)?;
            let target = String::from_utf8(blob.content().to_vec())
                .map_err(|_| format!("link `{path}` is not text"))?;
            return Ok(Some(FileEntry::Link(target)));
        }
        let id = ContentId::new(&found.id.to_string());
        Ok(Some(FileEntry::File(Some(id))))
    }

    fn read(&self, path: &RepoPath) -> Result<Arc<[u8]>, String> {
        let repository = self.lock();
        let unreadable = |error: git2::Error| self.unreadable(path, &error);
        let found = self.find(&repository, path).map_err(unreadable)?;
        let found = found.ok_or_else(|| format!("`{path}` is not there"))?;
        let blob = objects::blob(&repository, found.id, self.max_file_bytes).map_err(unreadable)?;
        Ok(blob.content().into())
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<String>, String> {
        let repository = self.lock();
        let unreadable = |error: git2::Error| self.unreadable(path, &error);
        let id = if *path == RepoPath::root() {
            self.tree
        } else {
            let found = self.find(&repository, path).map_err(unreadable)?;
            found.ok_or_else(|| format!("`{path}` is not there"))?.id
        };
        let tree = objects::tree(&repository, id).map_err(unreadable)?;
        let names = tree
            .iter()
            .filter_map(|entry| entry.name().ok().map(str::to_owned));
        Ok(names.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use overlayd_core::git::revision::Revision;

    use super::*;

    /// A commit's tree with one file of zeros, of this many bytes and with this mode.
    fn of_zeros(directory: &Path, name: &str, bytes: usize, mode: FileMode) -> Fetched {
        let repository = Repository::init_bare(directory).expect("an empty directory");
        let blob = repository.blob(&vec![0; bytes]).expect("a blob");
        let mut tree = repository.treebuilder(None).expect("an empty tree");
        tree.insert(name, blob, mode.into()).expect("a plain name");
        Fetched {
            url: String::new(),
            revision: Revision {
                name: None,
                commit: String::new(),
            },
            mirror: directory.to_path_buf(),
            life: Arc::new(MirrorLife::new()),
            tree: tree.write().expect("a tree").to_string(),
            subject: String::new(),
            submodules: Vec::new(),
            view: None,
            content: OnceLock::new(),
        }
    }

    #[test]
    fn the_size_of_a_blob_is_asked_before_it_is_read() {
        const BYTES: usize = 40 << 20;
        let large = |name: &str, mode: FileMode| {
            let directory = tempfile::tempdir().expect("a directory");
            let fetched = of_zeros(directory.path(), name, BYTES, mode);
            (directory, fetched)
        };
        let refused = |text: String| {
            let expected = format!("has {BYTES} bytes; more than ");
            assert!(text.contains(&expected), "{text}");
            assert!(text.contains("are not read"), "{text}");
        };
        let (_directory, fetched) = large(".sourceignore", FileMode::Blob);
        refused(source_ignores(&fetched).unwrap_err().to_string());
        let (_directory, fetched) = large(".gitmodules", FileMode::Blob);
        refused(gitmodules(&fetched).unwrap_err().to_string());
        let (_directory, fetched) = large("kustomization.yaml", FileMode::Blob);
        let path = RepoPath::root().join("kustomization.yaml").unwrap();
        refused(files(&fetched).unwrap().read(&path).unwrap_err());
        assert!(!fetched.is_damaged(), "a large file is no damage");
        let (_directory, fetched) = large("kustomization.yaml", FileMode::Link);
        refused(files(&fetched).unwrap().entry(&path).unwrap_err());
    }

    #[test]
    fn a_tree_that_names_itself_many_times_is_walked_within_limits() {
        let directory = tempfile::tempdir().unwrap();
        let fetched = of_zeros(directory.path(), "a", 1, FileMode::Blob);
        let repository = Repository::open_bare(directory.path()).unwrap();
        let mut id = Oid::from_str(&fetched.tree).unwrap();
        for _ in 0..4 {
            let mut tree = repository.treebuilder(None).unwrap();
            for at in 0..100 {
                let name = format!("{at:0200}");
                tree.insert(name, id, FileMode::Tree.into()).unwrap();
            }
            id = tree.write().unwrap();
        }
        let fetched = Fetched {
            tree: id.to_string(),
            ..fetched
        };
        let error = source_ignores(&fetched).unwrap_err();
        assert!(
            matches!(error, IgnoreFilesError::TooManyDirectories),
            "{error}"
        );
    }
}

//! Talks to git servers: keeps one bare mirror per address and credentials, and fetches into it only when a ref has moved.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use git2::{AutotagOption, Direction, FetchOptions, Oid, RemoteCallbacks, Repository};
use gocompat::semver::{Constraint, Version};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::failpoints;
use crate::git::fetched::Fetched;
use crate::git::objects;
use crate::git::transport::Session;
use overlayd_core::git::revision::Revision;
use overlayd_core::git::source::{GitSource, RefTarget};

/// The mirrors of this process, below one directory.
#[derive(Debug)]
pub(crate) struct Mirrors {
    directory: PathBuf,
    max_bytes: usize,
    /// One operation at a time per mirror.
    locks: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The mirror cannot be opened or made, because of the disk or because it is damaged.
    #[error("cannot use the mirror directory `{path}`")]
    Storage {
        path: PathBuf,
        #[source]
        source: git2::Error,
    },
    /// The server cannot be reached, or refuses the request; `reason` is in the words of libgit2 or of our transport.
    #[error("unable to reach `{url}`: {reason}")]
    Remote { url: String, reason: String },
    /// The server does not advertise the ref; `candidates` are a few names that it does advertise.
    #[error("{what} does not exist in `{url}`{}", hint(.candidates))]
    NoSuchRef {
        url: String,
        what: String,
        candidates: Vec<String>,
    },
    #[error("the repository `{url}` has no refs")]
    Empty { url: String },
    /// The runtime ended while the fetch was under way.
    #[error("the fetch task ended early")]
    Cancelled,
}

/// The end of a message: the names that may have been meant, or nothing.
fn hint(candidates: &[String]) -> String {
    if candidates.is_empty() {
        String::new()
    } else {
        format!("; there is `{}`", candidates.join("`, `"))
    }
}

impl FetchError {
    /// The reason of the condition, in Flux's words.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Storage { .. } => "StorageOperationFailed",
            Self::Empty { .. } => "EmptyGitRepository",
            Self::Remote { .. } | Self::NoSuchRef { .. } | Self::Cancelled => "GitOperationFailed",
        }
    }
}

impl Mirrors {
    /// Mirrors below a directory. A fetch that receives more than `max_bytes` fails.
    pub(crate) fn new(directory: PathBuf, max_bytes: usize) -> Self {
        Self {
            directory,
            max_bytes,
            locks: Mutex::default(),
        }
    }

    /// Fetches the wanted commit into its mirror. A ref that has not moved costs one `ls-remote`.
    pub(crate) async fn fetch(self: Arc<Self>, source: GitSource) -> Result<Fetched, FetchError> {
        let runtime = Handle::current();
        // libgit2 blocks, so it runs on a blocking thread, and only here.
        let task = tokio::task::spawn_blocking(move || self.fetch_blocking(&source, runtime));
        task.await.unwrap_or(Err(FetchError::Cancelled))
    }

    /// Fetches with the lock of the mirror held, so that two sources of one repository do not write the same files.
    /// Blocks for up to the source's timeout.
    fn fetch_blocking(&self, source: &GitSource, runtime: Handle) -> Result<Fetched, FetchError> {
        let key = source.mirror_key();
        let lock = self.locks.lock().entry(key.clone()).or_default().clone();
        let _guard = lock.lock();
        let path = self.directory.join(format!("{key}.git"));
        let deadline = Instant::now() + source.timeout;
        let session = Session::new(&source.credentials, deadline, runtime).map_err(|reason| {
            FetchError::Remote {
                url: source.url.clone(),
                reason,
            }
        })?;
        session.run(|| {
            let operation = Operation { source, path: &path, max_bytes: self.max_bytes, deadline };
            match operation.run() {
                // A crash or a full disk may have damaged the mirror: it is cloned again, once.
                Err(AttemptError::Damaged(_)) => {
                    let removed = std::fs::remove_dir_all(&path);
                    tracing::warn!(path = %path.display(), removed = removed.is_ok(), "mirror was damaged; cloning it again");
                    operation.run().map_err(AttemptError::into_error)
                }
                result => result.map_err(AttemptError::into_error),
            }
        })
    }
}

const TAGS: &str = "refs/tags/";

/// The names of refs below a prefix, without the `^{}` entries, which are the commits of annotated tags.
fn names<'r>(refs: &'r [(String, Oid)], prefix: &'r str) -> impl Iterator<Item = &'r str> {
    let below = refs
        .iter()
        .filter_map(move |(name, _)| name.strip_prefix(prefix));
    below.filter(|name| !name.ends_with("^{}"))
}

/// The commit of a ref. An annotated tag points to a tag object; `^{}` is its commit.
fn commit_of(refs: &[(String, Oid)], reference: &str) -> Option<Oid> {
    let find = |wanted: &str| {
        let found = refs.iter().find(|(name, _)| name == wanted)?;
        Some(found.1)
    };
    find(&format!("{reference}^{{}}")).or_else(|| find(reference))
}

/// True for a whole SHA-1 in hex. An abbreviated id is not looked up, because it can become ambiguous.
fn is_commit_id(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Why one attempt of a fetch failed.
enum AttemptError {
    /// Another attempt would fail too.
    Error(FetchError),
    /// The mirror is damaged; another attempt with a new mirror may work.
    Damaged(FetchError),
}

impl AttemptError {
    fn into_error(self) -> FetchError {
        match self {
            Self::Error(error) | Self::Damaged(error) => error,
        }
    }
}

impl From<FetchError> for AttemptError {
    fn from(error: FetchError) -> Self {
        Self::Error(error)
    }
}

struct Operation<'o> {
    source: &'o GitSource,
    path: &'o Path,
    max_bytes: usize,
    deadline: Instant,
}

/// A ref as the remote advertises it.
struct Advertised {
    /// The full name, such as `refs/heads/main`.
    reference: String,
    /// The name as the revision shows it, such as `main`; `None` for a commit that was asked for by its id.
    name: Option<String>,
    /// The commit, also where the ref is an annotated tag.
    commit: Oid,
}

impl Operation<'_> {
    fn run(&self) -> Result<Fetched, AttemptError> {
        let repository = self.open()?;
        // A commit that is pinned and held needs no request: it cannot change.
        if let RefTarget::Commit { id, name, .. } = &self.source.target
            && let Ok(oid) = Oid::from_str(id)
            && objects::commit(&repository, oid).is_ok()
        {
            return self.describe(&repository, oid, name.clone());
        }
        let mut remote = repository
            .remote_anonymous(&self.source.url)
            .map_err(|error| self.remote(&error))?;
        let refs = self.list(&mut remote)?;
        if refs.is_empty() {
            return Err(FetchError::Empty {
                url: self.source.url.clone(),
            }
            .into());
        }
        if let RefTarget::Commit { id, branch, name } = &self.source.target {
            let branch = branch.as_deref();
            let oid = self.fetch_commit(&repository, &mut remote, id, branch)?;
            return self.describe(&repository, oid, name.clone());
        }
        if let RefTarget::Semver { range, constraint } = &self.source.target {
            let tied = self.highest(range, constraint, &refs)?;
            return self.fetch_newest(&repository, &mut remote, tied);
        }
        let wanted = match self.resolve(&refs) {
            Ok(wanted) => wanted,
            // The text may also be the id of a commit.
            Err(error) => match &self.source.target {
                RefTarget::Any(id) if is_commit_id(id) => {
                    let oid = self.fetch_commit(&repository, &mut remote, id, None)?;
                    return self.describe(&repository, oid, None);
                }
                _ => return Err(error.into()),
            },
        };
        self.fetch_advertised(&repository, &mut remote, &wanted)?;
        failpoints::point("fetched");
        self.describe(&repository, wanted.commit, wanted.name)
    }

    /// Opens the mirror, or makes an empty one. A directory without `HEAD` is no mirror yet, as after a crash while it was
    /// made.
    fn open(&self) -> Result<Repository, AttemptError> {
        let storage = |source| FetchError::Storage {
            path: self.path.to_path_buf(),
            source,
        };
        if self.path.join("HEAD").exists() {
            return Repository::open_bare(self.path)
                .map_err(|error| AttemptError::Damaged(storage(error)));
        }
        let create = || {
            std::fs::create_dir_all(self.path)
                .map_err(|error| git2::Error::from_str(&error.to_string()))?;
            Repository::init_bare(self.path)
        };
        create().map_err(|error| storage(error).into())
    }

    /// An error of a request to the server.
    fn remote(&self, error: &git2::Error) -> FetchError {
        FetchError::Remote {
            url: self.source.url.clone(),
            reason: error.message().to_owned(),
        }
    }

    /// Every ref that the server advertises, with its object. The peeled entries of annotated tags end with `^{}`.
    fn list(&self, remote: &mut git2::Remote<'_>) -> Result<Vec<(String, Oid)>, AttemptError> {
        let connection = remote
            .connect_auth(Direction::Fetch, None, None)
            .map_err(|error| self.remote(&error))?;
        let heads = connection.list().map_err(|error| self.remote(&error))?;
        Ok(heads
            .iter()
            .map(|head| (head.name().to_owned(), head.oid()))
            .collect())
    }

    /// The ref that the source asks for, among those that the server advertises.
    ///
    /// # Errors
    /// There is no such ref.
    fn resolve(&self, refs: &[(String, Oid)]) -> Result<Advertised, FetchError> {
        let (reference, name, what) = match &self.source.target {
            RefTarget::Branch(branch) => (
                format!("refs/heads/{branch}"),
                branch.clone(),
                format!("branch `{branch}`"),
            ),
            RefTarget::Tag(tag) => (
                format!("refs/tags/{tag}"),
                tag.clone(),
                format!("tag `{tag}`"),
            ),
            RefTarget::Name(name) => (
                name.trim_end_matches("^{}").to_owned(),
                name.clone(),
                format!("ref `{name}`"),
            ),
            RefTarget::Head => ("HEAD".to_owned(), "HEAD".to_owned(), "`HEAD`".to_owned()),
            RefTarget::Any(name) => {
                let full = [format!("refs/heads/{name}"), format!("refs/tags/{name}")];
                let found = full
                    .into_iter()
                    .find(|full| commit_of(refs, full).is_some());
                (
                    found.unwrap_or_else(|| name.clone()),
                    name.clone(),
                    format!("ref `{name}`"),
                )
            }
            RefTarget::Commit { id: text, .. } | RefTarget::Semver { range: text, .. } => {
                (String::new(), String::new(), format!("`{text}`"))
            }
        };
        let Some(commit) = commit_of(refs, &reference) else {
            let prefix = if matches!(self.source.target, RefTarget::Tag(_)) {
                TAGS
            } else {
                "refs/heads/"
            };
            let candidates = names(refs, prefix).take(5).map(str::to_owned).collect();
            return Err(FetchError::NoSuchRef {
                url: self.source.url.clone(),
                what,
                candidates,
            });
        };
        Ok(Advertised {
            reference,
            name: Some(name),
            commit,
        })
    }

    /// The tags of the highest version of a range; those that differ in build metadata alone are equal.
    fn highest(
        &self,
        range: &str,
        constraint: &Constraint,
        refs: &[(String, Oid)],
    ) -> Result<Vec<Advertised>, FetchError> {
        let versions = names(refs, TAGS)
            .filter_map(|name| Some((name, Version::parse_strict(name)?)))
            .filter(|(_, version)| constraint.holds(version));
        let mut tied: Vec<(&str, Version)> = Vec::new();
        for (name, version) in versions {
            match tied.first().map(|(_, highest)| version.compare(highest)) {
                Some(Ordering::Less) => {}
                Some(Ordering::Equal) => tied.push((name, version)),
                Some(Ordering::Greater) | None => tied = vec![(name, version)],
            }
        }
        if tied.is_empty() {
            let candidates = names(refs, TAGS).take(5).map(str::to_owned).collect();
            return Err(FetchError::NoSuchRef {
                url: self.source.url.clone(),
                what: format!("a tag of a version in `{range}`"),
                candidates,
            });
        }
        let advertised = tied.into_iter().filter_map(|(name, _)| {
            let reference = format!("{TAGS}{name}");
            Some(Advertised {
                commit: commit_of(refs, &reference)?,
                name: Some(name.to_owned()),
                reference,
            })
        });
        Ok(advertised.collect())
    }

    /// Fetches all of them and gives the newest commit, as Flux does for versions that are equal.
    fn fetch_newest(
        &self,
        repository: &Repository,
        remote: &mut git2::Remote<'_>,
        tied: Vec<Advertised>,
    ) -> Result<Fetched, AttemptError> {
        let mut newest: Option<(i64, Advertised)> = None;
        for wanted in tied {
            self.fetch_advertised(repository, remote, &wanted)?;
            let commit = objects::commit(repository, wanted.commit);
            let time = commit.map_or(i64::MIN, |commit| commit.time().seconds());
            if newest.as_ref().is_none_or(|(latest, _)| time >= *latest) {
                newest = Some((time, wanted));
            }
        }
        match newest {
            Some((_, wanted)) => self.describe(repository, wanted.commit, wanted.name),
            None => Err(FetchError::Empty {
                url: self.source.url.clone(),
            }
            .into()),
        }
    }

    /// Fetches one ref into a name of our own below `refs/overlayd`, unless the mirror has its commit.
    fn fetch_advertised(
        &self,
        repository: &Repository,
        remote: &mut git2::Remote<'_>,
        wanted: &Advertised,
    ) -> Result<(), AttemptError> {
        if objects::commit(repository, wanted.commit).is_ok() {
            return Ok(());
        }
        failpoints::point("fetch");
        let own_name = wanted.reference.trim_start_matches("refs/");
        let refspec = format!("+{}:refs/overlayd/{own_name}", wanted.reference);
        self.fetch_refs(remote, &[refspec])
    }

    /// Fetches a commit by its id. Where the server refuses that, or the source names a branch, the branches are fetched.
    fn fetch_commit(
        &self,
        repository: &Repository,
        remote: &mut git2::Remote<'_>,
        id: &str,
        branch: Option<&str>,
    ) -> Result<Oid, AttemptError> {
        // Many servers serve a commit by its id; of the others, the branches are fetched.
        let by_id = format!("+{id}:refs/overlayd/commits/{id}");
        if self.fetch_refs(remote, &[by_id]).is_ok()
            && branch.is_none()
            && let Some(oid) = Oid::from_str(id)
                .ok()
                .filter(|oid| objects::commit(repository, *oid).is_ok())
        {
            return Ok(oid);
        }
        let pattern = branch.unwrap_or("*");
        self.fetch_refs(
            remote,
            &[format!(
                "+refs/heads/{pattern}:refs/overlayd/heads/{pattern}"
            )],
        )?;
        let found = Oid::from_str(id)
            .ok()
            .filter(|oid| objects::commit(repository, *oid).is_ok());
        match found {
            Some(oid) => Ok(oid),
            None => {
                let what = format!(
                    "commit `{id}` on {}",
                    branch.map_or_else(
                        || "any branch".to_owned(),
                        |name| format!("branch `{name}`")
                    )
                );
                Err(FetchError::NoSuchRef {
                    url: self.source.url.clone(),
                    what,
                    candidates: Vec::new(),
                }
                .into())
            }
        }
    }

    /// Fetches refs, and stops when more than `max_bytes` were received or the deadline has passed.
    ///
    /// # Errors
    /// The server does not answer in time or refuses, or the mirror cannot store what came, which counts as damage.
    fn fetch_refs(
        &self,
        remote: &mut git2::Remote<'_>,
        refspecs: &[String],
    ) -> Result<(), AttemptError> {
        let mut callbacks = RemoteCallbacks::new();
        let (deadline, max_bytes) = (self.deadline, self.max_bytes);
        callbacks.transfer_progress(move |progress| {
            progress.received_bytes() <= max_bytes && Instant::now() < deadline
        });
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(callbacks)
            .download_tags(AutotagOption::None)
            .update_fetchhead(false);
        remote.fetch(refspecs, Some(&mut options), None).map_err(|error| match error.class() {
            git2::ErrorClass::Odb | git2::ErrorClass::Os => AttemptError::Damaged(self.remote(&error)),
            _ if error.code() == git2::ErrorCode::User => {
                let reason = format!("the fetch was stopped: more than {max_bytes} bytes, or longer than `spec.timeout`");
                FetchError::Remote { url: self.source.url.clone(), reason }.into()
            }
            _ => self.remote(&error).into(),
        })
    }

    /// The commit as the controllers see it.
    ///
    /// # Errors
    /// The mirror has lost the commit or its tree.
    fn describe(
        &self,
        repository: &Repository,
        oid: Oid,
        name: Option<String>,
    ) -> Result<Fetched, AttemptError> {
        let describe = || -> Result<Fetched, git2::Error> {
            let commit = objects::commit(repository, oid)?;
            let subject = String::from_utf8_lossy(commit.message_bytes())
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            Ok(Fetched {
                url: self.source.url.clone(),
                revision: Revision {
                    name,
                    commit: oid.to_string(),
                },
                mirror: self.path.to_path_buf(),
                tree: commit.tree_id().to_string(),
                subject: subject.chars().take(50).collect(),
                submodules: Vec::new(),
                view: None,
                content: OnceLock::new(),
            })
        };
        describe().map_err(|source| {
            AttemptError::Damaged(FetchError::Storage {
                path: self.path.to_path_buf(),
                source,
            })
        })
    }
}

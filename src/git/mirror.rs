//! Talks to git servers: one fetch into a bare mirror, which asks for objects only when a ref has moved.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use git2::{AutotagOption, Direction, FetchOptions, ObjectType, Oid, RemoteCallbacks, Repository};
use gocompat::semver::{Constraint, Version};

use crate::failpoints;
use crate::git::fetched::Fetched;
use crate::git::life::MirrorLife;
use crate::git::objects;
use overlayd_core::git::revision::Revision;
use overlayd_core::git::source::{GitSource, RefTarget};
use overlayd_core::git::storage_fault::StorageFault;

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
    #[error(
        "{what} of `{url}` points to a {kind}, and only a commit can be fetched; name another ref"
    )]
    NotACommit {
        url: String,
        what: String,
        kind: git2::ObjectType,
    },
    #[error("the server of `{url}` sends commit `{commit}` without all of its files")]
    Incomplete { url: String, commit: String },
    #[error("another fetch of `{url}` took longer than `spec.timeout` allows to wait")]
    Busy { url: String },
    #[error(
        "no space is left in `{path}`, where mirrors are kept: give the volume of `--data-dir` more, or remove a GitRepository"
    )]
    DiskFull { path: PathBuf },
    #[error(
        "the mirror of `{url}` would take more than the {} MiB that are left of its namespace's `--namespace-disk-quota-mib`",
        .left >> 20
    )]
    Quota { url: String, left: u64 },
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
            Self::Storage { .. } | Self::DiskFull { .. } | Self::Quota { .. } => {
                "StorageOperationFailed"
            }
            Self::Empty { .. } => "EmptyGitRepository",
            Self::Remote { .. }
            | Self::NoSuchRef { .. }
            | Self::NotACommit { .. }
            | Self::Incomplete { .. }
            | Self::Busy { .. }
            | Self::Cancelled => "GitOperationFailed",
        }
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
pub(super) enum AttemptError {
    /// Another attempt would fail too.
    Error(FetchError),
    /// The mirror is damaged; another attempt with a new mirror may work.
    Damaged(FetchError),
}

impl AttemptError {
    pub(super) fn into_error(self) -> FetchError {
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

/// One fetch into a mirror, which no other operation uses meanwhile.
pub(super) struct Operation<'o> {
    pub(super) source: &'o GitSource,
    pub(super) path: &'o Path,
    pub(super) life: &'o Arc<MirrorLife>,
    pub(super) max_bytes: usize,
    pub(super) deadline: Instant,
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
    pub(super) fn run(&self) -> Result<Fetched, AttemptError> {
        let repository = self.open()?;
        // A commit that is pinned and held needs no request: it cannot change.
        if let RefTarget::Commit { id, name, .. } = &self.source.target
            && let Ok(oid) = Oid::from_str(id)
            && objects::commit(&repository, oid).is_ok()
            && self.completeness(&repository, oid) == Completeness::Whole
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
        create().map_err(|error| match StorageFault::of(error.message()) {
            StorageFault::Full => FetchError::DiskFull {
                path: self.path.to_path_buf(),
            }
            .into(),
            _ => storage(error).into(),
        })
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
            // A commit without its files is not fetched again, since libgit2 takes it for complete.
            return self.check_complete(repository, wanted.commit);
        }
        failpoints::point("fetch");
        let own_name = wanted.reference.trim_start_matches("refs/");
        let refspec = format!("+{}:refs/overlayd/{own_name}", wanted.reference);
        self.fetch_refs(remote, &[refspec])?;
        match repository
            .find_object(wanted.commit, None)
            .map(|object| object.kind())
        {
            Ok(Some(kind)) if kind != ObjectType::Commit => Err(FetchError::NotACommit {
                url: self.source.url.clone(),
                what: format!("`{}`", wanted.reference),
                kind,
            }
            .into()),
            _ => self.check_complete(repository, wanted.commit),
        }
    }

    /// Refuses a commit whose files are not all there. The mirror is then cloned again.
    fn check_complete(&self, repository: &Repository, commit: Oid) -> Result<(), AttemptError> {
        let url = self.source.url.clone();
        match self.completeness(repository, commit) {
            Completeness::Whole => Ok(()),
            Completeness::Missing => {
                let commit = commit.to_string();
                let error = FetchError::Incomplete { url, commit };
                Err(AttemptError::Damaged(error))
            }
            Completeness::Unknown => {
                let reason = "`spec.timeout` ended while the files of the commit were looked up";
                let reason = reason.to_owned();
                Err(FetchError::Remote { url, reason }.into())
            }
        }
    }

    /// Whether all files of a commit are there. It is looked at once in the life of a mirror.
    fn completeness(&self, repository: &Repository, commit: Oid) -> Completeness {
        if self.life.is_known_complete(commit) {
            return Completeness::Whole;
        }
        let completeness = match completeness(repository, commit, self.deadline) {
            Ok(completeness) => completeness,
            // It is there, and its reader gets an error that says how large it is.
            Err(error) if objects::is_too_large(&error) => Completeness::Whole,
            Err(_) => Completeness::Missing,
        };
        if completeness == Completeness::Whole {
            self.life.note_complete(commit);
        }
        completeness
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
            self.check_complete(repository, oid)?;
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
            Some(oid) => {
                self.check_complete(repository, oid)?;
                Ok(oid)
            }
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
        let fetched = remote.fetch(refspecs, Some(&mut options), None);
        fetched.map_err(|error| self.fetch_failure(&error))
    }

    fn fetch_failure(&self, error: &git2::Error) -> AttemptError {
        let (url, max_bytes) = (self.source.url.clone(), self.max_bytes);
        if error.code() == git2::ErrorCode::User {
            if let Some(left) = self.source.disk_allowance
                && Instant::now() < self.deadline
            {
                return FetchError::Quota { url, left }.into();
            }
            let reason = format!(
                "the fetch was stopped: more than {max_bytes} bytes, or longer than `spec.timeout`"
            );
            return FetchError::Remote { url, reason }.into();
        }
        if !matches!(error.class(), git2::ErrorClass::Odb | git2::ErrorClass::Os) {
            return self.remote(error).into();
        }
        match StorageFault::of(error.message()) {
            StorageFault::Full => FetchError::DiskFull {
                path: self.path.to_path_buf(),
            }
            .into(),
            StorageFault::Unusable => self.remote(error).into(),
            StorageFault::Damaged => AttemptError::Damaged(self.remote(error)),
        }
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
                life: self.life.clone(),
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

/// Whether all trees and files of a commit are in a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Completeness {
    Whole,
    Missing,
    /// The time was over before all was looked at.
    Unknown,
}

/// Looks for all trees and files of a commit. Each tree is read once, however often it is named.
fn completeness(
    repository: &Repository,
    commit: Oid,
    deadline: Instant,
) -> Result<Completeness, git2::Error> {
    let odb = repository.odb()?;
    let mut left = vec![objects::commit(repository, commit)?.tree_id()];
    let mut seen: BTreeSet<Oid> = left.iter().copied().collect();
    while let Some(tree) = left.pop() {
        if Instant::now() >= deadline {
            return Ok(Completeness::Unknown);
        }
        for entry in &objects::tree(repository, tree)? {
            match entry.kind() {
                Some(ObjectType::Tree) if seen.insert(entry.id()) => left.push(entry.id()),
                Some(ObjectType::Blob) if !odb.exists(entry.id()) => {
                    return Ok(Completeness::Missing);
                }
                _ => {}
            }
        }
    }
    Ok(Completeness::Whole)
}

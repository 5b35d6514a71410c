//! Pure: what the `GitRepository` controller decides: which step is due, and what the outcome of a fetch means for the
//! status, the event and the next reconcile.
//!
//! `observed object ─next_step→ RepositoryStep`; a fetch gives a [`FetchOutcome`], from which [`next_status`], [`event`] and
//! [`FetchOutcome::requeue`] follow. Reasons and messages are those of Flux's source-controller.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::Resource as _;

use crate::api::annotations::REQUESTED_AT;
use crate::api::git_repository::{Artifact, GitRepository, GitRepositoryStatus};
use crate::conditions::{ConditionState, Progress, flux_condition, flux_conditions};
use crate::git::revision::Revision;
use crate::names::NamespacedName;
use crate::schedule::{parse_interval, seconds};

/// The interval of an object whose own cannot be read. The schema of the definition refuses such a one.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// The interval of an object that only a change of its spec can mend. A change wakes the controller at once.
const STALLED_INTERVAL: Duration = Duration::from_secs(3600);

/// What a reconcile does with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryStep {
    /// It is being deleted: forget it, and release the finalizer.
    Finalize,
    /// Nothing has changed since the last reconcile, whose result holds for this long.
    Rest(Duration),
    /// It is suspended: only record that the request was seen.
    Suspend,
    /// Fetch, and record the outcome.
    Fetch,
}

/// The step that is due. `rest` is for how long the last result still holds, where nothing has changed since.
pub fn next_step(object: &GitRepository, rest: Option<Duration>) -> RepositoryStep {
    if object.meta().deletion_timestamp.is_some() {
        return RepositoryStep::Finalize;
    }
    match rest {
        Some(rest) => RepositoryStep::Rest(rest),
        None if object.spec.suspend => RepositoryStep::Suspend,
        None => RepositoryStep::Fetch,
    }
}

/// A text that differs whenever a reconcile may come to another result before its interval has passed.
///
/// `included` is the content of each repository of `spec.include`, in that order; `None` while it has fetched nothing.
pub fn change_token(object: &GitRepository, included: &[Option<String>]) -> String {
    format!(
        "{:?} {:?} {} {:?} {included:?}",
        object.meta().generation,
        requested(object),
        object.spec.suspend,
        object.meta().uid,
    )
}

/// The value of the annotation that requests a reconcile.
fn requested(object: &GitRepository) -> Option<&String> {
    object.meta().annotations.as_ref()?.get(REQUESTED_AT)
}

/// A commit whose files are in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedCommit {
    /// The address of the repository, without credentials.
    pub url: String,
    /// The commit, and the name that led to it.
    pub revision: Revision,
    /// The first line of the commit's message.
    pub subject: String,
    /// A SHA-256 digest of all files in service, in hex; it differs whenever a file does.
    pub content: String,
    /// The same of the repositories that are included, in the order of `spec.include`.
    pub included: Vec<Self>,
}

/// The outcome of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchOutcome {
    /// The commit is held.
    Fetched(FetchedCommit),
    /// The fetch failed, and may succeed later.
    Failed(FetchFailure),
    /// A repository of `spec.include` does not exist, or has fetched nothing yet.
    Incomplete(FetchFailure),
    /// The spec cannot be fetched as it is written.
    Stalled(FetchFailure),
}

/// Why a fetch came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchFailure {
    /// The reason of the condition, in Flux's words.
    pub reason: &'static str,
    /// The message of the condition.
    pub message: String,
}

impl FetchFailure {
    /// A reason and a message.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { reason, message }
    }
}

/// Why a repository of `spec.include` has no commit in service. `found` is its object, as the API server has it.
pub fn include_failure(name: &NamespacedName, found: Option<&GitRepository>) -> FetchFailure {
    let (reason, what) = match found {
        None => ("NotFound", "does not exist"),
        Some(_) => ("NoArtifact", "has fetched nothing yet"),
    };
    let message = format!("GitRepository `{name}`, which is included, {what}");
    FetchFailure::new(reason, message)
}

/// When the next reconcile is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceRequeue {
    /// After this interval, spread by the jitter of the object.
    AfterInterval(Duration),
    /// After a wait that doubles with each failure in a row.
    AfterBackoff,
    /// After the interval for dependencies (`--requeue-dependency`); the included repository wakes it earlier.
    AfterDependency,
    /// After this time.
    After(Duration),
}

impl FetchOutcome {
    /// When the next reconcile is due after this outcome.
    pub fn requeue(&self, object: &GitRepository) -> SourceRequeue {
        match self {
            Self::Fetched(_) => {
                let interval = parse_interval(&object.spec.interval);
                SourceRequeue::AfterInterval(interval.unwrap_or(DEFAULT_INTERVAL))
            }
            Self::Failed(_) => SourceRequeue::AfterBackoff,
            Self::Incomplete(_) => SourceRequeue::AfterDependency,
            Self::Stalled(_) => SourceRequeue::After(STALLED_INTERVAL),
        }
    }

    fn progress(&self) -> Progress {
        match self {
            Self::Fetched(_) => Progress::Ready,
            Self::Failed(_) | Self::Incomplete(_) => Progress::Retrying,
            Self::Stalled(_) => Progress::Stalled,
        }
    }
}

/// The revision of a suspended object that stays in service. After a restart it is fetched once more.
pub fn suspended_revision(object: &GitRepository) -> Option<Revision> {
    let artifact = object.status.as_ref()?.artifact.as_ref()?;
    Revision::parse(&artifact.revision)
}

/// The status of a suspended object: as it was, but that the request was seen.
pub fn suspended_status(object: &GitRepository) -> GitRepositoryStatus {
    GitRepositoryStatus {
        last_handled_reconcile_at: requested(object).cloned(),
        ..object.status.clone().unwrap_or_default()
    }
}

/// The status after a fetch.
///
/// A failure keeps the artifact of the last success, which stays in service, and says so in `ArtifactInStorage`.
pub fn next_status(
    object: &GitRepository,
    outcome: &FetchOutcome,
    now: Timestamp,
) -> GitRepositoryStatus {
    let old = object.status.clone().unwrap_or_default();
    let mut new = observed(object, &old, outcome, now);
    new.last_handled_reconcile_at = requested(object).cloned();
    let generation = object.meta().generation.unwrap_or_default();
    let progress = outcome.progress();
    let stored = new.artifact.as_ref().map(stored_message);
    let (reason, message) = match outcome {
        FetchOutcome::Fetched(commit) => {
            ("Succeeded", stored_revision(&commit.revision.to_string()))
        }
        FetchOutcome::Failed(failure)
        | FetchOutcome::Incomplete(failure)
        | FetchOutcome::Stalled(failure) => (failure.reason, failure.message.clone()),
    };
    new.conditions = flux_conditions(&old.conditions, generation, progress, reason, &message, now);
    let mut push = |type_, reason, message: &str| {
        let says = ConditionState {
            type_,
            status: "True",
            reason,
            message,
        };
        let condition = flux_condition(&old.conditions, generation, &says, now);
        new.conditions.push(condition);
    };
    if let Some(stored) = stored {
        push("ArtifactInStorage", "Succeeded", &stored);
    }
    match outcome {
        FetchOutcome::Fetched(_) => {}
        FetchOutcome::Incomplete(_) => push("IncludeUnavailable", reason, &message),
        FetchOutcome::Failed(_) | FetchOutcome::Stalled(_) => push("FetchFailed", reason, &message),
    }
    new
}

/// The fields that say what was observed; the conditions are still the old ones.
fn observed(
    object: &GitRepository,
    old: &GitRepositoryStatus,
    outcome: &FetchOutcome,
    now: Timestamp,
) -> GitRepositoryStatus {
    let mut new = old.clone();
    let generation = object.meta().generation.unwrap_or_default();
    match outcome {
        FetchOutcome::Fetched(commit) => {
            if !is_held(old, commit) {
                new.artifact = Some(artifact(object, commit, now));
            }
            new.observed_generation = generation;
            new.observed_recurse_submodules = object.spec.recurse_submodules;
            new.observed_ignore.clone_from(&object.spec.ignore);
            new.observed_include.clone_from(&object.spec.include);
            let sparse = &object.spec.sparse_checkout;
            new.observed_sparse_checkout.clone_from(sparse);
            new.included_artifacts = included_artifacts(object, commit, old, now);
        }
        FetchOutcome::Stalled(_) => new.observed_generation = generation,
        FetchOutcome::Failed(_) | FetchOutcome::Incomplete(_) => {}
    }
    new
}

fn stored_message(artifact: &Artifact) -> String {
    stored_revision(&artifact.revision)
}

fn stored_revision(revision: &str) -> String {
    format!("stored artifact for revision '{revision}'")
}

/// True if the status already shows the same files of the same revision.
pub fn is_held(old: &GitRepositoryStatus, commit: &FetchedCommit) -> bool {
    let held = old.artifact.as_ref();
    held.is_some_and(|held| {
        held.revision == commit.revision.to_string() && held.digest == Some(digest(commit))
    })
}

/// The artifacts of the included repositories. The time of each stays while its content does.
fn included_artifacts(
    object: &GitRepository,
    commit: &FetchedCommit,
    old: &GitRepositoryStatus,
    now: Timestamp,
) -> Vec<Artifact> {
    let included = commit.included.iter().map(|included| {
        let artifact = artifact(object, included, now);
        let mut before = old.included_artifacts.iter();
        let before =
            before.find(|before| before.url == artifact.url && before.digest == artifact.digest);
        before.cloned().unwrap_or(artifact)
    });
    included.collect()
}

fn digest(commit: &FetchedCommit) -> String {
    format!("sha256:{}", commit.content)
}

/// The artifact of a commit. No archive is served: its URL is that of the repository, with the commit as fragment.
fn artifact(object: &GitRepository, commit: &FetchedCommit, now: Timestamp) -> Artifact {
    let NamespacedName { namespace, name } = NamespacedName::of(object);
    let id = &commit.revision.commit;
    Artifact {
        url: format!("{}#{id}", commit.url),
        path: format!("gitrepository/{namespace}/{name}/{id}"),
        revision: commit.revision.to_string(),
        digest: Some(digest(commit)),
        last_update_time: seconds(now),
        size: None,
        metadata: BTreeMap::new(),
    }
}

/// An event about a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchEvent {
    /// A commit is new in service (`NewArtifact`).
    NewArtifact(ArtifactEvent),
    /// The fetch of the same commit succeeds again after a failure (`Succeeded`).
    Recovered(ArtifactEvent),
    /// The fetch failed.
    Failed(FetchFailure),
}

/// What an event says of a commit in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactEvent {
    /// The text for people, which names the subject of the commit.
    pub note: String,
    /// The revision of the artifact.
    pub revision: String,
    /// The digest of the artifact.
    pub digest: String,
}

/// The event after a fetch: none for a commit that the status already shows, unless the last fetch failed.
pub fn event(old: &GitRepositoryStatus, outcome: &FetchOutcome) -> Option<FetchEvent> {
    match outcome {
        FetchOutcome::Fetched(commit) => {
            let event = ArtifactEvent {
                note: format!("stored artifact for commit '{}'", commit.subject),
                revision: commit.revision.to_string(),
                digest: digest(commit),
            };
            if !is_held(old, commit) {
                Some(FetchEvent::NewArtifact(event))
            } else if has_failed(old) {
                Some(FetchEvent::Recovered(event))
            } else {
                None
            }
        }
        FetchOutcome::Failed(failure)
        | FetchOutcome::Incomplete(failure)
        | FetchOutcome::Stalled(failure) => Some(FetchEvent::Failed(failure.clone())),
    }
}

/// True if the last fetch failed.
fn has_failed(status: &GitRepositoryStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "False")
}

#[cfg(test)]
mod tests;

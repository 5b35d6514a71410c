//! Fetches the commit that a `GitRepository` wants, with what it includes, and says what of it is in service.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::Api;
use kustomize::{FileEntry, FileTree, RepoPath};

use crate::cluster::error::describe;
use crate::controllers::git_repository::context::GitRepositoryContext;
use crate::controllers::objects::git_repository;
use crate::git::fetched::{Include, View};
use crate::git::snapshot::IgnoreFilesError;
use crate::git::{Fetched, snapshot, submodules};
use overlayd_core::api::git_repository::{GitInclude, GitRepository, GitRepositorySpec};
use overlayd_core::api::local_reference::LocalReference;
use overlayd_core::git::ignore::{Ignore, IgnoreError};
use overlayd_core::git::repository_status::{
    FetchFailure, FetchOutcome, FetchedCommit, include_failure,
};
use overlayd_core::git::revision::Revision;
use overlayd_core::git::source::GitSource;
use overlayd_core::git::storage_fault::allowance;
use overlayd_core::names::NamespacedName;
use overlayd_core::request_path::check_name;
use overlayd_core::secrets::SecretValue;
use overlayd_core::secrets::decide::secret_data;

/// The deepest nesting of includes of includes.
const MAX_INCLUDES: usize = 4;

/// Fetches. The second value is the commit to put into service, if the outcome is a success.
pub(super) async fn fetch(
    object: &GitRepository,
    context: &GitRepositoryContext,
) -> (FetchOutcome, Option<Fetched>) {
    let fetched = async {
        let source = source(object, context).await?;
        fetched(object, context, source).await
    };
    match fetched.await {
        Ok(fetched) => (FetchOutcome::Fetched(commit(&fetched)), Some(fetched)),
        Err(outcome) => (outcome, None),
    }
}

/// Fetches a revision that was in service before this process began.
pub(super) async fn fetch_again(
    object: &GitRepository,
    context: &GitRepositoryContext,
    revision: Revision,
) -> Result<Fetched, FetchOutcome> {
    let source = source(object, context).await?.at(revision);
    fetched(object, context, source).await
}

/// What the status shows of a commit.
fn commit(fetched: &Fetched) -> FetchedCommit {
    let includes = fetched.view.iter().flat_map(|view| &view.includes);
    FetchedCommit {
        url: fetched.url.clone(),
        revision: fetched.revision.clone(),
        subject: fetched.subject.clone(),
        content: fetched.content().to_owned(),
        included: includes.map(|include| commit(&include.fetched)).collect(),
    }
}

/// The commit with what of it is in service, or the outcome of a failure.
async fn fetched(
    object: &GitRepository,
    context: &GitRepositoryContext,
    mut source: GitSource,
) -> Result<Fetched, FetchOutcome> {
    let failed = |reason, message| FetchOutcome::Failed(FetchFailure { reason, message });
    let used = context.sources.bytes_of_others(&NamespacedName::of(object));
    source.disk_allowance = allowance(context.settings.namespace_disk_quota, used);
    let includes = includes(object, context).await;
    let includes = includes.map_err(FetchOutcome::Incomplete)?;
    let mut is_repaired = false;
    loop {
        let fetched = submodules::fetch(&context.mirrors, source.clone()).await;
        let fetched = fetched.map_err(|error| failed(error.reason(), error.to_string()))?;
        let (spec, includes, view) = (object.spec.clone(), includes.clone(), fetched.clone());
        // Reads the mirror, which blocks.
        let viewed = tokio::task::spawn_blocking(move || in_service(view, &spec, includes)).await;
        match viewed.unwrap_or(Err(ViewError::Cancelled)) {
            Ok(viewed) => return Ok(viewed),
            // The next fetch clones a mirror that cannot be read again.
            Err(_) if fetched.is_damaged() && !is_repaired => is_repaired = true,
            Err(error) => return Err(failed("GitOperationFailed", error.to_string())),
        }
    }
}

/// Where to fetch from, and with which credentials.
async fn source(
    object: &GitRepository,
    context: &GitRepositoryContext,
) -> Result<GitSource, FetchOutcome> {
    let spec = &object.spec;
    let secret = secret_of(object, context, "secretRef", spec.secret_ref.as_ref()).await?;
    let proxy = spec.proxy_secret_ref.as_ref();
    let proxy = secret_of(object, context, "proxySecretRef", proxy).await?;
    let source = GitSource::new(spec, secret.as_ref()).and_then(|source| match &proxy {
        Some(proxy) => source.by_way_of(proxy),
        None => Ok(source),
    });
    source.map_err(|error| {
        let failure = FetchFailure::new(error.reason(), error.to_string());
        if error.is_stalled() {
            FetchOutcome::Stalled(failure)
        } else {
            FetchOutcome::Failed(failure)
        }
    })
}

/// The data of the Secret that a field of the spec names.
async fn secret_of(
    object: &GitRepository,
    context: &GitRepositoryContext,
    field: &str,
    reference: Option<&LocalReference>,
) -> Result<Option<BTreeMap<String, SecretValue>>, FetchOutcome> {
    let failed = |message| {
        let failure = FetchFailure::new("AuthenticationFailed", message);
        FetchOutcome::Failed(failure)
    };
    let Some(reference) = reference else {
        return Ok(None);
    };
    check_name(format!("spec.{field}.name"), &reference.name)
        .map_err(|error| failed(error.to_string()))?;
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let secret = api.get_opt(&reference.name).await;
    let secret = secret.map_err(|error| failed(describe(&error)))?;
    let secret = secret.ok_or_else(|| {
        failed(format!(
            "Secret `{namespace}/{}` of `spec.{field}` does not exist",
            reference.name
        ))
    })?;
    Ok(Some(secret_data(&secret)))
}

/// The repositories that are included, if all of them are in service.
async fn includes(
    object: &GitRepository,
    context: &GitRepositoryContext,
) -> Result<Vec<Include>, FetchFailure> {
    let own = NamespacedName::of(object);
    let mut includes = Vec::new();
    for given in &object.spec.include {
        includes.push(include(&own, given, context).await?);
    }
    Ok(includes)
}

async fn include(
    own: &NamespacedName,
    given: &GitInclude,
    context: &GitRepositoryContext,
) -> Result<Include, FetchFailure> {
    let source = NamespacedName::new(&own.namespace, &given.repository.name);
    let fetched = context.sources.get(&source).filter(|_| source != *own);
    let Some(fetched) = fetched else {
        let found = git_repository(&context.client, &source).await;
        let found = found.map_err(|error| FetchFailure::new("NoArtifact", describe(&error)))?;
        return Err(include_failure(&source, found.as_ref()));
    };
    let view = fetched.view.as_ref();
    if view.is_some_and(|view| view.includes(own, MAX_INCLUDES)) {
        let message = format!(
            "GitRepository `{source}` includes this one in its turn, or includes are nested deeper than {MAX_INCLUDES}"
        );
        return Err(FetchFailure::new("IncludeCircle", message));
    }
    let path = |path: Option<&str>, default: &str| {
        let path = RepoPath::root().join(path.unwrap_or(default).trim_start_matches('/'));
        path.map_err(|problem| FetchFailure::new("IllegalPath", problem.to_string()))
    };
    Ok(Include {
        from: path(given.from_path.as_deref(), "")?,
        to: path(given.to_path.as_deref(), &source.name)?,
        source,
        fetched,
    })
}

/// Why a commit that was fetched cannot be put into service. The text is shown in a condition.
#[derive(Debug, thiserror::Error)]
enum ViewError {
    #[error("{0}")]
    IgnoreFiles(#[from] IgnoreFilesError),
    /// The mirror cannot be read.
    #[error("{}", .0.message())]
    Mirror(#[from] git2::Error),
    /// A path of `spec.sparseCheckout` that cannot be read, in the engine's words.
    #[error("{0}")]
    SparsePath(String),
    /// The directory as the spec writes it.
    #[error("`spec.sparseCheckout` names `{0}`, which is no directory of the repository")]
    SparseMissing(String),
    #[error("{0}")]
    Ignore(#[from] IgnoreError),
    /// The runtime ended meanwhile.
    #[error("the task ended early")]
    Cancelled,
}

/// A commit with what of it is in service. Reads the mirror.
fn in_service(
    fetched: Fetched,
    spec: &GitRepositorySpec,
    includes: Vec<Include>,
) -> Result<Fetched, ViewError> {
    let ignores = snapshot::source_ignores(&fetched)?;
    let tree = snapshot::open(&fetched)?;
    let sparse = spec.sparse_checkout.iter();
    let sparse = sparse
        .map(|directory| sparse_directory(&tree, directory))
        .collect::<Result<_, _>>()?;
    let view = View {
        ignore: Ignore::new(&ignores, spec.ignore.as_deref())?,
        sparse,
        includes,
    };
    Ok(Fetched {
        view: Some(Arc::new(view)),
        // Computed anew, since the view decides which files count.
        content: OnceLock::new(),
        ..fetched
    })
}

/// A directory of `spec.sparseCheckout`, which must exist in the commit.
fn sparse_directory(tree: &FileTree, directory: &str) -> Result<RepoPath, ViewError> {
    let path = RepoPath::root().join(directory.trim_start_matches("./"));
    let path = path.map_err(|problem| ViewError::SparsePath(problem.to_string()))?;
    let entry = tree.resolve(&path);
    match entry.map_err(|problem| ViewError::SparsePath(problem.to_string()))? {
        Some((_, FileEntry::Directory)) => Ok(path),
        _ => Err(ViewError::SparseMissing(directory.to_owned())),
    }
}

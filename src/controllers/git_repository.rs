//! `GitRepository`: brings the wanted commit into service.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource as _, ResourceExt as _};
use kustomize::{FileEntry, RepoPath};

use crate::controllers::context::memory_key;
use crate::controllers::events::Component;
use crate::controllers::unreadable::Readable;
use crate::controllers::{Context, ReconcileError};
use crate::git::view::{Include, View};
use crate::git::{Fetched, snapshot, submodules};
use overlayd_core::api::annotations::{FLUX_FINALIZER, REQUESTED_AT};
use overlayd_core::api::git_repository::{
    Artifact, GitRepository, GitRepositorySpec, GitRepositoryStatus,
};
use overlayd_core::api::kustomization::LocalReference;
use overlayd_core::conditions::{Progress, Says, flux_condition, flux_conditions};
use overlayd_core::git::ignore::{Ignore, MAX_PATTERNS};
use overlayd_core::git::source::GitSource;
use overlayd_core::names::NamespacedName;
use overlayd_core::schedule::{parse_duration, seconds};
use overlayd_core::secrets::SecretValue;

/// What a fetch came to.
enum Outcome {
    Fetched(Fetched),
    Failed {
        reason: &'static str,
        message: String,
    },
    /// What it includes is not there yet.
    Incomplete {
        reason: &'static str,
        message: String,
    },
    Stalled {
        reason: &'static str,
        message: String,
    },
}

/// Fetches, puts the commit into service, and says so.
pub(crate) async fn reconcile(
    object: Readable<GitRepository>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let key = memory_key(&*object);
    let source_key = NamespacedName::of(&*object);
    let api = context.api_of(&*object);
    if object.meta().deletion_timestamp.is_some() {
        context.sources.remove(&source_key);
        context.reconcile_cache.forget(&key);
        context
            .set_finalizer(&api, &object, FLUX_FINALIZER, false)
            .await?;
        return Ok(Action::await_change());
    }
    let requested = object.annotations().get(REQUESTED_AT).cloned();
    let included = object.spec.include.iter().map(|include| {
        let key = NamespacedName::new(&source_key.namespace, &include.repository.name);
        let fetched = context.sources.get(&key);
        fetched.map(|fetched| fetched.content().to_owned())
    });
    let fingerprint = format!(
        "{:?} {requested:?} {} {:?} {:?}",
        object.meta().generation,
        object.spec.suspend,
        object.meta().uid,
        included.collect::<Vec<_>>()
    );
    let started = Timestamp::now();
    if let Some(rest) = context.reconcile_cache.rest(&key, &fingerprint, started) {
        return Ok(Action::requeue(rest));
    }
    let timer = context.metrics.start("GitRepository");
    let status = object.status.clone().unwrap_or_default();
    if object.spec.suspend {
        let status = GitRepositoryStatus {
            last_handled_reconcile_at: requested,
            ..status
        };
        write(&context, &api, &object, status).await?;
        return Ok(Action::await_change());
    }
    let outcome = fetch(&object, &context).await;
    let now = Timestamp::now();
    let interval = parse_duration(&object.spec.interval).unwrap_or(Duration::from_secs(60));
    let wait = match &outcome {
        Outcome::Fetched(_) => context.settings.jittered(interval, &*object),
        Outcome::Failed { .. } => {
            context
                .reconcile_cache
                .failed(&key, &fingerprint, now, context.settings.source_backoff)
        }
        // It is woken when what it waits for comes; this is the net below that.
        Outcome::Incomplete { .. } => context.settings.requeue_dependency,
        Outcome::Stalled { .. } => Duration::from_secs(3600),
    };
    announce(&context, &object, &status, &outcome).await;
    let mut new = next_status(&object, &status, &outcome, now);
    new.last_handled_reconcile_at = requested;
    write(&context, &api, &object, new).await?;
    if let Outcome::Fetched(fetched) = outcome {
        context.sources.put(&source_key, fetched);
        context
            .reconcile_cache
            .succeeded(&key, &fingerprint, now, wait);
    }
    timer.finish(&object.name_any(), &object.namespace().unwrap_or_default());
    Ok(Action::requeue(wait))
}

async fn fetch(object: &GitRepository, context: &Context) -> Outcome {
    let spec = &object.spec;
    let secrets = async {
        let own = secret_of(object, context, "secretRef", spec.secret_ref.as_ref()).await?;
        let proxy = spec.proxy_secret_ref.as_ref();
        let proxy = secret_of(object, context, "proxySecretRef", proxy).await?;
        Ok((own, proxy))
    };
    let (secret, proxy) = match secrets.await {
        Ok(secrets) => secrets,
        Err(message) => {
            return Outcome::Failed {
                reason: "AuthenticationFailed",
                message,
            };
        }
    };
    let source = GitSource::new(spec, secret.as_ref()).and_then(|source| match &proxy {
        Some(proxy) => source.by_way_of(proxy),
        None => Ok(source),
    });
    let source = match source {
        Ok(source) => source,
        Err(error) if error.is_stalled() => {
            return Outcome::Stalled {
                reason: error.reason(),
                message: error.to_string(),
            };
        }
        Err(error) => {
            return Outcome::Failed {
                reason: error.reason(),
                message: error.to_string(),
            };
        }
    };
    let includes = match includes(object, context) {
        Ok(includes) => includes,
        Err((reason, message)) => return Outcome::Incomplete { reason, message },
    };
    let fetched = match submodules::fetch(&context.mirrors, source).await {
        Ok(fetched) => fetched,
        Err(error) => {
            return Outcome::Failed {
                reason: error.reason(),
                message: error.to_string(),
            };
        }
    };
    let spec = object.spec.clone();
    let viewed = tokio::task::spawn_blocking(move || viewed(fetched, &spec, includes)).await;
    match viewed.unwrap_or_else(|_| Err("the task ended early".to_owned())) {
        Ok(fetched) => Outcome::Fetched(fetched),
        Err(message) => Outcome::Failed {
            reason: "GitOperationFailed",
            message,
        },
    }
}

/// Includes of includes, so deep.
const MAX_INCLUDES: usize = 4;

/// The repositories that are included, if all of them are in service.
fn includes(
    object: &GitRepository,
    context: &Context,
) -> Result<Vec<Include>, (&'static str, String)> {
    let namespace = object.namespace().unwrap_or_default();
    let path = |path: Option<&str>, default: &str| {
        let path = RepoPath::root().join(path.unwrap_or(default).trim_start_matches('/'));
        path.map_err(|problem| ("IllegalPath", problem.to_string()))
    };
    let includes = object.spec.include.iter().map(|include| {
        let name = &include.repository.name;
        let found = context.sources.get(&NamespacedName::new(&namespace, name));
        let fetched = found
            .filter(|_| *name != object.name_any())
            .ok_or_else(|| {
                let message = format!(
                    "GitRepository `{namespace}/{name}`, which is included, has fetched nothing yet"
                );
                ("NoArtifact", message)
            })?;
        let own = NamespacedName::of(object);
        if fetched.view.as_ref().is_some_and(|view| view.includes(&own, MAX_INCLUDES)) {
            let message = format!("GitRepository `{namespace}/{name}` includes this one in its turn, or includes are nested deeper than {MAX_INCLUDES}");
            return Err(("IncludeCircle", message));
        }
        Ok(Include {
            source: NamespacedName::new(&namespace, name),
            from: path(include.from_path.as_deref(), "")?,
            to: path(include.to_path.as_deref(), name)?,
            fetched,
        })
    });
    includes.collect()
}

/// A commit with what of it is in service. Reads the mirror.
fn viewed(
    fetched: Fetched,
    spec: &GitRepositorySpec,
    includes: Vec<Include>,
) -> Result<Fetched, String> {
    let ignores = snapshot::source_ignores(&fetched)?;
    let tree = snapshot::open(&fetched).map_err(|error| error.message().to_owned())?;
    let sparse = spec.sparse_checkout.iter().map(|directory| {
        let path = RepoPath::root().join(directory.trim_start_matches("./"));
        let path = path.map_err(|problem| problem.to_string())?;
        match tree.resolve(&path).map_err(|problem| problem.to_string())? {
            Some((_, FileEntry::Directory)) => Ok(path),
            _ => Err(format!(
                "`spec.sparseCheckout` names `{directory}`, which is no directory of the repository"
            )),
        }
    });
    let sparse = sparse.collect::<Result<_, String>>()?;
    let texts = ignores
        .iter()
        .map(|(_, text)| text.as_str())
        .chain(spec.ignore.as_deref());
    if texts.map(Ignore::count).sum::<usize>() > MAX_PATTERNS / 2 {
        return Err(format!(
            "`spec.ignore` and the `.sourceignore` files have more than {} patterns",
            MAX_PATTERNS / 2
        ));
    }
    let ignore = Ignore::new(&ignores, spec.ignore.as_deref());
    let view = View {
        ignore,
        sparse,
        includes,
    };
    Ok(Fetched {
        view: Some(Arc::new(view)),
        // Another view, other files.
        content: OnceLock::new(),
        ..fetched
    })
}

/// The data of the Secret that a field of the spec names.
async fn secret_of(
    object: &GitRepository,
    context: &Context,
    field: &str,
    reference: Option<&LocalReference>,
) -> Result<Option<BTreeMap<String, SecretValue>>, String> {
    let Some(reference) = reference else {
        return Ok(None);
    };
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let secret = api.get_opt(&reference.name).await;
    let secret = secret.map_err(|error| crate::cluster::error::describe(&error))?;
    let secret = secret.ok_or_else(|| {
        format!(
            "Secret `{namespace}/{}` of `spec.{field}` does not exist",
            reference.name
        )
    })?;
    Ok(Some(overlayd_core::secrets::decide::secret_data(&secret)))
}

fn next_status(
    object: &GitRepository,
    old: &GitRepositoryStatus,
    outcome: &Outcome,
    now: Timestamp,
) -> GitRepositoryStatus {
    let generation = object.meta().generation.unwrap_or_default();
    let mut new = old.clone();
    let (progress, reason, message) = match outcome {
        Outcome::Fetched(fetched) => {
            let revision = fetched.revision.to_string();
            let artifact = artifact(object, fetched, now);
            if !is_held(old, &artifact) {
                new.artifact = Some(artifact);
            }
            new.observed_generation = generation;
            new.observed_recurse_submodules = object.spec.recurse_submodules;
            new.observed_ignore.clone_from(&object.spec.ignore);
            new.observed_include.clone_from(&object.spec.include);
            new.observed_sparse_checkout
                .clone_from(&object.spec.sparse_checkout);
            new.included_artifacts = included(object, fetched, old, now);
            (
                Progress::Ready,
                "Succeeded",
                format!("stored artifact for revision '{revision}'"),
            )
        }
        Outcome::Failed { reason, message } | Outcome::Incomplete { reason, message } => {
            (Progress::Retrying, *reason, message.clone())
        }
        Outcome::Stalled { reason, message } => {
            new.observed_generation = generation;
            (Progress::Stalled, *reason, message.clone())
        }
    };
    new.conditions = flux_conditions(&old.conditions, generation, progress, reason, &message, now);
    if progress == Progress::Ready || old.artifact.is_some() {
        let held = new
            .artifact
            .as_ref()
            .map(|artifact| format!("stored artifact for revision '{}'", artifact.revision));
        let message = held.unwrap_or_default();
        let says = Says {
            type_: "ArtifactInStorage",
            status: "True",
            reason: "Succeeded",
            message: &message,
        };
        new.conditions
            .push(flux_condition(&old.conditions, generation, &says, now));
    }
    if progress != Progress::Ready {
        let says = Says {
            type_: match outcome {
                Outcome::Incomplete { .. } => "IncludeUnavailable",
                _ => "FetchFailed",
            },
            status: "True",
            reason,
            message: &message,
        };
        new.conditions
            .push(flux_condition(&old.conditions, generation, &says, now));
    }
    new
}

/// True if the status shows the same files of the same revision already.
fn is_held(old: &GitRepositoryStatus, artifact: &Artifact) -> bool {
    let held = old.artifact.as_ref();
    held.is_some_and(|held| held.revision == artifact.revision && held.digest == artifact.digest)
}

/// What is shown of the repositories that are included; the time of each moves with its content.
fn included(
    object: &GitRepository,
    fetched: &Fetched,
    old: &GitRepositoryStatus,
    now: Timestamp,
) -> Vec<Artifact> {
    let includes = fetched.view.iter().flat_map(|view| &view.includes);
    let includes = includes.map(|include| {
        let artifact = artifact(object, &include.fetched, now);
        let mut before = old.included_artifacts.iter();
        let before =
            before.find(|before| before.url == artifact.url && before.digest == artifact.digest);
        before.cloned().unwrap_or(artifact)
    });
    includes.collect()
}

fn artifact(object: &GitRepository, fetched: &Fetched, now: Timestamp) -> Artifact {
    let path = format!(
        "gitrepository/{}/{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any(),
        fetched.revision.commit
    );
    Artifact {
        // No file is served: who wants the tree asks git for the commit.
        url: format!("{}#{}", fetched.url, fetched.revision.commit),
        path,
        revision: fetched.revision.to_string(),
        digest: Some(format!("sha256:{}", fetched.content())),
        last_update_time: seconds(now),
        size: None,
        metadata: BTreeMap::new(),
    }
}

async fn announce(
    context: &Context,
    object: &GitRepository,
    old: &GitRepositoryStatus,
    outcome: &Outcome,
) {
    let (type_, reason, note) = match outcome {
        Outcome::Fetched(fetched) => {
            let revision = fetched.revision.to_string();
            if is_held(old, &artifact(object, fetched, Timestamp::default())) {
                return;
            }
            tracing::info!(source = %object.name_any(), %revision, "fetched");
            (
                EventType::Normal,
                "NewArtifact",
                format!("stored artifact for commit '{}'", fetched.subject),
            )
        }
        Outcome::Failed { reason, message }
        | Outcome::Incomplete { reason, message }
        | Outcome::Stalled { reason, message } => {
            tracing::warn!(source = %object.name_any(), reason, message, "fetch failed");
            (EventType::Warning, *reason, message.clone())
        }
    };
    context
        .events
        .publish(Component::Source, object, type_, reason, &note)
        .await;
}

async fn write(
    context: &Context,
    api: &Api<GitRepository>,
    object: &GitRepository,
    status: GitRepositoryStatus,
) -> Result<(), kube::Error> {
    if object.status.as_ref() == Some(&status) {
        return Ok(());
    }
    context.write_status(api, object, &status).await
}

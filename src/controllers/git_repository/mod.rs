//! `GitRepository`: brings the wanted commit into service.
//!
//! `observe → decide → fetch → record`. The rules (which step is due, and what an outcome means for the status, the event
//! and the next reconcile) are in [`overlayd_core::git::repository_status`].

mod context;
mod fetch;

pub(crate) use context::{GitRepositoryContext, SourceSettings};

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use crate::controllers::ReconcileError;
use crate::controllers::events::Component;
use crate::controllers::objects::{api_of, remove_finalizer, write_status};
use crate::controllers::unreadable::Readable;
use crate::metrics::ReconcileResult;
use overlayd_core::api::annotations::FLUX_FINALIZER;
use overlayd_core::api::git_repository::{GitRepository, GitRepositoryStatus};
use overlayd_core::events::Severity;
use overlayd_core::git::repository_status::{
    ArtifactEvent, FetchEvent, FetchOutcome, RepositoryStep, SourceRequeue, change_token, event,
    next_status, next_step, suspended_revision, suspended_status,
};
use overlayd_core::names::{NamespacedName, ObjectKey};

/// What decides about a reconcile besides the object itself.
struct ObservedGitRepository {
    /// The key of the object in caches.
    key: ObjectKey,
    /// The name of the object among sources.
    name: NamespacedName,
    /// Differs when the last result may not hold any more.
    change_token: String,
    /// How long the last result still holds.
    rest: Option<Duration>,
}

/// Does the step that is due, and records its outcome.
pub(crate) async fn reconcile(
    object: Readable<GitRepository>,
    context: Arc<GitRepositoryContext>,
) -> Result<Action, ReconcileError> {
    // An object that was deleted and created anew may have another address.
    let uid = object.uid().unwrap_or_default();
    context
        .sources
        .remove_former(&NamespacedName::of(&*object), &uid);
    let observed = observe(&object, &context);
    match next_step(&object, observed.rest) {
        RepositoryStep::Finalize => finalize(&object, &context, &observed).await,
        RepositoryStep::Rest(rest) => Ok(Action::requeue(rest)),
        RepositoryStep::Suspend => {
            write(&context, &object, suspended_status(&object)).await?;
            Ok(serve_suspended(&object, &context, &observed).await)
        }
        RepositoryStep::Fetch => {
            let timer = context.metrics.start("GitRepository");
            let (outcome, fetched) = fetch::fetch(&object, &context).await;
            let wait = record(&object, &context, &observed, &outcome).await?;
            if let Some(fetched) = fetched {
                // Only after the status is written: users of the source read both.
                context.sources.put(&observed.name, &uid, fetched);
            }
            let result = match outcome {
                FetchOutcome::Fetched(_) => ReconcileResult::RequeueAfter,
                _ => ReconcileResult::Error,
            };
            timer.finish(result, &observed.name.name, &observed.name.namespace);
            Ok(Action::requeue(wait))
        }
    }
}

/// Gathers what is known without a request.
fn observe(object: &GitRepository, context: &GitRepositoryContext) -> ObservedGitRepository {
    let (key, name) = (ObjectKey::of(object), NamespacedName::of(object));
    let included = object.spec.include.iter().map(|include| {
        let source = NamespacedName::new(&name.namespace, &include.repository.name);
        let fetched = context.sources.get(&source);
        fetched.map(|fetched| fetched.content().to_owned())
    });
    let change_token = change_token(object, &included.collect::<Vec<_>>());
    let rest = context
        .reconcile_cache
        .rest(&key, &change_token, Instant::now());
    let in_service = context.sources.get(&name);
    // A mirror that cannot be read is cloned again now.
    let rest = rest.filter(|_| !in_service.is_some_and(|fetched| fetched.is_damaged()));
    ObservedGitRepository {
        key,
        name,
        change_token,
        rest,
    }
}

/// Puts the revision of a suspended source into service again after a restart. The status stays as it is.
async fn serve_suspended(
    object: &GitRepository,
    context: &GitRepositoryContext,
    observed: &ObservedGitRepository,
) -> Action {
    let revision = suspended_revision(object);
    let revision = revision.filter(|_| context.sources.get(&observed.name).is_none());
    let Some(revision) = revision else {
        return Action::await_change();
    };
    match fetch::fetch_again(object, context, revision).await {
        Ok(fetched) => {
            let uid = object.uid().unwrap_or_default();
            context.sources.put(&observed.name, &uid, fetched);
            Action::await_change()
        }
        Err(outcome) => {
            tracing::warn!(source = %observed.name, ?outcome, "a suspended source cannot be fetched again");
            Action::requeue(context.settings.requeue_dependency)
        }
    }
}

/// Takes a source that is gone out of service.
pub(crate) fn gone(context: &GitRepositoryContext, name: &NamespacedName) {
    context.sources.remove(name);
    let key = ObjectKey::new("GitRepository", name.clone());
    context.reconcile_cache.forget(&key);
    let NamespacedName { namespace, name } = name;
    let metrics = &context.metrics;
    metrics.forget_reconciles("GitRepository", namespace, name);
}

/// Takes the source out of service, and releases Flux's finalizer, which overlayd never adds here.
async fn finalize(
    object: &GitRepository,
    context: &GitRepositoryContext,
    observed: &ObservedGitRepository,
) -> Result<Action, ReconcileError> {
    gone(context, &observed.name);
    let api = api_of(&context.client, object);
    remove_finalizer(&api, object, FLUX_FINALIZER).await?;
    Ok(Action::await_change())
}

/// Records an outcome in the event, the status and the reconcile cache. Gives the wait until the next reconcile.
async fn record(
    object: &GitRepository,
    context: &GitRepositoryContext,
    observed: &ObservedGitRepository,
    outcome: &FetchOutcome,
) -> Result<Duration, ReconcileError> {
    let now = Timestamp::now();
    let (key, token) = (&observed.key, &observed.change_token);
    let wait = match outcome.requeue(object) {
        SourceRequeue::AfterInterval(interval) => context.settings.jitter.spread(interval, object),
        SourceRequeue::AfterBackoff => {
            let bounds = context.settings.backoff;
            context
                .reconcile_cache
                .failed(key, token, Instant::now(), bounds)
        }
        SourceRequeue::AfterDependency => context.settings.requeue_dependency,
        SourceRequeue::After(wait) => wait,
    };
    publish(object, context, outcome).await;
    write(context, object, next_status(object, outcome, now)).await?;
    if matches!(outcome, FetchOutcome::Fetched(_)) {
        context
            .reconcile_cache
            .succeeded(key, token, Instant::now(), wait);
    }
    Ok(wait)
}

/// Writes the event of an outcome that is news, and logs it.
async fn publish(object: &GitRepository, context: &GitRepositoryContext, outcome: &FetchOutcome) {
    if let FetchOutcome::Fetched(commit) = outcome {
        tracing::info!(source = %object.name_any(), revision = %commit.revision, "fetched");
    }
    let old = object.status.clone().unwrap_or_default();
    let Some(event) = event(&old, outcome) else {
        return;
    };
    let (facts, told) = match &event {
        FetchEvent::NewArtifact(artifact) => (
            facts(artifact),
            (Severity::Info, "NewArtifact", &artifact.note),
        ),
        FetchEvent::Recovered(artifact) => (
            facts(artifact),
            (Severity::Info, "Succeeded", &artifact.note),
        ),
        FetchEvent::Failed(failure) => {
            let (reason, message) = (failure.reason, &failure.message);
            tracing::warn!(source = %object.name_any(), reason, message, "fetch failed");
            (Vec::new(), (Severity::Error, reason, message))
        }
    };
    let (severity, reason, note) = told;
    let told = (severity, reason, note.as_str());
    let (events, component) = (&context.events, Component::Source);
    events.publish_with(component, object, &facts, told).await;
}

fn facts(artifact: &ArtifactEvent) -> Vec<(&'static str, &str)> {
    let ArtifactEvent {
        revision, digest, ..
    } = artifact;
    vec![("revision", revision), ("digest", digest)]
}

/// Writes a status that differs from the one that the object has.
async fn write(
    context: &GitRepositoryContext,
    object: &GitRepository,
    status: GitRepositoryStatus,
) -> Result<(), kube::Error> {
    if object.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let api = api_of(&context.client, object);
    write_status(&api, object, &status).await.map(drop)
}

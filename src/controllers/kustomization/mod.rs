//! `Kustomization`: builds a directory of a source, applies it, and waits until it is healthy.
//!
//! ```text
//! source ─snapshot→ FileTree ─build→ Rendered ─plan→ ApplyPlan ─execute→ ChangeSet ⇒ inventory, status
//! ```
//! The inventory of everything that is about to be applied is written before the first object is, so that
//! a crash in between loses track of nothing. A wait for health is a state ([`wait`]), not a worker.

mod build;
mod depend;
pub(crate) mod wait;

pub(crate) use build::desired;
pub(crate) use depend::Dependencies;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource as _, ResourceExt as _};
use kustomize::Inputs;

use self::wait::Waiting;
use super::context::{Settings, memory_key, seed};
use super::events::Component;
use super::status::{Progress, Says, flux_condition, flux_conditions};
use super::{Context, ReconcileError};
use crate::api::REQUESTED_AT;
use crate::api::kustomization::{
    DeletionPolicy, Kustomization, KustomizationSpec, KustomizationStatus, SourceKind,
};
use crate::apply::plan::{Guard, Protected};
use crate::apply::{Applier, ApplyError, ObjectRef, Owner, PlanError, inventory, plan};
use crate::git::Fetched;
use crate::schedule::{jittered, parse_duration};

/// Flux's finalizer, by which a deletion waits for us to prune.
const FINALIZER: &str = "finalizers.fluxcd.io";
/// Annotations of ours begin so.
const ANNOTATIONS: &str = "overlayd.dev/";

/// Why a revision was not applied.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error("{0}")]
    Source(String),
    #[error("`spec.{0}` is not supported yet; remove it or wait for a later version")]
    Unsupported(&'static str),
    #[error("kustomization path not found: {0}")]
    Path(String),
    #[error("{0}")]
    Build(String),
    #[error("{0}")]
    Dependency(String),
    #[error("{0}")]
    Identity(String),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("{0}")]
    Health(String),
}

impl SyncError {
    /// The reason of the condition, in Flux's words.
    fn reason(&self) -> &'static str {
        match self {
            Self::Source(_) | Self::Path(_) => "ArtifactFailed",
            Self::Unsupported(_) => "FeatureGateDisabled",
            Self::Build(_) => "BuildFailed",
            Self::Dependency(_) => "DependencyNotReady",
            Self::Apply(ApplyError::Prune(_)) => "PruneFailed",
            Self::Plan(PlanError::EmptyRender { .. } | PlanError::Guarded { .. }) => "PruneFailed",
            Self::Plan(_) | Self::Apply(_) | Self::Identity(_) => "ReconciliationFailed",
            Self::Health(_) => "HealthCheckFailed",
        }
    }

    fn is_stalled(&self) -> bool {
        matches!(
            self,
            Self::Unsupported(_) | Self::Plan(PlanError::Guarded { .. })
        )
    }
}

/// What came of a reconcile.
enum Outcome {
    /// Applied, healthy and pruned.
    Done(Applied),
    /// Applied, and not healthy yet: to be looked at again after this time.
    Waiting {
        message: String,
        again: Duration,
    },
    Failed(SyncError),
}

/// Applies the revision in service, or says why not.
pub(crate) async fn reconcile(
    object: Arc<Kustomization>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let key = memory_key(&*object);
    let api = context.api_of(&*object);
    if object.meta().deletion_timestamp.is_some() {
        context.memory.forget(&key);
        context.builds.forget(&key);
        context.waits.take(&key);
        return finalize(&object, &api, &context).await;
    }
    let requested = object.annotations().get(REQUESTED_AT).cloned();
    let source = context.sources.get(&source_key(&object));
    let revision = source.as_ref().map(|source| source.revision.to_string());
    // All that decides besides the source.
    let wanted = format!(
        "{:?} {:?} {requested:?} {} {:?}",
        object.meta().uid,
        object.meta().generation,
        object.spec.suspend,
        settings_of(&object)
    );
    let submodules = source.as_ref().map(|source| source.submodules.len());
    let fingerprint = format!("{wanted} {revision:?} {submodules:?}");
    let started = Timestamp::now();
    let freed = context.dependencies.is_freed(&key, &object);
    let unit = (object.namespace().unwrap_or_default(), object.name_any());
    let live = context.identities.live();
    let drifted = live.records().take_drifted(&unit);
    if !freed
        && !drifted
        && let Some(rest) = context.memory.rest(&key, &fingerprint, started)
    {
        return Ok(Action::requeue(rest));
    }
    context
        .set_finalizer(&api, &object, FINALIZER, true)
        .await?;
    let mut status = object.status.clone().unwrap_or_default();
    if object.spec.suspend {
        // What others change meanwhile is found when it goes on.
        context.waits.take(&key);
        status.last_handled_reconcile_at = requested;
        write(&context, &api, &object, &status).await?;
        return Ok(Action::await_change());
    }
    let timer = context.metrics.start("Kustomization");
    let variables = build::variables(&object, &context).await;
    let wanted = match &variables {
        Ok(Some(variables)) => format!("{wanted} {}", variables.hash()),
        _ => wanted,
    };
    let run = Run {
        object: &object,
        api: &api,
        context: &context,
        key: &key,
        fingerprint: &fingerprint,
    };
    let waiting = context.waits.take(&key);
    let waiting = waiting.filter(|waiting| waiting.fingerprint == fingerprint);
    let mut due = None;
    let outcome = match (waiting, variables) {
        (Some(waiting), _) => run.look(waiting, &mut status).await,
        (None, Err(error)) => Outcome::Failed(error),
        (None, Ok(variables)) => {
            if !drifted {
                due = still_applied(&context, &key, &wanted, source.as_ref(), started).await;
            }
            if due.is_some() {
                let namespace = object.namespace().unwrap_or_default();
                tracing::info!(namespace, kustomization = %object.name_any(), revision, "the revision changes nothing that was built");
                Outcome::Done(Applied::default())
            } else {
                context.builds.forget(&key);
                run.sync(source, variables, &mut status).await?
            }
        }
    };
    let now = Timestamp::now();
    let wait = next_wait(&object, &outcome, due, now);
    announce(&context, &object, &outcome, revision.as_deref()).await;
    conclude(&object, &mut status, &outcome, revision, now);
    status.last_handled_reconcile_at = requested;
    write(&context, &api, &object, &status).await?;
    context.memory.succeeded(&key, &fingerprint, now, wait);
    match (&outcome, now.checked_add(wait)) {
        // Of a build that was skipped there are no inputs, and what is remembered stays.
        (Outcome::Done(applied), Ok(due)) => {
            if let Some(inputs) = applied.inputs.clone() {
                context.builds.applied(&key, &wanted, inputs, due);
            }
        }
        (Outcome::Failed(SyncError::Dependency(_)), _) => {
            context.dependencies.block(&key, &object);
        }
        _ => {}
    }
    timer.finish(&object.name_any(), &object.namespace().unwrap_or_default());
    Ok(Action::requeue(wait))
}

/// How long the object can be left alone.
fn next_wait(
    object: &Kustomization,
    outcome: &Outcome,
    due: Option<Timestamp>,
    now: Timestamp,
) -> Duration {
    /// A dependency wakes its dependents; this is the net below that.
    const DEPENDENCY: Duration = Duration::from_secs(30);
    let interval = parse_duration(&object.spec.interval).unwrap_or(Duration::from_secs(300));
    let retry = object
        .spec
        .retry_interval
        .as_deref()
        .and_then(parse_duration);
    match (outcome, due) {
        (Outcome::Waiting { again, .. }, _) => *again,
        (Outcome::Done(_), Some(due)) => due.duration_since(now).try_into().unwrap_or_default(),
        (Outcome::Done(_), None) => jittered(interval, seed(object)),
        (Outcome::Failed(SyncError::Dependency(_)), _) => DEPENDENCY,
        (Outcome::Failed(error), _) if error.is_stalled() => Duration::from_secs(3600),
        (Outcome::Failed(_), _) => retry.unwrap_or(interval),
    }
}

/// The annotations that change what is done.
fn settings_of(object: &Kustomization) -> Vec<(&String, &String)> {
    let own = |(key, _): &(&String, &String)| key.starts_with(ANNOTATIONS);
    object.annotations().iter().filter(own).collect()
}

fn source_key(object: &Kustomization) -> (String, String) {
    let reference = &object.spec.source_ref;
    let namespace = reference
        .namespace
        .clone()
        .or_else(|| object.namespace())
        .unwrap_or_default();
    (namespace, reference.name.clone())
}

fn owner(object: &Kustomization) -> Owner {
    Owner {
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_default(),
    }
}

/// What came of a revision.
#[derive(Debug, Default)]
struct Applied {
    /// What changed in the cluster, in the words of an event; empty if nothing.
    changes: String,
    /// What the build looked at, if that is all that decides its result.
    inputs: Option<Inputs>,
}

/// When the object is due again, if the revision can change nothing.
async fn still_applied(
    context: &Context,
    key: &str,
    wanted: &str,
    source: Option<&Arc<Fetched>>,
    now: Timestamp,
) -> Option<Timestamp> {
    let (builds, source) = (context.builds.clone(), source?.clone());
    let (key, wanted) = (key.to_owned(), wanted.to_owned());
    let task =
        tokio::task::spawn_blocking(move || builds.still_applied(&key, &wanted, &source, now));
    task.await.ok().flatten()
}

/// One reconcile that does work.
struct Run<'r> {
    object: &'r Kustomization,
    api: &'r Api<Kustomization>,
    context: &'r Context,
    key: &'r str,
    fingerprint: &'r str,
}

impl Run<'_> {
    /// Builds and applies, then looks whether it is healthy.
    async fn sync(
        &self,
        source: Option<Arc<Fetched>>,
        variables: Option<build::Substitution>,
        status: &mut KustomizationStatus,
    ) -> Result<Outcome, kube::Error> {
        let (object, context) = (self.object, self.context);
        let source =
            check(&object.spec).and_then(|()| source.ok_or_else(|| missing_source(object)));
        let source = match source {
            Ok(source) => source,
            Err(error) => return Ok(Outcome::Failed(error)),
        };
        let revision = source.revision.to_string();
        if let Err(error) = depend::check(object, context, &revision).await? {
            return Ok(Outcome::Failed(error));
        }
        let built = match build::build(object, context, &source, variables).await {
            Ok(built) => built,
            Err(error) => return Ok(Outcome::Failed(error)),
        };
        let held = inventory::objects(status.inventory.as_ref());
        let rendered: Vec<ObjectRef> = built
            .desired
            .iter()
            .map(|desired| desired.reference.clone())
            .collect();
        let plan = plan::plan(
            built.desired,
            &held,
            &object.spec,
            Some(&owner(object)),
            &Protected {
                own_namespace: context.settings.own_namespace.clone(),
            },
            &guard(object, &context.settings),
        );
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => return Ok(Outcome::Failed(error.into())),
        };
        status.last_attempted_revision = Some(revision);
        status.inventory = Some(inventory::of(rendered.iter().chain(&held)));
        write(context, self.api, object, status).await?;
        let applier = match applier(object, context) {
            Ok(applier) => applier,
            Err(error) => return Ok(Outcome::Failed(error)),
        };
        let applied = match applier.apply(&plan).await {
            Ok(applied) => applied,
            Err(error) => return Ok(Outcome::Failed(error.into())),
        };
        let waiting = Waiting {
            fingerprint: self.fingerprint.to_owned(),
            pending: wait::checked(&object.spec, &object.namespace().unwrap_or_default(), &plan),
            since: Timestamp::now(),
            looks: 0,
            rendered,
            prune: plan.prune,
            applied: Applied {
                changes: applied.describe_changes(),
                inputs: built.inputs,
            },
        };
        Ok(self.look(waiting, status).await)
    }

    /// Looks at what is not healthy yet. When all of it is, what left the set is pruned: until then, pods of the old
    /// revision may still need it.
    async fn look(&self, mut waiting: Waiting, status: &mut KustomizationStatus) -> Outcome {
        let (object, context) = (self.object, self.context);
        let applier = match applier(object, context) {
            Ok(applier) => applier,
            Err(error) => return Outcome::Failed(error),
        };
        match wait::look(&mut waiting, &object.spec, &applier).await {
            wait::Look::Healthy => {}
            wait::Look::Waiting { message, again } => {
                context.waits.put(self.key, waiting);
                return Outcome::Waiting { message, again };
            }
            wait::Look::Failed(message) => return Outcome::Failed(SyncError::Health(message)),
        }
        let (pruned, result) = applier.prune(&waiting.prune, &owner(object)).await;
        let failed: Vec<ObjectRef> = match &result {
            Err(ApplyError::Prune(failures)) => failures
                .iter()
                .map(|failure| failure.object.clone())
                .collect(),
            _ => Vec::new(),
        };
        // What could not be deleted stays on the list, so that it is tried again.
        status.inventory = Some(inventory::of(waiting.rendered.iter().chain(&failed)));
        if let Err(error) = result {
            return Outcome::Failed(error.into());
        }
        let changes = [waiting.applied.changes, pruned.describe_changes()];
        let changes: Vec<String> = changes
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        Outcome::Done(Applied {
            changes: changes.join("\n"),
            inputs: waiting.applied.inputs,
        })
    }
}

/// How much may be deleted without being asked, and what was approved.
fn guard(object: &Kustomization, settings: &Settings) -> Guard {
    let annotation = |name: &str| object.annotations().get(&format!("{ANNOTATIONS}{name}"));
    let limit = match annotation("deletion-limit").map(String::as_str) {
        Some("off") => None,
        Some(text) => text.parse().ok().or(settings.deletion_limit),
        None => settings.deletion_limit,
    };
    Guard {
        limit,
        share: settings.deletion_share,
        approved: annotation("approve-deletions").cloned(),
    }
}

/// Refuses what would otherwise be ignored.
fn check(spec: &KustomizationSpec) -> Result<(), SyncError> {
    if spec.source_ref.kind != SourceKind::GitRepository {
        return Err(SyncError::Unsupported(
            "sourceRef.kind (only GitRepository is)",
        ));
    }
    let set = [
        ("healthCheckExprs", !spec.health_check_exprs.is_empty()),
        ("ignore", !spec.ignore.is_empty()),
        ("decryption", spec.decryption.is_some()),
        ("kubeConfig", spec.kube_config.is_some()),
        (
            "dependsOn[].readyExpr",
            spec.depends_on
                .iter()
                .any(|dependency| dependency.ready_expr.is_some()),
        ),
    ];
    match set.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(SyncError::Unsupported(field)),
        None => Ok(()),
    }
}

fn missing_source(object: &Kustomization) -> SyncError {
    let (namespace, name) = source_key(object);
    SyncError::Source(format!(
        "source artifact not found: GitRepository `{namespace}/{name}` has fetched nothing yet"
    ))
}

fn conclude(
    object: &Kustomization,
    status: &mut KustomizationStatus,
    outcome: &Outcome,
    revision: Option<String>,
    now: Timestamp,
) {
    let generation = object.meta().generation.unwrap_or_default();
    let (progress, reason, message) = match outcome {
        Outcome::Done(_) => {
            status.observed_generation = generation;
            status.last_attempted_revision.clone_from(&revision);
            status.last_applied_revision.clone_from(&revision);
            let message = format!("Applied revision: {}", revision.unwrap_or_default());
            (Progress::Ready, "ReconciliationSucceeded", message)
        }
        Outcome::Waiting { message, .. } => (Progress::Waiting, "Progressing", message.clone()),
        Outcome::Failed(error) if error.is_stalled() => {
            status.observed_generation = generation;
            (Progress::Stalled, error.reason(), error.to_string())
        }
        Outcome::Failed(error) => (Progress::Retrying, error.reason(), error.to_string()),
    };
    let old = std::mem::take(&mut status.conditions);
    status.conditions = flux_conditions(&old, generation, progress, reason, &message, now);
    let healthy = match outcome {
        _ if !object.spec.wait && object.spec.health_checks.is_empty() => None,
        Outcome::Done(_) => Some(("True", "Succeeded", "Health check passed")),
        Outcome::Waiting { message, .. } => Some(("Unknown", "Progressing", message.as_str())),
        Outcome::Failed(SyncError::Health(message)) => {
            Some(("False", "HealthCheckFailed", message.as_str()))
        }
        // Nothing is known anew.
        Outcome::Failed(_) => {
            let known = old
                .into_iter()
                .filter(|condition| condition.type_ == "Healthy");
            status.conditions.extend(known);
            return;
        }
    };
    if let Some((state, reason, message)) = healthy {
        let says = Says {
            type_: "Healthy",
            status: state,
            reason,
            message,
        };
        let condition = flux_condition(&old, generation, &says, now);
        status.conditions.push(condition);
    }
}

async fn announce(
    context: &Context,
    object: &Kustomization,
    outcome: &Outcome,
    revision: Option<&str>,
) {
    let revision = revision.unwrap_or_default();
    let publish = async |type_, reason: &str, note: &str| {
        context
            .events
            .publish(Component::Kustomize, object, type_, reason, note)
            .await;
    };
    match outcome {
        Outcome::Waiting { .. } => {}
        Outcome::Done(Applied { changes, .. }) if changes.is_empty() => {}
        Outcome::Done(Applied { changes, .. }) => {
            tracing::info!(kustomization = %object.name_any(), revision, changes, "applied");
            publish(EventType::Normal, "Progressing", changes).await;
        }
        // That both objects are new and the source is not there yet is no event.
        Outcome::Failed(SyncError::Source(_)) if revision.is_empty() => {}
        Outcome::Failed(error) => {
            tracing::warn!(kustomization = %object.name_any(), revision, reason = error.reason(), %error, "not applied");
            let type_ = match error {
                SyncError::Dependency(_) => EventType::Normal,
                _ => EventType::Warning,
            };
            publish(type_, error.reason(), &error.to_string()).await;
        }
    }
}

/// Deletes what was applied, as the policy says, then lets the object go.
async fn finalize(
    object: &Kustomization,
    api: &Api<Kustomization>,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let policy = object
        .spec
        .deletion_policy
        .unwrap_or(DeletionPolicy::MirrorPrune);
    let deletes = match policy {
        DeletionPolicy::MirrorPrune => object.spec.prune,
        DeletionPolicy::Delete | DeletionPolicy::WaitForTermination => true,
        DeletionPolicy::Orphan => false,
    };
    if deletes && !object.spec.suspend && object.finalizers().iter().any(|name| name == FINALIZER) {
        let held = inventory::objects(
            object
                .status
                .as_ref()
                .and_then(|status| status.inventory.as_ref()),
        );
        let protected = Protected {
            own_namespace: context.settings.own_namespace.clone(),
        };
        let plan = plan::deletion(&held, &protected);
        let applier = match applier(object, context) {
            Ok(applier) => applier,
            Err(error) => return cannot_delete(object, api, context, &error.to_string()).await,
        };
        let (deleted, result) = applier.prune(&plan.prune, &owner(object)).await;
        tracing::info!(kustomization = %object.name_any(), deleted = deleted.describe_changes(), "deleted with its Kustomization");
        if let Err(error) = result {
            return cannot_delete(object, api, context, &error.to_string()).await;
        }
        if policy == DeletionPolicy::WaitForTermination {
            let going = wait::still_there(&plan.prune, &applier).await;
            let deleted = object.meta().deletion_timestamp.as_ref().map(|time| time.0);
            let waited = deleted.map(|deleted| Timestamp::now().duration_since(deleted));
            let waited = waited.and_then(|waited| Duration::try_from(waited).ok());
            if !going.is_empty() && waited.unwrap_or_default() < wait::timeout(&object.spec) {
                return Ok(Action::requeue(Duration::from_secs(1)));
            }
        }
    }
    context.set_finalizer(api, object, FINALIZER, false).await?;
    Ok(Action::await_change())
}

/// Says why the object cannot go yet. What it applied is not forgotten, not even where its account is gone.
async fn cannot_delete(
    object: &Kustomization,
    api: &Api<Kustomization>,
    context: &Context,
    why: &str,
) -> Result<Action, ReconcileError> {
    // In a namespace that goes, nobody can give an account its rights back. What is in it goes with it.
    let namespace = object.namespace().unwrap_or_default();
    if account(&object.spec, &context.settings).is_some() && context.caches.is_going(&namespace) {
        tracing::warn!(kustomization = %object.name_any(), namespace, why, "its namespace goes, so that what it applied elsewhere is left");
        context.set_finalizer(api, object, FINALIZER, false).await?;
        return Ok(Action::await_change());
    }
    let message = format!(
        "it goes when what it applied is deleted: {why}; let overlayd delete it, or set `deletionPolicy: Orphan` to leave it"
    );
    let mut status = object.status.clone().unwrap_or_default();
    let (old, now) = (std::mem::take(&mut status.conditions), Timestamp::now());
    let generation = object.meta().generation.unwrap_or_default();
    let reason = "PruneFailed";
    status.conditions =
        flux_conditions(&old, generation, Progress::Retrying, reason, &message, now);
    if status.conditions != old {
        let (component, type_) = (Component::Kustomize, EventType::Warning);
        context
            .events
            .publish(component, object, type_, reason, &message)
            .await;
    }
    write(context, api, object, &status).await?;
    Ok(Action::requeue(Duration::from_secs(5)))
}

/// The service account of an object. An empty name is none, and does not get around the default.
fn account<'o>(spec: &'o KustomizationSpec, settings: &'o Settings) -> Option<&'o str> {
    let named = spec.service_account_name.as_deref();
    named
        .filter(|account| !account.is_empty())
        .or(settings.default_service_account.as_deref())
}

/// As whom the object is applied.
fn applier(object: &Kustomization, context: &Context) -> Result<Arc<Applier>, SyncError> {
    let namespace = object.namespace().unwrap_or_default();
    let account = account(&object.spec, &context.settings);
    let applier = context.identities.applier(&namespace, account);
    applier.map_err(SyncError::Identity)
}

async fn write(
    context: &Context,
    api: &Api<Kustomization>,
    object: &Kustomization,
    status: &KustomizationStatus,
) -> Result<(), kube::Error> {
    if object.status.as_ref() == Some(status) {
        return Ok(());
    }
    context.write_status(api, object, status).await
}

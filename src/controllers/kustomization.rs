//! `Kustomization`: builds a directory of a source and applies it.
//!
//! ```text
//! source ─snapshot→ FileTree ─build→ Rendered ─plan→ ApplyPlan ─execute→ ChangeSet ⇒ inventory, status
//! ```
//! The inventory of everything that is about to be applied is written before the first object is, so that
//! a crash in between loses track of nothing.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource as _, ResourceExt as _};
use kustomize::{BuildErrors, BuildOptions, Inputs, LoadRestriction, Rendered, Reorder};

use super::builds::NotBuilt;
use super::context::{memory_key, seed};
use super::events::Component;
use super::status::{Progress, flux_conditions};
use super::{Context, ReconcileError};
use crate::api::REQUESTED_AT;
use crate::api::kustomization::{
    DeletionPolicy, Kustomization, KustomizationSpec, KustomizationStatus, SourceKind,
};
use crate::apply::plan::{Desired, Protected};
use crate::apply::{ApplyError, ApplyPlan, ObjectRef, Owner, PlanError, inventory, plan};
use crate::git::Fetched;
use crate::schedule::{jittered, parse_duration};

/// Flux's finalizer, by which a deletion waits for us to prune.
const FINALIZER: &str = "finalizers.fluxcd.io";

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
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl SyncError {
    /// The reason of the condition, in Flux's words.
    fn reason(&self) -> &'static str {
        match self {
            Self::Source(_) | Self::Path(_) => "ArtifactFailed",
            Self::Unsupported(_) => "FeatureGateDisabled",
            Self::Build(_) => "BuildFailed",
            Self::Apply(ApplyError::Prune(_)) => "PruneFailed",
            Self::Plan(PlanError::EmptyRender { .. }) => "PruneFailed",
            Self::Plan(_) | Self::Apply(_) => "ReconciliationFailed",
        }
    }

    fn is_stalled(&self) -> bool {
        matches!(self, Self::Unsupported(_))
    }
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
        return finalize(&object, &api, &context).await;
    }
    let requested = object.annotations().get(REQUESTED_AT).cloned();
    let source = context.sources.get(&source_key(&object));
    let revision = source.as_ref().map(|source| source.revision.to_string());
    // All that decides besides the source.
    let wanted = format!(
        "{:?} {requested:?} {}",
        object.meta().generation,
        object.spec.suspend
    );
    let fingerprint = format!("{wanted} {revision:?}");
    let started = Timestamp::now();
    if let Some(rest) = context.memory.rest(&key, &fingerprint, started) {
        return Ok(Action::requeue(rest));
    }
    context
        .set_finalizer(&api, &object, FINALIZER, true)
        .await?;
    let mut status = object.status.clone().unwrap_or_default();
    if object.spec.suspend {
        status.last_handled_reconcile_at = requested;
        write(&context, &api, &object, &status).await?;
        return Ok(Action::await_change());
    }
    let timer = context.metrics.start("Kustomization");
    let due = still_applied(&context, &key, &wanted, source.as_ref(), started).await;
    let result = match due {
        Some(_) => {
            let namespace = object.namespace().unwrap_or_default();
            tracing::info!(namespace, kustomization = %object.name_any(), revision, "the revision changes nothing that was built");
            Ok(Applied::default())
        }
        None => {
            context.builds.forget(&key);
            sync(&object, &api, &context, source, &mut status).await?
        }
    };
    let now = Timestamp::now();
    let interval = parse_duration(&object.spec.interval).unwrap_or(Duration::from_secs(300));
    let retry = object
        .spec
        .retry_interval
        .as_deref()
        .and_then(parse_duration)
        .unwrap_or(interval);
    let wait = match (&result, due) {
        (Ok(_), Some(due)) => due.duration_since(now).try_into().unwrap_or_default(),
        (Ok(_), None) => jittered(interval, seed(&*object)),
        (Err(error), _) if error.is_stalled() => Duration::from_secs(3600),
        (Err(_), _) => retry,
    };
    announce(&context, &object, &result, revision.as_deref()).await;
    conclude(&object, &mut status, &result, revision, now);
    status.last_handled_reconcile_at = requested;
    write(&context, &api, &object, &status).await?;
    context.memory.succeeded(&key, &fingerprint, now, wait);
    // Of a build that was skipped there are no inputs, and what is remembered stays.
    if let (
        Ok(Applied {
            inputs: Some(inputs),
            ..
        }),
        Ok(due),
    ) = (result, now.checked_add(wait))
    {
        context.builds.applied(&key, &wanted, inputs, due);
    }
    timer.finish(&object.name_any(), &object.namespace().unwrap_or_default());
    Ok(Action::requeue(wait))
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

async fn sync(
    object: &Kustomization,
    api: &Api<Kustomization>,
    context: &Context,
    source: Option<Arc<Fetched>>,
    status: &mut KustomizationStatus,
) -> Result<Result<Applied, SyncError>, kube::Error> {
    let source =
        match check(&object.spec).and_then(|()| source.ok_or_else(|| missing_source(object))) {
            Ok(source) => source,
            Err(error) => return Ok(Err(error)),
        };
    let revision = source.revision.to_string();
    let Built { desired, inputs } = match build(object, context, &source).await {
        Ok(built) => built,
        Err(error) => return Ok(Err(error)),
    };
    let held = inventory::objects(status.inventory.as_ref());
    let protected = Protected {
        own_namespace: context.settings.own_namespace.clone(),
    };
    let rendered: Vec<ObjectRef> = desired
        .iter()
        .map(|desired| desired.reference.clone())
        .collect();
    let plan = match plan::plan(
        desired,
        &held,
        &object.spec,
        Some(&owner(object)),
        &protected,
    ) {
        Ok(plan) => plan,
        Err(error) => return Ok(Err(error.into())),
    };
    status.last_attempted_revision = Some(revision);
    status.inventory = Some(inventory::of(rendered.iter().chain(&held)));
    write(context, api, object, status).await?;
    let changes = execute(object, context, &plan, &rendered, status).await;
    Ok(changes.map(|changes| Applied { changes, inputs }))
}

async fn execute(
    object: &Kustomization,
    context: &Context,
    plan: &ApplyPlan,
    rendered: &[ObjectRef],
    status: &mut KustomizationStatus,
) -> Result<String, SyncError> {
    let applied = context.applier.apply(plan).await?;
    let (pruned, result) = context.applier.prune(&plan.prune, &owner(object)).await;
    let failed: Vec<ObjectRef> = match &result {
        Err(ApplyError::Prune(failures)) => failures
            .iter()
            .map(|failure| failure.object.clone())
            .collect(),
        _ => Vec::new(),
    };
    // What could not be deleted stays on the list, so that it is tried again.
    status.inventory = Some(inventory::of(rendered.iter().chain(&failed)));
    result?;
    let changes = [applied.describe_changes(), pruned.describe_changes()];
    Ok(changes
        .iter()
        .filter(|text| !text.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join("\n"))
}

/// Refuses what would otherwise be ignored.
fn check(spec: &KustomizationSpec) -> Result<(), SyncError> {
    if spec.source_ref.kind != SourceKind::GitRepository {
        return Err(SyncError::Unsupported(
            "sourceRef.kind (only GitRepository is)",
        ));
    }
    let set = [
        ("wait", spec.wait),
        ("force", spec.force),
        ("healthChecks", !spec.health_checks.is_empty()),
        ("healthCheckExprs", !spec.health_check_exprs.is_empty()),
        ("dependsOn", !spec.depends_on.is_empty()),
        ("targetNamespace", spec.target_namespace.is_some()),
        ("namePrefix", spec.name_prefix.is_some()),
        ("nameSuffix", spec.name_suffix.is_some()),
        ("components", !spec.components.is_empty()),
        ("patches", !spec.patches.is_empty()),
        ("images", !spec.images.is_empty()),
        ("postBuild", spec.post_build.is_some()),
        ("buildMetadata", !spec.build_metadata.is_empty()),
        ("ignore", !spec.ignore.is_empty()),
        ("decryption", spec.decryption.is_some()),
        ("serviceAccountName", spec.service_account_name.is_some()),
        ("kubeConfig", spec.kube_config.is_some()),
        (
            "deletionPolicy: WaitForTermination",
            spec.deletion_policy == Some(DeletionPolicy::WaitForTermination),
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

/// What is to be applied, and what that was made of.
struct Built {
    desired: Vec<Desired>,
    inputs: Option<Inputs>,
}

/// Builds as Flux does: files may be named from anywhere in the source, and their order is kept.
async fn build(
    object: &Kustomization,
    context: &Context,
    source: &Arc<Fetched>,
) -> Result<Built, SyncError> {
    let path = object.spec.path.clone().unwrap_or_default();
    let (builds, source) = (context.builds.clone(), source.clone());
    let runtime = tokio::runtime::Handle::current();
    let task = tokio::task::spawn_blocking(move || {
        let options = BuildOptions {
            load_restriction: LoadRestriction::None,
            reorder: Reorder::None,
            ..BuildOptions::default()
        };
        let rendered = builds.build_blocking(&source, &path, &options, &runtime)?;
        Ok(Built {
            desired: desired(&rendered),
            // What stands elsewhere now is not known.
            inputs: rendered.remotes.is_empty().then_some(rendered.inputs),
        })
    });
    let ended = |_| Err(SyncError::Build("the build task ended early".to_owned()));
    task.await.unwrap_or_else(ended)
}

impl From<NotBuilt> for SyncError {
    fn from(reason: NotBuilt) -> Self {
        match reason {
            NotBuilt::Mirror(error) => {
                Self::Source(format!("cannot read the mirror: {}", error.message()))
            }
            NotBuilt::Path(text) => Self::Path(text),
            NotBuilt::Errors(errors) => Self::Build(explain(&errors)),
        }
    }
}

/// All errors of a build, each with its place and hint.
fn explain(errors: &BuildErrors) -> String {
    let hints: Vec<&str> = errors
        .0
        .iter()
        .filter_map(|error| error.hint.as_deref())
        .collect();
    if hints.is_empty() {
        errors.to_string()
    } else {
        format!("{errors} (hint: {})", hints.join("; "))
    }
}

/// The rendered objects with their names in the cluster.
pub(crate) fn desired(rendered: &Rendered) -> Vec<Desired> {
    let objects = rendered
        .objects
        .iter()
        .filter(|object| !object.api_version().starts_with("kustomize.config.k8s.io/"));
    objects
        .map(|object| Desired {
            reference: ObjectRef::new(
                object.api_version(),
                object.kind(),
                object.namespace().unwrap_or_default(),
                object.name(),
            ),
            manifest: object.to_json(),
            source: object.source.clone(),
        })
        .collect()
}

fn conclude(
    object: &Kustomization,
    status: &mut KustomizationStatus,
    result: &Result<Applied, SyncError>,
    revision: Option<String>,
    now: Timestamp,
) {
    let generation = object.meta().generation.unwrap_or_default();
    let (progress, reason, message) = match result {
        Ok(_) => {
            status.observed_generation = generation;
            status.last_attempted_revision.clone_from(&revision);
            status.last_applied_revision.clone_from(&revision);
            (
                Progress::Ready,
                "ReconciliationSucceeded",
                format!("Applied revision: {}", revision.unwrap_or_default()),
            )
        }
        Err(error) if error.is_stalled() => {
            status.observed_generation = generation;
            (Progress::Stalled, error.reason(), error.to_string())
        }
        Err(error) => (Progress::Retrying, error.reason(), error.to_string()),
    };
    status.conditions = flux_conditions(
        &status.conditions,
        generation,
        progress,
        reason,
        &message,
        now,
    );
}

async fn announce(
    context: &Context,
    object: &Kustomization,
    result: &Result<Applied, SyncError>,
    revision: Option<&str>,
) {
    let revision = revision.unwrap_or_default();
    match result {
        Ok(Applied { changes, .. }) if changes.is_empty() => {}
        Ok(Applied { changes, .. }) => {
            tracing::info!(kustomization = %object.name_any(), revision, changes, "applied");
            context
                .events
                .publish(
                    Component::Kustomize,
                    object,
                    EventType::Normal,
                    "Progressing",
                    changes,
                )
                .await;
        }
        // That both objects are new and the source is not there yet is no event.
        Err(SyncError::Source(_)) if revision.is_empty() => {}
        Err(error) => {
            tracing::warn!(kustomization = %object.name_any(), revision, reason = error.reason(), %error, "not applied");
            context
                .events
                .publish(
                    Component::Kustomize,
                    object,
                    EventType::Warning,
                    error.reason(),
                    &error.to_string(),
                )
                .await;
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
        let (deleted, result) = context.applier.prune(&plan.prune, &owner(object)).await;
        tracing::info!(kustomization = %object.name_any(), deleted = deleted.describe_changes(), "deleted with its Kustomization");
        if let Err(error) = result {
            context
                .events
                .publish(
                    Component::Kustomize,
                    object,
                    EventType::Warning,
                    "PruneFailed",
                    &error.to_string(),
                )
                .await;
            return Ok(Action::requeue(Duration::from_secs(5)));
        }
    }
    context.set_finalizer(api, object, FINALIZER, false).await?;
    Ok(Action::await_change())
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

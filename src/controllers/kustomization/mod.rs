//! `Kustomization`: builds a directory of a source, applies it, and waits until it is healthy.
//!
//! ```text
//! source ─snapshot→ FileTree ─build→ Rendered ─plan→ ApplyPlan ─execute→ ChangeSet ⇒ inventory, status
//! ```
//! The inventory of everything that is about to be applied is written before the first object is, so that
//! a crash in between loses track of nothing. A wait for health is a state ([`wait`]), not a worker.

mod build;
mod conclude;
mod depend;
mod finalize;
mod owners;
pub(crate) mod preview;
mod sync;
pub(crate) mod wait;

pub(crate) use build::desired;
pub(crate) use depend::Dependencies;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};
use kustomize::Inputs;

use crate::cluster::apply::Applier;
use crate::controllers::context::{Settings, memory_key};
use crate::controllers::kustomization::build::Redaction;
use crate::controllers::kustomization::conclude::{announce, conclude, next_wait};
use crate::controllers::kustomization::finalize::finalize;
use crate::controllers::kustomization::sync::{Found, Run};
use crate::controllers::kustomization::wait::Waiting;
use crate::controllers::unreadable::Readable;
use crate::controllers::{Context, ReconcileError};
use crate::failpoints;
use crate::git::Fetched;
use overlayd_core::api::REQUESTED_AT;
use overlayd_core::api::kustomization::{
    Kustomization, KustomizationSpec, KustomizationStatus, SourceKind,
};
use overlayd_core::apply::change_set::{ApplyError, ObjectFailure};
use overlayd_core::apply::ownership::Ownership;
use overlayd_core::apply::plan::PlanError;
use overlayd_core::apply::unit_settings::{ANNOTATIONS, SettingError, UnitSettings};
use overlayd_core::apply::written_status::unit_of;
use overlayd_core::names::NamespacedName;

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
    #[error("{0}")]
    Dependency(String),
    #[error("{0}")]
    Identity(String),
    #[error("{0}")]
    Access(String),
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error("{0}")]
    Expression(String),
    #[error("{0}")]
    Rule(String),
    #[error("{0}")]
    Owner(String),
    #[error("{}; nothing was applied or deleted", failures(.0))]
    Conflict(Vec<ObjectFailure>),
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
            Self::Access(_) => "AccessDenied",
            Self::Setting(_) => "InvalidAnnotation",
            Self::Expression(_) => "InvalidCELExpression",
            Self::Rule(_) => "InvalidIgnoreRule",
            Self::Plan(_)
            | Self::Apply(_)
            | Self::Identity(_)
            | Self::Conflict(_)
            | Self::Owner(_) => "ReconciliationFailed",
            Self::Health(_) => "HealthCheckFailed",
        }
    }

    fn is_stalled(&self) -> bool {
        matches!(
            self,
            Self::Unsupported(_)
                | Self::Access(_)
                | Self::Setting(_)
                | Self::Expression(_)
                | Self::Rule(_)
                | Self::Plan(PlanError::Guarded { .. })
        )
    }
}

impl SyncError {
    /// Without values of Secrets that the API server or a build may quote.
    fn redacted(mut self, redaction: &Redaction) -> Self {
        let hide = |text: &mut String| *text = redaction.apply(std::mem::take(text));
        match &mut self {
            Self::Source(text)
            | Self::Path(text)
            | Self::Build(text)
            | Self::Dependency(text)
            | Self::Identity(text)
            | Self::Access(text)
            | Self::Expression(text)
            | Self::Rule(text)
            | Self::Owner(text)
            | Self::Health(text) => hide(text),
            Self::Conflict(failures)
            | Self::Apply(ApplyError::Refused(failures) | ApplyError::Prune(failures)) => {
                for failure in failures {
                    hide(&mut failure.reason);
                }
            }
            // Names of fields and objects.
            Self::Unsupported(_)
            | Self::Setting(_)
            | Self::Plan(_)
            | Self::Apply(ApplyError::NotEstablished(_)) => {}
        }
        self
    }
}

fn failures(failures: &[ObjectFailure]) -> String {
    let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
    failures.join("; ")
}

/// What came of a reconcile.
enum Outcome {
    /// Applied, healthy and pruned.
    Done(Applied),
    /// Nothing was done, and this would be, one line for each object.
    Reported(Vec<String>),
    /// Outside of its windows: nothing is done before this time has passed.
    Closed(Duration),
    /// Applied, and not healthy yet: to be looked at again after this time.
    Waiting {
        message: String,
        again: Duration,
    },
    Failed(SyncError),
}

/// Applies the revision in service, or says why not.
pub(crate) async fn reconcile(
    object: Readable<Kustomization>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let key = memory_key(&*object);
    let api = context.api_of(&*object);
    let unit = unit_of(&object);
    follows(&context.claims, &object);
    for dependent in context.dependencies.changed(&object) {
        context.identities.live().nudge(&dependent);
    }
    if object.meta().deletion_timestamp.is_some() {
        forget(&context, &key, &unit);
        return finalize(&object, &api, &context).await;
    }
    let requested = object.annotations().get(REQUESTED_AT).cloned();
    let source = context.sources.get(&source_key(&object));
    let revision = source.as_ref().map(|source| source.revision.to_string());
    let wanted = wanted(&object);
    let content = source.as_ref().map(|source| source.content());
    let fingerprint = format!("{wanted} {revision:?} {content:?}");
    let started = Timestamp::now();
    let freed = context.dependencies.is_freed(&key, &object);
    let records = context.identities.live().last_applied();
    let (drifted, stirred) = (records.take_drifted(&unit), records.take_awaited(&unit));
    if !freed
        && !drifted
        && !stirred
        && let Some(rest) = context.memory.rest(&key, &fingerprint, started)
    {
        return Ok(Action::requeue(rest));
    }
    let known = Known {
        key,
        unit,
        requested,
        source,
        revision,
        wanted,
        fingerprint,
        is_drifted: drifted,
    };
    let result = work(&object, &api, &context, &known, started).await;
    if result.is_err() {
        // What woke it is not forgotten with what went wrong.
        context.identities.live().last_applied().mark(&known.unit);
    }
    result
}

/// What is known of an object that there is work for.
struct Known {
    key: String,
    unit: NamespacedName,
    requested: Option<String>,
    source: Option<Arc<Fetched>>,
    revision: Option<String>,
    /// All that decides besides the source.
    wanted: String,
    /// All that decides.
    fingerprint: String,
    /// Others have changed what it has applied, or what it is made of.
    is_drifted: bool,
}

async fn work(
    object: &Kustomization,
    api: &Api<Kustomization>,
    context: &Context,
    known: &Known,
    started: Timestamp,
) -> Result<Action, ReconcileError> {
    let (key, unit) = (known.key.as_str(), &known.unit);
    let stand = context.dependencies.stand(object);
    let revision = known.revision.clone();
    context.set_finalizer(api, object, FINALIZER, true).await?;
    let mut status = context.written.newest(object);
    if object.spec.suspend {
        // What others change meanwhile is found when it goes on.
        context.waits.take(key);
        status.last_handled_reconcile_at = known.requested.clone();
        write(context, api, object, &status).await?;
        return Ok(Action::await_change());
    }
    let timer = context.metrics.start("Kustomization");
    let variables = build::variables(object, context).await;
    let wanted = match &variables {
        Ok(Some(variables)) => format!("{} {}", known.wanted, build::hash(variables)),
        _ => known.wanted.clone(),
    };
    let redaction = Redaction::of(variables.as_ref().ok().and_then(Option::as_ref));
    let waiting = context.waits.take(key);
    let waiting = waiting
        .filter(|waiting| waiting.fingerprint == known.fingerprint && waiting.wanted == wanted);
    // A wait goes on; what was changed meanwhile is looked at when it ends.
    let waiting = waiting.map(|waiting| Waiting {
        is_drifted: waiting.is_drifted || known.is_drifted,
        ..waiting
    });
    let mut was_disturbed = waiting.as_ref().is_some_and(|waiting| waiting.is_drifted);
    let mut due = None;
    if waiting.is_none() && !known.is_drifted {
        due = still_applied(context, key, &wanted, known.source.as_ref(), started).await;
    }
    let settings = UnitSettings::new(object.annotations(), &context.settings.unit_defaults);
    let outcome = match settings {
        Err(error) => Outcome::Failed(error.into()),
        Ok(settings) => {
            let run = Run {
                object,
                api,
                context,
                key,
                fingerprint: &known.fingerprint,
                unit,
                wanted: &wanted,
                settings: &settings,
            };
            let found = Found {
                source: known.source.clone(),
                variables,
                waiting,
                is_still_applied: due.is_some(),
            };
            run.go(found, started, &mut status)
                .await?
                .redacted(&redaction)
        }
    };
    if let Outcome::Closed(_) = outcome
        && known.is_drifted
    {
        context.builds.forget(key);
    }
    was_disturbed &= !matches!(outcome, Outcome::Waiting { .. });
    if let (
        Outcome::Failed(_) | Outcome::Closed(_) | Outcome::Done(_) | Outcome::Reported(_),
        Some(revision),
    ) = (&outcome, &revision)
    {
        context.claims.settle(unit, revision);
    }
    status.last_handled_reconcile_at = known.requested.clone();
    let now = Timestamp::now();
    let wait = next_wait(object, &context.settings, &outcome, due, now);
    announce(context, object, &outcome, revision.as_deref()).await;
    conclude(object, &mut status, &outcome, revision, started, now);
    let state = conclude::state(&status, &outcome, now);
    context.metrics.unit(&unit.namespace, &unit.name, &state);
    failpoints::point("status");
    write(context, api, object, &status).await?;
    context.memory.succeeded(key, &known.fingerprint, now, wait);
    if was_disturbed {
        context.identities.live().wake(unit);
    }
    if let Outcome::Failed(SyncError::Dependency(_)) = outcome {
        context.dependencies.block(key, stand);
    }
    // Of a build that was skipped there are no inputs, and what is remembered stays.
    if let (
        Outcome::Done(Applied {
            inputs: Some(inputs),
            ..
        }),
        Ok(due),
    ) = (outcome, now.checked_add(wait))
    {
        context.builds.applied(key, &wanted, inputs, due);
    }
    timer.finish(&unit.name, &unit.namespace);
    Ok(Action::requeue(wait))
}

/// All that decides besides the source.
fn wanted(object: &Kustomization) -> String {
    format!(
        "{:?} {:?} {:?} {} {:?}",
        object.meta().uid,
        object.meta().generation,
        object.annotations().get(REQUESTED_AT),
        object.spec.suspend,
        settings_of(object)
    )
}

/// Forgets what is remembered of an object that goes.
fn forget(context: &Context, key: &str, unit: &NamespacedName) {
    context.memory.forget(key);
    context.builds.forget(key);
    context.waits.take(key);
    context.identities.live().last_applied().wait_for(unit, &[]);
    context.claims.going(unit);
    context.reads.note(unit, Vec::new());
    context.metrics.forget_unit(&unit.namespace, &unit.name);
}

impl Outcome {
    /// Without values of Secrets that the API server or a build may quote.
    fn redacted(self, redaction: &Redaction) -> Self {
        match self {
            Self::Waiting { message, again } => Self::Waiting {
                message: redaction.apply(message),
                again,
            },
            Self::Reported(lines) => Self::Reported(
                lines
                    .into_iter()
                    .map(|line| redaction.apply(line))
                    .collect(),
            ),
            Self::Failed(error) => Self::Failed(error.redacted(redaction)),
            Self::Done(_) | Self::Closed(_) => self,
        }
    }
}

/// Takes note of the source that a Kustomization follows, while it does.
pub(crate) fn follows(claims: &Ownership, object: &Kustomization) {
    let rests = object.spec.suspend || object.meta().deletion_timestamp.is_some();
    claims.follows(&unit_of(object), (!rests).then(|| source_key(object)));
}

/// Forgets a Kustomization that is gone, and lets those know who depend on it.
pub(crate) fn gone(context: &Context, unit: &NamespacedName) {
    context.written.forget(unit);
    // Those that were refused what it owned can have it now.
    for other in context.claims.forget(unit) {
        context.identities.live().wake(&other);
    }
    for dependent in context.dependencies.gone(unit) {
        context.identities.live().nudge(&dependent);
    }
}

/// True if the last attempt came to its end.
fn is_ready(status: &KustomizationStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The annotations that change what is done.
fn settings_of(object: &Kustomization) -> Vec<(&String, &String)> {
    let own = |(key, _): &(&String, &String)| key.starts_with(ANNOTATIONS);
    object.annotations().iter().filter(own).collect()
}

fn source_key(object: &Kustomization) -> NamespacedName {
    let reference = &object.spec.source_ref;
    let namespace = reference
        .namespace
        .clone()
        .or_else(|| object.namespace())
        .unwrap_or_default();
    NamespacedName::new(namespace, &reference.name)
}

fn owner(object: &Kustomization) -> NamespacedName {
    NamespacedName::of(object)
}

/// What came of a revision.
#[derive(Debug, Default)]
struct Applied {
    /// What changed in the cluster, in the words of an event; empty if nothing.
    changes: String,
    /// What the build looked at, if that is all that decides its result.
    inputs: Option<Inputs>,
    /// Names what was built; empty if nothing was, since nothing could have changed.
    digest: String,
    /// What others have changed and was left so, one line for each object.
    drifted: Vec<String>,
    /// What is left alone because it says so itself, and why.
    opted_out: Vec<String>,
}

impl Applied {
    /// Nothing was built, since nothing that decides has changed.
    fn skipped() -> Self {
        Self::default()
    }
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

/// Refuses what would otherwise be ignored.
fn check(object: &Kustomization, settings: &Settings) -> Result<(), SyncError> {
    let spec = &object.spec;
    let namespace = spec.source_ref.namespace.as_deref();
    if settings.no_cross_namespace_refs
        && namespace.is_some_and(|of| object.namespace().as_deref() != Some(of))
    {
        let message = format!(
            "can't access `{}/{}`: cross-namespace references are blocked (`--no-cross-namespace-refs`)",
            namespace.unwrap_or_default(),
            spec.source_ref.name
        );
        return Err(SyncError::Access(message));
    }
    if spec.source_ref.kind != SourceKind::GitRepository {
        return Err(SyncError::Unsupported(
            "sourceRef.kind (only GitRepository is)",
        ));
    }
    let set = [
        ("decryption", spec.decryption.is_some()),
        ("kubeConfig", spec.kube_config.is_some()),
    ];
    match set.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(SyncError::Unsupported(field)),
        None => wait::custom(spec).map(drop).map_err(SyncError::Expression),
    }
}

fn missing_source(object: &Kustomization) -> SyncError {
    let source = source_key(object);
    SyncError::Source(format!(
        "source artifact not found: GitRepository `{source}` has fetched nothing yet"
    ))
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
    applier.map_err(|error| SyncError::Identity(error.to_string()))
}

async fn write(
    context: &Context,
    api: &Api<Kustomization>,
    object: &Kustomization,
    status: &KustomizationStatus,
) -> Result<(), kube::Error> {
    if context.written.newest(object) == *status {
        return Ok(());
    }
    let version = context.write_status_at(api, object, status).await?;
    context.written.put(object, version.as_deref(), status);
    Ok(())
}

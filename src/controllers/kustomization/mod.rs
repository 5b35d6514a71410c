//! `Kustomization`: builds a directory of a source, applies it, and waits until it is healthy.
//!
//! ```text
//! observe ─decide→ Work ─act→ ReconcileOutcome ─record→ status, events, requeue
//! act: source ─snapshot→ FileTree ─build→ Rendered ─plan→ ApplyPlan ─begin→ Rollout ─Step→ …
//! ```
//! The rules are in `overlayd_core::kustomization` and `overlayd_core::rollout`; this folder reads what they need and
//! carries out what they decide.
//!
//! The inventory of everything that is about to be applied is written before the first object is, so that a crash in
//! between loses track of nothing. A wait for health is a value ([`rollouts`]), not a worker.

mod build;
mod context;
mod depend;
mod error;
mod finalize;
mod health;
mod observe;
mod owners;
pub(crate) mod preview;
mod record;
mod redaction;
pub(crate) mod rollouts;
mod sync;

pub(crate) use build::desired;
pub(crate) use context::{KustomizationContext, KustomizationSettings};

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Resource as _;
use kube::api::Api;
use kube::runtime::controller::Action;
use kustomize::Inputs;
use overlayd_core::api::annotations::FLUX_FINALIZER;
use overlayd_core::api::kustomization::{Kustomization, KustomizationSpec, SourceKind};
use overlayd_core::apply::ownership::{Ownership, Settlement};
use overlayd_core::kustomization::due::{ReconcileTriggers, Work, requeue_after};
use overlayd_core::kustomization::references::check_references;
use overlayd_core::kustomization::source::AbsentSource;
use overlayd_core::kustomization::status::{
    AppliedRevision, Attempt, ErrorClass, KustomizationOutcome, next_status,
};
use overlayd_core::kustomization::{is_ready, source_of, told_claims, unsupported};
use overlayd_core::names::NamespacedName;

use crate::cluster::apply::Applier;
use crate::controllers::ReconcileError;
use crate::controllers::kustomization::error::{Interruption, InvalidExpression, SyncError};
use crate::controllers::kustomization::finalize::finalize;
use crate::controllers::kustomization::observe::{
    ObservedKustomization, SyncTarget, take_triggers,
};
use crate::controllers::kustomization::record::{
    announce, log_skipped, requeue_times, unit_state, write,
};
use crate::controllers::kustomization::redaction::Redaction;
use crate::controllers::kustomization::sync::Run;
use crate::controllers::objects::{add_finalizer, api_of, git_repository};
use crate::controllers::unreadable::Readable;
use crate::failpoints;
use crate::metrics::ReconcileResult;

/// What came of a reconcile.
enum ReconcileOutcome {
    /// Applied, healthy and pruned.
    Done(Applied),
    /// Nothing was done, and this would be, one line for each object.
    Reported(Vec<String>),
    /// Outside of its windows: nothing is done before this time has passed.
    Closed(Duration),
    /// A rollout waits, and is continued after this time at the latest.
    Waiting {
        message: String,
        again: Duration,
    },
    Failed(SyncError),
}

/// What came of a revision.
#[derive(Debug, Default)]
struct Applied {
    /// What was created or changed in the cluster, in the words of an event; empty if nothing.
    changes: String,
    /// The same of what was deleted.
    deletions: String,
    /// When its rollout began; `None` if there was none.
    began: Option<Timestamp>,
    /// What the build looked at, if that is all that decides its result.
    inputs: Option<Inputs>,
    /// Names what was built; empty if nothing was, since nothing could have changed.
    digest: String,
    /// What others have changed and was left so, one line for each object.
    drifted: Vec<String>,
    /// What is left alone because it says so itself, and why.
    opted_out: Vec<String>,
    /// What is not deleted yet, and why; empty if everything is.
    postponed: String,
}

/// One reconcile of a Kustomization that there is work for.
struct Reconcile<'r> {
    object: &'r Kustomization,
    api: &'r Api<Kustomization>,
    context: &'r KustomizationContext,
    /// What the object asks for.
    target: &'r SyncTarget,
    /// The events since the last reconcile that ask for work.
    triggers: ReconcileTriggers,
    started: Timestamp,
}

/// Applies the revision in service, or records why not.
pub(crate) async fn reconcile(
    object: Readable<Kustomization>,
    context: Arc<KustomizationContext>,
) -> Result<Action, ReconcileError> {
    let started = Timestamp::now();
    let api = api_of(&context.client, &*object);
    note_change(&context, &object);
    let target = SyncTarget::of(&object, &context);
    if object.meta().deletion_timestamp.is_some() {
        forget(&context, &target);
        return finalize(&object, &api, &context).await;
    }
    let triggers = take_triggers(&object, &target, &context);
    let digest = target.digest.to_string();
    let rest = context
        .reconcile_cache
        .rest(&target.key, &digest, Instant::now());
    if let Some(rest) = triggers.rest(rest) {
        return Ok(Action::requeue(rest));
    }
    let reconcile = Reconcile {
        object: &object,
        api: &api,
        context: &context,
        target: &target,
        triggers,
        started,
    };
    let result = reconcile.run().await;
    if result.is_err() {
        // The next try must not take the events that woke this one for an echo.
        context.identities.live().last_applied().mark(&target.unit);
    }
    result
}

impl Reconcile<'_> {
    /// Observes, acts and records. Returns the time of the next reconcile.
    async fn run(&self) -> Result<Action, ReconcileError> {
        let (object, context) = (self.object, self.context);
        add_finalizer(self.api, object, FLUX_FINALIZER).await?;
        if object.spec.suspend {
            return self.suspend().await;
        }
        if self.awaits_restart().await? {
            tracing::debug!("its source is not fetched again yet");
            return Ok(Action::requeue(context.settings.requeue_dependency));
        }
        let timer = context.metrics.start("Kustomization");
        let mut observed = self.observe().await;
        let outcome = match self.act(&mut observed).await {
            Ok(outcome) => outcome,
            Err(Interruption::Sync(error)) => ReconcileOutcome::Failed(error),
            Err(Interruption::Api(error)) => return Err(error.into()),
        };
        let result = match outcome {
            ReconcileOutcome::Failed(_) => ReconcileResult::Error,
            _ => ReconcileResult::RequeueAfter,
        };
        let requeue = self.record(observed, outcome).await?;
        let NamespacedName { namespace, name } = &self.target.unit;
        timer.finish(result, name, namespace);
        Ok(Action::requeue(requeue))
    }

    /// Reads what the decision depends on.
    async fn observe(&self) -> ObservedKustomization {
        let (object, target, context) = (self.object, self.target, self.context);
        ObservedKustomization::read(object, target, self.triggers, self.started, context).await
    }

    /// A suspended Kustomization does nothing but answer requests. Changes by others are found when it continues.
    async fn suspend(&self) -> Result<Action, ReconcileError> {
        let context = self.context;
        context.rollouts.take(&self.target.unit);
        let mut status = context.written.newest(self.object);
        status.last_handled_reconcile_at = self.target.requested.clone();
        write(context, self.api, self.object, &status).await?;
        Ok(Action::await_change())
    }

    /// True if the process has just begun, and the source, by which the Kustomization is ready, is not fetched again yet.
    /// The fetch wakes the Kustomization.
    async fn awaits_restart(&self) -> Result<bool, kube::Error> {
        let status = self.context.written.newest(self.object);
        if self.target.source.is_some() || !is_ready(&status) {
            return Ok(false);
        }
        let source = source_of(self.object);
        let found = git_repository(&self.context.client, &source).await?;
        Ok(AbsentSource::of(found.as_ref()).keeps_status(self.object, &status))
    }

    /// Does what there is to do now.
    async fn act(
        &self,
        observed: &mut ObservedKustomization,
    ) -> Result<ReconcileOutcome, Interruption> {
        let settings = observed.settings.clone()?;
        let work = observed.decide(&settings, self.started);
        let variables = observed.take_variables();
        let run = Run {
            object: self.object,
            api: self.api,
            context: self.context,
            unit: &self.target.unit,
            digest: observed.digest,
            attempted: &observed.attempted,
            settings: &settings,
        };
        let source = self.target.source.clone();
        let status = &mut observed.status;
        match (work, observed.rollout.take()) {
            (Work::HoldBack(wait), _) => {
                if let (Ok(variables), Some(source)) = (variables, source) {
                    run.claim_only(&source, variables).await;
                }
                Ok(ReconcileOutcome::Closed(wait))
            }
            (Work::ContinueRollout, Some(rollout)) => run.carry_out(rollout, status).await,
            (Work::KeepApplied, _) => {
                log_skipped(self.context, &self.target.unit);
                Ok(ReconcileOutcome::Done(Applied::default()))
            }
            (Work::ContinueRollout | Work::Sync, _) => {
                let variables = variables?;
                self.context.builds.forget(&self.target.unit);
                run.sync(source, variables, status).await
            }
        }
    }

    /// Records an outcome. Returns the time until the object is due again.
    async fn record(
        &self,
        observed: ObservedKustomization,
        outcome: ReconcileOutcome,
    ) -> Result<Duration, kube::Error> {
        let (object, context, target) = (self.object, self.context, self.target);
        let (outcome, inputs) = outcome.publish(&observed.redaction);
        let attempt = Attempt {
            revision: target.revision.clone(),
            digest: observed.attempted.get().cloned().unwrap_or_default(),
            started: self.started,
            ended: Timestamp::now(),
        };
        self.settle(&outcome);
        let times = requeue_times(object, &context.settings, observed.applied_until);
        let requeue = requeue_after(&outcome, &times, attempt.ended);
        announce(context, object, &observed.status, &outcome, &attempt).await;
        let mut status = next_status(observed.status, object, &outcome, &attempt);
        status.last_handled_reconcile_at = target.requested.clone();
        let state = unit_state(&status, &outcome, attempt.ended);
        let NamespacedName { namespace, name } = &target.unit;
        context.metrics.unit(namespace, name, &state);
        failpoints::point("status");
        write(context, self.api, object, &status).await?;
        let (key, digest) = (&target.key, target.digest.to_string());
        context
            .reconcile_cache
            .succeeded(key, &digest, Instant::now(), requeue);
        if observed.is_rollout_drifted
            && !matches!(outcome, KustomizationOutcome::RollingOut { .. })
        {
            context.identities.live().wake(&target.unit);
        }
        if is_blocked(&outcome) {
            context
                .dependencies
                .block(&target.unit, observed.dependencies);
        }
        // Of a build that was skipped there are no inputs, and what is remembered stays.
        if let Some(inputs) = inputs {
            let spec = observed.spec.to_string();
            let due = Instant::now() + requeue;
            context.builds.applied(&target.unit, &spec, inputs, due);
        }
        Ok(requeue)
    }

    /// Forgets what an outcome makes untrue, and lets other Kustomizations stop waiting for this one.
    fn settle(&self, outcome: &KustomizationOutcome) {
        let (context, target) = (self.context, self.target);
        let is_held_back = matches!(outcome, KustomizationOutcome::HeldBack(_));
        if is_held_back && self.triggers.is_drifted {
            // The drift is corrected when the window opens.
            context.builds.forget(&target.unit);
        }
        let is_over = !matches!(outcome, KustomizationOutcome::RollingOut { .. });
        if let Some(revision) = target.revision.as_deref().filter(|_| is_over) {
            context.settle(&target.unit, revision, settlement(outcome));
        }
    }
}

/// Whether an outcome has told what a Kustomization wants.
fn settlement(outcome: &KustomizationOutcome) -> Settlement {
    match outcome {
        KustomizationOutcome::Failed(failure) if failure.is_unbuilt() => Settlement::NotBuilt,
        _ => Settlement::Decided,
    }
}

fn is_blocked(outcome: &KustomizationOutcome) -> bool {
    let class = match outcome {
        KustomizationOutcome::Failed(failure) => Some(failure.class),
        _ => None,
    };
    class == Some(ErrorClass::Waiting)
}

impl ReconcileOutcome {
    /// The outcome as it leaves the reconcile, without values of Secrets that the API server or a build may quote; and
    /// the inputs of the build, if it was applied to its end.
    fn publish(self, redaction: &Redaction) -> (KustomizationOutcome, Option<Inputs>) {
        let hide = |text: String| redaction.apply(text);
        let outcome = match self {
            Self::Done(applied) => {
                let Applied {
                    changes,
                    deletions,
                    began,
                    inputs,
                    digest,
                    drifted,
                    opted_out,
                    postponed,
                } = applied;
                let revision = AppliedRevision {
                    changes,
                    deletions,
                    began,
                    digest,
                    drifted,
                    opted_out,
                    postponed,
                };
                return (KustomizationOutcome::Applied(revision), inputs);
            }
            Self::Reported(lines) => {
                KustomizationOutcome::Reported(lines.into_iter().map(hide).collect())
            }
            Self::Closed(wait) => KustomizationOutcome::HeldBack(wait),
            Self::Waiting { message, again } => KustomizationOutcome::RollingOut {
                message: hide(message),
                after: again,
            },
            Self::Failed(error) => KustomizationOutcome::Failed(error.into_failure(redaction)),
        };
        (outcome, None)
    }
}

impl KustomizationContext {
    /// Notes whether a Kustomization has told what it wants at a revision, and wakes those whose deletions wait for it.
    fn settle(&self, unit: &NamespacedName, revision: &str, settlement: Settlement) {
        for other in self.claims.settle(unit, revision, settlement) {
            self.identities.live().wake(&other);
        }
    }
}

/// Tells other Kustomizations that this one has changed.
fn note_change(context: &KustomizationContext, object: &Kustomization) {
    for other in follows(&context.claims, object) {
        context.identities.live().wake(&other);
    }
    for dependent in context.dependencies.changed(object) {
        context.identities.live().nudge(&dependent);
    }
}

/// Records the source that a Kustomization follows; none while it is suspended or being deleted, or if it can never
/// apply anything to this cluster. Gives the others whose deletions no longer wait for it.
pub(crate) fn follows(claims: &Ownership, object: &Kustomization) -> Vec<NamespacedName> {
    let is_served = object.spec.source_ref.kind == SourceKind::GitRepository
        && object.spec.kube_config.is_none();
    let is_going = object.meta().deletion_timestamp.is_some();
    let rests = object.spec.suspend || is_going || !is_served;
    let unit = NamespacedName::of(object);
    let woken = claims.follows(&unit, (!rests).then(|| source_of(object)));
    if let Some((revision, objects)) = told_claims(object).filter(|_| !rests) {
        claims.resume(&unit, &revision, objects);
    }
    woken
}

/// Forgets what is kept of an object that is being deleted.
fn forget(context: &KustomizationContext, target: &SyncTarget) {
    let (key, unit) = (&target.key, &target.unit);
    context.reconcile_cache.forget(key);
    context.builds.remove(unit);
    context.rollouts.take(unit);
    context.identities.live().last_applied().wait_for(unit, &[]);
    for other in context.claims.going(unit) {
        context.identities.live().wake(&other);
    }
    context.variables.record(unit, Vec::new());
    context.metrics.forget_unit(&unit.namespace, &unit.name);
}

/// Forgets a Kustomization that was deleted, and wakes those that depend on it or want what it owned.
pub(crate) fn gone(context: &KustomizationContext, unit: &NamespacedName) {
    context.written.forget(unit);
    for other in context.claims.forget(unit) {
        context.identities.live().wake(&other);
    }
    for dependent in context.dependencies.gone(unit) {
        context.identities.live().nudge(&dependent);
    }
}

/// Refuses fields that would otherwise be ignored.
fn check(object: &Kustomization, settings: &KustomizationSettings) -> Result<(), SyncError> {
    let (spec, source) = (&object.spec, source_of(object));
    let own = NamespacedName::of(object).namespace;
    check_references(spec)?;
    if settings.no_cross_namespace_refs && source.namespace != own {
        return Err(SyncError::CrossNamespace(source));
    }
    if let Some(field) = unsupported(spec) {
        return Err(SyncError::Unsupported(field));
    }
    health::expressions(spec).map_err(InvalidExpression::from)?;
    Ok(())
}

/// The service account of an object. An empty name is none, and does not get around the default.
fn account<'o>(
    spec: &'o KustomizationSpec,
    settings: &'o KustomizationSettings,
) -> Option<&'o str> {
    let named = spec.service_account_name.as_deref();
    named
        .filter(|account| !account.is_empty())
        .or(settings.default_service_account.as_deref())
}

/// Applies with the rights that the object asks for.
fn applier(
    object: &Kustomization,
    context: &KustomizationContext,
) -> Result<Arc<Applier>, SyncError> {
    let namespace = NamespacedName::of(object).namespace;
    let account = account(&object.spec, &context.settings);
    Ok(context.identities.applier(&namespace, account)?)
}

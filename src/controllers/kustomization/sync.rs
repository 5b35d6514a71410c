//! One reconcile that does work: build, plan, apply wave by wave, wait for health, prune.
//!
//! Everything between two waves is a state ([`Waiting`]), so that no worker is held and a new revision takes the place
//! of an old one at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::events::EventType;
use kustomize::Inputs;

use overlayd_core::api::kustomization::{Kustomization, KustomizationStatus};
use overlayd_core::apply::change_set::{ApplyError, ChangeSet, ObjectFailure};
use overlayd_core::apply::desired::Desired;
use overlayd_core::apply::ignore_rules::IgnoredFields;
use overlayd_core::apply::inventory;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::ownership::Conflict;
use overlayd_core::apply::plan::{
    ApplyPlan, Observed, OnError, PlanError, PlanOptions, Wave, plan,
};
use overlayd_core::apply::plan_options::PlanFlags;
use overlayd_core::apply::unit_settings::{Mode, UnitSettings};
use overlayd_core::cron_windows::Window;
use overlayd_core::names::NamespacedName;

use crate::cluster::apply::{Applier, ApplyOptions, PredictedChange};
use crate::controllers::Context;
use crate::controllers::events::Component;
use crate::controllers::kustomization::build;
use crate::controllers::kustomization::build::{Built, Substitution};
use crate::controllers::kustomization::owners::{Observer, Others};
use crate::controllers::kustomization::wait;
use crate::controllers::kustomization::wait::Waiting;
use crate::controllers::kustomization::{
    Applied, Outcome, SyncError, applier, check, depend, is_ready, missing_source, owner,
    source_key, write,
};
use crate::failpoints;
use crate::git::Fetched;

/// How long others of the same source are waited for before something is deleted that they may want.
const SETTLING: Duration = Duration::from_secs(30);
/// The number of objects that are predicted at once.
const AT_ONCE: usize = 16;

/// One reconcile that does work.
pub(super) struct Run<'r> {
    pub(super) object: &'r Kustomization,
    pub(super) api: &'r Api<Kustomization>,
    pub(super) context: &'r Context,
    pub(super) key: &'r str,
    pub(super) fingerprint: &'r str,
    pub(super) unit: &'r NamespacedName,
    /// All that decides besides the source, with the variables.
    pub(super) wanted: &'r str,
    pub(super) settings: &'r UnitSettings,
}

/// What a reconcile begins with.
pub(super) struct Found {
    pub(super) source: Option<Arc<Fetched>>,
    pub(super) variables: Result<Option<Substitution>, SyncError>,
    /// A wait of the same revision.
    pub(super) waiting: Option<Waiting>,
    /// The revision changes nothing of what is applied.
    pub(super) is_still_applied: bool,
}

impl Run<'_> {
    /// Does what there is to do now.
    pub(super) async fn go(
        &self,
        found: Found,
        now: Timestamp,
        status: &mut KustomizationStatus,
    ) -> Result<Outcome, kube::Error> {
        if let Window::Closed(wait) = self.settings.windows.at(now) {
            // What it wants is made known, so that what moves here is not deleted meanwhile.
            if let (Ok(variables), Some(source)) = (found.variables, &found.source)
                && let Ok(built) = self.build(source, variables).await
            {
                self.claim(&source.revision.to_string(), &built.desired);
            }
            return Ok(Outcome::Closed(wait));
        }
        if let Some(waiting) = found.waiting {
            return self.advance(waiting, status).await;
        }
        match found.variables {
            Err(error) => Ok(Outcome::Failed(error)),
            Ok(_) if found.is_still_applied => {
                let NamespacedName { namespace, name } = self.unit;
                tracing::info!(
                    namespace,
                    kustomization = name,
                    "the revision changes nothing that was built"
                );
                self.context.metrics.skipped_build(namespace, name);
                Ok(Outcome::Done(Applied::skipped()))
            }
            Ok(variables) => {
                self.context.builds.forget(self.key);
                self.sync(found.source, variables, status).await
            }
        }
    }

    /// Builds and applies, then looks whether it is healthy.
    async fn sync(
        &self,
        source: Option<Arc<Fetched>>,
        variables: Option<Substitution>,
        status: &mut KustomizationStatus,
    ) -> Result<Outcome, kube::Error> {
        let (object, context) = (self.object, self.context);
        let source = check(object, &context.settings)
            .and_then(|()| source.ok_or_else(|| missing_source(object)));
        let source = match source {
            Ok(source) => source,
            Err(error) => return Ok(Outcome::Failed(error)),
        };
        let revision = source.revision.to_string();
        if let Err(error) = depend::check(object, context, &revision).await? {
            // What it wants is made known, so that what moves here from elsewhere is not deleted meanwhile.
            if let Ok(built) = self.build(&source, variables).await {
                self.claim(&revision, &built.desired);
            }
            return Ok(Outcome::Failed(error));
        }
        let built = match self.build(&source, variables).await {
            Ok(built) => built,
            Err(error) => return Ok(Outcome::Failed(error)),
        };
        if self.settings.mode == Mode::Apply {
            self.claim(&revision, &built.desired);
        }
        let result = self.apply(built, &revision, status).await;
        result.unwrap_or_else(|error| Ok(Outcome::Failed(error)))
    }

    async fn build(
        &self,
        source: &Arc<Fetched>,
        variables: Option<Substitution>,
    ) -> Result<Built, SyncError> {
        build::build(self.object, self.context, source, variables, self.settings).await
    }

    /// Makes known what is wanted of a revision, and wakes those who waited for something to be let go.
    fn claim(&self, revision: &str, desired: &[Desired]) {
        let ids = desired.iter().map(|desired| desired.reference.id());
        let ids = ids.collect();
        for other in self.context.claims.claim(self.unit, revision, &ids) {
            self.context.identities.live().wake(&other);
        }
    }

    /// Plans what was built and begins to carry it out.
    async fn apply(
        &self,
        built: Built,
        revision: &str,
        status: &mut KustomizationStatus,
    ) -> Result<Result<Outcome, kube::Error>, SyncError> {
        let Built { desired, inputs } = built;
        let applier = applier(self.object, self.context)?;
        let held = inventory::objects(status.inventory.as_ref());
        let (observed, others) = self.observer(&applier).observe(held, &desired).await;
        let plan = self.plan(desired, &observed)?;
        let mut options = apply_options(self.object, self.settings, &plan)?;
        if self.settings.mode == Mode::Report {
            let lines = report(&plan, &applier, &options).await;
            return Ok(Ok(Outcome::Reported(lines)));
        }
        self.tell_owners(&plan.conflicts, &others).await;
        if plan.is_refused() {
            let conflicts = plan.conflicts.iter().map(ObjectFailure::from);
            return Err(SyncError::Conflict(conflicts.collect()));
        }
        // After a build that did not come to its end, not all of its objects were applied.
        let last = status.history.first().filter(|_| is_ready(status));
        options.is_same_build = last.is_some_and(|last| last.digest == plan.digest());
        if let Err(error) = self.announce(&plan, &observed, revision, status).await {
            return Ok(Err(error));
        }
        let waiting = self.begin(plan, options, revision, inputs);
        Ok(self.advance(waiting, status).await)
    }

    fn observer<'o>(&'o self, applier: &'o Applier) -> Observer<'o> {
        Observer {
            unit: self.unit,
            client: &self.context.client,
            applier,
            ownership: &self.context.claims,
        }
    }

    fn plan(&self, desired: Vec<Desired>, observed: &Observed) -> Result<ApplyPlan, SyncError> {
        let settings = &self.context.settings;
        let flags = PlanFlags {
            own_namespace: settings.own_namespace.clone(),
            stage_kinds: settings.stage_kinds.clone(),
        };
        let options = PlanOptions::for_unit(self.object, self.settings, &flags);
        plan(desired, observed, &options).map_err(|error| match error {
            // The API server's words are redacted with those of the other errors.
            PlanError::OwnerUnreadable { .. } => SyncError::Owner(error.to_string()),
            error => error.into(),
        })
    }

    /// Writes the inventory of everything that is about to be applied, so that a crash loses track of no object.
    async fn announce(
        &self,
        plan: &ApplyPlan,
        observed: &Observed,
        revision: &str,
        status: &mut KustomizationStatus,
    ) -> Result<(), kube::Error> {
        status.last_attempted_revision = Some(revision.to_owned());
        let objects = plan.inventory.iter().chain(&observed.inventory);
        status.inventory = Some(inventory::of(objects));
        failpoints::point("inventory");
        write(self.context, self.api, self.object, status).await?;
        failpoints::point("inventoried");
        Ok(())
    }

    /// The state of a plan of which nothing is applied yet.
    fn begin(
        &self,
        plan: ApplyPlan,
        options: ApplyOptions,
        revision: &str,
        inputs: Option<Inputs>,
    ) -> Waiting {
        let opt_outs = plan.opt_outs.iter();
        let opted_out = opt_outs.map(|(object, skip)| format!("{object}: {skip}"));
        let applied = Applied {
            inputs,
            digest: plan.digest(),
            opted_out: opted_out.collect(),
            ..Applied::default()
        };
        Waiting {
            fingerprint: self.fingerprint.to_owned(),
            revision: revision.to_owned(),
            pending: Vec::new(),
            since: Timestamp::now(),
            looks: 0,
            checks: wait::checked(&self.object.spec, &self.unit.namespace, &plan),
            how: options,
            failed: plan.conflicts.iter().map(ObjectFailure::from).collect(),
            has_failed: false,
            left: Vec::new(),
            wanted: self.wanted.to_owned(),
            is_drifted: false,
            prune: plan.leaving(),
            rest: plan.waves.into(),
            taken: plan.taken_over_from,
            rendered: plan.inventory,
            settling: None,
            applied,
        }
    }

    /// Goes on as far as health allows: the next wave when the last one is healthy, and when all of it is, what left
    /// the set is pruned. Until then, pods of the old revision may still need it.
    async fn advance(
        &self,
        mut waiting: Waiting,
        status: &mut KustomizationStatus,
    ) -> Result<Outcome, kube::Error> {
        let (object, context) = (self.object, self.context);
        let applier = match applier(object, context) {
            Ok(applier) => applier,
            Err(error) => return Ok(Outcome::Failed(error)),
        };
        loop {
            // What changes while it is looked at is seen, too.
            self.watch(&waiting.pending);
            match wait::look(&mut waiting, &object.spec, &applier).await {
                wait::Look::Healthy => self.watch(&[]),
                wait::Look::Waiting { message, again } => {
                    self.watch(&waiting.pending);
                    context.waits.put(self.key, waiting);
                    return Ok(Outcome::Waiting { message, again });
                }
                wait::Look::Failed(message) => {
                    self.watch(&[]);
                    self.tell_changes(&waiting.applied).await;
                    return Ok(Outcome::Failed(SyncError::Health(message)));
                }
            }
            if waiting.has_failed {
                // What comes later may need what failed.
                break;
            }
            let Some(wave) = waiting.rest.pop_front() else {
                break;
            };
            if let Err(error) = self.apply_wave(&wave, &mut waiting, &applier).await {
                self.tell_changes(&waiting.applied).await;
                return Ok(Outcome::Failed(error.into()));
            }
        }
        if !waiting.failed.is_empty() {
            self.tell_changes(&waiting.applied).await;
            return Ok(Outcome::Failed(ApplyError::Refused(waiting.failed).into()));
        }
        if let Some(other) = self.unsettled(&mut waiting) {
            let message = format!(
                "everything is applied; before {} objects are deleted, it waits to know whether Kustomization `{}/{}` wants them",
                waiting.prune.len(),
                other.namespace,
                other.name
            );
            context.waits.put(self.key, waiting);
            let again = Duration::from_millis(100);
            return Ok(Outcome::Waiting { message, again });
        }
        Ok(self.prune(waiting, &applier, status).await)
    }

    /// Lets every change of these objects wake it, and of no others.
    fn watch(&self, pending: &[ObjectRef]) {
        let live = self.context.identities.live();
        live.last_applied().wait_for(self.unit, pending);
    }

    async fn apply_wave(
        &self,
        wave: &Wave,
        waiting: &mut Waiting,
        applier: &Applier,
    ) -> Result<(), ApplyError> {
        let (changes, result) = applier.apply(wave, &waiting.how).await;
        waiting.applied.take(&changes);
        match (result, waiting.how.on_error) {
            (Err(ApplyError::Refused(failed)), OnError::Continue) => {
                waiting.has_failed = true;
                waiting.failed.extend(failed);
            }
            (result, _) => result?,
        }
        // What was not applied is not waited for.
        waiting.left.extend(changes.left().cloned());
        let failed = waiting.failed.iter().map(|failed| &failed.object);
        let failed: BTreeSet<&ObjectRef> = failed.chain(&waiting.left).collect();
        let pending: Vec<ObjectRef> = if waiting.rest.is_empty() {
            std::mem::take(&mut waiting.checks)
        } else {
            wave.objects()
                .map(|desired| desired.reference.clone())
                .collect()
        };
        waiting.pending = pending
            .into_iter()
            .filter(|object| !failed.contains(object))
            .collect();
        (waiting.since, waiting.looks) = (Timestamp::now(), 0);
        Ok(())
    }

    /// A Kustomization of the same source that may want what is about to be deleted, and has not said yet.
    fn unsettled(&self, waiting: &mut Waiting) -> Option<NamespacedName> {
        if waiting.prune.is_empty() {
            return None;
        }
        let now = Timestamp::now();
        let since = *waiting.settling.get_or_insert(now);
        let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let source = source_key(self.object);
        let other = self
            .context
            .claims
            .unsettled(self.unit, &source, &waiting.revision)?;
        (waited < SETTLING).then_some(other)
    }

    /// Deletes what left the set, but for what another Kustomization wants now.
    async fn prune(
        &self,
        mut waiting: Waiting,
        applier: &Applier,
        status: &mut KustomizationStatus,
    ) -> Outcome {
        let context = self.context;
        waiting.prune.retain(|object| {
            let other = context.claims.wanted_elsewhere(self.unit, &object.id());
            if let Some(to) = &other {
                tracing::info!(%object, %to, "handed over");
            }
            other.is_none()
        });
        let (pruned, result) = applier.prune(&waiting.prune, &owner(self.object)).await;
        let failed: Vec<ObjectRef> = match &result {
            Err(ApplyError::Prune(failures)) => failures
                .iter()
                .map(|failure| failure.object.clone())
                .collect(),
            _ => Vec::new(),
        };
        // What could not be deleted stays on the list, so that it is tried again.
        status.inventory = Some(inventory::of(waiting.rendered.iter().chain(&failed)));
        waiting.applied.take(&pruned);
        for former in &waiting.taken {
            context.identities.live().wake(former);
        }
        match result {
            Ok(()) => Outcome::Done(waiting.applied),
            Err(error) => {
                self.tell_changes(&waiting.applied).await;
                Outcome::Failed(error.into())
            }
        }
    }

    /// Says what was changed before it went wrong.
    async fn tell_changes(&self, applied: &Applied) {
        if !applied.changes.is_empty() {
            let events = &self.context.events;
            events
                .publish(
                    Component::Kustomize,
                    self.object,
                    EventType::Normal,
                    "Progressing",
                    &applied.changes,
                )
                .await;
        }
    }

    /// Writes an event on each Kustomization that owns an object which this one renders too.
    async fn tell_owners(&self, conflicts: &[Conflict], others: &Others) {
        for conflict in conflicts {
            let Some(owner) = others.get(&conflict.owner) else {
                continue;
            };
            let note = format!(
                "{} is rendered by Kustomization `{}` too, which was refused it",
                conflict.object, self.unit
            );
            let (events, kind) = (&self.context.events, EventType::Warning);
            events
                .publish(Component::Kustomize, owner, kind, "OwnerConflict", &note)
                .await;
        }
    }
}

impl Applied {
    /// Adds the changes of a wave or of the deletions.
    fn take(&mut self, changes: &ChangeSet) {
        let text = changes.describe_changes();
        if !text.is_empty() {
            if !self.changes.is_empty() {
                self.changes.push('\n');
            }
            self.changes.push_str(&text);
        }
        self.drifted.extend(changes.drifted());
        self.opted_out.extend(changes.opt_outs());
    }
}

/// How the plan of a Kustomization is carried out, by the daemon and in a preview.
///
/// # Errors
/// The first rule of `spec.ignore` that cannot be used.
pub(super) fn apply_options(
    object: &Kustomization,
    settings: &UnitSettings,
    plan: &ApplyPlan,
) -> Result<ApplyOptions, SyncError> {
    let ignored: Result<Vec<IgnoredFields>, _> =
        object.spec.ignore.iter().map(IgnoredFields::new).collect();
    let ignored = ignored.map_err(|error| SyncError::Rule(error.to_string()))?;
    Ok(ApplyOptions {
        drift: settings.drift,
        hides_values: build::reads_secrets(object),
        ignored: Arc::new(ignored),
        ..ApplyOptions::of(plan)
    })
}

/// What a plan would change, one line for each object: deletions first.
async fn report(plan: &ApplyPlan, applier: &Applier, options: &ApplyOptions) -> Vec<String> {
    let mut lines: Vec<String> = plan
        .prune
        .iter()
        .map(|object| format!("{object} would be deleted"))
        .collect();
    let conflicts = plan.conflicts.iter().map(ObjectFailure::from);
    lines.extend(conflicts.map(|conflict| conflict.to_string()));
    let mut asked = Vec::new();
    for desired in plan.objects() {
        let predicted =
            async move { (&desired.reference, applier.predict(desired, options).await) };
        asked.push(predicted.boxed());
    }
    let predicted = futures::stream::iter(asked).buffered(AT_ONCE);
    let predicted: Vec<_> = predicted.collect().await;
    for (object, predicted) in predicted {
        match predicted {
            Ok(PredictedChange::Create) => lines.push(format!("{object} would be created")),
            Ok(PredictedChange::Change(changes)) if changes.is_empty() => {}
            Ok(PredictedChange::Change(changes)) => {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                lines.push(format!("{object} would be changed: {}", changes.join(", ")));
            }
            Err(reason) => lines.push(format!("{object} would be refused: {reason}")),
        }
    }
    lines
}

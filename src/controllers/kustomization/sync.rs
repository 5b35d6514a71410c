//! Carries out a sync: builds, plans, and then takes the steps of a [`Rollout`] until it waits or ends.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

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
use overlayd_core::apply::ownership::{Conflict, PendingDeletion, Settlement, WantedObjects};
use overlayd_core::apply::plan::{ApplyPlan, Observed, PlanOptions, Wave, plan};
use overlayd_core::apply::plan_options::PlanFlags;
use overlayd_core::apply::unit_settings::{Mode, UnitSettings};
use overlayd_core::names::NamespacedName;

use crate::cluster::apply::{Applier, ApplyOptions, PredictedChange};
use crate::controllers::events::Component;
use crate::controllers::kustomization::build;
use crate::controllers::kustomization::build::{Built, Substitution};
use crate::controllers::kustomization::context::KustomizationContext;
use crate::controllers::kustomization::error::{
    Interruption, InvalidExpression, SourceUnavailable, SyncError,
};
use crate::controllers::kustomization::health::HealthReader;
use crate::controllers::kustomization::owners::{Observer, Others, undecided};
use crate::controllers::kustomization::record::{publish, write};
use crate::controllers::kustomization::rollouts::PendingRollout;
use crate::controllers::kustomization::{Applied, ReconcileOutcome, applier, check, depend};
use crate::controllers::objects::git_repository;
use crate::failpoints;
use crate::git::Fetched;
use overlayd_core::kustomization::events::changes;
use overlayd_core::kustomization::source::AbsentSource;
use overlayd_core::kustomization::spec_digest::SpecDigest;
use overlayd_core::kustomization::status::SUCCEEDED;
use overlayd_core::kustomization::{is_ready, source_of};
use overlayd_core::rollout::{Observation, Rollout, Step};

/// The number of objects that are predicted at once.
const AT_ONCE: usize = 16;

/// One reconcile that changes something.
pub(super) struct Run<'r> {
    pub(super) object: &'r Kustomization,
    pub(super) api: &'r Api<Kustomization>,
    pub(super) context: &'r KustomizationContext,
    pub(super) unit: &'r NamespacedName,
    /// The digest of everything that decides what is applied.
    pub(super) digest: SpecDigest,
    /// Where the name of what is built is noted.
    pub(super) attempted: &'r OnceLock<String>,
    pub(super) settings: &'r UnitSettings,
}

impl Run<'_> {
    /// Builds and plans, then begins to roll out.
    pub(super) async fn sync(
        &self,
        source: Option<Arc<Fetched>>,
        variables: Option<Substitution>,
        status: &mut KustomizationStatus,
    ) -> Result<ReconcileOutcome, Interruption> {
        let (object, context) = (self.object, self.context);
        if let Err(error) = check(object, &context.settings) {
            if let (true, Some(source)) = (error.leaves_claims(), &source) {
                self.claim_only(source, variables).await;
            }
            return Err(error.into());
        }
        let Some(source) = source else {
            return Err(self.absent().await);
        };
        let revision = source.revision.to_string();
        let dependencies = depend::check(object, context, &revision).await;
        if let Err(error) = dependencies {
            if matches!(error, Interruption::Sync(_)) {
                self.claim_only(&source, variables).await;
            }
            return Err(error);
        }
        let held = inventory::objects(status.inventory.as_ref());
        let built = self.build(&source, variables, &held).await?;
        if self.settings.mode == Mode::Apply {
            self.claim(&revision, &built.desired);
        }
        self.apply(built, &revision, status).await
    }

    /// Why the source has no commit in service.
    async fn absent(&self) -> Interruption {
        let name = source_of(self.object);
        let found = match git_repository(&self.context.client, &name).await {
            Ok(found) => found,
            Err(error) => return Interruption::Api(error),
        };
        let reason = match AbsentSource::of(found.as_ref()) {
            AbsentSource::Missing => SourceUnavailable::Missing(name),
            AbsentSource::NothingFetched | AbsentSource::NotFetchedAgain => {
                SourceUnavailable::NothingFetched(name)
            }
        };
        SyncError::from(reason).into()
    }

    /// Builds a revision that is not applied now, and claims its objects, so that objects which move here from another
    /// Kustomization are not deleted meanwhile.
    pub(super) async fn claim_only(&self, source: &Arc<Fetched>, variables: Option<Substitution>) {
        let revision = source.revision.to_string();
        match self.build(source, variables, &[]).await {
            Ok(built) => self.claim(&revision, &built.desired),
            Err(_) => self
                .context
                .settle(self.unit, &revision, Settlement::NotBuilt),
        }
    }

    /// Builds, and gives each object its place in the cluster, so that its id is the one that the inventory has.
    async fn build(
        &self,
        source: &Arc<Fetched>,
        variables: Option<Substitution>,
        held: &[ObjectRef],
    ) -> Result<Built, SyncError> {
        let (object, context, settings) = (self.object, self.context, self.settings);
        let (mut desired, inputs) =
            build::build(object, context, source, variables, settings).await?;
        let applier = applier(object, context)?;
        let placement = applier.place(&mut desired, held).await;
        Ok(Built {
            desired,
            inputs,
            placement,
        })
    }

    /// Registers the objects of a revision, and wakes the Kustomizations that want an object which is no longer claimed, or
    /// whose deletions wait for these claims.
    fn claim(&self, revision: &str, desired: &[Desired]) {
        let status = self.context.written.newest(self.object);
        let held = inventory::objects(status.inventory.as_ref());
        let claims = WantedObjects::of(desired, &held, self.object.spec.prune);
        for other in self.context.claims.claim(self.unit, revision, claims) {
            self.context.identities.live().wake(&other);
        }
    }

    /// Plans what was built and begins to carry it out.
    async fn apply(
        &self,
        built: Built,
        revision: &str,
        status: &mut KustomizationStatus,
    ) -> Result<ReconcileOutcome, Interruption> {
        let Built {
            desired,
            inputs,
            placement,
        } = built;
        self.tell_renewed(&placement.renewed).await;
        let applier = applier(self.object, self.context)?;
        let held = inventory::objects(status.inventory.as_ref());
        let observer = self.observer(&applier, revision);
        let (observed, others) = observer.observe(held, &desired, &placement.scopes).await?;
        let plan = self.plan(desired, &observed)?;
        self.note_attempt(&plan.digest());
        let mut options = apply_options(self.object, self.settings, &plan)?;
        if self.settings.mode == Mode::Report {
            let lines = report(&plan, &applier, &options).await;
            return Ok(ReconcileOutcome::Reported(lines));
        }
        self.tell_owners(&plan.conflicts, &others).await;
        // After a build that did not come to its end, not all of its objects were applied.
        let last = status.history.first().filter(|_| is_ready(status));
        let last = last.filter(|last| last.last_reconciled_status == SUCCEEDED);
        options.is_same_build = last.is_some_and(|last| last.digest == plan.digest());
        let announced = self.announce(&plan, &observed, revision, status).await;
        announced.map_err(Interruption::Api)?;
        let pending = self.begin(plan, options, revision, inputs);
        self.carry_out(pending, status).await
    }

    fn note_attempt(&self, digest: &str) {
        self.attempted.get_or_init(|| digest.to_owned());
    }

    fn observer<'o>(&'o self, applier: &'o Applier, revision: &'o str) -> Observer<'o> {
        Observer {
            object: self.object,
            unit: self.unit,
            client: &self.context.client,
            applier,
            ownership: &self.context.claims,
            deletes: Some((revision, self.context)),
        }
    }

    /// Plans with the settings of the object and the flags.
    fn plan(&self, desired: Vec<Desired>, observed: &Observed) -> Result<ApplyPlan, SyncError> {
        let settings = &self.context.settings;
        let flags = PlanFlags {
            own_namespace: settings.own_namespace.clone(),
            stage_kinds: settings.stage_kinds.clone(),
        };
        let options = PlanOptions::for_unit(self.object, self.settings, &flags);
        Ok(plan(desired, observed, &options)?)
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

    /// The rollout of a plan of which nothing is applied yet.
    fn begin(
        &self,
        plan: ApplyPlan,
        options: ApplyOptions,
        revision: &str,
        inputs: Option<Inputs>,
    ) -> PendingRollout {
        let opt_outs = plan.opt_outs.iter();
        let opted_out = opt_outs.map(|(object, skip)| format!("{object}: {skip}"));
        let refused = plan.conflicts.iter().map(ObjectFailure::from).collect();
        PendingRollout {
            applied: Applied {
                began: Some(Timestamp::now()),
                inputs,
                digest: plan.digest(),
                opted_out: opted_out.collect(),
                ..Applied::default()
            },
            digest: self.digest,
            revision: revision.to_owned(),
            options,
            is_drifted: false,
            former_owners: plan.taken_over_from.clone(),
            rendered: plan.inventory.clone(),
            going: plan.going.clone(),
            guard: plan.deferred_guard.clone(),
            rollout: Rollout::new(plan, &self.object.spec, self.unit, refused),
        }
    }

    /// Takes the steps of a rollout until it waits or ends.
    pub(super) async fn carry_out(
        &self,
        mut pending: PendingRollout,
        status: &mut KustomizationStatus,
    ) -> Result<ReconcileOutcome, Interruption> {
        let applier = applier(self.object, self.context)?;
        let mut health =
            HealthReader::new(&applier, &self.object.spec).map_err(InvalidExpression::from)?;
        let mut observation = Observation::Resumed;
        self.note_attempt(&pending.applied.digest);
        loop {
            let step = pending.rollout.advance(observation, Timestamp::now());
            // Watched before they are read, so that a change in between is not missed.
            let records = self.context.identities.live().last_applied();
            records.wait_for(self.unit, pending.rollout.pending());
            observation = match step {
                Step::ApplyWave(wave) => self.apply_wave(&wave, &mut pending, &applier).await,
                Step::CheckHealth(objects) => Observation::Health(health.read(objects).await),
                Step::CheckOwnership(objects) => self.ownership(&objects, &pending).await?,
                Step::Prune(objects) => self.prune(&objects, &mut pending, &applier, status).await,
                Step::Wait { message, after } => {
                    self.context.rollouts.put(self.unit, pending);
                    let again = after;
                    return Ok(ReconcileOutcome::Waiting { message, again });
                }
                Step::Done => return Ok(ReconcileOutcome::Done(pending.done())),
                Step::Fail(error) => {
                    self.tell_changes(&pending).await;
                    return Err(health.explain(error).await.into());
                }
            };
        }
    }

    /// Applies a wave, and adds what it has changed to the outcome.
    async fn apply_wave(
        &self,
        wave: &Wave,
        pending: &mut PendingRollout,
        applier: &Applier,
    ) -> Observation {
        let (changes, result) = applier.apply(wave, &pending.options).await;
        pending.applied.take(&changes);
        self.note_tried(&changes, &result);
        let skipped = changes.left().cloned().collect();
        Observation::Applied { skipped, result }
    }

    /// Notes what was applied and what the account may not apply, and wakes the Kustomizations that wait to know.
    fn note_tried(&self, changes: &ChangeSet, result: &Result<(), ApplyError>) {
        let applied = changes.0.iter().map(|(object, _)| object.id()).collect();
        let denied = match result {
            Err(ApplyError::Refused(failures)) => {
                let denied = failures.iter().filter(|failure| failure.is_denied);
                denied.map(|failure| failure.object.id()).collect()
            }
            _ => BTreeSet::new(),
        };
        for other in self.context.claims.tried(self.unit, &applied, &denied) {
            self.context.identities.live().wake(&other);
        }
    }

    /// Which of the objects that left the revision other Kustomizations want.
    async fn ownership(
        &self,
        objects: &[ObjectRef],
        pending: &PendingRollout,
    ) -> Result<Observation, Interruption> {
        let claims = &self.context.claims;
        let deletion = PendingDeletion {
            unit: self.unit,
            source: &source_of(self.object),
            revision: Some(&pending.revision),
            objects,
            going: &pending.going,
        };
        let undecided = undecided(self.context, &deletion).await;
        let undecided = undecided.map_err(Interruption::Api)?;
        let moved =
            |object: &ObjectRef| claims.wanted_elsewhere(self.unit, &object.id(), &pending.going);
        let mut handed_over = BTreeSet::new();
        for object in objects {
            if let Some(to) = moved(object) {
                if undecided.is_none() {
                    tracing::info!(%object, to = %to.unit, "handed over");
                }
                handed_over.insert(object.clone());
            }
        }
        let deleted = objects
            .iter()
            .filter(|object| !handed_over.contains(*object));
        let deleted: Vec<ObjectRef> = deleted.cloned().collect();
        let checked = pending
            .guard
            .as_ref()
            .map(|guard| guard.check(&deleted, |object| moved(object).is_some()));
        Ok(Observation::Ownership {
            undecided,
            refusal: checked.and_then(Result::err),
            handed_over,
        })
    }

    /// Deletes objects that left the revision. Objects that cannot be deleted stay in the inventory, so that the next
    /// rollout tries again.
    async fn prune(
        &self,
        objects: &[ObjectRef],
        pending: &mut PendingRollout,
        applier: &Applier,
        status: &mut KustomizationStatus,
    ) -> Observation {
        let rendered = &pending.rendered;
        let (pruned, result) = applier.prune(objects, rendered, self.unit).await;
        let failed: Vec<ObjectRef> = match &result {
            Err(ApplyError::Prune(failures)) => failures
                .iter()
                .map(|failure| failure.object.clone())
                .collect(),
            _ => Vec::new(),
        };
        let postponed = pending.rollout.postponed();
        let postponed = postponed
            .into_iter()
            .flat_map(|postponed| &postponed.objects);
        let held = pending.rendered.iter().chain(&failed).chain(postponed);
        status.inventory = Some(inventory::of(held));
        pending.applied.take_deletions(&pruned);
        for former in &pending.former_owners {
            self.context.identities.live().wake(former);
        }
        Observation::Pruned(result)
    }

    /// Publishes what was changed before the rollout failed.
    async fn tell_changes(&self, pending: &PendingRollout) {
        let PendingRollout {
            applied, revision, ..
        } = pending;
        for event in changes(&applied.changes, &applied.deletions) {
            publish(self.context, self.object, Some(revision), &event).await;
        }
    }

    /// Publishes which objects are applied in another version than their files have.
    async fn tell_renewed(&self, renewed: &[String]) {
        if renewed.is_empty() {
            return;
        }
        for warning in renewed {
            tracing::warn!(kustomization = %self.unit, "{warning}");
        }
        let (component, note) = (Component::Kustomize, renewed.join("\n"));
        let events = &self.context.events;
        events
            .publish(
                component,
                self.object,
                EventType::Warning,
                "OldVersion",
                &note,
            )
            .await;
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
    /// Adds the changes of a wave.
    fn take(&mut self, changes: &ChangeSet) {
        append(&mut self.changes, &changes.describe_changes());
        self.drifted.extend(changes.drifted());
        self.opted_out.extend(changes.opt_outs());
    }

    /// Adds the deletions.
    fn take_deletions(&mut self, deleted: &ChangeSet) {
        append(&mut self.deletions, &deleted.describe_changes());
        self.opted_out.extend(deleted.opt_outs());
    }
}

/// Adds lines to a list of lines.
fn append(lines: &mut String, more: &str) {
    if !lines.is_empty() && !more.is_empty() {
        lines.push('\n');
    }
    lines.push_str(more);
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
    let ignored = object.spec.ignore.iter().map(IgnoredFields::new);
    let ignored = ignored.collect::<Result<Vec<_>, _>>()?;
    Ok(ApplyOptions {
        drift: settings.drift,
        hides_values: build::reads_secrets(object),
        ignored: Arc::new(ignored),
        deletion_guard: settings.guard.clone(),
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

//! Carries out a sync: builds, plans, and then takes the steps of a [`Rollout`] until it waits or ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::events::EventType;
use sha2::{Digest as _, Sha256};

use crate::cluster::apply::Applier;
use crate::cluster::apply::{How, Would};
use crate::controllers::Context;
use crate::controllers::events::Component;
use crate::controllers::kustomization::build;
use crate::controllers::kustomization::build::{Built, Substitution};
use crate::controllers::kustomization::error::{
    Interruption, InvalidExpression, SourceUnavailable, SyncError,
};
use crate::controllers::kustomization::health::HealthReader;
use crate::controllers::kustomization::record::write;
use crate::controllers::kustomization::rollouts::PendingRollout;
use crate::controllers::kustomization::{Applied, Outcome, applier, check, depend, owner};
use crate::failpoints;
use crate::git::Fetched;
use overlayd_core::api::annotations::TAKE_OVER;
use overlayd_core::api::kustomization::{Kustomization, KustomizationStatus};
use overlayd_core::apply::change_set::ChangeSet;
use overlayd_core::apply::change_set::{ApplyError, ObjectFailure};
use overlayd_core::apply::ignore_rules::Ignored;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::plan::{
    ApplyPlan, Desired, OnError, Protected, Terms, Wave, control, opted_out,
};
use overlayd_core::apply::unit_settings::{Mode, UnitSettings};
use overlayd_core::apply::{inventory, plan};
use overlayd_core::kustomization::spec_digest::SpecDigest;
use overlayd_core::kustomization::{is_ready, source_of};
use overlayd_core::names::NamespacedName;
use overlayd_core::rollout::{Observation, Rollout, Step};

/// How many objects are asked about at once.
const AT_ONCE: usize = 16;

/// One reconcile that changes something.
pub(super) struct Run<'r> {
    pub(super) object: &'r Kustomization,
    pub(super) api: &'r Api<Kustomization>,
    pub(super) context: &'r Context,
    pub(super) key: &'r str,
    pub(super) unit: &'r NamespacedName,
    /// The digest of everything that decides what is applied.
    pub(super) digest: SpecDigest,
    pub(super) settings: &'r UnitSettings,
}

impl Run<'_> {
    /// Builds and plans, then begins to roll out.
    pub(super) async fn sync(
        &self,
        source: Option<Arc<Fetched>>,
        variables: Option<Substitution>,
        status: &mut KustomizationStatus,
    ) -> Result<Outcome, Interruption> {
        let (object, context) = (self.object, self.context);
        check(object, &context.settings)?;
        let source = source.ok_or_else(|| SourceUnavailable::NothingFetched(source_of(object)));
        let source = source.map_err(SyncError::from)?;
        let revision = source.revision.to_string();
        let dependencies = depend::check(object, context, &revision).await;
        if let Err(error) = dependencies {
            if matches!(error, Interruption::Sync(_)) {
                self.claim_only(&source, variables).await;
            }
            return Err(error);
        }
        let built = self.build(&source, variables).await?;
        if self.settings.mode == Mode::Apply {
            self.claim(&revision, &built.desired);
        }
        self.apply(built, &revision, status).await
    }

    /// Builds a revision that is not applied now, and claims its objects, so that objects which move here from another
    /// Kustomization are not deleted meanwhile.
    pub(super) async fn claim_only(&self, source: &Arc<Fetched>, variables: Option<Substitution>) {
        if let Ok(built) = self.build(source, variables).await {
            self.claim(&source.revision.to_string(), &built.desired);
        }
    }

    async fn build(
        &self,
        source: &Arc<Fetched>,
        variables: Option<Substitution>,
    ) -> Result<Built, SyncError> {
        build::build(self.object, self.context, source, variables, self.settings).await
    }

    /// Claims the objects of a revision, and wakes the Kustomizations that want an object which is no longer claimed.
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
    ) -> Result<Outcome, Interruption> {
        let (object, context) = (self.object, self.context);
        let Built { desired, inputs } = built;
        let held = inventory::objects(status.inventory.as_ref());
        let mut rendered: Vec<ObjectRef> = desired
            .iter()
            .map(|desired| desired.reference.clone())
            .collect();
        let opted_out = desired.iter().filter_map(|desired| {
            let reason = opted_out(&desired.manifest).or_else(|| {
                control(&desired.manifest, "prune", "disabled")
                    .then_some("`prune: disabled` is set on it")
            });
            Some(format!("{}: {}", desired.reference, reason?))
        });
        let opted_out = opted_out.collect();
        let terms = Terms {
            spec: &object.spec,
            owner: Some(owner(object)),
            protected: Protected {
                own_namespace: context.settings.own_namespace.clone(),
            },
            guard: self.settings.guard.clone(),
            on_error: self.settings.on_error,
            stage_kinds: &context.settings.stage_kinds,
        };
        let mut plan = plan::plan(desired, &held, &terms)?;
        let how = self.how(&plan)?;
        let applier = applier(object, context)?;
        let (conflicts, taken) = self.conflicts(&plan, &applier).await?;
        if self.settings.mode == Mode::Report {
            let lines = report(&plan, &conflicts, &applier, &how).await;
            return Ok(Outcome::Reported(lines));
        }
        let mut failed = Vec::new();
        if !conflicts.is_empty() {
            self.tell_owners(&conflicts).await;
            failed.extend(conflicts.into_iter().map(|(failure, _)| failure));
            if plan.on_error == OnError::Stop {
                return Err(SyncError::Conflict(failed).into());
            }
            leave_out(&mut plan, &mut rendered, &failed);
        }
        let ended_well = is_ready(status);
        status.last_attempted_revision = Some(revision.to_owned());
        status.inventory = Some(inventory::of(rendered.iter().chain(&held)));
        failpoints::point("inventory");
        let written = write(context, self.api, object, status).await;
        written.map_err(Interruption::Api)?;
        failpoints::point("inventoried");
        let (digest, last) = (digest(&plan), status.history.first());
        let how = How {
            // After a build that did not come to its end, its objects may be there.
            is_same_build: ended_well && last.is_some_and(|last| last.digest == digest),
            ..how
        };
        let pending = PendingRollout {
            rollout: Rollout::new(plan, &object.spec, &self.unit.namespace, failed),
            digest: self.digest,
            revision: revision.to_owned(),
            how,
            is_drifted: false,
            former_owners: taken,
            rendered,
            applied: Applied {
                inputs,
                digest,
                opted_out,
                ..Applied::default()
            },
        };
        self.carry_out(pending, status).await
    }

    /// What decides how a plan is carried out.
    fn how(&self, plan: &ApplyPlan) -> Result<How, SyncError> {
        let ignored = ignored(self.object).map_err(SyncError::Rule)?;
        Ok(How {
            drift: self.settings.drift,
            hides_values: build::reads_secrets(self.object),
            ignored: Arc::new(ignored),
            ..How::of(plan)
        })
    }

    /// Takes the steps of a rollout until it waits or ends.
    pub(super) async fn carry_out(
        &self,
        mut pending: PendingRollout,
        status: &mut KustomizationStatus,
    ) -> Result<Outcome, Interruption> {
        let applier = applier(self.object, self.context)?;
        let mut health =
            HealthReader::new(&applier, &self.object.spec).map_err(InvalidExpression::from)?;
        let mut observation = Observation::Resumed;
        loop {
            let step = pending.rollout.advance(observation, Timestamp::now());
            // Watched before they are read, so that a change in between is not missed.
            let records = self.context.identities.live().records();
            records.wait_for(self.unit, pending.rollout.pending());
            observation = match step {
                Step::ApplyWave(wave) => self.apply_wave(&wave, &mut pending, &applier).await,
                Step::CheckHealth(objects) => Observation::Health(health.read(objects).await),
                Step::CheckOwnership(objects) => self.ownership(&objects, &pending.revision),
                Step::Prune(objects) => self.prune(&objects, &mut pending, &applier, status).await,
                Step::Wait { message, after } => {
                    self.context.rollouts.put(self.key, pending);
                    let again = after;
                    return Ok(Outcome::Waiting { message, again });
                }
                Step::Done => return Ok(Outcome::Done(pending.applied)),
                Step::Fail(error) => {
                    self.tell_changes(&pending.applied).await;
                    return Err(health.explain(error).await.into());
                }
            };
        }
    }

    async fn apply_wave(
        &self,
        wave: &Wave,
        pending: &mut PendingRollout,
        applier: &Applier,
    ) -> Observation {
        let (changes, result) = applier.apply(wave, &pending.how).await;
        pending.applied.take(&changes);
        let skipped = changes.left().cloned().collect();
        Observation::Applied { skipped, result }
    }

    /// Which of the objects that left the revision other Kustomizations want.
    fn ownership(&self, objects: &[ObjectRef], revision: &str) -> Observation {
        let (claims, source) = (&self.context.claims, source_of(self.object));
        let undecided = claims.unsettled(self.unit, &source, revision);
        let mut handed_over = BTreeSet::new();
        for object in objects {
            if let Some(to) = claims.wanted_elsewhere(self.unit, &object.id()) {
                if undecided.is_none() {
                    tracing::info!(%object, %to, "handed over");
                }
                handed_over.insert(object.clone());
            }
        }
        Observation::Ownership {
            undecided,
            handed_over,
        }
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
        let (pruned, result) = applier.prune(objects, &owner(self.object)).await;
        let failed: Vec<ObjectRef> = match &result {
            Err(ApplyError::Prune(failures)) => failures
                .iter()
                .map(|failure| failure.object.clone())
                .collect(),
            _ => Vec::new(),
        };
        status.inventory = Some(inventory::of(pending.rendered.iter().chain(&failed)));
        pending.applied.take(&pruned);
        for former in &pending.former_owners {
            self.context.identities.live().wake(former);
        }
        Observation::Pruned(result)
    }

    /// Publishes what was changed before the rollout failed.
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

    /// What belongs to another Kustomization that still wants it, and from whom something is taken over by name.
    async fn conflicts(
        &self,
        plan: &ApplyPlan,
        applier: &Applier,
    ) -> Result<
        (
            Vec<(ObjectFailure, Kustomization)>,
            BTreeSet<NamespacedName>,
        ),
        SyncError,
    > {
        let objects: Vec<&Desired> = plan.waves.iter().flat_map(Wave::objects).collect();
        let references: Vec<&ObjectRef> =
            objects.iter().map(|desired| &desired.reference).collect();
        let owners = applier.owners(&references).await;
        let (mut others, mut conflicts) = (BTreeMap::new(), Vec::new());
        let mut taken = BTreeSet::new();
        for (desired, owner) in objects.into_iter().zip(owners) {
            let Some(owner) = owner.filter(|owner| {
                owner != self.unit && !owner.namespace.is_empty() && !owner.name.is_empty()
            }) else {
                continue;
            };
            let named = desired.manifest["metadata"]["annotations"][TAKE_OVER].as_str();
            if named == Some(format!("{}/{}", owner.namespace, owner.name).as_str()) {
                taken.insert(owner);
                continue;
            }
            if !others.contains_key(&owner) {
                let api: Api<Kustomization> =
                    Api::namespaced(self.context.client.clone(), &owner.namespace);
                // Who cannot be asked about is not taken for one that is gone.
                let found = api.get_opt(&owner.name).await.map_err(|error| {
                    let reason = crate::cluster::error::describe(&error);
                    SyncError::Owner(format!(
                        "Kustomization `{}/{}`, which owns {}, cannot be read: {reason}",
                        owner.namespace, owner.name, desired.reference
                    ))
                });
                others.insert(owner.clone(), found?);
            }
            // The labels of one that is gone mean nothing.
            let Some(Some(other)) = others.get(&owner) else {
                continue;
            };
            if self.wants(&owner, other, &desired.reference) {
                let reason = format!(
                    "Kustomization `{0}/{1}` applies it too; take it out of one of them, or let it go over to this one with the annotation `{TAKE_OVER}: {0}/{1}` on the object",
                    owner.namespace, owner.name
                );
                conflicts.push((ObjectFailure::new(desired, reason), other.clone()));
            }
        }
        Ok((conflicts, taken))
    }

    /// Whether a Kustomization wants an object: by its last build, or else by what it has applied.
    fn wants(&self, unit: &NamespacedName, other: &Kustomization, object: &ObjectRef) -> bool {
        let known = self.context.claims.wants(unit, &object.id());
        known.unwrap_or_else(|| {
            let status = other.status.as_ref();
            let held = inventory::objects(status.and_then(|status| status.inventory.as_ref()));
            held.iter().any(|held| held.id() == object.id())
        })
    }

    /// Lets those know who own what this one wants too.
    async fn tell_owners(&self, conflicts: &[(ObjectFailure, Kustomization)]) {
        for (failure, other) in conflicts {
            let note = format!(
                "{} is rendered by Kustomization `{}/{}` too, which was refused it",
                failure.object, self.unit.namespace, self.unit.name
            );
            let events = &self.context.events;
            events
                .publish(
                    Component::Kustomize,
                    other,
                    EventType::Warning,
                    "OwnerConflict",
                    &note,
                )
                .await;
        }
    }
}

impl Applied {
    /// Takes note of what was done.
    fn take(&mut self, changes: &ChangeSet) {
        use overlayd_core::apply::change_set::Change;
        let text = changes.describe_changes();
        if !text.is_empty() {
            if !self.changes.is_empty() {
                self.changes.push('\n');
            }
            self.changes.push_str(&text);
        }
        for (object, change) in &changes.0 {
            match change {
                Change::Drifted(fields) => self
                    .drifted
                    .push(format!("{object}: {}", fields.join(", "))),
                Change::Skipped(reason)
                    if reason.contains("disabled") || reason.contains("Ignore") =>
                {
                    self.opted_out.push(format!("{object}: {reason}"));
                }
                _ => {}
            }
        }
    }
}

/// The fields that a Kustomization leaves to others.
///
/// # Errors
/// The first rule that makes no sense.
pub(super) fn ignored(object: &Kustomization) -> Result<Vec<Ignored>, String> {
    object.spec.ignore.iter().map(Ignored::new).collect()
}

/// Names what a plan applies, by its content.
fn digest(plan: &ApplyPlan) -> String {
    let mut hash = Sha256::default();
    for desired in plan.waves.iter().flat_map(Wave::objects) {
        hash.update(desired.hash);
    }
    format!("sha256:{}", build::hex(hash))
}

/// Takes objects out of a plan that cannot be applied.
fn leave_out(plan: &mut ApplyPlan, rendered: &mut Vec<ObjectRef>, failures: &[ObjectFailure]) {
    let left: BTreeSet<&ObjectRef> = failures.iter().map(|failure| &failure.object).collect();
    for wave in &mut plan.waves {
        for stage in &mut wave.0 {
            stage.retain(|desired| !left.contains(&desired.reference));
        }
    }
    rendered.retain(|object| !left.contains(object));
}

/// What a plan would change, one line for each object: deletions first.
async fn report(
    plan: &ApplyPlan,
    conflicts: &[(ObjectFailure, Kustomization)],
    applier: &Applier,
    how: &How,
) -> Vec<String> {
    let mut lines: Vec<String> = plan
        .prune
        .iter()
        .map(|object| format!("{object} would be deleted"))
        .collect();
    lines.extend(conflicts.iter().map(|(failure, _)| failure.to_string()));
    let mut asked = Vec::new();
    for desired in plan.waves.iter().flat_map(Wave::objects) {
        asked.push(async move { (&desired.reference, applier.would(desired, how).await) }.boxed());
    }
    let would = futures::stream::iter(asked).buffered(AT_ONCE);
    let would: Vec<_> = would.collect().await;
    for (object, would) in would {
        match would {
            Ok(Would::Create) => lines.push(format!("{object} would be created")),
            Ok(Would::Change(changes)) if changes.is_empty() => {}
            Ok(Would::Change(changes)) => {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                lines.push(format!("{object} would be changed: {}", changes.join(", ")));
            }
            Err(reason) => lines.push(format!("{object} would be refused: {reason}")),
        }
    }
    lines
}

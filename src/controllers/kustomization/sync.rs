//! One reconcile that does work: build, plan, apply wave by wave, wait for health, prune.
//!
//! Everything between two waves is a state ([`Waiting`]), so that no worker is held and a new revision takes the place
//! of an old one at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

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
use crate::controllers::kustomization::wait;
use crate::controllers::kustomization::wait::Waiting;
use crate::controllers::kustomization::{
    Applied, Outcome, SyncError, applier, check, depend, is_ready, missing_source, owner,
    source_key, write,
};
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
use overlayd_core::cron_windows::Window;
use overlayd_core::names::NamespacedName;

/// How long others of the same source are waited for before something is deleted that they may want.
const SETTLING: Duration = Duration::from_secs(30);
/// How many objects are asked about at once.
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
            return Ok(Ok(Outcome::Reported(lines)));
        }
        let mut failed = Vec::new();
        if !conflicts.is_empty() {
            self.tell_owners(&conflicts).await;
            failed.extend(conflicts.into_iter().map(|(failure, _)| failure));
            if plan.on_error == OnError::Stop {
                return Err(SyncError::Conflict(failed));
            }
            leave_out(&mut plan, &mut rendered, &failed);
        }
        let ended_well = is_ready(status);
        status.last_attempted_revision = Some(revision.to_owned());
        status.inventory = Some(inventory::of(rendered.iter().chain(&held)));
        failpoints::point("inventory");
        if let Err(error) = write(context, self.api, object, status).await {
            return Ok(Err(error));
        }
        failpoints::point("inventoried");
        let (digest, last) = (digest(&plan), status.history.first());
        let waiting = Waiting {
            fingerprint: self.fingerprint.to_owned(),
            revision: revision.to_owned(),
            pending: Vec::new(),
            since: Timestamp::now(),
            looks: 0,
            checks: wait::checked(&object.spec, &self.unit.namespace, &plan),
            how: How {
                // After a build that did not come to its end, its objects may be there.
                is_same_build: ended_well && last.is_some_and(|last| last.digest == digest),
                ..how
            },
            rest: plan.waves.into(),
            failed,
            has_failed: false,
            left: Vec::new(),
            wanted: self.wanted.to_owned(),
            is_drifted: false,
            taken,
            rendered,
            prune: plan.prune,
            settling: None,
            applied: Applied {
                inputs,
                digest,
                opted_out,
                ..Applied::default()
            },
        };
        Ok(self.advance(waiting, status).await)
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
        live.records().wait_for(self.unit, pending);
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

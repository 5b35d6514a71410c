//! Deletes what a `Kustomization` applied when it is deleted itself, as its deletion policy says.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource as _, ResourceExt as _};

use crate::cluster::apply::Applier;
use crate::cluster::error::describe;
use crate::controllers::ReconcileError;
use crate::controllers::ending::definition;
use crate::controllers::events::Component;
use crate::controllers::kustomization::context::KustomizationContext;
use crate::controllers::kustomization::health::is_any_there;
use crate::controllers::kustomization::owners::{
    ObserveError, children, going as going_with, undecided,
};
use crate::controllers::kustomization::record::{publish, write};
use crate::controllers::kustomization::{account, applier};
use crate::controllers::objects::remove_finalizer;
use overlayd_core::api::annotations::{APPROVE_DELETIONS, FLUX_FINALIZER};
use overlayd_core::api::git_repository::GitRepository;
use overlayd_core::api::kustomization::Kustomization;
use overlayd_core::apply::guard::{Guard, GuardError, GuardStage, list_hash};
use overlayd_core::apply::held::DeletionGuard;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::ownership::{PendingDeletion, Undecided, UndecidedReason};
use overlayd_core::apply::skip::Protected;
use overlayd_core::apply::{inventory, plan};
use overlayd_core::conditions::{Progress, flux_conditions};
use overlayd_core::kustomization::deletion::{
    DeletionCause, DeletionWork, deletion_work, has_timed_out,
};
use overlayd_core::kustomization::events::changes;
use overlayd_core::kustomization::source_of;
use overlayd_core::names::NamespacedName;
use overlayd_core::rollout::health_timeout;

/// How often it is asked again whether other Kustomizations want the objects, should no event come.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Deletes what was applied, as the policy says, then removes the finalizer.
pub(super) async fn finalize(
    object: &Kustomization,
    api: &Api<Kustomization>,
    context: &KustomizationContext,
) -> Result<Action, ReconcileError> {
    let mut finalizers = object.finalizers().iter();
    if !finalizers.any(|name| name == FLUX_FINALIZER) {
        return Ok(Action::await_change());
    }
    let deletion = Deletion {
        object,
        api,
        context,
        unit: NamespacedName::of(object),
    };
    let cause = match deletion.cause().await {
        Ok(cause) => cause,
        Err(error) => return deletion.cannot_delete(&describe(&error)).await,
    };
    if cause != DeletionCause::Object {
        tracing::warn!(kustomization = %deletion.unit, ?cause, "what it applied is left, since its definition or its controller's namespace is being deleted");
    }
    let work = deletion_work(&object.spec, cause);
    if work != DeletionWork::Orphan
        && let Some(action) = deletion.run(work).await?
    {
        return Ok(action);
    }
    remove_finalizer(api, object, FLUX_FINALIZER).await?;
    Ok(Action::await_change())
}

/// The deletion of a Kustomization with what it has applied.
struct Deletion<'d> {
    object: &'d Kustomization,
    api: &'d Api<Kustomization>,
    context: &'d KustomizationContext,
    unit: NamespacedName,
}

impl Deletion<'_> {
    /// Reads why the object is being deleted. The watches may not have told it yet.
    async fn cause(&self) -> Result<DeletionCause, kube::Error> {
        let client = &self.context.client;
        let definition = definition::<Kustomization>(client).await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = namespaces.get_metadata_opt(&self.unit.namespace).await?;
        Ok(DeletionCause::of(
            definition.as_ref(),
            namespace.as_ref().map(|found| &found.metadata),
            &self.context.settings.own_namespace,
        ))
    }

    /// Deletes what was applied. Gives what to do next, if something keeps the Kustomization from going.
    async fn run(&self, work: DeletionWork) -> Result<Option<Action>, ReconcileError> {
        let (object, context) = (self.object, self.context);
        let status = context.written.newest(object);
        let held = inventory::objects(status.inventory.as_ref());
        let protected = Protected {
            own_namespace: context.settings.own_namespace.clone(),
        };
        if plan::deletion(&held, &protected).prune.is_empty() {
            return Ok(None);
        }
        let applier = match applier(object, context) {
            Ok(applier) => applier,
            Err(error) => return self.cannot_delete(&error.to_string()).await.map(Some),
        };
        let placed = applier.place(&mut [], &held).await;
        let placed = placed.scopes.placed(held.clone());
        let prune = plan::deletion(&placed, &protected).prune;
        let checked = self.check(prune, &held, protected, &applier).await;
        let prune = match checked {
            Ok(prune) => prune,
            Err(why) => return self.blocked(&why).await.map(Some),
        };
        let (deleted, result) = applier.prune(&prune, &[], &self.unit).await;
        tracing::info!(kustomization = %object.name_any(), deleted = deleted.describe_changes(), "deleted with its Kustomization");
        if let Err(error) = result {
            return self.cannot_delete(&error.to_string()).await.map(Some);
        }
        let requested = object.meta().deletion_timestamp.as_ref().map(|time| time.0);
        let timeout = health_timeout(&object.spec);
        let waits = work == DeletionWork::PruneAndWait
            && is_any_there(&prune, &applier).await
            && !has_timed_out(requested, timeout, Timestamp::now());
        if waits {
            return Ok(Some(Action::requeue(Duration::from_secs(1))));
        }
        let revision = status.last_applied_revision.as_deref();
        for event in changes("", &deleted.describe_changes()) {
            publish(context, object, revision, &event).await;
        }
        Ok(None)
    }

    /// True if the source exists. Without it no other Kustomization can ever say what it wants.
    async fn has_source(&self, source: &NamespacedName) -> Result<bool, kube::Error> {
        let client = self.context.client.clone();
        let api: Api<GitRepository> = Api::namespaced(client, &source.namespace);
        Ok(api.get_metadata_opt(&source.name).await?.is_some())
    }

    /// Another Kustomization that wants an object; those in `going` do not count.
    fn is_wanted(&self, object: &ObjectRef, going: &BTreeSet<NamespacedName>) -> bool {
        let claims = &self.context.claims;
        let claimant = claims.wanted_elsewhere(&self.unit, &object.id(), going);
        claimant.is_some()
    }

    /// True for an object that is deleted in any case, since its namespace goes.
    fn goes_anyway(&self, object: &ObjectRef) -> bool {
        let is_namespace = object.kind == "Namespace" && object.group.is_empty();
        let namespace = if is_namespace {
            &object.name
        } else {
            &object.namespace
        };
        self.context.namespaces.is_going(namespace)
    }

    /// Checks that every other Kustomization has said what it wants of these objects, and has applied it.
    async fn check_decided(
        &self,
        objects: &[ObjectRef],
        going: &BTreeSet<NamespacedName>,
    ) -> Result<(), Blocked> {
        let (object, context) = (self.object, self.context);
        let (source, status) = (source_of(object), context.written.newest(object));
        let fetched = context.sources.get(&source);
        let revision = fetched.map(|source| source.revision.to_string());
        let attempted = status.last_attempted_revision.as_deref();
        let deletion = PendingDeletion {
            unit: &self.unit,
            source: &source,
            revision: revision.as_deref().or(attempted),
            objects,
            going,
        };
        let is_known = revision.is_some() || self.has_source(&source).await?;
        let undecided = undecided(context, &deletion).await?;
        let counts =
            |undecided: &Undecided| is_known || undecided.reason == UndecidedReason::NotApplied;
        match undecided.filter(counts) {
            Some(undecided) => Err(Blocked::Undecided(undecided)),
            None => Ok(()),
        }
    }

    /// The objects to delete: those that no other Kustomization wants.
    async fn check(
        &self,
        prune: Vec<ObjectRef>,
        held: &[ObjectRef],
        protected: Protected,
        applier: &Applier,
    ) -> Result<Vec<ObjectRef>, Blocked> {
        let nobody = BTreeSet::new();
        let stays = |object: &ObjectRef| self.is_wanted(object, &nobody);
        let children = children(&self.context.client, applier, prune.iter(), stays).await?;
        let going: BTreeSet<NamespacedName> = children.keys().cloned().collect();
        self.check_decided(&prune, &going).await?;
        let deleted = prune
            .into_iter()
            .filter(|object| !self.is_wanted(object, &going));
        let deleted: Vec<ObjectRef> = deleted.collect();
        let asked = deleted.iter().filter(|object| !self.goes_anyway(object));
        let asked = going_with(applier, &self.unit, asked.cloned().collect()).await;
        let guard = DeletionGuard {
            guard: deletion_guard(self.object, held),
            protected,
            children,
            rendered: BTreeSet::new(),
            inventory: held.len(),
        };
        let checked = guard.check(&asked, |object| {
            self.is_wanted(object, &going) || self.goes_anyway(object)
        });
        checked.map_err(|error| GuardError {
            stage: GuardStage::Deleting,
            ..error
        })?;
        Ok(deleted)
    }

    /// Records that the objects are not deleted yet, and when it is looked at again.
    async fn blocked(&self, why: &Blocked) -> Result<Action, ReconcileError> {
        if let Blocked::Api(error) = why {
            tracing::warn!(kustomization = %self.unit, error = %describe(error), "the other Kustomizations cannot be read");
            return Ok(Action::requeue(ASK_AGAIN));
        }
        self.tell(&why.to_string()).await?;
        Ok(Action::requeue(ASK_AGAIN))
    }

    /// Records why the object cannot be deleted yet. The inventory is kept even if the service account is gone.
    async fn cannot_delete(&self, why: &str) -> Result<Action, ReconcileError> {
        let (object, api, context) = (self.object, self.api, self.context);
        // In a namespace that is being deleted, no rights can be given back to an account, and the objects in it are deleted too.
        let namespace = object.namespace().unwrap_or_default();
        if account(&object.spec, &context.settings).is_some()
            && context.namespaces.is_going(&namespace)
        {
            tracing::warn!(kustomization = %object.name_any(), namespace, why, "its namespace goes, so that what it applied elsewhere is left");
            remove_finalizer(api, object, FLUX_FINALIZER).await?;
            return Ok(Action::await_change());
        }
        self.tell(&format!(
            "it goes when what it applied is deleted: {why}; let overlayd delete it, or set `deletionPolicy: Orphan` to leave it"
        ))
        .await?;
        Ok(Action::requeue(Duration::from_secs(5)))
    }

    /// Writes why the object is still there into its status, and an event if that is new.
    async fn tell(&self, message: &str) -> Result<(), ReconcileError> {
        let (object, api, context) = (self.object, self.api, self.context);
        let mut status = context.written.newest(object);
        let (old, now) = (std::mem::take(&mut status.conditions), Timestamp::now());
        let generation = object.meta().generation.unwrap_or_default();
        let reason = "PruneFailed";
        status.conditions =
            flux_conditions(&old, generation, Progress::Retrying, reason, message, now);
        if status.conditions != old {
            let (component, type_) = (Component::Kustomize, EventType::Warning);
            context
                .events
                .publish(component, object, type_, reason, message)
                .await;
        }
        Ok(write(context, api, object, &status).await?)
    }
}

/// Why what a deleted Kustomization has applied is not deleted yet.
#[derive(Debug, thiserror::Error)]
enum Blocked {
    #[error(
        "it goes when it is known whether Kustomization `{}` wants what it applied{}; `suspend` that one to go on without it, or set `deletionPolicy: Orphan` on this one to leave everything",
        .0.unit, reason(.0)
    )]
    Undecided(Undecided),
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error("{}", describe(.0))]
    Api(#[from] kube::Error),
}

fn reason(undecided: &Undecided) -> &'static str {
    match undecided.reason {
        UndecidedReason::Open => "",
        UndecidedReason::NotBuilt => ", which cannot be built",
        UndecidedReason::NotApplied => ", which renders some of it and has not applied it yet",
    }
}

/// The guard of a Kustomization that a person or its parent deletes: it asks about objects whose deletion deletes more,
/// and not about their number, since the deletion of all is what is asked for.
fn deletion_guard(object: &Kustomization, held: &[ObjectRef]) -> Guard {
    let approved = object.annotations().get(APPROVE_DELETIONS);
    let is_all = approved.is_some_and(|hash| *hash == list_hash(held));
    Guard {
        approved: approved.cloned(),
        is_open: is_all,
        ..Guard::default()
    }
}

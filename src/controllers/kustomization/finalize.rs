//! Deletes what a `Kustomization` applied when it is deleted itself, as its deletion policy says.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource as _, ResourceExt as _};

use crate::controllers::ReconcileError;
use crate::controllers::events::Component;
use crate::controllers::kustomization::context::KustomizationContext;
use crate::controllers::kustomization::health::is_any_there;
use crate::controllers::kustomization::{account, applier, write};
use crate::controllers::objects::remove_finalizer;
use overlayd_core::api::annotations::FLUX_FINALIZER;
use overlayd_core::api::kustomization::Kustomization;
use overlayd_core::apply::skip::Protected;
use overlayd_core::apply::{inventory, plan};
use overlayd_core::conditions::{Progress, flux_conditions};
use overlayd_core::kustomization::deletion::{DeletionWork, deletion_work, has_timed_out};
use overlayd_core::names::NamespacedName;
use overlayd_core::rollout::health_timeout;

/// Deletes what was applied, as the policy says, then removes the finalizer.
pub(super) async fn finalize(
    object: &Kustomization,
    api: &Api<Kustomization>,
    context: &KustomizationContext,
) -> Result<Action, ReconcileError> {
    let work = deletion_work(&object.spec);
    let has_finalizer = object
        .finalizers()
        .iter()
        .any(|name| name == FLUX_FINALIZER);
    if work != DeletionWork::Orphan && has_finalizer {
        let status = context.written.newest(object);
        let held = inventory::objects(status.inventory.as_ref());
        let protected = Protected {
            own_namespace: context.settings.own_namespace.clone(),
        };
        let mut plan = plan::deletion(&held, &protected);
        // Objects that another Kustomization wants now are handed over to it.
        let unit = NamespacedName::of(object);
        plan.prune.retain(|object| {
            context
                .claims
                .wanted_elsewhere(&unit, &object.id())
                .is_none()
        });
        let applier = match applier(object, context) {
            Ok(applier) => applier,
            Err(error) => return cannot_delete(object, api, context, &error.to_string()).await,
        };
        let (deleted, result) = applier
            .prune(&plan.prune, &NamespacedName::of(object))
            .await;
        tracing::info!(kustomization = %object.name_any(), deleted = deleted.describe_changes(), "deleted with its Kustomization");
        if let Err(error) = result {
            return cannot_delete(object, api, context, &error.to_string()).await;
        }
        let requested = object.meta().deletion_timestamp.as_ref().map(|time| time.0);
        let timeout = health_timeout(&object.spec);
        if work == DeletionWork::PruneAndWait
            && is_any_there(&plan.prune, &applier).await
            && !has_timed_out(requested, timeout, Timestamp::now())
        {
            return Ok(Action::requeue(Duration::from_secs(1)));
        }
    }
    remove_finalizer(api, object, FLUX_FINALIZER).await?;
    Ok(Action::await_change())
}

/// Records why the object cannot be deleted yet. The inventory is kept even if the service account is gone.
async fn cannot_delete(
    object: &Kustomization,
    api: &Api<Kustomization>,
    context: &KustomizationContext,
    why: &str,
) -> Result<Action, ReconcileError> {
    // In a namespace that is being deleted, no rights can be given back to an account, and the objects in it are deleted too.
    let namespace = object.namespace().unwrap_or_default();
    if account(&object.spec, &context.settings).is_some() && context.namespaces.is_going(&namespace)
    {
        tracing::warn!(kustomization = %object.name_any(), namespace, why, "its namespace goes, so that what it applied elsewhere is left");
        remove_finalizer(api, object, FLUX_FINALIZER).await?;
        return Ok(Action::await_change());
    }
    let message = format!(
        "it goes when what it applied is deleted: {why}; let overlayd delete it, or set `deletionPolicy: Orphan` to leave it"
    );
    let mut status = context.written.newest(object);
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

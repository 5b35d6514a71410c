//! The end of a `Kustomization`: what it applied goes with it, as its policy says.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource as _, ResourceExt as _};

use crate::controllers::events::Component;
use crate::controllers::kustomization::{FINALIZER, account, applier, owner, wait, write};
use crate::controllers::{Context, ReconcileError};
use overlayd_core::api::kustomization::{DeletionPolicy, Kustomization};
use overlayd_core::apply::skip::Protected;
use overlayd_core::apply::written_status::unit_of;
use overlayd_core::apply::{inventory, plan};
use overlayd_core::conditions::{Progress, flux_conditions};

/// Deletes what was applied, as the policy says, then lets the object go.
pub(super) async fn finalize(
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
        let status = context.written.newest(object);
        let held = inventory::objects(status.inventory.as_ref());
        let protected = Protected {
            own_namespace: context.settings.own_namespace.clone(),
        };
        let mut plan = plan::deletion(&held, &protected);
        // What another one wants by now is its own.
        let unit = unit_of(object);
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

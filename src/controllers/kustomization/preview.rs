//! Talks to the API server: the plan that the daemon would make for a Kustomization from a build of another tree.

use std::collections::BTreeSet;

use kube::api::{Api, ListParams};
use kube::{Client, Resource as _, ResourceExt as _};
use kustomize::Rendered;

use overlayd_core::api::kustomization::Kustomization;
use overlayd_core::apply::guard::{Guard, GuardError};
use overlayd_core::apply::inventory;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::ownership::Ownership;
use overlayd_core::apply::plan::{ApplyPlan, PlanError, PlanOptions, plan};
use overlayd_core::apply::plan_options::PlanFlags;
use overlayd_core::apply::scope::Scopes;
use overlayd_core::apply::unit_settings::{UnitDefaults, UnitSettings};
use overlayd_core::names::NamespacedName;
use overlayd_core::render::substitution::SubstitutionBudget;

use crate::cluster::apply::{Applier, ApplyOptions, Placement};
use crate::controllers::kustomization::build;
use crate::controllers::kustomization::error::SyncError;
use crate::controllers::kustomization::owners::Observer;
use crate::controllers::kustomization::sync::apply_options;

/// What the daemon would do.
pub(crate) struct Preview {
    pub(crate) plan: ApplyPlan,
    /// How the plan would be carried out.
    pub(crate) options: ApplyOptions,
    /// The daemon would refuse the plan without an approval, unless its flags say otherwise.
    pub(crate) refusal: Option<GuardError>,
    /// Objects that are applied in another version than their files have, one sentence for each.
    pub(crate) renewed: Vec<String>,
}

/// Why the daemon would make no plan.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct PreviewError(#[from] SyncError);

/// Plans a build for a Kustomization as the daemon does.
///
/// # Errors
/// The annotations, the variables or the build cannot be used.
pub(crate) async fn preview(
    unit: &Kustomization,
    applier: &Applier,
    rendered: &Rendered,
    flags: &PlanFlags,
) -> Result<Preview, PreviewError> {
    preview_of(unit, applier, rendered, flags)
        .await
        .map_err(PreviewError)
}

/// The preview with the controller's own error.
async fn preview_of(
    unit: &Kustomization,
    applier: &Applier,
    rendered: &Rendered,
    flags: &PlanFlags,
) -> Result<Preview, SyncError> {
    let settings = UnitSettings::new(unit.annotations(), &UnitDefaults::default())?;
    let client = applier.client();
    let (variables, _) = build::read_variables(unit, &client).await;
    let mut desired = build::substituted(
        build::desired(rendered),
        rendered,
        variables?.as_ref(),
        settings.strict_substitution,
        SubstitutionBudget::default(),
    )?;
    let status = unit.status.as_ref();
    let held = inventory::objects(status.and_then(|status| status.inventory.as_ref()));
    let Placement { scopes, renewed } = applier.place(&mut desired, &held).await;
    let (name, ownership) = (
        NamespacedName::of(unit),
        others(unit, &client, &scopes).await,
    );
    let observer = Observer {
        object: unit,
        unit: &name,
        client: &client,
        applier,
        ownership: &ownership,
        deletes: None,
    };
    let (observed, _) = observer.observe(held, &desired, &scopes).await?;
    let mut options = PlanOptions::for_unit(unit, &settings, flags);
    let (plan, refusal) = match plan(desired.clone(), &observed, &options) {
        Err(PlanError::Guarded(refusal)) => {
            options.guard = Guard::open();
            (plan(desired, &observed, &options)?, Some(refusal))
        }
        plan => (plan?, None),
    };
    Ok(Preview {
        options: apply_options(unit, &settings, &plan)?,
        plan,
        refusal,
        renewed,
    })
}

/// What the other Kustomizations have applied; nothing if they may not be listed.
async fn others(unit: &Kustomization, client: &Client, scopes: &Scopes) -> Ownership {
    let api: Api<Kustomization> = Api::all(client.clone());
    let listed = api.list(&ListParams::default()).await;
    let ownership = Ownership::default();
    for other in listed.map(|list| list.items).unwrap_or_default() {
        if other.meta().uid == unit.meta().uid || other.meta().deletion_timestamp.is_some() {
            continue;
        }
        let status = other.status.as_ref();
        let held = inventory::objects(status.and_then(|status| status.inventory.as_ref()));
        let held = scopes.placed(held);
        let ids: BTreeSet<String> = held.iter().map(ObjectRef::id).collect();
        ownership.resume(&NamespacedName::of(&other), "", ids);
    }
    ownership
}

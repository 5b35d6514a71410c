//! Talks to the API server: reads what a plan and its deletions need to know of other Kustomizations.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Client, Resource as _};

use overlayd_core::api::kustomization::Kustomization;
use overlayd_core::apply::desired::Desired;
use overlayd_core::apply::guard::Guard;
use overlayd_core::apply::held::Children;
use overlayd_core::apply::inventory;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::ownership::{
    ExistingUnits, LiveOwners, OtherKustomization, Ownership, PendingDeletion, Undecided,
};
use overlayd_core::apply::plan::{Observed, leaving};
use overlayd_core::apply::scope::Scopes;
use overlayd_core::apply::skip::Skip;
use overlayd_core::kustomization::deletion::{DeletionCause, DeletionWork, deletion_work};
use overlayd_core::kustomization::source_of;
use overlayd_core::names::NamespacedName;

use crate::cluster::apply::Applier;
use crate::cluster::error::describe;
use crate::controllers::kustomization::context::KustomizationContext;
use crate::controllers::kustomization::follows;

/// The other Kustomizations that own objects of a build, as the API server has them.
pub(super) type Others = BTreeMap<NamespacedName, Kustomization>;

/// Observes the cluster for the plan of one Kustomization.
pub(super) struct Observer<'o> {
    pub(super) object: &'o Kustomization,
    pub(super) unit: &'o NamespacedName,
    pub(super) client: &'o Client,
    pub(super) applier: &'o Applier,
    /// The claims of all Kustomizations.
    pub(super) ownership: &'o Ownership,
    /// The revision in service, and which Kustomizations this process serves; none for a preview.
    pub(super) deletes: Option<(&'o str, &'o KustomizationContext)>,
}

/// Why the cluster cannot be observed.
#[derive(Debug, thiserror::Error)]
#[error("Kustomization `{unit}`, whose objects go with it, cannot be read: {}", describe(.source))]
pub(super) struct ObserveError {
    unit: NamespacedName,
    source: kube::Error,
}

impl Observer<'_> {
    /// What a plan for these objects depends on, and the Kustomizations that it names.
    ///
    /// # Errors
    /// What a Kustomization holds that is about to be deleted cannot be read, so that nothing can be decided about it.
    pub(super) async fn observe(
        &self,
        inventory: Vec<ObjectRef>,
        desired: &[Desired],
        scopes: &Scopes,
    ) -> Result<(Observed, Others), ObserveError> {
        let inventory = scopes.placed(inventory);
        let left: Vec<ObjectRef> = leaving(&inventory, desired).cloned().collect();
        let rendered = desired.iter().map(|desired| desired.reference.id());
        let deleted = left.iter().filter(|_| self.object.spec.prune);
        let children = self.children(deleted, &rendered.collect()).await?;
        let going: BTreeSet<NamespacedName> = children.keys().cloned().collect();
        let (mut owners, others) = self.owners(desired, scopes).await;
        let may_move = left.iter().chain(children.values().flatten());
        let rendered_elsewhere = may_move.filter_map(|object| {
            let id = object.id();
            let to = self.ownership.wanted_elsewhere(self.unit, &id, &going)?;
            Some((id, to.unit))
        });
        let observed = Observed {
            rendered_elsewhere: rendered_elsewhere.collect(),
            is_undecided: self.is_undecided(&going).await?,
            inventory,
            scope_unknown: scopes.unknown(desired.iter().map(|desired| &desired.reference)),
            children,
            owners: {
                owners.going = going;
                owners
            },
        };
        Ok((observed, others))
    }

    /// What the Kustomizations hold that are about to be deleted, and those that they hold in turn.
    async fn children(
        &self,
        deleted: impl Iterator<Item = &ObjectRef>,
        rendered: &BTreeSet<String>,
    ) -> Result<Children, ObserveError> {
        children(self.client, self.applier, deleted, |object| {
            let id = object.id();
            let nobody = BTreeSet::new();
            rendered.contains(&id)
                || self
                    .ownership
                    .wanted_elsewhere(self.unit, &id, &nobody)
                    .is_some()
        })
        .await
    }

    /// True if a deleted Kustomization holds objects that another one may want.
    async fn is_undecided(&self, going: &BTreeSet<NamespacedName>) -> Result<bool, ObserveError> {
        let Some((revision, context)) = self.deletes.filter(|_| !going.is_empty()) else {
            return Ok(false);
        };
        let deletion = PendingDeletion {
            unit: self.unit,
            source: &source_of(self.object),
            revision: Some(revision),
            objects: &[],
            going,
        };
        let undecided = undecided(context, &deletion).await;
        let undecided = undecided.map_err(|source| ObserveError {
            unit: self.unit.clone(),
            source,
        })?;
        Ok(undecided.is_some())
    }

    async fn owners(&self, desired: &[Desired], scopes: &Scopes) -> (LiveOwners, Others) {
        let applied = desired
            .iter()
            .filter(|desired| Skip::opt_out(&desired.manifest).is_none());
        let objects: Vec<&ObjectRef> = applied.map(|desired| &desired.reference).collect();
        let mut owners = LiveOwners {
            by_object: self.applier.owners(&objects).await,
            ..LiveOwners::default()
        };
        let mut others = Others::new();
        for object in objects {
            let Some(owner) = owners.other(self.unit, &object.id()).cloned() else {
                continue;
            };
            if owners.kustomizations.contains_key(&owner) {
                continue;
            }
            let other = match self.read(&owner).await {
                Ok(Some(other)) => {
                    let rendered = self.rendered(&owner, &other, scopes);
                    others.insert(owner.clone(), other);
                    rendered
                }
                Ok(None) => OtherKustomization::Gone,
                Err(error) => OtherKustomization::Unreadable(describe(&error)),
            };
            owners.kustomizations.insert(owner, other);
        }
        (owners, others)
    }

    /// Another Kustomization; `None` if it does not exist.
    async fn read(&self, name: &NamespacedName) -> Result<Option<Kustomization>, kube::Error> {
        read(self.client, name).await
    }

    /// The objects of the last build or, before the first one, those of the inventory. A Kustomization that is being
    /// deleted, or that its parent no longer renders, keeps nothing from another.
    fn rendered(
        &self,
        name: &NamespacedName,
        other: &Kustomization,
        scopes: &Scopes,
    ) -> OtherKustomization {
        if other.meta().deletion_timestamp.is_some() || self.ownership.is_dropped(name) {
            return OtherKustomization::Gone;
        }
        let built = self.ownership.rendered(name);
        OtherKustomization::Renders(built.unwrap_or_else(|| {
            let held = scopes.placed(held_by(other));
            held.iter().map(ObjectRef::id).collect()
        }))
    }
}

async fn read(
    client: &Client,
    name: &NamespacedName,
) -> Result<Option<Kustomization>, kube::Error> {
    let api: Api<Kustomization> = Api::namespaced(client.clone(), &name.namespace);
    api.get_opt(&name.name).await
}

fn held_by(object: &Kustomization) -> Vec<ObjectRef> {
    let status = object.status.as_ref();
    inventory::objects(status.and_then(|status| status.inventory.as_ref()))
}

/// What the Kustomizations among deleted objects hold, and those that they hold in turn, but for those that stay.
pub(super) async fn children(
    client: &Client,
    applier: &Applier,
    deleted: impl Iterator<Item = &ObjectRef>,
    stays: impl Fn(&ObjectRef) -> bool,
) -> Result<Children, ObserveError> {
    let mut children = Children::new();
    let units = deleted.filter(|object| !stays(object));
    let mut queue: Vec<NamespacedName> = units.filter_map(ObjectRef::unit).collect();
    while let Some(unit) = queue.pop() {
        if children.contains_key(&unit) {
            continue;
        }
        let child = read(client, &unit).await;
        let child = child.map_err(|source| ObserveError {
            unit: unit.clone(),
            source,
        })?;
        let Some(child) = child else {
            continue;
        };
        let held = match deletion_work(&child.spec, DeletionCause::Object) {
            DeletionWork::Orphan => Vec::new(),
            DeletionWork::Prune | DeletionWork::PruneAndWait => {
                going(applier, &unit, held_by(&child)).await
            }
        };
        let units = held.iter().filter(|object| !stays(object));
        queue.extend(units.filter_map(ObjectRef::unit));
        children.insert(unit, held);
    }
    Ok(children)
}

/// The objects of a Kustomization that go with it. Of objects whose deletion deletes more, the live ones tell whether they
/// are kept, such as a namespace that was there before.
pub(super) async fn going(
    applier: &Applier,
    unit: &NamespacedName,
    held: Vec<ObjectRef>,
) -> Vec<ObjectRef> {
    let mut going = Vec::new();
    let placed = applier.place(&mut [], &held).await;
    for object in placed.scopes.placed(held) {
        let is_kept = Guard::is_grave(&object)
            && match applier.get(&object).await {
                Ok(Some(live)) => Skip::of_deletion(&live, unit).is_some(),
                Ok(None) => true,
                Err(_) => false,
            };
        if !is_kept {
            going.push(object);
        }
    }
    going
}

/// A Kustomization that may want what is about to be deleted and has not said so yet.
pub(super) async fn undecided(
    context: &KustomizationContext,
    deletion: &PendingDeletion<'_>,
) -> Result<Option<Undecided>, kube::Error> {
    let all = existing(&context.client, None).await?;
    let served = match context.settings.watch_label_selector.as_deref() {
        Some(selector) => existing(&context.client, Some(selector)).await?,
        None => all.clone(),
    };
    for unit in context.claims.unknown(&served) {
        register(context, &unit).await?;
    }
    let existing = ExistingUnits { all, served };
    Ok(context.claims.undecided(deletion, &existing))
}

/// Registers a Kustomization that no watch event has told yet. One that cannot be decoded follows no source, since this
/// process never applies it.
async fn register(
    context: &KustomizationContext,
    unit: &NamespacedName,
) -> Result<(), kube::Error> {
    match read(&context.client, unit).await {
        Ok(Some(object)) => drop(follows(&context.claims, &object)),
        Ok(None) => {}
        Err(kube::Error::SerdeError(_)) => drop(context.claims.follows(unit, None)),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The Kustomizations that the API server has, but for those that are being deleted. The watch may not have told all of
/// them yet.
async fn existing(
    client: &Client,
    selector: Option<&str>,
) -> Result<BTreeSet<NamespacedName>, kube::Error> {
    let api: Api<Kustomization> = Api::all(client.clone());
    let mut params = ListParams::default().limit(500);
    if let Some(selector) = selector {
        params = params.labels(selector);
    }
    let mut names = BTreeSet::new();
    loop {
        let page = api.list_metadata(&params).await?;
        let there = page
            .items
            .iter()
            .filter(|unit| unit.metadata.deletion_timestamp.is_none());
        names.extend(there.map(name_of));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(names),
        }
    }
}

fn name_of(unit: &PartialObjectMeta<Kustomization>) -> NamespacedName {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    NamespacedName::new(text(&unit.metadata.namespace), text(&unit.metadata.name))
}

//! Talks to the API server: reads what a plan needs to know of other Kustomizations.

use std::collections::BTreeMap;

use kube::Client;
use kube::api::Api;

use overlayd_core::api::kustomization::Kustomization;
use overlayd_core::apply::desired::Desired;
use overlayd_core::apply::inventory;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::ownership::{LiveOwners, OtherKustomization, Ownership};
use overlayd_core::apply::plan::{Observed, leaving};
use overlayd_core::apply::scope::Scopes;
use overlayd_core::apply::skip::Skip;
use overlayd_core::names::NamespacedName;

use crate::cluster::apply::Applier;
use crate::cluster::error::describe;

/// The other Kustomizations that own objects of a build, as the API server has them.
pub(super) type Others = BTreeMap<NamespacedName, Kustomization>;

/// Observes the cluster for the plan of one Kustomization.
pub(super) struct Observer<'o> {
    pub(super) unit: &'o NamespacedName,
    pub(super) client: &'o Client,
    pub(super) applier: &'o Applier,
    /// The builds of all Kustomizations.
    pub(super) ownership: &'o Ownership,
}

impl Observer<'_> {
    /// What a plan for these objects depends on, and the Kustomizations that it names.
    pub(super) async fn observe(
        &self,
        inventory: Vec<ObjectRef>,
        desired: &[Desired],
        scopes: &Scopes,
    ) -> (Observed, Others) {
        let inventory = scopes.placed(inventory);
        let (owners, others) = self.owners(desired, scopes).await;
        let moved = leaving(&inventory, desired).filter_map(|object| {
            let id = object.id();
            let to = self.ownership.wanted_elsewhere(self.unit, &id)?;
            Some((id, to))
        });
        let rendered_elsewhere = moved.collect();
        let observed = Observed {
            inventory,
            owners,
            rendered_elsewhere,
            scope_unknown: scopes.unknown(desired.iter().map(|desired| &desired.reference)),
        };
        (observed, others)
    }

    async fn owners(&self, desired: &[Desired], scopes: &Scopes) -> (LiveOwners, Others) {
        let applied = desired
            .iter()
            .filter(|desired| Skip::opt_out(&desired.manifest).is_none());
        let objects: Vec<&ObjectRef> = applied.map(|desired| &desired.reference).collect();
        let mut owners = LiveOwners {
            by_object: self.applier.owners(&objects).await,
            kustomizations: BTreeMap::new(),
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

    async fn read(&self, name: &NamespacedName) -> Result<Option<Kustomization>, kube::Error> {
        let api: Api<Kustomization> = Api::namespaced(self.client.clone(), &name.namespace);
        api.get_opt(&name.name).await
    }

    /// The objects of the last build or, before the first one, those of the inventory.
    fn rendered(
        &self,
        name: &NamespacedName,
        other: &Kustomization,
        scopes: &Scopes,
    ) -> OtherKustomization {
        let built = self.ownership.rendered(name);
        OtherKustomization::Renders(built.unwrap_or_else(|| {
            let status = other.status.as_ref();
            let held = inventory::objects(status.and_then(|status| status.inventory.as_ref()));
            scopes.placed(held).iter().map(ObjectRef::id).collect()
        }))
    }
}

//! Talks to the API server: asks for the scopes and versions of kinds, before ids are made of objects.

use std::collections::BTreeMap;

use overlayd_core::api::crds;
use overlayd_core::apply::definition::over_live;
use overlayd_core::apply::desired::Desired;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::old_versions::renewed;
use overlayd_core::apply::scope::{GroupKind, Scope, Scopes};

use crate::cluster::apply::Applier;
use crate::cluster::apply::error::RequestError;

/// What was learnt when the objects of a build were given their places.
pub(crate) struct Placement {
    pub(crate) scopes: Scopes,
    /// Objects that are applied in another version than their files have, one sentence for each.
    pub(crate) renewed: Vec<String>,
}

impl Applier {
    /// Gives the objects of a build their places in the cluster, and tells the scopes of all kinds of the build and the
    /// inventory.
    pub(crate) async fn place(
        &self,
        desired: &mut [Desired],
        inventory: &[ObjectRef],
    ) -> Placement {
        let renewed = self.renew(desired).await;
        self.keep_definitions(desired).await;
        let mut scopes = Scopes::of_definitions(desired.iter());
        let objects = desired.iter().map(|desired| &desired.reference);
        let mut kinds = BTreeMap::new();
        for object in objects.chain(inventory) {
            kinds.entry(GroupKind::of(object)).or_insert(object);
        }
        for (kind, object) in kinds {
            match self.scope(object).await {
                Ok(Some(scope)) => scopes.learn(kind, scope),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(group = kind.group, kind = kind.kind, %error, "whether objects of this kind have a namespace cannot be read");
                    scopes.fail(kind);
                }
            }
        }
        for desired in desired {
            scopes.place(desired);
        }
        Placement { scopes, renewed }
    }

    /// Lets definitions of overlayd's own manifests keep what the live ones have. One that cannot be read is applied as it
    /// is: the server refuses it if it lacks a stored version.
    async fn keep_definitions(&self, desired: &mut [Desired]) {
        for desired in desired {
            let reference = &desired.reference;
            if reference.kind == "CustomResourceDefinition"
                && crds::named(&reference.name).is_some()
                && let Ok(Some(live)) = self.get(reference).await
            {
                desired.manifest = over_live(&desired.manifest, &live);
            }
        }
    }

    /// Writes objects of our kinds as the version that is served, where the server does not serve theirs. Gives one
    /// warning for each.
    async fn renew(&self, desired: &mut [Desired]) -> Vec<String> {
        let mut warnings = Vec::new();
        for desired in desired {
            let Some(renewed) = renewed(&desired.manifest) else {
                continue;
            };
            let is_served = self.kind(&desired.reference).await;
            if !matches!(is_served, Err(RequestError::NoSuchKind { .. })) {
                continue;
            }
            let old = desired.reference.api_version();
            desired.manifest = renewed;
            let new = desired.manifest["apiVersion"].as_str().unwrap_or_default();
            if let Some((_, version)) = new.split_once('/') {
                version.clone_into(&mut desired.reference.version);
            }
            let file = desired.source.as_deref().unwrap_or("the build");
            warnings.push(format!(
                "{} in `{file}` has the old version `{old}`, which is not served; it is applied as `{new}`, so change the file",
                desired.reference
            ));
        }
        warnings
    }

    /// The scope of a kind, by whichever version of it is served; none for a kind that the server does not serve.
    async fn scope(&self, object: &ObjectRef) -> Result<Option<Scope>, RequestError> {
        let kind = match self.kind(object).await {
            Err(RequestError::NoSuchKind { .. }) => {
                let Some(version) = self.served_version(object).await? else {
                    return Ok(None);
                };
                let served = ObjectRef {
                    version,
                    ..object.clone()
                };
                self.kind(&served).await
            }
            kind => kind,
        };
        let (_, is_namespaced) = kind?;
        Ok(Some(if is_namespaced {
            Scope::Namespaced
        } else {
            Scope::Cluster
        }))
    }
}

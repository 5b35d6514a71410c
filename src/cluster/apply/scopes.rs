//! Talks to the API server: asks for the scopes of kinds, before ids are made of objects.

use std::collections::BTreeMap;

use overlayd_core::apply::desired::Desired;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::scope::{GroupKind, Scope, Scopes};

use crate::cluster::apply::Applier;
use crate::cluster::apply::error::RequestError;

impl Applier {
    /// Gives the objects of a build their places in the cluster, and tells the scopes of all kinds of the build and the
    /// inventory.
    pub(crate) async fn place(&self, desired: &mut [Desired], inventory: &[ObjectRef]) -> Scopes {
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
        scopes
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

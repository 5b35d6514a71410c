//! Talks to the API server: what there is of overlayd in a cluster, and the steps by which it leaves.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::{Client, ResourceExt as _};
use overlayd_core::api::annotations::{EXTERNAL_SECRET_FINALIZER, FLUX_FINALIZER, STORE_FINALIZER};
use overlayd_core::api::kustomization::Kustomization;
use overlayd_core::api::{
    EXTERNAL_SECRETS_API, GIT_REPOSITORY_API, KUSTOMIZATION_API, RECEIVER_API,
};
use overlayd_core::apply::inventory;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::names::NamespacedName;
use overlayd_core::uninstall::{Installation, UninstallStep};
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::apply::{Applier, FIELD_MANAGER, RequestError};
use crate::cluster::error::is_not_found;

/// The label of everything in `base/`.
const OURS: &str = "app.kubernetes.io/part-of=overlayd";
/// How long the pods of the daemon may take to end.
const STOP: Duration = Duration::from_secs(120);
/// The kinds of `base/` besides the Deployment. Definitions, namespaces and custom resources stay.
const INSTALLED: [(&str, &str, &str); 10] = [
    ("v1", "ServiceAccount", "serviceaccounts"),
    ("v1", "Service", "services"),
    ("v1", "ConfigMap", "configmaps"),
    ("rbac.authorization.k8s.io/v1", "Role", "roles"),
    (
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        "rolebindings",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        "clusterroles",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
    ),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    ("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses"),
];
/// The custom resources with the finalizer that the peers and overlayd put on them.
const HELD: [(&str, &str, &str, &str); 6] = [
    (
        KUSTOMIZATION_API,
        "Kustomization",
        "kustomizations",
        FLUX_FINALIZER,
    ),
    (
        GIT_REPOSITORY_API,
        "GitRepository",
        "gitrepositories",
        FLUX_FINALIZER,
    ),
    (RECEIVER_API, "Receiver", "receivers", FLUX_FINALIZER),
    (
        EXTERNAL_SECRETS_API,
        "ExternalSecret",
        "externalsecrets",
        EXTERNAL_SECRET_FINALIZER,
    ),
    (
        EXTERNAL_SECRETS_API,
        "SecretStore",
        "secretstores",
        STORE_FINALIZER,
    ),
    (
        EXTERNAL_SECRETS_API,
        "ClusterSecretStore",
        "clustersecretstores",
        STORE_FINALIZER,
    ),
];

/// Observes and removes the installation in one namespace.
pub(crate) struct Uninstaller {
    client: Client,
    applier: Applier,
    namespace: String,
}

/// Why a step could not be taken, or the cluster not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UninstallError {
    /// The API server refuses a request, or does not answer.
    #[error("{}", crate::cluster::error::describe(.0))]
    Api(#[from] kube::Error),
    /// An object cannot be read or changed.
    #[error(transparent)]
    Object(#[from] RequestError),
    /// The daemon still works, so nothing after it can be taken away safely.
    #[error("its pods did not end within {} s", STOP.as_secs())]
    StillRunning,
}

impl Uninstaller {
    /// An uninstaller of the overlayd in this namespace. No request is sent.
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self {
            applier: Applier::new(client.clone(), FIELD_MANAGER),
            client,
            namespace: namespace.to_owned(),
        }
    }

    /// What there is now.
    pub(crate) async fn observe(&self) -> Result<Installation, UninstallError> {
        let mut there = Installation {
            deployments: self
                .installed(("apps/v1", "Deployment", "deployments"))
                .await?,
            ..Installation::default()
        };
        for kind in INSTALLED {
            there.others.extend(self.installed(kind).await?);
        }
        for (api_version, kind, plural, finalizer) in HELD {
            for object in self.list((api_version, kind, plural), "").await? {
                if object.finalizers().iter().any(|name| name == finalizer) {
                    let reference = reference(api_version, kind, &object);
                    there.held.push((reference, finalizer.to_owned()));
                }
            }
        }
        there.secrets = self.owned_secrets().await?;
        there.applied = self.applied().await?;
        Ok(there)
    }

    /// The objects of a kind with the labels of our manifests: of the cluster, and of the namespace of this overlayd.
    async fn installed(&self, kind: (&str, &str, &str)) -> Result<Vec<ObjectRef>, UninstallError> {
        let objects = self.list(kind, OURS).await?;
        let objects = objects.iter().filter(|object| {
            let namespace = object.namespace();
            namespace.is_none_or(|namespace| namespace == self.namespace)
        });
        Ok(objects
            .map(|object| reference(kind.0, kind.1, object))
            .collect())
    }

    /// The objects of a kind in all namespaces; none of a kind that is not served.
    async fn list(
        &self,
        (api_version, kind, plural): (&str, &str, &str),
        labels: &str,
    ) -> Result<Vec<DynamicObject>, UninstallError> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        match api.list(&ListParams::default().labels(labels)).await {
            Ok(list) => Ok(list.items),
            Err(error) if is_not_found(&error) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// The Secrets whose controller is an ExternalSecret.
    async fn owned_secrets(&self) -> Result<Vec<(NamespacedName, String)>, UninstallError> {
        let api: Api<Secret> = Api::all(self.client.clone());
        let list = api.list_metadata(&ListParams::default()).await?;
        let owned = list.items.iter().flat_map(|secret| {
            let owners = secret.owner_references().iter();
            let owners = owners.filter(|owner| owner.kind == "ExternalSecret");
            owners.map(move |owner| (NamespacedName::of(secret), owner.uid.clone()))
        });
        Ok(owned.collect())
    }

    /// The objects of all inventories in which overlayd owns fields.
    async fn applied(&self) -> Result<Vec<ObjectRef>, UninstallError> {
        let api: Api<Kustomization> = Api::all(self.client.clone());
        let units = match api.list(&ListParams::default()).await {
            Ok(units) => units.items,
            Err(error) if is_not_found(&error) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut applied = Vec::new();
        for unit in units {
            let status = unit.status.as_ref();
            for object in inventory::objects(status.and_then(|status| status.inventory.as_ref())) {
                if self.applier.owns_fields(&object).await? {
                    applied.push(object);
                }
            }
        }
        Ok(applied)
    }

    /// Takes one step. A step that was taken before does nothing.
    pub(crate) async fn take(&self, step: &UninstallStep) -> Result<(), UninstallError> {
        match step {
            UninstallStep::Delete(object) => {
                let api = self.applier.api(object).await?;
                let deleted = api.delete(&object.name, &DeleteParams::background()).await;
                unless_gone(deleted.map(drop))
            }
            UninstallStep::AwaitStop(deployment) => self.await_stop(deployment).await,
            UninstallStep::HandOver(object, to) => Ok(self.applier.hand_over(object, to).await?),
            UninstallStep::Release(secret, uid) => self.release(secret, uid).await,
            UninstallStep::RemoveFinalizer(object, name) => {
                self.remove_finalizer(object, name).await
            }
        }
    }

    /// Waits until no pod of the Deployment is left.
    async fn await_stop(&self, deployment: &ObjectRef) -> Result<(), UninstallError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &deployment.namespace);
        let ours = format!("app.kubernetes.io/name={}", deployment.name);
        let (params, deadline) = (ListParams::default().labels(&ours), Instant::now() + STOP);
        while !pods.list_metadata(&params).await?.items.is_empty() {
            if Instant::now() >= deadline {
                return Err(UninstallError::StillRunning);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    /// Takes an owner away from a Secret, so that the Secret outlives its ExternalSecret. The resource version guards
    /// against another writer.
    async fn release(&self, secret: &NamespacedName, uid: &str) -> Result<(), UninstallError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &secret.namespace);
        let Some(live) = api.get_metadata_opt(&secret.name).await? else {
            return Ok(());
        };
        let live: PartialObjectMeta<Secret> = live;
        let owners = live.owner_references().iter();
        let others: Vec<_> = owners.filter(|owner| owner.uid != uid).collect();
        let patch = json!({"metadata": {"ownerReferences": others, "resourceVersion": live.resource_version()}});
        let params = PatchParams::default();
        let patched = api
            .patch_metadata(&secret.name, &params, &Patch::Merge(&patch))
            .await;
        unless_gone(patched.map(drop))
    }

    /// Removes one finalizer, and leaves those of others.
    async fn remove_finalizer(&self, object: &ObjectRef, name: &str) -> Result<(), UninstallError> {
        let api = self.applier.api(object).await?;
        let Some(live) = api.get_metadata_opt(&object.name).await? else {
            return Ok(());
        };
        let others = live.finalizers().iter().filter(|other| *other != name);
        let others: Vec<&String> = others.collect();
        let patch =
            json!({"metadata": {"finalizers": others, "resourceVersion": live.resource_version()}});
        let params = PatchParams::default();
        let patched = api
            .patch_metadata(&object.name, &params, &Patch::Merge(&patch))
            .await;
        unless_gone(patched.map(drop))
    }
}

/// A result for which an object that is gone is none to be changed.
fn unless_gone(result: Result<(), kube::Error>) -> Result<(), UninstallError> {
    match result {
        Err(error) if is_not_found(&error) => Ok(()),
        result => Ok(result?),
    }
}

/// The reference of a listed object, whose list names the kind.
fn reference(api_version: &str, kind: &str, object: &DynamicObject) -> ObjectRef {
    let namespace = object.namespace().unwrap_or_default();
    ObjectRef::new(api_version, kind, &namespace, &object.name_any())
}

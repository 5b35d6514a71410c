//! The context that every reconcile function is given: clients, caches and settings.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::aws::Fetcher;
use crate::cluster::impersonation::Identities;
use crate::controllers::builds::Builds;
use crate::controllers::caches::Caches;
use crate::controllers::events::Events;
use crate::controllers::kustomization::rollouts::PendingRollouts;
use crate::controllers::rotation::Rotations;
use crate::controllers::sources::Sources;
use crate::daemon::metrics::Metrics;
use crate::daemon::web::Hooks;
use crate::git::Mirrors;
use crate::permits::{FairSemaphore, KeyedSemaphores};
use crate::secrets::provider::Providers;
use overlayd_core::api::secret_store::SecretStoreSpec;
use overlayd_core::apply::ownership::Ownership;
use overlayd_core::apply::unit_settings::UnitDefaults;
use overlayd_core::apply::written_status::WrittenStatuses;
use overlayd_core::kustomization::dependencies::Dependencies;
use overlayd_core::reconcile_cache::ReconcileCache;
use overlayd_core::render::variable_index::VariableIndex;
use overlayd_core::schedule::jittered;
use overlayd_core::secrets::dependency_index::DependencyIndex;
use overlayd_core::secrets::last_sync::LastSyncCache;
use overlayd_core::secrets::observed::Urgency;

/// The field manager of statuses.
pub(crate) const STATUS_MANAGER: &str = "overlayd-status";

/// Clients, caches and settings. One is made at the start, and all controllers share it.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) events: Events,
    pub(crate) reconcile_cache: ReconcileCache,
    pub(crate) caches: Caches,
    pub(crate) dependency_index: Arc<DependencyIndex>,
    pub(crate) last_syncs: LastSyncCache,
    /// Bounds how many ExternalSecrets are synced at once, shared between namespaces.
    pub(crate) sync_permits: FairSemaphore<Urgency>,
    /// The same for each store.
    pub(crate) store_permits: KeyedSemaphores<Urgency>,
    /// Bounds how many threads are blocked by long templates, shared between namespaces.
    pub(crate) blocking_permits: FairSemaphore,
    pub(crate) sources: Sources,
    pub(crate) mirrors: Arc<Mirrors>,
    pub(crate) builds: Arc<Builds>,
    pub(crate) rollouts: PendingRollouts,
    /// The ConfigMaps and Secrets that Kustomizations read for their variables.
    pub(crate) variables: Arc<VariableIndex>,
    pub(crate) hooks: Arc<Hooks>,
    /// Statuses of Kustomizations that were written and that the watch has not brought yet.
    pub(crate) written: Arc<WrittenStatuses>,
    /// Which Kustomization wants which objects.
    pub(crate) claims: Arc<Ownership>,
    pub(crate) dependencies: Arc<Dependencies>,
    pub(crate) identities: Identities,
    pub(crate) providers: Providers,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) rotations: Rotations,
    /// When this process began.
    pub(crate) started: std::time::Instant,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Settings,
}

/// The settings that the flags give.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The namespace of this process.
    pub(crate) own_namespace: String,
    /// The first and the longest wait after failed fetches of a source.
    pub(crate) source_backoff: (Duration, Duration),
    /// The interval at which stores are validated.
    pub(crate) store_interval: Duration,
    /// The class of stores that this process serves.
    pub(crate) controller_class: String,
    /// The service account that is impersonated for Kustomizations that name none. Without it, the daemon applies them
    /// with its own rights.
    pub(crate) default_service_account: Option<String>,
    /// The settings of a Kustomization whose annotations do not set them.
    pub(crate) unit_defaults: UnitDefaults,
    /// Objects may not refer to objects of other namespaces.
    pub(crate) no_cross_namespace_refs: bool,
    /// The wait before a dependency is looked at again, where no event comes first.
    pub(crate) requeue_dependency: Duration,
    /// The share by which intervals are spread, earlier or later.
    pub(crate) jitter_percent: u8,
    /// Kinds that are applied in a stage of their own before the rest.
    pub(crate) stage_kinds: Vec<String>,
    /// The interval at which the time of the last refresh is written where nothing else has changed; `None` for never.
    pub(crate) status_heartbeat: Option<Duration>,
    /// The delimiters of the actions of templates.
    pub(crate) template_delimiters: (String, String),
    /// Only stores that are ready are read.
    pub(crate) flood_gate: bool,
    /// ClusterSecretStores are served.
    pub(crate) cluster_stores: bool,
    /// The most bytes that the mirrors of one namespace's sources take on the disk; `None` for no bound.
    pub(crate) namespace_disk_quota: Option<u64>,
}

impl Settings {
    /// The interval of this object, spread so that objects of equal intervals do not reconcile together.
    pub(crate) fn jittered<K: Resource>(&self, interval: Duration, object: &K) -> Duration {
        jittered(interval, self.jitter_percent, seed(object))
    }

    /// True for a store that this process serves.
    pub(crate) fn serves(&self, store: &SecretStoreSpec) -> bool {
        self.serves_class(store.controller.as_deref().unwrap_or_default())
    }

    /// True for a class of stores and generators that this process serves.
    pub(crate) fn serves_class(&self, class: &str) -> bool {
        class.is_empty() || class == self.controller_class
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            own_namespace: "external-secrets".to_owned(),
            source_backoff: (Duration::from_millis(750), Duration::from_secs(15 * 60)),
            store_interval: Duration::from_secs(300),
            controller_class: "default".to_owned(),
            default_service_account: None,
            unit_defaults: UnitDefaults::default(),
            no_cross_namespace_refs: false,
            requeue_dependency: Duration::from_secs(30),
            jitter_percent: 5,
            stage_kinds: Vec::new(),
            status_heartbeat: None,
            template_delimiters: ("{{".to_owned(), "}}".to_owned()),
            flood_gate: true,
            cluster_stores: true,
            namespace_disk_quota: None,
        }
    }
}

impl Context {
    /// The API of a namespaced kind, where the object is.
    pub(crate) fn api_of<K>(&self, object: &K) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }

    /// The Secrets of an object's namespace.
    pub(crate) fn secrets_of<K: Resource>(&self, object: &K) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }

    /// Writes a status whole, in one request.
    pub(crate) async fn write_status<K, S>(
        &self,
        api: &Api<K>,
        object: &K,
        status: &S,
    ) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
        S: Serialize + Sync,
    {
        let written = self.write_status_at(api, object, status).await;
        written.map(drop)
    }

    /// The same. Gives the resource version after the write.
    pub(crate) async fn write_status_at<K, S>(
        &self,
        api: &Api<K>,
        object: &K,
        status: &S,
    ) -> Result<Option<String>, kube::Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
        S: Serialize + Sync,
    {
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": object.name_any()},
            "status": status,
        });
        let params = PatchParams::apply(STATUS_MANAGER).force();
        api.patch_status(&object.name_any(), &params, &Patch::Apply(&patch))
            .await
            .map(|written| written.resource_version())
    }

    /// Adds or removes one finalizer, guarded by the resource version.
    pub(crate) async fn set_finalizer<K>(
        &self,
        api: &Api<K>,
        object: &K,
        name: &str,
        present: bool,
    ) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut finalizers = object.finalizers().to_vec();
        if finalizers.iter().any(|finalizer| finalizer == name) == present {
            return Ok(());
        }
        if present {
            finalizers.push(name.to_owned());
        } else {
            finalizers.retain(|finalizer| finalizer != name);
        }
        let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": object.resource_version()}});
        api.patch(
            &object.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await
        .map(drop)
    }
}

/// A number that differs between objects, for jitter.
fn seed<K: Resource>(object: &K) -> u64 {
    let uid = object.meta().uid.clone().unwrap_or_default();
    uid.bytes().fold(1469, |seed, byte| {
        seed.wrapping_mul(131).wrapping_add(u64::from(byte))
    })
}

/// The key of an object in caches: its kind, namespace and name.
pub(crate) fn memory_key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let meta = object.meta();
    format!(
        "{}/{}/{}",
        K::kind(&()),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default()
    )
}

//! What the controller of `ExternalSecret` objects works with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;

use crate::aws::Fetcher;
use crate::controllers::caches::Caches;
use crate::controllers::events::Events;
use crate::controllers::jitter::Jitter;
use crate::controllers::stores::ControllerClass;
use crate::metrics::Metrics;
use crate::permits::{FairSemaphore, KeyedSemaphores};
use crate::secrets::provider::Providers;
use overlayd_core::reconcile_cache::ReconcileCache;
use overlayd_core::secrets::dependency_index::DependencyIndex;
use overlayd_core::secrets::last_sync::LastSyncCache;
use overlayd_core::secrets::observed::Urgency;

/// Clients, caches, permits and settings of the controller.
pub(crate) struct ExternalSecretContext {
    pub(crate) client: Client,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reconcile_cache: Arc<ReconcileCache>,
    /// Stores, namespaces and managed Secrets, as the watches saw them last.
    pub(crate) caches: Caches,
    pub(crate) dependency_index: Arc<DependencyIndex>,
    pub(crate) last_syncs: LastSyncCache,
    /// Bounds how many ExternalSecrets are synced at once, shared between namespaces.
    pub(crate) sync_permits: FairSemaphore<Urgency>,
    /// The same for each store.
    pub(crate) store_permits: Arc<KeyedSemaphores<Urgency>>,
    /// Bounds how many threads are blocked by long templates, shared between namespaces.
    pub(crate) blocking_permits: FairSemaphore,
    pub(crate) providers: Arc<Providers>,
    pub(crate) fetcher: Arc<Fetcher>,
    /// When this process began. A store that has no condition yet gets some time after that.
    pub(crate) started: Instant,
    pub(crate) settings: ExternalSecretSettings,
}

/// What the flags say about ExternalSecrets.
#[derive(Debug, Clone)]
pub(crate) struct ExternalSecretSettings {
    /// The class of stores and generators that this process serves.
    pub(crate) class: ControllerClass,
    /// ClusterSecretStores are served.
    pub(crate) cluster_stores: bool,
    /// Only stores that are ready are read.
    pub(crate) flood_gate: bool,
    /// The interval at which the time of the last refresh is written where nothing else has changed; `None` for never.
    pub(crate) status_heartbeat: Option<Duration>,
    /// The delimiters of the actions of templates.
    pub(crate) template_delimiters: (String, String),
    pub(crate) jitter: Jitter,
}

//! What the controller of `GitRepository` objects works with.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;

use crate::controllers::events::Events;
use crate::controllers::jitter::Jitter;
use crate::controllers::sources::Sources;
use crate::git::Mirrors;
use crate::metrics::Metrics;
use overlayd_core::reconcile_cache::ReconcileCache;

/// Clients, caches and settings of the controller.
pub(crate) struct GitRepositoryContext {
    pub(crate) client: Client,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reconcile_cache: Arc<ReconcileCache>,
    /// The commits in service. This controller puts them there, and the users of a source read them.
    pub(crate) sources: Arc<Sources>,
    pub(crate) mirrors: Arc<Mirrors>,
    pub(crate) settings: SourceSettings,
}

/// What the flags say about sources.
#[derive(Debug, Clone)]
pub(crate) struct SourceSettings {
    /// The first and the longest wait after failed fetches in a row.
    pub(crate) backoff: (Duration, Duration),
    /// The wait before an included source that is missing is looked at again, where no event comes first.
    pub(crate) requeue_dependency: Duration,
    pub(crate) jitter: Jitter,
    /// The most bytes that the mirrors of one namespace's sources take on the disk; `None` for no bound.
    pub(crate) namespace_disk_quota: Option<u64>,
}

//! What the controller of `Kustomization` objects works with.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;

use crate::cluster::impersonation::Identities;
use crate::controllers::builds::Builds;
use crate::controllers::caches::Namespaces;
use crate::controllers::events::Events;
use crate::controllers::jitter::Jitter;
use crate::controllers::kustomization::rollouts::PendingRollouts;
use crate::controllers::sources::Sources;
use crate::metrics::Metrics;
use overlayd_core::apply::ownership::Ownership;
use overlayd_core::apply::unit_settings::UnitDefaults;
use overlayd_core::apply::written_status::WrittenStatuses;
use overlayd_core::kustomization::dependencies::Dependencies;
use overlayd_core::reconcile_cache::ReconcileCache;
use overlayd_core::render::variable_index::VariableIndex;

/// Clients, caches and settings of the controller.
pub(crate) struct KustomizationContext {
    pub(crate) client: Client,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reconcile_cache: Arc<ReconcileCache>,
    /// The commits in service.
    pub(crate) sources: Arc<Sources>,
    pub(crate) builds: Arc<Builds>,
    pub(crate) rollouts: PendingRollouts,
    /// The ConfigMaps and Secrets that Kustomizations read for their variables.
    pub(crate) variables: Arc<VariableIndex>,
    /// Statuses that were written and that the watch has not brought yet.
    pub(crate) written: WrittenStatuses,
    /// Which Kustomization wants which objects.
    pub(crate) claims: Arc<Ownership>,
    pub(crate) dependencies: Dependencies,
    /// The identities that objects are applied as, and the watches of what was applied.
    pub(crate) identities: Identities,
    pub(crate) namespaces: Namespaces,
    pub(crate) settings: KustomizationSettings,
}

/// What the flags say about Kustomizations.
#[derive(Debug, Clone)]
pub(crate) struct KustomizationSettings {
    /// The namespace of this process, which no plan deletes.
    pub(crate) own_namespace: String,
    /// The service account that is impersonated for Kustomizations that name none. Without it, the daemon applies them
    /// with its own rights.
    pub(crate) default_service_account: Option<String>,
    /// The settings of a Kustomization whose annotations do not set them.
    pub(crate) unit_defaults: UnitDefaults,
    /// A source of another namespace is refused.
    pub(crate) no_cross_namespace_refs: bool,
    /// The label selector of the sources and Kustomizations that this process serves; `None` for all.
    pub(crate) watch_label_selector: Option<String>,
    /// Kinds that are applied in a stage of their own before the rest.
    pub(crate) stage_kinds: Vec<String>,
    /// The wait before a dependency is looked at again, where no event comes first.
    pub(crate) requeue_dependency: Duration,
    pub(crate) jitter: Jitter,
}

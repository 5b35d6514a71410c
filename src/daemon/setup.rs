//! Makes what the daemon consists of, before anything runs: a context for each controller, and what the tasks take their work
//! from.

use std::sync::Arc;

use kube::Client;

use crate::aws::{AwsEnvironment, Fetcher, Sessions, WakeUps};
use crate::cli::config::Config;
use crate::cluster::apply::ApplierConfig;
use crate::cluster::impersonation::Identities;
use crate::controllers::builds::Builds;
use crate::controllers::caches::{self, Caches, WatchContext, Writers};
use crate::controllers::cost::CostContext;
use crate::controllers::events::Events;
use crate::controllers::external_secret::ExternalSecretContext;
use crate::controllers::git_repository::GitRepositoryContext;
use crate::controllers::kustomization::KustomizationContext;
use crate::controllers::kustomization::rollouts::PendingRollouts;
use crate::controllers::receiver::ReceiverContext;
use crate::controllers::rotation::Rotations;
use crate::controllers::rotation_listeners::RotationContext;
use crate::controllers::secret_store::SecretStoreContext;
use crate::controllers::sources::Sources;
use crate::controllers::{FailureReporter, event_webhook};
use crate::daemon::memory_limit;
use crate::git::{Mirrors, Remotes};
use crate::metrics::Metrics;
use crate::permits::{FairSemaphore, KeyedSemaphores};
use crate::secrets::provider::Providers;
use crate::tasks::{self, Supervisor};
use overlayd_core::apply::written_status::WrittenStatuses;
use overlayd_core::build_memory::MemoryPlan;
use overlayd_core::fair_queue::Shares;
use overlayd_core::kustomization::dependencies::Dependencies;
use overlayd_core::reconcile_cache::ReconcileCache;
use overlayd_core::secrets::dependency_index::DependencyIndex;
use overlayd_core::secrets::last_sync::LastSyncCache;
use overlayd_core::secrets::observed::Urgency;

/// Templates that are long block a thread; more of them at once would only share the same processors.
/// One namespace leaves one for the others.
const BLOCKING_TEMPLATES: Shares = Shares {
    total: 4,
    of_one: 3,
};

/// How many ExternalSecrets are synced at once: so many in all, three quarters of them in one namespace.
fn sync_shares(concurrent: usize) -> Shares {
    Shares {
        total: concurrent,
        of_one: (concurrent * 3).div_ceil(4),
    }
}

/// How many of them read one store: three quarters, and half for one namespace.
fn store_shares(concurrent: usize) -> Shares {
    Shares {
        total: (concurrent * 3).div_ceil(4),
        of_one: concurrent.div_ceil(2),
    }
}

/// What the tasks of the daemon take their work from. Each part is taken by one task.
pub(super) struct TaskInputs {
    /// Fill the caches.
    pub(super) writers: Writers,
    /// What the reading of secrets has to report.
    pub(super) wake_ups: WakeUps,
    /// Nothing, if events are not posted.
    pub(super) posts: Option<event_webhook::Waiting>,
    /// Runs the watches of what was applied.
    pub(super) supervisor: Supervisor,
    /// The listeners of rotation queues.
    pub(super) rotations: RotationContext,
    /// The measurement of costs.
    pub(super) costs: CostContext,
}

/// The name of this replica: the name of its pod.
pub(super) fn instance() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "overlayd".to_owned())
}

/// What flags say of every apply.
fn applier_config(config: &Config) -> ApplierConfig {
    ApplierConfig {
        concurrency: usize::from(config.concurrent_ssa),
        override_managers: config.override_managers.clone(),
    }
}

/// What the controllers and the tasks beside them work with: for each only what it uses.
pub(super) struct Contexts {
    /// The daemon's own client.
    pub(super) client: Client,
    pub(super) metrics: Arc<Metrics>,
    /// Shared by all controllers.
    pub(super) reporter: Arc<FailureReporter>,
    /// The watches whose events wake ExternalSecrets.
    pub(super) watches: WatchContext,
    pub(super) git_repositories: Arc<GitRepositoryContext>,
    pub(super) kustomizations: Arc<KustomizationContext>,
    pub(super) secret_stores: Arc<SecretStoreContext>,
    pub(super) external_secrets: Arc<ExternalSecretContext>,
    pub(super) receivers: Arc<ReceiverContext>,
}

/// The parts that several controllers share.
struct SharedParts {
    client: Client,
    metrics: Arc<Metrics>,
    events: Events,
    reconcile_cache: Arc<ReconcileCache>,
    caches: Caches,
    sources: Arc<Sources>,
    mirrors: Arc<Mirrors>,
    dependency_index: Arc<DependencyIndex>,
    store_permits: Arc<KeyedSemaphores<Urgency>>,
    providers: Arc<Providers>,
    fetcher: Arc<Fetcher>,
    rotations: Arc<Rotations>,
}

/// How caches and builds share the memory of the process.
fn memory_plan(config: &Config) -> MemoryPlan {
    let limit = memory_limit::of_process();
    let cache = u64::try_from(config.document_cache_bytes).unwrap_or(u64::MAX);
    let plan = MemoryPlan::new(limit, cache, config.build_memory_bytes);
    tracing::info!(
        limit_mib = limit.map(|bytes| bytes >> 20),
        builds_mib = plan.builds.total() >> 20,
        cache_mib = plan.cache_text_bytes >> 20,
        "memory is shared by builds and the cache of documents"
    );
    plan
}

/// Makes the contexts of all controllers.
pub(super) fn contexts(
    client: Client,
    connection: kube::Config,
    metrics: Arc<Metrics>,
    config: &Config,
) -> (Contexts, TaskInputs) {
    let (caches, writers) = caches::caches();
    let (poster, posts) = event_webhook::poster();
    let (spawner, supervisor) = tasks::supervisor();
    let wants_posts = config.events_address.is_some();
    let sessions = Sessions::new(AwsEnvironment::of_process(), Some(client.clone()));
    let (fetcher, wake_ups) = Fetcher::new(sessions, metrics.clone());
    let concurrent_secrets = usize::from(config.concurrent_secrets);
    let shared = SharedParts {
        events: Events::new(&client, &instance(), wants_posts.then_some(poster)),
        reconcile_cache: Arc::default(),
        caches,
        sources: Arc::default(),
        mirrors: Arc::new(Mirrors::new(config.mirrors.clone(), config.max_fetch_bytes)),
        dependency_index: Arc::default(),
        store_permits: Arc::new(KeyedSemaphores::new(store_shares(concurrent_secrets))),
        providers: Arc::new(Providers::new(fetcher.clone(), config.store_auth)),
        fetcher,
        rotations: Arc::new(Rotations::new(config.rotation_queue.clone())),
        metrics: metrics.clone(),
        client: client.clone(),
    };
    let applier = applier_config(config);
    let identities = Identities::new(connection, &client, metrics, applier, spawner);
    let kustomizations = kustomizations(&shared, identities, config);
    let inputs = TaskInputs {
        writers,
        wake_ups,
        posts: wants_posts.then_some(posts),
        supervisor,
        rotations: rotations(&shared, config),
        costs: costs(&shared),
    };
    let contexts = Contexts {
        reporter: Arc::new(FailureReporter {
            client: client.clone(),
            events: shared.events.clone(),
            metrics: shared.metrics.clone(),
        }),
        watches: watches(&shared, &kustomizations),
        git_repositories: Arc::new(git_repositories(&shared, config)),
        kustomizations: Arc::new(kustomizations),
        secret_stores: Arc::new(secret_stores(&shared, config)),
        external_secrets: Arc::new(external_secrets(&shared, config)),
        receivers: Arc::new(ReceiverContext {
            client: client.clone(),
            metrics: shared.metrics.clone(),
            addresses: Arc::default(),
        }),
        metrics: shared.metrics,
        client,
    };
    (contexts, inputs)
}

/// The context of the controller of sources.
fn git_repositories(shared: &SharedParts, config: &Config) -> GitRepositoryContext {
    GitRepositoryContext {
        client: shared.client.clone(),
        events: shared.events.clone(),
        metrics: shared.metrics.clone(),
        reconcile_cache: shared.reconcile_cache.clone(),
        sources: shared.sources.clone(),
        mirrors: shared.mirrors.clone(),
        settings: config.sources.clone(),
    }
}

/// The context of the controller of Kustomizations.
fn kustomizations(
    shared: &SharedParts,
    identities: Identities,
    config: &Config,
) -> KustomizationContext {
    let remotes = config
        .allow_remote_bases
        .then(|| Remotes::of_tenants(shared.mirrors.clone(), &config.remote_base_hosts));
    KustomizationContext {
        client: shared.client.clone(),
        events: shared.events.clone(),
        metrics: shared.metrics.clone(),
        reconcile_cache: shared.reconcile_cache.clone(),
        sources: shared.sources.clone(),
        builds: Arc::new(Builds::new(memory_plan(config), remotes)),
        rollouts: PendingRollouts::default(),
        variables: Arc::default(),
        written: WrittenStatuses::default(),
        claims: Arc::default(),
        dependencies: Dependencies::default(),
        identities,
        namespaces: shared.caches.namespaces.clone(),
        settings: config.kustomizations.clone(),
    }
}

/// The context of both controllers of stores.
fn secret_stores(shared: &SharedParts, config: &Config) -> SecretStoreContext {
    SecretStoreContext {
        client: shared.client.clone(),
        events: shared.events.clone(),
        metrics: shared.metrics.clone(),
        reconcile_cache: shared.reconcile_cache.clone(),
        store_permits: shared.store_permits.clone(),
        providers: shared.providers.clone(),
        rotations: shared.rotations.clone(),
        settings: config.stores.clone(),
    }
}

/// The context of the controller of ExternalSecrets.
fn external_secrets(shared: &SharedParts, config: &Config) -> ExternalSecretContext {
    ExternalSecretContext {
        client: shared.client.clone(),
        events: shared.events.clone(),
        metrics: shared.metrics.clone(),
        reconcile_cache: shared.reconcile_cache.clone(),
        caches: shared.caches.clone(),
        dependency_index: shared.dependency_index.clone(),
        last_syncs: LastSyncCache::default(),
        sync_permits: FairSemaphore::new(sync_shares(usize::from(config.concurrent_secrets))),
        store_permits: shared.store_permits.clone(),
        blocking_permits: FairSemaphore::new(BLOCKING_TEMPLATES),
        providers: shared.providers.clone(),
        fetcher: shared.fetcher.clone(),
        started: std::time::Instant::now(),
        settings: config.external_secrets.clone(),
    }
}

/// What the watches for the controllers of secrets wake.
fn watches(shared: &SharedParts, kustomizations: &KustomizationContext) -> WatchContext {
    WatchContext {
        client: shared.client.clone(),
        dependency_index: shared.dependency_index.clone(),
        variables: kustomizations.variables.clone(),
        applied: kustomizations.identities.live().clone(),
        fetcher: shared.fetcher.clone(),
        reconcile_cache: shared.reconcile_cache.clone(),
        rotations: shared.rotations.clone(),
    }
}

/// What the listeners of rotation queues work with.
fn rotations(shared: &SharedParts, config: &Config) -> RotationContext {
    RotationContext {
        events: shared.events.clone(),
        metrics: shared.metrics.clone(),
        caches: shared.caches.clone(),
        fetcher: shared.fetcher.clone(),
        rotations: shared.rotations.clone(),
        class: config.external_secrets.class.clone(),
        cluster_stores: config.external_secrets.cluster_stores,
    }
}

/// What the cost of stores is measured by.
fn costs(shared: &SharedParts) -> CostContext {
    CostContext {
        metrics: shared.metrics.clone(),
        fetcher: shared.fetcher.clone(),
        dependency_index: shared.dependency_index.clone(),
    }
}

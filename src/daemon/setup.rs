//! Makes what the daemon consists of, before anything runs: the shared context, and what its tasks take their work from.

use std::sync::Arc;

use kube::Client;

use crate::aws::{AwsEnvironment, Fetcher, Sessions, WakeUps};
use crate::cli::config::Config;
use crate::cluster::apply::ApplierConfig;
use crate::cluster::impersonation::Identities;
use crate::controllers::Context;
use crate::controllers::builds::Builds;
use crate::controllers::caches::{self, Writers};
use crate::controllers::event_webhook;
use crate::controllers::events::Events;
use crate::controllers::kustomization::rollouts::PendingRollouts;
use crate::controllers::rotation::Rotations;
use crate::controllers::sources::Sources;
use crate::daemon::metrics::Metrics;
use crate::git::{Mirrors, Remotes};
use crate::permits::{FairSemaphore, KeyedSemaphores};
use crate::secrets::provider::Providers;
use crate::tasks::{self, Supervisor};
use overlayd_core::fair_queue::Shares;
use overlayd_core::git::source::LocalRepositories;
use overlayd_core::reconcile_cache::ReconcileCache;
use overlayd_core::secrets::last_sync::LastSyncCache;

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
    pub(super) writers: Writers,
    pub(super) wake_ups: WakeUps,
    /// Nothing, if events are not posted.
    pub(super) posts: Option<event_webhook::Waiting>,
    /// Runs the watches of what was applied.
    pub(super) supervisor: Supervisor,
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

/// Makes the context of all controllers.
pub(super) fn context(
    client: Client,
    connection: kube::Config,
    metrics: Arc<Metrics>,
    config: &Config,
) -> (Arc<Context>, TaskInputs) {
    let (caches, writers) = caches::caches();
    let (poster, posts) = event_webhook::poster();
    let (spawner, supervisor) = tasks::supervisor();
    let wants_posts = config.events_address.is_some();
    let sessions = Sessions::new(AwsEnvironment::of_process(), Some(client.clone()));
    let (fetcher, wake_ups) = Fetcher::new(sessions, metrics.clone());
    let applier = applier_config(config);
    let mirrors = Arc::new(Mirrors::new(config.mirrors.clone(), config.max_fetch_bytes));
    let remotes = config
        .allow_remote_bases
        .then(|| Remotes::new(mirrors.clone(), LocalRepositories::Refused));
    let concurrent_secrets = usize::from(config.concurrent_secrets);
    let context = Arc::new(Context {
        caches,
        dependency_index: Arc::default(),
        last_syncs: LastSyncCache::default(),
        sync_permits: FairSemaphore::new(sync_shares(concurrent_secrets)),
        store_permits: KeyedSemaphores::new(store_shares(concurrent_secrets)),
        blocking_permits: FairSemaphore::new(BLOCKING_TEMPLATES),
        rollouts: PendingRollouts::default(),
        claims: Arc::default(),
        written: Arc::default(),
        variables: Arc::default(),
        hooks: Arc::default(),
        dependencies: Arc::default(),
        builds: Arc::new(Builds::new(config.document_cache_bytes, remotes)),
        events: Events::new(&client, &instance(), wants_posts.then_some(poster)),
        reconcile_cache: ReconcileCache::default(),
        sources: Sources::default(),
        mirrors,
        identities: Identities::new(connection, &client, metrics.clone(), applier, spawner),
        providers: Providers::new(fetcher.clone()),
        fetcher,
        rotations: Rotations::new(config.rotation_queue.clone()),
        started: std::time::Instant::now(),
        metrics,
        settings: config.settings.clone(),
        client,
    });
    let inputs = TaskInputs {
        writers,
        wake_ups,
        posts: wants_posts.then_some(posts),
        supervisor,
    };
    (context, inputs)
}

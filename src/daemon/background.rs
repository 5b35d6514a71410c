//! The tasks that run beside the controllers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

use crate::aws::{Denied, Fetcher};
use crate::cluster::client::request_sizes;
use crate::controllers::cost::{self, CostContext};
use crate::controllers::event_webhook;
use crate::controllers::git_repository::GitRepositoryContext;
use crate::controllers::rotation_listeners::{self, RotationContext};
use crate::daemon::setup::Contexts;
use crate::daemon::signals::stopped;
use crate::tasks::Supervisor;

/// The task that reads secrets for all ExternalSecrets.
pub(super) const READING: &str = "the reading of secrets";

/// Runs what reconciles depend on until the last of them has ended: the reading of secrets, and the watches of what was
/// applied. Each task gives the name of what ended unasked.
pub(super) fn services(fetcher: Arc<Fetcher>, supervisor: Supervisor) -> JoinSet<String> {
    let mut services = JoinSet::new();
    services.spawn(async move {
        fetcher.run().await;
        READING.to_owned()
    });
    services.spawn(supervisor.run());
    services
}

/// Listens to rotation queues, reports what IAM denies, and measures what stores cost.
pub(super) fn about_secrets(
    (rotations, costs): (RotationContext, CostContext),
    hints: UnboundedReceiver<Denied>,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = &'static str> + use<> {
    let rotations = Arc::new(rotations);
    let listening = rotation_listeners::run(rotations.clone());
    let reporting = rotation_listeners::say_denials(rotations, hints);
    let measuring = cost::measure(costs);
    let stopping = stopped(stopping.clone());
    async move {
        tokio::select! {
            () = listening => {}
            () = reporting => {}
            () = measuring => {}
            () = stopping => {}
        }
        "the listening for rotations"
    }
}

/// How often mirrors whose source is gone are looked for.
const COLLECTION: Duration = Duration::from_secs(600);

/// Removes the mirrors of sources that are gone.
pub(super) fn collect_mirrors(
    context: &Arc<GitRepositoryContext>,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = &'static str> + use<> {
    let (context, stopping) = (context.clone(), stopped(stopping.clone()));
    let collecting = async move {
        loop {
            tokio::time::sleep(COLLECTION).await;
            let (mirrors, in_service) = (context.mirrors.clone(), context.sources.mirrors());
            let collect = move || mirrors.collect(&in_service, Instant::now());
            if let Ok(removed @ 1..) = tokio::task::spawn_blocking(collect).await {
                tracing::info!(removed, "removed mirrors of sources that are gone");
            }
        }
    };
    async move {
        tokio::select! { () = collecting => {}, () = stopping => {} }
        "the collection of mirrors"
    }
}

/// How often the sizes of maps and queues are measured.
const MEASUREMENT: Duration = Duration::from_secs(10);

/// Measures the maps and queues whose keys tenants choose, so that one that grows without end is seen.
pub(super) fn measure_sizes(
    contexts: &Contexts,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = &'static str> + use<> {
    let (metrics, stopping) = (contexts.metrics.clone(), stopped(stopping.clone()));
    let (sources, units) = (
        contexts.git_repositories.clone(),
        contexts.kustomizations.clone(),
    );
    let secrets = contexts.external_secrets.clone();
    let measuring = async move {
        loop {
            let (requests, syncs) = (request_sizes(), secrets.sync_permits.sizes());
            for (of, entries) in [
                ("mirrors", sources.mirrors.len()),
                ("service_account_clients", units.identities.len()),
                ("stores", secrets.store_permits.len()),
                ("reconcile_cache", sources.reconcile_cache.len()),
                ("last_syncs", secrets.last_syncs.len()),
                ("api_requests_under_way", requests.held),
                ("api_requests_waiting", requests.waiting),
                ("syncs_under_way", syncs.held),
                ("syncs_waiting", syncs.waiting),
            ] {
                metrics.size(of, entries);
            }
            tokio::time::sleep(MEASUREMENT).await;
        }
    };
    async move {
        tokio::select! { () = measuring => {}, () = stopping => {} }
        "the measuring of sizes"
    }
}

/// Posts events to the event webhook. Events that are still queued when the daemon stops are dropped.
pub(super) fn post_events(
    posts: event_webhook::Waiting,
    address: Url,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = &'static str> + use<> {
    let posting = event_webhook::run(posts, address);
    let stopping = stopped(stopping.clone());
    async move {
        tokio::select! { () = posting => {}, () = stopping => {} }
        "the posting of events"
    }
}

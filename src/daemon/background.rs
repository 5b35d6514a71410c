//! The tasks that run beside the controllers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

use crate::aws::Denied;
use crate::controllers::{self, Context, event_webhook};
use crate::daemon::signals::stopped;
use crate::tasks::Supervisor;

/// The task that reads secrets for all ExternalSecrets.
pub(super) const READING: &str = "the reading of secrets";

/// Runs what reconciles depend on until the last of them has ended: the reading of secrets, and the watches of what was
/// applied. Each task gives the name of what ended unasked.
pub(super) fn services(context: &Context, supervisor: Supervisor) -> JoinSet<String> {
    let mut services = JoinSet::new();
    let fetcher = context.fetcher.clone();
    services.spawn(async move {
        fetcher.run().await;
        READING.to_owned()
    });
    services.spawn(supervisor.run());
    services
}

/// Listens to rotation queues, reports what IAM denies, and measures what stores cost.
pub(super) fn about_secrets(
    context: &Arc<Context>,
    hints: UnboundedReceiver<Denied>,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = &'static str> + use<> {
    let listening = controllers::rotation::run(context.clone());
    let reporting = controllers::rotation::say_denials(context.clone(), hints);
    let measuring = controllers::cost::measure(context.clone());
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
    context: &Arc<Context>,
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

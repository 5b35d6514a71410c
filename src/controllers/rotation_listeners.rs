//! Talks to AWS: the listeners of the queues of rotation events that stores and the flag name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use kube::runtime::events::EventType;

use crate::aws::{Denied, Fetcher, Listener, QueueEvent};
use crate::controllers::caches::Caches;
use crate::controllers::events::Events;
use crate::controllers::rotation::{Rotations, queue_of};
use crate::controllers::stores::{ControllerClass, Store};
use crate::metrics::Metrics;
use overlayd_core::aws::queue::Queue;
use overlayd_core::aws::rotation::MessageOutcome;

/// What the listeners work with.
pub(crate) struct RotationContext {
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    /// The stores, which may each name a queue.
    pub(crate) caches: Caches,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) rotations: Arc<Rotations>,
    /// The class of stores whose queues are read.
    pub(crate) class: ControllerClass,
    /// The queues of ClusterSecretStores are read too.
    pub(crate) cluster_stores: bool,
}

/// Every queue that the flag and the stores name.
fn wanted(context: &RotationContext) -> Vec<Queue> {
    let mut all: Vec<Queue> = context.rotations.queue.iter().cloned().collect();
    let own = context.caches.stores.state();
    let own = own
        .iter()
        .filter(|store| context.class.serves(store.store_spec()));
    all.extend(own.filter_map(|store| queue_of(&**store)?.ok()));
    if context.cluster_stores {
        let shared = context.caches.cluster_stores.state();
        let shared = shared
            .iter()
            .filter(|store| context.class.serves(store.store_spec()));
        all.extend(shared.filter_map(|store| queue_of(&**store)?.ok()));
    }
    all.sort();
    all.dedup();
    all
}

/// Runs a listener for every queue that is wanted, for as long as the process works.
pub(crate) async fn run(context: Arc<RotationContext>) {
    /// How often the wanted queues are compared with the listeners.
    const LOOK: Duration = Duration::from_secs(5);
    context.caches.ready().await;
    let mut listeners: BTreeMap<Queue, AbortHandle> = BTreeMap::new();
    let mut work: FuturesUnordered<Abortable<BoxFuture<'_, ()>>> = FuturesUnordered::new();
    loop {
        let wanted = wanted(&context);
        listeners.retain(|queue, listener| {
            let stays = wanted.contains(queue);
            if !stays {
                listener.abort();
                context.rotations.set(queue, None);
            }
            stays
        });
        for queue in wanted {
            if let Entry::Vacant(vacant) = listeners.entry(queue) {
                let (handle, registration) = AbortHandle::new_pair();
                let listening = listen(&context, vacant.key().clone()).boxed();
                work.push(Abortable::new(listening, registration));
                vacant.insert(handle);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            Some(_) = work.next() => {}
        }
    }
}

/// Listens to one queue, and records its state and the outcomes of its messages.
async fn listen(context: &RotationContext, queue: Queue) {
    let listener = Listener::new(context.fetcher.clone(), queue.clone()).await;
    let report = |event: QueueEvent| match event {
        QueueEvent::State(state) => context.rotations.set(&queue, Some(&state)),
        QueueEvent::Message(outcome, error) => {
            context.metrics.rotation_message(outcome.as_str());
            let reason = error.map(|error| error.to_string()).unwrap_or_default();
            match outcome {
                MessageOutcome::Dropped => {
                    tracing::error!(
                        queue = queue.url,
                        reason,
                        "a message of rotation is dropped"
                    );
                }
                MessageOutcome::Failed => {
                    tracing::warn!(
                        queue = queue.url,
                        reason,
                        "a message of rotation comes again"
                    );
                }
                MessageOutcome::Handled | MessageOutcome::Ignored => {}
            }
        }
    };
    listener.listen(&report).await;
}

/// Reports each action that a policy denies to an identity, with the statement that allows it.
pub(crate) async fn say_denials(
    context: Arc<RotationContext>,
    mut denials: futures::channel::mpsc::UnboundedReceiver<Denied>,
) {
    while let Some(denied) = denials.next().await {
        let Denied { key, action } = &denied;
        let resource = overlayd_core::aws::iam::widest(action, &key.identity.region);
        let note = format!(
            "{} lacks `{action}`, so secrets are read in a dearer way; to allow it, add {{\"Effect\": \"Allow\", \"Action\": \"{action}\", \"Resource\": \"{resource}\"}} to its policy",
            key.identity
        );
        tracing::warn!(identity = %key.identity, action, "{note}");
        for store in context.caches.stores.state() {
            hint(&context, &*store, &denied, &note).await;
        }
        for store in context.caches.cluster_stores.state() {
            hint(&context, &*store, &denied, &note).await;
        }
    }
}

/// Writes the event of a denial on a store, if the store reads as the identity that is denied.
async fn hint<S: Store>(context: &RotationContext, store: &S, denied: &Denied, note: &str) {
    if store
        .reader_key()
        .is_ok_and(|key| key.as_ref() == Some(&denied.key))
    {
        let type_ = EventType::Warning;
        context
            .events
            .publish(S::COMPONENT, store, type_, "MissingPermission", note)
            .await;
    }
}

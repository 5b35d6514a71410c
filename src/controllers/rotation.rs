//! Queues of rotation events: the listeners of the queues that stores and the flag name, and what stores say of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use kube::ResourceExt as _;
use kube::runtime::events::EventType;
use tokio::sync::watch;

use crate::aws::{Denied, Listener, QueueEvent};
use crate::controllers::Context;
use crate::controllers::secret_store::Store;
use overlayd_core::api::annotations::ROTATION_QUEUE;
use overlayd_core::aws::queue::{
    Queue, QueueCondition, QueueState, StoreQueueError, StoreScope, store_queue,
};
use overlayd_core::aws::rotation::MessageOutcome;

/// The state of every queue.
#[derive(Debug)]
pub(crate) struct Rotations {
    /// The queue of the flag, for all stores.
    queue: Option<Queue>,
    states: watch::Sender<BTreeMap<Queue, QueueState>>,
    /// Counts the changes for which stores are reconciled again.
    wake_ups: watch::Sender<u64>,
}

impl Rotations {
    pub(crate) fn new(queue: Option<Queue>) -> Self {
        Self {
            queue,
            states: watch::Sender::default(),
            wake_ups: watch::Sender::default(),
        }
    }

    /// An item each time that stores are to be reconciled again.
    pub(crate) fn wake_ups(&self) -> impl Stream<Item = ()> + Send + use<> {
        let wake_ups = self.wake_ups.subscribe();
        futures::stream::unfold(wake_ups, async |mut wake_ups| {
            wake_ups.changed().await.ok()?;
            Some(((), wake_ups))
        })
    }

    /// Reconciles all stores again.
    pub(crate) fn stir(&self) {
        self.wake_ups.send_modify(|count| *count += 1);
    }

    /// The condition of a store about its queue; nothing for a store without a queue.
    pub(crate) fn of<S: Store>(&self, store: &S) -> Option<QueueCondition> {
        let queue = match queue_of(store) {
            Some(Ok(queue)) => queue,
            Some(Err(error)) => return Some(QueueCondition::unavailable(error.to_string())),
            None => self.queue.clone().filter(|_| is_secrets_manager(store))?,
        };
        let states = self.states.borrow();
        let state = states.get(&queue)?;
        Some(QueueCondition::of_state(&queue, state))
    }

    fn set(&self, queue: &Queue, state: Option<&QueueState>) {
        let changed = self.states.send_if_modified(|states| match state {
            Some(state) => states.insert(queue.clone(), state.clone()).as_ref() != Some(state),
            None => states.remove(queue).is_some(),
        });
        if !changed {
            return;
        }
        match state {
            Some(QueueState::Listening) => {
                tracing::info!(queue = queue.url, "listening for rotations");
            }
            Some(QueueState::Lost(reason)) => {
                tracing::warn!(
                    queue = queue.url,
                    reason,
                    "the queue of rotations cannot be read"
                );
            }
            None => {}
        }
        self.stir();
    }
}

fn is_secrets_manager<S: Store>(store: &S) -> bool {
    let aws = store.store_spec().provider.aws.as_ref();
    aws.is_some_and(|aws| {
        aws.service == overlayd_core::api::secret_store::AwsService::SecretsManager
    })
}

/// The queue that a store names, or why it is not read.
fn queue_of<S: Store>(store: &S) -> Option<Result<Queue, StoreQueueError>> {
    let url = store.annotations().get(ROTATION_QUEUE)?;
    let scope = match store.store_name().namespace {
        Some(_) => StoreScope::Namespace,
        None => StoreScope::Cluster,
    };
    Some(store_queue(url, scope, store.reader_key()))
}

/// Every queue that the flag and the stores name.
fn wanted(context: &Context) -> Vec<Queue> {
    let mut all: Vec<Queue> = context.rotations.queue.iter().cloned().collect();
    let settings = &context.settings;
    let own = context.caches.stores.state();
    let own = own
        .iter()
        .filter(|store| settings.serves(store.store_spec()));
    all.extend(own.filter_map(|store| queue_of(&**store)?.ok()));
    if settings.cluster_stores {
        let shared = context.caches.cluster_stores.state();
        let shared = shared
            .iter()
            .filter(|store| settings.serves(store.store_spec()));
        all.extend(shared.filter_map(|store| queue_of(&**store)?.ok()));
    }
    all.sort();
    all.dedup();
    all
}

/// Runs a listener for every queue that is wanted, for as long as the process works.
pub(crate) async fn run(context: Arc<Context>) {
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

async fn listen(context: &Arc<Context>, queue: Queue) {
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
    context: Arc<Context>,
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

async fn hint<S: Store>(context: &Context, store: &S, denied: &Denied, note: &str) {
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

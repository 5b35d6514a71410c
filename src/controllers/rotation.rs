//! Queues of rotation events: which are listened to, how they stand, and what is said of them.

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

use crate::aws::{Denied, Listener, MessageOutcome, QueueEvent, QueueState};
use crate::controllers::Context;
use crate::controllers::secret_store::Store;
use overlayd_core::api::annotations::ROTATION_QUEUE;
use overlayd_core::aws::identity::Base;
use overlayd_core::aws::queue::Queue;

/// How the queues stand.
#[derive(Debug)]
pub(crate) struct Rotations {
    /// The one for all stores.
    queue: Option<Queue>,
    states: watch::Sender<BTreeMap<Queue, QueueState>>,
    /// Counts what stores should be looked at for.
    wake_ups: watch::Sender<u64>,
}

/// What a store's condition says of its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueCondition {
    pub(crate) status: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Rotations {
    pub(crate) fn new(queue: Option<Queue>) -> Self {
        Self {
            queue,
            states: watch::Sender::default(),
            wake_ups: watch::Sender::default(),
        }
    }

    /// Every time that stores should be looked at again.
    pub(crate) fn wake_ups(&self) -> impl Stream<Item = ()> + Send + use<> {
        let wake_ups = self.wake_ups.subscribe();
        futures::stream::unfold(wake_ups, async |mut wake_ups| {
            wake_ups.changed().await.ok()?;
            Some(((), wake_ups))
        })
    }

    /// Lets all stores be looked at again.
    pub(crate) fn stir(&self) {
        self.wake_ups.send_modify(|count| *count += 1);
    }

    /// What to say of the queue of a store, if it has one.
    pub(crate) fn of<S: Store>(&self, store: &S) -> Option<QueueCondition> {
        let queue = match queue_of(store) {
            Some(Ok(queue)) => queue,
            Some(Err(message)) => {
                return Some(QueueCondition {
                    status: "False",
                    reason: "QueueUnavailable",
                    message,
                });
            }
            None => self.queue.clone().filter(|_| is_secrets_manager(store))?,
        };
        let name = queue.url.rsplit('/').next().unwrap_or_default();
        let states = self.states.borrow();
        Some(match states.get(&queue)? {
            QueueState::Listening => QueueCondition {
                status: "True",
                reason: "Listening",
                message: format!("rotations arrive by queue `{name}`"),
            },
            QueueState::Lost(reason) => QueueCondition {
                status: "False",
                reason: "QueueUnavailable",
                message: format!(
                    "queue `{name}` cannot be read, so rotations are seen at the next interval: {reason}"
                ),
            },
        })
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

/// The queue that a store names, or why it cannot be listened to.
fn queue_of<S: Store>(store: &S) -> Option<Result<Queue, String>> {
    let url = store.annotations().get(ROTATION_QUEUE)?.clone();
    if url::Url::parse(&url).is_err() {
        return Some(Err(format!("annotation `{ROTATION_QUEUE}` is no URL")));
    }
    let is_own = store.store_name().namespace.is_some();
    Some(match store.reader_key() {
        // Otherwise who may make stores in one namespace could drain the queue of another.
        Ok(Some(key)) if is_own && key.identity.base == Base::Process => Err(format!(
            "annotation `{ROTATION_QUEUE}` of a SecretStore needs `auth` of its own; a ClusterSecretStore does not"
        )),
        Ok(Some(key)) => Ok(Queue {
            url,
            identity: key.identity,
            is_for_all: false,
        }),
        Ok(None) => Err(format!(
            "annotation `{ROTATION_QUEUE}` needs a store whose identity does not depend on who uses it"
        )),
        Err(error) => Err(error.to_string()),
    })
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

/// QueueCondition to every queue that is wanted, for as long as the process works.
pub(crate) async fn run(context: Arc<Context>) {
    /// How often it is looked which queues are wanted.
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
    let say = |said: QueueEvent| match said {
        QueueEvent::State(state) => context.rotations.set(&queue, Some(&state)),
        QueueEvent::Message(fate, reason) => {
            context.metrics.rotation_message(fate.as_str());
            let reason = reason.unwrap_or_default();
            match fate {
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
    listener.listen(&say).await;
}

/// Says once of each identity what it may not do, with the statement that would allow it.
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

//! What is known of the queues of rotation events, and what stores say of them.

use std::collections::BTreeMap;

use futures::Stream;
use kube::ResourceExt as _;
use tokio::sync::watch;

use crate::controllers::stores::Store;
use overlayd_core::api::annotations::ROTATION_QUEUE;
use overlayd_core::aws::queue::{
    Queue, QueueCondition, QueueState, StoreQueueError, StoreScope, store_queue,
};

/// The state of every queue.
#[derive(Debug)]
pub(crate) struct Rotations {
    /// The queue of the flag, for all stores.
    pub(super) queue: Option<Queue>,
    /// The last state of each queue that is listened to.
    states: watch::Sender<BTreeMap<Queue, QueueState>>,
    /// Counts the changes for which stores are reconciled again.
    wake_ups: watch::Sender<u64>,
}

impl Rotations {
    /// No queue is listened to yet.
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

    /// Records the state of a queue, `None` if it is not listened to any more, and reconciles the stores if that is new.
    pub(super) fn set(&self, queue: &Queue, state: Option<&QueueState>) {
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

/// True for a store of Secrets Manager. The queue of the flag carries its events, and no others.
fn is_secrets_manager<S: Store>(store: &S) -> bool {
    let aws = store.store_spec().provider.aws.as_ref();
    aws.is_some_and(|aws| {
        aws.service == overlayd_core::api::secret_store::AwsService::SecretsManager
    })
}

/// The queue that a store names, or why it is not read.
pub(super) fn queue_of<S: Store>(store: &S) -> Option<Result<Queue, StoreQueueError>> {
    let url = store.annotations().get(ROTATION_QUEUE)?;
    let scope = match store.store_name().namespace {
        Some(_) => StoreScope::Namespace,
        None => StoreScope::Cluster,
    };
    Some(store_queue(url, scope, store.reader_key()))
}

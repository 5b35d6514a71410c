//! Permits that are shared fairly between namespaces.
//!
//! [`FairSemaphore::acquire`] waits in the order that [`FairQueue`] decides. A dropped [`Permit`] passes its place directly
//! to the next waiter, so that no later request can take it between.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::channel::oneshot;
use parking_lot::Mutex;

use overlayd_core::fair_queue::{FairQueue, QueueSizes, Shares};
use overlayd_core::names::ObjectKey;

type SharedQueue<L> = Mutex<FairQueue<L, oneshot::Sender<Permit<L>>>>;

/// A number of permits, shared by all clones, of which each key holds its share at most. `L` is the urgency.
#[derive(Debug)]
pub(crate) struct FairSemaphore<L: Ord = ()>(Arc<SharedQueue<L>>);

impl<L: Ord> Clone for FairSemaphore<L> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The right to do the work. When it is dropped, the next waiter gets it.
#[derive(Debug)]
pub(crate) struct Permit<L: Ord = ()> {
    /// `None` once the place was passed on.
    queue: Option<Arc<SharedQueue<L>>>,
    key: String,
}

impl<L: Ord> FairSemaphore<L> {
    /// A semaphore of this many permits.
    pub(crate) fn new(shares: Shares) -> Self {
        Self(Arc::new(Mutex::new(FairQueue::new(shares))))
    }

    /// Waits for a permit of a key.
    pub(crate) async fn acquire(&self, key: &str, urgency: L) -> Permit<L> {
        let turn = {
            let mut queue = self.0.lock();
            if queue.take(key) {
                return self.permit(key);
            }
            let (sender, turn) = oneshot::channel();
            queue.wait(key, urgency, sender);
            turn
        };
        // The sender is dropped only with the queue, which this future holds.
        match turn.await {
            Ok(permit) => permit,
            Err(oneshot::Canceled) => std::future::pending().await,
        }
    }

    /// The sizes of this moment, for metrics.
    pub(crate) fn sizes(&self) -> QueueSizes {
        self.0.lock().sizes()
    }

    fn permit(&self, key: &str) -> Permit<L> {
        Permit {
            queue: Some(self.0.clone()),
            key: key.to_owned(),
        }
    }
}

impl<L: Ord> Drop for Permit<L> {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else {
            return;
        };
        let mut key = std::mem::take(&mut self.key);
        loop {
            // The lock is given back before the waiter is woken.
            let next = queue.lock().give_back(&key);
            let Some((next, waiter)) = next else {
                return;
            };
            let permit = Self {
                queue: Some(queue.clone()),
                key: next,
            };
            match waiter.send(permit) {
                Ok(()) => return,
                // This waiter was cancelled. The loop passes the place on; dropping the permit would recurse.
                Err(mut permit) => {
                    permit.queue = None;
                    key = std::mem::take(&mut permit.key);
                }
            }
        }
    }
}

/// A semaphore for each store, so that a store that does not answer leaves permits for the others.
#[derive(Debug)]
pub(crate) struct KeyedSemaphores<L: Ord> {
    shares: Shares,
    semaphores: Mutex<BTreeMap<ObjectKey, FairSemaphore<L>>>,
}

impl<L: Ord> KeyedSemaphores<L> {
    /// Semaphores of this many permits each.
    pub(crate) fn new(shares: Shares) -> Self {
        Self {
            shares,
            semaphores: Mutex::default(),
        }
    }

    /// The semaphore of a store, which is made at the first call.
    pub(crate) fn of(&self, store: &ObjectKey) -> FairSemaphore<L> {
        let mut semaphores = self.semaphores.lock();
        let semaphore = semaphores.entry(store.clone());
        semaphore
            .or_insert_with(|| FairSemaphore::new(self.shares))
            .clone()
    }

    /// Removes a store that is gone. Permits that were acquired stay valid.
    pub(crate) fn forget(&self, store: &ObjectKey) {
        self.semaphores.lock().remove(store);
    }

    /// How many stores have a semaphore.
    pub(crate) fn len(&self) -> usize {
        self.semaphores.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use futures::future::FutureExt as _;

    use super::*;
    use overlayd_core::names::NamespacedName;
    use overlayd_core::secrets::observed::Urgency;

    const ONE: Shares = Shares {
        total: 1,
        of_one: 1,
    };

    #[test]
    fn the_most_urgent_waiter_gets_the_permit() {
        let semaphore = FairSemaphore::new(ONE);
        let acquire = |urgency| Box::pin(semaphore.acquire("team", urgency));
        let first = acquire(Urgency::Periodic).now_or_never();
        let first = first.expect("a permit is free");
        let mut periodic = acquire(Urgency::Periodic);
        let mut cancelled = acquire(Urgency::NeverSynced);
        let mut changed = acquire(Urgency::Changed);
        let mut new = acquire(Urgency::NeverSynced);
        assert!(periodic.as_mut().now_or_never().is_none());
        assert!(cancelled.as_mut().now_or_never().is_none());
        assert!(changed.as_mut().now_or_never().is_none());
        assert!(new.as_mut().now_or_never().is_none());
        drop(cancelled);
        drop(first);
        assert!(changed.as_mut().now_or_never().is_none());
        let new = new.now_or_never().expect("its turn");
        drop(new);
        assert!(periodic.as_mut().now_or_never().is_none());
        drop(changed.now_or_never().expect("its turn"));
        drop(periodic.now_or_never().expect("its turn"));
        assert!(acquire(Urgency::Periodic).now_or_never().is_some());
        assert_eq!(semaphore.sizes(), QueueSizes::default());
    }

    #[test]
    fn one_namespace_leaves_permits_for_another() {
        let semaphore = FairSemaphore::new(Shares {
            total: 3,
            of_one: 2,
        });
        let acquire = |key: &'static str| Box::pin(semaphore.acquire(key, ()));
        let held = [acquire("hostile"), acquire("hostile")];
        let held = held.map(|permit| permit.now_or_never().expect("its share"));
        let mut third = acquire("hostile");
        assert!(third.as_mut().now_or_never().is_none());
        let other = acquire("neighbour").now_or_never();
        assert!(other.is_some(), "a permit is left");
        drop(other);
        assert!(
            third.as_mut().now_or_never().is_none(),
            "it holds its share"
        );
        drop(held);
        assert!(third.now_or_never().is_some());
        assert_eq!(semaphore.sizes(), QueueSizes::default());
    }

    #[test]
    fn each_store_has_permits_of_its_own() {
        let semaphores = KeyedSemaphores::new(ONE);
        let key = |name: &str| ObjectKey::new("SecretStore", NamespacedName::new("team", name));
        let acquire = |name: &str| {
            let semaphore = semaphores.of(&key(name));
            semaphore.acquire("team", ()).now_or_never()
        };
        let held = acquire("a");
        assert!(held.is_some());
        assert!(acquire("a").is_none());
        assert!(acquire("b").is_some());
        assert_eq!(semaphores.len(), 2);
        semaphores.forget(&key("a"));
        assert!(acquire("a").is_some(), "a new semaphore");
    }
}

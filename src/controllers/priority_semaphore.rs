//! A semaphore whose permits go to the most urgent waiter first.
//!
//! [`PrioritySemaphore::acquire`] queues by [`Urgency`]; within one urgency the order is first in, first out. A dropped
//! [`Permit`] passes its place directly to the next waiter, so that no later and less urgent request can take it between.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::channel::oneshot;
use parking_lot::Mutex;

use overlayd_core::names::ObjectKey;
use overlayd_core::secrets::observed::Urgency;

/// A number of permits, shared by all clones.
#[derive(Debug, Clone)]
pub(crate) struct PrioritySemaphore(Arc<Mutex<SemaphoreState>>);

/// The free permits and the requests that wait. If one is free, none waits.
#[derive(Debug)]
struct SemaphoreState {
    free: usize,
    /// Requests that wait for a permit, by urgency.
    waiting: [VecDeque<oneshot::Sender<Permit>>; 3],
}

/// The right to do the work. When it is dropped, the next waiter gets it.
#[derive(Debug)]
pub(crate) struct Permit(Option<Arc<Mutex<SemaphoreState>>>);

/// A semaphore for each object. Each store has its own, so that a store that does not answer leaves permits for the others.
#[derive(Debug)]
pub(crate) struct KeyedSemaphores {
    permits: usize,
    semaphores: Mutex<BTreeMap<ObjectKey, PrioritySemaphore>>,
}

impl KeyedSemaphores {
    /// Semaphores of this many permits each.
    pub(crate) fn new(permits: usize) -> Self {
        Self {
            permits,
            semaphores: Mutex::default(),
        }
    }

    /// The semaphore of a key, which is made at the first call.
    pub(crate) fn of(&self, key: &ObjectKey) -> PrioritySemaphore {
        let mut semaphores = self.semaphores.lock();
        let semaphore = semaphores.entry(key.clone());
        semaphore
            .or_insert_with(|| PrioritySemaphore::new(self.permits))
            .clone()
    }

    /// Removes a key. Permits that were acquired stay valid.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.semaphores.lock().remove(key);
    }
}

impl PrioritySemaphore {
    /// A semaphore of this many permits, but of one at least.
    pub(crate) fn new(permits: usize) -> Self {
        Self(Arc::new(Mutex::new(SemaphoreState {
            free: permits.max(1),
            waiting: Default::default(),
        })))
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(&self, urgency: Urgency) -> Permit {
        loop {
            let turn = {
                let mut state = self.0.lock();
                if state.free > 0 {
                    state.free -= 1;
                    return Permit(Some(self.0.clone()));
                }
                let (sender, turn) = oneshot::channel();
                state.waiting[urgency as usize].push_back(sender);
                turn
            };
            // The sender is dropped only with the semaphore itself.
            if let Ok(permit) = turn.await {
                return permit;
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(state) = self.0.take() else {
            return;
        };
        loop {
            let next = {
                let mut state = state.lock();
                let next = state.waiting.iter_mut().find_map(VecDeque::pop_front);
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else {
                return;
            };
            match next.send(Self(Some(state.clone()))) {
                Ok(()) => return,
                // This waiter was cancelled. The loop passes the place on; dropping the permit would recurse.
                Err(mut permit) => permit.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::FutureExt as _;

    use super::*;
    use overlayd_core::names::NamespacedName;

    #[test]
    fn the_most_urgent_waiter_gets_the_permit() {
        let semaphore = PrioritySemaphore::new(1);
        let free = semaphore.acquire(Urgency::Periodic).now_or_never();
        let first = free.expect("a permit is free");
        let mut periodic = Box::pin(semaphore.acquire(Urgency::Periodic));
        let mut cancelled = Box::pin(semaphore.acquire(Urgency::NeverSynced));
        let mut changed = Box::pin(semaphore.acquire(Urgency::Changed));
        let mut new = Box::pin(semaphore.acquire(Urgency::NeverSynced));
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
        let last = semaphore.acquire(Urgency::Periodic).now_or_never();
        assert!(last.is_some());
    }

    #[test]
    fn each_key_has_permits_of_its_own() {
        let semaphores = KeyedSemaphores::new(1);
        let key = |name: &str| ObjectKey::new("SecretStore", NamespacedName::new("team", name));
        let acquire = |name: &str| {
            let key = key(name);
            let semaphore = semaphores.of(&key);
            semaphore.acquire(Urgency::Periodic).now_or_never()
        };
        let held = acquire("a");
        assert!(held.is_some());
        assert!(acquire("a").is_none());
        assert!(acquire("b").is_some());
        semaphores.forget(&key("a"));
        assert!(acquire("a").is_some(), "a new semaphore");
    }
}

//! The sources in service: the commit of each `GitRepository`, and a wake-up for its users when it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::git::Fetched;
use overlayd_core::names::NamespacedName;

/// The commits in service, shared by the controllers of sources and of Kustomizations.
#[derive(Debug)]
pub(crate) struct Sources {
    held: Mutex<BTreeMap<NamespacedName, Arc<Fetched>>>,
    moved: broadcast::Sender<NamespacedName>,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            moved: broadcast::channel(1024).0,
        }
    }
}

impl Sources {
    /// The commit in service.
    pub(crate) fn get(&self, key: &NamespacedName) -> Option<Arc<Fetched>> {
        self.held.lock().get(key).cloned()
    }

    /// Puts a commit into service, and wakes its users if it or its files are new.
    pub(crate) fn put(&self, key: &NamespacedName, fetched: Fetched) {
        let fetched = Arc::new(fetched);
        let old = self.held.lock().insert(key.clone(), fetched.clone());
        let is_same = |old: Arc<Fetched>| {
            old.revision == fetched.revision && old.content() == fetched.content()
        };
        if !old.is_some_and(is_same) {
            // Without a receiver there is nothing to wake: controllers read the sources when they start.
            let _ = self.moved.send(key.clone());
        }
    }

    /// Takes a source out of service.
    pub(crate) fn remove(&self, key: &NamespacedName) {
        self.held.lock().remove(key);
    }

    /// The names of sources whose commit changes from now on.
    pub(crate) fn moved(&self) -> impl Stream<Item = NamespacedName> + Send + use<> {
        futures::stream::unfold(self.moved.subscribe(), |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(key) => return Some((key, receiver)),
                    // A missed wake-up is repaired by the next interval.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
    }
}

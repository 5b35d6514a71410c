//! The sources in service: the commit of each `GitRepository`, and a wake-up for its users when it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
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
    /// The names of sources whose mirror cannot be read.
    damaged: broadcast::Sender<NamespacedName>,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            moved: broadcast::channel(1024).0,
            damaged: broadcast::channel(1024).0,
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
            let is_same_commit = old.revision == fetched.revision;
            // Builds that failed for want of objects are tried again when the mirror was cloned again.
            is_same_commit && old.content() == fetched.content() && !old.is_damaged()
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
        names(&self.moved)
    }

    /// Asks the sources whose mirrors cannot be read for a fetch, which clones them again.
    pub(crate) fn repair(&self) {
        let held = self.held.lock();
        let damaged = held.iter().filter(|(_, fetched)| fetched.is_damaged());
        for (key, _) in damaged {
            // Without a receiver there is no controller that could fetch.
            let _ = self.damaged.send(key.clone());
        }
    }

    /// The names of sources that are to be fetched because a mirror cannot be read.
    pub(crate) fn damaged(&self) -> impl Stream<Item = NamespacedName> + Send + use<> {
        names(&self.damaged)
    }

    /// The folders of all mirrors that builds read.
    pub(crate) fn mirrors(&self) -> BTreeSet<PathBuf> {
        let held = self.held.lock();
        let mirrors = held.values().flat_map(|fetched| fetched.mirrors());
        mirrors.map(|(path, _)| path.to_path_buf()).collect()
    }

    /// The bytes that the mirrors of a namespace's sources take on the disk, but for one of the sources. A mirror that
    /// several of them share counts once.
    pub(crate) fn bytes_of_others(&self, source: &NamespacedName) -> u64 {
        let held = self.held.lock();
        let others = held
            .iter()
            .filter(|(key, _)| key.namespace == source.namespace && *key != source);
        let mirrors = others.flat_map(|(_, fetched)| fetched.mirrors());
        let sizes: BTreeMap<_, _> = mirrors.map(|(path, life)| (path, life.bytes())).collect();
        sizes.values().sum()
    }
}

fn names(
    channel: &broadcast::Sender<NamespacedName>,
) -> impl Stream<Item = NamespacedName> + Send + use<> {
    futures::stream::unfold(channel.subscribe(), |mut receiver| async move {
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

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
    held: Mutex<BTreeMap<NamespacedName, HeldCommit>>,
    moved: broadcast::Sender<NamespacedName>,
    /// The names of sources whose mirror cannot be read.
    damaged: broadcast::Sender<NamespacedName>,
}

#[derive(Debug)]
struct HeldCommit {
    /// The object that fetched the commit; another one of the same name may have another address.
    uid: String,
    fetched: Arc<Fetched>,
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
        let held = self.held.lock();
        held.get(key).map(|held| held.fetched.clone())
    }

    /// Puts a commit of the object with this UID into service, and wakes its users if it or its files are new.
    pub(crate) fn put(&self, key: &NamespacedName, uid: &str, fetched: Fetched) {
        let held = HeldCommit {
            uid: uid.to_owned(),
            fetched: Arc::new(fetched),
        };
        let fetched = held.fetched.clone();
        let old = self.held.lock().insert(key.clone(), held);
        let is_same = |old: HeldCommit| {
            let is_same_commit = old.fetched.revision == fetched.revision;
            let is_same_content = old.fetched.content() == fetched.content();
            // Builds that failed for want of objects are tried again when the mirror was cloned again.
            is_same_commit && is_same_content && !old.fetched.is_damaged()
        };
        if !old.is_some_and(is_same) {
            self.wake(key);
        }
    }

    /// Takes a source out of service, and wakes its users.
    pub(crate) fn remove(&self, key: &NamespacedName) {
        if self.held.lock().remove(key).is_some() {
            self.wake(key);
        }
    }

    /// Takes out of service what a former object of this name has fetched, and wakes its users.
    pub(crate) fn remove_former(&self, key: &NamespacedName, uid: &str) {
        let is_former = |held: &HeldCommit| held.uid != uid;
        if self.held.lock().get(key).is_some_and(is_former) {
            self.remove(key);
        }
    }

    fn wake(&self, key: &NamespacedName) {
        // Without a receiver there is nothing to wake: controllers read the sources when they start.
        let _ = self.moved.send(key.clone());
    }

    /// The names of sources whose commit changes, or is taken out of service, from now on.
    pub(crate) fn moved(&self) -> impl Stream<Item = NamespacedName> + Send + use<> {
        names(&self.moved)
    }

    /// Asks the sources whose mirrors cannot be read for a fetch, which clones them again.
    pub(crate) fn repair(&self) {
        let held = self.held.lock();
        let damaged = held.iter().filter(|(_, held)| held.fetched.is_damaged());
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
        let mirrors = held.values().flat_map(|held| held.fetched.mirrors());
        mirrors.map(|(path, _)| path.to_path_buf()).collect()
    }

    /// The bytes that the mirrors of a namespace's sources take on the disk, but for one of the sources. A mirror that
    /// several of them share counts once.
    pub(crate) fn bytes_of_others(&self, source: &NamespacedName) -> u64 {
        let held = self.held.lock();
        let others = held
            .iter()
            .filter(|(key, _)| key.namespace == source.namespace && *key != source);
        let mirrors = others.flat_map(|(_, held)| held.fetched.mirrors());
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    use futures::{FutureExt as _, StreamExt as _};
    use overlayd_core::git::revision::Revision;

    use super::*;

    fn fetched(commit: &str) -> Fetched {
        let content = OnceLock::from(commit.to_owned());
        Fetched {
            url: "https://git.example/app.git".to_owned(),
            revision: Revision {
                name: None,
                commit: commit.to_owned(),
            },
            mirror: PathBuf::new(),
            life: Arc::default(),
            tree: String::new(),
            subject: String::new(),
            submodules: Vec::new(),
            view: None,
            content,
        }
    }

    #[test]
    fn users_are_woken_when_a_commit_changes_or_its_object_is_gone() {
        let sources = Sources::default();
        let name = NamespacedName::new("team", "app");
        let mut moved = Box::pin(sources.moved());
        let mut check = |what: &str, is_woken: bool, commit: Option<&str>| {
            let woken = moved.next().now_or_never().is_some();
            assert_eq!(woken, is_woken, "{what}");
            let held = sources.get(&name);
            let held = held.as_ref().map(|held| held.revision.commit.as_str());
            assert_eq!(held, commit, "{what}");
        };
        sources.put(&name, "u1", fetched("a"));
        check("the first commit", true, Some("a"));
        sources.put(&name, "u1", fetched("a"));
        check("the same again", false, Some("a"));
        sources.remove_former(&name, "u1");
        check("the same object", false, Some("a"));
        sources.remove_former(&name, "u2");
        check("another object of the name", true, None);
        sources.remove(&name);
        check("nothing is held", false, None);
        sources.put(&name, "u2", fetched("a"));
        check("the same commit of the other object", true, Some("a"));
        sources.remove(&name);
        check("deleted", true, None);
    }
}

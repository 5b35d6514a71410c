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
    held: Mutex<BTreeMap<NamespacedName, HeldCommit>>,
    moved: broadcast::Sender<NamespacedName>,
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
            old.fetched.revision == fetched.revision && old.fetched.content() == fetched.content()
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

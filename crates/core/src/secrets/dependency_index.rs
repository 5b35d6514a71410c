//! Pure: which ExternalSecret uses what, so that a change of a store, template or Secret wakes those and no others.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};

use crate::api::external_secret::StoreKind;
use crate::names::NamespacedName;

/// What an ExternalSecret can use, by namespace (empty for what has none) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    Store(StoreKind, String, String),
    /// A generator by its kind.
    Generator(String, String, String),
    /// Templates in a ConfigMap.
    ConfigMap(String, String),
    /// Templates in a Secret.
    Secret(String, String),
    /// The Secret that is made.
    Target(String, String),
}

/// Who uses what, and at which version it was read.
#[derive(Debug, Default)]
pub struct DependencyIndex(Mutex<State>);

/// Most things have one user; a tree for each would be most of the memory.
#[derive(Debug)]
enum Dependents {
    One(NamespacedName),
    Many(BTreeSet<NamespacedName>),
}

impl Dependents {
    fn insert(&mut self, user: NamespacedName) {
        match self {
            Self::One(one) => *self = Self::Many([one.clone(), user].into()),
            Self::Many(many) => drop(many.insert(user)),
        }
    }

    /// True if nobody is left.
    fn remove(&mut self, user: &NamespacedName) -> bool {
        match self {
            Self::One(one) => one == user,
            Self::Many(many) => {
                many.remove(user);
                many.is_empty()
            }
        }
    }

    fn all(&self) -> Vec<NamespacedName> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::Many(many) => many.iter().cloned().collect(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    by_user: BTreeMap<NamespacedName, Vec<Dependency>>,
    users: BTreeMap<Dependency, Dependents>,
    /// The resource version that each user has read last; empty for what was not there.
    seen: BTreeMap<NamespacedName, BTreeMap<Dependency, String>>,
    /// Those whose sources have changed since they were read.
    stale: BTreeSet<NamespacedName>,
    /// Those for whom something has moved that they may have waited for.
    refresh_requests: BTreeSet<NamespacedName>,
}

impl DependencyIndex {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Sets all that an ExternalSecret uses.
    pub fn set(&self, user: &NamespacedName, uses: BTreeSet<Dependency>) {
        let mut state = self.state();
        if state
            .by_user
            .get(user)
            .is_some_and(|known| known.iter().eq(&uses))
        {
            return;
        }
        state.remove(user);
        for used in &uses {
            match state.users.get_mut(used) {
                Some(users) => users.insert(user.clone()),
                None => drop(
                    state
                        .users
                        .insert(used.clone(), Dependents::One(user.clone())),
                ),
            }
        }
        state
            .by_user
            .insert(user.clone(), uses.into_iter().collect());
    }

    /// Forgets an ExternalSecret that is gone.
    pub fn forget(&self, user: &NamespacedName) {
        let mut state = self.state();
        state.remove(user);
        state.seen.remove(user);
        state.stale.remove(user);
        state.refresh_requests.remove(user);
    }

    /// Those that use something.
    pub fn users(&self, used: &Dependency) -> Vec<NamespacedName> {
        let state = self.state();
        state
            .users
            .get(used)
            .map(Dependents::all)
            .unwrap_or_default()
    }

    /// All that an ExternalSecret uses.
    pub fn of(&self, user: &NamespacedName) -> Vec<Dependency> {
        let state = self.state();
        state
            .by_user
            .get(user)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Those in a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<NamespacedName> {
        let state = self.state();
        let from = NamespacedName::new(namespace, "");
        let users = state.by_user.range(from..).map(|(user, _)| user.clone());
        users
            .take_while(|user| user.namespace == namespace)
            .collect()
    }

    /// Remembers at which version a user has read something.
    pub fn read(&self, user: &NamespacedName, used: Dependency, version: &str) {
        let mut state = self.state();
        let seen = state.seen.entry(user.clone()).or_default();
        seen.insert(used, version.to_owned());
    }

    /// Those that have read something at another version than it has now. They are stale until [`Self::clear_stale`].
    /// For one that has not read it in this process, what there is now is what it has read.
    pub fn changed(&self, used: &Dependency, version: &str) -> Vec<NamespacedName> {
        let mut state = self.state();
        let users = state
            .users
            .get(used)
            .map(Dependents::all)
            .unwrap_or_default();
        let changed = users.into_iter().filter(|user| {
            let seen = state.seen.entry(user.clone()).or_default();
            let known = seen
                .entry(used.clone())
                .or_insert_with(|| version.to_owned());
            known != version
        });
        let changed: Vec<NamespacedName> = changed.collect();
        state.stale.extend(changed.iter().cloned());
        changed
    }

    /// Tells users that something has moved that they may have waited for.
    pub fn request_refresh(&self, users: Vec<NamespacedName>) -> Vec<NamespacedName> {
        self.state().refresh_requests.extend(users.iter().cloned());
        users
    }

    /// True once for a user for whom something has moved.
    pub fn take_refresh_request(&self, user: &NamespacedName) -> bool {
        self.state().refresh_requests.remove(user)
    }

    /// True if a source has changed since it was read.
    pub fn is_stale(&self, user: &NamespacedName) -> bool {
        self.state().stale.contains(user)
    }

    /// Says that all sources are about to be read.
    pub fn clear_stale(&self, user: &NamespacedName) {
        self.state().stale.remove(user);
    }
}

impl State {
    fn remove(&mut self, user: &NamespacedName) {
        for used in self.by_user.remove(user).unwrap_or_default() {
            let Some(users) = self.users.get_mut(&used) else {
                continue;
            };
            if users.remove(user) {
                self.users.remove(&used);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> NamespacedName {
        NamespacedName::new("team", name)
    }

    fn map(name: &str) -> Dependency {
        Dependency::ConfigMap("team".to_owned(), name.to_owned())
    }

    #[test]
    fn a_change_wakes_those_who_use_it_and_have_not_read_it() {
        let uses = DependencyIndex::default();
        uses.set(&user("a"), [map("x"), map("y")].into());
        uses.set(&user("b"), [map("x")].into());
        uses.read(&user("a"), map("x"), "1");
        uses.read(&user("b"), map("x"), "1");
        assert!(uses.changed(&map("x"), "1").is_empty(), "an echo");
        // One of them has read the new one already, the other has not.
        uses.read(&user("a"), map("x"), "2");
        assert_eq!(uses.changed(&map("x"), "2"), [user("b")]);
        assert_eq!(uses.changed(&map("x"), "3"), [user("a"), user("b")]);
        assert!(uses.is_stale(&user("a")));
        uses.clear_stale(&user("a"));
        assert!(!uses.is_stale(&user("a")));
        assert!(uses.changed(&map("y"), "1").is_empty(), "never read");
        assert_eq!(uses.changed(&map("y"), "2"), [user("a")]);
        uses.request_refresh(uses.users(&map("y")));
        assert!(uses.take_refresh_request(&user("a")));
        assert!(!uses.take_refresh_request(&user("a")), "once");
        uses.set(&user("a"), [map("y")].into());
        assert_eq!(uses.users(&map("x")), [user("b")]);
        uses.forget(&user("b"));
        assert!(uses.users(&map("x")).is_empty());
        assert_eq!(uses.in_namespace("team"), [user("a")]);
        assert!(uses.in_namespace("tea").is_empty());
    }
}

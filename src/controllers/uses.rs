//! Pure: which ExternalSecret uses what, so that a change of a store, template or Secret wakes those and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::api::external_secret::StoreKind;

/// An ExternalSecret by namespace and name.
pub(crate) type User = (String, String);

/// What an ExternalSecret can use, by namespace (empty for what has none) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Used {
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
pub(crate) struct Uses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by_user: BTreeMap<User, BTreeSet<Used>>,
    users: BTreeMap<Used, BTreeSet<User>>,
    /// The resource version that was read last; empty for what was not there.
    seen: BTreeMap<Used, String>,
    /// Those whose sources have changed since they were read.
    stale: BTreeSet<User>,
}

impl Uses {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets all that an ExternalSecret uses.
    pub(crate) fn set(&self, user: &User, uses: BTreeSet<Used>) {
        let mut state = self.state();
        if state.by_user.get(user) == Some(&uses) {
            return;
        }
        state.remove(user);
        for used in &uses {
            state
                .users
                .entry(used.clone())
                .or_default()
                .insert(user.clone());
        }
        state.by_user.insert(user.clone(), uses);
    }

    /// Forgets an ExternalSecret that is gone.
    pub(crate) fn forget(&self, user: &User) {
        let mut state = self.state();
        state.remove(user);
        state.stale.remove(user);
    }

    /// Those that use something.
    pub(crate) fn users(&self, used: &Used) -> Vec<User> {
        let state = self.state();
        state
            .users
            .get(used)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Those in a namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<User> {
        let state = self.state();
        let from = (namespace.to_owned(), String::new());
        let users = state.by_user.range(from..).map(|(user, _)| user.clone());
        users.take_while(|user| user.0 == namespace).collect()
    }

    /// Remembers at which version something was read.
    pub(crate) fn read(&self, used: Used, version: &str) {
        self.state().seen.insert(used, version.to_owned());
    }

    /// Those that have read something at another version than it has now. They are stale until [`Self::fresh`].
    pub(crate) fn changed(&self, used: &Used, version: &str) -> Vec<User> {
        let mut state = self.state();
        let users: Vec<User> = state
            .users
            .get(used)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        if users.is_empty() || state.seen.get(used).is_some_and(|seen| seen == version) {
            return Vec::new();
        }
        state.stale.extend(users.iter().cloned());
        users
    }

    /// True if a source has changed since it was read.
    pub(crate) fn is_stale(&self, user: &User) -> bool {
        self.state().stale.contains(user)
    }

    /// Says that all sources are about to be read.
    pub(crate) fn fresh(&self, user: &User) {
        self.state().stale.remove(user);
    }
}

impl State {
    fn remove(&mut self, user: &User) {
        for used in self.by_user.remove(user).unwrap_or_default() {
            let Some(users) = self.users.get_mut(&used) else {
                continue;
            };
            users.remove(user);
            if users.is_empty() {
                self.users.remove(&used);
                self.seen.remove(&used);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> User {
        ("team".to_owned(), name.to_owned())
    }

    fn map(name: &str) -> Used {
        Used::ConfigMap("team".to_owned(), name.to_owned())
    }

    #[test]
    fn a_change_wakes_those_who_use_it_and_have_not_read_it() {
        let uses = Uses::default();
        uses.set(&user("a"), [map("x"), map("y")].into());
        uses.set(&user("b"), [map("x")].into());
        uses.read(map("x"), "1");
        assert!(uses.changed(&map("x"), "1").is_empty(), "an echo");
        assert_eq!(uses.changed(&map("x"), "2"), [user("a"), user("b")]);
        assert!(uses.is_stale(&user("a")));
        uses.fresh(&user("a"));
        assert!(!uses.is_stale(&user("a")));
        assert_eq!(uses.changed(&map("y"), "1"), [user("a")], "never read");
        uses.set(&user("a"), [map("y")].into());
        assert_eq!(uses.users(&map("x")), [user("b")]);
        uses.forget(&user("b"));
        assert!(uses.users(&map("x")).is_empty());
        assert_eq!(uses.in_namespace("team"), [user("a")]);
        assert!(uses.in_namespace("tea").is_empty());
    }
}

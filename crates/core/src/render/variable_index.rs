//! Pure: which Kustomization reads which ConfigMaps and Secrets for its variables, so that a change of one wakes it.

use parking_lot::Mutex;
use std::collections::BTreeMap;

use crate::api::kustomization::SubstituteKind;
use crate::names::NamespacedName;

/// A ConfigMap or Secret: kind, namespace and name.
pub type Read = (SubstituteKind, String, String);

/// What was read, at which version, by whom.
#[derive(Debug, Default)]
pub struct Reads(Mutex<BTreeMap<Read, BTreeMap<NamespacedName, String>>>);

impl Reads {
    /// Says all that a Kustomization has read, with the versions; an empty one for what is not there.
    pub fn note(&self, unit: &NamespacedName, read: Vec<(Read, String)>) {
        let mut all = self.0.lock();
        for users in all.values_mut() {
            users.remove(unit);
        }
        for (object, version) in read {
            all.entry(object).or_default().insert(unit.clone(), version);
        }
        all.retain(|_, users| !users.is_empty());
    }

    /// Those who have read an object at another version.
    pub fn changed(&self, object: &Read, version: &str) -> Vec<NamespacedName> {
        let all = self.0.lock();
        let users = all.get(object).into_iter().flatten();
        let users = users.filter(|(_, read)| *read != version);
        users.map(|(unit, _)| unit.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_read_another_version_is_woken() {
        let reads = Reads::default();
        let unit = |name: &str| NamespacedName::new("team", name);
        let map = || {
            (
                SubstituteKind::ConfigMap,
                "team".to_owned(),
                "vars".to_owned(),
            )
        };
        assert!(reads.changed(&map(), "1").is_empty());
        reads.note(&unit("a"), vec![(map(), "1".to_owned())]);
        reads.note(&unit("b"), vec![(map(), String::new())]);
        assert_eq!(reads.changed(&map(), "1"), [unit("b")]);
        assert_eq!(reads.changed(&map(), "2"), [unit("a"), unit("b")]);
        reads.note(&unit("a"), Vec::new());
        assert_eq!(reads.changed(&map(), "2"), [unit("b")]);
    }
}

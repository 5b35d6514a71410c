//! Pure: the last-applied state of each object, so that an object which has not changed since costs no request.
//!
//! An object is known by the hash of its manifest and by its change token ([`change_token`]) right after the apply. A
//! watch compares the token at every change: another token is drift, unless an apply is under way. Drift that comes
//! back after several corrections means that another manager wants the object otherwise; it is then left for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::apply::desired::Hash;
use crate::apply::object_ref::ObjectRef;
use crate::names::NamespacedName;

/// After this number of corrections within [`WINDOW`] an object counts as contested by another manager.
const CORRECTIONS: usize = 5;
/// Prefixes of annotations and labels that only controllers of Kubernetes write.
const OF_CONTROLLERS: [&str; 6] = [
    "batch.kubernetes.io/",
    "deployment.kubernetes.io/",
    "endpoints.kubernetes.io/",
    "pv.kubernetes.io/",
    "volume.beta.kubernetes.io/",
    "volume.kubernetes.io/",
];
/// Corrections count for this time, and a contested object is left for this time.
const WINDOW: Duration = Duration::from_secs(120);

/// The last-applied state of all objects, by their ids, and the Kustomizations that changes of objects wake.
#[derive(Debug, Default)]
pub struct LastApplied(Mutex<LastAppliedState>);

#[derive(Debug, Default)]
struct LastAppliedState {
    objects: BTreeMap<String, Record>,
    /// Kustomizations whose objects are not as they were applied.
    drifted: BTreeSet<NamespacedName>,
    /// The Kustomizations that wait for an object, by the id of the object.
    subscribers: BTreeMap<String, BTreeSet<NamespacedName>>,
    /// Kustomizations that wait for an object which has changed in any way.
    woken: BTreeSet<NamespacedName>,
}

#[derive(Debug, Default)]
struct Record {
    unit: NamespacedName,
    hash: Hash,
    /// The change token after the apply; none while an apply is under way.
    token: Option<String>,
    /// The time of the last apply, or of the last comparison without a difference.
    applied: Option<Timestamp>,
    corrections: Vec<Timestamp>,
    contest: Option<Contest>,
}

/// Another manager wants an object otherwise, so that it is left until a time.
#[derive(Debug)]
struct Contest {
    until: Timestamp,
    manager: String,
}

/// The meaning of a change of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedChange {
    /// The object is as it was applied, or was not applied by this process.
    AsApplied,
    /// Another manager has changed an object of this Kustomization.
    Drifted(NamespacedName),
    /// An object of this Kustomization was corrected so often that another manager must want it otherwise; it is left
    /// for a while. Returned once for each such time.
    Contested(NamespacedName),
}

/// Tells a change that matters from one of the status: the uid, labels, annotations, and the generation (or the
/// resource version for kinds without a generation). It begins with the uid.
pub fn change_token(metadata: &ObjectMeta) -> String {
    let mut hash = Sha256::default();
    for pairs in [&metadata.labels, &metadata.annotations] {
        let others =
            |(key, _): &(&String, &String)| !OF_CONTROLLERS.iter().any(|of| key.starts_with(of));
        for (key, value) in pairs.iter().flatten().filter(others) {
            for text in [key, value] {
                hash.update(text.len().to_le_bytes());
                hash.update(text);
            }
        }
        hash.update([0xff]);
    }
    let digest = hash.finalize();
    let short = HEXLOWER.encode(&digest[..8]);
    let uid = metadata.uid.as_deref().unwrap_or_default();
    match metadata.generation {
        Some(generation) if generation > 0 => format!("{uid} g{generation} {short}"),
        _ => {
            let version = metadata.resource_version.as_deref().unwrap_or_default();
            format!("{uid} v{version}")
        }
    }
}

/// After this time an object is compared again, whatever is known of it: six to twelve hours by its hash, so that not
/// all objects are compared at once.
fn comparison_interval(hash: &Hash) -> Duration {
    const LEAST: u64 = 6 * 3600;
    let spread = u64::from(u16::from_le_bytes([hash[0], hash[1]]));
    Duration::from_secs(LEAST + LEAST * spread / u64::from(u16::MAX))
}

/// The hash of a manifest.
pub fn manifest_hash(manifest: &Value) -> Hash {
    Sha256::digest(manifest.to_string()).into()
}

/// The hash of a manifest as a service account applies it: another account may not be allowed to. An empty account is
/// the daemon's own identity.
pub fn account_hash(account: &str, hash: Hash) -> Hash {
    if account.is_empty() {
        return hash;
    }
    let mut both = Sha256::default();
    both.update(hash);
    both.update(account);
    both.finalize().into()
}

impl LastApplied {
    fn state(&self) -> MutexGuard<'_, LastAppliedState> {
        self.0.lock()
    }

    /// True if the object was applied from this manifest and has kept its change token since. It is true for some hours
    /// at most, so that a change which no watch has told is found in the end.
    pub fn is_applied(&self, object: &ObjectRef, hash: &Hash, token: &str, now: Timestamp) -> bool {
        let state = self.state();
        let Some(record) = state.objects.get(&object.id()) else {
            return false;
        };
        let age = record.applied.map(|applied| now.duration_since(applied));
        let age = age
            .and_then(|age| Duration::try_from(age).ok())
            .unwrap_or_default();
        record.hash == *hash
            && record.token.as_deref() == Some(token)
            && age < comparison_interval(hash)
    }

    /// Notes that an apply of an object begins: changes are our own until it ends.
    pub fn begin(&self, object: &ObjectRef, unit: &NamespacedName) {
        let mut state = self.state();
        let record = state.objects.entry(object.id()).or_default();
        record.unit.clone_from(unit);
        record.token = None;
    }

    /// Notes the change token of an object after its apply.
    pub fn end(&self, object: &ObjectRef, hash: Hash, token: String, now: Timestamp) {
        let mut state = self.state();
        if let Some(record) = state.objects.get_mut(&object.id()) {
            record.hash = hash;
            record.token = Some(token);
            record.applied = Some(now);
        }
    }

    /// Forgets an object that is about to be deleted.
    pub fn forget(&self, object: &ObjectRef) {
        self.state().objects.remove(&object.id());
    }

    /// True if the object was applied from this manifest, also if it has changed since.
    pub fn was_applied(&self, object: &ObjectRef, hash: &Hash) -> bool {
        let state = self.state();
        let record = state.objects.get(&object.id());
        record.is_some_and(|record| record.hash == *hash && record.token.is_some())
    }

    /// The manager to which a contested object is left for now.
    pub fn contested_by(&self, object: &ObjectRef, now: Timestamp) -> Option<String> {
        let state = self.state();
        let contest = state.objects.get(&object.id())?.contest.as_ref()?;
        (now < contest.until).then(|| contest.manager.clone())
    }

    /// Lets a Kustomization compare all of its objects.
    pub fn mark(&self, unit: &NamespacedName) {
        self.state().drifted.insert(unit.clone());
    }

    /// Notes the change token that an object has now (none for a deleted object) and the manager that has changed it.
    pub fn observe(
        &self,
        object: &ObjectRef,
        token: Option<&str>,
        manager: &str,
        now: Timestamp,
    ) -> ObservedChange {
        let mut state = self.state();
        let Some(record) = state.objects.get_mut(&object.id()) else {
            return ObservedChange::AsApplied;
        };
        if record.token.is_none() || record.token.as_deref() == token {
            return ObservedChange::AsApplied;
        }
        let unit = record.unit.clone();
        let observation = record.drifted(manager, now);
        if observation != ObservedChange::AsApplied {
            state.drifted.insert(unit);
        }
        observation
    }

    /// Notes the objects that a Kustomization waits for: each change of one wakes it from now on.
    pub fn wait_for(&self, unit: &NamespacedName, objects: &[ObjectRef]) {
        let mut state = self.state();
        for units in state.subscribers.values_mut() {
            units.remove(unit);
        }
        state.subscribers.retain(|_, units| !units.is_empty());
        for object in objects {
            state
                .subscribers
                .entry(object.id())
                .or_default()
                .insert(unit.clone());
        }
    }

    /// Notes that an object, or only its status, has changed. Returns the Kustomizations that wait for it.
    pub fn wake_subscribers(&self, object: &ObjectRef) -> Vec<NamespacedName> {
        let mut state = self.state();
        // Most of the time no Kustomization waits.
        if state.subscribers.is_empty() {
            return Vec::new();
        }
        let units = state
            .subscribers
            .get(&object.id())
            .cloned()
            .unwrap_or_default();
        state.woken.extend(units.iter().cloned());
        units.into_iter().collect()
    }

    /// True once for a Kustomization that waits for an object which has changed.
    pub fn take_awaited(&self, unit: &NamespacedName) -> bool {
        self.state().woken.remove(unit)
    }

    /// True once for a Kustomization whose objects are not as they were applied.
    pub fn take_drifted(&self, unit: &NamespacedName) -> bool {
        self.state().drifted.remove(unit)
    }
}

impl Record {
    /// Counts a change by another manager, unless the object is left to it.
    fn drifted(&mut self, manager: &str, now: Timestamp) -> ObservedChange {
        self.corrections.retain(|time| {
            Duration::try_from(now.duration_since(*time)).is_ok_and(|passed| passed < WINDOW)
        });
        if self.corrections.len() < CORRECTIONS {
            self.corrections.push(now);
            return ObservedChange::Drifted(self.unit.clone());
        }
        let contest = self.contest.as_ref();
        if contest.is_some_and(|contest| now < contest.until) {
            return ObservedChange::AsApplied;
        }
        self.contest = Some(Contest {
            until: now + WINDOW,
            manager: manager.to_owned(),
        });
        ObservedChange::Contested(self.unit.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object() -> ObjectRef {
        ObjectRef::new("v1", "ConfigMap", "a", "m")
    }

    #[test]
    fn a_change_of_another_manager_is_drift_and_too_many_are_a_contest() {
        let last_applied = LastApplied::default();
        let unit = NamespacedName::new("team", "app");
        let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(
            last_applied.observe(&object(), Some("1"), "hand", now),
            ObservedChange::AsApplied,
            "nobody's"
        );
        let hash = manifest_hash(&json!({"a": 1}));
        last_applied.begin(&object(), &unit);
        assert_eq!(
            last_applied.observe(&object(), Some("1"), "hand", now),
            ObservedChange::AsApplied,
            "being applied"
        );
        last_applied.end(&object(), hash, "1".to_owned(), now);
        assert!(last_applied.is_applied(&object(), &hash, "1", now));
        assert!(!last_applied.is_applied(
            &object(),
            &hash,
            "1",
            now + Duration::from_secs(12 * 3600 + 1)
        ));
        assert!(!last_applied.is_applied(&object(), &hash, "2", now));
        assert!(!last_applied.is_applied(&object(), &manifest_hash(&json!({})), "1", now));
        assert_eq!(
            last_applied.observe(&object(), Some("1"), "hand", now),
            ObservedChange::AsApplied
        );
        for _ in 0..CORRECTIONS {
            assert_eq!(
                last_applied.observe(&object(), None, "hand", now),
                ObservedChange::Drifted(unit.clone())
            );
            assert!(last_applied.take_drifted(&unit));
            now += Duration::from_secs(1);
        }
        assert_eq!(
            last_applied.observe(&object(), Some("2"), "hand", now),
            ObservedChange::Contested(unit.clone())
        );
        assert!(last_applied.take_drifted(&unit), "so that it is said");
        assert_eq!(
            last_applied.contested_by(&object(), now).as_deref(),
            Some("hand")
        );
        assert_eq!(
            last_applied.observe(&object(), Some("3"), "hand", now),
            ObservedChange::AsApplied
        );
        assert!(!last_applied.take_drifted(&unit));
        assert_eq!(last_applied.contested_by(&object(), now + WINDOW), None);
        assert_eq!(
            last_applied.observe(&object(), Some("2"), "hand", now + WINDOW),
            ObservedChange::Drifted(unit),
            "after a while it is tried again"
        );
        last_applied.forget(&object());
        assert_eq!(
            last_applied.observe(&object(), None, "hand", now),
            ObservedChange::AsApplied
        );
    }

    #[test]
    fn every_change_wakes_the_subscribers_of_an_object() {
        let last_applied = LastApplied::default();
        let unit = NamespacedName::new("team", "app");
        assert!(last_applied.wake_subscribers(&object()).is_empty());
        last_applied.wait_for(&unit, &[object()]);
        assert_eq!(
            last_applied.wake_subscribers(&object()),
            std::slice::from_ref(&unit)
        );
        assert!(last_applied.take_awaited(&unit));
        assert!(!last_applied.take_awaited(&unit), "once");
        last_applied.wait_for(&unit, &[]);
        assert!(last_applied.wake_subscribers(&object()).is_empty());
    }

    #[test]
    fn a_change_of_the_status_keeps_the_change_token() {
        let metadata = |more: Value| {
            let mut metadata = json!({"uid": "u", "resourceVersion": "1"});
            for (key, value) in more.as_object().into_iter().flatten() {
                metadata[key] = value.clone();
            }
            change_token(&serde_json::from_value(metadata).unwrap())
        };
        let with = |version: &str| metadata(json!({"generation": 2, "resourceVersion": version}));
        assert_eq!(with("1"), with("9"));
        assert_ne!(with("1"), metadata(json!({"generation": 3})));
        assert_ne!(
            with("1"),
            metadata(json!({"generation": 2, "labels": {"a": "b"}}))
        );
        assert_ne!(
            metadata(json!({"generation": 2, "labels": {"a": "b"}})),
            metadata(json!({"generation": 2, "annotations": {"a": "b"}}))
        );
        assert_ne!(
            metadata(json!({})),
            metadata(json!({"resourceVersion": "2"}))
        );
        assert_ne!(with("1"), metadata(json!({"generation": 2, "uid": "v"})));
    }
}

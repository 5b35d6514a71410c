//! Pure: what was applied last, object by object, so that what has not changed since costs no request.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::apply::object_ref::ObjectRef;
use crate::names::NamespacedName;

/// The hash of a manifest.
pub type Hash = [u8; 32];

/// Corrections of one object within [`WINDOW`] that look like a fight with another manager.
const FIGHT: usize = 5;
/// What controllers write beside the status, and nobody else.
const OF_CONTROLLERS: [&str; 6] = [
    "batch.kubernetes.io/",
    "deployment.kubernetes.io/",
    "endpoints.kubernetes.io/",
    "pv.kubernetes.io/",
    "volume.beta.kubernetes.io/",
    "volume.kubernetes.io/",
];
/// How far back corrections count, and how long a fight is left alone.
const WINDOW: Duration = Duration::from_secs(120);

/// What was applied, by the ids of objects.
#[derive(Debug, Default)]
pub struct Records(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Record>,
    /// Units whose objects are not as they were applied.
    drifted: BTreeSet<NamespacedName>,
    /// Objects that a unit waits for, by their ids.
    expected: BTreeMap<String, BTreeSet<NamespacedName>>,
    /// Units that wait for an object that has changed in whatever way.
    stirred: BTreeSet<NamespacedName>,
}

#[derive(Debug, Default)]
struct Record {
    unit: NamespacedName,
    hash: Hash,
    /// The shape after it was applied; nothing while it is being applied.
    shape: Option<String>,
    /// When it was applied, or found to be as it was.
    applied: Option<Timestamp>,
    corrections: Vec<Timestamp>,
    /// Left alone until then, since this manager wants it otherwise.
    rival: Option<(Timestamp, String)>,
}

/// What a change of an object means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It is as it was applied, or nobody here has applied it.
    Known,
    Drifted(NamespacedName),
    /// It was corrected so often that somebody else must want it otherwise; left alone for a while. Said once.
    Fought(NamespacedName),
}

/// What tells a change that matters from one of the status: the uid, labels and annotations, and the generation, or the
/// version for kinds that have none.
pub fn shape(metadata: &ObjectMeta) -> String {
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
    let short: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let uid = metadata.uid.as_deref().unwrap_or_default();
    match metadata.generation {
        Some(generation) if generation > 0 => format!("{uid} g{generation} {short}"),
        _ => {
            let version = metadata.resource_version.as_deref().unwrap_or_default();
            format!("{uid} v{version}")
        }
    }
}

/// After this time an object is asked for again, whatever is known of it: six to twelve hours, so that not all of them
/// are asked for at once.
fn sweep(hash: &Hash) -> Duration {
    const LEAST: u64 = 6 * 3600;
    let spread = u64::from(u16::from_le_bytes([hash[0], hash[1]]));
    Duration::from_secs(LEAST + LEAST * spread / u64::from(u16::MAX))
}

/// The hash of a manifest.
pub fn manifest_hash(manifest: &Value) -> Hash {
    Sha256::digest(manifest.to_string()).into()
}

/// The hash of a manifest as an account applies it.
pub fn account_hash(account: &str, hash: Hash) -> Hash {
    if account.is_empty() {
        return hash;
    }
    let mut both = Sha256::default();
    both.update(hash);
    both.update(account);
    both.finalize().into()
}

impl Records {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// True if the object was applied from this manifest and has kept its shape since; for some hours, so that what no
    /// watch has told is found in the end.
    pub fn is_applied(&self, object: &ObjectRef, hash: &Hash, shape: &str, now: Timestamp) -> bool {
        let state = self.state();
        let Some(record) = state.objects.get(&object.id()) else {
            return false;
        };
        let age = record.applied.map(|applied| now.duration_since(applied));
        let age = age
            .and_then(|age| Duration::try_from(age).ok())
            .unwrap_or_default();
        record.hash == *hash && record.shape.as_deref() == Some(shape) && age < sweep(hash)
    }

    /// Says that an object is about to be applied: what is seen of it now is our own doing.
    pub fn begin(&self, object: &ObjectRef, unit: &NamespacedName) {
        let mut state = self.state();
        let record = state.objects.entry(object.id()).or_default();
        record.unit.clone_from(unit);
        record.shape = None;
    }

    /// Says what an object is like after it was applied.
    pub fn end(&self, object: &ObjectRef, hash: Hash, shape: String, now: Timestamp) {
        let mut state = self.state();
        if let Some(record) = state.objects.get_mut(&object.id()) {
            record.hash = hash;
            record.shape = Some(shape);
            record.applied = Some(now);
        }
    }

    /// Forgets an object: it is about to be deleted, or is no longer looked after.
    pub fn forget(&self, object: &ObjectRef) {
        self.state().objects.remove(&object.id());
    }

    /// True if the object was applied from this manifest, whatever has become of it.
    pub fn was_applied(&self, object: &ObjectRef, hash: &Hash) -> bool {
        let state = self.state();
        let record = state.objects.get(&object.id());
        record.is_some_and(|record| record.hash == *hash && record.shape.is_some())
    }

    /// The manager that has an object to itself for a while.
    pub fn fought(&self, object: &ObjectRef, now: Timestamp) -> Option<String> {
        let state = self.state();
        let (until, manager) = state.objects.get(&object.id())?.rival.as_ref()?;
        (now < *until).then(|| manager.clone())
    }

    /// Lets a unit look at everything again.
    pub fn mark(&self, unit: &NamespacedName) {
        self.state().drifted.insert(unit.clone());
    }

    /// Takes note of the shape that an object has now, nothing for one that is gone, and of who has changed it.
    pub fn seen(
        &self,
        object: &ObjectRef,
        shape: Option<&str>,
        manager: &str,
        now: Timestamp,
    ) -> Seen {
        let mut state = self.state();
        let Some(record) = state.objects.get_mut(&object.id()) else {
            return Seen::Known;
        };
        if record.shape.is_none() || record.shape.as_deref() == shape {
            return Seen::Known;
        }
        let recent = |time: &Timestamp| {
            Duration::try_from(now.duration_since(*time)).is_ok_and(|passed| passed < WINDOW)
        };
        record.corrections.retain(recent);
        let unit = record.unit.clone();
        if record.corrections.len() >= FIGHT {
            if record.rival.as_ref().is_some_and(|(until, _)| now < *until) {
                return Seen::Known;
            }
            record.rival = Some((now + WINDOW, manager.to_owned()));
            state.drifted.insert(unit.clone());
            return Seen::Fought(unit);
        }
        record.corrections.push(now);
        state.drifted.insert(unit.clone());
        Seen::Drifted(unit)
    }

    /// Says for which objects a unit waits: from now on each change of one stirs it.
    pub fn wait_for(&self, unit: &NamespacedName, objects: &[ObjectRef]) {
        let mut state = self.state();
        for units in state.expected.values_mut() {
            units.remove(unit);
        }
        state.expected.retain(|_, units| !units.is_empty());
        for object in objects {
            state
                .expected
                .entry(object.id())
                .or_default()
                .insert(unit.clone());
        }
    }

    /// Takes note that an object has changed, also if only its status has; gives those that wait for it.
    pub fn stir(&self, object: &ObjectRef) -> Vec<NamespacedName> {
        let mut state = self.state();
        // Mostly nobody waits.
        if state.expected.is_empty() {
            return Vec::new();
        }
        let units = state
            .expected
            .get(&object.id())
            .cloned()
            .unwrap_or_default();
        state.stirred.extend(units.iter().cloned());
        units.into_iter().collect()
    }

    /// True once for a unit that waits for an object that has changed.
    pub fn take_stirred(&self, unit: &NamespacedName) -> bool {
        self.state().stirred.remove(unit)
    }

    /// True once for a unit whose objects are not as they were applied.
    pub fn take_drifted(&self, unit: &NamespacedName) -> bool {
        self.state().drifted.remove(unit)
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
    fn a_change_that_is_not_ours_is_drift_and_too_many_are_a_fight() {
        let records = Records::default();
        let unit = NamespacedName::new("team", "app");
        let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(
            records.seen(&object(), Some("1"), "hand", now),
            Seen::Known,
            "nobody's"
        );
        let hash = manifest_hash(&json!({"a": 1}));
        records.begin(&object(), &unit);
        assert_eq!(
            records.seen(&object(), Some("1"), "hand", now),
            Seen::Known,
            "being applied"
        );
        records.end(&object(), hash, "1".to_owned(), now);
        assert!(records.is_applied(&object(), &hash, "1", now));
        assert!(!records.is_applied(
            &object(),
            &hash,
            "1",
            now + Duration::from_secs(12 * 3600 + 1)
        ));
        assert!(!records.is_applied(&object(), &hash, "2", now));
        assert!(!records.is_applied(&object(), &manifest_hash(&json!({})), "1", now));
        assert_eq!(records.seen(&object(), Some("1"), "hand", now), Seen::Known);
        for _ in 0..FIGHT {
            assert_eq!(
                records.seen(&object(), None, "hand", now),
                Seen::Drifted(unit.clone())
            );
            assert!(records.take_drifted(&unit));
            now += Duration::from_secs(1);
        }
        assert_eq!(
            records.seen(&object(), Some("2"), "hand", now),
            Seen::Fought(unit.clone())
        );
        assert!(records.take_drifted(&unit), "so that it is said");
        assert_eq!(records.fought(&object(), now).as_deref(), Some("hand"));
        assert_eq!(records.seen(&object(), Some("3"), "hand", now), Seen::Known);
        assert!(!records.take_drifted(&unit));
        assert_eq!(records.fought(&object(), now + WINDOW), None);
        assert_eq!(
            records.seen(&object(), Some("2"), "hand", now + WINDOW),
            Seen::Drifted(unit),
            "after a while it is tried again"
        );
        records.forget(&object());
        assert_eq!(records.seen(&object(), None, "hand", now), Seen::Known);
    }

    #[test]
    fn who_waits_for_an_object_is_stirred_by_every_change() {
        let records = Records::default();
        let unit = NamespacedName::new("team", "app");
        assert!(records.stir(&object()).is_empty());
        records.wait_for(&unit, &[object()]);
        assert_eq!(records.stir(&object()), std::slice::from_ref(&unit));
        assert!(records.take_stirred(&unit));
        assert!(!records.take_stirred(&unit), "once");
        records.wait_for(&unit, &[]);
        assert!(records.stir(&object()).is_empty());
    }

    #[test]
    fn a_change_of_the_status_keeps_the_shape() {
        let metadata = |more: Value| {
            let mut metadata = json!({"uid": "u", "resourceVersion": "1"});
            for (key, value) in more.as_object().into_iter().flatten() {
                metadata[key] = value.clone();
            }
            shape(&serde_json::from_value(metadata).unwrap())
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

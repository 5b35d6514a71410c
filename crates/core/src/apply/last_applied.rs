//! Pure: the last-applied state of each object, so that an object which has not changed since costs no request.
//!
//! An object is known by the hash of its manifest and by its change token ([`change_token`]) right after the apply. A
//! watch compares the token at every change: another token may be drift, unless an apply is under way, and the object is
//! compared. Drift that comes back after several corrections means that another manager wants the object otherwise; it is
//! then left for a while, until its manifest changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::api::annotations::FORCE_SYNC;
use crate::apply::desired::{Desired, Hash};
use crate::apply::object_ref::ObjectRef;
use crate::apply::skip::control;
use crate::names::NamespacedName;

/// After this number of corrections within [`WINDOW`] an object counts as contested by another manager.
const CORRECTIONS: usize = 5;
/// Prefixes of annotations and labels that say nothing of what git describes: only controllers of Kubernetes write them,
/// or people who request something.
const OF_CONTROLLERS: [&str; 9] = [
    "autoscaling.alpha.kubernetes.io/",
    "batch.kubernetes.io/",
    "deployment.kubernetes.io/",
    "endpoints.kubernetes.io/",
    // Requests by hand, which are handled and mean no change.
    FORCE_SYNC,
    "reconcile.fluxcd.io/",
    "pv.kubernetes.io/",
    "volume.beta.kubernetes.io/",
    "volume.kubernetes.io/",
];
/// So many changes of an object are remembered while it is being applied.
const REMEMBERED_CHANGES: usize = 4;
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
    /// It is removed some time after it has finished, so that its absence is no drift.
    expires: bool,
    /// Its manifest says `prune: disabled`.
    is_kept: bool,
    /// The last change tokens that a watch has told and that were others than the one after the apply, with the number of
    /// each.
    changes: VecDeque<(u64, Option<String>)>,
    /// The number of all such changes.
    count: u64,
}

/// The state of an object after its apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedState {
    /// The hash of its manifest.
    pub hash: Hash,
    /// Its change token.
    pub token: String,
    /// The [number of changes](LastApplied::changes) before it was tried.
    pub since: u64,
}

/// Whether an object is as it was tried, after its apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterApply {
    /// It is.
    AsTried,
    /// Another manager has changed it between the dry run and the apply, or right after, so that it must be compared.
    ChangedMeanwhile,
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
    /// Another manager has changed an object of this Kustomization, which must compare it.
    Drifted(NamespacedName),
}

/// Tells a change that matters from one of the status: the uid, labels, annotations, and the generation. It begins with the
/// uid.
///
/// Kinds without a generation are known by the last write of each manager, since their version moves with each write of
/// the status; and those that have no status by their version.
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
    let uid = metadata.uid.as_deref().unwrap_or_default();
    if let Some(generation) = metadata.generation.filter(|generation| *generation > 0) {
        return format!("{uid} g{generation} {}", short(hash));
    }
    let entries = metadata.managed_fields.iter().flatten();
    let subresource = |entry: &ManagedFieldsEntry| entry.subresource.clone().unwrap_or_default();
    if !entries.clone().any(|entry| subresource(entry) == "status") {
        let version = metadata.resource_version.as_deref().unwrap_or_default();
        return format!("{uid} v{version}");
    }
    for entry in entries.filter(|entry| subresource(entry).is_empty()) {
        let time = entry.time.as_ref().map(|time| time.0.to_string());
        for text in [&entry.manager, &entry.operation, &time] {
            hash.update(text.as_deref().unwrap_or_default());
            hash.update([0xff]);
        }
    }
    format!("{uid} m{}", short(hash))
}

/// The beginning of a digest, in hexadecimal digits.
fn short(hash: Sha256) -> String {
    let digest = hash.finalize();
    HEXLOWER.encode(&digest[..8])
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

    /// The number of changes of an object that were not as it was applied; to be asked before it is tried.
    pub fn changes(&self, object: &ObjectRef) -> u64 {
        let state = self.state();
        let record = state.objects.get(&object.id());
        record.map_or(0, |record| record.count)
    }

    /// Notes the state of an object after its apply.
    pub fn end(&self, desired: &Desired, applied: AppliedState, now: Timestamp) -> AfterApply {
        let mut state = self.state();
        let Some(record) = state.objects.get_mut(&desired.reference.id()) else {
            return AfterApply::AsTried;
        };
        let AppliedState { hash, token, since } = applied;
        let mut changes = record.changes.iter();
        let is_changed = changes
            .any(|(number, seen)| *number > since && seen.as_deref() != Some(token.as_str()));
        if !is_changed {
            record.note(desired, hash, token, now);
            return AfterApply::AsTried;
        }
        // No object has this token.
        record.note(desired, hash, String::new(), now);
        AfterApply::ChangedMeanwhile
    }

    /// Notes that an object of a Kustomization was compared with its manifest and has no difference.
    pub fn compared(
        &self,
        desired: &Desired,
        unit: &NamespacedName,
        (hash, token): (Hash, String),
        now: Timestamp,
    ) {
        let mut state = self.state();
        let record = state.objects.entry(desired.reference.id()).or_default();
        record.unit.clone_from(unit);
        record.note(desired, hash, token, now);
    }

    /// Counts a correction of an object: the same manifest was applied again, and has changed something.
    pub fn corrected(&self, object: &ObjectRef, now: Timestamp) {
        if let Some(record) = self.state().objects.get_mut(&object.id()) {
            record.forget_corrections(now);
            record.corrections.push(now);
        }
    }

    /// Decides about a difference that would be corrected: true if the object was corrected so often that the manager
    /// must want it otherwise. It is then left to that manager for a while.
    pub fn contest(&self, object: &ObjectRef, manager: &str, now: Timestamp) -> bool {
        let mut state = self.state();
        let Some(record) = state.objects.get_mut(&object.id()) else {
            return false;
        };
        record.forget_corrections(now);
        if record.corrections.len() < CORRECTIONS {
            return false;
        }
        record.contest = Some(Contest {
            until: now + WINDOW,
            manager: manager.to_owned(),
        });
        true
    }

    /// True for an object that was applied from this manifest and is removed when it has done its work, so that it is not
    /// created again when it is gone.
    pub fn is_spent(&self, object: &ObjectRef, hash: &Hash) -> bool {
        let state = self.state();
        let record = state.objects.get(&object.id());
        record.is_some_and(|record| record.expires && record.is_of(hash))
    }

    /// The Kustomization that has applied an object last, if this process has.
    pub fn owner(&self, object: &ObjectRef) -> Option<NamespacedName> {
        let state = self.state();
        let record = state.objects.get(&object.id());
        let record = record.filter(|record| record.token.is_some())?;
        Some(record.unit.clone())
    }

    /// True if the manifest that was applied last says that the object is never deleted.
    pub fn is_kept(&self, object: &ObjectRef) -> bool {
        let state = self.state();
        let record = state.objects.get(&object.id());
        record.is_some_and(|record| record.is_kept)
    }

    /// Forgets an object that is about to be deleted.
    pub fn forget(&self, object: &ObjectRef) {
        self.state().objects.remove(&object.id());
    }

    /// True if the object was applied from this manifest, also if it has changed since.
    pub fn was_applied(&self, object: &ObjectRef, hash: &Hash) -> bool {
        let state = self.state();
        let record = state.objects.get(&object.id());
        record.is_some_and(|record| record.is_of(hash))
    }

    /// The manager to which a contested object is left for now. A new manifest is applied nevertheless.
    pub fn contested_by(&self, object: &ObjectRef, hash: &Hash, now: Timestamp) -> Option<String> {
        let state = self.state();
        let record = state.objects.get(&object.id())?;
        let contest = record.contest.as_ref().filter(|_| record.is_of(hash))?;
        (now < contest.until).then(|| contest.manager.clone())
    }

    /// Lets a Kustomization compare all of its objects.
    pub fn mark(&self, unit: &NamespacedName) {
        self.state().drifted.insert(unit.clone());
    }

    /// Notes the change token that an object has now; none for a deleted object.
    pub fn observe(
        &self,
        object: &ObjectRef,
        token: Option<&str>,
        now: Timestamp,
    ) -> ObservedChange {
        let mut state = self.state();
        let Some(record) = state.objects.get_mut(&object.id()) else {
            return ObservedChange::AsApplied;
        };
        if record.token.as_deref() != token {
            record.count += 1;
            let change = (record.count, token.map(str::to_owned));
            record.changes.push_back(change);
            if record.changes.len() > REMEMBERED_CHANGES {
                record.changes.pop_front();
            }
        }
        let is_applied = record.token.is_none() || record.token.as_deref() == token;
        let is_done = token.is_none() && record.expires;
        let contest = record.contest.as_ref();
        if is_applied || is_done || contest.is_some_and(|contest| now < contest.until) {
            return ObservedChange::AsApplied;
        }
        let unit = record.unit.clone();
        state.drifted.insert(unit.clone());
        ObservedChange::Drifted(unit)
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
    /// True if the object was applied from this manifest.
    fn is_of(&self, hash: &Hash) -> bool {
        self.hash == *hash && self.token.is_some()
    }

    fn note(&mut self, desired: &Desired, hash: Hash, token: String, now: Timestamp) {
        if self.hash != hash {
            self.corrections.clear();
            self.contest = None;
        }
        self.hash = hash;
        self.token = Some(token);
        self.applied = Some(now);
        self.expires = desired.expires();
        self.is_kept = control(&desired.manifest, "prune", "disabled");
    }

    fn forget_corrections(&mut self, now: Timestamp) {
        self.corrections.retain(|time| {
            Duration::try_from(now.duration_since(*time)).is_ok_and(|passed| passed < WINDOW)
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object() -> ObjectRef {
        ObjectRef::new("v1", "ConfigMap", "a", "m")
    }

    fn desired(manifest: Value) -> Desired {
        Desired {
            reference: object(),
            manifest,
            source: None,
            hash: [0; 32],
        }
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    /// The last-applied state after a manifest of `team/app` was applied, with its hash; its change token is `1`.
    fn applied(desired: &Desired) -> (LastApplied, Hash) {
        let last_applied = LastApplied::default();
        let hash = manifest_hash(&desired.manifest);
        last_applied.begin(&desired.reference, &NamespacedName::new("team", "app"));
        let state = AppliedState {
            hash,
            token: "1".to_owned(),
            since: 0,
        };
        let after = last_applied.end(desired, state, now());
        assert_eq!(after, AfterApply::AsTried);
        (last_applied, hash)
    }

    #[test]
    fn a_change_of_another_manager_is_compared() {
        let (desired, now) = (desired(json!({"a": 1})), now());
        let nobody = LastApplied::default();
        let change = nobody.observe(&object(), Some("1"), now);
        assert_eq!(change, ObservedChange::AsApplied, "nobody's");
        let (last_applied, hash) = applied(&desired);
        assert!(last_applied.is_applied(&object(), &hash, "1", now));
        let later = now + Duration::from_secs(12 * 3600 + 1);
        assert!(!last_applied.is_applied(&object(), &hash, "1", later));
        assert!(!last_applied.is_applied(&object(), &hash, "2", now));
        assert!(!last_applied.is_applied(&object(), &manifest_hash(&json!({})), "1", now));
        let observe = |token: Option<&str>| last_applied.observe(&object(), token, now);
        assert_eq!(observe(Some("1")), ObservedChange::AsApplied);
        let unit = NamespacedName::new("team", "app");
        assert_eq!(observe(Some("2")), ObservedChange::Drifted(unit.clone()));
        assert_eq!(observe(None), ObservedChange::Drifted(unit.clone()));
        assert!(last_applied.take_drifted(&unit));
        let compared = (hash, "2".to_owned());
        last_applied.compared(&desired, &unit, compared, now);
        assert_eq!(observe(Some("2")), ObservedChange::AsApplied);
        assert_eq!(last_applied.owner(&object()), Some(unit.clone()));
        last_applied.begin(&object(), &unit);
        assert_eq!(last_applied.owner(&object()), None, "being applied");
        assert_eq!(
            observe(Some("3")),
            ObservedChange::AsApplied,
            "being applied"
        );
        last_applied.forget(&object());
        assert_eq!(observe(None), ObservedChange::AsApplied);
    }

    #[test]
    fn too_many_corrections_are_a_contest_until_the_manifest_changes() {
        let (old, mut now) = (desired(json!({"a": 1})), now());
        let (last_applied, hash) = applied(&old);
        let unit = NamespacedName::new("team", "app");
        // What changes no field that git sets is no correction, however often it happens.
        for number in 0..50 {
            let compared = (hash, format!("hpa {number}"));
            last_applied.compared(&old, &unit, compared, now);
        }
        for _ in 0..CORRECTIONS {
            assert!(!last_applied.contest(&object(), "hand", now));
            last_applied.corrected(&object(), now);
            now += Duration::from_secs(1);
        }
        assert_eq!(last_applied.contested_by(&object(), &hash, now), None);
        assert!(last_applied.contest(&object(), "hand", now));
        let contested = |now| last_applied.contested_by(&object(), &hash, now);
        assert_eq!(contested(now).as_deref(), Some("hand"));
        let change = last_applied.observe(&object(), Some("3"), now);
        assert_eq!(change, ObservedChange::AsApplied);
        assert_eq!(contested(now + WINDOW), None);
        let after = last_applied.observe(&object(), Some("2"), now + WINDOW);
        assert_eq!(after, ObservedChange::Drifted(unit), "it is tried again");
        assert!(!last_applied.contest(&object(), "hand", now + WINDOW));
        // A commit is applied at once, and begins anew.
        let new = manifest_hash(&json!({"a": 2}));
        assert_eq!(last_applied.contested_by(&object(), &new, now), None);
        let state = AppliedState {
            hash: new,
            token: "4".to_owned(),
            since: last_applied.changes(&object()),
        };
        last_applied.end(&desired(json!({"a": 2})), state, now);
        assert!(!last_applied.contest(&object(), "hand", now));
    }

    #[test]
    fn a_change_between_the_dry_run_and_the_apply_is_compared() {
        let check = |changes: &[&str], expected: AfterApply| {
            let desired = desired(json!({"a": 1}));
            let (last_applied, hash) = applied(&desired);
            last_applied.observe(&object(), Some("early"), now());
            let since = last_applied.changes(&object());
            last_applied.begin(&object(), &NamespacedName::new("team", "app"));
            for token in changes {
                let change = last_applied.observe(&object(), Some(token), now());
                assert_eq!(change, ObservedChange::AsApplied, "being applied");
            }
            let token = "ours".to_owned();
            let state = AppliedState { hash, token, since };
            assert_eq!(
                last_applied.end(&desired, state, now()),
                expected,
                "{changes:?}"
            );
            let is_known = last_applied.is_applied(&object(), &hash, "ours", now());
            assert_eq!(is_known, expected == AfterApply::AsTried);
        };
        check(&[], AfterApply::AsTried);
        check(&["ours"], AfterApply::AsTried);
        check(&["theirs"], AfterApply::ChangedMeanwhile);
        check(&["theirs", "ours"], AfterApply::ChangedMeanwhile);
        check(&["ours", "theirs"], AfterApply::ChangedMeanwhile);
    }

    #[test]
    fn a_job_that_is_gone_has_done_its_work() {
        let job = |manifest: Value| Desired {
            reference: ObjectRef::new("batch/v1", "Job", "a", "m"),
            ..desired(manifest)
        };
        for (manifest, is_spent) in [
            (json!({"spec": {"ttlSecondsAfterFinished": 0}}), true),
            (json!({"spec": {}}), false),
        ] {
            let job = job(manifest);
            let (last_applied, hash) = applied(&job);
            let change = last_applied.observe(&job.reference, None, now());
            assert_eq!(change == ObservedChange::AsApplied, is_spent);
            assert_eq!(last_applied.is_spent(&job.reference, &hash), is_spent);
            let other = manifest_hash(&json!({}));
            assert!(!last_applied.is_spent(&job.reference, &other), "a new Job");
        }
    }

    #[test]
    fn the_wish_to_be_kept_is_remembered() {
        let kept =
            json!({"metadata": {"annotations": {"kustomize.toolkit.fluxcd.io/prune": "Disabled"}}});
        assert!(applied(&desired(kept)).0.is_kept(&object()));
        assert!(!applied(&desired(json!({}))).0.is_kept(&object()));
        assert!(!LastApplied::default().is_kept(&object()));
    }

    #[test]
    fn a_status_of_a_kind_without_generations_keeps_the_change_token() {
        let entry = |manager: &str, subresource: &str, time: &str| json!({"manager": manager, "operation": "Update", "subresource": subresource, "time": time});
        let token = |version: &str, entries: Vec<Value>| {
            let metadata =
                json!({"uid": "u", "resourceVersion": version, "managedFields": entries});
            change_token(&serde_json::from_value(metadata).unwrap())
        };
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:15Z");
        let ours = || entry("overlayd", "", early);
        let with =
            |version: &str, time: &str| token(version, vec![ours(), entry("hpa", "status", time)]);
        assert_eq!(with("1", early), with("2", late), "a status");
        let edited = token(
            "3",
            vec![
                ours(),
                entry("hpa", "status", early),
                entry("hand", "", late),
            ],
        );
        assert_ne!(with("1", early), edited);
        assert_ne!(
            token("1", vec![ours()]),
            token("2", vec![ours()]),
            "no status"
        );
    }

    #[test]
    fn a_request_by_hand_keeps_the_change_token() {
        let token = |annotations: Value| {
            let metadata = json!({"uid": "u", "generation": 1, "annotations": annotations});
            change_token(&serde_json::from_value(metadata).unwrap())
        };
        let none = token(json!({}));
        assert_eq!(
            none,
            token(json!({"reconcile.fluxcd.io/requestedAt": "now"}))
        );
        assert_eq!(none, token(json!({"force-sync": "now"})));
        assert_ne!(none, token(json!({"other": "now"})));
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

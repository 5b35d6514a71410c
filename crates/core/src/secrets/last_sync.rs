//! Pure: the last-sync cache. It holds what a status does not say: a refresh that changed nothing is not written down.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::{Mutex, MutexGuard};

use crate::api::external_secret::ExternalSecretStatus;
use crate::names::NamespacedName;
use crate::reconcile_cache::Fingerprint;
use crate::secrets::contention::RepairHistory;
use crate::secrets::hash::RenderedHash;

/// The last sync of one ExternalSecret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastSync {
    /// The uid of the ExternalSecret: another object may get the same name later.
    pub uid: String,
    /// `syncedResourceVersion` of the ExternalSecret that was synced.
    pub version: String,
    /// When the values were read, or known to be the same.
    pub refreshed: Timestamp,
    /// True if no sync has failed since. The condition says so too, but the status that was written last may not have
    /// come back from the watch yet.
    pub is_ready: bool,
    /// Which stores were read, and the generations of their specs.
    pub stores: Fingerprint,
    /// The resource version of the Secret; empty if there is none.
    pub secret_version: String,
    /// The hash of the rendered Secret. `None` if this process did not render it.
    pub rendered: Option<RenderedHash>,
    /// The repairs of the Secret.
    pub repairs: RepairHistory,
}

/// The last sync of each ExternalSecret.
#[derive(Debug, Default)]
pub struct LastSyncCache(Mutex<BTreeMap<NamespacedName, LastSync>>);

impl LastSyncCache {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NamespacedName, LastSync>> {
        self.0.lock()
    }

    /// The last sync of the object that has this name and uid.
    pub fn get(&self, name: &NamespacedName, uid: &str) -> Option<LastSync> {
        let last = self.lock().get(name).cloned();
        last.filter(|last| last.uid == uid)
    }

    /// Records a sync.
    pub fn set(&self, name: &NamespacedName, sync: LastSync) {
        self.lock().insert(name.clone(), sync);
    }

    /// Records that a sync has failed since the last one.
    pub fn failed(&self, name: &NamespacedName) {
        if let Some(last) = self.lock().get_mut(name) {
            last.is_ready = false;
        }
    }

    /// How many ExternalSecrets are known.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// True if none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets an ExternalSecret that is gone.
    pub fn forget(&self, name: &NamespacedName) {
        self.lock().remove(name);
    }
}

/// The status as it would be if every refresh were written down.
pub fn effective_status(
    status: &ExternalSecretStatus,
    last_sync: Option<&LastSync>,
) -> ExternalSecretStatus {
    let mut status = status.clone();
    let written = status.refresh_time.as_ref().map(|time| time.0);
    if let Some(last) = last_sync
        && written.is_none_or(|written| written < last.refreshed)
    {
        status.refresh_time = Some(Time(last.refreshed));
        status.synced_resource_version = Some(last.version.clone());
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_in_the_cache_counts_where_it_is_newer_than_the_status() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let last_sync = LastSync {
            uid: "u".into(),
            version: "2-b".into(),
            refreshed: time("2026-01-01T00:05:00Z"),
            is_ready: true,
            stores: Fingerprint::of(["s"]),
            secret_version: "7".into(),
            rendered: None,
            repairs: RepairHistory::default(),
        };
        let written = |at: &str| ExternalSecretStatus {
            refresh_time: Some(Time(time(at))),
            synced_resource_version: Some("1-a".into()),
            ..ExternalSecretStatus::default()
        };
        let version = |status: ExternalSecretStatus| status.synced_resource_version.unwrap();
        let old = written("2026-01-01T00:00:00Z");
        assert_eq!(version(effective_status(&old, Some(&last_sync))), "2-b");
        let new = written("2026-01-01T00:09:00Z");
        assert_eq!(version(effective_status(&new, Some(&last_sync))), "1-a");
        assert_eq!(version(effective_status(&old, None)), "1-a");
        let cache = LastSyncCache::default();
        let name = NamespacedName::new("team", "db");
        cache.set(&name, last_sync);
        assert!(cache.get(&name, "u").is_some());
        assert!(cache.get(&name, "another").is_none());
        cache.failed(&name);
        assert!(!cache.get(&name, "u").unwrap().is_ready);
        cache.forget(&name);
        assert!(cache.get(&name, "u").is_none());
    }
}

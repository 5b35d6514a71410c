//! Pure: what was synced last, for what the status does not say: refreshes that changed nothing are not written down.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::external_secret::ExternalSecretStatus;
use crate::names::NamespacedName;

/// The last sync of one ExternalSecret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastSync {
    /// Of the ExternalSecret, for one of the same name may come after it.
    pub uid: String,
    /// The version of the ExternalSecret.
    pub version: String,
    pub refreshed: Timestamp,
    /// It ended well. The condition says so too, but what was written last may not have come back yet.
    pub ready: bool,
    /// Which stores were read from, and in which state of their specs.
    pub stores: u64,
    /// The resource version of the Secret; empty if there is none.
    pub secret: String,
    /// The hash of what was rendered.
    pub rendered: [u8; 32],
}

/// The last sync of each ExternalSecret, by namespace and name.
#[derive(Debug, Default)]
pub struct LastSyncCache(Mutex<BTreeMap<NamespacedName, LastSync>>);

impl LastSyncCache {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NamespacedName, LastSync>> {
        self.0.lock()
    }

    /// The last sync of this very object.
    pub fn get(&self, user: &NamespacedName, uid: &str) -> Option<LastSync> {
        let synced = self.lock().get(user).cloned();
        synced.filter(|synced| synced.uid == uid)
    }

    pub fn set(&self, user: &NamespacedName, synced: LastSync) {
        self.lock().insert(user.clone(), synced);
    }

    /// Takes note that a sync has failed since.
    pub fn failed(&self, user: &NamespacedName) {
        if let Some(synced) = self.lock().get_mut(user) {
            synced.ready = false;
        }
    }

    /// Forgets an ExternalSecret that is gone.
    pub fn forget(&self, user: &NamespacedName) {
        self.lock().remove(user);
    }
}

/// The status as it would be if every refresh were written down.
pub fn effective(status: &ExternalSecretStatus, synced: Option<&LastSync>) -> ExternalSecretStatus {
    let mut status = status.clone();
    let written = status.refresh_time.as_ref().map(|time| time.0);
    if let Some(synced) = synced
        && written.is_none_or(|written| written < synced.refreshed)
    {
        status.refresh_time = Some(Time(synced.refreshed));
        status.synced_resource_version = Some(synced.version.clone());
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_counts_where_it_is_newer_than_what_is_written() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let synced = LastSync {
            uid: "u".into(),
            version: "2-b".into(),
            refreshed: time("2026-01-01T00:05:00Z"),
            ready: true,
            stores: 0,
            secret: "7".into(),
            rendered: [0; 32],
        };
        let written = |at: &str| ExternalSecretStatus {
            refresh_time: Some(Time(time(at))),
            synced_resource_version: Some("1-a".into()),
            ..ExternalSecretStatus::default()
        };
        let version = |status: ExternalSecretStatus| status.synced_resource_version.unwrap();
        let old = written("2026-01-01T00:00:00Z");
        assert_eq!(version(effective(&old, Some(&synced))), "2-b");
        let new = written("2026-01-01T00:09:00Z");
        assert_eq!(version(effective(&new, Some(&synced))), "1-a");
        assert_eq!(version(effective(&old, None)), "1-a");
        let syncs = LastSyncCache::default();
        let user = NamespacedName::new("team", "db");
        syncs.set(&user, synced);
        assert!(syncs.get(&user, "u").is_some());
        assert!(syncs.get(&user, "another").is_none());
        syncs.failed(&user);
        assert!(!syncs.get(&user, "u").unwrap().ready);
    }
}

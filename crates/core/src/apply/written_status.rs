//! Pure: the last status that was written of each Kustomization, for as long as the watch has not brought it.
//!
//! A reconcile may begin before its own last write has come back. What it would take for the inventory then is an old
//! one, and what was applied since would be forgotten.

use parking_lot::Mutex;
use std::collections::BTreeMap;

use kube::ResourceExt as _;

use crate::api::kustomization::{Kustomization, KustomizationStatus};
use crate::names::NamespacedName;

/// Namespace and name of a Kustomization.
pub fn unit_of(object: &Kustomization) -> NamespacedName {
    NamespacedName::of(object)
}

/// What was written last.
#[derive(Debug, Default)]
pub struct Written(Mutex<BTreeMap<NamespacedName, Entry>>);

#[derive(Debug)]
struct Entry {
    uid: Option<String>,
    version: u64,
    status: KustomizationStatus,
}

impl Written {
    /// The status as it is, by all that is known: that of the object, or the one that was written since.
    pub fn newest(&self, object: &Kustomization) -> KustomizationStatus {
        let mut all = self.0.lock();
        let unit = unit_of(object);
        let newer = all.get(&unit).filter(|entry| {
            let seen = version(object.resource_version().as_deref());
            entry.uid == object.uid() && seen.is_some_and(|seen| seen < entry.version)
        });
        match newer {
            Some(entry) => entry.status.clone(),
            None => {
                all.remove(&unit);
                object.status.clone().unwrap_or_default()
            }
        }
    }

    /// Takes note of a status that was written, and of the version that the object has now.
    pub fn put(&self, object: &Kustomization, new: Option<&str>, status: &KustomizationStatus) {
        let Some(version) = version(new) else {
            return;
        };
        let entry = Entry {
            uid: object.uid(),
            version,
            status: status.clone(),
        };
        let mut all = self.0.lock();
        all.insert(unit_of(object), entry);
    }

    /// Forgets a Kustomization that is gone.
    pub fn forget(&self, unit: &NamespacedName) {
        self.0.lock().remove(unit);
    }
}

/// Versions of one kind are numbers that grow, as Kubernetes promises since 1.35 and has always done.
fn version(text: Option<&str>) -> Option<u64> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_written_counts_until_the_watch_has_brought_it() {
        let object = |version: &str, revision: &str| -> Kustomization {
            serde_json::from_value(json!({
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                "metadata": {"name": "app", "namespace": "team", "uid": "u", "resourceVersion": version},
                "spec": {"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "r"}},
                "status": {"lastAppliedRevision": revision},
            }))
            .unwrap()
        };
        let written = Written::default();
        let is = |object: &Kustomization| written.newest(object).last_applied_revision.unwrap();
        assert_eq!(is(&object("5", "old")), "old");
        let status = object("7", "new").status.unwrap();
        written.put(&object("5", "old"), Some("7"), &status);
        assert_eq!(is(&object("5", "old")), "new");
        assert_eq!(is(&object("6", "old")), "new");
        assert_eq!(is(&object("8", "newer")), "newer");
        assert_eq!(
            is(&object("5", "old")),
            "old",
            "it was brought, and is not kept"
        );
    }
}

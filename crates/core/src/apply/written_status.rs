//! Pure: the last status that was written of each Kustomization, until the watch has brought it.
//!
//! A reconcile may begin before the watch has brought the last status write. It would then take an old inventory for the
//! current one, and forget objects that were applied since.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use parking_lot::Mutex;

use crate::api::kustomization::{Kustomization, KustomizationStatus};
use crate::names::NamespacedName;

/// The statuses that were written and that the watch has not brought yet.
#[derive(Debug, Default)]
pub struct WrittenStatuses(Mutex<BTreeMap<NamespacedName, WrittenStatus>>);

#[derive(Debug)]
struct WrittenStatus {
    /// A Kustomization that was deleted and created again has another uid, and nothing of the old one.
    uid: Option<String>,
    /// The resource version that the write made.
    version: u64,
    status: KustomizationStatus,
}

impl WrittenStatuses {
    /// The newest known status: that of the object, or the status that was written since. A written status that the
    /// watch has brought is forgotten.
    pub fn newest(&self, object: &Kustomization) -> KustomizationStatus {
        let mut all = self.0.lock();
        let name = NamespacedName::of(object);
        let newer = all.get(&name).filter(|written| {
            let seen = version(object.resource_version().as_deref());
            written.uid == object.uid() && seen.is_some_and(|seen| seen < written.version)
        });
        match newer {
            Some(written) => written.status.clone(),
            None => {
                all.remove(&name);
                object.status.clone().unwrap_or_default()
            }
        }
    }

    /// Records a status that was written, and the resource version that the object has since.
    pub fn put(
        &self,
        object: &Kustomization,
        new_version: Option<&str>,
        status: &KustomizationStatus,
    ) {
        let Some(version) = version(new_version) else {
            return;
        };
        let written = WrittenStatus {
            uid: object.uid(),
            version,
            status: status.clone(),
        };
        let mut all = self.0.lock();
        all.insert(NamespacedName::of(object), written);
    }

    /// Forgets a Kustomization that was deleted.
    pub fn forget(&self, name: &NamespacedName) {
        self.0.lock().remove(name);
    }
}

/// A resource version as a number. Versions of one kind grow, which Kubernetes promises since 1.35 and has always done.
fn version(text: Option<&str>) -> Option<u64> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_written_status_counts_until_the_watch_has_brought_it() {
        let object = |version: &str, revision: &str| -> Kustomization {
            serde_json::from_value(json!({
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                "metadata": {"name": "app", "namespace": "team", "uid": "u", "resourceVersion": version},
                "spec": {"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "r"}},
                "status": {"lastAppliedRevision": revision},
            }))
            .unwrap()
        };
        let written = WrittenStatuses::default();
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
            "the watch has brought it, so it is forgotten"
        );
    }

    #[test]
    fn a_status_of_another_uid_or_a_forgotten_one_does_not_count() {
        let object = |uid: &str, revision: &str| -> Kustomization {
            serde_json::from_value(json!({
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                "metadata": {"name": "app", "namespace": "team", "uid": uid, "resourceVersion": "5"},
                "spec": {"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "r"}},
                "status": {"lastAppliedRevision": revision},
            }))
            .unwrap()
        };
        let written = WrittenStatuses::default();
        let is = |object: &Kustomization| written.newest(object).last_applied_revision.unwrap();
        let new = object("u", "new").status.unwrap();
        written.put(&object("u", "old"), Some("7"), &new);
        assert_eq!(is(&object("v", "other")), "other");
        written.put(&object("u", "old"), Some("7"), &new);
        written.forget(&NamespacedName::new("team", "app"));
        assert_eq!(is(&object("u", "old")), "old");
        written.put(&object("u", "old"), None, &new);
        assert_eq!(is(&object("u", "old")), "old", "no version to compare");
    }
}

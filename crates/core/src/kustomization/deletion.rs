//! Pure: what becomes of the applied objects when their Kustomization is deleted.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::kustomization::{KustomizationDeletionPolicy, KustomizationSpec};

/// What becomes of the applied objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionWork {
    /// They stay.
    Orphan,
    /// They are deleted, and the Kustomization does not wait until they are gone.
    Prune,
    /// They are deleted, and the Kustomization waits until they are gone or its timeout has passed.
    PruneAndWait,
}

/// Decides by the deletion policy; without one, `spec.prune` decides. A suspended Kustomization deletes nothing, as under
/// Flux.
pub fn deletion_work(spec: &KustomizationSpec) -> DeletionWork {
    use KustomizationDeletionPolicy::{Delete, MirrorPrune, Orphan, WaitForTermination};
    match spec.deletion_policy.unwrap_or(MirrorPrune) {
        _ if spec.suspend => DeletionWork::Orphan,
        Orphan => DeletionWork::Orphan,
        MirrorPrune if !spec.prune => DeletionWork::Orphan,
        MirrorPrune | Delete => DeletionWork::Prune,
        WaitForTermination => DeletionWork::PruneAndWait,
    }
}

/// True if a deletion that was requested at a time has waited for the timeout.
pub fn has_timed_out(requested: Option<Timestamp>, timeout: Duration, now: Timestamp) -> bool {
    let waited = requested.map(|requested| now.duration_since(requested));
    let waited = waited.and_then(|waited| Duration::try_from(waited).ok());
    waited.unwrap_or_default() >= timeout
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kustomization::fixture::kustomization;

    #[test]
    fn the_policy_decides_and_without_one_prune_does() {
        use DeletionWork::{Orphan, Prune, PruneAndWait};
        let check = |fields: Value, expected: DeletionWork| {
            let spec = kustomization("app", &fields, &json!({})).spec;
            assert_eq!(deletion_work(&spec), expected, "{fields}");
        };
        check(json!({}), Prune);
        check(json!({"prune": false}), Orphan);
        check(json!({"deletionPolicy": "MirrorPrune"}), Prune);
        check(json!({"deletionPolicy": "Delete", "prune": false}), Prune);
        check(json!({"deletionPolicy": "Orphan"}), Orphan);
        check(
            json!({"deletionPolicy": "WaitForTermination"}),
            PruneAndWait,
        );
        check(json!({"deletionPolicy": "Delete", "suspend": true}), Orphan);
    }

    #[test]
    fn a_deletion_waits_for_its_timeout() {
        let at = |seconds: i64| Timestamp::from_second(1_767_225_600 + seconds).unwrap();
        let check = |requested: Option<Timestamp>, expected: bool| {
            let timeout = Duration::from_secs(30);
            assert_eq!(has_timed_out(requested, timeout, at(30)), expected);
        };
        check(Some(at(1)), false);
        check(Some(at(0)), true);
        check(Some(at(60)), false);
        check(None, false);
    }
}

//! Pure: what becomes of the applied objects when their Kustomization is deleted.

use std::time::Duration;

use jiff::Timestamp;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

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

/// Why a Kustomization is being deleted, as far as the cluster tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionCause {
    /// Somebody or another Kustomization deletes this object.
    Object,
    /// The definition of its kind is being deleted, or is gone.
    Definition,
    /// Its namespace is being deleted, and overlayd or Flux lives there.
    HomeNamespace,
}

impl DeletionCause {
    /// The cause, by the metadata of the definition and of the namespace; none of something that is gone.
    pub fn of(
        definition: Option<&ObjectMeta>,
        namespace: Option<&ObjectMeta>,
        own_namespace: &str,
    ) -> Self {
        let goes = |metadata: Option<&ObjectMeta>| {
            metadata.is_none_or(|metadata| metadata.deletion_timestamp.is_some())
        };
        if goes(definition) {
            return Self::Definition;
        }
        let is_home = namespace.is_some_and(|namespace| {
            let labels = namespace.labels.as_ref();
            let part_of = labels.and_then(|labels| labels.get("app.kubernetes.io/part-of"));
            namespace.name.as_deref() == Some(own_namespace)
                || part_of.is_some_and(|part_of| part_of == "flux")
        });
        if is_home && goes(namespace) {
            Self::HomeNamespace
        } else {
            Self::Object
        }
    }
}

/// Decides by the deletion policy; without one, `spec.prune` decides. A suspended Kustomization deletes nothing, as under
/// Flux. The end of a definition or of overlayd's own namespace removes the controller, and never what git describes:
/// nobody who removes overlayd or Flux asks for the deletion of all workloads.
pub fn deletion_work(spec: &KustomizationSpec, cause: DeletionCause) -> DeletionWork {
    use KustomizationDeletionPolicy::{Delete, MirrorPrune, Orphan, WaitForTermination};
    match spec.deletion_policy.unwrap_or(MirrorPrune) {
        _ if spec.suspend || cause != DeletionCause::Object => DeletionWork::Orphan,
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
            assert_eq!(
                deletion_work(&spec, DeletionCause::Object),
                expected,
                "{fields}"
            );
            for cause in [DeletionCause::Definition, DeletionCause::HomeNamespace] {
                assert_eq!(deletion_work(&spec, cause), Orphan, "{fields}");
            }
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
    fn the_end_of_the_definition_or_of_the_home_is_no_wish_to_delete() {
        let metadata = |more: Value| -> ObjectMeta {
            let mut metadata = json!({"name": "team"});
            json_patch::merge(&mut metadata, &more);
            serde_json::from_value(metadata).unwrap()
        };
        let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let (here, gone) = (metadata(json!({})), metadata(going.clone()));
        let check = |definition: Option<&ObjectMeta>,
                     namespace: Option<&ObjectMeta>,
                     own: &str,
                     expected| {
            let cause = DeletionCause::of(definition, namespace, own);
            assert_eq!(cause, expected);
        };
        check(Some(&here), Some(&here), "team", DeletionCause::Object);
        check(Some(&here), Some(&gone), "overlayd", DeletionCause::Object);
        check(
            Some(&here),
            Some(&gone),
            "team",
            DeletionCause::HomeNamespace,
        );
        check(
            Some(&gone),
            Some(&here),
            "overlayd",
            DeletionCause::Definition,
        );
        check(None, None, "overlayd", DeletionCause::Definition);
        let mut flux = metadata(going);
        flux.labels = Some([("app.kubernetes.io/part-of".to_owned(), "flux".to_owned())].into());
        check(
            Some(&here),
            Some(&flux),
            "overlayd",
            DeletionCause::HomeNamespace,
        );
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

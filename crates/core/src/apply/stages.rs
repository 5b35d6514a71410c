//! Pure: the order of kinds: definitions and namespaces first, then classes, then the kinds that a user names, then the
//! rest; webhooks come last, since they may refuse what is not ready yet.
//!
//! The order is that of Flux (`ssa/utils/sort.go` and `ApplyAllStaged` in `ssa/manager_apply.go`). Webhooks have a stage of
//! their own, because the objects of a stage are applied at the same time.

use crate::apply::desired::Desired;
use crate::apply::object_ref::ObjectRef;

/// Kinds that come first, in this order, as Flux has it.
const FIRST: [&str; 23] = [
    "CustomResourceDefinition",
    "Namespace",
    "ClusterRole",
    "ClusterClass",
    "RuntimeClass",
    "PriorityClass",
    "StorageClass",
    "VolumeSnapshotClass",
    "IngressClass",
    "GatewayClass",
    "ClusterRoleBinding",
    "ResourceQuota",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
    "LimitRange",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];
/// Kinds that come last.
const LAST: [&str; 2] = [
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// The stage of a kind within its wave, from 0 to 4.
fn stage(kind: &str, early: &[String]) -> usize {
    match kind {
        _ if LAST.contains(&kind) => 4,
        "CustomResourceDefinition" | "Namespace" | "ClusterRole" => 0,
        _ if kind.ends_with("Class") => 1,
        _ if early.iter().any(|other| other == kind) => 2,
        _ => 3,
    }
}

/// The position of a kind in the order of application.
fn rank(kind: &str) -> usize {
    let first = FIRST.iter().position(|other| *other == kind);
    let last = || {
        LAST.iter()
            .position(|other| *other == kind)
            .map(|at| FIRST.len() + 1 + at)
    };
    first.or_else(last).unwrap_or(FIRST.len())
}

/// Objects are applied in this order within a stage, and deleted in the reverse order.
pub(crate) fn sort_key(object: &ObjectRef) -> (usize, &str, &str, &str, &str) {
    (
        rank(&object.kind),
        &object.group,
        &object.kind,
        &object.namespace,
        &object.name,
    )
}

/// Divides the objects of a wave into stages, and orders each stage. `early` names kinds that get a stage of their own
/// before most others (`--custom-apply-stage-kinds`).
pub fn stages(objects: Vec<Desired>, early: &[String]) -> Vec<Vec<Desired>> {
    let mut stages: [Vec<Desired>; 5] = Default::default();
    for desired in objects {
        stages[stage(&desired.reference.kind, early)].push(desired);
    }
    for stage in &mut stages {
        stage.sort_by(|a, b| sort_key(&a.reference).cmp(&sort_key(&b.reference)));
    }
    let stages = stages.into_iter().filter(|stage| !stage.is_empty());
    stages.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Asserts the stages of objects that are written `api-version Kind`.
    fn check(objects: &[&str], expected: &[&str]) {
        let objects = objects.iter().map(|text| {
            let (api_version, kind) = text.split_once(' ').unwrap();
            Desired {
                reference: ObjectRef::new(api_version, kind, "n", "x"),
                manifest: Value::Null,
                source: None,
                hash: [0; 32],
            }
        });
        let early = ["Special".to_owned()];
        let stages = stages(objects.collect(), &early).into_iter().map(|stage| {
            let kinds = stage.into_iter().map(|desired| desired.reference.kind);
            kinds.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(stages.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_kind_has_its_stage() {
        check(
            &[
                "v1 ConfigMap",
                "g/v1 Special",
                "storage.k8s.io/v1 StorageClass",
                "v1 Namespace",
            ],
            &["Namespace", "StorageClass", "Special", "ConfigMap"],
        );
        check(&[], &[]);
    }

    #[test]
    fn a_stage_has_the_order_of_flux() {
        check(
            &[
                "admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration",
                "example.com/v1 Shop",
                "apps/v1 Deployment",
                "v1 Service",
                "v1 ServiceAccount",
            ],
            &[
                "ServiceAccount Service Deployment Shop",
                "ValidatingWebhookConfiguration",
            ],
        );
    }
}

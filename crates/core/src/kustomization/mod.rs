//! Pure: the rules of the `Kustomization` controller: observed values and the time in, decisions out.
//!
//! ```text
//! observe ─SpecDigest, due→ act (apply::plan, rollout) ─KustomizationOutcome→ status
//! ```
//! [`spec_digest`] names what a Kustomization asks for, [`due`] decides whether there is work, [`dependencies`] whether it
//! can begin, [`status`] what is recorded at the end, and [`events`] what is published.

pub mod deletion;
pub mod dependencies;
pub mod due;
pub mod events;
pub mod references;
pub mod source;
pub mod spec_digest;
pub mod status;

use std::collections::BTreeSet;

use kube::ResourceExt as _;

use crate::api::kustomization::{
    Kustomization, KustomizationSpec, KustomizationStatus, SourceKind,
};
use crate::apply::inventory;
use crate::apply::object_ref::ObjectRef;
use crate::names::NamespacedName;

/// The source of a Kustomization. A reference without a namespace means that of the Kustomization.
pub fn source_of(object: &Kustomization) -> NamespacedName {
    let reference = &object.spec.source_ref;
    let namespace = reference
        .namespace
        .clone()
        .or_else(|| object.namespace())
        .unwrap_or_default();
    NamespacedName::new(namespace, &reference.name)
}

/// A field that overlayd refuses, if there is one: its path below `spec`.
pub fn unsupported(spec: &KustomizationSpec) -> Option<&'static str> {
    let set = [
        (
            "sourceRef.kind (only GitRepository is)",
            spec.source_ref.kind != SourceKind::GitRepository,
        ),
        ("decryption", spec.decryption.is_some()),
        ("kubeConfig", spec.kube_config.is_some()),
    ];
    set.into_iter()
        .find_map(|(field, is_set)| is_set.then_some(field))
}

/// True if the condition `Ready` is `True`: the last attempt came to its end.
pub fn is_ready(status: &KustomizationStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What the status of a Kustomization tells of its claims: the revision that it has applied to its end, and the ids of the
/// objects of that revision. None if something is still to be done for its spec.
pub fn told_claims(object: &Kustomization) -> Option<(String, BTreeSet<String>)> {
    let status = object.status.as_ref()?;
    let is_current = Some(status.observed_generation) == object.metadata.generation;
    let revision = status.last_applied_revision.clone()?;
    let objects = inventory::objects(status.inventory.as_ref());
    let ids = objects.iter().map(ObjectRef::id).collect();
    (is_current && is_ready(status)).then_some((revision, ids))
}

#[cfg(test)]
mod fixture {
    //! Kustomizations for tests.

    use serde_json::{Value, json};

    use crate::api::kustomization::Kustomization;

    /// A Kustomization `team/<name>` with these fields of its spec and this status.
    pub(super) fn kustomization(name: &str, fields: &Value, status: &Value) -> Kustomization {
        let mut spec = json!({
            "interval": "1m", "prune": true,
            "sourceRef": {"kind": "GitRepository", "name": "repo"},
        });
        for (field, value) in fields.as_object().unwrap() {
            spec[field] = value.clone();
        }
        serde_json::from_value(json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": name, "namespace": "team", "generation": 1, "uid": "u"},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }
}

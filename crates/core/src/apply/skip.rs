//! Pure: why an object is left as it is, although a build renders it or an inventory no longer needs it.

use std::fmt;

use serde_json::Value;

use crate::api::annotations::{EXISTED, PEER_CONTROLLERS};
use crate::apply::object_ref::ObjectRef;
use crate::apply::owner_labels::manifest_owner;
use crate::apply::peers::Peer;
use crate::names::NamespacedName;

/// Flux's controls of a single object share this prefix, on a label or an annotation.
const CONTROL: &str = "kustomize.toolkit.fluxcd.io/";

/// Why an object is left as it is. The text form is what events, conditions and diffs show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// The object says `reconcile: disabled`.
    ReconcileDisabled,
    /// The object says `ssa: Ignore`.
    SsaIgnore,
    /// The object says `prune: disabled`.
    PruneDisabled,
    /// It starts a controller of a peer, which would run beside overlayd.
    PeerController(Peer),
    /// The object says `ssa: IfNotPresent`, and it is there.
    IfNotPresent,
    /// Other managers have changed it, and its drift is to be ignored.
    DriftIgnored,
    /// The namespace existed before it was applied first.
    ExistedBefore,
    /// Its labels name another Kustomization, or none (`owner` is empty then).
    BelongsToOther {
        /// The Kustomization that its labels name.
        owner: NamespacedName,
    },
    /// The same object is applied under another group of its kind.
    InOtherGroup,
    /// The build renders the same object, which has the same uid, under another namespace or group.
    StillRendered,
    /// Whether objects of its kind have a namespace is not known, so that it may be an object that the build renders.
    ScopeUnknown,
    /// It may never be deleted.
    Protected(Protection),
    /// Another Kustomization renders it by now, and applies it.
    HandedOver {
        /// The Kustomization that renders it.
        to: NamespacedName,
    },
}

/// Why an object may never be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// A definition of a kind that overlayd serves.
    ServedKind,
    /// The namespace of this process.
    OwnNamespace,
    /// A namespace that every cluster has.
    ClusterNamespace,
}

impl Skip {
    /// Why an object is not to be applied, corrected or deleted, if it says so itself.
    pub fn opt_out(object: &Value) -> Option<Self> {
        if control(object, "reconcile", "disabled") {
            return Some(Self::ReconcileDisabled);
        }
        control(object, "ssa", "Ignore").then_some(Self::SsaIgnore)
    }

    /// Why a live object is not to be deleted by this Kustomization, if it says so or belongs to another one.
    pub fn of_deletion(live: &Value, unit: &NamespacedName) -> Option<Self> {
        let owner = manifest_owner(live);
        if owner != *unit {
            return Some(Self::BelongsToOther { owner });
        }
        if live["metadata"]["annotations"][EXISTED] == "true" {
            return Some(Self::ExistedBefore);
        }
        if control(live, "prune", "disabled") {
            return Some(Self::PruneDisabled);
        }
        Self::opt_out(live)
    }

    /// True if the object itself asks to be left, so that its owner may have forgotten it, or if it is left by default.
    pub fn is_opt_out(&self) -> bool {
        match self {
            Self::ReconcileDisabled
            | Self::SsaIgnore
            | Self::PruneDisabled
            | Self::PeerController(_) => true,
            Self::IfNotPresent
            | Self::DriftIgnored
            | Self::ExistedBefore
            | Self::BelongsToOther { .. }
            | Self::InOtherGroup
            | Self::StillRendered
            | Self::ScopeUnknown
            | Self::Protected(_)
            | Self::HandedOver { .. } => false,
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ReconcileDisabled => "`reconcile: disabled` is set on it",
            Self::SsaIgnore => "`ssa: Ignore` is set on it",
            Self::PruneDisabled => "`prune: disabled` is set on it",
            Self::IfNotPresent => "`ssa: IfNotPresent` is set on it",
            Self::DriftIgnored => "what others change in it is left",
            Self::ExistedBefore => "it was there before it was applied",
            Self::BelongsToOther { .. } => "it belongs to another owner",
            Self::InOtherGroup => "it is applied under another group of its kind",
            Self::PeerController(peer) => {
                return write!(
                    formatter,
                    "it is a controller of {}, which would work beside overlayd, so that it is left as it is in the cluster; `{PEER_CONTROLLERS}: apply` on the Kustomization applies it",
                    peer.name()
                );
            }
            Self::StillRendered => "it is the same object as one that is rendered",
            Self::ScopeUnknown => {
                "whether objects of its kind have a namespace is not known yet, and the build renders objects of this kind"
            }
            Self::Protected(protection) => return protection.fmt(formatter),
            Self::HandedOver { to } => {
                return write!(formatter, "Kustomization `{to}` applies it now");
            }
        })
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ServedKind => "overlayd serves this kind",
            Self::OwnNamespace => "overlayd runs in this namespace",
            Self::ClusterNamespace => "the namespace belongs to the cluster",
        })
    }
}

/// What may never be deleted: the namespace of overlayd, and what every cluster has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protected {
    /// The namespace that overlayd runs in; empty if it is not known.
    pub own_namespace: String,
}

impl Protected {
    /// Why an object may never be deleted, if it may not.
    pub fn protection(&self, object: &ObjectRef) -> Option<Protection> {
        if object.kind == "CustomResourceDefinition" {
            // Its deletion would delete every object of the kind, of whatever owner.
            let mut groups = ["external-secrets.io", "toolkit.fluxcd.io"].iter();
            let is_served = groups.any(|group| object.name.ends_with(group));
            return is_served.then_some(Protection::ServedKind);
        }
        if object.kind != "Namespace" || !object.group.is_empty() {
            return None;
        }
        if object.name == self.own_namespace {
            return Some(Protection::OwnNamespace);
        }
        let is_of_cluster = object.name == "default" || object.name.starts_with("kube-");
        is_of_cluster.then_some(Protection::ClusterNamespace)
    }
}

/// True if a label or an annotation of Flux has a value, without regard to case.
pub fn control(object: &Value, name: &str, value: &str) -> bool {
    ["annotations", "labels"].iter().any(|field| {
        let found = object["metadata"][field].get(format!("{CONTROL}{name}"));
        found
            .and_then(Value::as_str)
            .is_some_and(|found| found.eq_ignore_ascii_case(value))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::annotations::{OWNER_NAME, OWNER_NAMESPACE};

    /// Asserts why a live object of `team/app` with this metadata is not deleted; empty if it is.
    fn check(metadata: &Value, expected: &str) {
        let mut live =
            json!({"metadata": {"labels": {OWNER_NAME: "app", OWNER_NAMESPACE: "team"}}});
        json_patch::merge(&mut live["metadata"], metadata);
        let skip = Skip::of_deletion(&live, &NamespacedName::new("team", "app"));
        let text = skip.map(|skip| skip.to_string()).unwrap_or_default();
        assert_eq!(text, expected);
    }

    fn labelled(name: &str, value: &str) -> Value {
        json!({"labels": {format!("{CONTROL}{name}"): value}})
    }

    fn annotated(name: &str, value: &str) -> Value {
        json!({"annotations": {format!("{CONTROL}{name}"): value}})
    }

    #[test]
    fn a_live_object_may_keep_itself() {
        check(&json!({}), "");
        check(
            &labelled("prune", "Disabled"),
            "`prune: disabled` is set on it",
        );
        check(
            &annotated("prune", "disabled"),
            "`prune: disabled` is set on it",
        );
        check(&annotated("prune", "enabled"), "");
        check(
            &annotated("reconcile", "disabled"),
            "`reconcile: disabled` is set on it",
        );
        check(&annotated("ssa", "ignore"), "`ssa: Ignore` is set on it");
        check(&annotated("ssa", "Merge"), "");
        check(
            &json!({"annotations": {EXISTED: "true"}}),
            "it was there before it was applied",
        );
    }

    #[test]
    fn an_object_of_another_owner_is_kept() {
        let expected = "it belongs to another owner";
        check(&json!({"labels": {OWNER_NAME: "other"}}), expected);
        check(&json!({"labels": {OWNER_NAMESPACE: "other"}}), expected);
        check(&json!({"labels": null}), expected);
    }

    #[test]
    fn only_wishes_of_the_object_are_opt_outs() {
        let to = || NamespacedName::new("team", "b");
        for (skip, text) in [
            (Skip::IfNotPresent, "`ssa: IfNotPresent` is set on it"),
            (Skip::DriftIgnored, "what others change in it is left"),
            (Skip::ExistedBefore, "it was there before it was applied"),
            (
                Skip::BelongsToOther { owner: to() },
                "it belongs to another owner",
            ),
            (
                Skip::InOtherGroup,
                "it is applied under another group of its kind",
            ),
            (
                Skip::StillRendered,
                "it is the same object as one that is rendered",
            ),
            (
                Skip::ScopeUnknown,
                "whether objects of its kind have a namespace is not known yet, and the build renders objects of this kind",
            ),
            (
                Skip::HandedOver { to: to() },
                "Kustomization `team/b` applies it now",
            ),
            (
                Skip::Protected(Protection::ServedKind),
                "overlayd serves this kind",
            ),
        ] {
            assert!(!skip.is_opt_out());
            assert_eq!(skip.to_string(), text);
        }
        for skip in [
            Skip::ReconcileDisabled,
            Skip::SsaIgnore,
            Skip::PruneDisabled,
            Skip::PeerController(Peer::Flux),
        ] {
            assert!(skip.is_opt_out());
        }
    }

    #[test]
    fn objects_that_a_cluster_needs_are_protected() {
        let protected = Protected {
            own_namespace: "overlayd".to_owned(),
        };
        let of = |api_version: &str, kind: &str, name: &str| {
            protected.protection(&ObjectRef::new(api_version, kind, "", name))
        };
        assert_eq!(
            of("v1", "Namespace", "overlayd"),
            Some(Protection::OwnNamespace)
        );
        assert_eq!(
            of("v1", "Namespace", "default"),
            Some(Protection::ClusterNamespace)
        );
        assert_eq!(
            of("v1", "Namespace", "kube-public"),
            Some(Protection::ClusterNamespace)
        );
        assert_eq!(of("v1", "Namespace", "shop"), None);
        assert_eq!(of("other.dev/v1", "Namespace", "default"), None);
        assert_eq!(of("v1", "ConfigMap", "default"), None);
        let definition =
            |name: &str| of("apiextensions.k8s.io/v1", "CustomResourceDefinition", name);
        assert_eq!(
            definition("externalsecrets.external-secrets.io"),
            Some(Protection::ServedKind)
        );
        assert_eq!(
            definition("kustomizations.kustomize.toolkit.fluxcd.io"),
            Some(Protection::ServedKind)
        );
        assert_eq!(definition("shops.example.com"), None);
    }
}

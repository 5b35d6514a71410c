//! Pure: the options of a plan and of its execution, the same for the daemon, `overlayd diff` and `overlayd apply`.

use crate::api::kustomization::{Kustomization, KustomizationSpec};
use crate::apply::guard::Guard;
use crate::apply::peers::PeerControllers;
use crate::apply::plan::{OnError, PlanOptions};
use crate::apply::skip::Protected;
use crate::apply::unit_settings::UnitSettings;
use crate::names::NamespacedName;

/// The namespace that overlayd runs in, where nothing else is said. External Secrets uses the same.
pub const DEFAULT_NAMESPACE: &str = "external-secrets";

/// The flags of the daemon that every plan depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFlags {
    /// The namespace that overlayd runs in, which is never deleted.
    pub own_namespace: String,
    /// Kinds that get a stage of their own, before most others.
    pub stage_kinds: Vec<String>,
}

impl Default for PlanFlags {
    fn default() -> Self {
        Self {
            own_namespace: DEFAULT_NAMESPACE.to_owned(),
            stage_kinds: Vec::new(),
        }
    }
}

impl PlanFlags {
    fn protected(&self) -> Protected {
        Protected {
            own_namespace: self.own_namespace.clone(),
        }
    }
}

impl<'o> PlanOptions<'o> {
    /// The options for a Kustomization, with the settings that its annotations ask for.
    pub fn for_unit(
        unit: &'o Kustomization,
        settings: &UnitSettings,
        flags: &'o PlanFlags,
    ) -> Self {
        Self {
            spec: &unit.spec,
            owner: Some(NamespacedName::of(unit)),
            protected: flags.protected(),
            guard: settings.guard.clone(),
            on_error: settings.on_error,
            peer_controllers: settings.peer_controllers,
            stage_kinds: &flags.stage_kinds,
        }
    }

    /// The options for objects that a person applies. They have no owner, so that a Kustomization which renders them
    /// later takes them over, and nothing is deleted.
    pub fn by_hand(spec: &'o KustomizationSpec, flags: &'o PlanFlags) -> Self {
        Self {
            spec,
            owner: None,
            protected: flags.protected(),
            guard: Guard::default(),
            on_error: OnError::Stop,
            peer_controllers: PeerControllers::Apply,
            stage_kinds: &flags.stage_kinds,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apply::object_ref::ObjectRef;
    use crate::apply::plan::{Observed, plan};
    use crate::apply::unit_settings::UnitDefaults;

    fn unit() -> Kustomization {
        let unit = json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": "app", "namespace": "team", "annotations": {"overlayd.dev/on-error": "continue"}},
            "spec": {"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "app"}},
        });
        serde_json::from_value(unit).unwrap()
    }

    /// Asserts the plan of a Kustomization whose build no longer has these namespaces.
    fn check(flags: &PlanFlags, namespaces: &[&str], expected: &str) {
        let unit = unit();
        let annotations = unit.metadata.annotations.clone().unwrap_or_default();
        let mut settings = UnitSettings::new(&annotations, &UnitDefaults::default()).unwrap();
        settings.guard = Guard::open();
        let namespaces = namespaces.iter();
        let namespaces = namespaces.map(|name| ObjectRef::new("v1", "Namespace", "", name));
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}});
        let map = crate::apply::desired::Desired {
            reference: ObjectRef::new("v1", "ConfigMap", "n", "a"),
            manifest: map,
            source: None,
            hash: [0; 32],
        };
        let observed = Observed {
            inventory: namespaces.collect(),
            ..Observed::default()
        };
        let options = PlanOptions::for_unit(&unit, &settings, flags);
        assert_eq!(options.owner, Some(NamespacedName::new("team", "app")));
        assert_eq!(options.on_error, OnError::Continue);
        let plan = plan(vec![map], &observed, &options).unwrap();
        assert_eq!(
            plan.to_string(),
            format!("stage 1\n  apply ConfigMap/n/a\n{expected}")
        );
    }

    #[test]
    fn a_preview_protects_what_the_daemon_protects() {
        check(
            &PlanFlags::default(),
            &["external-secrets", "shop"],
            "prune Namespace/shop\nskip Namespace/external-secrets: overlayd runs in this namespace\n",
        );
        let flags = PlanFlags {
            own_namespace: "gitops".to_owned(),
            ..PlanFlags::default()
        };
        check(
            &flags,
            &["gitops", "external-secrets"],
            "prune Namespace/external-secrets\nskip Namespace/gitops: overlayd runs in this namespace\n",
        );
    }

    #[test]
    fn a_person_owns_and_deletes_nothing() {
        let (spec, flags) = (KustomizationSpec::default(), PlanFlags::default());
        let options = PlanOptions::by_hand(&spec, &flags);
        assert_eq!(options.owner, None);
        assert!(!options.spec.prune);
        assert_eq!(options.protected.own_namespace, "external-secrets");
    }
}

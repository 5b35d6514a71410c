//! Pure: the controllers of the peers among the objects of a build.
//!
//! A repository that `flux bootstrap` made holds Flux's own Deployments. Applied, they would start again beside
//! overlayd, and both would write the same objects. So they are left as they are in the cluster: a stopped one stays
//! stopped, and a running one is not touched.

use serde_json::Value;

/// What is done with the controllers of the peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerControllers {
    /// They are left as they are in the cluster, and not created.
    #[default]
    Leave,
    /// They are applied like all other objects, to run beside overlayd.
    Apply,
}

/// The controllers of Flux, by the names that its manifests give them.
const FLUX: [&str; 7] = [
    "source-controller",
    "kustomize-controller",
    "helm-controller",
    "notification-controller",
    "image-reflector-controller",
    "image-automation-controller",
    "source-watcher",
];

/// The peer whose controller a manifest starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// One of the controllers of Flux.
    Flux,
    /// The controller of External Secrets, without its webhook.
    ExternalSecrets,
}

impl Peer {
    /// The name that messages use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flux => "Flux",
            Self::ExternalSecrets => "External Secrets",
        }
    }

    /// The peer to whose controllers a Deployment belongs, by the labels that the peers' own manifests and charts set.
    pub fn of(manifest: &Value) -> Option<Self> {
        let api = manifest["apiVersion"].as_str().unwrap_or_default();
        if manifest["kind"] != "Deployment" || !api.starts_with("apps/") {
            return None;
        }
        let metadata = &manifest["metadata"];
        let (name, labels) = (
            metadata["name"].as_str().unwrap_or_default(),
            &metadata["labels"],
        );
        let label = |label: &str| labels[format!("app.kubernetes.io/{label}")].as_str();
        if label("part-of") == Some("flux") && FLUX.contains(&name) {
            return Some(Self::Flux);
        }
        let chart = labels["helm.sh/chart"].as_str().unwrap_or_default();
        let is_secrets =
            label("name") == Some("external-secrets") && chart.starts_with("external-secrets-");
        is_secrets.then_some(Self::ExternalSecrets)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(name: &str, labels: &Value, expected: Option<Peer>) {
        let manifest = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels},
        });
        assert_eq!(Peer::of(&manifest), expected, "{name}");
    }

    #[test]
    fn the_controllers_of_the_peers_are_known_by_their_labels() {
        let flux = json!({"app.kubernetes.io/part-of": "flux"});
        check("kustomize-controller", &flux, Some(Peer::Flux));
        check("web", &flux, None);
        check("kustomize-controller", &json!({}), None);
        let chart = json!({"app.kubernetes.io/name": "external-secrets", "helm.sh/chart": "external-secrets-2.9.0"});
        check("external-secrets", &chart, Some(Peer::ExternalSecrets));
        let webhook = json!({"app.kubernetes.io/name": "external-secrets-webhook", "helm.sh/chart": "external-secrets-2.9.0"});
        check("external-secrets-webhook", &webhook, None);
        let ours =
            json!({"app.kubernetes.io/name": "overlayd", "app.kubernetes.io/part-of": "overlayd"});
        check("overlayd", &ours, None);
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "source-controller", "labels": flux}});
        assert_eq!(Peer::of(&service), None);
    }
}

//! Pure: the steps from a peer to overlayd, and back.
//!
//! A controller of the peer stops, and its Deployment remembers how many replicas it had. One that serves kinds which
//! overlayd does not serve goes on. Before that, the definitions are taken out of the Helm release that owns them, since
//! its end would delete every object of their kinds. Each step may be repeated.

use std::fmt;

use serde_json::Value;

use crate::apply::definition::{HELM_POLICY, deleted_with_release};
use crate::apply::object_ref::ObjectRef;
use crate::apply::peers::Peer;
use crate::migrate::{MigrationVerdict, judge};

/// The annotation of a stopped Deployment with the number of replicas that it had.
pub const REPLICAS_BEFORE: &str = "overlayd.dev/replicas-before";

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrationStep {
    /// Keep a definition when the Helm release that owns it is uninstalled.
    KeepDefinition {
        /// The name of the definition.
        name: String,
        /// The Helm release.
        release: String,
    },
    /// Scale a Deployment to nothing, and remember its replicas.
    Stop {
        /// The Deployment.
        deployment: ObjectRef,
        /// The number of its replicas.
        replicas: i64,
    },
    /// Wait until a Deployment has no replica left.
    AwaitStop(ObjectRef),
    /// Scale a Deployment to what it was.
    Start {
        /// The Deployment.
        deployment: ObjectRef,
        /// The number of its replicas.
        replicas: i64,
    },
    /// Leave a controller as it is, for this reason.
    LeaveRunning(ObjectRef, String),
}

/// The kinds for which a controller of Flux has to go on, by its name.
fn kinds_of(controller: &str) -> &'static [&'static str] {
    match controller {
        "source-controller" => &[
            "HelmRepository",
            "HelmChart",
            "OCIRepository",
            "Bucket",
            "ExternalArtifact",
        ],
        "helm-controller" => &["HelmRelease"],
        "notification-controller" => &["Alert", "Provider"],
        "image-reflector-controller" => &["ImageRepository", "ImagePolicy"],
        "image-automation-controller" => &["ImageUpdateAutomation"],
        "source-watcher" => &["ArtifactGenerator"],
        _ => &[],
    }
}

/// The steps from a peer to overlayd. `objects` are the custom resources and Deployments of the peers, `definitions` all
/// of their definitions.
pub fn forward(peer: Peer, definitions: &[Value], objects: &[Value]) -> Vec<MigrationStep> {
    let mut steps = Vec::new();
    let of_peer = definitions.iter().filter(|definition| {
        let group = definition["spec"]["group"].as_str().unwrap_or_default();
        group.ends_with(groups(peer))
    });
    for definition in of_peer {
        if let Some(release) = deleted_with_release(definition) {
            steps.push(MigrationStep::KeepDefinition {
                name: ObjectRef::of_manifest(definition).name,
                release: release.to_owned(),
            });
        }
    }
    let mut stopped = Vec::new();
    for controller in controllers(peer, objects) {
        let deployment = ObjectRef::of_manifest(controller);
        if let Some(reason) = reason_to_go_on(peer, &deployment.name, objects) {
            steps.push(MigrationStep::LeaveRunning(deployment, reason));
            continue;
        }
        let replicas = controller["spec"]["replicas"].as_i64().unwrap_or(1);
        if replicas > 0 {
            let deployment = deployment.clone();
            steps.push(MigrationStep::Stop {
                deployment,
                replicas,
            });
        }
        stopped.push(MigrationStep::AwaitStop(deployment));
    }
    steps.extend(stopped);
    steps
}

/// The steps back to a peer, after overlayd has left the cluster.
pub fn back(peer: Peer, objects: &[Value]) -> Vec<MigrationStep> {
    let stopped = controllers(peer, objects)
        .into_iter()
        .filter_map(|controller| {
            let before = controller["metadata"]["annotations"].get(REPLICAS_BEFORE)?;
            Some(MigrationStep::Start {
                deployment: ObjectRef::of_manifest(controller),
                replicas: before.as_str()?.parse().ok()?,
            })
        });
    stopped.collect()
}

fn groups(peer: Peer) -> &'static str {
    match peer {
        Peer::Flux => "fluxcd.io",
        Peer::ExternalSecrets => "external-secrets.io",
    }
}

/// The Deployments of a peer. The one that would start the others again comes first.
fn controllers(peer: Peer, objects: &[Value]) -> Vec<&Value> {
    let of_peer = objects
        .iter()
        .filter(|object| Peer::of(object) == Some(peer));
    let mut controllers: Vec<&Value> = of_peer.collect();
    controllers.sort_by_key(|controller| {
        let deployment = ObjectRef::of_manifest(controller);
        (deployment.name != "kustomize-controller", deployment)
    });
    controllers
}

fn reason_to_go_on(peer: Peer, controller: &str, objects: &[Value]) -> Option<String> {
    let is_needed = |object: &&Value| match peer {
        Peer::Flux => {
            let kind = object["kind"].as_str().unwrap_or_default();
            let api = object["apiVersion"].as_str().unwrap_or_default();
            api.contains(groups(peer)) && kinds_of(controller).contains(&kind)
        }
        Peer::ExternalSecrets => {
            let api = object["apiVersion"].as_str().unwrap_or_default();
            api.contains(groups(peer))
                && judge(object).is_some_and(|finding| finding.verdict == MigrationVerdict::Beside)
        }
    };
    let needed = objects.iter().find(is_needed)?;
    let count = objects.iter().filter(is_needed).count();
    Some(format!(
        "objects that overlayd does not serve need it, such as {} ({count} in all)",
        ObjectRef::of_manifest(needed)
    ))
}

/// What a person reads before it happens.
impl fmt::Display for MigrationStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepDefinition { name, release } => write!(
                formatter,
                "set `{HELM_POLICY}: keep` on definition {name}, so that the end of Helm release `{release}` leaves it"
            ),
            Self::Stop {
                deployment,
                replicas,
            } => write!(formatter, "scale {deployment} from {replicas} to 0"),
            Self::AwaitStop(deployment) => {
                write!(formatter, "wait until {deployment} has no replica")
            }
            Self::Start {
                deployment,
                replicas,
            } => write!(formatter, "scale {deployment} to {replicas}"),
            Self::LeaveRunning(deployment, reason) => {
                write!(formatter, "leave {deployment} running: {reason}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn controller(name: &str, replicas: i64, annotations: &Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": name, "namespace": "flux-system", "labels": {"app.kubernetes.io/part-of": "flux"},
                "annotations": annotations,
            },
            "spec": {"replicas": replicas},
        })
    }

    fn text(steps: &[MigrationStep]) -> Vec<String> {
        steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn flux_stops_but_for_controllers_that_others_need() {
        let release = json!({
            "metadata": {"name": "a.helm.toolkit.fluxcd.io", "annotations": {"meta.helm.sh/release-name": "flux2"}},
            "spec": {"group": "helm.toolkit.fluxcd.io"},
        });
        let objects = [
            controller("helm-controller", 1, &json!({})),
            controller("source-controller", 1, &json!({})),
            controller("kustomize-controller", 2, &json!({})),
            controller("notification-controller", 0, &json!({})),
            json!({"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"name": "a", "namespace": "n"}}),
        ];
        let expected = [
            "set `helm.sh/resource-policy: keep` on definition a.helm.toolkit.fluxcd.io, so that the end of Helm release `flux2` leaves it",
            "scale Deployment/flux-system/kustomize-controller from 2 to 0",
            "leave Deployment/flux-system/helm-controller running: objects that overlayd does not serve need it, such as HelmRelease/n/a (1 in all)",
            "scale Deployment/flux-system/source-controller from 1 to 0",
            "wait until Deployment/flux-system/kustomize-controller has no replica",
            "wait until Deployment/flux-system/notification-controller has no replica",
            "wait until Deployment/flux-system/source-controller has no replica",
        ];
        assert_eq!(
            text(&forward(
                Peer::Flux,
                std::slice::from_ref(&release),
                &objects
            )),
            expected
        );
        assert!(forward(Peer::ExternalSecrets, &[release], &objects).is_empty());
    }

    #[test]
    fn the_way_back_starts_what_was_stopped() {
        let objects = [
            controller("source-controller", 0, &json!({REPLICAS_BEFORE: "1"})),
            controller("kustomize-controller", 0, &json!({REPLICAS_BEFORE: "2"})),
            controller("helm-controller", 1, &json!({})),
        ];
        let expected = [
            "scale Deployment/flux-system/kustomize-controller to 2",
            "scale Deployment/flux-system/source-controller to 1",
        ];
        assert_eq!(text(&back(Peer::Flux, &objects)), expected);
    }

    #[test]
    fn external_secrets_goes_on_for_what_overlayd_does_not_read() {
        let mut eso = controller("external-secrets", 1, &json!({}));
        eso["metadata"]["labels"] = json!({"app.kubernetes.io/name": "external-secrets", "helm.sh/chart": "external-secrets-2.9.0"});
        let store = |provider: &str| {
            json!({
                "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": "s"},
                "spec": {"provider": {provider: {"service": "SecretsManager", "region": "r"}}},
            })
        };
        let stops = text(&forward(
            Peer::ExternalSecrets,
            &[],
            &[eso.clone(), store("aws")],
        ));
        assert_eq!(
            stops[0],
            "scale Deployment/flux-system/external-secrets from 1 to 0"
        );
        let goes_on = text(&forward(Peer::ExternalSecrets, &[], &[eso, store("vault")]));
        assert_eq!(
            goes_on,
            [
                "leave Deployment/flux-system/external-secrets running: objects that overlayd does not serve need it, such as ClusterSecretStore/s (1 in all)"
            ]
        );
    }
}

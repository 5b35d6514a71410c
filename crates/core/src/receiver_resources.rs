//! Pure: what a `Receiver` may ask for a reconcile.
//!
//! A receiver is called from the internet, and the daemon annotates what it names with its own rights. Only objects that a
//! controller of Flux reconciles may be named, as Flux's definition of the Receiver says.

use crate::api::receiver::ReceiverResource;
use crate::request_path::{InvalidName, check_name};

/// The kinds that Flux's Receivers take, each with its group.
const KINDS: [(&str, &str); 12] = [
    ("Bucket", "source.toolkit.fluxcd.io"),
    ("GitRepository", "source.toolkit.fluxcd.io"),
    ("HelmChart", "source.toolkit.fluxcd.io"),
    ("HelmRepository", "source.toolkit.fluxcd.io"),
    ("OCIRepository", "source.toolkit.fluxcd.io"),
    ("ExternalArtifact", "source.toolkit.fluxcd.io"),
    ("Kustomization", "kustomize.toolkit.fluxcd.io"),
    ("HelmRelease", "helm.toolkit.fluxcd.io"),
    ("ImageRepository", "image.toolkit.fluxcd.io"),
    ("ImagePolicy", "image.toolkit.fluxcd.io"),
    ("ImageUpdateAutomation", "image.toolkit.fluxcd.io"),
    ("ArtifactGenerator", "source.extensions.fluxcd.io"),
];

/// Why a resource of a Receiver is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiverResourceError {
    /// A kind that no controller of Flux reconciles.
    #[error(
        "`resources[].kind: {0}` cannot be asked for a reconcile; Bucket, GitRepository, HelmChart, HelmRepository, OCIRepository, ExternalArtifact, Kustomization, HelmRelease, ImageRepository, ImagePolicy, ImageUpdateAutomation and ArtifactGenerator can"
    )]
    Kind(String),
    /// The kind of another group.
    #[error(
        "`resources[].apiVersion: {api_version}` is not that of a {kind}, whose group is `{group}`"
    )]
    Group {
        /// As it is given.
        api_version: String,
        /// The kind.
        kind: String,
        /// The group of the kind.
        group: &'static str,
    },
    /// A name or namespace that no object can have.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

/// Checks a resource of a Receiver.
///
/// # Errors
/// It is of a kind that cannot be asked for a reconcile, or has an invalid name.
pub fn check_resource(resource: &ReceiverResource) -> Result<(), ReceiverResourceError> {
    let ReceiverResource { kind, name, .. } = resource;
    let known = KINDS.iter().find(|(known, _)| known == kind);
    let Some((_, group)) = known else {
        let shown = kind.chars().filter(|letter| !letter.is_control());
        return Err(ReceiverResourceError::Kind(shown.take(80).collect()));
    };
    if let Some(api_version) = resource
        .api_version
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        let version = api_version
            .strip_prefix(group)
            .and_then(|rest| rest.strip_prefix('/'));
        let is_version =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !version.is_some_and(is_version) {
            return Err(ReceiverResourceError::Group {
                api_version: api_version.chars().take(80).collect(),
                kind: kind.clone(),
                group,
            });
        }
    }
    if let Some(namespace) = &resource.namespace {
        check_name("resources[].namespace", namespace)?;
    }
    if name != "*" {
        check_name("resources[].name", name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(resource: Value, expected: &str) {
        let resource: ReceiverResource = serde_json::from_value(resource).unwrap();
        let text = match check_resource(&resource) {
            Ok(()) => "fine".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn only_what_flux_reconciles_is_asked() {
        check(json!({"kind": "GitRepository", "name": "app"}), "fine");
        check(
            json!({"kind": "Kustomization", "name": "*", "matchLabels": {"a": "b"}}),
            "fine",
        );
        check(
            json!({"kind": "HelmRelease", "apiVersion": "helm.toolkit.fluxcd.io/v2", "name": "app"}),
            "fine",
        );
        for kind in [
            "Secret",
            "Namespace",
            "ClusterRole",
            "kustomization",
            "../x",
        ] {
            check(
                json!({"kind": kind, "name": "app"}),
                &format!("`resources[].kind: {kind}` cannot be asked"),
            );
        }
        for version in [
            "v1",
            "apps/v1",
            "kustomize.toolkit.fluxcd.io",
            "kustomize.toolkit.fluxcd.io/../v1",
        ] {
            check(
                json!({"kind": "Kustomization", "apiVersion": version, "name": "app"}),
                "`resources[].apiVersion: ",
            );
        }
        check(
            json!({"kind": "Kustomization", "name": "x:80/proxy/path"}),
            "`resources[].name: x:80/proxy/path` is no name",
        );
        check(
            json!({"kind": "Kustomization", "name": "x", "namespace": "../other"}),
            "`resources[].namespace: ../other` is no name",
        );
    }
}

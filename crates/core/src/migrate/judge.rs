//! Pure: the verdict on one manifest, from a file or from the API server.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::external_secret::ExternalSecret;
use crate::api::git_repository::GitRepository;
use crate::api::kustomization::Kustomization;
use crate::api::receiver::Receiver;
use crate::api::secret_store::SecretStoreSpec;
use crate::apply::old_versions::{renewed, served_version};
use crate::apply::peers::Peer;
use crate::git::source::unsupported_field;
use crate::kustomization::unsupported;
use crate::migrate::{Finding, MigrationVerdict};
use crate::webhook_signature::unsupported_receiver;

/// The kinds of the peers that overlayd does not serve, by their group, and the controller that serves them.
const BESIDE: [(&str, &str); 5] = [
    (
        "helm.toolkit.fluxcd.io",
        "helm-controller and source-controller of Flux",
    ),
    ("image.toolkit.fluxcd.io", "the image controllers of Flux"),
    (
        "notification.toolkit.fluxcd.io",
        "notification-controller of Flux",
    ),
    ("source.toolkit.fluxcd.io", "source-controller of Flux"),
    ("source.extensions.fluxcd.io", "source-watcher of Flux"),
];

/// The generators that overlayd serves.
const GENERATORS: [&str; 4] = ["Password", "UUID", "Fake", "ClusterGenerator"];

/// The verdict on a manifest; none if it is nothing of the peers.
pub fn judge(manifest: &Value) -> Option<Finding> {
    let (api_version, kind) = (manifest["apiVersion"].as_str()?, manifest["kind"].as_str()?);
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let find = |verdict, reason: String| Some(Finding::new(manifest, verdict, reason));
    if let Some(peer) = Peer::of(manifest) {
        let reason = format!(
            "it is a controller of {}; overlayd leaves it as it is in the cluster, so stop it before overlayd starts",
            peer.name()
        );
        return find(MigrationVerdict::Difference, reason);
    }
    if group.is_empty() && kind == "Secret" && manifest.get("sops").is_some() {
        let reason = "it is encrypted with SOPS, which overlayd does not decrypt";
        return find(MigrationVerdict::Refused, reason.to_owned());
    }
    if group.ends_with("external-secrets.io") && !is_served(group, kind, api_version) {
        let reason = "it needs External Secrets; overlayd does not serve this kind";
        return find(MigrationVerdict::Beside, reason.to_owned());
    }
    if !is_served(group, kind, api_version) {
        let (_, controller) = BESIDE.iter().find(|(beside, _)| *beside == group)?;
        let reason = format!("it needs {controller}; overlayd does not serve this kind");
        return find(MigrationVerdict::Beside, reason);
    }
    let (verdict, reason) = of_fields(kind, &renewed(manifest).unwrap_or_else(|| manifest.clone()));
    if verdict == MigrationVerdict::Served
        && let Some(served) = served_version(api_version, kind)
        && served != api_version
    {
        let reason = format!(
            "where `{api_version}` is not served, it is applied as `{served}`; change the file"
        );
        return find(MigrationVerdict::Difference, reason);
    }
    find(verdict, reason)
}

fn is_served(group: &str, kind: &str, api_version: &str) -> bool {
    served_version(api_version, kind).is_some()
        || (group == "generators.external-secrets.io" && GENERATORS.contains(&kind))
}

/// The verdict by the fields of an object of a kind and version that overlayd serves.
fn of_fields(kind: &str, manifest: &Value) -> (MigrationVerdict, String) {
    let refused = |field: &str| {
        let reason = format!("`{field}` is not supported");
        (MigrationVerdict::Refused, reason)
    };
    let served = (MigrationVerdict::Served, String::new());
    match kind {
        "GitRepository" => match read::<GitRepository>(manifest) {
            Ok(object) => unsupported_field(&object.spec).map_or(served, refused),
            Err(illegible) => illegible,
        },
        "Kustomization" => match read::<Kustomization>(manifest) {
            Ok(object) => {
                let field = unsupported(&object.spec);
                field.map_or(served, |field| refused(&format!("spec.{field}")))
            }
            Err(illegible) => illegible,
        },
        "Receiver" => match read::<Receiver>(manifest) {
            Ok(object) => unsupported_receiver(&object.spec).map_or(served, |reason| {
                (MigrationVerdict::Refused, reason.to_owned())
            }),
            Err(illegible) => illegible,
        },
        "SecretStore" | "ClusterSecretStore" => match read_spec::<SecretStoreSpec>(manifest) {
            Ok(spec) => store(&spec),
            Err(illegible) => illegible,
        },
        "ExternalSecret" => match read::<ExternalSecret>(manifest) {
            Ok(object) => generators(&object).unwrap_or(served),
            Err(illegible) => illegible,
        },
        _ => served,
    }
}

/// The error names no value, since a store may hold values of secrets.
fn read<T: DeserializeOwned>(manifest: &Value) -> Result<T, (MigrationVerdict, String)> {
    serde_json::from_value(manifest.clone()).map_err(|_| illegible())
}

fn read_spec<T: DeserializeOwned>(manifest: &Value) -> Result<T, (MigrationVerdict, String)> {
    serde_json::from_value(manifest["spec"].clone()).map_err(|_| illegible())
}

fn illegible() -> (MigrationVerdict, String) {
    let reason = "a field is missing or has another form than the definition allows";
    (MigrationVerdict::Refused, reason.to_owned())
}

fn store(spec: &SecretStoreSpec) -> (MigrationVerdict, String) {
    let provider = &spec.provider;
    if provider.aws.is_some() || provider.fake.is_some() {
        return (MigrationVerdict::Served, String::new());
    }
    let name = provider.others.keys().next().map_or("", String::as_str);
    let reason = format!(
        "overlayd does not read from provider `{name}`; give the store a `controller` class that External Secrets serves beside overlayd"
    );
    (MigrationVerdict::Beside, reason)
}

fn generators(object: &ExternalSecret) -> Option<(MigrationVerdict, String)> {
    let sources = object.spec.data_from.iter();
    let mut kinds = sources.filter_map(|entry| {
        let source = entry.source_ref.as_ref()?;
        Some(source.generator_ref.as_ref()?.kind.as_str())
    });
    let kind = kinds.find(|kind| !GENERATORS.contains(kind))?;
    let reason = format!("generators of kind `{kind}` are not supported");
    Some((MigrationVerdict::Refused, reason))
}

/// The Secrets from which a source or store takes its credentials: their names, as `namespace/name`, and never a value.
pub fn credentials(manifest: &Value) -> Vec<String> {
    let own = manifest["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default();
    let spec = &manifest["spec"];
    let mut names = Vec::new();
    let mut add = |reference: &Value| {
        if let Some(name) = reference["name"].as_str() {
            let namespace = reference["namespace"].as_str().unwrap_or(own);
            names.push(format!("{namespace}/{name}"));
        }
    };
    match manifest["kind"].as_str().unwrap_or_default() {
        "GitRepository" => {
            add(&spec["secretRef"]);
            add(&spec["proxySecretRef"]);
        }
        "Receiver" => add(&spec["secretRef"]),
        "SecretStore" | "ClusterSecretStore" => {
            let keys = &spec["provider"]["aws"]["auth"]["secretRef"];
            for key in keys.as_object().into_iter().flat_map(|keys| keys.values()) {
                add(key);
            }
        }
        _ => {}
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "specs are written where they are checked"
)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(api_version: &str, kind: &str, spec: Value) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "namespace": "n"}, "spec": spec})
    }

    fn check(manifest: &Value, expected: Option<(MigrationVerdict, &str)>) {
        let found = judge(manifest);
        let found = found.map(|finding| (finding.verdict, finding.reason));
        let expected = expected.map(|(verdict, reason)| (verdict, reason.to_owned()));
        assert_eq!(found, expected, "{manifest}");
    }

    #[test]
    fn what_overlayd_serves_is_served_as_it_is() {
        let served = Some((MigrationVerdict::Served, ""));
        let source = json!({"url": "https://example.com/r.git", "interval": "1m"});
        check(
            &object("source.toolkit.fluxcd.io/v1", "GitRepository", source),
            served,
        );
        let unit = json!({"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "r"}});
        check(
            &object("kustomize.toolkit.fluxcd.io/v1", "Kustomization", unit),
            served,
        );
        let store =
            json!({"provider": {"aws": {"service": "SecretsManager", "region": "eu-west-1"}}});
        check(
            &object("external-secrets.io/v1", "SecretStore", store),
            served,
        );
        let secret = json!({"secretStoreRef": {"name": "s"}, "data": [{"secretKey": "k", "remoteRef": {"key": "v"}}]});
        check(
            &object("external-secrets.io/v1", "ExternalSecret", secret),
            served,
        );
        let uuid = json!({});
        check(
            &object("generators.external-secrets.io/v1alpha1", "UUID", uuid),
            served,
        );
    }

    #[test]
    fn fields_that_are_refused_are_named() {
        let unit = |more: Value| {
            let mut spec = json!({"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "r"}});
            json_patch::merge(&mut spec, &more);
            object("kustomize.toolkit.fluxcd.io/v1", "Kustomization", spec)
        };
        let refused = |reason| Some((MigrationVerdict::Refused, reason));
        check(
            &unit(json!({"decryption": {"provider": "sops"}})),
            refused("`spec.decryption` is not supported"),
        );
        check(
            &unit(json!({"sourceRef": {"kind": "OCIRepository"}})),
            refused("`spec.sourceRef.kind (only GitRepository is)` is not supported"),
        );
        let source = json!({"url": "https://e.com/r", "interval": "1m", "provider": "github"});
        check(
            &object("source.toolkit.fluxcd.io/v1", "GitRepository", source),
            refused("`spec.provider` is not supported"),
        );
        check(
            &object(
                "external-secrets.io/v1",
                "ExternalSecret",
                json!({"dataFrom": [{"sourceRef": {"generatorRef": {"kind": "ECRAuthorizationToken", "name": "e", "apiVersion": "generators.external-secrets.io/v1alpha1"}}}]}),
            ),
            refused("generators of kind `ECRAuthorizationToken` are not supported"),
        );
        check(
            &object(
                "kustomize.toolkit.fluxcd.io/v1",
                "Kustomization",
                json!({"path": 1}),
            ),
            refused("a field is missing or has another form than the definition allows"),
        );
        let mut secret = object("v1", "Secret", json!(null));
        secret["sops"] = json!({});
        check(
            &secret,
            refused("it is encrypted with SOPS, which overlayd does not decrypt"),
        );
    }

    #[test]
    fn what_overlayd_does_not_serve_runs_beside_it() {
        let beside = |reason| Some((MigrationVerdict::Beside, reason));
        check(
            &object("helm.toolkit.fluxcd.io/v2", "HelmRelease", json!({})),
            beside(
                "it needs helm-controller and source-controller of Flux; overlayd does not serve this kind",
            ),
        );
        check(
            &object("notification.toolkit.fluxcd.io/v1beta3", "Alert", json!({})),
            beside("it needs notification-controller of Flux; overlayd does not serve this kind"),
        );
        check(
            &object("external-secrets.io/v1alpha1", "PushSecret", json!({})),
            beside("it needs External Secrets; overlayd does not serve this kind"),
        );
        check(
            &object(
                "external-secrets.io/v1",
                "SecretStore",
                json!({"provider": {"vault": {"server": "https://v"}}}),
            ),
            beside(
                "overlayd does not read from provider `vault`; give the store a `controller` class that External Secrets serves beside overlayd",
            ),
        );
    }

    #[test]
    fn old_versions_and_controllers_are_differences() {
        let unit = json!({"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "r"}});
        check(
            &object("kustomize.toolkit.fluxcd.io/v1beta2", "Kustomization", unit),
            Some((
                MigrationVerdict::Difference,
                "where `kustomize.toolkit.fluxcd.io/v1beta2` is not served, it is applied as `kustomize.toolkit.fluxcd.io/v1`; change the file",
            )),
        );
        let mut controller = object("apps/v1", "Deployment", json!({}));
        controller["metadata"] =
            json!({"name": "source-controller", "labels": {"app.kubernetes.io/part-of": "flux"}});
        check(
            &controller,
            Some((
                MigrationVerdict::Difference,
                "it is a controller of Flux; overlayd leaves it as it is in the cluster, so stop it before overlayd starts",
            )),
        );
    }

    #[test]
    fn what_belongs_to_nobody_of_the_peers_is_no_finding() {
        check(&object("v1", "ConfigMap", json!({})), None);
        check(&object("v1", "Secret", json!({})), None);
        check(&object("apps/v1", "Deployment", json!({})), None);
        check(&json!({"kind": "List"}), None);
    }

    #[test]
    fn credentials_are_named_and_not_read() {
        let source = json!({"secretRef": {"name": "key"}, "proxySecretRef": {"name": "proxy"}});
        assert_eq!(
            credentials(&object(
                "source.toolkit.fluxcd.io/v1",
                "GitRepository",
                source
            )),
            ["n/key", "n/proxy"]
        );
        let auth = json!({"secretRef": {
            "accessKeyIDSecretRef": {"name": "aws", "key": "id", "namespace": "keys"},
            "secretAccessKeySecretRef": {"name": "aws", "key": "secret", "namespace": "keys"},
        }});
        let store = json!({"provider": {"aws": {"auth": auth}}});
        assert_eq!(
            credentials(&object(
                "external-secrets.io/v1",
                "ClusterSecretStore",
                store
            )),
            ["keys/aws"]
        );
    }
}

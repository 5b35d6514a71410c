//! Pure: manifests of older versions of the kinds that overlayd serves, written as the version that it serves.
//!
//! Repositories hold such manifests for years: the peers' definitions convert them, and a cluster whose definitions no
//! longer serve the old version refuses them. The conversion happens when they are applied. A build prints what
//! kustomize prints.

use serde_json::{Map, Value, json};

use crate::api::{EXTERNAL_SECRETS_API, GIT_REPOSITORY_API, KUSTOMIZATION_API, RECEIVER_API};

/// `apiVersion` of the version of a kind that overlayd serves, if it serves the kind.
pub fn served_version(api_version: &str, kind: &str) -> Option<&'static str> {
    let (group, _) = api_version.split_once('/')?;
    let served = match kind {
        "GitRepository" => GIT_REPOSITORY_API,
        "Kustomization" => KUSTOMIZATION_API,
        "Receiver" => RECEIVER_API,
        "ExternalSecret" | "SecretStore" | "ClusterSecretStore" => EXTERNAL_SECRETS_API,
        _ => return None,
    };
    (served.split_once('/')?.0 == group).then_some(served)
}

/// The manifest in the version that overlayd serves. None if it has this version already, or is of another kind.
pub fn renewed(manifest: &Value) -> Option<Value> {
    let (api_version, kind) = (manifest["apiVersion"].as_str()?, manifest["kind"].as_str()?);
    let served = served_version(api_version, kind)?;
    let (_, old) = api_version.split_once('/')?;
    if api_version == served || !matches!(old, "v1alpha1" | "v1beta1" | "v1beta2") {
        return None;
    }
    let mut renewed = manifest.clone();
    renewed["apiVersion"] = json!(served);
    if let Some(spec) = renewed.get_mut("spec").and_then(Value::as_object_mut) {
        match kind {
            "GitRepository" => git_repository(spec),
            "Kustomization" => kustomization(spec),
            "ExternalSecret" if old == "v1alpha1" => external_secret(spec),
            _ => {}
        }
    }
    Some(renewed)
}

fn git_repository(spec: &mut Map<String, Value>) {
    // Both have had no effect for years.
    spec.remove("gitImplementation");
    spec.remove("accessFrom");
}

/// Patches of kinds of their own became `patches`. kustomize applies strategic patches first and JSON patches last.
fn kustomization(spec: &mut Map<String, Value>) {
    spec.remove("validation");
    let strategic = list(spec.remove("patchesStrategicMerge"));
    let json_patches = list(spec.remove("patchesJson6902"));
    if !strategic.is_empty() || !json_patches.is_empty() {
        let present = list(spec.remove("patches"));
        let strategic = strategic.iter().map(|patch| json!({"patch": text(patch)}));
        let json_patches = json_patches
            .iter()
            .map(|patch| json!({"patch": text(&patch["patch"]), "target": patch["target"]}));
        let patches = strategic.chain(present).chain(json_patches);
        spec.insert("patches".to_owned(), patches.collect());
    }
    for dependency in spec
        .get_mut("dependsOn")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        // v1alpha1 has names, with a namespace before a slash.
        if let Value::String(name) = dependency {
            *dependency = match name.split_once('/') {
                Some((namespace, name)) => json!({"namespace": namespace, "name": name}),
                None => json!({"name": name}),
            };
        }
    }
}

/// Each element of `dataFrom` was the reference that is now below `extract`.
fn external_secret(spec: &mut Map<String, Value>) {
    let sources = spec.get_mut("dataFrom").and_then(Value::as_array_mut);
    for source in sources.into_iter().flatten() {
        if source.get("key").is_some() {
            *source = json!({"extract": source.take()});
        }
    }
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    }
}

/// A patch as a text. JSON is YAML too.
fn text(patch: &Value) -> String {
    match patch {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(api_version: &str, kind: &str, spec: &Value, expected: Option<(&str, &Value)>) {
        let manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, "spec": spec});
        let expected = expected.map(|(api_version, spec)| {
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, "spec": spec})
        });
        assert_eq!(renewed(&manifest), expected);
    }

    #[test]
    fn every_kind_that_overlayd_serves_is_renewed() {
        let spec = json!({"interval": "1m"});
        for (group, kind, old, new) in [
            ("source.toolkit.fluxcd.io", "GitRepository", "v1beta2", "v1"),
            ("source.toolkit.fluxcd.io", "GitRepository", "v1beta1", "v1"),
            (
                "kustomize.toolkit.fluxcd.io",
                "Kustomization",
                "v1beta2",
                "v1",
            ),
            (
                "kustomize.toolkit.fluxcd.io",
                "Kustomization",
                "v1beta1",
                "v1",
            ),
            (
                "notification.toolkit.fluxcd.io",
                "Receiver",
                "v1beta2",
                "v1",
            ),
            (
                "notification.toolkit.fluxcd.io",
                "Receiver",
                "v1beta1",
                "v1",
            ),
            ("external-secrets.io", "ExternalSecret", "v1beta1", "v1"),
            ("external-secrets.io", "ExternalSecret", "v1alpha1", "v1"),
            ("external-secrets.io", "SecretStore", "v1beta1", "v1"),
            ("external-secrets.io", "ClusterSecretStore", "v1beta1", "v1"),
        ] {
            let (old, new) = (format!("{group}/{old}"), format!("{group}/{new}"));
            check(&old, kind, &spec, Some((&new, &spec)));
            check(&new, kind, &spec, None);
        }
    }

    #[test]
    fn other_kinds_and_versions_are_left() {
        let spec = json!({});
        check(
            "notification.toolkit.fluxcd.io/v1beta2",
            "Alert",
            &spec,
            None,
        );
        check(
            "kustomize.config.k8s.io/v1beta1",
            "Kustomization",
            &spec,
            None,
        );
        check(
            "kustomize.toolkit.fluxcd.io/v2",
            "Kustomization",
            &spec,
            None,
        );
        check("v1", "Secret", &spec, None);
    }

    #[test]
    fn fields_that_are_gone_are_left_out() {
        check(
            "source.toolkit.fluxcd.io/v1beta2",
            "GitRepository",
            &json!({"url": "ssh://a/b", "gitImplementation": "go-git", "accessFrom": {}}),
            Some((GIT_REPOSITORY_API, &json!({"url": "ssh://a/b"}))),
        );
        check(
            "kustomize.toolkit.fluxcd.io/v1beta1",
            "Kustomization",
            &json!({"path": "./a", "validation": "client", "dependsOn": ["x", "n/y", {"name": "z"}]}),
            Some((
                KUSTOMIZATION_API,
                &json!({"path": "./a", "dependsOn": [{"name": "x"}, {"namespace": "n", "name": "y"}, {"name": "z"}]}),
            )),
        );
    }

    #[test]
    fn patches_of_old_forms_become_patches_in_the_order_of_kustomize() {
        let target = json!({"kind": "Deployment"});
        let spec = json!({
            "patches": [{"patch": "p"}],
            "patchesStrategicMerge": [{"kind": "A"}],
            "patchesJson6902": [{"patch": [{"op": "remove", "path": "/a"}], "target": target}],
        });
        let expected = json!({"patches": [
            {"patch": r#"{"kind":"A"}"#},
            {"patch": "p"},
            {"patch": r#"[{"op":"remove","path":"/a"}]"#, "target": target},
        ]});
        check(
            "kustomize.toolkit.fluxcd.io/v1beta2",
            "Kustomization",
            &spec,
            Some((KUSTOMIZATION_API, &expected)),
        );
    }

    #[test]
    fn data_from_of_the_first_version_is_extracted() {
        check(
            "external-secrets.io/v1alpha1",
            "ExternalSecret",
            &json!({"dataFrom": [{"key": "a", "property": "b"}]}),
            Some((
                EXTERNAL_SECRETS_API,
                &json!({"dataFrom": [{"extract": {"key": "a", "property": "b"}}]}),
            )),
        );
    }
}

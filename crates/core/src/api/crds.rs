//! Pure: the custom resource definitions. They are made from the types, and completed where a derive macro cannot
//! express a rule of the peers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::api::external_secret::ExternalSecret;
use crate::api::flux_rules;
use crate::api::generators::{ClusterGenerator, Fake, Password, UUID};
use crate::api::secret_store::{ClusterSecretStore, SecretStore};

/// The providers of External Secrets that overlayd does not implement. A store that uses such a provider is valid, so
/// that its manifest can be applied, and its status names the provider.
const PROVIDERS: [&str; 41] = [
    "akeyless",
    "azurekv",
    "barbican",
    "beyondtrust",
    "beyondtrustworkloadcredentials",
    "bitwardensecretsmanager",
    "chef",
    "cloudrusm",
    "conjur",
    "crd",
    "delinea",
    "doppler",
    "dvls",
    "fortanix",
    "gcpsm",
    "github",
    "gitlab",
    "ibm",
    "infisical",
    "keepersecurity",
    "kubernetes",
    "nebiusmysterybox",
    "ngrok",
    "onboardbase",
    "onepassword",
    "onepasswordSDK",
    "openBao",
    "oracle",
    "ovh",
    "passbolt",
    "passworddepot",
    "previder",
    "pulumi",
    "scaleway",
    "secretserver",
    "senhasegura",
    "vault",
    "volcengine",
    "webhook",
    "yandexcertificatemanager",
    "yandexlockbox",
];

/// The generators of External Secrets that overlayd does not implement, by their field of a `ClusterGenerator`. Such a
/// generator is valid there, and an ExternalSecret that uses it gets an error.
const GENERATORS: [&str; 15] = [
    "acrAccessTokenSpec",
    "beyondtrustWorkloadCredentialsDynamicSecretSpec",
    "cloudsmithAccessTokenSpec",
    "ecrAuthorizationTokenSpec",
    "gcrAccessTokenSpec",
    "githubAccessTokenSpec",
    "gitlabDeployTokenSpec",
    "grafanaSpec",
    "mfaSpec",
    "quayAccessTokenSpec",
    "sshKeySpec",
    "stsSessionTokenSpec",
    "vaultDynamicSecretSpec",
    "webhookSpec",
    "openBaoDynamicSecretSpec",
];

/// Returns all definitions in the order in which they are installed.
pub fn all() -> Vec<CustomResourceDefinition> {
    let flux =
        flux_rules::all().map(|crd| with_old_versions(crd, &["v1beta2", "v1beta1", "v1alpha1"]));
    let secrets = [
        ExternalSecret::crd(),
        with_providers(SecretStore::crd()),
        with_providers(ClusterSecretStore::crd()),
    ]
    .map(|crd| with_old_versions(crd, &["v1beta1", "v1alpha1"]));
    let generators = [
        Password::crd(),
        UUID::crd(),
        Fake::crd(),
        with_generators(ClusterGenerator::crd()),
    ];
    let all = flux.into_iter().chain(secrets).chain(generators);
    all.map(labelled).collect()
}

/// The definition of this name, without empty fields; none for a kind that overlayd does not serve.
pub fn named(name: &str) -> Option<&'static Value> {
    static ALL: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
        let named = all().into_iter().map(|crd| {
            let value = without_nulls(&json!(crd));
            (crd.metadata.name.unwrap_or_default(), value)
        });
        named.collect()
    });
    ALL.get(name)
}

/// Returns all definitions as one YAML text, for `base/crds.yaml`.
///
/// # Panics
/// Never: the definitions hold only values that YAML can represent.
pub fn to_yaml() -> String {
    let nodes: Vec<goyaml::Node> = all()
        .iter()
        .map(|crd| goyaml::from_json(&without_nulls(&json!(crd))))
        .collect();
    goyaml::print_all(&nodes).expect("definitions hold nothing that YAML cannot")
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(key, value)| (key.clone(), without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(values) => Value::Array(values.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

fn labelled(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let component = if crd.spec.group.ends_with("external-secrets.io") {
        "external-secrets.io/component"
    } else {
        "app.kubernetes.io/component"
    };
    crd.metadata
        .labels
        .get_or_insert_default()
        .insert(component.to_owned(), "controller".to_owned());
    crd
}

/// Adds versions that the peers have stored once, which are not served. A cluster that ran an older peer lists them among
/// the stored versions, and the API server refuses a definition that lacks a stored version.
fn with_old_versions(
    mut crd: CustomResourceDefinition,
    names: &[&str],
) -> CustomResourceDefinition {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    for name in names {
        let mut old = crd.spec.versions[0].clone();
        (*name).clone_into(&mut old.name);
        old.served = false;
        old.storage = false;
        old.deprecated = Some(true);
        old.additional_printer_columns = None;
        old.selectable_fields = None;
        old.schema = serde_json::from_value(schema.clone()).ok();
        crd.spec.versions.push(old);
    }
    crd
}

/// Requires exactly one provider. A provider that is not implemented may hold any fields.
fn with_providers(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    one_of(crd, "provider", &PROVIDERS)
}

/// Requires exactly one generator. A generator that is not implemented may hold any fields.
fn with_generators(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    one_of(crd, "generator", &GENERATORS)
}

/// Requires exactly one member of a field of the spec, and adds members with these names that may hold any fields.
fn one_of(crd: CustomResourceDefinition, field: &str, names: &[&str]) -> CustomResourceDefinition {
    let mut value = json!(crd);
    let schema = &mut value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let choice = &mut schema["properties"]["spec"]["properties"][field];
    choice["minProperties"] = json!(1);
    choice["maxProperties"] = json!(1);
    for name in names {
        choice["properties"][name] =
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    serde_json::from_value(value).unwrap_or(crd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_take_exactly_one_of_the_known_providers() {
        let crd = json!(with_providers(SecretStore::crd()));
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let provider = &spec["properties"]["provider"];
        assert_eq!(provider["maxProperties"], 1);
        assert_eq!(
            provider["properties"]["aws"]["required"],
            json!(["region", "service"])
        );
        assert_eq!(
            provider["properties"]["vault"]["x-kubernetes-preserve-unknown-fields"],
            true
        );
        assert!(provider["properties"].get("others").is_none());
    }

    #[test]
    fn an_optional_enum_keeps_its_description_and_may_be_null() {
        let crd = json!(ExternalSecret::crd());
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let policy = &spec["properties"]["refreshPolicy"];
        let expected = json!({
            "description": "When the values are read again. Default: `Periodic`.",
            "enum": ["CreatedOnce", "Periodic", "OnChange", null],
            "nullable": true,
            "type": "string",
        });
        assert_eq!(policy, &expected);
    }

    #[test]
    fn every_object_and_every_field_has_a_description() {
        fn check(place: &str, schema: &Value, missing: &mut Vec<String>) {
            let is_open = schema["x-kubernetes-preserve-unknown-fields"] == true;
            if schema["description"].is_null() && !is_open {
                missing.push(place.to_owned());
            }
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                check(&format!("{place}.{name}"), field, missing);
            }
            if schema["items"]["properties"].is_object() {
                check(&format!("{place}[]"), &schema["items"], missing);
            }
        }
        let mut missing = Vec::new();
        for crd in all() {
            let schema = json!(crd.spec.versions[0].schema);
            check(
                &crd.spec.names.kind,
                &schema["openAPIV3Schema"],
                &mut missing,
            );
        }
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn only_these_kinds_are_served() {
        let all = all();
        let kinds: Vec<&str> = all.iter().map(|crd| crd.spec.names.kind.as_str()).collect();
        let expected = [
            "GitRepository",
            "Kustomization",
            "Receiver",
            "ExternalSecret",
            "SecretStore",
            "ClusterSecretStore",
            "Password",
            "UUID",
            "Fake",
            "ClusterGenerator",
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn old_versions_that_the_peers_have_stored_are_there_and_not_served() {
        let expected = |crd: &CustomResourceDefinition| match &*crd.spec.group {
            "external-secrets.io" => vec!["v1", "v1beta1", "v1alpha1"],
            "generators.external-secrets.io" => vec!["v1alpha1"],
            _ => vec!["v1", "v1beta2", "v1beta1", "v1alpha1"],
        };
        for crd in all() {
            let versions = &crd.spec.versions;
            let names: Vec<&str> = versions.iter().map(|version| &*version.name).collect();
            assert_eq!(names, expected(&crd));
            for (place, version) in versions.iter().enumerate() {
                assert_eq!((version.served, version.storage), (place == 0, place == 0));
            }
        }
    }
}

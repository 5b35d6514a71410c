//! Pure: the definitions of Flux's kinds, with the rules of Flux that a derive macro cannot express: defaults, enumerations
//! and patterns, so that the API server accepts and completes exactly the objects that it does under Flux.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::api::git_repository::GitRepository;
use crate::api::kustomization::Kustomization;
use crate::api::receiver::Receiver;

/// A field by its place in the schema, and what is added to its schema.
type Rule = (&'static str, Value);

/// The kinds that a Receiver can name, as in Flux.
const RECEIVER_KINDS: [&str; 12] = [
    "Bucket",
    "GitRepository",
    "Kustomization",
    "HelmRelease",
    "HelmChart",
    "HelmRepository",
    "ImageRepository",
    "ImagePolicy",
    "ImageUpdateAutomation",
    "OCIRepository",
    "ArtifactGenerator",
    "ExternalArtifact",
];

/// The definitions of all kinds of Flux that are served.
pub(super) fn all() -> [CustomResourceDefinition; 3] {
    [
        completed(GitRepository::crd(), &of_git_repositories()),
        completed(Kustomization::crd(), &of_kustomizations()),
        completed(Receiver::crd(), &of_receivers()),
    ]
}

fn of_git_repositories() -> Vec<Rule> {
    let artifact = json!({
        "digest": {"pattern": "^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$"},
        "lastUpdateTime": {"format": "date-time"},
    });
    vec![
        ("spec.verify.mode", json!({"default": "HEAD"})),
        ("status.artifact", json!({"properties": artifact.clone()})),
        (
            "status.includedArtifacts",
            json!({"items": {"properties": artifact}}),
        ),
    ]
}

fn of_kustomizations() -> Vec<Rule> {
    let source = json!({
        "name": {"minLength": 1, "maxLength": 253},
        "optional": {"default": false},
    });
    vec![
        ("spec.force", json!({"default": false})),
        ("spec.decryption.provider", json!({"enum": ["sops"]})),
        (
            "spec.healthCheckExprs",
            json!({"items": {"required": ["apiVersion", "current", "kind"]}}),
        ),
        (
            "spec.postBuild.substituteFrom",
            json!({"items": {"properties": source}}),
        ),
    ]
}

fn of_receivers() -> Vec<Rule> {
    let name = json!({"minLength": 1, "maxLength": 253});
    let resource = json!({
        "kind": {"enum": RECEIVER_KINDS},
        "name": name,
        "namespace": name,
    });
    vec![
        ("spec.interval", json!({"default": "10m"})),
        ("spec.resources", json!({"items": {"properties": resource}})),
    ]
}

/// The rules of the status, which all kinds share.
fn of_statuses() -> Vec<Rule> {
    let condition = json!({
        "message": {"maxLength": 32768},
        "observedGeneration": {"minimum": 0},
        "reason": {
            "minLength": 1,
            "maxLength": 1024,
            "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        },
        "status": {"enum": ["True", "False", "Unknown"]},
        "type": {
            "maxLength": 316,
            "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        },
    });
    vec![
        (
            "status",
            json!({"default": {"observedGeneration": -1}, "nullable": false}),
        ),
        (
            "status.conditions",
            json!({"items": {"properties": condition}}),
        ),
    ]
}

/// Adds the rules to a definition.
fn completed(crd: CustomResourceDefinition, rules: &[Rule]) -> CustomResourceDefinition {
    let mut value = json!(crd);
    let schema = &mut value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for (path, rule) in of_statuses().iter().chain(rules) {
        let field = path
            .split('.')
            .fold(&mut *schema, |schema, name| &mut schema["properties"][name]);
        debug_assert!(field.is_object(), "there is no field `{path}`");
        merge(field, rule);
    }
    serde_json::from_value(value).unwrap_or(crd)
}

/// Puts values into a schema. Objects are merged, and everything else is replaced.
fn merge(schema: &mut Value, rule: &Value) {
    match (schema, rule) {
        (Value::Object(schema), Value::Object(rule)) => {
            for (name, value) in rule {
                merge(schema.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (schema, rule) => *schema = rule.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_have_the_defaults_enumerations_and_required_fields_of_flux() {
        let all = all().map(|crd| json!(crd));
        let schema = |kind: &str| {
            let crd = all.iter().find(|crd| crd["spec"]["names"]["kind"] == kind);
            crd.unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
        };
        let check = |kind: &str, path: &str, expected: Value| {
            let path = path.replace("[]", "/items").replace('.', "/properties/");
            let found = schema(kind).pointer(&path).cloned();
            assert_eq!(found, Some(expected), "{kind} {path}");
        };
        for kind in ["GitRepository", "Kustomization", "Receiver"] {
            check(kind, ".status/default", json!({"observedGeneration": -1}));
            let statuses = json!(["True", "False", "Unknown"]);
            check(kind, ".status.conditions[].status/enum", statuses);
        }
        check(
            "GitRepository",
            "/properties/spec/required",
            json!(["interval", "url"]),
        );
        check("GitRepository", ".spec.timeout/default", json!("60s"));
        check("GitRepository", ".spec.verify.mode/default", json!("HEAD"));
        check(
            "GitRepository",
            ".status.artifact.lastUpdateTime/format",
            json!("date-time"),
        );
        let required = json!(["interval", "prune", "sourceRef"]);
        check("Kustomization", ".spec/required", required);
        check("Kustomization", ".spec.force/default", json!(false));
        check(
            "Kustomization",
            ".spec.decryption.provider/enum",
            json!(["sops"]),
        );
        let required = json!(["apiVersion", "current", "kind"]);
        check(
            "Kustomization",
            ".spec.healthCheckExprs[]/required",
            required,
        );
        let optional = ".spec.postBuild.substituteFrom[].optional/default";
        check("Kustomization", optional, json!(false));
        let required = json!(["resources", "secretRef", "type"]);
        check("Receiver", ".spec/required", required);
        check("Receiver", ".spec.interval/default", json!("10m"));
        check(
            "Receiver",
            ".spec.resources[].kind/enum",
            json!(RECEIVER_KINDS),
        );
    }

    #[test]
    fn a_rule_keeps_what_is_beside_it() {
        let mut schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        merge(
            &mut schema,
            &json!({"default": {}, "properties": {"a": {"enum": ["x"]}}}),
        );
        assert_eq!(
            schema,
            json!({"type": "object", "default": {}, "properties": {"a": {"type": "string", "enum": ["x"]}}})
        );
    }
}

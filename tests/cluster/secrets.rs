//! From AWS to a Secret, and what becomes of it when AWS does not answer.

use std::sync::{Mutex, PoisonError};

use serde_json::json;
use testbed::Fault;

use crate::bed::{Case, condition};

/// Faults hit everybody who reads, so tests that make them take turns with those that count on none.
static FAULTS: Mutex<()> = Mutex::new(());

/// Takes back what goes wrong, however a test ends.
struct Mended<'e>(&'e testbed::Emulator);

impl Drop for Mended<'_> {
    fn drop(&mut self) {
        self.0.set_fault(None);
    }
}

#[test]
fn properties_become_keys_and_a_rotation_follows() {
    let _turn = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let case = Case::new("secret-sync");
    case.bed
        .aws
        .put("sync/db", r#"{"username":"u","password":"one"}"#);
    case.external_secret(
        "db",
        json!([
            {"secretKey": "user", "remoteRef": {"key": "sync/db", "property": "username"}},
            {"secretKey": "pass", "remoteRef": {"key": "sync/db", "property": "password"}},
        ]),
    );
    case.secret_is("db", "pass", "one");
    assert_eq!(
        case.ready("externalsecrets", "db", "True", "secret synced"),
        "SecretSynced"
    );
    let secret = case.get("secrets", "db").unwrap();
    assert_eq!(secret["type"], "Opaque");
    assert_eq!(
        secret["metadata"]["labels"]["reconcile.external-secrets.io/managed"],
        "true"
    );
    assert_eq!(
        secret["metadata"]["ownerReferences"][0]["kind"],
        "ExternalSecret"
    );
    let object = case.get("externalsecrets", "db").unwrap();
    assert_eq!(object["status"]["binding"]["name"], "db");
    assert!(
        object["status"]["syncedResourceVersion"]
            .as_str()
            .unwrap()
            .starts_with("1-")
    );

    case.bed
        .aws
        .put("sync/db", r#"{"username":"u","password":"two"}"#);
    case.secret_is("db", "pass", "two");

    case.bed
        .cluster
        .patch(
            &case.path("secrets", "db"),
            &json!({"data": {"pass": "ZWRpdGVk"}}),
        )
        .unwrap();
    case.secret_is("db", "pass", "two");
    case.bed
        .cluster
        .delete(&case.path("secrets", "db"))
        .unwrap();
    case.secret_is("db", "pass", "two");
}

#[test]
fn extract_takes_every_member() {
    let _turn = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let case = Case::new("secret-extract");
    case.bed.aws.put("extract/all", r#"{"a":"x","b c":1.50}"#);
    let store = json!({"kind": "ClusterSecretStore", "name": "aws"});
    let spec = json!({"secretStoreRef": store, "target": {"name": "made"}, "dataFrom": [{"extract": {"key": "extract/all"}}]});
    case.apply("externalsecrets", "all", spec);
    case.secret_is("made", "a", "x");
    case.secret_is("made", "b_c", "1.50");
}

#[test]
fn a_missing_secret_a_missing_property_and_their_repair() {
    let _turn = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let case = Case::new("secret-missing");
    case.external_secret(
        "db",
        json!([{"secretKey": "k", "remoteRef": {"key": "missing/db", "property": "p"}}]),
    );
    let reason = case.ready(
        "externalsecrets",
        "db",
        "False",
        "secret `missing/db` does not exist",
    );
    assert_eq!(reason, "SecretSyncedError");
    case.bed.aws.put("missing/db", r#"{"q":"canary-missing"}"#);
    case.ready(
        "externalsecrets",
        "db",
        "False",
        "data[0] of `missing/db`: property `p` does not exist in the secret",
    );
    case.bed.aws.put("missing/db", r#"{"p":"v"}"#);
    case.secret_is("db", "k", "v");
    case.wait("events", "", "an event", |events| {
        events["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["reason"] == "UpdateFailed" && event["type"] == "Warning")
    });
}

#[test]
fn no_fault_of_the_provider_empties_a_secret() {
    let _turn = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let case = Case::new("secret-faults");
    let _mended = Mended(&case.bed.aws);
    case.bed.aws.put("faults/db", r#"{"p":"kept"}"#);
    let policies = ["Retain", "Delete", "Merge"];
    for policy in policies {
        let spec = json!({
            "refreshInterval": "1s",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"},
            "data": [{"secretKey": "k", "remoteRef": {"key": "faults/db", "property": "p"}}],
            "target": {"deletionPolicy": policy},
        });
        case.apply("externalsecrets", &policy.to_lowercase(), spec);
        case.secret_is(&policy.to_lowercase(), "k", "kept");
    }
    let versions = || policies.map(|policy| case.version("secrets", &policy.to_lowercase()));
    let before = versions();
    for (fault, message) in [
        (
            Fault::AccessDenied,
            "the identity lacks `secretsmanager:GetSecretValue`",
        ),
        (Fault::Throttling, "throttled while reading `faults/db`"),
        (Fault::InternalError, "reading `faults/db` failed"),
        (
            Fault::ExpiredToken,
            "reading `faults/db` failed: ExpiredTokenException",
        ),
        (
            Fault::DecryptionFailure,
            "reading `faults/db` failed: DecryptionFailure",
        ),
        (Fault::EmptyAnswer, "the answer holds no value"),
        (Fault::Truncated, "reading `faults/db` failed"),
    ] {
        case.bed.aws.set_fault(Some(fault));
        for policy in policies {
            case.ready("externalsecrets", &policy.to_lowercase(), "False", message);
        }
        assert_eq!(versions(), before, "{fault:?}");
        case.bed.aws.set_fault(None);
        for policy in policies {
            case.ready(
                "externalsecrets",
                &policy.to_lowercase(),
                "True",
                "secret synced",
            );
        }
    }
    // A secret that lacks a property is no secret that is missing.
    case.bed.aws.put("faults/db", r#"{"q":"other"}"#);
    for policy in policies {
        let message = "property `p` does not exist in the secret";
        case.ready("externalsecrets", &policy.to_lowercase(), "False", message);
    }
    assert_eq!(versions(), before);
}

#[test]
fn a_store_that_appears_wakes_those_that_wait_for_it() {
    let _turn = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let case = Case::new("secret-store");
    case.bed.aws.put("store/db", "plain");
    let data = json!([{"secretKey": "k", "remoteRef": {"key": "store/db"}}]);
    case.apply(
        "externalsecrets",
        "db",
        json!({"secretStoreRef": {"name": "late"}, "data": data}),
    );
    case.ready(
        "externalsecrets",
        "db",
        "False",
        "SecretStore `late` does not exist in namespace `secret-store`",
    );
    let store = |service: &str| {
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "late"},
            "spec": {"provider": {"aws": {"service": service, "region": "us-east-1"}}},
        })
    };
    case.bed
        .cluster
        .apply(
            &case.path("secretstores", "late"),
            &store("CertificateManager"),
        )
        .unwrap();
    case.ready(
        "secretstores",
        "late",
        "False",
        "`provider.aws.service: CertificateManager` is not supported yet",
    );
    case.bed
        .cluster
        .apply(&case.path("secretstores", "late"), &store("SecretsManager"))
        .unwrap();
    let store = case.wait("secretstores", "late", "a valid store", |store| {
        condition(store, "Ready")["status"] == "True"
    });
    assert_eq!(condition(&store, "Ready")["reason"], "Valid");
    assert_eq!(store["status"]["capabilities"], "ReadWrite");
    case.secret_is("db", "k", "plain");
}

#[test]
fn a_secret_of_somebody_else_is_not_taken() {
    let _turn = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let case = Case::new("secret-owner");
    case.bed.aws.put("owner/db", "v");
    let data = json!([{"secretKey": "k", "remoteRef": {"key": "owner/db"}}]);
    case.external_secret("shared", data.clone());
    case.secret_is("shared", "k", "v");
    let store = json!({"kind": "ClusterSecretStore", "name": "aws"});
    case.apply(
        "externalsecrets",
        "second",
        json!({"secretStoreRef": store, "data": data, "target": {"name": "shared"}}),
    );
    case.ready(
        "externalsecrets",
        "second",
        "False",
        "target is owned by another ExternalSecret",
    );
    let secret = case.get("secrets", "shared").unwrap();
    assert_eq!(secret["metadata"]["ownerReferences"][0]["name"], "shared");
}

#[test]
fn credentials_come_from_the_pod_identity_agent() {
    let _turn = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let case = Case::new("secret-identity");
    case.bed.aws.put("identity/db", "v");
    case.external_secret(
        "db",
        json!([{"secretKey": "k", "remoteRef": {"key": "identity/db"}}]),
    );
    case.secret_is("db", "k", "v");
    assert!(case.bed.agent.issued() > 0);
    assert!(case.bed.aws.calls("BatchGetSecretValue") > 0);
}

#[test]
fn a_template_makes_a_url_of_two_values() {
    let _turn = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let case = Case::new("secret-template");
    case.bed
        .aws
        .put("template/db", r#"{"user":"u","pass":"p"}"#);
    let spec = |url: &str| {
        json!({
            "refreshInterval": "1s",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"},
            "dataFrom": [{"extract": {"key": "template/db"}}],
            "target": {"template": {"data": {"url": url}, "metadata": {"labels": {"user": "{{ .user }}"}}}},
        })
    };
    case.apply(
        "externalsecrets",
        "db",
        spec("db://{{ .user }}:{{ .pass }}@host"),
    );
    case.secret_is("db", "url", "db://u:p@host");
    let secret = case.get("secrets", "db").unwrap();
    assert_eq!(secret["metadata"]["labels"]["user"], "u");
    assert_eq!(secret["data"].as_object().unwrap().len(), 1);
    case.apply("externalsecrets", "db", spec("{{ .nobody }}"));
    let message = "`target.template.data.url`: template: url:1:3: executing \"url\" at <.nobody>: map has no entry for key";
    case.ready("externalsecrets", "db", "False", message);
    case.secret_is("db", "url", "db://u:p@host");
}

#[test]
fn templates_of_a_config_map_and_rewritten_keys() {
    let _turn = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let case = Case::new("secret-template-from");
    case.bed
        .aws
        .put("template/from", r#"{"user name":"u","token":"dA=="}"#);
    let spec = json!({
        "refreshInterval": "1s",
        "secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"},
        "data": [{"secretKey": "token", "remoteRef": {"key": "template/from", "property": "token", "decodingStrategy": "Base64"}}],
        "dataFrom": [{
            "extract": {"key": "template/from"},
            "rewrite": [{"regexp": {"source": "^(\\w+) ", "target": "${1}_"}}],
        }],
        "target": {"template": {"mergePolicy": "Merge", "templateFrom": [
            {"configMap": {"name": "templates", "items": [{"key": "app.ini"}]}},
            {"literal": "team: of-{{ .user_name }}", "target": "Labels"},
        ]}},
    });
    case.apply("externalsecrets", "db", spec);
    let message =
        "`target.template.templateFrom[0].configMap`: ConfigMap `templates` does not exist";
    case.ready("externalsecrets", "db", "False", message);
    assert!(case.get("secrets", "db").is_none());
    let templates = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "templates"},
        "data": {"app.ini": "[db]\nuser = {{ .user_name | upper }}\n"},
    });
    case.bed
        .cluster
        .apply(&case.path("configmaps", "templates"), &templates)
        .unwrap();
    case.secret_is("db", "app.ini", "[db]\nuser = U\n");
    case.secret_is("db", "token", "t");
    case.secret_is("db", "user_name", "u");
    let secret = case.get("secrets", "db").unwrap();
    assert_eq!(secret["metadata"]["labels"]["team"], "of-u");
}

#[test]
fn a_merge_adds_its_keys_and_takes_back_only_those() {
    let _turn = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let case = Case::new("secret-merge");
    case.bed.aws.put("merge/a", r#"{"one":"1","two":"2"}"#);
    let spec = |keys: &[&str]| {
        let entry = |key: &&str| json!({"secretKey": key, "remoteRef": {"key": "merge/a", "property": key}});
        json!({
            "refreshInterval": "1s",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"},
            "data": keys.iter().map(entry).collect::<Vec<_>>(),
            "target": {"creationPolicy": "Merge"},
        })
    };
    case.apply("externalsecrets", "db", spec(&["one", "two"]));
    let reason = case.ready("externalsecrets", "db", "True", "will not be created");
    assert_eq!(reason, "SecretMissing");
    let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"theirs": "t"}});
    case.bed
        .cluster
        .apply(&case.path("secrets", "db"), &theirs)
        .unwrap();
    case.secret_is("db", "two", "2");
    case.secret_is("db", "theirs", "t");
    case.apply("externalsecrets", "db", spec(&["one"]));
    case.wait("secrets", "db", "the key to go", |secret| {
        secret["data"]["two"].is_null()
    });
    case.secret_is("db", "one", "1");
    case.secret_is("db", "theirs", "t");
    let secret = case.get("secrets", "db").unwrap();
    assert!(secret["metadata"]["ownerReferences"].is_null());
}

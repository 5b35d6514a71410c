//! Stores: who may use them, how they stand, and who serves them.

use serde_json::{Value, json};

use crate::bed::{Case, condition};

/// A store for all namespaces with the value `v` under `a`.
fn cluster_store(case: &Case, name: &str, more: Value) {
    let mut spec = json!({"provider": {"fake": {"data": [{"key": "a", "value": "v"}]}}});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let object = json!({"apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": name}, "spec": spec});
    let path = format!("/apis/external-secrets.io/v1/clustersecretstores/{name}");
    case.bed.cluster.apply(&path, &object).unwrap();
}

fn uses(case: &Case, name: &str, store: &str) {
    let store = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": store}});
    case.of_fake(name, "a", json!({}), store);
}

#[test]
fn conditions_say_which_namespaces_may_use_a_store() {
    let case = Case::new("store-conditions");
    let denied = "is not allowed from namespace `store-conditions`: denied by spec.condition";
    let conditions = |conditions: Value| json!({"conditions": conditions});
    for (name, given) in [
        (
            "cond-names",
            json!([{"namespaces": ["x", "store-conditions"]}]),
        ),
        (
            "cond-regexes",
            json!([{"namespaces": ["x"]}, {"namespaceRegexes": ["^store-c"]}]),
        ),
        (
            "cond-labels",
            json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "store-conditions"}}}]),
        ),
    ] {
        cluster_store(&case, name, conditions(given));
        uses(&case, name, name);
        case.secret_is(name, "k", "v");
    }
    cluster_store(
        &case,
        "cond-denied",
        conditions(json!([{"namespaces": ["x"], "namespaceRegexes": ["^y"]}])),
    );
    uses(&case, "denied", "cond-denied");
    case.ready("externalsecrets", "denied", "False", denied);
    assert!(case.get("secrets", "denied").is_none());
    // A namespace that gets the label may use the store at once.
    cluster_store(
        &case,
        "cond-label",
        conditions(json!([{"namespaceSelector": {"matchLabels": {"secrets": "yes"}}}])),
    );
    uses(&case, "label", "cond-label");
    case.ready("externalsecrets", "label", "False", denied);
    let label = json!({"metadata": {"labels": {"secrets": "yes"}}});
    case.bed
        .cluster
        .patch("/api/v1/namespaces/store-conditions", &label)
        .unwrap();
    case.secret_is("label", "k", "v");
}

#[test]
fn a_store_of_another_class_is_left_alone() {
    let case = Case::new("store-class");
    cluster_store(&case, "class-other", json!({"controller": "another"}));
    uses(&case, "db", "class-other");
    cluster_store(&case, "class-own", json!({"controller": "default"}));
    uses(&case, "own", "class-own");
    case.secret_is("own", "k", "v");
    assert!(case.get("secrets", "db").is_none());
    let ignored = case.get("externalsecrets", "db").unwrap();
    assert!(ignored["status"]["conditions"].is_null(), "{ignored}");
    let path = "/apis/external-secrets.io/v1/clustersecretstores/class-other";
    let store = case.bed.cluster.get(path).unwrap().unwrap();
    assert!(store["status"].is_null(), "{store}");
    // Given over to us, it is served at once.
    cluster_store(&case, "class-other", json!({"controller": "default"}));
    case.secret_is("db", "k", "v");
}

#[test]
fn how_a_store_stands() {
    let case = Case::new("store-states");
    let fake = |result: i64| json!({"provider": {"fake": {"data": [{"key": "a", "value": "v"}], "validationResult": result}}});
    case.apply("secretstores", "fake", fake(2));
    let reason = case.ready("secretstores", "fake", "False", "unable to validate store");
    assert_eq!(reason, "InvalidProviderConfig");
    case.of_fake("db", "a", json!({}), json!({}));
    case.ready(
        "externalsecrets",
        "db",
        "False",
        "SecretStore `fake` is not ready: unable to validate store",
    );
    // One that recovers wakes those who wait for it.
    case.apply("secretstores", "fake", fake(0));
    case.secret_is("db", "k", "v");
    let store = case.get("secretstores", "fake").unwrap();
    assert_eq!(condition(&store, "Ready")["reason"], "Valid");
    case.has_event("StoreUnmaintained", "not maintained");
    case.apply("secretstores", "fake", fake(1));
    case.wait("secretstores", "fake", "an unknown state", |store| {
        condition(store, "Ready")["reason"] == "ValidationUnknown"
    });
    for (name, spec, message) in [
        (
            "interval",
            json!({"refreshInterval": -1, "provider": {"fake": {"data": []}}}),
            "`spec.refreshInterval: -1` is neither seconds nor a duration",
        ),
        (
            "retry",
            json!({"retrySettings": {"retryInterval": "soon"}, "provider": {"aws": {"service": "SecretsManager", "region": "us-east-1"}}}),
            "`retrySettings.retryInterval: soon` is not a duration",
        ),
        (
            "vault",
            json!({"provider": {"vault": {"server": "http://127.0.0.1"}}}),
            "provider `vault` is not supported by overlayd",
        ),
        (
            "region",
            json!({"provider": {"aws": {"service": "SecretsManager", "region": "a/b"}}}),
            "`provider.aws.region` must be a host label, not `a/b`",
        ),
    ] {
        case.apply("secretstores", name, spec);
        case.ready("secretstores", name, "False", message);
    }
}

#[test]
fn one_external_secret_reads_from_several_stores() {
    let case = Case::new("store-several");
    case.fake_store(&[("a", "from-fake")]);
    case.bed.aws.put("several/a", "from-aws");
    let entry = |key: &str, remote: &str, store: Value| json!({"secretKey": key, "remoteRef": {"key": remote}, "sourceRef": {"storeRef": store}});
    let spec = json!({
        "data": [
            entry("fake", "a", json!({"name": "fake"})),
            entry("aws", "several/a", json!({"kind": "ClusterSecretStore", "name": "aws"})),
        ],
    });
    case.apply("externalsecrets", "db", spec);
    case.secret_is("db", "fake", "from-fake");
    case.secret_is("db", "aws", "from-aws");
}

#[test]
fn a_store_held_by_external_secrets_can_be_deleted() {
    let case = Case::new("store-finalizer");
    case.fake_store(&[("a", "v")]);
    let finalizers =
        json!({"metadata": {"finalizers": ["secretstore.externalsecrets.io/finalizer"]}});
    case.patch("secretstores", "fake", finalizers);
    case.delete("secretstores", "fake");
    case.wait_gone("secretstores", "fake");
}

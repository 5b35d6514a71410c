//! A value is found in its Secret and nowhere else.

use serde_json::json;

use crate::bed::{Case, condition};

#[test]
fn a_canary_is_found_in_its_secret_alone() {
    let case = Case::new("canary");
    let canary = "canary-4f1d2c";
    case.bed.aws.put(
        "canary/db",
        &format!(r#"{{"p":"{canary}","n":{{"q":"{canary}-nested"}}}}"#),
    );
    case.external_secret(
        "db",
        json!([{"secretKey": "k", "remoteRef": {"key": "canary/db", "property": "p"}}]),
    );
    case.secret_is("db", "k", canary);
    // What fails must not say it either: a property of a text, and an object that is none.
    case.external_secret(
        "text",
        json!([{"secretKey": "k", "remoteRef": {"key": "canary/db", "property": "p.x"}}]),
    );
    case.ready(
        "externalsecrets",
        "text",
        "False",
        "property `p.x` does not exist",
    );
    for (kind, name) in [("externalsecrets", ""), ("events", ""), ("configmaps", "")] {
        let objects = case
            .bed
            .cluster
            .get(&case.path(kind, name))
            .unwrap()
            .unwrap();
        assert!(
            !objects.to_string().contains(canary),
            "the canary is in {kind}"
        );
    }
    // At the most talkative level.
    assert!(
        !case.bed.daemon.log().contains(canary),
        "the canary is in the log"
    );
    let (code, metrics) = testbed::http_get(case.bed.port, "/metrics").unwrap();
    assert_eq!(code, 200);
    assert!(metrics.contains("externalsecret_sync_calls_total"));
    assert!(!metrics.contains(canary), "the canary is in the metrics");
}

#[test]
fn a_value_that_was_put_into_objects_is_quoted_nowhere() {
    let case = Case::new("canary-variables");
    let canary = "canary-8a3b7e";
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vars"}, "stringData": {"password": canary}});
    let path = case.path("secrets", "vars");
    case.bed.cluster.apply(&path, &secret).unwrap();
    let map =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {key: \"${password}\"}\n";
    // The API server quotes what it refuses.
    let bad = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {type: \"${password}\", ports: [{port: 80}]}\n";
    let directory = |files: &str| format!("namespace: canary-variables\nresources: [{files}]\n");
    case.push(
        &[
            ("app/kustomization.yaml", &directory("a.yaml, bad.yaml")),
            ("app/a.yaml", map),
            ("app/bad.yaml", bad),
        ],
        "bad",
    );
    case.repository();
    let from = json!({"postBuild": {"substituteFrom": [{"kind": "Secret", "name": "vars"}]}});
    case.unit("app", "app", from);
    case.ready(
        "kustomizations",
        "app",
        "False",
        "Service/canary-variables/bad",
    );
    case.push(&[("app/kustomization.yaml", &directory("a.yaml"))], "good");
    case.map_is("a", "key", canary);
    // Neither the value that was there nor the one that would be is shown.
    let mode = |mode: &str| json!({"metadata": {"annotations": {"overlayd.dev/mode": mode}}});
    case.patch("kustomizations", "app", mode("report"));
    case.patch(
        "secrets",
        "vars",
        json!({"stringData": {"password": "canary-0c9d1f"}}),
    );
    case.ready(
        "kustomizations",
        "app",
        "False",
        "ConfigMap/canary-variables/a would be changed: data.key: *** (before) → *** (after)",
    );
    let unit = case.get("kustomizations", "app").unwrap();
    assert_eq!(condition(&unit, "Ready")["reason"], "OutOfSync");
    let events = case.get("events", "").unwrap().to_string();
    let log = case.bed.daemon.log();
    let (_, metrics) = testbed::http_get(case.bed.port, "/metrics").unwrap();
    for canary in [canary, "canary-0c9d1f"] {
        for (place, text) in [
            ("status", unit.to_string()),
            ("events", events.clone()),
            ("log", log.clone()),
            ("metrics", metrics.clone()),
        ] {
            assert!(!text.contains(canary), "{canary} is in the {place}");
        }
    }
}

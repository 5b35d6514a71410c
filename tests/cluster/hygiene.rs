//! A value is found in its Secret and nowhere else.

use serde_json::json;

use crate::bed::Case;

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

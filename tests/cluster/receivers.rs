//! Calls of git servers, and events that are posted.

use serde_json::{Value, json};

use crate::bed::{Case, config_map};

impl Case {
    /// A receiver, its token in a Secret; gives its address.
    fn receiver(&self, name: &str, spec: Value) -> String {
        let token = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"token": "canary-token-5d21"}});
        self.bed
            .cluster
            .apply(&self.path("secrets", "token"), &token)
            .unwrap();
        let mut full = json!({"secretRef": {"name": "token"}, "resources": [{"kind": "GitRepository", "name": "app"}]});
        for (key, value) in spec.as_object().into_iter().flatten() {
            full[key] = value.clone();
        }
        self.apply("receivers", name, full);
        self.ready(
            "receivers",
            name,
            "True",
            "Receiver initialized for path: /hook/",
        );
        let receiver = self.get("receivers", name).unwrap();
        receiver["status"]["webhookPath"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Calls an address, and gives the code.
    fn call(&self, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        testbed::http(self.bed.port, "POST", path, &headers, body)
            .unwrap()
            .0
    }
}

#[test]
fn a_push_is_followed_at_once() {
    let case = Case::applied("receiver-push");
    let rarely = json!({"spec": {"interval": "1h"}});
    case.patch("gitrepositories", "app", rarely.clone());
    case.patch("kustomizations", "app", rarely);
    let path = case.receiver("push", json!({"type": "gitlab", "events": ["Push Hook"]}));
    let token = ("X-Gitlab-Token", "canary-token-5d21");
    case.push(&[("app/a.yaml", &config_map("a", "two"))], "two");
    assert_eq!(
        case.call(&path, &[token, ("X-Gitlab-Event", "Tag Push Hook")], "{}"),
        400
    );
    assert_eq!(
        case.call(
            &path,
            &[("X-Gitlab-Token", "wrong"), ("X-Gitlab-Event", "Push Hook")],
            "{}"
        ),
        400
    );
    assert_eq!(case.get("configmaps", "a").unwrap()["data"]["key"], "one");
    assert_eq!(
        case.call(&path, &[token, ("X-Gitlab-Event", "Push Hook")], "{}"),
        200
    );
    case.map_is("a", "key", "two");

    assert_eq!(
        testbed::http_get(case.bed.port, &path).unwrap().0,
        405,
        "only POST"
    );
    assert_eq!(case.call("/hook/0123", &[token], "{}"), 404);
    assert_eq!(
        case.call(
            &path,
            &[token, ("X-Gitlab-Event", "Push Hook")],
            &" ".repeat((3 << 20) + 1)
        ),
        413
    );
    case.patch("receivers", "push", json!({"spec": {"suspend": true}}));
    assert_eq!(
        case.call(&path, &[token, ("X-Gitlab-Event", "Push Hook")], "{}"),
        503
    );
    case.delete("receivers", "push");
    let gone = testbed::wait_for("the address to go", crate::bed::PATIENCE, || {
        anyhow::ensure!(case.call(&path, &[token], "{}") == 404, "still there");
        Ok(())
    });
    gone.unwrap();
    assert!(!case.bed.daemon.log().contains("canary-token-5d21"));
}

#[test]
fn what_is_called_for_must_be_there() {
    let case = Case::applied("receiver-resources");
    let path = case.receiver("both", json!({"type": "generic", "resources": [{"kind": "GitRepository", "name": "app"}, {"kind": "Kustomization", "name": "none"}]}));
    assert_eq!(case.call(&path, &[], ""), 500);
    let source = case.get("gitrepositories", "app").unwrap();
    let asked = &source["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"];
    assert!(asked.is_string(), "the other one was asked");
    let all = json!({"type": "generic", "resources": [{"kind": "Kustomization", "name": "*", "matchLabels": {"team": "web"}}]});
    let path = case.receiver("all", all);
    case.patch(
        "kustomizations",
        "app",
        json!({"metadata": {"labels": {"team": "web"}}}),
    );
    assert_eq!(case.call(&path, &[], ""), 200);
    case.wait("kustomizations", "app", "the request", |unit| {
        unit["status"]["lastHandledReconcileAt"].is_string()
    });

    case.apply(
        "receivers",
        "later",
        json!({"type": "harbor", "secretRef": {"name": "token"}, "resources": []}),
    );
    let reason = case.ready(
        "receivers",
        "later",
        "False",
        "receivers of this type are not supported yet",
    );
    assert_eq!(reason, "FeatureGateDisabled");
    case.apply(
        "receivers",
        "bare",
        json!({"type": "github", "secretRef": {"name": "nowhere"}, "resources": []}),
    );
    assert_eq!(
        case.ready("receivers", "bare", "False", "Secret `nowhere`"),
        "TokenNotFound"
    );
}

#[test]
fn a_new_token_moves_the_address_within_the_interval() {
    let case = Case::applied("receiver-interval");
    let path = case.receiver("often", json!({"type": "generic", "interval": "1s"}));
    assert_eq!(case.call(&path, &[], ""), 200);
    let token = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"token": "another"}});
    let secret = case.path("secrets", "token");
    case.bed.cluster.apply(&secret, &token).unwrap();
    let moved = case.wait("receivers", "often", "another address", |receiver| {
        receiver["status"]["webhookPath"] != path.as_str()
    });
    let moved = moved["status"]["webhookPath"].as_str().unwrap().to_owned();
    assert_eq!(case.call(&moved, &[], ""), 200);
    assert_eq!(case.call(&path, &[], ""), 404);
}

#[test]
fn filters_select_among_the_resources() {
    let case = Case::applied("receiver-filters");
    let both = json!([
        {"kind": "GitRepository", "name": "app"},
        {"kind": "Kustomization", "name": "app", "filter": "req.ref == 'refs/heads/main'"},
    ]);
    let spec = json!({"type": "generic", "resources": both, "resourceFilter": "res.kind == req.kind && res.metadata.name == 'app'"});
    let path = case.receiver("filtered", spec);
    let call = |body: Value| {
        let headers = [("Content-Type", "application/json")];
        case.call(&path, &headers, &body.to_string())
    };
    let asked = |resource: &str| {
        let object = case.get(resource, "app").unwrap();
        object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"].is_string()
    };
    assert_eq!(
        call(json!({"kind": "Kustomization", "ref": "refs/heads/other"})),
        200
    );
    assert!(
        !asked("gitrepositories") && !asked("kustomizations"),
        "neither passes"
    );
    assert_eq!(
        call(json!({"ref": "refs/heads/main"})),
        500,
        "`req.kind` is missing"
    );
    assert_eq!(
        call(json!({"kind": "Kustomization", "ref": "refs/heads/main"})),
        200
    );
    assert!(
        asked("kustomizations") && !asked("gitrepositories"),
        "one passes"
    );

    let invalid = json!({"type": "generic", "secretRef": {"name": "token"}, "resources": [], "resourceFilter": "req.ref =="});
    case.apply("receivers", "invalid", invalid);
    let reason = case.ready("receivers", "invalid", "False", "`spec.resourceFilter`: ");
    assert_eq!(reason, "InvalidCELExpression");
}

#[test]
fn events_are_posted_as_flux_posts_them() {
    let case = Case::applied("receiver-events");
    case.patch(
        "kustomizations",
        "app",
        json!({"metadata": {"annotations": {"event.toolkit.fluxcd.io/team": "web"}}}),
    );
    case.push(&[("app/a.yaml", "broken: [")], "broken");
    let posted = testbed::wait_for("the posts", crate::bed::PATIENCE, || {
        let events: Vec<Value> = case
            .bed
            .inbox
            .bodies()
            .iter()
            .map(|body| serde_json::from_str(body).unwrap())
            .collect();
        let own: Vec<Value> = events
            .into_iter()
            .filter(|event| event["involvedObject"]["namespace"] == "receiver-events")
            .collect();
        let failed = own
            .iter()
            .find(|event| event["reason"] == "BuildFailed")
            .cloned();
        let failed = failed.ok_or_else(|| anyhow::anyhow!("no failure yet"))?;
        Ok((own, failed))
    });
    let (own, failed) = posted.unwrap();
    assert_eq!(failed["severity"], "error");
    assert_eq!(failed["involvedObject"]["kind"], "Kustomization");
    assert_eq!(failed["reportingController"], "kustomize-controller");
    assert_eq!(failed["metadata"]["team"], "web");
    let revision = failed["metadata"]["kustomize.toolkit.fluxcd.io/revision"]
        .as_str()
        .unwrap();
    assert!(revision.starts_with("main@sha1:"), "{revision}");
    let applied = own
        .iter()
        .find(|event| event["message"] == "ConfigMap/receiver-events/a created");
    assert_eq!(applied.unwrap()["severity"], "info");
}

//! What a Kustomization asks for beyond its files: fields over the kustomization file, variables, dependencies, health.

use serde_json::{Value, json};

use crate::bed::{Case, condition, config_map};

impl Case {
    /// A Kustomization of the repository, with more in its spec.
    pub(crate) fn unit(&self, name: &str, path: &str, more: Value) {
        let mut spec = json!({
            "interval": "1h", "retryInterval": "1s", "path": path, "prune": true, "timeout": "20s",
            "sourceRef": {"kind": "GitRepository", "name": "app"},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.apply("kustomizations", name, spec);
    }

    pub(crate) fn push(&self, files: &[(&str, &str)], message: &str) {
        for (path, text) in files {
            self.work.write(path, text).unwrap();
        }
        self.work.push(message, "main").unwrap();
    }

    pub(crate) fn repository(&self) {
        let url = self.bed.git.url(&self.namespace);
        self.apply(
            "gitrepositories",
            "app",
            json!({"url": url, "interval": "1s", "ref": {"branch": "main"}}),
        );
    }

    pub(crate) fn map_is(&self, name: &str, key: &str, value: &str) {
        self.wait("configmaps", name, "the value", |map| {
            map["data"][key] == value
        });
    }
}

#[test]
fn fields_of_the_spec_and_plain_folders() {
    let case = Case::new("unit-fields");
    let (map, other) = (config_map("a", "one"), config_map("b", "two"));
    case.push(
        &[
            ("app/a.yaml", &map),
            ("app/deep/b.yaml", &other),
            ("app/README.md", "# not YAML"),
        ],
        "a plain folder",
    );
    case.repository();
    let patch = json!({"patch": "- op: add\n  path: /data/more\n  value: added\n", "target": {"name": "a"}});
    case.unit(
        "plain",
        "app",
        json!({"targetNamespace": "unit-fields", "namePrefix": "x-", "patches": [patch], "commonMetadata": {"labels": {"team": "web"}}}),
    );
    case.map_is("x-a", "more", "added");
    case.map_is("x-b", "key", "two");
    let map = case.get("configmaps", "x-a").unwrap();
    assert_eq!(map["metadata"]["labels"]["team"], "web");
    // A new file of the folder is taken without being named anywhere.
    case.push(&[("app/c.yaml", &config_map("c", "three"))], "one more");
    case.map_is("x-c", "key", "three");
    case.push(&[("app/values.yaml", "replicas: 1\n")], "no object");
    let reason = case.ready(
        "kustomizations",
        "plain",
        "False",
        "app/values.yaml: it is no Kubernetes object",
    );
    assert_eq!(reason, "BuildFailed");
    case.map_is("x-c", "key", "three");
}

#[test]
fn a_target_namespace_renames_no_namespace() {
    let case = Case::new("unit-rename");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: unit-other}\n";
    case.push(&[("app/ns.yaml", namespace)], "a namespace");
    case.repository();
    case.unit("app", "app", json!({"targetNamespace": "unit-rename"}));
    case.ready(
        "kustomizations",
        "app",
        "False",
        "`targetNamespace` would rename Namespace `unit-other`",
    );
}

#[test]
fn variables_are_put_in() {
    let case = Case::new("unit-variables");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  key: ${greeting:-hi} ${who}\n  script: $${HOME} ${n}\n";
    let left = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: left\n  annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}\ndata: {key: '${who}'}\n";
    case.push(
        &[
            (
                "app/kustomization.yaml",
                "namespace: unit-variables\nresources: [a.yaml, left.yaml]\n",
            ),
            ("app/a.yaml", text),
            ("app/left.yaml", left),
        ],
        "variables",
    );
    case.repository();
    let post_build = |more: Value| json!({"postBuild": more});
    case.unit("app", "app", post_build(json!({"substitute": {"n": "7"}})));
    case.ready(
        "kustomizations",
        "app",
        "False",
        "ConfigMap/unit-variables/a: no value for variable `who`; give it one in `postBuild`, or a default",
    );
    let from = json!({"substitute": {"n": "7"}, "substituteFrom": [{"kind": "Secret", "name": "vars"}, {"kind": "ConfigMap", "name": "maybe", "optional": true}]});
    case.unit("app", "app", post_build(from));
    case.ready(
        "kustomizations",
        "app",
        "False",
        "`postBuild`: Secret `vars` does not exist in namespace `unit-variables`",
    );
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vars"}, "stringData": {"who": "world"}});
    case.bed
        .cluster
        .apply(&case.path("secrets", "vars"), &secret)
        .unwrap();
    case.map_is("a", "key", "hi world");
    case.map_is("a", "script", "${HOME} 7");
    // A change of the source alone wakes it, long before the interval ends.
    case.patch("secrets", "vars", json!({"stringData": {"who": "moon"}}));
    case.map_is("a", "key", "hi moon");
    case.map_is("left", "key", "${who}");
}

#[test]
fn dependents_follow_at_once() {
    let case = Case::new("unit-depends");
    case.push(
        &[
            (
                "first/kustomization.yaml",
                "namespace: unit-depends\nresources: [a.yaml]\n",
            ),
            ("first/a.yaml", &config_map("first", "one")),
            (
                "second/kustomization.yaml",
                "namespace: unit-depends\nresources: [b.yaml]\n",
            ),
            ("second/b.yaml", &config_map("second", "one")),
        ],
        "two",
    );
    case.repository();
    case.unit(
        "second",
        "second",
        json!({"dependsOn": [{"name": "first"}]}),
    );
    let reason = case.ready(
        "kustomizations",
        "second",
        "False",
        "dependency 'unit-depends/first' does not exist",
    );
    assert_eq!(reason, "DependencyNotReady");
    case.unit("first", "first", json!({}));
    case.map_is("second", "key", "one");
    // One commit goes through in order.
    case.push(
        &[
            ("first/a.yaml", "broken: ["),
            ("second/b.yaml", &config_map("second", "two")),
        ],
        "a mistake",
    );
    case.ready("kustomizations", "second", "False", "is not ready");
    case.map_is("second", "key", "one");
    case.push(&[("first/a.yaml", &config_map("first", "two"))], "mended");
    case.map_is("second", "key", "two");
    case.unit("first", "first", json!({"dependsOn": [{"name": "second"}]}));
    case.ready(
        "kustomizations",
        "first",
        "False",
        "dependencies go in a circle: unit-depends/first → unit-depends/second → unit-depends/first",
    );
}

/// A Deployment of one pod.
pub(crate) fn deployment(image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: 1\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: c, image: {image}}}]}}\n"
    )
}

#[test]
fn health_is_waited_for_and_a_new_commit_does_not_wait_for_it() {
    let case = Case::new("unit-health");
    let named = "namespace: unit-health\nresources: [web.yaml, old.yaml]\n";
    case.push(
        &[
            ("app/kustomization.yaml", named),
            ("app/web.yaml", &deployment("one")),
            ("app/old.yaml", &config_map("old", "one")),
        ],
        "a deployment",
    );
    case.repository();
    case.unit("app", "app", json!({"wait": true}));
    case.wait("kustomizations", "app", "a wait", |unit| {
        let (ready, healthy) = (condition(unit, "Ready"), condition(unit, "Healthy"));
        ready["status"] == "Unknown"
            && healthy["status"] == "Unknown"
            && ready["message"].as_str().is_some_and(|text| {
                text.contains("Deployment/unit-health/web status: 'InProgress'")
            })
    });
    // A commit takes the place of the wait at once, and what left the set stays until the new revision is healthy.
    case.push(
        &[
            (
                "app/kustomization.yaml",
                "namespace: unit-health\nresources: [web.yaml, new.yaml]\n",
            ),
            ("app/new.yaml", &config_map("new", "one")),
        ],
        "while it waits",
    );
    case.map_is("new", "key", "one");
    assert!(case.get("configmaps", "old").is_some());
    let result = testbed::wait_for("ready pods", crate::bed::PATIENCE, || {
        let ready = testbed::mark_pods_ready(&case.bed.cluster, "unit-health")?;
        anyhow::ensure!(ready > 0, "no pods yet");
        let unit = case.get("kustomizations", "app").unwrap();
        anyhow::ensure!(condition(&unit, "Ready")["status"] == "True", "{unit}");
        Ok(())
    });
    result.unwrap();
    case.wait_gone("configmaps", "old");
    let unit = case.get("kustomizations", "app").unwrap();
    assert_eq!(condition(&unit, "Healthy")["status"], "True");
}

#[test]
fn a_wait_that_ends_in_vain_says_why() {
    let case = Case::new("unit-unhealthy");
    case.push(
        &[
            (
                "app/kustomization.yaml",
                "namespace: unit-unhealthy\nresources: [web.yaml]\n",
            ),
            ("app/web.yaml", &deployment("one")),
        ],
        "a deployment",
    );
    case.repository();
    let check = json!([{"kind": "Deployment", "name": "web"}, {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody"}]);
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "quota"}, "type": "Warning", "reason": "FailedCreate",
        "message": "exceeded quota: pods", "lastTimestamp": "2026-01-01T00:00:00Z",
        "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "namespace": "unit-unhealthy"},
    });
    case.bed
        .cluster
        .create("/api/v1/namespaces/unit-unhealthy/events", &event)
        .unwrap();
    case.unit(
        "app",
        "app",
        json!({"healthChecks": check, "timeout": "2s", "retryInterval": "1h"}),
    );
    let reason = case.ready(
        "kustomizations",
        "app",
        "False",
        "timeout waiting for health after 2 s: [Deployment/unit-unhealthy/web status: 'InProgress'",
    );
    assert_eq!(reason, "HealthCheckFailed");
    let unit = case.get("kustomizations", "app").unwrap();
    let message = condition(&unit, "Ready")["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.contains("ConfigMap/unit-unhealthy/nobody status: 'NotFound'"),
        "{message}"
    );
    let warning = "last warning: FailedCreate: exceeded quota: pods";
    assert!(message.contains(warning), "{message}");
    assert_eq!(condition(&unit, "Healthy")["status"], "False");
}

#[test]
fn many_deletions_are_asked_about() {
    let case = Case::new("unit-guard");
    let maps: Vec<String> = (0..25)
        .map(|number| config_map(&format!("m{number}"), "v"))
        .collect();
    case.push(
        &[
            (
                "app/kustomization.yaml",
                "namespace: unit-guard\nresources: [maps.yaml, one.yaml]\n",
            ),
            ("app/maps.yaml", &maps.join("---\n")),
            ("app/one.yaml", &config_map("one", "v")),
        ],
        "many",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    case.map_is("m24", "key", "v");
    case.push(
        &[(
            "app/kustomization.yaml",
            "namespace: unit-guard\nresources: [one.yaml]\n",
        )],
        "a slip",
    );
    case.ready(
        "kustomizations",
        "app",
        "False",
        "25 of 26 objects would be deleted",
    );
    assert!(case.get("configmaps", "m0").is_some());
    let unit = case.get("kustomizations", "app").unwrap();
    assert_eq!(condition(&unit, "Stalled")["status"], "True");
    let message = condition(&unit, "Ready")["message"]
        .as_str()
        .unwrap()
        .to_owned();
    let hash = message.rsplit("approve-deletions: ").next().unwrap();
    let hash = hash.trim_end_matches('`');
    case.patch(
        "kustomizations",
        "app",
        json!({"metadata": {"annotations": {"overlayd.dev/approve-deletions": hash}}}),
    );
    case.wait_gone("configmaps", "m0");
    case.map_is("one", "key", "v");
}

#[test]
fn what_others_change_is_corrected_at_once() {
    let case = Case::new("unit-drift");
    case.push(
        &[
            (
                "app/kustomization.yaml",
                "namespace: unit-drift\nresources: [a.yaml, web.yaml]\n",
            ),
            ("app/a.yaml", &config_map("a", "one")),
            ("app/web.yaml", &deployment("one")),
        ],
        "two objects",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    case.map_is("a", "key", "one");
    case.ready("kustomizations", "app", "True", "Applied revision");
    // The interval is an hour.
    case.patch("configmaps", "a", json!({"data": {"key": "edited"}}));
    case.map_is("a", "key", "one");
    case.delete("configmaps", "a");
    case.map_is("a", "key", "one");
    let path = "/apis/apps/v1/namespaces/unit-drift/deployments/web";
    let cluster = &case.bed.cluster;
    let deployment = || cluster.get(path).unwrap().unwrap();
    cluster
        .patch(path, &json!({"spec": {"replicas": 3}}))
        .unwrap();
    let result = testbed::wait_for("the replicas", crate::bed::PATIENCE, || {
        anyhow::ensure!(deployment()["spec"]["replicas"] == 1);
        Ok(())
    });
    result.unwrap();
    // Asked to look again, it finds nothing to do: no object gets another version.
    let version = case.version("configmaps", "a");
    let asked = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}});
    case.patch("kustomizations", "app", asked);
    case.wait("kustomizations", "app", "an answer", |unit| {
        unit["status"]["lastHandledReconcileAt"] == "now"
    });
    assert_eq!(case.version("configmaps", "a"), version);
}

#[test]
fn a_fight_is_left_alone_for_a_while() {
    let case = Case::new("unit-fight");
    case.push(
        &[
            (
                "app/kustomization.yaml",
                "namespace: unit-fight\nresources: [a.yaml]\n",
            ),
            ("app/a.yaml", &config_map("a", "one")),
        ],
        "one object",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    case.map_is("a", "key", "one");
    case.ready("kustomizations", "app", "True", "Applied revision");
    for number in 0..5 {
        let edit = format!("edit {number}");
        case.patch("configmaps", "a", json!({"data": {"key": edit}}));
        case.map_is("a", "key", "one");
    }
    case.patch("configmaps", "a", json!({"data": {"key": "insisted"}}));
    // The daemon has seen the change when it says that it leaves the object alone.
    let unit = case.wait("kustomizations", "app", "the fight", |unit| {
        condition(unit, "Drifted")["status"] == "True"
    });
    let message = condition(&unit, "Drifted")["message"].to_string();
    assert!(message.contains("ConfigMap/unit-fight/a"), "{message}");
    assert!(message.contains("changes it again and again"), "{message}");
    case.map_is("a", "key", "insisted");
}

#[test]
fn fields_of_kubectl_and_flux_become_ours() {
    let case = Case::new("unit-takeover");
    let cluster = &case.bed.cluster;
    let applied = |manager: &str, name: &str, data: Value| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "unit-takeover"}, "data": data});
        cluster
            .create(
                &format!("{}?fieldManager={manager}", case.path("configmaps", "")),
                &map,
            )
            .unwrap();
    };
    applied(
        "kubectl-client-side-apply",
        "a",
        json!({"key": "old", "gone": "x"}),
    );
    applied(
        "kustomize-controller",
        "b",
        json!({"key": "old", "gone": "x"}),
    );
    applied("helm", "c", json!({"key": "old", "stays": "x"}));
    applied("kubectl-create", "merged", json!({"stays": "x"}));
    applied("kubectl-create", "present", json!({"key": "theirs"}));
    let with = |name: &str, ssa: &str| {
        config_map(name, "one").replace(
            "metadata:\n",
            &format!("metadata:\n  annotations: {{kustomize.toolkit.fluxcd.io/ssa: {ssa}}}\n"),
        )
    };
    case.push(
        &[
            ("app/kustomization.yaml", "namespace: unit-takeover\nresources: [a.yaml, b.yaml, c.yaml, merged.yaml, present.yaml]\n"),
            ("app/a.yaml", &config_map("a", "one")),
            ("app/b.yaml", &config_map("b", "one")),
            ("app/c.yaml", &config_map("c", "one")),
            ("app/merged.yaml", &with("merged", "Merge")),
            ("app/present.yaml", &with("present", "IfNotPresent")),
        ],
        "five maps",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    for name in ["a", "b", "c", "merged"] {
        case.map_is(name, "key", "one");
    }
    for name in ["a", "b"] {
        let map = case.get("configmaps", name).unwrap();
        assert!(map["data"]["gone"].is_null(), "{map}");
    }
    for name in ["c", "merged"] {
        case.map_is(name, "stays", "x");
    }
    case.ready("kustomizations", "app", "True", "Applied revision");
    case.map_is("present", "key", "theirs");
}

#[test]
fn only_what_cannot_change_is_made_anew() {
    let case = Case::new("unit-force");
    let files = |selector: &str, replicas: &str| {
        deployment("one")
            .replace("app: web", &format!("app: {selector}"))
            .replace("replicas: 1", &format!("replicas: {replicas}"))
    };
    case.push(
        &[
            (
                "app/kustomization.yaml",
                "namespace: unit-force\nresources: [web.yaml]\n",
            ),
            ("app/web.yaml", &files("one", "1")),
        ],
        "a deployment",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    let path = "/apis/apps/v1/namespaces/unit-force/deployments/web";
    let cluster = &case.bed.cluster;
    let uid = || {
        let live = cluster.get(path).unwrap();
        live.map(|live| live["metadata"]["uid"].as_str().unwrap().to_owned())
    };
    case.ready("kustomizations", "app", "True", "Applied revision");
    let first = uid().unwrap();
    case.push(&[("app/web.yaml", &files("two", "1"))], "another selector");
    case.ready(
        "kustomizations",
        "app",
        "False",
        "field is immutable; `force: true` deletes the object and makes it anew",
    );
    // A mistake beside it deletes nothing.
    case.push(&[("app/web.yaml", &files("two", "-1"))], "and a mistake");
    let mistake = "must be greater than or equal to 0";
    case.ready("kustomizations", "app", "False", mistake);
    case.unit("app", "app", json!({"force": true}));
    case.wait("kustomizations", "app", "a try", |unit| {
        condition(unit, "Ready")["observedGeneration"] == unit["metadata"]["generation"]
    });
    case.ready("kustomizations", "app", "False", mistake);
    assert_eq!(uid().unwrap(), first);
    case.push(&[("app/web.yaml", &files("two", "1"))], "mended");
    case.ready("kustomizations", "app", "True", "Applied revision");
    assert_ne!(uid().unwrap(), first);
}

#[test]
fn a_service_account_does_what_it_may_and_no_more() {
    let case = Case::applied("unit-account");
    let account = json!({"spec": {"serviceAccountName": "deployer"}});
    case.patch("kustomizations", "app", account);
    case.work
        .write("app/a.yaml", &config_map("a", "two"))
        .unwrap();
    case.work.push("b", "main").unwrap();
    let refused = "User \"system:serviceaccount:unit-account:deployer\" cannot";
    let reason = case.ready("kustomizations", "app", "False", refused);
    assert_eq!(reason, "ReconciliationFailed");
    assert_eq!(case.get("configmaps", "a").unwrap()["data"]["key"], "one");
    let rules = "/apis/rbac.authorization.k8s.io/v1/namespaces/unit-account";
    let role = |verbs: &[&str]| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "deployer"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}],
        })
    };
    let grant = |verbs: &[&str]| {
        case.bed
            .cluster
            .apply(&format!("{rules}/roles/deployer"), &role(verbs))
            .unwrap();
    };
    grant(&["get", "create", "patch"]);
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "deployer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
        "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": "unit-account"}],
    });
    case.bed
        .cluster
        .apply(&format!("{rules}/rolebindings/deployer"), &binding)
        .unwrap();
    case.map_is("a", "key", "two");
    case.ready("kustomizations", "app", "True", "Applied revision");
    // Of another account even what has not changed is asked again.
    let account = |name: &str| json!({"spec": {"serviceAccountName": name}});
    case.patch("kustomizations", "app", account("nobody"));
    let refused = "User \"system:serviceaccount:unit-account:nobody\" cannot";
    case.ready("kustomizations", "app", "False", refused);
    case.patch("kustomizations", "app", account("deployer"));
    case.ready("kustomizations", "app", "True", "Applied revision");
    // What it may not delete stays, and is not forgotten.
    case.delete("kustomizations", "app");
    let waits = "it goes when what it applied is deleted: 1 object failed to prune: ConfigMap/unit-account/a";
    assert_eq!(
        case.ready("kustomizations", "app", "False", waits),
        "PruneFailed"
    );
    assert!(case.get("configmaps", "a").is_some());
    grant(&["get", "create", "patch", "delete"]);
    case.wait_gone("kustomizations", "app");
    case.wait_gone("configmaps", "a");
}

#[test]
fn a_namespace_that_goes_is_not_held_up_by_an_account_without_rights() {
    let case = Case::applied("unit-going");
    let account = json!({"spec": {"serviceAccountName": "nobody"}});
    case.patch("kustomizations", "app", account);
    case.ready("kustomizations", "app", "False", "cannot");
    case.delete("kustomizations", "app");
    let waits = "it goes when what it applied is deleted";
    case.ready("kustomizations", "app", "False", waits);
    let namespace = "/api/v1/namespaces/unit-going";
    case.bed.cluster.delete(namespace).unwrap();
    case.wait_gone("kustomizations", "app");
}

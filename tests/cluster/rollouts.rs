//! When something is ready, and what is left to others meanwhile.

use serde_json::json;

use crate::bed::{Case, condition, config_map};
use crate::units::deployment;

#[test]
fn expressions_say_when_something_is_ready() {
    let case = Case::new("unit-expressions");
    let directory = |name: &str| {
        let file = format!("namespace: unit-expressions\nresources: [{name}.yaml]\n");
        case.push(
            &[
                (&format!("{name}/kustomization.yaml"), &file),
                (&format!("{name}/{name}.yaml"), &config_map(name, "v")),
            ],
            name,
        );
    };
    directory("first");
    directory("second");
    case.repository();
    // Not the condition, but what the expression says of it counts.
    let needs = json!({"dependsOn": [{"name": "first", "readyExpr": "dep.metadata.labels['go'] == self.metadata.name"}]});
    case.unit("first", "first", json!({}));
    case.map_is("first", "key", "v");
    case.unit("second", "second", needs);
    case.ready(
        "kustomizations",
        "second",
        "False",
        "dependency 'unit-expressions/first' is not ready: `readyExpr`",
    );
    assert!(case.get("configmaps", "second").is_none());
    case.patch(
        "kustomizations",
        "first",
        json!({"metadata": {"labels": {"go": "second"}}}),
    );
    case.map_is("second", "key", "v");

    let exprs = |current: &str| json!({"wait": true, "healthCheckExprs": [{"apiVersion": "v1", "kind": "ConfigMap", "failed": "data.key == 'bad'", "current": current}]});
    case.unit("first", "first", exprs("data.key == 'good'"));
    case.ready(
        "kustomizations",
        "first",
        "Unknown",
        "none of its expressions in `healthCheckExprs` holds",
    );
    case.push(&[("first/first.yaml", &config_map("first", "bad"))], "bad");
    let reason = case.ready(
        "kustomizations",
        "first",
        "False",
        "failed early due to stalled resources",
    );
    assert_eq!(reason, "HealthCheckFailed");
    case.push(
        &[("first/first.yaml", &config_map("first", "good"))],
        "good",
    );
    case.ready("kustomizations", "first", "True", "Applied revision");
    case.unit("first", "first", exprs("data.key =="));
    let reason = case.ready(
        "kustomizations",
        "first",
        "False",
        "`healthCheckExprs[].current`",
    );
    assert_eq!(reason, "InvalidCELExpression");
    let unit = case.get("kustomizations", "first").unwrap();
    assert_eq!(condition(&unit, "Stalled")["status"], "True");
}

#[test]
fn fields_that_are_left_to_others() {
    let case = Case::new("unit-ignore");
    let file = "namespace: unit-ignore\nresources: [web.yaml]\n";
    case.push(
        &[
            ("app/kustomization.yaml", file),
            ("app/web.yaml", &deployment("one")),
        ],
        "a deployment",
    );
    case.repository();
    let rule = json!([{"paths": ["/spec/replicas"], "target": {"kind": "Deployment"}}]);
    case.unit("app", "app", json!({"ignore": rule}));
    case.ready("kustomizations", "app", "True", "Applied revision");
    let path = "/apis/apps/v1/namespaces/unit-ignore/deployments/web";
    let web = || case.bed.cluster.get(path).unwrap().unwrap();
    assert_eq!(web()["spec"]["replicas"], 1, "the manifest seeds it");
    let image = || web()["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let by_hand = json!({"spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "c", "image": "by-hand"}]}}}});
    case.bed.cluster.patch(path, &by_hand).unwrap();
    let image_is = |wanted: &str| {
        testbed::wait_for("the image", crate::bed::PATIENCE, || {
            anyhow::ensure!(image() == wanted, "it is {}", image());
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error:#}"));
    };
    image_is("one");
    assert_eq!(web()["spec"]["replicas"], 3);
    // A commit does not reset it either.
    case.push(&[("app/web.yaml", &deployment("two"))], "another image");
    image_is("two");
    assert_eq!(web()["spec"]["replicas"], 3);
    case.unit(
        "app",
        "app",
        json!({"ignore": [{"paths": ["spec.replicas"]}]}),
    );
    let reason = case.ready("kustomizations", "app", "False", "is no JSON pointer");
    assert_eq!(reason, "InvalidIgnoreRule");
}

#[test]
fn a_rollout_is_followed_to_its_end() {
    let case = Case::new("unit-rollout");
    let kwok = case.bed.kwok();
    let web = |image: &str| {
        deployment(image).replace(
            "spec: {containers",
            &format!("spec: {{nodeName: {}, containers", testbed::Kwok::NODE),
        )
    };
    let file = "namespace: unit-rollout\nresources: [web.yaml]\nconfigMapGenerator: [{name: conf, literals: [a=1]}]\n";
    case.push(
        &[
            ("app/kustomization.yaml", file),
            ("app/web.yaml", &web("one")),
        ],
        "one",
    );
    case.repository();
    case.unit("app", "app", json!({"wait": true, "timeout": "40s"}));
    case.ready("kustomizations", "app", "True", "Applied revision");
    let maps = || {
        let maps = case.get("configmaps", "").unwrap();
        let maps = maps["items"].as_array().cloned().unwrap_or_default();
        maps.iter()
            .filter(|map| {
                map["metadata"]["name"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("conf-"))
            })
            .count()
    };
    assert_eq!(maps(), 1, "{}", kwok.log());
    // The new pods are ready before what the old ones read is deleted.
    case.push(
        &[
            ("app/kustomization.yaml", &file.replace("a=1", "a=2")),
            ("app/web.yaml", &web("two")),
        ],
        "two",
    );
    let web = "/apis/apps/v1/namespaces/unit-rollout/deployments/web";
    testbed::wait_for("the end of the rollout", crate::bed::PATIENCE, || {
        let web = case.bed.cluster.get(web)?.unwrap_or_default();
        let unit = case.get("kustomizations", "app").unwrap();
        let is_new = web["spec"]["template"]["spec"]["containers"][0]["image"] == "two";
        anyhow::ensure!(
            is_new && condition(&unit, "Ready")["status"] == "True",
            "{}",
            unit["status"]
        );
        anyhow::ensure!(
            web["status"]["updatedReplicas"] == 1 && web["status"]["availableReplicas"] == 1
        );
        anyhow::ensure!(maps() == 1, "the old one is still there");
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", kwok.log()));
}

/// A Kustomization of its own repository that applies itself, as `flux bootstrap` sets it up.
#[test]
fn a_kustomization_that_applies_itself_does_not_wait_for_itself() {
    let case = Case::new("rollout-itself");
    let text = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: root}\nspec: {interval: 1h, path: root, prune: true, wait: true, timeout: 30s, sourceRef: {kind: GitRepository, name: app}}\n";
    case.push(
        &[
            (
                "root/kustomization.yaml",
                "namespace: rollout-itself\nresources: [root.yaml, a.yaml]\n",
            ),
            ("root/root.yaml", text),
            ("root/a.yaml", &config_map("a", "v")),
        ],
        "a root",
    );
    case.repository();
    case.unit("root", "root", json!({"wait": true}));
    case.map_is("a", "key", "v");
    case.ready("kustomizations", "root", "True", "Applied revision");
}

/// A field manager changes the Deployment `web`, by a subresource if one is named.
fn change_web(case: &Case, subresource: &str, manager: &str, patch: serde_json::Value) {
    let namespace = &case.namespace;
    let path = format!(
        "/apis/apps/v1/namespaces/{namespace}/deployments/web{subresource}?fieldManager={manager}"
    );
    case.bed.cluster.patch(&path, &patch).unwrap();
}

#[test]
fn what_kubectl_and_controllers_habitually_write_is_no_drift() {
    let case = Case::new("rollout-writers");
    case.push(
        &[
            (
                "app/kustomization.yaml",
                "namespace: rollout-writers\nresources: [web.yaml]\n",
            ),
            ("app/web.yaml", &deployment("one")),
        ],
        "a deployment",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    case.ready("kustomizations", "app", "True", "Applied revision");
    let path = "/apis/apps/v1/namespaces/rollout-writers/deployments/web";
    let web = || case.bed.cluster.get(path).unwrap().unwrap();
    let restarted = || {
        web()["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"]
            == "now"
    };
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": "now"});
    change_web(
        &case,
        "",
        "kubectl-rollout",
        json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}),
    );
    change_web(
        &case,
        "",
        "kubectl-label",
        json!({"metadata": {"labels": {"team": "web"}}}),
    );
    change_web(
        &case,
        "/scale",
        "kube-controller-manager",
        json!({"spec": {"replicas": 3}}),
    );
    // A change that is drift is corrected after them, so they were looked at.
    change_web(
        &case,
        "",
        "kubectl-edit",
        json!({"spec": {"revisionHistoryLimit": 3}, "metadata": {"labels": {"hand": "made"}}}),
    );
    testbed::wait_for("the correction", crate::bed::PATIENCE, || {
        anyhow::ensure!(web()["metadata"]["labels"]["hand"].is_null(), "still there");
        Ok(())
    })
    .unwrap();
    assert!(restarted());
    assert_eq!(web()["metadata"]["labels"]["team"], "web");
    assert_eq!(web()["spec"]["replicas"], 3);
    // A commit is applied whole.
    case.push(&[("app/web.yaml", &deployment("two"))], "another image");
    testbed::wait_for("the commit", crate::bed::PATIENCE, || {
        anyhow::ensure!(web()["spec"]["template"]["spec"]["containers"][0]["image"] == "two");
        Ok(())
    })
    .unwrap();
    assert_eq!(web()["spec"]["replicas"], 1);
    assert!(restarted());
}

#[test]
fn a_status_is_no_drift_and_a_commit_is_applied_at_once() {
    let case = Case::new("rollout-status");
    let autoscaler = |replicas: &str| {
        format!(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: web}}\nspec:\n  minReplicas: {replicas}\n  maxReplicas: 8\n  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: not-there}}\n"
        )
    };
    case.push(
        &[
            (
                "app/kustomization.yaml",
                "namespace: rollout-status\nresources: [hpa.yaml]\n",
            ),
            ("app/hpa.yaml", &autoscaler("2")),
        ],
        "an autoscaler",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    case.ready("kustomizations", "app", "True", "Applied revision");
    let path = "/apis/autoscaling/v2/namespaces/rollout-status/horizontalpodautoscalers/web";
    let status = format!("{path}/status?fieldManager=kube-controller-manager");
    for replicas in 0..10 {
        let patch = json!({"status": {"currentReplicas": replicas}});
        case.bed.cluster.patch(&status, &patch).unwrap();
    }
    case.push(&[("app/hpa.yaml", &autoscaler("3"))], "more");
    let revision = case.wait("gitrepositories", "app", "the commit", |source| {
        source["status"]["artifact"]["revision"]
            != case.get("kustomizations", "app").unwrap()["status"]["lastAppliedRevision"]
    });
    let revision = &revision["status"]["artifact"]["revision"];
    let unit = case.wait("kustomizations", "app", "the revision", |unit| {
        unit["status"]["lastAppliedRevision"] == *revision
    });
    let live = case.bed.cluster.get(path).unwrap().unwrap();
    assert_eq!(
        live["spec"]["minReplicas"], 3,
        "it is applied when it is said to be"
    );
    assert!(condition(&unit, "Drifted").is_null());
}

#[test]
fn a_job_that_its_ttl_has_removed_does_not_run_again() {
    let case = Case::new("rollout-ttl");
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\nspec:\n  ttlSecondsAfterFinished: 0\n  suspend: true\n  template: {spec: {restartPolicy: Never, containers: [{name: m, image: m}]}}\n";
    case.push(
        &[
            (
                "app/kustomization.yaml",
                "namespace: rollout-ttl\nresources: [job.yaml, a.yaml]\n",
            ),
            ("app/job.yaml", job),
            ("app/a.yaml", &config_map("a", "v")),
        ],
        "a job",
    );
    case.repository();
    case.unit("app", "app", json!({"wait": true}));
    case.ready("kustomizations", "app", "True", "Applied revision");
    let path = "/apis/batch/v1/namespaces/rollout-ttl/jobs/migrate";
    case.bed.cluster.delete(path).unwrap();
    case.patch("configmaps", "a", json!({"data": {"key": "edited"}}));
    case.map_is("a", "key", "v");
    case.push(&[("app/a.yaml", &config_map("a", "w"))], "more");
    case.map_is("a", "key", "w");
    case.ready("kustomizations", "app", "True", "Applied revision");
    assert!(case.bed.cluster.get(path).unwrap().is_none());
}

#[test]
fn a_deleted_namespace_is_back_with_what_it_held() {
    let case = Case::new("rollout-back");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: rollout-back-held}\n";
    let map =
        config_map("a", "v").replace("  name: a\n", "  name: a\n  namespace: rollout-back-held\n");
    case.push(
        &[
            ("app/kustomization.yaml", "resources: [ns.yaml, a.yaml]\n"),
            ("app/ns.yaml", namespace),
            ("app/a.yaml", &map),
        ],
        "a namespace",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    case.ready("kustomizations", "app", "True", "Applied revision");
    let (path, map) = ("/api/v1/namespaces/rollout-back-held", "/configmaps/a");
    let uid = |path: &str| {
        let live = case.bed.cluster.get(path).unwrap();
        live.map(|live| live["metadata"]["uid"].clone())
    };
    let before = uid(path);
    case.bed.cluster.delete(path).unwrap();
    testbed::wait_for("the namespace", crate::bed::PATIENCE, || {
        anyhow::ensure!(uid(path).is_some() && uid(path) != before, "not back");
        anyhow::ensure!(uid(&format!("{path}{map}")).is_some(), "it is empty");
        Ok(())
    })
    .unwrap();
    case.ready("kustomizations", "app", "True", "Applied revision");
}

/// A definition of the cluster-scoped kind `Shop` in a group of its own; with `status` as a part of its schema.
fn definition(group: &str, status: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: shops.{group}}}\nspec:\n  group: {group}\n  scope: Cluster\n  names: {{kind: Shop, plural: shops, singular: shop, listKind: ShopList}}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    {status}\n"
    )
}

#[test]
fn a_kind_with_conditions_is_waited_for_and_its_definition_comes_back() {
    let case = Case::new("rollout-kinds");
    let object = "x-kubernetes-preserve-unknown-fields: true";
    let silent = definition(
        "silent.example.com",
        &format!("schema: {{openAPIV3Schema: {{type: object, {object}}}}}"),
    );
    let telling = definition(
        "telling.example.com",
        "subresources: {status: {}}\n    schema: {openAPIV3Schema: {type: object, properties: {status: {type: object, properties: {conditions: {type: array, items: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}}",
    );
    let shop = |group: &str| format!("apiVersion: {group}/v1\nkind: Shop\nmetadata: {{name: s}}\n");
    case.push(
        &[
            (
                "silent/kustomization.yaml",
                "resources: [crd.yaml, s.yaml]\n",
            ),
            ("silent/crd.yaml", &silent),
            ("silent/s.yaml", &shop("silent.example.com")),
            (
                "telling/kustomization.yaml",
                "resources: [crd.yaml, s.yaml]\n",
            ),
            ("telling/crd.yaml", &telling),
            ("telling/s.yaml", &shop("telling.example.com")),
        ],
        "two kinds",
    );
    case.repository();
    case.unit("telling", "telling", json!({"wait": true}));
    case.ready(
        "kustomizations",
        "telling",
        "Unknown",
        "its controller has not said anything of it yet",
    );
    let path = "/apis/telling.example.com/v1/shops/s";
    let conditions = json!([{"type": "Ready", "status": "True"}]);
    let status = json!({"status": {"conditions": conditions}});
    case.bed
        .cluster
        .patch(&format!("{path}/status"), &status)
        .unwrap();
    case.ready("kustomizations", "telling", "True", "Applied revision");
    case.unit("silent", "silent", json!({"wait": true}));
    case.ready("kustomizations", "silent", "True", "Applied revision");
    let path = "/apis/silent.example.com/v1/shops/s";
    let definition =
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/shops.silent.example.com";
    let uid = |path: &str| {
        let live = case.bed.cluster.get(path).ok().flatten();
        live.map(|live| live["metadata"]["uid"].clone())
    };
    let before = [uid(path), uid(definition)];
    case.bed.cluster.delete(definition).unwrap();
    testbed::wait_for(
        "the definition and the object",
        crate::bed::PATIENCE,
        || {
            let now = [uid(path), uid(definition)];
            anyhow::ensure!(now.iter().all(Option::is_some), "not back");
            anyhow::ensure!(now[0] != before[0] && now[1] != before[1], "not deleted");
            Ok(())
        },
    )
    .unwrap();
}

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

//! Whatever is wrong becomes a condition that says what to do, and what was applied before stays.

use serde_json::json;

use testbed::wait_for;

use crate::bed::{Case, PATIENCE, config_map};

fn still_applied(case: &Case) {
    assert_eq!(case.get("configmaps", "a").unwrap()["data"]["key"], "one");
}

#[test]
fn a_broken_kustomization() {
    let case = Case::applied("bad-kustomization");
    case.work
        .write("app/kustomization.yaml", "resorces: [a.yaml]\n")
        .unwrap();
    case.work.push("a typo", "main").unwrap();
    let message = "app/kustomization.yaml:1: invalid kustomization: unknown field `resorces` (hint: did you mean `resources`?)";
    assert_eq!(
        case.ready("kustomizations", "app", "False", message),
        "BuildFailed"
    );
    still_applied(&case);
    case.wait("events", "", "an event", |events| {
        events["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["reason"] == "BuildFailed" && event["type"] == "Warning")
    });
}

#[test]
fn a_path_that_is_not_there_or_leads_out() {
    let case = Case::applied("bad-path");
    case.apply("kustomizations", "app", json!({"interval": "1s", "path": "nowhere", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "app"}}));
    assert_eq!(
        case.ready(
            "kustomizations",
            "app",
            "False",
            "`nowhere` is not in the source"
        ),
        "ArtifactFailed"
    );
    case.apply("kustomizations", "app", json!({"interval": "1s", "path": "../../etc", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "app"}}));
    assert_eq!(
        case.ready(
            "kustomizations",
            "app",
            "False",
            "leaves the root of the tree"
        ),
        "ArtifactFailed"
    );
    still_applied(&case);
}

#[test]
fn files_outside_the_repository() {
    let case = Case::applied("bad-links");
    std::os::unix::fs::symlink("/etc/passwd", case.work.path().join("app/b.yaml")).unwrap();
    case.work
        .write("app/kustomization.yaml", "resources: [a.yaml, b.yaml]\n")
        .unwrap();
    case.work.push("a link out", "main").unwrap();
    assert_eq!(
        case.ready(
            "kustomizations",
            "app",
            "False",
            "leaves the root of the tree"
        ),
        "BuildFailed"
    );
    still_applied(&case);
}

#[test]
fn an_object_that_the_api_server_refuses_holds_back_its_whole_stage() {
    let case = Case::applied("bad-object");
    let text = "namespace: bad-object\nresources: [a.yaml, service.yaml]\n";
    case.work.write("app/kustomization.yaml", text).unwrap();
    case.work
        .write("app/a.yaml", &config_map("a", "two"))
        .unwrap();
    let service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n  - port: 99999999\n";
    case.work.write("app/service.yaml", service).unwrap();
    case.work.push("a port that is none", "main").unwrap();
    let message = "Service/bad-object/web (from app/service.yaml)";
    assert_eq!(
        case.ready("kustomizations", "app", "False", message),
        "ReconciliationFailed"
    );
    still_applied(&case);
}

#[test]
fn an_empty_build_deletes_nothing() {
    let case = Case::applied("bad-empty");
    case.work
        .write("app/kustomization.yaml", "resources: []\n")
        .unwrap();
    case.work.push("nothing left", "main").unwrap();
    case.ready(
        "kustomizations",
        "app",
        "False",
        "nothing was deleted: ConfigMap/bad-empty/a",
    );
    still_applied(&case);
}

#[test]
fn a_repository_that_cannot_be_reached_and_a_branch_that_is_not_there() {
    let case = Case::applied("bad-repository");
    let free = testbed::free_port().unwrap();
    case.apply(
        "gitrepositories",
        "gone",
        json!({"url": format!("http://127.0.0.1:{free}/x.git"), "interval": "1s"}),
    );
    assert_eq!(
        case.ready("gitrepositories", "gone", "False", "unable to reach"),
        "GitOperationFailed"
    );
    let url = case.bed.git.url("bad-repository");
    case.apply(
        "gitrepositories",
        "branch",
        json!({"url": url, "interval": "1s", "ref": {"branch": "mian"}}),
    );
    let reason = case.ready(
        "gitrepositories",
        "branch",
        "False",
        "branch `mian` does not exist",
    );
    assert_eq!(reason, "GitOperationFailed");
}

#[test]
fn a_field_that_is_not_supported_yet_is_refused_by_name() {
    let case = Case::applied("bad-field");
    let source = json!({"kind": "GitRepository", "name": "app"});
    case.apply("kustomizations", "app", json!({"interval": "1s", "path": "app", "prune": true, "sourceRef": source, "kubeConfig": {"secretRef": {"name": "other"}}}));
    case.ready(
        "kustomizations",
        "app",
        "False",
        "`spec.kubeConfig` is not supported yet",
    );
    still_applied(&case);
    let registry = json!({"kind": "OCIRepository", "name": "app"});
    let spec = json!({"interval": "1s", "path": "app", "prune": true, "sourceRef": registry});
    case.apply("kustomizations", "app", spec);
    let message = "`spec.sourceRef.kind (only GitRepository is)` is not supported yet";
    let reason = case.ready("kustomizations", "app", "False", message);
    assert_eq!(reason, "FeatureGateDisabled");
    still_applied(&case);
}

#[test]
fn bombs_end_in_an_error() {
    let case = Case::applied("bad-bomb");
    let mut bomb = String::from(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n",
    );
    for level in 1..12 {
        let references = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{references}]\n"));
    }
    case.work.write("app/bomb.yaml", &bomb).unwrap();
    let deep = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: deep}}\nx: {}{}\n",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    case.work.write("app/deep.yaml", &deep).unwrap();
    case.work
        .write(
            "app/kustomization.yaml",
            "resources: [a.yaml, bomb.yaml, deep.yaml]\n",
        )
        .unwrap();
    case.work.push("two bombs", "main").unwrap();
    // Both are reported at once.
    case.ready("kustomizations", "app", "False", "app/bomb.yaml");
    case.ready("kustomizations", "app", "False", "app/deep.yaml");
    still_applied(&case);
}

#[test]
fn a_base_of_another_server_needs_the_operators_word() {
    let case = Case::applied("bad-remote");
    let url = format!("{}//app?ref=main", case.bed.git.url("bad-remote"));
    let text = format!("namespace: bad-remote\nresources: [a.yaml, '{url}']\n");
    case.work.write("app/kustomization.yaml", &text).unwrap();
    case.work.push("a remote base", "main").unwrap();
    assert_eq!(
        case.ready(
            "kustomizations",
            "app",
            "False",
            "may not be fetched here (hint: copy the base into the repository, or allow remote bases)"
        ),
        "BuildFailed"
    );
    still_applied(&case);
}

/// Takes the list of allowed words off a field, as a newer definition would.
fn loosen(case: &Case, definition: &str, path: &str) {
    let name = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition}");
    let mut object = case.bed.cluster.get(&name).unwrap().unwrap();
    let field =
        format!("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/{path}");
    let words = object
        .pointer_mut(&field)
        .and_then(|field| field.as_object_mut().unwrap().remove("enum"));
    assert!(words.is_some(), "{object}");
    let versions = json!({"spec": {"versions": object["spec"]["versions"]}});
    case.bed.cluster.patch(&name, &versions).unwrap();
}

#[test]
fn an_object_that_cannot_be_read_says_so_and_holds_up_no_other() {
    let case = Case::applied("unreadable");
    case.fake_store(&[("a", "v")]);
    case.of_fake("kept", "a", json!({}), json!({}));
    case.secret_is("kept", "k", "v");
    let before = case.version("secrets", "kept");
    loosen(
        &case,
        "externalsecrets.external-secrets.io",
        "refreshPolicy",
    );
    loosen(
        &case,
        "kustomizations.kustomize.toolkit.fluxcd.io",
        "deletionPolicy",
    );
    wait_for("the definition to be loose", PATIENCE, || {
        let path = case.path("externalsecrets", "kept");
        let spec = json!({"spec": {"refreshPolicy": "Sometimes"}});
        case.bed.cluster.patch(&path, &spec).map(drop)
    })
    .unwrap();
    let message = "overlayd cannot read `spec.refreshPolicy` of this object: unknown variant `Sometimes`, expected one of";
    let reason = case.ready("externalsecrets", "kept", "False", message);
    assert_eq!(reason, "SecretSyncedError");
    case.has_event("SecretSyncedError", message);
    assert_eq!(case.version("secrets", "kept"), before);
    // A changed definition ends the watches: what is listed anew has the object in it, and the others are served.
    loosen(
        &case,
        "externalsecrets.external-secrets.io",
        "target/properties/creationPolicy",
    );
    case.of_fake("other", "a", json!({}), json!({}));
    case.secret_is("other", "k", "v");
    let inventory = case.get("kustomizations", "app").unwrap()["status"]["inventory"].clone();
    assert!(inventory["entries"].is_array(), "{inventory}");
    wait_for("the definition to be loose", PATIENCE, || {
        let path = case.path("kustomizations", "app");
        let spec = json!({"spec": {"deletionPolicy": "Perhaps"}});
        case.bed.cluster.patch(&path, &spec).map(drop)
    })
    .unwrap();
    let message = "cannot read `spec.deletionPolicy` of this object: unknown variant `Perhaps`";
    let reason = case.ready("kustomizations", "app", "False", message);
    assert_eq!(reason, "InvalidSpec");
    let kept = case.get("kustomizations", "app").unwrap();
    assert_eq!(kept["status"]["inventory"], inventory);
    still_applied(&case);
    // Mended, it is as before.
    case.patch(
        "kustomizations",
        "app",
        json!({"spec": {"deletionPolicy": null}}),
    );
    case.ready("kustomizations", "app", "True", "Applied revision");
    case.patch(
        "externalsecrets",
        "kept",
        json!({"spec": {"refreshPolicy": "Periodic"}}),
    );
    case.ready("externalsecrets", "kept", "True", "");
    assert_eq!(case.version("secrets", "kept"), before);
}

//! From a commit to the cluster.

use serde_json::{Value, json};

use crate::bed::{Case, config_map};

fn kustomization(case: &Case, resources: &str) {
    let text = format!("namespace: {}\nresources: {resources}\n", case.namespace);
    case.work.write("app/kustomization.yaml", &text).unwrap();
}

#[test]
fn what_is_committed_is_applied_and_what_is_removed_is_pruned() {
    let case = Case::new("sync-prune");
    kustomization(&case, "[a.yaml, b.yaml]");
    case.work
        .write("app/a.yaml", &config_map("a", "one"))
        .unwrap();
    case.work
        .write("app/b.yaml", &config_map("b", "one"))
        .unwrap();
    let commit = case.work.push("both", "main").unwrap();
    case.follow("app");
    case.ready(
        "kustomizations",
        "app",
        "True",
        &format!("Applied revision: main@sha1:{commit}"),
    );
    let applied = case.get("configmaps", "a").unwrap();
    assert_eq!(
        applied["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"],
        "app"
    );
    let object = case.get("kustomizations", "app").unwrap();
    let ids: Vec<_> = object["status"]["inventory"]["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["id"].clone())
        .collect();
    assert_eq!(
        ids,
        [
            json!("sync-prune_a__ConfigMap"),
            json!("sync-prune_b__ConfigMap")
        ]
    );

    kustomization(&case, "[a.yaml]");
    let commit = case.work.push("only a", "main").unwrap();
    case.wait_gone("configmaps", "b");
    case.ready("kustomizations", "app", "True", &commit);
    assert!(case.get("configmaps", "a").is_some());
}

#[test]
fn a_hand_edit_is_repaired_and_nothing_is_written_without_need() {
    let case = Case::new("sync-drift");
    kustomization(&case, "[a.yaml]");
    case.work
        .write("app/a.yaml", &config_map("a", "wanted"))
        .unwrap();
    case.work.push("a", "main").unwrap();
    case.follow("app");
    case.ready("kustomizations", "app", "True", "Applied revision");
    case.bed
        .cluster
        .patch(
            &case.path("configmaps", "a"),
            &json!({"data": {"key": "edited"}}),
        )
        .unwrap();
    let repaired = case.wait("configmaps", "a", "the repair", |object| {
        object["data"]["key"] == "wanted"
    });
    // The next reconciles see no difference, so the version stays.
    let version = repaired["metadata"]["resourceVersion"].clone();
    case.work.push("an empty commit", "main").unwrap();
    let head = case.work.git(&["rev-parse", "HEAD"]).unwrap();
    case.ready("kustomizations", "app", "True", &head);
    assert_eq!(
        case.get("configmaps", "a").unwrap()["metadata"]["resourceVersion"],
        version
    );
}

#[test]
fn a_commit_that_touches_nothing_of_a_build_is_not_built() {
    let case = Case::new("sync-inputs");
    kustomization(&case, "[a.yaml]");
    case.work
        .write("app/a.yaml", &config_map("a", "one"))
        .unwrap();
    case.work.push("a", "main").unwrap();
    case.follow("app");
    let source = json!({"kind": "GitRepository", "name": "app"});
    let rarely = json!({"interval": "1h", "path": "app", "prune": true, "sourceRef": source});
    case.apply("kustomizations", "app", rarely);
    case.wait("kustomizations", "app", "the new interval", |object| {
        object["status"]["observedGeneration"] == object["metadata"]["generation"]
    });
    let skipped = || {
        let name = "overlayd_kustomization_skipped_builds_total";
        case.metric(&[name, "namespace=\"sync-inputs\""])
    };
    case.work.write("elsewhere/file.txt", "text").unwrap();
    let commit = case.work.push("elsewhere", "main").unwrap();
    case.ready("kustomizations", "app", "True", &commit);
    assert_eq!(skipped(), (1.0, 1));
    case.work
        .write("app/a.yaml", &config_map("a", "two"))
        .unwrap();
    let commit = case.work.push("a file of the build", "main").unwrap();
    case.ready("kustomizations", "app", "True", &commit);
    assert_eq!(case.get("configmaps", "a").unwrap()["data"]["key"], "two");
    assert_eq!(skipped(), (1.0, 1));
}

#[test]
fn a_forced_push_to_another_history_is_followed() {
    let case = Case::applied("sync-force");
    case.work
        .git(&["checkout", "--quiet", "--orphan", "other"])
        .unwrap();
    case.work
        .write("app/a.yaml", &config_map("a", "two"))
        .unwrap();
    let commit = case.work.push("second history", "main").unwrap();
    case.ready("kustomizations", "app", "True", &commit);
    assert_eq!(case.get("configmaps", "a").unwrap()["data"]["key"], "two");
}

#[test]
fn deleting_a_kustomization_deletes_what_it_applied() {
    let case = Case::applied("sync-delete");
    case.bed
        .cluster
        .delete(&case.path("kustomizations", "app"))
        .unwrap();
    case.wait_gone("kustomizations", "app");
    case.wait_gone("configmaps", "a");
}

#[test]
fn a_repository_that_does_not_move_is_only_asked_for_its_refs() {
    let case = Case::new("sync-quiet");
    kustomization(&case, "[a.yaml]");
    case.work
        .write("app/a.yaml", &config_map("a", "one"))
        .unwrap();
    case.work.push("a", "main").unwrap();
    // A server of its own, so that only this repository is counted.
    let git = testbed::GitServer::start(&testbed::GitServerOptions::default()).unwrap();
    let work = git.create("quiet").unwrap();
    work.write("app/kustomization.yaml", "resources: []\n")
        .unwrap();
    work.push("nothing", "main").unwrap();
    case.apply(
        "gitrepositories",
        "quiet",
        json!({"url": git.url("quiet"), "interval": "1s", "ref": {"branch": "main"}}),
    );
    case.ready("gitrepositories", "quiet", "True", "stored artifact");
    let (_, fetched) = git.requests();
    testbed::wait_for("some more ls-remotes", crate::bed::PATIENCE, || {
        anyhow::ensure!(git.requests().0 > 5, "only {} so far", git.requests().0);
        Ok(())
    })
    .unwrap();
    assert_eq!(git.requests().1, fetched, "no objects were fetched again");
}

#[test]
fn https_with_a_private_authority_and_a_password() {
    let case = Case::new("sync-https");
    let options = testbed::GitServerOptions {
        tls: true,
        ..Default::default()
    }
    .basic("robot", "canary-git-password");
    let git = testbed::GitServer::start(&options).unwrap();
    let work = git.create("private").unwrap();
    work.write("kustomization.yaml", "resources: []\n").unwrap();
    let commit = work.push("private", "main").unwrap();
    let spec = json!({"url": git.url("private"), "interval": "1s", "ref": {"branch": "main"}, "secretRef": {"name": "git"}});
    case.apply("gitrepositories", "private", spec);
    let reason = case.ready(
        "gitrepositories",
        "private",
        "False",
        "Secret `sync-https/git` of `spec.secretRef` does not exist",
    );
    assert_eq!(reason, "AuthenticationFailed");
    let secret = |password: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"},
            "stringData": {"username": "robot", "password": password, "ca.crt": git.authority().unwrap()},
        })
    };
    case.bed
        .cluster
        .apply(&case.path("secrets", "git"), &secret("wrong"))
        .unwrap();
    assert_eq!(
        case.ready("gitrepositories", "private", "False", "(401)"),
        "GitOperationFailed"
    );
    case.bed
        .cluster
        .apply(&case.path("secrets", "git"), &secret("canary-git-password"))
        .unwrap();
    case.ready("gitrepositories", "private", "True", &commit);
    assert!(!case.bed.daemon.log().contains("canary-git-password"));
}

#[test]
fn the_highest_tag_of_a_range_is_followed() {
    let case = Case::new("sync-semver");
    let tagged = |text: &str, tags: &[&str]| {
        case.work.write("a.txt", text).unwrap();
        let commit = case.work.push(text, "main").unwrap();
        for tag in tags {
            case.work
                .git(&["tag", "--annotate", "--message", text, tag])
                .unwrap();
        }
        case.work
            .git(&["push", "--quiet", "--tags", "origin"])
            .unwrap();
        commit
    };
    tagged("first", &["v1.2.0", "v9", "nightly"]);
    let spec = |range: &str| json!({"url": case.bed.git.url("sync-semver"), "interval": "1s", "ref": {"semver": range, "branch": "main"}});
    case.apply("gitrepositories", "tags", spec(">=1.3.0 <2"));
    let message = "a tag of a version in `>=1.3.0 <2` does not exist";
    let reason = case.ready("gitrepositories", "tags", "False", message);
    assert_eq!(reason, "GitOperationFailed");
    let second = tagged("second", &["v1.10.0", "2.0.0", "v1.11.0-rc.1"]);
    case.ready(
        "gitrepositories",
        "tags",
        "True",
        &format!("v1.10.0@sha1:{second}"),
    );
    // Of equal versions the newest commit is taken.
    let third = tagged("third", &["v1.10.0+build.1"]);
    case.ready(
        "gitrepositories",
        "tags",
        "True",
        &format!("v1.10.0+build.1@sha1:{third}"),
    );
    case.apply("gitrepositories", "tags", spec(">=1.3.0-0 <2"));
    case.ready(
        "gitrepositories",
        "tags",
        "True",
        &format!("v1.11.0-rc.1@sha1:{second}"),
    );
    case.apply("gitrepositories", "tags", spec("one or two"));
    let message = "field `spec.ref.semver` is no range of versions: `one or two`";
    case.ready("gitrepositories", "tags", "False", message);
}

#[test]
fn submodules_come_along_when_they_are_asked_for() {
    let case = Case::new("sync-submodules");
    let library = case.bed.git.create("sync-submodules-library").unwrap();
    library.write("a.yaml", &config_map("a", "one")).unwrap();
    library.push("a library", "main").unwrap();
    case.work
        .write(
            "kustomization.yaml",
            "namespace: sync-submodules\nresources: [library/a.yaml]\n",
        )
        .unwrap();
    let url = case.bed.git.url("sync-submodules-library");
    case.work
        .git(&[
            "submodule",
            "--quiet",
            "add",
            "--branch",
            "main",
            &url,
            "library",
        ])
        .unwrap();
    let commit = case.work.push("with a submodule", "main").unwrap();
    case.follow("./");
    case.ready("kustomizations", "app", "False", "is a submodule");
    case.patch(
        "gitrepositories",
        "app",
        json!({"spec": {"recurseSubmodules": true}}),
    );
    case.ready("kustomizations", "app", "True", &commit);
    assert_eq!(case.get("configmaps", "a").unwrap()["data"]["key"], "one");
    let source = case.get("gitrepositories", "app").unwrap();
    assert_eq!(source["status"]["observedRecurseSubmodules"], true);
}

#[test]
fn a_deleted_source_is_out_of_service_at_once() {
    let case = Case::applied("sync-deleted");
    let rarely = json!({"spec": {"interval": "1h", "retryInterval": "1s"}});
    case.patch("kustomizations", "app", rarely);
    case.delete("gitrepositories", "app");
    let missing = "GitRepository `sync-deleted/app` does not exist";
    let reason = case.ready("kustomizations", "app", "False", missing);
    assert_eq!(reason, "ArtifactFailed");
    case.has_event("ArtifactFailed", missing);
    assert!(case.get("configmaps", "a").is_some(), "nothing is deleted");

    // Another object of the same name has fetched nothing, and the commit of the former one is not applied.
    let elsewhere = json!({"url": case.bed.git.url("sync-deleted-none"), "interval": "1s"});
    case.apply("gitrepositories", "app", elsewhere);
    let new = "GitRepository `sync-deleted/app` has fetched nothing yet";
    case.ready("kustomizations", "app", "False", new);
    let file = "namespace: sync-deleted\nresources: [b.yaml]\n";
    case.work.write("app/kustomization.yaml", file).unwrap();
    case.work
        .write("app/b.yaml", &config_map("b", "two"))
        .unwrap();
    let commit = case.work.push("b", "main").unwrap();
    let url = case.bed.git.url("sync-deleted");
    let spec = json!({"url": url, "interval": "1s", "ref": {"branch": "main"}});
    case.apply("gitrepositories", "app", spec);
    case.ready("kustomizations", "app", "True", &commit);
    case.wait_gone("configmaps", "a");
}

#[test]
fn defaults_without_variables_and_force_on_one_object() {
    let case = Case::new("unit-few");
    let push = |value: &str, message: &str| {
        let fixed = format!(
            "apiVersion: v1\nkind: ConfigMap\nimmutable: true\nmetadata:\n  name: fixed\n  \
             annotations: {{kustomize.toolkit.fluxcd.io/force: enabled}}\ndata: {{key: {value}}}\n"
        );
        let text = config_map("a", "v-${x:=1}");
        let file = "namespace: unit-few\nresources: [a.yaml, fixed.yaml]\n";
        case.push(
            &[
                ("app/kustomization.yaml", file),
                ("app/a.yaml", &text),
                ("app/fixed.yaml", &fixed),
            ],
            message,
        );
    };
    push("one", "at first");
    case.repository();
    let post_build = |more: Value| json!({"postBuild": more});
    case.unit("app", "app", post_build(json!({})));
    case.map_is("a", "key", "v-${x:=1}");
    let always = json!({"substituteStrategy": "Always"});
    case.unit("app", "app", post_build(always));
    case.map_is("a", "key", "v-1");
    case.map_is("fixed", "key", "one");
    push("two", "a field that cannot change");
    case.map_is("fixed", "key", "two");
}

//! What of a repository is in service.

use serde_json::{Value, json};

use crate::bed::{Case, condition, config_map};

impl Case {
    /// The repository `app` with more in its spec.
    fn repository_with(&self, more: Value) {
        let url = self.bed.git.url(&self.namespace);
        let mut spec = json!({"url": url, "interval": "1s", "ref": {"branch": "main"}});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.apply("gitrepositories", "app", spec);
    }
}

#[test]
fn what_is_ignored_is_not_there() {
    let case = Case::new("git-ignore");
    let (a, b) = (config_map("a", "v"), config_map("b", "v"));
    case.push(
        &[
            ("app/a.yaml", &a),
            ("app/values.yaml", "replicas: 1\n"),
            ("app/.github/ci.yaml", "on: push\n"),
        ],
        "a folder with files that are no objects",
    );
    case.repository_with(json!({"ignore": "values.yaml\n"}));
    case.unit("app", "app", json!({"targetNamespace": "git-ignore"}));
    // Who gives a pattern of his own has no defaults any more.
    case.ready(
        "kustomizations",
        "app",
        "False",
        "app/.github/ci.yaml: it is no Kubernetes object",
    );
    case.repository_with(json!({"ignore": "values.yaml\n.github/\n"}));
    case.map_is("a", "key", "v");
    let source = case.get("gitrepositories", "app").unwrap();
    assert_eq!(
        source["status"]["observedIgnore"],
        "values.yaml\n.github/\n"
    );
    // A file of the repository says so too, and what it leaves out goes.
    case.push(&[("app/b.yaml", &b)], "b");
    case.map_is("b", "key", "v");
    case.push(&[("app/.sourceignore", "b.yaml\n")], "not b");
    case.wait_gone("configmaps", "b");
    case.map_is("a", "key", "v");
}

#[test]
fn only_some_directories_of_a_repository() {
    let case = Case::new("git-sparse");
    let file = "namespace: git-sparse\nresources: [a.yaml]\n";
    case.push(
        &[
            ("app/kustomization.yaml", file),
            ("app/a.yaml", &config_map("a", "v")),
            ("other/b.yaml", "b"),
        ],
        "two",
    );
    case.repository_with(json!({"sparseCheckout": ["./other"]}));
    case.unit("app", "app", json!({}));
    case.ready(
        "kustomizations",
        "app",
        "False",
        "kustomization path not found: `app` is not in the source",
    );
    case.repository_with(json!({"sparseCheckout": ["other", "nowhere"]}));
    let reason = case.ready(
        "gitrepositories",
        "app",
        "False",
        "`spec.sparseCheckout` names `nowhere`",
    );
    assert_eq!(reason, "GitOperationFailed");
    case.repository_with(json!({"sparseCheckout": ["./app"]}));
    case.map_is("a", "key", "v");
}

#[test]
fn a_repository_includes_another() {
    let case = Case::new("git-include");
    let file = "namespace: git-include\nresources: [../libs/base]\n";
    case.push(
        &[("app/kustomization.yaml", file)],
        "with a base of another repository",
    );
    case.repository_with(json!({"include": [{"repository": {"name": "base"}, "fromPath": "maps", "toPath": "libs/base"}]}));
    let reason = case.ready(
        "gitrepositories",
        "app",
        "False",
        "GitRepository `git-include/base`, which is included, has fetched nothing yet",
    );
    assert_eq!(reason, "NoArtifact");
    let source = case.get("gitrepositories", "app").unwrap();
    assert_eq!(condition(&source, "IncludeUnavailable")["status"], "True");
    case.unit("app", "app", json!({}));
    let base = case.bed.git.create("git-include-base").unwrap();
    let push = |value: &str| {
        base.write("maps/kustomization.yaml", "resources: [a.yaml]\n")
            .unwrap();
        base.write("maps/a.yaml", &config_map("a", value)).unwrap();
        base.push(value, "main").unwrap();
    };
    push("one");
    let url = case.bed.git.url("git-include-base");
    case.apply(
        "gitrepositories",
        "base",
        json!({"url": url, "interval": "1s", "ref": {"branch": "main"}}),
    );
    case.map_is("a", "key", "one");
    let source = case.get("gitrepositories", "app").unwrap();
    assert_eq!(
        source["status"]["includedArtifacts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // Its own revision does not move, and yet the change comes through at once.
    push("two");
    case.map_is("a", "key", "two");
}

//! What is too much ends in an error that says how much is allowed, before it costs much.

use kustomize::{BuildOptions, FileTree, Limits, RepoPath, build};

fn fails(files: &[(&str, String)], limits: Limits, expected: &str) {
    let options = BuildOptions {
        limits,
        ..BuildOptions::default()
    };
    let tree = FileTree::of(
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.clone())),
    );
    let errors = build(&tree, &RepoPath::root(), &options).expect_err("too much is refused");
    assert_eq!(errors.to_string(), expected);
}

fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

fn resources(list: &str) -> (&'static str, String) {
    ("kustomization.yaml", format!("resources: {list}\n"))
}

#[test]
fn files_and_their_sum() {
    let files = [
        resources("[a.yaml, b.yaml]"),
        ("a.yaml", config_map("a")),
        ("b.yaml", config_map("b")),
    ];
    let limits = Limits {
        file_bytes: 50,
        ..Limits::default()
    };
    fails(
        &files,
        limits,
        "kustomization.yaml:1: resources[0] `a.yaml`: file `a.yaml` is larger than 50 bytes; \
         kustomization.yaml:1: resources[1] `b.yaml`: file `b.yaml` is larger than 50 bytes",
    );
    let limits = Limits {
        total_bytes: 120,
        ..Limits::default()
    };
    fails(
        &files,
        limits,
        "kustomization.yaml:1: resources[1] `b.yaml`: the build reads more than 120 bytes of files",
    );
}

#[test]
fn objects() {
    let maps: Vec<String> = (0..4).map(|at| config_map(&format!("a{at}"))).collect();
    let limits = Limits {
        objects: 3,
        ..Limits::default()
    };
    fails(
        &[resources("[a.yaml]"), ("a.yaml", maps.join("---\n"))],
        limits,
        "kustomization.yaml:1: resources[0] `a.yaml`: the build has more than 3 objects",
    );
}

#[test]
fn levels_and_number_of_kustomizations() {
    let files = [
        resources("[a]"),
        ("a/kustomization.yaml", "resources: [b]\n".to_owned()),
        ("a/b/kustomization.yaml", "resources: [c.yaml]\n".to_owned()),
        ("a/b/c.yaml", config_map("c")),
    ];
    let limits = Limits {
        depth: 1,
        ..Limits::default()
    };
    let message = "a/kustomization.yaml:1: resources[0] `b`: more than 20000 kustomizations, or bases nested deeper than 1";
    fails(&files, limits, message);
    let limits = Limits {
        kustomizations: 2,
        ..Limits::default()
    };
    let message = "a/kustomization.yaml:1: resources[0] `b`: more than 2 kustomizations, or bases nested deeper than 64";
    fails(&files, limits, message);
}

#[test]
fn nesting_and_what_aliases_expand_to() {
    let deep = format!("{}data: {}\n", config_map("a"), "[".repeat(100_000));
    let entry = "resources[0] `a.yaml` of kustomization.yaml:1: MalformedYAMLError: yaml";
    fails(
        &[resources("[a.yaml]"), ("a.yaml", deep)],
        Limits::default(),
        &format!("a.yaml:4: {entry}: line 4: recursion limit exceeded"),
    );
    let mut bomb = config_map("a") + "data:\n  a0: &a0 x\n";
    for level in 1..30 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("  a{level}: &a{level} [{before}]\n"));
    }
    fails(
        &[resources("[a.yaml]"), ("a.yaml", bomb)],
        Limits::default(),
        &format!("a.yaml:12: {entry}: line 12: document is too large: more than 2000000 nodes"),
    );
}

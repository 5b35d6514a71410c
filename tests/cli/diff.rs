//! `overlayd diff` between two states, without a cluster.

use std::process::Command;

use crate::{folder, overlayd};

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {key: one}\n";
const SECRET: &str =
    "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: canary-one}\n";

#[test]
fn two_folders_and_the_exit_code() {
    let changed = MAP.replace("one", "two");
    let other = SECRET.replace("canary-one", "canary-two");
    let directory = folder(&[
        (
            "old/kustomization.yaml",
            "resources: [a.yaml, s.yaml, gone.yaml]\n",
        ),
        ("old/a.yaml", MAP),
        ("old/s.yaml", SECRET),
        (
            "old/gone.yaml",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: gone}\n",
        ),
        ("new/kustomization.yaml", "resources: [a.yaml, s.yaml]\n"),
        ("new/a.yaml", &changed),
        ("new/s.yaml", &other),
    ]);
    assert_eq!(
        overlayd(directory.path(), &["diff", "old", "new"]),
        "exit 1\n--- stdout\n- delete Namespace/gone\n~ change ConfigMap/a\n    data.key: one → two\n\
         ~ change Secret/s\n    stringData.key: *** (before) → *** (after)\n1 to delete, 2 to change\n--- stderr\n"
    );
    assert_eq!(
        overlayd(directory.path(), &["diff", "new", "new"]),
        "exit 0\n--- stdout\nnothing would change\n--- stderr\n"
    );
    for form in ["json", "markdown"] {
        let text = overlayd(directory.path(), &["diff", "old", "new", "-o", form]);
        assert!(
            text.starts_with("exit 1\n") && !text.contains("canary"),
            "{text}"
        );
    }
    let broken = overlayd(directory.path(), &["diff", "old", "nowhere"]);
    assert!(
        broken.starts_with("exit 2\n--- stdout\n--- stderr\nerror: cannot build `nowhere`"),
        "{broken}"
    );
}

#[test]
fn two_commits() {
    let directory = folder(&[
        ("app/kustomization.yaml", "resources: [a.yaml]\n"),
        ("app/a.yaml", MAP),
    ]);
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(directory.path()).args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
        ]);
        assert!(
            command.args(args).output().unwrap().status.success(),
            "git {args:?}"
        );
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", "one"]);
    std::fs::write(
        directory.path().join("app/a.yaml"),
        MAP.replace("one", "two"),
    )
    .unwrap();
    assert_eq!(
        overlayd(directory.path(), &["diff", "HEAD:app", "app"]),
        "exit 1\n--- stdout\n~ change ConfigMap/a\n    data.key: one → two\n1 to change\n--- stderr\n"
    );
    let unknown = overlayd(directory.path(), &["diff", "nowhere:app", "app"]);
    assert!(
        unknown.starts_with("exit 2") && unknown.contains("write COMMIT:DIRECTORY"),
        "{unknown}"
    );
}

//! What a person sees and asks from a desk.

use serde_json::json;

use crate::bed::{Case, config_map};

#[test]
fn objects_are_shown_asked_suspended_and_resumed() {
    let case = Case::new("desk");
    let push = |value: &str| {
        case.work
            .write("app/a.yaml", &config_map("a", value))
            .unwrap();
        case.work.push(value, "main").unwrap()
    };
    let kustomization = "namespace: desk\nresources: [a.yaml]\n";
    case.work
        .write("app/kustomization.yaml", kustomization)
        .unwrap();
    let commit = push("one");
    case.follow("app");
    let rarely = json!({"spec": {"interval": "1h"}});
    case.patch("gitrepositories", "app", rarely.clone());
    case.patch("kustomizations", "app", rarely);
    case.ready("kustomizations", "app", "True", &commit);
    let (well, table, _) = case.bed.overlayd(&["get", "-n", "desk"]);
    assert!(well);
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let revision = format!("main@sha1:{}", &commit[..8]);
    assert!(
        lines.contains(&"NAME REVISION SUSPENDED READY MESSAGE".to_owned()),
        "{table}"
    );
    let row = format!("app {revision} False True Applied revision: {revision}");
    assert!(lines.contains(&row), "{table}");

    // Asked, it does not wait for the interval.
    let commit = push("two");
    let ask = ["reconcile", "ks", "app", "-n", "desk", "--with-source"];
    let (well, _, notes) = case.bed.overlayd(&ask);
    assert!(well, "{notes}");
    let revision = format!("main@sha1:{}", &commit[..8]);
    assert!(
        notes.contains(&format!(
            "✔ Kustomization desk/app: Applied revision: {revision}"
        )),
        "{notes}"
    );
    assert_eq!(case.get("configmaps", "a").unwrap()["data"]["key"], "two");

    // Suspended, it is left alone.
    assert!(
        case.bed
            .overlayd(&["suspend", "kustomization", "app", "-n", "desk"])
            .0
    );
    let (well, _, notes) = case.bed.overlayd(&ask);
    assert!(!well && notes.contains("it is suspended"), "{notes}");
    case.work
        .write("app/kustomization.yaml", "resorces: []\n")
        .unwrap();
    case.work.push("broken", "main").unwrap();
    let resume = [
        "resume",
        "kustomization",
        "app",
        "-n",
        "desk",
        "--with-source",
    ];
    let (well, _, notes) = case.bed.overlayd(&resume);
    assert!(
        !well && notes.contains("unknown field `resorces`"),
        "{notes}"
    );
    let (well, _, notes) = case
        .bed
        .overlayd(&["reconcile", "gitrepo", "none", "-n", "desk"]);
    assert!(
        !well && notes.contains("there is no GitRepository desk/none"),
        "{notes}"
    );
}

#[test]
fn an_external_secret_is_refreshed_on_request() {
    let case = Case::new("desk-secrets");
    case.fake_store(&[("a", "v")]);
    let rarely = json!({"refreshInterval": "1h"});
    case.of_fake("db", "a", json!({}), rarely);
    case.secret_is("db", "k", "v");
    case.ready("externalsecrets", "db", "True", "");
    let before = case.get("externalsecrets", "db").unwrap()["status"]["refreshTime"].clone();
    // The time of a refresh has whole seconds.
    let refreshed: jiff::Timestamp = before.as_str().unwrap().parse().unwrap();
    let next = refreshed + jiff::SignedDuration::from_secs(1);
    testbed::wait_for("the next second", crate::bed::PATIENCE, || {
        anyhow::ensure!(jiff::Timestamp::now() >= next, "not yet");
        Ok(())
    })
    .unwrap();
    let (well, _, notes) = case
        .bed
        .overlayd(&["reconcile", "es", "db", "-n", "desk-secrets"]);
    assert!(well, "{notes}");
    assert!(
        notes.contains("✔ ExternalSecret desk-secrets/db: "),
        "{notes}"
    );
    let after = case.get("externalsecrets", "db").unwrap()["status"]["refreshTime"].clone();
    assert_ne!(before, after);
    case.of_fake("lost", "b", json!({}), json!({}));
    case.ready("externalsecrets", "lost", "False", "");
    let (well, _, notes) = case
        .bed
        .overlayd(&["reconcile", "es", "lost", "-n", "desk-secrets"]);
    assert!(
        !well && notes.contains("failed: SecretSyncedError"),
        "{notes}"
    );
    let (well, _, notes) = case
        .bed
        .overlayd(&["suspend", "es", "db", "-n", "desk-secrets"]);
    assert!(!well && notes.contains("cannot be suspended"), "{notes}");
}

#[test]
fn a_diff_says_what_the_daemon_would_do() {
    let case = Case::applied("desk-diff");
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let folder = directory.path().to_str().unwrap();
    let diff = |more: &[&str]| {
        let mut arguments = vec!["diff", folder, "-k", "app", "-n", "desk-diff"];
        arguments.extend(more);
        case.bed.overlayd(&arguments)
    };
    write(
        "kustomization.yaml",
        "namespace: desk-diff\nresources: [a.yaml]\n",
    );
    write("a.yaml", &config_map("a", "one"));
    assert_eq!(
        diff(&[]),
        (true, "nothing would change\n".to_owned(), String::new())
    );
    let version = case.version("configmaps", "a");

    let bad = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 0}]}\n";
    write(
        "kustomization.yaml",
        "namespace: desk-diff\nresources: [b.yaml, bad.yaml]\n",
    );
    write("b.yaml", &config_map("b", "two"));
    write("bad.yaml", bad);
    let (well, text, _) = diff(&[]);
    assert!(!well);
    assert!(
        text.starts_with("- delete ConfigMap/desk-diff/a\n! refuse Service/desk-diff/bad\n"),
        "{text}"
    );
    assert!(
        text.ends_with("+ create ConfigMap/desk-diff/b\n1 to delete, 1 to create, 1 to refuse\n"),
        "{text}"
    );
    assert!(
        diff(&["-o", "markdown"])
            .1
            .starts_with("### overlayd diff: 1 to delete")
    );
    assert_eq!(
        case.version("configmaps", "a"),
        version,
        "nothing was changed"
    );
    assert!(case.get("configmaps", "b").is_none());

    // The daemon would leave an object to the Kustomization that owns and renders it.
    write(
        "kustomization.yaml",
        "namespace: desk-diff\nresources: [a.yaml]\n",
    );
    case.unit("other", "app", json!({"suspend": true}));
    let (well, text, _) = case
        .bed
        .overlayd(&["diff", folder, "-k", "other", "-n", "desk-diff"]);
    assert!(!well);
    assert!(
        text.starts_with(
            "! refuse ConfigMap/desk-diff/a\n    Kustomization `desk-diff/app` applies it too"
        ),
        "{text}"
    );

    // Without a Kustomization: as `overlayd apply` would do it.
    write(
        "kustomization.yaml",
        "namespace: desk-diff\nresources: [a.yaml]\n",
    );
    write("a.yaml", &config_map("a", "three"));
    let (well, text, _) = case.bed.overlayd(&["diff", folder]);
    assert!(
        !well && text.starts_with("~ change ConfigMap/desk-diff/a\n    data.key: one → three\n"),
        "{text}"
    );
    let (_, _, notes) = case.bed.overlayd(&["diff", folder, "-k", "nobody"]);
    assert!(notes.contains("cannot compare"), "{notes}");
}

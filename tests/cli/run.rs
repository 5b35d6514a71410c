//! `overlayd run`, as far as it goes without a cluster.

use crate::{folder, overlayd};

#[test]
fn an_invalid_flag() {
    let directory = folder(&[]);
    assert_eq!(
        overlayd(directory.path(), &["run", "--interval", "often"]),
        "exit 1\n--- stdout\n--- stderr\n\
         error: invalid flag\n\
         \x20 cause: `--interval often`: not a duration; write it as 10s, 5m or 1h30m\n"
    );
    let password = overlayd(
        directory.path(),
        &["run", "--repo", "https://me:hunter2@host/r", "--path", "."],
    );
    assert!(
        password.starts_with("exit 1") && !password.contains("hunter2"),
        "{password}"
    );
    let lone = overlayd(directory.path(), &["run", "--repo", "https://host/r"]);
    assert!(
        lone.starts_with("exit 2") && lone.contains("--path"),
        "{lone}"
    );
}

#[test]
fn a_cluster_that_does_not_answer() {
    let port = testbed::free_port().expect("a port");
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
         users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    );
    let directory = folder(&[("kubeconfig", &kubeconfig)]);
    let output = overlayd(
        directory.path(),
        &[
            "run",
            "--kubeconfig",
            "kubeconfig",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            "data",
        ],
    );
    assert!(output.starts_with("exit 1"), "{output}");
    assert!(
        output.contains(&format!(
            "cannot reach the API server at `http://127.0.0.1:{port}/`"
        )),
        "{output}"
    );
    assert!(
        output.contains("hint: check the kubeconfig's context"),
        "{output}"
    );
}

#[test]
fn flags_of_the_peers_are_named_together_with_what_serves_in_their_place() {
    let directory = folder(&[]);
    let output = overlayd(
        directory.path(),
        &[
            "run",
            "--storage-path=/data",
            "--watch-all-namespaces",
            "--loglevel",
            "debug",
        ],
    );
    assert_eq!(
        output,
        "exit 2\n--- stdout\n--- stderr\n\
         error: these flags of Flux or External Secrets are not served by overlayd\n\
         \x20 cause: `--storage-path`\n\
         \x20 hint: leave it out: no artifacts are stored or served; --data-dir holds the mirrors of git repositories\n\
         \x20 cause: `--loglevel`\n\
         \x20 hint: write --log-level\n"
    );
    let both = ["run", "--no-remote-bases=true", "--allow-remote-bases=1"];
    let output = overlayd(directory.path(), &both);
    assert!(output.contains("--no-remote-bases true"), "{output}");
    let both = [
        "run",
        "--no-remote-bases=false",
        "--allow-remote-bases",
        "--interval",
        "x",
    ];
    let output = overlayd(directory.path(), &both);
    assert!(output.contains("--interval x"), "{output}");
}

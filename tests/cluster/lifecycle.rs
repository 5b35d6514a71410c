//! The daemon itself: how it starts, ends, and begins again.

use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use testbed::{
    Background, ControlPlane, Emulator, GitServer, GitServerOptions, PodIdentityAgent, free_port,
    wait_for,
};

use crate::bed::{PATIENCE, aws_environment, daemon_arguments};

#[test]
fn it_ends_in_order_and_a_crash_loses_nothing() {
    let plane = ControlPlane::start().unwrap();
    let cluster = plane.cluster().unwrap();
    let (aws, agent) = (
        Emulator::start().unwrap(),
        PodIdentityAgent::start(Duration::from_secs(900)).unwrap(),
    );
    let git = GitServer::start(&GitServerOptions::default()).unwrap();
    let work = git.create("own").unwrap();
    let manifest = |value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: default}}\ndata: {{key: {value}}}\n"
        )
    };
    work.write("kustomization.yaml", "resources: [a.yaml]\n")
        .unwrap();
    work.write("a.yaml", &manifest("one")).unwrap();
    work.push("one", "main").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let start = |number: u8| {
        let port = free_port().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_overlayd"));
        daemon_arguments(
            &mut command,
            plane.kubeconfig(),
            port,
            &directory.path().join("data"),
        );
        aws_environment(&mut command, &agent, &aws.url());
        command.args(["--repo", &git.url("own"), "--path", ".", "--interval", "1s"]);
        command.arg("--allow-remote-bases");
        Background::start(
            "overlayd",
            &mut command,
            &directory.path().join(format!("{number}.log")),
        )
        .unwrap()
    };
    let applied = |daemon: &mut Background, value: &str| {
        let result = wait_for("the ConfigMap", PATIENCE, || {
            daemon.check()?;
            let object = cluster
                .get("/api/v1/namespaces/default/configmaps/a")?
                .unwrap_or_default();
            ensure!(object["data"]["key"] == value, "it is {}", object["data"]);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log_tail()));
    };
    let mut daemon = start(1);
    applied(&mut daemon, "one");
    daemon.kill().unwrap();

    work.write("a.yaml", &manifest("two")).unwrap();
    work.push("two", "main").unwrap();
    let mut daemon = start(2);
    applied(&mut daemon, "two");

    let base = git.create("base").unwrap();
    base.write("maps/kustomization.yaml", "resources: [a.yaml]\n")
        .unwrap();
    base.write("maps/a.yaml", &manifest("three")).unwrap();
    base.push("three", "main").unwrap();
    let remote = format!("resources: ['{}//maps?ref=main']\n", git.url("base"));
    work.write("kustomization.yaml", &remote).unwrap();
    work.push("from elsewhere", "main").unwrap();
    applied(&mut daemon, "three");
    // What stands elsewhere is asked for at every interval, though the own repository does not move.
    base.write("maps/a.yaml", &manifest("four")).unwrap();
    base.push("four", "main").unwrap();
    applied(&mut daemon, "four");
    let code = daemon.terminate(Duration::from_secs(15)).unwrap();
    assert_eq!(code, Some(0), "SIGTERM ends it in order");

    // Its namespace and its definitions stay, even when the Kustomization that applied them is deleted.
    let pair =
        "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/external-secrets/kustomizations/overlayd";
    let object = cluster.get(pair).unwrap().unwrap();
    assert_eq!(object["spec"]["prune"], json!(true));
}

//! The daemon itself: how it starts, ends, and begins again.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use testbed::{Background, wait_for};

use crate::bed::{Own, PATIENCE};

#[test]
fn it_ends_in_order_and_a_crash_loses_nothing() {
    let own = Own::start();
    let (cluster, git) = (&own.cluster, &own.git);
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
    let start = || {
        let url = git.url("own");
        let flags = [
            "--repo",
            &url,
            "--path",
            ".",
            "--interval",
            "1s",
            "--allow-remote-bases",
        ];
        own.daemon(&flags, &[]).0
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
    let mut daemon = start();
    applied(&mut daemon, "one");
    daemon.kill().unwrap();

    work.write("a.yaml", &manifest("two")).unwrap();
    work.push("two", "main").unwrap();
    let mut daemon = start();
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

#[test]
fn a_stop_does_not_wait_for_a_list_that_never_comes() {
    let own = Own::start();
    // This account may list nothing, so that no controller begins.
    wait_for("the account", PATIENCE, || {
        let path = "/api/v1/namespaces/default/serviceaccounts/default";
        own.cluster.get(path)?.context("it is not there yet")
    })
    .unwrap();
    let kubeconfig = own.kubeconfig_of("default", "default");
    let (daemon, port) = own.daemon_of(&kubeconfig, &["--install-crds=false"], &[]);
    wait_for("the daemon", PATIENCE, || {
        ensure!(testbed::http_get(port, "/readyz")?.0 == 200, "not ready");
        Ok(())
    })
    .unwrap();
    assert_eq!(daemon.terminate(PATIENCE).unwrap(), Some(0));
    let log = std::fs::read_to_string(own.directory.path().join("0.log")).unwrap();
    assert!(log.contains("stopping"), "{log}");
    assert!(!log.contains("gave up waiting"), "{log}");
}

#[test]
fn one_of_two_works_and_the_other_takes_over_at_once() {
    let own = Own::start();
    let timing = [
        "--enable-leader-election",
        "--leader-election-lease-duration",
        "4s",
        "--leader-election-renew-deadline",
        "3s",
        "--leader-election-retry-period",
        "1s",
    ];
    let leads = |port: u16| {
        let metrics = testbed::http_get(port, "/metrics")
            .map(|(_, text)| text)
            .unwrap_or_default();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("leader_election_master_status{"));
        line.is_some_and(|line| line.ends_with(" 1"))
    };
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        wait_for(what, PATIENCE, || {
            ensure!(holds(), "not yet");
            Ok(())
        })
        .unwrap();
    };
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/overlayd-leader-election";
    let namespaced = [&timing[..], &["--namespace", "default"]].concat();
    let (first, first_port) = own.daemon(&namespaced, &[]);
    until("the first to lead", &|| leads(first_port));
    let (second, second_port) = own.daemon(&namespaced, &[]);
    until("the second to stand by", &|| {
        testbed::http_get(second_port, "/readyz").is_ok_and(|(code, _)| code == 200)
    });
    assert!(!leads(second_port));
    let code = first.terminate(Duration::from_secs(15)).unwrap();
    assert_eq!(code, Some(0));
    until("the second to lead", &|| leads(second_port));
    let spec = own.cluster.get(lease).unwrap().unwrap()["spec"].clone();
    assert_eq!(spec["leaseTransitions"], 2);

    // A crash gives nothing back: the lease runs out first.
    let (third, third_port) = own.daemon(&namespaced, &[]);
    until("the third to stand by", &|| {
        testbed::http_get(third_port, "/readyz").is_ok_and(|(code, _)| code == 200)
    });
    second.kill().unwrap();
    until("the third to lead", &|| leads(third_port));

    // Who loses the lease ends, and does not give back what is another's.
    own.cluster
        .patch(lease, &json!({"spec": {"holderIdentity": "somebody"}}))
        .unwrap();
    let mut third = third;
    let ended = wait_for("the third to end", PATIENCE, || {
        ensure!(third.check().is_err(), "still running");
        Ok(())
    });
    ended.unwrap();
    assert!(
        third.log().contains("the lease was lost"),
        "{}",
        third.log_tail()
    );
    let spec = own.cluster.get(lease).unwrap().unwrap()["spec"].clone();
    assert_eq!(spec["holderIdentity"], "somebody");
}

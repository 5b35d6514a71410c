//! The daemon is killed at every step of a sync, started again, and loses track of nothing.

use anyhow::ensure;
use serde_json::json;
use testbed::wait_for;

use crate::bed::{Own, PATIENCE, config_map};

/// Each step at which it is killed, and how often it passes that point first.
const POINTS: [&str; 13] = [
    "fetch",
    "fetched",
    "inventory",
    "inventoried",
    "apply:1",
    "apply:3",
    "applied:1",
    "applied:3",
    "prune:1",
    "prune:2",
    "pruned:1",
    "pruned:2",
    "status:1",
];

#[test]
fn a_crash_at_any_step_orphans_and_loses_nothing() {
    let own = Own::start();
    let map = |name: &str| format!("/api/v1/namespaces/crash/configmaps/{name}");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "crash"}});
    own.cluster
        .create("/api/v1/namespaces", &namespace)
        .unwrap();
    let work = own.git.create("crash").unwrap();
    let push = |names: &[String], value: &str| {
        let objects: Vec<String> = names.iter().map(|name| config_map(name, value)).collect();
        work.write("maps.yaml", &objects.join("---\n")).unwrap();
        work.write(
            "kustomization.yaml",
            "namespace: crash\nresources: [maps.yaml]\n",
        )
        .unwrap();
        work.push(value, "main").unwrap();
    };
    let url = own.git.url("crash");
    let flags = ["--repo", &url, "--path", ".", "--interval", "1s"];
    // Exactly these are there, with this value.
    let exactly = |what: &str, names: &[String], value: &str| {
        wait_for(what, PATIENCE, || {
            let all = own
                .cluster
                .get("/api/v1/namespaces/crash/configmaps")?
                .unwrap_or_default();
            let all = all["items"].as_array().cloned().unwrap_or_default();
            let mut found: Vec<String> = all
                .iter()
                .map(|map| format!("{}={}", map["metadata"]["name"], map["data"]["key"]))
                .collect();
            found.retain(|entry| !entry.contains("kube-root-ca.crt"));
            let mut wanted: Vec<String> = names
                .iter()
                .map(|name| format!("\"{name}\"=\"{value}\""))
                .collect();
            found.sort();
            wanted.sort();
            ensure!(found == wanted, "{found:?}");
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error:#}"));
    };
    let names = |round: usize, suffixes: &[&str]| -> Vec<String> {
        suffixes
            .iter()
            .map(|suffix| format!("m{round}-{suffix}"))
            .chain(["stays".to_owned()])
            .collect()
    };
    let before = names(0, &["a", "b"]);
    push(&before, "start");
    let (daemon, _) = own.daemon(&flags, &[]);
    exactly("the start", &before, "start");
    daemon.terminate(PATIENCE).unwrap();
    for (round, point) in POINTS.iter().enumerate() {
        let round = round + 1;
        // What is new, what changes, and what goes.
        let during = names(round, &["a", "b", "c"]);
        push(&during, &format!("during-{round}"));
        let (mut daemon, _) = own.daemon(&flags, &[("OVERLAYD_CRASH_AT", point)]);
        wait_for("the crash", PATIENCE, || {
            ensure!(daemon.check().is_err(), "still running");
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{point}: {error:#}\n{}", daemon.log_tail()));
        drop(daemon);
        // Meanwhile what it was making is taken back: nobody names it any more.
        let after = names(round, &["a", "d"]);
        push(&after, &format!("after-{round}"));
        let (daemon, _) = own.daemon(&flags, &[]);
        exactly(point, &after, &format!("after-{round}"));
        daemon.terminate(PATIENCE).unwrap();
    }
    assert!(own.cluster.get(&map("stays")).unwrap().is_some());
}

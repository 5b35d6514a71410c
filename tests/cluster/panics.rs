//! A reconcile that panics: its object says so, its log does not say what the panic said, and nothing else stops.

use anyhow::{Context as _, ensure};
use serde_json::json;
use testbed::wait_for;

use crate::bed::{Own, PATIENCE, condition, config_map};

#[test]
fn a_panicked_reconcile_is_seen_in_the_status_and_in_the_log_by_its_place_alone() {
    let own = Own::start();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "panic"}});
    own.cluster
        .create("/api/v1/namespaces", &namespace)
        .unwrap();
    let work = own.git.create("panic").unwrap();
    work.write("a.yaml", &config_map("a", "one")).unwrap();
    work.write(
        "kustomization.yaml",
        "namespace: panic\nresources: [a.yaml]\n",
    )
    .unwrap();
    work.push("one", "main").unwrap();
    let url = own.git.url("panic");
    let flags = ["--repo", &url, "--path", ".", "--interval", "1h"];
    let (daemon, port) = own.daemon(&flags, &[("OVERLAYD_PANIC_AT", "status")]);
    let all = "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations";
    let until = |status: &str, reason: &str| {
        wait_for(&format!("Ready={status}"), PATIENCE, || {
            let all = own.cluster.get(all)?.context("not served yet")?;
            let ready = condition(&all["items"][0], "Ready");
            ensure!(
                ready["status"] == status && ready["reason"] == reason,
                "{ready}"
            );
            Ok(all["items"][0].clone())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log_tail()))
    };
    let unit = until("False", "ReconciliationFailed");
    let message = condition(&unit, "Ready")["message"].to_string();
    assert!(message.contains("internal error (a panic)"), "{message}");
    let counted = r#"controller_runtime_reconcile_errors_total{controller="kustomization",category="panic"} 1"#;
    // Counted when the reconcile has ended, which is after its condition was written.
    wait_for("the count", PATIENCE, || {
        let (_, metrics) = testbed::http_get(port, "/metrics")?;
        ensure!(metrics.contains(counted), "{metrics}");
        Ok(())
    })
    .unwrap();

    // A request is answered at once, and by then nothing is wrong any more.
    let metadata = &unit["metadata"];
    let path = format!(
        "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{}/kustomizations/{}",
        metadata["namespace"].as_str().unwrap(),
        metadata["name"].as_str().unwrap()
    );
    let asked = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}});
    own.cluster.patch(&path, &asked).unwrap();
    until("True", "ReconciliationSucceeded");
    let log = daemon.log();
    assert!(log.contains("panic at src/failpoints.rs:"), "{log}");
    assert!(!log.contains("canary-text-of-a-panic"), "{log}");
}

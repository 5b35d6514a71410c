//! overlayd leaves a cluster, by its command or by hand, and what git describes stays.

use anyhow::ensure;
use serde_json::{Value, json};
use testbed::wait_for;

use crate::bed::{Own, PATIENCE, condition};
use crate::recorded_peers::{
    DEFINITIONS, FLUX, PEERS, SYSTEM, config_map, labelled, leave_as_external_secrets,
    leave_as_flux, map_path, namespace, path, what_the_peers_left_is_ready,
};

/// Every order in which a person may remove overlayd by hand. Nothing that git describes goes, and no Secret.
#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story on one control plane, which takes seconds to start"
)]
fn the_end_of_definitions_and_of_the_home_namespace_deletes_nothing_that_git_describes() {
    let own = Own::start();
    let cluster = &own.cluster;
    for name in [SYSTEM, "apps", "external-secrets"] {
        namespace(cluster, name);
    }
    let work = own.git.create("apps").unwrap();
    work.write(
        "apps/a.yaml",
        &config_map("a", json!({"key": "one"})).to_string(),
    )
    .unwrap();
    work.push("one", "main").unwrap();
    let pair = [
        "--repo",
        &own.git.url("apps"),
        "--path",
        "./apps",
        "--interval",
        "1s",
    ];
    let start = |flags: &[&str]| {
        let (daemon, port) = own.daemon(flags, &[]);
        let ready = wait_for("the daemon", PATIENCE, || {
            ensure!(testbed::http_get(port, "/readyz")?.0 == 200, "not ready");
            Ok(())
        });
        ready.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log_tail()));
        daemon
    };
    let is_gone = |path: &str| {
        let gone = wait_for("an object to go", PATIENCE, || {
            ensure!(cluster.get(path)?.is_none(), "{path} is still there");
            Ok(())
        });
        gone.unwrap();
    };
    let is_there = |path: &str| {
        let there = wait_for("an object", PATIENCE, || {
            ensure!(cluster.get(path)?.is_some(), "{path} is not there");
            Ok(())
        });
        there.unwrap();
    };
    let uid = |path: &str| cluster.get(path).unwrap().unwrap()["metadata"]["uid"].clone();
    let definition = |name: &str| format!("{DEFINITIONS}/{name}");

    // The namespace of overlayd, with the Kustomization of `--repo` in it, while the daemon runs.
    let daemon = start(&pair);
    is_there(&map_path("a"));
    let map = uid(&map_path("a"));
    cluster
        .delete("/api/v1/namespaces/external-secrets")
        .unwrap();
    is_gone("/api/v1/namespaces/external-secrets");
    assert_eq!(uid(&map_path("a")), map);
    daemon.terminate(PATIENCE).unwrap();

    // The definitions, while the daemon runs.
    namespace(cluster, "external-secrets");
    let daemon = start(&pair);
    let secret = "/api/v1/namespaces/apps/secrets/db";
    let store = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "fake", "namespace": "apps"},
        "spec": {"provider": {"fake": {"data": [{"key": "db", "value": "bar"}]}}},
    });
    let of_store = path("external-secrets.io", "secretstores", "apps", "fake");
    let object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "db", "namespace": "apps"},
        "spec": {
            "refreshInterval": "1h", "secretStoreRef": {"name": "fake"},
            "data": [{"secretKey": "foo", "remoteRef": {"key": "db"}}],
        },
    });
    let of_object = path("external-secrets.io", "externalsecrets", "apps", "db");
    cluster.apply(&of_store, &store).unwrap();
    cluster.apply(&of_object, &object).unwrap();
    is_there(secret);
    let kept = uid(secret);
    let unit = path(
        "kustomize.toolkit.fluxcd.io",
        "kustomizations",
        "external-secrets",
        "overlayd",
    );
    let adopted = wait_for("the Kustomization to be ready", PATIENCE, || {
        let live = cluster.get(&unit)?.unwrap_or_default();
        ensure!(
            condition(&live, "Ready")["status"] == "True",
            "{}",
            live["status"]
        );
        Ok(())
    });
    adopted.unwrap();
    let secrets = definition("externalsecrets.external-secrets.io");
    let units = definition("kustomizations.kustomize.toolkit.fluxcd.io");
    for definition in [&secrets, &units] {
        cluster.delete(definition).unwrap();
        is_gone(definition);
    }
    assert_eq!(uid(&map_path("a")), map);
    let live = cluster.get(secret).unwrap().unwrap();
    assert_eq!(live["metadata"]["uid"], kept);
    let owners = live["metadata"]["ownerReferences"].as_array();
    assert!(owners.is_none_or(Vec::is_empty), "{}", live["metadata"]);
    daemon.terminate(PATIENCE).unwrap();

    // First the daemon, then the definitions: they wait for a controller, and nothing goes.
    let daemon = start(&pair);
    cluster.apply(&of_object, &object).unwrap();
    let taken = wait_for("the Secret to be owned again", PATIENCE, || {
        let live = cluster.get(secret)?.unwrap_or_default();
        ensure!(
            live["metadata"]["ownerReferences"][0]["kind"] == "ExternalSecret",
            "not yet"
        );
        Ok(())
    });
    taken.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log_tail()));
    let adopted = wait_for("the Kustomization to be ready", PATIENCE, || {
        let live = cluster.get(&unit)?.unwrap_or_default();
        ensure!(
            condition(&live, "Ready")["status"] == "True",
            "{}",
            live["status"]
        );
        Ok(())
    });
    adopted.unwrap();
    daemon.terminate(PATIENCE).unwrap();
    for definition in [&secrets, &units] {
        cluster.delete(definition).unwrap();
    }
    let going = wait_for("the objects to wait", PATIENCE, || {
        for path in [&of_object, &unit] {
            let live = cluster.get(path)?.unwrap_or_default();
            ensure!(!live["metadata"]["deletionTimestamp"].is_null(), "{path}");
        }
        Ok(())
    });
    going.unwrap();
    assert_eq!(
        (uid(secret), uid(&map_path("a"))),
        (kept.clone(), map.clone())
    );
    let daemon = start(&["--install-crds=false"]);
    for definition in [&secrets, &units] {
        is_gone(definition);
    }
    assert_eq!((uid(secret), uid(&map_path("a"))), (kept, map));
    // Without its definitions, the daemon names each kind once.
    let lines = daemon.log();
    let named = lines
        .matches("does not serve this kind in this version")
        .count();
    assert!(named <= 2, "{named} times");
}

/// Applied by overlayd after Flux, given back, and taken up by Flux: a field that leaves git leaves the cluster.
#[test]
fn uninstall_gives_fields_back_or_leaves_nothing_that_waits_for_a_controller() {
    let own = Own::start();
    let cluster = &own.cluster;
    for definition in &PEERS {
        definition.install(cluster);
    }
    for name in [SYSTEM, "apps", "external-secrets"] {
        namespace(cluster, name);
    }
    let work = own.git.create("apps").unwrap();
    let map = |data: Value| config_map("a", data);
    let text = map(json!({"key": "two", "sql": "select"})).to_string();
    work.write("apps/a.yaml", &text).unwrap();
    let commit = work.push("two", "main").unwrap();
    let of_flux = [(map_path("a"), map(json!({"key": "one"})))];
    leave_as_flux(&own, commit.trim(), &of_flux, &["apps_a__ConfigMap"]);
    leave_as_external_secrets(cluster);
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "overlayd", "labels": {"app.kubernetes.io/part-of": "overlayd"}},
    });
    let accounts = "/api/v1/namespaces/external-secrets/serviceaccounts";
    cluster.create(accounts, &account).unwrap();
    let (daemon, port) = own.daemon(&[], &[]);
    what_the_peers_left_is_ready(port);
    let live = cluster.get(&map_path("a")).unwrap().unwrap();
    assert_eq!(live["data"], json!({"key": "two", "sql": "select"}));
    daemon.terminate(PATIENCE).unwrap();

    let expected = "give the fields of ConfigMap/apps/a back to `kustomize-controller`
delete ServiceAccount/external-secrets/overlayd
keep every definition, custom resource, namespace, workload and Secret
";
    let (went_well, printed, error) = own.overlayd(&["uninstall", "--hand-over", "--dry-run"]);
    assert!(went_well, "{error}");
    assert_eq!(printed, expected);
    assert!(
        cluster
            .get(&format!("{accounts}/overlayd"))
            .unwrap()
            .is_some()
    );
    for expected in [
        expected,
        "keep every definition, custom resource, namespace, workload and Secret\n",
    ] {
        let (went_well, printed, error) = own.overlayd(&["uninstall", "--hand-over"]);
        assert!(went_well, "{error}");
        assert_eq!(printed, expected, "a repetition finds nothing to do");
    }
    let object = labelled(map(json!({"key": "two"})));
    let live = cluster.apply_as(FLUX, &map_path("a"), &object).unwrap();
    assert_eq!(
        live["data"],
        json!({"key": "two"}),
        "Flux owns what it no longer applies"
    );

    // Without a controller afterwards, the definitions can go, and the workload and the Secret stay.
    let (went_well, printed, error) = own.overlayd(&["uninstall"]);
    assert!(went_well, "{error}");
    let expected = "take the owner from Secret/apps/db, so that it stays
remove the finalizer `finalizers.fluxcd.io` of Kustomization/flux-system/apps
remove the finalizer `finalizers.fluxcd.io` of GitRepository/flux-system/apps
remove the finalizer `externalsecrets.external-secrets.io/externalsecret-cleanup` of ExternalSecret/apps/db
keep every definition, custom resource, namespace, workload and Secret
";
    assert_eq!(printed, expected);
    for definition in &PEERS {
        cluster.delete(&definition.path()).unwrap();
    }
    let gone = wait_for("the definitions to go", PATIENCE, || {
        for definition in &PEERS {
            ensure!(
                cluster.get(&definition.path())?.is_none(),
                "{}",
                definition.kind
            );
        }
        Ok(())
    });
    gone.unwrap();
    assert!(cluster.get(&map_path("a")).unwrap().is_some());
    assert!(
        cluster
            .get("/api/v1/namespaces/apps/secrets/db")
            .unwrap()
            .is_some()
    );
}

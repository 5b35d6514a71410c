//! The way from the peers to overlayd and back: a cluster as Flux and External Secrets leave it, recorded by hand from
//! their documentation.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde_json::{Value, json};
use testbed::{Cluster, wait_for};

use crate::bed::{Own, PATIENCE, condition};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FLUX: &str = "kustomize-controller";
const SYSTEM: &str = "flux-system";

/// A definition as a peer installs it: an old version that was stored once, and a field that overlayd does not know.
struct PeerDefinition {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    scope: &'static str,
    old: &'static str,
}

const PEERS: [PeerDefinition; 4] = [
    PeerDefinition {
        group: "source.toolkit.fluxcd.io",
        kind: "GitRepository",
        plural: "gitrepositories",
        scope: "Namespaced",
        old: "v1beta2",
    },
    PeerDefinition {
        group: "kustomize.toolkit.fluxcd.io",
        kind: "Kustomization",
        plural: "kustomizations",
        scope: "Namespaced",
        old: "v1beta2",
    },
    PeerDefinition {
        group: "external-secrets.io",
        kind: "ExternalSecret",
        plural: "externalsecrets",
        scope: "Namespaced",
        old: "v1beta1",
    },
    PeerDefinition {
        group: "external-secrets.io",
        kind: "SecretStore",
        plural: "secretstores",
        scope: "Namespaced",
        old: "v1beta1",
    },
];

impl PeerDefinition {
    fn path(&self) -> String {
        format!("{DEFINITIONS}/{}.{}", self.plural, self.group)
    }

    fn manifest(&self) -> Value {
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let version = |name: &str, served: bool| {
            json!({
                "name": name, "served": served, "storage": served, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                        "properties": {"fieldOfTheFuture": {"type": "string"}},
                    },
                    "status": open,
                }}},
            })
        };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{}.{}", self.plural, self.group),
                "labels": {"app.kubernetes.io/part-of": "flux"},
                "annotations": {
                    "controller-gen.kubebuilder.io/version": "v0.19.0", "helm.sh/resource-policy": "keep",
                },
            },
            "spec": {
                "group": self.group, "scope": self.scope,
                "names": {"kind": self.kind, "plural": self.plural, "singular": self.kind.to_lowercase(), "listKind": format!("{}List", self.kind)},
                "versions": [version("v1", true), version(self.old, false)],
            },
        })
    }

    fn install(&self, cluster: &Cluster) {
        cluster
            .apply_as(FLUX, &self.path(), &self.manifest())
            .unwrap();
        let stored = json!({"status": {"storedVersions": [self.old, "v1"]}});
        cluster
            .patch(&format!("{}/status", self.path()), &stored)
            .unwrap();
        let objects = format!("/apis/{}/v1/{}", self.group, self.plural);
        let served = wait_for("the kind to be served", PATIENCE, || {
            ensure!(cluster.get(&objects)?.is_some(), "not yet");
            Ok(())
        });
        served.unwrap();
    }
}

fn path(group: &str, plural: &str, namespace: &str, name: &str) -> String {
    format!("/apis/{group}/v1/namespaces/{namespace}/{plural}/{name}")
}

fn kustomization(name: &str) -> String {
    path(
        "kustomize.toolkit.fluxcd.io",
        "kustomizations",
        SYSTEM,
        name,
    )
}

fn namespace(cluster: &Cluster, name: &str) {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    cluster.create("/api/v1/namespaces", &object).unwrap();
    let path = format!("/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt");
    let settled = wait_for("the namespace to settle", PATIENCE, || {
        ensure!(cluster.get(&path)?.is_some(), "not yet");
        Ok(())
    });
    settled.unwrap();
}

fn config_map(name: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "apps"}, "data": data,
    })
}

/// An object with the labels by which Flux marks what it has applied.
fn labelled(mut object: Value) -> Value {
    object["metadata"]["labels"] = json!({
        "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": SYSTEM,
    });
    object
}

fn map_path(name: &str) -> String {
    format!("/api/v1/namespaces/apps/configmaps/{name}")
}

/// Flux's GitRepository and Kustomization for a repository, with the finalizers and statuses that Flux leaves, and the
/// objects of the repository applied by Flux.
fn leave_as_flux(own: &Own, commit: &str, objects: &[(String, Value)], inventory: &[&str]) {
    let cluster = &own.cluster;
    let revision = format!("main@sha1:{commit}");
    let ready = |reason: &str| {
        json!([{
            "type": "Ready", "status": "True", "reason": reason, "observedGeneration": 1,
            "message": format!("stored artifact for revision '{revision}'"), "lastTransitionTime": "2026-01-01T00:00:00Z",
        }])
    };
    let metadata = |name: &str| json!({"name": name, "namespace": SYSTEM, "finalizers": ["finalizers.fluxcd.io"]});
    let source = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": metadata("apps"),
        "spec": {"interval": "1s", "url": own.git.url("apps"), "ref": {"branch": "main"}},
    });
    let of_source = path(
        "source.toolkit.fluxcd.io",
        "gitrepositories",
        SYSTEM,
        "apps",
    );
    cluster.apply_as(FLUX, &of_source, &source).unwrap();
    let status = json!({"status": {
        "observedGeneration": 1, "conditions": ready("Succeeded"),
        "artifact": {
            "revision": revision, "digest": format!("sha256:{}", "0".repeat(64)), "path": "gitrepository/flux-system/apps/0.tar.gz",
            "url": "http://source-controller.flux-system.svc.cluster.local./gitrepository/flux-system/apps/0.tar.gz",
            "lastUpdateTime": "2026-01-01T00:00:00Z",
        },
    }});
    cluster
        .patch(&format!("{of_source}/status"), &status)
        .unwrap();
    for (path, object) in objects {
        cluster
            .apply_as(FLUX, path, &labelled(object.clone()))
            .unwrap();
    }
    let unit = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": metadata("apps"),
        "spec": {
            "interval": "1h", "path": "./apps", "prune": true, "wait": true,
            "sourceRef": {"kind": "GitRepository", "name": "apps"},
        },
    });
    cluster
        .apply_as(FLUX, &kustomization("apps"), &unit)
        .unwrap();
    let entries: Vec<Value> = inventory
        .iter()
        .map(|id| json!({"id": id, "v": "v1"}))
        .collect();
    let status = json!({"status": {
        "observedGeneration": 1, "conditions": ready("ReconciliationSucceeded"), "inventory": {"entries": entries},
        "lastAppliedRevision": revision, "lastAttemptedRevision": revision,
    }});
    cluster
        .patch(&format!("{}/status", kustomization("apps")), &status)
        .unwrap();
}

/// How often the API server has changed something, by verb and resource: no dry runs, statuses, leases, events and
/// definitions.
fn writes(cluster: &Cluster) -> BTreeMap<String, u64> {
    let text = cluster.text("/metrics").unwrap();
    let mut writes = BTreeMap::new();
    for line in text.lines() {
        let Some(labels) = line.strip_prefix("apiserver_request_total{") else {
            continue;
        };
        let Some((labels, count)) = labels.rsplit_once("} ") else {
            continue;
        };
        let label = |name: &str| {
            let rest = labels.split_once(&format!("{name}=\""));
            rest.and_then(|(_, rest)| rest.split_once('"'))
                .map_or("", |(value, _)| value)
        };
        let writes_something = [
            "POST",
            "PUT",
            "PATCH",
            "APPLY",
            "DELETE",
            "DELETECOLLECTION",
        ]
        .contains(&label("verb"));
        let is_ours = [
            "configmaps",
            "secrets",
            "namespaces",
            "gitrepositories",
            "kustomizations",
            "externalsecrets",
            "secretstores",
            "nodepools",
        ]
        .contains(&label("resource"));
        if writes_something
            && is_ours
            && label("dry_run").is_empty()
            && label("subresource").is_empty()
        {
            let name = format!("{} {}", label("verb"), label("resource"));
            *writes.entry(name).or_default() += count.parse::<f64>().unwrap_or_default() as u64;
        }
    }
    writes
}

/// An ExternalSecret and its Secret as External Secrets leaves them.
fn leave_as_external_secrets(cluster: &Cluster) {
    let store = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "fake", "namespace": "apps"},
        "spec": {"provider": {"fake": {"data": [{"key": "db", "value": "bar"}]}}},
    });
    let of_store = path("external-secrets.io", "secretstores", "apps", "fake");
    cluster.apply_as("helm", &of_store, &store).unwrap();
    let object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {
            "name": "db", "namespace": "apps",
            "finalizers": ["externalsecrets.external-secrets.io/externalsecret-cleanup"],
        },
        "spec": {
            "refreshInterval": "1h0m0s", "secretStoreRef": {"kind": "SecretStore", "name": "fake"},
            "target": {"creationPolicy": "Owner", "deletionPolicy": "Retain"},
            "data": [{"secretKey": "foo", "remoteRef": {"key": "db"}}],
        },
    });
    let of_object = path("external-secrets.io", "externalsecrets", "apps", "db");
    let created = cluster.apply_as("helm", &of_object, &object).unwrap();
    let now = created["metadata"]["creationTimestamp"].clone();
    let status = json!({"status": {
        "binding": {"name": "db"}, "refreshTime": now,
        // The hash of no labels and annotations, from running External Secrets.
        "syncedResourceVersion": "1-f47fe3c0b255b6dd8047cdffa772587bb829efe7a1cb70febeda2eb2",
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "SecretSynced", "message": "secret synced", "lastTransitionTime": now,
        }],
    }});
    cluster
        .patch(&format!("{of_object}/status"), &status)
        .unwrap();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": "db",
            "labels": {"reconcile.external-secrets.io/managed": "true"},
            // The hash of `{"foo": "bar"}`, as External Secrets writes it.
            "annotations": {"reconcile.external-secrets.io/data-hash": "f2a604b87eb0cf673761e8cfea850f901fe73a3d1b2f338802107f36"},
            "ownerReferences": [{
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "db",
                "uid": created["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "stringData": {"foo": "bar"},
    });
    let manager = "externalsecrets.external-secrets.io/db";
    let path = format!("/api/v1/namespaces/apps/secrets?fieldManager={manager}");
    cluster.create(&path, &secret).unwrap();
}

/// Waits until a metric of a daemon has a value.
fn metric_is(port: u16, parts: &[&str], value: &str) {
    let result = wait_for("a metric", PATIENCE, || {
        let (_, text) = testbed::http_get(port, "/metrics")?;
        let mut lines = text
            .lines()
            .filter(|line| parts.iter().all(|part| line.contains(part)));
        ensure!(
            lines.any(|line| line.ends_with(&format!(" {value}"))),
            "{parts:?} is not {value}"
        );
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_start_on_what_the_peers_left_writes_nothing_but_statuses_and_the_way_back_finds_no_trace() {
    let own = Own::start();
    let cluster = &own.cluster;
    for definition in &PEERS {
        definition.install(cluster);
    }
    for name in [SYSTEM, "apps"] {
        namespace(cluster, name);
    }
    let work = own.git.create("apps").unwrap();
    let map = |data: Value| config_map("a", data);
    work.write(
        "apps/a.yaml",
        &map(json!({"key": "one", "sql": "select"})).to_string(),
    )
    .unwrap();
    work.write(
        "apps/b.yaml",
        &config_map("b", json!({"key": "b"})).to_string(),
    )
    .unwrap();
    let commit = work.push("one", "main").unwrap();
    let objects = [
        (map_path("a"), map(json!({"key": "one", "sql": "select"}))),
        (map_path("b"), config_map("b", json!({"key": "b"}))),
    ];
    leave_as_flux(
        &own,
        commit.trim(),
        &objects,
        &["apps_a__ConfigMap", "apps_b__ConfigMap"],
    );
    leave_as_external_secrets(cluster);
    let versions = || {
        let paths = [
            map_path("a"),
            map_path("b"),
            "/api/v1/namespaces/apps/secrets/db".to_owned(),
        ];
        paths
            .map(|path| cluster.get(&path).unwrap().unwrap()["metadata"]["resourceVersion"].clone())
    };
    let (before, written) = (versions(), writes(cluster));

    let (daemon, port) = own.daemon(&[], &[]);
    metric_is(
        port,
        &["overlayd_kustomization_ready{", "name=\"apps\""],
        "1",
    );
    metric_is(
        port,
        &[
            "externalsecret_status_condition{",
            "name=\"db\"",
            "status=\"True\"",
        ],
        "1.0",
    );
    assert_eq!(versions(), before, "{}", daemon.log_tail());
    assert_eq!(writes(cluster), written, "{}", daemon.log_tail());
    // The definitions keep what the peers put there, and have what overlayd needs besides.
    for definition in &PEERS {
        let live = cluster.get(&definition.path()).unwrap().unwrap();
        let versions = live["spec"]["versions"].as_array().unwrap();
        let names: Vec<&Value> = versions.iter().map(|version| &version["name"]).collect();
        assert_eq!(
            names,
            [&json!("v1"), &json!(definition.old)],
            "{}",
            definition.kind
        );
        let fields = &versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        assert!(
            fields["fieldOfTheFuture"].is_object(),
            "{}",
            definition.kind
        );
        assert_eq!(
            live["metadata"]["annotations"]["helm.sh/resource-policy"],
            "keep"
        );
        assert_eq!(
            live["metadata"]["labels"]["app.kubernetes.io/part-of"],
            "flux"
        );
    }

    // A commit is applied, and what leaves git leaves the cluster, although Flux had applied it.
    work.write("apps/a.yaml", &map(json!({"key": "two"})).to_string())
        .unwrap();
    work.push("two", "main").unwrap();
    let changed = wait_for("the commit", PATIENCE, || {
        let live = cluster.get(&map_path("a"))?.unwrap_or_default();
        ensure!(
            live["data"] == json!({"key": "two"}),
            "it is {}",
            live["data"]
        );
        Ok(())
    });
    changed.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log_tail()));
    daemon.terminate(PATIENCE).unwrap();

    // Flux takes `b` up as if overlayd had never been there.
    let object = labelled(config_map("b", json!({"other": "b"})));
    let live = cluster.apply_as(FLUX, &map_path("b"), &object).unwrap();
    assert_eq!(live["data"], json!({"other": "b"}));
}

/// Every order in which a person may remove overlayd by hand. Nothing that git describes goes, and no Secret.
#[test]
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

/// A root of `flux bootstrap`, and a repository with manifests of old versions.
#[test]
fn controllers_of_flux_stay_stopped_and_old_versions_are_applied_as_the_served_one() {
    let case = crate::bed::Case::new("migrate-root");
    let controller = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "kustomize-controller", "namespace": "migrate-root", "labels": {"app.kubernetes.io/part-of": "flux"},
        },
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "kustomize-controller"}},
            "template": {
                "metadata": {"labels": {"app": "kustomize-controller"}},
                "spec": {"containers": [{"name": "manager", "image": "ghcr.io/fluxcd/kustomize-controller:v1.7.0"}]},
            },
        },
    });
    let path = "/apis/apps/v1/namespaces/migrate-root/deployments/kustomize-controller";
    let mut stopped = controller.clone();
    stopped["spec"]["replicas"] = json!(0);
    let cluster = &case.bed.cluster;
    cluster.apply_as(FLUX, path, &stopped).unwrap();
    let child = "apiVersion: kustomize.toolkit.fluxcd.io/v1beta2\nkind: Kustomization\nmetadata: {name: child, namespace: migrate-root}\nspec:\n  interval: 1h\n  path: ./child\n  prune: true\n  validation: client\n  sourceRef: {kind: GitRepository, name: app}\n  patchesStrategicMerge:\n  - apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: c, namespace: migrate-root}\n    data: {patched: 'yes'}\n";
    let secret = "apiVersion: external-secrets.io/v1beta1\nkind: ExternalSecret\nmetadata: {name: old, namespace: migrate-root}\nspec:\n  secretStoreRef: {name: fake}\n  data: [{secretKey: k, remoteRef: {key: db}}]\n";
    let map =
        crate::bed::config_map("c", "v").replace("name: c", "name: c\n  namespace: migrate-root");
    case.push(
        &[
            ("root/gotk-components.yaml", &controller.to_string()),
            ("root/child.yaml", child),
            ("root/secret.yaml", secret),
            ("child/c.yaml", &map),
        ],
        "bootstrap",
    );
    case.fake_store(&[("db", "v")]);
    case.repository();
    case.unit("root", "./root", json!({}));
    case.ready("kustomizations", "root", "True", "Applied revision");
    case.secret_is("old", "k", "v");
    case.map_is("c", "patched", "yes");
    let live = cluster.get(path).unwrap().unwrap();
    assert_eq!(live["spec"]["replicas"], 0, "it would work beside overlayd");
    let root = case.get("kustomizations", "root").unwrap();
    let conditions = root["status"]["conditions"].to_string();
    assert!(
        conditions.contains("it is a controller of Flux"),
        "{conditions}"
    );
    case.has_event("OldVersion", "ExternalSecret/migrate-root/old in `root/secret.yaml` has the old version `external-secrets.io/v1beta1`");

    // Whoever wants to run both says so.
    case.patch(
        "kustomizations",
        "root",
        json!({"metadata": {"annotations": {"overlayd.dev/peer-controllers": "apply"}}}),
    );
    let started = wait_for("the controller", PATIENCE, || {
        ensure!(
            cluster.get(path)?.unwrap_or_default()["spec"]["replicas"] == 1,
            "not yet"
        );
        Ok(())
    });
    started.unwrap();
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
    metric_is(
        port,
        &["overlayd_kustomization_ready{", "name=\"apps\""],
        "1",
    );
    metric_is(
        port,
        &[
            "externalsecret_status_condition{",
            "name=\"db\"",
            "status=\"True\"",
        ],
        "1.0",
    );
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

/// The commands of a part of the guide, in their order.
fn commands_of_guide(part: &str) -> Vec<Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/migration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let part = text
        .split("\n## ")
        .find(|text| text.starts_with(part))
        .unwrap();
    let lines = part
        .lines()
        .filter_map(|line| line.trim().strip_prefix("overlayd "));
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    lines.map(words).collect()
}

/// A controller of a peer with its one replica.
fn controller(cluster: &Cluster, name: &str, labels: &Value) -> String {
    let app = json!({"app": name});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": SYSTEM, "labels": labels},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": app},
            "template": {"metadata": {"labels": app}, "spec": {"containers": [{"name": "manager", "image": "manager:1"}]}},
        },
    });
    let path = format!("/apis/apps/v1/namespaces/{SYSTEM}/deployments/{name}");
    cluster.apply_as("helm", &path, &deployment).unwrap();
    path
}

#[test]
fn the_guide_leads_to_overlayd_and_back() {
    let own = Own::start();
    let cluster = &own.cluster;
    for definition in &PEERS {
        definition.install(cluster);
        let release = json!({"metadata": {"annotations": {
            "meta.helm.sh/release-name": "peer", "helm.sh/resource-policy": null,
        }}});
        cluster.patch(&definition.path(), &release).unwrap();
    }
    for name in [SYSTEM, "apps"] {
        namespace(cluster, name);
    }
    let flux = json!({"app.kubernetes.io/part-of": "flux"});
    let secrets = json!({"app.kubernetes.io/name": "external-secrets", "helm.sh/chart": "external-secrets-2.9.0"});
    let controllers = [
        controller(cluster, "kustomize-controller", &flux),
        controller(cluster, "source-controller", &flux),
        controller(cluster, "external-secrets", &secrets),
    ];
    let work = own.git.create("apps").unwrap();
    let text = config_map("a", json!({"key": "one"})).to_string();
    work.write("apps/a.yaml", &text).unwrap();
    let commit = work.push("one", "main").unwrap();
    let of_flux = [(map_path("a"), config_map("a", json!({"key": "one"})))];
    leave_as_flux(&own, commit.trim(), &of_flux, &["apps_a__ConfigMap"]);
    leave_as_external_secrets(cluster);
    let before = writes(cluster);
    let run = |part: &str| {
        let commands = commands_of_guide(part);
        assert!(commands.len() >= 4, "{commands:?}");
        for command in commands {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let (went_well, printed, error) = own.overlayd(&words);
            // The check ends with 1, since the peers still run.
            assert!(went_well || words[1] == "check", "{words:?}: {error}");
            if words[1] == "check" {
                for expected in [
                    "source-controller",
                    "v1beta2",
                    "field manager `kustomize-controller` owns fields of 1",
                ] {
                    assert!(printed.contains(expected), "{expected}: {printed}{error}");
                }
            }
        }
    };
    let replicas = || {
        let live = controllers
            .iter()
            .map(|path| cluster.get(path).unwrap().unwrap());
        let replicas = live.map(|live| live["spec"]["replicas"].as_i64().unwrap());
        replicas.collect::<Vec<_>>()
    };
    run("To overlayd");
    assert_eq!(replicas(), [0, 0, 0]);
    assert_eq!(
        writes(cluster),
        before,
        "nothing but the controllers and definitions was written"
    );
    for definition in &PEERS {
        let live = cluster.get(&definition.path()).unwrap().unwrap();
        assert_eq!(
            live["metadata"]["annotations"]["helm.sh/resource-policy"],
            "keep"
        );
    }
    let (daemon, port) = own.daemon(&[], &[]);
    metric_is(
        port,
        &["overlayd_kustomization_ready{", "name=\"apps\""],
        "1",
    );
    daemon.terminate(PATIENCE).unwrap();
    run("Back to the peers");
    assert_eq!(replicas(), [1, 1, 1]);
}

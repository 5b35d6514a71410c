//! The way from the peers to overlayd and back, on a cluster as they leave it.

use anyhow::ensure;
use serde_json::{Value, json};
use testbed::{Cluster, wait_for};

use crate::bed::{Own, PATIENCE, condition};
use crate::recorded_peers::{
    FLUX, PEERS, SYSTEM, config_map, kustomization, labelled, leave_as_external_secrets,
    leave_as_flux, map_path, namespace, path, what_the_peers_left_is_ready, writes,
};

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
    what_the_peers_left_is_ready(port);
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
    // Only the definitions of the peers are there, and each kind that is missing is named once.
    let (daemon, port) = own.daemon(&["--install-crds=false"], &[]);
    what_the_peers_left_is_ready(port);
    let missing = [
        "ClusterSecretStore",
        "Receiver",
        "Password",
        "UUID",
        "Fake",
        "ClusterGenerator",
    ];
    let named = wait_for("all missing kinds to be named", PATIENCE, || {
        let log = daemon.log();
        for kind in missing {
            let named = log.lines().filter(|line| {
                line.contains("does not serve this kind")
                    && line.contains(&format!("\"kind\":\"{kind}\""))
            });
            ensure!(named.count() == 1, "{kind}");
        }
        Ok(())
    });
    named.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log_tail()));
    daemon.terminate(PATIENCE).unwrap();
    run("Back to the peers");
    assert_eq!(replicas(), [1, 1, 1]);
}

/// Flux runs for some Kustomizations, and overlayd for those with a label.
#[test]
fn by_label_overlayd_works_beside_flux() {
    let own = Own::start();
    let cluster = &own.cluster;
    for definition in &PEERS {
        definition.install(cluster);
    }
    for name in [SYSTEM, "apps"] {
        namespace(cluster, name);
    }
    let work = own.git.create("apps").unwrap();
    let text = |name: &str| config_map(name, json!({"key": "one"})).to_string();
    work.write("apps/a.yaml", &text("a")).unwrap();
    work.write("ours/b.yaml", &text("b")).unwrap();
    work.write("ours/c.yaml", &text("c")).unwrap();
    let commit = work.push("one", "main").unwrap();
    let of_flux = [(map_path("a"), config_map("a", json!({"key": "one"})))];
    leave_as_flux(&own, commit.trim(), &of_flux, &["apps_a__ConfigMap"]);
    let create = |kind: &str, name: &str, labels: Value, spec: Value| {
        let (group, plural) = match kind {
            "GitRepository" => ("source.toolkit.fluxcd.io", "gitrepositories"),
            _ => ("kustomize.toolkit.fluxcd.io", "kustomizations"),
        };
        let object = json!({
            "apiVersion": format!("{group}/v1"), "kind": kind,
            "metadata": {"name": name, "namespace": SYSTEM, "labels": labels}, "spec": spec,
        });
        let path = path(group, plural, SYSTEM, name);
        cluster.apply_as(FLUX, &path, &object).unwrap();
        path
    };
    let label = json!({"controller": "overlayd"});
    let source = json!({"interval": "1s", "url": own.git.url("apps"), "ref": {"branch": "main"}});
    create("GitRepository", "ours", label.clone(), source);
    let unit = |path: &str| {
        json!({
            "interval": "1h", "path": path, "prune": true, "sourceRef": {"kind": "GitRepository", "name": "ours"},
        })
    };
    let ours = create("Kustomization", "ours", label, unit("./ours"));
    let theirs = [
        create("Kustomization", "theirs", json!({}), unit("./apps")),
        kustomization("apps"),
        path(
            "source.toolkit.fluxcd.io",
            "gitrepositories",
            SYSTEM,
            "apps",
        ),
        map_path("a"),
    ];
    let versions = || {
        let objects = theirs
            .iter()
            .map(|path| cluster.get(path).unwrap().unwrap());
        let versions = objects.map(|object| object["metadata"]["resourceVersion"].clone());
        versions.collect::<Vec<_>>()
    };
    let before = versions();
    let (daemon, _) = own.daemon(&["--watch-label-selector=controller=overlayd"], &[]);
    let ready = |revision: &str| {
        let ready = wait_for("the Kustomization of overlayd", PATIENCE, || {
            let live = cluster.get(&ours)?.unwrap_or_default();
            let applied = live["status"]["lastAppliedRevision"].as_str();
            let is_applied = applied.is_some_and(|applied| applied.ends_with(revision));
            ensure!(
                is_applied && condition(&live, "Ready")["status"] == "True",
                "{}",
                live["status"]
            );
            Ok(())
        });
        ready.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log_tail()));
    };
    ready(commit.trim());
    // A Kustomization of Flux that uses the same source holds up no deletion.
    work.git(&["rm", "ours/c.yaml"]).unwrap();
    let commit = work.push("two", "main").unwrap();
    ready(commit.trim());
    assert!(cluster.get(&map_path("b")).unwrap().is_some());
    assert!(cluster.get(&map_path("c")).unwrap().is_none());
    assert_eq!(versions(), before, "Flux's objects are Flux's");
}

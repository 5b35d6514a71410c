//! What one namespace cannot do to another, and damage that is repaired without a person.

use std::net::TcpListener;

use serde_json::{Value, json};
use testbed::wait_for;

use crate::bed::{Case, Own, PATIENCE, condition, config_map};

#[test]
fn servers_that_never_answer_hold_up_no_other_namespace() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hostile = Case::new("tenant-hostile");
    // More than a namespace has turns, and each for as long as it can ask for.
    for number in 0..8 {
        let url = format!("http://{}/{number}.git", silent.local_addr().unwrap());
        hostile.apply(
            "gitrepositories",
            &format!("hung-{number}"),
            json!({"url": url, "interval": "1s", "timeout": "5256000m", "ref": {"branch": "main"}}),
        );
    }
    // The turns of the hostile namespace are taken.
    silent.set_nonblocking(true).unwrap();
    let mut hung = Vec::new();
    let taken = wait_for("the turns of the namespace", PATIENCE, || {
        hung.extend(silent.accept().ok());
        anyhow::ensure!(hung.len() >= 4, "{} connections", hung.len());
        Ok(())
    });
    taken.unwrap();
    let neighbour = Case::applied("tenant-neighbour");
    neighbour.push(&[("app/a.yaml", &config_map("a", "two"))], "two");
    neighbour.map_is("a", "key", "two");
    // Nothing of the hostile namespace has ended meanwhile.
    let first = hostile.get("gitrepositories", "hung-0").unwrap();
    assert!(first["status"]["artifact"].is_null());
    drop(hung);
    for number in 0..8 {
        hostile.delete("gitrepositories", &format!("hung-{number}"));
    }
}

#[test]
fn a_name_of_a_spec_leads_to_no_other_object() {
    let case = Case::new("tenant-names");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own"}, "stringData": {"username": "u"}});
    case.bed
        .cluster
        .apply(&case.path("secrets", "own"), &secret)
        .unwrap();
    let url = case.bed.git.url(&case.namespace);
    for (name, message) in [
        ("../../tenant-names/secrets/own", "is no name of an object"),
        ("own?watch=true", "is no name of an object"),
    ] {
        case.apply(
            "gitrepositories",
            "app",
            json!({"url": url, "interval": "1s", "secretRef": {"name": name}}),
        );
        case.ready("gitrepositories", "app", "False", message);
    }
    case.apply(
        "receivers",
        "hook",
        json!({"type": "generic", "secretRef": {"name": "own"}, "resources": [{"kind": "Kustomization", "name": "x:80/proxy/path"}]}),
    );
    case.ready("receivers", "hook", "False", "x:80/proxy/path");
}

#[test]
fn a_mirror_that_loses_its_objects_is_repaired_while_the_daemon_works() {
    let own = Own::start();
    let work = own.git.create("app").unwrap();
    work.write("kustomization.yaml", "resources: [a.yaml]\n")
        .unwrap();
    let manifest = |value: &str| {
        format!(
            "{}\n",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}, "data": {"key": value}})
        )
    };
    work.write("a.yaml", &manifest("one")).unwrap();
    work.push("one", "main").unwrap();
    let (mut daemon, _) = own.daemon(&[], &[]);
    let path = |group: &str, kind: &str| {
        format!("/apis/{group}.toolkit.fluxcd.io/v1/namespaces/default/{kind}/app")
    };
    let (source, unit) = (
        path("source", "gitrepositories"),
        path("kustomize", "kustomizations"),
    );
    let object = |group: &str, kind: &str, spec: Value| json!({"apiVersion": format!("{group}.toolkit.fluxcd.io/v1"), "kind": kind, "metadata": {"name": "app"}, "spec": spec});
    let url = own.git.url("app");
    // The intervals are so long that only the damage asks for anything.
    let repository = object(
        "source",
        "GitRepository",
        json!({"url": url, "interval": "1h", "ref": {"branch": "main"}}),
    );
    let reference = json!({"kind": "GitRepository", "name": "app"});
    let kustomization = object(
        "kustomize",
        "Kustomization",
        json!({"interval": "1h", "retryInterval": "1h", "path": "./", "prune": true, "sourceRef": reference}),
    );
    for (path, object) in [(&source, &repository), (&unit, &kustomization)] {
        let applied = wait_for("the definitions", PATIENCE, || {
            own.cluster.apply(path, object).map(drop)
        });
        applied.unwrap();
    }
    let mut becomes = |what: &str, holds: &dyn Fn(&Value) -> bool| {
        let result = wait_for(what, PATIENCE, || {
            daemon.check()?;
            let unit = own.cluster.get(&unit)?.unwrap_or_default();
            anyhow::ensure!(holds(&unit), "it is {}", unit["status"]);
            Ok(())
        });
        result.unwrap();
    };
    let is_ready = |unit: &Value| condition(unit, "Ready")["status"] == "True";
    becomes("the first apply", &is_ready);
    let mirrors = own.directory.path().join("data/mirrors");
    let mirror = std::fs::read_dir(&mirrors).unwrap().next().unwrap();
    let objects = mirror.unwrap().path().join("objects");
    std::fs::remove_dir_all(&objects).unwrap();
    // A change of the spec asks for another build, which cannot read its source.
    let suffix = json!({"spec": {"commonMetadata": {"labels": {"again": "yes"}}}});
    own.cluster.patch(&unit, &suffix).unwrap();
    becomes("a build of the repaired mirror", &|unit| {
        is_ready(unit) && unit["status"]["observedGeneration"] == unit["metadata"]["generation"]
    });
    let map = own
        .cluster
        .get("/api/v1/namespaces/default/configmaps/a")
        .unwrap();
    assert_eq!(map.unwrap()["metadata"]["labels"]["again"], "yes");
    assert!(objects.exists(), "the mirror was cloned again");
}

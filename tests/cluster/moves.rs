//! Objects that move between Kustomizations, and Kustomizations that come, go and are renamed: nothing is deleted on the way.

use serde_json::{Value, json};

use crate::bed::{Case, Own, PATIENCE, condition, config_map};

const OWNER: &str = "kustomize.toolkit.fluxcd.io/name";

/// A Kustomization of the repository, as a manifest.
fn child(case: &Case, name: &str, path: &str) -> String {
    let namespace = &case.namespace;
    format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{interval: 1h, retryInterval: 1s, path: ./{path}, prune: true, sourceRef: {{kind: GitRepository, name: app}}}}\n"
    )
}

/// The kustomization file of a directory with these files.
fn listing(case: &Case, files: &str) -> String {
    format!("namespace: {}\nresources: [{files}]\n", case.namespace)
}

impl Case {
    fn owned_by(&self, name: &str, owner: &str) -> Value {
        let map = self.wait("configmaps", name, "the owner", |map| {
            map["metadata"]["labels"][OWNER] == owner
        });
        map["metadata"]["uid"].clone()
    }

    /// The hash that approves the deletions which a Kustomization is refused.
    fn refused(&self, unit: &str, message: &str) -> String {
        self.ready("kustomizations", unit, "False", message);
        let unit = self.get("kustomizations", unit).unwrap();
        let message = condition(&unit, "Ready")["message"].to_string();
        let hash = message.split("approve-deletions: ").nth(1).unwrap();
        hash.split('`').next().unwrap().to_owned()
    }

    fn approve(&self, unit: &str, hash: &str) {
        let annotations = json!({"overlayd.dev/approve-deletions": hash});
        let patch = json!({"metadata": {"annotations": annotations}});
        self.patch("kustomizations", unit, patch);
    }
}

#[test]
fn a_renamed_kustomization_takes_its_objects_over() {
    let case = Case::new("move-rename");
    let map = |value: &str| {
        let named = "  name: shop\n  namespace: move-rename\n";
        config_map("shop", value).replace("  name: shop\n", named)
    };
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: move-rename-held}\n";
    case.push(
        &[
            ("root/kustomization.yaml", &listing(&case, "shop.yaml")),
            ("root/shop.yaml", &child(&case, "shop", "apps")),
            ("apps/kustomization.yaml", "resources: [cm.yaml, ns.yaml]\n"),
            ("apps/cm.yaml", &map("v")),
            ("apps/ns.yaml", namespace),
        ],
        "a child",
    );
    case.repository();
    case.unit("root", "root", json!({}));
    let uid = case.owned_by("shop", "shop");
    case.ready("kustomizations", "root", "True", "Applied revision");
    case.ready("kustomizations", "shop", "True", "Applied revision");
    // The new name cannot be built at first, and so has not said what it wants.
    case.push(
        &[
            ("root/shop.yaml", &child(&case, "store", "apps")),
            ("apps/cm.yaml", "broken: ["),
        ],
        "renamed, with a slip",
    );
    case.ready("kustomizations", "store", "False", "apps/cm.yaml");
    case.wait("kustomizations", "root", "the deletion to wait", |root| {
        let message = condition(root, "PrunePending")["message"].to_string();
        message.contains("Kustomization `move-rename/store` has not said whether it wants them")
    });
    assert!(case.get("kustomizations", "shop").is_some());
    case.push(&[("apps/cm.yaml", &map("w"))], "mended");
    assert_eq!(case.owned_by("shop", "store"), uid, "it was never deleted");
    case.wait_gone("kustomizations", "shop");
    case.ready("kustomizations", "store", "True", "Applied revision");
    case.map_is("shop", "key", "w");
    assert_eq!(case.owned_by("shop", "store"), uid);
    let path = "/api/v1/namespaces/move-rename-held";
    let held = case.bed.cluster.get(path).unwrap().unwrap();
    assert!(held["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(held["metadata"]["labels"][OWNER], "store");
    // And again, as fast as commits come.
    let mut last = "store".to_owned();
    for name in ["a", "b", "c", "d", "e", "f"] {
        case.push(&[("root/shop.yaml", &child(&case, name, "apps"))], name);
        assert_eq!(case.owned_by("shop", name), uid, "{name}");
        case.wait_gone("kustomizations", &last);
        name.clone_into(&mut last);
    }
    assert_eq!(case.owned_by("shop", "f"), uid);
}

#[test]
fn a_child_of_the_same_commit_takes_over_and_is_folded_back() {
    let case = Case::new("move-child");
    let (map, shop) = (config_map("shop", "v"), child(&case, "shop", "apps"));
    case.push(
        &[
            ("root/kustomization.yaml", &listing(&case, "cm.yaml")),
            ("root/cm.yaml", &map),
        ],
        "one level",
    );
    case.repository();
    case.unit("root", "root", json!({}));
    let uid = case.owned_by("shop", "root");
    case.ready("kustomizations", "root", "True", "Applied revision");
    case.push(
        &[
            ("root/kustomization.yaml", &listing(&case, "shop.yaml")),
            ("root/shop.yaml", &shop),
            ("apps/kustomization.yaml", &listing(&case, "cm.yaml")),
            ("apps/cm.yaml", &map),
        ],
        "two levels",
    );
    assert_eq!(case.owned_by("shop", "shop"), uid);
    case.ready("kustomizations", "shop", "True", "Applied revision");
    case.wait("kustomizations", "root", "the hand-over", |root| {
        !root["status"]["inventory"]
            .to_string()
            .contains("ConfigMap")
            && condition(root, "Ready")["status"] == "True"
    });
    assert_eq!(case.owned_by("shop", "shop"), uid);
    case.push(
        &[("root/kustomization.yaml", &listing(&case, "cm.yaml"))],
        "one level again",
    );
    assert_eq!(case.owned_by("shop", "root"), uid);
    case.wait_gone("kustomizations", "shop");
    case.ready("kustomizations", "root", "True", "Applied revision");
    assert_eq!(case.owned_by("shop", "root"), uid);
}

#[test]
fn dropping_a_child_asks_as_dropping_its_objects_does() {
    let case = Case::new("move-drop");
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: disk}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n";
    case.push(
        &[
            (
                "root/kustomization.yaml",
                &listing(&case, "one.yaml, shop.yaml"),
            ),
            ("root/one.yaml", &config_map("one", "v")),
            ("root/shop.yaml", &child(&case, "shop", "apps")),
            ("apps/kustomization.yaml", &listing(&case, "disk.yaml")),
            ("apps/disk.yaml", claim),
        ],
        "a child with a volume",
    );
    case.repository();
    case.unit("root", "root", json!({}));
    case.ready("kustomizations", "root", "True", "Applied revision");
    case.ready("kustomizations", "shop", "True", "Applied revision");
    case.push(
        &[("root/kustomization.yaml", &listing(&case, "one.yaml"))],
        "a slip",
    );
    let why = "deleting PersistentVolumeClaim/move-drop/disk would take everything in it along";
    let hash = case.refused("root", why);
    let path = case.path("persistentvolumeclaims", "disk");
    let disk = || case.bed.cluster.get(&path).unwrap();
    assert!(case.get("kustomizations", "shop").is_some() && disk().is_some());
    // A deletion by hand is asked about, too.
    case.delete("kustomizations", "shop");
    let held = case.refused("shop", why);
    assert!(disk().unwrap()["metadata"]["deletionTimestamp"].is_null());
    assert_ne!(hash, held, "the lists differ");
    // The parent's approval is enough for both.
    case.approve("root", &hash);
    case.wait_gone("kustomizations", "shop");
    case.ready("kustomizations", "root", "True", "Applied revision");
    case.bed
        .cluster
        .delete(&case.path("kustomizations", "root"))
        .unwrap();
}

#[test]
fn an_empty_build_is_approved_by_its_hash() {
    let case = Case::applied("move-empty");
    case.push(&[("app/kustomization.yaml", "resources: []\n")], "nothing");
    let hash = case.refused("app", "the build is empty while 1 objects are applied");
    let unit = case.get("kustomizations", "app").unwrap();
    assert_eq!(condition(&unit, "Stalled")["status"], "True");
    let source = case.get("gitrepositories", "app").unwrap();
    let revision = &source["status"]["artifact"]["revision"];
    assert_eq!(&unit["status"]["lastAttemptedRevision"], revision);
    assert!(case.get("configmaps", "a").is_some());
    case.approve("app", &hash);
    case.wait_gone("configmaps", "a");
}

#[test]
fn an_account_without_rights_keeps_nothing_from_being_deleted() {
    let case = Case::new("move-denied");
    case.push(
        &[
            ("app/kustomization.yaml", &listing(&case, "a.yaml, b.yaml")),
            ("app/a.yaml", &config_map("a", "v")),
            ("app/b.yaml", &config_map("b", "v")),
            ("other/kustomization.yaml", &listing(&case, "a.yaml")),
            ("other/a.yaml", &config_map("a", "mine")),
        ],
        "one object in two directories",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    case.ready("kustomizations", "app", "True", "Applied revision");
    case.unit("other", "other", json!({"serviceAccountName": "nobody"}));
    let conflict = "Kustomization `move-denied/app` applies it too";
    case.ready("kustomizations", "other", "False", conflict);
    case.push(
        &[("app/kustomization.yaml", &listing(&case, "b.yaml"))],
        "only in the other one",
    );
    case.wait_gone("configmaps", "a");
    let refused = "User \"system:serviceaccount:move-denied:nobody\" cannot";
    case.ready("kustomizations", "other", "False", refused);
    case.ready("kustomizations", "app", "True", "Applied revision");
}

#[test]
fn what_people_ask_of_a_child_by_hand_is_done_and_stays() {
    let case = Case::new("move-by-hand");
    case.push(
        &[
            (
                "root/kustomization.yaml",
                &listing(&case, "shop.yaml, one.yaml"),
            ),
            ("root/shop.yaml", &child(&case, "shop", "apps")),
            ("root/one.yaml", &config_map("one", "v")),
            ("apps/kustomization.yaml", &listing(&case, "cm.yaml")),
            ("apps/cm.yaml", &config_map("shop", "v")),
        ],
        "a child",
    );
    case.repository();
    case.unit("root", "root", json!({}));
    case.ready("kustomizations", "root", "True", "Applied revision");
    case.ready("kustomizations", "shop", "True", "Applied revision");
    let by = |manager: &str, patch: Value| {
        let path = case.path("kustomizations", "shop");
        let path = format!("{path}?fieldManager={manager}");
        case.bed.cluster.patch(&path, &patch).unwrap();
    };
    for number in ["1", "2", "3"] {
        let annotations = json!({"reconcile.fluxcd.io/requestedAt": number});
        by(
            "kubectl-annotate",
            json!({"metadata": {"annotations": annotations}}),
        );
        case.wait("kustomizations", "shop", "the request", |unit| {
            unit["status"]["lastHandledReconcileAt"] == number
        });
    }
    by("kubectl-patch", json!({"spec": {"suspend": true}}));
    // The root has looked at it when it has corrected what is drift.
    by(
        "kubectl-edit",
        json!({"metadata": {"labels": {"hand": "made"}}}),
    );
    let unit = case.wait("kustomizations", "shop", "the correction", |unit| {
        unit["metadata"]["labels"]["hand"].is_null()
    });
    assert_eq!(unit["spec"]["suspend"], true);
}

#[test]
fn what_is_renamed_while_the_daemon_rests_is_not_deleted() {
    let own = Own::start();
    let cluster = &own.cluster;
    let work = own.git.create("rest").unwrap();
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop, namespace: default}\n";
    work.write("apps/cm.yaml", map).unwrap();
    work.push("a map", "main").unwrap();
    let (daemon, _) = own.daemon(&[], &[]);
    let kustomizations = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/default/kustomizations";
    let apply = |kind: &str, path: &str, name: &str, spec: Value| {
        let (group, _) = path
            .trim_start_matches("/apis/")
            .split_once("/namespaces")
            .unwrap();
        let object =
            json!({"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec});
        testbed::wait_for("the definition", PATIENCE, || {
            cluster.apply(&format!("{path}/{name}"), &object)
        })
        .unwrap();
    };
    let sources = "/apis/source.toolkit.fluxcd.io/v1/namespaces/default/gitrepositories";
    let url = own.git.url("rest");
    apply(
        "GitRepository",
        sources,
        "repo",
        json!({"url": url, "interval": "1s", "ref": {"branch": "main"}}),
    );
    let unit = |name: &str| {
        let spec = json!({"interval": "1h", "path": "apps", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "repo"}});
        apply("Kustomization", kustomizations, name, spec);
    };
    unit("old");
    let owned_by = |owner: &str| {
        let map = testbed::wait_for("the owner", PATIENCE, || {
            let map = cluster
                .get("/api/v1/namespaces/default/configmaps/shop")?
                .unwrap_or_default();
            anyhow::ensure!(map["metadata"]["labels"][OWNER] == owner, "{map}");
            Ok(map)
        });
        map.unwrap()["metadata"]["uid"].clone()
    };
    let uid = owned_by("old");
    daemon.terminate(PATIENCE).unwrap();
    unit("new");
    cluster.delete(&format!("{kustomizations}/old")).unwrap();
    let (daemon, _) = own.daemon(&[], &[]);
    assert_eq!(owned_by("new"), uid);
    testbed::wait_for("the old one to go", PATIENCE, || {
        let old = cluster.get(&format!("{kustomizations}/old"))?;
        anyhow::ensure!(old.is_none(), "still there");
        Ok(())
    })
    .unwrap();
    assert_eq!(owned_by("new"), uid);
    daemon.terminate(PATIENCE).unwrap();
}

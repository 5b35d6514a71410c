//! What Flux left is taken over as it is: no object is deleted or made again, whatever its id looks like.

use serde_json::{Value, json};

use crate::bed::Case;

/// The definition of a cluster-scoped kind of a group of this test's own, as `NodePool` of Karpenter is one.
fn definition(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("nodepools.{group}")},
        "spec": {
            "group": group, "scope": "Cluster",
            "names": {"kind": "NodePool", "plural": "nodepools", "singular": "nodepool", "listKind": "NodePoolList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }},
            }],
        },
    })
}

fn pool_path(group: &str, name: &str) -> String {
    format!("/apis/{group}/v1/nodepools/{name}")
}

fn pool(group: &str, name: &str) -> Value {
    json!({"apiVersion": format!("{group}/v1"), "kind": "NodePool", "metadata": {"name": name}, "spec": {"limits": {"cpu": "10"}}})
}

impl Case {
    /// A `NodePool` as Flux leaves it, with the labels of its Kustomization. Gives its uid.
    fn pool_of_flux(&self, group: &str, name: &str) -> Value {
        let mut object = pool(group, name);
        object["metadata"]["labels"] = json!({
            "kustomize.toolkit.fluxcd.io/name": name, "kustomize.toolkit.fluxcd.io/namespace": self.namespace,
        });
        let (cluster, path) = (&self.bed.cluster, pool_path(group, name));
        let live = testbed::wait_for("the kind to be served", crate::bed::PATIENCE, || {
            cluster.apply_as("kustomize-controller", &path, &object)
        });
        live.unwrap()["metadata"]["uid"].clone()
    }

    fn inventory(&self, unit: &str) -> Vec<String> {
        let unit = self.get("kustomizations", unit).unwrap();
        let entries = unit["status"]["inventory"]["entries"].as_array();
        let ids = entries.into_iter().flatten();
        ids.map(|entry| entry["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A Kustomization with the inventory that Flux wrote, which starts with it.
    fn unit_of_flux(&self, name: &str, more: Value, inventory: &[String]) {
        let mut suspended = more.clone();
        suspended["suspend"] = json!(true);
        self.unit(name, &format!("./{name}"), suspended);
        let entries: Vec<Value> = inventory
            .iter()
            .map(|id| json!({"id": id, "v": "v1"}))
            .collect();
        let status = json!({"status": {"inventory": {"entries": entries}}});
        let path = format!("{}/status", self.path("kustomizations", name));
        self.bed.cluster.patch(&path, &status).unwrap();
        self.patch("kustomizations", name, json!({"spec": {"suspend": false}}));
    }
}

/// The three ways in which a build puts a namespace on an object of the cluster, as Flux leaves them, and a fourth where
/// the definition is in the same build.
#[test]
fn a_cluster_scoped_custom_resource_keeps_its_uid_and_has_the_id_of_flux() {
    let case = Case::new("takeover-scope");
    let (group, cluster) = ("scope.example.com", &case.bed.cluster);
    cluster
        .create(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            &definition(group),
        )
        .unwrap();
    let text = |name: &str, metadata: &str| {
        format!(
            "apiVersion: {group}/v1\nkind: NodePool\nmetadata: {{name: {name}{metadata}}}\nspec: {{limits: {{cpu: '10'}}}}\n"
        )
    };
    let own = "own.example.com";
    let (definition_text, map) = (
        definition(own).to_string(),
        crate::bed::config_map("m", "v").replace("name: m", "name: m\n  namespace: takeover-scope"),
    );
    let with_namespace = "namespace: takeover-scope\nresources: [o.yaml]\n";
    let own_pool = text("d", "").replace(group, own);
    case.push(
        &[
            ("a/o.yaml", &text("a", "")),
            ("a/m.yaml", &map),
            ("b/o.yaml", &text("b", "")),
            ("b/kustomization.yaml", with_namespace),
            ("c/o.yaml", &text("c", ", namespace: takeover-scope")),
            ("d/crd.yaml", &definition_text),
            ("d/o.yaml", &own_pool),
        ],
        "pools",
    );
    let uids: Vec<Value> = ["a", "b", "c"]
        .map(|name| case.pool_of_flux(group, name))
        .into();
    let target = json!({"targetNamespace": "takeover-scope"});
    let id = |name: &str| format!("_{name}_{group}_NodePool");
    case.unit_of_flux("a", target.clone(), &[id("a")]);
    case.unit_of_flux("b", json!({}), &[id("b")]);
    // An older overlayd has noted the object under an id with a namespace.
    let old = format!("takeover-scope_c_{group}_NodePool");
    case.unit_of_flux("c", json!({}), &[old, id("c")]);
    case.unit_of_flux("d", target, &[]);
    case.repository();
    for name in ["a", "b", "c", "d"] {
        case.ready("kustomizations", name, "True", "Applied revision");
    }
    for (name, uid) in ["a", "b", "c"].iter().zip(&uids) {
        let live = cluster.get(&pool_path(group, name)).unwrap().unwrap();
        assert_eq!(live["metadata"]["uid"], *uid, "{name} was made again");
        assert!(case.inventory(name).contains(&id(name)));
    }
    assert_eq!(case.inventory("c"), [id("c")]);
    assert!(cluster.get(&pool_path(own, "d")).unwrap().is_some());
    let entry = format!("_d_{own}_NodePool");
    assert!(case.inventory("d").contains(&entry));

    // What really leaves the build is pruned.
    case.work.git(&["rm", "a/o.yaml"]).unwrap();
    case.work.push("without the pool", "main").unwrap();
    let gone = testbed::wait_for("the pool to go", crate::bed::PATIENCE, || {
        anyhow::ensure!(cluster.get(&pool_path(group, "a")).unwrap().is_none());
        Ok(())
    });
    gone.unwrap();
}

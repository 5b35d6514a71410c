//! The files of an output directory are named as `kustomize build -o DIRECTORY` names them.

use kustomize::{BuildOptions, FileTree, RepoPath, build};

fn names(objects: &str) -> Vec<String> {
    let tree = FileTree::of([
        ("kustomization.yaml", "resources: [a.yaml]\n"),
        ("a.yaml", objects),
    ]);
    build(&tree, &RepoPath::root(), &BuildOptions::default())
        .expect("the objects build")
        .file_names()
}

#[test]
fn a_single_namespace_is_no_part_of_the_names() {
    let objects = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: n1}
---
apiVersion: v1
kind: Namespace
metadata: {name: n1}
";
    assert_eq!(
        names(objects),
        ["v1_namespace_n1.yaml", "v1_configmap_a.yaml"]
    );
}

#[test]
fn several_namespaces_are_part_of_the_names() {
    let objects = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: Web, namespace: n1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: 'system:reader'}
";
    assert_eq!(
        names(objects),
        [
            "rbac.authorization.k8s.io_v1_clusterrole_system:reader.yaml",
            "default_v1_configmap_a.yaml",
            "n1_apps_v1_deployment_web.yaml",
        ]
    );
}

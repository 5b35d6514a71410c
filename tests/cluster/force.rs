//! `force`: what is deleted to be made anew, and what is not.

use serde_json::json;

use crate::bed::Case;

#[test]
fn a_binding_whose_role_changes_is_made_anew_by_force() {
    let case = Case::new("unit-binding");
    let binding = |role: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: b}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\nsubjects: [{{kind: ServiceAccount, name: default, namespace: unit-binding}}]\n"
        )
    };
    case.push(
        &[
            (
                "app/kustomization.yaml",
                "namespace: unit-binding\nresources: [b.yaml, disk.yaml]\n",
            ),
            ("app/b.yaml", &binding("view")),
            ("app/disk.yaml", &disk("1Gi", "ReadWriteOnce")),
        ],
        "a binding",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    case.ready("kustomizations", "app", "True", "Applied revision");
    case.push(&[("app/b.yaml", &binding("edit"))], "another role");
    let hint = "`force: true` deletes the object and makes it anew";
    case.ready("kustomizations", "app", "False", hint);
    case.unit("app", "app", json!({"force": true}));
    case.ready("kustomizations", "app", "True", "Applied revision");
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/unit-binding/rolebindings/b";
    let live = case.bed.cluster.get(path).unwrap().unwrap();
    assert_eq!(live["roleRef"]["name"], "edit");
    // A volume is not deleted for a field, since its data would go.
    let path = case.path("persistentvolumeclaims", "disk");
    let uid = || case.bed.cluster.get(&path).unwrap().unwrap()["metadata"]["uid"].clone();
    let before = uid();
    case.push(
        &[("app/disk.yaml", &disk("1Gi", "ReadWriteMany"))],
        "another mode",
    );
    case.ready(
        "kustomizations",
        "app",
        "False",
        "`force: true` does not delete it without an approval",
    );
    assert_eq!(uid(), before);
}

fn disk(size: &str, mode: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: disk}}\nspec: {{accessModes: [{mode}], resources: {{requests: {{storage: {size}}}}}}}\n"
    )
}

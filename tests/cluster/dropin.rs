//! What External Secrets left is taken over as it is: not a Secret is written before a value changes.

use serde_json::{Value, json};

use crate::bed::Case;

/// Hashes of External Secrets, from running it: of no labels and annotations, and of `default/…` names.
const NO_METADATA: &str = "f47fe3c0b255b6dd8047cdffa772587bb829efe7a1cb70febeda2eb2";

/// The ExternalSecret and the Secret of a name, exactly as External Secrets leaves them after a sync.
fn seed(case: &Case, name: &str, store: &str, value: &str, hash: &str, created_by: &str) {
    let cluster = &case.bed.cluster;
    let finalizer = "externalsecrets.external-secrets.io/externalsecret-cleanup";
    let object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": name, "finalizers": [finalizer]},
        "spec": {
            "refreshInterval": "1h0m0s",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": store},
            "target": {"creationPolicy": "Owner", "deletionPolicy": "Retain"},
            "data": [{"secretKey": "foo", "remoteRef": {"key": format!("dropin/{name}")}}],
        },
    });
    let created = cluster
        .create(&case.path("externalsecrets", ""), &object)
        .unwrap();
    let now = created["metadata"]["creationTimestamp"].clone();
    let status = json!({"status": {
        "binding": {"name": name},
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "SecretSynced", "message": "secret synced",
            "lastTransitionTime": now,
        }],
        "refreshTime": now,
        "syncedResourceVersion": format!("1-{NO_METADATA}"),
    }});
    let path = format!("{}/status", case.path("externalsecrets", name));
    cluster.patch(&path, &status).unwrap();
    let manager = format!("externalsecrets.external-secrets.io/{name}");
    let path = format!("{}?fieldManager={manager}", case.path("secrets", ""));
    cluster
        .create(&path, &secret(&created, name, value, hash, created_by))
        .unwrap();
}

fn secret(owner: &Value, name: &str, value: &str, hash: &str, created_by: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": name,
            "labels": {
                "reconcile.external-secrets.io/managed": "true",
                "reconcile.external-secrets.io/created-by": created_by,
                "stale": "from-an-older-template",
            },
            "annotations": {"reconcile.external-secrets.io/data-hash": hash},
            "ownerReferences": [{
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": name,
                "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "stringData": {"foo": value},
    })
}

fn store(case: &Case, class: &str) {
    let object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": "dropin"},
        "spec": {
            "controller": class,
            "provider": {"aws": {"service": "SecretsManager", "region": "us-east-1"}},
        },
    });
    let path = "/apis/external-secrets.io/v1/clustersecretstores/dropin";
    case.bed.cluster.apply(path, &object).unwrap();
}

#[test]
fn the_first_pass_over_what_external_secrets_left_writes_nothing() {
    let case = Case::new("dropin");
    // The hash of `{"foo": "bar"}`, as External Secrets writes it.
    let hash = "f2a604b87eb0cf673761e8cfea850f901fe73a3d1b2f338802107f36";
    // Of a class that is not ours, until all is in place.
    store(&case, "eso");
    let names: Vec<String> = (0..12).map(|number| format!("es-{number}")).collect();
    for name in &names {
        case.bed.aws.put(&format!("dropin/{name}"), "bar");
        let created_by = created_by(&format!("dropin/{name}"));
        seed(&case, name, "dropin", "bar", hash, &created_by);
    }
    let versions = || -> Vec<(String, String)> {
        let versions = names.iter().map(|name| {
            let object = case.version("externalsecrets", name);
            (case.version("secrets", name), object)
        });
        versions.collect()
    };
    let before = versions();
    store(&case, "default");
    // A new one is synced by a read of its own.
    let data = json!([{"secretKey": "foo", "remoteRef": {"key": "dropin/es-0"}}]);
    case.apply(
        "externalsecrets",
        "new",
        json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": "dropin"}, "data": data}),
    );
    case.secret_is("new", "foo", "bar");
    // The daemon has taken over an ExternalSecret when it counts it as ready.
    let result = testbed::wait_for("all to be taken over", crate::bed::PATIENCE, || {
        for name in &names {
            let name = format!("name=\"{name}\",namespace=\"dropin\"");
            let ready = ["externalsecret_status_condition{", &name, "status=\"True\""];
            anyhow::ensure!(case.metric(&ready) == (1.0, 1), "{name}");
        }
        Ok(())
    });
    result.unwrap();
    assert_eq!(
        versions(),
        before,
        "nothing was due, and nothing was written"
    );

    // A changed value is written, and what External Secrets wrote besides is ours to take back.
    case.bed.aws.put("dropin/es-0", "changed");
    case.patch(
        "externalsecrets",
        "es-0",
        json!({"metadata": {"annotations": {"force-sync": "1"}}}),
    );
    case.secret_is("es-0", "foo", "changed");
    let secret = case.get("secrets", "es-0").unwrap();
    assert!(secret["metadata"]["labels"]["stale"].is_null(), "{secret}");
    // Its finalizer holds nothing up.
    case.delete("externalsecrets", "es-1");
    case.wait_gone("externalsecrets", "es-1");
    case.wait_gone("secrets", "es-1");
}

fn created_by(name: &str) -> String {
    let python = std::process::Command::new("python3")
        .args([
            "-c",
            "import hashlib,sys;print(hashlib.sha3_224(sys.argv[1].encode()).hexdigest(),end='')",
            name,
        ])
        .output();
    String::from_utf8(python.unwrap().stdout).unwrap()
}

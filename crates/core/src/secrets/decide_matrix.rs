//! Pure: every policy with every state of the Secret, against `decide_matrix.txt`.

use std::fmt::Write as _;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::api::annotations::CREATED_BY;
use crate::secrets::decide::{SecretWrite, decide, decide_empty};
use crate::secrets::desired::resolve;
use crate::secrets::hash::{created_by, field_manager};
use crate::secrets::owner::SecretOwner;
use crate::secrets::render::RenderedSecret;
use crate::secrets::{SecretData, SecretValue};

/// The states of a Secret, by name.
fn states() -> Vec<(&'static str, Option<Secret>)> {
    let owner = |kind: &str, uid: &str| json!([{"apiVersion": "external-secrets.io/v1", "kind": kind, "name": if uid == "us" { "db" } else { "n" }, "uid": uid, "controller": true}]);
    let secret = |owners: Value, more: Value| {
        let mut secret = json!({
            "metadata": {
                "name": "db", "uid": "secret", "resourceVersion": "7", "ownerReferences": owners,
                "labels": {CREATED_BY: created_by("default", "db")},
                "managedFields": [{"manager": field_manager("db"), "fieldsV1": {"f:data": {"f:old": {}}}}],
            },
            "data": {"k": "dGhlaXJz", "old": "b3Vycw==", "other": "dGhlaXJz"},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            secret[key] = value.clone();
        }
        serde_json::from_value(secret).ok()
    };
    vec![
        ("missing", None),
        ("ours", secret(owner("ExternalSecret", "us"), json!({}))),
        ("nobody's", secret(json!([]), json!({}))),
        (
            "another ExternalSecret's",
            secret(owner("ExternalSecret", "them"), json!({})),
        ),
        (
            "a Certificate's",
            secret(owner("Certificate", "them"), json!({})),
        ),
        (
            "ours and immutable",
            secret(owner("ExternalSecret", "us"), json!({"immutable": true})),
        ),
    ]
}

fn shown(secret: &Secret) -> String {
    let data = secret.data.iter().flatten();
    let data = data
        .map(|(key, ByteString(value))| format!("{key}={}", String::from_utf8_lossy(value)))
        .collect::<Vec<_>>()
        .join(" ");
    let owners = secret.metadata.owner_references.iter().flatten();
    let owners = owners.map(|owner| owner.uid.as_str()).collect::<Vec<_>>();
    let labels = secret.metadata.labels.iter().flatten();
    let created = labels.filter(|(key, _)| *key == CREATED_BY).count();
    format!("{data} owners {owners:?} created-by {created}")
}

#[test]
fn every_policy_with_every_state() {
    let mut table = String::new();
    for creation in ["Owner", "Orphan", "CreateOrMerge", "Merge", "None"] {
        for deletion in ["Retain", "Delete", "Merge"] {
            let spec = json!({
                "secretStoreRef": {"name": "s"},
                "data": [{"secretKey": "k", "remoteRef": {"key": "a"}}],
                "target": {"creationPolicy": creation, "deletionPolicy": deletion},
            });
            let desired = match resolve("db", &serde_json::from_value(spec).unwrap()) {
                Ok(desired) => desired,
                Err(error) => {
                    writeln!(table, "{creation} {deletion}: {error}").unwrap();
                    continue;
                }
            };
            let owner = SecretOwner {
                name: "db".into(),
                namespace: "default".into(),
                uid: "us".into(),
                ..SecretOwner::default()
            };
            for (state, live) in states() {
                for (values, data) in [("values", vec![("k", "v")]), ("no values", vec![])] {
                    let data: SecretData = data
                        .iter()
                        .map(|(key, value)| {
                            let value = SecretValue::from(value.as_bytes().to_vec());
                            ((*key).to_owned(), value)
                        })
                        .collect();
                    let rendered = RenderedSecret {
                        data,
                        ..RenderedSecret::default()
                    };
                    let decision = if rendered.data.is_empty() && deletion != "Merge" {
                        decide_empty(&desired, &owner, live.as_ref())
                    } else {
                        decide(&desired, &owner, &rendered, live.as_ref())
                    };
                    let text = match decision {
                        Ok(SecretWrite::Create(secret)) => format!("create {}", shown(&secret)),
                        Ok(SecretWrite::Update(secret)) => format!("update {}", shown(&secret)),
                        Ok(SecretWrite::Delete(Some(which))) => {
                            format!("delete version {}", which.resource_version)
                        }
                        Ok(other) => format!("{other:?}").to_lowercase(),
                        Err(error) => format!("error: {}: {error}", error.summary()),
                    };
                    writeln!(table, "{creation} {deletion}, {state}, {values}: {text}").unwrap();
                }
            }
        }
    }
    let expected = include_str!("decide_matrix.txt");
    assert_eq!(table, expected, "the table is now:\n{table}");
}

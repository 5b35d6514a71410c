//! A cluster as Flux and External Secrets leave it, recorded by hand from their documentation: definitions, objects, managed
//! fields, statuses, finalizers and stored versions.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde_json::{Value, json};
use testbed::{Cluster, wait_for};

use crate::bed::{Own, PATIENCE};

pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(crate) const FLUX: &str = "kustomize-controller";
pub(crate) const SYSTEM: &str = "flux-system";

/// A definition as a peer installs it: an old version that was stored once, and a field that overlayd does not know.
pub(crate) struct PeerDefinition {
    group: &'static str,
    pub(crate) kind: &'static str,
    plural: &'static str,
    scope: &'static str,
    pub(crate) old: &'static str,
}

pub(crate) const PEERS: [PeerDefinition; 4] = [
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
    pub(crate) fn path(&self) -> String {
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

    pub(crate) fn install(&self, cluster: &Cluster) {
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

pub(crate) fn path(group: &str, plural: &str, namespace: &str, name: &str) -> String {
    format!("/apis/{group}/v1/namespaces/{namespace}/{plural}/{name}")
}

pub(crate) fn kustomization(name: &str) -> String {
    path(
        "kustomize.toolkit.fluxcd.io",
        "kustomizations",
        SYSTEM,
        name,
    )
}

pub(crate) fn namespace(cluster: &Cluster, name: &str) {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    cluster.create("/api/v1/namespaces", &object).unwrap();
    let path = format!("/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt");
    let settled = wait_for("the namespace to settle", PATIENCE, || {
        ensure!(cluster.get(&path)?.is_some(), "not yet");
        Ok(())
    });
    settled.unwrap();
}

pub(crate) fn config_map(name: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "apps"}, "data": data,
    })
}

/// An object with the labels by which Flux marks what it has applied.
pub(crate) fn labelled(mut object: Value) -> Value {
    object["metadata"]["labels"] = json!({
        "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": SYSTEM,
    });
    object
}

pub(crate) fn map_path(name: &str) -> String {
    format!("/api/v1/namespaces/apps/configmaps/{name}")
}

/// Flux's GitRepository and Kustomization for a repository, with the finalizers and statuses that Flux leaves, and the
/// objects of the repository applied by Flux.
pub(crate) fn leave_as_flux(
    own: &Own,
    commit: &str,
    objects: &[(String, Value)],
    inventory: &[&str],
) {
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
pub(crate) fn writes(cluster: &Cluster) -> BTreeMap<String, f64> {
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
            *writes.entry(name).or_default() += count.parse::<f64>().unwrap_or_default();
        }
    }
    writes
}

/// An ExternalSecret and its Secret as External Secrets leaves them.
pub(crate) fn leave_as_external_secrets(cluster: &Cluster) {
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

/// Waits until a daemon has the Kustomization `apps` and the ExternalSecret `db` of the peers ready.
pub(crate) fn what_the_peers_left_is_ready(port: u16) {
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
}

//! The part of a kubelet that a cluster without nodes lacks: it reports that pods are ready.
//!
//! A test that must decide *when* pods become ready uses this; KWOK does it at once.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Says once of every pod of a namespace that it runs and is ready, as its kubelet would. Gives their number.
pub fn mark_pods_ready(cluster: &Cluster, namespace: &str) -> Result<usize> {
    let pods = cluster
        .get(&format!("/api/v1/namespaces/{namespace}/pods"))?
        .unwrap_or_default();
    let names = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pod| pod["metadata"]["name"].as_str());
    let names: Vec<&str> = names.collect();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let conditions: [Value; 2] = [condition("Ready"), condition("ContainersReady")];
    let status = json!({"status": {"phase": "Running", "conditions": conditions}});
    for name in &names {
        cluster.patch(
            &format!("/api/v1/namespaces/{namespace}/pods/{name}/status"),
            &status,
        )?;
    }
    Ok(names.len())
}

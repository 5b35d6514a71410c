//! Talks to the API server: what overlayd installs when it starts: its custom resource definitions, and the GitRepository
//! and Kustomization that `--repo` and `--path` describe.

use kube::Client;
use serde_json::{Value, json};

use crate::cli::config::{Config, Pair};
use crate::cli::report::Failure;
use crate::cluster::apply::{Applier, ApplyOptions, BOOTSTRAP_MANAGER};
use overlayd_core::api::{GIT_REPOSITORY_API, KUSTOMIZATION_API, crds};
use overlayd_core::apply::desired::Desired;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::plan::Wave;

/// Applies the definitions (`--install-crds`), and the pair of `--repo` and `--path` with its namespace where that is
/// missing.
///
/// # Errors
/// The API server refuses an object, or a definition does not become usable.
pub(super) async fn install(client: &Client, config: &Config) -> Result<(), Failure> {
    let applier = Applier::new(client.clone(), BOOTSTRAP_MANAGER);
    let mut stages = Vec::new();
    if config.install_crds {
        stages.push(crds::all().iter().map(|crd| desired(json!(crd))).collect());
    }
    if let Some(pair) = &config.pair {
        let namespace = &config.own_namespace;
        let live = applier
            .get(&ObjectRef::new("v1", "Namespace", "", namespace))
            .await;
        if matches!(live, Ok(None)) {
            stages.push(vec![desired(
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            )]);
        }
        stages.push(pair_objects(pair, namespace).map(desired).to_vec());
    }
    let (changes, applied) = applier.apply(&Wave(stages), &ApplyOptions::default()).await;
    applied.map_err(|error| {
        Failure::new("cannot install what overlayd needs").because(error.to_string(), None)
    })?;
    for (object, change) in changes.0 {
        tracing::info!(%object, %change, "installed");
    }
    Ok(())
}

fn desired(manifest: Value) -> Desired {
    let text = |path: &str| {
        manifest
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let reference = ObjectRef::new(
        text("/apiVersion"),
        text("/kind"),
        text("/metadata/namespace"),
        text("/metadata/name"),
    );
    Desired {
        reference,
        manifest,
        source: None,
        hash: [0; 32],
    }
}

fn pair_objects(pair: &Pair, namespace: &str) -> [Value; 2] {
    let metadata = json!({"name": "overlayd", "namespace": namespace});
    [
        json!({
            "apiVersion": GIT_REPOSITORY_API,
            "kind": "GitRepository",
            "metadata": metadata,
            "spec": {"url": pair.url, "interval": pair.interval, "ref": {"branch": pair.branch}},
        }),
        json!({
            "apiVersion": KUSTOMIZATION_API,
            "kind": "Kustomization",
            "metadata": metadata,
            "spec": {
                "interval": pair.interval,
                "path": pair.path,
                "prune": true,
                "sourceRef": {"kind": "GitRepository", "name": "overlayd"},
            },
        }),
    ]
}

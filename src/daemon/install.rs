//! Talks to the API server: what overlayd installs when it starts: its custom resource definitions, and the GitRepository
//! and Kustomization that `--repo` and `--path` describe.

use kube::Client;
use serde_json::{Value, json};

use crate::cli::config::{Config, Pair};
use crate::cli::report::Failure;
use crate::cluster::apply::{Applier, ApplyOptions, BOOTSTRAP_MANAGER, FormerManagers};
use overlayd_core::api::{GIT_REPOSITORY_API, KUSTOMIZATION_API, crds};
use overlayd_core::apply::change_set::ChangeSet;
use overlayd_core::apply::definition;
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
    let options = ApplyOptions {
        former_managers: FormerManagers::Keep,
        ..ApplyOptions::default()
    };
    if config.install_crds {
        let definitions = definitions(&applier).await?;
        complete(&applier, definitions.incomplete, &options).await;
        stages.push(definitions.missing);
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
    let (changes, applied) = applier.apply(&Wave(stages), &options).await;
    applied.map_err(|error| cannot_install(error.to_string()))?;
    log(&changes);
    Ok(())
}

fn log(changes: &ChangeSet) {
    for (object, change) in &changes.0 {
        tracing::info!(%object, %change, "installed");
    }
}

/// The definitions that are not as overlayd wants them.
#[derive(Default)]
struct Definitions {
    /// They are not there, or do not serve a version that overlayd needs.
    missing: Vec<Desired>,
    /// They lack fields, without which overlayd can work.
    incomplete: Vec<Desired>,
}

/// Adds fields to definitions that another tool has installed. A refusal is no reason not to start.
async fn complete(applier: &Applier, definitions: Vec<Desired>, options: &ApplyOptions) {
    for definition in definitions {
        let (name, wave) = (
            definition.reference.name.clone(),
            Wave(vec![vec![definition]]),
        );
        let (changes, applied) = applier.apply(&wave, options).await;
        log(&changes);
        if let Err(error) = applied {
            tracing::warn!(definition = name, %error, "it stays as it is, without the fields that only overlayd has");
        }
    }
}

fn cannot_install(reason: String) -> Failure {
    Failure::new("cannot install what overlayd needs").because(reason, None)
}

/// The definitions that are missing, or that lack something. What the cluster has of them stays.
async fn definitions(applier: &Applier) -> Result<Definitions, Failure> {
    let read = crds::all().into_iter().map(|crd| {
        let ours = desired(json!(crd));
        async move { (applier.get(&ours.reference).await, ours) }
    });
    let mut found = Definitions::default();
    for (live, mut ours) in futures::future::join_all(read).await {
        match live.map_err(|error| cannot_install(error.to_string()))? {
            None => found.missing.push(ours),
            Some(live) => {
                if let Some(release) = definition::deleted_with_release(&live) {
                    tracing::warn!(
                        definition = ours.reference.name,
                        release,
                        "the Helm release owns this definition, and its end would delete every object of the kind; keep it: kubectl annotate crd {} {}=keep",
                        ours.reference.name,
                        definition::HELM_POLICY
                    );
                }
                if let Some(completed) = definition::to_apply(&ours.manifest, &live) {
                    let is_usable = definition::serves(&live, &ours.manifest);
                    ours.manifest = completed;
                    if is_usable {
                        found.incomplete.push(ours);
                    } else {
                        found.missing.push(ours);
                    }
                }
            }
        }
    }
    Ok(found)
}

fn desired(manifest: Value) -> Desired {
    Desired {
        reference: ObjectRef::of_manifest(&manifest),
        manifest,
        source: None,
        hash: [0; 32],
    }
}

/// The GitRepository and the Kustomization of `--repo` and `--path`.
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

//! Talks to the API server: takes the steps from a peer to overlayd, and back.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use overlayd_core::apply::definition::HELM_POLICY;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::migrate::steps::{MigrationStep, REPLICAS_BEFORE};
use serde_json::{Value, json};
use tokio::time::Instant;

/// How long a controller may take to end.
const STOP: Duration = Duration::from_secs(120);

/// Why a step could not be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrationError {
    /// The API server refuses a step, or does not answer.
    #[error("{}", crate::cluster::error::describe(.0))]
    Api(#[from] kube::Error),
    /// A controller of a peer still works, so two controllers would write the same objects.
    #[error("it still has replicas after {} s; does another controller scale it?", STOP.as_secs())]
    StillRunning,
}

/// Takes one step. A step that was taken before changes nothing.
pub(crate) async fn take(client: &Client, step: &MigrationStep) -> Result<(), MigrationError> {
    match step {
        MigrationStep::KeepDefinition { name, .. } => {
            let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
            let patch = json!({"metadata": {"annotations": {HELM_POLICY: "keep"}}});
            let params = PatchParams::default();
            definitions
                .patch_metadata(name, &params, &Patch::Merge(&patch))
                .await?;
            Ok(())
        }
        MigrationStep::Stop {
            deployment,
            replicas,
        } => scale(client, deployment, 0, json!(replicas.to_string())).await,
        MigrationStep::Start {
            deployment,
            replicas,
        } => scale(client, deployment, *replicas, Value::Null).await,
        MigrationStep::AwaitStop(deployment) => await_stop(client, deployment).await,
        MigrationStep::LeaveRunning(..) => Ok(()),
    }
}

/// The Deployments of the namespace of one.
fn deployments(client: &Client, deployment: &ObjectRef) -> Api<Deployment> {
    Api::namespaced(client.clone(), &deployment.namespace)
}

/// Scales a Deployment and notes the replicas that it had, in one write, so that a stop in between loses nothing.
async fn scale(
    client: &Client,
    deployment: &ObjectRef,
    replicas: i64,
    before: Value,
) -> Result<(), MigrationError> {
    let patch = json!({
        "metadata": {"annotations": {REPLICAS_BEFORE: before}},
        "spec": {"replicas": replicas},
    });
    let params = PatchParams::default();
    let api = deployments(client, deployment);
    api.patch(&deployment.name, &params, &Patch::Merge(&patch))
        .await?;
    Ok(())
}

/// Waits until a Deployment has no replica, by a status that has seen the change of its spec.
async fn await_stop(client: &Client, deployment: &ObjectRef) -> Result<(), MigrationError> {
    let (api, deadline) = (deployments(client, deployment), Instant::now() + STOP);
    loop {
        let Some(live) = api.get_opt(&deployment.name).await? else {
            return Ok(());
        };
        let status = live.status.unwrap_or_default();
        let is_seen = status.observed_generation >= live.metadata.generation;
        if is_seen && status.replicas.unwrap_or_default() == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(MigrationError::StillRunning);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

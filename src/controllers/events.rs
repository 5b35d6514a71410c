//! Talks to the API server: core events, under the names of the peers' controllers.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

/// The names under which each dialect's events are reported.
#[derive(Clone)]
pub(crate) struct Events {
    source: Recorder,
    kustomize: Recorder,
    external_secrets: Recorder,
    secret_store: Recorder,
    cluster_secret_store: Recorder,
}

/// Whose event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    Source,
    Kustomize,
    ExternalSecrets,
    SecretStore,
    ClusterSecretStore,
}

/// An event says at most so much.
const MAX_NOTE: usize = 1000;

impl Events {
    pub(crate) fn new(client: &Client, instance: &str) -> Self {
        let recorder = |controller: &str| {
            let reporter = Reporter {
                controller: controller.to_owned(),
                instance: Some(instance.to_owned()),
            };
            Recorder::new(client.clone(), reporter)
        };
        Self {
            source: recorder("source-controller"),
            kustomize: recorder("kustomize-controller"),
            external_secrets: recorder("external-secrets"),
            secret_store: recorder("secret-store"),
            cluster_secret_store: recorder("cluster-secret-store"),
        }
    }

    /// Writes an event. That it could not be written is logged, and stops nothing.
    pub(crate) async fn publish<K>(
        &self,
        component: Component,
        object: &K,
        type_: EventType,
        reason: &str,
        note: &str,
    ) where
        K: Resource<DynamicType = ()>,
    {
        let recorder = match component {
            Component::Source => &self.source,
            Component::Kustomize => &self.kustomize,
            Component::ExternalSecrets => &self.external_secrets,
            Component::SecretStore => &self.secret_store,
            Component::ClusterSecretStore => &self.cluster_secret_store,
        };
        let reference: ObjectReference = object.object_ref(&());
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(MAX_NOTE).collect()),
            action: reason.to_owned(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &reference).await {
            tracing::warn!(reason, error = %crate::apply::execute::describe(&error), "event was not written");
        }
    }
}

//! Talks to the API server: core events, under the names of the peers' controllers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use crate::controllers::event_webhook::{Post, Poster};
use overlayd_core::api::annotations::FLUX_EVENT_PREFIX;

/// Writes events, each under the name of the peer's controller.
#[derive(Clone)]
pub(crate) struct Events {
    source: Recorder,
    kustomize: Recorder,
    external_secrets: Recorder,
    notification: Recorder,
    secret_store: Recorder,
    cluster_secret_store: Recorder,
    /// The event webhook, if one is configured.
    poster: Option<Poster>,
    instance: String,
    client: Client,
}

/// The controller of the peer in whose name an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    Source,
    Kustomize,
    Notification,
    ExternalSecrets,
    SecretStore,
    ClusterSecretStore,
}

impl Component {
    /// The name of the controller.
    fn name(self) -> &'static str {
        match self {
            Self::Source => "source-controller",
            Self::Kustomize => "kustomize-controller",
            Self::Notification => "notification-controller",
            Self::ExternalSecrets => "external-secrets",
            Self::SecretStore => "secret-store",
            Self::ClusterSecretStore => "cluster-secret-store",
        }
    }
}

/// The longest note of an event, in characters; the API server takes 1024 bytes.
const MAX_NOTE: usize = 1000;

impl Events {
    /// Events that are written as this replica. With a poster, they are posted too.
    pub(crate) fn new(client: &Client, instance: &str, poster: Option<Poster>) -> Self {
        let recorder = |component: Component| {
            let reporter = Reporter {
                controller: component.name().to_owned(),
                instance: Some(instance.to_owned()),
            };
            Recorder::new(client.clone(), reporter)
        };
        Self {
            source: recorder(Component::Source),
            kustomize: recorder(Component::Kustomize),
            notification: recorder(Component::Notification),
            external_secrets: recorder(Component::ExternalSecrets),
            secret_store: recorder(Component::SecretStore),
            cluster_secret_store: recorder(Component::ClusterSecretStore),
            poster,
            instance: instance.to_owned(),
            client: client.clone(),
        }
    }

    /// Writes an event about a revision.
    pub(crate) async fn publish_of<K>(
        &self,
        component: Component,
        object: &K,
        revision: &str,
        type_: EventType,
        (reason, note): (&str, &str),
    ) where
        K: Resource<DynamicType = ()>,
    {
        self.post(component, object, revision, type_, (reason, note));
        self.write(component, object, type_, reason, note).await;
    }

    /// Queues an event for the event webhook, if there is one.
    fn post<K>(
        &self,
        component: Component,
        object: &K,
        revision: &str,
        type_: EventType,
        said: (&str, &str),
    ) where
        K: Resource<DynamicType = ()>,
    {
        let Some(poster) = &self.poster else {
            return;
        };
        let group = K::group(&());
        let mut metadata: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in object.meta().annotations.iter().flatten() {
            if let Some(key) = key.strip_prefix(FLUX_EVENT_PREFIX) {
                metadata.insert(key.to_owned(), value.clone());
            }
        }
        if !revision.is_empty() {
            metadata.insert(format!("{group}/revision"), revision.to_owned());
        }
        let is_error = matches!(type_, EventType::Warning);
        let reporter = (component.name(), self.instance.as_str());
        let object = object.object_ref(&());
        poster.post(Post::new(
            &object,
            is_error,
            said,
            metadata,
            reporter,
            Timestamp::now(),
        ));
    }

    /// Writes an event. A failure is logged and stops nothing.
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
        let said = (reason, note);
        self.publish_of(component, object, "", type_, said).await;
    }

    async fn write<K>(
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
            Component::Notification => &self.notification,
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
        // A recorder remembers each event for minutes, to count repetitions. Of thousands of ExternalSecrets, most events
        // occur once, so a recorder of their own, which is dropped at once, saves that memory.
        let news;
        let recorder = match type_ {
            EventType::Normal if component == Component::ExternalSecrets => {
                let reporter = Reporter {
                    controller: component.name().to_owned(),
                    instance: Some(self.instance.clone()),
                };
                news = Recorder::new(self.client.clone(), reporter);
                &news
            }
            _ => recorder,
        };
        if let Err(error) = recorder.publish(&event, &reference).await {
            tracing::warn!(reason, error = %crate::cluster::error::describe(&error), "event was not written");
        }
    }
}

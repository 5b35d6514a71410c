//! Talks to the API server: core events, under the names of the peers' controllers. What an event says, and which events
//! count up an earlier one, is decided in [`overlayd_core::events`].

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::events::EventType;
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde_json::json;

use crate::cluster::error::describe;
use crate::controllers::event_webhook::{Post, Poster};
use overlayd_core::api::annotations::FLUX_EVENT_PREFIX;
use overlayd_core::events::{
    EventSeries, EventText, Facts, Occurrence, Severity, event, event_namespace,
};

/// Writes events, each under the name of the peer's controller.
#[derive(Clone)]
pub(crate) struct Events {
    client: Client,
    instance: String,
    series: Arc<Mutex<EventSeries>>,
    /// The event webhook, if one is configured.
    poster: Option<Poster>,
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

impl Events {
    /// Events that are written as this replica. With a poster, they are posted too.
    pub(crate) fn new(client: &Client, instance: &str, poster: Option<Poster>) -> Self {
        Self {
            client: client.clone(),
            instance: instance.to_owned(),
            series: Arc::default(),
            poster,
        }
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
        let severity = match type_ {
            EventType::Normal => Severity::Info,
            EventType::Warning => Severity::Error,
        };
        let told = (severity, reason, note);
        self.publish_with(component, object, &[], told).await;
    }

    /// Writes an event with facts, such as `revision`, for programs. A failure is logged and stops nothing.
    pub(crate) async fn publish_with<K>(
        &self,
        component: Component,
        object: &K,
        facts: &[(&str, &str)],
        (severity, reason, note): (Severity, &str, &str),
    ) where
        K: Resource<DynamicType = ()>,
    {
        let reference = object.object_ref(&());
        let group = K::group(&());
        let facts = facts.iter().filter(|(_, value)| !value.is_empty());
        let facts = facts.map(|(name, value)| (format!("{group}/{name}"), (*value).to_owned()));
        let text = EventText {
            object: &reference,
            controller: component.name(),
            instance: &self.instance,
            severity,
            reason,
            note,
            facts: &facts.collect(),
        };
        if let Some(poster) = &self.poster {
            let own = own_facts(object);
            poster.post(Post::new(&text, own, Timestamp::now()));
        }
        self.write(&text).await;
    }

    async fn write(&self, text: &EventText<'_>) {
        let now = Timestamp::now();
        let occurrence = self.series.lock().record(text, now);
        let event = event(text, occurrence, now);
        if let Err(error) = self.put(text.object, &event, occurrence).await {
            let (reason, error) = (text.reason, describe(&error));
            tracing::warn!(reason, error, "event was not written");
        }
    }

    /// Counts up the event of a series, or creates it.
    async fn put(
        &self,
        object: &ObjectReference,
        event: &Event,
        occurrence: Occurrence,
    ) -> Result<(), kube::Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), event_namespace(object));
        let name = event.metadata.name.as_deref().unwrap_or_default();
        if occurrence.count > 1 {
            let patch = json!({"count": event.count, "lastTimestamp": event.last_timestamp});
            let patch = Patch::Merge(&patch);
            match api.patch(name, &PatchParams::default(), &patch).await {
                // It was deleted, or the first one could not be written.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                patched => return patched.map(drop),
            }
        }
        api.create(&PostParams::default(), event).await.map(drop)
    }
}

/// The facts that an object gives to its posted events by annotations.
fn own_facts<K: Resource>(object: &K) -> Facts {
    let annotations = object.meta().annotations.iter().flatten();
    let facts = annotations.filter_map(|(key, value)| {
        let key = key.strip_prefix(FLUX_EVENT_PREFIX)?;
        Some((key.to_owned(), value.clone()))
    });
    facts.collect()
}

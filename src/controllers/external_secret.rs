//! `ExternalSecret`: reads values and writes the Secret.
//!
//! ```text
//! ExternalSecret ─resolve→ DesiredSecret ─fetch→ Fetched ─compose→ SecretData
//! SecretData ─render→ RenderedSecret ─decide→ SecretWrite ─write→ status
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gotemplate::MissingKey;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource as _, ResourceExt as _};

use super::context::{memory_key, seed};
use super::events::Component;
use super::secret_store::{StoreObject, resolve_store};
use super::status::{Says, secrets_condition};
use super::{Context, ReconcileError};
use crate::api::external_secret::{Binding, CreationPolicy, ExternalSecret, ExternalSecretStatus};
use crate::schedule::jittered;
use crate::secrets::compose::{ComposeError, Fetched, compose, read_key};
use crate::secrets::decide::{DecideError, SecretOwner, SecretWrite, decide, is_valid};
use crate::secrets::desired::{DesiredSecret, Entry, SpecError, StoreRef, resolve};
use crate::secrets::hash::synced_resource_version;
use crate::secrets::provider::{Provider, ProviderError};
use crate::secrets::refresh::{Due, due};
use crate::secrets::render::{RenderError, render};
use crate::secrets::template_from::{self, SourceKind, TemplateSources};
use crate::secrets::write::{Written, write};

/// The finalizer of External Secrets, which we never add but take away.
const FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";
/// First and longest wait between tries, as External Secrets has them.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(420));

/// Why a sync failed.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("{0}")]
    Store(String),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Compose(#[from] ComposeError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error("{0}")]
    Write(String),
}

impl SyncError {
    /// The fixed part of the condition's message, in the words of External Secrets.
    fn summary(&self) -> &'static str {
        match self {
            Self::Spec(_) | Self::Store(_) | Self::Provider(_) | Self::Compose(_) => {
                "could not get secret data from provider"
            }
            Self::Decide(error) => error.summary(),
            Self::Render(_) | Self::Write(_) => "could not update secret",
        }
    }

    /// True if trying again soon cannot help.
    fn is_permanent(&self) -> bool {
        match self {
            // What a template refers to may come to be.
            Self::Render(RenderError::Missing { .. }) => false,
            Self::Spec(_) | Self::Decide(_) | Self::Render(_) => true,
            _ => false,
        }
    }
}

/// Syncs if a refresh is due or the Secret is not what was written.
pub(crate) async fn reconcile(
    object: Arc<ExternalSecret>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let key = memory_key(&*object);
    let api = context.api_of(&*object);
    if object.meta().deletion_timestamp.is_some() {
        context.memory.forget(&key);
        context
            .metrics
            .forget_external_secret(&object.namespace().unwrap_or_default(), &object.name_any());
        context
            .set_finalizer(&api, &object, FINALIZER, false)
            .await?;
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let status = object.status.clone().unwrap_or_default();
    let version = version(&object);
    let secrets: Api<Secret> = Api::namespaced(
        context.client.clone(),
        &object.namespace().unwrap_or_default(),
    );
    let target = object
        .spec
        .target
        .name
        .clone()
        .unwrap_or_else(|| object.name_any());
    let live = secrets.get_opt(&target).await?;
    let due = due(&object.spec, &status, &version, now);
    if due != Due::Now
        && is_valid(object.spec.target.creation_policy, live.as_ref())
        && is_ready(&status)
    {
        return Ok(rest(due));
    }
    // A failure is tried again when its wait is over, or when something that decides has changed.
    let stores = store_fingerprint(&object, &context).await;
    let live_version = live
        .as_ref()
        .and_then(|live| live.metadata.resource_version.clone());
    let fingerprint = format!("{version} {live_version:?} {stores}");
    if let Some(rest) = context.memory.rest(&key, &fingerprint, now) {
        return Ok(Action::requeue(rest));
    }
    let timer = context.metrics.start("ExternalSecret");
    let result = sync(&object, &context, &secrets, live).await;
    timer.finish(&object.name_any(), &object.namespace().unwrap_or_default());
    let action = match &result {
        Ok(_) => {
            context.memory.forget(&key);
            let interval = crate::secrets::refresh::interval(&object.spec)
                .filter(|interval| !interval.is_zero());
            interval.map_or_else(Action::await_change, |interval| {
                Action::requeue(jittered(interval, seed(&*object)))
            })
        }
        Err(error) => {
            let bounds = if error.is_permanent() {
                (Duration::from_secs(300), Duration::from_secs(3600))
            } else {
                BACKOFF
            };
            Action::requeue(context.memory.failed(&key, &fingerprint, now, bounds))
        }
    };
    announce(&context, &object, &result).await;
    // Where nothing is written, nothing is bound.
    let bound = object.spec.target.creation_policy != CreationPolicy::None
        && !matches!(result, Ok(Written::Absent));
    let new = next_status(status, &result, bound.then_some(&*target), version, now);
    context.metrics.external_secret(
        &object.namespace().unwrap_or_default(),
        &object.name_any(),
        result.is_ok(),
    );
    if object.status.as_ref() != Some(&new) {
        context.write_status(&api, &object, &new).await?;
    }
    Ok(action)
}

fn rest(due: Due) -> Action {
    match due {
        Due::In(wait) => Action::requeue(wait),
        Due::Now | Due::Never => Action::await_change(),
    }
}

fn is_ready(status: &ExternalSecretStatus) -> bool {
    status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn version(object: &ExternalSecret) -> String {
    let generation = object.meta().generation.unwrap_or_default();
    synced_resource_version(generation, object.labels(), object.annotations())
}

/// What the stores are and how they stand, so that a store that recovers wakes those that wait for it.
async fn store_fingerprint(object: &ExternalSecret, context: &Context) -> String {
    let Ok(desired) = resolve(&object.name_any(), &object.spec) else {
        return String::new();
    };
    let mut parts = Vec::new();
    for store in desired.stores() {
        let namespace = object.namespace().unwrap_or_default();
        let state = match resolve_store(context, &store, &namespace).await {
            Ok(store) => format!("{}:{}", store.generation, store.ready),
            Err(message) => message,
        };
        parts.push(format!("{store} {state}"));
    }
    parts.join(";")
}

async fn sync(
    object: &ExternalSecret,
    context: &Context,
    secrets: &Api<Secret>,
    live: Option<Secret>,
) -> Result<Written, SyncError> {
    let desired = resolve(&object.name_any(), &object.spec)?;
    let namespace = object.namespace().unwrap_or_default();
    let providers = providers(context, &desired, &namespace).await?;
    let fetched = fetch(&desired, &providers).await?;
    let sources = templates(object, context, secrets).await?;
    let decision = make(object, &desired, &fetched, &sources, live.as_ref())?;
    let written = write(secrets, &object.name_any(), decision).await;
    written.map_err(|error| SyncError::Write(describe_write(&error)))
}

/// The templates that the spec refers to, read live in its own namespace.
async fn templates(
    object: &ExternalSecret,
    context: &Context,
    secrets: &Api<Secret>,
) -> Result<TemplateSources, SyncError> {
    let mut sources = TemplateSources::new();
    let Some(template) = &object.spec.target.template else {
        return Ok(sources);
    };
    let maps: Api<ConfigMap> = Api::namespaced(
        context.client.clone(),
        &object.namespace().unwrap_or_default(),
    );
    for (kind, name) in template_from::references(template) {
        let failed = |error: kube::Error| {
            let reason = crate::apply::execute::describe(&error);
            SyncError::Write(format!("cannot read {kind:?} `{name}`: {reason}"))
        };
        let templates: Option<BTreeMap<String, String>> = match kind {
            SourceKind::ConfigMap => {
                let map = maps.get_opt(&name).await.map_err(failed)?;
                map.map(|map| map.data.unwrap_or_default())
            }
            SourceKind::Secret => {
                let secret = secrets.get_opt(&name).await.map_err(failed)?;
                let text =
                    |(key, ByteString(bytes))| (key, String::from_utf8_lossy(&bytes).into_owned());
                secret.map(|secret| {
                    let data = secret.data.unwrap_or_default().into_iter();
                    data.map(text).collect()
                })
            }
        };
        if let Some(templates) = templates {
            sources.insert((kind, name), templates);
        }
    }
    Ok(sources)
}

/// What becomes of what was read.
fn make(
    object: &ExternalSecret,
    desired: &DesiredSecret,
    fetched: &Fetched,
    sources: &TemplateSources,
    live: Option<&Secret>,
) -> Result<SecretWrite, SyncError> {
    let rewriting = environment().with_missing_key(MissingKey::Invalid);
    let data = compose(desired, fetched, &rewriting)?;
    let rendered = render(
        object.spec.target.template.as_ref(),
        data,
        sources,
        &environment(),
    )?;
    Ok(decide(desired, &owner(object), &rendered, live)?)
}

/// The time and the chance of this moment, for a template that asks for them.
fn environment() -> gotemplate::Environment<'static> {
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    gotemplate::Environment::new(jiff::Timestamp::now(), move |bytes| {
        random
            .fill(bytes)
            .expect("the system's random source works");
    })
}

/// The API server's text may quote a value; its reason and the fields it minds may not.
fn describe_write(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else {
        return crate::apply::execute::describe(error);
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fields: Vec<String> = causes
        .map(|cause| cause.field.split('[').next().unwrap_or_default().to_owned())
        .collect();
    let about = if fields.is_empty() {
        String::new()
    } else {
        format!(" about {}", fields.join(", "))
    };
    format!(
        "the API server refuses the Secret: {} ({}){about}",
        status.reason, status.code
    )
}

async fn providers(
    context: &Context,
    desired: &DesiredSecret,
    namespace: &str,
) -> Result<BTreeMap<StoreRef, Arc<dyn Provider>>, SyncError> {
    let mut providers: BTreeMap<StoreRef, Arc<dyn Provider>> = BTreeMap::new();
    for reference in desired.stores() {
        let store: StoreObject = resolve_store(context, &reference, namespace)
            .await
            .map_err(SyncError::Store)?;
        store
            .check_usable(&reference, namespace)
            .map_err(SyncError::Store)?;
        let provider = context.providers.of(&store.id, &store.spec).await;
        let provider =
            provider.map_err(|error| SyncError::Store(format!("{reference}: {error}")))?;
        providers.insert(reference, provider);
    }
    Ok(providers)
}

/// Reads each key once, however many entries use it.
async fn fetch(
    desired: &DesiredSecret,
    providers: &BTreeMap<StoreRef, Arc<dyn Provider>>,
) -> Result<Fetched, SyncError> {
    let mut fetched = Fetched::new();
    let entries = desired
        .extracts
        .iter()
        .chain(desired.data.iter().map(|(_, entry)| entry));
    for entry in entries {
        let key = read_key(entry);
        if fetched.contains_key(&key) {
            continue;
        }
        let Some(provider) = providers.get(&entry.store) else {
            continue;
        };
        let value = read(provider.as_ref(), entry).await?;
        fetched.insert(key, value);
    }
    Ok(fetched)
}

async fn read(
    provider: &dyn Provider,
    entry: &Entry,
) -> Result<crate::secrets::SecretValue, ProviderError> {
    provider
        .get(
            &entry.remote.key,
            entry.remote.version.as_deref().unwrap_or_default(),
        )
        .await
}

fn owner(object: &ExternalSecret) -> SecretOwner {
    SecretOwner {
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_default(),
        uid: object.uid().unwrap_or_default(),
        labels: object.labels().clone(),
        annotations: object.annotations().clone(),
    }
}

fn next_status(
    old: ExternalSecretStatus,
    result: &Result<Written, SyncError>,
    target: Option<&str>,
    version: String,
    now: Timestamp,
) -> ExternalSecretStatus {
    let message = result
        .as_ref()
        .err()
        .map(|error| format!("{}: {error}", error.summary()));
    let says = match &message {
        None if matches!(result, Ok(Written::Absent)) => Says {
            type_: "Ready",
            status: "True",
            reason: "SecretMissing",
            message: "secret will not be created due to CreationPolicy=Merge",
        },
        None => Says {
            type_: "Ready",
            status: "True",
            reason: "SecretSynced",
            message: "secret synced",
        },
        Some(message) => Says {
            type_: "Ready",
            status: "False",
            reason: "SecretSyncedError",
            message,
        },
    };
    let condition = secrets_condition(&old.conditions, &says, now);
    let mut new = ExternalSecretStatus {
        conditions: vec![condition],
        ..old
    };
    if result.is_ok() {
        if let Some(target) = target {
            new.binding = Binding {
                name: target.to_owned(),
            };
        }
        new.refresh_time = Some(Time(now.round(jiff::Unit::Second).unwrap_or(now)));
        new.synced_resource_version = Some(version);
    }
    new
}

async fn announce(context: &Context, object: &ExternalSecret, result: &Result<Written, SyncError>) {
    let (type_, reason, note) = match result {
        Ok(Written::Nothing | Written::Absent) => return,
        Ok(Written::Created) => (EventType::Normal, "Created", "secret created".to_owned()),
        Ok(Written::Updated) => (EventType::Normal, "Updated", "secret updated".to_owned()),
        Err(error) => (EventType::Warning, "UpdateFailed", error.to_string()),
    };
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    match type_ {
        EventType::Normal => tracing::info!(external_secret = %name, %namespace, reason, "synced"),
        EventType::Warning => {
            tracing::warn!(external_secret = %name, %namespace, error = note, "not synced");
        }
    }
    context
        .events
        .publish(Component::ExternalSecrets, object, type_, reason, &note)
        .await;
}

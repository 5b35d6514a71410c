//! Talks to the API server: reads the ConfigMaps and Secrets that hold templates, and renders where that holds up no other
//! task.

use std::collections::BTreeMap;

use gotemplate::{Environment, MissingKey};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use kube::api::Api;

use crate::controllers::external_secret::context::ExternalSecretContext;
use crate::controllers::external_secret::error::SecretSyncError;
use crate::random;
use overlayd_core::api::external_secret::ExternalSecret;
use overlayd_core::names::NamespacedName;
use overlayd_core::secrets::SecretData;
use overlayd_core::secrets::compose::{Composed, FetchedValues, compose};
use overlayd_core::secrets::dependency_index::Dependency;
use overlayd_core::secrets::desired::DesiredSecret;
use overlayd_core::secrets::render::{RenderedSecret, render};
use overlayd_core::secrets::template_from::{TemplateSourceKind, TemplateSources, references};

/// A result of templates.
pub(super) struct Templated<T> {
    pub(super) value: T,
    /// True if a template asked for the time or for random bytes, so that it gives something else another time.
    pub(super) is_volatile: bool,
}

/// Composes the data out of everything that was read and generated. Keys may be rewritten by templates.
pub(super) async fn compose_data(
    context: &ExternalSecretContext,
    namespace: &str,
    desired: &DesiredSecret,
    fetched: &FetchedValues,
) -> Result<Templated<Composed>, SecretSyncError> {
    let work = || {
        let rewriting = environment().with_missing_key(MissingKey::Invalid);
        let value = compose(desired, fetched, &rewriting)?;
        let is_volatile = rewriting.is_volatile();
        Ok(Templated { value, is_volatile })
    };
    if desired.rewrites() {
        run_blocking(context, namespace, work).await
    } else {
        work()
    }
}

/// Renders the template of the spec.
pub(super) async fn render_secret(
    context: &ExternalSecretContext,
    object: &ExternalSecret,
    data: SecretData,
) -> Result<Templated<RenderedSecret>, SecretSyncError> {
    let sources = template_sources(context, object).await?;
    let template = object.spec.target.template.as_deref();
    let (left, right) = &context.settings.template_delimiters;
    let work = || {
        let environment = environment();
        let value = render(template, data, &sources, (left, right), &environment)?;
        let is_volatile = environment.is_volatile();
        Ok(Templated { value, is_volatile })
    };
    if template.is_some() {
        let namespace = object.namespace().unwrap_or_default();
        run_blocking(context, &namespace, work).await
    } else {
        work()
    }
}

/// Runs work that may take long on a thread that holds up no other task. Few run at once, since each takes a thread.
pub(super) async fn run_blocking<T>(
    context: &ExternalSecretContext,
    namespace: &str,
    work: impl FnOnce() -> T,
) -> T {
    let _permit = context.blocking_permits.acquire(namespace, ()).await;
    tokio::task::block_in_place(work)
}

/// The time and the random bytes of this moment, for a template that asks for them.
fn environment() -> Environment<'static> {
    Environment::new(Timestamp::now(), random::fill)
}

/// The objects that the template refers to, read live in the namespace of the ExternalSecret.
async fn template_sources(
    context: &ExternalSecretContext,
    object: &ExternalSecret,
) -> Result<TemplateSources, SecretSyncError> {
    let mut sources = TemplateSources::new();
    let Some(template) = &object.spec.target.template else {
        return Ok(sources);
    };
    let own = NamespacedName::of(object);
    for (kind, name) in references(template) {
        let source = NamespacedName::new(&own.namespace, &name);
        let read = match kind {
            TemplateSourceKind::ConfigMap => config_map(context, &source).await,
            TemplateSourceKind::Secret => secret(context, &source).await,
        };
        let found = read.map_err(|error| SecretSyncError::TemplateSource {
            kind,
            name: name.clone(),
            error,
        })?;
        let (version, templates) = found.unzip();
        let dependency = Dependency::template_source(kind, source);
        let version = version.unwrap_or_default();
        context
            .dependency_index
            .record_read(&own, dependency, &version);
        if let Some(templates) = templates {
            sources.insert((kind, name), templates);
        }
    }
    Ok(sources)
}

/// The resource version of an object, and the templates in it by key.
type Templates = (String, BTreeMap<String, String>);

/// The templates of a ConfigMap; `None` if it does not exist.
async fn config_map(
    context: &ExternalSecretContext,
    name: &NamespacedName,
) -> Result<Option<Templates>, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &name.namespace);
    let map = api.get_opt(&name.name).await?;
    Ok(map.map(|map| {
        let version = map.resource_version().unwrap_or_default();
        (version, map.data.unwrap_or_default())
    }))
}

/// The templates of a Secret; `None` if it does not exist.
async fn secret(
    context: &ExternalSecretContext,
    name: &NamespacedName,
) -> Result<Option<Templates>, kube::Error> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &name.namespace);
    let secret = api.get_opt(&name.name).await?;
    let text = |(key, ByteString(bytes))| (key, String::from_utf8_lossy(&bytes).into_owned());
    Ok(secret.map(|secret| {
        let version = secret.resource_version().unwrap_or_default();
        let data = secret.data.unwrap_or_default().into_iter();
        (version, data.map(text).collect())
    }))
}

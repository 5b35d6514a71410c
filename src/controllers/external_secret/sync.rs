//! One sync, from what the stores say to the Secret:
//!
//! ```text
//! DesiredSecret ─fetch→ FetchedValues ─compose→ SecretData ─render→ RenderedSecret ─decide→ SecretWrite ─write→ SyncOutcome
//! ```

use std::collections::BTreeMap;

use gotemplate::MissingKey;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::core::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};

use crate::aws::Reading;
use crate::cluster::error::{describe_fields, is_conflict};
use crate::cluster::secret_writer::{SecretWriteResult, delete, write};
use crate::controllers::Context;
use crate::controllers::external_secret::reads::Reads;
use crate::controllers::external_secret::{Live, watch};
use crate::random;
use overlayd_core::api::external_secret::{
    CreationPolicy, DeletionPolicy, ExternalSecret, ExternalSecretStatus, GeneratorReference,
};
use overlayd_core::api::generators::{
    ClusterGenerator, ClusterGeneratorSpec, Fake, Password, UUID,
};
use overlayd_core::names::NamespacedName;
use overlayd_core::secrets::SecretData;
use overlayd_core::secrets::compose::{ComposeError, Composed, FetchedValues, compose};
use overlayd_core::secrets::decide::{
    DecideError, Precondition, SecretOwner, SecretWrite, decide, decide_empty, secret_data,
    was_created_by,
};
use overlayd_core::secrets::dependency_index::Dependency;
use overlayd_core::secrets::desired::{DesiredSecret, SpecError};
use overlayd_core::secrets::generate::{GenerateError, Generator, generate};
use overlayd_core::secrets::hash::{field_manager, rendered_hash};
use overlayd_core::secrets::last_sync::LastSync;
use overlayd_core::secrets::provider_error::ProviderError;
use overlayd_core::secrets::refresh::is_generated;
use overlayd_core::secrets::render::{RenderError, RenderedSecret, render};
use overlayd_core::secrets::template_from;
use overlayd_core::secrets::template_from::{TemplateSourceKind, TemplateSources};

/// Why a sync failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretSyncError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("{0}")]
    Store(String),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("`{field}`: {reason}")]
    Generator { field: String, reason: String },
    #[error(transparent)]
    Compose(#[from] ComposeError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error("{0}")]
    Write(String),
    #[error("{0}")]
    Orphans(String),
    /// Others write the Secret at the same time. It is tried again soon, and nobody needs to know.
    #[error("the Secret is being changed by somebody else")]
    Conflict(kube::Error),
}

impl SecretSyncError {
    /// The fixed part of the condition's message, in the words of External Secrets.
    pub(super) fn summary(&self) -> &'static str {
        match self {
            Self::Spec(_)
            | Self::Store(_)
            | Self::Provider(_)
            | Self::Generator { .. }
            | Self::Compose(_) => "could not get secret data from provider",
            Self::Decide(error) => error.summary(),
            Self::Render(_) | Self::Write(_) | Self::Conflict(_) => "could not update secret",
            Self::Orphans(_) => "could not delete orphaned secrets",
        }
    }

    /// True if trying again soon cannot help.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            // What a template refers to may come to be.
            Self::Render(RenderError::Missing { .. }) => false,
            Self::Spec(_) | Self::Decide(_) | Self::Render(_) => true,
            _ => false,
        }
    }
}

/// What came of a sync.
#[derive(Debug)]
pub(super) struct SyncOutcome {
    pub(super) written: SecretWriteResult,
    /// Keys that their stores do not have, and that may be missing.
    pub(super) missing: Vec<String>,
    /// Secrets of a former target that were deleted.
    pub(super) orphans: Vec<String>,
    /// The Secret is kept as it is, though the values are others.
    pub(super) is_frozen: bool,
    /// There was a Secret, and it was deleted.
    pub(super) was_deleted: bool,
    /// Values were made, not read.
    pub(super) is_generated: bool,
    pub(super) rendered: [u8; 32],
    /// The resource version of the Secret; empty if there is none.
    pub(super) secret_version: String,
    pub(super) finished: Timestamp,
    /// What was read, if what is made of it changes with it alone.
    pub(super) reading: Option<Reading>,
}

impl SyncOutcome {
    fn new(is_generated: bool) -> Self {
        Self {
            written: SecretWriteResult::Nothing,
            missing: Vec::new(),
            orphans: Vec::new(),
            is_frozen: false,
            was_deleted: false,
            is_generated,
            rendered: [0; 32],
            secret_version: String::new(),
            finished: Timestamp::now(),
            reading: None,
        }
    }

    /// What is remembered of it.
    pub(super) fn synced(&self, uid: String, version: &str, stores: u64) -> LastSync {
        LastSync {
            uid,
            version: version.to_owned(),
            refreshed: self.finished,
            ready: true,
            stores,
            secret: self.secret_version.clone(),
            rendered: self.rendered,
        }
    }
}

/// What a sync is about.
pub(super) struct Request<'r> {
    pub(super) object: &'r ExternalSecret,
    pub(super) context: &'r Context,
    pub(super) user: &'r NamespacedName,
    /// The last sync of this version, if this process made it.
    pub(super) synced: Option<LastSync>,
    pub(super) status: &'r ExternalSecretStatus,
}

/// Reads, composes, renders, decides and writes.
pub(super) async fn sync(
    request: Request<'_>,
    desired: &DesiredSecret,
    live: Live,
    reads: Result<Reads, SecretSyncError>,
) -> Result<SyncOutcome, SecretSyncError> {
    let (object, context) = (request.object, request.context);
    let secrets = context.secrets_of(object);
    let generates = desired.generators().next().is_some();
    let mut outcome = SyncOutcome::new(generates);
    // What was generated and written for this refresh, before a crash, is not generated again.
    if let Live::Read(Some(live)) = &live
        && generates
        && is_generated(
            object.meta(),
            request.status,
            &live.metadata,
            &field_manager(&object.name_any()),
        )
    {
        outcome.secret_version = live.resource_version().unwrap_or_default();
        return Ok(outcome);
    }
    let mut reads = reads?;
    let mut fetched = reads.take(request.user).await?;
    run_generators(&request, desired, &mut fetched).await?;
    let owner = owner(object);
    // Keys may be rewritten by templates, and paths may lead far.
    let work = || composed(desired, &fetched);
    let (composed, mut is_volatile) = match think(context, desired.rewrites(), work).await {
        Ok(composed) => composed,
        Err(error) => {
            // What is wrong with the values may be mended, and then it is woken.
            watch(object, context, request.user, reads.watchable());
            return Err(error.into());
        }
    };
    outcome.missing = composed.missing;
    let rendered = if composed.data.is_empty() && desired.deletion != DeletionPolicy::Merge {
        None
    } else {
        let (rendered, is_volatile_too) = rendered(&request, composed.data).await?;
        is_volatile |= is_volatile_too;
        Some(rendered)
    };
    drop(fetched);
    if !is_volatile && !generates {
        outcome.reading = reads.watchable();
    }
    if let Some(rendered) = &rendered {
        outcome.rendered = rendered_hash(rendered);
    }
    // The Secret is as it was written, and would be written the same again. One that is frozen is looked at, for what
    // it holds is not what was rendered.
    if let (Live::Unchanged, Some(synced), Some(_)) = (&live, &request.synced, &rendered)
        && synced.rendered == outcome.rendered
        && !desired.immutable
    {
        outcome.secret_version.clone_from(&synced.secret);
        outcome.finished = Timestamp::now();
        return Ok(outcome);
    }
    let mut live = match live {
        Live::Read(live) => live,
        Live::Unchanged => read(&secrets, desired).await?,
    };
    let mut tries = 0;
    let (written, version) = loop {
        let decision = match &rendered {
            Some(rendered) => {
                let differs = |live: &Secret| secret_data(live) != rendered.data;
                outcome.is_frozen = desired.immutable && live.as_deref().is_some_and(differs);
                decide(desired, &owner, rendered, live.as_deref())?
            }
            None => decide_empty(desired, &owner, live.as_deref())?,
        };
        outcome.was_deleted = matches!(decision, SecretWrite::Delete(Some(_)));
        match write(&secrets, &object.name_any(), decision).await {
            Ok(written) => break written,
            // Somebody else was faster: what there is now decides.
            Err(error) if is_conflict(&error) && tries < CONFLICTS => tries += 1,
            Err(error) if is_conflict(&error) => return Err(SecretSyncError::Conflict(error)),
            Err(error) => return Err(SecretSyncError::Write(describe_fields(&error))),
        }
        live = read(&secrets, desired).await?;
    };
    // Only when the new Secret is there.
    let is_there = matches!(
        written,
        SecretWriteResult::Created | SecretWriteResult::Updated | SecretWriteResult::Nothing
    );
    if desired.creation == CreationPolicy::Owner && is_there {
        outcome.orphans = delete_orphans(&request, desired, &owner, &secrets).await?;
    }
    outcome.written = written;
    let known = live.and_then(|live| live.metadata.resource_version.clone());
    outcome.secret_version = match written {
        SecretWriteResult::Deleted => String::new(),
        _ => version.or(known).unwrap_or_default(),
    };
    outcome.finished = Timestamp::now();
    Ok(outcome)
}

/// How often a write is tried again when somebody else was faster.
const CONFLICTS: u32 = 3;

async fn read(
    secrets: &Api<Secret>,
    desired: &DesiredSecret,
) -> Result<Option<Box<Secret>>, SecretSyncError> {
    let live = secrets.get_opt(&desired.target).await;
    let live = live.map_err(|error| SecretSyncError::Write(describe_fields(&error)))?;
    Ok(live.map(Box::new))
}

/// Makes what generators are to make.
async fn run_generators(
    request: &Request<'_>,
    desired: &DesiredSecret,
    fetched: &mut FetchedValues,
) -> Result<(), SecretSyncError> {
    for entry in desired.generators() {
        let failed = |reason: String| SecretSyncError::Generator {
            field: entry.field.clone(),
            reason,
        };
        let generator = generator(request.object, request.context, &entry.generator).await;
        let made = generator.and_then(|generator| {
            let made = generate(&generator, &mut |bytes| random::fill(bytes));
            made.map_err(|error: GenerateError| error.to_string())
        });
        let made = made.map_err(failed)?;
        fetched.generated.insert(entry.field.clone(), made);
    }
    Ok(())
}

/// The generator that a reference names, or what is wrong with it.
async fn generator(
    object: &ExternalSecret,
    context: &Context,
    reference: &GeneratorReference,
) -> Result<Generator, String> {
    let namespace = object.namespace().unwrap_or_default();
    let client = || context.client.clone();
    let name = &reference.name;
    let missing = || format!("{} `{name}` does not exist", reference.kind);
    let unreadable = |error: kube::Error| {
        let reason = crate::cluster::error::describe(&error);
        format!("{} `{name}` cannot be read: {reason}", reference.kind)
    };
    let generator = match reference.kind.as_str() {
        "Password" => {
            let found = Api::<Password>::namespaced(client(), &namespace)
                .get_opt(name)
                .await;
            Generator::Password(found.map_err(unreadable)?.ok_or_else(missing)?.spec)
        }
        "UUID" => {
            let found = Api::<UUID>::namespaced(client(), &namespace)
                .get_opt(name)
                .await;
            found.map_err(unreadable)?.ok_or_else(missing)?;
            Generator::Uuid
        }
        "Fake" => {
            let found = Api::<Fake>::namespaced(client(), &namespace)
                .get_opt(name)
                .await;
            Generator::Fake(found.map_err(unreadable)?.ok_or_else(missing)?.spec)
        }
        "ClusterGenerator" => {
            let found = Api::<ClusterGenerator>::all(client()).get_opt(name).await;
            of_cluster(found.map_err(unreadable)?.ok_or_else(missing)?.spec)?
        }
        other => {
            return Err(format!(
                "generators of kind {other} are not supported by overlayd"
            ));
        }
    };
    if let Generator::Fake(spec) = &generator {
        let class = spec.controller.as_deref().unwrap_or_default();
        if !context.settings.serves_class(class) {
            return Err(format!(
                "Fake `{name}` is of the class `{class}`, which another controller serves"
            ));
        }
    }
    Ok(generator)
}

fn of_cluster(spec: ClusterGeneratorSpec) -> Result<Generator, String> {
    let generator = spec.generator;
    match (
        generator.password_spec,
        generator.uuid_spec,
        generator.fake_spec,
    ) {
        (Some(password), ..) => Ok(Generator::Password(password)),
        (_, Some(_), _) => Ok(Generator::Uuid),
        (_, _, Some(fake)) => Ok(Generator::Fake(fake)),
        _ => Err(format!(
            "generators of kind {} are not supported by overlayd",
            spec.kind
        )),
    }
}

/// The templates that the spec refers to, read live in its own namespace.
async fn templates(
    object: &ExternalSecret,
    context: &Context,
) -> Result<TemplateSources, SecretSyncError> {
    let mut sources = TemplateSources::new();
    let Some(template) = &object.spec.target.template else {
        return Ok(sources);
    };
    let namespace = object.namespace().unwrap_or_default();
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let secrets = context.secrets_of(object);
    for (kind, name) in template_from::references(template) {
        let failed = |error: kube::Error| {
            let reason = crate::cluster::error::describe(&error);
            SecretSyncError::Write(format!("cannot read {kind:?} `{name}`: {reason}"))
        };
        let used = match kind {
            TemplateSourceKind::ConfigMap => Dependency::ConfigMap(namespace.clone(), name.clone()),
            TemplateSourceKind::Secret => Dependency::Secret(namespace.clone(), name.clone()),
        };
        let (version, templates): (_, Option<BTreeMap<String, String>>) = match kind {
            TemplateSourceKind::ConfigMap => {
                let map = maps.get_opt(&name).await.map_err(failed)?;
                let version = map.as_ref().and_then(ConfigMap::resource_version);
                (version, map.map(|map| map.data.unwrap_or_default()))
            }
            TemplateSourceKind::Secret => {
                let secret = secrets.get_opt(&name).await.map_err(failed)?;
                let version = secret.as_ref().and_then(Secret::resource_version);
                let text =
                    |(key, ByteString(bytes))| (key, String::from_utf8_lossy(&bytes).into_owned());
                let templates = secret.map(|secret| {
                    let data = secret.data.unwrap_or_default().into_iter();
                    data.map(text).collect()
                });
                (version, templates)
            }
        };
        let user = NamespacedName::of(object);
        context
            .dependency_index
            .read(&user, used, &version.unwrap_or_default());
        if let Some(templates) = templates {
            sources.insert((kind, name), templates);
        }
    }
    Ok(sources)
}

fn composed(
    desired: &DesiredSecret,
    fetched: &FetchedValues,
) -> Result<(Composed, bool), ComposeError> {
    let rewriting = environment().with_missing_key(MissingKey::Invalid);
    let composed = compose(desired, fetched, &rewriting)?;
    Ok((composed, rewriting.is_volatile()))
}

/// Does what may take long where it holds up nobody: a template may work for a while. Few do at once, for each takes a
/// thread.
async fn think<T>(context: &Context, is_long: bool, work: impl FnOnce() -> T) -> T {
    if !is_long {
        return work();
    }
    // It is never closed.
    let _permit = context.thinking.acquire().await;
    tokio::task::block_in_place(work)
}

/// What the Secret will hold, and whether it would be something else another time.
async fn rendered(
    request: &Request<'_>,
    data: SecretData,
) -> Result<(RenderedSecret, bool), SecretSyncError> {
    let (object, context) = (request.object, request.context);
    let sources = templates(object, context).await?;
    let template = object.spec.target.template.as_deref();
    let (left, right) = &context.settings.template_delimiters;
    let work = || {
        let environment = environment();
        let rendered = render(template, data, &sources, (left, right), &environment)?;
        Ok((rendered, environment.is_volatile()))
    };
    think(context, template.is_some(), work).await
}

/// Deletes the Secrets that were made for this ExternalSecret under another name.
async fn delete_orphans(
    request: &Request<'_>,
    desired: &DesiredSecret,
    owner: &SecretOwner,
    secrets: &Api<Secret>,
) -> Result<Vec<String>, SecretSyncError> {
    let bound = &request.status.binding.name;
    let first = request.object.meta().generation == Some(1) && bound.is_empty();
    if first || *bound == desired.target {
        return Ok(Vec::new());
    }
    let is_orphan = |secret: &&ObjectMeta| {
        secret.namespace.as_deref() == Some(owner.namespace.as_str())
            && secret.name.as_deref() != Some(desired.target.as_str())
            && was_created_by(secret, owner)
    };
    let all = request.context.caches.secrets.state();
    let orphans = all.iter().map(|secret| &secret.metadata);
    let orphans: Vec<_> = orphans.filter(is_orphan).map(Precondition::of).collect();
    let mut deleted = Vec::new();
    for orphan in orphans {
        let result = delete(secrets, &orphan).await;
        let done = result.map_err(|error| SecretSyncError::Orphans(describe_fields(&error)))?;
        if done {
            deleted.push(orphan.name);
        }
    }
    Ok(deleted)
}

/// The time and the chance of this moment, for a template that asks for them.
fn environment() -> gotemplate::Environment<'static> {
    gotemplate::Environment::new(Timestamp::now(), random::fill)
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

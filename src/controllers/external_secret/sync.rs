//! One sync, from what the stores hold to the Secret:
//!
//! ```text
//! DesiredSecret ─fetch→ FetchedValues ─compose→ SecretData ─render→ RenderedSecret ─decide→ SecretWrite ─write→ SyncOutcome
//! ```

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::core::ObjectMeta;

use crate::aws::Reading;
use crate::cluster::error::is_conflict;
use crate::cluster::secret_writer::{delete, write};
use crate::controllers::external_secret::context::ExternalSecretContext;
use crate::controllers::external_secret::error::SecretSyncError;
use crate::controllers::external_secret::generators::run_generators;
use crate::controllers::external_secret::read::{StoreReads, watch};
use crate::controllers::external_secret::template::{Templated, compose_data, render_secret};
use crate::controllers::objects::secrets_of;
use overlayd_core::api::external_secret::{CreationPolicy, DeletionPolicy, ExternalSecret};
use overlayd_core::names::NamespacedName;
use overlayd_core::secrets::contention::other_writers;
use overlayd_core::secrets::created_once::{keep, was_created_once};
use overlayd_core::secrets::decide::{
    Precondition, SecretWrite, decide, decide_empty, secret_data,
};
use overlayd_core::secrets::desired::DesiredSecret;
use overlayd_core::secrets::hash::{field_manager, rendered_hash};
use overlayd_core::secrets::last_sync::LastSync;
use overlayd_core::secrets::observed::{LiveSecret, ObservedExternalSecret, Standing, version};
use overlayd_core::secrets::owner::{SecretOwner, was_created_by};
use overlayd_core::secrets::refresh::is_generated;
use overlayd_core::secrets::render::RenderedSecret;
use overlayd_core::secrets::sync_status::{SecretWriteResult, SyncCause, SyncOutcome};

/// How often a write is tried again when another writer was faster.
const CONFLICTS: u32 = 3;

/// An ExternalSecret that is to be synced.
pub(super) struct SyncRequest<'r> {
    /// What is known of it, gathered before anything is decided.
    pub(super) observed: &'r ObservedExternalSecret<'r>,
    /// What its last sync has left.
    pub(super) standing: &'r Standing,
    pub(super) context: &'r ExternalSecretContext,
}

/// A sync that succeeded.
pub(super) struct Synchronized {
    /// What was written, and what the status says of it.
    pub(super) outcome: SyncOutcome,
    /// What was read, if the Secret depends on it alone, so that it can be watched.
    pub(super) reading: Option<Reading>,
}

impl SyncRequest<'_> {
    /// The ExternalSecret.
    fn object(&self) -> &ExternalSecret {
        self.observed.object
    }

    /// The last sync of this version of the object.
    fn last_sync(&self) -> Option<&LastSync> {
        let last = self.standing.last_sync.as_ref();
        last.filter(|last| last.version == version(self.object()))
    }
}

/// Reads, composes, renders, decides and writes.
pub(super) async fn sync(
    request: &SyncRequest<'_>,
    live: LiveSecret,
    reads: Result<StoreReads, SecretSyncError>,
) -> Result<Synchronized, SecretSyncError> {
    let desired = request.observed.desired.as_ref().map_err(Clone::clone)?;
    let is_generated = desired.generators().next().is_some();
    let mut outcome = SyncOutcome::new(is_generated, Timestamp::now());
    outcome.cause = request.standing.cause();
    if is_generated && let Some(version) = generated_before(request, &live) {
        outcome.secret_version = version;
        let reading = None;
        return Ok(Synchronized { outcome, reading });
    }
    if let LiveSecret::Read(Some(live)) = &live
        && keep_created_once(request, desired, live, &mut outcome).await?
    {
        let reading = None;
        return Ok(Synchronized { outcome, reading });
    }
    let (rendered, reading) = render_values(request, desired, reads?, &mut outcome).await?;
    if let Some(version) = written_before(request, desired, &live, &outcome) {
        outcome.secret_version = version;
    } else {
        write_secret(request, desired, live, rendered.as_ref(), &mut outcome).await?;
    }
    outcome.finished = Timestamp::now();
    Ok(Synchronized { outcome, reading })
}

/// The version of a Secret whose values were generated and written for this refresh before the process crashed. They are
/// not generated again.
fn generated_before(request: &SyncRequest<'_>, live: &LiveSecret) -> Option<String> {
    let LiveSecret::Read(Some(live)) = live else {
        return None;
    };
    let (object, status) = (request.object(), &request.standing.status);
    let manager = field_manager(&object.name_any());
    is_generated(&object.metadata, status, &live.metadata, &manager)
        .then(|| live.resource_version().unwrap_or_default())
}

/// Takes over a Secret that is created once and that a former ExternalSecret of this name has created, as it is. False if
/// there is no such one.
async fn keep_created_once(
    request: &SyncRequest<'_>,
    desired: &DesiredSecret,
    live: &Secret,
    outcome: &mut SyncOutcome,
) -> Result<bool, SecretSyncError> {
    let (object, owner) = (request.object(), owner(request.object()));
    if !was_created_once(&object.spec, &request.standing.status, &owner, live) {
        return Ok(false);
    }
    let secrets = secrets_of(&request.context.client, object);
    let kept = write(&secrets, &owner.name, keep(desired, &owner, live)?).await;
    let (written, version) = kept.map_err(|error| {
        if is_conflict(&error) {
            SecretSyncError::Conflict(error)
        } else {
            SecretSyncError::Write(error)
        }
    })?;
    outcome.written = written;
    outcome.cause = SyncCause::Takeover;
    outcome.secret_version = version
        .or_else(|| live.resource_version())
        .unwrap_or_default();
    outcome.finished = Timestamp::now();
    Ok(true)
}

/// The version of a Secret that is as it was written, and would be written the same again. A frozen Secret is always
/// compared, since it does not hold what was rendered.
fn written_before(
    request: &SyncRequest<'_>,
    desired: &DesiredSecret,
    live: &LiveSecret,
    outcome: &SyncOutcome,
) -> Option<String> {
    let (LiveSecret::Unchanged, Some(last)) = (live, request.last_sync()) else {
        return None;
    };
    let is_same = outcome.rendered.is_some() && last.rendered == outcome.rendered;
    (is_same && !desired.immutable).then(|| last.secret_version.clone())
}

/// Reads, composes and renders. Nothing is rendered if the stores have no values; the reading is given if it can be
/// watched.
async fn render_values(
    request: &SyncRequest<'_>,
    desired: &DesiredSecret,
    mut reads: StoreReads,
    outcome: &mut SyncOutcome,
) -> Result<(Option<RenderedSecret>, Option<Reading>), SecretSyncError> {
    let (object, context) = (request.object(), request.context);
    let name = NamespacedName::of(object);
    let mut fetched = reads.fetch(&name).await?;
    run_generators(context, &name.namespace, desired, &mut fetched).await?;
    let composed = match compose_data(context, &name.namespace, desired, &fetched).await {
        Ok(composed) => composed,
        Err(error) => {
            // The value that is wrong may be corrected in its store, which then wakes this ExternalSecret.
            watch(request.observed, context, reads.watchable());
            return Err(error);
        }
    };
    drop(fetched);
    let Templated {
        value: composed,
        mut is_volatile,
    } = composed;
    outcome.missing = composed.missing;
    let is_empty = composed.data.is_empty() && desired.deletion != DeletionPolicy::Merge;
    let rendered = if is_empty {
        None
    } else {
        let rendered = render_secret(context, object, composed.data).await?;
        is_volatile |= rendered.is_volatile;
        Some(rendered.value)
    };
    outcome.rendered = rendered.as_ref().map(rendered_hash);
    let is_watchable = !is_volatile && !outcome.is_generated;
    let reading = is_watchable.then(|| reads.watchable()).flatten();
    Ok((rendered, reading))
}

/// Brings the Secret to what was rendered, and deletes the Secrets of former targets.
async fn write_secret(
    request: &SyncRequest<'_>,
    desired: &DesiredSecret,
    live: LiveSecret,
    rendered: Option<&RenderedSecret>,
    outcome: &mut SyncOutcome,
) -> Result<(), SecretSyncError> {
    use SecretWriteResult::{Created, Deleted, Nothing, Updated};
    let secrets = secrets_of(&request.context.client, request.object());
    let owner = owner(request.object());
    let mut live = match live {
        LiveSecret::Read(live) => live,
        LiveSecret::Unchanged => read(&secrets, desired).await?,
    };
    let mut conflicts = 0;
    let (written, version) = loop {
        if let Some(live) = &live {
            outcome.other_writers = other_writers(&live.metadata, &field_manager(&owner.name));
        }
        let decision = decide_write(desired, &owner, rendered, live.as_deref(), outcome)?;
        match write(&secrets, &owner.name, decision).await {
            Ok(written) => break written,
            // Another writer was faster: the Secret as it is now decides.
            Err(error) if is_conflict(&error) && conflicts < CONFLICTS => conflicts += 1,
            Err(error) if is_conflict(&error) => return Err(SecretSyncError::Conflict(error)),
            Err(error) => return Err(SecretSyncError::Write(error)),
        }
        live = read(&secrets, desired).await?;
    };
    // Only when the new Secret exists.
    let exists = matches!(written, Created | Updated | Nothing);
    if desired.creation == CreationPolicy::Owner && exists {
        outcome.orphans = delete_orphans(request, desired, &owner, &secrets).await?;
    }
    let read_version = live.and_then(|live| live.metadata.resource_version.clone());
    outcome.written = written;
    outcome.secret_version = match written {
        Deleted => String::new(),
        _ => version.or(read_version).unwrap_or_default(),
    };
    Ok(())
}

/// Decides what to write, and notes in the outcome what the decision means.
fn decide_write(
    desired: &DesiredSecret,
    owner: &SecretOwner,
    rendered: Option<&RenderedSecret>,
    live: Option<&Secret>,
    outcome: &mut SyncOutcome,
) -> Result<SecretWrite, SecretSyncError> {
    let decision = match rendered {
        Some(rendered) => {
            let differs = |live| secret_data(live) != rendered.data;
            outcome.is_frozen = desired.immutable && live.is_some_and(differs);
            decide(desired, owner, rendered, live)?
        }
        None => decide_empty(desired, owner, live)?,
    };
    outcome.was_deleted = matches!(decision, SecretWrite::Delete(Some(_)));
    Ok(decision)
}

/// The live Secret.
async fn read(
    secrets: &Api<Secret>,
    desired: &DesiredSecret,
) -> Result<Option<Box<Secret>>, SecretSyncError> {
    let live = secrets.get_opt(&desired.target).await;
    let live = live.map_err(SecretSyncError::Write)?;
    Ok(live.map(Box::new))
}

/// Deletes the Secrets that were created for this ExternalSecret under another name.
async fn delete_orphans(
    request: &SyncRequest<'_>,
    desired: &DesiredSecret,
    owner: &SecretOwner,
    secrets: &Api<Secret>,
) -> Result<Vec<String>, SecretSyncError> {
    let bound = &request.standing.status.binding.name;
    let is_first = request.object().metadata.generation == Some(1) && bound.is_empty();
    if is_first || *bound == desired.target {
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
        let is_deleted = delete(secrets, &orphan)
            .await
            .map_err(SecretSyncError::Orphans)?;
        if is_deleted {
            deleted.push(orphan.name);
        }
    }
    Ok(deleted)
}

/// What the Secret's metadata take from the ExternalSecret.
fn owner(object: &ExternalSecret) -> SecretOwner {
    SecretOwner {
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_default(),
        uid: object.uid().unwrap_or_default(),
        labels: object.labels().clone(),
        annotations: object.annotations().clone(),
    }
}

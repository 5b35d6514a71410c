//! `ExternalSecret`: decides whether it is time, lets [`sync`] read and write, and says what came of it.

mod reads;
mod status;
mod sync;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};

use reads::Reads;

use crate::aws::Reading;
use crate::cluster::secret_writer::delete;
use crate::controllers::context::memory_key;
use crate::controllers::priority_semaphore::Urgency;
use crate::controllers::secret_store::{StoreObject, resolve_store};
use crate::controllers::unreadable::Readable;
use crate::controllers::{Context, ReconcileError};
use overlayd_core::api::annotations::EXTERNAL_SECRET_FINALIZER;
use overlayd_core::api::external_secret::{
    CreationPolicy, DeletionPolicy, ExternalSecret, ExternalSecretStatus, StoreKind,
};
use overlayd_core::names::NamespacedName;
use overlayd_core::secrets::decide::{Precondition, is_controlled_by, is_valid};
use overlayd_core::secrets::dependency_index::Dependency;
use overlayd_core::secrets::desired::{DesiredSecret, SpecError, StoreRef, resolve};
use overlayd_core::secrets::hash::synced_resource_version;
use overlayd_core::secrets::last_sync::{LastSync, effective};
use overlayd_core::secrets::refresh::{Changes, Due, due, interval, watch_interval};
use overlayd_core::secrets::template_from::{TemplateSourceKind, references};

/// First and longest wait between tries, as External Secrets has them.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(420));

/// How often one is looked at whose values are watched.
const WATCHED: Duration = Duration::from_secs(3600);
/// When one is looked at again whose store is new. The store's first condition wakes it sooner.
const NEW_STORE: Duration = Duration::from_secs(2);

/// The stores of an ExternalSecret, or why they cannot be used.
type Stores = Vec<(StoreRef, Result<StoreObject, String>)>;

/// The Secret as far as it is known.
#[derive(Debug)]
pub(super) enum Live {
    /// It has the resource version that was written or checked last.
    Unchanged,
    Read(Option<Box<Secret>>),
}

/// Syncs if a refresh is due or the Secret is not what was written.
pub(crate) async fn reconcile(
    object: Readable<ExternalSecret>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    context.caches.ready().await;
    let (key, user) = (memory_key(&*object), user_of(&object));
    let api = context.api_of(&*object);
    if object.meta().deletion_timestamp.is_some() {
        return finish(&object, &context, &api).await;
    }
    let desired = resolve(&object.name_any(), &object.spec);
    let stores = note_uses(&object, &context, &user, desired.as_ref());
    let is_of_others = |(_, store): &_| is_of_others(&context, store);
    if stores.iter().any(is_of_others) {
        context.fetcher.unwatch(&user);
        return Ok(Action::await_change());
    }
    if deletes(&object) {
        context
            .set_finalizer(&api, &object, EXTERNAL_SECRET_FINALIZER, true)
            .await?;
    }
    let now = Timestamp::now();
    let version = version(&object);
    let uid = object.uid().unwrap_or_default();
    let target = target_of(&object);
    let Standing {
        synced,
        status,
        due,
        is_stirred,
        is_stale,
    } = standing(&object, &context, &user, (desired.as_ref(), &stores), now);
    let unchanged = is_unchanged(&context, &user, &target, synced.as_ref());
    let ready = is_ready(&object, &status, synced.as_ref()) && desired.is_ok();
    if unchanged && due != Due::Now && ready {
        return Ok(rest(due));
    }
    if is_new_store(&context, &stores) {
        return Ok(Action::requeue(NEW_STORE));
    }
    let is_repair = synced.is_some() && !unchanged && due != Due::Now;
    let is_change = is_repair || is_stale || !is_version(&status, &version);
    let urgency = urgency(&status, is_change);
    let reads = match &desired {
        Ok(desired) => Reads::announce(&object, &context, &stores, desired, &user).await,
        Err(error) => Err(sync::SecretSyncError::from(error.clone())),
    };
    // No store takes all places, however long it lets them wait.
    let store_pass = match stores.first() {
        Some((_, Ok(store))) => Some(context.store_gates.of(&store.id).enter(urgency).await),
        _ => None,
    };
    let pass = context.gate.enter(urgency).await;
    let live = if unchanged {
        Live::Unchanged
    } else {
        let live = context.secrets_of(&*object).get_opt(&target).await?;
        Live::Read(live.map(Box::new))
    };
    let valid = is_valid_target(&object, &status, &live);
    if due != Due::Now && valid && ready {
        remember(&object, &context, &status, &live, &stores);
        follow(&object, &context, &user, reads);
        return Ok(rest(due));
    }
    // A failure is tried again when its wait is over, or when something that decides has changed.
    let fingerprint = format!("{uid} {version} {} {}", seen(&live), fingerprint(&stores));
    if !is_stirred && let Some(rest) = context.reconcile_cache.rest(&key, &fingerprint, now) {
        return Ok(Action::requeue(rest));
    }
    let timer = context.metrics.start("ExternalSecret");
    context.dependency_index.clear_stale(&user);
    let request = sync::Request {
        object: &object,
        context: &context,
        user: &user,
        synced: synced.filter(|synced| synced.version == version),
        status: &status,
    };
    let result = match desired {
        // Those who wait for their turn should be small.
        Ok(desired) => Box::pin(sync::sync(request, &desired, live, reads)).await,
        Err(error) => Err(sync::SecretSyncError::from(error)),
    };
    drop((pass, store_pass));
    timer.finish(&object.name_any(), &user.namespace);
    let mut result = match result {
        Err(sync::SecretSyncError::Conflict(error)) => {
            context.last_syncs.failed(&user);
            return Err(error.into());
        }
        result => result,
    };
    let memory = (key.as_str(), fingerprint.as_str());
    let stores = of_stores(&stores);
    let action = settle(&object, &context, (&user, stores), memory, now, &mut result);
    status::announce(&context, &object, &result).await;
    let said = say(&object, &context, &api, &result, &version, now).await;
    said.inspect_err(|_| {
        // What was not said is said after the next sync, which must not wait for a change.
        context.last_syncs.failed(&user);
        context.fetcher.unwatch(&user);
    })?;
    Ok(action)
}

/// Watches what was read by another process, and not by this one yet.
fn follow(
    object: &ExternalSecret,
    context: &Context,
    user: &NamespacedName,
    reads: Result<Reads, sync::SecretSyncError>,
) {
    if let (Ok(reads), false) = (reads, context.fetcher.is_watched(user)) {
        watch(object, context, user, reads.watchable());
    }
}

/// Watches what was read, if it can be. True if it is.
pub(super) fn watch(
    object: &ExternalSecret,
    context: &Context,
    user: &NamespacedName,
    reading: Option<Reading>,
) -> bool {
    let (Some(reading), Some(interval)) = (reading, watch_interval(&object.spec)) else {
        return false;
    };
    context.fetcher.watch(user, &reading, interval);
    true
}

/// Remembers what came of a sync, and says when to look again.
fn settle(
    object: &ExternalSecret,
    context: &Context,
    (user, stores): (&NamespacedName, u64),
    (key, fingerprint): (&str, &str),
    now: Timestamp,
    result: &mut Result<sync::SyncOutcome, sync::SecretSyncError>,
) -> Action {
    match result {
        Ok(outcome) => {
            context.reconcile_cache.forget(key);
            let uid = object.uid().unwrap_or_default();
            let synced = outcome.synced(uid, &version(object), stores);
            context.last_syncs.set(user, synced);
            after(object, context, user, outcome.reading.take())
        }
        Err(error) => {
            context.last_syncs.failed(user);
            let bounds = bounds(error);
            Action::requeue(
                context
                    .reconcile_cache
                    .failed(key, fingerprint, now, bounds),
            )
        }
    }
}

/// How an ExternalSecret stands before anything is read.
struct Standing {
    synced: Option<LastSync>,
    /// As if every refresh were written down.
    status: ExternalSecretStatus,
    due: Due,
    /// Something has moved that it may have waited for.
    is_stirred: bool,
    /// What its template comes from has changed.
    is_stale: bool,
}

fn standing(
    object: &ExternalSecret,
    context: &Context,
    user: &NamespacedName,
    (desired, stores): (Result<&DesiredSecret, &SpecError>, &Stores),
    now: Timestamp,
) -> Standing {
    let mut synced = context
        .last_syncs
        .get(user, &object.uid().unwrap_or_default());
    // What is watched is as good as read.
    let confirmed = confirmed(object, context, user, stores, synced.as_ref());
    if let (Some(synced), Some(ago)) = (&mut synced, confirmed) {
        synced.refreshed = synced.refreshed.max(now - ago);
    }
    let has_news = context.fetcher.has_news(user);
    let status = effective(&object.status.clone().unwrap_or_default(), synced.as_ref());
    // A failure is tried again at once when something that it may have waited for has moved.
    let is_stirred = context.dependency_index.take_refresh_request(user)
        || context.dependency_index.is_stale(user)
        || has_news;
    let is_stale = context.dependency_index.is_stale(user) && follows_sources(desired);
    let changes = Changes {
        sources: is_stale,
        values: has_news,
    };
    let due = due(&object.spec, &status, &version(object), changes, now);
    let is_moved = synced.as_ref();
    let is_moved = is_moved.is_some_and(|synced| synced.stores != of_stores(stores));
    let due = match due {
        // Another store may hold other values.
        Due::In(_) if is_moved && are_usable(context, stores, user) => Due::Now,
        // It is woken when something changes, and looked at from time to time.
        Due::In(_) if confirmed.is_some() && is_beat(object, context, now) => Due::Now,
        Due::In(_) if confirmed.is_some() => Due::In(watched(context)),
        due => due,
    };
    Standing {
        synced,
        status,
        due,
        is_stirred,
        is_stale,
    }
}

/// How long ago all values were known to be as they were read, if that is as good as reading them now.
fn confirmed(
    object: &ExternalSecret,
    context: &Context,
    user: &NamespacedName,
    stores: &Stores,
    synced: Option<&LastSync>,
) -> Option<Duration> {
    let confirmed = context.fetcher.confirmed(user)?;
    if watch_interval(&object.spec).is_none() {
        context.fetcher.unwatch(user);
        return None;
    }
    // What nobody may compare is written again at its interval.
    let is_orphan = object.spec.target.creation_policy == CreationPolicy::Orphan;
    let is_kept = !is_orphan || is_unchanged(context, user, &target_of(object), synced);
    (is_kept && are_usable(context, stores, user)).then_some(confirmed)
}

/// True if all stores may be read from at present.
fn are_usable(context: &Context, stores: &Stores, user: &NamespacedName) -> bool {
    stores.iter().all(|(reference, store)| {
        let usable = store.as_ref().ok();
        usable.is_some_and(|store| {
            store
                .check_usable(context, reference, &user.namespace)
                .is_ok()
        })
    })
}

/// Which stores, and in which state of their specs.
fn of_stores(stores: &Stores) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hash = DefaultHasher::new();
    for (reference, store) in stores {
        let generation = store.as_ref().map(|store| store.generation);
        (reference.to_string(), generation.unwrap_or_default()).hash(&mut hash);
    }
    hash.finish()
}

/// True if the time of the last refresh is to be written, though nothing has changed.
fn is_beat(object: &ExternalSecret, context: &Context, now: Timestamp) -> bool {
    let heartbeat = context.settings.status_heartbeat;
    let written = object.status.as_ref();
    let written = written.filter(|written| written.refresh_time.is_some());
    written.is_some_and(|written| status::is_beat(written, heartbeat, now))
}

/// When to look again: where all values are watched, only for what else the clock may ask for.
fn after(
    object: &ExternalSecret,
    context: &Context,
    user: &NamespacedName,
    reading: Option<Reading>,
) -> Action {
    if watch(object, context, user, reading) {
        return Action::requeue(watched(context));
    }
    context.fetcher.unwatch(user);
    let interval = interval(&object.spec).filter(|interval| !interval.is_zero());
    interval.map_or_else(Action::await_change, |interval| {
        Action::requeue(context.settings.jittered(interval, object))
    })
}

/// When one is looked at again whose values are watched.
fn watched(context: &Context) -> Duration {
    let heartbeat = context.settings.status_heartbeat;
    heartbeat.map_or(WATCHED, |heartbeat| heartbeat.min(WATCHED))
}

/// True for a moment for a store that nobody has validated yet, at the start and when it is new.
fn is_new_store(context: &Context, stores: &Stores) -> bool {
    /// Longer, and something is wrong, which should be said.
    const MOMENT: Duration = Duration::from_secs(15);
    let is_new = |store: &StoreObject| {
        let age = Timestamp::now().duration_since(store.created);
        store.is_unknown
            && (context.started.elapsed() < MOMENT
                || Duration::try_from(age).is_ok_and(|age| age < MOMENT))
    };
    context.settings.flood_gate
        && stores
            .iter()
            .any(|(_, store)| store.as_ref().is_ok_and(is_new))
}

/// Counts the sync, and writes the status if it says something new.
async fn say(
    object: &ExternalSecret,
    context: &Context,
    api: &Api<ExternalSecret>,
    result: &Result<sync::SyncOutcome, sync::SecretSyncError>,
    version: &str,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let NamespacedName { namespace, name } = user_of(object);
    context
        .metrics
        .external_secret(&namespace, &name, result.is_ok());
    let old = object.status.clone().unwrap_or_default();
    let (target, heartbeat) = (target_of(object), context.settings.status_heartbeat);
    let new = status::next(object, &old, result, &target, version, now, heartbeat);
    if object.status.as_ref() == Some(&new) {
        return Ok(());
    }
    context.write_status(api, object, &new).await
}

fn urgency(status: &ExternalSecretStatus, is_change: bool) -> Urgency {
    match &status.refresh_time {
        // One that was tried in vain has had its turn.
        None if status.conditions.is_empty() => Urgency::NeverSynced,
        Some(_) if is_change => Urgency::Changed,
        _ => Urgency::Periodic,
    }
}

/// Lets go of an object that is being deleted.
async fn finish(
    object: &ExternalSecret,
    context: &Context,
    api: &Api<ExternalSecret>,
) -> Result<Action, ReconcileError> {
    if deletes(object)
        && object
            .finalizers()
            .iter()
            .any(|name| name == EXTERNAL_SECRET_FINALIZER)
    {
        let secrets: Api<Secret> = context.secrets_of(object);
        let live = secrets.get_opt(&target_of(object)).await?;
        let uid = object.uid().unwrap_or_default();
        let live = live.filter(|live| is_controlled_by(&live.metadata, &uid));
        if let Some(live) = live {
            delete(&secrets, &Precondition::of(&live.metadata)).await?;
        }
    }
    forget(context, &user_of(object));
    context
        .set_finalizer(api, object, EXTERNAL_SECRET_FINALIZER, false)
        .await?;
    Ok(Action::await_change())
}

/// Forgets an ExternalSecret that is gone.
pub(crate) fn forget(context: &Context, user: &NamespacedName) {
    context.dependency_index.forget(user);
    context.fetcher.unwatch(user);
    context.last_syncs.forget(user);
    context
        .reconcile_cache
        .forget(&format!("ExternalSecret/{}/{}", user.namespace, user.name));
    context
        .metrics
        .forget_external_secret(&user.namespace, &user.name);
}

fn user_of(object: &ExternalSecret) -> NamespacedName {
    NamespacedName::of(object)
}

/// True if the Secret is deleted with its ExternalSecret, whatever becomes of what it owns.
fn deletes(object: &ExternalSecret) -> bool {
    let target = &object.spec.target;
    target.deletion_policy == DeletionPolicy::Delete
        && target.creation_policy == CreationPolicy::Owner
}

fn target_of(object: &ExternalSecret) -> String {
    let name = object.spec.target.name.clone();
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| object.name_any())
}

/// Takes note of all that is used; gives the stores.
fn note_uses(
    object: &ExternalSecret,
    context: &Context,
    user: &NamespacedName,
    desired: Result<&DesiredSecret, &SpecError>,
) -> Stores {
    let uses = desired.map(|desired| uses(object, desired));
    context.dependency_index.set(user, uses.unwrap_or_default());
    desired.map_or_else(
        |_| Vec::new(),
        |desired| stores(context, desired, &user.namespace),
    )
}

/// The stores that are read from, or why they cannot be.
fn stores(context: &Context, desired: &DesiredSecret, namespace: &str) -> Stores {
    let resolve = |store: StoreRef| {
        let object = resolve_store(context, &store, namespace);
        (store, object)
    };
    desired.stores().into_iter().map(resolve).collect()
}

/// True for a store that another controller serves. One that is not there may be anybody's, and is missed.
fn is_of_others(context: &Context, store: &Result<StoreObject, String>) -> bool {
    let settings = &context.settings;
    store.as_ref().is_ok_and(|store| {
        !settings.serves(&store.spec) || store.is_cluster() && !settings.cluster_stores
    })
}

/// What the stores are and how they stand, so that a store that recovers wakes those that wait for it.
fn fingerprint(stores: &[(StoreRef, Result<StoreObject, String>)]) -> String {
    let part = |(store, object): &(StoreRef, Result<StoreObject, String>)| match object {
        Ok(object) => format!("{store} {}:{}", object.generation, object.ready),
        Err(message) => format!("{store} {message}"),
    };
    stores.iter().map(part).collect::<Vec<_>>().join(";")
}

/// All that an ExternalSecret uses.
fn uses(object: &ExternalSecret, desired: &DesiredSecret) -> BTreeSet<Dependency> {
    let namespace = object.namespace().unwrap_or_default();
    let mut uses = BTreeSet::from([Dependency::Target(
        namespace.clone(),
        desired.target.clone(),
    )]);
    uses.extend(desired.stores().into_iter().map(|store| {
        let namespace = match store.kind {
            StoreKind::SecretStore => namespace.clone(),
            StoreKind::ClusterSecretStore => String::new(),
        };
        Dependency::Store(store.kind, namespace, store.name)
    }));
    uses.extend(desired.generators().map(|entry| {
        let generator = &entry.generator;
        let namespace = if generator.kind == "ClusterGenerator" {
            String::new()
        } else {
            namespace.clone()
        };
        Dependency::Generator(generator.kind.clone(), namespace, generator.name.clone())
    }));
    let template = object.spec.target.template.as_deref();
    let templates = template.map(references).unwrap_or_default();
    uses.extend(templates.into_iter().map(|(kind, name)| match kind {
        TemplateSourceKind::ConfigMap => Dependency::ConfigMap(namespace.clone(), name),
        TemplateSourceKind::Secret => Dependency::Secret(namespace.clone(), name),
    }));
    uses
}

/// True if a changed template is followed at once. What a generator makes must not change with a template.
fn follows_sources(desired: Result<&DesiredSecret, &SpecError>) -> bool {
    desired.is_ok_and(|desired| desired.generators().next().is_none())
}

/// True if the last sync ended well, as far as is known: what was written last may not have come back yet.
fn is_ready(
    object: &ExternalSecret,
    status: &ExternalSecretStatus,
    synced: Option<&LastSync>,
) -> bool {
    let written = object.status.as_ref();
    let written = written.and_then(|written| written.refresh_time.as_ref());
    match synced {
        Some(synced) if written.is_none_or(|written| written.0 <= synced.refreshed) => synced.ready,
        _ => status::is_ready(status),
    }
}

/// True if the metadata of the Secret says that it is as it was after the last sync or look.
fn is_unchanged(
    context: &Context,
    user: &NamespacedName,
    target: &str,
    synced: Option<&LastSync>,
) -> bool {
    let known = context.caches.secret(&user.namespace, target);
    let version = known.and_then(|known| known.resource_version);
    let synced = synced.map(|synced| &synced.secret);
    version.is_some() && version.as_ref() == synced
}

/// Remembers a Secret that was found as it should be, so that it is not read again before it changes.
fn remember(
    object: &ExternalSecret,
    context: &Context,
    status: &ExternalSecretStatus,
    live: &Live,
    stores: &Stores,
) {
    let (Live::Read(Some(live)), Some(version), Some(refreshed)) =
        (live, &status.synced_resource_version, &status.refresh_time)
    else {
        return;
    };
    let synced = LastSync {
        uid: object.uid().unwrap_or_default(),
        version: version.clone(),
        stores: of_stores(stores),
        refreshed: refreshed.0,
        ready: true,
        secret: live.resource_version().unwrap_or_default(),
        // What was rendered is not known, so the next refresh compares with the Secret itself.
        rendered: [0; 32],
    };
    let user = user_of(object);
    // As after a sync, so that a restart leaves no gap in what is alerted on.
    context
        .metrics
        .external_secret_is(&user.namespace, &user.name, true);
    context.last_syncs.set(&user, synced);
}

/// The resource version of the Secret.
fn seen(live: &Live) -> String {
    match live {
        Live::Unchanged => "unchanged".to_owned(),
        Live::Read(None) => "none".to_owned(),
        Live::Read(Some(live)) => live.resource_version().unwrap_or_default(),
    }
}

fn is_valid_target(object: &ExternalSecret, status: &ExternalSecretStatus, live: &Live) -> bool {
    match live {
        Live::Unchanged => true,
        // It was deleted because the stores have no values.
        Live::Read(None) if status::has_reason(status, "SecretDeleted") => true,
        Live::Read(None) if status::is_retained_without(status) => true,
        Live::Read(live) => is_valid(object.spec.target.creation_policy, live.as_deref()),
    }
}

/// The first and the longest wait before a failed sync is tried again.
fn bounds(error: &sync::SecretSyncError) -> (Duration, Duration) {
    if error.is_permanent() {
        (Duration::from_secs(300), Duration::from_secs(3600))
    } else {
        BACKOFF
    }
}

fn is_version(status: &ExternalSecretStatus, version: &str) -> bool {
    status.synced_resource_version.as_deref() == Some(version)
}

fn rest(due: Due) -> Action {
    match due {
        Due::In(wait) => Action::requeue(wait),
        Due::Now | Due::Never => Action::await_change(),
    }
}

fn version(object: &ExternalSecret) -> String {
    let generation = object.meta().generation.unwrap_or_default();
    synced_resource_version(generation, object.labels(), object.annotations())
}

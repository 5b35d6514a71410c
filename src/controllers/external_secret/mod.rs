//! `ExternalSecret`: observes, decides whether a sync is due, syncs, and records what came of it.

mod context;
mod error;
mod generators;
mod observe;
mod read;
mod status;
mod sync;
mod template;

pub(crate) use context::{ExternalSecretContext, ExternalSecretSettings};

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::{Client, Resource as _, ResourceExt as _};

use crate::cluster::secret_writer::{delete, write};
use crate::controllers::ReconcileError;
use crate::controllers::ending::is_definition_ending;
use crate::controllers::objects::{add_finalizer, api_of, remove_finalizer, secrets_of};
use crate::controllers::unreadable::Readable;
use crate::metrics::ReconcileResult;
use crate::permits::Permit;
use error::SecretSyncError;
use observe::{live_secret, observe, references, sync_options};
use overlayd_core::api::annotations::EXTERNAL_SECRET_FINALIZER;
use overlayd_core::api::external_secret::ExternalSecret;
use overlayd_core::names::{NamespacedName, ObjectKey};
use overlayd_core::reconcile_cache::Fingerprint;
use overlayd_core::secrets::decide::{Precondition, SecretWrite, released};
use overlayd_core::secrets::observed::{
    LiveSecret, ObservedExternalSecret, ReadDecision, SecretEnd, Standing, SyncDecision, Urgency,
    are_served, owns_secret, secret_end, target_name, uid,
};
use overlayd_core::secrets::owner::is_controlled_by;
use read::StoreReads;
use status::{action, publish_events, record_in_caches, record_kept, record_status};
use sync::{SyncRequest, Synchronized, sync};

/// Syncs if a refresh is due, or if the Secret is not as it was written.
pub(crate) async fn reconcile(
    object: Readable<ExternalSecret>,
    context: Arc<ExternalSecretContext>,
) -> Result<Action, ReconcileError> {
    context.caches.ready().await;
    if object.meta().deletion_timestamp.is_some() {
        return finalize(&object, &context).await;
    }
    let (name, options) = (
        NamespacedName::of(&*object),
        sync_options(&context.settings),
    );
    let references = references(&object, &context);
    if !are_served(&references.stores, &options.stores) {
        context.fetcher.unwatch(&name);
        return Ok(Action::await_change());
    }
    if owns_secret(&object) {
        let api = api_of(&context.client, &*object);
        add_finalizer(&api, &*object, EXTERNAL_SECRET_FINALIZER).await?;
    }
    let now = Timestamp::now();
    let observed = observe(&object, &context, references);
    let standing = observed.standing(&options, now);
    match observed.before_read(&standing, &options.stores, now) {
        ReadDecision::Rest(requeue) => return Ok(action(requeue)),
        ReadDecision::AwaitStore(wait) => return Ok(Action::requeue(wait)),
        ReadDecision::Read => {}
    }
    let reads = StoreReads::announce(&observed, &context, &options).await;
    let permits = acquire_permits(&observed, &context, &standing).await;
    let live = live_secret(&object, &context, &standing).await?;
    if let SyncDecision::Keep { last_sync, requeue } = observed.before_sync(&standing, &live) {
        record_kept(&observed, &context, last_sync.map(|last| *last), reads);
        return Ok(action(requeue));
    }
    let fingerprint = observed.sync_fingerprint(&live);
    if let Some(rest) = remaining_backoff(&observed, &context, &fingerprint) {
        return Ok(Action::requeue(rest));
    }
    let request = SyncRequest {
        observed: &observed,
        standing: &standing,
        context: &context,
    };
    // Boxed: a reconcile that waits for its permits should be small.
    let result = Box::pin(sync_with(permits, request, live, reads)).await;
    let (result, requeue) = record_in_caches(&observed, &context, &fingerprint, result)?;
    publish_events(&context, &object, &result).await;
    record_status(&context, &object, &result, now).await?;
    Ok(action(requeue))
}

/// The right to sync: a permit of the first store, so that one store does not take all, and a permit of the daemon.
struct SyncPermits {
    _store: Option<Permit<Urgency>>,
    _daemon: Permit<Urgency>,
}

/// Waits for the permits of a sync, the store's first: a store that does not answer holds back its own ExternalSecrets
/// and leaves the permits of the daemon to others.
async fn acquire_permits(
    observed: &ObservedExternalSecret<'_>,
    context: &ExternalSecretContext,
    standing: &Standing,
) -> SyncPermits {
    let (first, namespace) = (observed.stores.first(), observed.namespace());
    let store = match first.and_then(|store| store.state.as_ref().ok()) {
        Some(state) => {
            let semaphore = context.store_permits.of(&state.key());
            Some(semaphore.acquire(namespace, standing.urgency).await)
        }
        None => None,
    };
    SyncPermits {
        _store: store,
        _daemon: context
            .sync_permits
            .acquire(namespace, standing.urgency)
            .await,
    }
}

/// How long a sync that failed must still wait, if nothing has changed that the failure may have come from.
fn remaining_backoff(
    observed: &ObservedExternalSecret<'_>,
    context: &ExternalSecretContext,
    fingerprint: &Fingerprint,
) -> Option<Duration> {
    if observed.ignores_backoff() {
        return None;
    }
    let key = ObjectKey::of(observed.object);
    context
        .reconcile_cache
        .rest(&key, fingerprint, Instant::now())
}

/// Syncs, and gives the permits back.
async fn sync_with(
    _permits: SyncPermits,
    request: SyncRequest<'_>,
    live: LiveSecret,
    reads: Result<StoreReads, SecretSyncError>,
) -> Result<Synchronized, SecretSyncError> {
    let context = request.context;
    let name = NamespacedName::of(request.observed.object);
    let timer = context.metrics.start("ExternalSecret");
    context.dependency_index.clear_stale(&name);
    let result = sync(&request, live, reads).await;
    let outcome = ReconcileResult::of(&result);
    timer.finish(outcome, &name.name, &name.namespace);
    result
}

/// Deletes or releases the Secret of an ExternalSecret that is being deleted, or leaves it, and lets the object go.
async fn finalize(
    object: &ExternalSecret,
    context: &ExternalSecretContext,
) -> Result<Action, ReconcileError> {
    let mut finalizers = object.finalizers().iter();
    let has_finalizer = finalizers.any(|name| name == EXTERNAL_SECRET_FINALIZER);
    if has_finalizer {
        let is_ending = is_definition_ending::<ExternalSecret>(&context.client).await?;
        end_secret(object, &context.client, secret_end(object, is_ending)).await?;
    }
    forget(context, &NamespacedName::of(object));
    let api = api_of(&context.client, object);
    remove_finalizer(&api, object, EXTERNAL_SECRET_FINALIZER).await?;
    Ok(Action::await_change())
}

/// Does with the Secret what was decided, if this ExternalSecret still owns it.
async fn end_secret(
    object: &ExternalSecret,
    client: &Client,
    end: SecretEnd,
) -> Result<(), kube::Error> {
    if end == SecretEnd::Leave {
        return Ok(());
    }
    let secrets: Api<Secret> = secrets_of(client, object);
    let live = secrets.get_opt(&target_name(object)).await?;
    let Some(live) = live.filter(|live| is_controlled_by(&live.metadata, &uid(object))) else {
        return Ok(());
    };
    if end == SecretEnd::Delete {
        delete(&secrets, &Precondition::of(&live.metadata)).await?;
        return Ok(());
    }
    let (name, uid) = (NamespacedName::of(object), uid(object));
    tracing::warn!(secret = %NamespacedName::of(&live), "it stays without an owner, since the definition of ExternalSecrets is being deleted");
    let released = SecretWrite::Update(Box::new(released(live, &uid)));
    write(&secrets, &name.name, released).await?;
    Ok(())
}

/// Forgets an ExternalSecret that is gone.
pub(crate) fn forget(context: &ExternalSecretContext, name: &NamespacedName) {
    context.dependency_index.forget(name);
    context.fetcher.unwatch(name);
    context.last_syncs.forget(name);
    let key = ObjectKey::new(ExternalSecret::kind(&()), name.clone());
    context.reconcile_cache.forget(&key);
    let NamespacedName { namespace, name } = name;
    context.metrics.forget_external_secret(namespace, name);
}

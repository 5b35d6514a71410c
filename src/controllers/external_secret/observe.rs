//! Talks to the API server: gathers what is known of an ExternalSecret into one value, for the rules in
//! `overlayd_core::secrets::observed`.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use crate::controllers::external_secret::context::ExternalSecretContext;
use crate::controllers::external_secret::context::ExternalSecretSettings;
use crate::controllers::objects::secrets_of;
use crate::controllers::stores::Store as _;
use overlayd_core::api::external_secret::{ExternalSecret, StoreKind};
use overlayd_core::names::NamespacedName;
use overlayd_core::secrets::dependency_index::dependencies;
use overlayd_core::secrets::desired::{DesiredSecret, SpecError, StoreRef, resolve};
use overlayd_core::secrets::observed::{
    LiveSecret, ObservedExternalSecret, ObservedStore, Standing, SyncOptions, can_be_watched,
    target_name, uid,
};
use overlayd_core::secrets::store_state::{StoreOptions, StoreState, StoreUnusable};

/// What the flags say about syncs.
pub(super) fn sync_options(settings: &ExternalSecretSettings) -> SyncOptions<'_> {
    SyncOptions {
        status_heartbeat: settings.status_heartbeat,
        stores: StoreOptions {
            controller_class: &settings.class.0,
            serves_cluster_stores: settings.cluster_stores,
            requires_readiness: settings.flood_gate,
        },
    }
}

/// What the spec asks for, and the stores that it reads from.
pub(super) struct References {
    desired: Result<DesiredSecret, SpecError>,
    pub(super) stores: Vec<ObservedStore>,
}

/// Resolves the references of the spec, and records them in the dependency index.
pub(super) fn references(object: &ExternalSecret, context: &ExternalSecretContext) -> References {
    let name = NamespacedName::of(object);
    let desired = resolve(&object.name_any(), &object.spec);
    let (uses, stores) = match &desired {
        Ok(desired) => (dependencies(object, desired), desired.stores()),
        Err(_) => Default::default(),
    };
    context.dependency_index.set(&name, uses);
    let observe = |reference: StoreRef| ObservedStore {
        state: store(context, &reference, &name.namespace),
        reference,
    };
    References {
        desired,
        stores: stores.into_iter().map(observe).collect(),
    }
}

/// The store that a reference names, as the watch saw it last.
fn store(
    context: &ExternalSecretContext,
    reference: &StoreRef,
    namespace: &str,
) -> Result<StoreState, StoreUnusable> {
    let (caches, name) = (&context.caches, &reference.name);
    let found = match reference.kind {
        StoreKind::SecretStore => {
            let store = caches.stores.get(&ObjectRef::new(name).within(namespace));
            store.map(|store| store.store_state())
        }
        StoreKind::ClusterSecretStore => {
            let store = caches.cluster_stores.get(&ObjectRef::new(name));
            store.map(|store| store.store_state())
        }
    };
    found.ok_or_else(|| StoreUnusable::missing(reference, namespace))
}

/// Gathers what this process knows without a request. A refresh request is taken with it.
pub(super) fn observe<'o>(
    object: &'o ExternalSecret,
    context: &ExternalSecretContext,
    references: References,
) -> ObservedExternalSecret<'o> {
    let name = NamespacedName::of(object);
    let References { desired, stores } = references;
    let (index, fetcher) = (&context.dependency_index, &context.fetcher);
    let mut confirmed_ago = fetcher.confirmed(&name);
    if confirmed_ago.is_some() && !can_be_watched(object) {
        fetcher.unwatch(&name);
        confirmed_ago = None;
    }
    let secret = context.caches.secret(&name.namespace, &target_name(object));
    ObservedExternalSecret {
        object,
        desired,
        stores,
        namespace_labels: context.caches.namespaces.labels(&name.namespace),
        last_sync: context.last_syncs.get(&name, &uid(object)),
        watched_secret_version: secret.and_then(|secret| secret.resource_version),
        has_refresh_request: index.take_refresh_request(&name),
        has_stale_sources: index.is_stale(&name),
        has_changed_values: fetcher.has_news(&name),
        confirmed_ago,
        uptime: context.started.elapsed(),
    }
}

/// Reads the live Secret, unless its metadata says that it is unchanged.
pub(super) async fn live_secret(
    object: &ExternalSecret,
    context: &ExternalSecretContext,
    standing: &Standing,
) -> Result<LiveSecret, kube::Error> {
    if standing.is_secret_unchanged {
        return Ok(LiveSecret::Unchanged);
    }
    let secrets = secrets_of(&context.client, object);
    let live: Option<Secret> = secrets.get_opt(&target_name(object)).await?;
    Ok(LiveSecret::Read(live.map(Box::new)))
}

//! Talks to the API server: the watches that feed the secrets controllers, and their caches. Stores are kept whole;
//! Secrets and namespaces only by their metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::Api;
use kube::core::{DeserializeGuard, ObjectMeta, PartialObjectMeta, PartialObjectMetaExt as _};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use crate::aws::Fetcher;
use crate::cluster::served::{Announce, while_served};
use crate::cluster::watch::WatchedObjects;
use crate::controllers::rotation::Rotations;
use overlayd_core::api::annotations::{CREATED_BY, MANAGED};
use overlayd_core::api::external_secret::StoreKind;
use overlayd_core::api::generators::{ClusterGenerator, Fake, Password, UUID};
use overlayd_core::api::kustomization::SubstituteKind;
use overlayd_core::api::secret_store::{ClusterSecretStore, SecretStore};
use overlayd_core::names::NamespacedName;
use overlayd_core::reconcile_cache::ReconcileCache;
use overlayd_core::render::variable_index::{VariableIndex, VariableSource};
use overlayd_core::secrets::dependency_index::{Dependency, DependencyIndex};

/// The objects that are known without a request.
#[derive(Debug, Clone)]
pub(crate) struct Caches {
    /// Every SecretStore that can be deserialized.
    pub(crate) stores: Store<SecretStore>,
    /// Every ClusterSecretStore that can be deserialized.
    pub(crate) cluster_stores: Store<ClusterSecretStore>,
    /// Managed Secrets only, with the metadata that tells their owner.
    pub(crate) secrets: Store<PartialObjectMeta<Secret>>,
    pub(crate) namespaces: Namespaces,
    /// Set when everything was listed once.
    listed: Arc<OnceCell<()>>,
}

/// The namespaces, with their labels.
#[derive(Debug, Clone)]
pub(crate) struct Namespaces(Store<PartialObjectMeta<Namespace>>);

impl Namespaces {
    /// True if the namespace is being deleted.
    pub(crate) fn is_going(&self, namespace: &str) -> bool {
        let namespace = self.0.get(&ObjectRef::new(namespace));
        namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// The labels of a namespace; `None` if it is not known.
    pub(crate) fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        let namespace = self.0.get(&ObjectRef::new(namespace))?;
        Some(namespace.metadata.labels.clone().unwrap_or_default())
    }
}

/// What the watches wake and invalidate besides ExternalSecrets.
#[derive(Clone)]
pub(crate) struct WatchContext {
    /// Lists and watches.
    pub(crate) client: Client,
    /// Which ExternalSecret depends on which object, at which version.
    pub(crate) dependency_index: Arc<DependencyIndex>,
    /// The Kustomizations that read ConfigMaps and Secrets for their variables.
    pub(crate) variables: Arc<VariableIndex>,
    /// Re-queues Kustomizations.
    pub(crate) applied: Arc<WatchedObjects>,
    /// Reads with the access keys that Secrets hold.
    pub(crate) fetcher: Arc<Fetcher>,
    /// Forgets stores whose keys have changed, so that they are validated at once.
    pub(crate) reconcile_cache: Arc<ReconcileCache>,
    /// Re-queues the stores.
    pub(crate) rotations: Arc<Rotations>,
}

/// The write handles of the caches.
pub(crate) struct Writers {
    stores: Writer<SecretStore>,
    cluster_stores: Writer<ClusterSecretStore>,
    secrets: Writer<PartialObjectMeta<Secret>>,
    namespaces: Writer<PartialObjectMeta<Namespace>>,
}

/// Empty caches. They fill when [`wakes`] is polled.
pub(crate) fn caches() -> (Caches, Writers) {
    let (stores, stores_writer) = reflector::store();
    let (cluster_stores, cluster_stores_writer) = reflector::store();
    let (secrets, secrets_writer) = reflector::store();
    let (namespaces, namespaces_writer) = reflector::store();
    let caches = Caches {
        stores,
        cluster_stores,
        secrets,
        namespaces: Namespaces(namespaces),
        listed: Arc::default(),
    };
    let writers = Writers {
        stores: stores_writer,
        cluster_stores: cluster_stores_writer,
        secrets: secrets_writer,
        namespaces: namespaces_writer,
    };
    (caches, writers)
}

impl Caches {
    /// Waits until everything was listed once.
    pub(crate) async fn ready(&self) {
        // A cache wakes only the last task that waits for it, so one task waits on behalf of all.
        let listed = async {
            // An error means that the process is stopping; then no task waits for long.
            let _ = self.stores.wait_until_ready().await;
            let _ = self.cluster_stores.wait_until_ready().await;
            let _ = self.secrets.wait_until_ready().await;
            let _ = self.namespaces.0.wait_until_ready().await;
        };
        self.listed.get_or_init(|| listed).await;
    }

    /// The metadata of a managed Secret.
    pub(crate) fn secret(&self, namespace: &str, name: &str) -> Option<ObjectMeta> {
        let secret = self.secrets.get(&ObjectRef::new(name).within(namespace))?;
        Some(secret.metadata.clone())
    }
}

/// The ExternalSecrets that a change concerns, as changes come: of stores, generators, templates, namespaces, and of
/// target Secrets.
///
/// A change of a ConfigMap or Secret also re-queues the Kustomizations that have read it for their variables.
pub(crate) fn wakes(
    context: &WatchContext,
    writers: Writers,
) -> impl Stream<Item = NamespacedName> + Send + use<> {
    let (client, index) = (&context.client, &context.dependency_index);
    let cluster_stores = watched_whole::<ClusterSecretStore>(client, writers.cluster_stores);
    let stores = watched_whole::<SecretStore>(client, writers.stores);
    let secrets = watched(watch(client), Some(writers.secrets), managed);
    let namespaces = watched(watch(client), Some(writers.namespaces), labelled);
    let maps = watched::<PartialObjectMeta<ConfigMap>>(watch(client), None, |_| None);
    let (of_secrets, of_maps, of_namespaces) = (context.clone(), context.clone(), index.clone());
    let all: [BoxStream<'static, Vec<NamespacedName>>; 9] = [
        dependents_of_stores(StoreKind::SecretStore, stores, index),
        dependents_of_stores(StoreKind::ClusterSecretStore, cluster_stores, index),
        secrets
            .map(move |secret| secret_changed(&of_secrets, &secret))
            .boxed(),
        maps.map(move |map| config_map_changed(&of_maps, &map))
            .boxed(),
        namespaces
            .map(move |namespace| {
                of_namespaces.request_refresh(of_namespaces.in_namespace(&namespace.name_any()))
            })
            .boxed(),
        dependents_of_generators::<Password>(client, index),
        dependents_of_generators::<UUID>(client, index),
        dependents_of_generators::<Fake>(client, index),
        dependents_of_generators::<ClusterGenerator>(client, index),
    ];
    futures::stream::select_all(all).flat_map(futures::stream::iter)
}

/// The ExternalSecrets of each store that changes.
fn dependents_of_stores<K: Resource>(
    kind: StoreKind,
    stores: impl Stream<Item = K> + Send + 'static,
    index: &Arc<DependencyIndex>,
) -> BoxStream<'static, Vec<NamespacedName>> {
    let index = index.clone();
    stores
        .map(move |store| index.dependents(&Dependency::Store(kind, NamespacedName::of(&store))))
        .boxed()
}

/// A Secret may be a target, a source of templates or variables, or hold the access keys of a store.
fn secret_changed(
    context: &WatchContext,
    secret: &PartialObjectMeta<Secret>,
) -> Vec<NamespacedName> {
    wake_readers(context, SubstituteKind::Secret, &secret.metadata);
    retry_stores_with_keys_in(context, &secret.metadata);
    let (name, index) = (NamespacedName::of(secret), &context.dependency_index);
    let version = secret.resource_version().unwrap_or_default();
    let mut dependents = index.mark_stale(&Dependency::Secret(name.clone()), &version);
    dependents.extend(index.dependents(&Dependency::Target(name)));
    dependents
}

/// A ConfigMap may hold templates of ExternalSecrets or variables of Kustomizations.
fn config_map_changed(
    context: &WatchContext,
    map: &PartialObjectMeta<ConfigMap>,
) -> Vec<NamespacedName> {
    wake_readers(context, SubstituteKind::ConfigMap, &map.metadata);
    let dependency = Dependency::ConfigMap(NamespacedName::of(map));
    let version = map.resource_version().unwrap_or_default();
    context.dependency_index.mark_stale(&dependency, &version)
}

/// Re-queues the Kustomizations that have read another version of an object.
fn wake_readers(context: &WatchContext, kind: SubstituteKind, metadata: &ObjectMeta) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let name = NamespacedName::new(text(&metadata.namespace), text(&metadata.name));
    let source = VariableSource { kind, name };
    let version = text(&metadata.resource_version);
    for unit in context
        .variables
        .readers_of_other_versions(&source, &version)
    {
        context.applied.wake(&unit);
    }
}

/// Validates the stores again whose access keys are in a Secret that has changed.
fn retry_stores_with_keys_in(context: &WatchContext, metadata: &ObjectMeta) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, name) = (text(&metadata.namespace), text(&metadata.name));
    if context.fetcher.keys_changed(&namespace, &name) {
        context.reconcile_cache.forget_kind("SecretStore");
        context.reconcile_cache.forget_kind("ClusterSecretStore");
        context.rotations.stir();
    }
}

/// The ExternalSecrets of each generator that changes, which generate anew.
fn dependents_of_generators<K>(
    client: &Client,
    index: &Arc<DependencyIndex>,
) -> BoxStream<'static, Vec<NamespacedName>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let index = index.clone();
    watched::<PartialObjectMeta<K>>(while_served(watch(client), Announce::InLog), None, |_| None)
        .map(move |generator| {
            let dependency = Dependency::Generator {
                kind: K::kind(&()).into_owned(),
                name: NamespacedName::of(&generator),
            };
            index.request_refresh(index.dependents(&dependency))
        })
        .boxed()
}

/// A Secret as the cache keeps it, if it is managed.
fn managed(secret: &PartialObjectMeta<Secret>) -> Option<PartialObjectMeta<Secret>> {
    let labels = secret.metadata.labels.as_ref()?;
    let of_ours = |name: &str| Some((name.to_owned(), labels.get(name)?.clone()));
    let kept = [of_ours(MANAGED)?].into_iter().chain(of_ours(CREATED_BY));
    let slim = ObjectMeta {
        name: secret.metadata.name.clone(),
        namespace: secret.metadata.namespace.clone(),
        uid: secret.metadata.uid.clone(),
        resource_version: secret.metadata.resource_version.clone(),
        owner_references: secret.metadata.owner_references.clone(),
        labels: Some(kept.collect()),
        ..ObjectMeta::default()
    };
    Some(slim.into_response_partial())
}

/// A namespace as the cache keeps it: stores select namespaces by labels.
#[expect(clippy::unnecessary_wraps, reason = "every namespace is kept")]
fn labelled(namespace: &PartialObjectMeta<Namespace>) -> Option<PartialObjectMeta<Namespace>> {
    let slim = ObjectMeta {
        name: namespace.metadata.name.clone(),
        labels: namespace.metadata.labels.clone(),
        deletion_timestamp: namespace.metadata.deletion_timestamp.clone(),
        ..ObjectMeta::default()
    };
    Some(slim.into_response_partial())
}

/// Every store that is created, changed or deleted. A store that cannot be deserialized counts as missing: its own status
/// says why, and the other stores are read all the same.
fn watched_whole<K>(client: &Client, cache: Writer<K>) -> impl Stream<Item = K> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let before = cache.as_reader();
    // The controller of the kind says that it is not served.
    let events = while_served(watch::<DeserializeGuard<K>>(client), Announce::Elsewhere);
    let events = events.filter_map(move |event| {
        let event = match event {
            Ok(event) => legible(event, &before).map(Ok),
            Err(error) => Some(Err(error)),
        };
        futures::future::ready(event)
    });
    watched(events, Some(cache), |object| Some(object.clone()))
}

/// The event with the objects that can be deserialized. An object that no longer can counts as deleted.
fn legible<K>(event: Event<DeserializeGuard<K>>, before: &Store<K>) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let known = |guard: &DeserializeGuard<K>| {
        let name = ObjectRef::new(&guard.name_any());
        before.get(&match guard.namespace() {
            Some(namespace) => name.within(&namespace),
            None => name,
        })
    };
    match event {
        Event::Apply(guard) => match guard.0 {
            Ok(object) => Some(Event::Apply(object)),
            Err(_) => known(&guard).map(|object| Event::Delete((*object).clone())),
        },
        Event::Delete(guard) => {
            let known = known(&guard).map(|object| (*object).clone());
            guard.0.ok().or(known).map(Event::Delete)
        }
        Event::Init => Some(Event::Init),
        Event::InitApply(guard) => guard.0.ok().map(Event::InitApply),
        Event::InitDone => Some(Event::InitDone),
    }
}

/// The events of all objects of a kind. A watch that breaks is resumed, with longer and longer pauses.
fn watch<K>(client: &Client) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(Api::<K>::all(client.clone()), watcher::Config::default()).default_backoff()
}

/// Every object of a kind that is created, changed or deleted. The part that `keep` selects is in the cache before the
/// object is given out.
fn watched<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    mut cache: Option<Writer<K>>,
    keep: fn(&K) -> Option<K>,
) -> impl Stream<Item = K> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    // Listed objects are given out when the list is complete, since only then they are in the cache. Objects that were in
    // the cache and are not in the list were deleted meanwhile; they are given out too.
    let (mut listed, mut before) = (Vec::new(), Vec::new());
    let changes = events.map(move |event| {
        let (kept, changed) = match event {
            Ok(Event::Apply(object)) => (Some(applied(&object, keep)), vec![object]),
            Ok(Event::Delete(object)) => (Some(Event::Delete(object.clone())), vec![object]),
            Ok(Event::Init) => {
                listed.clear();
                before = cache
                    .as_ref()
                    .map_or_else(Vec::new, |cache| cache.as_reader().state());
                (Some(Event::Init), Vec::new())
            }
            Ok(Event::InitApply(mut object)) => {
                let kept = keep(&object).map(Event::InitApply);
                object.managed_fields_mut().clear();
                object.annotations_mut().clear();
                listed.push(object);
                (kept, Vec::new())
            }
            Ok(Event::InitDone) => {
                let mut changed = std::mem::take(&mut listed);
                let name = |object: &K| (object.namespace(), object.name_any());
                let there: BTreeSet<_> = changed.iter().map(name).collect();
                let gone = std::mem::take(&mut before).into_iter();
                let gone = gone.filter(|object| !there.contains(&name(object)));
                changed.extend(gone.map(|object| (*object).clone()));
                (Some(Event::InitDone), changed)
            }
            Err(error) => {
                let error = error.to_string();
                tracing::warn!(kind = %K::kind(&()), error, "a watch broke and is resumed");
                (None, Vec::new())
            }
        };
        if let (Some(cache), Some(kept)) = (&mut cache, kept) {
            cache.apply_watcher_event(&kept);
        }
        futures::stream::iter(changed)
    });
    changes.flatten()
}

/// An object that is no longer kept leaves the cache.
fn applied<K: Clone>(object: &K, keep: fn(&K) -> Option<K>) -> Event<K> {
    match keep(object) {
        Some(kept) => Event::Apply(kept),
        None => Event::Delete(object.clone()),
    }
}

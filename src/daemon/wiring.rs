//! Wires each controller: what it watches, what wakes it besides, how many reconciles run at once, and what is forgotten
//! when an object is gone.

use std::fmt::Debug;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _};
use kube::api::{Api, DynamicObject};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::cli::config::Config;
use crate::cluster::served::{Announce, while_served};
use crate::controllers::caches::{self, Writers};
use crate::controllers::panicked::{Panics, contained};
use crate::controllers::unreadable::Readable;
use crate::controllers::{self, FailureReporter, ReconcileError, error_policy, observe};
use crate::daemon::setup::Contexts;
use crate::daemon::signals::stopped;
use crate::daemon::telemetry::reconcile_span;
use crate::metrics::Metrics;
use crate::permits::{FairSemaphore, Permit};
use overlayd_core::api::external_secret::ExternalSecret;
use overlayd_core::api::git_repository::GitRepository;
use overlayd_core::api::kustomization::Kustomization;
use overlayd_core::api::receiver::Receiver;
use overlayd_core::api::secret_store::{ClusterSecretStore, SecretStore};
use overlayd_core::fair_queue::Shares;
use overlayd_core::names::{NamespacedName, ObjectKey};

/// ExternalSecrets for which a store has something new.
type Moved = futures::channel::mpsc::UnboundedReceiver<NamespacedName>;

/// Makes the metrics of all controllers, so that dashboards find them before the first reconcile.
pub(super) fn announce(metrics: &Metrics, config: &Config) {
    let concurrent = config.concurrent;
    for kind in [
        "GitRepository",
        "Kustomization",
        "Receiver",
        "SecretStore",
        "ClusterSecretStore",
    ] {
        metrics.controller(kind, concurrent);
    }
    metrics.controller("ExternalSecret", config.concurrent_secrets);
}

/// The controllers, each with its name.
pub(super) fn wire(
    contexts: &Contexts,
    (writers, moved): (Writers, Moved),
    config: &Config,
    stopping: &watch::Receiver<bool>,
) -> Vec<(&'static str, BoxFuture<'static, ()>)> {
    let concurrent = config.concurrent;
    vec![
        (
            "the GitRepository controller",
            git_repositories(contexts, config, stopping).boxed(),
        ),
        (
            "the Kustomization controller",
            kustomizations(contexts, config, stopping).boxed(),
        ),
        (
            "the SecretStore controller",
            stores::<SecretStore>(contexts, concurrent, stopping).boxed(),
        ),
        (
            "the ClusterSecretStore controller",
            stores::<ClusterSecretStore>(contexts, concurrent, stopping).boxed(),
        ),
        (
            "the ExternalSecret controller",
            external_secrets(contexts, (writers, moved), stopping).boxed(),
        ),
    ]
}

/// Wakes a source when a source that it includes has a new commit.
fn git_repositories(
    contexts: &Contexts,
    config: &Config,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let context = &contexts.git_repositories;
    let objects = flux_objects(contexts, config);
    let controller = controller::<GitRepository>(contexts, objects, shard(config));
    let store = controller.store();
    // Those that include it look at it again.
    let moved = context
        .sources
        .moved()
        .flat_map(move |NamespacedName { namespace, name }| {
            let users = store.state_filter(|user: &DeserializeGuard<GitRepository>| {
                let Ok(user) = &user.0 else {
                    return false;
                };
                let mut includes = user.spec.include.iter();
                user.namespace().as_ref() == Some(&namespace)
                    && includes.any(|include| include.repository.name == name)
            });
            futures::stream::iter(users.into_iter().map(|user| ObjectRef::from_obj(&*user)))
        });
    let damaged = context.sources.damaged();
    let damaged = damaged.map(|source| ObjectRef::new(&source.name).within(&source.namespace));
    let controller = controller
        .reconcile_on(counted(moved, contexts))
        .reconcile_on(counted(damaged, contexts));
    let reconcile = Turns::new(
        controllers::git_repository::reconcile,
        fetches(config.concurrent),
    );
    drive(
        controller,
        (context, &contexts.reporter),
        stopping,
        reconcile,
        |context, gone| {
            controllers::git_repository::gone(context, &name_of(gone));
        },
    )
}

/// Sources and Kustomizations that are this process' own.
fn shard(config: &Config) -> watcher::Config {
    match &config.watch_label_selector {
        Some(selector) => watcher::Config::default().labels(selector),
        None => watcher::Config::default(),
    }
}

/// The controller of receivers, which runs on standbys too.
pub(super) fn receivers(
    contexts: &Contexts,
    config: &Config,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let context = &contexts.receivers;
    let objects = flux_objects(contexts, config);
    let controller = controller::<Receiver>(contexts, objects, watcher::Config::default());
    let reconcile = Turns::new(controllers::receiver::reconcile, reconciles(RECEIVERS));
    drive(
        controller,
        (context, &contexts.reporter),
        stopping,
        reconcile,
        |context, gone| {
            let name = name_of(gone);
            context.addresses.set(&name, None);
            let NamespacedName { namespace, name } = &name;
            let metrics = &context.metrics;
            metrics.forget_reconciles("Receiver", namespace, name);
        },
    )
}

/// Wakes a Kustomization when its source has a new commit, and when an object that it applied has changed.
fn kustomizations(
    contexts: &Contexts,
    config: &Config,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let context = &contexts.kustomizations;
    let objects = flux_objects(contexts, config);
    let controller = controller::<Kustomization>(contexts, objects, shard(config));
    let store = controller.store();
    let moved = context
        .sources
        .moved()
        .flat_map(move |NamespacedName { namespace, name }| {
            let users = store.state_filter(|user: &DeserializeGuard<Kustomization>| {
                let Ok(user) = &user.0 else {
                    return false;
                };
                let reference = &user.spec.source_ref;
                reference.name == name
                    && reference
                        .namespace
                        .clone()
                        .or_else(|| user.namespace())
                        .as_ref()
                        == Some(&namespace)
            });
            futures::stream::iter(users.into_iter().map(|user| ObjectRef::from_obj(&*user)))
        });
    let drifted = context.identities.live().drifted();
    let drifted = drifted.map(|unit| ObjectRef::new(&unit.name).within(&unit.namespace));
    let controller = controller
        .reconcile_on(counted(moved, contexts))
        .reconcile_on(counted(drifted, contexts));
    let reconcile = Turns::new(
        controllers::kustomization::reconcile,
        reconciles(config.concurrent),
    );
    drive(
        controller,
        (context, &contexts.reporter),
        stopping,
        reconcile,
        |context, gone| {
            controllers::kustomization::gone(context, &name_of(gone));
        },
    )
}

/// Wakes all stores of a kind when the state of a rotation queue has changed.
fn stores<S>(
    contexts: &Contexts,
    concurrent: u16,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<S>
where
    S: controllers::stores::Store + Send + Sync + 'static,
{
    let context = &contexts.secret_stores;
    let objects = Api::all(contexts.client.clone());
    let controller = controller::<S>(contexts, objects, watcher::Config::default());
    let controller = controller.reconcile_all_on(context.rotations.wake_ups());
    let reconcile = Turns::new(
        controllers::secret_store::reconcile::<S>,
        reconciles(concurrent),
    );
    drive(
        controller,
        (context, &contexts.reporter),
        stopping,
        reconcile,
        |context, gone| {
            let key = ObjectKey::new(S::kind(&()), name_of(gone));
            controllers::secret_store::forget(context, &key);
        },
    )
}

/// How many Receivers of one namespace are looked at at once.
const RECEIVERS: u16 = 8;

/// So many ExternalSecrets are looked at at once; the others wait where they take little memory.
const EXTERNAL_SECRETS: Shares = Shares {
    total: 1024,
    of_one: 768,
};

/// How many objects of a kind are reconciled at once: so many of one namespace, and half as many more of others.
fn reconciles(concurrent: u16) -> Shares {
    let concurrent = usize::from(concurrent);
    Shares {
        total: concurrent + concurrent.div_ceil(2),
        of_one: concurrent,
    }
}

/// How many sources are fetched at once. They mostly wait for servers, and a server that never answers holds its place
/// until the timeout, so there are places for several namespaces with such servers.
fn fetches(concurrent: u16) -> Shares {
    let concurrent = usize::from(concurrent);
    Shares {
        total: concurrent * 4,
        of_one: concurrent,
    }
}

/// The name of an object that is gone.
fn name_of<K: Resource>(gone: &ObjectRef<K>) -> NamespacedName {
    NamespacedName::new(gone.namespace.clone().unwrap_or_default(), &gone.name)
}

/// Wakes an ExternalSecret when something that it uses changes. A semaphore bounds how many are synced at once.
fn external_secrets(
    contexts: &Contexts,
    (writers, moved): (Writers, Moved),
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let context = &contexts.external_secrets;
    let wakes = caches::wakes(&contexts.watches, writers);
    let wakes = futures::stream::select(wakes, moved);
    let wakes = wakes.map(|user| ObjectRef::new(&user.name).within(&user.namespace));
    let objects = Api::all(contexts.client.clone());
    let controller = controller::<ExternalSecret>(contexts, objects, watcher::Config::default());
    let controller = controller.reconcile_on(counted(wakes, contexts));
    let reconcile = Turns::new(controllers::external_secret::reconcile, EXTERNAL_SECRETS);
    drive(
        controller,
        (context, &contexts.reporter),
        stopping,
        reconcile,
        |context, gone| {
            controllers::external_secret::forget(context, &name_of(gone));
        },
    )
}

/// The objects of a Flux kind: those of all namespaces, or with `--watch-all-namespaces=false` those of our own.
fn flux_objects<K>(contexts: &Contexts, config: &Config) -> Api<DeserializeGuard<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug,
{
    let client = contexts.client.clone();
    match &config.watched_namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

/// A controller of objects of a kind, also of those that cannot be read.
fn controller<K>(
    contexts: &Contexts,
    api: Api<DeserializeGuard<K>>,
    watched: watcher::Config,
) -> Controller<DeserializeGuard<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let queues = contexts.metrics.queues.clone();
    let (store, writer) = reflector::store();
    let events = while_served(watcher(api, watched).default_backoff(), Announce::InLog);
    let objects = events.modify(|object| {
        // Who manages which fields takes more memory than all the rest; when they did is of use.
        for entry in object.meta_mut().managed_fields.iter_mut().flatten() {
            entry.fields_v1 = None;
        }
    });
    let objects = objects.reflect(writer).touched_objects();
    let objects = objects.inspect_ok(move |object| {
        let (namespace, name) = (object.namespace(), object.name_any());
        queues.added(&K::kind(&()), namespace.as_deref(), &name);
    });
    Controller::for_stream(objects, store)
}

/// Wake-ups, each of which is counted in the metrics of the queue.
fn counted<K, S>(wakes: S, contexts: &Contexts) -> impl Stream<Item = S::Item> + use<K, S>
where
    K: Resource<DynamicType = ()>,
    S: Stream<Item = ObjectRef<DeserializeGuard<K>>>,
{
    let queues = contexts.metrics.queues.clone();
    wakes.inspect(move |object| {
        queues.added(&K::kind(&()), object.namespace.as_deref(), &object.name);
    })
}

/// A reconcile function, and the permits by which its turns are shared between namespaces.
struct Turns<K, C, F>
where
    K: Resource<DynamicType = ()>,
{
    reconcile: fn(Readable<K>, Arc<C>) -> F,
    permits: FairSemaphore,
}

impl<K, C, F> Turns<K, C, F>
where
    K: Resource<DynamicType = ()>,
{
    fn new(reconcile: fn(Readable<K>, Arc<C>) -> F, shares: Shares) -> Self {
        let permits = FairSemaphore::new(shares);
        Self { reconcile, permits }
    }
}

/// Waits for a turn of a namespace; `None` if the daemon stops before, since nothing begins any more then.
async fn turn(
    permits: &FairSemaphore,
    namespace: Option<&str>,
    stopping: watch::Receiver<bool>,
) -> Option<Permit> {
    let namespace = namespace.unwrap_or_default();
    tokio::select! {
        turn = permits.acquire(namespace, ()) => Some(turn),
        () = stopped(stopping) => None,
    }
}

/// Runs a controller until the daemon stops. `forget` is told of objects that are gone.
fn drive<K, C, F>(
    controller: Controller<DeserializeGuard<K>>,
    (context, reporter): (&Arc<C>, &Arc<FailureReporter>),
    stopping: &watch::Receiver<bool>,
    turns: Turns<K, C, F>,
    forget: fn(&C, &ObjectRef<DynamicObject>),
) -> impl Future<Output = ()> + use<K, C, F>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    C: Send + Sync + 'static,
    F: Future<Output = Result<Action, ReconcileError>> + Send + 'static,
{
    let (context, observing) = (context.clone(), context.clone());
    let panics = Arc::new(Panics::default());
    let store = controller.store();
    let Turns { reconcile, permits } = turns;
    let stopped_before_the_first_list = never_listed(controller.store(), stopping.clone());
    let stopping = stopping.clone();
    let (queues, waiting) = (
        reporter.metrics.queues.clone(),
        reporter.metrics.queues.clone(),
    );
    let running = controller
        .graceful_shutdown_on(stopped(stopping.clone()))
        .run(
            move |object, reporter| {
                let (context, panics, queues) = (context.clone(), panics.clone(), queues.clone());
                let (permits, store, stopping) = (permits.clone(), store.clone(), stopping.clone());
                let reconcile = move |object| reconcile(object, context);
                async move {
                    // What waits here is small: the reconcile begins with its turn.
                    let (namespace, name) = (object.namespace(), object.name_any());
                    let Some(_turn) = turn(&permits, namespace.as_deref(), stopping).await else {
                        return Ok(Action::await_change());
                    };
                    let _work = queues.start(&K::kind(&()), namespace.as_deref(), &name);
                    // It may have changed meanwhile, or be gone; then the watch says so again.
                    let Some(object) = store.get(&ObjectRef::from_obj(&*object)) else {
                        return Ok(Action::await_change());
                    };
                    let span = reconcile_span::<K>(&name, namespace.as_deref());
                    let reconcile = contained(object, reporter, reconcile, panics);
                    reconcile.instrument(span).await
                }
            },
            error_policy,
            reporter.clone(),
        )
        .for_each(move |result| {
            if let Err(kube::runtime::controller::Error::ObjectNotFound(object)) = &result {
                waiting.forget(&K::kind(&()), object.namespace.as_deref(), &object.name);
                forget(&observing, object);
            }
            observe(result);
            futures::future::ready(())
        });
    async move {
        tokio::select! { () = running => {}, () = stopped_before_the_first_list => {} }
    }
}

/// Ends when the daemon stops before the objects of a controller were listed, and never otherwise.
///
/// kube's runner begins no reconcile before that list, and its graceful shutdown then waits for the list without end.
async fn never_listed<K>(store: reflector::Store<K>, stopping: watch::Receiver<bool>)
where
    K: reflector::Lookup<DynamicType = ()> + Clone + 'static,
{
    stopped(stopping).await;
    let is_listed = store.wait_until_ready().now_or_never();
    if is_listed.is_some_and(|listed| listed.is_ok()) {
        futures::future::pending::<()>().await;
    }
}

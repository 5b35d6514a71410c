//! `overlayd run`: the daemon. Wires the controllers, and ends in order.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::aws::{AwsEnvironment, Denied, Fetcher, Sessions, Stirred};
use crate::cli::args::RunArgs;
use crate::cli::config::{Config, Election, Pair};
use crate::cli::report::Failure;
use crate::cli::{cluster, output};
use crate::cluster::apply::{Applier, BOOTSTRAP_MANAGER};
use crate::cluster::apply::{ApplierConfig, ApplyOptions};
use crate::cluster::impersonation::Identities;
use crate::controllers;
use crate::controllers::builds::Builds;
use crate::controllers::caches;
use crate::controllers::caches::Writers;
use crate::controllers::event_webhook;
use crate::controllers::events::Events;
use crate::controllers::kustomization::wait::Waits;
use crate::controllers::panicked::{Panics, contained};
use crate::controllers::priority_semaphore::{Gate, Gates};
use crate::controllers::rotation::Rotations;
use crate::controllers::unreadable::Readable;
use crate::controllers::{Context, ReconcileError, error_policy, observe};
use crate::daemon::leader_election::Elector;
use crate::daemon::metrics::Metrics;
use crate::daemon::telemetry;
use crate::daemon::web;
use crate::daemon::web::Readiness;
use crate::git;
use crate::git::{Mirrors, Remotes};
use crate::secrets::provider::Providers;
use crate::tasks;
use crate::tasks::Supervisor;
use overlayd_core::api::external_secret::ExternalSecret;
use overlayd_core::api::git_repository::GitRepository;
use overlayd_core::api::kustomization::Kustomization;
use overlayd_core::api::receiver::Receiver;
use overlayd_core::api::secret_store::{ClusterSecretStore, SecretStore};
use overlayd_core::api::{GIT_REPOSITORY_API, KUSTOMIZATION_API, crds};
use overlayd_core::apply::desired::Desired;
use overlayd_core::apply::object_ref::ObjectRef as ClusterObject;
use overlayd_core::apply::plan::Wave;
use overlayd_core::git::source::LocalRepositories;
use overlayd_core::names::NamespacedName;
use overlayd_core::secrets::last_sync::Syncs;

/// How long tasks may take to end.
const SHUTDOWN: Duration = Duration::from_secs(20);

pub(crate) async fn run(args: RunArgs) -> Result<(), Failure> {
    let config = Config::new(&args)
        .map_err(|error| Failure::new("a flag makes no sense").because(error.to_string(), None))?;
    telemetry::start(args.log_level.as_str(), args.log_encoding).map_err(Failure::new)?;
    git::initialize();
    let mut listeners = Vec::new();
    for address in [config.listen].iter().chain(&config.more_addresses) {
        listeners.push(listen(*address).await?);
    }
    std::fs::create_dir_all(&config.mirrors).map_err(|error| {
        Failure::new(format!(
            "cannot use `{}` for mirrors",
            config.mirrors.display()
        ))
        .because(
            error.to_string(),
            Some("choose another directory with --data-dir"),
        )
    })?;
    let connection = cluster::configure(&args.cluster).await?;
    let metrics = Arc::new(Metrics::default());
    let client = cluster::connect_with(connection.clone(), &metrics).await?;
    let (context, ends) = context(client, connection, metrics, &config);
    serve(context, ends, &config, listeners).await
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(format!("cannot listen on {address}")).because(
            error.to_string(),
            Some("choose another address with --listen"),
        )
    })
}

fn context(
    client: Client,
    connection: kube::Config,
    metrics: Arc<Metrics>,
    config: &Config,
) -> (Arc<Context>, Ends) {
    let (caches, writers) = caches::caches();
    let (poster, posts) = event_webhook::poster();
    let (spawner, supervisor) = tasks::supervisor();
    let wants_posts = config.events_address.is_some();
    let instance = instance();
    let sessions = Sessions::new(AwsEnvironment::of_process(), Some(client.clone()));
    let (fetcher, stirred) = Fetcher::new(sessions, metrics.clone());
    let applier = ApplierConfig {
        concurrency: usize::from(config.concurrent_ssa),
        override_managers: config.override_managers.clone(),
    };
    let mirrors = Arc::new(Mirrors::new(config.mirrors.clone(), config.max_fetch_bytes));
    let remotes = config
        .allow_remote_bases
        .then(|| Remotes::new(mirrors.clone(), LocalRepositories::Refused));
    let context = Arc::new(Context {
        caches,
        uses: Arc::default(),
        syncs: Syncs::default(),
        gate: Gate::new(usize::from(config.concurrent_secrets)),
        store_gates: Gates::new(usize::from(config.concurrent_secrets).div_ceil(2)),
        thinking: tokio::sync::Semaphore::new(4),
        waits: Waits::default(),
        claims: Arc::default(),
        written: Arc::default(),
        reads: Arc::default(),
        hooks: Arc::default(),
        dependencies: Arc::default(),
        builds: Arc::new(Builds::new(config.document_cache_bytes, remotes)),
        events: Events::new(&client, &instance, wants_posts.then_some(poster)),
        memory: overlayd_core::reconcile_cache::Memory::default(),
        sources: controllers::sources::Sources::default(),
        mirrors,
        identities: Identities::new(connection, &client, metrics.clone(), applier, spawner),
        providers: Providers::new(fetcher.clone()),
        fetcher,
        rotations: Rotations::new(config.rotation_queue.clone()),
        started: std::time::Instant::now(),
        metrics,
        settings: config.settings.clone(),
        client,
    });
    let ends = Ends {
        writers,
        stirred,
        posts: wants_posts.then_some(posts),
        supervisor,
    };
    (context, ends)
}

/// ExternalSecrets for which a store has something new.
type Moved = futures::channel::mpsc::UnboundedReceiver<NamespacedName>;

/// What the tasks of the daemon take their work from.
struct Ends {
    writers: Writers,
    stirred: Stirred,
    posts: Option<event_webhook::Waiting>,
    /// Runs the watches of what was applied.
    supervisor: Supervisor,
}

/// The name of this replica.
fn instance() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "overlayd".to_owned())
}

/// Installs the definitions, and the pair of the one-line way in.
async fn prepare(client: &Client, config: &Config) -> Result<(), Failure> {
    let applier = Applier::new(client.clone(), BOOTSTRAP_MANAGER);
    let mut stages = Vec::new();
    if config.install_crds {
        stages.push(crds::all().iter().map(|crd| desired(json!(crd))).collect());
    }
    if let Some(pair) = &config.pair {
        let namespace = &config.settings.own_namespace;
        let live = applier
            .get(&ClusterObject::new("v1", "Namespace", "", namespace))
            .await;
        if matches!(live, Ok(None)) {
            stages.push(vec![desired(
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            )]);
        }
        stages.push(pair_objects(pair, namespace).map(desired).to_vec());
    }
    let (changes, applied) = applier.apply(&Wave(stages), &ApplyOptions::default()).await;
    applied.map_err(|error| {
        Failure::new("cannot install what overlayd needs").because(error.to_string(), None)
    })?;
    for (object, change) in changes.0 {
        tracing::info!(%object, %change, "installed");
    }
    Ok(())
}

fn desired(manifest: Value) -> Desired {
    let text = |path: &str| {
        manifest
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let reference = ClusterObject::new(
        text("/apiVersion"),
        text("/kind"),
        text("/metadata/namespace"),
        text("/metadata/name"),
    );
    Desired {
        reference,
        manifest,
        source: None,
        hash: [0; 32],
    }
}

fn pair_objects(pair: &Pair, namespace: &str) -> [Value; 2] {
    let metadata = json!({"name": "overlayd", "namespace": namespace});
    [
        json!({
            "apiVersion": GIT_REPOSITORY_API,
            "kind": "GitRepository",
            "metadata": metadata,
            "spec": {"url": pair.url, "interval": pair.interval, "ref": {"branch": pair.branch}},
        }),
        json!({
            "apiVersion": KUSTOMIZATION_API,
            "kind": "Kustomization",
            "metadata": metadata,
            "spec": {
                "interval": pair.interval,
                "path": pair.path,
                "prune": true,
                "sourceRef": {"kind": "GitRepository", "name": "overlayd"},
            },
        }),
    ]
}

/// The task that renews the lease. When it ends, the process must too, before another replica works.
const LEASE: &str = "the lease";
/// The task that reads secrets for all ExternalSecrets.
const READING: &str = "the reading of secrets";

/// Runs everything until a signal comes or something ends unasked.
async fn serve(
    context: Arc<Context>,
    ends: Ends,
    config: &Config,
    listeners: Vec<TcpListener>,
) -> Result<(), Failure> {
    let Ends {
        writers,
        stirred,
        posts,
        supervisor,
    } = ends;
    let (stop, stopping) = watch::channel(false);
    let readiness = Arc::new(Readiness::default());
    let mut tasks: JoinSet<&'static str> = JoinSet::new();
    let address = listeners.first().map(TcpListener::local_addr).transpose()?;
    for listener in listeners {
        let web = web::serve(
            listener,
            context.metrics.clone(),
            readiness.clone(),
            context.hooks.clone(),
            stopped(stopping.clone()),
        );
        tasks.spawn(web.map(|_| "the HTTP server"));
    }
    let mut signals = Signals::new()?;
    // Git servers are answered by every replica: whoever stands by asks for reconciles, too.
    tasks.spawn(receivers(&context, &stopping).map(|()| "the Receiver controller"));
    context
        .hooks
        .open(&context.client, context.settings.no_cross_namespace_refs);
    let beginning = async {
        let mut elector = match &config.election {
            Some(election) => Some(stand_by(&context, election, &readiness).await),
            None => None,
        };
        // The lease is renewed meanwhile.
        let prepared = tokio::select! {
            prepared = prepare(&context.client, config) => prepared,
            () = hold(&mut elector) => Err(lost()),
        };
        (elector, prepared)
    };
    let (mut elector, prepared) = tokio::select! {
        began = beginning => began,
        signal = signals.next() => {
            tracing::info!(signal, "stopping before it began");
            return Ok(());
        }
    };
    prepared?;
    if let (Some(posts), Some(address)) = (posts, config.events_address.clone()) {
        // What still waits at the end is not waited for.
        let posting = event_webhook::run(posts, address);
        let stopping = stopped(stopping.clone());
        tasks.spawn(async move {
            tokio::select! { () = posting => {}, () = stopping => {} }
            "the posting of events"
        });
    }
    know_all(&context).await;
    let Stirred { wakes, hints } = stirred;
    let mut serving = serving(&context, supervisor);
    tasks.spawn(about_secrets(&context, hints, &stopping));
    for (name, controller) in wire(&context, (writers, wakes), config, &stopping) {
        tasks.spawn(controller.map(move |()| name));
    }
    readiness.set(true);
    if let Some(address) = address {
        output::note(&format!(
            "overlayd {} is running; probes and metrics at http://{address}",
            env!("CARGO_PKG_VERSION")
        ));
    }
    let ended = tokio::select! {
        signal = signals.next() => { tracing::info!(signal, "stopping"); None }
        ended = tasks.join_next() => Some(ended.and_then(Result::ok).unwrap_or("a task").to_owned()),
        ended = serving.join_next() => ended.and_then(Result::ok).or_else(|| Some(READING.to_owned())),
        () = hold(&mut elector) => Some(LEASE.to_owned()),
    };
    readiness.set(false);
    if ended.as_deref() == Some(LEASE) {
        tasks.abort_all();
        return Err(lost());
    }
    let _ = stop.send(true);
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    let is_late = tokio::select! {
        ended = tokio::time::timeout(SHUTDOWN, all_ended) => ended.is_err(),
        () = hold(&mut elector) => true,
    };
    if is_late {
        tracing::warn!("gave up waiting for reconciles to end");
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
    }
    // Only when nothing works any more.
    if let (Some(elector), Some(Election { releases: true, .. })) = (&mut elector, &config.election)
    {
        elector.release().await;
    }
    match ended {
        None => Ok(()),
        Some(name) => Err(Failure::new(format!("{name} ended unasked"))),
    }
}

/// What reconciles wait for until they have ended: the reading of secrets, and the watches of what was applied. Each
/// gives the name of what ended unasked.
fn serving(context: &Context, supervisor: Supervisor) -> JoinSet<String> {
    let mut serving = JoinSet::new();
    let fetcher = context.fetcher.clone();
    serving.spawn(async move {
        fetcher.run().await;
        READING.to_owned()
    });
    serving.spawn(supervisor.run());
    serving
}

/// Renews the lease, if there is one, for as long as it can be.
async fn hold(elector: &mut Option<Elector>) {
    match elector {
        Some(elector) => elector.hold().await,
        None => std::future::pending().await,
    }
}

fn lost() -> Failure {
    Failure::new("the lease was lost").because(
        "it could not be renewed in time, and another replica may be at work",
        None,
    )
}

/// Takes note of every Kustomization before any of them is reconciled, so that none deletes what another may want.
async fn know_all(context: &Context) {
    let api: Api<DeserializeGuard<Kustomization>> = Api::all(context.client.clone());
    match api.list(&ListParams::default()).await {
        Ok(all) => {
            for object in all.items.into_iter().filter_map(|object| object.0.ok()) {
                controllers::kustomization::follows(&context.claims, &object);
            }
        }
        Err(error) => {
            tracing::warn!(error = %crate::cluster::apply::describe(&error), "the Kustomizations cannot be listed yet");
        }
    }
}

/// Waits until this replica is the one that works. A standby is ready: it is as it should be.
async fn stand_by(context: &Context, election: &Election, readiness: &Readiness) -> Elector {
    // Two processes of one name would both think that the lease is theirs.
    let unique = format!(
        "{}_{}_{}",
        instance(),
        std::process::id(),
        jiff::Timestamp::now().as_microsecond()
    );
    let namespace = &context.settings.own_namespace;
    let mut elector = Elector::new(context.client.clone(), namespace, &unique, election.timing);
    readiness.set(true);
    context.metrics.leads(false);
    elector.acquire().await;
    tracing::info!(identity = unique, "leading");
    context.metrics.leads(true);
    elector
}

/// The signals that ask us to end. One that comes while nobody waits for it is not lost.
struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// What goes on beside the controllers: queues of rotations, hints, and what stores cost.
fn about_secrets(
    context: &Arc<Context>,
    hints: futures::channel::mpsc::UnboundedReceiver<Denied>,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = &'static str> + use<> {
    let listening = controllers::rotation::run(context.clone());
    let saying = controllers::rotation::say_denials(context.clone(), hints);
    let measuring = controllers::cost::measure(context.clone());
    let stopping = stopped(stopping.clone());
    async move {
        tokio::select! {
            () = listening => {}
            () = saying => {}
            () = measuring => {}
            () = stopping => {}
        }
        "the listening for rotations"
    }
}

/// The controllers, each with its name.
fn wire(
    context: &Arc<Context>,
    (writers, moved): (Writers, Moved),
    config: &Config,
    stopping: &watch::Receiver<bool>,
) -> Vec<(&'static str, BoxFuture<'static, ()>)> {
    let concurrent = config.concurrent;
    vec![
        (
            "the GitRepository controller",
            git_repositories(context, config, stopping).boxed(),
        ),
        (
            "the Kustomization controller",
            kustomizations(context, config, stopping).boxed(),
        ),
        (
            "the SecretStore controller",
            stores::<SecretStore>(context, concurrent, stopping).boxed(),
        ),
        (
            "the ClusterSecretStore controller",
            stores::<ClusterSecretStore>(context, concurrent, stopping).boxed(),
        ),
        (
            "the ExternalSecret controller",
            external_secrets(context, (writers, moved), stopping).boxed(),
        ),
    ]
}

fn git_repositories(
    context: &Arc<Context>,
    config: &Config,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let controller = controller::<GitRepository>(context, shard(config));
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
    let controller = controller
        .with_config(at_once(config.concurrent))
        .reconcile_on(moved);
    let reconcile = controllers::git_repository::reconcile;
    drive(controller, context, stopping, reconcile, |_, _| {})
}

/// Sources and Kustomizations that are this process' own.
fn shard(config: &Config) -> watcher::Config {
    match &config.watch_label_selector {
        Some(selector) => watcher::Config::default().labels(selector),
        None => watcher::Config::default(),
    }
}

fn receivers(
    context: &Arc<Context>,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let controller = controller::<Receiver>(context, watcher::Config::default());
    let reconcile = controllers::receiver::reconcile;
    drive(controller, context, stopping, reconcile, |context, gone| {
        context.hooks.set(&name_of(gone), None);
    })
}

fn kustomizations(
    context: &Arc<Context>,
    config: &Config,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let controller = controller::<Kustomization>(context, shard(config));
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
        .with_config(at_once(config.concurrent))
        .reconcile_on(moved)
        .reconcile_on(drifted);
    let reconcile = controllers::kustomization::reconcile;
    drive(controller, context, stopping, reconcile, |context, gone| {
        controllers::kustomization::gone(context, &name_of(gone));
    })
}

fn stores<S>(
    context: &Arc<Context>,
    concurrent: u16,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<S>
where
    S: controllers::secret_store::Store + Send + Sync + 'static,
{
    let controller = controller::<S>(context, watcher::Config::default());
    let controller = controller
        .with_config(at_once(concurrent))
        .reconcile_all_on(context.rotations.stirs());
    let reconcile = controllers::secret_store::reconcile::<S>;
    drive(controller, context, stopping, reconcile, |context, gone| {
        let namespace = gone.namespace.clone().unwrap_or_default();
        controllers::secret_store::forget(context, &S::kind(&()), &namespace, &gone.name);
    })
}

/// So many ExternalSecrets wait for their turn at most; the others wait for theirs where they take no memory.
const MOST_WAITING: u16 = 1024;

/// The name of an object that is gone.
fn name_of<K: Resource>(gone: &ObjectRef<K>) -> NamespacedName {
    NamespacedName::new(gone.namespace.clone().unwrap_or_default(), &gone.name)
}

/// Wakes an ExternalSecret when something that it uses changes. How many are synced at once is the gate's affair.
fn external_secrets(
    context: &Arc<Context>,
    (writers, moved): (Writers, Moved),
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let wakes = caches::wakes(context, writers);
    let wakes = futures::stream::select(wakes, moved);
    let wakes = wakes.map(|user| ObjectRef::new(&user.name).within(&user.namespace));
    let controller = controller::<ExternalSecret>(context, watcher::Config::default());
    let controller = controller
        .with_config(at_once(MOST_WAITING))
        .reconcile_on(wakes);
    let reconcile = controllers::external_secret::reconcile;
    drive(controller, context, stopping, reconcile, |context, gone| {
        controllers::external_secret::forget(context, &name_of(gone));
    })
}

/// A controller of all objects of a kind, also of those that cannot be read.
fn controller<K>(context: &Context, watched: watcher::Config) -> Controller<DeserializeGuard<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api = Api::<DeserializeGuard<K>>::all(context.client.clone());
    let (store, writer) = reflector::store();
    let objects = watcher(api, watched).modify(|object| {
        // Who manages which fields takes more memory than all the rest; when they did is of use.
        for entry in object.meta_mut().managed_fields.iter_mut().flatten() {
            entry.fields_v1 = None;
        }
    });
    let objects = objects.reflect(writer).touched_objects();
    Controller::for_stream(objects, store)
}

fn at_once(concurrent: u16) -> ControllerConfig {
    ControllerConfig::default().concurrency(concurrent)
}

/// Runs a controller until the daemon stops. `forget` is told of objects that are gone.
fn drive<K, F>(
    controller: Controller<DeserializeGuard<K>>,
    context: &Arc<Context>,
    stopping: &watch::Receiver<bool>,
    reconcile: fn(Readable<K>, Arc<Context>) -> F,
    forget: fn(&Context, &ObjectRef<DynamicObject>),
) -> impl Future<Output = ()> + use<K, F>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: Future<Output = Result<Action, ReconcileError>> + Send + 'static,
{
    let observing = context.clone();
    let panics = Arc::new(Panics::default());
    controller
        .graceful_shutdown_on(stopped(stopping.clone()))
        .run(
            move |object, context| contained(object, context, reconcile, panics.clone()),
            error_policy,
            context.clone(),
        )
        .for_each(move |result| {
            if let Err(kube::runtime::controller::Error::ObjectNotFound(object)) = &result {
                forget(&observing, object);
            }
            observe(result);
            futures::future::ready(())
        })
}

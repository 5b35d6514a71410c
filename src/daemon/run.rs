//! `overlayd run`: the daemon from its first step to its last.
//!
//! [`run`] prepares the process, [`setup`] makes the contexts, and [`Daemon::serve`] becomes the leader, starts all tasks
//! and stops them in order. Tasks are spawned here alone, so that each is joined and one that ends unasked is seen.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::aws::WakeUps;
use crate::cli::args::RunArgs;
use crate::cli::config::Config;
use crate::cli::report::Failure;
use crate::cli::{cluster, output};
use crate::cluster::error::describe;
use crate::controllers;
use crate::daemon::leader_election::{Elector, Leadership};
use crate::daemon::setup::{Contexts, TaskInputs};
use crate::daemon::signals::{Signals, stopped};
use crate::daemon::web::{self, Hooks, Pages, Readiness, WebState};
use crate::daemon::{background, install, setup, telemetry, wiring};
use crate::git;
use crate::metrics::Metrics;
use overlayd_core::api::kustomization::Kustomization;

/// How long tasks may take to end.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// Runs the daemon until a signal comes.
///
/// # Errors
/// A flag is invalid, the process or the cluster cannot be prepared, the lease is lost, or a task ends unasked.
pub(crate) async fn run(args: RunArgs) -> Result<(), Failure> {
    let config = Config::new(&args)
        .map_err(|error| Failure::new("invalid flag").because(error.to_string(), None))?;
    telemetry::start(args.log_level.as_str(), args.log_encoding)
        .map_err(|error| Failure::new(error.to_string()))?;
    git::initialize();
    let listeners = listen_everywhere(&config).await?;
    create_data_directory(&config)?;
    let connection = cluster::configure(&args.cluster).await?;
    let metrics = Arc::new(Metrics::default());
    wiring::announce(&metrics, &config);
    let client = cluster::connect_with(connection.clone(), &metrics).await?;
    let (contexts, inputs) = setup::contexts(client, connection, metrics, &config);
    // Boxed, since the future holds everything that the daemon consists of.
    Box::pin(Daemon::new(contexts, config).serve(inputs, listeners)).await
}

/// The listeners, each with the pages that it serves. The first one is that of `--listen`.
async fn listen_everywhere(config: &Config) -> Result<Vec<(TcpListener, Pages)>, Failure> {
    let mut listeners = Vec::new();
    for address in [config.listen].iter().chain(&config.more_addresses) {
        listeners.push((listen(*address).await?, Pages::All));
    }
    if let Some(address) = config.receiver_address {
        listeners.push((listen(address).await?, Pages::Hooks));
    }
    Ok(listeners)
}

/// Listens at one address.
async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(format!("cannot listen on {address}")).because(
            error.to_string(),
            Some("choose another address with --listen"),
        )
    })
}

/// Makes the directory of the mirrors, so that a volume that is not writable is reported at the start.
fn create_data_directory(config: &Config) -> Result<(), Failure> {
    std::fs::create_dir_all(&config.mirrors).map_err(|error| {
        let directory = config.mirrors.display();
        Failure::new(format!("cannot use `{directory}` for mirrors")).because(
            error.to_string(),
            Some("choose another directory with --data-dir"),
        )
    })
}

/// The running daemon.
struct Daemon {
    contexts: Contexts,
    hooks: Arc<Hooks>,
    config: Config,
    readiness: Arc<Readiness>,
    /// Set to true when all tasks are to end.
    stop: watch::Sender<bool>,
    /// The tasks that end when `stop` is set. Each gives its name.
    tasks: JoinSet<&'static str>,
}

/// Why the daemon stops.
enum StopReason {
    /// A signal asked for it.
    Signal,
    /// The lease is not ours any more: another replica may begin at any moment.
    LeaseLost,
    /// This task ended unasked.
    TaskEnded(String),
}

impl Daemon {
    /// A daemon that has started nothing.
    fn new(contexts: Contexts, config: Config) -> Self {
        let hooks = Hooks::new(contexts.receivers.addresses.clone());
        Self {
            contexts,
            hooks: Arc::new(hooks),
            config,
            readiness: Arc::default(),
            stop: watch::Sender::new(false),
            tasks: JoinSet::new(),
        }
    }

    /// Runs everything until a signal comes or a task ends unasked.
    async fn serve(
        mut self,
        inputs: TaskInputs,
        listeners: Vec<(TcpListener, Pages)>,
    ) -> Result<(), Failure> {
        let first = listeners.first().map(|(listener, _)| listener);
        let address = first.map(TcpListener::local_addr).transpose()?;
        self.serve_http(listeners);
        // Signals are registered before anything that takes long, so that a signal at the start is not lost.
        let mut signals = Signals::new()?;
        self.serve_receivers();
        let Some(mut leadership) = self.begin(&mut signals).await? else {
            return Ok(());
        };
        self.list_kustomizations().await;
        let mut services = self.start_tasks(inputs);
        self.readiness.set(true);
        if let Some(address) = address {
            output::note(&format!(
                "overlayd {} is running; probes and metrics at http://{address}",
                env!("CARGO_PKG_VERSION")
            ));
        }
        let reason = tokio::select! {
            signal = signals.next() => { tracing::info!(signal, "stopping"); StopReason::Signal }
            ended = self.tasks.join_next() => {
                let name = ended.and_then(Result::ok).unwrap_or("a task");
                StopReason::TaskEnded(name.to_owned())
            }
            ended = services.join_next() => {
                let name = ended.and_then(Result::ok);
                StopReason::TaskEnded(name.unwrap_or_else(|| background::READING.to_owned()))
            }
            () = leadership.lost() => StopReason::LeaseLost,
        };
        self.stop(reason, leadership).await
    }

    /// Tells a task when to end.
    fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Serves probes, metrics and calls of git servers. A standby serves them too.
    fn serve_http(&mut self, listeners: Vec<(TcpListener, Pages)>) {
        for (listener, pages) in listeners {
            let state = WebState {
                metrics: self.contexts.metrics.clone(),
                readiness: self.readiness.clone(),
                hooks: self.hooks.clone(),
            };
            let web = web::serve(listener, pages, state, stopped(self.stopping()));
            self.tasks.spawn(web.map(|()| "the HTTP server"));
        }
    }

    /// Answers git servers. Every replica does, since a call reaches any of them, and asking for a reconcile is safe on a
    /// standby.
    fn serve_receivers(&mut self) {
        let receivers = wiring::receivers(&self.contexts, &self.config, &self.stopping());
        self.tasks
            .spawn(receivers.map(|()| "the Receiver controller"));
        let same_namespace = self.config.no_cross_namespace_refs;
        self.hooks.open(&self.contexts.client, same_namespace);
    }

    /// Becomes the leader and installs what overlayd needs. Nothing, if a signal comes first.
    async fn begin(&self, signals: &mut Signals) -> Result<Option<Leadership>, Failure> {
        let beginning = async {
            let mut leadership = self.lead().await;
            // The lease is renewed meanwhile.
            let installed = tokio::select! {
                installed = install::install(&self.contexts.client, &self.config) => installed,
                () = leadership.lost() => Err(lease_lost()),
            };
            installed.map(|()| leadership)
        };
        tokio::select! {
            leadership = beginning => leadership.map(Some),
            signal = signals.next() => {
                tracing::info!(signal, "stopping before it began");
                Ok(None)
            }
        }
    }

    /// Waits until this replica is the leader. A standby is ready: its probes would fail for ever otherwise.
    async fn lead(&self) -> Leadership {
        let Some(election) = &self.config.election else {
            return Leadership::of_the_only_replica();
        };
        // Two processes of the same name would both believe that they hold the lease.
        let unique = format!(
            "{}_{}_{}",
            setup::instance(),
            std::process::id(),
            jiff::Timestamp::now().as_microsecond()
        );
        let client = self.contexts.client.clone();
        let namespace = &self.config.own_namespace;
        let mut elector = Elector::new(client, namespace, &unique, election.timing);
        self.readiness.set(true);
        self.contexts.metrics.leads(false);
        elector.acquire().await;
        tracing::info!(identity = unique, "leading");
        self.contexts.metrics.leads(true);
        Leadership::by_lease(elector, election.releases)
    }

    /// Registers every Kustomization before any of them is reconciled, so that none deletes what another one may want.
    /// Those of another controller, which the label selector leaves out, are never built here, and nothing waits for them.
    async fn list_kustomizations(&self) {
        let api: Api<DeserializeGuard<Kustomization>> = Api::all(self.contexts.client.clone());
        let params = ListParams {
            label_selector: self.config.watch_label_selector.clone(),
            ..ListParams::default()
        };
        match api.list(&params).await {
            Ok(all) => {
                for object in all.items.into_iter().filter_map(|object| object.0.ok()) {
                    let claims = &self.contexts.kustomizations.claims;
                    let _ = controllers::kustomization::follows(claims, &object);
                }
            }
            Err(error) => {
                tracing::warn!(error = %describe(&error), "the Kustomizations cannot be listed yet");
            }
        }
    }

    /// Starts the controllers and the tasks beside them. Gives the services on which they depend until they have ended.
    fn start_tasks(&mut self, inputs: TaskInputs) -> JoinSet<String> {
        let TaskInputs {
            writers,
            wake_ups: WakeUps { wakes, hints },
            posts,
            supervisor,
            rotations,
            costs,
        } = inputs;
        let (contexts, stopping) = (&self.contexts, self.stopping());
        if let (Some(posts), Some(address)) = (posts, self.config.events_address.clone()) {
            self.tasks
                .spawn(background::post_events(posts, address, &stopping));
        }
        self.tasks.spawn(background::collect_mirrors(
            &contexts.git_repositories,
            &stopping,
        ));
        self.tasks
            .spawn(background::measure_sizes(contexts, &stopping));
        let services = background::services(contexts.external_secrets.fetcher.clone(), supervisor);
        self.tasks.spawn(background::about_secrets(
            (rotations, costs),
            hints,
            &stopping,
        ));
        for (name, controller) in wiring::wire(contexts, (writers, wakes), &self.config, &stopping)
        {
            self.tasks.spawn(controller.map(move |()| name));
        }
        services
    }

    /// Ends all tasks, and gives the lease back when nothing works any more.
    async fn stop(mut self, reason: StopReason, mut leadership: Leadership) -> Result<(), Failure> {
        self.readiness.set(false);
        if matches!(reason, StopReason::LeaseLost) {
            self.tasks.abort_all();
            return Err(lease_lost());
        }
        let _ = self.stop.send(true);
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        let is_late = tokio::select! {
            ended = tokio::time::timeout(SHUTDOWN, all_ended) => ended.is_err(),
            () = leadership.lost() => true,
        };
        if is_late {
            tracing::warn!("gave up waiting for reconciles to end");
            self.tasks.shutdown().await;
        }
        leadership.release().await;
        match reason {
            StopReason::TaskEnded(name) => Err(Failure::new(format!("{name} ended unasked"))),
            StopReason::Signal | StopReason::LeaseLost => Ok(()),
        }
    }
}

/// The failure of a leader that must not work any more.
fn lease_lost() -> Failure {
    Failure::new("the lease was lost").because(
        "it could not be renewed in time, and another replica may be at work",
        None,
    )
}

//! Pure: makes the flags into a valid configuration, or says which flag is invalid.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{GitOpsArgs, RunArgs};
use crate::controllers::external_secret::ExternalSecretSettings;
use crate::controllers::git_repository::SourceSettings;
use crate::controllers::jitter::Jitter;
use crate::controllers::kustomization::KustomizationSettings;
use crate::controllers::secret_store::StoreSettings;
use crate::controllers::stores::ControllerClass;
use overlayd_core::apply::unit_settings::UnitDefaults;
use overlayd_core::aws::identity::{Base, Identity};
use overlayd_core::aws::queue::{Queue, region_of};
use overlayd_core::aws::reader_key::StoreAuth;
use overlayd_core::schedule::parse_duration;

/// The configuration of the daemon.
#[derive(Debug)]
pub(crate) struct Config {
    /// The namespace of this process.
    pub(crate) own_namespace: String,
    /// Objects may not refer to objects of other namespaces.
    pub(crate) no_cross_namespace_refs: bool,
    pub(crate) sources: SourceSettings,
    pub(crate) kustomizations: KustomizationSettings,
    pub(crate) stores: StoreSettings,
    pub(crate) external_secrets: ExternalSecretSettings,
    /// Whether SecretStores may read as this process.
    pub(crate) store_auth: StoreAuth,
    pub(crate) pair: Option<Pair>,
    /// The definitions are applied at the start.
    pub(crate) install_crds: bool,
    /// The directory of the mirrors.
    pub(crate) mirrors: PathBuf,
    /// The most that one fetch may receive, in bytes.
    pub(crate) max_fetch_bytes: usize,
    /// Bases of other repositories are fetched.
    pub(crate) allow_remote_bases: bool,
    /// The hosts that remote bases may come from; all if there are none.
    pub(crate) remote_base_hosts: Vec<String>,
    pub(crate) document_cache_bytes: usize,
    /// What builds may use together; `None` to go by the memory limit of the process.
    pub(crate) build_memory_bytes: Option<u64>,
    pub(crate) listen: SocketAddr,
    /// The number of objects of one kind that are reconciled at once.
    pub(crate) concurrent: u16,
    /// The number of ExternalSecrets that are synced at once.
    pub(crate) concurrent_secrets: u16,
    /// The number of requests that one apply sends at once.
    pub(crate) concurrent_ssa: u16,
    /// The namespace whose GitRepositories, Kustomizations and Receivers are reconciled; `None` for all namespaces.
    pub(crate) watched_namespace: Option<String>,
    pub(crate) watch_label_selector: Option<String>,
    /// Field managers whose fields are taken over, besides those of kubectl and Flux.
    pub(crate) override_managers: Vec<String>,
    /// Further addresses that serve all pages.
    pub(crate) more_addresses: Vec<SocketAddr>,
    /// An address that serves receivers alone.
    pub(crate) receiver_address: Option<SocketAddr>,
    pub(crate) events_address: Option<url::Url>,
    /// The queue of rotation events for all stores.
    pub(crate) rotation_queue: Option<Queue>,
    /// `None` if there is only one replica.
    pub(crate) election: Option<Election>,
}

/// How the leader of several replicas is elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Election {
    pub(crate) timing: LeaseTiming,
    /// The lease is released at the end.
    pub(crate) releases: bool,
}

/// The durations of the leader election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseTiming {
    /// The time after which a standby takes a lease that is not renewed.
    pub(crate) duration: Duration,
    /// The time after which a leader that cannot renew the lease gives up; less than the duration.
    pub(crate) deadline: Duration,
    /// The time between two renewals.
    pub(crate) retry: Duration,
}

impl Default for LeaseTiming {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(35),
            deadline: Duration::from_secs(30),
            retry: Duration::from_secs(5),
        }
    }
}

/// The repository and directory of `--repo` and `--path`, for which a GitRepository and a Kustomization are created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) url: String,
    pub(crate) path: String,
    pub(crate) branch: String,
    pub(crate) interval: String,
}

/// A flag whose value is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`--{flag} {value}`: {reason}")]
pub(crate) struct ConfigError {
    /// The name of the flag, without its dashes.
    flag: &'static str,
    /// The value, without credentials.
    value: String,
    /// What is wrong with it, and what to write instead.
    reason: &'static str,
}

impl Config {
    /// Checks each flag, and the flags against each other.
    ///
    /// # Errors
    /// The first flag that is invalid.
    pub(crate) fn new(args: &RunArgs) -> Result<Self, ConfigError> {
        duration("interval", &args.interval)?;
        let pair = match (&args.repo, &args.path) {
            (Some(url), Some(path)) => Some(pair(url, path, args)?),
            _ => None,
        };
        let gitops = &args.gitops;
        if args.allow_remote_bases && gitops.no_remote_bases {
            return Err(ConfigError {
                flag: "no-remote-bases",
                value: "true".to_owned(),
                reason: "--allow-remote-bases says the contrary; leave one of them out",
            });
        }
        let events = gitops.events_addr.as_deref();
        let election = gitops.enable_leader_election.then(|| election(gitops));
        let rotation_queue = args.rotation_queue.as_deref();
        let region = args.rotation_queue_region.as_deref();
        let rotation_queue = rotation_queue.map(|url| queue(url, region));
        Ok(Self {
            own_namespace: args.namespace.clone(),
            no_cross_namespace_refs: gitops.no_cross_namespace_refs,
            sources: sources(args)?,
            kustomizations: kustomizations(args)?,
            stores: StoreSettings {
                class: ControllerClass(args.controller_class.clone()),
                interval: duration("store-requeue-interval", &args.store_requeue_interval)?,
            },
            external_secrets: external_secrets(args)?,
            pair,
            install_crds: args.install_crds,
            mirrors: args.data_dir.join("mirrors"),
            max_fetch_bytes: args.max_fetch_mib.saturating_mul(1 << 20),
            allow_remote_bases: args.allow_remote_bases,
            remote_base_hosts: args.remote_base_hosts.clone(),
            document_cache_bytes: args.document_cache_mib.saturating_mul(1 << 20),
            build_memory_bytes: args.build_memory_mib.map(|mib| u64::from(mib) << 20),
            listen: args.listen,
            concurrent: args.concurrent,
            concurrent_secrets: args.concurrent_secrets,
            concurrent_ssa: gitops.concurrent_ssa,
            watched_namespace: (!gitops.watch_all_namespaces).then(|| args.namespace.clone()),
            watch_label_selector: gitops.watch_label_selector.clone(),
            override_managers: gitops.override_manager.clone(),
            more_addresses: more_addresses(args),
            receiver_address: receiver_address(args),
            store_auth: if args.require_store_auth {
                StoreAuth::Required
            } else {
                StoreAuth::Optional
            },
            events_address: events.map(events_address).transpose()?,
            rotation_queue: rotation_queue.transpose()?,
            election: election.transpose()?,
        })
    }
}

fn sources(args: &RunArgs) -> Result<SourceSettings, ConfigError> {
    let gitops = &args.gitops;
    Ok(SourceSettings {
        backoff: (
            duration("min-retry-delay", &gitops.min_retry_delay)?,
            duration("max-retry-delay", &gitops.max_retry_delay)?,
        ),
        requeue_dependency: duration("requeue-dependency", &gitops.requeue_dependency)?,
        jitter: Jitter(gitops.interval_jitter_percentage),
        namespace_disk_quota: match args.namespace_disk_quota_mib {
            0 => None,
            mib => Some(mib.saturating_mul(1 << 20)),
        },
    })
}

/// What the flags say about Kustomizations.
fn kustomizations(args: &RunArgs) -> Result<KustomizationSettings, ConfigError> {
    let gitops = &args.gitops;
    Ok(KustomizationSettings {
        own_namespace: args.namespace.clone(),
        default_service_account: args.default_service_account.clone(),
        unit_defaults: UnitDefaults {
            deletion_limit: deletion_limit(&gitops.deletion_limit)?,
            deletion_share: usize::from(gitops.deletion_share),
            strict_substitution: gitops.strict_substitutions,
        },
        no_cross_namespace_refs: gitops.no_cross_namespace_refs,
        watch_label_selector: gitops.watch_label_selector.clone(),
        stage_kinds: gitops.custom_apply_stage_kinds.clone(),
        requeue_dependency: duration("requeue-dependency", &gitops.requeue_dependency)?,
        jitter: Jitter(gitops.interval_jitter_percentage),
    })
}

/// What the flags say about ExternalSecrets.
fn external_secrets(args: &RunArgs) -> Result<ExternalSecretSettings, ConfigError> {
    Ok(ExternalSecretSettings {
        class: ControllerClass(args.controller_class.clone()),
        cluster_stores: args.enable_cluster_store_reconciler,
        flood_gate: args.enable_flood_gate,
        status_heartbeat: match args.status_heartbeat.as_str() {
            "never" => None,
            text => Some(duration("status-heartbeat", text)?),
        },
        template_delimiters: (
            args.template_left_delimiter.clone(),
            args.template_right_delimiter.clone(),
        ),
        jitter: Jitter(args.gitops.interval_jitter_percentage),
    })
}

/// Flux has an address for metrics, for probes and for receivers; here each serves all pages.
fn more_addresses(args: &RunArgs) -> Vec<SocketAddr> {
    let gitops = &args.gitops;
    let given = [gitops.metrics_addr, gitops.health_addr];
    let distinct: BTreeSet<SocketAddr> = given.into_iter().flatten().collect();
    distinct
        .into_iter()
        .filter(|address| *address != args.listen)
        .collect()
}

/// The address that serves receivers alone, unless another flag names the same one.
fn receiver_address(args: &RunArgs) -> Option<SocketAddr> {
    let others = more_addresses(args);
    let address = args.gitops.receiver_addr?;
    (address != args.listen && !others.contains(&address)).then_some(address)
}

fn pair(url: &str, path: &str, args: &RunArgs) -> Result<Pair, ConfigError> {
    let bad = |reason| ConfigError {
        flag: "repo",
        value: without_credentials(url),
        reason,
    };
    let parsed =
        url::Url::parse(url).map_err(|_| bad("not a URL; write https://host/repository.git"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(bad("only http and https are supported yet"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(bad(
            "credentials in the URL would be stored in the GitRepository; use a Secret and `spec.secretRef`",
        ));
    }
    Ok(Pair {
        url: url.to_owned(),
        path: path.to_owned(),
        branch: args.branch.clone(),
        interval: args.interval.clone(),
    })
}

/// The rotation queue. It is read with the daemon's own identity.
fn queue(url: &str, region: Option<&str>) -> Result<Queue, ConfigError> {
    let bad = |reason| ConfigError {
        flag: "rotation-queue",
        value: without_credentials(url),
        reason,
    };
    let parsed = url::Url::parse(url).ok();
    if !parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        return Err(bad(
            "not a URL; write https://sqs.REGION.amazonaws.com/ACCOUNT/NAME",
        ));
    }
    let region = region_of(url).or_else(|| region.filter(|region| !region.is_empty()));
    let region = region.ok_or_else(|| bad("it names no region; give --rotation-queue-region"))?;
    Ok(Queue {
        url: url.to_owned(),
        identity: Identity {
            region: region.to_owned(),
            base: Base::Process,
            roles: Vec::new(),
        },
        is_for_all: true,
    })
}

/// The number of deletions that need no approval; `None` for `off`.
fn deletion_limit(text: &str) -> Result<Option<usize>, ConfigError> {
    if text == "off" {
        return Ok(None);
    }
    let limit = text.parse().map_err(|_| ConfigError {
        flag: "deletion-limit",
        value: text.to_owned(),
        reason: "must be a number of objects, or `off`",
    });
    limit.map(Some)
}

/// The address of the event webhook. Without a scheme, it is http; without a path, the root.
fn events_address(text: &str) -> Result<url::Url, ConfigError> {
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = url::Url::parse(&full).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| ConfigError {
        flag: "events-addr",
        value: without_credentials(text),
        reason: "not an address; write it as http://notification-controller.flux-system.svc.cluster.local./",
    })
}

/// The leader election. A leader must give up before its lease runs out, or two replicas could work at once.
fn election(args: &GitOpsArgs) -> Result<Election, ConfigError> {
    let (lease, deadline, retry) = (
        &args.leader_election_lease_duration,
        &args.leader_election_renew_deadline,
        &args.leader_election_retry_period,
    );
    let timing = LeaseTiming {
        duration: duration("leader-election-lease-duration", lease)?,
        deadline: duration("leader-election-renew-deadline", deadline)?,
        retry: duration("leader-election-retry-period", retry)?,
    };
    let wrong = |flag, value: &String, reason| ConfigError {
        flag,
        value: value.clone(),
        reason,
    };
    if timing.deadline >= timing.duration {
        let reason = "must be less than the lease's duration, or two replicas could work at once";
        return Err(wrong("leader-election-renew-deadline", deadline, reason));
    }
    if timing.retry >= timing.deadline {
        let reason = "must be less than the renew deadline";
        return Err(wrong("leader-election-retry-period", retry, reason));
    }
    Ok(Election {
        timing,
        releases: args.leader_election_release_on_cancel,
    })
}

/// The address without all that precedes an `@`, which may be a password.
fn without_credentials(url: &str) -> String {
    url.rsplit_once('@')
        .map_or_else(|| url.to_owned(), |(_, rest)| format!("***@{rest}"))
}

/// A duration of more than zero.
fn duration(flag: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let error = |reason| ConfigError {
        flag,
        value: text.to_owned(),
        reason,
    };
    let duration = parse_duration(text)
        .ok_or_else(|| error("not a duration; write it as 10s, 5m or 1h30m"))?;
    if duration.is_zero() {
        Err(error("must be more than zero"))
    } else {
        Ok(duration)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Args, Command, LogEncoding};

    /// The arguments of `run` with these flags.
    fn run(flags: &[&str]) -> Result<RunArgs, clap::Error> {
        let words = ["overlayd", "run"].iter().chain(flags);
        Args::try_parse_from(words).map(|args| match args.command {
            Command::Run(args) => *args,
            _ => unreachable!("the command is `run`"),
        })
    }

    fn config(flags: &[&str]) -> Config {
        let args = run(flags).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
        Config::new(&args).unwrap_or_else(|error| panic!("{flags:?}: {error}"))
    }

    #[test]
    fn the_flags_of_flux_reach_their_settings() {
        let config = config(&[
            "--concurrent=8",
            "--concurrent-ssa=2",
            "--requeue-dependency=5s",
            "--no-cross-namespace-refs=true",
            "--no-remote-bases=true",
            "--default-service-account=tenant",
            "--watch-all-namespaces=false",
            "--namespace=team",
            "--watch-label-selector=shard=one",
            "--custom-apply-stage-kinds=Widget,Gadget",
            "--override-manager=lens,rancher",
            "--metrics-addr=:9090",
            "--health-addr=127.0.0.1:9440",
            "--receiver-addr=:9292",
            "--interval-jitter-percentage=10",
            "--min-retry-delay=1s",
            "--max-retry-delay=1m",
        ]);
        assert_eq!((config.concurrent, config.concurrent_ssa), (8, 2));
        let (kustomizations, sources) = (&config.kustomizations, &config.sources);
        let seconds = Duration::from_secs;
        assert_eq!(kustomizations.requeue_dependency, seconds(5));
        assert_eq!(sources.requeue_dependency, seconds(5));
        assert_eq!(sources.backoff, (seconds(1), seconds(60)));
        assert!(config.no_cross_namespace_refs && kustomizations.no_cross_namespace_refs);
        assert!(!config.allow_remote_bases);
        let namespace = config.watched_namespace.as_deref();
        assert_eq!(namespace, Some("team"));
        let account = kustomizations.default_service_account.as_deref();
        assert_eq!(account, Some("tenant"));
        let selector = config.watch_label_selector.as_deref();
        assert_eq!(selector, Some("shard=one"));
        assert_eq!(kustomizations.stage_kinds, ["Widget", "Gadget"]);
        assert_eq!(config.override_managers, ["lens", "rancher"]);
        assert_eq!((kustomizations.jitter.0, sources.jitter.0), (10, 10));
        let addresses: Vec<String> = config
            .more_addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(addresses, ["0.0.0.0:9090", "127.0.0.1:9440"]);
        let receivers = config.receiver_address.map(|address| address.to_string());
        assert_eq!(receivers.as_deref(), Some("0.0.0.0:9292"));
        let args = run(&["--log-level=debug", "--log-encoding=console"]).unwrap();
        assert_eq!(args.log_level.as_str(), "debug");
        assert_eq!(args.log_encoding, LogEncoding::Text);
    }

    #[test]
    fn the_defaults_are_those_of_flux_where_a_flag_has_its_name() {
        let config = config(&[]);
        let seconds = Duration::from_secs;
        assert_eq!(config.concurrent, 4);
        assert_eq!(config.kustomizations.requeue_dependency, seconds(30));
        let backoff = (Duration::from_millis(750), seconds(15 * 60));
        assert_eq!(config.sources.backoff, backoff);
        assert_eq!(config.sources.jitter.0, 5);
        assert!(!config.no_cross_namespace_refs && config.watched_namespace.is_none());
        assert!(config.election.is_none() && config.events_address.is_none());
        let election = run(&["--enable-leader-election"]).unwrap();
        let election = Config::new(&election).unwrap().election.unwrap();
        assert!(election.releases);
        let LeaseTiming {
            duration,
            deadline,
            retry,
        } = election.timing;
        assert_eq!(
            (duration, deadline, retry),
            (seconds(35), seconds(30), seconds(5))
        );
    }

    #[test]
    fn the_flags_of_external_secrets_reach_their_settings() {
        let config = config(&[
            "--controller-class=blue",
            "--store-requeue-interval=1m",
            "--enable-flood-gate=false",
            "--enable-cluster-store-reconciler=false",
            "--template-left-delimiter=<<",
            "--template-right-delimiter=>>",
        ]);
        let secrets = &config.external_secrets;
        assert!(secrets.class.serves_class("blue") && !secrets.class.serves_class("default"));
        assert!(config.stores.class.serves_class("blue"));
        assert_eq!(config.stores.interval, Duration::from_secs(60));
        assert!(!secrets.flood_gate && !secrets.cluster_stores);
        let (left, right) = &secrets.template_delimiters;
        assert_eq!((left.as_str(), right.as_str()), ("<<", ">>"));
        let defaults = super::tests::config(&[]);
        assert!(defaults.external_secrets.class.serves_class("default"));
        assert_eq!(defaults.stores.interval, Duration::from_secs(300));
        assert!(defaults.external_secrets.flood_gate && defaults.external_secrets.cluster_stores);
    }
}

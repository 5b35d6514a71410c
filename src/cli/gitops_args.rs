//! The flags of sources and Kustomizations, under the names that Flux's controllers give them.

use std::net::SocketAddr;

use crate::cli::switch::Switch;

/// The flags of sources and Kustomizations.
#[expect(clippy::struct_excessive_bools, reason = "flags are")]
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "GitOps")]
pub(crate) struct GitOpsArgs {
    /// The number of requests that one apply sends at once.
    #[arg(long, env = "OVERLAYD_CONCURRENT_SSA", value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrent_ssa: u16,
    /// The interval at which a Kustomization checks a dependency that is not ready. It is usually woken earlier, when the
    /// dependency becomes ready.
    #[arg(
        long,
        env = "OVERLAYD_REQUEUE_DEPENDENCY",
        value_name = "DURATION",
        default_value = "30s"
    )]
    pub(crate) requeue_dependency: String,
    /// The wait after the first failure of a fetch. It doubles with each further failure, up to --max-retry-delay.
    #[arg(
        long,
        env = "OVERLAYD_MIN_RETRY_DELAY",
        value_name = "DURATION",
        default_value = "750ms"
    )]
    pub(crate) min_retry_delay: String,
    /// The longest wait after a failure of a fetch.
    #[arg(
        long,
        env = "OVERLAYD_MAX_RETRY_DELAY",
        value_name = "DURATION",
        default_value = "15m"
    )]
    pub(crate) max_retry_delay: String,
    /// The share by which intervals are spread, earlier or later, so that objects are not reconciled all at once.
    #[arg(long, env = "OVERLAYD_INTERVAL_JITTER_PERCENTAGE", value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=50))]
    pub(crate) interval_jitter_percentage: u8,
    /// Refuse references to objects of other namespaces.
    #[arg(long, env = "OVERLAYD_NO_CROSS_NAMESPACE_REFS", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", value_parser = Switch, action = clap::ArgAction::Set)]
    pub(crate) no_cross_namespace_refs: bool,
    /// Refuse remote bases. This is the default; the flag exists because Flux has it.
    #[arg(long, env = "OVERLAYD_NO_REMOTE_BASES", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", value_parser = Switch, action = clap::ArgAction::Set)]
    pub(crate) no_remote_bases: bool,
    /// Fail where a variable has no value, instead of substituting an empty text.
    #[arg(long, env = "OVERLAYD_STRICT_SUBSTITUTIONS", value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", value_parser = Switch, action = clap::ArgAction::Set)]
    pub(crate) strict_substitutions: bool,
    /// The number of deletions that need no approval, or `off`. A plan that deletes more, and more than
    /// --deletion-share, waits for an approval.
    #[arg(
        long,
        env = "OVERLAYD_DELETION_LIMIT",
        value_name = "N|off",
        default_value = "20"
    )]
    pub(crate) deletion_limit: String,
    /// The share of the inventory, in percent, that may be deleted without an approval.
    #[arg(long, env = "OVERLAYD_DELETION_SHARE", value_name = "PERCENT", default_value_t = 30, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) deletion_share: u8,
    /// Reconcile the GitRepositories, Kustomizations and Receivers of all namespaces. With `false`, only those of
    /// --namespace are reconciled.
    #[arg(long, env = "OVERLAYD_WATCH_ALL_NAMESPACES", value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", value_parser = Switch, action = clap::ArgAction::Set)]
    pub(crate) watch_all_namespaces: bool,
    /// Reconcile only GitRepositories and Kustomizations with these labels, such as `sharding.fluxcd.io/key=shard1`, so
    /// that several daemons can share the work.
    #[arg(long, env = "OVERLAYD_WATCH_LABEL_SELECTOR", value_name = "SELECTOR")]
    pub(crate) watch_label_selector: Option<String>,
    /// Field managers whose fields overlayd takes over, besides those of kubectl and Flux.
    #[arg(
        long,
        env = "OVERLAYD_OVERRIDE_MANAGER",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(crate) override_manager: Vec<String>,
    /// Kinds that are applied in a stage of their own, after definitions, namespaces and classes, and before the rest.
    #[arg(
        long,
        env = "OVERLAYD_CUSTOM_APPLY_STAGE_KINDS",
        value_name = "KIND",
        value_delimiter = ','
    )]
    pub(crate) custom_apply_stage_kinds: Vec<String>,
    /// A further address that serves metrics, such as `:8080`.
    #[arg(long, env = "OVERLAYD_METRICS_ADDR", value_name = "ADDR", value_parser = address)]
    pub(crate) metrics_addr: Option<SocketAddr>,
    /// A further address that serves probes.
    #[arg(long, env = "OVERLAYD_HEALTH_ADDR", value_name = "ADDR", value_parser = address)]
    pub(crate) health_addr: Option<SocketAddr>,
    /// A further address that serves receivers, such as Flux's `:9292`.
    #[arg(long, env = "OVERLAYD_RECEIVER_ADDR", value_name = "ADDR", value_parser = address)]
    pub(crate) receiver_addr: Option<SocketAddr>,
    /// The URL that events are posted to, such as that of Flux's notification-controller.
    #[arg(long, env = "OVERLAYD_EVENTS_ADDR", value_name = "URL")]
    pub(crate) events_addr: Option<String>,
    /// Elect a leader by a Lease: one replica works, and the others stand by.
    #[arg(long, env = "OVERLAYD_ENABLE_LEADER_ELECTION", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", value_parser = Switch, action = clap::ArgAction::Set)]
    pub(crate) enable_leader_election: bool,
    /// The time after which a standby takes over a lease that is not renewed.
    #[arg(
        long,
        env = "OVERLAYD_LEADER_ELECTION_LEASE_DURATION",
        value_name = "DURATION",
        default_value = "35s"
    )]
    pub(crate) leader_election_lease_duration: String,
    /// The time after which a leader that cannot renew its lease ends.
    #[arg(
        long,
        env = "OVERLAYD_LEADER_ELECTION_RENEW_DEADLINE",
        value_name = "DURATION",
        default_value = "30s"
    )]
    pub(crate) leader_election_renew_deadline: String,
    /// The time between two renewals of the lease.
    #[arg(
        long,
        env = "OVERLAYD_LEADER_ELECTION_RETRY_PERIOD",
        value_name = "DURATION",
        default_value = "5s"
    )]
    pub(crate) leader_election_retry_period: String,
    /// Release the lease when the process ends, so that a standby takes over at once.
    #[arg(long, env = "OVERLAYD_LEADER_ELECTION_RELEASE_ON_CANCEL", value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", value_parser = Switch, action = clap::ArgAction::Set)]
    pub(crate) leader_election_release_on_cancel: bool,
}

/// An address as Go's programs take it: without a host, it means all addresses of the machine.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    full.parse()
        .map_err(|_| "write it as 127.0.0.1:8080 or :8080".to_owned())
}

//! The flags of the `GitOps` half, under the names that Flux's controllers have them.

use std::net::SocketAddr;

/// How sources and Kustomizations are reconciled.
#[expect(clippy::struct_excessive_bools, reason = "flags are")]
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "GitOps")]
pub(crate) struct GitOpsArgs {
    /// Requests of one apply in flight.
    #[arg(long, env = "OVERLAYD_CONCURRENT_SSA", value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrent_ssa: u16,
    /// How long a Kustomization waits for a dependency before it asks, should no event wake it.
    #[arg(
        long,
        env = "OVERLAYD_REQUEUE_DEPENDENCY",
        value_name = "DURATION",
        default_value = "30s"
    )]
    pub(crate) requeue_dependency: String,
    /// The first wait after a fetch that failed; it is doubled up to the next.
    #[arg(
        long,
        env = "OVERLAYD_MIN_RETRY_DELAY",
        value_name = "DURATION",
        default_value = "750ms"
    )]
    pub(crate) min_retry_delay: String,
    /// The longest wait after a fetch that failed.
    #[arg(
        long,
        env = "OVERLAYD_MAX_RETRY_DELAY",
        value_name = "DURATION",
        default_value = "15m"
    )]
    pub(crate) max_retry_delay: String,
    /// By how much intervals are spread, either way.
    #[arg(long, env = "OVERLAYD_INTERVAL_JITTER_PERCENTAGE", value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=50))]
    pub(crate) interval_jitter_percentage: u8,
    /// Refuse references to sources of other namespaces.
    #[arg(long, env = "OVERLAYD_NO_CROSS_NAMESPACE_REFS")]
    pub(crate) no_cross_namespace_refs: bool,
    /// Refuse remote bases, as is the default here.
    #[arg(
        long,
        env = "OVERLAYD_NO_REMOTE_BASES",
        conflicts_with = "allow_remote_bases"
    )]
    pub(crate) no_remote_bases: bool,
    /// A variable without a value is an error.
    #[arg(long, env = "OVERLAYD_STRICT_SUBSTITUTIONS", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) strict_substitutions: bool,
    /// More deletions than this, if they are more than the share too, wait for an approval; a number or `off`.
    #[arg(
        long,
        env = "OVERLAYD_DELETION_LIMIT",
        value_name = "N|off",
        default_value = "20"
    )]
    pub(crate) deletion_limit: String,
    /// The share of the inventory that may go unasked.
    #[arg(long, env = "OVERLAYD_DELETION_SHARE", value_name = "PERCENT", default_value_t = 30, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) deletion_share: u8,
    /// Serve only sources and Kustomizations with these labels, such as `sharding.fluxcd.io/key=shard1`.
    #[arg(long, env = "OVERLAYD_WATCH_LABEL_SELECTOR", value_name = "SELECTOR")]
    pub(crate) watch_label_selector: Option<String>,
    /// Managers whose fields become ours, besides kubectl and Flux.
    #[arg(
        long,
        env = "OVERLAYD_OVERRIDE_MANAGER",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(crate) override_manager: Vec<String>,
    /// Kinds that are applied before the rest, after definitions, namespaces and classes.
    #[arg(
        long,
        env = "OVERLAYD_CUSTOM_APPLY_STAGE_KINDS",
        value_name = "KIND",
        value_delimiter = ','
    )]
    pub(crate) custom_apply_stage_kinds: Vec<String>,
    /// Metrics at one more address, such as `:8080`.
    #[arg(long, env = "OVERLAYD_METRICS_ADDR", value_name = "ADDR", value_parser = address)]
    pub(crate) metrics_addr: Option<SocketAddr>,
    /// Probes at one more address.
    #[arg(long, env = "OVERLAYD_HEALTH_ADDR", value_name = "ADDR", value_parser = address)]
    pub(crate) health_addr: Option<SocketAddr>,
    /// Receivers at one more address, such as Flux's `:9292`.
    #[arg(long, env = "OVERLAYD_RECEIVER_ADDR", value_name = "ADDR", value_parser = address)]
    pub(crate) receiver_addr: Option<SocketAddr>,
    /// Where events are posted, such as the address of Flux's notification-controller.
    #[arg(long, env = "OVERLAYD_EVENTS_ADDR", value_name = "URL")]
    pub(crate) events_addr: Option<String>,
    /// Only one replica works at a time; the others stand by.
    #[arg(long, env = "OVERLAYD_ENABLE_LEADER_ELECTION")]
    pub(crate) enable_leader_election: bool,
    /// How long a standby waits for a lease that is not renewed.
    #[arg(
        long,
        env = "OVERLAYD_LEADER_ELECTION_LEASE_DURATION",
        value_name = "DURATION",
        default_value = "35s"
    )]
    pub(crate) leader_election_lease_duration: String,
    /// Who cannot renew its lease for so long ends.
    #[arg(
        long,
        env = "OVERLAYD_LEADER_ELECTION_RENEW_DEADLINE",
        value_name = "DURATION",
        default_value = "30s"
    )]
    pub(crate) leader_election_renew_deadline: String,
    /// Between two renewals.
    #[arg(
        long,
        env = "OVERLAYD_LEADER_ELECTION_RETRY_PERIOD",
        value_name = "DURATION",
        default_value = "5s"
    )]
    pub(crate) leader_election_retry_period: String,
    /// Give the lease back at the end, so that a standby takes over at once.
    #[arg(long, env = "OVERLAYD_LEADER_ELECTION_RELEASE_ON_CANCEL", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) leader_election_release_on_cancel: bool,
}

/// An address as Go's programs take it: without a host, it is any.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    full.parse()
        .map_err(|_| "write it as 127.0.0.1:8080 or :8080".to_owned())
}

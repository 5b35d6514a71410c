//! Pure: what the flags mean: a valid configuration, or why there is none.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::RunArgs;
use crate::controllers::context::Settings;
use crate::schedule::parse_duration;

/// The configuration of the daemon.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) pair: Option<Pair>,
    pub(crate) install_crds: bool,
    pub(crate) mirrors: PathBuf,
    pub(crate) max_fetch_bytes: usize,
    pub(crate) allow_remote_bases: bool,
    pub(crate) document_cache_bytes: usize,
    pub(crate) listen: SocketAddr,
    pub(crate) concurrent: u16,
    pub(crate) concurrent_secrets: u16,
}

/// The one-line way in: a repository and a directory of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) url: String,
    pub(crate) path: String,
    pub(crate) branch: String,
    pub(crate) interval: String,
}

/// A flag whose value makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`--{flag} {value}`: {reason}")]
pub(crate) struct ConfigError {
    flag: &'static str,
    value: String,
    reason: &'static str,
}

impl Config {
    /// Checks the flags against each other.
    pub(crate) fn new(args: &RunArgs) -> Result<Self, ConfigError> {
        duration("interval", &args.interval)?;
        let pair = match (&args.repo, &args.path) {
            (Some(url), Some(path)) => Some(pair(url, path, args)?),
            _ => None,
        };
        let settings = Settings {
            own_namespace: args.namespace.clone(),
            store_interval: duration("store-requeue-interval", &args.store_requeue_interval)?,
            controller_class: args.controller_class.clone(),
            status_heartbeat: duration("status-heartbeat", &args.status_heartbeat)?,
            template_delimiters: (
                args.template_left_delimiter.clone(),
                args.template_right_delimiter.clone(),
            ),
            flood_gate: args.enable_flood_gate,
            cluster_stores: args.enable_cluster_store_reconciler,
            default_service_account: args.default_service_account.clone(),
            ..Settings::default()
        };
        Ok(Self {
            settings,
            pair,
            install_crds: args.install_crds,
            mirrors: args.data_dir.join("mirrors"),
            max_fetch_bytes: args.max_fetch_mib.saturating_mul(1 << 20),
            allow_remote_bases: args.allow_remote_bases,
            document_cache_bytes: args.document_cache_mib.saturating_mul(1 << 20),
            listen: args.listen,
            concurrent: args.concurrent,
            concurrent_secrets: args.concurrent_secrets,
        })
    }
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

/// What stands before an `@` in an address may be a password.
fn without_credentials(url: &str) -> String {
    url.rsplit_once('@')
        .map_or_else(|| url.to_owned(), |(_, rest)| format!("***@{rest}"))
}

fn duration(flag: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let error = |reason| ConfigError {
        flag,
        value: text.to_owned(),
        reason,
    };
    let duration = parse_duration(text)
        .ok_or_else(|| error("not a duration; write it as 10s, 5m or 1h30m"))?;
    if duration.is_zero() {
        Err(error("must be more than nothing"))
    } else {
        Ok(duration)
    }
}

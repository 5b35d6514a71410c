//! Connects to a cluster, or reports why that fails.

use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::cli::args::ClusterArgs;
use crate::cli::report::Failure;
use crate::cluster::client;
use crate::cluster::error::describe;
use crate::metrics::Metrics;

/// The longest time that the API server may take to answer the first request.
const FIRST_ANSWER: Duration = Duration::from_secs(15);

/// A client of the cluster of these arguments, after the API server has answered a request.
pub(crate) async fn connect(args: &ClusterArgs) -> Result<Client, Failure> {
    connect_with(configure(args).await?, &Arc::default()).await
}

/// A client of this configuration, after the API server has answered a request.
pub(crate) async fn connect_with(
    config: Config,
    metrics: &Arc<Metrics>,
) -> Result<Client, Failure> {
    let url = config.cluster_url.to_string();
    let unreachable = |reason: String| {
        Failure::new(format!("cannot reach the API server at `{url}`")).because(
            reason,
            Some("check the kubeconfig's context, or pass --kubeconfig and --context"),
        )
    };
    let client = client::client(config, metrics).map_err(|error| unreachable(describe(&error)))?;
    let version = tokio::time::timeout(FIRST_ANSWER, client.apiserver_version()).await;
    match version {
        Err(_) => Err(unreachable(format!(
            "no answer within {} s",
            FIRST_ANSWER.as_secs()
        ))),
        Ok(Err(error)) => Err(unreachable(describe(&error))),
        Ok(Ok(version)) => {
            tracing::debug!(version = version.git_version, "connected");
            Ok(client)
        }
    }
}

pub(crate) async fn configure(args: &ClusterArgs) -> Result<Config, Failure> {
    let bad = |reason: String| Failure::new("there is no usable kubeconfig").because(reason, None);
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    match &args.kubeconfig {
        Some(file) => {
            let kubeconfig = Kubeconfig::read_from(file).map_err(|error| bad(error.to_string()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| bad(error.to_string()))
        }
        None if args.context.is_some() => Config::from_kubeconfig(&options)
            .await
            .map_err(|error| bad(error.to_string())),
        None => Config::infer()
            .await
            .map_err(|error| bad(error.to_string())),
    }
}

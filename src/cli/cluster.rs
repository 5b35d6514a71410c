//! Connects to a cluster, or reports why that fails.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
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

/// The configuration of the cluster: of `--kubeconfig`, or else as kubectl finds it.
pub(crate) async fn configure(args: &ClusterArgs) -> Result<Config, Failure> {
    let bad = |reason: String| Failure::new("there is no usable kubeconfig").because(reason, None);
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    let kubeconfig = match &args.kubeconfig {
        Some(file) => Some(Kubeconfig::read_from(file)),
        None => listed(std::env::var_os("KUBECONFIG")),
    };
    let kubeconfig = match kubeconfig {
        Some(read) => Some(read.map_err(|error| bad(error.to_string()))?),
        None => None,
    };
    let config = match kubeconfig {
        Some(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
        // The variable is not set, or empty.
        None if args.context.is_some() => Config::from_kubeconfig(&options).await,
        None => match Config::from_kubeconfig(&options).await {
            Ok(config) => Ok(config),
            Err(error) => Config::incluster().map_err(|_| error),
        },
    };
    config.map_err(|error| bad(error.to_string()))
}

/// The files of the variable `KUBECONFIG`, as one configuration. As for kubectl, the first file that sets a field wins,
/// and files that do not exist are left out. `None` if no file is listed.
fn listed(variable: Option<OsString>) -> Option<Result<Kubeconfig, KubeconfigError>> {
    let variable = variable?;
    let files: Vec<PathBuf> = std::env::split_paths(&variable)
        .filter(|file| !file.as_os_str().is_empty())
        .collect();
    let first = files.first()?.clone();
    let existing: Vec<&PathBuf> = files.iter().filter(|file| file.exists()).collect();
    if existing.is_empty() {
        // Reading it gives an error that names the file.
        return Some(Kubeconfig::read_from(first));
    }
    let mut files = existing.into_iter();
    Some(files.try_fold(Kubeconfig::default(), |merged, file| {
        merged.merge(Kubeconfig::read_from(file)?)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_read_as_kubectl_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, context: &str| {
            let path = directory.path().join(name);
            let text = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: {context}\n\
                 contexts: [{{name: {context}, context: {{cluster: c, user: u}}}}]\n"
            );
            std::fs::write(&path, text).unwrap();
            path
        };
        let (one, two) = (file("one", "first"), file("two", "second"));
        let missing = directory.path().join("missing");
        let read = |files: &[&PathBuf]| {
            let list = std::env::join_paths(files).unwrap();
            listed(Some(list)).map(|read| read.map_err(|error| error.to_string()))
        };
        let merged = read(&[&missing, &one, &two]).unwrap().unwrap();
        assert_eq!(merged.current_context.as_deref(), Some("first"));
        let names: Vec<&str> = merged.contexts.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["first", "second"]);
        let error = read(&[&missing]).unwrap().unwrap_err();
        assert!(error.contains("missing"), "{error}");
        let nothing = |variable: Option<&str>| listed(variable.map(OsString::from)).is_none();
        assert!(nothing(None) && nothing(Some("")) && nothing(Some(":")));
    }
}

//! The arguments as typed. [`crate::cli::config`] makes them into what is meant.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use overlayd_core::apply::plan_options::DEFAULT_NAMESPACE;

use crate::cli::gitops_args::GitOpsArgs;
use crate::daemon::telemetry::LogEncoding;

/// Applies kustomize overlays from git, and turns ExternalSecrets into Secrets.
#[derive(Debug, Parser)]
#[command(name = "overlayd", version, about, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon: sources, Kustomizations, stores and ExternalSecrets.
    Run(Box<RunArgs>),
    /// Build a kustomization and print it, as `kustomize build` does.
    Build(BuildArgs),
    /// Build a kustomization and apply it once to the current cluster, in stages.
    Apply(ApplyArgs),
    /// Show what a change would do to the cluster, or between two states of a repository. Exits with 1 if there are
    /// differences, and with 2 if that cannot be told or the server would refuse something.
    Diff(DiffArgs),
    /// Print the Secret that an ExternalSecret makes of given values, without a cluster and without AWS.
    Template(TemplateArgs),
    /// Print the IAM policies for exactly the secrets that are referenced, for each identity, with the reasons.
    Iam(IamArgs),
    /// Print how often AWS is asked for each store, and what that costs.
    Cost(CostArgs),
    /// Show the objects that the daemon serves, and how they stand.
    Get(GetArgs),
    /// Ask for a reconcile at once, and wait for what comes of it.
    Reconcile(ReconcileArgs),
    /// Leave a GitRepository or Kustomization, and what it made, alone.
    Suspend(SuspendArgs),
    /// Begin again, and wait for the first reconcile.
    Resume(ReconcileArgs),
    /// Print the custom resource definitions.
    Crds,
}

/// Which cluster.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ClusterArgs {
    /// The kubeconfig file; in a pod, the service account is used.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// Arguments of `run`.
#[expect(clippy::struct_excessive_bools, reason = "flags are")]
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// A git repository to follow: creates a GitRepository and a Kustomization for it.
    #[arg(long, env = "OVERLAYD_REPO", value_name = "URL", requires = "path")]
    pub(crate) repo: Option<String>,
    /// The directory of the repository to apply.
    #[arg(long, env = "OVERLAYD_PATH", value_name = "DIR", requires = "repo")]
    pub(crate) path: Option<String>,
    /// The branch to follow.
    #[arg(
        long,
        env = "OVERLAYD_BRANCH",
        value_name = "NAME",
        default_value = "main"
    )]
    pub(crate) branch: String,
    /// How often the repository is asked, and drift repaired.
    #[arg(
        long,
        env = "OVERLAYD_INTERVAL",
        value_name = "DURATION",
        default_value = "1m"
    )]
    pub(crate) interval: String,
    /// Install or upgrade the custom resource definitions at the start.
    #[arg(long, env = "OVERLAYD_INSTALL_CRDS", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) install_crds: bool,
    /// The namespace this process runs in.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAME",
        default_value = DEFAULT_NAMESPACE
    )]
    pub(crate) namespace: String,
    /// The class of stores to serve.
    #[arg(
        long,
        env = "OVERLAYD_CONTROLLER_CLASS",
        value_name = "NAME",
        default_value = "default"
    )]
    pub(crate) controller_class: String,
    /// How often stores are validated.
    #[arg(
        long,
        env = "OVERLAYD_STORE_REQUEUE_INTERVAL",
        value_name = "DURATION",
        default_value = "5m"
    )]
    pub(crate) store_requeue_interval: String,
    /// A queue of SQS with the CloudTrail events of Secrets Manager: what they name is read at once.
    #[arg(long, env = "OVERLAYD_ROTATION_QUEUE", value_name = "URL")]
    pub(crate) rotation_queue: Option<String>,
    /// The region of the queue, where its address does not tell.
    #[arg(long, env = "AWS_REGION", value_name = "REGION")]
    pub(crate) rotation_queue_region: Option<String>,
    /// Where mirrors of git repositories are kept.
    #[arg(
        long,
        env = "OVERLAYD_DATA_DIR",
        value_name = "DIR",
        default_value = "/var/lib/overlayd"
    )]
    pub(crate) data_dir: PathBuf,
    /// The most that one git fetch may bring, in MiB.
    #[arg(
        long,
        env = "OVERLAYD_MAX_FETCH_MIB",
        value_name = "MIB",
        default_value_t = 1024
    )]
    pub(crate) max_fetch_mib: usize,
    /// Let kustomizations name bases and files of other servers. They are fetched without credentials.
    #[arg(long, env = "OVERLAYD_ALLOW_REMOTE_BASES")]
    pub(crate) allow_remote_bases: bool,
    /// How much text of manifests is kept parsed, in MiB; it takes about four times as much memory.
    #[arg(
        long,
        env = "OVERLAYD_DOCUMENT_CACHE_MIB",
        value_name = "MIB",
        default_value_t = 32
    )]
    pub(crate) document_cache_mib: usize,
    /// Where probes and metrics are served.
    #[arg(
        long,
        env = "OVERLAYD_LISTEN",
        value_name = "ADDR",
        default_value = "0.0.0.0:8080"
    )]
    pub(crate) listen: SocketAddr,
    /// Reconciles of each kind at once.
    #[arg(long, env = "OVERLAYD_CONCURRENT", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrent: u16,
    /// The service account, of its own namespace, as which a Kustomization is applied that names none.
    #[arg(long, env = "OVERLAYD_DEFAULT_SERVICE_ACCOUNT", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) default_service_account: Option<String>,
    /// ExternalSecrets that are synced at once.
    #[arg(long, env = "OVERLAYD_CONCURRENT_SECRETS", value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrent_secrets: u16,
    /// How often `status.refreshTime` is written for ExternalSecrets whose values stay the same, or `never`.
    #[arg(
        long,
        env = "OVERLAYD_STATUS_HEARTBEAT",
        value_name = "DURATION",
        default_value = "never"
    )]
    pub(crate) status_heartbeat: String,
    /// What begins an action in the templates of ExternalSecrets.
    #[arg(
        long,
        env = "OVERLAYD_TEMPLATE_LEFT_DELIMITER",
        value_name = "TEXT",
        default_value = "{{"
    )]
    pub(crate) template_left_delimiter: String,
    /// What ends it.
    #[arg(
        long,
        env = "OVERLAYD_TEMPLATE_RIGHT_DELIMITER",
        value_name = "TEXT",
        default_value = "}}"
    )]
    pub(crate) template_right_delimiter: String,
    /// Read only from stores that are ready.
    #[arg(long, env = "OVERLAYD_ENABLE_FLOOD_GATE", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) enable_flood_gate: bool,
    /// Serve stores for all namespaces, and what uses them.
    #[arg(long, env = "OVERLAYD_ENABLE_CLUSTER_STORE_RECONCILER", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) enable_cluster_store_reconciler: bool,
    #[command(flatten)]
    pub(crate) gitops: GitOpsArgs,
    /// error, warn, info, debug or trace.
    #[arg(
        long,
        env = "OVERLAYD_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub(crate) log_level: LogLevel,
    /// The form of log lines.
    #[arg(
        long,
        env = "OVERLAYD_LOG_ENCODING",
        value_name = "FORM",
        default_value = "json"
    )]
    pub(crate) log_encoding: LogEncoding,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Arguments of `build`.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The directory of the kustomization, or a git URL of one, such as `https://host/repo.git//dir?ref=v1`.
    #[arg(default_value = ".", value_name = "DIR|URL")]
    pub(crate) directory: String,
    /// Write the result into a file; into a file per object if this is a directory.
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Which files a kustomization may name.
    #[arg(long, value_enum, default_value = "LoadRestrictionsRootOnly")]
    pub(crate) load_restrictor: LoadRestrictor,
    /// The order of the output, unless the kustomization's `sortOptions` give one.
    #[arg(long, value_enum, default_value = "legacy")]
    pub(crate) reorder: ReorderArg,
    /// Add the label `app.kubernetes.io/managed-by`.
    #[arg(long)]
    pub(crate) enable_managedby_label: bool,
    /// Refused: charts are not rendered.
    #[arg(long, hide = true)]
    pub(crate) enable_helm: bool,
}

/// Which files a kustomization may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoadRestrictor {
    /// Those in or below its own directory.
    #[value(name = "LoadRestrictionsRootOnly")]
    RootOnly,
    /// Any.
    #[value(name = "LoadRestrictionsNone")]
    None,
}

/// The order of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReorderArg {
    /// Namespaces and definitions first, webhooks last.
    Legacy,
    /// As accumulated.
    None,
}

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The directory of the kustomization, or a git URL of one.
    #[arg(value_name = "DIR|URL")]
    pub(crate) directory: String,
    /// Wait until everything is healthy, by the rules that the daemon applies.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "3m")]
    pub(crate) timeout: String,
}

/// Where stores and ExternalSecrets are.
#[derive(Debug, clap::Args)]
pub(crate) struct UsageArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The directory of a kustomization, or a git URL of one; the cluster if none is given.
    #[arg(value_name = "DIR|URL")]
    pub(crate) directory: Option<String>,
}

/// Arguments of `iam`.
#[derive(Debug, clap::Args)]
pub(crate) struct IamArgs {
    #[command(flatten)]
    pub(crate) usage: UsageArgs,
    /// The account of secrets whose store does not tell it by a role.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: Option<String>,
    /// Try each permission, as the identity of each store, and print the statements that are missing. Nothing is
    /// changed, and what is read is dropped. Exits with 1 if something is missing.
    #[arg(long)]
    pub(crate) check: bool,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: ReportForm,
}

/// Arguments of `cost`.
#[derive(Debug, clap::Args)]
pub(crate) struct CostArgs {
    #[command(flatten)]
    pub(crate) usage: UsageArgs,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: ReportForm,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportForm {
    Text,
    Json,
}

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// What would be applied: a directory, or COMMIT:DIRECTORY of the repository around us. With a second one, what was
    /// before it; no cluster is asked then.
    #[arg(value_name = "DIR|COMMIT:DIR")]
    pub(crate) old_or_new: String,
    /// What is after it.
    #[arg(value_name = "DIR|COMMIT:DIR", conflicts_with_all = ["kustomization", "namespace"])]
    pub(crate) new: Option<String>,
    /// As this Kustomization of the cluster would apply it: with its fields, variables and inventory.
    #[arg(short = 'k', long, value_name = "NAME")]
    pub(crate) kustomization: Option<String>,
    /// The namespace of the Kustomization; the context's own if none is given.
    #[arg(short, long, value_name = "NAME", requires = "kustomization")]
    pub(crate) namespace: Option<String>,
    /// The namespace that overlayd runs in, which it never deletes.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAMESPACE)]
    pub(crate) overlayd_namespace: String,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: DiffForm,
}

/// The form of a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffForm {
    Text,
    Json,
    /// For a comment on a pull request.
    Markdown,
}

/// A kind that the daemon serves, by the names that kubectl knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindArg {
    #[value(name = "gitrepository", aliases = ["gitrepositories", "gitrepo"])]
    GitRepository,
    #[value(name = "kustomization", aliases = ["kustomizations", "ks"])]
    Kustomization,
    #[value(name = "clustersecretstore", aliases = ["clustersecretstores", "css"])]
    ClusterSecretStore,
    #[value(name = "secretstore", aliases = ["secretstores", "ss"])]
    SecretStore,
    #[value(name = "externalsecret", aliases = ["externalsecrets", "es"])]
    ExternalSecret,
}

impl KindArg {
    pub(crate) const ALL: [Self; 5] = [
        Self::GitRepository,
        Self::Kustomization,
        Self::ClusterSecretStore,
        Self::SecretStore,
        Self::ExternalSecret,
    ];
}

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Which kind; all of them if none is given.
    #[arg(value_name = "KIND", ignore_case = true)]
    pub(crate) kind: Option<KindArg>,
    /// The namespace; the context's own if none is given.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Those of every namespace.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
}

/// One object.
#[derive(Debug, clap::Args)]
pub(crate) struct ObjectArgs {
    /// Its kind.
    #[arg(value_name = "KIND", ignore_case = true)]
    pub(crate) kind: KindArg,
    /// Its name.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Its namespace; the context's own if none is given.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

/// Arguments of `suspend`.
#[derive(Debug, clap::Args)]
pub(crate) struct SuspendArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) object: ObjectArgs,
}

/// Arguments of `reconcile` and `resume`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReconcileArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) object: ObjectArgs,
    /// The source of a Kustomization first.
    #[arg(long)]
    pub(crate) with_source: bool,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub(crate) timeout: String,
}

/// Arguments of `template`.
#[derive(Debug, clap::Args)]
pub(crate) struct TemplateArgs {
    /// The manifest of the ExternalSecret; ConfigMaps and Secrets that it takes templates from may stand beside it.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// A map from key to text, standing for what the stores give after `data` and `dataFrom`.
    #[arg(long, value_name = "VALUES.yaml")]
    pub(crate) values: PathBuf,
    /// Show the values of the Secret, in base64 as in a cluster, and what functions say of values that they refuse.
    #[arg(long)]
    pub(crate) show: bool,
    /// What begins an action in a template.
    #[arg(long, value_name = "TEXT", default_value = "{{")]
    pub(crate) left_delimiter: String,
    /// What ends it.
    #[arg(long, value_name = "TEXT", default_value = "}}")]
    pub(crate) right_delimiter: String,
}

impl LogLevel {
    /// As the log filter names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

//! The arguments as typed. [`crate::cli::config`] checks them and makes them into a configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use overlayd_core::apply::plan_options::DEFAULT_NAMESPACE;

use crate::cli::gitops_args::GitOpsArgs;
use crate::cli::switch::Switch;

/// Applies kustomize overlays from git, and turns ExternalSecrets into Secrets.
#[derive(Debug, Parser)]
#[command(name = "overlayd", version, about, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon, which reconciles GitRepositories, Kustomizations, Receivers, SecretStores and ExternalSecrets.
    Run(Box<RunArgs>),
    /// Build a kustomization and print it, as `kustomize build` does.
    Build(BuildArgs),
    /// Build a kustomization and apply it once to the cluster of the current context, stage by stage.
    Apply(ApplyArgs),
    /// Show what applying a kustomization would change in the cluster, or how two builds differ. The exit code is 0
    /// without differences, 1 with differences, and 2 if the comparison fails or the API server would refuse an object.
    Diff(DiffArgs),
    /// Print the Secret that an ExternalSecret renders from given values, without a cluster and without AWS.
    Template(TemplateArgs),
    /// Print, for each identity, the IAM policy that allows exactly the secrets that are referenced, with the reason of
    /// each statement.
    Iam(IamArgs),
    /// Print how many calls to AWS each store causes, and what they cost.
    Cost(CostArgs),
    /// List the objects that the daemon reconciles, with their state.
    Get(GetArgs),
    /// Request a reconcile now, and wait for its outcome.
    Reconcile(ReconcileArgs),
    /// Suspend a GitRepository or Kustomization: the daemon does not reconcile it, and its objects stay as they are.
    Suspend(SuspendArgs),
    /// Resume a suspended GitRepository or Kustomization, and wait for its first reconcile.
    Resume(ReconcileArgs),
    /// Print the custom resource definitions.
    Crds,
    /// Move from Flux and External Secrets to overlayd.
    Migrate(MigrateArgs),
    /// Take overlayd out of the cluster. Workloads, Secrets, custom resources, definitions and namespaces stay. The steps
    /// are printed before they are taken, and may be repeated.
    Uninstall(UninstallArgs),
}

/// The arguments of `overlayd migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrateArgs {
    #[command(subcommand)]
    pub(crate) command: MigrateCommand,
}

/// The subcommands of `overlayd migrate`.
#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Tell what overlayd would do with everything that Flux and External Secrets have in the cluster or in a directory.
    /// Nothing is changed. The exit code is 0 if all is served as it is, 1 if something is different or needs its peer
    /// beside overlayd, and 2 if something would be refused or the check fails.
    Check(MigrateCheckArgs),
    /// Stop the controllers of Flux that overlayd replaces, after their definitions are safe. Controllers that serve other
    /// kinds go on.
    Flux(MigrateStepsArgs),
    /// Stop External Secrets, after its definitions are safe. It goes on if it serves objects that overlayd does not serve.
    Eso(MigrateStepsArgs),
}

/// The arguments of `overlayd migrate flux` and `overlayd migrate eso`.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrateStepsArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Print the steps and take none.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Start what was stopped. Take overlayd out of the cluster first: `overlayd uninstall --hand-over`.
    #[arg(long)]
    pub(crate) back: bool,
}

/// The arguments of `overlayd migrate check`.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrateCheckArgs {
    /// A directory of a repository, of which all YAML files are read. Without it, the cluster is read.
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The form of the result.
    #[arg(long, short, value_enum, default_value_t = ReportForm::Text)]
    pub(crate) output: ReportForm,
}

/// The arguments of `overlayd uninstall`.
#[derive(Debug, clap::Args)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Print the steps and take none.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Flux and External Secrets work on: they get back the fields that overlayd owns, and keep finalizers and owner
    /// references. Without this flag, nothing in the cluster waits for a controller any more.
    #[arg(long)]
    pub(crate) hand_over: bool,
    /// The namespace in which overlayd runs.
    #[arg(long, short, value_name = "NAME", default_value = DEFAULT_NAMESPACE)]
    pub(crate) namespace: String,
}

/// The cluster to connect to.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ClusterArgs {
    /// The kubeconfig file. Without one, the files of the variable KUBECONFIG or the default file are used, and in a pod
    /// its service account.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig. Without one, its current context is used.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// Arguments of `run`.
#[expect(clippy::struct_excessive_bools, reason = "flags are")]
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The URL of a git repository to follow. overlayd creates a GitRepository and a Kustomization for it at the start.
    #[arg(long, env = "OVERLAYD_REPO", value_name = "URL", requires = "path")]
    pub(crate) repo: Option<String>,
    /// The directory of the repository that is applied.
    #[arg(long, env = "OVERLAYD_PATH", value_name = "DIR", requires = "repo")]
    pub(crate) path: Option<String>,
    /// The branch of the repository that is followed.
    #[arg(
        long,
        env = "OVERLAYD_BRANCH",
        value_name = "NAME",
        default_value = "main"
    )]
    pub(crate) branch: String,
    /// The interval at which the repository is checked for new commits, and drift is repaired.
    #[arg(
        long,
        env = "OVERLAYD_INTERVAL",
        value_name = "DURATION",
        default_value = "1m"
    )]
    pub(crate) interval: String,
    /// Install or upgrade the custom resource definitions at the start. Turn it off where another tool installs them.
    #[arg(long, env = "OVERLAYD_INSTALL_CRDS", value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", value_parser = Switch, action = clap::ArgAction::Set)]
    pub(crate) install_crds: bool,
    /// The namespace in which this process runs. It is never deleted by a prune, and holds the lease.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAME",
        default_value = DEFAULT_NAMESPACE
    )]
    pub(crate) namespace: String,
    /// The controller class of the stores that are served; stores without a class are served too.
    #[arg(
        long,
        env = "OVERLAYD_CONTROLLER_CLASS",
        value_name = "NAME",
        default_value = "default"
    )]
    pub(crate) controller_class: String,
    /// The interval at which stores are validated.
    #[arg(
        long,
        env = "OVERLAYD_STORE_REQUEUE_INTERVAL",
        value_name = "DURATION",
        default_value = "5m"
    )]
    pub(crate) store_requeue_interval: String,
    /// The URL of an SQS queue with the CloudTrail events of Secrets Manager. A secret that an event names is read at
    /// once, so that a rotation arrives within seconds.
    #[arg(long, env = "OVERLAYD_ROTATION_QUEUE", value_name = "URL")]
    pub(crate) rotation_queue: Option<String>,
    /// The region of the queue, where its URL does not name it.
    #[arg(long, env = "AWS_REGION", value_name = "REGION")]
    pub(crate) rotation_queue_region: Option<String>,
    /// The directory that holds the mirrors of git repositories.
    #[arg(
        long,
        env = "OVERLAYD_DATA_DIR",
        value_name = "DIR",
        default_value = "/var/lib/overlayd"
    )]
    pub(crate) data_dir: PathBuf,
    /// The largest git fetch, in MiB. A larger fetch fails, so that one repository cannot fill the disk.
    #[arg(
        long,
        env = "OVERLAYD_MAX_FETCH_MIB",
        value_name = "MIB",
        default_value_t = 1024
    )]
    pub(crate) max_fetch_mib: usize,
    /// The most disk that the mirrors of one namespace's GitRepositories take together, in MiB. A fetch that would take
    /// more fails. 0 means no quota.
    #[arg(
        long,
        env = "OVERLAYD_NAMESPACE_DISK_QUOTA_MIB",
        value_name = "MIB",
        default_value_t = 0
    )]
    pub(crate) namespace_disk_quota_mib: u64,
    /// Allow kustomizations to name bases and files on other servers. They are fetched without credentials.
    #[arg(long, env = "OVERLAYD_ALLOW_REMOTE_BASES", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", value_parser = Switch, action = clap::ArgAction::Set)]
    pub(crate) allow_remote_bases: bool,
    /// The hosts that bases and files may come from, such as `github.com`. Without this flag they come from any host.
    #[arg(
        long,
        env = "OVERLAYD_REMOTE_BASE_HOSTS",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub(crate) remote_base_hosts: Vec<String>,
    /// The size of the cache of parsed manifests, in MiB of text. The cache takes about four times as much memory.
    #[arg(
        long,
        env = "OVERLAYD_DOCUMENT_CACHE_MIB",
        value_name = "MIB",
        default_value_t = 32
    )]
    pub(crate) document_cache_mib: usize,
    /// The memory that builds may use together, in MiB. Default: half of what the memory limit of the pod leaves beside the
    /// process itself. A build that does not fit waits for others; one that needs more than all of it fails.
    #[arg(long, env = "OVERLAYD_BUILD_MEMORY_MIB", value_name = "MIB", value_parser = clap::value_parser!(u32).range(32..))]
    pub(crate) build_memory_mib: Option<u32>,
    /// The address that serves probes, metrics and receivers.
    #[arg(
        long,
        env = "OVERLAYD_LISTEN",
        value_name = "ADDR",
        default_value = "0.0.0.0:8080"
    )]
    pub(crate) listen: SocketAddr,
    /// The number of objects of each kind that are reconciled at once.
    #[arg(long, env = "OVERLAYD_CONCURRENT", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrent: u16,
    /// The service account that is impersonated for Kustomizations that name none; it is one of the Kustomization's own
    /// namespace. Without it, they are applied with the daemon's own rights.
    #[arg(long, env = "OVERLAYD_DEFAULT_SERVICE_ACCOUNT", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) default_service_account: Option<String>,
    /// The number of ExternalSecrets that are synced at once.
    #[arg(long, env = "OVERLAYD_CONCURRENT_SECRETS", value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrent_secrets: u16,
    /// The interval at which `status.refreshTime` is written for ExternalSecrets whose values stay the same, or `never`.
    /// Each write is a request to the API server.
    #[arg(
        long,
        env = "OVERLAYD_STATUS_HEARTBEAT",
        value_name = "DURATION",
        default_value = "never"
    )]
    pub(crate) status_heartbeat: String,
    /// The text that begins an action in the templates of ExternalSecrets.
    #[arg(
        long,
        env = "OVERLAYD_TEMPLATE_LEFT_DELIMITER",
        value_name = "TEXT",
        default_value = "{{"
    )]
    pub(crate) template_left_delimiter: String,
    /// The text that ends an action in the templates of ExternalSecrets.
    #[arg(
        long,
        env = "OVERLAYD_TEMPLATE_RIGHT_DELIMITER",
        value_name = "TEXT",
        default_value = "}}"
    )]
    pub(crate) template_right_delimiter: String,
    /// Read only from stores that are ready, so that a store that is down gets no calls.
    #[arg(long, env = "OVERLAYD_ENABLE_FLOOD_GATE", value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", value_parser = Switch, action = clap::ArgAction::Set)]
    pub(crate) enable_flood_gate: bool,
    /// Refuse SecretStores of AWS without `auth`, which would read all that overlayd may. ClusterSecretStores are not
    /// concerned.
    #[arg(long, env = "OVERLAYD_REQUIRE_STORE_AUTH")]
    pub(crate) require_store_auth: bool,
    /// Serve ClusterSecretStores, and the ExternalSecrets that use them.
    #[arg(long, env = "OVERLAYD_ENABLE_CLUSTER_STORE_RECONCILER", value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", value_parser = Switch, action = clap::ArgAction::Set)]
    pub(crate) enable_cluster_store_reconciler: bool,
    #[command(flatten)]
    pub(crate) gitops: GitOpsArgs,
    /// The lowest level that is logged.
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

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogEncoding {
    /// Lines for people.
    #[value(alias = "console")]
    Text,
    /// One JSON object a line, with the field names of Flux.
    #[default]
    Json,
}

/// The lowest level that is logged.
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
    /// The directory of the kustomization, or its git URL, such as `https://host/repo.git//dir?ref=v1`.
    #[arg(default_value = ".", value_name = "DIR|URL")]
    pub(crate) directory: String,
    /// The file that the result is written into. If it is a directory, each object gets a file of its own.
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// The files that a kustomization may name.
    #[arg(long, value_enum, default_value = "LoadRestrictionsRootOnly")]
    pub(crate) load_restrictor: LoadRestrictor,
    /// The order of the objects, unless the kustomization's `sortOptions` give one.
    #[arg(long, value_enum, default_value = "legacy")]
    pub(crate) reorder: ReorderArg,
    /// Add the label `app.kubernetes.io/managed-by` to each object.
    #[arg(long)]
    pub(crate) enable_managedby_label: bool,
    /// Refused: charts are not rendered.
    #[arg(long, hide = true)]
    pub(crate) enable_helm: bool,
}

/// The files that a kustomization may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoadRestrictor {
    /// The files in or below its own directory.
    #[value(name = "LoadRestrictionsRootOnly")]
    RootOnly,
    /// All files.
    #[value(name = "LoadRestrictionsNone")]
    None,
}

/// The order of the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReorderArg {
    /// Namespaces and definitions first, webhooks last.
    Legacy,
    /// The order in which the kustomization names them.
    None,
}

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The directory of the kustomization, or its git URL.
    #[arg(value_name = "DIR|URL")]
    pub(crate) directory: String,
    /// Wait until everything is healthy, by the rules that the daemon applies.
    #[arg(long)]
    pub(crate) wait: bool,
    /// The longest wait.
    #[arg(long, value_name = "DURATION", default_value = "3m")]
    pub(crate) timeout: String,
}

/// The place of stores and ExternalSecrets.
#[derive(Debug, clap::Args)]
pub(crate) struct UsageArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The directory of a kustomization with stores and ExternalSecrets, or its git URL. Without one, those of the cluster
    /// are read.
    #[arg(value_name = "DIR|URL")]
    pub(crate) directory: Option<String>,
}

/// Arguments of `iam`.
#[derive(Debug, clap::Args)]
pub(crate) struct IamArgs {
    #[command(flatten)]
    pub(crate) usage: UsageArgs,
    /// The AWS account of secrets whose store names no role, which would tell the account.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: Option<String>,
    /// Test each permission with the identity of each store, and print the statements that are missing. Nothing is
    /// changed, and values that are read are dropped. The exit code is 1 if a statement is missing.
    #[arg(long)]
    pub(crate) check: bool,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: ReportForm,
}

/// Arguments of `cost`.
#[derive(Debug, clap::Args)]
pub(crate) struct CostArgs {
    #[command(flatten)]
    pub(crate) usage: UsageArgs,
    /// The form of the output.
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
    /// The kustomization that would be applied: a directory, or COMMIT:DIRECTORY of the repository of the current
    /// directory. With a second argument, this one is the old state, and the cluster is not asked.
    #[arg(value_name = "DIR|COMMIT:DIR")]
    pub(crate) old_or_new: String,
    /// The new state, which is compared with the first argument.
    #[arg(value_name = "DIR|COMMIT:DIR", conflicts_with_all = ["kustomization", "namespace"])]
    pub(crate) new: Option<String>,
    /// The Kustomization of the cluster that would apply it. Its fields, variables and inventory are used.
    #[arg(short = 'k', long, value_name = "NAME")]
    pub(crate) kustomization: Option<String>,
    /// The namespace of the Kustomization. Without it, the namespace of the context is used.
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
    /// Markdown for a comment on a pull request.
    Markdown,
}

/// A kind that the daemon reconciles, by the names that kubectl knows.
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
    /// The kind to list. Without it, all kinds are listed.
    #[arg(value_name = "KIND", ignore_case = true)]
    pub(crate) kind: Option<KindArg>,
    /// The namespace to list. Without it, the namespace of the context is used.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// List the objects of every namespace.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
}

/// One object.
#[derive(Debug, clap::Args)]
pub(crate) struct ObjectArgs {
    /// The kind of the object.
    #[arg(value_name = "KIND", ignore_case = true)]
    pub(crate) kind: KindArg,
    /// The name of the object.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The namespace of the object. Without it, the namespace of the context is used.
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
    /// Reconcile the source of a Kustomization first.
    #[arg(long)]
    pub(crate) with_source: bool,
    /// The longest wait for the outcome.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub(crate) timeout: String,
}

/// Arguments of `template`.
#[derive(Debug, clap::Args)]
pub(crate) struct TemplateArgs {
    /// The file with the manifest of the ExternalSecret. It may also hold the ConfigMaps and Secrets that the template
    /// reads.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// A YAML file that maps keys to texts. They take the place of the values that `data` and `dataFrom` would read.
    #[arg(long, value_name = "VALUES.yaml")]
    pub(crate) values: PathBuf,
    /// Show the values of the Secret in base64, as in a cluster, and error messages of functions, which may quote values.
    #[arg(long)]
    pub(crate) show: bool,
    /// The text that begins an action in a template.
    #[arg(long, value_name = "TEXT", default_value = "{{")]
    pub(crate) left_delimiter: String,
    /// The text that ends an action in a template.
    #[arg(long, value_name = "TEXT", default_value = "}}")]
    pub(crate) right_delimiter: String,
}

impl LogLevel {
    /// The name of the level in the log filter.
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

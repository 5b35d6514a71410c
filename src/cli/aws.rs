//! `overlayd iam` and `overlayd cost`: the permissions that the secrets of a repository or a cluster need, and what reading them
//! costs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Client, Resource, ResourceExt as _};
use kustomize::{BuildOptions, Object};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::aws::probe::{ProbeOutcome, probe};
use crate::aws::{AwsEnvironment, Fetcher, Sessions};
use crate::cli::args::{CostArgs, IamArgs, ReportForm, UsageArgs};
use crate::cli::report::Failure;
use crate::cli::{build, cluster, output};
use crate::cluster::error::describe;
use crate::metrics::Metrics;
use overlayd_core::api::annotations::ROTATION_QUEUE;
use overlayd_core::api::external_secret::ExternalSecret;
use overlayd_core::api::secret_store::{ClusterSecretStore, SecretStore, SecretStoreSpec};
use overlayd_core::aws::cost::{StoreCost, costs};
use overlayd_core::aws::iam::{Need, Policy, policies};
use overlayd_core::aws::usage::{ExternalSecretUsage, StoreUsage, Usage};

/// Stores and ExternalSecrets, and the client of the cluster that they came from.
struct UsageSource {
    /// What is read from AWS, by store and ExternalSecret.
    usage: Usage,
    /// `None` for objects of a directory.
    client: Option<Client>,
}

/// Collects stores and ExternalSecrets: of a directory if one is given, else of the cluster.
async fn find(args: &UsageArgs) -> Result<UsageSource, Failure> {
    let Some(directory) = args.directory.clone() else {
        let client = cluster::connect(&args.cluster).await?;
        let usage = of_cluster(&client).await?;
        return Ok(UsageSource {
            usage,
            client: Some(client),
        });
    };
    let render = move || build::render(&directory, &BuildOptions::default());
    let rendered = build::apart(render).await?;
    Ok(UsageSource {
        usage: of_objects(&rendered.objects)?,
        client: None,
    })
}

/// The usage of all namespaces of a cluster.
async fn of_cluster(client: &Client) -> Result<Usage, Failure> {
    let mut usage = Usage::default();
    for store in list::<SecretStore>(client).await? {
        let annotations = store.annotations().clone();
        usage.stores.push(store_usage(
            store.namespace(),
            store.name_any(),
            store.spec,
            &annotations,
        ));
    }
    for store in list::<ClusterSecretStore>(client).await? {
        let annotations = store.annotations().clone();
        usage.stores.push(store_usage(
            None,
            store.name_any(),
            store.spec.store,
            &annotations,
        ));
    }
    for user in list::<ExternalSecret>(client).await? {
        usage.external_secrets.push(ExternalSecretUsage {
            namespace: user.namespace().unwrap_or_default(),
            name: user.name_any(),
            spec: user.spec,
        });
    }
    Ok(usage)
}

/// Every object of a kind that can be read.
async fn list<K>(client: &Client) -> Result<Vec<K>, Failure>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<DeserializeGuard<K>> = Api::all(client.clone());
    let all = api.list(&ListParams::default()).await.map_err(|error| {
        let what = format!("cannot list {}", K::plural(&()));
        Failure::new(what).because(describe(&error), None)
    })?;
    Ok(all
        .items
        .into_iter()
        .filter_map(|object| object.0.ok())
        .collect())
}

/// A store with the queue that its annotation names.
fn store_usage(
    namespace: Option<String>,
    name: String,
    spec: SecretStoreSpec,
    annotations: &BTreeMap<String, String>,
) -> StoreUsage {
    StoreUsage {
        namespace,
        name,
        spec,
        queue: annotations.get(ROTATION_QUEUE).cloned(),
    }
}

/// The usage of rendered objects. Kinds of other API versions are left out.
///
/// # Errors
/// An object cannot be read. The message names the field and quotes nothing, since values of the provider `fake` are
/// secret.
fn of_objects(objects: &[Object]) -> Result<Usage, Failure> {
    /// An object as its type.
    fn typed<K: DeserializeOwned>(object: &Object) -> Result<K, Failure> {
        serde_path_to_error::deserialize(object.to_json()).map_err(|error| {
            let what = format!("{} `{}` cannot be read", object.kind(), object.name());
            Failure::new(what).because(format!("`{}` is not as it should be", error.path()), None)
        })
    }
    let mut usage = Usage::default();
    for object in objects {
        let namespace = object.namespace().unwrap_or("default").to_owned();
        match (object.kind(), object.api_version()) {
            ("SecretStore", "external-secrets.io/v1") => {
                let store: SecretStore = typed(object)?;
                let annotations = store.annotations().clone();
                let name = store.name_any();
                usage
                    .stores
                    .push(store_usage(Some(namespace), name, store.spec, &annotations));
            }
            ("ClusterSecretStore", "external-secrets.io/v1") => {
                let store: ClusterSecretStore = typed(object)?;
                let annotations = store.annotations().clone();
                let name = store.name_any();
                usage
                    .stores
                    .push(store_usage(None, name, store.spec.store, &annotations));
            }
            ("ExternalSecret", "external-secrets.io/v1") => {
                let external_secret: ExternalSecret = typed(object)?;
                usage.external_secrets.push(ExternalSecretUsage {
                    namespace,
                    name: external_secret.name_any(),
                    spec: external_secret.spec,
                });
            }
            _ => {}
        }
    }
    Ok(usage)
}

/// Prints notes for the person to standard error, so that the result can be piped.
fn say(notes: &[String]) {
    for note in notes {
        output::note(&format!("note: {note}"));
    }
}

/// Prints a policy for each identity, or with `--check` tries what the policies allow.
pub(super) async fn iam(args: IamArgs) -> Result<(), Failure> {
    let found = find(&args.usage).await?;
    let (policies, notes) = policies(&found.usage, args.account.as_deref());
    say(&notes);
    if policies.is_empty() {
        output::note("nothing is read from AWS here");
        return Ok(());
    }
    if args.check {
        return check(&found, &policies).await;
    }
    let text = match args.output {
        ReportForm::Text => {
            let part = |policy: &Policy| policy.table() + &pretty(&policy.document());
            policies.iter().map(part).collect::<Vec<_>>().join("\n")
        }
        ReportForm::Json => {
            let part = |policy: &Policy| json!({"identity": policy.identity.to_string(), "account": policy.account, "policy": policy.document()});
            pretty(&policies.iter().map(part).collect())
        }
    };
    output::write(&text)?;
    Ok(())
}

/// Tries the actions that the policies allow, and prints the statements that are missing.
async fn check(found: &UsageSource, policies: &[Policy]) -> Result<(), Failure> {
    let sessions = Sessions::new(AwsEnvironment::of_process(), found.client.clone());
    let (fetcher, _wake_ups) = Fetcher::new(sessions, Arc::new(Metrics::default()));
    let tried = probe(&fetcher, &found.usage).await;
    let (mut text, mut missing) = (String::new(), 0);
    for (key, tried) in &tried {
        let _ = writeln!(text, "# {}", key.identity);
        let policy = policies
            .iter()
            .find(|policy| policy.identity == key.identity);
        let mut lacking = BTreeMap::new();
        for ((action, id), tried) in tried {
            let said = match tried {
                ProbeOutcome::Allowed => "allowed",
                ProbeOutcome::Denied => "MISSING",
                ProbeOutcome::Unknown(_) => "unknown",
            };
            let _ = write!(text, "{said:8} {action:36} {id}");
            if let ProbeOutcome::Unknown(reason) = tried {
                let _ = write!(text, "  ({reason})");
            }
            text.push('\n');
            if *tried == ProbeOutcome::Denied {
                let needs = policy.iter().flat_map(|policy| &policy.needs);
                let fits = |need: &Need| need.action == *action && need.fits(id);
                lacking.extend(
                    needs
                        .filter(|(need, _)| fits(need))
                        .map(|(need, why)| (need.clone(), why.clone())),
                );
            }
        }
        if let (Some(policy), false) = (policy, lacking.is_empty()) {
            missing += lacking.values().filter(|why| !why.is_optional).count();
            let lacking = Policy {
                needs: lacking,
                ..policy.clone()
            };
            text += "# these statements are missing:\n";
            text += &pretty(&lacking.document()["Statement"]);
        }
        missing += tried
            .values()
            .filter(|tried| matches!(tried, ProbeOutcome::Unknown(_)))
            .count();
    }
    output::write(&text)?;
    match missing {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "{count} permissions are missing or could not be tried"
        ))
        .because(
            "see above",
            Some("add the statements to the policy of the identity"),
        )),
    }
}

/// Prints the estimated calls and dollars of each store, with and without sharing.
pub(super) async fn cost(args: CostArgs) -> Result<(), Failure> {
    let found = find(&args.usage).await?;
    let (costs, notes) = costs(&found.usage, Instant::now());
    say(&notes);
    let text = match args.output {
        ReportForm::Text => table(&costs),
        ReportForm::Json => {
            let part = |(store, cost): (&String, &StoreCost)| {
                json!({
                    "store": store, "secrets": cost.secrets, "externalSecrets": cost.external_secrets,
                    "callsPerDay": cost.calls_per_day.round(), "dollarsPerMonth": cents(cost.dollars_per_month),
                    "unsharedCallsPerDay": cost.unshared_calls_per_day.round(), "unsharedDollarsPerMonth": cents(cost.unshared_dollars_per_month),
                })
            };
            pretty(&costs.iter().map(part).collect())
        }
    };
    output::write(&text)?;
    Ok(())
}

/// JSON for people, with the end of its line.
fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Dollars, rounded to cents.
fn cents(dollars: f64) -> f64 {
    (dollars * 100.0).round() / 100.0
}

/// The costs in columns, with a sum where there are several stores.
fn table(costs: &BTreeMap<String, StoreCost>) -> String {
    let width = costs.keys().map(String::len).max().unwrap_or(0).max(5);
    let mut text = format!(
        "{:width$}  {:>7}  {:>15}  {:>9}  {:>8}  {:>18}  {:>16}\n",
        "STORE",
        "SECRETS",
        "EXTERNALSECRETS",
        "CALLS/DAY",
        "$/MONTH",
        "UNSHARED CALLS/DAY",
        "UNSHARED $/MONTH"
    );
    let mut total = StoreCost::default();
    let mut row = |name: &str, cost: &StoreCost| {
        let _ = writeln!(
            text,
            "{name:width$}  {:>7}  {:>15}  {:>9.0}  {:>8.2}  {:>18.0}  {:>16.2}",
            cost.secrets,
            cost.external_secrets,
            cost.calls_per_day,
            cost.dollars_per_month,
            cost.unshared_calls_per_day,
            cost.unshared_dollars_per_month
        );
    };
    for (name, cost) in costs {
        row(name, cost);
        total.secrets += cost.secrets;
        total.external_secrets += cost.external_secrets;
        total.calls_per_day += cost.calls_per_day;
        total.dollars_per_month += cost.dollars_per_month;
        total.unshared_calls_per_day += cost.unshared_calls_per_day;
        total.unshared_dollars_per_month += cost.unshared_dollars_per_month;
    }
    if costs.len() > 1 {
        row("all", &total);
    }
    text
}

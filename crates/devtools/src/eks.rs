//! The AWS side of a cluster on EKS, made with the AWS CLI. Each step is idempotent; a dry run only prints the steps.
//!
//! `setup-eks` makes what a cluster needs once: the Pod Identity add-on, a role that EKS may give to pods, a policy
//! that lets it read `training/*`, and the association of the role with the service account of overlayd.
//! `test-secret` then proves the whole path: it writes a new value in AWS and waits until the Secret in the cluster
//! has it. Values are never printed.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use testbed::{Cluster, say};

const ROLE: &str = "overlayd";
const POLICY: &str = "overlayd-read-training";
const NAMESPACE: &str = "external-secrets";
const SERVICE_ACCOUNT: &str = "overlayd";
const SECRET: &str = "training/db-credentials";

/// Arguments of `setup-eks`.
#[derive(Debug, clap::Args)]
pub(crate) struct SetupArgs {
    /// The EKS cluster.
    #[arg(long, env = "CLUSTER")]
    cluster: String,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `test-secret`.
#[derive(Debug, clap::Args)]
pub(crate) struct TestSecretArgs {
    /// The kubeconfig of the cluster.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 360)]
    timeout: u64,
}

/// The `aws` program; `AWS` names another one.
fn aws(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("AWS").unwrap_or_else(|| "aws".into()));
    command
        .args(args)
        .args(["--output", "json"])
        .env("AWS_PAGER", "");
    command
}

/// The answer of an AWS command as JSON. A command that fails is an error with what it wrote.
fn ask(args: &[&str]) -> Result<Value> {
    let output = aws(args)
        .output()
        .context("cannot run the AWS CLI; install it, or name it in AWS")?;
    if !output.status.success() {
        bail!(
            "aws {}: {}",
            args[..2.min(args.len())].join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

/// Lets EKS give the role to pods of overlayd in the cluster of this ARN, and to no others.
///
/// Pod Identity puts the tags on each session, unless the association disables them. The ARN names the account, too.
fn trust_policy(cluster_arn: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {"StringEquals": {
                "aws:RequestTag/eks-cluster-arn": cluster_arn,
                "aws:RequestTag/kubernetes-namespace": NAMESPACE,
                "aws:RequestTag/kubernetes-service-account": SERVICE_ACCOUNT,
            }},
        }],
    })
}

/// Lets the role read `training/*` and nothing else.
fn read_policy() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
            "Resource": "arn:aws:secretsmanager:*:*:secret:training/*",
        }, {
            // This action knows no resources; each value of a batch still needs the statement above.
            "Effect": "Allow",
            "Action": "secretsmanager:BatchGetSecretValue",
            "Resource": "*",
        }],
    })
}

/// Makes sure of a thing in AWS: `exists` asks for it, `create` creates it.
///
/// An answer with an empty list of associations counts as absent. What exists is not compared with what would be
/// created, so that a role which the user has changed stays as it is.
fn make_sure(args: &SetupArgs, what: &str, exists: &[&str], create: &[&str]) -> Result<()> {
    if args.dry_run {
        let command = create.join(" ");
        say(&format!("would make sure of {what}: aws {command}"));
        return Ok(());
    }
    let found =
        ask(exists).is_ok_and(|found| !found["associations"].as_array().is_some_and(Vec::is_empty));
    if found {
        say(&format!("{what} exists"));
        return Ok(());
    }
    say(&format!("creating {what}"));
    ask(create).map(drop)
}

/// Makes the AWS side, step by step. A step that finds its thing leaves it as it is.
pub(crate) fn setup(args: &SetupArgs) -> Result<()> {
    make_addon(args)?;
    make_role(args)?;
    make_association(args)
}

/// The agent that gives credentials to pods, one on each node.
fn make_addon(args: &SetupArgs) -> Result<()> {
    let of_addon = [
        "--cluster-name",
        &args.cluster,
        "--addon-name",
        "eks-pod-identity-agent",
    ];
    make_sure(
        args,
        "the Pod Identity agent add-on",
        &[&["eks", "describe-addon"], &of_addon[..]].concat(),
        &[&["eks", "create-addon"], &of_addon[..]].concat(),
    )
}

/// The role with its trust policy, and the policy of what it may read.
fn make_role(args: &SetupArgs) -> Result<()> {
    let cluster = if args.dry_run {
        "CLUSTER_ARN".to_owned()
    } else {
        cluster_arn(&args.cluster)?
    };
    let (trust, policy) = (
        trust_policy(&cluster).to_string(),
        read_policy().to_string(),
    );
    let of_role = ["--role-name", ROLE];
    let with_trust = ["--assume-role-policy-document", &trust];
    make_sure(
        args,
        "the role",
        &[&["iam", "get-role"], &of_role[..]].concat(),
        &[&["iam", "create-role"], &of_role[..], &with_trust].concat(),
    )?;
    let of_policy = ["--role-name", ROLE, "--policy-name", POLICY];
    let with_document = ["--policy-document", &policy];
    make_sure(
        args,
        "the policy, which may read training/* and nothing else",
        &[&["iam", "get-role-policy"], &of_policy[..]].concat(),
        &[&["iam", "put-role-policy"], &of_policy[..], &with_document].concat(),
    )
}

/// Ties the role to the service account. EKS injects the credentials into pods that start afterwards.
fn make_association(args: &SetupArgs) -> Result<()> {
    let role = if args.dry_run {
        "ROLE_ARN".to_owned()
    } else {
        role_arn()?
    };
    let of_account = [
        "--cluster-name",
        &args.cluster,
        "--namespace",
        NAMESPACE,
        "--service-account",
        SERVICE_ACCOUNT,
    ];
    let with_role = ["--role-arn", &role];
    make_sure(
        args,
        "the Pod Identity association",
        &[&["eks", "list-pod-identity-associations"], &of_account[..]].concat(),
        &[
            &["eks", "create-pod-identity-association"],
            &of_account[..],
            &with_role,
        ]
        .concat(),
    )
}

/// The ARN of the cluster, which names its region and account.
fn cluster_arn(name: &str) -> Result<String> {
    let cluster = ask(&["eks", "describe-cluster", "--name", name])?;
    cluster["cluster"]["arn"]
        .as_str()
        .map(str::to_owned)
        .context("the cluster has no ARN")
}

/// The ARN of the role in the account of the caller.
fn role_arn() -> Result<String> {
    let role = ask(&["iam", "get-role", "--role-name", ROLE])?;
    role["Role"]["Arn"]
        .as_str()
        .map(str::to_owned)
        .context("the role has no ARN")
}

/// Writes a new value and waits until the Secret follows. Shows version ids, never values.
pub(crate) fn test_secret(args: &TestSecretArgs) -> Result<()> {
    let kubeconfig = args
        .kubeconfig
        .clone()
        .or_else(|| std::env::home_dir().map(|home| home.join(".kube/config")));
    let cluster =
        Cluster::connect(&kubeconfig.context("there is no kubeconfig; pass --kubeconfig")?)?;
    let first = resource_version(cluster.get(&secret_path())?.as_ref());
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let password = format!("test-{}", since_epoch.as_nanos());
    rotate(&password)?;
    wait_for_password(&cluster, &password, &first, args.timeout)
}

/// Writes a password into AWS, and creates the secret if it does not exist.
fn rotate(password: &str) -> Result<()> {
    let before = ask(&["secretsmanager", "describe-secret", "--secret-id", SECRET]).ok();
    let value = json!({"username": "training", "password": password}).to_string();
    // The value travels in a file that only this user can read, not in the list of processes.
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), value)?;
    let from = format!("file://{}", file.path().display());
    let (action, name) = match &before {
        Some(_) => ("put-secret-value", "--secret-id"),
        None => ("create-secret", "--name"),
    };
    let words = ["secretsmanager", action, name, SECRET];
    let written = ask(&[&words[..], &["--secret-string", &from]].concat())?;
    let old = before.as_ref().and_then(current_version);
    say(&format!(
        "AWS secret {SECRET}: version {} → {}",
        old.as_deref().unwrap_or("none"),
        written["VersionId"].as_str().unwrap_or("unknown")
    ));
    Ok(())
}

fn secret_path() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/secrets/db-creds")
}

/// The version of the Secret in the cluster, to show that it has changed without showing the value.
fn resource_version(secret: Option<&Value>) -> String {
    let version = secret.and_then(|secret| secret["metadata"]["resourceVersion"].as_str());
    version.unwrap_or("none").to_owned()
}

/// Waits at most `timeout` seconds until the Secret has the password.
fn wait_for_password(cluster: &Cluster, password: &str, first: &str, timeout: u64) -> Result<()> {
    let wanted = base64(password);
    let started = Instant::now();
    loop {
        let secret = cluster.get(&secret_path())?;
        if let Some(secret) = &secret
            && secret["data"]["password"] == wanted
        {
            say(&format!(
                "Secret db-creds: resource version {first} → {}, after {:.1} s",
                resource_version(Some(secret)),
                started.elapsed().as_secs_f64()
            ));
            return Ok(());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(timeout),
            "Secret db-creds did not follow within {timeout} s; see `kubectl describe externalsecret -n {NAMESPACE} db-creds`"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The version that the stage `AWSCURRENT` is on.
fn current_version(secret: &Value) -> Option<String> {
    let stages = secret["VersionIdsToStages"].as_object()?;
    let current = |stages: &Value| {
        stages
            .as_array()
            .is_some_and(|stages| stages.iter().any(|stage| stage == "AWSCURRENT"))
    };
    stages
        .iter()
        .find(|(_, stages)| current(stages))
        .map(|(id, _)| id.clone())
}

/// The form that values of a Secret have in JSON.
pub(crate) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

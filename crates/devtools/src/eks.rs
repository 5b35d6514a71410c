//! The AWS side of a cluster on EKS, by the AWS CLI: idempotent, says what it does, can only say it.

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

pub(crate) fn setup(args: &SetupArgs) -> Result<()> {
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
        }],
    })
    .to_string();
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
            "Resource": "arn:aws:secretsmanager:*:*:secret:training/*",
        }, {
            // Knows no resources; each value of a batch still needs the statement above.
            "Effect": "Allow",
            "Action": "secretsmanager:BatchGetSecretValue",
            "Resource": "*",
        }],
    })
    .to_string();
    let cluster = args.cluster.as_str();
    let step = |what: &str, exists: &[&str], make: &[&str]| -> Result<()> {
        if args.dry_run {
            say(&format!(
                "would make sure of {what}: aws {}",
                make.join(" ")
            ));
            return Ok(());
        }
        if ask(exists)
            .is_ok_and(|found| !found["associations"].as_array().is_some_and(Vec::is_empty))
        {
            say(&format!("{what} is there"));
            return Ok(());
        }
        say(&format!("making {what}"));
        ask(make).map(drop)
    };
    step(
        "the Pod Identity agent add-on",
        &[
            "eks",
            "describe-addon",
            "--cluster-name",
            cluster,
            "--addon-name",
            "eks-pod-identity-agent",
        ],
        &[
            "eks",
            "create-addon",
            "--cluster-name",
            cluster,
            "--addon-name",
            "eks-pod-identity-agent",
        ],
    )?;
    step(
        "the role",
        &["iam", "get-role", "--role-name", ROLE],
        &[
            "iam",
            "create-role",
            "--role-name",
            ROLE,
            "--assume-role-policy-document",
            &trust,
        ],
    )?;
    step(
        "the policy, which may read training/* and nothing else",
        &[
            "iam",
            "get-role-policy",
            "--role-name",
            ROLE,
            "--policy-name",
            POLICY,
        ],
        &[
            "iam",
            "put-role-policy",
            "--role-name",
            ROLE,
            "--policy-name",
            POLICY,
            "--policy-document",
            &policy,
        ],
    )?;
    let role = if args.dry_run {
        "ROLE_ARN".to_owned()
    } else {
        role_arn()?
    };
    let of_account = [
        "--cluster-name",
        cluster,
        "--namespace",
        NAMESPACE,
        "--service-account",
        SERVICE_ACCOUNT,
    ];
    let exists: Vec<&str> = ["eks", "list-pod-identity-associations"]
        .into_iter()
        .chain(of_account)
        .collect();
    let make: Vec<&str> = ["eks", "create-pod-identity-association"]
        .into_iter()
        .chain(of_account)
        .chain(["--role-arn", &role])
        .collect();
    step("the Pod Identity association", &exists, &make)
}

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
    let before = ask(&["secretsmanager", "describe-secret", "--secret-id", SECRET]).ok();
    let password = format!(
        "test-{}",
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_nanos()
    );
    let value = json!({"username": "training", "password": password}).to_string();
    // The value travels in a file that only we can read, not in the list of processes.
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), value)?;
    let from = format!("file://{}", file.path().display());
    let written = match &before {
        Some(_) => ask(&[
            "secretsmanager",
            "put-secret-value",
            "--secret-id",
            SECRET,
            "--secret-string",
            &from,
        ])?,
        None => ask(&[
            "secretsmanager",
            "create-secret",
            "--name",
            SECRET,
            "--secret-string",
            &from,
        ])?,
    };
    let version = |value: &Value| value["VersionId"].as_str().unwrap_or("unknown").to_owned();
    let old = before
        .as_ref()
        .and_then(current_version)
        .unwrap_or_else(|| "none".to_owned());
    say(&format!(
        "AWS secret {SECRET}: version {old} → {}",
        version(&written)
    ));
    let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets/db-creds");
    let resource_version = |secret: &Option<Value>| {
        secret
            .as_ref()
            .and_then(|secret| secret["metadata"]["resourceVersion"].as_str())
            .unwrap_or("none")
            .to_owned()
    };
    let first = resource_version(&cluster.get(&path)?);
    let wanted = base64(&password);
    let started = Instant::now();
    loop {
        let secret = cluster.get(&path)?;
        if secret
            .as_ref()
            .is_some_and(|secret| secret["data"]["password"] == wanted)
        {
            let now = resource_version(&secret);
            say(&format!(
                "Secret db-creds: resource version {first} → {now}, after {:.1} s",
                started.elapsed().as_secs_f64()
            ));
            return Ok(());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(args.timeout),
            "Secret db-creds did not follow within {} s; see `kubectl describe externalsecret -n {NAMESPACE} db-creds`",
            args.timeout
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

pub(crate) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

//! `cargo xtask demo`: a commit becomes a Secret, on a real control plane, told step by step.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    Background, Cluster, ControlPlane, GitServer, GitServerOptions, Moto, PodIdentityAgent,
    Progress, WorkTree, free_port, say, wait_for,
};

use crate::eks::base64;

const NAMESPACE: &str = "external-secrets";
const SECRET: &str = "training/db-credentials";
const STEP: Duration = Duration::from_secs(60);

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// End when the story is complete.
    #[arg(long)]
    once: bool,
    /// Use a cluster that is there, rather than starting one.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Everything that runs. Dropped, it ends, the daemon first.
struct Stage {
    daemon: Background,
    cluster: Cluster,
    work: WorkTree,
    moto: Moto,
    _agent: PodIdentityAgent,
    _git: GitServer,
    _plane: Option<ControlPlane>,
    _directory: tempfile::TempDir,
    kubeconfig: PathBuf,
    started: Instant,
}

pub(crate) fn demo(args: &DemoArgs) -> Result<()> {
    let binary = crate::overlayd()?;
    let mut stage = set(&binary, args)?;
    let result = story(&mut stage);
    if result.is_err() {
        say(&format!(
            "the daemon's last words:\n{}",
            stage.daemon.log_tail()
        ));
    }
    result?;
    if args.once {
        say("✓ the story is complete");
        return Ok(());
    }
    say("\nEverything stays up until you press Ctrl-C. Look around:");
    let kubeconfig = stage.kubeconfig.display();
    say(&format!(
        "  KUBECONFIG={kubeconfig} kubectl get externalsecrets -A"
    ));
    say(&format!(
        "  KUBECONFIG={kubeconfig} kubectl get gitrepositories,kustomizations -A"
    ));
    say(&format!(
        "  commit and push in {}",
        stage.work.path().display()
    ));
    loop {
        stage.daemon.check()?;
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn set(binary: &Path, args: &DemoArgs) -> Result<Stage> {
    let directory = tempfile::tempdir()?;
    let plane = match &args.kubeconfig {
        Some(_) => None,
        None => {
            let progress =
                Progress::start("starting etcd, kube-apiserver and kube-controller-manager");
            let plane = ControlPlane::start()?;
            progress.done();
            Some(plane)
        }
    };
    let kubeconfig = plane
        .as_ref()
        .map(|plane| plane.kubeconfig().to_path_buf())
        .or_else(|| args.kubeconfig.clone());
    let kubeconfig = kubeconfig.context("no kubeconfig")?;
    let cluster = Cluster::connect(&kubeconfig)?;
    let progress =
        Progress::start("starting Secrets Manager (moto), a Pod Identity agent and a git server");
    let moto = Moto::start()?;
    let value = json!({"username": "training", "password": "first"}).to_string();
    moto.secrets_manager(
        "CreateSecret",
        &json!({"Name": SECRET, "SecretString": value}),
    )?;
    let agent = PodIdentityAgent::start(Duration::from_secs(20 * 60))?;
    let git = GitServer::start(&GitServerOptions::default())?;
    let work = git.create("platform")?;
    for part in ["base", "overlays", "kustomization.yaml"] {
        work.copy(&crate::root().join(part), part)?;
    }
    work.push("our own base and overlays", "main")?;
    progress.done();
    let listen = format!("127.0.0.1:{}", free_port()?);
    let mut command = Command::new(binary);
    command
        .args([
            "run",
            "--repo",
            &git.url("platform"),
            "--path",
            "overlays/demo",
            "--interval",
            "2s",
            "--listen",
            &listen,
        ])
        .args(["--log-encoding", "text", "--data-dir"])
        .arg(directory.path().join("data"))
        .env("KUBECONFIG", &kubeconfig);
    agent.give_to(&mut command, &moto.url());
    let started = Instant::now();
    say(&format!(
        "$ overlayd run --repo {} --path overlays/demo --interval 2s",
        git.url("platform")
    ));
    let daemon = Background::start(
        "overlayd",
        &mut command,
        &directory.path().join("overlayd.log"),
    )?;
    Ok(Stage {
        daemon,
        cluster,
        work,
        moto,
        _agent: agent,
        _git: git,
        _plane: plane,
        _directory: directory,
        kubeconfig,
        started,
    })
}

impl Stage {
    fn await_field(&mut self, what: &str, path: &str, pointer: &str, wanted: &Value) -> Result<()> {
        let (cluster, daemon) = (&self.cluster, &mut self.daemon);
        wait_for(what, STEP, || {
            daemon.check()?;
            let object = cluster
                .get(path)?
                .with_context(|| format!("{path} does not exist"))?;
            let found = object.pointer(pointer).unwrap_or(&Value::Null);
            ensure!(found == wanted, "{path}: `{pointer}` is not there yet");
            Ok(())
        })
    }
}

fn story(stage: &mut Stage) -> Result<()> {
    let secret = format!("/api/v1/namespaces/{NAMESPACE}/secrets/db-creds");
    let greeting = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/greeting");
    let told = |number: u8, what: &str, since: Instant| {
        say(&format!(
            "{number}. {what} ({:.2} s)",
            since.elapsed().as_secs_f64()
        ));
    };

    stage.await_field(
        "the first sync",
        &secret,
        "/data/password",
        &json!(base64("first")),
    )?;
    told(
        1,
        "first sync: the repository is applied, and the AWS secret is the Secret db-creds",
        stage.started,
    );

    let file = stage.work.path().join("overlays/demo/kustomization.yaml");
    let text = std::fs::read_to_string(&file)?.replace("message=hello", "message=good-morning");
    std::fs::write(file, text)?;
    let since = Instant::now();
    let commit = stage.work.push("say good morning", "main")?;
    stage.await_field(
        "the commit",
        &greeting,
        "/data/message",
        &json!("good-morning"),
    )?;
    told(
        2,
        &format!("commit {} changed the ConfigMap greeting", &commit[..7]),
        since,
    );

    let since = Instant::now();
    let value = json!({"username": "training", "password": "second"}).to_string();
    stage.moto.secrets_manager(
        "PutSecretValue",
        &json!({"SecretId": SECRET, "SecretString": value}),
    )?;
    stage.await_field(
        "the rotation",
        &secret,
        "/data/password",
        &json!(base64("second")),
    )?;
    told(3, "put-secret-value in AWS changed the Secret", since);

    let since = Instant::now();
    stage.cluster.patch(
        &secret,
        &json!({"data": {"password": base64("edited by hand")}}),
    )?;
    stage
        .cluster
        .patch(&greeting, &json!({"data": {"message": "edited by hand"}}))?;
    stage.await_field(
        "the repair of the Secret",
        &secret,
        "/data/password",
        &json!(base64("second")),
    )?;
    told(4, "a hand edit of the Secret is repaired", since);
    stage.await_field(
        "the repair of the ConfigMap",
        &greeting,
        "/data/message",
        &json!("good-morning"),
    )?;
    told(5, "a hand edit of the ConfigMap is repaired", since);
    Ok(())
}

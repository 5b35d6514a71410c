//! `cargo xtask demo`: a commit becomes a Secret on a real control plane, and each step is printed with its time.
//!
//! The stage is the one of production with doubles for what a machine lacks: a control plane without nodes, moto for
//! AWS, a double of the Pod Identity agent, git's own server. The daemon and its manifests are the real ones. The
//! demo is also a test: it fails if a step takes longer than `STEP`, and shows the end of the daemon's log then.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
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
    /// End after the last step.
    #[arg(long)]
    once: bool,
    /// Use a cluster that you have, rather than starting one.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Everything that runs. Dropped, it stops, the daemon first.
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

/// Runs all steps. Without `--once`, everything keeps running so that the user can look around.
pub(crate) fn demo(args: &DemoArgs) -> Result<()> {
    let binary = crate::overlayd()?;
    let mut stage = Stage::start(&binary, args)?;
    if let Err(error) = steps(&mut stage) {
        let log = stage.daemon.log_tail();
        say(&format!("the last lines of the daemon's log:\n{log}"));
        return Err(error);
    }
    if args.once {
        say("✓ the demo is complete");
        return Ok(());
    }
    stage.wait_for_interrupt()
}

/// The servers around the daemon.
struct Servers {
    /// None if the user has a cluster.
    plane: Option<ControlPlane>,
    moto: Moto,
    git: GitServer,
    work: WorkTree,
}

/// Starts everything at the same time, since each part mostly waits.
fn start_servers(needs_cluster: bool) -> Result<Servers> {
    let cluster = if needs_cluster {
        "etcd, kube-apiserver, kube-controller-manager, "
    } else {
        ""
    };
    let progress = Progress::start(&format!(
        "starting {cluster}Secrets Manager (moto) and a git server"
    ));
    let (plane, moto, git) = std::thread::scope(|scope| {
        let (moto, git) = (scope.spawn(start_moto), scope.spawn(start_git));
        let plane = needs_cluster.then(ControlPlane::start).transpose();
        (plane, moto.join(), git.join())
    });
    let moto = moto.map_err(|_| anyhow!("the start of moto ended with a panic"))?;
    let git = git.map_err(|_| anyhow!("the start of the git server ended with a panic"))?;
    let (git, work) = git?;
    let servers = Servers {
        plane: plane?,
        moto: moto?,
        git,
        work,
    };
    progress.done();
    Ok(servers)
}

/// A Secrets Manager with the first value of the secret.
fn start_moto() -> Result<Moto> {
    let moto = Moto::start()?;
    put_secret(&moto, "CreateSecret", "Name", "first")?;
    Ok(moto)
}

/// A git server with a repository of our own manifests.
fn start_git() -> Result<(GitServer, WorkTree)> {
    let git = GitServer::start(&GitServerOptions::default())?;
    let work = git.create("platform")?;
    for part in ["base", "overlays", "kustomization.yaml"] {
        work.copy(&crate::root().join(part), part)?;
    }
    work.push("our own base and overlays", "main")?;
    Ok((git, work))
}

impl Stage {
    /// Starts the servers, then the daemon, which needs their addresses.
    fn start(binary: &Path, args: &DemoArgs) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let servers = start_servers(args.kubeconfig.is_none())?;
        let kubeconfig = match (&servers.plane, &args.kubeconfig) {
            (Some(plane), _) => plane.kubeconfig().to_path_buf(),
            (None, given) => given.clone().context("there is no kubeconfig")?,
        };
        let agent = PodIdentityAgent::start(Duration::from_secs(20 * 60))?;
        let started = Instant::now();
        let mut command = Command::new(binary);
        let listen = format!("127.0.0.1:{}", free_port()?);
        let url = servers.git.url("platform");
        command
            .args(["run", "--repo", &url, "--path", "overlays/demo"])
            .args(["--interval", "2s", "--listen", &listen])
            .args(["--log-encoding", "text", "--data-dir"])
            .arg(directory.path().join("data"))
            .env("KUBECONFIG", &kubeconfig);
        agent.give_to(&mut command, &servers.moto.url());
        say(&format!(
            "$ overlayd run --repo {url} --path overlays/demo --interval 2s"
        ));
        let log = directory.path().join("overlayd.log");
        Ok(Self {
            daemon: Background::start("overlayd", &mut command, &log)?,
            cluster: Cluster::connect(&kubeconfig)?,
            work: servers.work,
            moto: servers.moto,
            _agent: agent,
            _git: servers.git,
            _plane: servers.plane,
            _directory: directory,
            kubeconfig,
            started,
        })
    }

    /// Says how to look around, and keeps everything running until the user ends it.
    fn wait_for_interrupt(&mut self) -> Result<()> {
        let kubeconfig = self.kubeconfig.display();
        let work = self.work.path().display();
        say(&format!(
            "\nEverything stays up until you press Ctrl-C. Look around:\n  \
             KUBECONFIG={kubeconfig} kubectl get externalsecrets -A\n  \
             KUBECONFIG={kubeconfig} kubectl get gitrepositories,kustomizations -A\n  \
             commit and push in {work}"
        ));
        loop {
            self.daemon.check()?;
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Waits until a field of an object, named by a JSON pointer, has a value. The error names the step and the
    /// field, and shows no value.
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

/// Writes a value of the secret in AWS; `CreateSecret` and `PutSecretValue` name it by different fields.
fn put_secret(moto: &Moto, action: &str, name_field: &str, password: &str) -> Result<()> {
    let value = json!({"username": "training", "password": password}).to_string();
    let request = json!({name_field: SECRET, "SecretString": value});
    moto.secrets_manager(action, &request).map(drop)
}

/// Prints a step and how long it took.
fn print_step(number: u8, what: &str, since: Instant) {
    let elapsed = since.elapsed().as_secs_f64();
    say(&format!("{number}. {what} ({elapsed:.2} s)"));
}

/// The story that the demo tells: first sync, commit, rotation, and two corrections.
fn steps(stage: &mut Stage) -> Result<()> {
    let secret = format!("/api/v1/namespaces/{NAMESPACE}/secrets/db-creds");
    let greeting = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/greeting");
    let (password, message) = ("/data/password", "/data/message");

    let first = json!(base64("first"));
    stage.await_field("the first sync", &secret, password, &first)?;
    let what = "first sync: the repository is applied, and the AWS secret is the Secret db-creds";
    print_step(1, what, stage.started);

    let since = Instant::now();
    let commit = commit_greeting(&stage.work)?;
    let morning = json!("good-morning");
    stage.await_field("the commit", &greeting, message, &morning)?;
    let short = commit.get(..7).unwrap_or(&commit);
    let what = format!("commit {short} changed the ConfigMap greeting");
    print_step(2, &what, since);

    let since = Instant::now();
    put_secret(&stage.moto, "PutSecretValue", "SecretId", "second")?;
    let second = json!(base64("second"));
    stage.await_field("the rotation", &secret, password, &second)?;
    print_step(3, "put-secret-value in AWS changed the Secret", since);

    let since = Instant::now();
    let edit = json!({"data": {"password": base64("edited by hand")}});
    stage.cluster.patch(&secret, &edit)?;
    let edit = json!({"data": {"message": "edited by hand"}});
    stage.cluster.patch(&greeting, &edit)?;
    stage.await_field("the correction of the Secret", &secret, password, &second)?;
    print_step(4, "a hand edit of the Secret is corrected", since);
    stage.await_field(
        "the correction of the ConfigMap",
        &greeting,
        message,
        &morning,
    )?;
    print_step(5, "a hand edit of the ConfigMap is corrected", since);
    Ok(())
}

/// Changes the message of the greeting, and gives the commit's id.
fn commit_greeting(work: &WorkTree) -> Result<String> {
    let file = work.path().join("overlays/demo/kustomization.yaml");
    let text = std::fs::read_to_string(&file)?.replace("message=hello", "message=good-morning");
    std::fs::write(file, text)?;
    work.push("say good morning", "main")
}

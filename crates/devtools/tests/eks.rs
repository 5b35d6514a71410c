//! The recipes for people with a cluster, on the test bed: `just external-secrets-deploy` and `-test`, with the
//! AWS CLI talking to moto and a daemon in the place of the pod.

#![expect(clippy::unwrap_used, reason = "a test: an error in it fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testbed::{
    Background, Cluster, ControlPlane, Moto, PodIdentityAgent, Tool, Tools, free_port, http_get,
    mark_pods_ready, wait_for,
};

fn overlayd() -> PathBuf {
    // Beside our own binary: the workspace's tests build both.
    Path::new(env!("CARGO_BIN_EXE_devtools")).with_file_name("overlayd")
}

struct Just {
    program: PathBuf,
    aws: PathBuf,
    kubeconfig: PathBuf,
    endpoint: String,
}

impl Just {
    fn run(&self, args: &[&str]) -> Output {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut command = Command::new(&self.program);
        command
            .current_dir(root)
            .args(args)
            .env("OVERLAYD", overlayd())
            .env("XTASK", env!("CARGO_BIN_EXE_devtools"))
            .env("AWS", &self.aws)
            .env("KUBECONFIG", &self.kubeconfig);
        self.with_aws(&mut command).output().unwrap()
    }

    /// Points a command at moto.
    fn with_aws<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_DEFAULT_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
    }

    /// Creates the secret that the base refers to.
    fn create_secret(&self, value: &str) {
        let mut create = Command::new(&self.aws);
        create.args(["secretsmanager", "create-secret"]).args([
            "--name",
            "training/db-credentials",
            "--secret-string",
            value,
        ]);
        let created = self.with_aws(&mut create).output().unwrap();
        assert!(created.status.success(), "{}", text_of(&created));
    }

    fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = text_of(&output);
        assert!(output.status.success(), "just {}:\n{text}", args.join(" "));
        text
    }
}

/// Everything that a program wrote.
fn text_of(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

/// The daemon, with the credentials that EKS gives a pod.
fn start_daemon(just: &Just, agent: &PodIdentityAgent, directory: &Path) -> Background {
    let port = free_port().unwrap();
    let mut command = Command::new(overlayd());
    command
        .args(["run", "--listen", &format!("127.0.0.1:{port}")])
        .arg("--data-dir")
        .arg(directory.join("data"))
        .env("KUBECONFIG", &just.kubeconfig)
        .env("AWS_ENDPOINT_URL", &just.endpoint)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(agent.environment())
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let log = directory.join("overlayd.log");
    let mut daemon = Background::start("overlayd", &mut command, &log).unwrap();
    wait_for("the daemon", Duration::from_secs(60), || {
        daemon.check()?;
        anyhow::ensure!(http_get(port, "/readyz")?.0 == 200, "not ready");
        Ok(())
    })
    .unwrap();
    daemon
}

/// Runs the recipe while pods become Ready: no kubelet runs here.
fn deploy(just: &Just, cluster: &Cluster) -> Output {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = mark_pods_ready(cluster, "external-secrets");
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let output = just.run(&["external-secrets-deploy"]);
        done.store(true, Ordering::Relaxed);
        output
    })
}

#[test]
fn deploy_then_rotate() {
    let tools = Tools::open().unwrap();
    let (plane, moto) = (ControlPlane::start().unwrap(), Moto::start().unwrap());
    let cluster = plane.cluster().unwrap();
    let agent = PodIdentityAgent::start(Duration::from_secs(900)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let just = Just {
        program: tools.need(Tool::Just).unwrap(),
        aws: tools.need(Tool::AwsCli).unwrap(),
        kubeconfig: plane.kubeconfig().to_path_buf(),
        endpoint: moto.url(),
    };
    let dry = just.succeed(&["setup-eks", "--cluster", "training", "--dry-run"]);
    assert!(
        dry.contains("would make sure of the Pod Identity association"),
        "{dry}"
    );
    // The role is for one service account of one cluster.
    for tag in [
        r#""aws:RequestTag/eks-cluster-arn":"CLUSTER_ARN""#,
        r#""aws:RequestTag/kubernetes-namespace":"external-secrets""#,
        r#""aws:RequestTag/kubernetes-service-account":"overlayd""#,
    ] {
        assert!(dry.contains(tag), "{tag} is missing: {dry}");
    }

    let daemon = start_daemon(&just, &agent, directory.path());
    just.create_secret(r#"{"username":"training","password":"first"}"#);
    let deployed = deploy(&just, &cluster);
    let text = text_of(&deployed);
    assert!(deployed.status.success(), "{text}\n{}", daemon.log_tail());
    assert!(
        text.contains("Deployment/external-secrets/overlayd created"),
        "{text}"
    );
    assert!(text.contains("everything is ready"), "{text}");

    // The base refreshes every five minutes, which is too long for a test.
    let path = "/apis/external-secrets.io/v1/namespaces/external-secrets/externalsecrets/db-creds";
    let patch = serde_json::json!({"spec": {"refreshInterval": "1s"}});
    cluster.patch(path, &patch).unwrap();
    let rotated = just.succeed(&["external-secrets-test"]);
    assert!(
        rotated.contains("AWS secret training/db-credentials: version "),
        "{rotated}"
    );
    assert!(
        rotated.contains("Secret db-creds: resource version "),
        "{rotated}"
    );
    assert!(
        !rotated.contains("first"),
        "values are never shown: {rotated}"
    );
}

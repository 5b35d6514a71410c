//! The recipes for people with a cluster, on the test bed: `just external-secrets-deploy` and `-test`, with the
//! AWS CLI talking to moto and a daemon that plays the pod.

#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test: what fails here fails the test, and it is one story"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testbed::{
    Background, ControlPlane, Moto, PodIdentityAgent, Tool, Tools, free_port, http_get,
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
            .env("KUBECONFIG", &self.kubeconfig)
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_DEFAULT_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        command.output().unwrap()
    }

    fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "just {}:\n{text}", args.join(" "));
        text
    }
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

    let port = free_port().unwrap();
    let mut command = Command::new(overlayd());
    command
        .args([
            "run",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--data-dir",
        ])
        .arg(directory.path().join("data"))
        .env("KUBECONFIG", plane.kubeconfig())
        .env("AWS_ENDPOINT_URL", moto.url())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(agent.environment())
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let mut daemon = Background::start(
        "overlayd",
        &mut command,
        &directory.path().join("overlayd.log"),
    )
    .unwrap();
    wait_for("the daemon", Duration::from_secs(60), || {
        daemon.check()?;
        anyhow::ensure!(http_get(port, "/readyz")?.0 == 200, "not ready");
        Ok(())
    })
    .unwrap();
    let region_secret = r#"{"username":"training","password":"first"}"#;
    let mut create = Command::new(&just.aws);
    let created = create
        .args([
            "secretsmanager",
            "create-secret",
            "--name",
            "training/db-credentials",
            "--secret-string",
            region_secret,
        ])
        .env("AWS_ENDPOINT_URL", moto.url())
        .env("AWS_DEFAULT_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .output()
        .unwrap();
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stderr)
    );

    let done = AtomicBool::new(false);
    let deployed = std::thread::scope(|scope| {
        // Nobody runs pods here: this is the kubelet.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = mark_pods_ready(&cluster, "external-secrets");
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let output = just.run(&["external-secrets-deploy"]);
        done.store(true, Ordering::Relaxed);
        output
    });
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&deployed.stdout),
        String::from_utf8_lossy(&deployed.stderr)
    );
    assert!(deployed.status.success(), "{text}\n{}", daemon.log_tail());
    assert!(
        text.contains("Deployment/external-secrets/overlayd created"),
        "{text}"
    );
    assert!(text.contains("everything is ready"), "{text}");

    // The base refreshes every five minutes; here somebody is in a hurry.
    let path = "/apis/external-secrets.io/v1/namespaces/external-secrets/externalsecrets/db-creds";
    cluster
        .patch(
            path,
            &serde_json::json!({"spec": {"refreshInterval": "1s"}}),
        )
        .unwrap();
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

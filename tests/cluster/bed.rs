//! What the tests share, and the small language they are written in.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    Background, Cluster, ControlPlane, Emulator, GitServer, GitServerOptions, Inbox, Kwok,
    PodIdentityAgent, WorkTree, free_port, wait_for,
};

/// Long enough for a machine with two busy cores; nothing waits that long when it works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// The shared parts.
pub(crate) struct Bed {
    plane: ControlPlane,
    pub(crate) cluster: Cluster,
    pub(crate) aws: Emulator,
    pub(crate) git: GitServer,
    pub(crate) agent: PodIdentityAgent,
    pub(crate) daemon: Background,
    pub(crate) port: u16,
    /// Where events are posted.
    pub(crate) inbox: Inbox,
    _directory: tempfile::TempDir,
}

/// Runs the daemon below a shell that ends it when the tests end, however they end.
const WITH_US: &str = r#""$0" "$@" & pid=$!; (wait $pid) ; cat > /dev/null; kill -9 $pid"#;

pub(crate) fn bed() -> &'static Bed {
    static BED: OnceLock<Bed> = OnceLock::new();
    BED.get_or_init(|| Bed::start().expect("the test bed starts"))
}

impl Bed {
    fn start() -> Result<Self> {
        let plane = ControlPlane::start()?;
        let cluster = plane.cluster()?;
        let (aws, agent) = (
            Emulator::start()?,
            PodIdentityAgent::start(Duration::from_secs(900))?,
        );
        let git = GitServer::start(&GitServerOptions::default())?;
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let inbox = Inbox::start()?;
        let mut command = Command::new("sh");
        command.args(["-c", WITH_US, env!("CARGO_BIN_EXE_overlayd")]);
        daemon_arguments(
            &mut command,
            plane.kubeconfig(),
            port,
            &directory.path().join("data"),
        );
        agent.give_to(&mut command, &aws.url());
        command.args(["--events-addr", &inbox.url()]);
        let mut daemon = Background::start(
            "overlayd",
            &mut command,
            &directory.path().join("overlayd.log"),
        )?;
        wait_for("the daemon", PATIENCE, || {
            daemon.check()?;
            ensure!(testbed::http_get(port, "/readyz")?.0 == 200, "not ready");
            Ok(())
        })?;
        let store = json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": "ClusterSecretStore",
            "metadata": {"name": "aws"},
            "spec": {"provider": {"aws": {"service": "SecretsManager", "region": "us-east-1"}}},
        });
        // Served a moment after the definition is.
        wait_for("the store's kind", PATIENCE, || {
            cluster.apply(
                "/apis/external-secrets.io/v1/clustersecretstores/aws",
                &store,
            )
        })?;
        Ok(Self {
            plane,
            cluster,
            aws,
            git,
            agent,
            daemon,
            port,
            inbox,
            _directory: directory,
        })
    }
}

impl Bed {
    /// Runs a command of overlayd from a desk: whether it went well, and what it printed.
    pub(crate) fn overlayd(&self, arguments: &[&str]) -> (bool, String, String) {
        command_of_overlayd(&self.plane, arguments)
    }
}

fn command_of_overlayd(plane: &ControlPlane, arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_overlayd"))
        .args(arguments)
        .env("KUBECONFIG", plane.kubeconfig())
        .output()
        .expect("overlayd runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A control plane of one test's own, for daemons that start, end and crash.
pub(crate) struct Own {
    pub(crate) plane: ControlPlane,
    pub(crate) cluster: Cluster,
    pub(crate) git: GitServer,
    pub(crate) aws: Emulator,
    agent: PodIdentityAgent,
    pub(crate) directory: tempfile::TempDir,
    started: std::cell::Cell<u32>,
}

impl Own {
    pub(crate) fn start() -> Self {
        let plane = ControlPlane::start().expect("the control plane starts");
        Self {
            cluster: plane.cluster().expect("it answers"),
            plane,
            git: GitServer::start(&GitServerOptions::default()).expect("the git server starts"),
            aws: Emulator::start().expect("the emulator starts"),
            agent: PodIdentityAgent::start(Duration::from_secs(900)).expect("the agent starts"),
            directory: tempfile::tempdir().expect("a temporary folder"),
            started: std::cell::Cell::default(),
        }
    }

    /// Runs a command of overlayd from a desk: whether it went well, and what it printed.
    pub(crate) fn overlayd(&self, arguments: &[&str]) -> (bool, String, String) {
        command_of_overlayd(&self.plane, arguments)
    }

    /// Starts a daemon with more flags and variables, and gives its port. All share one folder of mirrors but those
    /// that are named otherwise.
    pub(crate) fn daemon(&self, flags: &[&str], variables: &[(&str, &str)]) -> (Background, u16) {
        self.daemon_of(self.plane.kubeconfig(), flags, variables)
    }

    /// The same, with the rights of the user of a kubeconfig.
    pub(crate) fn daemon_of(
        &self,
        kubeconfig: &Path,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> (Background, u16) {
        let port = free_port().expect("there is a free port");
        let mut command = Command::new(env!("CARGO_BIN_EXE_overlayd"));
        let data = self.directory.path().join("data");
        daemon_arguments(&mut command, kubeconfig, port, &data);
        self.agent.give_to(&mut command, &self.aws.url());
        command.args(flags);
        for (name, value) in variables {
            match *value {
                // As if it were not set.
                "" => command.env_remove(name),
                value => command.env(name, value),
            };
        }
        let number = self.started.get();
        self.started.set(number + 1);
        let log = self.directory.path().join(format!("{number}.log"));
        let daemon = Background::start("overlayd", &mut command, &log);
        (daemon.expect("the daemon starts"), port)
    }
}

impl Own {
    /// Applies an overlay of this repository as `overlayd apply` does.
    pub(crate) fn apply_overlay(&self, overlay: &str) {
        let output = Command::new(env!("CARGO_BIN_EXE_overlayd"))
            .args(["apply", overlay])
            .env("KUBECONFIG", self.plane.kubeconfig())
            .output()
            .expect("overlayd runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{overlay}: {text}");
    }

    /// A kubeconfig with a token of a service account, as its pod has it.
    pub(crate) fn kubeconfig_of(&self, namespace: &str, account: &str) -> std::path::PathBuf {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {"name": account},
            "spec": {"expirationSeconds": 3600},
        });
        let answer = self.cluster.create(&path, &request);
        let answer = answer.expect("the account exists");
        let token = answer["status"]["token"].as_str().expect("a token");
        let admin = std::fs::read_to_string(self.plane.kubeconfig()).expect("the kubeconfig");
        assert!(admin.contains(testbed::ADMIN_TOKEN), "it has the token");
        let file = self.directory.path().join(format!("{account}.kubeconfig"));
        std::fs::write(&file, admin.replace(testbed::ADMIN_TOKEN, token)).expect("it is written");
        file
    }
}

impl Bed {
    /// A node whose pods are Ready at once.
    pub(crate) fn kwok(&self) -> &'static Kwok {
        static KWOK: OnceLock<Kwok> = OnceLock::new();
        KWOK.get_or_init(|| {
            Kwok::start(self.plane.kubeconfig(), &self.cluster).expect("KWOK starts")
        })
    }
}

/// The flags that every test daemon has.
pub(crate) fn daemon_arguments(command: &mut Command, kubeconfig: &Path, port: u16, data: &Path) {
    let listen = format!("127.0.0.1:{port}");
    command
        .args([
            "run",
            "--listen",
            &listen,
            "--log-level",
            "trace",
            "--store-requeue-interval",
            "2s",
            "--data-dir",
        ])
        .arg(data)
        .env("KUBECONFIG", kubeconfig);
}

/// At the end of a test nothing of it is fetched or applied any longer: a hundred repositories with intervals of a second
/// would hold up the tests that follow.
impl Drop for Case {
    fn drop(&mut self) {
        for kind in ["gitrepositories", "kustomizations"] {
            let list = self.bed.cluster.get(&self.path(kind, "")).ok().flatten();
            let objects = list.map(|list| list["items"].clone()).unwrap_or_default();
            for object in objects.as_array().into_iter().flatten() {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let suspended = json!({"spec": {"suspend": true}});
                // What cannot be suspended, since its namespace goes or its definition was tried out, does no harm.
                let _ = self.bed.cluster.patch(&self.path(kind, name), &suspended);
            }
        }
    }
}

/// One test's namespace, with a repository of the same name.
pub(crate) struct Case {
    pub(crate) bed: &'static Bed,
    pub(crate) namespace: String,
    pub(crate) work: WorkTree,
}

impl Case {
    pub(crate) fn new(name: &str) -> Self {
        let bed = bed();
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        bed.cluster
            .create("/api/v1/namespaces", &namespace)
            .expect("the namespace is new");
        let work = bed.git.create(name).expect("the repository is new");
        Self {
            bed,
            namespace: name.to_owned(),
            work,
        }
    }

    /// One whose repository has the ConfigMap `a` with the value `one` in `app`, which is applied.
    pub(crate) fn applied(name: &str) -> Self {
        let case = Self::new(name);
        let text = format!("namespace: {name}\nresources: [a.yaml]\n");
        let map = config_map("a", "one");
        for (path, text) in [("app/kustomization.yaml", &text), ("app/a.yaml", &map)] {
            case.work.write(path, text).expect("the work tree is there");
        }
        case.work.push("a", "main").expect("the server takes it");
        case.follow("app");
        case.ready("kustomizations", "app", "True", "Applied revision");
        case
    }

    /// The path of an object of this namespace.
    pub(crate) fn path(&self, kind: &str, name: &str) -> String {
        let group = match kind {
            "gitrepositories" => "apis/source.toolkit.fluxcd.io/v1",
            "kustomizations" => "apis/kustomize.toolkit.fluxcd.io/v1",
            "externalsecrets" | "secretstores" => "apis/external-secrets.io/v1",
            "receivers" => "apis/notification.toolkit.fluxcd.io/v1",
            "events" => "apis/events.k8s.io/v1",
            "passwords" | "uuids" | "fakes" => "apis/generators.external-secrets.io/v1alpha1",
            _ => "api/v1",
        };
        let path = format!("/{group}/namespaces/{}/{kind}", self.namespace);
        if name.is_empty() {
            path
        } else {
            format!("{path}/{name}")
        }
    }

    /// Points a GitRepository and a Kustomization named `app` at the repository.
    pub(crate) fn follow(&self, path: &str) {
        let url = self.bed.git.url(&self.namespace);
        self.apply(
            "gitrepositories",
            "app",
            json!({"url": url, "interval": "1s", "ref": {"branch": "main"}}),
        );
        self.apply(
            "kustomizations",
            "app",
            json!({"interval": "1s", "path": path, "prune": true, "sourceRef": {"kind": "GitRepository", "name": "app"}}),
        );
    }

    pub(crate) fn apply(&self, kind: &str, name: &str, spec: Value) {
        let (api_version, kind_name) = match kind {
            "gitrepositories" => ("source.toolkit.fluxcd.io/v1", "GitRepository"),
            "kustomizations" => ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
            "receivers" => ("notification.toolkit.fluxcd.io/v1", "Receiver"),
            "secretstores" => ("external-secrets.io/v1", "SecretStore"),
            "passwords" => ("generators.external-secrets.io/v1alpha1", "Password"),
            "uuids" => ("generators.external-secrets.io/v1alpha1", "UUID"),
            "fakes" => ("generators.external-secrets.io/v1alpha1", "Fake"),
            _ => ("external-secrets.io/v1", "ExternalSecret"),
        };
        let object = json!({"apiVersion": api_version, "kind": kind_name, "metadata": {"name": name}, "spec": spec});
        self.bed
            .cluster
            .apply(&self.path(kind, name), &object)
            .expect("the object is valid");
    }

    /// A store of this namespace with fixed values, named `fake`.
    pub(crate) fn fake_store(&self, data: &[(&str, &str)]) {
        let data: Vec<_> = data
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        self.apply(
            "secretstores",
            "fake",
            json!({"provider": {"fake": {"data": data}}}),
        );
        self.ready("secretstores", "fake", "True", "store validated");
    }

    /// An ExternalSecret that reads `key` of the store `fake` into `k`, with more in its target and spec.
    pub(crate) fn of_fake(&self, name: &str, key: &str, target: Value, more: Value) {
        let mut spec = json!({
            "refreshInterval": "1h",
            "secretStoreRef": {"name": "fake"},
            "data": [{"secretKey": "k", "remoteRef": {"key": key}}],
            "target": target,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.apply("externalsecrets", name, spec);
    }

    /// Changes labels, annotations or whatever else of an object.
    pub(crate) fn patch(&self, kind: &str, name: &str, patch: Value) {
        self.bed
            .cluster
            .patch(&self.path(kind, name), &patch)
            .expect("the patch is valid");
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, kind: &str, name: &str) {
        self.bed
            .cluster
            .delete(&self.path(kind, name))
            .expect("the object is there");
    }

    /// The resource version of an object.
    pub(crate) fn version(&self, kind: &str, name: &str) -> String {
        let object = self.get(kind, name).expect("the object is there");
        object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// True once an event of a reason was written.
    pub(crate) fn has_event(&self, reason: &str, note: &str) {
        self.wait("events", "", reason, |events| {
            let events = events["items"].as_array().into_iter().flatten();
            events.into_iter().any(|event| {
                event["reason"] == reason
                    && event["note"]
                        .as_str()
                        .is_some_and(|text| text.contains(note))
            })
        });
    }

    /// An ExternalSecret that reads one key of the shared store.
    pub(crate) fn external_secret(&self, name: &str, data: Value) {
        let store = json!({"kind": "ClusterSecretStore", "name": "aws"});
        self.apply(
            "externalsecrets",
            name,
            json!({"refreshInterval": "1s", "secretStoreRef": store, "data": data}),
        );
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.bed
            .cluster
            .get(&self.path(kind, name))
            .expect("the API server answers")
    }

    /// Waits until an object is as it should be, and gives it.
    pub(crate) fn wait(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        let result = wait_for(what, PATIENCE, || {
            let object = self
                .get(kind, name)
                .with_context(|| format!("{kind}/{name} does not exist"))?;
            ensure!(
                holds(&object),
                "{}",
                serde_json::to_string_pretty(&object["status"])?
            );
            Ok(object)
        });
        result.unwrap_or_else(|error| panic!("{error:#}\n{}", self.bed.daemon.log_tail()))
    }

    /// The sum of the samples of the shared daemon whose line has all parts, and how many there are.
    pub(crate) fn metric(&self, parts: &[&str]) -> (f64, usize) {
        let (_, text) = testbed::http_get(self.bed.port, "/metrics").expect("the daemon answers");
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
        let samples: Vec<f64> = lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
            .collect();
        (samples.iter().sum(), samples.len())
    }

    /// Waits until an object is gone.
    pub(crate) fn wait_gone(&self, kind: &str, name: &str) {
        let result = wait_for("an object to go", PATIENCE, || {
            ensure!(
                self.get(kind, name).is_none(),
                "{kind}/{name} is still there"
            );
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Waits for the Ready condition and gives its reason and message.
    pub(crate) fn ready(&self, kind: &str, name: &str, status: &str, message: &str) -> String {
        let object = self.wait(
            kind,
            name,
            &format!("Ready={status} with `{message}`"),
            |object| {
                let ready = condition(object, "Ready");
                ready["status"] == status
                    && ready["message"]
                        .as_str()
                        .is_some_and(|text| text.contains(message))
            },
        );
        condition(&object, "Ready")["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The data of a ConfigMap or the decoded data of a Secret, by key.
    pub(crate) fn secret_is(&self, name: &str, key: &str, value: &str) {
        use base64::Engine as _;
        let wanted = base64::engine::general_purpose::STANDARD.encode(value);
        self.wait("secrets", name, "the Secret's value", |secret| {
            secret["data"][key] == wanted
        });
    }
}

/// A condition of an object's status.
pub(crate) fn condition(object: &Value, name: &str) -> Value {
    let conditions = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten();
    conditions
        .into_iter()
        .find(|condition| condition["type"] == name)
        .cloned()
        .unwrap_or_default()
}

/// A ConfigMap manifest.
pub(crate) fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {value}\n")
}

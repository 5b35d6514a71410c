//! ExternalSecrets from AWS on a real API server, compared with the least possible work: plain writes of the same
//! Secrets and statuses in the same run. AWS is our emulator, which counts the calls.
//!
//! Calls to AWS cost money and are limited per account, so their number is shown with each time. The emulator answers
//! after a latency as AWS does; without it, a client that asks one by one would look as fast as one that asks in
//! batches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use testbed::{Cluster, ControlPlane, Emulator, Moto, PodIdentityAgent, say, wait_for};

use super::daemon::{Daemon, PATIENCE, build};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct SecretsArgs {
    /// How many ExternalSecrets, each time on a control plane of its own.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    sizes: Vec<usize>,
    /// How many ExternalSecrets share a secret of AWS in the largest size.
    #[arg(long, default_value_t = 2)]
    shared: usize,
    /// How long each answer of AWS takes, in milliseconds.
    #[arg(long, default_value_t = 10)]
    latency: u64,
    /// Minutes of the steady state.
    #[arg(long, default_value_t = 2)]
    minutes: u32,
    /// How often the rotation of one is repeated; the median is shown.
    #[arg(long, default_value_t = 9)]
    runs: usize,
    /// Measures this program and builds none.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Writes of the floor that are in flight.
const IN_FLIGHT: usize = 16;
const KINDS: &str = "/apis/external-secrets.io/v1";

/// Measures each size on a control plane of its own: cold start, steady state, the rotation of one secret, and the
/// rotation of all by polling and by events.
pub(super) fn secrets(args: &SecretsArgs) -> Result<()> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    say("machines are noisy, so read the ratios");
    for count in &args.sizes {
        let shared = if *count > 1000 { args.shared } else { 1 };
        let mut stage = Stage::start(args, &binary, *count, shared)?;
        stage.floor()?;
        stage.cold(&binary)?;
        stage.steady(args.minutes)?;
        stage.rotate_one(args.runs)?;
        stage.rotate_all(1, Seen::ByLooking)?;
        stage.rotate_all(2, Seen::ByEvent)?;
    }
    Ok(())
}

/// How rotations are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The daemon polls AWS at its interval and notices the change.
    ByLooking,
    /// An event of EventBridge in a queue tells the daemon which secret changed.
    ByEvent,
}

/// Everything that runs.
///
/// Each size has a stage of its own, so that memory and counts begin at zero.
struct Stage {
    /// ExternalSecrets, and secrets of AWS.
    count: usize,
    secrets: usize,
    aws: Emulator,
    /// Holds the queue of rotations.
    moto: Moto,
    queue: String,
    agent: PodIdentityAgent,
    cluster: Cluster,
    plane: ControlPlane,
    directory: tempfile::TempDir,
    daemon: Option<Daemon>,
    least: Duration,
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// An ExternalSecret that takes two keys out of one secret of AWS.
fn external_secret(name: &str, key: &str) -> Value {
    let entry = |property: &str| json!({"secretKey": property, "remoteRef": {"key": key, "property": property}});
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name},
        "spec": {
            "refreshInterval": "1m",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"},
            "data": [entry("user"), entry("password")],
        },
    })
}

fn value(number: usize, round: usize) -> String {
    json!({"user": format!("user-{number}"), "password": format!("password-{number}-{round}")})
        .to_string()
}

impl Stage {
    fn start(args: &SecretsArgs, binary: &Path, count: usize, shared: usize) -> Result<Self> {
        let plane = ControlPlane::start()?;
        let cluster = plane.cluster()?;
        let moto = Moto::start()?;
        let made = moto.call("sqs", "CreateQueue", &json!({"QueueName": "rotations"}))?;
        let stage = Self {
            queue: made["QueueUrl"].as_str().unwrap_or_default().to_owned(),
            moto,
            count,
            secrets: count / shared.max(1),
            aws: Emulator::start()?,
            agent: PodIdentityAgent::start(Duration::from_secs(3600))?,
            cluster,
            plane,
            directory: tempfile::tempdir()?,
            daemon: None,
            least: Duration::ZERO,
        };
        say(&format!(
            "{count} ExternalSecrets of two keys over {} secrets; each answer of AWS takes {} ms",
            stage.secrets, args.latency
        ));
        stage.aws.set_latency(Duration::from_millis(args.latency));
        for number in 0..stage.secrets {
            stage.aws.put(&format!("bench/{number}"), &value(number, 0));
        }
        // Installs the definitions, and ends.
        drop(stage.daemon(binary)?);
        for name in ["bench", "floor"] {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            stage.cluster.create("/api/v1/namespaces", &namespace)?;
        }
        Ok(stage)
    }

    /// A daemon that takes the emulator for AWS and moto's queue for that of rotations.
    fn daemon(&self, binary: &Path) -> Result<Daemon> {
        let with = |command: &mut Command| {
            self.agent.give_to(command, &self.aws.url());
            command
                .args([
                    "--rotation-queue",
                    &self.queue,
                    "--rotation-queue-region",
                    "us-east-1",
                ])
                .env("AWS_ENDPOINT_URL_SQS", self.moto.url());
        };
        Daemon::start(binary, self.plane.kubeconfig(), self.directory.path(), with)
    }

    fn running(&self) -> &Daemon {
        self.daemon.as_ref().expect("the daemon runs")
    }

    /// Plain writes of what a sync writes: the Secret, and the status.
    ///
    /// It also creates the ExternalSecrets that the daemon finds at its start. The definitions are installed, since
    /// the daemon has run once.
    fn floor(&mut self) -> Result<()> {
        let objects = |namespace: &str| {
            let object = |number: usize| {
                let name = format!("es-{number}");
                let path = format!("{KINDS}/namespaces/{namespace}/externalsecrets/{name}");
                (
                    path,
                    external_secret(&name, &format!("bench/{}", number % self.secrets)),
                )
            };
            (0..self.count).map(object).collect::<Vec<_>>()
        };
        wait_for("the definitions", PATIENCE, || {
            self.cluster
                .apply_all(objects("floor").into_iter().take(1).collect(), 1)
        })?;
        self.cluster.apply_all(objects("floor"), IN_FLIGHT)?;
        let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
        let writes = (0..self.count).flat_map(|number| {
            let name = format!("es-{number}");
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": {"app": "floor"}},
                "data": {"user": encode(format!("user-{number}")), "password": encode(format!("password-{number}"))},
            });
            let status = json!({
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name},
                "status": {
                    "binding": {"name": name}, "refreshTime": "2026-01-01T00:00:00Z", "syncedResourceVersion": "1-a",
                    "conditions": [{"type": "Ready", "status": "True", "reason": "SecretSynced", "message": "secret synced", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                },
            });
            let of = |what: &str| format!("{what}/{name}");
            [
                (of("/api/v1/namespaces/floor/secrets"), secret),
                (format!("{KINDS}/namespaces/floor/externalsecrets/{name}/status"), status),
            ]
        });
        let writes: Vec<_> = writes.collect();
        let started = Instant::now();
        self.cluster.apply_all(writes, IN_FLIGHT)?;
        self.least = started.elapsed();
        say(&format!(
            "floor, plain writes of {} Secrets and statuses, {IN_FLIGHT} in flight: {}",
            self.count,
            seconds(self.least)
        ));
        // The measured daemon must not find them.
        self.cluster
            .delete(&format!("{KINDS}/namespaces/floor/externalsecrets"))?;
        self.cluster.delete("/api/v1/namespaces/floor/secrets")?;
        let store = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": "aws"},
            "spec": {"provider": {"aws": {"service": "SecretsManager", "region": "us-east-1"}}},
        });
        self.cluster
            .apply(&format!("{KINDS}/clustersecretstores/aws"), &store)?;
        self.cluster.apply_all(objects("bench"), IN_FLIGHT)
    }

    /// How many objects a list has, for the price of one.
    fn count_of(&self, path: &str) -> Result<usize> {
        let list = self
            .cluster
            .get(&format!("{path}?limit=1"))?
            .unwrap_or_default();
        let more = list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
        let first = list["items"].as_array().map_or(0, Vec::len);
        Ok(usize::try_from(more)? + first)
    }

    /// How many ExternalSecrets are not Ready. It reads all of them, so it is asked for near the end only.
    fn not_ready(&self) -> Result<usize> {
        let list = self
            .cluster
            .get(&format!("{KINDS}/namespaces/bench/externalsecrets"))?;
        let list = list.unwrap_or_default();
        let is_ready = |object: &&Value| {
            let mut conditions = object["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten();
            conditions
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        let ready = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(is_ready)
            .count();
        Ok(self.count - ready)
    }

    /// Asks every 20 ms until a condition holds.
    fn wait(&self, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds()? {
            ensure!(
                Instant::now() < deadline,
                "gave up waiting for {what}:\n{}",
                self.running().process.log_tail()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// From the start of the process until everything is Ready.
    fn cold(&mut self, binary: &Path) -> Result<()> {
        let before = self.aws.all_calls();
        let started = Instant::now();
        self.daemon = Some(self.daemon(binary)?);
        let path = "/api/v1/namespaces/bench/secrets";
        self.wait("the Secrets", || Ok(self.count_of(path)? >= self.count))?;
        self.wait("all to be Ready", || Ok(self.not_ready()? == 0))?;
        let ours = started.elapsed();
        let daemon = self.running();
        say(&format!(
            "cold start to all Ready: {} = {:.2} × the floor; AWS {:?}, at most {} batches a second; {} writes; {:.2} s of CPU; RSS {} MiB, peak {}",
            seconds(ours),
            ours.as_secs_f64() / self.least.as_secs_f64(),
            difference(&before, &self.aws.all_calls()),
            self.aws.peak("BatchGetSecretValue"),
            daemon.writes()?,
            daemon.cpu()?,
            daemon.memory("VmRSS")?,
            daemon.memory("VmHWM")?,
        ));
        Ok(())
    }

    /// Nothing changes, at an interval of a minute.
    fn steady(&self, minutes: u32) -> Result<()> {
        let daemon = self.running();
        std::thread::sleep(Duration::from_secs(10));
        for _ in 0..minutes {
            let (before, writes, cpu) = (self.aws.all_calls(), daemon.writes()?, daemon.cpu()?);
            std::thread::sleep(Duration::from_secs(60));
            say(&format!(
                "a steady minute: AWS {:?}; {} writes; {:.2} s of CPU; RSS {} MiB",
                difference(&before, &self.aws.all_calls()),
                daemon.writes()? - writes,
                daemon.cpu()? - cpu,
                daemon.memory("VmRSS")?,
            ));
        }
        Ok(())
    }

    /// The event of a rotation, as EventBridge puts it into a queue.
    fn event(number: usize) -> String {
        json!({
            "source": "aws.secretsmanager", "region": "us-east-1", "account": "123456789012",
            "detail": {"eventName": "PutSecretValue", "awsRegion": "us-east-1", "requestParameters": {"secretId": format!("bench/{number}")}},
        })
        .to_string()
    }

    /// Puts the events of rotations into the queue, ten at most, as SQS allows in one call.
    fn send(&self, numbers: &[usize]) -> Result<()> {
        let entry =
            |number: &usize| json!({"Id": number.to_string(), "MessageBody": Self::event(*number)});
        let entries: Vec<Value> = numbers.iter().map(entry).collect();
        let request = json!({"QueueUrl": self.queue, "Entries": entries});
        self.moto
            .call("sqs", "SendMessageBatch", &request)
            .map(drop)
    }

    /// One secret gets another value: from its event to the Secret.
    fn rotate_one(&self, runs: usize) -> Result<()> {
        let mut times = Vec::new();
        for run in 0..runs {
            let text = value(7, 100 + run);
            self.aws.put("bench/7", &text);
            let started = Instant::now();
            self.send(&[7])?;
            let suffix = format!("-{}", 100 + run);
            let path = "/api/v1/namespaces/bench/secrets/es-7";
            self.wait("the Secret", || {
                let secret = self.cluster.get(path)?.unwrap_or_default();
                Ok(password_ends(&secret, &suffix))
            })?;
            times.push(started.elapsed());
        }
        times.sort();
        say(&format!(
            "rotation of one, from the event to the Secret: {:.0} ms, at most {:.0} ms",
            times[times.len() / 2].as_secs_f64() * 1000.0,
            times[times.len() - 1].as_secs_f64() * 1000.0
        ));
        Ok(())
    }

    /// Every secret gets another value.
    fn rotate_all(&self, round: usize, seen: Seen) -> Result<()> {
        let daemon = self.running();
        let (before, writes, cpu) = (self.aws.all_calls(), daemon.writes()?, daemon.cpu()?);
        let started = Instant::now();
        for number in 0..self.secrets {
            self.aws
                .put(&format!("bench/{number}"), &value(number, round));
        }
        if seen == Seen::ByEvent {
            let numbers: Vec<usize> = (0..self.secrets).collect();
            for chunk in numbers.chunks(10) {
                self.send(chunk)?;
            }
        }
        let suffix = format!("-{round}");
        self.wait("the rotation", || {
            std::thread::sleep(Duration::from_millis(500));
            let list = self.cluster.get("/api/v1/namespaces/bench/secrets")?;
            let list = list.unwrap_or_default();
            let is_new = |secret: &&Value| password_ends(secret, &suffix);
            let new = list["items"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(is_new)
                .count();
            Ok(new == self.count)
        })?;
        say(&format!(
            "rotation of all, seen {}: {}; AWS {:?}; {} writes; {:.2} s of CPU; RSS {} MiB, peak {}",
            if seen == Seen::ByEvent {
                "by events"
            } else {
                "by looking"
            },
            seconds(started.elapsed()),
            difference(&before, &self.aws.all_calls()),
            daemon.writes()? - writes,
            daemon.cpu()? - cpu,
            daemon.memory("VmRSS")?,
            daemon.memory("VmHWM")?,
        ));
        Ok(())
    }
}

/// True if the password of a Secret, decoded, has this end, which tells the round that it is of.
fn password_ends(secret: &Value, suffix: &str) -> bool {
    let text = secret["data"]["password"].as_str().unwrap_or_default();
    let text = base64::engine::general_purpose::STANDARD.decode(text);
    text.is_ok_and(|text| text.ends_with(suffix.as_bytes()))
}

/// How often each action was called between two counts.
fn difference(
    before: &BTreeMap<String, usize>,
    after: &BTreeMap<String, usize>,
) -> BTreeMap<String, usize> {
    let calls = after.iter().map(|(action, count)| {
        let before = before.get(action).copied().unwrap_or(0);
        (action.clone(), count - before)
    });
    calls.filter(|(_, count)| *count > 0).collect()
}

//! The sync loop on a real API server, compared with the least possible work: plain server-side applies of the same
//! objects in the same run.
//!
//! A measurement begins with the push (or the edit by hand) and ends when the object in the cluster has the new
//! value, so git, build, dry run, apply and the watches of the API server are all in it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    Cluster, ControlPlane, GitServer, GitServerOptions, WorkTree, http_get, say, wait_for,
};

use super::daemon::{Daemon, PATIENCE, build};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct SyncArgs {
    /// Objects of the largest first apply.
    #[arg(long, default_value_t = 10_000)]
    most: usize,
    /// How often each of the short steps is repeated; medians are shown.
    #[arg(long, default_value_t = 9)]
    runs: usize,
    /// Measures this program and builds none.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Applies of the floor that are in flight.
const IN_FLIGHT: usize = 16;
const UNITS: usize = 100;

/// Runs all measurements on one control plane, the large first apply near the end, since its objects stay.
pub(super) fn sync(args: &SyncArgs) -> Result<()> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    let mut stage = Stage::start(&binary)?;
    say("medians; machines are noisy, so read the ratios");
    stage.first_apply("thousand", 1000)?;
    stage.push_to_applied("thousand", 1000, args.runs)?;
    stage.first_apply("ten", 10)?;
    stage.push_to_applied("ten", 10, args.runs)?;
    stage.drift("ten", args.runs)?;
    stage.depends(args.runs)?;
    stage.one_of_many(args.runs)?;
    stage.first_apply("most", args.most)?;
    stage.idle()?;
    stage.delete("most")
}

/// Everything that runs.
struct Stage {
    daemon: Daemon,
    cluster: Cluster,
    work: WorkTree,
    git: GitServer,
    _plane: ControlPlane,
    _directory: tempfile::TempDir,
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

/// An object of a size that is usual: some hundred bytes.
fn config_map(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"value": value, "text": "some lines of configuration, as there are in real ones\n".repeat(4)},
    })
}

impl Stage {
    fn start(binary: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let plane = ControlPlane::start()?;
        let cluster = plane.cluster()?;
        let git = GitServer::start(&GitServerOptions::default())?;
        let work = git.create("bench")?;
        work.push("nothing yet", "main")?;
        let daemon = Daemon::start(binary, plane.kubeconfig(), directory.path(), |_| {})?;
        let stage = Self {
            daemon,
            cluster,
            work,
            git,
            _plane: plane,
            _directory: directory,
        };
        let source = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": {"name": "bench"},
            "spec": {"url": stage.git.url("bench"), "interval": "1h", "ref": {"branch": "main"}},
        });
        wait_for("the definitions", PATIENCE, || {
            stage.cluster.apply(&Self::source(), &source).map(drop)
        })?;
        Ok(stage)
    }

    fn source() -> String {
        "/apis/source.toolkit.fluxcd.io/v1/namespaces/default/gitrepositories/bench".to_owned()
    }

    fn unit_path(name: &str) -> String {
        format!("/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/default/kustomizations/{name}")
    }

    /// Creates a Kustomization, with `more` in its specification.
    fn unit(&self, name: &str, more: &Value) -> Result<()> {
        let mut spec = json!({
            "interval": "1h", "path": name, "prune": true,
            "sourceRef": {"kind": "GitRepository", "name": "bench"},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let unit = json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": name}, "spec": spec,
        });
        self.cluster.apply(&Self::unit_path(name), &unit).map(drop)
    }

    fn namespace(&self, name: &str) -> Result<()> {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.cluster
            .create("/api/v1/namespaces", &namespace)
            .map(drop)
    }

    /// The files of a unit: a hundred objects in each.
    fn write(&self, name: &str, objects: &[Value]) -> Result<()> {
        let mut resources = Vec::new();
        for (number, chunk) in objects.chunks(100).enumerate() {
            let texts: Vec<String> = chunk.iter().map(ToString::to_string).collect();
            let file = format!("maps-{number}.yaml");
            self.work
                .write(&format!("{name}/{file}"), &texts.join("\n---\n"))?;
            resources.push(file);
        }
        let file = json!({"namespace": name, "resources": resources});
        self.work
            .write(&format!("{name}/kustomization.yaml"), &file.to_string())
    }

    /// Pushes, and asks for the source as a receiver does.
    fn push(&self) -> Result<(Instant, String)> {
        let commit = self.work.push("bench", "main")?;
        let started = Instant::now();
        let now = format!("{commit}-{started:?}");
        let patch = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": now}}});
        self.cluster.patch(&Self::source(), &patch)?;
        Ok((started, commit))
    }

    /// Waits until the status says that a commit is applied. A status with a large inventory is a megabyte, and reading it
    /// often would disturb the measurement, so it is read only when the daemon has finished a reconcile.
    fn wait_applied(&self, name: &str, commit: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        loop {
            let unit = self.cluster.get(&Self::unit_path(name))?;
            let unit = unit.context("it is not there")?;
            let revision = unit["status"]["lastAppliedRevision"].as_str();
            if revision.is_some_and(|revision| revision.ends_with(commit)) {
                return Ok(());
            }
            // One that ended meanwhile is seen at once.
            loop {
                ensure!(
                    Instant::now() < deadline,
                    "{name}: {}",
                    unit["status"]["conditions"]
                );
                let ended = self.reconciles(name)?;
                if std::mem::replace(&mut seen, ended) != ended {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// How many reconciles of a Kustomization have ended.
    fn reconciles(&self, name: &str) -> Result<u64> {
        let (_, text) = http_get(self.daemon.port, "/metrics")?;
        let name = format!("name=\"{name}\"");
        let line = text.lines().find(|line| {
            line.starts_with("gotk_reconcile_duration_seconds_count{") && line.contains(&name)
        });
        let count = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
        Ok(count.unwrap_or(0))
    }

    /// Waits for a value, asking as fast as it goes.
    fn wait_value(&self, namespace: &str, name: &str, value: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.cluster.get(&path)?;
            if found.is_some_and(|found| found["data"]["value"] == value) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{path} never became {value}:\n{}",
                self.daemon.process.log_tail()
            );
        }
    }

    /// The first apply of `count` objects, compared with plain applies of the same objects.
    ///
    /// The floor writes the objects 16 at a time, which is about as fast as one client can.
    fn first_apply(&mut self, name: &str, count: usize) -> Result<()> {
        let objects: Vec<Value> = (0..count)
            .map(|number| config_map(&format!("m{number}"), "one"))
            .collect();
        let floor = format!("{name}-floor");
        self.namespace(&floor)?;
        self.namespace(name)?;
        let started = Instant::now();
        let applies = objects.iter().map(|object| {
            let path = format!(
                "/api/v1/namespaces/{floor}/configmaps/{}",
                object["metadata"]["name"].as_str().unwrap_or_default()
            );
            (path, object.clone())
        });
        self.cluster.apply_all(applies.collect(), IN_FLIGHT)?;
        let least = started.elapsed();

        self.write(name, &objects)?;
        let (_, commit) = self.push()?;
        wait_for("the source", PATIENCE, || {
            let source = self.cluster.get(&Self::source())?.unwrap_or_default();
            let revision = source["status"]["artifact"]["revision"]
                .as_str()
                .unwrap_or_default();
            ensure!(revision.ends_with(&commit), "not fetched");
            Ok(())
        })?;
        let (before, busy) = (self.daemon.requests()?, self.daemon.cpu()?);
        let started = Instant::now();
        self.unit(name, &json!({}))?;
        self.wait_applied(name, &commit)?;
        let ours = started.elapsed();
        let (after, busy_after) = (self.daemon.requests()?, self.daemon.cpu()?);
        say(&format!(
            "first apply of {count} ConfigMaps: {} ({} requests, {:.0} ms of our CPU); floor {}; {:.2} × the floor",
            milliseconds(ours),
            after - before,
            (busy_after - busy) * 1000.0,
            milliseconds(least),
            ours.as_secs_f64() / least.as_secs_f64()
        ));
        Ok(())
    }

    /// A push that changes one object among many, until that object has changed.
    fn push_to_applied(&mut self, name: &str, count: usize, runs: usize) -> Result<()> {
        let mut objects: Vec<Value> = (0..count)
            .map(|number| config_map(&format!("m{number}"), "one"))
            .collect();
        let (mut times, mut requests) = (Vec::new(), 0);
        for run in 0..runs {
            let value = format!("changed-{run}");
            objects[count / 2] = config_map(&format!("m{}", count / 2), &value);
            self.write(name, &objects)?;
            let before = self.daemon.requests()?;
            let (started, commit) = self.push()?;
            self.wait_value(name, &format!("m{}", count / 2), &value)?;
            times.push(started.elapsed());
            self.wait_applied(name, &commit)?;
            requests = self.daemon.requests()? - before;
        }
        say(&format!(
            "push to applied, 1 of {count} changed: {} ({requests} requests)",
            milliseconds(median(times))
        ));
        Ok(())
    }

    /// A hand edit, until it is corrected.
    ///
    /// The watch notices the edit; no interval passes.
    fn drift(&mut self, name: &str, runs: usize) -> Result<()> {
        let path = format!("/api/v1/namespaces/{name}/configmaps/m0");
        let mut times = Vec::new();
        for run in 0..runs.min(4) {
            self.cluster
                .patch(&path, &json!({"data": {"value": format!("by hand {run}")}}))?;
            let started = Instant::now();
            self.wait_value(name, "m0", "one")?;
            times.push(started.elapsed());
        }
        say(&format!(
            "drift to corrected: {}",
            milliseconds(median(times))
        ));
        Ok(())
    }

    /// A chain of two: from the change of the first to that of the second, which waits for it.
    fn depends(&mut self, runs: usize) -> Result<()> {
        for (name, more) in [
            ("one", json!({})),
            ("two", json!({"dependsOn": [{"name": "one"}]})),
        ] {
            self.namespace(name)?;
            self.write(name, &[config_map("m0", "start")])?;
            self.unit(name, &more)?;
        }
        let (_, commit) = self.push()?;
        self.wait_applied("two", &commit)?;
        let mut times = Vec::new();
        for run in 0..runs {
            let value = format!("run-{run}");
            for name in ["one", "two"] {
                self.write(name, &[config_map("m0", &value)])?;
            }
            let (_, commit) = self.push()?;
            self.wait_value("one", "m0", &value)?;
            let started = Instant::now();
            self.wait_value("two", "m0", &value)?;
            times.push(started.elapsed());
            self.wait_applied("two", &commit)?;
        }
        say(&format!(
            "dependsOn step, object to object: {}",
            milliseconds(median(times))
        ));
        Ok(())
    }

    /// A hundred units of one repository, one of which is touched.
    fn one_of_many(&mut self, runs: usize) -> Result<()> {
        let names: Vec<String> = (0..UNITS).map(|number| format!("unit-{number}")).collect();
        for name in &names {
            self.namespace(name)?;
            let objects: Vec<Value> = (0..10)
                .map(|number| config_map(&format!("m{number}"), "one"))
                .collect();
            self.write(name, &objects)?;
            self.unit(name, &json!({}))?;
        }
        let (_, commit) = self.push()?;
        for name in &names {
            self.wait_applied(name, &commit)?;
        }
        let (mut times, mut requests) = (Vec::new(), 0);
        for run in 0..runs {
            let value = format!("run-{run}");
            let mut objects: Vec<Value> = (0..10)
                .map(|number| config_map(&format!("m{number}"), "one"))
                .collect();
            objects[0] = config_map("m0", &value);
            self.write("unit-50", &objects)?;
            let before = self.daemon.requests()?;
            let (started, commit) = self.push()?;
            self.wait_value("unit-50", "m0", &value)?;
            times.push(started.elapsed());
            for name in &names {
                self.wait_applied(name, &commit)?;
            }
            requests = self.daemon.requests()? - before;
        }
        say(&format!(
            "{UNITS} Kustomizations, one touched: {} ({requests} requests, of which {UNITS} move the revision in a status)",
            milliseconds(median(times))
        ));
        Ok(())
    }

    /// Nothing happens: what that costs, with everything applied, at an interval of 10 s.
    fn idle(&mut self) -> Result<()> {
        const WATCHED: Duration = Duration::from_secs(30);
        let patch = json!({"spec": {"interval": "10s"}});
        self.cluster.patch(&Self::unit_path("most"), &patch)?;
        std::thread::sleep(Duration::from_secs(12));
        let (before, busy) = (self.daemon.requests()?, self.daemon.cpu()?);
        std::thread::sleep(WATCHED);
        let (after, busy_after) = (self.daemon.requests()?, self.daemon.cpu()?);
        say(&format!(
            "idle for {} s, the largest reconciled every 10 s: {} requests, {:.0} ms of CPU; RSS {} MiB, at its peak {} MiB",
            WATCHED.as_secs(),
            after - before,
            (busy_after - busy) * 1000.0,
            self.daemon.memory("VmRSS")?,
            self.daemon.memory("VmHWM")?
        ));
        let counts = self.daemon.counts()?;
        say(&format!("requests since the start: {counts:?}"));
        Ok(())
    }

    fn delete(&mut self, name: &str) -> Result<()> {
        let started = Instant::now();
        self.cluster.delete(&Self::unit_path(name))?;
        wait_for("the Kustomization to go", PATIENCE, || {
            ensure!(
                self.cluster.get(&Self::unit_path(name))?.is_none(),
                "it is still there"
            );
            Ok(())
        })?;
        say(&format!(
            "deletion of the largest with all its objects: {}",
            milliseconds(started.elapsed())
        ));
        Ok(())
    }
}

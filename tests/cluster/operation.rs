//! What people and programs see of a daemon: its flags, its logs and its metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{Background, WorkTree, free_port, http_get, wait_for};

use crate::bed::{Case, Own, PATIENCE, condition, config_map};

/// A sample of the text format of Prometheus.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

fn samples(text: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}')?.split(',');
    let labels = labels.filter_map(|label| {
        let (name, value) = label.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    });
    Some(Sample {
        name: name.to_owned(),
        labels: labels.collect(),
        value: value.parse().ok()?,
    })
}

/// What a query of a dashboard selects: the samples of a metric whose labels have these values (or, after `!`, another
/// value), grouped by further labels.
type Query = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

/// Flux's dashboard of its control plane, and its dashboard of a cluster, as far as the metrics come from controllers.
const FLUX: &[Query] = &[
    (
        "controller_runtime_reconcile_total",
        &[("controller", "kustomization"), ("result", "!error")],
        &["controller"],
    ),
    (
        "controller_runtime_reconcile_total",
        &[("controller", "kustomization"), ("result", "error")],
        &["controller"],
    ),
    (
        "controller_runtime_reconcile_total",
        &[("controller", "gitrepository"), ("result", "!error")],
        &[],
    ),
    (
        "controller_runtime_reconcile_total",
        &[("controller", "gitrepository"), ("result", "error")],
        &[],
    ),
    (
        "controller_runtime_reconcile_time_seconds_bucket",
        &[("controller", "kustomization")],
        &["le"],
    ),
    (
        "gotk_reconcile_duration_seconds_sum",
        &[("kind", "Kustomization")],
        &["kind", "name", "namespace"],
    ),
    (
        "gotk_reconcile_duration_seconds_count",
        &[("kind", "GitRepository")],
        &["kind", "name", "namespace"],
    ),
    ("process_cpu_seconds_total", &[], &[]),
    ("rest_client_requests_total", &[], &["code", "method"]),
    (
        "workqueue_longest_running_processor_seconds",
        &[("name", "kustomization")],
        &[],
    ),
    (
        "workqueue_work_duration_seconds_count",
        &[("name", "kustomization")],
        &[],
    ),
];

/// The dashboard of External Secrets, without its webhook, which overlayd has not.
const EXTERNAL_SECRETS: &[Query] = &[
    (
        "controller_runtime_active_workers",
        &[("controller", "externalsecret")],
        &["controller"],
    ),
    (
        "controller_runtime_max_concurrent_reconciles",
        &[("controller", "externalsecret")],
        &["controller"],
    ),
    (
        "controller_runtime_max_concurrent_reconciles",
        &[("controller", "secretstore")],
        &["controller"],
    ),
    (
        "controller_runtime_reconcile_total",
        &[("controller", "externalsecret"), ("result", "!error")],
        &["result"],
    ),
    (
        "controller_runtime_reconcile_total",
        &[("controller", "externalsecret"), ("result", "error")],
        &["result"],
    ),
    (
        "controller_runtime_reconcile_total",
        &[("controller", "secretstore"), ("result", "!error")],
        &["result"],
    ),
    (
        "controller_runtime_reconcile_errors_total",
        &[("controller", "externalsecret")],
        &["controller"],
    ),
    (
        "controller_runtime_reconcile_time_seconds_bucket",
        &[("controller", "externalsecret")],
        &["le"],
    ),
    ("workqueue_depth", &[("name", "externalsecret")], &["name"]),
    (
        "externalsecret_provider_api_calls_count",
        &[],
        &["provider", "call", "status"],
    ),
    (
        "externalsecret_status_condition",
        &[("condition", "Ready"), ("status", "False")],
        &["name", "namespace"],
    ),
    (
        "externalsecret_sync_calls_total",
        &[],
        &["name", "namespace"],
    ),
    (
        "externalsecret_sync_calls_error",
        &[],
        &["name", "namespace"],
    ),
    (
        "externalsecret_reconcile_duration",
        &[],
        &["name", "namespace"],
    ),
    (
        "secretstore_status_condition",
        &[("condition", "Ready")],
        &["name", "namespace"],
    ),
];

/// The samples that a query selects.
fn select<'s>(samples: &'s [Sample], (name, labels, groups): &Query) -> Vec<&'s Sample> {
    let holds = |sample: &Sample, (label, wanted): &(&str, &str)| {
        let value = sample.labels.get(*label).map_or("", String::as_str);
        match wanted.strip_prefix('!') {
            Some(other) => value != other,
            None => value == *wanted,
        }
    };
    let selected = samples.iter().filter(|sample| sample.name == *name);
    let selected = selected.filter(|sample| labels.iter().all(|label| holds(sample, label)));
    let selected = selected.filter(|sample| {
        let mut groups = groups.iter();
        groups.all(|label| sample.labels.contains_key(*label))
    });
    selected.collect()
}

#[test]
fn the_queries_of_the_dashboards_of_the_peers_have_samples_and_failures_are_errors() {
    let case = Case::applied("operation-metrics");
    let shown = || samples(&http_get(case.bed.port, "/metrics").unwrap().1);
    let errors = |controller: &'static str| -> f64 {
        let labels = [("controller", controller), ("result", "error")];
        let all = shown();
        let all = all.iter().filter(|sample| {
            let mut labels = labels.iter();
            sample.name == "controller_runtime_reconcile_total"
                && labels.all(|(name, value)| sample.labels.get(*name).is_some_and(|v| v == value))
        });
        all.map(|sample| sample.value).sum()
    };
    let kinds = ["kustomization", "gitrepository", "externalsecret"];
    let before = kinds.map(errors);
    case.push(&[("app/a.yaml", "broken: [")], "broken");
    case.ready("kustomizations", "app", "False", "a.yaml");
    let nowhere = json!({"url": case.bed.git.url("operation-nowhere"), "interval": "1s"});
    case.apply("gitrepositories", "nowhere", nowhere);
    case.ready("gitrepositories", "nowhere", "False", "");
    case.fake_store(&[("there", "value")]);
    case.of_fake("good", "there", json!({}), json!({}));
    case.secret_is("good", "k", "value");
    case.of_fake("bad", "missing", json!({}), json!({}));
    case.ready("externalsecrets", "bad", "False", "");
    case.external_secret(
        "of-aws",
        json!([{"secretKey": "k", "remoteRef": {"key": "operation/none"}}]),
    );
    case.ready("externalsecrets", "of-aws", "False", "");
    let counted = wait_for("the metrics", PATIENCE, || {
        let after = kinds.map(errors);
        let grew = before
            .iter()
            .zip(after)
            .all(|(before, after)| after > *before);
        ensure!(grew, "{kinds:?}: {before:?} {after:?}");
        let samples = shown();
        for query in FLUX.iter().chain(EXTERNAL_SECRETS) {
            ensure!(
                !select(&samples, query).is_empty(),
                "no sample of {query:?}"
            );
        }
        Ok(samples)
    });
    let samples = counted.unwrap_or_else(|error| panic!("{error:#}"));
    let own = |name: &str| {
        let mut own = samples.iter().filter(|sample| sample.name == name);
        let own = own.find(|sample| {
            let label = |label: &str| sample.labels.get(label).map(String::as_str);
            label("namespace") == Some("operation-metrics") && label("name") == Some("app")
        });
        own.map(|sample| sample.value)
    };
    assert_eq!(own("overlayd_kustomization_ready"), Some(0.0));
    assert_eq!(own("overlayd_kustomization_inventory_objects"), Some(1.0));
    assert_eq!(own("overlayd_kustomization_drifted_objects"), Some(0.0));
    assert_eq!(own("overlayd_kustomization_pending_deletions"), Some(0.0));
    assert!(own("overlayd_kustomization_last_success_timestamp_seconds") > Some(1.7e9));

    // The series of objects that are gone go with them.
    for (kind, name) in [("kustomizations", "app"), ("gitrepositories", "nowhere")] {
        case.delete(kind, name);
        case.wait_gone(kind, name);
    }
    let gone = wait_for("the series to go", PATIENCE, || {
        let (_, count) = case.metric(&["namespace=\"operation-metrics\"", "gotk_"]);
        ensure!(
            count
                == case
                    .metric(&[
                        "operation-metrics",
                        "gotk_",
                        "name=\"app\"",
                        "GitRepository"
                    ])
                    .1
        );
        Ok(())
    });
    gone.unwrap();
}

/// A cluster for a daemon with the flags of a Deployment of Flux, and a repository that it follows.
struct Shard {
    own: Own,
    work: WorkTree,
    metrics: u16,
    health: u16,
}

impl Shard {
    fn start() -> Self {
        let own = Own::start();
        let work = own.git.create("shard").unwrap();
        let file = "namespace: team\nresources: [a.yaml]\n";
        work.write("app/kustomization.yaml", file).unwrap();
        work.write("app/a.yaml", &config_map("a", "one")).unwrap();
        work.push("a", "main").unwrap();
        for name in ["team", "other"] {
            let object =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            own.cluster.create("/api/v1/namespaces", &object).unwrap();
        }
        let grants = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "admin"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "admin", "namespace": "team"}],
        });
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/admin";
        own.cluster.apply(path, &grants).unwrap();
        Self {
            own,
            work,
            metrics: free_port().unwrap(),
            health: free_port().unwrap(),
        }
    }

    fn daemon(&self) -> Background {
        let metrics = format!("--metrics-addr=127.0.0.1:{}", self.metrics);
        let health = format!("--health-addr=127.0.0.1:{}", self.health);
        let flags = [
            metrics.as_str(),
            health.as_str(),
            "--namespace=team",
            "--watch-all-namespaces=false",
            "--watch-label-selector=shard=one",
            "--default-service-account=tenant",
            "--no-remote-bases=true",
            "--concurrent=2",
            "--log-encoding=json",
        ];
        let variables = [("OVERLAYD_NO_CROSS_NAMESPACE_REFS", "1")];
        self.own.daemon(&flags, &variables).0
    }

    /// Creates sources and Kustomizations: of this shard and of others, with an account and without.
    fn fill(&self) {
        let url = self.own.git.url("shard");
        let source = json!({"url": url, "interval": "1s", "ref": {"branch": "main"}});
        for place in [
            ("team", "app", "one"),
            ("team", "unsharded", "two"),
            ("other", "app", "one"),
        ] {
            self.put("gitrepositories", place, source.clone());
        }
        let source = |name: &str| json!({"kind": "GitRepository", "name": name});
        let elsewhere = json!({"kind": "GitRepository", "name": "app", "namespace": "other"});
        let admin = json!({"serviceAccountName": "admin"});
        for (place, source, more) in [
            (("team", "floor", "one"), source("app"), &json!({})),
            (("team", "unsharded", "two"), source("unsharded"), &admin),
            (("other", "app", "one"), source("app"), &admin),
            (("team", "cross", "one"), elsewhere, &admin),
            (("team", "app", "one"), source("app"), &admin),
        ] {
            self.put("kustomizations", place, unit(source, more));
        }
    }

    /// Changes the GitRepository or Kustomization `team/app`.
    fn patch(&self, kind: &str, spec: &Value) {
        let group = match kind {
            "gitrepositories" => "source.toolkit.fluxcd.io",
            _ => "kustomize.toolkit.fluxcd.io",
        };
        let path = format!("/apis/{group}/v1/namespaces/team/{kind}/app");
        let patched = self.own.cluster.patch(&path, &json!({"spec": spec}));
        patched.unwrap();
    }

    fn get(&self, kind: &str, namespace: &str, name: &str) -> Value {
        let group = match kind {
            "gitrepositories" => "source.toolkit.fluxcd.io",
            _ => "kustomize.toolkit.fluxcd.io",
        };
        let path = format!("/apis/{group}/v1/namespaces/{namespace}/{kind}/{name}");
        self.own.cluster.get(&path).unwrap().unwrap_or_default()
    }

    /// Creates a GitRepository or Kustomization, with the label of the shard or without.
    fn put(&self, kind: &str, (namespace, name, shard): (&str, &str, &str), spec: Value) {
        let (group, kind_name) = match kind {
            "gitrepositories" => ("source.toolkit.fluxcd.io", "GitRepository"),
            _ => ("kustomize.toolkit.fluxcd.io", "Kustomization"),
        };
        let object = json!({
            "apiVersion": format!("{group}/v1"), "kind": kind_name,
            "metadata": {"name": name, "namespace": namespace, "labels": {"shard": shard}},
            "spec": spec,
        });
        let path = format!("/apis/{group}/v1/namespaces/{namespace}/{kind}/{name}");
        let applied = wait_for("the kind", PATIENCE, || {
            self.own.cluster.apply(&path, &object)
        });
        applied.unwrap();
    }

    /// Waits until the condition `Ready` of a Kustomization has this status and message.
    fn is(&self, name: &str, status: &str, message: &str) -> Value {
        let found = wait_for("a condition", PATIENCE, || {
            let ready = condition(&self.get("kustomizations", "team", name), "Ready");
            let text = ready["message"].as_str().unwrap_or_default();
            ensure!(
                ready["status"] == status && text.contains(message),
                "{name}: {ready}"
            );
            Ok(ready)
        });
        found.unwrap_or_else(|error| panic!("{error:#}"))
    }
}

fn unit(source: Value, more: &Value) -> Value {
    let mut spec = json!({"interval": "1h", "retryInterval": "1s", "path": "app", "prune": true, "sourceRef": source});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

#[test]
fn the_flags_of_a_deployment_of_flux_do_what_they_do_there() {
    let shard = Shard::start();
    let daemon = shard.daemon();
    let answers = |port: u16, path: &str| {
        let answers = wait_for("an address", PATIENCE, || {
            let (code, text) = http_get(port, path)?;
            ensure!(code == 200, "{code}");
            Ok(text)
        });
        answers.unwrap()
    };
    answers(shard.health, "/readyz");
    let most = "controller_runtime_max_concurrent_reconciles{controller=\"kustomization\"} 2";
    let text = answers(shard.metrics, "/metrics");
    assert!(text.contains(most), "{text}");

    shard.fill();
    shard.is("floor", "False", "system:serviceaccount:team:tenant");
    let cross = shard.is("cross", "False", "cross-namespace references are blocked");
    assert_eq!(cross["reason"], "AccessDenied");
    shard.is("app", "True", "Applied revision");
    // What is of another shard or namespace has the status that the definition gives it, and no more.
    let untouched = json!({"observedGeneration": -1});
    for (kind, namespace, name) in [
        ("gitrepositories", "team", "unsharded"),
        ("gitrepositories", "other", "app"),
        ("kustomizations", "team", "unsharded"),
        ("kustomizations", "other", "app"),
    ] {
        let status = &shard.get(kind, namespace, name)["status"];
        assert_eq!(*status, untouched, "{kind} {namespace}/{name}");
    }
    logs_are_those_of_flux(&daemon.log()).unwrap_or_else(|error| panic!("{error:#}"));
    a_suspended_source_is_served_after_a_restart(&shard, daemon);
    a_restart_leaves_a_kustomization_ready(&shard);
}

/// A suspended source serves its revision after a restart too, and no newer one.
fn a_suspended_source_is_served_after_a_restart(shard: &Shard, daemon: Background) {
    shard.patch("gitrepositories", &json!({"suspend": true}));
    let two = config_map("a", "two");
    shard.work.write("app/a.yaml", &two).unwrap();
    let commit = shard.work.push("while it is suspended", "main").unwrap();
    daemon.terminate(Duration::from_secs(15)).unwrap();
    let daemon = shard.daemon();
    let labels = json!({"commonMetadata": {"labels": {"held": "yes"}}});
    shard.patch("kustomizations", &labels);
    let held = wait_for("the revision that is held", PATIENCE, || {
        let path = "/api/v1/namespaces/team/configmaps/a";
        let map = shard.own.cluster.get(path)?.unwrap_or_default();
        ensure!(map["metadata"]["labels"]["held"] == "yes", "{map}");
        ensure!(map["data"]["key"] == "one", "{map}");
        Ok(())
    });
    held.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log_tail()));
    shard.patch("gitrepositories", &json!({"suspend": false}));
    shard.is("app", "True", &commit);
    daemon.terminate(Duration::from_secs(15)).unwrap();
}

/// After a restart a Kustomization stays ready, though its git server is down.
fn a_restart_leaves_a_kustomization_ready(shard: &Shard) {
    let dead = format!("http://127.0.0.1:{}/shard.git", free_port().unwrap());
    shard.patch("gitrepositories", &json!({"url": dead}));
    let version = || {
        let object = shard.get("kustomizations", "team", "app");
        object["metadata"]["resourceVersion"].clone()
    };
    let before = version();
    let daemon = shard.daemon();
    let waits = wait_for("the Kustomization to wait", PATIENCE, || {
        let source = condition(&shard.get("gitrepositories", "team", "app"), "Ready");
        ensure!(source["status"] == "False", "{source}");
        let log = daemon.log();
        let mut lines = log.lines();
        let is_about_it = |line: &str| {
            line.contains("its source is not fetched again yet") && line.contains(r#""name":"app""#)
        };
        ensure!(lines.any(is_about_it), "not yet");
        Ok(())
    });
    waits.unwrap_or_else(|error| panic!("{error:#}\n{}", daemon.log_tail()));
    assert_eq!(before, version());
}

/// Every line is JSON with the fields of Flux, and lines of a reconcile name the object.
fn logs_are_those_of_flux(log: &str) -> Result<()> {
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(!lines.is_empty(), "there are no lines");
    for line in &lines {
        for field in ["level", "ts", "msg"] {
            ensure!(line[field].is_string(), "{field} is not in {line}");
        }
    }
    let applied = lines.iter().find(|line| line["msg"] == "applied");
    let applied = applied.ok_or_else(|| anyhow::anyhow!("nothing was applied"))?;
    let expected = [
        ("level", "info"),
        ("controller", "kustomization"),
        ("controllerGroup", "kustomize.toolkit.fluxcd.io"),
        ("controllerKind", "Kustomization"),
        ("namespace", "team"),
        ("name", "app"),
    ];
    for (field, value) in expected {
        ensure!(applied[field] == value, "{field} of {applied}");
    }
    Ok(())
}

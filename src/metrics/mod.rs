//! Every metric: its name, its labels, and when it counts.

mod process;
pub(crate) mod queues;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use self::process::ProcessMetrics;
use self::queues::QueueMetrics;

/// The labels of a series, in the order in which they are printed.
type Labels = Vec<(&'static str, String)>;

/// The metrics of this process, under the names that dashboards of Flux and External Secrets use. Two counts of External
/// Secrets do not end in `_total`, which the library puts after counters, so they are gauges that only grow.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// The metrics of the controllers' queues.
    pub(crate) queues: Arc<QueueMetrics>,
    /// `gotk_reconcile_duration_seconds`, by kind, name and namespace. Flux's dashboards read it.
    reconcile_duration: Family<Labels, Histogram, fn() -> Histogram>,
    /// `controller_runtime_reconcile_total`, by controller.
    reconcile_total: Family<Labels, Counter>,
    /// `controller_runtime_reconcile_time_seconds`, by controller.
    reconcile_time: Family<Labels, Histogram, fn() -> Histogram>,
    /// `controller_runtime_active_workers`: reconciles that do work at this moment.
    active_workers: Family<Labels, Gauge>,
    /// `controller_runtime_reconcile_errors_total`, by controller and category of the error.
    reconcile_errors: Family<Labels, Counter>,
    /// `controller_runtime_max_concurrent_reconciles`, by controller.
    max_concurrent: Family<Labels, Gauge>,
    /// `externalsecret_sync_calls_total`, by ExternalSecret.
    sync_calls: Family<Labels, Counter>,
    /// `externalsecret_sync_calls_error`, a gauge that only grows.
    sync_errors: Family<Labels, Gauge>,
    /// `externalsecret_status_condition`: 1 for the status that the condition `Ready` has, 0 for the other.
    external_secret_condition: Family<Labels, Gauge<f64, AtomicU64>>,
    /// `externalsecret_reconcile_duration`, in nanoseconds.
    external_secret_duration: Family<Labels, Gauge<f64, AtomicU64>>,
    /// `secretstore_status_condition`.
    store_condition: Family<Labels, Gauge<f64, AtomicU64>>,
    /// `secretstore_reconcile_duration`, in nanoseconds.
    store_duration: Family<Labels, Gauge<f64, AtomicU64>>,
    /// `clustersecretstore_reconcile_duration`, in nanoseconds.
    cluster_store_duration: Family<Labels, Gauge<f64, AtomicU64>>,
    /// `clustersecretstore_status_condition`.
    cluster_store_condition: Family<Labels, Gauge<f64, AtomicU64>>,
    /// `externalsecret_provider_api_calls_count`, a gauge that only grows, by provider, call and status.
    provider_calls: Family<Labels, Gauge>,
    /// `overlayd_rotation_messages_total`, by result.
    rotation_messages: Family<Labels, Counter>,
    /// `overlayd_store_estimated_calls_per_day`, by store.
    store_calls: Family<Labels, Gauge<f64, AtomicU64>>,
    /// `overlayd_store_estimated_dollars_per_month`, by store.
    store_cost: Family<Labels, Gauge<f64, AtomicU64>>,
    /// `rest_client_requests_total`, by method and code.
    api_requests: Family<Labels, Counter>,
    /// `leader_election_master_status`.
    leader: Family<Labels, Gauge>,
    /// `overlayd_entries`, by the map or queue.
    sizes: Family<Labels, Gauge>,
    /// These and the following are `overlayd_kustomization_…`, by namespace and name.
    unit_ready: Family<Labels, Gauge>,
    unit_inventory: Family<Labels, Gauge>,
    unit_drifted: Family<Labels, Gauge>,
    unit_opted_out: Family<Labels, Gauge>,
    unit_pending_deletions: Family<Labels, Gauge>,
    unit_last_success: Family<Labels, Gauge>,
    unit_skipped_builds: Family<Labels, Counter>,
}

/// What the metrics of a Kustomization show.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct UnitState {
    /// The condition `Ready` is `True`.
    pub(crate) is_ready: bool,
    /// The number of objects in the inventory.
    pub(crate) inventory: usize,
    /// `None` keeps the last value; so do the two below.
    pub(crate) drifted: Option<usize>,
    pub(crate) opted_out: Option<usize>,
    /// The number of objects whose deletion waits for an approval.
    pub(crate) pending_deletions: usize,
    /// Seconds since 1970, of a success.
    pub(crate) succeeded: Option<i64>,
}

/// How a reconcile ended, in the words of controller-runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReconcileResult {
    /// It succeeded, and is due again after its interval.
    RequeueAfter,
    /// It failed, whether or not its outcome could be recorded.
    Error,
}

impl ReconcileResult {
    /// The result of a reconcile that did what was asked, or did not.
    pub(crate) fn of<T, E>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::RequeueAfter,
            Err(_) => Self::Error,
        }
    }

    /// The value of the label `result`.
    fn as_str(self) -> &'static str {
        match self {
            Self::RequeueAfter => "requeue_after",
            Self::Error => "error",
        }
    }
}

/// One reconcile under way.
pub(crate) struct Timer<'m> {
    /// Gets the duration when the reconcile has ended.
    metrics: &'m Metrics,
    /// The kind, as a manifest writes it.
    kind: String,
    started: Instant,
}

/// An empty histogram of durations in seconds.
fn histogram() -> Histogram {
    // Flux's own: ten buckets from 10 ms to half an hour.
    Histogram::new(exponential_buckets(0.01, 3.836, 10))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            queues: Arc::default(),
            reconcile_duration: Family::new_with_constructor(histogram),
            reconcile_total: Family::default(),
            reconcile_time: Family::new_with_constructor(histogram),
            active_workers: Family::default(),
            reconcile_errors: Family::default(),
            max_concurrent: Family::default(),
            sync_calls: Family::default(),
            sync_errors: Family::default(),
            external_secret_condition: Family::default(),
            external_secret_duration: Family::default(),
            store_condition: Family::default(),
            store_duration: Family::default(),
            cluster_store_duration: Family::default(),
            cluster_store_condition: Family::default(),
            provider_calls: Family::default(),
            rotation_messages: Family::default(),
            store_calls: Family::default(),
            store_cost: Family::default(),
            api_requests: Family::default(),
            leader: Family::default(),
            sizes: Family::default(),
            unit_ready: Family::default(),
            unit_inventory: Family::default(),
            unit_drifted: Family::default(),
            unit_opted_out: Family::default(),
            unit_pending_deletions: Family::default(),
            unit_last_success: Family::default(),
            unit_skipped_builds: Family::default(),
        };
        metrics.register_reconciles();
        metrics.register_external_secrets();
        metrics.register_stores();
        metrics.register_process();
        metrics.register_kustomizations();
        metrics
    }
}

impl Metrics {
    /// Registers what controller-runtime and Flux count of every reconcile.
    fn register_reconciles(&mut self) {
        let registry = &mut self.registry;
        self.queues.register(registry);
        registry.register(
            "gotk_reconcile_duration_seconds",
            "Duration of reconciles of Flux kinds",
            self.reconcile_duration.clone(),
        );
        registry.register(
            "controller_runtime_reconcile",
            "Reconciles that did work, by their result",
            self.reconcile_total.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "Duration of reconciles that did work",
            self.reconcile_time.clone(),
        );
        registry.register(
            "controller_runtime_active_workers",
            "Reconciles under way",
            self.active_workers.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_errors",
            "Reconciles that failed, or whose outcome could not be recorded",
            self.reconcile_errors.clone(),
        );
        registry.register(
            "controller_runtime_max_concurrent_reconciles",
            "Reconciles of a controller that may be under way at once",
            self.max_concurrent.clone(),
        );
    }

    /// Registers what External Secrets counts of its syncs.
    fn register_external_secrets(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "externalsecret_sync_calls",
            "Syncs of ExternalSecrets",
            self.sync_calls.clone(),
        );
        registry.register(
            "externalsecret_sync_calls_error",
            "Failed syncs of ExternalSecrets",
            self.sync_errors.clone(),
        );
        registry.register(
            "externalsecret_status_condition",
            "1 where the condition has the status",
            self.external_secret_condition.clone(),
        );
        registry.register(
            "externalsecret_reconcile_duration",
            "Nanoseconds of the last sync",
            self.external_secret_duration.clone(),
        );
    }

    /// Registers the states, calls and costs of stores.
    fn register_stores(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "secretstore_status_condition",
            "1 where the condition has the status",
            self.store_condition.clone(),
        );
        registry.register(
            "clustersecretstore_status_condition",
            "1 where the condition has the status",
            self.cluster_store_condition.clone(),
        );
        registry.register(
            "secretstore_reconcile_duration",
            "Nanoseconds of the last validation",
            self.store_duration.clone(),
        );
        registry.register(
            "clustersecretstore_reconcile_duration",
            "Nanoseconds of the last validation",
            self.cluster_store_duration.clone(),
        );
        registry.register(
            "externalsecret_provider_api_calls_count",
            "Calls to providers",
            self.provider_calls.clone(),
        );
        registry.register(
            "overlayd_rotation_messages",
            "Messages of rotation queues, by what became of them",
            self.rotation_messages.clone(),
        );
        registry.register(
            "overlayd_store_estimated_calls_per_day",
            "Calls to AWS that a store's share of what is watched costs a day",
            self.store_calls.clone(),
        );
        registry.register(
            "overlayd_store_estimated_dollars_per_month",
            "What these calls cost in 30 days",
            self.store_cost.clone(),
        );
    }

    /// Registers what concerns the process as a whole.
    fn register_process(&mut self) {
        self.registry.register_collector(Box::new(ProcessMetrics));
        self.registry.register(
            "overlayd_entries",
            "Entries of a map or queue whose keys tenants choose",
            self.sizes.clone(),
        );
        self.registry.register(
            "leader_election_master_status",
            "1 for the replica that works",
            self.leader.clone(),
        );
        self.registry.register(
            "rest_client_requests",
            "Requests to the API server, by method and code (0 where none was answered)",
            self.api_requests.clone(),
        );
    }

    /// Registers what Flux leaves to kube-state-metrics: the state of each Kustomization.
    fn register_kustomizations(&mut self) {
        let gauges = [
            (
                "ready",
                "1 where a Kustomization is Ready",
                &self.unit_ready,
            ),
            (
                "inventory_objects",
                "Objects that a Kustomization has applied",
                &self.unit_inventory,
            ),
            (
                "drifted_objects",
                "Objects that others have changed and that are left so",
                &self.unit_drifted,
            ),
            (
                "opted_out_objects",
                "Objects that ask to be left alone",
                &self.unit_opted_out,
            ),
            (
                "pending_deletions",
                "Objects whose deletion waits for an approval",
                &self.unit_pending_deletions,
            ),
            (
                "last_success_timestamp_seconds",
                "When a Kustomization succeeded last",
                &self.unit_last_success,
            ),
        ];
        for (name, help, gauge) in gauges {
            let name = format!("overlayd_kustomization_{name}");
            self.registry.register(name, help, gauge.clone());
        }
        self.registry.register(
            "overlayd_kustomization_skipped_builds",
            "Revisions that changed nothing that a Kustomization was built from",
            self.unit_skipped_builds.clone(),
        );
    }

    /// Sets the size of a map or queue, by its name.
    pub(crate) fn size(&self, of: &'static str, entries: usize) {
        let labels = vec![("of", of.to_owned())];
        let entries = i64::try_from(entries).unwrap_or(i64::MAX);
        self.sizes.get_or_create(&labels).set(entries);
    }

    /// Sets whether this replica is the leader.
    pub(crate) fn leads(&self, leads: bool) {
        let labels = vec![("name", "overlayd-leader-election".to_owned())];
        self.leader.get_or_create(&labels).set(i64::from(leads));
    }

    /// Counts a request to the API server.
    pub(crate) fn api_request(&self, method: &str, code: u16) {
        let labels = vec![("method", method.to_owned()), ("code", code.to_string())];
        self.api_requests.get_or_create(&labels).inc();
    }

    /// Sets the gauges of a Kustomization.
    pub(crate) fn unit(&self, namespace: &str, name: &str, state: &UnitState) {
        let labels = vec![
            ("namespace", namespace.to_owned()),
            ("name", name.to_owned()),
        ];
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let set = |gauge: &Family<Labels, Gauge>, value: i64| {
            gauge.get_or_create(&labels).set(value);
        };
        set(&self.unit_ready, i64::from(state.is_ready));
        set(&self.unit_inventory, count(state.inventory));
        set(&self.unit_pending_deletions, count(state.pending_deletions));
        if let Some(drifted) = state.drifted {
            set(&self.unit_drifted, count(drifted));
        }
        if let Some(opted_out) = state.opted_out {
            set(&self.unit_opted_out, count(opted_out));
        }
        if let Some(succeeded) = state.succeeded {
            set(&self.unit_last_success, succeeded);
        }
    }

    /// Counts a revision for which a Kustomization was not built, because it changes no file that the last build read.
    pub(crate) fn skipped_build(&self, namespace: &str, name: &str) {
        let labels = vec![
            ("namespace", namespace.to_owned()),
            ("name", name.to_owned()),
        ];
        self.unit_skipped_builds.get_or_create(&labels).inc();
    }

    /// Forgets a Kustomization that is gone.
    pub(crate) fn forget_unit(&self, namespace: &str, name: &str) {
        let labels = vec![
            ("namespace", namespace.to_owned()),
            ("name", name.to_owned()),
        ];
        for gauge in [
            &self.unit_ready,
            &self.unit_inventory,
            &self.unit_drifted,
            &self.unit_opted_out,
            &self.unit_pending_deletions,
            &self.unit_last_success,
        ] {
            gauge.remove(&labels);
        }
        self.unit_skipped_builds.remove(&labels);
        self.forget_reconciles("Kustomization", namespace, name);
    }

    /// Starts the timer of a reconcile that does work.
    pub(crate) fn start(&self, kind: &str) -> Timer<'_> {
        let labels = vec![("controller", kind.to_lowercase())];
        self.active_workers.get_or_create(&labels).inc();
        Timer {
            metrics: self,
            kind: kind.to_owned(),
            started: Instant::now(),
        }
    }

    /// Makes the series of a controller, so that dashboards find it before its first reconcile.
    pub(crate) fn controller(&self, kind: &str, at_once: u16) {
        let labels = vec![("controller", kind.to_lowercase())];
        let most = i64::from(at_once);
        self.max_concurrent.get_or_create(&labels).set(most);
        self.queues.controller(kind);
        self.active_workers.get_or_create(&labels).set(0);
        drop(self.reconcile_time.get_or_create(&labels));
        for result in [ReconcileResult::RequeueAfter, ReconcileResult::Error] {
            drop(self.reconcile_total.get_or_create(&result_of(kind, result)));
        }
    }

    /// Counts a reconcile whose outcome could not be recorded.
    pub(crate) fn reconcile_error(&self, kind: &str, category: &'static str) {
        let labels = vec![
            ("controller", kind.to_lowercase()),
            ("category", category.to_owned()),
        ];
        self.reconcile_errors.get_or_create(&labels).inc();
        self.queues.retry(kind);
        let labels = result_of(kind, ReconcileResult::Error);
        self.reconcile_total.get_or_create(&labels).inc();
    }

    /// Drops the durations of an object of a Flux kind that is gone.
    pub(crate) fn forget_reconciles(&self, kind: &str, namespace: &str, name: &str) {
        let labels = object_labels((kind, namespace, name));
        self.reconcile_duration.remove(&labels);
    }

    /// Counts a sync and sets the condition gauges.
    pub(crate) fn external_secret(&self, namespace: &str, name: &str, ok: bool) {
        let labels = || {
            vec![
                ("name", name.to_owned()),
                ("namespace", namespace.to_owned()),
            ]
        };
        self.sync_calls.get_or_create(&labels()).inc();
        if !ok {
            self.sync_errors.get_or_create(&labels()).inc();
        }
        self.external_secret_is(namespace, name, ok);
    }

    /// Sets the condition gauges of an ExternalSecret, which another process may have synced.
    pub(crate) fn external_secret_is(&self, namespace: &str, name: &str, ok: bool) {
        for (status, holds) in [("True", ok), ("False", !ok)] {
            let gauge = self
                .external_secret_condition
                .get_or_create(&condition(namespace, name, status));
            gauge.set(if holds { 1.0 } else { 0.0 });
        }
    }

    /// Sets the condition gauges of a store.
    pub(crate) fn store(&self, kind: &str, namespace: &str, name: &str, ok: bool) {
        let family = if kind == "ClusterSecretStore" {
            &self.cluster_store_condition
        } else {
            &self.store_condition
        };
        for (status, holds) in [("True", ok), ("False", !ok)] {
            let gauge = family.get_or_create(&condition(namespace, name, status));
            gauge.set(if holds { 1.0 } else { 0.0 });
        }
    }

    /// Drops the series of a store that is gone.
    pub(crate) fn forget_store(&self, kind: &str, namespace: &str, name: &str) {
        let family = if kind == "ClusterSecretStore" {
            &self.cluster_store_condition
        } else {
            &self.store_condition
        };
        for status in ["True", "False"] {
            family.remove(&condition(namespace, name, status));
        }
        let series = vec![
            ("name", name.to_owned()),
            ("namespace", namespace.to_owned()),
        ];
        self.store_durations(kind).remove(&series);
        let labels = object_labels((kind, namespace, name));
        self.store_calls.remove(&labels);
        self.store_cost.remove(&labels);
    }

    /// Drops the series of an object that is gone.
    pub(crate) fn forget_external_secret(&self, namespace: &str, name: &str) {
        let labels = vec![
            ("name", name.to_owned()),
            ("namespace", namespace.to_owned()),
        ];
        self.sync_calls.remove(&labels);
        self.sync_errors.remove(&labels);
        self.external_secret_duration.remove(&labels);
        for status in ["True", "False"] {
            self.external_secret_condition
                .remove(&condition(namespace, name, status));
        }
    }

    /// Counts a call to a provider.
    pub(crate) fn provider_call(&self, provider: &'static str, call: &'static str, ok: bool) {
        let status = if ok { "success" } else { "error" };
        let labels = vec![
            ("provider", provider.to_owned()),
            ("call", call.to_owned()),
            ("status", status.to_owned()),
        ];
        self.provider_calls.get_or_create(&labels).inc();
    }

    /// Counts a message of a rotation queue.
    pub(crate) fn rotation_message(&self, fate: &'static str) {
        let labels = vec![("result", fate.to_owned())];
        self.rotation_messages.get_or_create(&labels).inc();
    }

    /// Sets the calls per day and dollars per month of a store.
    pub(crate) fn store_cost(&self, store: (&str, &str, &str), calls: f64, dollars: f64) {
        let labels = object_labels(store);
        self.store_calls.get_or_create(&labels).set(calls);
        self.store_cost.get_or_create(&labels).set(dollars);
    }

    /// All metrics in the text format of Prometheus.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        self.queues.refresh();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}

/// The labels of an object, with its kind.
fn object_labels((kind, namespace, name): (&str, &str, &str)) -> Labels {
    vec![
        ("kind", kind.to_owned()),
        ("name", name.to_owned()),
        ("namespace", namespace.to_owned()),
    ]
}

/// The labels of the condition `Ready` with one of its statuses.
fn condition(namespace: &str, name: &str, status: &str) -> Labels {
    vec![
        ("name", name.to_owned()),
        ("namespace", namespace.to_owned()),
        ("condition", "Ready".to_owned()),
        ("status", status.to_owned()),
    ]
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let labels = vec![("controller", self.kind.to_lowercase())];
        self.metrics.active_workers.get_or_create(&labels).dec();
    }
}

impl Timer<'_> {
    /// Records the result and the duration of the reconcile of an object.
    pub(crate) fn finish(self, result: ReconcileResult, name: &str, namespace: &str) {
        let (metrics, elapsed) = (self.metrics, self.started.elapsed().as_secs_f64());
        let labels = result_of(&self.kind, result);
        metrics.reconcile_total.get_or_create(&labels).inc();
        let controller = vec![("controller", self.kind.to_lowercase())];
        let time = metrics.reconcile_time.get_or_create(&controller);
        time.observe(elapsed);
        drop(time);
        if result == ReconcileResult::Error {
            let labels = [controller, vec![("category", "outcome".to_owned())]].concat();
            metrics.reconcile_errors.get_or_create(&labels).inc();
        }
        let series = vec![
            ("name", name.to_owned()),
            ("namespace", namespace.to_owned()),
        ];
        let last = match self.kind.as_str() {
            "ExternalSecret" => &metrics.external_secret_duration,
            "SecretStore" | "ClusterSecretStore" => metrics.store_durations(&self.kind),
            kind => {
                let labels = object_labels((kind, namespace, name));
                let duration = metrics.reconcile_duration.get_or_create(&labels);
                return duration.observe(elapsed);
            }
        };
        last.get_or_create(&series).set(elapsed * 1e9);
    }
}

impl Metrics {
    /// The gauge of the last validation, of which each kind of store has its own.
    fn store_durations(&self, kind: &str) -> &Family<Labels, Gauge<f64, AtomicU64>> {
        match kind {
            "ClusterSecretStore" => &self.cluster_store_duration,
            _ => &self.store_duration,
        }
    }
}

/// The labels of a reconcile that has ended.
fn result_of(kind: &str, result: ReconcileResult) -> Labels {
    vec![
        ("controller", kind.to_lowercase()),
        ("result", result.as_str().to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_carry_the_names_of_the_peers() {
        let metrics = Metrics::default();
        metrics.external_secret("default", "db", false);
        metrics.provider_call("AWS/SecretsManager", "GetSecretValue", true);
        let (done, failed) = (ReconcileResult::RequeueAfter, ReconcileResult::Error);
        metrics.start("Kustomization").finish(done, "app", "team");
        let text = metrics.render();
        for line in [
            r#"externalsecret_sync_calls_total{name="db",namespace="default"} 1"#,
            r#"externalsecret_status_condition{name="db",namespace="default",condition="Ready",status="False"} 1.0"#,
            r#"externalsecret_provider_api_calls_count{provider="AWS/SecretsManager",call="GetSecretValue",status="success"} 1"#,
            r#"gotk_reconcile_duration_seconds_count{kind="Kustomization",name="app",namespace="team"} 1"#,
            r#"controller_runtime_reconcile_total{controller="kustomization",result="requeue_after"} 1"#,
        ] {
            assert!(text.contains(line), "{line} not in:\n{text}");
        }
        metrics.size("mirrors", 3);
        assert!(
            metrics
                .render()
                .contains(r#"overlayd_entries{of="mirrors"} 3"#)
        );
        metrics.skipped_build("team", "app");
        let skipped = r#"overlayd_kustomization_skipped_builds_total{namespace="team",name="app"}"#;
        assert!(metrics.render().contains(&format!("{skipped} 1")));
        metrics.forget_unit("team", "app");
        assert!(!metrics.render().contains(r#"name="app""#));
        metrics.external_secret_is("default", "old", true);
        let ready = r#"externalsecret_status_condition{name="old",namespace="default",condition="Ready",status="True"} 1.0"#;
        let text = metrics.render();
        assert!(text.contains(ready), "{text}");
        assert!(
            !text.contains(r#"externalsecret_sync_calls_total{name="old""#),
            "{text}"
        );
        metrics.forget_external_secret("default", "db");
        assert!(!metrics.render().contains(r#"name="db""#));
        metrics.start("SecretStore").finish(failed, "db", "default");
        metrics.reconcile_error("SecretStore", "conflict");
        let text = metrics.render();
        for line in [
            r#"controller_runtime_reconcile_total{controller="secretstore",result="error"} 2"#,
            r#"controller_runtime_reconcile_errors_total{controller="secretstore",category="outcome"} 1"#,
            r#"controller_runtime_reconcile_errors_total{controller="secretstore",category="conflict"} 1"#,
            r#"secretstore_reconcile_duration{name="db",namespace="default"} "#,
        ] {
            assert!(text.contains(line), "{line} not in:\n{text}");
        }
        metrics.forget_store("SecretStore", "default", "db");
        assert!(!metrics.render().contains(r#"name="db""#));
    }
}

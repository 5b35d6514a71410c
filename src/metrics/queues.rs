//! The metrics of the queues of the controllers, under the names that client-go gives them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use overlayd_core::work_queue::{WorkKey, WorkQueue};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The labels that client-go gives a queue: the name of its controller, twice.
type QueueLabels = [(&'static str, String); 2];

/// The queue metrics of all controllers.
#[derive(Debug)]
pub(crate) struct QueueMetrics {
    /// The objects that wait and those under way, by kind.
    queues: Mutex<BTreeMap<String, WorkQueue>>,
    /// `workqueue_depth`.
    depth: Family<QueueLabels, Gauge>,
    /// `workqueue_adds_total`.
    adds: Family<QueueLabels, Counter>,
    /// `workqueue_retries_total`.
    retries: Family<QueueLabels, Counter>,
    /// `workqueue_queue_duration_seconds`.
    queue_duration: Family<QueueLabels, Histogram, fn() -> Histogram>,
    /// `workqueue_work_duration_seconds`.
    work_duration: Family<QueueLabels, Histogram, fn() -> Histogram>,
    /// `workqueue_unfinished_work_seconds`.
    unfinished: Family<QueueLabels, Gauge<f64, AtomicU64>>,
    /// `workqueue_longest_running_processor_seconds`.
    longest: Family<QueueLabels, Gauge<f64, AtomicU64>>,
}

/// Ten buckets from 10 ns to 1000 s, as those of client-go.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(1e-8, 10.0, 12))
}

impl Default for QueueMetrics {
    fn default() -> Self {
        Self {
            queues: Mutex::default(),
            depth: Family::default(),
            adds: Family::default(),
            retries: Family::default(),
            queue_duration: Family::new_with_constructor(histogram),
            work_duration: Family::new_with_constructor(histogram),
            unfinished: Family::default(),
            longest: Family::default(),
        }
    }
}

impl QueueMetrics {
    /// Registers the metrics under their names.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "workqueue_depth",
            "Objects that wait for a reconcile",
            self.depth.clone(),
        );
        registry.register(
            "workqueue_adds",
            "Wake-ups of objects that did not wait yet",
            self.adds.clone(),
        );
        registry.register(
            "workqueue_retries",
            "Reconciles whose outcome could not be recorded, so that they are repeated",
            self.retries.clone(),
        );
        registry.register(
            "workqueue_queue_duration_seconds",
            "How long objects waited for a reconcile",
            self.queue_duration.clone(),
        );
        registry.register(
            "workqueue_work_duration_seconds",
            "How long reconciles took",
            self.work_duration.clone(),
        );
        registry.register(
            "workqueue_unfinished_work_seconds",
            "How long all reconciles that are under way have taken so far",
            self.unfinished.clone(),
        );
        registry.register(
            "workqueue_longest_running_processor_seconds",
            "How long the longest reconcile that is under way has taken so far",
            self.longest.clone(),
        );
    }

    /// Makes the series of a controller.
    pub(crate) fn controller(&self, kind: &str) {
        let labels = labels(kind);
        drop(self.adds.get_or_create(&labels));
        drop(self.retries.get_or_create(&labels));
        drop(self.queue_duration.get_or_create(&labels));
        drop(self.work_duration.get_or_create(&labels));
        self.queues.lock().entry(kind.to_owned()).or_default();
    }

    /// Records that an object was woken.
    pub(crate) fn added(&self, kind: &str, namespace: Option<&str>, name: &str) {
        let is_new = self.with(kind, |queue| {
            queue.added(key(namespace, name), Instant::now())
        });
        if is_new {
            self.adds.get_or_create(&labels(kind)).inc();
        }
    }

    /// Records that an object is gone, so that it does not wait any more.
    pub(crate) fn forget(&self, kind: &str, namespace: Option<&str>, name: &str) {
        self.with(kind, |queue| queue.forget(key(namespace, name)));
    }

    /// Records that a reconcile begins. It ends when the value is dropped.
    pub(crate) fn start(
        self: &Arc<Self>,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> RunningReconcile {
        let key = key(namespace, name);
        let labels = labels(kind);
        let waited = self.with(kind, |queue| queue.started(key, Instant::now()));
        if waited.is_none() {
            // A timer of kube woke it, which nobody sees.
            self.adds.get_or_create(&labels).inc();
        }
        let waited = waited.unwrap_or_default().as_secs_f64();
        self.queue_duration.get_or_create(&labels).observe(waited);
        RunningReconcile {
            metrics: self.clone(),
            kind: kind.to_owned(),
            key,
        }
    }

    /// Counts a reconcile that is repeated.
    pub(crate) fn retry(&self, kind: &str) {
        self.retries.get_or_create(&labels(kind)).inc();
    }

    /// Sets what changes with the time alone.
    pub(crate) fn refresh(&self) {
        let now = Instant::now();
        for (kind, queue) in &*self.queues.lock() {
            let labels = labels(kind);
            let depth = i64::try_from(queue.depth()).unwrap_or(i64::MAX);
            self.depth.get_or_create(&labels).set(depth);
            let set = |gauge: &Family<QueueLabels, Gauge<f64, AtomicU64>>, time: Duration| {
                gauge.get_or_create(&labels).set(time.as_secs_f64());
            };
            set(&self.unfinished, queue.unfinished(now));
            set(&self.longest, queue.longest(now));
        }
    }

    /// Changes the queue of a kind, which is made at the first call.
    fn with<T>(&self, kind: &str, change: impl FnOnce(&mut WorkQueue) -> T) -> T {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(kind) {
            return change(queue);
        }
        change(queues.entry(kind.to_owned()).or_default())
    }
}

/// One reconcile under way.
#[derive(Debug)]
pub(crate) struct RunningReconcile {
    metrics: Arc<QueueMetrics>,
    kind: String,
    key: WorkKey,
}

impl Drop for RunningReconcile {
    fn drop(&mut self) {
        let (metrics, kind) = (&self.metrics, self.kind.as_str());
        let took = metrics.with(kind, |queue| queue.ended(self.key, Instant::now()));
        let duration = metrics.work_duration.get_or_create(&labels(kind));
        duration.observe(took.as_secs_f64());
    }
}

/// The labels of the queue of a kind.
fn labels(kind: &str) -> QueueLabels {
    let name = kind.to_lowercase();
    [("name", name.clone()), ("controller", name)]
}

/// The key of an object. A hash is enough, because a collision makes one duration wrong and nothing else.
fn key(namespace: Option<&str>, name: &str) -> WorkKey {
    let mut hasher = DefaultHasher::new();
    (namespace, name).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn the_queue_of_a_controller_is_shown() {
        let (metrics, mut registry) = (Arc::<QueueMetrics>::default(), Registry::default());
        metrics.register(&mut registry);
        metrics.controller("Receiver");
        let check = |lines: &[&str]| {
            metrics.refresh();
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let text = text.replace(r#",controller="kustomization""#, "");
            for line in lines {
                assert!(text.contains(line), "{line} not in:\n{text}");
            }
        };
        metrics.added("Kustomization", Some("team"), "app");
        metrics.added("Kustomization", Some("team"), "app");
        metrics.added("Kustomization", Some("team"), "gone");
        check(&[
            r#"workqueue_depth{name="kustomization"} 2"#,
            r#"workqueue_adds_total{name="kustomization"} 2"#,
            r#"workqueue_depth{name="receiver",controller="receiver"} 0"#,
        ]);
        metrics.forget("Kustomization", Some("team"), "gone");
        let work = metrics.start("Kustomization", Some("team"), "app");
        metrics.retry("Kustomization");
        check(&[
            r#"workqueue_depth{name="kustomization"} 0"#,
            r#"workqueue_queue_duration_seconds_count{name="kustomization"} 1"#,
            r#"workqueue_retries_total{name="kustomization"} 1"#,
        ]);
        drop(work);
        check(&[
            r#"workqueue_work_duration_seconds_count{name="kustomization"} 1"#,
            r#"workqueue_unfinished_work_seconds{name="kustomization"} 0.0"#,
            r#"workqueue_longest_running_processor_seconds{name="kustomization"} 0.0"#,
        ]);
    }
}

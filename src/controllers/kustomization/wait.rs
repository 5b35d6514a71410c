//! Waits for health as state: what is not healthy yet, since when, and what is to be done afterwards.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams};
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use crate::cluster::apply::Applier;
use crate::cluster::apply::ApplyOptions;
use crate::controllers::kustomization::Applied;
use crate::expression::health::Custom;
use overlayd_core::api::kustomization::KustomizationSpec;
use overlayd_core::apply::change_set::ObjectFailure;
use overlayd_core::apply::health::{Health, Report, health};
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::plan::ApplyPlan;
use overlayd_core::apply::plan::Wave;
use overlayd_core::names::NamespacedName;
use overlayd_core::schedule::{backoff, parse_duration};

/// A Kustomization that is applied and not healthy yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// What it was applied for. For anything else it is applied anew.
    pub(super) fingerprint: String,
    pub(super) revision: String,
    /// What was not healthy when it was looked at last.
    pub(super) pending: Vec<ObjectRef>,
    pub(super) since: Timestamp,
    pub(super) looks: u32,
    /// What is looked at when all waves are applied.
    pub(super) checks: Vec<ObjectRef>,
    /// What is applied when the last wave is healthy.
    pub(super) rest: VecDeque<Wave>,
    pub(super) how: ApplyOptions,
    /// What the server did not take, where the others go on.
    pub(super) failed: Vec<ObjectFailure>,
    /// Something of a wave that was applied, so that no later one is.
    pub(super) has_failed: bool,
    /// What was left as it is, and is not waited for.
    pub(super) left: Vec<ObjectRef>,
    /// All that decided besides the source, with the variables.
    pub(super) wanted: String,
    /// Others have changed something meanwhile.
    pub(super) is_drifted: bool,
    /// Whom objects were taken over from; they are told when it is done.
    pub(super) taken: BTreeSet<NamespacedName>,
    pub(super) rendered: Vec<ObjectRef>,
    /// Since when others are waited for that may want what is to be deleted.
    pub(super) settling: Option<Timestamp>,
    /// What is deleted once the new revision is healthy.
    pub(super) prune: Vec<ObjectRef>,
    pub(super) applied: Applied,
}

/// All that wait, by the key of their Kustomization.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<BTreeMap<String, Waiting>>);

impl Waits {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Waiting>> {
        self.0.lock()
    }

    pub(super) fn put(&self, key: &str, waiting: Waiting) {
        self.lock().insert(key.to_owned(), waiting);
    }

    pub(super) fn take(&self, key: &str) -> Option<Waiting> {
        self.lock().remove(key)
    }
}

/// What a look found.
pub(super) enum Look {
    Healthy,
    Waiting { message: String, again: Duration },
    Failed(String),
}

/// How many objects are looked at at once.
const AT_ONCE: usize = 8;
/// The first and the longest time between two looks. What is watched wakes at its change; this is the net below that,
/// and for what is not: objects that are applied by others, or of kinds that may not be watched.
const LOOKS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// The objects whose health counts.
pub(super) fn checked(
    spec: &KustomizationSpec,
    namespace: &str,
    plan: &ApplyPlan,
) -> Vec<ObjectRef> {
    if spec.wait {
        let objects = plan.waves.iter().flat_map(Wave::objects);
        return objects.map(|desired| desired.reference.clone()).collect();
    }
    let named = spec.health_checks.iter().map(|check| {
        let namespace = check.namespace.as_deref().unwrap_or(namespace);
        let api_version = check.api_version.as_deref().unwrap_or("apps/v1");
        ObjectRef::new(api_version, &check.kind, namespace, &check.name)
    });
    named.collect()
}

/// How long health is waited for.
pub(super) fn timeout(spec: &KustomizationSpec) -> Duration {
    let least = Duration::from_secs(30);
    let given = spec.timeout.as_deref().and_then(parse_duration);
    given.unwrap_or_else(|| {
        let interval = parse_duration(&spec.interval).unwrap_or_default();
        interval.saturating_sub(least).max(least)
    })
}

/// The expressions of the spec.
///
/// # Errors
/// The first that cannot be read.
pub(super) fn custom(spec: &KustomizationSpec) -> Result<Vec<Custom>, String> {
    spec.health_check_exprs.iter().map(Custom::new).collect()
}

/// How an object stands: by its expression, or else by its kind.
async fn judge(live: Option<&Value>, custom: &[Custom], now: Timestamp) -> Report {
    let going = |object: &Value| object["metadata"]["deletionTimestamp"].is_string();
    match live.filter(|object| !going(object)) {
        Some(object) => match custom.iter().find(|custom| custom.is_for(object)) {
            Some(custom) => custom.health(object).await,
            None => health(live, now),
        },
        None => health(live, now),
    }
}

/// Looks at what is pending.
pub(super) async fn look(
    waiting: &mut Waiting,
    spec: &KustomizationSpec,
    applier: &Applier,
) -> Look {
    let now = Timestamp::now();
    let custom = match custom(spec) {
        Ok(custom) => custom,
        Err(error) => return Look::Failed(error),
    };
    let pending = std::mem::take(&mut waiting.pending);
    let looks = pending.into_iter().map(async |reference| {
        let live = applier.get(&reference).await;
        let report = match &live {
            Ok(live) => judge(live.as_ref(), &custom, now).await,
            Err(reason) => Report {
                health: Health::InProgress,
                reason: reason.to_string(),
            },
        };
        (reference, report, live.ok().flatten())
    });
    let looks: Vec<_> = futures::stream::iter(looks)
        .buffered(AT_ONCE)
        .collect()
        .await;
    let unhealthy: Vec<_> = looks
        .into_iter()
        .filter(|(_, report, _)| report.health != Health::Current)
        .collect();
    if unhealthy.is_empty() {
        return Look::Healthy;
    }
    let failed = unhealthy
        .iter()
        .any(|(_, report, _)| report.health == Health::Failed);
    let waited = Duration::try_from(now.duration_since(waiting.since)).unwrap_or_default();
    let timeout = timeout(spec);
    if failed || waited >= timeout {
        let why = if failed {
            "failed early due to stalled resources".to_owned()
        } else {
            format!("timeout waiting for health after {} s", timeout.as_secs())
        };
        let mut parts = Vec::new();
        for (reference, report, live) in &unhealthy {
            let pods = pod_reason(live.as_ref(), applier).await;
            let event = warning(reference, applier).await;
            let more: Vec<String> = pods.into_iter().chain(event).collect();
            parts.push(describe(reference, report, &more));
        }
        return Look::Failed(format!("{why}: [{}]", parts.join(", ")));
    }
    let parts: Vec<String> = unhealthy
        .iter()
        .take(10)
        .map(|(reference, report, _)| describe(reference, report, &[]))
        .collect();
    let more = match unhealthy.len() {
        0..=10 => String::new(),
        all => format!(" and {} more", all - 10),
    };
    waiting.pending = unhealthy
        .into_iter()
        .map(|(reference, ..)| reference)
        .collect();
    let again = backoff(LOOKS.0, LOOKS.1, waiting.looks).min(timeout.saturating_sub(waited));
    waiting.looks += 1;
    Look::Waiting {
        message: format!("waiting for health: [{}]{more}", parts.join(", ")),
        again,
    }
}

fn describe(reference: &ObjectRef, report: &Report, more: &[String]) -> String {
    let reasons = more.iter().map(String::as_str);
    let reasons = std::iter::once(report.reason.as_str()).chain(reasons);
    let reasons: Vec<&str> = reasons.filter(|reason| !reason.is_empty()).collect();
    format!(
        "{reference} status: '{}': {}",
        report.health,
        reasons.join("; ")
    )
}

/// The last warning about an object, if there is one and it may be read.
async fn warning(reference: &ObjectRef, applier: &Applier) -> Option<String> {
    /// A warning is cut there.
    const SHOWN: usize = 200;
    let fields = format!(
        "type=Warning,involvedObject.kind={},involvedObject.name={}",
        reference.kind, reference.name
    );
    let params = ListParams::default().fields(&fields).limit(50);
    let api: Api<Event> = Api::namespaced(applier.client(), &reference.namespace);
    let events = api.list(&params).await.ok()?.items;
    let time = |event: &Event| {
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        last.or_else(|| event.event_time.as_ref().map(|time| time.0))
    };
    let last = events.into_iter().max_by_key(time)?;
    let message: String = last
        .message
        .unwrap_or_default()
        .chars()
        .take(SHOWN)
        .collect();
    Some(format!(
        "last warning: {}: {message}",
        last.reason.unwrap_or_default()
    ))
}

/// Why a pod of a workload is not ready, if one says so.
async fn pod_reason(live: Option<&Value>, applier: &Applier) -> Option<String> {
    let namespace = live?.pointer("/metadata/namespace")?.as_str()?;
    let labels = live?.pointer("/spec/selector/matchLabels")?.as_object()?;
    let labels = labels
        .iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    let params = ListParams::default()
        .labels(&labels.collect::<Vec<_>>().join(","))
        .limit(20);
    let api: Api<Pod> = Api::namespaced(applier.client(), namespace);
    let pods = api.list(&params).await.ok()?;
    let now = Timestamp::now();
    pods.items.iter().find_map(|pod| {
        let mut value = serde_json::to_value(pod).ok()?;
        value["apiVersion"] = "v1".into();
        value["kind"] = "Pod".into();
        let report = health(Some(&value), now);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        (report.health != Health::Current).then(|| format!("pod {name}: {}", report.reason))
    })
}

/// Those that are not gone yet.
pub(super) async fn still_there(objects: &[ObjectRef], applier: &Applier) -> Vec<ObjectRef> {
    let mut there = Vec::new();
    for object in objects {
        if matches!(applier.get(object).await, Ok(Some(_))) {
            there.push(object.clone());
        }
    }
    there
}

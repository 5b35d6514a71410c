//! Reads the health of objects: what the API server has of them, judged by kind or by an expression of the spec.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams};
use overlayd_core::api::kustomization::KustomizationSpec;
use overlayd_core::apply::health::{Health, Report, health};
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::rollout::{RolloutError, UnhealthyError};
use serde_json::Value;

use crate::cluster::apply::Applier;
use crate::expression::health::{Custom, HealthExpressionError};

/// How many objects are read at the same time.
const CONCURRENCY: usize = 8;

/// Reads health with the rights of a Kustomization.
pub(super) struct HealthReader<'r> {
    applier: &'r Applier,
    expressions: Vec<Custom>,
    /// The objects that were not healthy when they were read last.
    unhealthy: BTreeMap<ObjectRef, Value>,
}

/// The health expressions of a spec.
///
/// # Errors
/// The first expression that cannot be read.
pub(super) fn expressions(spec: &KustomizationSpec) -> Result<Vec<Custom>, HealthExpressionError> {
    spec.health_check_exprs.iter().map(Custom::new).collect()
}

impl<'r> HealthReader<'r> {
    /// A reader with the expressions of a spec.
    ///
    /// # Errors
    /// The first expression that cannot be read.
    pub(super) fn new(
        applier: &'r Applier,
        spec: &KustomizationSpec,
    ) -> Result<Self, HealthExpressionError> {
        Ok(Self {
            applier,
            expressions: expressions(spec)?,
            unhealthy: BTreeMap::new(),
        })
    }

    /// Reads and judges objects. An object that cannot be read is in progress.
    pub(super) async fn read(&mut self, objects: Vec<ObjectRef>) -> Vec<(ObjectRef, Report)> {
        let (applier, expressions) = (self.applier, &self.expressions);
        let reads = objects.into_iter().map(async |object| {
            let live = applier.get(&object).await;
            let report = match &live {
                Ok(live) => judge(&object, live.as_ref(), expressions, applier).await,
                Err(reason) => Report {
                    health: Health::InProgress,
                    reason: reason.to_string(),
                },
            };
            (object, report, live.ok().flatten())
        });
        let reads: Vec<_> = futures::stream::iter(reads)
            .buffered(CONCURRENCY)
            .collect()
            .await;
        self.unhealthy.clear();
        let mut reports = Vec::new();
        for (object, report, live) in reads {
            if let Some(live) = live.filter(|_| report.health != Health::Current) {
                self.unhealthy.insert(object.clone(), live);
            }
            reports.push((object, report));
        }
        reports
    }

    /// Adds the reasons that pods and events give to the objects of an error.
    pub(super) async fn explain(&self, error: RolloutError) -> RolloutError {
        let RolloutError::Unhealthy(UnhealthyError { cause, mut objects }) = error else {
            return error;
        };
        for unhealthy in &mut objects {
            let live = self.unhealthy.get(&unhealthy.object);
            let pod = pod_reason(live, self.applier).await;
            let event = last_warning(&unhealthy.object, self.applier).await;
            unhealthy.details = pod.into_iter().chain(event).collect();
        }
        RolloutError::Unhealthy(UnhealthyError { cause, objects })
    }
}

/// The health of an object: by its expression, or else by its kind.
async fn judge(
    reference: &ObjectRef,
    live: Option<&Value>,
    expressions: &[Custom],
    applier: &Applier,
) -> Report {
    let is_deleted = |object: &Value| object["metadata"]["deletionTimestamp"].is_string();
    let object = live.filter(|object| !is_deleted(object));
    let custom = object.and_then(|object| {
        let mut all = expressions.iter();
        Some((all.find(|custom| custom.is_for(object))?, object))
    });
    match custom {
        Some((custom, object)) => custom.health(object).await,
        None => applier.health(reference, live).await,
    }
}

/// The last warning event of an object, if there is one and it may be read.
async fn last_warning(object: &ObjectRef, applier: &Applier) -> Option<String> {
    /// A longer message is cut.
    const MAX_MESSAGE: usize = 200;
    let fields = format!(
        "type=Warning,involvedObject.kind={},involvedObject.name={}",
        object.kind, object.name
    );
    let params = ListParams::default().fields(&fields).limit(50);
    let api: Api<Event> = Api::namespaced(applier.client(), &object.namespace);
    let events = api.list(&params).await.ok()?.items;
    let time = |event: &Event| {
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        last.or_else(|| event.event_time.as_ref().map(|time| time.0))
    };
    let last = events.into_iter().max_by_key(time)?;
    let message = last.message.unwrap_or_default();
    let message: String = message.chars().take(MAX_MESSAGE).collect();
    Some(format!(
        "last warning: {}: {message}",
        last.reason.unwrap_or_default()
    ))
}

/// Why a pod of a workload is not ready, if there is such a pod and it may be read.
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

/// True if one of the objects is still there.
pub(super) async fn is_any_there(objects: &[ObjectRef], applier: &Applier) -> bool {
    for object in objects {
        if matches!(applier.get(object).await, Ok(Some(_))) {
            return true;
        }
    }
    false
}

//! Pure: the health of a live object, by the rules of kstatus as Flux uses them, with the reason in words.
//!
//! The daemon and `overlayd apply --wait` both judge by it.

use jiff::Timestamp;
use serde_json::Value;

use crate::apply::status_schema::{Reporting, StatusSchema};

/// The health of an object; its text form is the word of kstatus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Its controller has done everything that its spec asks for.
    Current,
    /// Its controller has still something to do.
    InProgress,
    /// Its controller cannot go on without help.
    Failed,
    /// It is being deleted.
    Terminating,
    /// It does not exist.
    NotFound,
}

/// The health of an object, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The health.
    pub health: Health,
    /// The reason in words; empty for a healthy object.
    pub reason: String,
}

impl std::fmt::Display for Health {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The words of kstatus.
        write!(formatter, "{self:?}")
    }
}

/// A report with a reason.
pub fn report(health: Health, reason: impl Into<String>) -> Report {
    Report {
        health,
        reason: reason.into(),
    }
}

/// A report of an object that is not healthy yet.
pub fn waiting(reason: impl Into<String>) -> Report {
    report(Health::InProgress, reason)
}

fn current() -> Report {
    report(Health::Current, "")
}

/// A new custom resource without conditions counts as in progress for this time, in seconds; its controller may not have
/// seen it yet.
const GRACE: i64 = 10;

/// The health of a live object at a time; `None` for an object that does not exist. Of its definition nothing is known.
pub fn health(object: Option<&Value>, now: Timestamp) -> Report {
    health_by(object, StatusSchema::Unknown, now)
}

/// The same, with what the definition of its kind tells of the status ([`StatusSchema::matters_for`]).
pub fn health_by(object: Option<&Value>, schema: StatusSchema, now: Timestamp) -> Report {
    let Some(object) = object else {
        return report(Health::NotFound, "it does not exist");
    };
    if object["metadata"]["deletionTimestamp"].is_string() {
        return report(Health::Terminating, "it is being deleted");
    }
    if is_suspended(object) {
        return current();
    }
    if is_behind(object) {
        return waiting("its controller has not seen the last change yet");
    }
    for condition in conditions(object) {
        match (type_of(condition), is(condition, "True")) {
            ("Reconciling", true) => return waiting(said(condition)),
            ("Stalled", true) => return report(Health::Failed, said(condition)),
            _ => {}
        }
    }
    by_kind(object, now).unwrap_or_else(|| generic(object, schema, now))
}

/// True for a Flux object that its controller leaves alone, so that its status does not move.
fn is_suspended(object: &Value) -> bool {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    api_version.contains(".toolkit.fluxcd.io/") && object["spec"]["suspend"] == true
}

/// True if the status is of an older generation. Kinds without generations, such as `HorizontalPodAutoscaler`, may have an
/// `observedGeneration` nevertheless; and -1 without conditions is a default that no controller has written.
fn is_behind(object: &Value) -> bool {
    let observed = object["status"]["observedGeneration"].as_i64();
    let generation = object["metadata"]["generation"].as_i64();
    let is_default = observed == Some(-1) && conditions(object).next().is_none();
    !is_default && observed.is_some() && generation.is_some() && observed != generation
}

fn by_kind(object: &Value, now: Timestamp) -> Option<Report> {
    let group = object["apiVersion"].as_str().unwrap_or_default();
    let group = group.split_once('/').map_or("", |(group, _)| group);
    let kind = object["kind"].as_str().unwrap_or_default();
    Some(match (group, kind) {
        ("apps" | "extensions", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps" | "extensions", "DaemonSet") => daemon_set(object),
        ("apps" | "extensions", "ReplicaSet") => replica_set(object),
        ("", "Pod") => pod(object, now),
        ("batch", "Job") => job(object),
        ("", "PersistentVolumeClaim") => match object["status"]["phase"].as_str() {
            Some("Bound") => current(),
            phase => waiting(format!("phase {}", phase.unwrap_or("unknown"))),
        },
        ("", "Service") => service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("policy", "PodDisruptionBudget") | ("", "ConfigMap" | "Secret") | ("batch", "CronJob") => {
            current()
        }
        _ => return None,
    })
}

/// The health by the condition `Ready`, if there is one. An object without conditions waits for its controller only if
/// its kind has conditions: for ever if overlayd serves the kind, else for a while, since no controller may be there.
fn generic(object: &Value, schema: StatusSchema, now: Timestamp) -> Report {
    if let Some(ready) = condition(object, "Ready") {
        return if is(ready, "True") {
            current()
        } else {
            waiting(said(ready))
        };
    }
    let waits = match (Reporting::of(object), schema) {
        _ if conditions(object).next().is_some() => false,
        (Reporting::Always, _) => true,
        (Reporting::ByDefinition, StatusSchema::Conditions) => is_young(object, now),
        // A default that its controller may still replace.
        (Reporting::ByDefinition, StatusSchema::Unknown) => {
            object["status"]["observedGeneration"] == -1 && is_young(object, now)
        }
        (Reporting::ByDefinition, StatusSchema::Silent) | (Reporting::Never, _) => false,
    };
    if waits {
        return waiting("its controller has not said anything of it yet");
    }
    current()
}

fn is_young(object: &Value, now: Timestamp) -> bool {
    let created = object["metadata"]["creationTimestamp"].as_str();
    let created: Option<Timestamp> = created.and_then(|created| created.parse().ok());
    created.is_some_and(|created| now.as_second() - created.as_second() < GRACE)
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
}

/// A condition of an object's status, by its type.
pub fn condition<'o>(object: &'o Value, name: &str) -> Option<&'o Value> {
    conditions(object).find(|condition| type_of(condition) == name)
}

fn type_of(condition: &Value) -> &str {
    condition["type"].as_str().unwrap_or_default()
}

fn is(condition: &Value, status: &str) -> bool {
    condition["status"] == status
}

/// The text of a condition: `Type: reason: message`.
fn said(condition: &Value) -> String {
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    let parts = [type_of(condition), text("reason"), text("message")];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

fn number(object: &Value, pointer: &str, default: i64) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or(default)
}

fn status(object: &Value, field: &str) -> i64 {
    number(object, &format!("/status/{field}"), 0)
}

/// The first comparison that does not hold yet.
fn first_waiting(checks: &[(bool, &str, i64, i64)]) -> Option<Report> {
    let (_, counted, have, want) = checks.iter().find(|(waits, ..)| *waits)?;
    Some(waiting(format!("{counted}: {have} of {want}")))
}

fn deployment(object: &Value) -> Report {
    let progressing = condition(object, "Progressing");
    if let Some(progressing) = progressing
        && progressing["reason"] == "ProgressDeadlineExceeded"
    {
        return report(Health::Failed, said(progressing));
    }
    let wanted = number(object, "/spec/replicas", 1);
    let count = |field: &str| status(object, field);
    let (replicas, updated) = (count("replicas"), count("updatedReplicas"));
    let (available, ready) = (count("availableReplicas"), count("readyReplicas"));
    let checks = [
        (wanted > replicas, "replicas", replicas, wanted),
        (wanted > updated, "updated replicas", updated, wanted),
        (
            replicas > wanted,
            "old replicas still to go",
            replicas,
            wanted,
        ),
        (
            updated > available,
            "available replicas",
            available,
            updated,
        ),
        (wanted > ready, "ready replicas", ready, wanted),
    ];
    if let Some(report) = first_waiting(&checks) {
        return with_condition(report, condition(object, "Available"));
    }
    if object["spec"]["progressDeadlineSeconds"].is_number() {
        let done = |condition: &Value| {
            is(condition, "True") && condition["reason"] == "NewReplicaSetAvailable"
        };
        if let Some(progressing) = progressing.filter(|condition| !done(condition)) {
            return waiting(said(progressing));
        }
        if progressing.is_none() {
            return waiting("its progress is not reported yet");
        }
    }
    match condition(object, "Available") {
        Some(available) if is(available, "True") => current(),
        Some(available) => waiting(said(available)),
        None => waiting("its availability is not reported yet"),
    }
}

fn with_condition(mut report: Report, condition: Option<&Value>) -> Report {
    if let Some(condition) = condition.filter(|condition| !is(condition, "True")) {
        report.reason = format!("{} ({})", report.reason, said(condition));
    }
    report
}

/// True for a set whose pods are replaced when a person deletes them, so that a rollout may take for ever.
fn is_updated_on_delete(object: &Value) -> bool {
    object["spec"]["updateStrategy"]["type"] == "OnDelete"
}

fn stateful_set(object: &Value) -> Report {
    if is_updated_on_delete(object) {
        return current();
    }
    let wanted = number(object, "/spec/replicas", 1);
    let count = |field: &str| status(object, field);
    let (replicas, ready, updated) = (
        count("replicas"),
        count("readyReplicas"),
        count("updatedReplicas"),
    );
    let checks = [
        (wanted > replicas, "replicas", replicas, wanted),
        (wanted > ready, "ready replicas", ready, wanted),
        (
            replicas > wanted,
            "old replicas still to go",
            replicas,
            wanted,
        ),
    ];
    if let Some(report) = first_waiting(&checks) {
        return report;
    }
    let partition = "/spec/updateStrategy/rollingUpdate/partition";
    if object.pointer(partition).is_some() {
        let wanted = wanted - number(object, partition, 0);
        let check = [(updated < wanted, "updated replicas", updated, wanted)];
        return first_waiting(&check).unwrap_or_else(current);
    }
    let running = count("currentReplicas");
    if let Some(report) = first_waiting(&[(wanted > running, "current replicas", running, wanted)])
    {
        return report;
    }
    if object["status"]["currentRevision"] != object["status"]["updateRevision"] {
        return waiting("the new revision is being rolled out");
    }
    current()
}

fn daemon_set(object: &Value) -> Report {
    if is_updated_on_delete(object) {
        return current();
    }
    if !object["status"]["observedGeneration"].is_number()
        || !object["status"]["desiredNumberScheduled"].is_number()
    {
        return waiting("its controller has not said anything of it yet");
    }
    let wanted = status(object, "desiredNumberScheduled");
    let check = |field: &str, counted| {
        let have = status(object, field);
        (wanted > have, counted, have, wanted)
    };
    let checks = [
        check("currentNumberScheduled", "scheduled pods"),
        check("updatedNumberScheduled", "updated pods"),
        check("numberAvailable", "available pods"),
        check("numberReady", "ready pods"),
    ];
    first_waiting(&checks).unwrap_or_else(current)
}

fn replica_set(object: &Value) -> Report {
    if let Some(failure) = condition(object, "ReplicaFailure").filter(|failure| is(failure, "True"))
    {
        return waiting(said(failure));
    }
    let wanted = number(object, "/spec/replicas", 1);
    let check = |field: &str, counted| {
        let have = status(object, field);
        (wanted > have, counted, have, wanted)
    };
    let replicas = status(object, "replicas");
    let checks = [
        check("fullyLabeledReplicas", "labelled replicas"),
        check("availableReplicas", "available replicas"),
        check("readyReplicas", "ready replicas"),
        (
            replicas > wanted,
            "old replicas still to go",
            replicas,
            wanted,
        ),
    ];
    first_waiting(&checks).unwrap_or_else(current)
}

/// Why a container of a pod waits, if it does.
fn container_waits(object: &Value) -> Option<(String, String)> {
    let groups = ["initContainerStatuses", "containerStatuses"];
    let mut statuses = groups
        .iter()
        .flat_map(|group| object["status"][group].as_array().into_iter().flatten());
    statuses.find_map(|status| {
        let waits = &status["state"]["waiting"];
        let reason = waits["reason"].as_str()?;
        let message = waits["message"].as_str().unwrap_or_default();
        let name = status["name"].as_str().unwrap_or_default();
        Some((
            reason.to_owned(),
            format!("container {name}: {reason}: {message}"),
        ))
    })
}

fn pod(object: &Value, now: Timestamp) -> Report {
    let phase = object["status"]["phase"].as_str().unwrap_or_default();
    let waits = container_waits(object);
    match phase {
        "Succeeded" | "Failed" => current(),
        "Running" => match (condition(object, "Ready"), waits) {
            (Some(ready), _) if is(ready, "True") => current(),
            (_, Some((reason, why))) if reason == "CrashLoopBackOff" => report(Health::Failed, why),
            (_, Some((_, why))) => waiting(why),
            (Some(ready), None) => waiting(said(ready)),
            (None, None) => waiting("it is not ready yet"),
        },
        _ => {
            let scheduled = condition(object, "PodScheduled");
            let stuck = scheduled.filter(|condition| condition["reason"] == "Unschedulable");
            if let Some(stuck) = stuck {
                let since = stuck["lastTransitionTime"].as_str();
                let since: Option<Timestamp> = since.and_then(|since| since.parse().ok());
                let long = since.is_some_and(|since| now.as_second() - since.as_second() >= 15);
                let health = if long {
                    Health::Failed
                } else {
                    Health::InProgress
                };
                return report(health, said(stuck));
            }
            let phase = if phase.is_empty() {
                "no phase yet"
            } else {
                phase
            };
            waiting(waits.map_or_else(|| phase.to_owned(), |(_, why)| why))
        }
    }
}

fn job(object: &Value) -> Report {
    if object["spec"]["suspend"] == true {
        return current();
    }
    for condition in conditions(object).filter(|condition| is(condition, "True")) {
        match type_of(condition) {
            "Failed" => return report(Health::Failed, said(condition)),
            "Complete" => return current(),
            _ => {}
        }
    }
    if object["status"]["startTime"].is_null() {
        return waiting("it has not started yet");
    }
    waiting(format!("{} active pods", status(object, "active")))
}

fn service(object: &Value) -> Report {
    let has_address = object["spec"]["clusterIP"]
        .as_str()
        .is_some_and(|address| !address.is_empty());
    if object["spec"]["type"] == "LoadBalancer" && !has_address {
        return waiting("it has no cluster address yet");
    }
    current()
}

fn definition(object: &Value) -> Report {
    if let Some(names) = condition(object, "NamesAccepted").filter(|names| is(names, "False")) {
        return report(Health::Failed, said(names));
    }
    match condition(object, "Established") {
        Some(established) if is(established, "True") => current(),
        Some(established) if is(established, "False") && established["reason"] != "Installing" => {
            report(Health::Failed, said(established))
        }
        _ => waiting("it is not established yet"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "objects are written where they are checked"
    )]
    fn check(api_version: &str, kind: &str, rest: Value, expected: &str) {
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "generation": 2}});
        for (key, value) in rest.as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        let report = health(Some(&object), "2026-01-01T00:01:00Z".parse().unwrap());
        let text = format!("{} {}", report.health, report.reason);
        assert_eq!(text.trim_end(), expected, "{object}");
    }

    fn conditions(conditions: &[(&str, &str, &str)]) -> Value {
        let list = conditions.iter();
        list.map(|(name, status, reason)| json!({"type": name, "status": status, "reason": reason}))
            .collect()
    }

    #[test]
    fn rules_for_every_kind() {
        let check = |rest: Value, expected: &str| check("example.org/v1", "Thing", rest, expected);
        check(json!({}), "Current");
        check(
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            "Terminating it is being deleted",
        );
        check(
            json!({"status": {"observedGeneration": 1}}),
            "InProgress its controller has not seen the last change yet",
        );
        let with = |list: &[(&str, &str, &str)]| json!({"status": {"observedGeneration": 2, "conditions": conditions(list)}});
        check(with(&[("Ready", "True", "")]), "Current");
        check(
            with(&[("Ready", "False", "Broken")]),
            "InProgress Ready: Broken",
        );
        check(
            with(&[("Stalled", "True", "Hopeless"), ("Ready", "False", "")]),
            "Failed Stalled: Hopeless",
        );
        check(
            with(&[("Reconciling", "True", "Busy"), ("Ready", "True", "")]),
            "InProgress Reconciling: Busy",
        );
        assert_eq!(health(None, Timestamp::UNIX_EPOCH).health, Health::NotFound);
    }

    const SILENT: &str = "InProgress its controller has not said anything of it yet";

    #[test]
    fn kinds_that_report_their_state_are_waited_for() {
        let fresh = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:58Z"}});
        check("external-secrets.io/v1", "ExternalSecret", fresh, SILENT);
        let old = json!({"status": {"observedGeneration": -1}});
        let group = "kustomize.toolkit.fluxcd.io/v1";
        check(group, "Kustomization", old, SILENT);
        check(
            group,
            "Kustomization",
            json!({"spec": {"suspend": true}}),
            "Current",
        );
    }

    #[test]
    fn a_wait_for_a_controller_ends_where_none_reports() {
        let at = |seconds: i64| json!({"creationTimestamp": Timestamp::from_second(1_767_225_660 - seconds).unwrap(), "generation": 1});
        let check = |api_version: &str,
                     kind: &str,
                     more: Value,
                     schema: StatusSchema,
                     expected: [&str; 2]| {
            for (age, expected) in [0, 60].into_iter().zip(expected) {
                let mut object =
                    json!({"apiVersion": api_version, "kind": kind, "metadata": at(age)});
                json_patch::merge(&mut object, &more);
                let now = "2026-01-01T00:01:00Z".parse().unwrap();
                let report = health_by(Some(&object), schema, now);
                let text = format!("{} {}", report.health, report.reason);
                assert_eq!(text.trim_end(), expected, "{object}");
            }
        };
        use StatusSchema::{Conditions, Silent, Unknown};
        let shop = "example.com/v1";
        check(shop, "Shop", json!({}), Conditions, [SILENT, "Current"]);
        check(shop, "Shop", json!({}), Silent, ["Current"; 2]);
        check(shop, "Shop", json!({}), Unknown, ["Current"; 2]);
        let default = || json!({"status": {"observedGeneration": -1}});
        check(shop, "Shop", default(), Conditions, [SILENT, "Current"]);
        check(shop, "Shop", default(), Unknown, [SILENT, "Current"]);
        let notification = "notification.toolkit.fluxcd.io/v1beta3";
        for kind in ["Alert", "Provider"] {
            check(notification, kind, json!({}), Silent, ["Current"; 2]);
        }
        let generators = "generators.external-secrets.io/v1alpha1";
        check(generators, "Password", json!({}), Silent, ["Current"; 2]);
        let mut oci = default();
        oci["spec"]["type"] = json!("oci");
        let source = "source.toolkit.fluxcd.io/v1";
        check(source, "HelmRepository", oci, Conditions, ["Current"; 2]);
    }

    #[test]
    fn an_observed_generation_of_a_kind_without_generations_says_nothing() {
        let object = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {}, "status": {"observedGeneration": 1}});
        assert_eq!(
            health(Some(&object), Timestamp::UNIX_EPOCH).health,
            Health::Current
        );
    }

    #[test]
    fn workloads() {
        let available = [
            ("Available", "True", ""),
            ("Progressing", "True", "NewReplicaSetAvailable"),
        ];
        let deployment = |replicas: i64, updated: i64, ready: i64, list: &[(&str, &str, &str)]| {
            json!({
                "spec": {"replicas": 2, "progressDeadlineSeconds": 600},
                "status": {
                    "observedGeneration": 2, "replicas": replicas, "updatedReplicas": updated,
                    "readyReplicas": ready, "availableReplicas": ready, "conditions": conditions(list),
                },
            })
        };
        let check_one =
            |rest: Value, expected: &str| check("apps/v1", "Deployment", rest, expected);
        check_one(deployment(2, 2, 2, &available), "Current");
        check_one(
            deployment(1, 1, 1, &available),
            "InProgress replicas: 1 of 2",
        );
        check_one(
            deployment(2, 1, 2, &available),
            "InProgress updated replicas: 1 of 2",
        );
        check_one(
            deployment(3, 2, 2, &available),
            "InProgress old replicas still to go: 3 of 2",
        );
        check_one(
            deployment(
                2,
                2,
                1,
                &[("Available", "False", "MinimumReplicasUnavailable")],
            ),
            "InProgress available replicas: 1 of 2 (Available: MinimumReplicasUnavailable)",
        );
        check_one(
            deployment(
                2,
                2,
                2,
                &[("Progressing", "False", "ProgressDeadlineExceeded")],
            ),
            "Failed Progressing: ProgressDeadlineExceeded",
        );
        check_one(
            deployment(
                2,
                2,
                2,
                &[
                    ("Progressing", "True", "ReplicaSetUpdated"),
                    ("Available", "True", ""),
                ],
            ),
            "InProgress Progressing: ReplicaSetUpdated",
        );
    }

    #[test]
    fn sets() {
        let set = |spec: Value, status: Value| json!({"spec": spec, "status": status});
        let check_one =
            |rest: Value, expected: &str| check("apps/v1", "StatefulSet", rest, expected);
        check_one(
            set(json!({"updateStrategy": {"type": "OnDelete"}}), json!({})),
            "Current",
        );
        check_one(
            set(json!({"replicas": 1}), json!({"replicas": 1})),
            "InProgress ready replicas: 0 of 1",
        );
        check_one(
            set(
                json!({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 1}}}),
                json!({"replicas": 3, "readyReplicas": 3, "updatedReplicas": 2}),
            ),
            "Current",
        );
        check_one(
            set(
                json!({"replicas": 1}),
                json!({"replicas": 1, "readyReplicas": 1, "currentReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
            ),
            "InProgress the new revision is being rolled out",
        );

        let check_one = |status: Value, expected: &str| {
            check("apps/v1", "DaemonSet", json!({"status": status}), expected);
        };
        check_one(
            json!({}),
            "InProgress its controller has not said anything of it yet",
        );
        check_one(
            json!({"observedGeneration": 2, "desiredNumberScheduled": 0}),
            "Current",
        );
        check_one(
            json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 1}),
            "InProgress available pods: 1 of 2",
        );

        let check_one =
            |rest: Value, expected: &str| check("apps/v1", "ReplicaSet", rest, expected);
        check_one(json!({"spec": {"replicas": 0}}), "Current");
        check_one(json!({}), "InProgress labelled replicas: 0 of 1");
        check_one(
            json!({"status": {"conditions": conditions(&[("ReplicaFailure", "True", "FailedCreate")])}}),
            "InProgress ReplicaFailure: FailedCreate",
        );
        let on_delete = set(
            json!({"updateStrategy": {"type": "OnDelete"}}),
            json!({"desiredNumberScheduled": 3, "numberReady": 0}),
        );
        check("apps/v1", "DaemonSet", on_delete, "Current");
    }

    #[test]
    fn pods_and_jobs() {
        let check_pod =
            |status: Value, expected: &str| check("v1", "Pod", json!({"status": status}), expected);
        check_pod(json!({}), "InProgress no phase yet");
        check_pod(json!({"phase": "Succeeded"}), "Current");
        check_pod(json!({"phase": "Failed"}), "Current");
        check_pod(
            json!({"phase": "Running", "conditions": conditions(&[("Ready", "True", "")])}),
            "Current",
        );
        check_pod(
            json!({"phase": "Running", "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}}]}),
            "Failed container c: CrashLoopBackOff: back-off 10s",
        );
        check_pod(
            json!({"phase": "Pending", "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}),
            "InProgress container c: ImagePullBackOff: no such image",
        );
        let unschedulable = |since: &str| json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": since}]});
        check_pod(
            unschedulable("2026-01-01T00:00:50Z"),
            "InProgress PodScheduled: Unschedulable",
        );
        check_pod(
            unschedulable("2026-01-01T00:00:00Z"),
            "Failed PodScheduled: Unschedulable",
        );

        let check_job = |rest: Value, expected: &str| check("batch/v1", "Job", rest, expected);
        check_job(json!({}), "InProgress it has not started yet");
        check_job(
            json!({"status": {"startTime": "x", "active": 1}}),
            "InProgress 1 active pods",
        );
        check_job(json!({"spec": {"suspend": true}}), "Current");
        check_job(
            json!({"status": {"conditions": conditions(&[("Complete", "True", "")])}}),
            "Current",
        );
        check_job(
            json!({"status": {"conditions": conditions(&[("Failed", "True", "BackoffLimitExceeded")])}}),
            "Failed Failed: BackoffLimitExceeded",
        );
    }

    #[test]
    fn other_kinds() {
        check(
            "v1",
            "PersistentVolumeClaim",
            json!({"status": {"phase": "Pending"}}),
            "InProgress phase Pending",
        );
        check(
            "v1",
            "PersistentVolumeClaim",
            json!({"status": {"phase": "Bound"}}),
            "Current",
        );
        check(
            "v1",
            "Service",
            json!({"spec": {"type": "LoadBalancer"}}),
            "InProgress it has no cluster address yet",
        );
        check(
            "v1",
            "Service",
            json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}}),
            "Current",
        );
        check("v1", "ConfigMap", json!({}), "Current");
        check("v1", "Secret", json!({}), "Current");
        check("batch/v1", "CronJob", json!({}), "Current");
        check("policy/v1", "PodDisruptionBudget", json!({}), "Current");
        let definition =
            |list: &[(&str, &str, &str)]| json!({"status": {"conditions": conditions(list)}});
        let check_one = |rest: Value, expected: &str| {
            check(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                rest,
                expected,
            );
        };
        check_one(json!({}), "InProgress it is not established yet");
        check_one(definition(&[("Established", "True", "")]), "Current");
        check_one(
            definition(&[("Established", "False", "Installing")]),
            "InProgress it is not established yet",
        );
        check_one(
            definition(&[("Established", "False", "Bad")]),
            "Failed Established: Bad",
        );
        check_one(
            definition(&[("NamesAccepted", "False", "ListKindConflict")]),
            "Failed NamesAccepted: ListKindConflict",
        );
    }
}

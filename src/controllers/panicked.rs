//! Talks to the API server: the conditions of an object whose reconcile panicked, and when it is reconciled again.
//!
//! A panic is a defect of overlayd. It ends one reconcile and nothing else, but an object whose status stays as it was
//! would look healthy, so its `Ready` condition says `False`. The text of the panic can quote a secret and is never
//! part of the condition.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Client, Resource, ResourceExt as _};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::objects::STATUS_MANAGER;
use super::unreadable::{ConditionDialect, Dialect, Readable, conditions_of, dialect, readable};
use super::{FailureReporter, ReconcileError};
use overlayd_core::conditions::{ConditionState, Progress, flux_conditions, secrets_condition};
use overlayd_core::names::NamespacedName;

/// The time before an object whose reconcile panicked is reconciled again, unless it changes or a reconcile is requested:
/// the cause of the panic is most likely still there, and each attempt writes the status, which wakes the controller.
const REST: Duration = Duration::from_secs(30);

/// The message of the condition and the event.
const MESSAGE: &str = "overlayd failed with an internal error (a panic) while it reconciled this object, and tries again \
    every 30s. This is a defect of overlayd: please report it with the log line that names its place";

/// The panics of one controller's reconciles, by namespace and name of the object.
#[derive(Debug, Default)]
pub(crate) struct Panics(Mutex<BTreeMap<NamespacedName, Panic>>);

/// The last panic of an object.
#[derive(Debug)]
struct Panic {
    /// The version of the object that panicked. Another version is reconciled at once.
    version: ObjectVersion,
    at: Instant,
}

/// The parts of an object whose change asks for a reconcile.
#[derive(Debug, PartialEq, Eq)]
struct ObjectVersion {
    uid: Option<String>,
    generation: Option<i64>,
    annotations: Option<BTreeMap<String, String>>,
}

impl ObjectVersion {
    /// The parts of an object's metadata. Its status is none of them, since the record of the panic changes it.
    fn of(object: &ObjectMeta) -> Self {
        Self {
            uid: object.uid.clone(),
            generation: object.generation,
            annotations: object.annotations.clone(),
        }
    }
}

impl Panics {
    /// How long the object still rests, if its last reconcile panicked.
    fn rest(&self, object: &ObjectMeta, now: Instant) -> Option<Duration> {
        let panics = self.0.lock();
        let panic = panics.get(&key(object))?;
        let rest = (panic.at + REST).checked_duration_since(now)?;
        (!rest.is_zero() && panic.version == ObjectVersion::of(object)).then_some(rest)
    }

    /// Records how a reconcile ended.
    fn ended(&self, object: &ObjectMeta, has_panicked: bool, now: Instant) {
        let mut panics = self.0.lock();
        // Entries that have rested are of no more use, and those of deleted objects must not accumulate.
        panics.retain(|_, panic| now.saturating_duration_since(panic.at) < REST);
        if has_panicked {
            let version = ObjectVersion::of(object);
            panics.insert(key(object), Panic { version, at: now });
        } else {
            panics.remove(&key(object));
        }
    }
}

/// The name of an object by its metadata, also of one that cannot be read.
fn key(object: &ObjectMeta) -> NamespacedName {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    NamespacedName::new(part(&object.namespace), part(&object.name))
}

/// Reconciles an object in a task of its own. A panic is recorded in the object's status, and the object then rests.
pub(crate) async fn contained<K, R, F>(
    object: Arc<DeserializeGuard<K>>,
    reporter: Arc<FailureReporter>,
    reconcile: R,
    panics: Arc<Panics>,
) -> Result<Action, ReconcileError>
where
    R: FnOnce(Readable<K>) -> F + Send + 'static,
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: Future<Output = Result<Action, ReconcileError>> + Send + 'static,
{
    if let Some(rest) = panics.rest(object.meta(), Instant::now()) {
        return Ok(Action::requeue(rest));
    }
    let result = own_task(readable(object.clone(), reporter.clone(), reconcile).boxed()).await;
    let has_panicked = matches!(result, Err(ReconcileError::Panicked));
    panics.ended(object.meta(), has_panicked, Instant::now());
    if has_panicked {
        // Boxed, since many reconciles wait at once, and a large future takes its memory while it waits.
        record(&reporter, &object).boxed().await;
    }
    result
}

/// Runs a reconcile as a task of its own, so that the work of one does not hold up the others. The task is aborted when
/// this future is dropped.
async fn own_task(
    reconcile: BoxFuture<'static, Result<Action, ReconcileError>>,
) -> Result<Action, ReconcileError> {
    let mut tasks = JoinSet::new();
    tasks.spawn(reconcile.in_current_span());
    match tasks.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) if error.is_panic() => Err(ReconcileError::Panicked),
        // Aborted: the process is ending.
        Some(Err(_)) | None => Ok(Action::await_change()),
    }
}

/// Writes into the status of an object that its reconcile panicked, and an event when the conditions are new.
async fn record<K>(reporter: &FailureReporter, object: &DeserializeGuard<K>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let dialect = dialect(&K::kind(&()));
    match write(&reporter.client, object, &dialect).await {
        Ok(true) => {
            let (type_, reason) = (EventType::Warning, dialect.panicked);
            let events = &reporter.events;
            events
                .publish(dialect.component, object, type_, reason, MESSAGE)
                .await;
        }
        Ok(false) => {}
        Err(error) => {
            let error = crate::cluster::error::describe(&error);
            tracing::warn!(kind = %K::kind(&()), object = %object.name_any(), error, "a panic could not be recorded in the status");
        }
    }
}

/// Writes the conditions. False if they were there already, or the object is gone.
async fn write<K>(
    client: &Client,
    object: &DeserializeGuard<K>,
    dialect: &Dialect,
) -> kube::Result<bool>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
{
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let Some(live) = api.get_opt(&object.name_any()).await? else {
        return Ok(false);
    };
    let old = live.data.pointer("/status/conditions");
    let new = conditions(dialect, old, live.metadata.generation, Timestamp::now());
    if Some(&new) == old {
        return Ok(false);
    }
    let patch = Patch::Merge(json!({"status": {"conditions": new}}));
    let params = PatchParams {
        field_manager: Some(STATUS_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch_status(&object.name_any(), &params, &patch)
        .await?;
    Ok(true)
}

/// The conditions after a panic: those about the reconcile are replaced, others stay.
fn conditions(
    dialect: &Dialect,
    old: Option<&Value>,
    generation: Option<i64>,
    now: Timestamp,
) -> Value {
    let mut new = if dialect.conditions == ConditionDialect::Flux {
        let generation = generation.unwrap_or_default();
        let (progress, reason) = (Progress::Retrying, dialect.panicked);
        let old = conditions_of(old);
        json!(flux_conditions(
            &old, generation, progress, reason, MESSAGE, now
        ))
    } else {
        let says = ConditionState {
            type_: "Ready",
            status: "False",
            reason: dialect.panicked,
            message: MESSAGE,
        };
        json!([secrets_condition(&conditions_of(old), &says, now)])
    };
    let replaced = ["Ready", "Reconciling", "Stalled"];
    let old = old.and_then(Value::as_array).into_iter().flatten();
    let others = old.filter(|condition| {
        let type_ = condition["type"].as_str().unwrap_or_default();
        !replaced.contains(&type_)
    });
    if let Some(new) = new.as_array_mut() {
        new.extend(others.cloned());
    }
    new
}

#[cfg(test)]
mod tests {
    use std::task::{Context as TaskContext, Poll};

    use http::{Method, Request, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;

    use super::*;
    use overlayd_core::api::external_secret::ExternalSecret;
    use overlayd_core::api::kustomization::Kustomization;
    use overlayd_core::api::receiver::Receiver;

    /// An API server with one object, which keeps the patches that it is sent.
    #[derive(Clone)]
    struct Server {
        object: Value,
        patches: Arc<Mutex<Vec<Value>>>,
    }

    impl tower_service::Service<Request<Body>> for Server {
        type Response = Response<Body>;
        type Error = std::convert::Infallible;
        type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let server = self.clone();
            async move {
                if request.method() == Method::PATCH {
                    assert!(request.uri().path().ends_with("/status"));
                    let body = request.into_body().collect().await.expect("a body");
                    let patch = serde_json::from_slice(&body.to_bytes()).expect("JSON");
                    server.patches.lock().push(patch);
                }
                let body = serde_json::to_vec(&server.object).expect("JSON");
                Ok(Response::new(Body::from(body)))
            }
            .boxed()
        }
    }

    /// What is patched when the reconcile of an object panicked.
    async fn patched<K>(object: Value) -> Vec<Value>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let guard: DeserializeGuard<K> = serde_json::from_value(object.clone()).unwrap();
        let server = Server {
            object,
            patches: Arc::default(),
        };
        let client = Client::new(server.clone(), "default");
        let dialect = dialect(&K::kind(&()));
        let written = write(&client, &guard, &dialect).await.unwrap();
        let patches = server.patches.lock().clone();
        assert_eq!(written, !patches.is_empty());
        patches
    }

    fn kustomization(conditions: &Value) -> Value {
        json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": "app", "namespace": "shop", "generation": 3},
            "spec": {"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "r"}},
            "status": {"conditions": conditions},
        })
    }

    #[tokio::test]
    async fn a_panic_is_written_into_the_conditions() {
        let healthy = json!([
            {"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": "m",
             "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 3},
            {"type": "Healthy", "status": "True", "reason": "r", "message": "m",
             "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 3},
        ]);
        let patches = patched::<Kustomization>(kustomization(&healthy)).await;
        let [patch] = patches.as_slice() else {
            unreachable!("one patch, and not {patches:?}");
        };
        let conditions = patch["status"]["conditions"].as_array().unwrap();
        let said: Vec<_> = conditions
            .iter()
            .map(|condition| {
                let text = |key: &str| condition[key].as_str().unwrap();
                (text("type"), text("status"), text("reason"))
            })
            .collect();
        assert_eq!(
            said,
            [
                ("Reconciling", "True", "ProgressingWithRetry"),
                ("Ready", "False", "ReconciliationFailed"),
                ("Healthy", "True", "r"),
            ]
        );
        assert_eq!(conditions[1]["message"], MESSAGE);
        // It is not written again.
        let again = kustomization(&patch["status"]["conditions"]);
        assert_eq!(patched::<Kustomization>(again).await, [] as [Value; 0]);
    }

    #[tokio::test]
    async fn a_receiver_reports_a_panic_as_flux_does() {
        let object = json!({
            "apiVersion": "notification.toolkit.fluxcd.io/v1", "kind": "Receiver",
            "metadata": {"name": "push", "namespace": "shop", "generation": 2},
            "spec": {"type": "generic", "resources": [], "secretRef": {"name": "token"}},
        });
        let patches = patched::<Receiver>(object).await;
        let conditions = &patches[0]["status"]["conditions"];
        assert_eq!(conditions[0]["type"], "Reconciling");
        assert_eq!(conditions[1]["type"], "Ready");
        assert_eq!(conditions[1]["status"], "False");
        assert_eq!(conditions[1]["reason"], "Failed");
        assert_eq!(conditions[1]["observedGeneration"], 2);
    }

    #[tokio::test]
    async fn an_external_secret_reports_a_panic_as_external_secrets_does() {
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": "db", "namespace": "shop"}, "spec": {},
        });
        let patches = patched::<ExternalSecret>(object).await;
        let ready = &patches[0]["status"]["conditions"][0];
        assert_eq!(ready["type"], "Ready");
        assert_eq!(ready["status"], "False");
        assert_eq!(ready["reason"], "SecretSyncedError");
        assert_eq!(ready["message"], MESSAGE);
    }

    #[test]
    fn an_object_rests_after_a_panic_until_it_changes() {
        let object = |generation: i64, requested: &str| -> ObjectMeta {
            serde_json::from_value(json!({
                "name": "app", "namespace": "shop", "uid": "u", "generation": generation,
                "annotations": {"reconcile.fluxcd.io/requestedAt": requested},
            }))
            .unwrap()
        };
        let (panics, now) = (Panics::default(), Instant::now());
        let same = object(1, "a");
        assert_eq!(panics.rest(&same, now), None);
        panics.ended(&same, true, now);
        assert_eq!(panics.rest(&same, now), Some(REST));
        let later = now + Duration::from_secs(10);
        assert_eq!(panics.rest(&same, later), Some(Duration::from_secs(20)));
        assert_eq!(panics.rest(&object(2, "a"), later), None, "it was changed");
        assert_eq!(
            panics.rest(&object(1, "b"), later),
            None,
            "it was asked for"
        );
        assert_eq!(panics.rest(&same, now + REST), None);
        panics.ended(&same, false, later);
        assert_eq!(panics.rest(&same, later), None);
    }
}

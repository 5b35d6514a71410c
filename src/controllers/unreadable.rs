//! Talks to the API server: objects that the API server stores and overlayd cannot read, as those of a definition that is
//! newer than overlayd. Each gets a condition that says so, and no other object waits for it.

use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::controllers::events::Component;
use crate::controllers::objects::STATUS_MANAGER;
use crate::controllers::{FailureReporter, ReconcileError};
use overlayd_core::conditions::{ConditionState, Progress, flux_conditions, secrets_condition};

/// An object that can be read, shared with the cache, so that a reconcile copies nothing.
#[derive(Debug, Clone)]
pub(crate) struct Readable<K>(Arc<DeserializeGuard<K>>);

impl<K> Readable<K> {
    /// `None` for an object that cannot be read.
    pub(crate) fn new(object: Arc<DeserializeGuard<K>>) -> Option<Self> {
        object.0.is_ok().then_some(Self(object))
    }
}

impl<K> Deref for Readable<K> {
    type Target = K;

    fn deref(&self) -> &K {
        self.0.0.as_ref().expect("only readable objects are here")
    }
}

/// Reconciles an object if it can be read, and writes into its status why not otherwise. Only `conditions` are written
/// then: the inventory stays as it is, and nothing that the object made is touched.
pub(crate) async fn readable<K, R, F>(
    object: Arc<DeserializeGuard<K>>,
    reporter: Arc<FailureReporter>,
    reconcile: R,
) -> Result<Action, ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    R: FnOnce(Readable<K>) -> F,
    F: Future<Output = Result<Action, ReconcileError>>,
{
    if let Some(object) = Readable::new(object.clone()) {
        // Boxed, since many reconciles wait at once, and a large future takes its memory while it waits.
        return Box::pin(reconcile(object)).await;
    }
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(reporter.client.clone(), &namespace, &resource),
        None => Api::all_with(reporter.client.clone(), &resource),
    };
    let Some(live) = api.get_opt(&object.name_any()).await? else {
        return Ok(Action::await_change());
    };
    let Err(error) = read::<K>(&live) else {
        // It was changed meanwhile, and the watch brings the new one.
        return Ok(Action::await_change());
    };
    let message = error.to_string();
    let dialect = dialect(&K::kind(&()));
    let old = live.data.pointer("/status/conditions");
    let conditions = conditions(&dialect, old, object.meta().generation, &message);
    if Some(&conditions) == old {
        return Ok(Action::await_change());
    }
    let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
    let params = PatchParams {
        field_manager: Some(STATUS_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch_status(&object.name_any(), &params, &patch)
        .await?;
    let (type_, reason) = (EventType::Warning, dialect.reason);
    reporter
        .events
        .publish(dialect.component, &*object, type_, reason, &message)
        .await;
    Ok(Action::await_change())
}

/// The words in which a kind reports errors: those of its peer's controller.
pub(super) struct Dialect {
    pub(super) component: Component,
    /// The reason for an object that cannot be read.
    reason: &'static str,
    /// The reason after a panic, among those that the peer's users know.
    pub(super) panicked: &'static str,
    pub(super) conditions: ConditionDialect,
}

/// The form of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConditionDialect {
    /// Flux's: `Ready`, `Reconciling` and `Stalled`, each with the generation that it speaks of.
    Flux,
    /// External Secrets': `Ready` alone.
    ExternalSecrets,
}

/// The dialect of a kind that overlayd reconciles.
pub(super) fn dialect(kind: &str) -> Dialect {
    let flux = |component, reason, panicked| Dialect {
        component,
        reason,
        panicked,
        conditions: ConditionDialect::Flux,
    };
    let secrets = |component, reason, panicked| Dialect {
        component,
        reason,
        panicked,
        conditions: ConditionDialect::ExternalSecrets,
    };
    match kind {
        "GitRepository" => flux(Component::Source, "InvalidSpec", "Failed"),
        "Kustomization" => flux(Component::Kustomize, "InvalidSpec", "ReconciliationFailed"),
        "Receiver" => flux(Component::Notification, "InvalidSpec", "Failed"),
        "SecretStore" => secrets(
            Component::SecretStore,
            "InvalidProviderConfig",
            "ValidationFailed",
        ),
        "ClusterSecretStore" => secrets(
            Component::ClusterSecretStore,
            "InvalidProviderConfig",
            "ValidationFailed",
        ),
        _ => secrets(
            Component::ExternalSecrets,
            "SecretSyncedError",
            "SecretSyncedError",
        ),
    }
}

/// The conditions of an object that cannot be read, in the form of its kind. Old conditions keep their times.
fn conditions(
    dialect: &Dialect,
    old: Option<&Value>,
    generation: Option<i64>,
    message: &str,
) -> Value {
    let now = Timestamp::now();
    if dialect.conditions == ConditionDialect::Flux {
        let old: Vec<_> = conditions_of(old);
        let generation = generation.unwrap_or_default();
        let stalled = Progress::Stalled;
        json!(flux_conditions(
            &old,
            generation,
            stalled,
            dialect.reason,
            message,
            now
        ))
    } else {
        let says = ConditionState {
            type_: "Ready",
            status: "False",
            reason: dialect.reason,
            message,
        };
        json!([secrets_condition(&conditions_of(old), &says, now)])
    }
}

/// The old conditions, but for those that cannot be read.
pub(super) fn conditions_of<C: DeserializeOwned>(old: Option<&Value>) -> Vec<C> {
    let old = old.and_then(Value::as_array).into_iter().flatten();
    old.filter_map(|condition| serde_json::from_value(condition.clone()).ok())
        .collect()
}

/// A field that cannot be read. Neither part quotes the field's value, which may be secret.
#[derive(Debug, thiserror::Error)]
#[error(
    "overlayd cannot read `{path}` of this object: {why}; nothing that it made was touched. \
     Write what the field's documentation allows, or bring overlayd to the version of the definition"
)]
struct UnreadableField {
    path: String,
    why: String,
}

/// Tries to read a live object as its type, and says which field fails.
fn read<K: DeserializeOwned>(live: &DynamicObject) -> Result<(), UnreadableField> {
    let value = serde_json::to_value(live).unwrap_or_default();
    let read = serde_path_to_error::deserialize::<_, K>(value);
    read.map(drop).map_err(|error| UnreadableField {
        path: error.path().to_string(),
        why: without_value(error.inner()),
    })
}

/// The text of an error without the value that it quotes.
fn without_value(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let quotes = ["invalid type: ", "invalid value: "];
    let after = |start: &&'static str| Some((*start, words.strip_prefix(*start)?));
    let Some((start, rest)) = quotes.iter().find_map(after) else {
        return words;
    };
    let kind = rest.split(['"', '`', ',']).next().unwrap_or_default();
    let expected = match rest.rsplit_once(", expected ") {
        Some((_, expected)) => format!(", expected {expected}"),
        None => String::new(),
    };
    format!("{start}{}{expected}", kind.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlayd_core::api::external_secret::ExternalSecret;

    fn error_of(spec: &Value) -> String {
        let object = json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            "metadata": {"name": "db", "namespace": "shop"},
            "spec": spec,
        });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        read::<ExternalSecret>(&object).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_the_field_and_not_its_value() {
        let error = error_of(&json!({"refreshPolicy": "Sometimes"}));
        let words = "cannot read `spec.refreshPolicy` of this object: unknown variant `Sometimes`, expected one of";
        assert!(error.contains(words), "{error}");
        for secret in [json!("can,ary, expected `x\""), json!(777_123), json!(7.5)] {
            let error = error_of(&json!({"target": {"template": secret}}));
            let words = "cannot read `spec.target.template` of this object: invalid type: ";
            assert!(error.contains(words), "{error}");
            assert!(error.contains(", expected struct "), "{error}");
            for part in ["canary", "ary", "777", "7.5"] {
                assert!(!error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn a_kind_reports_in_the_dialect_of_its_peer() {
        let check = |kind: &str, component: Component, expected: &[&str]| {
            let dialect = dialect(kind);
            assert_eq!(dialect.component, component, "{kind}");
            let conditions = conditions(&dialect, None, Some(3), "why");
            let conditions = conditions.as_array().unwrap().iter();
            let said: Vec<String> = conditions
                .map(|condition| {
                    let text = |key: &str| condition[key].as_str().unwrap_or_default();
                    let generation = &condition["observedGeneration"];
                    let (type_, status, reason) = (text("type"), text("status"), text("reason"));
                    format!("{type_}={status} {reason} {generation}")
                })
                .collect();
            assert_eq!(said, expected, "{kind}");
        };
        let flux = ["Stalled=True InvalidSpec 3", "Ready=False InvalidSpec 3"];
        check("GitRepository", Component::Source, &flux);
        check("Kustomization", Component::Kustomize, &flux);
        check("Receiver", Component::Notification, &flux);
        let store = ["Ready=False InvalidProviderConfig null"];
        check("SecretStore", Component::SecretStore, &store);
        check("ClusterSecretStore", Component::ClusterSecretStore, &store);
        let secret = ["Ready=False SecretSyncedError null"];
        check("ExternalSecret", Component::ExternalSecrets, &secret);
    }

    #[test]
    fn conditions_that_stay_the_same_are_not_written_again() {
        let kinds = [
            "GitRepository",
            "Kustomization",
            "Receiver",
            "ExternalSecret",
            "SecretStore",
        ];
        for kind in kinds {
            let first = conditions(&dialect(kind), None, Some(3), "why");
            let again = conditions(&dialect(kind), Some(&first), Some(3), "why");
            assert_eq!(first, again);
            let other = conditions(&dialect(kind), Some(&first), Some(3), "other");
            assert_ne!(first, other);
        }
    }
}

//! Pure: a SecretStore or ClusterSecretStore as seen by the ExternalSecrets that read from it, and whether they may.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::external_secret::StoreKind;
use crate::api::secret_store::{SecretStoreSpec, SecretStoreStatus};
use crate::names::{NamespacedName, ObjectKey, StoreName};
use crate::secrets::admission::{AdmissionError, admits};
use crate::secrets::desired::StoreRef;

/// A store that is younger, or a process that is, may not have been validated yet. After that something is wrong, and the
/// ExternalSecret says so.
const NEW_STORE: Duration = Duration::from_secs(15);

/// What a store's last validation says, by its `Ready` condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreReadiness {
    /// It has no `Ready` condition yet.
    Unknown,
    /// The store can be read.
    Ready,
    /// The store cannot be read.
    NotReady {
        /// The condition's message.
        message: String,
    },
}

/// A store as the watch saw it last.
#[derive(Debug, Clone)]
pub struct StoreState {
    /// Kind and name.
    pub reference: StoreRef,
    /// The namespace of a SecretStore; `None` for a ClusterSecretStore.
    pub namespace: Option<String>,
    /// The spec.
    pub spec: SecretStoreSpec,
    /// When the object was created.
    pub created: Timestamp,
    /// `metadata.generation`: it grows with every change of the spec.
    pub generation: i64,
    /// Whether the store was found to be usable.
    pub readiness: StoreReadiness,
}

/// What the flags of the daemon say about stores.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions<'o> {
    /// `--controller-class`: stores of another class belong to another controller.
    pub controller_class: &'o str,
    /// True if `ClusterSecretStore`s are served too.
    pub serves_cluster_stores: bool,
    /// True if only stores whose `Ready` condition is `True` are read (`--enable-flood-gate`).
    pub requires_readiness: bool,
}

/// Why an ExternalSecret cannot read from a store at present.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreUnusable {
    /// There is no such SecretStore in the ExternalSecret's namespace.
    #[error(
        "{reference} does not exist in namespace `{namespace}`; is a ClusterSecretStore meant?"
    )]
    NotInNamespace {
        /// The store.
        reference: StoreRef,
        /// The namespace of the ExternalSecret.
        namespace: String,
    },
    /// There is no such ClusterSecretStore.
    #[error("{0} does not exist")]
    NotFound(StoreRef),
    /// The store's conditions cannot be evaluated.
    #[error("{reference}: {error}")]
    InvalidConditions {
        /// The store.
        reference: StoreRef,
        /// What is wrong with its `spec.conditions`.
        error: AdmissionError,
    },
    /// The store's conditions exclude the namespace.
    #[error(
        "using {reference} is not allowed from namespace `{namespace}`: denied by spec.condition"
    )]
    Denied {
        /// The store.
        reference: StoreRef,
        /// The namespace of the ExternalSecret.
        namespace: String,
    },
    /// The store's last validation failed, or there was none.
    #[error("{reference} is not ready: {reason}")]
    NotReady {
        /// The store.
        reference: StoreRef,
        /// The message of its `Ready` condition.
        reason: String,
    },
}

impl StoreUnusable {
    /// There is no such store, as seen from a namespace.
    pub fn missing(reference: &StoreRef, namespace: &str) -> Self {
        let reference = reference.clone();
        match reference.kind {
            StoreKind::SecretStore => Self::NotInNamespace {
                reference,
                namespace: namespace.to_owned(),
            },
            StoreKind::ClusterSecretStore => Self::NotFound(reference),
        }
    }
}

impl StoreState {
    /// The state of a store, from the object that the watch holds.
    pub fn new(
        kind: StoreKind,
        metadata: &ObjectMeta,
        spec: &SecretStoreSpec,
        status: Option<&SecretStoreStatus>,
    ) -> Self {
        let mut conditions = status.iter().flat_map(|status| &status.conditions);
        let readiness = match conditions.find(|condition| condition.type_ == "Ready") {
            None => StoreReadiness::Unknown,
            Some(ready) if ready.status == "True" => StoreReadiness::Ready,
            Some(ready) => StoreReadiness::NotReady {
                message: ready.message.clone().unwrap_or_default(),
            },
        };
        let created = metadata.creation_timestamp.as_ref();
        Self {
            reference: StoreRef {
                kind,
                name: metadata.name.clone().unwrap_or_default(),
            },
            namespace: metadata.namespace.clone(),
            spec: spec.clone(),
            created: created.map(|time| time.0).unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            readiness,
        }
    }

    /// The namespace and name, by which its identity is made.
    pub fn store_name(&self) -> StoreName<'_> {
        StoreName {
            namespace: self.namespace.as_deref(),
            name: &self.reference.name,
        }
    }

    /// The key by which its semaphore is known.
    pub fn key(&self) -> ObjectKey {
        let StoreRef { kind, name } = &self.reference;
        let kind = match kind {
            StoreKind::SecretStore => "SecretStore",
            StoreKind::ClusterSecretStore => "ClusterSecretStore",
        };
        let namespace = self.namespace.as_deref().unwrap_or_default();
        ObjectKey::new(kind, NamespacedName::new(namespace, name))
    }

    /// True if the store may be read by ExternalSecrets of several namespaces.
    pub fn is_cluster(&self) -> bool {
        self.namespace.is_none()
    }

    /// True if this daemon serves the store; another controller does otherwise.
    pub fn is_served(&self, options: &StoreOptions<'_>) -> bool {
        let class = self.spec.controller.as_deref().unwrap_or_default();
        let has_class = class.is_empty() || class == options.controller_class;
        has_class && (!self.is_cluster() || options.serves_cluster_stores)
    }

    /// True if the store is not validated yet because it, or the process, is new. Its first condition is worth waiting for.
    pub fn is_new(&self, uptime: Duration, now: Timestamp) -> bool {
        let age = Duration::try_from(now.duration_since(self.created));
        self.readiness == StoreReadiness::Unknown
            && (uptime < NEW_STORE || age.is_ok_and(|age| age < NEW_STORE))
    }

    /// Checks that an ExternalSecret of a namespace with these labels may read from the store now.
    ///
    /// # Errors
    /// The conditions of a ClusterSecretStore exclude the namespace or are invalid, or the store is not ready.
    pub fn check_usable(
        &self,
        namespace: &str,
        labels: Option<&BTreeMap<String, String>>,
        options: &StoreOptions<'_>,
    ) -> Result<(), StoreUnusable> {
        let reference = || self.reference.clone();
        if self.is_cluster() {
            let admitted = admits(&self.spec.conditions, namespace, labels);
            let admitted = admitted.map_err(|error| StoreUnusable::InvalidConditions {
                reference: reference(),
                error,
            })?;
            if !admitted {
                return Err(StoreUnusable::Denied {
                    reference: reference(),
                    namespace: namespace.to_owned(),
                });
            }
        }
        if !options.requires_readiness {
            return Ok(());
        }
        let reason = match &self.readiness {
            StoreReadiness::Ready => return Ok(()),
            StoreReadiness::NotReady { message } if !message.is_empty() => message,
            StoreReadiness::NotReady { .. } | StoreReadiness::Unknown => "it was not validated yet",
        };
        Err(StoreUnusable::NotReady {
            reference: reference(),
            reason: reason.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const OPTIONS: StoreOptions<'static> = StoreOptions {
        controller_class: "default",
        serves_cluster_stores: true,
        requires_readiness: true,
    };

    /// A store of this spec, created at midnight, with this `Ready` condition.
    #[expect(clippy::needless_pass_by_value, reason = "tests pass literals")]
    fn store(kind: StoreKind, spec: Value, ready: Option<(&str, &str)>) -> StoreState {
        let metadata =
            json!({"name": "aws", "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z"});
        let mut metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
        if kind == StoreKind::SecretStore {
            metadata.namespace = Some("team".to_owned());
        }
        let mut full = json!({"provider": {}});
        for (field, value) in spec.as_object().into_iter().flatten() {
            full[field] = value.clone();
        }
        let status = ready.map(|(status, message)| {
            let ready = json!({"type": "Ready", "status": status, "message": message});
            serde_json::from_value(json!({"conditions": [ready]})).unwrap()
        });
        let spec = serde_json::from_value(full).unwrap();
        StoreState::new(kind, &metadata, &spec, status.as_ref())
    }

    fn check_usable(store: &StoreState, options: &StoreOptions<'_>, expected: &str) {
        let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
        let text = match store.check_usable("team", Some(&labels), options) {
            Ok(()) => "usable".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected, "{store:?}");
    }

    #[test]
    fn a_store_is_usable_once_it_is_ready() {
        let ready = Some(("True", "store validated"));
        let of = |ready| store(StoreKind::SecretStore, json!({}), ready);
        check_usable(&of(ready), &OPTIONS, "usable");
        let unvalidated = "SecretStore `aws` is not ready: it was not validated yet";
        check_usable(&of(None), &OPTIONS, unvalidated);
        check_usable(&of(Some(("False", ""))), &OPTIONS, unvalidated);
        check_usable(
            &of(Some(("False", "no credentials"))),
            &OPTIONS,
            "SecretStore `aws` is not ready: no credentials",
        );
        let lax = StoreOptions {
            requires_readiness: false,
            ..OPTIONS
        };
        check_usable(&of(None), &lax, "usable");
    }

    #[test]
    fn a_cluster_store_is_usable_where_its_conditions_admit() {
        let ready = Some(("True", ""));
        let of = |spec| store(StoreKind::ClusterSecretStore, spec, ready);
        check_usable(&of(json!({})), &OPTIONS, "usable");
        let labels =
            json!({"conditions": [{"namespaceSelector": {"matchLabels": {"env": "prod"}}}]});
        check_usable(&of(labels), &OPTIONS, "usable");
        let others = json!({"conditions": [{"namespaces": ["another"]}]});
        check_usable(
            &of(others.clone()),
            &OPTIONS,
            "using ClusterSecretStore `aws` is not allowed from namespace `team`: denied by spec.condition",
        );
        // The conditions of a SecretStore have no meaning: it serves its own namespace.
        let own = store(StoreKind::SecretStore, others, ready);
        check_usable(&own, &OPTIONS, "usable");
        let invalid = json!({"conditions": [{"namespaceRegexes": ["("]}]});
        check_usable(
            &of(invalid),
            &OPTIONS,
            "ClusterSecretStore `aws`: `spec.conditions[0].namespaceRegexes`: missing closing )",
        );
    }

    #[test]
    fn a_missing_store_is_named_with_the_likely_mistake() {
        let missing = |kind| {
            let name = "aws".to_owned();
            StoreUnusable::missing(&StoreRef { kind, name }, "team").to_string()
        };
        assert_eq!(
            missing(StoreKind::SecretStore),
            "SecretStore `aws` does not exist in namespace `team`; is a ClusterSecretStore meant?"
        );
        assert_eq!(
            missing(StoreKind::ClusterSecretStore),
            "ClusterSecretStore `aws` does not exist"
        );
    }

    #[test]
    fn stores_of_another_class_belong_to_another_controller() {
        let check = |kind, spec, options: &StoreOptions<'_>, expected: bool| {
            assert_eq!(store(kind, spec, None).is_served(options), expected);
        };
        use StoreKind::{ClusterSecretStore, SecretStore};
        check(SecretStore, json!({}), &OPTIONS, true);
        check(
            SecretStore,
            json!({"controller": "default"}),
            &OPTIONS,
            true,
        );
        check(
            SecretStore,
            json!({"controller": "another"}),
            &OPTIONS,
            false,
        );
        check(ClusterSecretStore, json!({}), &OPTIONS, true);
        let namespaced = StoreOptions {
            serves_cluster_stores: false,
            ..OPTIONS
        };
        check(SecretStore, json!({}), &namespaced, true);
        check(ClusterSecretStore, json!({}), &namespaced, false);
    }

    #[test]
    fn a_store_is_new_until_it_is_validated_or_fifteen_seconds_have_passed() {
        let check = |ready, uptime: u64, now: &str, expected: bool| {
            let store = store(StoreKind::SecretStore, json!({}), ready);
            let is_new = store.is_new(Duration::from_secs(uptime), now.parse().unwrap());
            assert_eq!(is_new, expected, "{uptime} {now}");
        };
        check(None, 60, "2026-01-01T00:00:14Z", true);
        check(None, 60, "2026-01-01T00:00:15Z", false);
        check(None, 14, "2026-01-02T00:00:00Z", true);
        check(Some(("False", "")), 14, "2026-01-01T00:00:01Z", false);
    }

    #[test]
    fn a_store_has_a_key_by_kind_namespace_and_name() {
        let of = |kind| store(kind, json!({}), None).key().to_string();
        assert_eq!(of(StoreKind::SecretStore), "SecretStore team/aws");
        assert_eq!(of(StoreKind::ClusterSecretStore), "ClusterSecretStore aws");
    }
}

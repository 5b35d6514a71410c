//! The reconcile functions, one file or folder per kind. Each reads as a list of steps (observe, decide, act, record); the
//! rules are pure functions of `overlayd-core`. Only this folder writes conditions, finalizers and events.

pub(crate) mod builds;
pub(crate) mod caches;
pub(crate) mod cost;
mod ending;
pub(crate) mod event_webhook;
pub(crate) mod events;
pub(crate) mod external_secret;
pub(crate) mod git_repository;
pub(crate) mod jitter;
pub(crate) mod kustomization;
mod objects;
pub(crate) mod panicked;
pub(crate) mod receiver;
pub(crate) mod rotation;
pub(crate) mod rotation_listeners;
pub(crate) mod secret_store;
pub(crate) mod sources;
pub(crate) mod stores;
pub(crate) mod unreadable;

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource};

use crate::cluster::error::ApiErrorClass;
use crate::controllers::events::Events;
use crate::metrics::Metrics;

/// What every controller reports by if a reconcile cannot do so itself: the object cannot be read, or the reconcile panicked.
pub(crate) struct FailureReporter {
    /// Reads the object again, and writes its conditions.
    pub(crate) client: Client,
    /// Says what the conditions say.
    pub(crate) events: Events,
    /// Counts reconciles whose outcome could not be recorded.
    pub(crate) metrics: Arc<Metrics>,
}

/// Why a reconcile could not record its outcome.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// The status or the metadata could not be written, so there was no other way to report.
    #[error("the API server did not take the status or metadata: {}", crate::cluster::error::describe(.0))]
    Api(#[from] kube::Error),
    /// The task of the reconcile panicked. The status says so, if it could be written.
    #[error("a reconcile ended in a defect of overlayd; please report what the log says")]
    Panicked,
}

impl ReconcileError {
    /// The value of the metric label `category`.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Api(error) => ApiErrorClass::of(error).category(),
            Self::Panicked => "panic",
        }
    }
}

/// The wait after an outcome that could not be recorded. A conflict is tried again almost at once, since the new version of
/// the object is already there.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature is that of kube's controllers"
)]
pub(crate) fn error_policy<K>(
    _object: Arc<K>,
    error: &ReconcileError,
    reporter: Arc<FailureReporter>,
) -> Action
where
    K: Resource<DynamicType = ()>,
{
    reporter
        .metrics
        .reconcile_error(&K::kind(&()), error.category());
    match error.category() {
        "conflict" => Action::requeue(Duration::from_millis(200)),
        _ => Action::requeue(Duration::from_secs(2)),
    }
}

/// Logs a failure that a controller's stream yields.
pub(crate) fn observe<K>(
    result: Result<
        (ObjectRef<K>, Action),
        kube::runtime::controller::Error<ReconcileError, kube::runtime::watcher::Error>,
    >,
) where
    K: Resource<DynamicType = ()>,
{
    use kube::runtime::controller::Error;
    match result {
        Ok(_) | Err(Error::ObjectNotFound(_)) => {}
        Err(error) => {
            tracing::warn!(kind = %K::kind(&()), %error, "reconcile failed and is tried again");
        }
    }
}

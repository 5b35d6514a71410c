//! The reconcile functions, one file per kind. They read as the flow and hold no rule; rules live in
//! `apply::plan`, `secrets::decide` and [`status`]. Only this folder writes conditions and events.

pub(crate) mod builds;
pub(crate) mod caches;
pub(crate) mod context;
pub(crate) mod cost;
pub(crate) mod event_webhook;
pub(crate) mod events;
pub(crate) mod external_secret;
pub(crate) mod git_repository;
pub(crate) mod kustomization;
pub(crate) mod panicked;
pub(crate) mod priority_semaphore;
pub(crate) mod receiver;
pub(crate) mod rotation;
pub(crate) mod secret_store;
pub(crate) mod sources;
pub(crate) mod unreadable;

use std::sync::Arc;
use std::time::Duration;

use kube::Resource;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use crate::cluster::error::ApiErrorClass;
pub(crate) use context::Context;

/// Why a reconcile could not even record its outcome.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error("the API server did not take the status or metadata: {}", crate::cluster::error::describe(.0))]
    Api(#[from] kube::Error),
    #[error("a reconcile ended in a defect of overlayd; please report what the log says")]
    Panicked,
}

impl ReconcileError {
    /// A fixed word for the metric label.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Api(error) => ApiErrorClass::of(error).category(),
            Self::Panicked => "panic",
        }
    }
}

/// After an outcome that could not be recorded: soon again, conflicts at once.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature is that of kube's controllers"
)]
pub(crate) fn error_policy<K>(
    _object: Arc<K>,
    error: &ReconcileError,
    context: Arc<Context>,
) -> Action
where
    K: Resource<DynamicType = ()>,
{
    context
        .metrics
        .reconcile_error(&K::kind(&()), error.category());
    match error.category() {
        "conflict" => Action::requeue(Duration::from_millis(200)),
        _ => Action::requeue(Duration::from_secs(2)),
    }
}

/// Logs what a controller's stream yields, once per failure.
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

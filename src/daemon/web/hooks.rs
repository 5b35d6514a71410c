//! Talks to git servers that call a `Receiver`: checks the call, and requests the reconciles that the receiver names.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::request::Parts;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;

use crate::controllers::receiver::ReceiverAddresses;
use crate::daemon::web::reconcile_request::{CallBody, ReconcileRequestError, request_reconciles};
use overlayd_core::api::receiver::{Receiver, ReceiverResource, ReceiverSpec};
use overlayd_core::names::NamespacedName;
use overlayd_core::webhook_signature::{Refusal, verify};

/// The longest body of a call, in bytes.
const MAX_BODY: usize = 3 << 20;

/// The longest time in which a caller sends its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the calls of receivers.
pub(crate) struct Hooks {
    addresses: Arc<ReceiverAddresses>,
    /// Set when calls are answered.
    access: OnceLock<Access>,
}

/// How receivers reach the cluster.
struct Access {
    client: Client,
    /// Resources of other namespaces are refused (`--no-cross-namespace-refs`).
    same_namespace: bool,
}

impl Hooks {
    /// Refuses calls until [`Hooks::open`], since a standby that is not connected yet can answer none.
    pub(crate) fn new(addresses: Arc<ReceiverAddresses>) -> Self {
        Self {
            addresses,
            access: OnceLock::new(),
        }
    }

    /// Answers calls from now on, with this client. A second call changes nothing.
    pub(crate) fn open(&self, client: &Client, same_namespace: bool) {
        let client = client.clone();
        // The first one stays.
        let _ = self.access.set(Access {
            client,
            same_namespace,
        });
    }
}

/// Why a call fails. The caller sees the text, which tells nothing about the token.
#[derive(Debug, thiserror::Error)]
enum CallError {
    /// This replica is still connecting to the cluster.
    #[error("receivers are not served yet")]
    NotServed,
    /// No receiver has this address, as after a change of its token.
    #[error("there is no such receiver")]
    UnknownReceiver,
    #[error("more than {MAX_BODY} bytes")]
    TooLarge,
    #[error("the body took longer than {} s", BODY_TIMEOUT.as_secs())]
    TooSlow,
    #[error("the receiver cannot be read")]
    UnreadableReceiver,
    #[error("the receiver is suspended")]
    Suspended,
    /// The Secret or its key `token` is gone.
    #[error("the receiver has no token")]
    NoToken,
    /// The signature, the token or the event is not accepted.
    #[error("{0}")]
    Refused(Refusal),
    /// The kinds and names of the resources.
    #[error("not all resources could be asked for a reconcile: {}", .0.join(", "))]
    NotRequested(Vec<String>),
}

impl CallError {
    /// The status of the answer, as Flux's receivers answer.
    fn status(&self) -> StatusCode {
        match self {
            Self::NotServed | Self::UnreadableReceiver | Self::Suspended | Self::NoToken => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UnknownReceiver => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Refused(_) => StatusCode::BAD_REQUEST,
            Self::NotRequested(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Answers a call of `POST /hook/{digest}`.
pub(super) async fn call(
    State(hooks): State<Arc<Hooks>>,
    Path(digest): Path<String>,
    request: Request,
) -> Response {
    match handle(&hooks, &digest, request).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => (error.status(), error.to_string()).into_response(),
    }
}

/// Finds the receiver, checks the call, and requests the reconciles.
///
/// # Errors
/// The call is refused, or not every reconcile could be requested.
async fn handle(hooks: &Hooks, digest: &str, request: Request<Body>) -> Result<(), CallError> {
    let access = hooks.access.get().ok_or(CallError::NotServed)?;
    let receiver = hooks.addresses.find(&format!("/hook/{digest}"));
    let receiver = receiver.ok_or(CallError::UnknownReceiver)?;
    let (parts, body) = request.into_parts();
    let body = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY)).await;
    let body = body.map_err(|_| CallError::TooSlow)?;
    let body = body.map_err(|_| CallError::TooLarge)?;
    let spec = read_spec(access, &receiver).await?;
    authenticate(access, &receiver, &spec, &parts, &body).await?;
    let body = CallBody::of(&parts.headers, &body);
    request_all(access, &receiver, &spec, &body).await
}

/// The receiver as it is now, so that a change of it counts at once.
async fn read_spec(access: &Access, receiver: &NamespacedName) -> Result<ReceiverSpec, CallError> {
    let api: Api<Receiver> = Api::namespaced(access.client.clone(), &receiver.namespace);
    let read = api.get_opt(&receiver.name).await;
    let read = read.map_err(|_| CallError::UnreadableReceiver)?;
    let spec = read.ok_or(CallError::UnknownReceiver)?.spec;
    if spec.suspend {
        return Err(CallError::Suspended);
    }
    Ok(spec)
}

/// Checks the call against the token. The Secret is read at each call, so that a changed token counts at once.
async fn authenticate(
    access: &Access,
    receiver: &NamespacedName,
    spec: &ReceiverSpec,
    parts: &Parts,
    body: &[u8],
) -> Result<(), CallError> {
    let NamespacedName { namespace, name } = receiver;
    let api: Api<Secret> = Api::namespaced(access.client.clone(), namespace);
    let secret = api.get_opt(&spec.secret_ref.name).await.ok().flatten();
    let token = secret.and_then(|secret| secret.data?.remove("token"));
    let token = token.filter(|token| !token.0.is_empty());
    let token = token.ok_or(CallError::NoToken)?;
    verify(spec.type_, &token.0, &spec.events, &parts.headers, body).map_err(|refusal| {
        tracing::warn!(namespace, receiver = name, %refusal, "a call was refused");
        CallError::Refused(refusal)
    })
}

/// Requests the reconciles of all resources. A resource that fails does not keep the others from theirs.
async fn request_all(
    access: &Access,
    receiver: &NamespacedName,
    spec: &ReceiverSpec,
    body: &CallBody,
) -> Result<(), CallError> {
    let NamespacedName { namespace, name } = receiver;
    let mut failed = Vec::new();
    for resource in &spec.resources {
        if let Err(error) = request(access, namespace, spec, resource, body).await {
            tracing::warn!(
                namespace,
                receiver = name,
                kind = resource.kind,
                resource = resource.name,
                reason = %error,
                "a resource was not asked for a reconcile"
            );
            failed.push(format!("{} {}", resource.kind, resource.name));
        }
    }
    tracing::info!(namespace, receiver = name, failed = failed.len(), "called");
    if failed.is_empty() {
        Ok(())
    } else {
        Err(CallError::NotRequested(failed))
    }
}

/// Requests the reconciles of one entry of `spec.resources`.
async fn request(
    access: &Access,
    namespace: &str,
    spec: &ReceiverSpec,
    resource: &ReceiverResource,
    body: &CallBody,
) -> Result<(), ReconcileRequestError> {
    let other = resource.namespace.as_ref();
    if access.same_namespace && other.is_some_and(|other| other != namespace) {
        return Err(ReconcileRequestError::OtherNamespace);
    }
    let filters = [spec.resource_filter.as_deref(), resource.filter.as_deref()];
    let filters: Vec<&str> = filters.into_iter().flatten().collect();
    request_reconciles(&access.client, namespace, resource, &filters, body).await
}

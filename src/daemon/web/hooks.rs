//! Talks to git servers that call: checks a call, and asks for the reconciles that its receiver names.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, ObjectMeta};
use parking_lot::Mutex;
use serde_json::json;

use crate::cluster::error::describe;
use crate::expression::Expression;
use overlayd_core::api::annotations::REQUESTED_AT;
use overlayd_core::api::receiver::{Receiver, ReceiverResource};
use overlayd_core::api::{GIT_REPOSITORY_API, KUSTOMIZATION_API};
use overlayd_core::names::NamespacedName;
use overlayd_core::webhook_signature::verify;

/// A body may have so many bytes.
const MAX_BODY: usize = 3 << 20;

/// The receivers by their addresses.
#[derive(Default)]
pub(crate) struct Hooks {
    paths: Mutex<BTreeMap<String, NamespacedName>>,
    client: std::sync::OnceLock<Client>,
    same_namespace: std::sync::atomic::AtomicBool,
}

impl Hooks {
    /// Begins to answer, with this client; references to other namespaces may be refused.
    pub(crate) fn open(&self, client: &Client, same_namespace: bool) {
        // Opened twice, it stays as it is.
        let _ = self.client.set(client.clone());
        self.same_namespace
            .store(same_namespace, std::sync::atomic::Ordering::Relaxed);
    }

    /// Gives a receiver its one address; none, if it has no token.
    pub(crate) fn set(&self, receiver: &NamespacedName, path: Option<&str>) {
        let mut paths = self.paths.lock();
        paths.retain(|_, other| other != receiver);
        if let Some(path) = path {
            paths.insert(path.to_owned(), receiver.clone());
        }
    }

    fn find(&self, path: &str) -> Option<NamespacedName> {
        let paths = self.paths.lock();
        paths.get(path).cloned()
    }
}

/// Answers one call.
pub(super) async fn call(
    State(hooks): State<Arc<Hooks>>,
    Path(digest): Path<String>,
    request: Request,
) -> Response {
    let answer = answer(&hooks, &digest, request).await;
    match answer {
        Ok(()) => StatusCode::OK.into_response(),
        Err((code, reason)) => (code, reason).into_response(),
    }
}

type Answer = Result<(), (StatusCode, String)>;

async fn answer(hooks: &Hooks, digest: &str, request: Request<Body>) -> Answer {
    let unknown = || {
        (
            StatusCode::NOT_FOUND,
            "there is no such receiver".to_owned(),
        )
    };
    let not_ready = |reason: &str| (StatusCode::SERVICE_UNAVAILABLE, reason.to_owned());
    let client = hooks
        .client
        .get()
        .ok_or_else(|| not_ready("receivers are not served yet"))?;
    let found = hooks.find(&format!("/hook/{digest}"));
    let NamespacedName { namespace, name } = found.ok_or_else(unknown)?;
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| {
        (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("more than {MAX_BODY} bytes"),
        )
    })?;
    let api: Api<Receiver> = Api::namespaced(client.clone(), &namespace);
    let receiver = api
        .get_opt(&name)
        .await
        .map_err(|_| not_ready("the receiver cannot be read"))?;
    let receiver = receiver.ok_or_else(unknown)?;
    if receiver.spec.suspend {
        return Err(not_ready("the receiver is suspended"));
    }
    // The Secret is read at each call, so that a token that was changed is the one that counts.
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let secret = api
        .get_opt(&receiver.spec.secret_ref.name)
        .await
        .ok()
        .flatten();
    let token = secret.and_then(|secret| secret.data?.remove("token"));
    let token = token.filter(|token| !token.0.is_empty());
    let token = token.ok_or_else(|| not_ready("the receiver has no token"))?;
    let spec = &receiver.spec;
    verify(spec.type_, &token.0, &spec.events, &parts.headers, &body).map_err(|refusal| {
        tracing::warn!(namespace, receiver = name, %refusal, "a call was refused");
        (StatusCode::BAD_REQUEST, refusal.to_string())
    })?;
    let mut failed = Vec::new();
    for resource in &spec.resources {
        let own = resource
            .namespace
            .as_ref()
            .is_none_or(|of| *of == namespace);
        let result = if own
            || !hooks
                .same_namespace
                .load(std::sync::atomic::Ordering::Relaxed)
        {
            let filters = [spec.resource_filter.as_deref(), resource.filter.as_deref()];
            ask(client, &namespace, resource, &filters, &body).await
        } else {
            Err(
                "references to other namespaces are blocked (`--no-cross-namespace-refs`)"
                    .to_owned(),
            )
        };
        if let Err(reason) = result {
            tracing::warn!(
                namespace,
                receiver = name,
                kind = resource.kind,
                resource = resource.name,
                reason,
                "a resource was not asked for a reconcile"
            );
            failed.push(format!("{} {}", resource.kind, resource.name));
        }
    }
    tracing::info!(namespace, receiver = name, failed = failed.len(), "called");
    if failed.is_empty() {
        return Ok(());
    }
    let message = format!(
        "not all resources could be asked for a reconcile: {}",
        failed.join(", ")
    );
    Err((StatusCode::INTERNAL_SERVER_ERROR, message))
}

/// Asks for the reconcile of what a resource names.
async fn ask(
    client: &Client,
    own: &str,
    resource: &ReceiverResource,
    filters: &[Option<&str>],
    body: &[u8],
) -> Result<(), String> {
    let namespace = resource.namespace.as_deref().unwrap_or(own);
    let kind = kind(client, resource).await?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let objects: Vec<ObjectMeta> = if resource.name == "*" {
        if resource.match_labels.is_empty() {
            return Err("`name: '*'` needs `matchLabels`".to_owned());
        }
        let labels = resource.match_labels.iter();
        let labels: Vec<String> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let params = ListParams::default().labels(&labels.join(","));
        let found = api.list_metadata(&params).await;
        let found = found.map_err(|error| describe(&error))?.items.into_iter();
        found.map(|object| object.metadata).collect()
    } else if filters.iter().flatten().next().is_some() {
        let found = api.get_metadata(&resource.name).await;
        vec![found.map_err(|error| describe(&error))?.metadata]
    } else {
        // Without a filter its name is enough.
        vec![ObjectMeta {
            name: Some(resource.name.clone()),
            ..ObjectMeta::default()
        }]
    };
    let now = Timestamp::now().to_string();
    let patch = json!({"metadata": {"annotations": {REQUESTED_AT: now}}});
    for object in objects {
        if !passes(filters, body, &object).await? {
            continue;
        }
        let name = object.name.unwrap_or_default();
        let patched = api
            .patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        patched.map_err(|error| describe(&error))?;
    }
    Ok(())
}

/// True for an object that every filter wants: `req` is the body, and `res` the object's metadata.
async fn passes(
    filters: &[Option<&str>],
    body: &[u8],
    metadata: &ObjectMeta,
) -> Result<bool, String> {
    for filter in filters.iter().flatten() {
        let request = serde_json::from_slice(body);
        let request =
            request.map_err(|_| "the body is no JSON, which a filter needs".to_owned())?;
        let variables = vec![
            ("req".to_owned(), request),
            ("res".to_owned(), json!({"metadata": metadata})),
        ];
        if !Expression::parse(filter)?.holds(variables).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn kind(client: &Client, resource: &ReceiverResource) -> Result<ApiResource, String> {
    let known = match resource.kind.as_str() {
        "GitRepository" => Some((GIT_REPOSITORY_API, "gitrepositories")),
        "Kustomization" => Some((KUSTOMIZATION_API, "kustomizations")),
        _ => None,
    };
    let version = resource
        .api_version
        .as_deref()
        .or_else(|| known.map(|(version, _)| version));
    let version =
        version.ok_or_else(|| format!("kind `{}` needs its `apiVersion`", resource.kind))?;
    let (group, short) = version.split_once('/').unwrap_or(("", version));
    let gvk = GroupVersionKind::gvk(group, short, &resource.kind);
    if let Some((_, plural)) = known.filter(|(known, _)| *known == version) {
        return Ok(ApiResource::from_gvk_with_plural(&gvk, plural));
    }
    let found = kube::discovery::pinned_kind(client, &gvk).await;
    found
        .map(|(resource, _)| resource)
        .map_err(|error| describe(&error))
}

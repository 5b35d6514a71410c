//! Talks to the API server: requests the reconciles that a resource of a `Receiver` stands for, by annotation.

use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, ObjectMeta};
use serde_json::json;

use crate::cluster::error::describe;
use crate::expression::{Expression, ExpressionError};
use overlayd_core::api::annotations::REQUESTED_AT;
use overlayd_core::api::receiver::ReceiverResource;
use overlayd_core::api::{GIT_REPOSITORY_API, KUSTOMIZATION_API};
use overlayd_core::receiver_resources::{ReceiverResourceError, check_resource};

/// Why a reconcile is not requested. The text is logged.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReconcileRequestError {
    #[error("references to other namespaces are blocked (`--no-cross-namespace-refs`)")]
    OtherNamespace,
    #[error("`name: '*'` needs `matchLabels`")]
    NoLabels,
    #[error("kind `{0}` needs its `apiVersion`")]
    UnknownKind(String),
    #[error("the body is no JSON, which a filter needs")]
    BodyIsNoJson,
    #[error("{0}")]
    Resource(#[from] ReceiverResourceError),
    #[error("{0}")]
    Filter(#[from] ExpressionError),
    #[error("{}", describe(.0))]
    Api(#[from] kube::Error),
}

/// Requests the reconcile of each object that a resource names and all filters want.
///
/// # Errors
/// The first object that fails; objects before it were annotated.
pub(super) async fn request_reconciles(
    client: &Client,
    own_namespace: &str,
    resource: &ReceiverResource,
    filters: &[&str],
    body: &[u8],
) -> Result<(), ReconcileRequestError> {
    check_resource(resource)?;
    let namespace = resource.namespace.as_deref().unwrap_or(own_namespace);
    let kind = kind(client, resource).await?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let now = Timestamp::now().to_string();
    let patch = Patch::Merge(json!({"metadata": {"annotations": {REQUESTED_AT: now}}}));
    for object in objects(&api, resource, !filters.is_empty()).await? {
        if !passes(filters, body, &object).await? {
            continue;
        }
        let name = object.name.unwrap_or_default();
        api.patch_metadata(&name, &PatchParams::default(), &patch)
            .await?;
    }
    Ok(())
}

/// The metadata of the objects that a resource names. It is read only where a filter needs it; otherwise the name is
/// enough.
async fn objects(
    api: &Api<DynamicObject>,
    resource: &ReceiverResource,
    is_filtered: bool,
) -> Result<Vec<ObjectMeta>, ReconcileRequestError> {
    if resource.name == "*" {
        if resource.match_labels.is_empty() {
            return Err(ReconcileRequestError::NoLabels);
        }
        let labels = resource.match_labels.iter();
        let labels: Vec<String> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let params = ListParams::default().labels(&labels.join(","));
        let listed = api.list_metadata(&params).await?.items.into_iter();
        return Ok(listed.map(|object| object.metadata).collect());
    }
    if is_filtered {
        return Ok(vec![api.get_metadata(&resource.name).await?.metadata]);
    }
    Ok(vec![ObjectMeta {
        name: Some(resource.name.clone()),
        ..ObjectMeta::default()
    }])
}

/// True for an object that every filter wants. In a filter, `req` is the body and `res` the object's metadata.
async fn passes(
    filters: &[&str],
    body: &[u8],
    metadata: &ObjectMeta,
) -> Result<bool, ReconcileRequestError> {
    for filter in filters {
        let request =
            serde_json::from_slice(body).map_err(|_| ReconcileRequestError::BodyIsNoJson)?;
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

/// The API of a kind. The kinds of overlayd need no discovery.
async fn kind(
    client: &Client,
    resource: &ReceiverResource,
) -> Result<ApiResource, ReconcileRequestError> {
    let own = match resource.kind.as_str() {
        "GitRepository" => Some((GIT_REPOSITORY_API, "gitrepositories")),
        "Kustomization" => Some((KUSTOMIZATION_API, "kustomizations")),
        _ => None,
    };
    let given = resource.api_version.as_deref();
    let version = given.or_else(|| own.map(|(version, _)| version));
    let version =
        version.ok_or_else(|| ReconcileRequestError::UnknownKind(resource.kind.clone()))?;
    let (group, short) = version.split_once('/').unwrap_or(("", version));
    let gvk = GroupVersionKind::gvk(group, short, &resource.kind);
    if let Some((_, plural)) = own.filter(|(own, _)| *own == version) {
        return Ok(ApiResource::from_gvk_with_plural(&gvk, plural));
    }
    let (resource, _) = kube::discovery::pinned_kind(client, &gvk).await?;
    Ok(resource)
}

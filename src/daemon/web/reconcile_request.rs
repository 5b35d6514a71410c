//! Talks to the API server: requests the reconciles that a resource of a `Receiver` stands for, by annotation.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, ObjectMeta};
use serde_json::{Value, json};

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

/// The body of a call, as filters see it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum CallBody {
    /// The JSON of the body; an empty object for a body of another content type, as in Flux.
    Json(Value),
    /// The call says that it sends JSON, and the body is none.
    Unreadable,
}

impl CallBody {
    /// The body of a call with these headers.
    pub(super) fn of(headers: &HeaderMap, body: &[u8]) -> Self {
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        // A server may name several types, each with parameters.
        let mut types = content_type.unwrap_or_default().split(',');
        let is_json = types.any(|text| {
            let name = text.split(';').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case("application/json")
        });
        if !is_json {
            return Self::Json(json!({}));
        }
        serde_json::from_slice(body).map_or(Self::Unreadable, Self::Json)
    }
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
    body: &CallBody,
) -> Result<(), ReconcileRequestError> {
    check_resource(resource)?;
    let namespace = resource.namespace.as_deref().unwrap_or(own_namespace);
    let kind = kind(client, resource).await?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let now = Timestamp::now().to_string();
    let patch = Patch::Merge(json!({"metadata": {"annotations": {REQUESTED_AT: now}}}));
    for object in objects(&api, resource, !filters.is_empty()).await? {
        if !passes(filters, body, &kind, &object).await? {
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

/// True for an object that every filter wants. In a filter, `req` is the body, and `res` is the object with its kind and
/// its metadata, as in Flux.
async fn passes(
    filters: &[&str],
    body: &CallBody,
    kind: &ApiResource,
    metadata: &ObjectMeta,
) -> Result<bool, ReconcileRequestError> {
    let resource = json!({
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": metadata,
    });
    for filter in filters {
        let CallBody::Json(request) = body else {
            return Err(ReconcileRequestError::BodyIsNoJson);
        };
        let variables = vec![
            ("req".to_owned(), request.clone()),
            ("res".to_owned(), resource.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_if_the_call_says_so() {
        let check = |content_type: &str, body: &str, expected: CallBody| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            assert_eq!(
                CallBody::of(&headers, body.as_bytes()),
                expected,
                "{content_type}"
            );
        };
        let read = CallBody::Json(json!({"ref": "main"}));
        let several = "text/plain, application/json";
        check(several, r#"{"ref": "main"}"#, read.clone());
        check("application/json", r#"{"ref": "main"}"#, read.clone());
        check(
            "Application/JSON; charset=utf-8",
            r#"{"ref": "main"}"#,
            read,
        );
        check(
            "text/plain, application/json",
            "{}",
            CallBody::Json(json!({})),
        );
        check("application/json", "payload=1", CallBody::Unreadable);
        let form = "application/x-www-form-urlencoded";
        check(form, "payload=1", CallBody::Json(json!({})));
        let without = CallBody::of(&HeaderMap::new(), b"");
        assert_eq!(without, CallBody::Json(json!({})));
    }

    #[tokio::test]
    async fn filters_see_the_body_and_the_object() {
        let body = CallBody::Json(json!({"repository": "app", "ref": "refs/heads/main"}));
        let gvk = GroupVersionKind::gvk("source.toolkit.fluxcd.io", "v1", "GitRepository");
        let kind = ApiResource::from_gvk(&gvk);
        let metadata = ObjectMeta {
            name: Some("app".to_owned()),
            ..ObjectMeta::default()
        };
        let passes = async |filters: &[&str]| passes(filters, &body, &kind, &metadata).await;
        let by_name = "res.metadata.name == req.repository && res.kind == 'GitRepository'";
        assert!(passes(&[]).await.unwrap());
        assert!(
            passes(&[by_name, "req.ref.endsWith('/main')"])
                .await
                .unwrap()
        );
        assert!(
            !passes(&[by_name, "req.ref.endsWith('/other')"])
                .await
                .unwrap()
        );
        let missing = passes(&["req.action == 'closed'"]).await.unwrap_err();
        assert!(missing.to_string().contains("No such key"), "{missing}");
    }
}

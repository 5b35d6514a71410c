//! Pure: `Receiver` of `notification.toolkit.fluxcd.io/v1`.

#![expect(
    clippy::duplicated_attributes,
    reason = "printer columns of one type repeat it"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::local_reference::LocalReference;
use crate::api::{never_observed, plain_enumeration};

/// Describes an address that a git server calls after a push, so that a change does not wait for the next
/// interval.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "notification.toolkit.fluxcd.io",
    version = "v1",
    kind = "Receiver",
    doc = "Gives a git server an address to call after a push, so that a change does not wait for the next interval.",
    namespaced,
    status = "ReceiverStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverSpec {
    /// The kind of sender. It decides how a call is authenticated.
    #[serde(rename = "type")]
    pub type_: ReceiverType,
    /// The events that are accepted, in the words of the sender. Default: all events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Time between two reads of the token. Default: `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub interval: Option<String>,
    /// The objects that are reconciled after a call.
    pub resources: Vec<ReceiverResource>,
    /// A Secret of the same namespace. The sender knows the value of its key `token`.
    pub secret_ref: LocalReference,
    /// CEL expression that selects among `resources`: true for an object to reconcile. `req` is the JSON body of the call,
    /// `res` the object with its kind and metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_filter: Option<String>,
    /// Whether calls are answered with 503 and have no effect. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// Kind of sender. overlayd supports `generic`, `generic-hmac`, `github` and `gitlab`, and refuses the
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(transform = plain_enumeration)]
pub enum ReceiverType {
    /// Any program that knows the address.
    #[default]
    Generic,
    /// Any program that signs the body with HMAC.
    GenericHmac,
    /// Any program with an OIDC token. Refused.
    GenericOidc,
    /// GitHub.
    Github,
    /// GitLab.
    Gitlab,
    /// Bitbucket Server. Refused.
    Bitbucket,
    /// Harbor. Refused.
    Harbor,
    /// Docker Hub. Refused.
    Dockerhub,
    /// Quay. Refused.
    Quay,
    /// Google Container Registry. Refused.
    Gcr,
    /// Sonatype Nexus. Refused.
    Nexus,
    /// Azure Container Registry. Refused.
    Acr,
    /// `CDEvents`. Refused.
    Cdevents,
}

/// Names objects that are reconciled after a call.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverResource {
    /// API version of the objects. Default: the served version for `GitRepository` and `Kustomization`;
    /// required for other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Kind of the objects.
    pub kind: String,
    /// Name of the object, or `*` for all objects that `matchLabels` selects.
    pub name: String,
    /// Namespace of the objects. Default: the namespace of the Receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels that the objects must have. Required if `name` is `*`, unused otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// CEL expression like `resourceFilter`, for the objects of this entry. Both must be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// Shows the address and the state of the Receiver.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverStatus {
    /// Generation of the specification that this status belongs to. -1 before the first reconcile.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// Conditions. `Ready` says whether calls are accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Path of the address: `/hook/` and a digest of token, name and namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_path: Option<String>,
    /// The last value of the annotation `reconcile.fluxcd.io/requestedAt` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

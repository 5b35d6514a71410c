//! Pure: `ExternalSecret` of `external-secrets.io/v1`.

#![expect(
    clippy::duplicated_attributes,
    reason = "printer columns of one type repeat it"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secret_store::StatusCondition;

/// A Secret, and where its values come from.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ExternalSecret",
    namespaced,
    status = "ExternalSecretStatus",
    shortname = "es",
    category = "external-secrets",
    derive = "PartialEq",
    selectable = ".spec.secretStoreRef.name",
    selectable = ".spec.secretStoreRef.kind",
    selectable = ".spec.target.name",
    selectable = ".spec.refreshInterval",
    printcolumn(
        name = "StoreType",
        type_ = "string",
        json_path = ".spec.secretStoreRef.kind"
    ),
    printcolumn(
        name = "Store",
        type_ = "string",
        json_path = ".spec.secretStoreRef.name"
    ),
    printcolumn(
        name = "Refresh Interval",
        type_ = "string",
        json_path = ".spec.refreshInterval"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Last Sync", type_ = "date", json_path = ".status.refreshTime")
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExternalSecretSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret_store_ref: Option<StoreReference>,
    #[serde(default)]
    pub(crate) target: Target,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_policy: Option<RefreshPolicy>,
    #[serde(default = "one_hour")]
    pub(crate) refresh_interval: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sync_windows: Option<Box<SyncWindows>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) data: Vec<DataEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) data_from: Vec<DataFromEntry>,
}

fn one_hour() -> String {
    "1h0m0s".to_owned()
}

#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
pub(crate) struct StoreReference {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub(crate) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<StoreKind>,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
pub(crate) enum StoreKind {
    #[default]
    SecretStore,
    ClusterSecretStore,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) creation_policy: CreationPolicy,
    #[serde(default)]
    pub(crate) deletion_policy: DeletionPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) immutable: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Box<ManifestReference>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<Box<Template>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum CreationPolicy {
    #[default]
    Owner,
    Orphan,
    Merge,
    None,
    CreateOrMerge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum DeletionPolicy {
    #[default]
    Retain,
    Delete,
    Merge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum RefreshPolicy {
    CreatedOnce,
    Periodic,
    OnChange,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ManifestReference {
    #[schemars(length(min = 1))]
    pub(crate) api_version: String,
    #[schemars(length(min = 1))]
    pub(crate) kind: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Template {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub(crate) type_: Option<String>,
    /// Not an enumeration: one object of an older version must not keep the others from being listed.
    #[serde(default = "engine_v2")]
    #[schemars(regex(pattern = r"^v2$"))]
    pub(crate) engine_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<TemplateMetadata>,
    #[serde(default)]
    pub(crate) merge_policy: MergePolicy,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) data: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) template_from: Vec<TemplateFrom>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum MergePolicy {
    #[default]
    Replace,
    Merge,
}

fn engine_v2() -> String {
    "v2".to_owned()
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TemplateMetadata {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) finalizers: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TemplateFrom {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config_map: Option<TemplateReference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<TemplateReference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) literal: Option<String>,
    #[serde(default = "target_data")]
    pub(crate) target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) values_decoding_strategy: Option<DecodingStrategy>,
}

fn target_data() -> String {
    "Data".to_owned()
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TemplateReference {
    #[schemars(length(min = 1, max = 253))]
    pub(crate) name: String,
    pub(crate) items: Vec<TemplateReferenceItem>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TemplateReferenceItem {
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) template_as: TemplateScope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum TemplateScope {
    #[default]
    Values,
    KeysAndValues,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SyncWindows {
    pub(crate) kind: SyncWindowKind,
    #[schemars(length(min = 1))]
    pub(crate) windows: Vec<SyncWindow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SyncWindowKind {
    Allow,
    Deny,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SyncWindow {
    pub(crate) schedule: String,
    pub(crate) duration: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DataEntry {
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub(crate) secret_key: String,
    pub(crate) remote_ref: RemoteReference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source_ref: Option<Box<SourceReference>>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RemoteReference {
    pub(crate) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) property: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata_policy: Option<MetadataPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conversion_strategy: Option<ConversionStrategy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) decoding_strategy: Option<DecodingStrategy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) null_byte_policy: Option<NullBytePolicy>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum MetadataPolicy {
    #[default]
    None,
    Fetch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum ConversionStrategy {
    #[default]
    Default,
    Unicode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum DecodingStrategy {
    Auto,
    Base64,
    #[serde(rename = "Base64URL")]
    Base64Url,
    #[default]
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum NullBytePolicy {
    #[default]
    Ignore,
    Fail,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SourceReference {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) store_ref: Option<StoreReference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) generator_ref: Option<GeneratorReference>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GeneratorReference {
    #[serde(default = "generators_api")]
    pub(crate) api_version: String,
    pub(crate) kind: String,
    #[schemars(length(min = 1, max = 253))]
    pub(crate) name: String,
}

fn generators_api() -> String {
    "generators.external-secrets.io/v1alpha1".to_owned()
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DataFromEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extract: Option<RemoteReference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) find: Option<Find>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rewrite: Vec<Rewrite>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source_ref: Option<Box<SourceReference>>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Find {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<FindName>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conversion_strategy: Option<ConversionStrategy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) decoding_strategy: Option<DecodingStrategy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) null_byte_policy: Option<NullBytePolicy>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FindName {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) regexp: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Rewrite {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) regexp: Option<RewriteRegexp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transform: Option<RewriteTransform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) merge: Option<RewriteMerge>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RewriteRegexp {
    pub(crate) source: String,
    pub(crate) target: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RewriteTransform {
    pub(crate) template: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RewriteMerge {
    #[serde(default)]
    pub(crate) into: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) priority: Vec<String>,
    #[serde(default)]
    pub(crate) priority_policy: PriorityPolicy,
    #[serde(default)]
    pub(crate) conflict_policy: ConflictPolicy,
    #[serde(default)]
    pub(crate) strategy: MergeStrategy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum PriorityPolicy {
    #[default]
    Strict,
    IgnoreNotFound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum ConflictPolicy {
    #[default]
    Error,
    Ignore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum MergeStrategy {
    #[default]
    Extract,
    #[serde(rename = "JSON")]
    Json,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExternalSecretStatus {
    /// When the values were read last.
    #[serde(default)]
    pub(crate) refresh_time: Option<Time>,
    /// Generation, and a hash of labels and annotations, of what was synced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) synced_resource_version: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<StatusCondition>,
    /// The Secret, as servicebinding.io wants it named.
    #[serde(default)]
    pub(crate) binding: Binding,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Binding {
    #[serde(default)]
    pub(crate) name: String,
}

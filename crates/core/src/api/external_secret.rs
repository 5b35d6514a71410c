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

use crate::api::plain_enumeration;
use crate::api::secret_store::StatusCondition;

/// Describes a Secret and the stores that its values come from.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ExternalSecret",
    doc = "Makes a Secret from values in stores and keeps it up to date.",
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
pub struct ExternalSecretSpec {
    /// The store that every entry reads from, unless the entry names its own store in `sourceRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_store_ref: Option<StoreReference>,
    /// The Secret to write. Default: a Secret with the name of the ExternalSecret, owned by it.
    #[serde(default)]
    pub target: Target,
    /// When the values are read again. Default: `Periodic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_policy: Option<RefreshPolicy>,
    /// Time between two refreshes, as a Go duration such as `1h` or `90s`. Default: `1h0m0s`. With `0` or a
    /// negative duration the values are read once and not refreshed periodically.
    #[serde(default = "one_hour")]
    pub refresh_interval: String,
    /// Recurring time windows that limit when a periodic refresh may run. Default: a refresh may run at any
    /// time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_windows: Option<Box<SyncWindows>>,
    /// Single values, each under its own key of the Secret. An entry wins over an entry of `dataFrom` with
    /// the same key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataEntry>,
    /// Sources of several keys at once. Later entries overwrite keys of earlier entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_from: Vec<DataFromEntry>,
}

fn one_hour() -> String {
    "1h0m0s".to_owned()
}

/// Names a store.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
pub struct StoreReference {
    /// Name of the store. A SecretStore must be in the namespace of the ExternalSecret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Kind of the store. Default: `SecretStore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<StoreKind>,
}

/// Kind of a store.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[schemars(transform = plain_enumeration)]
pub enum StoreKind {
    /// A store that only its own namespace uses.
    #[default]
    SecretStore,
    /// A store for several namespaces.
    ClusterSecretStore,
}

/// Describes the Secret that is written.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Name of the Secret. Default: the name of the ExternalSecret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Who owns the Secret, and whether existing keys of it are kept. Default: `Owner`.
    #[serde(default)]
    pub creation_policy: CreationPolicy,
    /// What happens to the Secret when the values no longer exist in the store. Default: `Retain`.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Whether the Secret is marked as immutable, so that its values never change after the first write.
    /// Default: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
    /// Another kind of object to write instead of a Secret. overlayd does not support this field and sets
    /// `Ready` to `False`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Box<ManifestReference>>,
    /// How the Secret is made from the values. Default: each value becomes one key of an Opaque Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Box<Template>>,
}

/// Decides who owns the Secret, and whether existing keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum CreationPolicy {
    /// The ExternalSecret owns the Secret and replaces its data. The Secret is deleted together with the
    /// ExternalSecret.
    #[default]
    Owner,
    /// The data of the Secret is replaced, but the Secret has no owner and stays when the ExternalSecret is
    /// deleted.
    Orphan,
    /// Keys are added to a Secret that exists already. No Secret is created.
    Merge,
    /// The values are read, but no Secret is written.
    None,
    /// Keys are added to the Secret. A Secret without an owner is created if there is none.
    CreateOrMerge,
}

/// Decides what happens to the Secret when the values no longer exist in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum DeletionPolicy {
    /// The Secret stays as it is. A value that is missing in the store is an error.
    #[default]
    Retain,
    /// The Secret is deleted when all values are missing. When only some values are missing, their keys are
    /// removed.
    Delete,
    /// The keys of missing values are removed, and the Secret stays.
    Merge,
}

/// Decides when the values are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum RefreshPolicy {
    /// The values are read once, when the Secret is created. They are read again if the Secret is deleted,
    /// unless `creationPolicy` is `Orphan`.
    CreatedOnce,
    /// The values are read at every `refreshInterval`, and when the ExternalSecret changes.
    Periodic,
    /// The values are read when the specification, labels or annotations of the ExternalSecret change.
    OnChange,
}

/// Names a kind of object other than a Secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManifestReference {
    /// API version of the object, such as `v1` or `apps/v1`.
    #[schemars(length(min = 1))]
    pub api_version: String,
    /// Kind of the object.
    #[schemars(length(min = 1))]
    pub kind: String,
}

/// Describes how the Secret is made from the values.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Type of the Secret, such as `kubernetes.io/dockerconfigjson`. Default: `Opaque`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Version of the template language. `v2` is the only version and the default. This field is not an
    /// enumeration, because one object of an older version would then prevent that the others are listed.
    #[serde(default = "engine_v2")]
    #[schemars(regex(pattern = r"^v2$"))]
    pub engine_version: String,
    /// Labels, annotations and finalizers of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// Whether the template replaces the values or adds keys to them. Default: `Replace`.
    #[serde(default)]
    pub merge_policy: MergePolicy,
    /// Templates by key of the Secret. Each template sees the values by their keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Further templates, from ConfigMaps, Secrets or literal text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub template_from: Vec<TemplateFrom>,
}

/// Decides whether the template replaces the values or adds keys to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum MergePolicy {
    /// The Secret holds only the keys that the template makes.
    #[default]
    Replace,
    /// The Secret holds all values, and in addition the keys that the template makes.
    Merge,
}

fn engine_v2() -> String {
    "v2".to_owned()
}

/// Metadata of the Secret. Values of labels and annotations can be templates.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TemplateMetadata {
    /// Annotations of the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels of the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Finalizers of the Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
}

/// Takes templates from one place. A ConfigMap is used before a Secret, and a Secret before the literal text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateFrom {
    /// A ConfigMap in the namespace of the ExternalSecret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<TemplateReference>,
    /// A Secret in the namespace of the ExternalSecret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<TemplateReference>,
    /// A template whose output is a YAML map from key to text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub literal: Option<String>,
    /// The part of the Secret that gets the result: `Data`, `Labels` or `Annotations`, in any case. Default:
    /// `Data`.
    #[serde(default = "target_data")]
    pub target: String,
    /// How the resulting values are decoded. Default: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_decoding_strategy: Option<DecodingStrategy>,
}

fn target_data() -> String {
    "Data".to_owned()
}

/// Names a ConfigMap or Secret that holds templates.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TemplateReference {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The keys of the object to use.
    pub items: Vec<TemplateReferenceItem>,
}

/// Names one key of an object that holds templates.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateReferenceItem {
    /// Key in the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
    /// How the text under the key is used. Default: `Values`.
    #[serde(default)]
    pub template_as: TemplateScope,
}

/// Decides how the text under a key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum TemplateScope {
    /// The text is the template of one value, and the Secret gets it under the same key.
    #[default]
    Values,
    /// The text is a template whose output is a YAML map from key to text.
    KeysAndValues,
}

/// Limits when a periodic refresh may run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SyncWindows {
    /// Whether a refresh may run inside the windows only, or outside of them only.
    pub kind: SyncWindowKind,
    /// The windows. At least one is required.
    #[schemars(length(min = 1))]
    pub windows: Vec<SyncWindow>,
}

/// Decides whether windows permit or forbid a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = plain_enumeration)]
pub enum SyncWindowKind {
    /// A refresh may run only inside the windows.
    Allow,
    /// A refresh may run only outside of the windows.
    Deny,
}

/// Describes a recurring time window. Times are in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SyncWindow {
    /// When the window begins: a cron expression of five fields, `@daily` and its like, or `@every` with a
    /// duration.
    pub schedule: String,
    /// How long the window is open, as a Go duration such as `2h`.
    pub duration: String,
}

/// Reads one value into one key of the Secret.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataEntry {
    /// Key of the Secret. It has 1 to 253 letters, digits, `-`, `_` or `.`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub secret_key: String,
    /// The value in the store.
    pub remote_ref: RemoteReference,
    /// The store of this entry. Default: `secretStoreRef` of the ExternalSecret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<Box<SourceReference>>,
}

/// Names a value in a store.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteReference {
    /// Name or ARN of the secret in the store.
    pub key: String,
    /// Path into the JSON text of the secret, in the language of gjson. Default: the whole secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// Version of the secret: a stage, or `uuid/` and a version id. Default: the current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether the value or the tags of the secret are read. Default: `None`, which reads the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_policy: Option<MetadataPolicy>,
    /// How characters that a key of a Secret must not have are replaced. Default: `Default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion_strategy: Option<ConversionStrategy>,
    /// How the value is decoded. Default: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoding_strategy: Option<DecodingStrategy>,
    /// Whether a value with a zero byte is an error. Default: `Ignore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_byte_policy: Option<NullBytePolicy>,
}

/// Decides whether the value or the tags of a secret are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum MetadataPolicy {
    /// The value of the secret is read.
    #[default]
    None,
    /// The tags of the secret are read, as a JSON object.
    Fetch,
}

/// Decides how characters that a key of a Secret must not have are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum ConversionStrategy {
    /// Each such character becomes `_`. Two keys that become equal are an error.
    #[default]
    Default,
    /// Each such character becomes `_Uhhhh_` with its code point in hexadecimal digits.
    Unicode,
}

/// Decides how a value is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum DecodingStrategy {
    /// Base64 is tried first, then `Base64URL`. A value that is neither stays as it is.
    Auto,
    /// The value is Base64 of the standard alphabet. Any other text is an error.
    Base64,
    /// The value is Base64 of the URL alphabet. Any other text is an error.
    #[serde(rename = "Base64URL")]
    Base64Url,
    /// The value stays as it is.
    #[default]
    None,
}

/// Decides whether a value with a zero byte is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum NullBytePolicy {
    /// Zero bytes are kept.
    #[default]
    Ignore,
    /// A value with a zero byte is an error.
    Fail,
}

/// Names a source.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceReference {
    /// A store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_ref: Option<StoreReference>,
    /// A generator. Only entries of `dataFrom` can use a generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator_ref: Option<GeneratorReference>,
}

/// Names a generator.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorReference {
    /// API version of the generator. Default: `generators.external-secrets.io/v1alpha1`.
    #[serde(default = "generators_api")]
    pub api_version: String,
    /// Kind of the generator, such as `Password`, or `ClusterGenerator`.
    pub kind: String,
    /// Name of the generator. It must be in the namespace of the ExternalSecret, unless its kind is
    /// `ClusterGenerator`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

fn generators_api() -> String {
    "generators.external-secrets.io/v1alpha1".to_owned()
}

/// Reads several keys from one source: `extract`, `find` or a generator in `sourceRef`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataFromEntry {
    /// A secret whose JSON object has the keys and values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<RemoteReference>,
    /// A search over the secrets of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<Find>,
    /// Changes of the keys, applied in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrite: Vec<Rewrite>,
    /// The store or generator of this entry. Default: `secretStoreRef` of the ExternalSecret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<Box<SourceReference>>,
}

/// Searches the secrets of a store. A secret must match every field that is set, and `name` or `tags` is
/// required.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Find {
    /// Prefix that the names must have. Default: all names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Regular expression that the names must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<FindName>,
    /// Tags that the secrets must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// How characters that a key of a Secret must not have are replaced. Default: `Default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion_strategy: Option<ConversionStrategy>,
    /// How the values are decoded. Default: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoding_strategy: Option<DecodingStrategy>,
    /// Whether a value with a zero byte is an error. Default: `Ignore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_byte_policy: Option<NullBytePolicy>,
}

/// Selects secrets by name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FindName {
    /// Regular expression in the syntax of RE2. It may match any part of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regexp: Option<String>,
}

/// Changes the keys of one source. Exactly one field must be set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Rewrite {
    /// Replaces the matches of a regular expression in each key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regexp: Option<RewriteRegexp>,
    /// Makes each key with a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<RewriteTransform>,
    /// Merges the members of the values, which must be JSON objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<RewriteMerge>,
}

/// Replaces the matches of a regular expression in each key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RewriteRegexp {
    /// Regular expression in the syntax of RE2.
    pub source: String,
    /// Replacement. `$1` and `${name}` stand for groups of the match.
    pub target: String,
}

/// Makes each key with a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RewriteTransform {
    /// Template that sees the old key as `.value`.
    pub template: String,
}

/// Merges the members of all values of the source. Each value must be a JSON object.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewriteMerge {
    /// Key for the merged object. Required with the strategy `JSON`, unused otherwise.
    #[serde(default)]
    pub into: String,
    /// Keys whose members win, in rising order. Values under other keys are merged before them, in
    /// alphabetical order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priority: Vec<String>,
    /// Whether a missing key of `priority` is an error. Default: `Strict`.
    #[serde(default)]
    pub priority_policy: PriorityPolicy,
    /// Whether a member that two values have is an error. Default: `Error`.
    #[serde(default)]
    pub conflict_policy: ConflictPolicy,
    /// Whether the merged members become keys or one JSON text. Default: `Extract`.
    #[serde(default)]
    pub strategy: MergeStrategy,
}

/// Decides whether a missing key of `priority` is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum PriorityPolicy {
    /// A missing key is an error.
    #[default]
    Strict,
    /// A missing key is ignored.
    IgnoreNotFound,
}

/// Decides whether a member that two values have is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum ConflictPolicy {
    /// The member is an error, even if `priority` says which value wins.
    #[default]
    Error,
    /// The later value wins.
    Ignore,
}

/// Decides what becomes of the merged members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum MergeStrategy {
    /// Each member becomes a key of the Secret.
    #[default]
    Extract,
    /// All members become one JSON text under the key `into`.
    #[serde(rename = "JSON")]
    Json,
}

/// Shows the result of the last refresh.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSecretStatus {
    /// When the values were last read. Unchanged values move this time only with `--status-heartbeat`.
    #[serde(default)]
    pub refresh_time: Option<Time>,
    /// The generation of the ExternalSecret, and a hash of its labels and annotations, at the last successful
    /// refresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_resource_version: Option<String>,
    /// Conditions. `Ready` says whether the Secret is up to date.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<StatusCondition>,
    /// The Secret, in the form that servicebinding.io defines for a provisioned service.
    #[serde(default)]
    pub binding: Binding,
}

/// Names the Secret that was written.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Binding {
    /// Name of the Secret. Empty until a Secret was written.
    #[serde(default)]
    pub name: String,
}

//! Pure: `GitRepository` of `source.toolkit.fluxcd.io/v1`.

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

/// Describes a git repository and the revision of it to use.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "source.toolkit.fluxcd.io",
    version = "v1",
    kind = "GitRepository",
    doc = "Makes the revisions of a git repository available to Kustomizations.",
    plural = "gitrepositories",
    namespaced,
    status = "GitRepositoryStatus",
    shortname = "gitrepo",
    derive = "PartialEq",
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url"),
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
pub struct GitRepositorySpec {
    /// Address of the repository: `http://`, `https://` or `ssh://`. The short form `user@host:path` is not
    /// accepted.
    #[schemars(regex(pattern = r"^(http|https|ssh)://.*$"))]
    pub url: String,
    /// Time between two checks for a new commit, such as `1m` or `1h30m`.
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub interval: String,
    /// Time limit of one git operation. Default: `60s`.
    #[serde(default = "default_timeout", skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$"))]
    pub timeout: Option<String>,
    /// The revision to use. Default: the branch `master`.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<GitReference>,
    /// A Secret of the same namespace with the credentials. Default: anonymous access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalReference>,
    /// How tokens are obtained. Default: `generic`. overlayd refuses the other values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<GitProvider>,
    /// A service account for the workload identity of the providers `aws` and `azure`. overlayd does not use
    /// this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// A Secret of the same namespace with `address`, and optionally `username` and `password`, of a proxy.
    /// Default: the proxy variables of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_secret_ref: Option<LocalReference>,
    /// Signatures to verify. overlayd refuses this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<GitVerification>,
    /// Files to leave out, as patterns in the syntax of `.gitignore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<String>,
    /// Trees of other repositories to copy into this tree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<GitInclude>,
    /// Whether submodules are fetched too. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recurse_submodules: bool,
    /// Directories to use. Each must exist. Default: all directories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sparse_checkout: Vec<String>,
    /// Whether the controller leaves the object alone until it is deleted. The last revision stays in use.
    /// Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "serde needs the type of the field"
)]
fn default_timeout() -> Option<String> {
    Some("60s".to_owned())
}

/// Selects a revision. Of several fields the first in this order is used: `commit`, `name`, `tag`, `semver`,
/// `branch`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct GitReference {
    /// Name of a branch. The revision is its newest commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Name of a tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Range of semantic versions, such as `>=1.2.0 <2.0.0`. The revision is the tag with the highest version
    /// in the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver: Option<String>,
    /// Full name of a ref, such as `refs/pull/420/head`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Commit id of 40 hexadecimal digits. With `branch`, the commit must be on that branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// Decides how tokens for a git server are obtained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = plain_enumeration)]
pub enum GitProvider {
    /// Credentials come from `secretRef`.
    Generic,
    /// Tokens of a GitHub App. overlayd refuses this value.
    Github,
    /// Credentials of AWS for `CodeCommit`. overlayd refuses this value.
    Aws,
    /// Workload identity of Azure DevOps. overlayd refuses this value.
    Azure,
}

/// Describes which signatures are verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitVerification {
    /// The objects whose signatures are verified. Default: `HEAD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<VerificationMode>,
    /// A Secret of the same namespace with the public keys.
    pub secret_ref: LocalReference,
}

/// Selects the objects whose signatures are verified.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = plain_enumeration)]
pub enum VerificationMode {
    /// The commit.
    #[serde(rename = "HEAD")]
    Head,
    /// The commit, in the old spelling.
    #[serde(rename = "head")]
    OldHead,
    /// The tag object.
    Tag,
    /// The tag object and the commit.
    #[serde(rename = "TagAndHEAD")]
    TagAndHead,
}

/// Copies the tree of another GitRepository into this tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitInclude {
    /// The other GitRepository, of the same namespace.
    pub repository: LocalReference,
    /// Directory in the other repository. Default: its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_path: Option<String>,
    /// Directory in this tree. Default: the name of the other GitRepository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_path: Option<String>,
}

/// Shows the result of the last fetch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitRepositoryStatus {
    /// Generation of the specification that this status belongs to. -1 before the first reconcile.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// Conditions. `Ready` says whether the last fetch succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The revision that Kustomizations use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// Value of `spec.ignore` behind `artifact`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_ignore: Option<String>,
    /// Value of `spec.recurseSubmodules` behind `artifact`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observed_recurse_submodules: bool,
    /// Value of `spec.include` behind `artifact`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed_include: Vec<GitInclude>,
    /// Value of `spec.sparseCheckout` behind `artifact`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed_sparse_checkout: Vec<String>,
    /// Revisions of the included repositories, in the order of `spec.include`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included_artifacts: Vec<Artifact>,
    /// The last value of the annotation `reconcile.fluxcd.io/requestedAt` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// Describes a revision in use. overlayd serves no tarball: `path` and `url` name the commit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Unique path of the artifact: kind, namespace, name and commit id.
    pub path: String,
    /// Address of the repository, `#` and the commit id.
    pub url: String,
    /// The revision, such as `main@sha1:<commit id>`.
    pub revision: String,
    /// SHA-256 of the content. It changes when the files change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When this revision was fetched first, in RFC 3339.
    pub last_update_time: String,
    /// Size of the artifact in bytes. overlayd does not set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// Further annotations of the artifact. overlayd sets none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

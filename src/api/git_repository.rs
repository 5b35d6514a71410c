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

use super::kustomization::LocalReference;

/// A git repository, and which of its revisions to take.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "source.toolkit.fluxcd.io",
    version = "v1",
    kind = "GitRepository",
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
pub(crate) struct GitRepositorySpec {
    /// `http://`, `https://` or `ssh://`; the scp form is refused.
    #[schemars(regex(pattern = r"^(http|https|ssh)://.*$"))]
    pub(crate) url: String,
    /// Time between checks after a success, such as `1m` or `1h30m`.
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub(crate) interval: String,
    /// Bound of one git operation.
    #[serde(default = "default_timeout", skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$"))]
    pub(crate) timeout: Option<String>,
    /// Which revision; the branch `master` if nothing is given.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<GitReference>,
    /// A Secret of the same namespace with credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret_ref: Option<LocalReference>,
    /// Who issues tokens; `generic` means nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<GitProvider>,
    /// Workload identity for `provider: aws` and `azure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service_account_name: Option<String>,
    /// A Secret with `address`, `username` and `password` of a proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proxy_secret_ref: Option<LocalReference>,
    /// Signatures to check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verify: Option<GitVerification>,
    /// Patterns in gitignore form of what to leave out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ignore: Option<String>,
    /// Trees of other repositories to copy in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) include: Vec<GitInclude>,
    /// Take submodules along.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) recurse_submodules: bool,
    /// Only these directories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sparse_checkout: Vec<String>,
    /// Do nothing, but for a deletion.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) suspend: bool,
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "serde needs the type of the field"
)]
fn default_timeout() -> Option<String> {
    Some("60s".to_owned())
}

/// Which revision. The first that is given counts: commit, name, tag, semver, branch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct GitReference {
    /// A branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) branch: Option<String>,
    /// A tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
    /// The highest tag of a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) semver: Option<String>,
    /// A full ref name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// A commit id of 40 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<String>,
}

/// Who issues tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GitProvider {
    Generic,
    Github,
    Aws,
    Azure,
}

/// Signatures to check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GitVerification {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<VerificationMode>,
    pub(crate) secret_ref: LocalReference,
}

/// What to check.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum VerificationMode {
    #[serde(rename = "HEAD")]
    Head,
    #[serde(rename = "head")]
    OldHead,
    Tag,
    #[serde(rename = "TagAndHEAD")]
    TagAndHead,
}

/// The tree of another repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GitInclude {
    pub(crate) repository: LocalReference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to_path: Option<String>,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GitRepositoryStatus {
    /// The generation that the status speaks of.
    #[serde(default = "never_observed")]
    pub(crate) observed_generation: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<Condition>,
    /// The revision that is in service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact: Option<Artifact>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) observed_ignore: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) observed_recurse_submodules: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) observed_include: Vec<GitInclude>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) observed_sparse_checkout: Vec<String>,
    /// Of the repositories that are included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) included_artifacts: Vec<Artifact>,
    /// The last value of the request annotation that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_handled_reconcile_at: Option<String>,
}

/// What an object of nobody's observation says.
pub(crate) fn never_observed() -> i64 {
    -1
}

/// A revision in service. There is no tarball and no server: path and URL name the mirror's commit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Artifact {
    pub(crate) path: String,
    pub(crate) url: String,
    pub(crate) revision: String,
    /// Changes when the tree does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    pub(crate) last_update_time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<i64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
}

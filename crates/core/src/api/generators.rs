//! Pure: the generators of `generators.external-secrets.io/v1alpha1` that overlayd runs, and `ClusterGenerator`, which
//! wraps one for all namespaces.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A password, made anew at every refresh.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "generators.external-secrets.io",
    version = "v1alpha1",
    kind = "Password",
    namespaced,
    category = "external-secrets",
    category = "external-secrets-generators",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSpec {
    /// Characters in all.
    #[serde(default = "password_length")]
    pub length: i64,
    /// How many of them are digits; a quarter if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digits: Option<i64>,
    /// How many of them are symbols; a quarter if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbols: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol_characters: Option<String>,
    /// No capital letters.
    #[serde(default)]
    pub no_upper: bool,
    /// A character may come twice.
    #[serde(default)]
    pub allow_repeat: bool,
    /// The keys of the passwords, one for each; `password` if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_keys: Vec<String>,
    #[serde(default)]
    pub encoding: PasswordEncoding,
}

fn password_length() -> i64 {
    24
}

impl Default for PasswordSpec {
    fn default() -> Self {
        Self {
            length: password_length(),
            digits: None,
            symbols: None,
            symbol_characters: None,
            no_upper: false,
            allow_repeat: false,
            secret_keys: Vec::new(),
            encoding: PasswordEncoding::Raw,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PasswordEncoding {
    #[default]
    Raw,
    Base64,
    Base64url,
    Base32,
    Hex,
}

/// A random UUID, made anew at every refresh.
#[derive(
    CustomResource, Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "generators.external-secrets.io",
    version = "v1alpha1",
    kind = "UUID",
    plural = "uuids",
    namespaced,
    category = "external-secrets",
    category = "external-secrets-generators",
    derive = "PartialEq"
)]
pub struct UuidSpec {}

/// Fixed values, for tests.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "generators.external-secrets.io",
    version = "v1alpha1",
    kind = "Fake",
    namespaced,
    category = "external-secrets",
    category = "external-secrets-generators",
    derive = "PartialEq"
)]
pub struct FakeSpec {
    /// The class of controllers that serve it; empty for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

/// A generator for all namespaces.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "generators.external-secrets.io",
    version = "v1alpha1",
    kind = "ClusterGenerator",
    category = "external-secrets",
    category = "external-secrets-generators",
    derive = "PartialEq"
)]
pub struct ClusterGeneratorSpec {
    pub kind: String,
    pub generator: GeneratorChoice,
}

/// Exactly one generator. Those that are not built in are kept as they are, and reported.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorChoice {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_spec: Option<PasswordSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid_spec: Option<UuidSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fake_spec: Option<FakeSpec>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub others: BTreeMap<String, Value>,
}

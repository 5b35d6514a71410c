//! Pure: the generators of `generators.external-secrets.io/v1alpha1` that overlayd implements, and `ClusterGenerator`,
//! which makes a generator available to all namespaces.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::plain_enumeration;

/// Generates a new random password at every refresh.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "generators.external-secrets.io",
    version = "v1alpha1",
    kind = "Password",
    doc = "Generates a new random password at every refresh.",
    namespaced,
    category = "external-secrets",
    category = "external-secrets-generators",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSpec {
    /// Number of characters, from 1 to 65536. Default: 24.
    #[serde(default = "password_length")]
    pub length: i64,
    /// Number of digits among the characters. Default: a quarter of `length`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digits: Option<i64>,
    /// Number of symbols among the characters. Default: a quarter of `length`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbols: Option<i64>,
    /// The symbols to choose from. Default: all ASCII punctuation except `'` and `;`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol_characters: Option<String>,
    /// Whether upper-case letters are left out. Default: `false`.
    #[serde(default)]
    pub no_upper: bool,
    /// Whether a character may occur more than once. Default: `false`.
    #[serde(default)]
    pub allow_repeat: bool,
    /// The keys of the result. Each key gets its own password. Default: the single key `password`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_keys: Vec<String>,
    /// How the password is encoded. Default: `raw`.
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

/// Encoding of a generated password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = plain_enumeration)]
pub enum PasswordEncoding {
    /// The password itself.
    #[default]
    Raw,
    /// Base64 of the standard alphabet, with padding.
    Base64,
    /// Base64 of the URL alphabet, with padding.
    Base64url,
    /// Base32, with padding.
    Base32,
    /// Lower-case hexadecimal digits.
    Hex,
}

/// Generates a new random UUID at every refresh, under the key `uuid`.
#[derive(
    CustomResource, Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "generators.external-secrets.io",
    version = "v1alpha1",
    kind = "UUID",
    doc = "Generates a new random UUID at every refresh.",
    plural = "uuids",
    namespaced,
    category = "external-secrets",
    category = "external-secrets-generators",
    derive = "PartialEq"
)]
pub struct UuidSpec {}

/// Returns fixed values, for tests.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "generators.external-secrets.io",
    version = "v1alpha1",
    kind = "Fake",
    doc = "Returns fixed values, for tests.",
    namespaced,
    category = "external-secrets",
    category = "external-secrets-generators",
    derive = "PartialEq"
)]
pub struct FakeSpec {
    /// Class of the controller that serves the generator. Default: every controller serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// The values by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

/// Makes a generator available to all namespaces.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "generators.external-secrets.io",
    version = "v1alpha1",
    kind = "ClusterGenerator",
    doc = "Makes a generator available to all namespaces.",
    category = "external-secrets",
    category = "external-secrets-generators",
    derive = "PartialEq"
)]
pub struct ClusterGeneratorSpec {
    /// Kind of the generator, such as `Password`. It must agree with the member of `generator`.
    pub kind: String,
    /// The specification of the generator.
    pub generator: GeneratorChoice,
}

/// Holds the specification of exactly one generator.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorChoice {
    /// Specification of a `Password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_spec: Option<PasswordSpec>,
    /// Specification of a `UUID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid_spec: Option<UuidSpec>,
    /// Specification of a `Fake`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fake_spec: Option<FakeSpec>,
    /// Generators that overlayd does not implement, as they were written. An ExternalSecret that uses one
    /// gets an error.
    #[serde(flatten)]
    #[schemars(skip)]
    pub others: BTreeMap<String, Value>,
}

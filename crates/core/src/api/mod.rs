//! Pure: the custom resources, as types with serde and a schema, without behaviour.
//!
//! Groups, fields, defaults, columns and short names are those of Flux and External Secrets, so that
//! existing manifests work unchanged. [`crds`] makes the definitions that are installed and kept in `base/`.
//! The doc comments of the types and fields become the descriptions in these definitions.

use schemars::Schema;
use serde_json::Value;

pub mod annotations;
pub mod crds;
pub mod external_secret;
mod flux_rules;
pub mod generators;
pub mod git_repository;
pub mod kustomization;
pub mod local_reference;
pub mod receiver;
pub mod secret_store;

/// `apiVersion` of a GitRepository.
pub const GIT_REPOSITORY_API: &str = "source.toolkit.fluxcd.io/v1";
/// `apiVersion` of a Kustomization.
pub const KUSTOMIZATION_API: &str = "kustomize.toolkit.fluxcd.io/v1";
/// `apiVersion` of a Receiver.
pub const RECEIVER_API: &str = "notification.toolkit.fluxcd.io/v1";
/// `apiVersion` of ExternalSecrets and their stores.
pub const EXTERNAL_SECRETS_API: &str = "external-secrets.io/v1";

/// The observed generation of an object that no controller has reconciled yet.
fn never_observed() -> i64 {
    -1
}

/// Turns the schema of an enum with documented variants, a `oneOf` of constants, into a plain `enum` of texts.
///
/// kube would do this too, but later: an optional field would then lose its own description, and `null` as a value.
fn plain_enumeration(schema: &mut Schema) {
    let Some(Value::Array(variants)) = schema.remove("oneOf") else {
        return;
    };
    let names = variants
        .into_iter()
        .map(|mut variant| variant["const"].take());
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), names.collect());
}

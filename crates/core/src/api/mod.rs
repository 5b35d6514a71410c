//! Pure: the custom resources that people already have, as types: serde and schema, no behaviour.
//!
//! Groups, fields, defaults, columns and short names are those of Flux and External Secrets, so that
//! their manifests work unchanged. [`crds`] gives the definitions that are installed and kept in `base/`.

pub mod annotations;
pub mod crds;
pub mod external_secret;
pub mod generators;
pub mod git_repository;
pub mod kustomization;
pub mod receiver;
pub mod secret_store;

/// The version of both Flux kinds, as `apiVersion` writes it.
pub const GIT_REPOSITORY_API: &str = "source.toolkit.fluxcd.io/v1";
/// `apiVersion` of a Kustomization.
pub const KUSTOMIZATION_API: &str = "kustomize.toolkit.fluxcd.io/v1";
/// `apiVersion` of ExternalSecrets and their stores.
pub const EXTERNAL_SECRETS_API: &str = "external-secrets.io/v1";

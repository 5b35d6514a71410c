//! The providers of secret values. The rules about Secrets are in `overlayd_core::secrets`.

pub(crate) mod provider;

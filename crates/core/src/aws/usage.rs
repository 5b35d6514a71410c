//! Pure: the secrets that the stores and ExternalSecrets of a repository or a cluster read from AWS.

use crate::api::external_secret::{ExternalSecretSpec, StoreKind};
use crate::api::secret_store::SecretStoreSpec;
use crate::aws::reader_key::reader_key;
use crate::secrets::desired::{Lookup, StoreLookup, StoreRef, resolve};

use crate::aws::reader_key::ReaderKey;
use crate::names::StoreName;

/// The stores and ExternalSecrets of a repository or a cluster.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// The stores.
    pub stores: Vec<StoreUsage>,
    /// The ExternalSecrets.
    pub external_secrets: Vec<ExternalSecretUsage>,
}

/// A store.
#[derive(Debug, Clone)]
pub struct StoreUsage {
    /// The namespace of a `SecretStore`; nothing for a `ClusterSecretStore`.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: SecretStoreSpec,
    /// The URL of the queue of rotation events that its annotation names.
    pub queue: Option<String>,
}

/// An `ExternalSecret`.
#[derive(Debug, Clone)]
pub struct ExternalSecretUsage {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: ExternalSecretSpec,
}

/// A secret that an ExternalSecret reads from a store.
#[derive(Debug, Clone)]
pub struct UsageRead<'u> {
    /// The ExternalSecret.
    pub external_secret: &'u ExternalSecretUsage,
    /// The store.
    pub store: &'u StoreUsage,
    /// The reader of the store.
    pub key: ReaderKey,
    /// What is read. Its key has the store's prefix.
    pub lookup: Lookup,
}

impl StoreUsage {
    fn store_name(&self) -> StoreName<'_> {
        StoreName {
            namespace: self.namespace.as_deref(),
            name: &self.name,
        }
    }

    /// The reader of the store, if its identity does not depend on the namespace of the ExternalSecret.
    pub fn reader(&self) -> Option<ReaderKey> {
        reader_key(self.store_name(), &self.spec, None)
            .ok()
            .flatten()
    }
}

impl std::fmt::Display for StoreUsage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(formatter, "SecretStore {namespace}/{}", self.name),
            None => write!(formatter, "ClusterSecretStore {}", self.name),
        }
    }
}

impl Usage {
    /// Every read from AWS, and notes about ExternalSecrets and stores that are left out.
    pub fn reads(&self) -> (Vec<UsageRead<'_>>, Vec<String>) {
        let (mut all, mut notes) = (Vec::new(), Vec::new());
        for external_secret in &self.external_secrets {
            let place = format!(
                "ExternalSecret {}/{}",
                external_secret.namespace, external_secret.name
            );
            let desired = match resolve(&external_secret.name, &external_secret.spec) {
                Ok(desired) => desired,
                Err(error) => {
                    notes.push(format!("{place} is left out: {error}"));
                    continue;
                }
            };
            for read in desired.lookups() {
                let StoreLookup {
                    store: reference,
                    lookup,
                } = read;
                let Some(store) = self.store(&reference, &external_secret.namespace) else {
                    notes.push(format!("{place} is left out: {reference} is not here"));
                    continue;
                };
                let Some(aws) = &store.spec.provider.aws else {
                    continue;
                };
                match reader_key(
                    store.store_name(),
                    &store.spec,
                    Some(&external_secret.namespace),
                ) {
                    Ok(Some(key)) => {
                        let prefix = aws.prefix.as_deref().unwrap_or_default();
                        let lookup = with_prefix(lookup, prefix);
                        all.push(UsageRead {
                            external_secret,
                            store,
                            key,
                            lookup,
                        });
                    }
                    Ok(None) => {}
                    Err(error) => notes.push(format!("{store} is left out: {error}")),
                }
            }
        }
        notes.sort();
        notes.dedup();
        (all, notes)
    }

    fn store(&self, reference: &StoreRef, namespace: &str) -> Option<&StoreUsage> {
        let own = match reference.kind {
            StoreKind::SecretStore => Some(namespace),
            StoreKind::ClusterSecretStore => None,
        };
        let mut stores = self.stores.iter();
        stores.find(|store| store.name == reference.name && store.namespace.as_deref() == own)
    }
}

/// A lookup with the prefix of its store before the key. A search has no key.
fn with_prefix(lookup: Lookup, prefix: &str) -> Lookup {
    match lookup {
        Lookup::Value { key, version } => Lookup::Value {
            key: format!("{prefix}{key}"),
            version,
        },
        Lookup::Tags { key } => Lookup::Tags {
            key: format!("{prefix}{key}"),
        },
        found @ Lookup::Find(_) => found,
    }
}

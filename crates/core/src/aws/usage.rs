//! Pure: who asks AWS for what, as stores and ExternalSecrets have it.

use crate::api::external_secret::{ExternalSecretSpec, StoreKind};
use crate::api::secret_store::SecretStoreSpec;
use crate::aws::reader_key::reader_key;
use crate::secrets::desired::{Lookup, StoreLookup, StoreRef, resolve};

use crate::aws::identity::StoreName;
use crate::aws::reader_key::ReaderKey;

/// The stores and ExternalSecrets of a repository or a cluster.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    pub stores: Vec<StoreUsage>,
    pub users: Vec<ExternalSecretUsage>,
}

/// A store; without a namespace it is for all of them.
#[derive(Debug, Clone)]
pub struct StoreUsage {
    pub namespace: Option<String>,
    pub name: String,
    pub spec: SecretStoreSpec,
    /// The queue of rotation events that it names.
    pub queue: Option<String>,
}

/// An `ExternalSecret`.
#[derive(Debug, Clone)]
pub struct ExternalSecretUsage {
    pub namespace: String,
    pub name: String,
    pub spec: ExternalSecretSpec,
}

/// One question, and who asks it of whom. Keys have their store's prefix.
#[derive(Debug, Clone)]
pub struct UsageRead<'u> {
    pub user: &'u ExternalSecretUsage,
    pub store: &'u StoreUsage,
    pub key: ReaderKey,
    pub ask: Lookup,
}

impl StoreUsage {
    fn store_name(&self) -> StoreName<'_> {
        StoreName {
            namespace: self.namespace.as_deref(),
            name: &self.name,
        }
    }

    /// Who reads for the store itself, if that does not depend on who uses it.
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
    /// Every question that is asked of AWS, and what could not be made sense of.
    pub fn asked(&self) -> (Vec<UsageRead<'_>>, Vec<String>) {
        let (mut all, mut notes) = (Vec::new(), Vec::new());
        for user in &self.users {
            let place = format!("ExternalSecret {}/{}", user.namespace, user.name);
            let desired = match resolve(&user.name, &user.spec) {
                Ok(desired) => desired,
                Err(error) => {
                    notes.push(format!("{place} is left out: {error}"));
                    continue;
                }
            };
            for StoreLookup {
                store: reference,
                lookup: ask,
            } in desired.lookups()
            {
                let Some(store) = self.store(&reference, &user.namespace) else {
                    notes.push(format!("{place} is left out: {reference} is not here"));
                    continue;
                };
                let Some(aws) = &store.spec.provider.aws else {
                    continue;
                };
                match reader_key(store.store_name(), &store.spec, Some(&user.namespace)) {
                    Ok(Some(key)) => {
                        let prefix = aws.prefix.as_deref().unwrap_or_default();
                        let ask = with_prefix(ask, prefix);
                        all.push(UsageRead {
                            user,
                            store,
                            key,
                            ask,
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

fn with_prefix(ask: Lookup, prefix: &str) -> Lookup {
    match ask {
        Lookup::Value { key, version } => Lookup::Value {
            key: format!("{prefix}{key}"),
            version,
        },
        Lookup::Tags { key } => Lookup::Tags {
            key: format!("{prefix}{key}"),
        },
        // A prefix is for keys alone.
        found @ Lookup::Find(_) => found,
    }
}

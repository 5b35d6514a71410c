//! Talks to the API server: the identity that applies each Kustomization, with one client for each service account.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use kube::{Client, Config};
use parking_lot::Mutex;

use overlayd_core::apply::takeover::FIELD_MANAGER;
use overlayd_core::error_chain::causes;
use overlayd_core::names::NamespacedName;
use overlayd_core::recent_map::RecentMap;

use crate::cluster::apply::{Applier, ApplierConfig};
use crate::cluster::client;
use crate::cluster::watch::WatchedObjects;
use crate::metrics::Metrics;
use crate::tasks::Spawner;

/// The header by which the API server treats a request as that of another user.
const IMPERSONATE: HeaderName = HeaderName::from_static("impersonate-user");

/// So many service accounts have a client, each with connections of its own. Tenants choose the names of accounts; the
/// client that was used longest ago makes room, and is made anew when it is needed.
const MAX_ACCOUNTS: usize = 256;

/// Why there is no client for a service account.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The name cannot be part of a header, so it cannot be the name of an object either.
    #[error("`serviceAccountName: {0}` is no name of an object")]
    Name(String),
    /// The connection's configuration, which worked for the daemon, does not work for the account.
    #[error("{}", causes(.0))]
    Client(kube::Error),
}

/// The appliers of the daemon's own identity and of the service accounts that Kustomizations name.
pub(crate) struct Identities {
    connection: Config,
    metrics: Arc<Metrics>,
    config: ApplierConfig,
    /// The daemon itself watches what was applied, for all identities.
    live: Arc<WatchedObjects>,
    own: Arc<Applier>,
    accounts: Mutex<RecentMap<NamespacedName, Arc<Applier>>>,
}

impl Identities {
    /// `connection` is the daemon's own; `client` was made from it.
    pub(crate) fn new(
        connection: Config,
        client: &Client,
        metrics: Arc<Metrics>,
        config: ApplierConfig,
        spawner: Spawner,
    ) -> Self {
        let live = Arc::new(WatchedObjects::new(client.clone(), spawner));
        let own = Applier::watching(client.clone(), FIELD_MANAGER, live.clone());
        let own = own.with(config.clone());
        Self {
            connection,
            metrics,
            config,
            live,
            own: Arc::new(own),
            accounts: Mutex::new(RecentMap::new(MAX_ACCOUNTS)),
        }
    }

    /// How many service accounts have a client, for metrics.
    pub(crate) fn len(&self) -> usize {
        self.accounts.lock().len()
    }

    /// The watches of everything that was applied, by whatever identity.
    pub(crate) fn live(&self) -> &Arc<WatchedObjects> {
        &self.live
    }

    /// The applier of a service account, or of the daemon if the Kustomization names none.
    ///
    /// # Errors
    /// The name cannot be sent, or the client cannot be made.
    pub(crate) fn applier(
        &self,
        namespace: &str,
        account: Option<&str>,
    ) -> Result<Arc<Applier>, IdentityError> {
        let Some(account) = account else {
            return Ok(self.own.clone());
        };
        let key = NamespacedName::new(namespace, account);
        let mut accounts = self.accounts.lock();
        if let Some(applier) = accounts.get(&key) {
            return Ok(applier);
        }
        let connection = impersonating(self.connection.clone(), &key)?;
        let client = client::client(connection, &self.metrics).map_err(IdentityError::Client)?;
        let applier = Applier::watching(client, FIELD_MANAGER, self.live.clone());
        let applier = Arc::new(applier.named(account).with(self.config.clone()));
        accounts.insert(key, applier.clone());
        Ok(applier)
    }
}

/// The connection of the daemon, as a service account uses it.
fn impersonating(
    mut connection: Config,
    account: &NamespacedName,
) -> Result<Config, IdentityError> {
    let NamespacedName { namespace, name } = account;
    let user = format!("system:serviceaccount:{namespace}:{name}");
    let user = HeaderValue::from_str(&user).map_err(|_| IdentityError::Name(name.clone()))?;
    // Groups of a kubeconfig's own impersonation would give the account rights that it does not have.
    let own = &mut connection.auth_info;
    (own.impersonate, own.impersonate_uid) = (None, None);
    (own.impersonate_groups, own.impersonate_user_extra) = (None, None);
    connection.headers.push((IMPERSONATE, user));
    Ok(connection)
}

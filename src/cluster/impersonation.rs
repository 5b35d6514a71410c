//! Talks to the API server: as whom each Kustomization is applied. One client for each service account.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use kube::{Client, Config};
use parking_lot::Mutex;

use crate::cluster::apply::Habits;
use crate::cluster::apply::{Applier, FIELD_MANAGER};
use crate::cluster::client;
use crate::cluster::watch::Live;
use crate::daemon::metrics::Metrics;
use crate::tasks::Spawner;

/// How the API server is asked to let a request be another's.
const IMPERSONATE: HeaderName = HeaderName::from_static("impersonate-user");

/// The daemon's own identity, and those that Kustomizations name.
pub(crate) struct Identities {
    config: Config,
    metrics: Arc<Metrics>,
    habits: Habits,
    /// What is watched is watched by the daemon itself, for all of them.
    live: Arc<Live>,
    own: Arc<Applier>,
    /// By namespace and name.
    accounts: Mutex<BTreeMap<(String, String), Arc<Applier>>>,
}

impl Identities {
    pub(crate) fn new(
        config: Config,
        client: &Client,
        metrics: Arc<Metrics>,
        habits: Habits,
        spawner: Spawner,
    ) -> Self {
        let live = Arc::new(Live::new(client.clone(), spawner));
        let own = Applier::watching(client.clone(), FIELD_MANAGER, live.clone());
        let own = own.with(habits.clone());
        Self {
            config,
            metrics,
            habits,
            live,
            own: Arc::new(own),
            accounts: Mutex::default(),
        }
    }

    /// What is watched of what was applied, by whomever.
    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Applies as a service account; as the daemon if none is named.
    ///
    /// # Errors
    /// The name cannot be sent, or there can be no client.
    pub(crate) fn applier(
        &self,
        namespace: &str,
        account: Option<&str>,
    ) -> Result<Arc<Applier>, String> {
        let Some(account) = account else {
            return Ok(self.own.clone());
        };
        let key = (namespace.to_owned(), account.to_owned());
        let mut accounts = self.accounts.lock();
        if let Some(applier) = accounts.get(&key) {
            return Ok(applier.clone());
        }
        let user = format!("system:serviceaccount:{namespace}:{account}");
        let user = HeaderValue::from_str(&user)
            .map_err(|_| format!("`serviceAccountName: {account}` is no name of an object"))?;
        let mut config = self.config.clone();
        // Groups of a kubeconfig's own impersonation would make the account more than it is.
        let mine = &mut config.auth_info;
        (mine.impersonate, mine.impersonate_uid) = (None, None);
        (mine.impersonate_groups, mine.impersonate_user_extra) = (None, None);
        config.headers.push((IMPERSONATE, user));
        let client = client::client(config, &self.metrics).map_err(|error| error.to_string())?;
        let applier = Applier::watching(client, FIELD_MANAGER, self.live.clone());
        let applier = Arc::new(applier.named(account).with(self.habits.clone()));
        accounts.insert(key, applier.clone());
        Ok(applier)
    }
}

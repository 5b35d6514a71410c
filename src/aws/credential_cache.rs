//! Talks to nobody by itself: the credentials of one identity, loaded once however many calls wait for them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future::ProvideCredentials as Providing};
use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};

use overlayd_core::aws::credentials::{CredentialAge, CredentialError, credential_age};
use overlayd_core::schedule::backoff;

/// Where credentials are loaded from.
pub(super) trait CredentialSource: Send + Sync + std::fmt::Debug {
    /// Loads credentials.
    fn load(&self) -> BoxFuture<'_, Result<Credentials, CredentialError>>;
}

/// The credentials of one identity. They are renewed before they expire, while the old ones still work.
#[derive(Debug, Clone)]
pub(crate) struct CredentialCache(Arc<Cache>);

/// The state that all clones share.
#[derive(Debug)]
struct Cache {
    source: Box<dyn CredentialSource>,
    loaded: Mutex<Loaded>,
    /// Held while credentials are loaded.
    loading: tokio::sync::Mutex<()>,
}

/// The last credentials, and the last failure.
#[derive(Debug, Default)]
struct Loaded {
    credentials: Option<(Credentials, SystemTime)>,
    /// Why the last try failed, and until when it is not repeated.
    failed: Option<(CredentialError, SystemTime)>,
    failures: u32,
}

/// How long a load may take.
const LONGEST: Duration = Duration::from_secs(30);

impl CredentialCache {
    /// A cache that has loaded nothing yet.
    pub(super) fn new(source: Box<dyn CredentialSource>) -> Self {
        Self(Arc::new(Cache {
            source,
            loaded: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
        }))
    }

    /// The state, locked. The lock is never held over an await.
    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.0.loaded.lock()
    }

    /// Credentials that work, or why there are none. A failure is remembered for a moment, so that many waiting calls do
    /// not repeat it.
    pub(crate) async fn get(&self) -> Result<Credentials, CredentialError> {
        let (old, age) = self.look();
        match (old, age) {
            (Some(old), CredentialAge::Fresh) => Ok(old),
            (Some(old), CredentialAge::Ageing) => match self.0.loading.try_lock() {
                Ok(_guard) => Ok(self.load().await.unwrap_or(old)),
                Err(_) => Ok(old),
            },
            _ => {
                let _guard = self.0.loading.lock().await;
                match self.look() {
                    (Some(new), CredentialAge::Fresh | CredentialAge::Ageing) => Ok(new),
                    _ => self.load().await,
                }
            }
        }
    }

    /// What the cache holds, and how old it is, without a request.
    fn look(&self) -> (Option<Credentials>, CredentialAge) {
        let loaded = self.loaded();
        let Some((credentials, at)) = &loaded.credentials else {
            return (None, CredentialAge::Expired);
        };
        let age = credential_age(*at, credentials.expiry(), SystemTime::now());
        (Some(credentials.clone()), age)
    }

    /// Loads credentials, unless a failure is still remembered. The caller holds `loading`.
    async fn load(&self) -> Result<Credentials, CredentialError> {
        let now = SystemTime::now();
        if let Some((error, until)) = &self.loaded().failed
            && now < *until
        {
            return Err(error.clone());
        }
        let result = tokio::time::timeout(LONGEST, self.0.source.load()).await;
        let result = result.unwrap_or(Err(CredentialError::Timeout));
        let mut loaded = self.loaded();
        match &result {
            Ok(credentials) => {
                *loaded = Loaded {
                    credentials: Some((credentials.clone(), SystemTime::now())),
                    ..Loaded::default()
                };
            }
            Err(error) => {
                let bounds = (Duration::from_millis(500), Duration::from_secs(30));
                let wait = backoff(bounds.0, bounds.1, loaded.failures);
                loaded.failures += 1;
                loaded.failed = Some((error.clone(), SystemTime::now() + wait));
            }
        }
        result
    }

    /// Loads other credentials at the next use, because what they come from has changed.
    pub(crate) fn forget(&self) {
        *self.loaded() = Loaded::default();
    }

    /// The same, if these credentials, which AWS has refused, are still the ones in use.
    pub(crate) fn refuse(&self, refused: &Credentials) {
        let mut loaded = self.loaded();
        let own = loaded.credentials.as_ref();
        if own.is_some_and(|(own, _)| own.access_key_id() == refused.access_key_id()) {
            *loaded = Loaded::default();
        }
    }
}

impl ProvideCredentials for CredentialCache {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(async {
            let credentials = self.get().await;
            credentials.map_err(CredentialsError::provider_error)
        })
    }
}

//! Talks to AWS and the API server: one session (credentials and configuration) per identity, shared by all who use it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, SharedCredentialsProvider, future::ProvideCredentials as Providing,
};
use aws_smithy_http_client::tls;
use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OnceCell;

use crate::aws::sts;
use overlayd_core::aws::identity::{Base, Identity};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 15 });

/// What the process knows of AWS: addresses that replace the usual ones, for people who come from External Secrets. The
/// SDK reads its own variables.
#[derive(Debug, Clone, Default)]
pub(crate) struct AwsEnvironment {
    /// `AWS_SECRETSMANAGER_ENDPOINT`.
    pub(crate) secrets_manager_endpoint: Option<String>,
    /// `AWS_SSM_ENDPOINT`.
    pub(crate) parameter_store_endpoint: Option<String>,
    /// `AWS_STS_ENDPOINT`.
    pub(crate) sts_endpoint: Option<String>,
}

impl AwsEnvironment {
    /// As the variables of this process have it.
    pub(crate) fn of_process() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self {
            secrets_manager_endpoint: variable("AWS_SECRETSMANAGER_ENDPOINT"),
            parameter_store_endpoint: variable("AWS_SSM_ENDPOINT"),
            sts_endpoint: variable("AWS_STS_ENDPOINT"),
        }
    }
}

/// The sessions of this process.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) environment: AwsEnvironment,
    /// Where service accounts and Secrets with keys are; nothing at a desk without a cluster.
    cluster: Option<Cluster>,
    /// Stands for the default chain.
    process: Option<SharedCredentialsProvider>,
    /// One connector for all: what is costly in it is the set of certificates.
    base: OnceCell<SdkConfig>,
    kept: Mutex<BTreeMap<Identity, Arc<AwsSession>>>,
}

/// The client of the API server. Its `Debug` says nothing.
#[derive(Clone)]
struct Cluster(kube::Client);

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Cluster")
    }
}

/// One identity at work.
#[derive(Debug)]
pub(crate) struct AwsSession {
    /// Its credentials provider is the session's own.
    pub(crate) config: SdkConfig,
    pub(crate) credentials: CredentialCache,
    /// As whom its role is assumed.
    parent: Option<Arc<Self>>,
}

impl AwsSession {
    /// Gets other credentials at the next use, from the beginning.
    pub(crate) fn forget(&self) {
        self.credentials.forget();
        if let Some(parent) = &self.parent {
            parent.forget();
        }
    }
}

impl Sessions {
    pub(crate) fn new(environment: AwsEnvironment, cluster: Option<kube::Client>) -> Self {
        Self {
            environment,
            cluster: cluster.map(Cluster),
            process: None,
            base: OnceCell::new(),
            kept: Mutex::default(),
        }
    }

    /// The same, with these credentials where the default chain would be asked.
    #[cfg(test)]
    pub(super) fn with_process(mut self, credentials: Credentials) -> Self {
        self.process = Some(SharedCredentialsProvider::new(credentials));
        self
    }

    /// The session of an identity, begun at the first use. Nothing is asked of AWS yet.
    pub(crate) fn of<'s>(&'s self, identity: &'s Identity) -> BoxFuture<'s, Arc<AwsSession>> {
        Box::pin(async move {
            if let Some(known) = self.lock().get(identity) {
                return known.clone();
            }
            let config = self.configuration(&identity.region).await;
            let (source, parent) = match identity.parent() {
                Some((parent, role)) => {
                    let parent = self.of(&parent).await;
                    let role = sts::Assumption::new(&self.environment, &parent.config, role);
                    (CredentialSource::Role(role, parent.clone()), Some(parent))
                }
                None => (self.first(identity, &config).await, None),
            };
            let credentials = CredentialCache::new(source);
            let provider = SharedCredentialsProvider::new(credentials.clone());
            let config = config.into_builder().credentials_provider(provider);
            let session = Arc::new(AwsSession {
                config: config.build(),
                credentials,
                parent,
            });
            let mut kept = self.lock();
            kept.entry(identity.clone()).or_insert(session).clone()
        })
    }

    /// Where the credentials of an identity without roles come from.
    async fn first(&self, identity: &Identity, config: &SdkConfig) -> CredentialSource {
        let cluster = || self.cluster.clone().map(|cluster| cluster.0);
        match (&identity.base, &self.process) {
            (Base::Process, Some(provider)) => CredentialSource::Process(provider.clone()),
            (Base::Process, None) => {
                let provider =
                    aws_config::default_provider::credentials::DefaultCredentialsChain::builder()
                        .configure(
                            aws_config::provider_config::ProviderConfig::default()
                                .with_region(config.region().cloned())
                                .with_http_client(connector()),
                        )
                        .region(Region::new(identity.region.clone()))
                        .build()
                        .await;
                CredentialSource::Process(SharedCredentialsProvider::new(provider))
            }
            (
                Base::ServiceAccount {
                    namespace,
                    name,
                    audiences,
                },
                _,
            ) => CredentialSource::Account(sts::AccountToken::new(
                &self.environment,
                config,
                cluster(),
                (namespace, name, audiences),
            )),
            (base @ Base::Keys { .. }, _) => {
                CredentialSource::Keys(self.cluster.clone(), base.clone())
            }
        }
    }

    /// The configuration of a region, without credentials. Calls are tried again by us, in turn, not by the SDK.
    async fn configuration(&self, region: &str) -> SdkConfig {
        let load = async || {
            // Without these an answer that never comes would be waited for.
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(5))
                .operation_timeout(PATIENCE)
                .build();
            aws_config::defaults(BehaviorVersion::latest())
                .http_client(connector())
                .no_credentials()
                .timeout_config(timeouts)
                .identity_cache(IdentityCache::no_cache())
                .retry_config(RetryConfig::disabled())
                .region(Region::new(region.to_owned()))
                .load()
                .await
        };
        let base = self.base.get_or_init(load).await;
        let region = Region::new(region.to_owned());
        base.to_builder().region(Some(region)).build()
    }

    /// Ends the sessions that nobody holds.
    pub(crate) fn tidy(&self) {
        self.lock()
            .retain(|_, session| Arc::strong_count(session) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Identity, Arc<AwsSession>>> {
        self.kept.lock()
    }
}

/// The one connector of the process.
fn connector() -> aws_sdk_sts::config::SharedHttpClient {
    static CONNECTOR: std::sync::OnceLock<aws_sdk_sts::config::SharedHttpClient> =
        std::sync::OnceLock::new();
    let make = || {
        let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        aws_smithy_http_client::Builder::new()
            .tls_provider(provider)
            .build_https()
    };
    CONNECTOR.get_or_init(make).clone()
}

/// Where a session's credentials come from.
#[derive(Debug)]
enum CredentialSource {
    Process(SharedCredentialsProvider),
    Account(sts::AccountToken),
    Keys(Option<Cluster>, Base),
    /// A role, and as whom it is assumed.
    Role(sts::Assumption, Arc<AwsSession>),
}

impl CredentialSource {
    async fn load(&self) -> Result<Credentials, String> {
        match self {
            Self::Process(provider) => provider
                .provide_credentials()
                .await
                .map_err(|error| overlayd_core::error_chain::causes(&error)),
            Self::Account(account) => account.assume().await,
            Self::Keys(cluster, base) => {
                sts::static_keys(cluster.as_ref().map(|cluster| &cluster.0), base).await
            }
            Self::Role(assumption, parent) => {
                let assumed = assumption.assume().await;
                // What they come from may be what is wrong.
                if assumed.is_err() {
                    parent.forget();
                }
                assumed
            }
        }
    }
}

/// The credentials of one identity: got once, however many wait, and got again ahead of their end while the old ones
/// still serve.
#[derive(Debug, Clone)]
pub(crate) struct CredentialCache(Arc<Cache>);

#[derive(Debug)]
struct Cache {
    source: CredentialSource,
    kept: Mutex<Kept>,
    /// Held by the one who loads.
    loading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    credentials: Option<(Credentials, SystemTime)>,
    /// Why the last try failed, and until when it is not tried again.
    failed: Option<(String, SystemTime)>,
    failures: u32,
}

/// What to do with credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Fresh,
    /// They serve, and somebody should get new ones.
    Ageing,
    Over,
}

/// How long credentials are waited for.
const LONGEST: Duration = Duration::from_secs(30);

/// Credentials without an end are got again after a while, for files and Secrets change.
const ENDLESS: Duration = Duration::from_secs(15 * 60);

fn age(loaded: SystemTime, end: Option<SystemTime>, now: SystemTime) -> Age {
    const MARGIN: Duration = Duration::from_secs(5 * 60);
    /// A call with these would arrive too late.
    const ON_THE_WAY: Duration = Duration::from_millis(500);
    let Some(end) = end else {
        let passed = now.duration_since(loaded).unwrap_or_default();
        return if passed < ENDLESS {
            Age::Fresh
        } else {
            Age::Ageing
        };
    };
    let left = end.duration_since(now).unwrap_or_default();
    let lifetime = end.duration_since(loaded).unwrap_or_default();
    if left <= ON_THE_WAY {
        Age::Over
    } else if left <= MARGIN.min(lifetime / 5) {
        Age::Ageing
    } else {
        Age::Fresh
    }
}

impl CredentialCache {
    fn new(source: CredentialSource) -> Self {
        Self(Arc::new(Cache {
            source,
            kept: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
        }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock()
    }

    /// Credentials that serve, or why there are none. A failure is remembered for a moment, so that many who wait do not
    /// all ask again.
    pub(crate) async fn get(&self) -> Result<Credentials, String> {
        let (old, age) = self.look();
        match (old, age) {
            (Some(old), Age::Fresh) => Ok(old),
            (Some(old), Age::Ageing) => match self.0.loading.try_lock() {
                Ok(_guard) => Ok(self.load().await.unwrap_or(old)),
                Err(_) => Ok(old),
            },
            _ => {
                let _guard = self.0.loading.lock().await;
                match self.look() {
                    (Some(new), Age::Fresh | Age::Ageing) => Ok(new),
                    _ => self.load().await,
                }
            }
        }
    }

    fn look(&self) -> (Option<Credentials>, Age) {
        let kept = self.kept();
        let Some((credentials, loaded)) = &kept.credentials else {
            return (None, Age::Over);
        };
        let age = age(*loaded, credentials.expiry(), SystemTime::now());
        (Some(credentials.clone()), age)
    }

    async fn load(&self) -> Result<Credentials, String> {
        let now = SystemTime::now();
        if let Some((reason, until)) = &self.kept().failed
            && now < *until
        {
            return Err(reason.clone());
        }
        let loaded = tokio::time::timeout(LONGEST, self.0.source.load()).await;
        let loaded = loaded.unwrap_or_else(|_| Err("they did not come in time".to_owned()));
        let mut kept = self.kept();
        match loaded {
            Ok(credentials) => {
                *kept = Kept {
                    credentials: Some((credentials.clone(), SystemTime::now())),
                    ..Kept::default()
                };
                Ok(credentials)
            }
            Err(reason) => {
                let bounds = (Duration::from_millis(500), Duration::from_secs(30));
                let wait = overlayd_core::schedule::backoff(bounds.0, bounds.1, kept.failures);
                kept.failures += 1;
                kept.failed = Some((reason.clone(), SystemTime::now() + wait));
                Err(reason)
            }
        }
    }

    /// Gets other credentials at the next use: these were refused, or what they come from has changed.
    pub(crate) fn forget(&self) {
        *self.kept() = Kept::default();
    }

    /// The same, if these are still the ones in use.
    pub(crate) fn refuse(&self, refused: &Credentials) {
        let mut kept = self.kept();
        let is_same = kept.credentials.as_ref();
        if is_same.is_some_and(|(own, _)| own.access_key_id() == refused.access_key_id()) {
            *kept = Kept::default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_got_again_ahead_of_their_end() {
        let start = SystemTime::UNIX_EPOCH;
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        for (lifetime, now, expected) in [
            (Some(3600.0), 0.0, Age::Fresh),
            (Some(3600.0), 3299.0, Age::Fresh),
            (Some(3600.0), 3301.0, Age::Ageing),
            (Some(3600.0), 3599.8, Age::Over),
            (Some(3600.0), 9999.0, Age::Over),
            (Some(10.0), 7.0, Age::Fresh),
            (Some(10.0), 8.5, Age::Ageing),
            (Some(0.2), 0.0, Age::Over),
            (None, 10.0, Age::Fresh),
            (None, 901.0, Age::Ageing),
        ] {
            let age = age(start, lifetime.map(at), at(now));
            assert_eq!(age, expected, "{lifetime:?} at {now}");
        }
    }
}

//! Talks to AWS: one session (credentials and configuration) per identity, shared by all readers of the identity.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::identity::IdentityCache;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_sts::config::SharedHttpClient;
use aws_smithy_http_client::tls;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OnceCell;

use crate::aws::cluster_client::ClusterClient;
use crate::aws::credential_cache::{CredentialCache, CredentialSource};
use crate::aws::environment::AwsEnvironment;
use crate::aws::sts;
use overlayd_core::aws::credentials::CredentialError;
use overlayd_core::aws::identity::{Base, Identity};
use overlayd_core::error_chain::causes;

/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 15 });

/// The sessions of this process.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) environment: AwsEnvironment,
    /// Holds service accounts and Secrets with keys. A command that reads a directory has no cluster.
    cluster: Option<ClusterClient>,
    /// Replaces the default chain in tests.
    process: Option<SharedCredentialsProvider>,
    /// The configuration that all sessions start from. Its connector is costly, because it loads certificates.
    base: OnceCell<SdkConfig>,
    /// The sessions that were made, by identity.
    kept: Mutex<BTreeMap<Identity, Arc<AwsSession>>>,
}

/// The session of one identity.
#[derive(Debug)]
pub(crate) struct AwsSession {
    /// The configuration of clients. Its credentials provider is `credentials`.
    pub(crate) config: SdkConfig,
    pub(crate) credentials: CredentialCache,
    /// The session that assumes the role of this one.
    parent: Option<Arc<Self>>,
}

impl AwsSession {
    /// Loads other credentials at the next use, those of the parents included.
    pub(crate) fn forget(&self) {
        self.credentials.forget();
        if let Some(parent) = &self.parent {
            parent.forget();
        }
    }
}

impl Sessions {
    /// Sessions that start from the credentials of the process. Without a cluster, identities that need a service account
    /// or a Secret have no credentials.
    pub(crate) fn new(environment: AwsEnvironment, cluster: Option<kube::Client>) -> Self {
        Self {
            environment,
            cluster: cluster.map(ClusterClient),
            process: None,
            base: OnceCell::new(),
            kept: Mutex::default(),
        }
    }

    /// The same, with these credentials in place of the default chain.
    #[cfg(test)]
    pub(super) fn with_process(mut self, credentials: Credentials) -> Self {
        self.process = Some(SharedCredentialsProvider::new(credentials));
        self
    }

    /// The session of an identity, made at the first use. No call is made yet.
    pub(crate) fn of<'s>(&'s self, identity: &'s Identity) -> BoxFuture<'s, Arc<AwsSession>> {
        Box::pin(async move {
            if let Some(known) = self.lock().get(identity) {
                return known.clone();
            }
            let config = self.configuration(&identity.region).await;
            let (source, parent) = self.source(identity, &config).await;
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

    /// Where the credentials of an identity come from, and the session that assumes its role.
    async fn source(
        &self,
        identity: &Identity,
        config: &SdkConfig,
    ) -> (Box<dyn CredentialSource>, Option<Arc<AwsSession>>) {
        if let Some((parent, role)) = identity.parent() {
            let parent = self.of(&parent).await;
            let role = sts::AssumedRole::new(&self.environment, &parent.config, role);
            let source = RoleCredentials {
                role,
                parent: parent.clone(),
            };
            return (Box::new(source), Some(parent));
        }
        let source: Box<dyn CredentialSource> = match &identity.base {
            Base::Process => Box::new(self.process_credentials(identity, config).await),
            Base::ServiceAccount {
                namespace,
                name,
                audiences,
            } => Box::new(sts::ServiceAccountRole::new(
                &self.environment,
                config,
                self.cluster.clone(),
                (namespace, name, audiences),
            )),
            Base::Keys {
                access_key_id,
                secret_access_key,
                session_token,
            } => Box::new(sts::StaticKeys::new(
                self.cluster.clone(),
                access_key_id.clone(),
                secret_access_key.clone(),
                session_token.clone(),
            )),
        };
        (source, None)
    }

    /// The SDK's default chain: <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>.
    async fn process_credentials(
        &self,
        identity: &Identity,
        config: &SdkConfig,
    ) -> ProcessCredentials {
        if let Some(provider) = &self.process {
            return ProcessCredentials(provider.clone());
        }
        let provider = ProviderConfig::default()
            .with_region(config.region().cloned())
            .with_http_client(connector());
        let chain = DefaultCredentialsChain::builder()
            .configure(provider)
            .region(Region::new(identity.region.clone()))
            .build()
            .await;
        ProcessCredentials(SharedCredentialsProvider::new(chain))
    }

    /// The configuration of a region, without credentials. We repeat calls ourselves, within the rate limits, so the SDK
    /// does not.
    async fn configuration(&self, region: &str) -> SdkConfig {
        let load = async || {
            // Without these a call without an answer would wait forever.
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(5))
                .operation_timeout(CALL_TIMEOUT)
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

    /// Drops the sessions that nothing holds.
    pub(crate) fn tidy(&self) {
        self.lock()
            .retain(|_, session| Arc::strong_count(session) > 1);
    }

    /// The sessions, locked. The lock is never held over an await.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Identity, Arc<AwsSession>>> {
        self.kept.lock()
    }
}

/// The one connector of the process.
fn connector() -> SharedHttpClient {
    static CONNECTOR: OnceLock<SharedHttpClient> = OnceLock::new();
    let make = || {
        let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        aws_smithy_http_client::Builder::new()
            .tls_provider(provider)
            .build_https()
    };
    CONNECTOR.get_or_init(make).clone()
}

/// The credentials of the process.
#[derive(Debug)]
struct ProcessCredentials(SharedCredentialsProvider);

impl CredentialSource for ProcessCredentials {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, CredentialError>> {
        let credentials = self.0.provide_credentials();
        credentials
            .map(|result| result.map_err(|error| CredentialError::DefaultChain(causes(&error))))
            .boxed()
    }
}

/// The credentials of a role, which a parent session assumes.
#[derive(Debug)]
struct RoleCredentials {
    role: sts::AssumedRole,
    parent: Arc<AwsSession>,
}

impl CredentialSource for RoleCredentials {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, CredentialError>> {
        async {
            let assumed = self.role.load().await;
            // The credentials of the parent may be what is wrong.
            if assumed.is_err() {
                self.parent.forget();
            }
            assumed
        }
        .boxed()
    }
}

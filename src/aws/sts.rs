//! Talks to AWS and the API server: credentials of a role, by another session or by the token of a `ServiceAccount`, and keys
//! that stand in Secrets.

use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_credential_types::Credentials;
use aws_sdk_sts::Client;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::types::Tag;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};

use crate::aws::cluster_client::ClusterClient;
use crate::aws::credential_cache::CredentialSource;
use crate::aws::environment::AwsEnvironment;
use crate::aws::errors::transport;
use crate::cluster::error::describe;
use overlayd_core::aws::credentials::{CredentialError, sts_error};
use overlayd_core::aws::identity::{KeyOf, Role, account_of};

/// The names of sessions, which CloudTrail shows. Sessions of service accounts have the name that External Secrets gives
/// them, because trust policies may ask for it.
const ACCOUNT_SESSION: &str = "external-secrets-provider-aws";
const ROLE_SESSION: &str = "overlayd";

/// The name of the provider in the SDK's own messages.
const PROVIDER: &str = "overlayd";

/// A client of STS. Unlike those of the services, it leaves repetitions to the SDK.
fn client(environment: &AwsEnvironment, config: &SdkConfig) -> Client {
    let mut service = aws_sdk_sts::config::Builder::from(config);
    if let Some(endpoint) = &environment.sts_endpoint {
        service = service.endpoint_url(endpoint);
    }
    // These calls are few, and many reads wait for each.
    service = service.retry_config(RetryConfig::standard());
    Client::from_conf(service.build())
}

/// A role that another session assumes: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>.
#[derive(Debug)]
pub(super) struct AssumedRole {
    client: Client,
    role: Role,
}

impl AssumedRole {
    /// `parent` is the configuration of the session that assumes the role.
    pub(super) fn new(environment: &AwsEnvironment, parent: &SdkConfig, role: &Role) -> Self {
        Self {
            client: client(environment, parent),
            role: role.clone(),
        }
    }

    /// Assumes the role.
    ///
    /// # Errors
    /// STS refuses or does not answer, or a session tag is invalid.
    pub(super) async fn load(&self) -> Result<Credentials, CredentialError> {
        let Role {
            arn,
            external_id,
            tags,
            transitive_tag_keys,
        } = &self.role;
        let mut request = self
            .client
            .assume_role()
            .role_arn(arn)
            .role_session_name(ROLE_SESSION)
            .set_external_id(external_id.clone());
        for (key, value) in tags {
            let tag = Tag::builder().key(key).value(value).build();
            let tag = tag.map_err(|_| CredentialError::SessionTag(key.clone()))?;
            request = request.tags(tag);
        }
        for key in transitive_tag_keys {
            request = request.transitive_tag_keys(key);
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| assume_error("sts:AssumeRole", arn, &error))?;
        credentials_of(arn, answer.credentials)
    }
}

/// The role of a `ServiceAccount`, by its token:
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>.
#[derive(Debug)]
pub(super) struct ServiceAccountRole {
    client: Client,
    cluster: Option<ClusterClient>,
    namespace: String,
    name: String,
    audiences: Vec<String>,
}

/// The annotations of IAM roles for service accounts:
/// <https://docs.aws.amazon.com/eks/latest/userguide/associate-service-account-role.html>.
const ROLE: &str = "eks.amazonaws.com/role-arn";
const AUDIENCE: &str = "eks.amazonaws.com/audience";
const DEFAULT_AUDIENCE: &str = "sts.amazonaws.com";

impl ServiceAccountRole {
    pub(super) fn new(
        environment: &AwsEnvironment,
        config: &SdkConfig,
        cluster: Option<ClusterClient>,
        (namespace, name, audiences): (&str, &str, &[String]),
    ) -> Self {
        Self {
            client: client(environment, config),
            cluster,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            audiences: audiences.to_vec(),
        }
    }

    /// The ARN of the role, and a token that STS accepts for it.
    async fn role_and_token(&self) -> Result<(String, String), CredentialError> {
        let cluster = self.cluster.as_ref().ok_or(CredentialError::NoCluster)?;
        let accounts: Api<ServiceAccount> = Api::namespaced(cluster.0.clone(), &self.namespace);
        let name = &self.name;
        let account = accounts.get_opt(name).await;
        let account = account
            .map_err(|error| self.error("reading", &error))?
            .ok_or_else(|| CredentialError::NoServiceAccount(name.clone()))?;
        let annotation = |key| account.annotations().get(key).cloned();
        let role = annotation(ROLE).ok_or_else(|| CredentialError::NoRole {
            name: name.clone(),
            annotation: ROLE,
        })?;
        let audience = annotation(AUDIENCE).unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned());
        let mut audiences = vec![audience];
        audiences.extend(self.audiences.iter().cloned());
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(audiences),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let token = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .map_err(|error| self.error("a token of", &error))?;
        let token = token.status.and_then(|status| status.token);
        Ok((role, token.unwrap_or_default()))
    }

    /// Exchanges a token of the service account for credentials of its role.
    async fn assume(&self) -> Result<Credentials, CredentialError> {
        let (role, token) = self.role_and_token().await?;
        let answer = self
            .client
            .assume_role_with_web_identity()
            .role_arn(&role)
            .role_session_name(ACCOUNT_SESSION)
            .web_identity_token(token)
            .send()
            .await;
        let answer =
            answer.map_err(|error| assume_error("sts:AssumeRoleWithWebIdentity", &role, &error))?;
        credentials_of(&role, answer.credentials)
    }

    /// An error of the API server about the service account.
    fn error(&self, request: &'static str, error: &kube::Error) -> CredentialError {
        CredentialError::ServiceAccount {
            request,
            name: self.name.clone(),
            reason: describe(error),
        }
    }
}

impl CredentialSource for ServiceAccountRole {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, CredentialError>> {
        self.assume().boxed()
    }
}

/// The error of STS by its code. Its text is never repeated.
fn assume_error<E>(action: &'static str, role: &str, error: &SdkError<E>) -> CredentialError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.code().unwrap_or_default();
    sts_error(action, role, code, || transport(error))
}

/// The credentials of an answer, with the account of the role, by which calls are throttled.
fn credentials_of(
    role: &str,
    given: Option<aws_sdk_sts::types::Credentials>,
) -> Result<Credentials, CredentialError> {
    let given = given.ok_or_else(|| CredentialError::Empty(role.to_owned()))?;
    let mut credentials = Credentials::builder()
        .access_key_id(given.access_key_id)
        .secret_access_key(given.secret_access_key)
        .session_token(given.session_token)
        .provider_name(PROVIDER);
    let expiry = SystemTime::try_from(given.expiration);
    credentials.set_expiry(expiry.ok());
    credentials.set_account_id(account_of(role).map(Into::into));
    Ok(credentials.build())
}

/// Keys that stand in Secrets.
#[derive(Debug)]
pub(super) struct StaticKeys {
    cluster: Option<ClusterClient>,
    access_key_id: KeyOf,
    secret_access_key: KeyOf,
    session_token: Option<KeyOf>,
}

impl StaticKeys {
    pub(super) fn new(
        cluster: Option<ClusterClient>,
        access_key_id: KeyOf,
        secret_access_key: KeyOf,
        session_token: Option<KeyOf>,
    ) -> Self {
        Self {
            cluster,
            access_key_id,
            secret_access_key,
            session_token,
        }
    }

    /// Reads the keys from their Secrets.
    async fn read(&self) -> Result<Credentials, CredentialError> {
        let cluster = self.cluster.as_ref().ok_or(CredentialError::NoCluster)?;
        let token = match &self.session_token {
            Some(key) => Some(text_of(cluster, key).await?),
            None => None,
        };
        Ok(Credentials::new(
            text_of(cluster, &self.access_key_id).await?,
            text_of(cluster, &self.secret_access_key).await?,
            token,
            None,
            PROVIDER,
        ))
    }
}

impl CredentialSource for StaticKeys {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, CredentialError>> {
        self.read().boxed()
    }
}

/// The text of a key of a Secret.
async fn text_of(cluster: &ClusterClient, of: &KeyOf) -> Result<String, CredentialError> {
    let KeyOf {
        namespace,
        name,
        key,
    } = of;
    let problem = |problem: String| CredentialError::Secret {
        place: format!("Secret `{namespace}/{name}`"),
        problem,
    };
    let secret = Api::<Secret>::namespaced(cluster.0.clone(), namespace);
    let secret = secret.get_opt(name).await;
    let secret = secret
        .map_err(|error| problem(format!("cannot be read: {}", describe(&error))))?
        .ok_or_else(|| problem("does not exist".to_owned()))?;
    let mut data = secret.data.unwrap_or_default();
    let value = data.remove(key);
    let value = value.ok_or_else(|| problem(format!("has no key `{key}`")))?;
    // A Secret that is made of a file has a line end here.
    let text = String::from_utf8(value.0).map(|text| text.trim().to_owned());
    text.map_err(|_| CredentialError::Secret {
        place: format!("key `{key}` of Secret `{namespace}/{name}`"),
        problem: "is no text".to_owned(),
    })
}

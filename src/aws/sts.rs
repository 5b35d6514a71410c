//! Talks to AWS and the API server: credentials by a role, by the token of a service account, and by keys in Secrets.

use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_sdk_sts::Client;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::types::Tag;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};

use crate::aws::errors::transport;
use crate::aws::sessions::AwsEnvironment;
use overlayd_core::aws::identity::{Base, KeyOf, Role, account_of};

/// Under which name sessions stand in CloudTrail. That of External Secrets, for the tokens of service accounts, since
/// trust policies may ask for it.
const ACCOUNT_SESSION: &str = "external-secrets-provider-aws";
const ROLE_SESSION: &str = "overlayd";

fn client(environment: &AwsEnvironment, config: &SdkConfig) -> Client {
    let mut service = aws_sdk_sts::config::Builder::from(config);
    if let Some(endpoint) = &environment.sts_endpoint {
        service = service.endpoint_url(endpoint);
    }
    // Few calls, and many wait for each.
    service = service.retry_config(aws_config::retry::RetryConfig::standard());
    Client::from_conf(service.build())
}

/// A role that is assumed as somebody else.
#[derive(Debug)]
pub(super) struct Assumption {
    client: Client,
    role: Role,
}

impl Assumption {
    /// `parent` is the configuration of the one who assumes it.
    pub(super) fn new(environment: &AwsEnvironment, parent: &SdkConfig, role: &Role) -> Self {
        Self {
            client: client(environment, parent),
            role: role.clone(),
        }
    }

    pub(super) async fn assume(&self) -> Result<Credentials, String> {
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
            let tag = tag.map_err(|_| format!("the session tag `{key}` is none"))?;
            request = request.tags(tag);
        }
        for key in transitive_tag_keys {
            request = request.transitive_tag_keys(key);
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| refused("sts:AssumeRole", arn, &error))?;
        session(arn, answer.credentials)
    }
}

/// A role that is assumed with the token of a service account.
#[derive(Debug)]
pub(super) struct AccountToken {
    client: Client,
    cluster: Option<Accounts>,
    name: String,
    audiences: Vec<String>,
}

struct Accounts(Api<ServiceAccount>);

impl std::fmt::Debug for Accounts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Accounts")
    }
}

const ROLE: &str = "eks.amazonaws.com/role-arn";
const AUDIENCE: &str = "eks.amazonaws.com/audience";

impl AccountToken {
    pub(super) fn new(
        environment: &AwsEnvironment,
        config: &SdkConfig,
        cluster: Option<kube::Client>,
        (namespace, name, audiences): (&str, &str, &[String]),
    ) -> Self {
        Self {
            client: client(environment, config),
            cluster: cluster.map(|client| Accounts(Api::namespaced(client, namespace))),
            name: name.to_owned(),
            audiences: audiences.to_vec(),
        }
    }

    pub(super) async fn assume(&self) -> Result<Credentials, String> {
        let Some(Accounts(accounts)) = &self.cluster else {
            return Err(AT_A_DESK.to_owned());
        };
        let name = &self.name;
        let account = accounts.get_opt(name).await;
        let account = account
            .map_err(|error| failed("reading", name, &error))?
            .ok_or_else(|| format!("ServiceAccount `{name}` does not exist"))?;
        let annotation = |key| account.annotations().get(key).cloned();
        let Some(role) = annotation(ROLE) else {
            return Err(format!(
                "ServiceAccount `{name}` has no annotation `{ROLE}`; it names the role to assume"
            ));
        };
        let audience = annotation(AUDIENCE).unwrap_or_else(|| "sts.amazonaws.com".to_owned());
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
            .map_err(|error| failed("a token of", name, &error))?;
        let token = token
            .status
            .and_then(|status| status.token)
            .unwrap_or_default();
        let answer = self
            .client
            .assume_role_with_web_identity()
            .role_arn(&role)
            .role_session_name(ACCOUNT_SESSION)
            .web_identity_token(token)
            .send()
            .await;
        let answer =
            answer.map_err(|error| refused("sts:AssumeRoleWithWebIdentity", &role, &error))?;
        session(&role, answer.credentials)
    }
}

const AT_A_DESK: &str = "this identity needs a cluster, and none was given";

fn failed(what: &str, account: &str, error: &kube::Error) -> String {
    let reason = crate::cluster::error::describe(error);
    format!("{what} ServiceAccount `{account}` failed: {reason}")
}

/// The code of an answer, never its text.
fn refused<E>(action: &str, role: &str, error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error.code().unwrap_or_default() {
        "" => format!("{action} of {role} failed: {}", transport(error)),
        code @ ("AccessDenied" | "AccessDeniedException") => format!(
            "{action} of {role} is denied ({code}): its trust policy must name who asks, and who asks must be allowed {action} on it"
        ),
        code => format!("{action} of {role} failed: {code}"),
    }
}

fn session(
    role: &str,
    credentials: Option<aws_sdk_sts::types::Credentials>,
) -> Result<Credentials, String> {
    let Some(given) = credentials else {
        return Err(format!("STS gave no credentials for {role}"));
    };
    let mut credentials = Credentials::builder()
        .access_key_id(given.access_key_id)
        .secret_access_key(given.secret_access_key)
        .session_token(given.session_token)
        .provider_name("overlayd");
    let end = SystemTime::try_from(given.expiration);
    credentials.set_expiry(end.ok());
    credentials.set_account_id(account_of(role).map(Into::into));
    Ok(credentials.build())
}

/// Keys that stand in Secrets.
pub(super) async fn static_keys(
    cluster: Option<&kube::Client>,
    base: &Base,
) -> Result<Credentials, String> {
    let Base::Keys {
        access_key_id,
        secret_access_key,
        session_token,
    } = base
    else {
        return Err("no keys".to_owned());
    };
    let Some(cluster) = cluster else {
        return Err(AT_A_DESK.to_owned());
    };
    let token = match session_token {
        Some(of) => Some(text_of(cluster, of).await?),
        None => None,
    };
    Ok(Credentials::new(
        text_of(cluster, access_key_id).await?,
        text_of(cluster, secret_access_key).await?,
        token,
        None,
        "overlayd",
    ))
}

async fn text_of(cluster: &kube::Client, of: &KeyOf) -> Result<String, String> {
    let KeyOf {
        namespace,
        name,
        key,
    } = of;
    let secret = Api::<Secret>::namespaced(cluster.clone(), namespace);
    let secret = secret.get_opt(name).await.map_err(|error| {
        let reason = crate::cluster::error::describe(&error);
        format!("Secret `{namespace}/{name}` cannot be read: {reason}")
    })?;
    let secret = secret.ok_or_else(|| format!("Secret `{namespace}/{name}` does not exist"))?;
    let mut data = secret.data.unwrap_or_default();
    let value = data.remove(key);
    let value = value.ok_or_else(|| format!("Secret `{namespace}/{name}` has no key `{key}`"))?;
    // A line's end comes in when keys are put into a Secret from a file.
    let text = String::from_utf8(value.0).map(|text| text.trim().to_owned());
    text.map_err(|_| format!("key `{key}` of Secret `{namespace}/{name}` is no text"))
}

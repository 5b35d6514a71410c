//! Pure: the credentials of a git server, from a Secret's data or from a URL.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::git::proxy::{Proxy, ProxyError};
use crate::secrets::SecretValue;

/// The credentials for a server, and the proxy to it.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// For http and https.
    pub authorization: Authorization,
    /// A certificate authority to trust for this server, PEM.
    pub ca: Option<Vec<u8>>,
    /// For ssh.
    pub ssh: Option<Arc<SshCredentials>>,
    /// The proxy to the server; without one, the environment variables of the process decide.
    pub proxy: Option<Proxy>,
}

/// The credentials for a server over SSH.
#[derive(Debug)]
pub struct SshCredentials {
    /// The user name.
    pub user: String,
    /// A private key, as OpenSSH or PEM writes it.
    pub identity: SecretValue,
    /// The passphrase of the key.
    pub passphrase: Option<SecretValue>,
    /// The server's keys in the form of `known_hosts`; without them, the keys of the big forges are used.
    pub known_hosts: Option<String>,
}

/// The `Authorization` header.
#[derive(Debug, Clone, Default)]
pub enum Authorization {
    /// None.
    #[default]
    Anonymous,
    /// A user name and a password.
    Basic {
        /// The user name.
        username: String,
        /// The password, or a token in its place.
        password: SecretValue,
    },
    /// A bearer token.
    Bearer(SecretValue),
}

/// Forges whose keys are known, so that a Secret need not have them.
const FORGES: [&str; 3] = ["github.com", "gitlab.com", "bitbucket.org"];

/// Why credentials cannot be used. No text quotes a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// A source over ssh whose Secret is missing or incomplete.
    #[error("ssh needs a Secret with `identity` and `known_hosts` in `spec.secretRef`")]
    SshIncomplete,
    /// The key whose value is not UTF-8.
    #[error("key `{0}` of the Secret is not text")]
    NotText(String),
    /// Which of the two counts is not said.
    #[error("a bearer token and credentials in the URL cannot be set at the same time")]
    BearerTokenAndUrl,
    /// A password for nobody.
    #[error("the Secret has a `password` without a `username`")]
    PasswordAlone,
    /// The Secret of the proxy describes none.
    #[error("{0}")]
    Proxy(#[from] ProxyError),
    /// A proxy for a source over ssh.
    #[error("`spec.proxySecretRef` is for http and https; ssh goes straight")]
    ProxyOfSsh,
}

/// The data of a Secret.
pub type SecretMap = BTreeMap<String, SecretValue>;

/// A key of a Secret as text.
fn text_of(secret: &SecretMap, key: &str) -> Result<Option<String>, CredentialsError> {
    let Some(value) = secret.get(key) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.expose())
        .map_err(|_| CredentialsError::NotText(key.to_owned()))?;
    Ok(Some(text.to_owned()))
}

impl Credentials {
    /// The credentials for a URL, from a Secret's data or from the URL itself.
    ///
    /// # Errors
    /// The Secret does not fit the scheme of the URL.
    pub fn new(url: &url::Url, secret: Option<&SecretMap>) -> Result<Self, CredentialsError> {
        match secret {
            Some(secret) if url.scheme() == "ssh" => Self::of_ssh(url, secret),
            None if url.scheme() == "ssh" => Err(CredentialsError::SshIncomplete),
            Some(secret) => {
                let ca = secret.get("ca.crt").or_else(|| secret.get("caFile"));
                Ok(Self {
                    authorization: Authorization::new(url, secret)?,
                    ca: ca.map(|value| value.expose().to_vec()),
                    ..Self::default()
                })
            }
            None => Ok(Self {
                authorization: Authorization::of_url(url).unwrap_or_default(),
                ..Self::default()
            }),
        }
    }

    fn of_ssh(url: &url::Url, secret: &SecretMap) -> Result<Self, CredentialsError> {
        let identity = secret
            .get("identity")
            .ok_or(CredentialsError::SshIncomplete)?;
        let known_hosts = text_of(secret, "known_hosts")?;
        if known_hosts.is_none() && !FORGES.contains(&url.host_str().unwrap_or_default()) {
            return Err(CredentialsError::SshIncomplete);
        }
        let user = Some(url.username()).filter(|user| !user.is_empty());
        let ssh = SshCredentials {
            user: user.unwrap_or("git").to_owned(),
            identity: identity.clone(),
            passphrase: secret.get("password").cloned(),
            known_hosts,
        };
        Ok(Self {
            ssh: Some(Arc::new(ssh)),
            ..Self::default()
        })
    }

    /// Feeds everything that tells credentials, and the server that they are used with, apart into a hash.
    pub fn feed(&self, hasher: &mut Sha256) {
        match &self.authorization {
            Authorization::Anonymous => feed(hasher, b"anonymous"),
            Authorization::Basic { username, password } => {
                feed(hasher, b"basic");
                feed(hasher, username.as_bytes());
                feed(hasher, password.expose());
            }
            Authorization::Bearer(token) => {
                feed(hasher, b"bearer");
                feed(hasher, token.expose());
            }
        }
        match &self.ca {
            Some(authority) => feed(hasher, authority),
            None => feed(hasher, b"system authorities"),
        }
        if let Some(ssh) = &self.ssh {
            feed(hasher, b"ssh");
            feed(hasher, ssh.user.as_bytes());
            feed(hasher, ssh.identity.expose());
            // Not the passphrase, which decides nothing but whether the key can be read.
            feed(
                hasher,
                ssh.known_hosts.as_deref().unwrap_or_default().as_bytes(),
            );
        }
        match &self.proxy {
            Some(proxy) => {
                feed(hasher, proxy.address.to_string().as_bytes());
                let (user, password) = proxy.login.clone().unwrap_or_default();
                feed(hasher, user.as_bytes());
                feed(hasher, password.as_bytes());
            }
            None => feed(hasher, b"environment"),
        }
    }
}

/// Feeds one part with its length, so that no two lists of parts give the same bytes.
pub(super) fn feed(hasher: &mut Sha256, part: &[u8]) {
    hasher.update(part.len().to_le_bytes());
    hasher.update(part);
}

impl Authorization {
    /// The user name and password of a URL, if it has a user name.
    fn of_url(url: &url::Url) -> Option<Self> {
        (!url.username().is_empty()).then(|| Self::Basic {
            username: url.username().to_owned(),
            password: SecretValue::from(url.password().unwrap_or_default().as_bytes().to_vec()),
        })
    }

    /// From a Secret: a bearer token, or else a user name with a password, or else what the URL says.
    fn new(url: &url::Url, secret: &SecretMap) -> Result<Self, CredentialsError> {
        let from_url = Self::of_url(url);
        match (
            secret.get("bearerToken"),
            text_of(secret, "username")?,
            secret.get("password"),
        ) {
            (Some(_), ..) if from_url.is_some() => Err(CredentialsError::BearerTokenAndUrl),
            (Some(token), ..) => Ok(Self::Bearer(token.clone())),
            (None, None, Some(_)) => Err(CredentialsError::PasswordAlone),
            (None, Some(username), password) => Ok(Self::Basic {
                username,
                password: password.cloned().unwrap_or_default(),
            }),
            (None, None, None) => Ok(from_url.unwrap_or_default()),
        }
    }
}

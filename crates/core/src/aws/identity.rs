//! Pure: as which identity a store reads: where its first credentials come from, and the roles that are assumed one after
//! another.
//!
//! The rules are those of External Secrets' AWS provider (<https://external-secrets.io/latest/provider/aws-access/>). How roles
//! are chained: <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining>.

use std::collections::BTreeMap;
use std::fmt;

use crate::api::secret_store::{
    AwsJwtAuth, AwsProvider, AwsSecretRefAuth, SecretKeySelector, SessionTagsPolicy,
};
use crate::names::StoreName;
use crate::secrets::provider_error::StoreError;

/// As which principal AWS is called, and in which region. Stores of the same identity share credentials, calls and answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The region of every call.
    pub region: String,
    /// The first credentials.
    pub base: Base,
    /// The roles, assumed in this order. The last one reads.
    pub roles: Vec<Role>,
}

/// Where the first credentials come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// The SDK's default chain: Pod Identity, IRSA, environment, instance role.
    Process,
    /// A token of a `ServiceAccount`, which STS accepts for the role that an annotation of the account names.
    ServiceAccount {
        /// The namespace of the `ServiceAccount`.
        namespace: String,
        /// Its name.
        name: String,
        /// More audiences of the token.
        audiences: Vec<String>,
    },
    /// Keys that stand in Secrets.
    Keys {
        /// The key with the access key id.
        access_key_id: KeyOf,
        /// The key with the secret access key.
        secret_access_key: KeyOf,
        /// The key with the session token of temporary credentials.
        session_token: Option<KeyOf>,
    },
}

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyOf {
    /// The namespace of the Secret.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key in its data.
    pub key: String,
}

/// A role to assume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Role {
    /// The ARN of the role.
    pub arn: String,
    /// The external id that its trust policy asks for.
    pub external_id: Option<String>,
    /// The session tags: <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html>.
    pub tags: BTreeMap<String, String>,
    /// The tags that later roles keep.
    pub transitive_tag_keys: Vec<String>,
}

/// The identity of a store, for an ExternalSecret of the namespace `user`. Nothing if the identity depends on the namespace and
/// none is given.
///
/// # Errors
///
/// Fails for a region that is no host label, and for an `auth` that names no `ServiceAccount` or no key.
pub fn identify(
    store: StoreName<'_>,
    aws: &AwsProvider,
    user: Option<&str>,
) -> Result<Option<Identity>, StoreError> {
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if aws.region.is_empty() || !aws.region.bytes().all(is_label) {
        return Err(StoreError::Region(aws.region.clone()));
    }
    let auth = aws.auth.as_ref();
    let jwt = auth.and_then(|auth| auth.jwt.as_ref());
    let keys = auth.and_then(|auth| auth.secret_ref.as_ref());
    // A token wins over keys, as in External Secrets.
    let base = match (jwt, keys) {
        (Some(jwt), _) => service_account(store, jwt, user)?,
        (None, Some(keys)) => static_keys(store, keys, user)?,
        (None, None) => Some(Base::Process),
    };
    Ok(base.map(|base| Identity {
        region: aws.region.clone(),
        base,
        roles: roles(store, aws, user),
    }))
}

/// The namespace of a reference in a store. A `SecretStore` refers to objects of its own namespace only.
fn namespace_of(
    store: StoreName<'_>,
    named: Option<&String>,
    user: Option<&str>,
) -> Option<String> {
    let named = named.map(String::as_str).filter(|name| !name.is_empty());
    let namespace = store.namespace.or(named).or(user);
    namespace.map(str::to_owned)
}

fn service_account(
    store: StoreName<'_>,
    jwt: &AwsJwtAuth,
    user: Option<&str>,
) -> Result<Option<Base>, StoreError> {
    let Some(account) = &jwt.service_account_ref else {
        return Err(StoreError::IncompleteAccount("auth.jwt.serviceAccountRef"));
    };
    let namespace = namespace_of(store, account.namespace.as_ref(), user);
    Ok(namespace.map(|namespace| Base::ServiceAccount {
        namespace,
        name: account.name.clone(),
        audiences: account.audiences.clone(),
    }))
}

fn static_keys(
    store: StoreName<'_>,
    keys: &AwsSecretRefAuth,
    user: Option<&str>,
) -> Result<Option<Base>, StoreError> {
    let key = |selector: &Option<SecretKeySelector>, field| {
        let selector = selector.as_ref().ok_or(StoreError::IncompleteKey(field))?;
        let (Some(name), Some(key)) = (selector.name.clone(), selector.key.clone()) else {
            return Err(StoreError::IncompleteKey(field));
        };
        let namespace = namespace_of(store, selector.namespace.as_ref(), user);
        Ok(namespace.map(|namespace| KeyOf {
            namespace,
            name,
            key,
        }))
    };
    let id = key(&keys.access_key_id, "auth.secretRef.accessKeyIDSecretRef")?;
    let secret = key(
        &keys.secret_access_key,
        "auth.secretRef.secretAccessKeySecretRef",
    )?;
    let token = match &keys.session_token {
        Some(_) => {
            let token = key(&keys.session_token, "auth.secretRef.sessionTokenSecretRef")?;
            // All keys must be known, because each may depend on the namespace of the ExternalSecret.
            if token.is_none() {
                return Ok(None);
            }
            token
        }
        None => None,
    };
    Ok(id
        .zip(secret)
        .map(|(access_key_id, secret_access_key)| Base::Keys {
            access_key_id,
            secret_access_key,
            session_token: token,
        }))
}

/// The additional roles, then the role. Only the role has an external id and tags.
fn roles(store: StoreName<'_>, aws: &AwsProvider, user: Option<&str>) -> Vec<Role> {
    let more = aws.additional_roles.iter().map(|arn| Role {
        arn: arn.clone(),
        ..Role::default()
    });
    let role = aws.role.iter().filter(|arn| !arn.is_empty());
    let role = role.map(|arn| Role {
        arn: arn.clone(),
        external_id: aws.external_id.clone().filter(|id| !id.is_empty()),
        tags: tags(store, aws, user),
        transitive_tag_keys: aws.transitive_tag_keys.clone(),
    });
    more.chain(role).collect()
}

/// The session tags. With a policy, `sessionTags` are left out, as in External Secrets.
fn tags(store: StoreName<'_>, aws: &AwsProvider, user: Option<&str>) -> BTreeMap<String, String> {
    let policy = aws.session_tags_policy.unwrap_or(SessionTagsPolicy::None);
    let own = aws.session_tags.iter();
    if policy == SessionTagsPolicy::None {
        return own
            .map(|tag| (tag.key.clone(), tag.value.clone()))
            .collect();
    }
    let namespace = store.namespace.or(user).unwrap_or_default();
    let mut tags: BTreeMap<String, String> = [
        ("esoNamespace", namespace),
        ("esoStoreName", store.name),
        ("esoStoreKind", store.kind()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    if policy == SessionTagsPolicy::Custom {
        let custom = aws.custom_session_tags.iter();
        let custom = custom.filter(|(key, value)| !value.is_empty() && !tags.contains_key(*key));
        let custom: Vec<_> = custom
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        tags.extend(custom);
    }
    tags
}

impl Identity {
    /// The identity that assumes the last role, and that role. Nothing without roles.
    pub fn parent(&self) -> Option<(Self, &Role)> {
        let (role, before) = self.roles.split_last()?;
        let parent = Self {
            region: self.region.clone(),
            base: self.base.clone(),
            roles: before.to_vec(),
        };
        Some((parent, role))
    }

    /// The account of the last role. Nothing without roles.
    pub fn account(&self) -> Option<&str> {
        account_of(&self.roles.last()?.arn)
    }

    /// True if its keys stand in this Secret.
    pub fn uses_secret(&self, namespace: &str, name: &str) -> bool {
        let Base::Keys {
            access_key_id,
            secret_access_key,
            session_token,
        } = &self.base
        else {
            return false;
        };
        [
            Some(access_key_id),
            Some(secret_access_key),
            session_token.as_ref(),
        ]
        .into_iter()
        .flatten()
        .any(|of| of.namespace == namespace && of.name == name)
    }
}

/// The account in an ARN: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>.
pub fn account_of(arn: &str) -> Option<&str> {
    let account = arn.strip_prefix("arn:")?.split(':').nth(3)?;
    (!account.is_empty()).then_some(account)
}

/// The partition of a region, which stands second in ARNs: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>.
pub fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ if region.starts_with("us-iso-") => "aws-iso",
        _ if region.starts_with("us-isob-") => "aws-iso-b",
        _ => "aws",
    }
}

impl fmt::Display for Base {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => formatter.write_str("the daemon's own identity"),
            Self::ServiceAccount {
                namespace, name, ..
            } => write!(formatter, "the role of ServiceAccount {namespace}/{name}"),
            Self::Keys { access_key_id, .. } => {
                let KeyOf {
                    namespace, name, ..
                } = access_key_id;
                write!(formatter, "the keys in Secret {namespace}/{name}")
            }
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.roles.last() {
            Some(role) => write!(formatter, "role {}", role.arn)?,
            None => write!(formatter, "{}", self.base)?,
        }
        write!(formatter, " in {}", self.region)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const OWN: StoreName<'_> = StoreName {
        namespace: Some("team"),
        name: "s",
    };
    const SHARED: StoreName<'_> = StoreName {
        namespace: None,
        name: "s",
    };

    fn aws(more: &Value) -> AwsProvider {
        let mut spec = json!({"service": "SecretsManager", "region": "eu-west-1"});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers make it right here")]
    fn check(store: StoreName<'_>, more: Value, user: Option<&str>, expected: &str) {
        let text = match identify(store, &aws(&more), user) {
            Ok(None) => "depends".to_owned(),
            Ok(Some(identity)) => {
                let role = |role: &Role| {
                    let id = role.external_id.as_deref().unwrap_or("-");
                    format!(
                        "{} {id} {:?} {:?}",
                        role.arn, role.tags, role.transitive_tag_keys
                    )
                };
                let roles: Vec<_> = identity.roles.iter().map(role).collect();
                format!("{} | {}", identity.base, roles.join(" | "))
            }
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn where_credentials_begin() {
        check(OWN, json!({}), None, "the daemon's own identity | ");
        let account = |namespace: Value| json!({"auth": {"jwt": {"serviceAccountRef": {"name": "sa", "namespace": namespace}}}});
        check(
            OWN,
            account(json!("other")),
            None,
            "the role of ServiceAccount team/sa | ",
        );
        check(
            SHARED,
            account(json!("other")),
            Some("user"),
            "the role of ServiceAccount other/sa | ",
        );
        check(
            SHARED,
            account(json!(null)),
            Some("user"),
            "the role of ServiceAccount user/sa | ",
        );
        check(SHARED, account(json!(null)), None, "depends");
        let keys = |namespace: Value| {
            let selector = |key: &str| json!({"name": "keys", "key": key, "namespace": namespace});
            json!({"auth": {"secretRef": {"accessKeyIDSecretRef": selector("id"), "secretAccessKeySecretRef": selector("key"), "sessionTokenSecretRef": selector("token")}}})
        };
        check(
            OWN,
            keys(json!("other")),
            None,
            "the keys in Secret team/keys | ",
        );
        check(
            SHARED,
            keys(json!("other")),
            None,
            "the keys in Secret other/keys | ",
        );
        check(SHARED, keys(json!(null)), None, "depends");
        let half =
            json!({"auth": {"secretRef": {"accessKeyIDSecretRef": {"name": "a", "key": "b"}}}});
        check(
            OWN,
            half,
            None,
            "error: `provider.aws.auth.secretRef.secretAccessKeySecretRef` must name a Secret and a key",
        );
        check(
            OWN,
            json!({"region": "a/b"}),
            None,
            "error: `provider.aws.region` must be a host label, not `a/b`",
        );
    }

    #[test]
    fn roles_and_the_tags_of_the_last() {
        let spec = |policy: &str| {
            json!({
                "role": "arn:aws:iam::2:role/b", "additionalRoles": ["arn:aws:iam::1:role/a"], "externalID": "x",
                "sessionTags": [{"key": "team", "value": "web"}], "transitiveTagKeys": ["team"],
                "sessionTagsPolicy": policy, "customSessionTags": {"a": "1", "empty": ""},
            })
        };
        let first =
            "the daemon's own identity | arn:aws:iam::1:role/a - {} [] | arn:aws:iam::2:role/b x";
        check(
            OWN,
            spec("None"),
            None,
            &format!(r#"{first} {{"team": "web"}} ["team"]"#),
        );
        check(
            OWN,
            spec("Simple"),
            None,
            &format!(
                r#"{first} {{"esoNamespace": "team", "esoStoreKind": "SecretStore", "esoStoreName": "s"}} ["team"]"#
            ),
        );
        check(
            SHARED,
            spec("Custom"),
            Some("user"),
            &format!(
                r#"{first} {{"a": "1", "esoNamespace": "user", "esoStoreKind": "ClusterSecretStore", "esoStoreName": "s"}} ["team"]"#
            ),
        );
        // A store is validated without an ExternalSecret.
        check(
            SHARED,
            spec("Simple"),
            None,
            &format!(
                r#"{first} {{"esoNamespace": "", "esoStoreKind": "ClusterSecretStore", "esoStoreName": "s"}} ["team"]"#
            ),
        );
        let identity = identify(OWN, &aws(&spec("None")), None).unwrap().unwrap();
        assert_eq!(identity.account(), Some("2"));
        let (parent, role) = identity.parent().unwrap();
        assert_eq!(
            (parent.account(), role.arn.as_str()),
            (Some("1"), "arn:aws:iam::2:role/b")
        );
    }
}

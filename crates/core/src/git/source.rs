//! Pure: a valid git source, made of a `GitRepository` and its Secret, or the reason why there is none.

use std::time::Duration;

use data_encoding::HEXLOWER;
use gocompat::semver::Constraint;
use kustomize::RemoteRepository;
use sha2::{Digest, Sha256};

use crate::api::git_repository::{GitReference, GitRepositorySpec};
use crate::git::credentials::{Credentials, CredentialsError, SecretMap, feed};
use crate::git::proxy::Proxy;
use crate::git::reach::Reach;
use crate::git::revision::Revision;
use crate::schedule::parse_duration;

/// A repository to fetch from, the commit that is wanted of it, and the credentials.
#[derive(Debug, Clone)]
pub struct GitSource {
    /// The address, without credentials: it is shown in messages.
    pub url: String,
    /// The commit that is wanted.
    pub target: RefTarget,
    /// The credentials for the server.
    pub credentials: Credentials,
    /// The longest time of one fetch, [`MAX_TIMEOUT`] at most.
    pub timeout: Duration,
    /// Which servers may be reached on the way.
    pub reach: Reach,
    /// The most bytes that its mirrors may take on the disk; `None` for no bound.
    pub disk_allowance: Option<u64>,
    /// Submodules are fetched too.
    pub submodules: bool,
}

/// The longest time that a fetch may take, whatever its spec says: a server that accepts a connection and never answers
/// holds a thread and a place for that long.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// Whether repositories on this machine's disk may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalRepositories {
    /// The commands of a person may.
    Allowed,
    /// The daemon may not, since any tenant can write a `GitRepository`.
    Refused,
}

/// Which commit is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefTarget {
    /// The head of a branch.
    Branch(String),
    /// The commit of a tag.
    Tag(String),
    /// The tag of the highest version that satisfies a range.
    Semver {
        /// As the spec writes it, for messages.
        range: String,
        /// As it is compared.
        constraint: Constraint,
    },
    /// A full ref name.
    Name(String),
    /// What the remote's HEAD points to.
    Head,
    /// A branch, tag or commit, in this order.
    Any(String),
    /// A commit, found on a branch (any, if none is named).
    Commit {
        /// 40 hex digits.
        id: String,
        /// Where to look.
        branch: Option<String>,
        /// What the revision shows: the full ref name that stands beside the commit, or else the branch.
        name: Option<String>,
    },
}

/// Why a `GitRepository` cannot be fetched as it is written.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address, or a commit id, is invalid.
    #[error("{0}")]
    Url(String),
    /// The Secret, or that of the proxy, does not fit.
    #[error("{0}")]
    Credentials(#[from] CredentialsError),
    /// A field that overlayd does not support.
    #[error("field `{field}` is not supported yet")]
    Unsupported {
        /// Its path.
        field: &'static str,
    },
    /// The range that cannot be read.
    #[error(
        "field `spec.ref.semver` is no range of versions: `{0}`; write one as `>=1.2.0 <2.0.0`"
    )]
    Semver(String),
    /// A duration that cannot be read.
    #[error("field `{field}` is no duration: {text}")]
    Duration {
        /// The path of the field.
        field: &'static str,
        /// Its value.
        text: String,
    },
}

impl SourceError {
    /// The reason of the condition, in Flux's words.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Url(_) | Self::Duration { .. } => "URLInvalid",
            Self::Semver(_) => "GitOperationFailed",
            Self::Credentials(_) => "AuthenticationFailed",
            Self::Unsupported { .. } => "FeatureGateDisabled",
        }
    }

    /// True if only a change of the spec can help.
    pub fn is_stalled(&self) -> bool {
        !matches!(self, Self::Credentials(_))
    }
}

impl GitSource {
    /// Checks a spec and the data of its Secret, if it names one.
    ///
    /// # Errors
    /// A field is invalid or not supported, or the Secret does not fit the address.
    pub fn new(spec: &GitRepositorySpec, secret: Option<&SecretMap>) -> Result<Self, SourceError> {
        refuse_unsupported(spec)?;
        let url = url::Url::parse(&spec.url)
            .map_err(|error| SourceError::Url(format!("the URL is invalid: {error}")))?;
        if !matches!(url.scheme(), "http" | "https" | "ssh") || !url.has_host() {
            let message = format!(
                "URLs of scheme `{}` are not supported; use https or ssh",
                url.scheme()
            );
            return Err(SourceError::Url(message));
        }
        let text = spec.timeout.as_deref().unwrap_or("60s");
        let timeout = parse_duration(text).ok_or_else(|| SourceError::Duration {
            field: "spec.timeout",
            text: text.to_owned(),
        })?;
        let credentials = Credentials::new(&url, secret)?;
        Ok(Self {
            url: bare(url),
            target: RefTarget::new(spec.reference.as_ref())?,
            credentials,
            timeout: timeout.min(MAX_TIMEOUT),
            reach: Reach::Anywhere,
            disk_allowance: None,
            submodules: spec.recurse_submodules,
        })
    }

    /// The same source through the proxy that a Secret's data describes.
    ///
    /// # Errors
    /// The data describes no proxy, or the source is reached over ssh.
    pub fn by_way_of(mut self, secret: &SecretMap) -> Result<Self, SourceError> {
        let proxy = Proxy::of_secret(secret).map_err(CredentialsError::from)?;
        if self.credentials.ssh.is_some() {
            return Err(CredentialsError::ProxyOfSsh.into());
        }
        self.credentials.proxy = Some(proxy);
        Ok(self)
    }

    /// The source of a remote base of a build. Its URL may hold credentials.
    ///
    /// # Errors
    /// The scheme of the URL is not supported.
    pub fn remote(
        remote: &RemoteRepository,
        local: LocalRepositories,
    ) -> Result<Self, SourceError> {
        let target = remote
            .reference
            .clone()
            .map_or(RefTarget::Head, RefTarget::Any);
        let refused = |scheme: &str| {
            SourceError::Url(format!(
                "URLs of scheme `{scheme}` are not supported here; use https"
            ))
        };
        let url = url::Url::parse(&remote.url).map_err(|_| refused("ssh"))?;
        let credentials = match (url.scheme(), local) {
            ("http" | "https", _) => Credentials::new(&url, None)?,
            ("file", LocalRepositories::Allowed) => Credentials::default(),
            (scheme, _) => return Err(refused(scheme)),
        };
        Ok(Self {
            url: bare(url),
            target,
            credentials,
            timeout: remote.timeout.min(MAX_TIMEOUT),
            reach: Reach::Anywhere,
            disk_allowance: None,
            submodules: remote.submodules,
        })
    }

    /// The same source, of which a commit is wanted that was fetched before.
    #[must_use]
    pub fn at(self, revision: Revision) -> Self {
        let Revision { name, commit } = revision;
        Self {
            target: RefTarget::Commit {
                id: commit,
                branch: None,
                name,
            },
            ..self
        }
    }

    /// The source of a submodule of a fetched commit. It keeps the credentials only for the same server.
    ///
    /// # Errors
    /// The URL is invalid, or its scheme is not supported.
    pub fn submodule(&self, url: &str, commit: &str) -> Result<Self, SourceError> {
        let invalid =
            |error| SourceError::Url(format!("the URL of a submodule is invalid: {error}"));
        let own = url::Url::parse(&self.url).map_err(invalid)?;
        // git resolves a relative URL against that of this repository.
        let url = if url.starts_with("./") || url.starts_with("../") {
            let mut base = own.clone();
            base.set_path(&format!("{}/", own.path().trim_end_matches('/')));
            base.join(url)
        } else {
            url::Url::parse(&with_scheme(url))
        };
        let url = url.map_err(invalid)?;
        // Another port is another server.
        let is_same = url.scheme() == own.scheme()
            && url.host_str() == own.host_str()
            && url.port_or_known_default() == own.port_or_known_default();
        let with_own = matches!(url.scheme(), "file" | "ssh") && is_same;
        if !(matches!(url.scheme(), "http" | "https") || with_own) {
            let message = format!(
                "a submodule's URL of scheme `{}` is not supported",
                url.scheme()
            );
            return Err(SourceError::Url(message));
        }
        Ok(Self {
            url: bare(url),
            target: RefTarget::Commit {
                id: commit.to_owned(),
                branch: None,
                name: None,
            },
            credentials: if is_same {
                self.credentials.clone()
            } else {
                // A proxy is no credential of a server.
                Credentials {
                    proxy: self.credentials.proxy.clone(),
                    ..Credentials::default()
                }
            },
            timeout: self.timeout,
            reach: self.reach.clone(),
            disk_allowance: self.disk_allowance,
            submodules: self.submodules,
        })
    }

    /// Names the mirror: equal where the address, the credentials and all that decides which server answers are equal.
    /// Otherwise a tenant with a proxy or an authority of its own could put objects into the mirror of another.
    pub fn mirror_key(&self) -> String {
        let mut hasher = Sha256::new();
        feed(&mut hasher, self.url.as_bytes());
        self.credentials.feed(&mut hasher);
        HEXLOWER.encode(&hasher.finalize()[..16])
    }
}

/// `user@host:path` is an address of SSH, in git's own short form.
fn with_scheme(url: &str) -> String {
    match url.split_once(':') {
        Some((host, path)) if host.contains('@') && !host.contains('/') => {
            format!("ssh://{host}/{}", path.trim_start_matches('/'))
        }
        _ => url.to_owned(),
    }
}

/// The address without credentials, which travel in a header: it is shown in messages.
fn bare(mut url: url::Url) -> String {
    // Only a URL without a host refuses, and such a one has no credentials either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

fn refuse_unsupported(spec: &GitRepositorySpec) -> Result<(), SourceError> {
    match unsupported_field(spec) {
        Some(field) => Err(SourceError::Unsupported { field }),
        None => Ok(()),
    }
}

/// The path of a field that overlayd refuses, if there is one.
pub fn unsupported_field(spec: &GitRepositorySpec) -> Option<&'static str> {
    use crate::api::git_repository::GitProvider;
    let set = [
        ("spec.verify", spec.verify.is_some()),
        (
            "spec.provider",
            spec.provider
                .is_some_and(|provider| provider != GitProvider::Generic),
        ),
    ];
    set.into_iter()
        .find_map(|(field, is_set)| is_set.then_some(field))
}

impl RefTarget {
    /// The first that is given: commit, name, tag, semver, branch.
    fn new(reference: Option<&GitReference>) -> Result<Self, SourceError> {
        let default = GitReference::default();
        let reference = reference.unwrap_or(&default);
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(id) = given(&reference.commit) {
            if id.len() != 40 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(SourceError::Url(format!(
                    "`ref.commit` must have 40 hex digits, not `{id}`"
                )));
            }
            let branch = given(&reference.branch);
            return Ok(Self::Commit {
                id: id.to_lowercase(),
                name: given(&reference.name).or_else(|| branch.clone()),
                branch,
            });
        }
        if let Some(name) = given(&reference.name) {
            return Ok(Self::Name(name));
        }
        if let Some(tag) = given(&reference.tag) {
            return Ok(Self::Tag(tag));
        }
        if let Some(range) = given(&reference.semver) {
            return match Constraint::parse(&range) {
                Some(constraint) => Ok(Self::Semver { range, constraint }),
                None => Err(SourceError::Semver(range)),
            };
        }
        // Flux takes `master` where nothing is given, not the remote's HEAD.
        Ok(Self::Branch(
            given(&reference.branch).unwrap_or_else(|| "master".to_owned()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::git::credentials::Authorization;
    use crate::secrets::SecretValue;

    fn spec(url: &str) -> GitRepositorySpec {
        GitRepositorySpec {
            url: url.to_owned(),
            interval: "1m".to_owned(),
            ..GitRepositorySpec::default()
        }
    }

    fn secret(pairs: &[(&str, &str)]) -> BTreeMap<String, SecretValue> {
        pairs
            .iter()
            .map(|(key, value)| {
                (
                    (*key).to_owned(),
                    SecretValue::from(value.as_bytes().to_vec()),
                )
            })
            .collect()
    }

    #[test]
    fn a_submodule_gets_the_credentials_of_its_own_server_alone() {
        let pairs = secret(&[("username", "robot"), ("password", "p")]);
        let source = GitSource::new(&spec("https://host/team/own.git"), Some(&pairs)).unwrap();
        let id = "0123456789abcdef0123456789abcdef01234567";
        for (url, keeps) in [
            ("../other.git", true),
            ("https://host:443/other.git", true),
            ("https://host:8443/other.git", false),
            ("http://host/other.git", false),
            ("https://elsewhere/other.git", false),
        ] {
            let submodule = source.submodule(url, id).unwrap();
            let anonymous = matches!(
                submodule.credentials.authorization,
                Authorization::Anonymous
            );
            assert_eq!(!anonymous, keeps, "{url}");
        }
    }

    #[test]
    fn the_reference_that_wins() {
        let target = |reference: GitReference| RefTarget::new(Some(&reference)).unwrap();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            RefTarget::new(None).unwrap(),
            RefTarget::Branch("master".into())
        );
        let tag_and_branch = GitReference {
            tag: some("v1"),
            branch: some("main"),
            ..GitReference::default()
        };
        assert_eq!(target(tag_and_branch), RefTarget::Tag("v1".into()));
        let id = "0123456789abcdef0123456789abcdef01234567";
        let commit = GitReference {
            commit: some(id),
            branch: some("main"),
            ..GitReference::default()
        };
        assert_eq!(
            target(commit.clone()),
            RefTarget::Commit {
                id: id.into(),
                branch: some("main"),
                name: some("main"),
            }
        );
        let pull = "refs/pull/1/head";
        let named = GitReference {
            name: some(pull),
            ..commit
        };
        assert_eq!(
            target(named.clone()),
            RefTarget::Commit {
                id: id.into(),
                branch: some("main"),
                name: some(pull),
            }
        );
        let name_and_tag = GitReference {
            commit: some(""),
            tag: some("v1"),
            ..named
        };
        assert_eq!(target(name_and_tag), RefTarget::Name(pull.into()));
    }

    #[test]
    fn a_bearer_token_is_sent_as_it_is_and_wins_over_a_password() {
        let of = |pairs: &[(&str, &str)]| {
            let source = GitSource::new(&spec("https://host/r"), Some(&secret(pairs)));
            source.unwrap().credentials.authorization
        };
        for pairs in [
            &[("bearerToken", "t0ken")][..],
            &[
                ("bearerToken", "t0ken"),
                ("username", "u"),
                ("password", "p"),
            ],
        ] {
            assert!(matches!(of(pairs), Authorization::Bearer(_)), "{pairs:?}");
        }
        let basic = of(&[("username", "u"), ("password", "p")]);
        assert!(matches!(basic, Authorization::Basic { .. }));
    }

    #[test]
    fn an_operation_has_a_minute_or_what_the_spec_says() {
        let timeout = |text: Option<&str>| {
            let mut spec = spec("https://host/r");
            spec.timeout = text.map(str::to_owned);
            GitSource::new(&spec, None).map(|source| source.timeout.as_millis())
        };
        assert_eq!(timeout(None).unwrap(), 60_000);
        assert_eq!(timeout(Some("1m30s")).unwrap(), 90_000);
        assert_eq!(timeout(Some("250ms")).unwrap(), 250);
        assert!(timeout(Some("soon")).is_err());
    }

    #[test]
    fn signatures_are_refused_and_a_service_account_changes_nothing() {
        let mut verified = spec("https://host/r");
        verified.verify = Some(serde_json::from_str(r#"{"secretRef": {"name": "keys"}}"#).unwrap());
        let error = GitSource::new(&verified, None).unwrap_err();
        assert_eq!(error.reason(), "FeatureGateDisabled");
        assert!(error.to_string().contains("spec.verify"), "{error}");
        let mut account = spec("https://host/r");
        account.service_account_name = Some("robot".to_owned());
        let debug = |spec| format!("{:?}", GitSource::new(spec, None).unwrap());
        assert_eq!(debug(&account), debug(&spec("https://host/r")));
    }

    #[test]
    fn a_mirror_belongs_to_all_that_decides_which_server_answers() {
        let source = |pairs: &[(&str, &str)]| {
            GitSource::new(&spec("https://host/r"), Some(&secret(pairs))).unwrap()
        };
        let proxied = |address: &str, password: &str| {
            let pairs = [
                ("address", address),
                ("username", "u"),
                ("password", password),
            ];
            source(&[]).by_way_of(&secret(&pairs)).unwrap()
        };
        let ssh = |known_hosts: &str| {
            let pairs = [("identity", "k"), ("known_hosts", known_hosts)];
            GitSource::new(&spec("ssh://host/r"), Some(&secret(&pairs))).unwrap()
        };
        let all = [
            source(&[]),
            source(&[("ca.crt", "authority")]),
            source(&[("ca.crt", "another")]),
            source(&[("bearerToken", "t")]),
            source(&[("username", "u"), ("password", "p")]),
            source(&[("username", "up"), ("password", "")]),
            proxied("http://proxy:3128", "p"),
            proxied("http://proxy:3128", "q"),
            proxied("http://another:3128", "p"),
            ssh("host ssh-ed25519 A"),
            ssh("host ssh-ed25519 B"),
        ];
        let keys: std::collections::BTreeSet<_> = all.iter().map(GitSource::mirror_key).collect();
        assert_eq!(keys.len(), all.len());
        assert_eq!(
            source(&[]).mirror_key(),
            GitSource::new(&spec("https://host/r"), None)
                .unwrap()
                .mirror_key()
        );
    }

    #[test]
    fn a_fetch_has_an_end_whatever_its_spec_says() {
        let timeout = |text: &str| {
            let mut spec = spec("https://host/r");
            spec.timeout = Some(text.to_owned());
            GitSource::new(&spec, None).map(|source| source.timeout.as_secs())
        };
        assert_eq!(timeout("90s").unwrap(), 90);
        assert_eq!(timeout("87600h").unwrap(), MAX_TIMEOUT.as_secs());
        assert!(timeout("-1s").is_err());
    }

    #[test]
    fn credentials_in_the_url_never_stay_in_the_address() {
        let source = GitSource::new(&spec("https://me:hunter2@git.example/r.git"), None).unwrap();
        assert_eq!(source.url, "https://git.example/r.git");
        assert!(!format!("{source:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_has_the_reason_that_flux_gives() {
        let reason =
            |spec: &GitRepositorySpec, secret| GitSource::new(spec, secret).unwrap_err().reason();
        assert_eq!(reason(&spec("ftp://host/r"), None), "URLInvalid");
        assert_eq!(
            reason(&spec("ssh://git@host/r"), None),
            "AuthenticationFailed"
        );
        let bare = secret(&[("identity", "k")]);
        assert_eq!(
            reason(&spec("ssh://git@host/r"), Some(&bare)),
            "AuthenticationFailed"
        );
        assert!(GitSource::new(&spec("ssh://git@github.com/o/r"), Some(&bare)).is_ok());
        let lone = secret(&[("password", "x")]);
        assert_eq!(
            reason(&spec("https://host/r"), Some(&lone)),
            "AuthenticationFailed"
        );
        let both = secret(&[("bearerToken", "x")]);
        assert_eq!(
            reason(&spec("https://u:p@host/r"), Some(&both)),
            "AuthenticationFailed"
        );
        let mut github = spec("https://host/r");
        github.provider = Some(crate::api::git_repository::GitProvider::Github);
        assert_eq!(reason(&github, None), "FeatureGateDisabled");
        let mut range = spec("https://host/r");
        range.reference = Some(GitReference {
            semver: Some("^one".to_owned()),
            ..GitReference::default()
        });
        assert_eq!(reason(&range, None), "GitOperationFailed");
    }
}

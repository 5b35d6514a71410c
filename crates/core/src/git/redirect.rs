//! Pure: where the requests of a fetch go after a redirect, and whether the credentials go along.
//!
//! git follows redirects of its first request (`info/refs`) and sends the later ones to the new base, as
//! `http.followRedirects=initial` says: GitLab moves addresses without `.git`, forges move renamed repositories, and
//! servers move http to https. Credentials stay on the server that they were given for: another host, port or scheme
//! gets none, except that https on port 443 of the same host is the server of http on port 80.

use url::Url;

/// The most redirects of one request. Go's HTTP client, which Flux uses, follows as many.
pub const MAX_REDIRECTS: usize = 10;

/// What git asks for first, below the address of a repository.
const REFS: &str = "/info/refs";
/// The query of the first request.
const SERVICE: &str = "service=git-upload-pack";

/// Whether a request carries the credentials of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialUse {
    /// The server is the one that they were given for.
    Send,
    /// The request has left that server.
    Withhold,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The full URL.
    pub url: Url,
    /// Whether the credentials go along.
    pub credentials: CredentialUse,
    /// True if a server has chosen the address.
    pub is_redirected: bool,
}

/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// The target is missing or no URL.
    #[error("the server redirects to an invalid address")]
    Invalid,
    /// The target is no address of http or https.
    #[error("the server redirects to an address of scheme `{0}`, which is not followed")]
    Scheme(String),
    /// The target is not encrypted, and the address before was.
    #[error(
        "the server redirects from https to http on `{0}`, which is not followed because nothing protects the content there"
    )]
    Downgrade(String),
    /// There are more than [`MAX_REDIRECTS`].
    #[error("the server redirects more than {MAX_REDIRECTS} times")]
    TooMany,
    /// The target is a page of another form, such as that of a login.
    #[error(
        "the server redirects to `{0}`, which is not the address of a repository; check `spec.url` and the credentials"
    )]
    NotARepository(String),
}

impl Hop {
    /// The first request of a repository at an address, with its credentials.
    ///
    /// # Errors
    /// The address is no URL.
    pub fn first(address: &str) -> Result<Self, RedirectError> {
        let base = address.trim_end_matches('/');
        Self::to(&format!("{base}{REFS}?{SERVICE}"))
    }

    /// A request to a URL, with credentials.
    ///
    /// # Errors
    /// The text is no URL.
    pub fn to(url: &str) -> Result<Self, RedirectError> {
        Ok(Self {
            url: Url::parse(url).map_err(|_| RedirectError::Invalid)?,
            credentials: CredentialUse::Send,
            is_redirected: false,
        })
    }

    /// Where the request goes that a server redirects to `location`. A request that has lost its credentials never gets
    /// them back.
    ///
    /// # Errors
    /// The redirect is not followed.
    pub fn redirected(&self, location: Option<&str>) -> Result<Self, RedirectError> {
        let location = location.ok_or(RedirectError::Invalid)?;
        let mut url = self
            .url
            .join(location)
            .map_err(|_| RedirectError::Invalid)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(RedirectError::Scheme(url.scheme().to_owned()));
        }
        // A server cannot give credentials, and they would be shown in messages.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        if self.url.scheme() == "https" && url.scheme() == "http" {
            let host = url.host_str().unwrap_or_default().to_owned();
            return Err(RedirectError::Downgrade(host));
        }
        let credentials = if is_same_server(&self.url, &url) {
            self.credentials
        } else {
            CredentialUse::Withhold
        };
        Ok(Self {
            url,
            credentials,
            is_redirected: true,
        })
    }

    /// The base of the later requests, once this hop has answered the first one.
    ///
    /// # Errors
    /// The hop is not the first request of a repository, so it was redirected to some other page.
    pub fn base(&self) -> Result<Self, RedirectError> {
        let repository = self.url.path().strip_suffix(REFS);
        let repository = repository.filter(|_| self.url.query() == Some(SERVICE));
        let Some(repository) = repository else {
            let mut shown = self.url.clone();
            shown.set_query(None);
            shown.set_fragment(None);
            return Err(RedirectError::NotARepository(shown.to_string()));
        };
        let mut url = self.url.clone();
        url.set_path(repository);
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self {
            url,
            ..self.clone()
        })
    }

    /// A request below this base.
    ///
    /// # Errors
    /// The URL with the path is no URL.
    pub fn below(&self, path: &str) -> Result<Self, RedirectError> {
        let base = self.url.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}/{path}")).map_err(|_| RedirectError::Invalid)?;
        Ok(Self {
            url,
            ..self.clone()
        })
    }
}

/// True for two addresses of one server.
fn is_same_server(from: &Url, to: &Url) -> bool {
    let is_same_origin =
        from.scheme() == to.scheme() && from.port_or_known_default() == to.port_or_known_default();
    let is_upgrade = from.scheme() == "http"
        && from.port_or_known_default() == Some(80)
        && to.scheme() == "https"
        && to.port_or_known_default() == Some(443);
    from.host_str() == to.host_str() && (is_same_origin || is_upgrade)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The URL and use of credentials after the redirects of the first request, or the error.
    fn base_after(address: &str, locations: &[&str]) -> String {
        let mut hop = Hop::first(address);
        for location in locations {
            hop = hop.and_then(|hop| hop.redirected(Some(location)));
        }
        match hop.and_then(|hop| hop.base()) {
            Ok(hop) => format!("{} {:?}", hop.url, hop.credentials),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn later_requests_go_to_the_new_base() {
        let check = |address: &str, location: &str, expected: &str| {
            assert_eq!(base_after(address, &[location]), expected, "{location}");
        };
        let tail = "/info/refs?service=git-upload-pack";
        check(
            "https://git.example/team/app",
            &format!("https://git.example/team/app.git{tail}"),
            "https://git.example/team/app.git Send",
        );
        check(
            "https://git.example/team/app/",
            &format!("/team/renamed.git{tail}"),
            "https://git.example/team/renamed.git Send",
        );
        check(
            "http://git.example/app",
            &format!("https://git.example/app{tail}"),
            "https://git.example/app Send",
        );
        assert_eq!(
            base_after("https://git.example/app.git", &[]),
            "https://git.example/app.git Send"
        );
    }

    #[test]
    fn credentials_stay_on_their_server() {
        let tail = "/info/refs?service=git-upload-pack";
        for to in [
            "https://other.example",
            "https://git.example:8443",
            "https://git.example.evil.example",
            "https://user:password@other.example",
        ] {
            let base = base_after("https://git.example/app", &[&format!("{to}/app{tail}")]);
            assert!(base.ends_with(" Withhold"), "{base}");
            assert!(!base.contains("password"), "{base}");
        }
        let check = |from: &str, to: &str, expected: &str| {
            let base = base_after(&format!("{from}/app"), &[&format!("{to}/app{tail}")]);
            assert_eq!(base, format!("{to}/app {expected}"));
        };
        check(
            "http://git.example:8080",
            "http://git.example:8081",
            "Withhold",
        );
        check("http://git.example:8080", "https://git.example", "Withhold");
        check("http://git.example", "https://git.example:8443", "Withhold");
        check("http://git.example", "https://other.example", "Withhold");
        // The way back gives nothing back: the other server has chosen the path.
        let back = [
            format!("https://other.example/app{tail}"),
            format!("https://git.example/secret{tail}"),
        ];
        assert_eq!(
            base_after("https://git.example/app", &[&back[0], &back[1]]),
            "https://git.example/secret Withhold"
        );
    }

    #[test]
    fn redirects_that_are_not_followed() {
        let check = |location: &str, expected: &str| {
            let base = base_after("https://git.example/app", &[location]);
            assert!(base.contains(expected), "{location}: {base}");
        };
        let tail = "/info/refs?service=git-upload-pack";
        check(
            &format!("http://git.example/app{tail}"),
            "from https to http",
        );
        check("ssh://git.example/app", "scheme `ssh`");
        check("file:///etc/passwd", "scheme `file`");
        check("//", "invalid address");
        check(
            "/users/sign_in?token=1",
            "`https://git.example/users/sign_in`, which is not the address of a repository",
        );
        check("/app/info/refs", "not the address of a repository");
        let lost = Hop::first("https://git.example/app").unwrap();
        assert_eq!(lost.redirected(None), Err(RedirectError::Invalid));
    }

    #[test]
    fn a_request_below_a_base_keeps_the_use_of_credentials() {
        let first = Hop::first("https://git.example/app").unwrap();
        let moved = first
            .redirected(Some(
                "https://other.example/app.git/info/refs?service=git-upload-pack",
            ))
            .unwrap();
        let pack = moved.base().unwrap().below("git-upload-pack").unwrap();
        assert_eq!(
            pack.url.as_str(),
            "https://other.example/app.git/git-upload-pack"
        );
        assert_eq!(pack.credentials, CredentialUse::Withhold);
    }
}

//! Pure: a proxy, as a Secret describes it.

use std::collections::BTreeMap;

use http::Uri;

use crate::secrets::SecretValue;

/// A proxy: HTTP by CONNECT, or SOCKS 5. Its debug form hides the credentials.
#[derive(Clone)]
pub struct Proxy {
    /// Scheme, host and port.
    pub address: Uri,
    /// User name and password.
    pub login: Option<(String, String)>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Proxy({})", self.address)
    }
}

/// Why a Secret describes no proxy. The address is not quoted, since it may hold credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The Secret has no address.
    #[error("the Secret of `spec.proxySecretRef` has no key `address`")]
    NoAddress,
    /// The key whose value is not UTF-8.
    #[error("key `{0}` of the proxy's Secret is not text")]
    NotText(&'static str),
    /// The address is no URL.
    #[error("the proxy's `address` is no URL: {0}")]
    NoUrl(url::ParseError),
    /// A scheme that no proxy of ours speaks, such as https.
    #[error("the proxy's `address` must be a URL of http or socks5")]
    Scheme,
    /// The host or port is invalid.
    #[error("the proxy's `address` is no address")]
    Invalid,
}

impl Proxy {
    /// The proxy that a Secret's data describes: `address`, and with it `username` and `password`.
    ///
    /// # Errors
    /// The data describes no proxy.
    pub fn of_secret(secret: &BTreeMap<String, SecretValue>) -> Result<Self, ProxyError> {
        let text = |key: &'static str| {
            let value = secret.get(key);
            let text = value.map(|value| String::from_utf8(value.expose().to_vec()));
            text.transpose().map_err(|_| ProxyError::NotText(key))
        };
        let address = text("address")?.ok_or(ProxyError::NoAddress)?;
        let login = match text("username")? {
            Some(user) => Some((user, text("password")?.unwrap_or_default())),
            None => None,
        };
        Self::new(&address, login)
    }

    /// Checks an address. A login replaces the credentials that the address holds.
    ///
    /// # Errors
    /// The address is invalid.
    pub fn new(address: &str, login: Option<(String, String)>) -> Result<Self, ProxyError> {
        let url = url::Url::parse(address.trim());
        let url = url.map_err(ProxyError::NoUrl)?;
        if !matches!(url.scheme(), "http" | "socks5") || !url.has_host() {
            return Err(ProxyError::Scheme);
        }
        let plain = |text: &str| {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
            decoded.into_owned()
        };
        let own = (!url.username().is_empty()).then(|| {
            (
                plain(url.username()),
                plain(url.password().unwrap_or_default()),
            )
        });
        let (host, port) = (
            url.host_str().unwrap_or_default(),
            url.port_or_known_default(),
        );
        let address = format!("{}://{host}:{}", url.scheme(), port.unwrap_or(1080));
        let address = address.parse::<Uri>();
        Ok(Self {
            address: address.map_err(|_| ProxyError::Invalid)?,
            login: login.or(own),
        })
    }

    /// True for SOCKS 5; otherwise HTTP by CONNECT.
    pub fn is_socks(&self) -> bool {
        self.address
            .scheme_str()
            .is_some_and(|scheme| scheme.starts_with("socks"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_proxies() {
        let check = |address: &str, expected: &str| {
            let text = match Proxy::new(address, None) {
                Ok(proxy) => format!("{} {:?} {}", proxy.address, proxy.login, proxy.is_socks()),
                Err(error) => error.to_string(),
            };
            assert_eq!(text, expected);
        };
        check("http://proxy:3128", "http://proxy:3128/ None false");
        check(
            "socks5://u:p%40x@proxy",
            "socks5://proxy:1080/ Some((\"u\", \"p@x\")) true",
        );
        check(
            "ftp://proxy",
            "the proxy's `address` must be a URL of http or socks5",
        );
        check(
            "nonsense",
            "the proxy's `address` is no URL: relative URL without a base",
        );
    }
}

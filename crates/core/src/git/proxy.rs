//! Pure: the address of a proxy, as a Secret gives it.

use http::Uri;

/// A proxy: HTTP by CONNECT, or SOCKS 5. It hides its credentials.
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

impl Proxy {
    /// Checks an address. Its credentials stand beside it.
    ///
    /// # Errors
    /// What is wrong with the address; it is not quoted, since it may hold credentials.
    pub fn new(address: &str, login: Option<(String, String)>) -> Result<Self, String> {
        let url = url::Url::parse(address.trim());
        let url = url.map_err(|error| format!("the proxy's `address` is no URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "socks5") || !url.has_host() {
            return Err("the proxy's `address` must be a URL of http or socks5".to_owned());
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
            address: address.map_err(|_| "the proxy's `address` is no address".to_owned())?,
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
                Err(error) => error,
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

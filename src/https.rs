//! Talks to servers over HTTP and HTTPS: the client of git and of the event webhook. It trusts the system's authorities and
//! connects directly or through a proxy.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{HeaderValue, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpStream;
use tower_service::Service;

use overlayd_core::git::proxy::Proxy;
use overlayd_core::git::reach::{ReachError, is_local};

/// A client whose requests have complete bodies.
pub(crate) type HttpClient = Client<HttpsConnector<Route>, Full<Bytes>>;

/// The proxy that a client uses.
#[derive(Clone)]
pub(crate) enum Proxies {
    /// The environment variables decide: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    Environment,
    /// This proxy, whatever the variables say.
    Given(Proxy),
}

/// The proxy that the environment names for an address.
fn proxy_of(found: &Intercept) -> Proxy {
    let login = found
        .raw_auth()
        .map(|(user, password)| (user.to_owned(), password.to_owned()));
    let basic = found.basic_auth().and_then(plain);
    Proxy {
        address: found.uri().clone(),
        login: login.or(basic),
    }
}

/// The user name and password of a `Basic` header.
fn plain(header: &HeaderValue) -> Option<(String, String)> {
    use base64::Engine as _;
    let encoded = header.to_str().ok()?.strip_prefix("Basic ")?;
    let text = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .ok()?;
    let text = String::from_utf8(text).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The header that tells a proxy user and password.
fn basic((user, password): &(String, String)) -> Result<HeaderValue, BoxError> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The addresses that a client connects to, where it connects directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addresses {
    All,
    /// None of this machine or of its link.
    NotLocal,
}

/// Connects directly or through a proxy.
#[derive(Clone)]
pub(crate) struct Route {
    direct: HttpConnector,
    proxies: Proxies,
    addresses: Addresses,
}

/// Connects to an address of a host that is not local. The address that is checked is the one that is connected to, so a
/// name that changes its address in between leads nowhere else.
async fn connect_elsewhere(to: &Uri) -> Result<TcpStream, BoxError> {
    let host = to.host().unwrap_or_default();
    let default = if to.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let port = to.port_u16().unwrap_or(default);
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((name, port)).await?;
    let allowed: Vec<_> = found.filter(|address| !is_local(address.ip())).collect();
    if allowed.is_empty() {
        return Err(Box::new(ReachError::Local(host.to_owned())));
    }
    Ok(TcpStream::connect(allowed.as_slice()).await?)
}

/// True for an address of this machine, which a proxy cannot reach.
fn is_here(to: &Uri) -> bool {
    let host = to.host().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What fails on the way of a request: name resolution, connection, proxy or TLS.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Route {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (mut direct, addresses) = (self.direct.clone(), self.addresses);
        let proxy = match &self.proxies {
            Proxies::Given(proxy) => Some(proxy.clone()),
            Proxies::Environment if is_here(&to) => None,
            Proxies::Environment => Matcher::from_env()
                .intercept(&to)
                .map(|found| proxy_of(&found)),
        };
        Box::pin(async move {
            let Some(proxy) = proxy else {
                if addresses == Addresses::NotLocal {
                    return connect_elsewhere(&to).await.map(TokioIo::new);
                }
                return direct.call(to).await.map_err(Into::into);
            };
            let through =
                |error: BoxError| -> BoxError { format!("by way of the proxy: {error}").into() };
            if proxy.address.scheme_str() == Some("https") {
                // The connection to the proxy would not be encrypted, and would show its credentials.
                return Err(through(
                    "proxies are spoken to by http or socks5, not by https".into(),
                ));
            }
            if proxy.is_socks() {
                let mut socks = SocksV5::new(proxy.address, direct);
                if let Some((user, password)) = proxy.login {
                    socks = socks.with_auth(user, password);
                }
                return socks
                    .call(to)
                    .await
                    .map_err(|error| through(format!("{error:?}").into()));
            }
            let mut tunnel = Tunnel::new(proxy.address, direct);
            if let Some(login) = &proxy.login {
                tunnel = tunnel.with_auth(basic(login)?);
            }
            tunnel.call(to).await.map_err(|error| through(error.into()))
        })
    }
}

/// Why the authority of a Secret cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("the Secret's `ca.crt` is not PEM: {0}")]
    NotPem(rustls::pki_types::pem::Error),
    #[error("the Secret's `ca.crt` is no certificate: {0}")]
    NoCertificate(rustls::Error),
    #[error("the Secret's `ca.crt` holds no certificate")]
    Empty,
}

/// A client that trusts the system's authorities, and besides them one that is given as PEM.
///
/// # Errors
/// The authority is no certificate.
pub(crate) fn client(
    authority: Option<&[u8]>,
    proxies: Proxies,
    addresses: Addresses,
) -> Result<HttpClient, AuthorityError> {
    let mut roots = rustls::RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(pem) = authority {
        let mut added = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(AuthorityError::NotPem)?;
            let added_root = roots.add(certificate);
            added_root.map_err(AuthorityError::NoCertificate)?;
            added += 1;
        }
        if added == 0 {
            return Err(AuthorityError::Empty);
        }
    }
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut direct = HttpConnector::new();
    // The address may be https: TLS is added around this connection.
    direct.enforce_http(false);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(Route {
            direct,
            proxies,
            addresses,
        });
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

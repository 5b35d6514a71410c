//! Talks to servers over HTTP and HTTPS: the one client that git and events use, with the system's authorities.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Sends whole bodies.
pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that also trusts an authority of its own, PEM.
///
/// # Errors
/// The authority is no certificate, in words about a Secret's `ca.crt`.
pub(crate) fn client(authority: Option<&[u8]>) -> Result<HttpClient, String> {
    let mut roots = rustls::RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(pem) = authority {
        let mut added = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate
                .map_err(|error| format!("the Secret's `ca.crt` is not PEM: {error}"))?;
            roots
                .add(certificate)
                .map_err(|error| format!("the Secret's `ca.crt` is no certificate: {error}"))?;
            added += 1;
        }
        if added == 0 {
            return Err("the Secret's `ca.crt` holds no certificate".to_owned());
        }
    }
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

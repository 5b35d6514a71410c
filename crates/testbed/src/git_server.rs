//! git's own `http-backend` behind a small HTTP server: smart HTTP as the forges serve it.
//!
//! Since the program of git answers, shallow fetches, protocol versions and errors are the real ones. The server adds
//! what a forge has in front of it: basic authentication, TLS with a private authority, and a count of requests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::repository::{WorkTree, git};
use crate::server::{Server, serve};

/// How to serve.
#[derive(Debug, Clone, Default)]
pub struct GitServerOptions {
    /// The value that the `Authorization` header must have.
    pub authorization: Option<String>,
    /// Serve over TLS with a private certificate authority.
    pub tls: bool,
}

impl GitServerOptions {
    /// Asks for a user name and password.
    #[must_use]
    pub fn basic(mut self, username: &str, password: &str) -> Self {
        self.authorization = Some(format!(
            "Basic {}",
            STANDARD.encode(format!("{username}:{password}"))
        ));
        self
    }
}

/// A server of bare repositories. Dropped, it stops and its repositories go.
#[derive(Debug)]
pub struct GitServer {
    directory: TempDir,
    server: Server,
    authority: Option<String>,
    counts: Arc<Counts>,
    redirects: Arc<Mutex<BTreeMap<String, String>>>,
}

/// How often each request was made.
#[derive(Debug, Default)]
struct Counts {
    advertisements: AtomicUsize,
    fetches: AtomicUsize,
    with_credentials: AtomicUsize,
}

#[derive(Clone)]
struct Shared {
    root: PathBuf,
    authorization: Option<String>,
    counts: Arc<Counts>,
    redirects: Arc<Mutex<BTreeMap<String, String>>>,
}

impl GitServer {
    /// Starts a server without repositories.
    pub fn start(options: &GitServerOptions) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let counts = Arc::new(Counts::default());
        let shared = Shared {
            root: directory.path().to_path_buf(),
            authorization: options.authorization.clone(),
            counts: counts.clone(),
            redirects: Arc::default(),
        };
        let redirects = shared.redirects.clone();
        let (tls, authority) = if options.tls {
            let (config, authority) = certificate()?;
            (Some(config), Some(authority))
        } else {
            (None, None)
        };
        let router = Router::new().fallback(handle).with_state(shared);
        let server = serve(router, tls)?;
        Ok(Self {
            directory,
            server,
            authority,
            counts,
            redirects,
        })
    }

    /// The certificate authority to trust, PEM, if the server speaks TLS.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The address of a repository.
    pub fn url(&self, name: &str) -> String {
        let scheme = if self.authority.is_some() {
            "https"
        } else {
            "http"
        };
        format!(
            "{scheme}://127.0.0.1:{}/{name}.git",
            self.server.address.port()
        )
    }

    /// Redirects every request below a path to the same place below an address, such as `/app` to `/app.git`.
    pub fn redirect(&self, from: &str, to: &str) {
        let mut redirects = self
            .redirects
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        redirects.insert(from.to_owned(), to.to_owned());
    }

    /// How many requests have brought an `Authorization` header.
    pub fn requests_with_credentials(&self) -> usize {
        self.counts.with_credentials.load(Ordering::Relaxed)
    }

    /// How many times refs were listed, and objects fetched.
    ///
    /// A test of caching compares the numbers before and after.
    pub fn requests(&self) -> (usize, usize) {
        (
            self.counts.advertisements.load(Ordering::Relaxed),
            self.counts.fetches.load(Ordering::Relaxed),
        )
    }

    /// Makes an empty repository and a work tree that pushes into it.
    pub fn create(&self, name: &str) -> Result<WorkTree> {
        let bare = self.directory.path().join(format!("{name}.git"));
        std::fs::create_dir_all(&bare)?;
        git(
            &bare,
            &["init", "--quiet", "--bare", "--initial-branch=main"],
        )?;
        WorkTree::create(&bare)
    }

    /// Where all repositories lie.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().to_path_buf()
    }

    /// Where a bare repository lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.git"))
    }
}

/// A certificate for loopback, signed by an authority of its own.
fn certificate() -> Result<(Arc<rustls::ServerConfig>, String)> {
    let authority_key = rcgen::KeyPair::generate()?;
    let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new())?;
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key)?;
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate()?;
    let certificate =
        rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)?;
    Ok((Arc::new(config), authority.pem()))
}

async fn handle(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let answer = |status: StatusCode, text: &str| {
        let response = Response::builder().status(status);
        let response = if status == StatusCode::UNAUTHORIZED {
            response.header(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")
        } else {
            response
        };
        response
            .body(Body::from(text.to_owned()))
            .unwrap_or_default()
    };
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if given.is_some() {
        shared
            .counts
            .with_credentials
            .fetch_add(1, Ordering::Relaxed);
    }
    if let Some(target) = redirected(&shared, &uri) {
        let response = Response::builder().status(StatusCode::MOVED_PERMANENTLY);
        let response = response.header(header::LOCATION, target);
        return response.body(Body::empty()).unwrap_or_default();
    }
    if shared.authorization.is_some() && shared.authorization.as_deref() != given {
        return answer(StatusCode::UNAUTHORIZED, "who are you?");
    }
    if uri.path().ends_with("/info/refs") {
        shared.counts.advertisements.fetch_add(1, Ordering::Relaxed);
    }
    if uri.path().ends_with("/git-upload-pack") {
        shared.counts.fetches.fetch_add(1, Ordering::Relaxed);
    }
    match backend(&shared.root, &method, &uri, &headers, &body).await {
        Ok(response) => response,
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
    }
}

/// Where a request is redirected to, with the rest of its path and its query.
fn redirected(shared: &Shared, uri: &Uri) -> Option<String> {
    let path_and_query = uri.path_and_query()?.as_str();
    let redirects = shared
        .redirects
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    redirects.iter().find_map(|(from, to)| {
        let rest = path_and_query.strip_prefix(from.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
    })
}

/// Runs git's CGI program for one request.
///
/// A process for each request, as CGI asks for.
async fn backend(
    root: &Path,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Body>> {
    let mut command = tokio::process::Command::new("git");
    command
        .arg("http-backend")
        .envs(cgi_environment(method, uri, headers))
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().context("cannot run `git http-backend`")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(body).await?;
    }
    response_of(&child.wait_with_output().await?.stdout)
}

/// A request as CGI passes it on, in environment variables.
fn cgi_environment(method: &Method, uri: &Uri, headers: &HeaderMap) -> [(&'static str, String); 6] {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    [
        ("PATH_INFO", uri.path().to_owned()),
        ("QUERY_STRING", uri.query().unwrap_or_default().to_owned()),
        ("REQUEST_METHOD", method.to_string()),
        ("CONTENT_TYPE", header("content-type")),
        ("HTTP_CONTENT_ENCODING", header("content-encoding")),
        ("GIT_PROTOCOL", header("git-protocol")),
    ]
}

/// The response that a CGI program has written: headers, an empty line, and the body. `Status` is the code.
fn response_of(output: &[u8]) -> Result<Response<Body>> {
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("git http-backend gave no answer")?;
    let mut response = Response::builder().status(StatusCode::OK);
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name == "Status" {
            let code = value.trim().split(' ').next();
            let code = code.and_then(|code| code.parse().ok());
            response = response.status(code.unwrap_or(500));
        } else {
            response = response.header(name, value.trim());
        }
    }
    Ok(response.body(Body::from(output[end + 4..].to_vec()))?)
}

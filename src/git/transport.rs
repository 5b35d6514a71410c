//! Talks to git servers: git's smart HTTP for libgit2, carried by hyper and rustls.
//!
//! libgit2's own HTTP would bring a second TLS library. It hands the protocol's requests to us instead:
//! a subtransport that sends `info/refs` and `git-upload-pack`. What libgit2 cannot pass along (credentials,
//! the private CA, the deadline) stands in a thread-local [`Session`] for the length of one operation.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use tokio::runtime::Handle;

use crate::https;
use crate::https::{HttpClient, Proxies};
use overlayd_core::error_chain::causes;
use overlayd_core::git::credentials::{Authorization, Credentials, SshCredentials};

/// The client and credentials of one git operation. It is kept on the thread that runs the operation.
#[derive(Clone)]
pub(super) struct Session {
    /// Trusts the source's own CA, if it names one, and goes by way of its proxy.
    client: HttpClient,
    authorization: Option<header::HeaderValue>,
    ssh: Option<Arc<SshCredentials>>,
    /// The end of the whole operation, however many requests it takes.
    deadline: Instant,
    /// libgit2 blocks its thread; the requests run on this runtime.
    runtime: Handle,
}

thread_local! {
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
}

/// The most redirects of one request.
const MAX_REDIRECTS: usize = 3;

impl Session {
    /// A session for one operation.
    pub(super) fn new(
        credentials: &Credentials,
        deadline: Instant,
        runtime: Handle,
    ) -> Result<Self, String> {
        let proxies = credentials.proxy.clone();
        let proxies = proxies.map_or(Proxies::Environment, Proxies::Given);
        let client = https::client(credentials.ca.as_deref(), proxies);
        let client = client.map_err(|error| error.to_string())?;
        Ok(Self {
            client,
            authorization: authorization(&credentials.authorization)?,
            ssh: credentials.ssh.clone(),
            deadline,
            runtime,
        })
    }

    /// Runs an operation of libgit2 with this session on the current thread.
    pub(super) fn run<T>(self, operation: impl FnOnce() -> T) -> T {
        SESSION.with_borrow_mut(|slot| *slot = Some(self));
        let result = operation();
        SESSION.with_borrow_mut(|slot| *slot = None);
        result
    }

    /// The session of the operation that the current thread runs.
    pub(super) fn current() -> Option<Self> {
        SESSION.with_borrow(Clone::clone)
    }

    /// The credentials for SSH, if the source has them.
    pub(super) fn ssh(&self) -> Option<&SshCredentials> {
        self.ssh.as_deref()
    }

    /// Runs the close of a connection for a second at most.
    pub(super) fn for_a_second(&self, farewell: impl Future<Output = ()>) {
        self.runtime.block_on(async {
            let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
        });
    }

    /// Blocks until a future is done, or the deadline of the operation has passed.
    pub(super) fn within_deadline<T>(
        &self,
        future: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let deadline = tokio::time::Instant::from_std(self.deadline);
        self.runtime.block_on(async {
            tokio::time::timeout_at(deadline, future)
                .await
                .unwrap_or_else(|_| {
                    Err("the operation took longer than `spec.timeout` allows".to_owned())
                })
        })
    }

    fn send(&self, method: &Method, url: &str, body: Vec<u8>) -> Result<Incoming, String> {
        let body = Bytes::from(body);
        self.within_deadline(async {
            let mut url = url.to_owned();
            for _ in 0..=MAX_REDIRECTS {
                let response = self
                    .client
                    .request(self.request(method, &url, body.clone())?)
                    .await;
                let response = response.map_err(|error| causes(&error))?;
                let status = response.status();
                if !status.is_redirection() || *method != Method::GET {
                    return check(status).map(|()| response.into_body());
                }
                let location = response
                    .headers()
                    .get(header::LOCATION)
                    .and_then(|value| value.to_str().ok());
                url = same_host(&url, location.unwrap_or_default())?;
            }
            Err("too many redirects".to_owned())
        })
    }

    fn request(
        &self,
        method: &Method,
        url: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder().method(method).uri(url).header(
            header::USER_AGENT,
            concat!("git/2.0 (overlayd ", env!("CARGO_PKG_VERSION"), ")"),
        );
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        if *method == Method::POST {
            request = request
                .header(
                    header::CONTENT_TYPE,
                    "application/x-git-upload-pack-request",
                )
                .header(header::ACCEPT, "application/x-git-upload-pack-result");
        }
        request
            .body(Full::new(body))
            .map_err(|error| error.to_string())
    }
}

/// The largest file that is fetched by its URL, in bytes.
const MAX_FILE_BYTES: usize = 32 << 20;
/// The longest time of such a fetch.
const FILE_TIMEOUT: Duration = Duration::from_secs(30);

/// Fetches a file over HTTP. Redirects to other hosts are followed, since no credentials are sent.
pub(super) fn get_file(url: &str, runtime: Handle) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + FILE_TIMEOUT;
    let session = Session::new(&Credentials::default(), deadline, runtime)?;
    session.within_deadline(async {
        let mut url = url::Url::parse(url).map_err(|error| error.to_string())?;
        for _ in 0..=MAX_REDIRECTS {
            let request = session.request(&Method::GET, url.as_str(), Bytes::new())?;
            let response = session.client.request(request).await;
            let response = response.map_err(|error| causes(&error))?;
            let status = response.status();
            if status.is_redirection() {
                let location = response.headers().get(header::LOCATION);
                let location = location.and_then(|value| value.to_str().ok());
                url = url
                    .join(location.unwrap_or_default())
                    .map_err(|_| "the server redirects to an invalid address".to_owned())?;
                continue;
            }
            if !status.is_success() {
                return Err(format!("HTTP Error: status code {status}"));
            }
            let body = http_body_util::Limited::new(response.into_body(), MAX_FILE_BYTES);
            let body = body.collect().await.map_err(|error| error.to_string())?;
            return Ok(body.to_bytes().to_vec());
        }
        Err("too many redirects".to_owned())
    })
}

/// The `Authorization` header of the credentials. Copies that are made on the way are overwritten.
fn authorization(authorization: &Authorization) -> Result<Option<header::HeaderValue>, String> {
    let mut text = match authorization {
        Authorization::Anonymous => return Ok(None),
        Authorization::Basic { username, password } => {
            let mut pair = format!("{username}:").into_bytes();
            pair.extend_from_slice(password.expose());
            let encoded = STANDARD.encode(&pair);
            zeroize::Zeroize::zeroize(&mut pair);
            format!("Basic {encoded}")
        }
        Authorization::Bearer(token) => {
            let token = std::str::from_utf8(token.expose())
                .map_err(|_| "the bearer token is not text".to_owned())?;
            format!("Bearer {}", token.trim())
        }
    };
    let value = header::HeaderValue::from_str(&text);
    zeroize::Zeroize::zeroize(&mut text);
    let mut value =
        value.map_err(|_| "the credentials hold characters that no header can".to_owned())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Follows a redirect only to the same host, so that credentials never reach another.
fn same_host(from: &str, location: &str) -> Result<String, String> {
    let from = url::Url::parse(from).map_err(|error| error.to_string())?;
    let to = from
        .join(location)
        .map_err(|_| "the server redirects to an invalid address".to_owned())?;
    let downgraded = from.scheme() == "https" && to.scheme() != "https";
    if to.host_str() != from.host_str() || downgraded {
        let host = to.host_str().unwrap_or_default();
        return Err(format!(
            "the server redirects to another host, `{host}`; put that address into `spec.url`"
        ));
    }
    Ok(to.to_string())
}

fn check(status: StatusCode) -> Result<(), String> {
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED => {
            Err("authentication required: the server refused the credentials (401)".to_owned())
        }
        StatusCode::FORBIDDEN => Err("the server refused access (403)".to_owned()),
        StatusCode::NOT_FOUND => Err("repository not found (404)".to_owned()),
        other => Err(format!("the server answered {other}")),
    }
}

/// The HTTP transport of libgit2.
pub(super) struct Smart {
    pub(super) session: Session,
}

impl SmartSubtransport for Smart {
    fn action(
        &self,
        url: &str,
        action: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let base = url.trim_end_matches('/');
        let (method, url) = match action {
            Service::UploadPackLs => (
                Method::GET,
                format!("{base}/info/refs?service=git-upload-pack"),
            ),
            Service::UploadPack => (Method::POST, format!("{base}/git-upload-pack")),
            _ => return Err(git2::Error::from_str("overlayd never pushes")),
        };
        Ok(Box::new(Exchange {
            session: self.session.clone(),
            method,
            url,
            request: Vec::new(),
            response: None,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its response: libgit2 writes the whole request, then reads the response.
struct Exchange {
    session: Session,
    method: Method,
    url: String,
    request: Vec<u8>,
    response: Option<ResponseState>,
}

struct ResponseState {
    body: Incoming,
    rest: Bytes,
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.response.is_none() {
            let body =
                self.session
                    .send(&self.method, &self.url, std::mem::take(&mut self.request));
            self.response = Some(ResponseState {
                body: body.map_err(std::io::Error::other)?,
                rest: Bytes::new(),
            });
        }
        let session = self.session.clone();
        let Some(response) = &mut self.response else {
            return Ok(0);
        };
        while response.rest.is_empty() {
            let frame = session.within_deadline(async {
                response
                    .body
                    .frame()
                    .await
                    .transpose()
                    .map_err(|error| causes(&error))
            });
            match frame.map_err(std::io::Error::other)? {
                None => return Ok(0),
                Some(frame) => response.rest = frame.into_data().unwrap_or_default(),
            }
        }
        let taken = response
            .rest
            .split_to(response.rest.len().min(buffer.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_follow_a_redirect_to_another_host() {
        assert!(same_host("https://a.example/r", "https://b.example/r").is_err());
        assert!(same_host("https://a.example/r", "http://a.example/r").is_err());
        assert_eq!(
            same_host("https://a.example/r", "/r.git").unwrap(),
            "https://a.example/r.git"
        );
    }
}

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
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::https;
use crate::https::{Addresses, HttpClient, Proxies};
use overlayd_core::error_chain::causes;
use overlayd_core::git::credentials::{Authorization, Credentials, SshCredentials};
use overlayd_core::git::reach::Reach;
use overlayd_core::git::redirect::{CredentialUse, Hop, MAX_REDIRECTS, RedirectError};

/// The client and credentials of one git operation. It is kept on the thread that runs the operation.
#[derive(Clone)]
pub(super) struct Session {
    /// Trusts the source's own CA, if it names one, and goes by way of its proxy.
    client: HttpClient,
    /// The client of redirected requests, where they may not reach everything.
    redirected: Option<HttpClient>,
    reach: Reach,
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

impl Session {
    /// A session for one operation.
    pub(super) fn new(
        credentials: &Credentials,
        reach: &Reach,
        deadline: Instant,
        runtime: Handle,
    ) -> Result<Self, String> {
        let proxies = credentials.proxy.clone();
        let proxies = proxies.map_or(Proxies::Environment, Proxies::Given);
        let client = |addresses| {
            let client = https::client(credentials.ca.as_deref(), proxies.clone(), addresses);
            client.map_err(|error| error.to_string())
        };
        let guards = reach.guards_redirects();
        Ok(Self {
            client: client(Addresses::All)?,
            redirected: guards.then(|| client(Addresses::NotLocal)).transpose()?,
            reach: reach.clone(),
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

    /// Sends a request without a body, and follows redirects. Gives where it was answered, and the answer.
    fn get(&self, first: Hop) -> Result<(Hop, Response<Incoming>), String> {
        self.within_deadline(async {
            let mut hop = first;
            for _ in 0..=MAX_REDIRECTS {
                let response = self.send(&Method::GET, &hop, Bytes::new()).await?;
                if !response.status().is_redirection() {
                    return Ok((hop, response));
                }
                let redirected = hop.redirected(location(&response));
                hop = redirected.map_err(|error| error.to_string())?;
            }
            Err(RedirectError::TooMany.to_string())
        })
    }

    /// Sends a request with a body. git follows no redirect of such a one, and the base was found before.
    fn post(&self, hop: &Hop, body: Vec<u8>) -> Result<Incoming, String> {
        self.within_deadline(async {
            let response = self.send(&Method::POST, hop, Bytes::from(body)).await?;
            check(response.status(), hop).map_err(|error| error.to_string())?;
            Ok(response.into_body())
        })
    }

    async fn send(
        &self,
        method: &Method,
        hop: &Hop,
        body: Bytes,
    ) -> Result<Response<Incoming>, String> {
        let host = hop.url.host_str().unwrap_or_default();
        self.reach
            .check_host(host)
            .map_err(|error| error.to_string())?;
        let request = self.request(method, hop, body)?;
        let guarded = self.redirected.as_ref().filter(|_| hop.is_redirected);
        let response = guarded.unwrap_or(&self.client).request(request).await;
        response.map_err(|error| causes(&error))
    }

    fn request(
        &self,
        method: &Method,
        hop: &Hop,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        let builder = Request::builder().method(method).uri(hop.url.as_str());
        let mut request = builder.header(
            header::USER_AGENT,
            concat!("git/2.0 (overlayd ", env!("CARGO_PKG_VERSION"), ")"),
        );
        if let Some(value) = &self.authorization
            && hop.credentials == CredentialUse::Send
        {
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

/// The address that a response redirects to.
fn location(response: &Response<Incoming>) -> Option<&str> {
    let location = response.headers().get(header::LOCATION)?;
    location.to_str().ok()
}

/// The largest file that is fetched by its URL, in bytes.
const MAX_FILE_BYTES: usize = 32 << 20;
/// The longest time of such a fetch.
const FILE_TIMEOUT: Duration = Duration::from_secs(30);

/// Fetches a file over HTTP. Redirects to other hosts are followed, since no credentials are sent.
pub(super) fn get_file(url: &str, reach: &Reach, runtime: Handle) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + FILE_TIMEOUT;
    let session = Session::new(&Credentials::default(), reach, deadline, runtime)?;
    let first = Hop::to(url).map_err(|error| error.to_string())?;
    let (_, response) = session.get(first)?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("HTTP Error: status code {status}"));
    }
    session.within_deadline(async {
        let body = http_body_util::Limited::new(response.into_body(), MAX_FILE_BYTES);
        let body = body.collect().await.map_err(|error| error.to_string())?;
        Ok(body.to_bytes().to_vec())
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

/// An answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum StatusError {
    #[error(
        "the server redirects to `{host}`, which asks for credentials ({code}); they are sent to the server of `spec.url` alone, so put the new address there"
    )]
    Withheld { host: String, code: u16 },
    #[error("authentication required: the server refused the credentials (401)")]
    Unauthorized,
    #[error("the server refused access (403)")]
    Forbidden,
    #[error("repository not found (404)")]
    NotFound,
    #[error(
        "the server redirects the request for objects ({0}), which git does not follow; put the new address into `spec.url`"
    )]
    Redirected(StatusCode),
    #[error("the server answered {0}")]
    Other(StatusCode),
}

/// Refuses an answer that is no success.
fn check(status: StatusCode, hop: &Hop) -> Result<(), StatusError> {
    Err(match status {
        StatusCode::OK => return Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
            if hop.credentials == CredentialUse::Withhold =>
        {
            StatusError::Withheld {
                host: hop.url.host_str().unwrap_or_default().to_owned(),
                code: status.as_u16(),
            }
        }
        StatusCode::UNAUTHORIZED => StatusError::Unauthorized,
        StatusCode::FORBIDDEN => StatusError::Forbidden,
        StatusCode::NOT_FOUND => StatusError::NotFound,
        other if other.is_redirection() => StatusError::Redirected(other),
        other => StatusError::Other(other),
    })
}

/// The HTTP transport of libgit2.
pub(super) struct Smart {
    session: Session,
    /// Where the first request was answered, if the server has redirected it.
    moved: Arc<Mutex<Option<Hop>>>,
}

impl Smart {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            moved: Arc::default(),
        }
    }

    /// The request of one step of the protocol.
    fn step(&self, address: &str, action: Service) -> Result<ProtocolStep, RedirectError> {
        if matches!(action, Service::UploadPackLs) {
            return Hop::first(address).map(ProtocolStep::ListRefs);
        }
        let base = match &*self.moved.lock() {
            Some(base) => base.clone(),
            None => Hop::to(address)?,
        };
        base.below("git-upload-pack").map(ProtocolStep::Fetch)
    }
}

impl SmartSubtransport for Smart {
    fn action(
        &self,
        url: &str,
        action: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        if !matches!(action, Service::UploadPackLs | Service::UploadPack) {
            return Err(git2::Error::from_str("overlayd never pushes"));
        }
        let step = self.step(url, action);
        Ok(Box::new(Exchange {
            session: self.session.clone(),
            moved: self.moved.clone(),
            step: step.map_err(|error| git2::Error::from_str(&error.to_string()))?,
            request: Vec::new(),
            response: None,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// The steps of git's smart HTTP.
#[derive(Clone)]
enum ProtocolStep {
    ListRefs(Hop),
    Fetch(Hop),
}

/// One request and its response: libgit2 writes the whole request, then reads the response.
struct Exchange {
    session: Session,
    moved: Arc<Mutex<Option<Hop>>>,
    step: ProtocolStep,
    request: Vec<u8>,
    response: Option<ResponseState>,
}

impl Exchange {
    /// Sends the request. A redirect of the first one decides where the later ones go.
    fn send(&mut self) -> Result<Incoming, String> {
        match self.step.clone() {
            ProtocolStep::Fetch(hop) => self.session.post(&hop, std::mem::take(&mut self.request)),
            ProtocolStep::ListRefs(first) => {
                let (hop, response) = self.session.get(first.clone())?;
                if hop != first {
                    let base = hop.base().map_err(|error| error.to_string())?;
                    *self.moved.lock() = Some(base);
                }
                check(response.status(), &hop).map_err(|error| error.to_string())?;
                Ok(response.into_body())
            }
        }
    }
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
            let body = self.send();
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

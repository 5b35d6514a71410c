//! Our own AWS, for what moto cannot do: faults on demand, and counting. Secrets Manager, Parameter Store, and STS.
//!
//! It is a plain HTTP server that speaks the JSON protocol of Secrets Manager and Parameter Store (the header
//! `x-amz-target` names the action) and the query protocol of STS. Signatures are not checked; the access key in them
//! tells whose session it is. All state is one `Account` behind a lock, so every answer is of one moment.
//!
//! It knows the actions that overlayd uses, and refuses others with `UnknownOperationException`. moto is the second
//! opinion: it was written by people who do not know our client.

mod parameters;
mod secrets;
mod sts;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use crate::server::{Server, serve};
use parameters::Parameters;
use secrets::Secrets;

/// What goes wrong with every read, until it is taken back.
///
/// A fault takes the place of the answer. Time, counts and sessions go on as without it, so a test can see how often
/// a client tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The identity may not.
    AccessDenied,
    /// Too many requests.
    Throttling,
    /// The service is broken.
    InternalError,
    /// The credentials are too old.
    ExpiredToken,
    /// The key does not open the value.
    DecryptionFailure,
    /// The answer is a success without a value.
    EmptyAnswer,
    /// The answer is cut in the middle.
    Truncated,
    /// There is no answer until every client has given up.
    Silence,
    /// The connection ends in the middle.
    Reset,
}

/// A running emulator. Dropped, it stops.
///
/// Several clients may use it at the same time, each as its own identity.
#[derive(Debug)]
pub struct Emulator {
    server: Server,
    state: Arc<Mutex<Account>>,
}

/// The account 123456789012 in us-east-1.
#[derive(Debug, Default)]
struct Account {
    secrets: Secrets,
    parameters: Parameters,
    fault: Option<Fault>,
    /// Faults of single actions.
    faults: BTreeMap<String, Fault>,
    /// What goes wrong with so many calls of a hundred.
    often: Vec<(Fault, usize)>,
    latency: Duration,
    /// Calls, faults included, with their times.
    calls: BTreeMap<String, Vec<Instant>>,
    sessions: sts::Sessions,
    /// Reads, alone and with others, by the id of the secret.
    reads: BTreeMap<String, usize>,
}

/// An answer, or the code of an error and its message.
type Answer = Result<Value, Refusal>;

/// Why an action is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    code: &'static str,
    message: String,
}

/// An error as AWS gives it: the code decides what a client does, the message is for people.
fn refusal<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        code,
        message: message.into(),
    })
}

impl Emulator {
    /// Starts one with nothing in it.
    pub fn start() -> Result<Self> {
        let state = Arc::new(Mutex::new(Account::default()));
        let server = serve(
            Router::new()
                .route("/", post(handle))
                .with_state(state.clone()),
            None,
        )?;
        Ok(Self { server, state })
    }

    /// The address for every service.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.address.port())
    }

    /// Sets the text of a secret: a new version, if it is another text.
    pub fn put(&self, name: &str, value: &str) {
        self.account(|account| account.secrets.put(name, &json!({"SecretString": value})));
    }

    /// Sets the tags of a secret.
    pub fn tag(&self, name: &str, tags: &[(&str, &str)]) {
        self.account(|account| account.secrets.tag(name, tags));
    }

    /// Sets the value of a parameter.
    pub fn put_parameter(&self, name: &str, value: &str) {
        self.account(|account| account.parameters.put(name, value, &[]));
    }

    /// Denies every read of one secret.
    pub fn deny(&self, name: &str) {
        self.account(|account| account.secrets.deny(name));
    }

    /// Removes a secret at once.
    pub fn remove(&self, name: &str) {
        self.account(|account| account.secrets.remove(name));
    }

    /// Lets everything go wrong, or right again.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.account(|account| account.fault = fault);
    }

    /// Lets one action go wrong, or right again.
    pub fn set_fault_of(&self, action: &str, fault: Option<Fault>) {
        self.account(|account| match fault {
            Some(fault) => drop(account.faults.insert(action.to_owned(), fault)),
            None => drop(account.faults.remove(action)),
        });
    }

    /// Lets so many calls of a hundred go wrong, in each of these ways.
    ///
    /// Which calls these are is the same in each run: the number of the call decides and not chance.
    pub fn set_often(&self, faults: &[(Fault, usize)]) {
        self.account(|account| account.often = faults.to_vec());
    }

    /// Lets every answer take so long.
    pub fn set_latency(&self, latency: Duration) {
        self.account(|account| account.latency = latency);
    }

    /// Shows a new version of a secret only so long after it was put.
    ///
    /// AWS shows the old version for a moment after a change, too.
    pub fn set_lag(&self, lag: Duration) {
        self.account(|account| account.secrets.lag = lag);
    }

    /// Sets how long sessions live that STS gives out from now on.
    pub fn set_session_lifetime(&self, lifetime: Duration) {
        self.account(|account| account.sessions.lifetime = lifetime);
    }

    /// The requests that STS was asked, each as its parameters.
    pub fn sts_requests(&self) -> Vec<BTreeMap<String, String>> {
        self.account(|account| account.sessions.requests.clone())
    }

    /// Who has read: the role of each session, or the access key.
    pub fn readers(&self) -> Vec<String> {
        self.account(|account| account.sessions.seen.iter().cloned().collect())
    }

    /// How often an action was called.
    pub fn calls(&self, action: &str) -> usize {
        self.account(|account| account.calls.get(action).map_or(0, Vec::len))
    }

    /// How often each action was called.
    pub fn all_calls(&self) -> BTreeMap<String, usize> {
        let count = |(action, times): (&String, &Vec<Instant>)| (action.clone(), times.len());
        self.account(|account| account.calls.iter().map(count).collect())
    }

    /// The most calls of an action within a second.
    ///
    /// The second is any window of a second, and not one of the clock.
    pub fn peak(&self, action: &str) -> usize {
        self.account(|account| {
            let times = account.calls.get(action).cloned().unwrap_or_default();
            let within = |(first, time): (usize, &Instant)| {
                let second = *time + Duration::from_secs(1);
                times[first..]
                    .iter()
                    .take_while(|other| **other < second)
                    .count()
            };
            times.iter().enumerate().map(within).max().unwrap_or(0)
        })
    }

    /// How often the value of a secret was read, alone or with others.
    pub fn reads(&self, id: &str) -> usize {
        self.account(|account| account.reads.get(id).copied().unwrap_or_default())
    }

    /// Carries out an action of a service (`secretsmanager` or `ssm`), as a caller with every permission.
    ///
    /// It is not counted, and no fault applies.
    pub fn call(&self, service: &str, action: &str, request: &Value) -> Result<Value> {
        let answer = self.account(|account| account.act(service, action, request));
        answer.map_err(|refusal| anyhow::anyhow!("{}: {}", refusal.code, refusal.message))
    }

    fn account<T>(&self, look: impl FnOnce(&mut Account) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Account {
    fn act(&mut self, service: &str, action: &str, request: &Value) -> Answer {
        match service {
            "secretsmanager" => self.secrets.act(action, request),
            "ssm" => self.parameters.act(action, request),
            _ => refusal("UnknownOperationException", service),
        }
    }
}

/// Answers one request: counts it, waits for the latency, and gives the answer or the fault. The lock is not held
/// while it waits.
async fn handle(
    State(state): State<Arc<Mutex<Account>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let target = text("x-amz-target").unwrap_or_default();
    let (service, action) = match target.split_once('.') {
        Some(("AmazonSSM", action)) => ("ssm", action.to_owned()),
        Some((_, action)) => ("secretsmanager", action.to_owned()),
        None => ("sts", sts::action(&body)),
    };
    let key = sts::access_key(text("authorization").unwrap_or_default());
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (fault, latency, answer) = {
        let mut account = state.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = account.calls.entry(action.clone()).or_default();
        calls.push(Instant::now());
        let several = request["SecretIdList"].as_array().into_iter().flatten();
        let ids = several
            .chain([&request["SecretId"]])
            .filter_map(Value::as_str);
        for id in ids.filter(|_| action.ends_with("GetSecretValue")) {
            *account.reads.entry(id.to_owned()).or_default() += 1;
        }
        let fault = account.fault(&action);
        let answer = match service {
            "sts" => None,
            _ => Some(match account.sessions.check(&key) {
                Ok(()) => account.act(service, &action, &request),
                Err(refusal) => Err(refusal),
            }),
        };
        (fault, account.latency, answer)
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let Some(answer) = answer else {
        let mut account = state.lock().unwrap_or_else(PoisonError::into_inner);
        return account.sessions.answer(&action, &body, &key, fault);
    };
    if let Some(fault) = fault {
        return go_wrong(fault).await;
    }
    match answer {
        Ok(answer) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], answer.to_string()).into_response(),
        Err(Refusal { code, message }) => refuse(StatusCode::BAD_REQUEST, code, &message),
    }
}

impl Account {
    /// What goes wrong with the next call of an action.
    fn fault(&self, action: &str) -> Option<Fault> {
        let own = self.faults.get(action).copied();
        let number: usize = self.calls.values().map(Vec::len).sum();
        // Spread over a hundred calls, the same each time.
        let mut place = number.wrapping_mul(37) % 100;
        let often = self.often.iter().find(|(_, share)| {
            let hit = place < *share;
            place = place.wrapping_sub(*share);
            hit
        });
        self.fault
            .or(own)
            .or_else(|| often.map(|(fault, _)| *fault))
    }
}

/// The answer of a fault. `Silence` never answers; the client's own timeout ends it.
async fn go_wrong(fault: Fault) -> Response {
    let told = |code| {
        refuse(
            StatusCode::BAD_REQUEST,
            code,
            "the emulator was told to refuse",
        )
    };
    match fault {
        Fault::AccessDenied => told("AccessDeniedException"),
        Fault::Throttling => told("ThrottlingException"),
        Fault::ExpiredToken => told("ExpiredTokenException"),
        Fault::DecryptionFailure => told("DecryptionFailure"),
        Fault::InternalError => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServiceError",
            "the emulator was told to refuse",
        ),
        Fault::EmptyAnswer => ([(header::CONTENT_TYPE, CONTENT_TYPE)], "{}").into_response(),
        Fault::Truncated => {
            let cut = "{\"SecretString\": \"tr";
            ([(header::CONTENT_TYPE, CONTENT_TYPE)], cut).into_response()
        }
        Fault::Silence => std::future::pending().await,
        Fault::Reset => {
            let parts = [
                Ok("{\"SecretString\":"),
                Err(std::io::Error::other("the connection ends here")),
            ];
            let body = axum::body::Body::from_stream(futures::stream::iter(parts));
            ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
        }
    }
}

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// An error in the JSON protocol.
fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({"__type": code, "message": message});
    (
        status,
        [("x-amzn-errortype", code), ("content-type", CONTENT_TYPE)],
        body.to_string(),
    )
        .into_response()
}

/// A page of what was found, and the token of the next one, from `NextToken` and `MaxResults` of a request.
fn page<T>(found: Vec<T>, request: &Value, most: usize) -> (Vec<T>, Option<String>) {
    let start: usize = request["NextToken"]
        .as_str()
        .and_then(|token| token.parse().ok())
        .unwrap_or_default();
    let size = request["MaxResults"].as_u64().map_or(most, |size| {
        usize::try_from(size).unwrap_or(most).clamp(1, most)
    });
    let more = found.len() > start + size;
    let page = found.into_iter().skip(start).take(size).collect();
    (page, more.then(|| (start + size).to_string()))
}

fn tags_of(request: &Value) -> BTreeMap<String, String> {
    let tags = request["Tags"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    tags.map(|tag| (text(&tag["Key"]), text(&tag["Value"])))
        .collect()
}

fn tag_list(tags: &BTreeMap<String, String>) -> Value {
    let tags = tags.iter();
    tags.map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect()
}

//! Our own AWS, for what moto cannot do: faults on demand, and counting. Secrets Manager and Parameter Store.

mod parameters;
mod secrets;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// There is no answer for so long that nobody waits for it.
    Silence,
}

/// A running emulator. Dropped, it stops.
#[derive(Debug)]
pub struct Emulator {
    server: Server,
    state: Arc<Mutex<Account>>,
}

#[derive(Debug, Default)]
struct Account {
    secrets: Secrets,
    parameters: Parameters,
    fault: Option<Fault>,
    /// Faults of single actions.
    faults: BTreeMap<String, Fault>,
    calls: BTreeMap<String, usize>,
    /// Single reads, by the id of the secret.
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

    /// Lets nobody read a secret.
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

    /// How often an action was called.
    pub fn calls(&self, action: &str) -> usize {
        self.account(|account| account.calls.get(action).copied().unwrap_or_default())
    }

    /// How often the value of a secret was read by itself.
    pub fn reads(&self, id: &str) -> usize {
        self.account(|account| account.reads.get(id).copied().unwrap_or_default())
    }

    /// Carries out an action of a service (`secretsmanager` or `ssm`), as somebody who may do everything.
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

async fn handle(
    State(state): State<Arc<Mutex<Account>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let (service, action) = match target.split_once('.') {
        Some(("AmazonSSM", action)) => ("ssm", action),
        Some((_, action)) => ("secretsmanager", action),
        None => ("", ""),
    };
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (fault, answer) = {
        let mut account = state.lock().unwrap_or_else(PoisonError::into_inner);
        *account.calls.entry(action.to_owned()).or_default() += 1;
        if let (true, Some(id)) = (action == "GetSecretValue", request["SecretId"].as_str()) {
            *account.reads.entry(id.to_owned()).or_default() += 1;
        }
        let own = account.faults.get(action).copied();
        let fault = account.fault.or(own);
        (fault, account.act(service, action, &request))
    };
    if let Some(fault) = fault {
        return go_wrong(fault).await;
    }
    match answer {
        Ok(answer) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], answer.to_string()).into_response(),
        Err(Refusal { code, message }) => refuse(StatusCode::BAD_REQUEST, code, &message),
    }
}

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
    }
}

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

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

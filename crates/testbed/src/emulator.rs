//! Our own Secrets Manager, for what moto cannot do: faults on demand, and counting.

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

/// What goes wrong with every read, until it is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The identity may not.
    AccessDenied,
    /// Too many requests.
    Throttling,
    /// The service is broken.
    InternalError,
    /// The answer is a success without a value.
    EmptyAnswer,
    /// The answer is cut in the middle.
    Truncated,
}

/// A running emulator. Dropped, it stops.
#[derive(Debug)]
pub struct Emulator {
    server: Server,
    state: Arc<Mutex<Secrets>>,
}

#[derive(Debug, Default)]
struct Secrets {
    values: BTreeMap<String, String>,
    fault: Option<Fault>,
    calls: BTreeMap<String, usize>,
}

impl Emulator {
    /// Starts one without secrets.
    pub fn start() -> Result<Self> {
        let state = Arc::new(Mutex::new(Secrets::default()));
        let server = serve(
            Router::new()
                .route("/", post(handle))
                .with_state(state.clone()),
            None,
        )?;
        Ok(Self { server, state })
    }

    /// The address for Secrets Manager.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.address.port())
    }

    /// Sets the text of a secret.
    pub fn put(&self, name: &str, value: &str) {
        self.secrets(|secrets| drop(secrets.values.insert(name.to_owned(), value.to_owned())));
    }

    /// Removes a secret.
    pub fn remove(&self, name: &str) {
        self.secrets(|secrets| drop(secrets.values.remove(name)));
    }

    /// Lets every read go wrong, or right again.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.secrets(|secrets| secrets.fault = fault);
    }

    /// How often an action was called.
    pub fn calls(&self, action: &str) -> usize {
        self.secrets(|secrets| secrets.calls.get(action).copied().unwrap_or_default())
    }

    fn secrets<T>(&self, look: impl FnOnce(&mut Secrets) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn handle(
    State(state): State<Arc<Mutex<Secrets>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let action = target.rsplit('.').next().unwrap_or_default().to_owned();
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut secrets = state.lock().unwrap_or_else(PoisonError::into_inner);
    *secrets.calls.entry(action.clone()).or_default() += 1;
    match secrets.fault {
        Some(Fault::AccessDenied) => {
            return refuse(StatusCode::BAD_REQUEST, "AccessDeniedException");
        }
        Some(Fault::Throttling) => return refuse(StatusCode::BAD_REQUEST, "ThrottlingException"),
        Some(Fault::InternalError) => {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalServiceError");
        }
        Some(Fault::EmptyAnswer) => return answer(&json!({})),
        Some(Fault::Truncated) => {
            return (
                [(header::CONTENT_TYPE, CONTENT_TYPE)],
                "{\"SecretString\": \"tr",
            )
                .into_response();
        }
        None => {}
    }
    match action.as_str() {
        "GetSecretValue" => {
            let id = request["SecretId"].as_str().unwrap_or_default();
            match secrets.values.get(id) {
                Some(value) => answer(
                    &json!({"Name": id, "SecretString": value, "VersionStages": ["AWSCURRENT"]}),
                ),
                None => refuse(StatusCode::BAD_REQUEST, "ResourceNotFoundException"),
            }
        }
        _ => refuse(StatusCode::BAD_REQUEST, "InvalidAction"),
    }
}

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

fn answer(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], body.to_string()).into_response()
}

fn refuse(status: StatusCode, code: &str) -> Response {
    let body = json!({"__type": code, "message": "the emulator was told to refuse"});
    (
        status,
        [("x-amzn-errortype", code), ("content-type", CONTENT_TYPE)],
        body.to_string(),
    )
        .into_response()
}

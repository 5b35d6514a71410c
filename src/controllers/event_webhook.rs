//! Talks to whoever wants to know: posts events as JSON, in the shape that Flux's notification-controller takes.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use serde::Serialize;
use tokio::sync::mpsc;
use url::Url;

use crate::https;
use crate::https::{HttpClient, Proxies};
use overlayd_core::error_chain::causes;
use overlayd_core::schedule::seconds;

/// So many events wait; more are dropped, and that is logged.
const WAITING: usize = 1024;
/// An event is tried so often.
const TRIES: u32 = 3;
/// One try may take so long.
const PATIENCE: Duration = Duration::from_secs(15);
/// A message may have so many bytes.
const MAX_MESSAGE: usize = 39_000;

/// An event as it is posted.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Post {
    involved_object: ObjectReference,
    severity: &'static str,
    timestamp: String,
    message: String,
    reason: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    reporting_controller: String,
    reporting_instance: String,
}

impl Post {
    pub(crate) fn new(
        object: &ObjectReference,
        is_error: bool,
        (reason, message): (&str, &str),
        metadata: BTreeMap<String, String>,
        (controller, instance): (&str, &str),
        now: Timestamp,
    ) -> Self {
        let mut message = message.to_owned();
        let mut end = message.len().min(MAX_MESSAGE);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        Self {
            involved_object: object.clone(),
            severity: if is_error { "error" } else { "info" },
            timestamp: seconds(now),
            message,
            reason: reason.to_owned(),
            metadata,
            reporting_controller: controller.to_owned(),
            reporting_instance: instance.to_owned(),
        }
    }
}

/// Takes events to be posted.
#[derive(Debug, Clone)]
pub(crate) struct Poster(mpsc::Sender<Post>);

/// The events that wait.
pub(crate) struct Waiting(mpsc::Receiver<Post>);

pub(crate) fn poster() -> (Poster, Waiting) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Poster(sender), Waiting(receiver))
}

impl Poster {
    pub(crate) fn post(&self, post: Post) {
        if self.0.try_send(post).is_err() {
            tracing::warn!("an event was not posted: too many wait already");
        }
    }
}

/// Posts what comes, one after the other, until nobody can send any more.
pub(crate) async fn run(mut waiting: Waiting, address: Url) {
    let client = match https::client(None, Proxies::Environment) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(error, "events cannot be posted");
            return std::future::pending().await;
        }
    };
    while let Some(post) = waiting.0.recv().await {
        let body = serde_json::to_vec(&post).unwrap_or_default();
        for number in 1..=TRIES {
            match send(&client, &address, &body).await {
                Ok(()) => break,
                Err(error) if number == TRIES => {
                    tracing::warn!(error, reason = post.reason, "an event was not posted");
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(u64::from(number))).await,
            }
        }
    }
}

async fn send(client: &HttpClient, address: &Url, body: &[u8]) -> Result<(), String> {
    let request = Request::post(address.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_vec()))
        .map_err(|error| error.to_string())?;
    let sent = async {
        let answer = client
            .request(request)
            .await
            .map_err(|error| causes(&error))?;
        let status = answer.status();
        // Read to its end, so that the connection can be used again; a large one is not kept.
        let limited = http_body_util::Limited::new(answer.into_body(), 64 << 10);
        let _ = limited.collect().await;
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("the receiver of events answered {status}"))
        }
    };
    let sent = tokio::time::timeout(PATIENCE, sent).await;
    sent.unwrap_or_else(|_| Err("the receiver of events did not answer in time".to_owned()))
}

//! Talks to the event webhook: posts events as JSON, in the shape that Flux's notification-controller takes.

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
use crate::https::{Addresses, HttpClient, Proxies};
use overlayd_core::error_chain::causes;
use overlayd_core::schedule::seconds;

/// How many events may be queued. Further ones are dropped, which is logged.
const WAITING: usize = 1024;
/// How often an event is sent at most.
const TRIES: u32 = 3;
/// The longest time of one attempt.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest message, in bytes.
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

/// The sending end of the queue.
#[derive(Debug, Clone)]
pub(crate) struct Poster(mpsc::Sender<Post>);

/// The receiving end of the queue.
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

/// Posts the queued events one after the other, until all senders are dropped.
pub(crate) async fn run(mut waiting: Waiting, address: Url) {
    let client = match https::client(None, Proxies::Environment, Addresses::All) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "events cannot be posted");
            return std::future::pending().await;
        }
    };
    while let Some(post) = waiting.0.recv().await {
        let body = serde_json::to_vec(&post).unwrap_or_default();
        for number in 1..=TRIES {
            match send(&client, &address, &body).await {
                Ok(()) => break,
                Err(error) if number == TRIES => {
                    tracing::warn!(%error, reason = post.reason, "an event was not posted");
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(u64::from(number))).await,
            }
        }
    }
}

/// Why an event was not taken. The text is logged.
#[derive(Debug, thiserror::Error)]
enum PostError {
    #[error("{0}")]
    Address(#[from] http::Error),
    #[error("{}", causes(.0))]
    Connection(#[from] hyper_util::client::legacy::Error),
    #[error("the receiver of events answered {0}")]
    Refused(http::StatusCode),
    #[error("the receiver of events did not answer in time")]
    Late,
}

async fn send(client: &HttpClient, address: &Url, body: &[u8]) -> Result<(), PostError> {
    let request = Request::post(address.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_vec()))?;
    let sent = async {
        let response = client.request(request).await?;
        let status = response.status();
        // The body is read to its end, so that the connection can be used again, unless it is large.
        let limited = http_body_util::Limited::new(response.into_body(), 64 << 10);
        let _ = limited.collect().await;
        if status.is_success() {
            Ok(())
        } else {
            Err(PostError::Refused(status))
        }
    };
    let sent = tokio::time::timeout(PATIENCE, sent).await;
    sent.unwrap_or(Err(PostError::Late))
}

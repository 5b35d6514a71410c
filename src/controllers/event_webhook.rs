//! Talks to the event webhook: posts events as JSON, in the shape that Flux's notification-controller takes.

use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use serde::Serialize;
use tokio::sync::mpsc;
use url::Url;

use crate::https;
use crate::https::{Addresses, HttpClient, Proxies};
use overlayd_core::error_chain::causes;
use overlayd_core::events::{EventText, Facts, cut};
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
    #[serde(skip_serializing_if = "Facts::is_empty")]
    metadata: Facts,
    reporting_controller: String,
    reporting_instance: String,
}

impl Post {
    /// The post of an event. `metadata` are facts of the object; those of the event go before them.
    pub(crate) fn new(text: &EventText<'_>, mut metadata: Facts, now: Timestamp) -> Self {
        metadata.extend(text.facts.clone());
        Self {
            involved_object: text.object.clone(),
            severity: text.severity.flux(),
            timestamp: seconds(now),
            message: cut(text.note, MAX_MESSAGE),
            reason: text.reason.to_owned(),
            metadata,
            reporting_controller: text.controller.to_owned(),
            reporting_instance: text.instance.to_owned(),
        }
    }
}

/// The sending end of the queue.
#[derive(Debug, Clone)]
pub(crate) struct Poster(mpsc::Sender<Post>);

/// The receiving end of the queue.
pub(crate) struct Waiting(mpsc::Receiver<Post>);

/// A queue of events that is empty.
pub(crate) fn poster() -> (Poster, Waiting) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Poster(sender), Waiting(receiver))
}

impl Poster {
    /// Queues an event. A full queue drops it, because a reconcile must not wait for a webhook.
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
        for number in 1.. {
            let answer = send(&client, &address, &body).await;
            match after(&answer, number) {
                AfterPost::Done => break,
                AfterPost::Repeat(wait) => tokio::time::sleep(wait).await,
                AfterPost::GiveUp => {
                    if let Err(error) = answer {
                        tracing::warn!(%error, reason = post.reason, "an event was not posted");
                    }
                    break;
                }
            }
        }
    }
}

/// What follows after an attempt to post an event.
#[derive(Debug, PartialEq, Eq)]
enum AfterPost {
    Done,
    /// Post it again after this time.
    Repeat(Duration),
    GiveUp,
}

/// Decides by the answer to an attempt, which is the first, second or third.
fn after(answer: &Result<(), PostError>, number: u32) -> AfterPost {
    match answer {
        // The receiver has had the same event a moment ago, and drops it.
        Ok(()) | Err(PostError::Refused(StatusCode::TOO_MANY_REQUESTS)) => AfterPost::Done,
        Err(_) if number < TRIES => AfterPost::Repeat(Duration::from_secs(u64::from(number))),
        Err(_) => AfterPost::GiveUp,
    }
}

/// Why an event was not taken. The text is logged.
#[derive(Debug, thiserror::Error)]
enum PostError {
    /// The address of the flag makes no request.
    #[error("{0}")]
    Address(#[from] http::Error),
    /// The webhook cannot be reached, or the connection broke.
    #[error("{}", causes(.0))]
    Connection(#[from] hyper_util::client::legacy::Error),
    /// The webhook has answered with a status that is no success.
    #[error("the receiver of events answered {0}")]
    Refused(StatusCode),
    #[error("the receiver of events did not answer in time")]
    Late,
}

/// Sends one event. Any status below 200 or above 299 is a refusal.
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn an_event_is_sent_three_times_at_most_and_a_repetition_is_dropped() {
        let check = |answer: Result<(), PostError>, number: u32, expected: AfterPost| {
            assert_eq!(after(&answer, number), expected, "{answer:?} {number}");
        };
        let busy = || Err(PostError::Refused(StatusCode::SERVICE_UNAVAILABLE));
        let seconds = |seconds| AfterPost::Repeat(Duration::from_secs(seconds));
        check(Ok(()), 1, AfterPost::Done);
        check(busy(), 1, seconds(1));
        check(busy(), 2, seconds(2));
        check(busy(), 3, AfterPost::GiveUp);
        check(Err(PostError::Late), 3, AfterPost::GiveUp);
        let repeated = PostError::Refused(StatusCode::TOO_MANY_REQUESTS);
        check(Err(repeated), 1, AfterPost::Done);
    }

    #[test]
    fn an_event_is_dropped_when_too_many_wait() {
        let (poster, mut waiting) = poster();
        let object = ObjectReference::default();
        let text = EventText {
            object: &object,
            controller: "kustomize-controller",
            instance: "pod",
            severity: overlayd_core::events::Severity::Error,
            reason: "BuildFailed",
            note: "broken",
            facts: &Facts::new(),
        };
        for _ in 0..=WAITING {
            poster.post(Post::new(&text, Facts::new(), Timestamp::UNIX_EPOCH));
        }
        let mut taken = 0;
        while let Some(Some(post)) = waiting.0.recv().now_or_never() {
            assert_eq!(post.severity, "error");
            taken += 1;
        }
        assert_eq!(taken, WAITING);
    }
}

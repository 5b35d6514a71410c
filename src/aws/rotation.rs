//! Talks to AWS: a queue of rotation events. What an event names is read at once; a message goes when that has worked.

use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName};
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};

use crate::aws::errors::transport;
use crate::aws::fetcher::Fetcher;
use overlayd_core::aws::cloudtrail::{SecretChange, parse};
use overlayd_core::aws::queue::Queue;
use overlayd_core::schedule::backoff;

/// How a queue stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QueueState {
    Listening,
    /// It cannot be read; changes are seen by looking, as without it.
    Lost(String),
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageOutcome {
    /// What it names was read.
    Handled,
    /// Nobody here uses what it names, or it changes nothing.
    Ignored,
    /// It will come again.
    Failed,
    /// It has failed too often, and is gone.
    Dropped,
}

impl MessageOutcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// A message that fails comes again after this.
const HIDDEN: i32 = 15;
/// One that has come so often and fails still is dropped.
const MOST_TRIES: u32 = 3;
/// Messages of so many receives are at work at once.
const AT_ONCE: usize = 16;
/// AWS may show the old value for a moment: it is looked at again after these waits.
const AGAIN: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(4),
];

/// Who listens to one queue.
pub(crate) struct Listener {
    client: Client,
    queue: Queue,
    fetcher: Arc<Fetcher>,
}

/// What is said of a queue.
#[derive(Debug)]
pub(crate) enum QueueEvent {
    State(QueueState),
    /// A message, and why it failed.
    Message(MessageOutcome, Option<String>),
}

impl Listener {
    pub(crate) async fn new(fetcher: Arc<Fetcher>, queue: Queue) -> Self {
        let session = fetcher.sessions().of(&queue.identity).await;
        // A receive waits for up to 20 seconds by itself.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_timeout(Duration::from_secs(30));
        let config = aws_sdk_sqs::config::Builder::from(&session.config)
            .timeout_config(timeouts.build())
            .build();
        Self {
            client: Client::from_conf(config),
            queue,
            fetcher,
        }
    }

    /// QueueCondition for as long as it is polled.
    pub(crate) async fn listen(&self, say: &(dyn Fn(QueueEvent) + Sync)) {
        let mut work = FuturesUnordered::new();
        // The first one does not wait, so that it is soon known how the queue stands.
        let (mut failures, mut wait) = (0, 0);
        loop {
            let receive = self.receive(wait).fuse();
            futures::pin_mut!(receive);
            let received = loop {
                futures::select! {
                    received = receive => break received,
                    () = work.select_next_some() => {}
                }
            };
            match received {
                Ok(messages) => {
                    say(QueueEvent::State(QueueState::Listening));
                    (failures, wait) = (0, 20);
                    if !messages.is_empty() {
                        work.push(self.handle(messages, say));
                    }
                }
                Err(reason) => {
                    say(QueueEvent::State(QueueState::Lost(reason)));
                    let bounds = (Duration::from_secs(1), Duration::from_secs(60));
                    let pause = backoff(bounds.0, bounds.1, failures);
                    (failures, wait) = (failures + 1, 0);
                    let pause = tokio::time::sleep(pause).fuse();
                    futures::pin_mut!(pause);
                    loop {
                        futures::select! {
                            () = pause => break,
                            () = work.select_next_some() => {}
                        }
                    }
                }
            }
            while work.len() >= AT_ONCE {
                work.next().await;
            }
        }
    }

    async fn receive(&self, wait: i32) -> Result<Vec<Message>, String> {
        let request = self.client.receive_message().queue_url(&self.queue.url);
        let request = request
            .max_number_of_messages(10)
            .wait_time_seconds(wait)
            .visibility_timeout(HIDDEN)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        match request.send().await {
            Ok(answer) => Ok(answer.messages.unwrap_or_default()),
            Err(error) => Err(self.reason("sqs:ReceiveMessage", &error)),
        }
    }

    fn reason<E>(&self, action: &str, error: &SdkError<E>) -> String
    where
        E: aws_sdk_sqs::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        let identity = &self.queue.identity;
        match error.code().unwrap_or_default() {
            "" => format!("{action} as {identity} failed: {}", transport(error)),
            code => format!("{action} as {identity} failed: {code}"),
        }
    }

    async fn handle(&self, messages: Vec<Message>, say: &(dyn Fn(QueueEvent) + Sync)) {
        let handled = messages.into_iter().map(async |message| {
            let (mut fate, mut reason) = match self.act(&message).await {
                Ok(fate) => (fate, None),
                Err(reason) => (MessageOutcome::Failed, Some(reason)),
            };
            if fate == MessageOutcome::Failed && tries(&message) >= MOST_TRIES {
                fate = MessageOutcome::Dropped;
                reason = reason.map(|reason| format!("{reason}; it came {MOST_TRIES} times"));
            }
            say(QueueEvent::Message(fate, reason));
            (fate != MessageOutcome::Failed)
                .then_some(message.receipt_handle)
                .flatten()
        });
        let done = join_all(handled).await.into_iter().flatten();
        let entries = done.enumerate().filter_map(|(number, handle)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
            entry.receipt_handle(handle).build().ok()
        });
        let entries: Vec<_> = entries.collect();
        if entries.is_empty() {
            return;
        }
        let request = self.client.delete_message_batch();
        let request = request
            .queue_url(&self.queue.url)
            .set_entries(Some(entries));
        if let Err(error) = request.send().await {
            // They come again, and are read again, which does no harm.
            let reason = self.reason("sqs:DeleteMessage", &error);
            say(QueueEvent::Message(MessageOutcome::Failed, Some(reason)));
        }
    }

    /// Reads what a message names, until it is as the event says or has had time to be.
    async fn act(&self, message: &Message) -> Result<MessageOutcome, String> {
        let change = parse(message.body().unwrap_or_default());
        let Some(change) = change.map_err(|error| error.to_string())? else {
            return Ok(MessageOutcome::Ignored);
        };
        let mut waits = AGAIN.into_iter();
        loop {
            let only = (!self.queue.is_for_all).then_some(&self.queue.identity);
            let concerned = self.fetcher.concerned(&change, only);
            if concerned.is_empty() {
                return Ok(MessageOutcome::Ignored);
            }
            if self.is_settled(&change, concerned).await? {
                return Ok(MessageOutcome::Handled);
            }
            let Some(wait) = waits.next() else {
                return Ok(MessageOutcome::Handled);
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn is_settled(
        &self,
        change: &SecretChange,
        concerned: super::fetcher::Questions,
    ) -> Result<bool, String> {
        let mut settled = true;
        for looked in self.fetcher.look_again(concerned).await {
            let looked = looked.map_err(|error| error.to_string())?;
            settled &= match (&change.version_id, &looked.version_id) {
                // Other versions than the current one move at their own times.
                (Some(wanted), Some(seen)) if looked.is_current => wanted == seen,
                _ => looked.has_changed,
            };
        }
        Ok(settled)
    }
}

fn tries(message: &Message) -> u32 {
    let attributes = message.attributes.as_ref();
    let count = attributes
        .and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount))
        .and_then(|count| count.parse().ok());
    count.unwrap_or(1)
}

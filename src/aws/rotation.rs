//! Talks to AWS: a queue of rotation events. The secrets of an event are read at once, and the message is deleted when that has
//! worked: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>.

use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName};
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};

use crate::aws::errors::transport;
use crate::aws::fetcher::Fetcher;
use overlayd_core::aws::cloudtrail::{EventError, parse};
use overlayd_core::aws::identity::Identity;
use overlayd_core::aws::queue::{Queue, QueueState};
use overlayd_core::aws::rotation::{
    MOST_TRIES, MessageOutcome, READ_AGAIN, after_failure, is_settled,
};
use overlayd_core::schedule::backoff;
use overlayd_core::secrets::provider_error::ProviderError;

/// Why a queue or a message cannot be handled. Texts hold names and codes only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RotationError {
    /// SQS refuses an action, or does not answer.
    #[error("{action} as {identity} failed: {reason}")]
    Queue {
        /// The action, as policies name it.
        action: &'static str,
        /// The identity that reads the queue.
        identity: Box<Identity>,
        /// The error code, or why there was no answer.
        reason: String,
    },
    /// The message is no event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// A secret that the event names cannot be read.
    #[error(transparent)]
    Read(#[from] ProviderError),
    /// The message has failed as often as it may.
    #[error("{0}; it came {MOST_TRIES} times")]
    Last(Box<Self>),
}

/// Seconds after which a message that has failed is delivered again.
const HIDDEN: i32 = 15;
/// Seconds that a receive waits for messages: the longest that SQS allows.
const LONG_POLL: i32 = 20;
/// How many batches of messages are handled at once.
const AT_ONCE: usize = 16;
/// The listener of one queue.
pub(crate) struct Listener {
    client: Client,
    queue: Queue,
    fetcher: Arc<Fetcher>,
}

/// What a listener reports.
#[derive(Debug)]
pub(crate) enum QueueEvent {
    /// Whether the queue can be read.
    State(QueueState),
    /// What became of a message, and why it failed.
    Message(MessageOutcome, Option<RotationError>),
}

impl Listener {
    /// A listener with the identity of the queue. Nothing is received before [`Listener::listen`] is polled.
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

    /// Listens for as long as the future is polled, and reports to `report`.
    pub(crate) async fn listen(&self, report: &(dyn Fn(QueueEvent) + Sync)) {
        let mut work = FuturesUnordered::new();
        // The first receive does not wait for messages, so that the state of the queue is known soon.
        let (mut failures, mut wait) = (0, 0);
        loop {
            match while_working(&mut work, self.receive(wait)).await {
                Ok(messages) => {
                    report(QueueEvent::State(QueueState::Listening));
                    (failures, wait) = (0, LONG_POLL);
                    if !messages.is_empty() {
                        work.push(self.handle(messages, report));
                    }
                }
                Err(error) => {
                    report(QueueEvent::State(QueueState::Lost(error.to_string())));
                    let bounds = (Duration::from_secs(1), Duration::from_secs(60));
                    let pause = backoff(bounds.0, bounds.1, failures);
                    (failures, wait) = (failures + 1, 0);
                    while_working(&mut work, tokio::time::sleep(pause)).await;
                }
            }
            while work.len() >= AT_ONCE {
                work.next().await;
            }
        }
    }

    /// Waits up to `wait` seconds for messages. They stay hidden from other listeners until they are handled or fail.
    async fn receive(&self, wait: i32) -> Result<Vec<Message>, RotationError> {
        let request = self.client.receive_message().queue_url(&self.queue.url);
        let request = request
            .max_number_of_messages(10)
            .wait_time_seconds(wait)
            .visibility_timeout(HIDDEN)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        match request.send().await {
            Ok(answer) => Ok(answer.messages.unwrap_or_default()),
            Err(error) => Err(self.queue_error("sqs:ReceiveMessage", &error)),
        }
    }

    /// An error of SQS by its code. Its text is never repeated.
    fn queue_error<E>(&self, action: &'static str, error: &SdkError<E>) -> RotationError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let reason = match error.code().unwrap_or_default() {
            "" => transport(error),
            code => code.to_owned(),
        };
        RotationError::Queue {
            action,
            identity: Box::new(self.queue.identity.clone()),
            reason,
        }
    }

    /// Handles messages, and deletes those that are not to be delivered again.
    async fn handle(&self, messages: Vec<Message>, report: &(dyn Fn(QueueEvent) + Sync)) {
        let handled = messages.into_iter().map(async |message| {
            let (outcome, error) = match self.act(&message).await {
                Ok(outcome) => (outcome, None),
                Err(error) => match after_failure(receives(&message)) {
                    MessageOutcome::Dropped => {
                        let error = RotationError::Last(Box::new(error));
                        (MessageOutcome::Dropped, Some(error))
                    }
                    outcome => (outcome, Some(error)),
                },
            };
            report(QueueEvent::Message(outcome, error));
            message.receipt_handle.filter(|_| outcome.is_final())
        });
        let handles = join_all(handled).await;
        self.delete(handles.into_iter().flatten().collect(), report)
            .await;
    }

    /// Deletes messages that are done. A message that is not deleted comes again, which is harmless.
    async fn delete(&self, handles: Vec<String>, report: &(dyn Fn(QueueEvent) + Sync)) {
        let entries = handles
            .into_iter()
            .enumerate()
            .filter_map(|(number, handle)| {
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
            // The messages are delivered again, and their secrets are read again, which does no harm.
            let error = self.queue_error("sqs:DeleteMessage", &error);
            report(QueueEvent::Message(MessageOutcome::Failed, Some(error)));
        }
    }

    /// Reads the secrets of a message, until they are as the event says or have had time to be.
    async fn act(&self, message: &Message) -> Result<MessageOutcome, RotationError> {
        let Some(change) = parse(message.body().unwrap_or_default())? else {
            return Ok(MessageOutcome::Ignored);
        };
        let mut waits = READ_AGAIN.into_iter();
        loop {
            let only = (!self.queue.is_for_all).then_some(&self.queue.identity);
            let rereads = self.fetcher.read_again(&change, only).await;
            if rereads.is_empty() {
                return Ok(MessageOutcome::Ignored);
            }
            let mut are_settled = true;
            for reread in rereads {
                are_settled &= is_settled(&change, &reread?);
            }
            match waits.next().filter(|_| !are_settled) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Ok(MessageOutcome::Handled),
            }
        }
    }
}

/// Waits for a future, and lets the work at hand go on meanwhile.
async fn while_working<T>(
    work: &mut FuturesUnordered<impl Future<Output = ()>>,
    future: impl Future<Output = T>,
) -> T {
    let future = future.fuse();
    futures::pin_mut!(future);
    loop {
        futures::select! {
            output = future => return output,
            () = work.select_next_some() => {}
        }
    }
}

/// How often a message was delivered.
fn receives(message: &Message) -> u32 {
    let attributes = message.attributes.as_ref();
    let count = attributes
        .and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount))
        .and_then(|count| count.parse().ok());
    count.unwrap_or(1)
}

//! Talks to AWS: the answers that one subscriber waits for.

use std::sync::Arc;
use std::time::Instant;

use futures::channel::oneshot;

use crate::aws::reader::Reader;
use crate::aws::wake_ups::Waker;
use overlayd_core::aws::read_scheduler::{Digest, ReadAnswer, SecretId};
use overlayd_core::names::NamespacedName;
use overlayd_core::secrets::compose::LookupResult;
use overlayd_core::secrets::provider_error::ProviderError;

/// Secrets that are announced to their readers. Dropping it cancels what has no answer yet.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(super) waker: Arc<Waker>,
    pub(super) reads: Vec<PendingRead>,
}

/// One secret of a reading.
#[derive(Debug)]
pub(super) struct PendingRead {
    pub(super) reader: Arc<Reader>,
    pub(super) secret: SecretId,
    /// The number that the scheduler gave.
    number: u64,
    answer: Option<oneshot::Receiver<ReadAnswer>>,
    /// The digest of the answer, once it has come.
    pub(super) digest: Option<Digest>,
}

impl PendingRead {
    /// Announces a secret to its reader.
    pub(super) fn announce(
        reader: Arc<Reader>,
        secret: SecretId,
        subscriber: Option<&NamespacedName>,
        now: Instant,
    ) -> Self {
        let announced = reader
            .scheduler()
            .announce(subscriber.cloned(), &secret, now);
        let (number, answer) = announced;
        Self {
            reader,
            secret,
            number,
            answer: Some(answer),
            digest: None,
        }
    }

    /// Waits for the answer.
    async fn take(&mut self) -> ReadAnswer {
        let answer = match self.answer.take() {
            Some(answer) => answer.await.ok(),
            None => None,
        };
        // The sender is dropped only with the scheduler.
        let answer = answer.unwrap_or_else(|| {
            Err(ProviderError::Unavailable {
                key: self.secret.id.clone(),
                reason: "the reader has ended".to_owned(),
            })
        });
        self.digest = Some(self.reader.scheduler().digest(&answer));
        answer
    }
}

impl Reading {
    /// Requests all answers now and waits for them, in the order of the secrets. The first error ends it.
    pub(crate) async fn take(
        &mut self,
        subscriber: &NamespacedName,
    ) -> Result<Vec<LookupResult>, ProviderError> {
        // A change from here on is news again.
        self.waker.forget_news(subscriber);
        self.take_each().await.into_iter().collect()
    }

    /// The same, with an answer or an error for each secret.
    pub(crate) async fn take_each(&mut self) -> Vec<ReadAnswer> {
        let now = Instant::now();
        for read in &self.reads {
            read.reader.scheduler().request_now(read.number, now);
        }
        self.waker.plan_now();
        let mut answers = Vec::new();
        for read in &mut self.reads {
            answers.push(read.take().await);
        }
        answers
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        for read in &self.reads {
            if read.answer.is_some() {
                read.reader.scheduler().cancel(read.number);
            }
        }
    }
}

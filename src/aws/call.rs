//! Talks to AWS: one call, within the rate limit of its account, repeated where that may help.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use parking_lot::Mutex;

use crate::aws::errors::classify;
use crate::aws::sessions::AwsSession;
use crate::metrics::Metrics;
use crate::random;
use overlayd_core::aws::reader_key::Retry;
use overlayd_core::aws::throttle::{Api, TokenBucket, spread};
use overlayd_core::secrets::provider_error::{Class, ProviderError};

/// The token buckets of this process, by account, region and API, as AWS counts its quotas.
#[derive(Debug, Default)]
pub(crate) struct RateLimits(Mutex<BTreeMap<(String, String, Api), TokenBucket>>);

impl RateLimits {
    /// Works with the bucket of an account, region and API, which is made at the first call.
    fn with<T>(
        &self,
        key: &(String, String, Api),
        work: impl FnOnce(&mut TokenBucket, Instant) -> T,
    ) -> T {
        let mut buckets = self.0.lock();
        let now = Instant::now();
        let bucket = buckets.entry(key.clone());
        work(bucket.or_insert_with(|| TokenBucket::new(key.2, now)), now)
    }

    /// Drops the buckets that nothing uses any more, since stores choose regions and roles.
    pub(super) fn tidy(&self) {
        let now = Instant::now();
        self.0.lock().retain(|_, bucket| !bucket.is_idle(now));
    }
}

/// What all calls of one reader have in common.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) session: Arc<AwsSession>,
    pub(super) rate_limits: Arc<RateLimits>,
    pub(super) metrics: Arc<Metrics>,
    /// The name of the provider in metrics, as External Secrets has it.
    pub(super) provider: &'static str,
    /// How often a call is made, and the wait between two attempts where the store sets it.
    pub(super) retry: Retry,
    pub(super) region: String,
    /// The account, or the identity where the account is not known.
    pub(super) account: String,
}

/// The action and the secret of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallTarget<'a> {
    pub(super) api: Api,
    /// The action as policies name it: `service:Action`.
    pub(super) action: &'static str,
    /// The id of the secret, for messages; `*` for an action that concerns no single secret.
    pub(super) key: &'a str,
}

impl Caller {
    /// Makes a call, after its turn has come. Nothing if there is no such secret. An error that may pass is repeated as often
    /// as the store's `retrySettings` say.
    pub(super) async fn call<T, E, F>(
        &self,
        target: CallTarget<'_>,
        send: impl Fn() -> F,
    ) -> Result<Option<T>, ProviderError>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let mut attempt = 0;
        loop {
            let credentials = self.session.credentials.get().await;
            let credentials =
                credentials.map_err(|error| ProviderError::Credentials(error.to_string()))?;
            let account = credentials
                .account_id()
                .map(|account| account.as_str().to_owned());
            let account = account.unwrap_or_else(|| self.account.clone());
            let bucket = (account, self.region.clone(), target.api);
            let turn = self.rate_limits.with(&bucket, TokenBucket::turn);
            if !turn.is_zero() {
                tokio::time::sleep(turn).await;
            }
            let answer = send().await;
            let name = target.action.rsplit(':').next().unwrap_or_default();
            self.metrics
                .provider_call(self.provider, name, answer.is_ok());
            let error = match answer {
                Ok(answer) => {
                    self.rate_limits
                        .with(&bucket, |bucket, _| bucket.answered());
                    return Ok(Some(answer));
                }
                Err(error) => error,
            };
            let Some(error) = classify(target.key, target.action, &error) else {
                return Ok(None);
            };
            match &error {
                ProviderError::Throttled { .. } => {
                    self.rate_limits.with(&bucket, TokenBucket::throttled);
                }
                ProviderError::Refused { .. } => self.session.credentials.refuse(&credentials),
                _ => {}
            }
            attempt += 1;
            if error.class() != Class::Trouble || attempt >= self.retry.attempts {
                return Err(error);
            }
            tokio::time::sleep(self.pause(attempt, &error)).await;
        }
    }

    /// Makes a call for each page. `take` reads a page and gives the token of the next one.
    pub(super) async fn pages<T, E, F>(
        &self,
        target: CallTarget<'_>,
        send: impl Fn(Option<String>) -> F,
        mut take: impl FnMut(T) -> Result<Option<String>, ProviderError>,
    ) -> Result<(), ProviderError>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let mut token = None;
        loop {
            let page = self.call(target, || send(token.clone())).await?;
            // A search names no secret, so that no secret can be missing.
            let page = page.ok_or_else(|| ProviderError::Other {
                key: target.key.to_owned(),
                reason: format!("{} says that there is no such secret", target.action),
            })?;
            token = take(page)?.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// The wait before the next attempt: what the store says, or else doubled each time and spread at random, so that
    /// readers which failed together do not come back together.
    fn pause(&self, attempt: u32, error: &ProviderError) -> Duration {
        if let Some(interval) = self.retry.interval {
            return interval;
        }
        // New credentials work at once.
        if matches!(error, ProviderError::Refused { .. }) {
            return Duration::ZERO;
        }
        let bounds = (Duration::from_millis(200), Duration::from_secs(20));
        let wait = overlayd_core::schedule::backoff(bounds.0, bounds.1, attempt - 1);
        spread(wait, random::fraction())
    }
}

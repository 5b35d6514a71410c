//! Talks to AWS: the one task that makes the calls of all read schedulers, and the subscribers that it serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;

use crate::aws::call::{Caller, RateLimits};
use crate::aws::parameter_store::ParameterStore;
use crate::aws::reader::Reader;
use crate::aws::reading::{PendingRead, Reading};
use crate::aws::secrets_manager::SecretsManager;
use crate::aws::service::SecretService;
use crate::aws::sessions::{AwsSession, Sessions};
use crate::aws::wake_ups::{Denied, WakeUps, Waker};
use crate::metrics::Metrics;
use crate::random;
use overlayd_core::aws::arn::stage_of;
use overlayd_core::aws::cloudtrail::SecretChange;
use overlayd_core::aws::cost::{CallShare, WatchedReads, call_shares};
use overlayd_core::aws::freshness::confirmed_ago;
use overlayd_core::aws::identity::{Base, Identity};
use overlayd_core::aws::read_scheduler::{Call, CallResult, Digest, Effects, SecretId};
use overlayd_core::aws::reader_key::{ReaderKey, Service, SharedRead};
use overlayd_core::aws::rotation::{Reread, concerns, watched_as};
use overlayd_core::names::NamespacedName;
use overlayd_core::secrets::provider_error::ProviderError;

/// All readers of the process, and what each subscriber watches.
#[derive(Debug)]
pub(crate) struct Fetcher {
    sessions: Sessions,
    metrics: Arc<Metrics>,
    rate_limits: Arc<RateLimits>,
    readers: Mutex<BTreeMap<ReaderKey, Arc<Reader>>>,
    /// Held while a reader is made: many reconciles want the same reader at a start, and making it is costly.
    making: tokio::sync::Mutex<()>,
    watches: Mutex<BTreeMap<NamespacedName, Watch>>,
    waker: Arc<Waker>,
    /// The key of digests, random in each process.
    digest_key: [u8; 32],
}

/// What one subscriber watches.
#[derive(Debug)]
struct Watch {
    secrets: ReaderSecrets,
    /// The longest time between two polls of each secret.
    interval: Duration,
}

/// Secrets, each with its reader.
type ReaderSecrets = Vec<(Arc<Reader>, SecretId)>;

impl Fetcher {
    /// A fetcher without readers, and the receiving ends of its wake-ups. No call is made before [`Fetcher::run`] is
    /// polled.
    pub(crate) fn new(sessions: Sessions, metrics: Arc<Metrics>) -> (Arc<Self>, WakeUps) {
        let (waker, wake_ups) = Waker::new();
        let mut digest_key = [0; 32];
        random::fill(&mut digest_key);
        let fetcher = Self {
            sessions,
            metrics,
            rate_limits: Arc::default(),
            readers: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            watches: Mutex::default(),
            waker: Arc::new(waker),
            digest_key,
        };
        (Arc::new(fetcher), wake_ups)
    }

    /// The reader of a key, made at the first use. No call is made yet.
    pub(crate) async fn reader(&self, key: &ReaderKey) -> Arc<Reader> {
        let known = || self.readers.lock().get(key).cloned();
        if let Some(known) = known() {
            return known;
        }
        let _guard = self.making.lock().await;
        if let Some(known) = known() {
            return known;
        }
        let session = self.sessions.of(&key.identity).await;
        let service = self.service(key, session.clone());
        let reader = Arc::new(Reader::new(key, session, service, self.digest_key));
        let mut readers = self.readers.lock();
        readers.entry(key.clone()).or_insert(reader).clone()
    }

    /// The client of a service.
    fn service(&self, key: &ReaderKey, session: Arc<AwsSession>) -> Box<dyn SecretService> {
        let account = key.identity.account().map(str::to_owned);
        let account = account.unwrap_or_else(|| match &key.identity.base {
            Base::Process => "own".to_owned(),
            base => base.to_string(),
        });
        let caller = |provider| Caller {
            session,
            rate_limits: self.rate_limits.clone(),
            metrics: self.metrics.clone(),
            provider,
            retry: key.retry,
            region: key.identity.region.clone(),
            account,
        };
        let environment = &self.sessions.environment;
        match key.service {
            Service::SecretsManager => {
                let caller = caller("AWS/SecretsManager");
                Box::new(SecretsManager::new(environment, caller))
            }
            Service::ParameterStore => {
                let caller = caller("AWS/ParameterStore");
                Box::new(ParameterStore::new(environment, caller))
            }
        }
    }

    /// Every reader that was made, copied out of the lock.
    fn all_readers(&self) -> Vec<Arc<Reader>> {
        self.readers.lock().values().cloned().collect()
    }

    /// The sessions, for callers that need a service of AWS of their own.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Announces secrets to their readers. No call is made for them alone before [`Reading::take`].
    pub(crate) async fn announce(
        &self,
        subscriber: Option<&NamespacedName>,
        shared: Vec<SharedRead>,
    ) -> Reading {
        let mut secrets = Vec::new();
        for SharedRead { reader, secret } in shared {
            secrets.push((self.reader(&reader).await, secret));
        }
        self.announce_to(subscriber, secrets)
    }

    /// Announces secrets whose readers are known.
    fn announce_to(&self, subscriber: Option<&NamespacedName>, secrets: ReaderSecrets) -> Reading {
        let now = Instant::now();
        let reads = secrets
            .into_iter()
            .map(|(reader, secret)| PendingRead::announce(reader, secret, subscriber, now));
        Reading {
            reads: reads.collect(),
            waker: self.waker.clone(),
        }
    }

    /// Wakes a subscriber from now on when a secret that it has read changes, and polls each secret at least once an
    /// interval. Replaces what it watched before.
    pub(crate) fn watch(&self, subscriber: &NamespacedName, reading: &Reading, interval: Duration) {
        let now = Instant::now();
        let mut has_changed = false;
        let mut secrets = Vec::new();
        for read in &reading.reads {
            let digest = read.digest.unwrap_or(Digest::Unread);
            let mut scheduler = read.reader.scheduler();
            has_changed |= scheduler.watch(subscriber, &read.secret, digest, interval, now);
            secrets.push((read.reader.clone(), read.secret.clone()));
        }
        let watch = Watch { secrets, interval };
        let before = self.watches.lock().insert(subscriber.clone(), watch);
        let is_still_watched = |reader: &Arc<Reader>, secret: &SecretId| {
            let mut reads = reading.reads.iter();
            reads.any(|read| Arc::ptr_eq(reader, &read.reader) && read.secret == *secret)
        };
        for (reader, secret) in before.into_iter().flat_map(|watch| watch.secrets) {
            if !is_still_watched(&reader, &secret) {
                reader.scheduler().unwatch(subscriber, &secret, now);
            }
        }
        if has_changed {
            self.waker.wake([subscriber.clone()]);
        }
        self.waker.plan_now();
    }

    /// True if a subscriber is woken when something changes.
    pub(crate) fn is_watched(&self, subscriber: &NamespacedName) -> bool {
        self.watches.lock().contains_key(subscriber)
    }

    /// Wakes a subscriber no more.
    pub(crate) fn unwatch(&self, subscriber: &NamespacedName) {
        let now = Instant::now();
        self.waker.forget_news(subscriber);
        let before = self.watches.lock().remove(subscriber);
        for (reader, secret) in before.into_iter().flat_map(|watch| watch.secrets) {
            reader.scheduler().unwatch(subscriber, &secret, now);
        }
    }

    /// How long ago everything that a subscriber has read was known to be unchanged. Nothing if that is not known.
    pub(crate) fn confirmed(&self, subscriber: &NamespacedName) -> Option<Duration> {
        let watches = self.watches.lock();
        let watch = watches.get(subscriber)?;
        let confirmed = watch
            .secrets
            .iter()
            .map(|(reader, secret)| reader.scheduler().confirmed(subscriber, secret));
        confirmed_ago(confirmed, watch.interval, Instant::now())
    }

    /// True if something has changed that a subscriber has not read yet.
    pub(crate) fn has_news(&self, subscriber: &NamespacedName) -> bool {
        self.waker.has_news(subscriber)
    }

    /// Renews the credentials of identities whose keys stand in a Secret that has changed, and repeats what failed with the
    /// old ones. True if there are such identities.
    pub(crate) fn keys_changed(&self, namespace: &str, name: &str) -> bool {
        let now = Instant::now();
        let mut is_used = false;
        for reader in self.all_readers() {
            if reader.key.identity.uses_secret(namespace, name) {
                is_used = true;
                reader.session.forget();
                let blocked = reader.scheduler().reset_circuit(now);
                self.waker.wake(blocked);
            }
        }
        self.waker.plan_now();
        is_used
    }

    /// The watched secrets that an event concerns; with an identity, those of this identity alone.
    fn affected(&self, change: &SecretChange, only: Option<&Identity>) -> ReaderSecrets {
        let (spellings, arn) = watched_as(change);
        let mut affected = Vec::new();
        for reader in self.all_readers() {
            if !concerns(change, &reader.key, only) {
                continue;
            }
            let watched = reader.scheduler().watched_ids(&spellings, arn.as_deref());
            let secrets = watched.into_iter();
            affected.extend(secrets.map(|secret| (reader.clone(), (*secret).clone())));
        }
        affected
    }

    /// Reads the watched secrets that an event concerns at once. Gives what was read of each, and nothing at all if the
    /// event concerns none.
    pub(crate) async fn read_again(
        &self,
        change: &SecretChange,
        only: Option<&Identity>,
    ) -> Vec<Result<Reread, ProviderError>> {
        let secrets = self.affected(change, only);
        let before: Vec<Option<Digest>> = secrets
            .iter()
            .map(|(reader, secret)| Some(reader.scheduler().last_answer(secret)?.0))
            .collect();
        let mut reading = self.announce_to(None, secrets);
        let answers = reading.take_each().await;
        let reads = reading.reads.iter().zip(before).zip(answers);
        let rereads = reads.map(|((read, before), answer)| {
            answer?;
            let last = read.reader.scheduler().last_answer(&read.secret);
            Ok(Reread {
                has_changed: read.digest != before,
                is_current: stage_of(&read.secret.version) == Some("AWSCURRENT"),
                version_id: last.and_then(|(_, version)| version),
            })
        });
        rereads.collect()
    }

    /// The calls a day that each subscriber's share of what is watched costs.
    pub(crate) fn shares(&self) -> Vec<CallShare> {
        let now = Instant::now();
        let readers = self.all_readers();
        let calls = readers
            .iter()
            .map(|reader| (reader.key.clone(), reader.scheduler().calls_per_day(now)));
        let calls = calls.collect();
        let watches = self.watches.lock();
        let watched: Vec<WatchedReads<'_>> = watches
            .iter()
            .map(|(subscriber, watch)| WatchedReads {
                subscriber,
                interval: watch.interval,
                readers: watch
                    .secrets
                    .iter()
                    .map(|(reader, _)| &reader.key)
                    .collect(),
            })
            .collect();
        call_shares(&watched, &calls)
    }

    /// Makes the calls, for as long as the process works.
    pub(crate) async fn run(&self) {
        /// How often readers and sessions without use are dropped.
        const TIDY: Duration = Duration::from_secs(600);
        let mut calls: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let mut tidied = Instant::now();
        loop {
            let now = Instant::now();
            let mut next = now + Duration::from_secs(60);
            for reader in self.all_readers() {
                let plan = reader.scheduler().plan(now);
                next = plan.next.map_or(next, |at| next.min(at));
                self.waker.wake(plan.wake);
                for call in plan.calls {
                    calls.push(self.make(reader.clone(), call).boxed());
                }
            }
            if now.saturating_duration_since(tidied) > TIDY {
                tidied = now;
                self.tidy();
            }
            tokio::select! {
                () = self.waker.wait_for_work() => {}
                Some(()) = calls.next() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Makes one call, and gives its result to the scheduler that planned it. What the result means for subscribers is the
    /// scheduler's answer.
    async fn make(&self, reader: Arc<Reader>, call: Call) {
        let result = match &call {
            Call::Batch(groups) => reader.service.batch(groups).await,
            Call::Single(secret) => reader.service.single(secret).await,
            Call::List(most_pages) => reader.service.list(*most_pages).await,
        };
        if let CallResult::Failed(error) = &result {
            tracing::debug!(reader = %reader.key.identity, %error, "a call failed");
        }
        let (now, jitter) = (Instant::now(), random::fraction());
        let effects = reader.scheduler().finish_call(&call, result, now, jitter);
        let Effects { wake, denied } = effects;
        self.waker.wake(wake);
        if let Some(action) = denied {
            let key = reader.key.clone();
            self.waker.report_denied(Denied { key, action });
        }
    }

    /// Drops the readers and sessions that nothing uses any more.
    fn tidy(&self) {
        self.readers
            .lock()
            .retain(|_, reader| Arc::strong_count(reader) > 1 || !reader.scheduler().is_idle());
        self.sessions.tidy();
        self.rate_limits.tidy();
    }
}

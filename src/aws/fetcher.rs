//! Talks to AWS: the one task that makes the calls of all boards, and how it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::{mpsc, oneshot};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::aws::call::{Caller, RateLimits};
use crate::aws::parameter_store::ParameterStore;
use crate::aws::remote::SecretService;
use crate::aws::secrets_manager::SecretsManager;
use crate::aws::sessions::{AwsSession, Sessions};
use crate::daemon::metrics::Metrics;
use crate::random;
use overlayd_core::aws::arn::{spellings, stage_of};
use overlayd_core::aws::cloudtrail::SecretChange;
use overlayd_core::aws::identity::{Base, Identity, partition};
use overlayd_core::aws::read_scheduler::{
    Call, CallResult, Digest, Effects, ReadAnswer, ReadScheduler, SecretId,
};
use overlayd_core::aws::reader_key::{ReaderKey, Service};
use overlayd_core::names::NamespacedName;
use overlayd_core::secrets::compose::LookupResult;
use overlayd_core::secrets::provider_error::ProviderError;

/// One service, as one identity.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) key: ReaderKey,
    pub(super) session: Arc<AwsSession>,
    pub(super) remote: Box<dyn SecretService>,
    scheduler: Mutex<ReadScheduler>,
}

impl Reader {
    pub(crate) fn scheduler(&self) -> MutexGuard<'_, ReadScheduler> {
        self.scheduler.lock()
    }
}

/// An action that an identity may not do, though it would be the cheaper way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) key: ReaderKey,
    pub(crate) action: &'static str,
}

/// Reads for everybody.
#[derive(Debug)]
pub(crate) struct Fetcher {
    sessions: Sessions,
    metrics: Arc<Metrics>,
    paces: Arc<RateLimits>,
    readers: Mutex<BTreeMap<ReaderKey, Arc<Reader>>>,
    /// Held by the one who makes a reader: many want the same at a start, and what makes one is large.
    making: tokio::sync::Mutex<()>,
    /// What each user watches.
    watches: Mutex<BTreeMap<NamespacedName, Watch>>,
    /// Those for whom something has changed, and who have not read it yet.
    news: Mutex<BTreeSet<NamespacedName>>,
    work: Notify,
    wakes: mpsc::UnboundedSender<NamespacedName>,
    hints: mpsc::UnboundedSender<Denied>,
    secret: [u8; 32],
}

/// The questions of one user.
#[derive(Debug)]
struct Watch {
    questions: Vec<(Arc<Reader>, SecretId)>,
    interval: Duration,
}

/// Questions, each with who reads it.
pub(crate) type Questions = Vec<(Arc<Reader>, SecretId)>;

/// What came of looking again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reread {
    pub(crate) has_changed: bool,
    /// It is the current version that was read.
    pub(crate) is_current: bool,
    pub(crate) version_id: Option<String>,
}

/// The other ends: who is to be woken, and what is denied.
#[derive(Debug)]
pub(crate) struct WakeUps {
    pub(crate) wakes: mpsc::UnboundedReceiver<NamespacedName>,
    pub(crate) hints: mpsc::UnboundedReceiver<Denied>,
}

impl Fetcher {
    pub(crate) fn new(sessions: Sessions, metrics: Arc<Metrics>) -> (Arc<Self>, WakeUps) {
        let (wakes, woken) = mpsc::unbounded();
        let (hints, hinted) = mpsc::unbounded();
        let mut secret = [0; 32];
        random::fill(&mut secret);
        let fetcher = Self {
            sessions,
            metrics,
            paces: Arc::default(),
            readers: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            watches: Mutex::default(),
            news: Mutex::default(),
            work: Notify::new(),
            wakes,
            hints,
            secret,
        };
        let wake_ups = WakeUps {
            wakes: woken,
            hints: hinted,
        };
        (Arc::new(fetcher), wake_ups)
    }

    /// The reader of a key, made at the first use. Nothing is asked of AWS yet.
    pub(crate) async fn reader(&self, key: &ReaderKey) -> Arc<Reader> {
        let known = || lock(&self.readers).get(key).cloned();
        if let Some(known) = known() {
            return known;
        }
        let _guard = self.making.lock().await;
        if let Some(known) = known() {
            return known;
        }
        let session = self.sessions.of(&key.identity).await;
        let account = key.identity.account().map(str::to_owned);
        let account = account.unwrap_or_else(|| match &key.identity.base {
            Base::Process => "own".to_owned(),
            base => base.to_string(),
        });
        let caller = |provider| Caller {
            session: session.clone(),
            paces: self.paces.clone(),
            metrics: self.metrics.clone(),
            provider,
            retry: key.retry,
            region: key.identity.region.clone(),
            account: account.clone(),
        };
        let environment = &self.sessions.environment;
        let remote: Box<dyn SecretService> = match key.service {
            Service::SecretsManager => Box::new(SecretsManager::new(
                environment,
                caller("AWS/SecretsManager"),
            )),
            Service::ParameterStore => Box::new(ParameterStore::new(
                environment,
                caller("AWS/ParameterStore"),
            )),
        };
        let reader = Reader {
            key: key.clone(),
            scheduler: Mutex::new(ReadScheduler::new(key.service.capabilities(), self.secret)),
            session,
            remote,
        };
        let mut readers = lock(&self.readers);
        readers
            .entry(key.clone())
            .or_insert_with(|| Arc::new(reader))
            .clone()
    }

    /// Every reader.
    pub(crate) fn readers(&self) -> Vec<Arc<Reader>> {
        lock(&self.readers).values().cloned().collect()
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Says what will be wanted. Nothing is asked for it alone before [`Reading::take`].
    pub(crate) fn announce(
        self: &Arc<Self>,
        user: Option<&NamespacedName>,
        questions: Vec<(Arc<Reader>, SecretId)>,
    ) -> Reading {
        let now = Instant::now();
        let wanted = questions.into_iter().map(|(reader, question)| {
            let (number, answer) = reader.scheduler().announce(user.cloned(), &question, now);
            Wanted {
                reader,
                question,
                number,
                answer: Some(answer),
                digest: None,
            }
        });
        Reading {
            fetcher: self.clone(),
            wanted: wanted.collect(),
        }
    }

    /// Lets a user be woken when what it has read changes; as often as its interval says, at least, it is looked at.
    pub(crate) fn watch(&self, user: &NamespacedName, reading: &Reading, interval: Duration) {
        let now = Instant::now();
        let mut changed = false;
        let mut questions = Vec::new();
        for wanted in &reading.wanted {
            let digest = wanted.digest.unwrap_or(Digest::Unread);
            let mut scheduler = wanted.reader.scheduler();
            changed |= scheduler.watch(user, &wanted.question, digest, interval, now);
            questions.push((wanted.reader.clone(), wanted.question.clone()));
        }
        let watch = Watch {
            questions,
            interval,
        };
        let before = lock(&self.watches).insert(user.clone(), watch);
        let same = |reader: &Arc<Reader>, question: &SecretId| {
            reading
                .wanted
                .iter()
                .any(|wanted| Arc::ptr_eq(reader, &wanted.reader) && wanted.question == *question)
        };
        for (reader, question) in before.into_iter().flat_map(|watch| watch.questions) {
            if !same(&reader, &question) {
                reader.scheduler().unwatch(user, &question, now);
            }
        }
        if changed {
            self.wake(vec![user.clone()]);
        }
        self.work.notify_one();
    }

    /// True if a user is woken when something changes.
    pub(crate) fn is_watched(&self, user: &NamespacedName) -> bool {
        lock(&self.watches).contains_key(user)
    }

    /// Lets a user not be woken any more.
    pub(crate) fn unwatch(&self, user: &NamespacedName) {
        let now = Instant::now();
        lock(&self.news).remove(user);
        let before = lock(&self.watches).remove(user);
        for (reader, question) in before.into_iter().flat_map(|watch| watch.questions) {
            reader.scheduler().unwatch(user, &question, now);
        }
    }

    /// How long ago everything that a user has read was known to be the same. Nothing if it is not watched, or not well.
    pub(crate) fn confirmed(&self, user: &NamespacedName) -> Option<Duration> {
        let watches = lock(&self.watches);
        let watch = watches.get(user)?;
        let mut oldest: Option<Instant> = None;
        for (reader, question) in &watch.questions {
            let confirmed = reader.scheduler().confirmed(user, question)?;
            oldest = Some(oldest.map_or(confirmed, |oldest| oldest.min(confirmed)));
        }
        let ago = Instant::now().saturating_duration_since(oldest?);
        // Twice, for one poll may fail, and be tried again.
        let late = watch.interval * 2 + Duration::from_secs(60);
        (ago <= late).then_some(ago)
    }

    /// True if something has changed that a user has not read yet.
    pub(crate) fn has_news(&self, user: &NamespacedName) -> bool {
        lock(&self.news).contains(user)
    }

    fn wake(&self, users: Vec<NamespacedName>) {
        for user in users {
            lock(&self.news).insert(user.clone());
            // Nobody listens when the process ends.
            let _ = self.wakes.unbounded_send(user);
        }
    }

    /// Reads again as those whose keys stand in a Secret that has changed. True if there are any.
    pub(crate) fn keys_changed(&self, namespace: &str, name: &str) -> bool {
        let now = Instant::now();
        let mut any = false;
        for reader in self.readers() {
            if reader.key.identity.uses_secret(namespace, name) {
                any = true;
                reader.session.forget();
                let woken = reader.scheduler().reset_circuit(now);
                self.wake(woken);
            }
        }
        self.work.notify_one();
        any
    }

    /// What is watched of a secret that has changed, by whoever may read it.
    /// With an identity, by that one alone.
    pub(crate) fn concerned(&self, change: &SecretChange, only: Option<&Identity>) -> Questions {
        let spellings = spellings(&change.secret);
        let mut concerned = Vec::new();
        for reader in self.readers() {
            let identity = &reader.key.identity;
            let is_other = only.is_some_and(|only| only != identity)
                || reader.key.service != Service::SecretsManager
                || identity.region != change.region;
            if is_other {
                continue;
            }
            let arn = change
                .account
                .as_ref()
                .filter(|_| spellings.len() == 1)
                .map(|account| {
                    let partition = partition(&change.region);
                    let (region, name) = (&change.region, &change.secret);
                    format!("arn:{partition}:secretsmanager:{region}:{account}:secret:{name}")
                });
            let about = reader.scheduler().watched_ids(&spellings, arn.as_deref());
            let questions = about
                .into_iter()
                .map(|question| (reader.clone(), (*question).clone()));
            concerned.extend(questions);
        }
        concerned
    }

    /// Lets these be read at once, and tells of each what came of it.
    pub(crate) async fn look_again(
        self: &Arc<Self>,
        questions: Questions,
    ) -> Vec<Result<Reread, ProviderError>> {
        let before: Vec<Option<Digest>> = questions
            .iter()
            .map(|(reader, question)| Some(reader.scheduler().last_answer(question)?.0))
            .collect();
        let mut reading = self.announce(None, questions);
        let told = reading.take_each().await;
        let looked = reading.wanted.iter().zip(before).zip(told);
        let looked = looked.map(|((wanted, before), told)| {
            told?;
            let known = wanted.reader.scheduler().last_answer(&wanted.question);
            Ok(Reread {
                has_changed: wanted.digest != before,
                is_current: stage_of(&wanted.question.version) == Some("AWSCURRENT"),
                version_id: known.and_then(|(_, version)| version),
            })
        });
        looked.collect()
    }

    /// The calls a day that each user's share of what is watched costs.
    pub(crate) fn shares(&self) -> Vec<(NamespacedName, Service, f64)> {
        let now = Instant::now();
        let mut weights: BTreeMap<&ReaderKey, f64> = BTreeMap::new();
        let watches = lock(&self.watches);
        let all = || {
            watches.iter().flat_map(|(user, watch)| {
                let weight = 1.0 / watch.interval.as_secs_f64().max(1.0);
                let questions = watch.questions.iter();
                questions.map(move |(reader, _)| (user, &reader.key, weight))
            })
        };
        for (_, key, weight) in all() {
            *weights.entry(key).or_default() += weight;
        }
        let calls: BTreeMap<ReaderKey, f64> = self
            .readers()
            .iter()
            .map(|reader| (reader.key.clone(), reader.scheduler().calls_per_day(now)))
            .collect();
        let shares = all().map(|(user, key, weight)| {
            let share = weight / weights.get(key).copied().unwrap_or(1.0);
            let calls = calls.get(key).copied().unwrap_or_default() * share;
            (user.clone(), key.service, calls)
        });
        shares.collect()
    }

    /// Makes the calls, for as long as the process works.
    pub(crate) async fn run(&self) {
        let mut calls: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let mut tidied = Instant::now();
        loop {
            let now = Instant::now();
            let mut next = now + Duration::from_secs(60);
            for reader in self.readers() {
                let plan = reader.scheduler().plan(now);
                next = plan.next.map_or(next, |at| next.min(at));
                self.wake(plan.wake);
                for call in plan.calls {
                    calls.push(self.make(reader.clone(), call).boxed());
                }
            }
            if now.saturating_duration_since(tidied) > Duration::from_secs(600) {
                tidied = now;
                self.tidy();
            }
            tokio::select! {
                () = self.work.notified() => {}
                Some(()) = calls.next() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    async fn make(&self, reader: Arc<Reader>, call: Call) {
        let heard = match &call {
            Call::Batch(groups) => reader.remote.batch(groups).await,
            Call::Single(question) => reader.remote.single(question).await,
            Call::List(most_pages) => reader.remote.list(*most_pages).await,
        };
        if let CallResult::Failed(error) = &heard {
            tracing::debug!(reader = %reader.key.identity, %error, "a call failed");
        }
        let (now, chance) = (Instant::now(), random::fraction());
        let Effects { wake, denied } = reader.scheduler().finish_call(&call, heard, now, chance);
        self.wake(wake);
        if let Some(action) = denied {
            let key = reader.key.clone();
            // Nobody listens when the process ends.
            let _ = self.hints.unbounded_send(Denied { key, action });
        }
    }

    /// Ends what nobody uses any more.
    fn tidy(&self) {
        lock(&self.readers)
            .retain(|_, reader| Arc::strong_count(reader) > 1 || !reader.scheduler().is_idle());
        self.sessions.tidy();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

/// What somebody wants to read. Dropped, it is wanted no more.
#[derive(Debug)]
pub(crate) struct Reading {
    fetcher: Arc<Fetcher>,
    wanted: Vec<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    reader: Arc<Reader>,
    question: SecretId,
    number: u64,
    answer: Option<oneshot::Receiver<ReadAnswer>>,
    digest: Option<Digest>,
}

impl Reading {
    /// Waits for all answers, in the order of the questions.
    pub(crate) async fn take(
        &mut self,
        user: &NamespacedName,
    ) -> Result<Vec<LookupResult>, ProviderError> {
        // What changes from here on is news again.
        lock(&self.fetcher.news).remove(user);
        self.take_each().await.into_iter().collect()
    }

    /// The same, each by itself.
    pub(super) async fn take_each(&mut self) -> Vec<ReadAnswer> {
        let now = Instant::now();
        for wanted in &self.wanted {
            let mut scheduler = wanted.reader.scheduler();
            scheduler.request_now(wanted.number, now);
        }
        self.fetcher.work.notify_one();
        let mut all = Vec::new();
        for wanted in &mut self.wanted {
            let told = match wanted.answer.take() {
                Some(answer) => answer.await.ok(),
                None => None,
            };
            // The sender goes only with the scheduler.
            let told = told.unwrap_or_else(|| {
                Err(ProviderError::Unavailable {
                    key: wanted.question.id.clone(),
                    reason: "nobody reads any more".to_owned(),
                })
            });
            wanted.digest = Some(wanted.reader.scheduler().digest(&told));
            all.push(told);
        }
        all
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        for wanted in &self.wanted {
            if wanted.answer.is_some() {
                wanted.reader.scheduler().cancel(wanted.number);
            }
        }
    }
}

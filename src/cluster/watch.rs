//! Talks to the API server: watches the metadata of what was applied, with one watch for each kind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ApiResource};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use parking_lot::Mutex;
use tokio::sync::broadcast;

use overlayd_core::api::annotations::OWNER_NAME;
use overlayd_core::apply::last_applied::{LastApplied, ObservedChange};
use overlayd_core::apply::object_ref::{Gvk, ObjectRef};
use overlayd_core::apply::slim::Slim;
use overlayd_core::apply::watched::{WatchedChange, WatchedKind, WatchedState};
use overlayd_core::names::NamespacedName;

use crate::cluster::error;
use crate::tasks::Spawner;

/// A reconcile waits for at most this time until a kind is listed.
const LISTING: Duration = Duration::from_secs(10);

/// The live objects of each kind that was applied, and what was applied last.
pub(crate) struct WatchedObjects {
    client: Client,
    shared: WatchState,
    /// Runs the watches.
    spawner: Spawner,
}

/// What the watches and the reconciles share.
#[derive(Clone)]
struct WatchState {
    last_applied: Arc<LastApplied>,
    kinds: Arc<Mutex<BTreeMap<Gvk, WatchedKind>>>,
    /// Kustomizations that are to be reconciled.
    wake_ups: broadcast::Sender<NamespacedName>,
}

impl std::fmt::Debug for WatchedObjects {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WatchedObjects")
            .finish_non_exhaustive()
    }
}

impl WatchedObjects {
    /// `spawner` runs the watches and notices one that panics.
    pub(crate) fn new(client: Client, spawner: Spawner) -> Self {
        let shared = WatchState {
            last_applied: Arc::default(),
            kinds: Arc::default(),
            wake_ups: broadcast::channel(4096).0,
        };
        Self {
            client,
            shared,
            spawner,
        }
    }

    /// The client of the daemon's own identity.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn last_applied(&self) -> &LastApplied {
        &self.shared.last_applied
    }

    /// What is known of an object without a request.
    pub(crate) fn get(&self, object: &ObjectRef) -> WatchedState {
        let kinds = self.shared.kinds.lock();
        let kind = kinds.get(&object.gvk());
        kind.map_or(WatchedState::Unknown, |kind| kind.state(&object.name()))
    }

    /// The Kustomization that owns an object, if its kind is watched and its labels name one.
    pub(crate) fn owner(&self, object: &ObjectRef) -> Option<NamespacedName> {
        let kinds = self.shared.kinds.lock();
        kinds.get(&object.gvk())?.owner(&object.name()).cloned()
    }

    /// True if an object is known under another group of its kind too: it was moved there, and is the same object.
    pub(crate) fn is_of_another_group(&self, object: &ObjectRef, uid: &str) -> bool {
        let (kinds, name) = (self.shared.kinds.lock(), object.name());
        let mut others = kinds
            .iter()
            .filter(|(gvk, _)| gvk.kind == object.kind && gvk.group != object.group);
        others.any(|(_, kind)| kind.has_uid(&name, uid))
    }

    /// Waits until a watched kind is listed or refused, or for [`LISTING`].
    pub(crate) async fn listed(&self, object: &ObjectRef) {
        let deadline = Instant::now() + LISTING;
        let is_being_listed = || {
            let kinds = self.shared.kinds.lock();
            let kind = kinds.get(&object.gvk());
            kind.is_some_and(WatchedKind::is_being_listed)
        };
        while is_being_listed() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reconciles a Kustomization, which then decides whether there is something to do.
    pub(crate) fn nudge(&self, unit: &NamespacedName) {
        self.shared.nudge(unit);
    }

    /// Reconciles a Kustomization, which then compares everything that it has applied.
    pub(crate) fn wake(&self, unit: &NamespacedName) {
        self.shared.last_applied.mark(unit);
        self.nudge(unit);
    }

    /// Watches a kind, unless it is watched already.
    pub(crate) fn watch(&self, object: &ObjectRef, resource: &ApiResource) {
        let mut kinds = self.shared.kinds.lock();
        let known = kinds.get(&object.gvk());
        if known.is_some_and(|kind| !kind.should_retry(Timestamp::now())) {
            return;
        }
        kinds.insert(object.gvk(), WatchedKind::default());
        let watch = KindWatch {
            resource: resource.clone(),
            gvk: object.gvk(),
            shared: self.shared.clone(),
        };
        let name = format!("the watch of {}", resource.kind);
        self.spawner.spawn(name, watch.follow(self.client.clone()));
    }

    /// The Kustomizations that are woken from now on, since their objects have changed.
    pub(crate) fn drifted(&self) -> impl Stream<Item = NamespacedName> + Send + use<> {
        let receiver = self.shared.wake_ups.subscribe();
        futures::stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(unit) => return Some((unit, receiver)),
                    // The next interval finds what was missed.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
    }
}

impl WatchState {
    /// Re-queues a Kustomization.
    fn nudge(&self, unit: &NamespacedName) {
        // Without a receiver nothing is lost: a controller that starts reconciles everything.
        let _ = self.wake_ups.send(unit.clone());
    }
}

/// The watch of one kind.
struct KindWatch {
    /// The resource to list and watch.
    resource: ApiResource,
    /// The key of its state.
    gvk: Gvk,
    shared: WatchState,
}

impl KindWatch {
    /// Follows the kind until the process ends or the API server refuses the watch.
    async fn follow(self, client: Client) {
        let api: Api<Slim> = Api::all_with(client, &self.resource);
        let config = watcher::Config::default().labels(OWNER_NAME);
        let mut events = Box::pin(watcher(api, config).default_backoff());
        while let Some(event) = events.next().await {
            let changes = match event {
                Ok(event) => self.record(event),
                Err(error) if is_forbidden(&error) => return self.refuse(),
                Err(error) => {
                    tracing::warn!(kind = self.resource.kind, error = %error, "a watch broke and is taken up again");
                    continue;
                }
            };
            for change in changes {
                self.tell(&change);
            }
        }
    }

    /// Takes an event into the state of the kind, and gives the changes that it brings.
    fn record(&self, event: Event<Slim>) -> Vec<WatchedChange> {
        let mut kinds = self.shared.kinds.lock();
        let kind = kinds.entry(self.gvk.clone()).or_default();
        match event {
            Event::Init => {
                kind.begin_list();
                Vec::new()
            }
            Event::InitApply(object) | Event::Apply(object) => vec![kind.record(&object.metadata)],
            Event::Delete(object) => vec![kind.delete(&object.metadata)],
            Event::InitDone => kind.end_list(),
        }
    }

    /// Notes that the kind may not be watched, so that owners and drift of it are read at each reconcile.
    fn refuse(&self) {
        let mut kinds = self.shared.kinds.lock();
        let kind = kinds.entry(self.gvk.clone()).or_default();
        kind.refuse(Timestamp::now());
        tracing::warn!(
            kind = self.resource.kind,
            "this kind may not be listed and watched, so drift of it is found at the interval alone"
        );
    }

    /// Wakes the Kustomizations that wait for this change or that must correct it.
    fn tell(&self, change: &WatchedChange) {
        let (resource, NamespacedName { namespace, name }) = (&self.resource, &change.name);
        let object = ObjectRef::new(&resource.api_version, &resource.kind, namespace, name);
        for unit in self.shared.last_applied.wake_subscribers(&object) {
            self.shared.nudge(&unit);
        }
        let manager = &change.manager;
        let token = change.token.as_deref();
        let last_applied = &self.shared.last_applied;
        match last_applied.observe(&object, token, Timestamp::now()) {
            ObservedChange::AsApplied => {}
            ObservedChange::Drifted(unit) => {
                tracing::info!(%object, manager, "changed by somebody else");
                self.shared.nudge(&unit);
            }
        }
    }
}

/// True if the API server refuses the watch for good, and not for a moment.
fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            error::is_forbidden(error)
        }
        _ => false,
    }
}

//! Talks to the API server: watches the metadata of what was applied, a watch for each kind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ApiResource};
use kube::core::ObjectMeta;
use kube::runtime::watcher::Event;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::broadcast;

use crate::cluster::apply::FIELD_MANAGER;
use crate::cluster::error;
use crate::tasks::Spawner;
use kube::runtime::{WatchStreamExt as _, watcher};
use overlayd_core::api::annotations::{OWNER_NAME, OWNER_NAMESPACE};
use overlayd_core::apply::last_applied::{Records, Seen, shape};
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::slim::Slim;
use overlayd_core::names::NamespacedName;

/// What is known of the objects of each kind that was applied.
pub(crate) struct Live {
    client: Client,
    records: Arc<Records>,
    kinds: Arc<Mutex<Kinds>>,
    drifted: broadcast::Sender<NamespacedName>,
    /// Runs the watches.
    spawner: Spawner,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Live").finish_non_exhaustive()
    }
}

/// Kinds by group, version and kind.
type Kinds = BTreeMap<(String, String, String), Kind>;

#[derive(Debug)]
struct Kind {
    /// Everything was listed, so that what is not known is not there.
    is_complete: bool,
    /// By namespace and name.
    shapes: BTreeMap<NamespacedName, Shape>,
    /// When it is worth trying again, for a kind that may not be watched.
    refused: Option<Instant>,
}

/// What one object is like, and who owns it.
#[derive(Debug)]
struct Shape {
    text: String,
    owner: Arc<NamespacedName>,
}

/// A kind is waited for so long until it is listed.
const LISTING: Duration = Duration::from_secs(10);
/// A kind that may not be watched is tried again after this time.
const REFUSED: Duration = Duration::from_secs(600);

/// What is known of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    Shape(String),
    Missing,
    /// Its kind is not watched, or not listed yet.
    Unknown,
}

impl Live {
    /// `spawner` runs the watches, and sees one that panics.
    pub(crate) fn new(client: Client, spawner: Spawner) -> Self {
        Self {
            client,
            records: Arc::default(),
            kinds: Arc::default(),
            drifted: broadcast::channel(4096).0,
            spawner,
        }
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// What is known of an object without asking.
    pub(crate) fn get(&self, object: &ObjectRef) -> Known {
        let kinds = lock(&self.kinds);
        let Some(kind) = kinds.get(&object.gvk()).filter(|kind| kind.is_complete) else {
            return Known::Unknown;
        };
        let name = NamespacedName::new(&object.namespace, &object.name);
        match kind.shapes.get(&name) {
            Some(shape) => Known::Shape(shape.text.clone()),
            None => Known::Missing,
        }
    }

    /// Who owns an object, if its kind is watched and somebody does.
    pub(crate) fn owner(&self, object: &ObjectRef) -> Option<NamespacedName> {
        let kinds = lock(&self.kinds);
        let name = NamespacedName::new(&object.namespace, &object.name);
        let shape = kinds.get(&object.gvk())?.shapes.get(&name)?;
        Some((*shape.owner).clone())
    }

    /// True if an object is known under another group of its kind too: it was moved there, and is the same.
    pub(crate) fn is_of_another_group(&self, object: &ObjectRef, uid: &str) -> bool {
        let kinds = lock(&self.kinds);
        let name = NamespacedName::new(&object.namespace, &object.name);
        let others = kinds
            .iter()
            .filter(|((group, _, kind), _)| *kind == object.kind && *group != object.group);
        // A shape begins with the uid.
        let shapes = others.filter_map(|(_, kind)| kind.shapes.get(&name));
        shapes
            .into_iter()
            .any(|shape| shape.text.split(' ').next() == Some(uid))
    }

    /// Waits until a kind that is watched was listed, or may not be, or it takes too long.
    pub(crate) async fn listed(&self, object: &ObjectRef) {
        let deadline = Instant::now() + LISTING;
        let waits = || {
            let kinds = lock(&self.kinds);
            let kind = kinds.get(&object.gvk());
            kind.is_some_and(|kind| !kind.is_complete && kind.refused.is_none())
        };
        while waits() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets a unit look whether there is something to do.
    pub(crate) fn nudge(&self, unit: &NamespacedName) {
        // Nobody listening is no failure: who starts looks at everything.
        let _ = self.drifted.send(unit.clone());
    }

    /// Lets a unit look again at what it has applied.
    pub(crate) fn wake(&self, unit: &NamespacedName) {
        self.records.mark(unit);
        self.nudge(unit);
    }

    /// Watches a kind, if it is not watched yet.
    pub(crate) fn watch(&self, object: &ObjectRef, resource: &ApiResource) {
        let mut kinds = lock(&self.kinds);
        if let Some(kind) = kinds.get(&object.gvk()) {
            let again = kind
                .refused
                .is_some_and(|refused| refused.elapsed() > REFUSED);
            if !again {
                return;
            }
        }
        let kind = Kind {
            is_complete: false,
            shapes: BTreeMap::new(),
            refused: None,
        };
        kinds.insert(object.gvk(), kind);
        let following = follow(
            self.client.clone(),
            resource.clone(),
            object.gvk(),
            self.kinds.clone(),
            self.records.clone(),
            self.drifted.clone(),
        );
        let name = format!("the watch of {}", resource.kind);
        self.spawner.spawn(name, following);
    }

    /// The units whose objects are changed by others from now on.
    pub(crate) fn drifted(&self) -> impl Stream<Item = NamespacedName> + Send + use<> {
        futures::stream::unfold(self.drifted.subscribe(), |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(unit) => return Some((unit, receiver)),
                    // What was missed is found again at the next interval.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
    }
}

fn lock(kinds: &Mutex<Kinds>) -> MutexGuard<'_, Kinds> {
    kinds.lock()
}

/// Follows one kind until the process ends or it may not be watched.
async fn follow(
    client: Client,
    resource: ApiResource,
    key: (String, String, String),
    kinds: Arc<Mutex<Kinds>>,
    records: Arc<Records>,
    drifted: broadcast::Sender<NamespacedName>,
) {
    let api: Api<Slim> = Api::all_with(client, &resource);
    let config = watcher::Config::default().labels(OWNER_NAME);
    let mut events = Box::pin(watcher(api, config).default_backoff());
    let mut before: BTreeSet<NamespacedName> = BTreeSet::new();
    let mut owners: BTreeSet<Arc<NamespacedName>> = BTreeSet::new();
    while let Some(event) = events.next().await {
        let mut changed: Vec<Changed> = Vec::new();
        let reference = |NamespacedName { namespace, name }: &NamespacedName| {
            ObjectRef::new(&resource.api_version, &resource.kind, namespace, name)
        };
        {
            let mut kinds = lock(&kinds);
            let Some(kind) = kinds.get_mut(&key) else {
                return;
            };
            match event {
                // What is known stays so until the new list is complete.
                Ok(Event::Init) => before = kind.shapes.keys().cloned().collect(),
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    let name = NamespacedName::of(&object);
                    before.remove(&name);
                    let text = shape(&object.metadata);
                    changed.push(Changed {
                        object: reference(&name),
                        shape: Some(text.clone()),
                        manager: last_manager(&object.metadata),
                    });
                    let owner = owner(&object.metadata);
                    // Thousands of objects have the same owner.
                    let owner = owners.get(&owner).cloned().unwrap_or_else(|| {
                        let owner = Arc::new(owner);
                        owners.insert(owner.clone());
                        owner
                    });
                    kind.shapes.insert(name, Shape { text, owner });
                }
                Ok(Event::Delete(object)) => {
                    let name = NamespacedName::of(&object);
                    kind.shapes.remove(&name);
                    changed.push(Changed::gone(reference(&name)));
                }
                Ok(Event::InitDone) => {
                    kind.is_complete = true;
                    for name in std::mem::take(&mut before) {
                        kind.shapes.remove(&name);
                        changed.push(Changed::gone(reference(&name)));
                    }
                }
                Err(error) if is_forbidden(&error) => {
                    kind.is_complete = false;
                    kind.refused = Some(Instant::now());
                    tracing::warn!(
                        kind = resource.kind,
                        "this kind may not be listed and watched, so drift of it is found at the interval alone"
                    );
                    return;
                }
                Err(error) => {
                    tracing::warn!(kind = resource.kind, error = %error, "a watch broke and is taken up again");
                }
            }
        }
        for change in changed {
            for unit in records.stir(&change.object) {
                let _ = drifted.send(unit);
            }
            let seen = records.seen(
                &change.object,
                change.shape.as_deref(),
                &change.manager,
                Timestamp::now(),
            );
            let (object, manager) = (&change.object, &change.manager);
            match seen {
                Seen::Known => {}
                Seen::Drifted(unit) => {
                    tracing::info!(%object, manager, "changed by somebody else");
                    let _ = drifted.send(unit);
                }
                Seen::Fought(unit) => {
                    tracing::warn!(%object, manager, "corrected again and again; left alone for two minutes, for another manager wants it otherwise");
                    let _ = drifted.send(unit);
                }
            }
        }
    }
}

/// What has become of an object.
struct Changed {
    object: ObjectRef,
    /// Nothing for one that is gone.
    shape: Option<String>,
    /// Who wrote it last.
    manager: String,
}

impl Changed {
    fn gone(object: ObjectRef) -> Self {
        Self {
            object,
            shape: None,
            manager: "somebody who deletes it".to_owned(),
        }
    }
}

fn owner(metadata: &ObjectMeta) -> NamespacedName {
    let label = |name: &str| {
        let labels = metadata.labels.as_ref();
        labels
            .and_then(|labels| labels.get(name))
            .cloned()
            .unwrap_or_default()
    };
    NamespacedName::new(label(OWNER_NAMESPACE), label(OWNER_NAME))
}

/// The manager besides us that has written fields last, but for those of the status.
fn last_manager(metadata: &ObjectMeta) -> String {
    let entries = metadata.managed_fields.iter().flatten();
    let others = entries.filter(|entry| {
        entry.subresource.as_deref().unwrap_or_default().is_empty()
            && entry.manager.as_deref() != Some(FIELD_MANAGER)
    });
    let last = others.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    let manager = last.and_then(|entry| entry.manager.clone());
    manager.unwrap_or_else(|| "somebody".to_owned())
}

fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            error::is_forbidden(error)
        }
        _ => false,
    }
}

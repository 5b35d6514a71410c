//! Pure: what was observed of an ExternalSecret, and the rules that decide from it whether to read its stores now.
//!
//! ```text
//! ObservedExternalSecret ─standing→ Standing ─before_read→ ReadDecision ─ with the live Secret ─before_sync→ SyncDecision
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::external_secret::{
    CreationPolicy, DeletionPolicy, ExternalSecret, ExternalSecretStatus,
};
use crate::reconcile_cache::Fingerprint;
use crate::secrets::contention::RepairHistory;
use crate::secrets::decide::is_valid;
use crate::secrets::desired::{DesiredSecret, SpecError, StoreRef};
use crate::secrets::hash::synced_resource_version;
use crate::secrets::last_sync::{LastSync, effective_status};
use crate::secrets::refresh::{Changes, Due, due, interval, watch_interval};
use crate::secrets::store_state::{StoreOptions, StoreReadiness, StoreState, StoreUnusable};
use crate::secrets::sync_status::{
    SecretWriteResult, SyncCause, SyncOutcome, has_reason, is_heartbeat_due, is_ready,
    is_retained_without_secret,
};

/// The longest time after which an ExternalSecret is looked at again whose values are watched.
const WATCHED: Duration = Duration::from_secs(3600);
/// When an ExternalSecret is looked at again whose store is new. The store's first condition wakes it sooner.
const NEW_STORE: Duration = Duration::from_secs(2);

/// The order in which ExternalSecrets get a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// There is no Secret yet.
    NeverSynced,
    /// The spec, a template or the Secret has changed.
    Changed,
    /// The interval has passed.
    Periodic,
}

/// When an object is reconciled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeue {
    /// After this wait, or on a change.
    After(Duration),
    /// On a change only.
    OnChange,
}

/// A store that an ExternalSecret refers to, as the watch saw it last.
#[derive(Debug, Clone)]
pub struct ObservedStore {
    /// The reference.
    pub reference: StoreRef,
    /// The store, or why there is none.
    pub state: Result<StoreState, StoreUnusable>,
}

/// Everything that was observed of an ExternalSecret before a store or the live Secret is read.
#[derive(Debug)]
pub struct ObservedExternalSecret<'o> {
    /// The object.
    pub object: &'o ExternalSecret,
    /// What its spec asks for.
    pub desired: Result<DesiredSecret, SpecError>,
    /// The stores that it reads from.
    pub stores: Vec<ObservedStore>,
    /// The labels of its namespace; `None` if the watch has not brought it yet.
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// The last sync of this object, if this process made it.
    pub last_sync: Option<LastSync>,
    /// The resource version of the target Secret by the watch; `None` if there is no managed one.
    pub watched_secret_version: Option<String>,
    /// True if something has changed that a failure may have come from.
    pub has_refresh_request: bool,
    /// True if an object that holds its templates has changed since it was read.
    pub has_stale_sources: bool,
    /// True if a watched value has changed since it was read.
    pub has_changed_values: bool,
    /// How long ago all watched values were known to be as they were read. `None` if they are not watched.
    pub confirmed_ago: Option<Duration>,
    /// How long this process has been running.
    pub uptime: Duration,
}

/// What the flags of the daemon say about syncs.
#[derive(Debug, Clone, Copy)]
pub struct SyncOptions<'o> {
    /// How often the time of a refresh is written where nothing else has changed; never if `None`.
    pub status_heartbeat: Option<Duration>,
    /// What is said about stores.
    pub stores: StoreOptions<'o>,
}

/// How an ExternalSecret stands before its stores are read.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The last sync of this object; what is watched counts as refreshed when it was confirmed.
    pub last_sync: Option<LastSync>,
    /// The status as if every refresh were written down.
    pub status: ExternalSecretStatus,
    /// When the values are to be read.
    pub due: Due,
    /// True if the Secret is as it was after the last sync, by its metadata.
    pub is_secret_unchanged: bool,
    /// True if the spec is valid and the last sync succeeded.
    pub is_ready: bool,
    /// Its place in the queue, if it is synced.
    pub urgency: Urgency,
}

/// What to do before anything is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadDecision {
    /// Nothing is due, and the Secret is as it should be.
    Rest(Requeue),
    /// A store is not validated yet. Its condition is waited for.
    AwaitStore(Duration),
    /// Wait for a permit, and read the live Secret if its metadata has changed.
    Read,
}

/// The live Secret, as far as it was read.
#[derive(Debug)]
pub enum LiveSecret {
    /// Not read: its metadata has the resource version that was written or checked last.
    Unchanged,
    /// Read; `None` if it does not exist.
    Read(Option<Box<Secret>>),
}

/// What to do once the live Secret is known.
#[derive(Debug, PartialEq)]
pub enum SyncDecision {
    /// The Secret is as it should be, and nothing is due.
    Keep {
        /// What to put into the last-sync cache, so that the Secret is not read again before it changes.
        last_sync: Option<Box<LastSync>>,
        /// When to look again.
        requeue: Requeue,
    },
    /// Read the stores and write the Secret.
    Sync,
}

impl Standing {
    /// Why a sync is made now. It only changes the Secret back where nothing is due and the last sync succeeded.
    pub fn cause(&self) -> SyncCause {
        if self.is_ready && self.due != Due::Now && !self.is_secret_unchanged {
            SyncCause::Repair
        } else {
            SyncCause::Refresh
        }
    }
}

impl Due {
    /// When to look again at an ExternalSecret that needs nothing now.
    pub fn requeue(self) -> Requeue {
        match self {
            Self::In(wait) => Requeue::After(wait),
            Self::Now | Self::Never => Requeue::OnChange,
        }
    }
}

impl ObservedExternalSecret<'_> {
    /// The namespace of the object.
    pub fn namespace(&self) -> &str {
        self.object
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default()
    }

    /// The state of one of the stores, if it may be read now.
    ///
    /// # Errors
    /// The store does not exist, does not admit the namespace, or is not ready.
    pub fn usable<'s>(
        &self,
        store: &'s ObservedStore,
        options: &StoreOptions<'_>,
    ) -> Result<&'s StoreState, StoreUnusable> {
        let state = store.state.as_ref().map_err(StoreUnusable::clone)?;
        let labels = self.namespace_labels.as_ref();
        state.check_usable(self.namespace(), labels, options)?;
        Ok(state)
    }

    /// True if all stores may be read now.
    fn are_stores_usable(&self, options: &StoreOptions<'_>) -> bool {
        let mut stores = self.stores.iter();
        stores.all(|store| self.usable(store, options).is_ok())
    }

    /// The stores and the generations of their specs: another store may hold other values.
    pub fn stores_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(
            self.stores
                .iter()
                .map(|ObservedStore { reference, state }| {
                    let generation = state.as_ref().map(|state| state.generation);
                    format!("{reference} {}", generation.unwrap_or_default())
                }),
        )
    }

    /// Everything that decides whether a sync that failed may succeed now: the object, the Secret, and how the stores stand.
    pub fn sync_fingerprint(&self, live: &LiveSecret) -> Fingerprint {
        let live = match live {
            LiveSecret::Unchanged => "unchanged".to_owned(),
            LiveSecret::Read(None) => "none".to_owned(),
            LiveSecret::Read(Some(live)) => {
                live.metadata.resource_version.clone().unwrap_or_default()
            }
        };
        let stores = self.stores.iter().map(|store| match &store.state {
            Ok(state) => {
                let is_ready = state.readiness == StoreReadiness::Ready;
                format!("{} {}:{is_ready}", store.reference, state.generation)
            }
            Err(error) => error.to_string(),
        });
        Fingerprint::of(
            [uid(self.object), version(self.object), live]
                .into_iter()
                .chain(stores),
        )
    }

    /// How the object stands now.
    pub fn standing(&self, options: &SyncOptions<'_>, now: Timestamp) -> Standing {
        let is_secret_unchanged = self.is_secret_unchanged();
        let confirmed = self.confirmation(is_secret_unchanged, &options.stores);
        let mut last_sync = self.last_sync.clone();
        if let (Some(last), Some(ago)) = (&mut last_sync, confirmed) {
            // Values that are watched and confirmed are as good as read.
            last.refreshed = last.refreshed.max(now - ago);
        }
        let written = self.object.status.clone().unwrap_or_default();
        let status = effective_status(&written, last_sync.as_ref());
        let due = self.due(&status, confirmed.is_some(), options, now);
        let is_repair = last_sync.is_some() && !is_secret_unchanged && due != Due::Now;
        let is_same_version = status.synced_resource_version == Some(version(self.object));
        let has_changed = is_repair || self.follows_sources() || !is_same_version;
        Standing {
            is_ready: self.is_ready(&status, last_sync.as_ref()) && self.desired.is_ok(),
            urgency: urgency(&status, has_changed),
            last_sync,
            status,
            due,
            is_secret_unchanged,
        }
    }

    /// What to do before anything is read.
    pub fn before_read(
        &self,
        standing: &Standing,
        options: &StoreOptions<'_>,
        now: Timestamp,
    ) -> ReadDecision {
        if standing.is_secret_unchanged && standing.due != Due::Now && standing.is_ready {
            return ReadDecision::Rest(standing.due.requeue());
        }
        if let Some(pause) = self.pause_of_repair(standing) {
            return ReadDecision::Rest(Requeue::After(pause));
        }
        let mut states = self
            .stores
            .iter()
            .filter_map(|store| store.state.as_ref().ok());
        if options.requires_readiness && states.any(|state| state.is_new(self.uptime, now)) {
            return ReadDecision::AwaitStore(NEW_STORE);
        }
        ReadDecision::Read
    }

    /// How long a Secret that another writer changes again and again is still left alone. A refresh that is due does not
    /// wait, and neither does a sync that has failed.
    fn pause_of_repair(&self, standing: &Standing) -> Option<Duration> {
        let last = standing.last_sync.as_ref().filter(|_| standing.is_ready)?;
        let pause = last.repairs.pause(self.uptime)?;
        match standing.due {
            Due::Now => None,
            Due::In(wait) => Some(pause.min(wait)),
            Due::Never => Some(pause),
        }
    }

    /// What to do once the live Secret is known.
    pub fn before_sync(&self, standing: &Standing, live: &LiveSecret) -> SyncDecision {
        let is_due = standing.due == Due::Now;
        if is_due || !standing.is_ready || !self.is_valid_target(&standing.status, live) {
            return SyncDecision::Sync;
        }
        SyncDecision::Keep {
            last_sync: self
                .sync_of_another_process(&standing.status, live)
                .map(Box::new),
            requeue: standing.due.requeue(),
        }
    }

    /// What is remembered of a sync that succeeded.
    pub fn last_sync_of(&self, outcome: &SyncOutcome) -> LastSync {
        let last = self.last_sync.as_ref();
        let repairs = last.map(|last| last.repairs.clone()).unwrap_or_default();
        let has_written = matches!(
            outcome.written,
            SecretWriteResult::Created | SecretWriteResult::Updated
        );
        let repairs = if outcome.cause == SyncCause::Repair && has_written {
            repairs.repaired(self.uptime)
        } else {
            repairs
        };
        LastSync {
            uid: uid(self.object),
            version: version(self.object),
            refreshed: outcome.finished,
            is_ready: true,
            stores: self.stores_fingerprint(),
            secret_version: outcome.secret_version.clone(),
            rendered: outcome.rendered,
            repairs,
        }
    }

    /// True if failures of the past do not count: something has changed that they may have come from.
    pub fn ignores_backoff(&self) -> bool {
        self.has_refresh_request || self.has_stale_sources || self.has_changed_values
    }

    /// When the values are to be read.
    fn due(
        &self,
        status: &ExternalSecretStatus,
        is_confirmed: bool,
        options: &SyncOptions<'_>,
        now: Timestamp,
    ) -> Due {
        let changes = Changes {
            sources: self.follows_sources(),
            values: self.has_changed_values,
        };
        let spec = &self.object.spec;
        let stores = self.stores_fingerprint();
        let last_sync = self.last_sync.as_ref();
        let has_other_stores = last_sync.is_some_and(|last| last.stores != stores);
        match due(spec, status, &version(self.object), changes, now) {
            // Another store may hold other values.
            Due::In(_) if has_other_stores && self.are_stores_usable(&options.stores) => Due::Now,
            // A change of a watched value wakes the object. Besides, it is looked at from time to time.
            Due::In(_) if is_confirmed && self.is_heartbeat_due(options, now) => Due::Now,
            Due::In(_) if is_confirmed => Due::In(watched_interval(options.status_heartbeat)),
            due => due,
        }
    }

    /// True if changed templates are followed at once. Generated values must not change with a template.
    fn follows_sources(&self) -> bool {
        let desired = self.desired.as_ref();
        let is_generated = |desired: &DesiredSecret| desired.generators().next().is_some();
        self.has_stale_sources && desired.is_ok_and(|desired| !is_generated(desired))
    }

    /// True if the time of the last refresh is to be written, though nothing has changed.
    fn is_heartbeat_due(&self, options: &SyncOptions<'_>, now: Timestamp) -> bool {
        let written = self.object.status.as_ref();
        let written = written.filter(|written| written.refresh_time.is_some());
        written.is_some_and(|written| is_heartbeat_due(written, options.status_heartbeat, now))
    }

    /// How long ago all values were known to be as they were read, if that is as good as reading them now.
    fn confirmation(
        &self,
        is_secret_unchanged: bool,
        options: &StoreOptions<'_>,
    ) -> Option<Duration> {
        // An orphan carries no hash to compare, so it is written again at its interval.
        let is_orphan = self.object.spec.target.creation_policy == CreationPolicy::Orphan;
        let is_kept = !is_orphan || is_secret_unchanged;
        let confirmed = self.confirmed_ago.filter(|_| is_kept)?;
        self.are_stores_usable(options).then_some(confirmed)
    }

    fn is_secret_unchanged(&self) -> bool {
        let last = self.last_sync.as_ref().map(|last| &last.secret_version);
        self.watched_secret_version.is_some() && self.watched_secret_version.as_ref() == last
    }

    /// True if the last sync succeeded. The status that was written last may not have come back from the watch yet.
    fn is_ready(&self, status: &ExternalSecretStatus, last_sync: Option<&LastSync>) -> bool {
        let written = self.object.status.as_ref();
        let written: Option<&Time> = written.and_then(|written| written.refresh_time.as_ref());
        match last_sync {
            Some(last) if written.is_none_or(|written| written.0 <= last.refreshed) => {
                last.is_ready
            }
            _ => is_ready(status),
        }
    }

    fn is_valid_target(&self, status: &ExternalSecretStatus, live: &LiveSecret) -> bool {
        match live {
            LiveSecret::Unchanged => true,
            // It was deleted because the stores have no values.
            LiveSecret::Read(None) if has_reason(status, "SecretDeleted") => true,
            LiveSecret::Read(None) if is_retained_without_secret(status) => true,
            LiveSecret::Read(live) => {
                is_valid(self.object.spec.target.creation_policy, live.as_deref())
            }
        }
    }

    /// The sync that wrote this Secret, made by another process.
    fn sync_of_another_process(
        &self,
        status: &ExternalSecretStatus,
        live: &LiveSecret,
    ) -> Option<LastSync> {
        let LiveSecret::Read(Some(live)) = live else {
            return None;
        };
        Some(LastSync {
            uid: uid(self.object),
            version: status.synced_resource_version.clone()?,
            refreshed: status.refresh_time.as_ref()?.0,
            is_ready: true,
            stores: self.stores_fingerprint(),
            secret_version: live.metadata.resource_version.clone().unwrap_or_default(),
            // Not known, so the next refresh compares with the Secret itself.
            rendered: None,
            repairs: RepairHistory::default(),
        })
    }
}

/// True if no other controller serves one of the stores. A store that does not exist may be anybody's; it counts as missing.
pub fn are_served(stores: &[ObservedStore], options: &StoreOptions<'_>) -> bool {
    let mut states = stores.iter().filter_map(|store| store.state.as_ref().ok());
    states.all(|state| state.is_served(options))
}

/// `metadata.uid`; empty if it is absent.
pub fn uid(object: &ExternalSecret) -> String {
    object.metadata.uid.clone().unwrap_or_default()
}

/// The version of the object by generation, labels and annotations, as `syncedResourceVersion` has it.
pub fn version(object: &ExternalSecret) -> String {
    let metadata = &object.metadata;
    synced_resource_version(
        metadata.generation.unwrap_or_default(),
        metadata.labels.iter().flatten(),
        metadata.annotations.iter().flatten(),
    )
}

/// The name of the Secret that is written: that of the spec, or that of the ExternalSecret.
pub fn target_name(object: &ExternalSecret) -> String {
    let name = object.spec.target.name.clone();
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| object.metadata.name.clone().unwrap_or_default())
}

/// What becomes of the Secret when its ExternalSecret is being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretEnd {
    /// It is left as it is. If it has an owner reference, Kubernetes deletes it after the ExternalSecret.
    Leave,
    /// It is deleted before the ExternalSecret is gone.
    Delete,
    /// It loses its owner reference, so that it stays.
    Release,
}

/// Decides what becomes of the Secret. A definition that is being deleted takes every ExternalSecret of the cluster along,
/// and says nothing about the Secrets, which workloads use.
pub fn secret_end(object: &ExternalSecret, is_definition_ending: bool) -> SecretEnd {
    if !owns_secret(object) {
        SecretEnd::Leave
    } else if is_definition_ending {
        SecretEnd::Release
    } else if object.spec.target.deletion_policy == DeletionPolicy::Delete {
        SecretEnd::Delete
    } else {
        SecretEnd::Leave
    }
}

/// True if the Secret goes with its ExternalSecret, so that a finalizer must hold the ExternalSecret until it is known
/// whether the Secret may go.
pub fn owns_secret(object: &ExternalSecret) -> bool {
    object.spec.target.creation_policy == CreationPolicy::Owner
}

/// When to look again at an ExternalSecret whose values are watched: once per heartbeat, and once an hour at least.
pub fn watched_interval(heartbeat: Option<Duration>) -> Duration {
    heartbeat.map_or(WATCHED, |heartbeat| heartbeat.min(WATCHED))
}

/// When to look again after a sync that succeeded. `jitter` spreads the interval of values that are not watched.
pub fn requeue_after_sync(
    object: &ExternalSecret,
    is_watched: bool,
    heartbeat: Option<Duration>,
    jitter: impl Fn(Duration) -> Duration,
) -> Requeue {
    if is_watched {
        return Requeue::After(watched_interval(heartbeat));
    }
    let interval = interval(&object.spec).filter(|interval| !interval.is_zero());
    interval.map_or(Requeue::OnChange, |interval| {
        Requeue::After(jitter(interval))
    })
}

/// True if its values may be watched: an interval alone decides when they are read.
pub fn can_be_watched(object: &ExternalSecret) -> bool {
    watch_interval(&object.spec).is_some()
}

fn urgency(status: &ExternalSecretStatus, has_changed: bool) -> Urgency {
    match &status.refresh_time {
        // One that has failed before has had its turn.
        None if status.conditions.is_empty() => Urgency::NeverSynced,
        Some(_) if has_changed => Urgency::Changed,
        _ => Urgency::Periodic,
    }
}

#[cfg(test)]
#[path = "observed_tests.rs"]
mod tests;

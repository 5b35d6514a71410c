//! Rollouts that wait: kept between two reconciles, so that a wait costs no worker.

use std::collections::{BTreeMap, BTreeSet};

use overlayd_core::apply::held::DeletionGuard;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::kustomization::spec_digest::SpecDigest;
use overlayd_core::names::NamespacedName;
use overlayd_core::rollout::Rollout;
use parking_lot::Mutex;

use crate::cluster::apply::ApplyOptions;
use crate::controllers::kustomization::Applied;

/// A rollout, and what carries it out.
#[derive(Debug)]
pub(crate) struct PendingRollout {
    pub(super) rollout: Rollout,
    /// What it was begun for. For anything else a new rollout is begun.
    pub(super) digest: SpecDigest,
    pub(super) revision: String,
    /// How its waves are applied.
    pub(super) options: ApplyOptions,
    /// Others have changed an applied object meanwhile, which is corrected after the rollout.
    pub(super) is_drifted: bool,
    /// Kustomizations from which objects are taken over; they are woken at the end.
    pub(super) former_owners: BTreeSet<NamespacedName>,
    /// The objects of the revision: the inventory after the rollout.
    pub(super) rendered: Vec<ObjectRef>,
    /// The Kustomizations that are deleted at the end.
    pub(super) going: BTreeSet<NamespacedName>,
    /// What checks the deletions, if that could not be done before.
    pub(super) guard: Option<DeletionGuard>,
    /// What was applied so far.
    pub(super) applied: Applied,
}

impl PendingRollout {
    /// What came of the revision.
    pub(super) fn done(self) -> Applied {
        let Some(postponed) = self.rollout.postponed() else {
            return self.applied;
        };
        Applied {
            postponed: postponed.to_string(),
            // The next reconcile must not take the deletions for done.
            inputs: None,
            ..self.applied
        }
    }
}

/// The rollouts that wait, by their Kustomization.
#[derive(Debug, Default)]
pub(crate) struct PendingRollouts(Mutex<BTreeMap<NamespacedName, PendingRollout>>);

impl PendingRollouts {
    /// Keeps a rollout that waits.
    pub(super) fn put(&self, unit: &NamespacedName, rollout: PendingRollout) {
        self.0.lock().insert(unit.clone(), rollout);
    }

    /// Takes the rollout of a Kustomization, which continues or is dropped.
    pub(super) fn take(&self, unit: &NamespacedName) -> Option<PendingRollout> {
        self.0.lock().remove(unit)
    }
}

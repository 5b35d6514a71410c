//! What a reconcile finds, gathered before anything is decided.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use kube::ResourceExt as _;
use overlayd_core::api::annotations::REQUESTED_AT;
use overlayd_core::api::kustomization::{Kustomization, KustomizationStatus};
use overlayd_core::apply::unit_settings::{SettingError, UnitSettings};
use overlayd_core::kustomization::due::{ReconcileTriggers, Work, WorkInput};
use overlayd_core::kustomization::source_of;
use overlayd_core::kustomization::spec_digest::SpecDigest;
use overlayd_core::names::{NamespacedName, ObjectKey};
use serde_json::json;

use crate::controllers::kustomization::build::{self, Substitution};
use crate::controllers::kustomization::context::KustomizationContext;
use crate::controllers::kustomization::error::SyncError;
use crate::controllers::kustomization::redaction::Redaction;
use crate::controllers::kustomization::rollouts::PendingRollout;
use crate::git::Fetched;

/// What a Kustomization asks for, known without a request to the API server.
pub(super) struct SyncTarget {
    pub(super) key: ObjectKey,
    pub(super) unit: NamespacedName,
    /// The value of the annotation by which a reconcile is requested.
    pub(super) requested: Option<String>,
    pub(super) source: Option<Arc<Fetched>>,
    /// The revision of the source.
    pub(super) revision: Option<String>,
    /// The digest of everything that decides besides the source and the values of variables.
    pub(super) spec: SpecDigest,
    /// The digest of the spec and the source.
    pub(super) digest: SpecDigest,
}

impl SyncTarget {
    /// Looks up the source, and takes the digests that tell whether anything has changed.
    pub(super) fn of(object: &Kustomization, context: &KustomizationContext) -> Self {
        let source = context.sources.get(&source_of(object));
        let revision = source.as_ref().map(|source| source.revision.to_string());
        let spec = SpecDigest::of_kustomization(object);
        Self {
            key: ObjectKey::of(object),
            unit: NamespacedName::of(object),
            requested: object.annotations().get(REQUESTED_AT).cloned(),
            digest: with_source(&spec, source.as_deref()),
            source,
            revision,
            spec,
        }
    }
}

/// A digest that covers the commit and the files that are in service.
fn with_source(digest: &SpecDigest, source: Option<&Fetched>) -> SpecDigest {
    let revision = source.map(|source| source.revision.to_string());
    let content = source.map(Fetched::content);
    // A build that failed because a mirror could not be read is tried again with another life of the mirror.
    let mirrors = source.map(Fetched::mirrors).unwrap_or_default();
    let lives: Vec<u64> = mirrors.iter().map(|(_, life)| life.number()).collect();
    digest.and(&json!({"revision": revision, "content": content, "mirrors": lives}))
}

/// Takes the events since the last reconcile that ask for work.
pub(super) fn take_triggers(
    object: &Kustomization,
    target: &SyncTarget,
    context: &KustomizationContext,
) -> ReconcileTriggers {
    let records = context.identities.live().last_applied();
    ReconcileTriggers {
        is_unblocked: context.dependencies.take_unblocked(object),
        is_drifted: records.take_drifted(&target.unit),
        is_health_changed: records.take_awaited(&target.unit),
    }
}

/// Everything that a reconcile decides by.
pub(super) struct ObservedKustomization {
    /// The newest status, which the watch may not have brought yet.
    pub(super) status: KustomizationStatus,
    pub(super) settings: Result<UnitSettings, SettingError>,
    pub(super) variables: Result<Option<Substitution>, SyncError>,
    /// Takes the values of Secrets among the variables out of texts.
    pub(super) redaction: Redaction,
    /// The digest of the spec with the values of variables.
    pub(super) spec: SpecDigest,
    /// The digest of the spec with the values of variables, and the source.
    pub(super) digest: SpecDigest,
    /// The state of the dependencies, from before they are read.
    pub(super) dependencies: String,
    /// A rollout of the same digest that waits.
    pub(super) rollout: Option<PendingRollout>,
    /// Others have changed an applied object during that rollout.
    pub(super) is_rollout_drifted: bool,
    /// The revision changes nothing that was built, and the object is due again at this time.
    pub(super) applied_until: Option<Timestamp>,
    /// Names what this reconcile has built, as soon as it has.
    pub(super) attempted: OnceLock<String>,
}

impl ObservedKustomization {
    /// Reads the variables, and looks up what earlier reconciles left.
    pub(super) async fn read(
        object: &Kustomization,
        target: &SyncTarget,
        triggers: ReconcileTriggers,
        now: Timestamp,
        context: &KustomizationContext,
    ) -> Self {
        let dependencies = context.dependencies.state_of(object);
        let status = context.written.newest(object);
        let variables = build::variables(object, context).await;
        let substitution = variables.as_ref().ok().and_then(Option::as_ref);
        let secrets = substitution.map(Substitution::secrets).unwrap_or_default();
        let redaction = Redaction::new(secrets.iter().cloned());
        let spec = substitution.map_or(target.spec, |substitution| {
            substitution.digest(&target.spec)
        });
        let digest = with_source(&spec, target.source.as_deref());
        let rollout = context.rollouts.take(&target.unit);
        let rollout = rollout.filter(|rollout| rollout.digest == digest);
        // A rollout continues; what others have changed meanwhile is corrected after it.
        let rollout = rollout.map(|rollout| PendingRollout {
            is_drifted: rollout.is_drifted || triggers.is_drifted,
            ..rollout
        });
        let mut applied_until = None;
        if rollout.is_none() && !triggers.is_drifted && variables.is_ok() {
            applied_until = still_applied(target, &spec, now, context).await;
        }
        let defaults = &context.settings.unit_defaults;
        Self {
            status,
            settings: UnitSettings::new(object.annotations(), defaults),
            variables,
            redaction,
            spec,
            digest,
            dependencies,
            is_rollout_drifted: rollout.as_ref().is_some_and(|rollout| rollout.is_drifted),
            rollout,
            applied_until,
            attempted: OnceLock::new(),
        }
    }

    /// Decides what there is to do.
    pub(super) fn decide(&self, settings: &UnitSettings, now: Timestamp) -> Work {
        let input = WorkInput {
            window: settings.windows.at(now),
            has_rollout: self.rollout.is_some(),
            applied_until: self.applied_until,
        };
        input.decide()
    }

    /// The variables, which are used once.
    pub(super) fn take_variables(&mut self) -> Result<Option<Substitution>, SyncError> {
        std::mem::replace(&mut self.variables, Ok(None))
    }
}

/// When the object is due again, if the revision changes nothing that was built.
async fn still_applied(
    target: &SyncTarget,
    spec: &SpecDigest,
    now: Timestamp,
    context: &KustomizationContext,
) -> Option<Timestamp> {
    let (builds, source) = (context.builds.clone(), target.source.clone()?);
    let (unit, spec) = (target.unit.clone(), spec.to_string());
    let task =
        tokio::task::spawn_blocking(move || builds.still_applied(&unit, &spec, &source, now));
    task.await.ok().flatten()
}

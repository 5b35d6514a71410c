//! Pure: how a planned revision is rolled out: wave by wave, each after the last one is healthy, and deletions at the end.
//!
//! ```text
//! Ready ─ApplyWave→ Applying ─CheckHealth→ Checking ─┐ healthy: Ready, with the next wave
//!   │ no wave is left                                └ not yet: Wait, then CheckHealth again
//!   └─CheckOwnership→ Settling ─Prune→ Pruning ─→ Done
//! ```
//! A [`Rollout`] is a state machine. [`Rollout::advance`] takes what the last [`Step`] brought about as an
//! [`Observation`] and answers with the next step; the caller only carries steps out. Between two steps a rollout is a
//! value, so a wait for health costs no worker, and a new revision replaces it by dropping it.
//!
//! Deletions come last because pods of the old revision may need the objects until the new revision is healthy.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::kustomization::KustomizationSpec;
use crate::apply::change_set::{ApplyError, ObjectFailure};
use crate::apply::guard::{GuardError, GuardStage};
use crate::apply::health::{Health, Report};
use crate::apply::object_ref::ObjectRef;
use crate::apply::ownership::{Undecided, UndecidedReason};
use crate::apply::plan::{ApplyPlan, OnError, Wave};
use crate::names::NamespacedName;
use crate::schedule::{backoff, parse_duration};

/// The first and the longest time between two health checks. A change of a watched object wakes the Kustomization
/// earlier; this interval is the fallback, and the only trigger for objects whose kind cannot be watched.
const CHECK_INTERVAL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How long a revision is not reported as applied because its deletions wait for other Kustomizations. After that the
/// deletions wait alone.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often ownership is asked about again while deletions wait, should no event come.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);
/// A message names this many unhealthy objects and counts the others.
const MAX_LISTED: usize = 10;

/// A revision that is being rolled out.
#[derive(Debug)]
pub struct Rollout {
    phase: Phase,
    /// Waves that are not applied yet.
    waves: VecDeque<Wave>,
    /// Objects whose health is checked after the last wave.
    checks: Vec<ObjectRef>,
    /// Objects that are deleted after everything is healthy.
    prune: Vec<ObjectRef>,
    on_error: OnError,
    health_timeout: Duration,
    /// Objects that were not applied, while the others were ([`OnError::Continue`]).
    failures: Vec<ObjectFailure>,
    /// A wave was applied in part, so later waves, which may need it, are not applied.
    is_wave_incomplete: bool,
    /// Objects that were deliberately left as they are; their health is not checked.
    skipped: BTreeSet<ObjectRef>,
    /// The Kustomization itself. A Kustomization that applies itself would wait for its own health for ever.
    unit: NamespacedName,
    /// Ids of Jobs that are removed some time after they have finished, so that one that is gone has done its work.
    expiring: BTreeSet<String>,
    /// Objects that are not deleted now, since a Kustomization has not said whether it wants them.
    postponed: Option<Postponed>,
}

/// Deletions that are carried out later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postponed {
    /// The objects, which stay in the inventory.
    pub objects: Vec<ObjectRef>,
    /// The Kustomization that may want them.
    pub until: Undecided,
}

/// `3 objects stay until Kustomization …`, for a condition.
impl fmt::Display for Postponed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let objects: Vec<String> = self.objects.iter().map(ToString::to_string).collect();
        let Undecided { unit, reason } = &self.until;
        let (why, remedy) = match reason {
            UndecidedReason::Open => ("has not said whether it wants them", ""),
            UndecidedReason::NotBuilt => (
                "has not said whether it wants them",
                "; it cannot be built of this revision: mend it, or suspend it to go on without it",
            ),
            UndecidedReason::NotApplied => ("wants some of them and has not applied them", ""),
        };
        let objects = objects.join(", ");
        write!(
            formatter,
            "not deleted yet, since Kustomization `{unit}` {why}: {objects}{remedy}"
        )
    }
}

#[derive(Debug)]
enum Phase {
    /// The next wave can be applied; or, after the last one, deletions can begin.
    Ready,
    /// A wave with these objects is being applied.
    Applying(Vec<ObjectRef>),
    Checking(HealthCheck),
    /// Deletions wait, since this time, for other Kustomizations.
    Settling(Timestamp),
    Pruning,
}

#[derive(Debug)]
struct HealthCheck {
    /// Objects that are not known to be healthy.
    pending: Vec<ObjectRef>,
    since: Timestamp,
    /// How often they were checked already.
    attempts: u32,
}

/// What the last step brought about.
#[derive(Debug)]
pub enum Observation {
    /// Nothing yet: the rollout begins, or continues after a wait.
    Resumed,
    /// The answer to [`Step::ApplyWave`].
    Applied {
        /// Objects that were left as they are, because they or the Kustomization ask for that.
        skipped: Vec<ObjectRef>,
        /// Whether the API server took the other objects.
        result: Result<(), ApplyError>,
    },
    /// The answer to [`Step::CheckHealth`], in the same order.
    Health(Vec<(ObjectRef, Report)>),
    /// The answer to [`Step::CheckOwnership`].
    Ownership {
        /// A Kustomization of the same source whose objects of this revision are not known yet.
        undecided: Option<Undecided>,
        /// Why the deletions need an approval, if that could not be judged before.
        refusal: Option<GuardError>,
        /// Objects that another Kustomization wants now, so they are not deleted but handed over.
        handed_over: BTreeSet<ObjectRef>,
    },
    /// The answer to [`Step::Prune`].
    Pruned(Result<(), ApplyError>),
}

/// What the caller does next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Apply this wave, then report [`Observation::Applied`].
    ApplyWave(Wave),
    /// Read these objects and judge their health, then report [`Observation::Health`].
    CheckHealth(Vec<ObjectRef>),
    /// Keep the rollout and resume it after this time, or at a change of one of its [pending](Rollout::pending) objects.
    Wait {
        /// What the rollout waits for, for the status.
        message: String,
        /// The longest time until it is resumed.
        after: Duration,
    },
    /// Find out which Kustomizations want these objects, then report [`Observation::Ownership`].
    CheckOwnership(Vec<ObjectRef>),
    /// Delete these objects, possibly none, then report [`Observation::Pruned`]. Everything else is applied and healthy,
    /// so this is also the moment at which the inventory shrinks to what the revision holds.
    Prune(Vec<ObjectRef>),
    /// The revision is rolled out.
    Done,
    /// The rollout is over without success.
    Fail(RolloutError),
}

/// Why a rollout ended without success.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// Objects did not become healthy.
    #[error(transparent)]
    Unhealthy(UnhealthyError),
    /// Objects could not be applied or deleted.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The deletions need an approval.
    #[error(transparent)]
    Guarded(#[from] GuardError),
}

/// Objects that did not become healthy, and why they are not waited for any longer.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{cause}: [{}]", list(.objects))]
pub struct UnhealthyError {
    /// Why the wait ended.
    pub cause: UnhealthyCause,
    /// The objects that are not healthy.
    pub objects: Vec<UnhealthyObject>,
}

/// Why a wait for health ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnhealthyCause {
    /// An object says itself that it failed.
    #[error("failed early due to stalled resources")]
    Stalled,
    /// The timeout of the spec has passed.
    #[error("timeout waiting for health after {} s", .0.as_secs())]
    Timeout(Duration),
}

/// An object that is not healthy. Its text form is that of Flux: `Kind/namespace/name status: 'InProgress': reason`.
#[derive(Debug, Clone, PartialEq)]
pub struct UnhealthyObject {
    /// The object.
    pub object: ObjectRef,
    /// Its health.
    pub report: Report,
    /// What else is known of the reason, such as the last warning event; may be empty.
    pub details: Vec<String>,
}

impl fmt::Display for UnhealthyObject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = self.details.iter().map(String::as_str);
        let reasons = std::iter::once(self.report.reason.as_str()).chain(details);
        let reasons: Vec<&str> = reasons.filter(|reason| !reason.is_empty()).collect();
        let (object, health) = (&self.object, self.report.health);
        write!(
            formatter,
            "{object} status: '{health}': {}",
            reasons.join("; ")
        )
    }
}

fn list(objects: &[UnhealthyObject]) -> String {
    let objects: Vec<String> = objects.iter().map(ToString::to_string).collect();
    objects.join(", ")
}

/// Errors are equal if they read the same; an [`ApplyError`] cannot be compared otherwise.
impl PartialEq for RolloutError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Rollout {
    /// A rollout of the plan of a Kustomization, at its beginning. `failures` are objects that were taken out of the plan
    /// because they cannot be applied.
    pub fn new(
        plan: ApplyPlan,
        spec: &KustomizationSpec,
        unit: &NamespacedName,
        failures: Vec<ObjectFailure>,
    ) -> Self {
        Self {
            phase: Phase::Ready,
            unit: unit.clone(),
            checks: health_checks(spec, &unit.namespace, &plan),
            expiring: plan.expiring(),
            postponed: None,
            prune: plan.leaving(),
            waves: plan.waves.into(),
            on_error: plan.on_error,
            health_timeout: health_timeout(spec),
            failures,
            is_wave_incomplete: false,
            skipped: BTreeSet::new(),
        }
    }

    /// Decides the next step. An observation that does not answer the last step is taken as [`Observation::Resumed`].
    pub fn advance(&mut self, observation: Observation, now: Timestamp) -> Step {
        match (
            std::mem::replace(&mut self.phase, Phase::Ready),
            observation,
        ) {
            (Phase::Applying(objects), Observation::Applied { skipped, result }) => {
                self.skipped.extend(skipped);
                self.after_wave(objects, result, now)
            }
            (Phase::Checking(check), Observation::Health(reports)) => {
                self.judge(&check, reports, now)
            }
            (
                Phase::Settling(since),
                Observation::Ownership {
                    undecided,
                    refusal,
                    handed_over,
                },
            ) => match (undecided, refusal) {
                (Some(undecided), _) => self.wait_for(undecided, since, now),
                (None, Some(refusal)) => {
                    let stage = GuardStage::Applied;
                    Step::Fail(GuardError { stage, ..refusal }.into())
                }
                (None, None) => self.prune(&handed_over),
            },
            (Phase::Pruning, Observation::Pruned(Ok(()))) => Step::Done,
            (Phase::Pruning, Observation::Pruned(Err(error))) => Step::Fail(error.into()),
            (phase, _) => self.resume(phase, now),
        }
    }

    /// The objects that the rollout waits for, so that a change of one of them resumes it.
    pub fn pending(&self) -> &[ObjectRef] {
        match &self.phase {
            Phase::Checking(check) => &check.pending,
            _ => &[],
        }
    }

    /// Deletions that are left for later, after [`Step::Prune`].
    pub fn postponed(&self) -> Option<&Postponed> {
        self.postponed.as_ref()
    }

    /// Asks again for what a phase needs.
    fn resume(&mut self, phase: Phase, now: Timestamp) -> Step {
        let step = match &phase {
            Phase::Ready | Phase::Applying(_) => return self.next(now),
            Phase::Checking(check) => Step::CheckHealth(check.pending.clone()),
            Phase::Settling(_) => Step::CheckOwnership(self.prune.clone()),
            Phase::Pruning => Step::Prune(self.prune.clone()),
        };
        self.phase = phase;
        step
    }

    /// The step after everything that was applied so far is healthy.
    fn next(&mut self, now: Timestamp) -> Step {
        if !self.is_wave_incomplete
            && let Some(wave) = self.waves.pop_front()
        {
            let objects = wave.objects().map(|desired| desired.reference.clone());
            self.phase = Phase::Applying(objects.collect());
            return Step::ApplyWave(wave);
        }
        if !self.failures.is_empty() {
            let failures = std::mem::take(&mut self.failures);
            return Step::Fail(ApplyError::Refused(failures).into());
        }
        if self.prune.is_empty() {
            self.phase = Phase::Pruning;
            return Step::Prune(Vec::new());
        }
        self.phase = Phase::Settling(now);
        Step::CheckOwnership(self.prune.clone())
    }

    fn after_wave(
        &mut self,
        objects: Vec<ObjectRef>,
        result: Result<(), ApplyError>,
        now: Timestamp,
    ) -> Step {
        match (result, self.on_error) {
            (Ok(()), _) => {}
            (Err(ApplyError::Refused(refused)), OnError::Continue) => {
                self.is_wave_incomplete = true;
                self.failures.extend(refused);
            }
            (Err(error), _) => return Step::Fail(error.into()),
        }
        let mut pending = if self.waves.is_empty() {
            std::mem::take(&mut self.checks)
        } else {
            objects
        };
        // An object that was not applied cannot become what this revision wants.
        let failed: BTreeSet<&ObjectRef> = self.failures.iter().map(|f| &f.object).collect();
        pending.retain(|object| {
            let is_left = failed.contains(object) || self.skipped.contains(object);
            !is_left && object.unit().as_ref() != Some(&self.unit)
        });
        if pending.is_empty() {
            return self.next(now);
        }
        let step = Step::CheckHealth(pending.clone());
        self.phase = Phase::Checking(HealthCheck {
            pending,
            since: now,
            attempts: 0,
        });
        step
    }

    fn judge(
        &mut self,
        check: &HealthCheck,
        reports: Vec<(ObjectRef, Report)>,
        now: Timestamp,
    ) -> Step {
        let unhealthy = reports
            .into_iter()
            .filter(|(object, report)| match report.health {
                Health::Current => false,
                Health::NotFound => !self.expiring.contains(&object.id()),
                Health::InProgress | Health::Failed | Health::Terminating => true,
            });
        let objects: Vec<UnhealthyObject> = unhealthy
            .map(|(object, report)| UnhealthyObject {
                object,
                report,
                details: Vec::new(),
            })
            .collect();
        if objects.is_empty() {
            return self.next(now);
        }
        let (timeout, waited) = (self.health_timeout, elapsed(check.since, now));
        let has_failed = objects.iter().any(|o| o.report.health == Health::Failed);
        let cause = if has_failed {
            Some(UnhealthyCause::Stalled)
        } else {
            (waited >= timeout).then_some(UnhealthyCause::Timeout(timeout))
        };
        if let Some(cause) = cause {
            return Step::Fail(RolloutError::Unhealthy(UnhealthyError { cause, objects }));
        }
        let message = waiting_message(&objects);
        self.phase = Phase::Checking(HealthCheck {
            pending: objects.into_iter().map(|o| o.object).collect(),
            since: check.since,
            attempts: check.attempts + 1,
        });
        let (first, longest) = CHECK_INTERVAL;
        let after = backoff(first, longest, check.attempts).min(timeout.saturating_sub(waited));
        Step::Wait { message, after }
    }

    /// Deletes nothing that another Kustomization may want. A Kustomization that says so soon is waited for; the deletions
    /// of one that does not are left for later, so that it does not keep this revision from being reported.
    fn wait_for(&mut self, undecided: Undecided, since: Timestamp, now: Timestamp) -> Step {
        let is_tried = undecided.reason == UndecidedReason::NotBuilt;
        if !is_tried && elapsed(since, now) < SETTLE_TIMEOUT {
            self.phase = Phase::Settling(since);
            let message = format!(
                "everything is applied; before {} objects are deleted, it waits to know whether Kustomization `{}` wants them",
                self.prune.len(),
                undecided.unit
            );
            let after = SETTLE_INTERVAL;
            return Step::Wait { message, after };
        }
        self.phase = Phase::Pruning;
        self.postponed = Some(Postponed {
            objects: std::mem::take(&mut self.prune),
            until: undecided,
        });
        Step::Prune(Vec::new())
    }

    fn prune(&mut self, handed_over: &BTreeSet<ObjectRef>) -> Step {
        self.phase = Phase::Pruning;
        self.prune.retain(|object| !handed_over.contains(object));
        Step::Prune(self.prune.clone())
    }
}

fn waiting_message(objects: &[UnhealthyObject]) -> String {
    let listed = list(&objects[..objects.len().min(MAX_LISTED)]);
    let more = match objects.len() {
        0..=MAX_LISTED => String::new(),
        all => format!(" and {} more", all - MAX_LISTED),
    };
    format!("waiting for health: [{listed}]{more}")
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// The objects whose health decides: all objects with `wait`, otherwise those that `healthChecks` names.
fn health_checks(spec: &KustomizationSpec, namespace: &str, plan: &ApplyPlan) -> Vec<ObjectRef> {
    if spec.wait {
        let objects = plan.waves.iter().flat_map(Wave::objects);
        return objects.map(|desired| desired.reference.clone()).collect();
    }
    let named = spec.health_checks.iter().map(|check| {
        let namespace = check.namespace.as_deref().unwrap_or(namespace);
        let api_version = check.api_version.as_deref().unwrap_or("apps/v1");
        ObjectRef::new(api_version, &check.kind, namespace, &check.name)
    });
    named.collect()
}

/// How long a wave may take to become healthy: `spec.timeout`, or else the interval without 30 s, at least 30 s.
/// The default is Flux's (`GetTimeout` in kustomize-controller's `kustomization_types.go`).
pub fn health_timeout(spec: &KustomizationSpec) -> Duration {
    const LEAST: Duration = Duration::from_secs(30);
    let given = spec.timeout.as_deref().and_then(parse_duration);
    given.unwrap_or_else(|| {
        let interval = parse_duration(&spec.interval).unwrap_or_default();
        interval.saturating_sub(LEAST).max(LEAST)
    })
}

#[cfg(test)]
mod tests;

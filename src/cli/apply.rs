//! `overlayd apply`: builds a directory of the disk and applies it once, by the same plan and stages as the daemon.

use std::collections::BTreeSet;
use std::time::Duration;

use kustomize::{BuildOptions, Reorder};
use tokio::time::Instant;

use overlayd_core::api::kustomization::KustomizationSpec;
use overlayd_core::apply::health::{Health, Report, report};
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::plan::{ApplyPlan, Observed, PlanOptions, plan};
use overlayd_core::apply::plan_options::PlanFlags;

use crate::cli::args::ApplyArgs;
use crate::cli::report::Failure;
use crate::cli::{build, cluster, output, timeout};
use crate::cluster::apply::{Applier, ApplyOptions, BOOTSTRAP_MANAGER};
use crate::controllers::kustomization::desired;

/// The time between two looks at an object that is not healthy yet.
const AGAIN: Duration = Duration::from_millis(250);

/// Builds, plans and applies, and waits for health if that is wanted.
///
/// # Errors
/// The build or the plan fails, the API server refuses an object, or an object does not become healthy in time.
pub(super) async fn apply(args: ApplyArgs) -> Result<(), Failure> {
    let timeout = timeout(&args.timeout)?;
    let options = BuildOptions {
        reorder: Reorder::None,
        ..BuildOptions::default()
    };
    let directory = args.directory.clone();
    let rendered = build::apart(move || build::render(&directory, &options)).await?;
    let client = cluster::connect(&args.cluster).await?;
    let (spec, flags) = (KustomizationSpec::default(), PlanFlags::default());
    let options = PlanOptions::by_hand(&spec, &flags);
    let applier = Applier::new(client, BOOTSTRAP_MANAGER);
    let mut desired = desired(&rendered);
    output::notes(&applier.place(&mut desired, &[]).await.renewed);
    let plan = plan(desired, &Observed::default(), &options)
        .map_err(|error| cannot_apply(&args.directory, error.to_string()))?;
    let applied = execute(&plan, &applier, timeout, &args.directory).await?;
    if args.wait {
        wait(&applier, &plan, &applied, timeout).await?;
    }
    Ok(())
}

/// The failure of an apply, with its reason.
fn cannot_apply(directory: &str, reason: String) -> Failure {
    Failure::new(format!("cannot apply `{directory}`")).because(reason, None)
}

/// Applies the waves of a plan; the objects of a wave are healthy before the next one begins.
async fn execute(
    plan: &ApplyPlan,
    applier: &Applier,
    timeout: Duration,
    directory: &str,
) -> Result<Vec<ObjectRef>, Failure> {
    let mut applied = Vec::new();
    for (number, wave) in plan.waves.iter().enumerate() {
        if number > 0 {
            wait(applier, plan, &applied, timeout).await?;
        }
        let (changes, result) = applier.apply(wave, &ApplyOptions::of(plan)).await;
        for (object, change) in &changes.0 {
            output::write(&format!("{object} {change}\n"))?;
        }
        result.map_err(|error| cannot_apply(directory, error.to_string()))?;
        applied.extend(changes.0.into_iter().map(|(object, _)| object));
    }
    Ok(applied)
}

/// Waits until all objects are healthy, by the rules of the daemon.
async fn wait(
    applier: &Applier,
    plan: &ApplyPlan,
    objects: &[ObjectRef],
    timeout: Duration,
) -> Result<(), Failure> {
    let wait = Wait {
        applier,
        expiring: plan.expiring(),
        deadline: Instant::now() + timeout,
        timeout,
    };
    for object in objects {
        wait.wait_for(object).await?;
    }
    output::note("everything is ready");
    Ok(())
}

/// A wait for the objects of a plan.
struct Wait<'w> {
    applier: &'w Applier,
    /// Ids of Jobs that are removed when they have done their work.
    expiring: BTreeSet<String>,
    deadline: Instant,
    timeout: Duration,
}

impl Wait<'_> {
    /// Waits for one object, and says so once if it is not healthy at the first look.
    async fn wait_for(&self, object: &ObjectRef) -> Result<(), Failure> {
        let mut is_announced = false;
        loop {
            let report = self.report(object).await;
            let failure = match verdict(&report, Instant::now() >= self.deadline) {
                Verdict::Healthy => return Ok(()),
                Verdict::Waits => None,
                Verdict::Failed => Some(format!("{object} failed")),
                Verdict::TimedOut => {
                    let seconds = self.timeout.as_secs();
                    Some(format!("{object} did not become ready within {seconds} s"))
                }
            };
            if let Some(failure) = failure {
                return Err(Failure::new(failure).because(report.reason, None));
            }
            if !is_announced {
                output::note(&format!("waiting for {object}"));
                is_announced = true;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The health of an object. An object that cannot be read is in progress, since the next look may succeed.
    async fn report(&self, object: &ObjectRef) -> Report {
        match self.applier.get(object).await {
            Ok(None) if self.expiring.contains(&object.id()) => report(Health::Current, ""),
            Ok(live) => self.applier.health(object, live.as_ref()).await,
            Err(error) => report(Health::InProgress, error.to_string()),
        }
    }
}

/// What the health of an object means for the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The wait is over.
    Healthy,
    /// Another look may find it healthy.
    Waits,
    /// It does not become healthy without a change.
    Failed,
    /// The deadline has passed.
    TimedOut,
}

/// What a report means, before the deadline or after it.
fn verdict(report: &Report, is_late: bool) -> Verdict {
    match report.health {
        Health::Current => Verdict::Healthy,
        Health::Failed => Verdict::Failed,
        Health::InProgress | Health::Terminating | Health::NotFound if is_late => Verdict::TimedOut,
        Health::InProgress | Health::Terminating | Health::NotFound => Verdict::Waits,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use overlayd_core::apply::health::health;
    use serde_json::{Value, json};

    use super::*;

    fn check(object: &Value, expected: (Verdict, Verdict)) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let report = health(Some(object), now);
        let verdicts = (verdict(&report, false), verdict(&report, true));
        assert_eq!(verdicts, expected, "{}", report.reason);
    }

    /// A `StatefulSet` and a `Job` were not waited for at all, when each command had rules of its own.
    #[test]
    fn every_kind_is_waited_for_that_can_be_unhealthy() {
        let waits = (Verdict::Waits, Verdict::TimedOut);
        let set = |ready: i64| {
            json!({
                "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"generation": 1}, "spec": {"replicas": 1},
                "status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": ready, "currentReplicas": 1, "updatedReplicas": 1},
            })
        };
        check(&set(0), waits);
        check(&set(1), (Verdict::Healthy, Verdict::Healthy));
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}});
        check(&map, (Verdict::Healthy, Verdict::Healthy));
        let secret = json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {}});
        check(&secret, waits);
    }

    #[test]
    fn an_object_that_failed_ends_the_wait() {
        let stalled = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": {},
            "status": {"conditions": [{"type": "Stalled", "status": "True", "reason": "AccessDenied", "message": "no"}]},
        });
        check(&stalled, (Verdict::Failed, Verdict::Failed));
    }
}

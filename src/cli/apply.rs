//! `overlayd apply`: builds a directory of the disk and applies it once, by the same plan and stages as the daemon.

use std::time::Duration;

use kustomize::{BuildOptions, Reorder};
use serde_json::Value;

use crate::cli::args::ApplyArgs;
use crate::cli::report::Failure;
use crate::cli::{build, cluster, output, timeout};
use crate::cluster::apply::How;
use crate::cluster::apply::{Applier, BOOTSTRAP_MANAGER};
use crate::controllers::kustomization::desired;
use overlayd_core::api::kustomization::KustomizationSpec;
use overlayd_core::apply::change_set::ChangeSet;
use overlayd_core::apply::health;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::plan::{Guard, OnError, Protected, Terms, plan};

pub(super) async fn apply(args: ApplyArgs) -> Result<(), Failure> {
    let what = || format!("cannot apply `{}`", args.directory);
    let timeout = timeout(&args.timeout)?;
    let options = BuildOptions {
        reorder: Reorder::None,
        ..BuildOptions::default()
    };
    let directory = args.directory.clone();
    let rendered = build::apart(move || build::render(&directory, &options)).await?;
    let client = cluster::connect(&args.cluster).await?;
    // Applied by hand, objects carry no owner; a Kustomization that renders them later takes them over.
    let spec = KustomizationSpec::default();
    let terms = Terms {
        spec: &spec,
        owner: None,
        protected: Protected::default(),
        guard: Guard::default(),
        on_error: OnError::Stop,
        stage_kinds: &[],
    };
    let plan = plan(desired(&rendered), &[], &terms)
        .map_err(|error| Failure::new(what()).because(error.to_string(), None))?;
    let applier = Applier::new(client, BOOTSTRAP_MANAGER);
    let mut changes = ChangeSet::default();
    for (number, wave) in plan.waves.iter().enumerate() {
        if number > 0 {
            // What the earlier waves hold must be ready first.
            let objects: Vec<ObjectRef> =
                changes.0.iter().map(|(object, _)| object.clone()).collect();
            wait(&applier, &objects, timeout).await?;
        }
        let (applied, result) = applier.apply(wave, &How::of(&plan)).await;
        for (object, change) in &applied.0 {
            output::write(&format!("{object} {change}\n"))?;
        }
        result.map_err(|error| Failure::new(what()).because(error.to_string(), None))?;
        changes.0.extend(applied.0);
    }
    if args.wait {
        let objects: Vec<ObjectRef> = changes.0.into_iter().map(|(object, _)| object).collect();
        wait(&applier, &objects, timeout).await?;
    }
    Ok(())
}

/// Waits until everything that can say so is ready.
async fn wait(applier: &Applier, objects: &[ObjectRef], timeout: Duration) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + timeout;
    for object in objects.iter().filter(|object| condition(object).is_some()) {
        output::note(&format!("waiting for {object}"));
        loop {
            let live = applier.get(object).await;
            let state = live.as_ref().map_or_else(
                |reason| Err(reason.clone()),
                |live| readiness(object, live.as_ref()),
            );
            let Err(reason) = state else { break };
            if tokio::time::Instant::now() >= deadline {
                let failure = Failure::new(format!(
                    "{object} did not become ready within {} s",
                    timeout.as_secs()
                ));
                return Err(failure.because(reason, None));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    output::note("everything is ready");
    Ok(())
}

/// The condition that says that an object of the kind is ready.
fn condition(object: &ObjectRef) -> Option<&'static str> {
    match (object.group.as_str(), object.kind.as_str()) {
        ("apps", "Deployment") => Some("Available"),
        ("external-secrets.io" | "source.toolkit.fluxcd.io" | "kustomize.toolkit.fluxcd.io", _) => {
            Some("Ready")
        }
        _ => None,
    }
}

fn readiness(object: &ObjectRef, live: Option<&Value>) -> Result<(), String> {
    let Some(live) = live else {
        return Err("it does not exist".to_owned());
    };
    match condition(object).and_then(|name| health::condition(live, name)) {
        Some(found) if found["status"] == "True" => Ok(()),
        Some(found) => {
            let text = |name: &str| found[name].as_str().unwrap_or_default();
            Err(format!("{}: {}", text("reason"), text("message")))
        }
        None => Err("it has no status yet; is its controller running?".to_owned()),
    }
}

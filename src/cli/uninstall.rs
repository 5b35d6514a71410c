//! `overlayd uninstall`: takes overlayd out of a cluster, and leaves everything that git describes.

use overlayd_core::uninstall::{Afterwards, UninstallStep, steps};

use crate::cli::args::UninstallArgs;
use crate::cli::report::Failure;
use crate::cli::{cluster, output};
use crate::cluster::uninstall::Uninstaller;

pub(super) async fn uninstall(args: UninstallArgs) -> Result<(), Failure> {
    let client = cluster::connect(&args.cluster).await?;
    let uninstaller = Uninstaller::new(client, &args.namespace);
    let there = uninstaller.observe().await.map_err(|error| {
        Failure::new("cannot read what there is of overlayd").because(error.to_string(), None)
    })?;
    let afterwards = if args.hand_over {
        Afterwards::Peers
    } else {
        Afterwards::Nobody
    };
    let steps = steps(&there, afterwards);
    output::write(&text(&steps))?;
    if args.dry_run {
        return Ok(());
    }
    let mut failed = Vec::new();
    for step in &steps {
        if let Err(error) = uninstaller.take(step).await {
            if matches!(step, UninstallStep::AwaitStop(_)) {
                return Err(Failure::new(format!("cannot {step}")).because(
                    error.to_string(),
                    Some("end the pods and repeat the command; a running daemon would undo the next steps"),
                ));
            }
            failed.push(format!("cannot {step}: {error}"));
        }
    }
    if failed.is_empty() {
        output::note(&format!("{} done", steps.len()));
        return Ok(());
    }
    Err(Failure::new("some steps failed").because(
        failed.join("\n"),
        Some("repeat the command; what was done is not done again"),
    ))
}

fn text(steps: &[UninstallStep]) -> String {
    let lines = steps.iter().map(|step| format!("{step}\n"));
    let kept = "keep every definition, custom resource, namespace, workload and Secret\n";
    lines.chain([kept.to_owned()]).collect()
}

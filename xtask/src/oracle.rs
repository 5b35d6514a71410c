//! `cargo xtask oracle`: asks the real kustomize, compares, and keeps its answers as golden files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use testbed::{Tools, say};

/// What to do with the answers.
#[derive(Debug, clap::Args)]
pub(crate) struct OracleArgs {
    /// Write the answers into the golden cases.
    #[arg(long)]
    record: bool,
}

pub(crate) fn oracle(args: &OracleArgs) -> Result<()> {
    let kustomize = Tools::open()?.kustomize()?;
    let overlayd = crate::build_overlayd()?;
    let root = crate::root();
    let mut different = 0;
    for overlay in [
        ".",
        "base",
        "overlays/eks",
        "overlays/demo",
        "overlays/platform",
    ] {
        let (theirs, ours) = (
            build(&kustomize, &root.join(overlay))?,
            build(&overlayd, &root.join(overlay))?,
        );
        different += usize::from(!compare(overlay, theirs.as_ref(), ours.as_ref()));
    }
    for case in cases(&root.join("crates/kustomize/tests/cases"))? {
        let theirs = build(&kustomize, &case.join("in"))?;
        if args.record {
            record(&case, theirs.as_deref())?;
        }
        let ours = build(&overlayd, &case.join("in"))?;
        different += usize::from(!compare(
            &case.display().to_string(),
            theirs.as_ref(),
            ours.as_ref(),
        ));
    }
    ensure!(different == 0, "{different} builds differ from kustomize");
    say("✓ every build equals that of kustomize");
    Ok(())
}

/// The output of a build, or nothing if it fails.
fn build(program: &Path, directory: &Path) -> Result<Option<String>> {
    let output = Command::new(program).arg("build").arg(directory).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    Ok(output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn compare(name: &str, theirs: Option<&String>, ours: Option<&String>) -> bool {
    let same = theirs == ours;
    say(&format!(
        "{} {name}",
        if same { "same     " } else { "DIFFERENT" }
    ));
    same
}

/// The folders `<feature>/<case>`.
fn cases(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut cases = Vec::new();
    for feature in std::fs::read_dir(directory)? {
        for case in std::fs::read_dir(feature?.path())? {
            cases.push(case?.path());
        }
    }
    cases.sort();
    Ok(cases)
}

fn record(case: &Path, answer: Option<&str>) -> Result<()> {
    let (output, error) = (case.join("expected.yaml"), case.join("expected_error.txt"));
    match answer {
        Some(text) => {
            if error.exists() {
                std::fs::remove_file(&error)?;
            }
            std::fs::write(output, text)?;
        }
        None => {
            if output.exists() {
                std::fs::remove_file(&output)?;
            }
            // Only the failure counts: our messages are our own.
            std::fs::write(error, "")?;
        }
    }
    Ok(())
}

//! `cargo xtask oracle`: asks the peer, compares, and keeps its answers as golden files.
//!
//! Without options it asks again and fails if an answer is another than the recorded one: the peer has changed, or
//! the record is wrong. `--record` writes the answers, and the diff of git shows what is new. `--generated` compares
//! random input, for which no answer is kept; a seed names its input, so that a difference can be reproduced.
//!
//! Tests never run the peers. They compare with the recorded answers, so that they need no network and no Go.

mod go;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use testbed::{Tools, say};

/// Arguments of `oracle`.
#[derive(Debug, clap::Args)]
pub(crate) struct OracleArgs {
    /// What to ask about.
    #[arg(value_enum, default_value = "builds")]
    subject: Subject,
    /// Write the answers into the golden cases.
    #[arg(long)]
    record: bool,
    /// Compare this many generated trees or values instead.
    #[arg(long, value_name = "N", default_value_t = 0)]
    generated: u64,
    /// The seed of the first tree or value; the following ones have the next numbers.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Where trees that differ are kept.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// A peer that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// kustomize: our own overlays and the golden cases, or generated trees.
    Builds,
    /// Go's text/template with sprig: the corpus of templates.
    Templates,
    /// The Go package gjson: the corpus of paths.
    Paths,
    /// Go's YAML printer: generated values.
    Values,
}

/// Asks the chosen peer.
pub(crate) fn oracle(args: &OracleArgs) -> Result<()> {
    match args.subject {
        Subject::Builds => builds(args),
        Subject::Templates => go::templates(args.record),
        Subject::Paths => go::paths(args.record),
        Subject::Values => go::values(args),
    }
}

/// Compares our own overlays and all golden cases with kustomize. A case that kustomize refuses must be refused by
/// us; the words differ on purpose.
fn builds(args: &OracleArgs) -> Result<()> {
    let kustomize = Tools::open()?.kustomize()?;
    let overlayd = crate::overlayd()?;
    if args.generated > 0 {
        return generated(args, &kustomize, &overlayd);
    }
    let root = crate::root();
    let mut different = 0;
    for overlay in [
        ".",
        "base",
        "overlays/eks",
        "overlays/demo",
        "overlays/platform",
        "overlays/lockdown",
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

/// Compares random trees. A seed names its tree, so a difference can be reproduced.
fn generated(args: &OracleArgs, kustomize: &Path, overlayd: &Path) -> Result<()> {
    let (mut different, mut failing, mut answers) = (0, 0, String::new());
    for seed in args.seed..args.seed + args.generated {
        let directory = tempfile::tempdir()?;
        let root = directory.path().join(write_tree(seed, directory.path())?);
        let theirs = build(kustomize, &root)?;
        failing += usize::from(theirs.is_none());
        let ours = build(overlayd, &root)?;
        let same = theirs == ours;
        answers.push_str(&answer(seed, theirs.as_deref(), same));
        if same {
            continue;
        }
        different += 1;
        say(&format!("DIFFERENT seed {seed}"));
        if let Some(keep) = &args.keep {
            let kept = keep.join(seed.to_string());
            write_tree(seed, &kept)?;
            std::fs::write(kept.join("theirs"), theirs.unwrap_or_default())?;
            std::fs::write(kept.join("ours"), ours.unwrap_or_default())?;
        }
    }
    say(&format!(
        "{} generated trees, {failing} of which kustomize refuses",
        args.generated
    ));
    if args.record {
        let path = crate::root().join("crates/kustomize/tests/generated.txt");
        return Ok(std::fs::write(path, answers)?);
    }
    ensure!(
        different == 0,
        "{different} of {} generated builds differ from kustomize",
        args.generated
    );
    say("✓ every build equals that of kustomize");
    Ok(())
}

/// One line of the file of answers: the seed, the hash of the output (`-` where the build fails), and a mark where
/// our output is known to differ.
fn answer(seed: u64, output: Option<&str>, same: bool) -> String {
    let hash = output.map_or_else(|| "-".to_owned(), short_hash);
    let mark = if same { "" } else { " differs" };
    format!("{seed} {hash}{mark}\n")
}

/// The short form of a text in a file of answers.
fn short_hash(text: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(text.as_bytes());
    let bytes = digest.iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the tree of a seed, and gives the folder in it that is to be built.
fn write_tree(seed: u64, directory: &Path) -> Result<String> {
    let (root, files) = crate::generator::tree(seed);
    for (name, text) in files {
        let path = directory.join(name);
        path.parent().map(std::fs::create_dir_all).transpose()?;
        std::fs::write(path, text)?;
    }
    Ok(root)
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

/// Says whether two outputs are the same, byte by byte; two failures are the same.
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

/// Keeps the output of kustomize as the expectation of a case, or that it fails.
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
            // Only the failure is compared: our messages differ on purpose.
            std::fs::write(error, "")?;
        }
    }
    Ok(())
}

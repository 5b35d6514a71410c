//! Golden cases: `cases/<feature>/<case>/in/**` builds to `expected.yaml`, or fails where `expected_error.txt` stands.
//! The answers are the real kustomize's, kept by `cargo xtask oracle --record`.
//!
//! Where kustomize fails, `ours_error.txt` holds our own words: message, place and hint of each error, compared
//! exactly. `RECORD_ERRORS=1 cargo test -p kustomize --test golden` writes them anew; read them before they are kept.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: what fails here fails the test"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kustomize::{BuildErrors, BuildOptions, FileTree, Rendered, RepoPath, build};

/// As many cases as there are; more may come, none may be lost.
const CASES: usize = 210;
/// As many of them as fail.
const ERROR_CASES: usize = 88;

fn folders(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    folders(&root)
        .iter()
        .flat_map(|feature| folders(feature))
        .collect()
}

fn read(directory: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for path in folders(directory) {
        let name = format!("{prefix}{}", path.file_name().unwrap().to_string_lossy());
        if path.is_dir() {
            read(&path, &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

fn build_case(case: &Path) -> Result<Rendered, BuildErrors> {
    let mut files = BTreeMap::new();
    read(&case.join("in"), "", &mut files);
    let tree = FileTree::of(files);
    build(&tree, &RepoPath::root(), &BuildOptions::default())
}

/// What a person reads: message, place and hint of each error.
fn words(errors: &BuildErrors) -> String {
    let mut text = String::new();
    for error in &errors.0 {
        writeln!(text, "cause: {}", error.problem).unwrap();
        let place = error.place.as_ref().map(ToString::to_string);
        let place: Vec<String> = [place, error.field.clone()].into_iter().flatten().collect();
        if !place.is_empty() {
            writeln!(text, "where: {}", place.join(", ")).unwrap();
        }
        if let Some(hint) = &error.hint {
            writeln!(text, "hint: {hint}").unwrap();
        }
    }
    text
}

/// Says what is wrong with the outcome of a case that must fail with these words.
fn compare_error(
    recorded: Option<&str>,
    outcome: &Result<Rendered, BuildErrors>,
) -> Option<String> {
    match (recorded, outcome) {
        (_, Ok(_)) => Some("built, though kustomize fails".to_owned()),
        (None, Err(errors)) => Some(format!(
            "has no `ours_error.txt`; it says\n{}",
            words(errors)
        )),
        (Some(recorded), Err(errors)) if words(errors) == recorded => None,
        (Some(recorded), Err(errors)) => {
            Some(format!("said\n{}instead of\n{recorded}", words(errors)))
        }
    }
}

/// Says what is wrong with the outcome of a case that must build to this text.
fn compare_output(expected: &str, outcome: &Result<Rendered, BuildErrors>) -> Option<String> {
    match outcome {
        Ok(rendered) if rendered.to_yaml() == expected => None,
        Ok(rendered) => Some(format!(
            "printed\n{}\ninstead of\n{expected}",
            rendered.to_yaml()
        )),
        Err(errors) => Some(format!("failed:\n{}", words(errors))),
    }
}

fn check(case: &Path) -> Option<String> {
    let outcome = build_case(case);
    if let Ok(expected) = std::fs::read_to_string(case.join("expected.yaml")) {
        return compare_output(&expected, &outcome);
    }
    if !case.join("expected_error.txt").exists() {
        return Some("has no recorded answer".to_owned());
    }
    let ours = case.join("ours_error.txt");
    if let (Err(errors), Ok(_)) = (&outcome, std::env::var("RECORD_ERRORS")) {
        std::fs::write(&ours, words(errors)).unwrap();
    }
    compare_error(std::fs::read_to_string(&ours).ok().as_deref(), &outcome)
}

#[test]
fn every_case_builds_or_fails_as_recorded() {
    let cases = cases();
    let failing = cases
        .iter()
        .filter(|case| case.join("expected_error.txt").exists());
    assert_eq!((cases.len(), failing.count()), (CASES, ERROR_CASES));
    let wrong = cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case.display(), check(case)?)));
    let wrong: Vec<String> = wrong.collect();
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

/// A message, a place or a hint that changes is noticed in every case that fails.
#[test]
fn other_words_are_noticed() {
    for case in cases() {
        let Ok(recorded) = std::fs::read_to_string(case.join("ours_error.txt")) else {
            continue;
        };
        let outcome = build_case(&case);
        assert_eq!(compare_error(Some(&recorded), &outcome), None);
        for (from, to) in [
            ("cause: ", "cause: not "),
            (":1", ":2"),
            ("hint: ", "hint: no "),
        ] {
            let other = recorded.replacen(from, to, 1);
            if other != recorded {
                let noticed = compare_error(Some(&other), &outcome);
                assert!(noticed.is_some(), "{}: {from:?}", case.display());
            }
        }
        assert!(compare_error(None, &outcome).is_some());
        assert!(compare_output("", &outcome).is_some());
    }
}

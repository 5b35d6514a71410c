//! Golden cases: `cases/<feature>/<case>/in/**` builds to `expected.yaml`, or fails where `expected_error.txt` stands.
//! The answers are the real kustomize's, kept by `cargo xtask oracle --record`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: what fails here fails the test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kustomize::{BuildOptions, FileTree, RepoPath, build};

fn folders(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
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

#[test]
fn every_case_builds_as_kustomize_builds_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let cases: Vec<PathBuf> = folders(&root)
        .iter()
        .flat_map(|feature| folders(feature))
        .collect();
    assert!(cases.len() >= 20, "only {} cases were found", cases.len());
    let mut failed = Vec::new();
    for case in &cases {
        let mut files = BTreeMap::new();
        read(&case.join("in"), "", &mut files);
        let result = build(
            &FileTree::of(files),
            &RepoPath::root(),
            &BuildOptions::default(),
        );
        let expected = std::fs::read_to_string(case.join("expected.yaml"));
        let wrong = match (expected, result) {
            (Ok(expected), Ok(rendered)) if rendered.to_yaml() == expected => continue,
            (Ok(expected), Ok(rendered)) => {
                format!("printed\n{}\ninstead of\n{expected}", rendered.to_yaml())
            }
            (Ok(_), Err(errors)) => format!("failed: {errors}"),
            (Err(_), Err(_)) if case.join("expected_error.txt").exists() => continue,
            (Err(_), Err(_)) => "has no recorded answer".to_owned(),
            (Err(_), Ok(_)) => "built, though kustomize fails".to_owned(),
        };
        failed.push(format!("{}: {wrong}", case.display()));
    }
    assert!(
        failed.is_empty(),
        "{} of {} cases:\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
}

//! Any tree of files is built or refused within small limits.
#![no_main]

use kustomize::{BuildOptions, FileTree, Limits, RepoPath, build};
use libfuzzer_sys::fuzz_target;

/// What the files of a tree are called, so that they name each other now and then.
const NAMES: [&str; 8] = [
    "kustomization.yaml",
    "a.yaml",
    "b.yaml",
    "base/kustomization.yaml",
    "base/a.yaml",
    "c/kustomization.yaml",
    "patch.yaml",
    "replacement.yaml",
];

fuzz_target!(|files: Vec<(u8, String)>| {
    let options = BuildOptions {
        limits: Limits {
            objects: 1000,
            kustomizations: 100,
            total_bytes: 1 << 20,
            ..Limits::default()
        },
        ..BuildOptions::default()
    };
    let files = files
        .into_iter()
        .map(|(name, text)| (NAMES[usize::from(name) % NAMES.len()], text));
    if let Ok(rendered) = build(&FileTree::of(files), &RepoPath::root(), &options) {
        let _ = rendered.to_yaml();
    }
});

//! Talks to the machine: compiles parts of the repository that a build of the whole workspace cannot judge.

use anyhow::{Context as _, Result, ensure};
use tools::say;

use crate::command::{cargo, root, run};

/// The crates that touch the world. Every other crate in `crates/` is pure.
const IMPURE: [&str; 3] = ["devtools", "testbed", "tools"];

/// Compiles each pure crate without the rest. In a workspace build a crate may use a feature of a dependency that only
/// another crate asks for.
pub(crate) fn pure_crates_alone() -> Result<()> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("crates"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !IMPURE.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "there is no pure crate in crates/");
    for name in names {
        say(&format!("… crates/{name} alone"));
        let manifest = format!("crates/{name}/Cargo.toml");
        run(&mut cargo(&["check", "--manifest-path", &manifest]))?;
    }
    Ok(())
}

/// Compiles the fuzz targets with the stable compiler and without libFuzzer, which only a real run links.
///
/// `fuzz/` is a workspace of its own. It gets a copy of our lock file, so that it is compiled from the versions that
/// the daemon has; cargo adds the few crates that only fuzzing needs.
pub(crate) fn fuzz_targets() -> Result<()> {
    let (ours, theirs) = (root().join("Cargo.lock"), root().join("fuzz/Cargo.lock"));
    std::fs::copy(ours, theirs).context("cannot copy Cargo.lock into fuzz/")?;
    let manifest = ["--manifest-path", "fuzz/Cargo.toml"];
    let mut clippy = cargo(&["clippy"]);
    clippy.args(manifest).args(["--", "--deny", "warnings"]);
    // With this path set, libfuzzer-sys compiles no C++; a check links nothing.
    clippy.env("CUSTOM_LIBFUZZER_PATH", "not-linked/libfuzzer.a");
    run(&mut clippy)?;
    let mut format = cargo(&["fmt", "--check"]);
    run(format.args(manifest))
}

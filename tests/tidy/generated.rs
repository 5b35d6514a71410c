//! What is in git and comes out of the program is what the program gives.

use std::path::Path;

use crate::source::root;

#[test]
fn the_definitions_in_base_are_those_that_are_installed() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_overlayd"))
        .arg("crds")
        .output()
        .expect("it runs");
    let kept = std::fs::read_to_string(root().join("base/crds.yaml")).expect("base/crds.yaml");
    assert!(
        String::from_utf8_lossy(&output.stdout) == kept,
        "base/crds.yaml is old; run `cargo xtask crds`"
    );
}

#[test]
fn our_own_overlays_build_as_kustomize_builds_them() {
    let kustomize = testbed::Tools::open()
        .and_then(|tools| tools.kustomize())
        .expect("kustomize can be installed");
    for overlay in [
        ".",
        "base",
        "overlays/eks",
        "overlays/demo",
        "overlays/platform",
        "overlays/store-accounts",
        "overlays/lockdown",
    ] {
        let build = |program: &Path| {
            let output = std::process::Command::new(program)
                .current_dir(root())
                .args(["build", overlay])
                .output()
                .expect("it runs");
            assert!(
                output.status.success(),
                "{overlay}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(
            build(&kustomize) == build(Path::new(env!("CARGO_BIN_EXE_overlayd"))),
            "{overlay} builds differently"
        );
    }
}

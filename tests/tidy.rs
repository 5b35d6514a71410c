//! The rules of this code base that a machine can read.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the product and its tools, by path.
fn sources() -> Vec<(String, String)> {
    fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory)
            .expect("a folder of ours")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir()
                && entry.file_name() != "target"
                && !entry.file_name().to_string_lossy().starts_with('.')
            {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    for folder in ["src", "crates", "xtask", "tests"] {
        walk(&root().join(folder), &mut files);
    }
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a source file is text");
        (
            path.strip_prefix(root())
                .expect("below the root")
                .display()
                .to_string(),
            text,
        )
    };
    files.into_iter().map(read).collect()
}

/// A file without its tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers collect what they found right here"
)]
fn check(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let broken = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "));
    check(
        "a file begins with `//!`",
        broken.map(|(path, _)| path).collect(),
    );
}

#[test]
fn pure_files_are_pure() {
    let forbidden = [
        "async fn",
        "async move",
        ".await",
        "tokio",
        "std::fs",
        "std::env",
        "std::process",
        "std::net::Tcp",
        "std::net::Udp",
        "kube::Api",
        "kube::Client",
        "kube::api",
        "aws_sdk",
        "git2",
        "now()",
    ];
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let pure = text.starts_with("//! Pure")
            || path.starts_with("crates/goyaml/src")
            || path.starts_with("crates/kustomize/src");
        if !pure || path.starts_with("tests") {
            continue;
        }
        for (number, line) in product(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in forbidden.iter().filter(|word| code.contains(**word)) {
                broken.push(format!("{path}:{}: `{word}`", number + 1));
            }
        }
    }
    check("a file headed Pure touches nothing", broken);
}

#[test]
fn engines_depend_on_nothing_that_touches_the_world() {
    let mut broken = Vec::new();
    for engine in ["goyaml", "kustomize", "gotemplate", "gjson", "gocompat"] {
        let manifest =
            std::fs::read_to_string(root().join("crates").join(engine).join("Cargo.toml"))
                .expect("an engine");
        for name in [
            "tokio",
            "kube",
            "aws-sdk",
            "aws-config",
            "git2",
            "reqwest",
            "hyper",
        ] {
            if manifest.contains(name) {
                broken.push(format!("crates/{engine}: {name}"));
            }
        }
    }
    check("engines are pure", broken);
}

#[test]
fn secret_values_are_opened_in_few_places() {
    let allowed = [
        "src/secrets/",
        "src/git/source.rs",
        "src/git/ssh.rs",
        "src/git/transport.rs",
    ];
    let opens = sources().into_iter().filter(|(path, text)| {
        path.starts_with("src/")
            && product(text).contains(".expose()")
            && !allowed.iter().any(|place| path.starts_with(place))
    });
    check(
        "only these open a SecretValue",
        opens.map(|(path, _)| path).collect(),
    );
}

#[test]
fn unsafe_code_is_the_one_registration() {
    let word = ["unsafe", " {"].concat();
    let uses = sources()
        .into_iter()
        .filter(|(path, text)| path != "src/git/transport.rs" && text.contains(&word));
    check(
        "`unsafe` stands in src/git/transport.rs alone",
        uses.map(|(path, _)| path).collect(),
    );
}

#[test]
fn no_test_is_ignored_and_no_machine_is_named() {
    let ignore = ["#[", "ignore"].concat();
    let home = ["/ro", "ot/"].concat();
    let mut broken = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if line.contains(&ignore) || line.contains(&home) {
                broken.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    check("no ignored test and no path of a machine", broken);
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let long = sources()
        .into_iter()
        .filter(|(_, text)| product(text).lines().count() > 700);
    check(
        "files of code stay below 700 lines",
        long.map(|(path, text)| format!("{path}: {}", text.lines().count()))
            .collect(),
    );
}

#[test]
fn test_files_are_listed_in_their_main() {
    let mut broken = Vec::new();
    for folder in ["tests/cli", "tests/cluster"] {
        let main = std::fs::read_to_string(root().join(folder).join("main.rs")).expect("a main.rs");
        for entry in std::fs::read_dir(root().join(folder))
            .expect("a folder")
            .flatten()
        {
            let name = entry
                .file_name()
                .to_string_lossy()
                .trim_end_matches(".rs")
                .to_owned();
            if name != "main" && !main.contains(&format!("mod {name};")) {
                broken.push(format!("{folder}/{name}.rs"));
            }
        }
    }
    check("a test file that is not listed does not run", broken);
}

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

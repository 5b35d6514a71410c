//! Every rule finds the fault that is planted for it, and nothing where there is none.

use super::*;

/// A rule finds this many faults in one planted file.
#[track_caller]
fn check(rule: impl Fn(&[Source]) -> Broken, path: &str, text: &str, expected: &[&str]) {
    assert_eq!(rule(&Source::planted(path, text)), expected, "{text}");
}

const EARLY_TESTS: &str = "//! Pure: a.\n#[cfg(test)]\nmod tests;\n";

#[test]
fn a_fault_after_early_tests_is_found() {
    let text = format!(
        "{EARLY_TESTS}fn a() {{\n    tokio::spawn(b());\n}}\nfn c() {{ d.await }}\nfn e() {{ value.expose() }}\n"
    );
    check(
        purity,
        "src/controllers/a.rs",
        &text,
        &[
            "src/controllers/a.rs:7: `.await`",
            "src/controllers/a.rs:5: `tokio::spawn`",
        ],
    );
    check(
        secrets,
        "src/controllers/a.rs",
        &text,
        &["src/controllers/a.rs:8"],
    );
    let long = format!("{EARLY_TESTS}fn a() {{\n{}}}\n", "b();\n".repeat(601));
    let files = |sources: &[Source]| long_files(sources, &[]);
    check(files, "src/a.rs", &long, &["a.rs: 603 lines of code"]);
    let functions = |sources: &[Source]| long_functions(sources, &[]);
    check(functions, "src/a.rs", &long, &["a.rs::a: 603 lines"]);
}

#[test]
fn what_a_pure_file_may_not_name() {
    for (code, word) in [
        ("async fn a() {}", "async fn"),
        ("fn a() { async move { b } }", "async move"),
        ("fn a() { Timestamp::now() }", "now()"),
        ("use std::{fs, fmt};", "std::fs"),
        ("use kube::{Api, ResourceExt};", "kube::Api"),
        ("use kube::runtime::watcher;", "kube::runtime::watcher"),
        ("fn a() { std::env::var(b) }", "std::env::var"),
        ("use aws_sdk_sqs as sqs;", "aws_sdk_sqs"),
        ("use git2::Oid;", "git2::Oid"),
    ] {
        let place = format!("src/a.rs:2: `{word}`");
        check(
            purity,
            "src/a.rs",
            &format!("//! Pure: a.\n{code}\n"),
            &[&place],
        );
        check(purity, "src/a.rs", &format!("//! Talks: a.\n{code}\n"), &[]);
        let place = format!("crates/core/src/a.rs:2: `{word}`");
        check(
            purity,
            "crates/core/src/a.rs",
            &format!("//! A.\n{code}\n"),
            &[&place],
        );
        check(
            purity,
            "crates/core/tests/a.rs",
            &format!("//! A.\n{code}\n"),
            &[],
        );
        let in_tests = format!("//! Pure: a.\n#[cfg(test)]\nmod tests {{ {code} }}\n");
        check(purity, "src/a.rs", &in_tests, &[]);
    }
    let spoken = "//! Pure: a.\n// tokio::spawn\nfn a() -> &str { \".await\" }\n";
    check(purity, "src/a.rs", spoken, &[]);
}

/// What is found in the manifest of a crate, next to that of the workspace.
fn in_manifest(name: &str, text: &str, kube: &str) -> Broken {
    manifests(&[
        (
            "Cargo.toml".to_owned(),
            format!("[workspace.dependencies]\nkube = {kube}\n\n[dependencies]\ntokio = \"1\"\n"),
        ),
        (format!("crates/{name}/Cargo.toml"), text.to_owned()),
    ])
}

const DERIVE: &str = "{ version = \"5\", default-features = false, features = [\"derive\"] }";
const CLIENT: &str =
    "{ version = \"5\", default-features = false, features = [\"derive\", \"client\"] }";

#[test]
fn what_a_pure_crate_may_not_depend_on() {
    for name in PURE_CRATES {
        for (line, kube) in [
            ("tokio.workspace = true", DERIVE),
            ("kube.workspace = true", CLIENT),
            (
                "kube = { workspace = true, features = [\"runtime\"] }",
                DERIVE,
            ),
            ("kube.workspace = true", "\"5\""),
            ("kube = \"5\"", DERIVE),
            (&format!("kube = {CLIENT}"), DERIVE),
            ("aws-sdk-sqs = \"1\"", DERIVE),
            ("git2 = { workspace = true }", DERIVE),
            ("hyper-util = \"0.1\"", DERIVE),
            ("[dependencies.tokio]", DERIVE),
            ("[target.'cfg(unix)'.dependencies]\ntokio = \"1\"", DERIVE),
        ] {
            let text =
                format!("[package]\nname = \"a\"\n\n[dependencies]\nserde = \"1\"\n{line}\n");
            let last = line.lines().last().unwrap();
            let expected = format!("crates/{name}/Cargo.toml: {last}");
            assert_eq!(in_manifest(name, &text, kube), [expected]);
            assert!(in_manifest("testbed", &text, kube).is_empty());
        }
        for fine in [
            &format!("[dependencies]\nkube = {DERIVE}\n"),
            "[dependencies]\nkube.workspace = true\naws-lc-rs = \"1\"\n",
            "[dev-dependencies]\ntokio = \"1\"\n",
            "[package]\ndescription = \"no tokio\"\n",
        ] {
            assert_eq!(in_manifest(name, fine, DERIVE), [""; 0], "{fine}");
        }
    }
}

#[test]
fn a_file_without_a_head() {
    check(heads, "src/a.rs", "fn a() {}\n", &["src/a.rs"]);
    check(heads, "src/a.rs", "//! A.\n", &[]);
}

#[test]
fn a_secret_that_is_opened_elsewhere() {
    let opened = "//! A.\nfn a() { value.expose() }\n";
    for path in ["src/web/a.rs", "crates/core/src/apply/a.rs"] {
        check(secrets, path, opened, &[&format!("{path}:2")]);
    }
    for path in [
        "src/secrets/a.rs",
        "crates/core/src/secrets/a.rs",
        "src/git/ssh.rs",
    ] {
        check(secrets, path, opened, &[]);
    }
}

#[test]
fn unsafe_code_elsewhere() {
    let text = format!(
        "//! A.\nfn a() {{ {} {{ b() }} }}\n",
        ["un", "safe"].concat()
    );
    check(unsafe_code, "src/a.rs", &text, &["src/a.rs:2"]);
    check(unsafe_code, "src/git/registration.rs", &text, &[]);
}

#[test]
fn an_ignored_test_and_a_path_of_a_machine() {
    let ignored = format!("//! A.\n{}]\nfn a() {{}}\n", ["#[", "ignore"].concat());
    assert_eq!(
        ignored_tests(&Source::planted("tests/cli/a.rs", &ignored)).len(),
        1
    );
    let home = format!("//! A.\n// {}b\n", ["/ro", "ot/"].concat());
    assert_eq!(ignored_tests(&Source::planted("src/a.rs", &home)).len(), 1);
    check(
        ignored_tests,
        "src/a.rs",
        "//! A.\n#[test]\nfn a() {}\n",
        &[],
    );
}

#[test]
fn a_test_that_sleeps() {
    for code in [
        "std::thread::sleep(b);",
        "tokio::time::sleep(b).await;",
        "use std::thread::sleep as wait;",
        "sleep_until(b);",
    ] {
        let text = format!("//! A.\n{code}\n");
        check(
            sleeps,
            "tests/cluster/a.rs",
            &text,
            &["tests/cluster/a.rs:2"],
        );
        check(sleeps, "src/a.rs", &text, &[]);
    }
    check(sleeps, "tests/cluster/a.rs", "//! A.\n// no sleep\n", &[]);
}

#[test]
fn a_test_file_that_is_not_listed() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let sources = Source::of(vec![
        file("tests/cli/main.rs", "mod a;\nmod folder;\n"),
        file("tests/cli/a.rs", ""),
        file("tests/cli/b.rs", ""),
        file("tests/cli/folder/mod.rs", ""),
        file("tests/cli/folder/c.rs", ""),
    ]);
    assert_eq!(unlisted_tests(&sources), ["tests/cli/b.rs"]);
}

#[test]
fn a_long_file_and_a_long_function() {
    let text = |lines: usize| format!("fn a() {{\n{}}}\n", "b();\n".repeat(lines - 2));
    for (rule, lines, name, why) in [
        (
            long_files as fn(&[Source], &[Todo]) -> Broken,
            LONGEST_FILE,
            "apply/plan.rs",
            "601 lines of code",
        ),
        (
            long_functions,
            LONGEST_FUNCTION,
            "apply/plan.rs::a",
            "61 lines",
        ),
    ] {
        for path in ["src/apply/plan.rs", "crates/core/src/apply/plan.rs"] {
            let long = Source::planted(path, &text(lines + 1));
            assert_eq!(rule(&long, &[]), [format!("{name}: {why}")]);
            assert_eq!(rule(&long, &[(name, "to be split")]), [""; 0]);
            let short = Source::planted(path, &text(lines));
            assert_eq!(rule(&short, &[]), [""; 0]);
            assert_eq!(
                rule(&short, &[(name, "to be split")]).len(),
                1,
                "the list shrinks"
            );
        }
    }
    let in_tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", text(700));
    for rule in [long_files, long_functions] {
        assert_eq!(rule(&Source::planted("src/a.rs", &in_tests), &[]), [""; 0]);
    }
}

#[test]
fn two_types_of_one_name() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let sources = Source::of(vec![
        file(
            "src/a.rs",
            "pub(crate) struct A;\nstruct B;\nimpl C for B {\n    type Error = D;\n}\n",
        ),
        file(
            "crates/core/src/b.rs",
            "pub enum A {}\nimpl C for A {\n    type Error = D;\n}\n",
        ),
        file("crates/kustomize/src/c.rs", "struct B;\n"),
    ]);
    let expected = "A: crates/core/src/b.rs:1, src/a.rs:1";
    assert_eq!(types_of_one_name(&sources, &[]), [expected]);
    assert_eq!(types_of_one_name(&sources, &[("A", "")]), [""; 0]);
    let done = types_of_one_name(&sources, &[("A", ""), ("B", "")]);
    assert_eq!(
        done,
        ["B: done; take it off the list in tests/tidy/lists.rs"]
    );
}

#[test]
fn a_private_word() {
    for (code, word) in [
        ("pub(crate) struct Gate { a: B }", "Gate"),
        ("enum Heard {}", "Heard"),
        ("mod gate;", "gate"),
        ("fn urge(a: B) {}", "urge"),
        ("fn a() { b.urge_all() }", "urge"),
        ("struct A { the_sufferers: B }", "sufferers"),
    ] {
        for path in ["src/a.rs", "crates/core/src/a.rs"] {
            let sources = Source::planted(path, code);
            assert_eq!(private_words(&sources, &[]).len(), 1, "{code}");
            assert_eq!(private_words(&sources, &[(word, "")]), [""; 0], "{code}");
        }
    }
    for fine in [
        "struct Gateway;",
        "fn surge() {}",
        "let found = memory;",
        "// urge",
        "use a::Pass;",
    ] {
        assert_eq!(
            private_words(&Source::planted("src/a.rs", fine), &[]),
            [""; 0],
            "{fine}"
        );
    }
}

#[test]
fn an_import_circle() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    for folder in ["src/a", "crates/core/src/a"] {
        let sources = Source::of(vec![
            file(&format!("{folder}/b.rs"), "use super::c::C;"),
            file(&format!("{folder}/c.rs"), "use super::b::B;"),
        ]);
        assert_eq!(circles(&sources, &[]), ["overlayd/a: b c"]);
        assert_eq!(circles(&sources, &[("overlayd/a", "")]), [""; 0]);
    }
}

#[test]
fn errors_that_are_texts() {
    let count = |code: &str| text_errors(&Source::planted("src/a.rs", code));
    for one in [
        "fn a() -> Result<B, String> {}",
        "fn a() -> Result<(B, C), String>;",
        "fn a() -> Result<\n    BTreeMap<B, C>,\n    String,\n> {}",
        "type A = Result<fn(B) -> C, String>;",
    ] {
        assert_eq!(count(one), 1, "{one}");
    }
    for none in [
        "fn a() -> Result<String, B> {}",
        "fn a() -> Result<B> { Ok::<C, String>(d) }",
        "fn a() -> Result<BTreeMap<B, String>, C> {}",
        "// Result<B, String>",
    ] {
        assert_eq!(count(none), 0, "{none}");
    }
}

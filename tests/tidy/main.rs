//! The rules of this code base that a machine can read.
//!
//! A rule is a function over files (`rules`), so that a test can plant a fault and see it found. What breaks a rule today
//! stands in `lists`, which only shrink.

mod circles;
mod docs;
mod generated;
mod lists;
mod measure;
mod paths;
mod rules;
mod source;
mod text;
mod words;

use std::sync::LazyLock;

use crate::source::{PURE_CRATES, Source, root};

static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(Source::repository);

#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers collect what they found right here"
)]
fn check(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    check("a file begins with `//!`", rules::heads(&SOURCES));
}

#[test]
fn pure_files_are_pure() {
    check(
        "a file headed Pure, or of a pure crate, touches nothing",
        rules::purity(&SOURCES),
    );
}

#[test]
fn pure_crates_depend_on_nothing_that_touches_the_world() {
    let read = |path: String| {
        let text = std::fs::read_to_string(root().join(&path)).ok()?;
        Some((path, text))
    };
    let crates = PURE_CRATES.map(|name| format!("crates/{name}/Cargo.toml"));
    // A crate that is planned and not there yet is no fault.
    let paths = crates.into_iter().chain(["Cargo.toml".to_owned()]);
    let manifests: Vec<_> = paths.filter_map(read).collect();
    assert!(manifests.len() >= 5, "the engines are there");
    check("manifests of pure crates", rules::manifests(&manifests));
}

#[test]
fn secret_values_are_opened_in_few_places() {
    check(
        "only some files open a SecretValue",
        rules::secrets(&SOURCES),
    );
}

#[test]
fn unsafe_code_is_the_one_registration() {
    check(
        "`unsafe` stands in src/git/registration.rs alone",
        rules::unsafe_code(&SOURCES),
    );
}

#[test]
fn no_test_is_ignored_and_no_machine_is_named() {
    check(
        "no ignored test and no path of a machine",
        rules::ignored_tests(&SOURCES),
    );
}

#[test]
fn no_test_sleeps() {
    check("a test waits for a fact", rules::sleeps(&SOURCES));
}

#[test]
fn test_files_are_listed_in_their_main() {
    check(
        "a test file that is not listed does not run",
        rules::unlisted_tests(&SOURCES),
    );
}

#[test]
fn files_can_be_read_in_one_sitting() {
    check(
        "files have at most 600 lines of code",
        rules::long_files(&SOURCES, lists::LONG_FILES),
    );
}

#[test]
fn functions_fit_on_a_screen() {
    check(
        "functions have at most 60 lines",
        rules::long_functions(&SOURCES, lists::LONG_FUNCTIONS),
    );
}

#[test]
fn no_two_types_have_one_name() {
    check(
        "a name stands for one type of the daemon",
        rules::types_of_one_name(&SOURCES, lists::TWICE),
    );
}

#[test]
fn names_are_those_of_the_field() {
    check(
        "a private word",
        rules::private_words(&SOURCES, lists::WORDS),
    );
}

#[test]
fn modules_of_a_folder_form_no_circle() {
    check(
        "import circles inside a folder",
        rules::circles(&SOURCES, lists::CIRCLES),
    );
}

#[test]
fn errors_are_types() {
    let count = rules::text_errors(&SOURCES);
    let ceiling = lists::CEILING_OF_TEXT_ERRORS;
    assert!(
        count <= ceiling,
        "{count} functions answer with `Result<_, String>`, and {ceiling} did before: give the new one an error type"
    );
    assert!(
        count + 10 >= ceiling,
        "only {count} functions answer with `Result<_, String>`: lower the ceiling in tests/tidy/lists.rs"
    );
}

#[test]
fn the_daemon_says_what_a_reader_needs() {
    const LEAST: usize = 12;
    for package in ["overlayd", "core"] {
        let docs = measure::docs_per_hundred(&SOURCES, package);
        assert!(
            docs >= LEAST,
            "{package} has {docs} lines of docs for 100 lines of code; {LEAST} are the least: document what is new"
        );
    }
}

/// The figures of the shape: `cargo test --test tidy the_shape -- --nocapture`.
#[test]
fn the_shape_can_be_printed() {
    let shape = measure::shape(&SOURCES);
    println!("{shape}");
    for package in ["overlayd", "kustomize", "gotemplate", "goyaml", "gjson"] {
        assert!(shape.contains(&format!("{package}: longest functions")));
    }
}

//! `overlayd build` of what stands in other repositories.

#![expect(clippy::unwrap_used, reason = "a test: what fails here fails the test")]

use testbed::{GitServer, GitServerOptions, WorkTree};

use crate::{folder, overlayd};

const RENDERED: &str = "apiVersion: v1\nkind: Service\nmetadata:\n  name: ";

fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n")
}

/// A repository whose `web` folder holds a Service; `old` names it `old`, and `main` names it `new`.
fn base() -> (GitServer, WorkTree) {
    let git = GitServer::start(&GitServerOptions::default()).unwrap();
    let work = git.create("base").unwrap();
    work.write("web/kustomization.yaml", "resources: [s.yaml]\n")
        .unwrap();
    for (branch, name) in [("old", "old"), ("main", "new")] {
        work.write("web/s.yaml", &service(name)).unwrap();
        work.push(name, branch).unwrap();
    }
    (git, work)
}

fn ok(name: &str) -> String {
    format!("exit 0\n--- stdout\n{RENDERED}{name}\n--- stderr\n")
}

#[test]
fn a_base_is_fetched_at_its_ref() {
    let (git, work) = base();
    let url = git.url("base");
    let commit = work.git(&["rev-parse", "HEAD~1"]).unwrap();
    for (query, name) in [
        (String::new(), "a-new"),
        ("?ref=old".to_owned(), "a-old"),
        ("?timeout=20s&version=old".to_owned(), "a-old"),
        (format!("?ref={commit}"), "a-old"),
    ] {
        let text = format!("namePrefix: a-\nresources: ['{url}//web{query}']\n");
        let directory = folder(&[("kustomization.yaml", &text)]);
        assert_eq!(overlayd(directory.path(), &["build"]), ok(name), "{query}");
    }
}

#[test]
fn a_commit_that_was_fetched_is_not_fetched_again() {
    let (git, work) = base();
    let commit = work.git(&["rev-parse", "HEAD"]).unwrap();
    let text = format!("resources: ['{}//web?ref={commit}']\n", git.url("base"));
    let directory = folder(&[("kustomization.yaml", &text)]);
    assert_eq!(overlayd(directory.path(), &["build"]), ok("new"));
    let before = git.requests();
    assert_eq!(overlayd(directory.path(), &["build"]), ok("new"));
    assert_eq!(git.requests().1, before.1, "no objects came twice");
    let moving = format!("{}//web", git.url("base"));
    assert_eq!(overlayd(directory.path(), &["build", &moving]), ok("new"));
}

#[test]
fn a_url_is_built_itself() {
    let (git, work) = base();
    let directory = folder(&[]);
    let url = format!("{}//web?ref=old", git.url("base"));
    assert_eq!(overlayd(directory.path(), &["build", &url]), ok("old"));
    let local = format!("file://{}//web", work.path().display());
    assert_eq!(overlayd(directory.path(), &["build", &local]), ok("new"));
}

#[test]
fn submodules_come_along_unless_they_are_not_wanted() {
    let (git, _work) = base();
    let work = git.create("with").unwrap();
    let url = git.url("base");
    work.git(&["submodule", "--quiet", "add", &url, "lib"])
        .unwrap();
    work.write("kustomization.yaml", "resources: [lib/web]\n")
        .unwrap();
    work.push("a submodule", "main").unwrap();
    let directory = folder(&[]);
    let with = git.url("with");
    assert_eq!(overlayd(directory.path(), &["build", &with]), ok("new"));
    let without = format!("{with}?submodules=false");
    let text = overlayd(directory.path(), &["build", &without]);
    assert!(text.starts_with("exit 1"), "{text}");
    assert!(text.contains("is a submodule"), "{text}");
}

#[test]
fn what_cannot_be_fetched_is_named_where_it_is_used() {
    let (git, _work) = base();
    let url = git.url("base");
    for (resource, problem) in [
        (format!("{url}//web?ref=nobody"), "nobody"),
        (format!("{url}//elsewhere"), "elsewhere"),
        (git.url("nothing"), "nothing"),
    ] {
        let text = format!("resources:\n- '{resource}'\n");
        let directory = folder(&[("kustomization.yaml", &text)]);
        let text = overlayd(directory.path(), &["build"]);
        assert!(text.starts_with("exit 1"), "{text}");
        assert!(text.contains("kustomization.yaml:2"), "{text}");
        assert!(text.contains(problem), "{text}");
    }
}

//! What the events of the cluster and of the event webhook tell.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use testbed::wait_for;

use crate::bed::{Case, PATIENCE, config_map};

/// An event, as the assertions of this file see it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    reason: String,
    text: String,
    revision: String,
}

impl Told {
    fn new(reason: &str, text: &str, revision: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            text: text.to_owned(),
            revision: format!("main@sha1:{revision}"),
        }
    }

    /// A core event, or a posted event.
    fn of(event: &Value, facts: &str) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let group = match event["involvedObject"]["kind"].as_str() {
            Some("GitRepository") => "source.toolkit.fluxcd.io",
            _ => "kustomize.toolkit.fluxcd.io",
        };
        let facts = event.pointer(facts).cloned().unwrap_or_default();
        Self {
            reason: text(&event["reason"]),
            text: text(&event["message"]),
            revision: text(&facts[format!("{group}/revision")]),
        }
    }
}

impl Case {
    /// The core events of this namespace, as `kubectl get events` reads them.
    fn core_events(&self) -> Vec<Value> {
        let path = format!("/api/v1/namespaces/{}/events", self.namespace);
        let list = self.bed.cluster.get(&path).unwrap().unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// The events of this namespace that were posted to the event webhook.
    fn posts(&self) -> Vec<Value> {
        let bodies = self.bed.inbox.bodies();
        let posts = bodies
            .iter()
            .map(|body| serde_json::from_str(body).unwrap());
        posts
            .filter(|post: &Value| post["involvedObject"]["namespace"] == self.namespace.as_str())
            .collect()
    }

    /// Waits until an event was both written and posted, and gives the core event.
    fn is_told(&self, told: &Told) -> Value {
        let found = wait_for("an event", PATIENCE, || {
            let (events, posts) = (self.core_events(), self.posts());
            let event = events
                .iter()
                .find(|event| Told::of(event, "/metadata/annotations") == *told);
            let posted = posts
                .iter()
                .any(|post| Told::of(post, "/metadata") == *told);
            ensure!(
                event.is_some() && posted,
                "{told:?} in {events:#?} {posts:#?}"
            );
            Ok(event.cloned().unwrap_or_default())
        });
        found.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Waits until the success of a commit is posted, and gives the post.
    fn is_finished(&self, commit: &str) -> Value {
        let told = wait_for("the commit status", PATIENCE, || {
            let revision = format!("main@sha1:{commit}");
            let posts = self.posts();
            let finished = posts.iter().find(|post| {
                post["reason"] == "ReconciliationSucceeded"
                    && post["metadata"]["kustomize.toolkit.fluxcd.io/revision"] == revision.as_str()
            });
            finished.cloned().context("not told yet")
        });
        told.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Waits until one posted event tells a change of each of these ConfigMaps.
    fn is_posted_for_each(&self, names: &[String], change: &str) {
        let told = wait_for("a whole list", PATIENCE, || {
            let line = |name: &String| format!("ConfigMap/{}/{name} {change}", self.namespace);
            let lines: Vec<String> = names.iter().map(line).collect();
            let posts = self.posts();
            let mut texts = posts.iter().filter_map(|post| post["message"].as_str());
            ensure!(texts.any(|text| lines.iter().all(|line| text.contains(line))));
            Ok(())
        });
        told.unwrap_or_else(|error| panic!("{change}: {error:#}"));
    }

    /// Commits one ConfigMap with this value, waits until the commit is applied, and gives its id.
    fn commit_value(&self, value: &str) -> String {
        self.push(&[("app/a.yaml", &config_map("a", value))], value);
        let commit = self.work.git(&["rev-parse", "HEAD"]).unwrap();
        self.ready("kustomizations", "app", "True", &commit);
        commit
    }
}

#[test]
fn each_commit_has_events_of_its_own_and_a_commit_status() {
    let case = Case::applied("events-commits");
    for number in 1..=5 {
        let commit = case.commit_value(&format!("value {number}"));
        let changed = "ConfigMap/events-commits/a configured";
        let changed = case.is_told(&Told::new("Progressing", changed, &commit));
        assert_eq!(changed["count"], 1);
        assert_eq!(changed["source"]["component"], "kustomize-controller");
        let artifact = format!("stored artifact for commit 'value {number}'");
        case.is_told(&Told::new("NewArtifact", &artifact, &commit));
        let success = case.is_finished(&commit);
        let metadata = &success["metadata"];
        assert_eq!(
            metadata["kustomize.toolkit.fluxcd.io/commit_status"],
            "update"
        );
        assert_eq!(success["severity"], "info");
        let text = success["message"].as_str().unwrap();
        assert!(text.starts_with("Reconciliation finished in "), "{text}");
        assert!(text.ends_with(", next run in 1s"), "{text}");
    }
    // A commit that changes no file of the build gets its status too.
    case.push(&[("elsewhere.txt", "text")], "elsewhere");
    let commit = case.work.git(&["rev-parse", "HEAD"]).unwrap();
    case.is_finished(&commit);
}

#[test]
fn each_error_and_each_deletion_is_told_and_long_notes_are_cut() {
    let case = Case::applied("events-errors");
    for file in ["one.yaml", "two.yaml"] {
        let text = format!("namespace: events-errors\nresources: [a.yaml, {file}]\n");
        case.push(&[("app/kustomization.yaml", &text)], file);
        let error = wait_for("the error", PATIENCE, || {
            let events = case.core_events();
            let mut errors = events
                .iter()
                .filter(|event| event["reason"] == "BuildFailed");
            let error = errors.find(|event| Told::of(event, "").text.contains(file));
            error.cloned().with_context(|| format!("{events:#?}"))
        });
        assert_eq!(error.unwrap()["type"], "Warning");
    }

    let names = (0..40).map(|number| format!("a-rather-long-name-of-a-config-map-{number}"));
    let names: Vec<String> = names.collect();
    let maps: Vec<String> = names.iter().map(|name| config_map(name, "one")).collect();
    let text = "namespace: events-errors\nresources: [many.yaml]\n";
    case.push(
        &[
            ("app/kustomization.yaml", text),
            ("app/many.yaml", &maps.join("---\n")),
        ],
        "many",
    );
    let commit = case.work.git(&["rev-parse", "HEAD"]).unwrap();
    case.is_finished(&commit);
    let deleted = "ConfigMap/events-errors/a deleted";
    case.is_told(&Told::new("Progressing", deleted, &commit));
    let events = case.core_events();
    let texts = events
        .iter()
        .map(|event| event["message"].as_str().unwrap());
    let cut: Vec<&str> = texts.filter(|text| text.contains(&names[0])).collect();
    assert_eq!(cut.len(), 1, "{cut:?}");
    assert!(cut[0].ends_with('…') && cut[0].len() <= 1024, "{}", cut[0]);
    case.is_posted_for_each(&names, "created");

    // What is deleted with its Kustomization is told too.
    case.delete("kustomizations", "app");
    case.wait_gone("kustomizations", "app");
    case.is_posted_for_each(&names, "deleted");
}

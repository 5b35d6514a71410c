//! What keeps accidents away, and lets people decide: owners, waves, partial failure, drift modes, report-only, windows.

use serde_json::{Value, json};

use crate::bed::{Case, condition, config_map};
use crate::units::deployment;

impl Case {
    /// Files of a directory with a kustomization file that lists them all.
    fn directory(&self, name: &str, objects: &[(&str, &str)], message: &str) {
        let names: Vec<&str> = objects.iter().map(|(file, _)| *file).collect();
        let text = format!(
            "namespace: {}\nresources: [{}]\n",
            self.namespace,
            names.join(", ")
        );
        let file = format!("{name}/kustomization.yaml");
        self.work.write(&file, &text).unwrap();
        for (file, text) in objects {
            self.work.write(&format!("{name}/{file}"), text).unwrap();
        }
        self.work.push(message, "main").unwrap();
    }

    /// Sets one of overlayd's annotations on a Kustomization.
    fn ask(&self, unit: &str, name: &str, value: &str) {
        let name = format!("overlayd.dev/{name}");
        self.patch(
            "kustomizations",
            unit,
            json!({"metadata": {"annotations": {name: value}}}),
        );
    }

    fn message_of(&self, unit: &str, condition_type: &str) -> String {
        let unit = self.get("kustomizations", unit).unwrap();
        condition(&unit, condition_type)["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn uid(&self, name: &str) -> Value {
        self.get("configmaps", name).unwrap()["metadata"]["uid"].clone()
    }

    fn edit(&self, name: &str, value: &str) {
        self.patch("configmaps", name, json!({"data": {"key": value}}));
    }
}

#[test]
fn an_object_has_one_owner() {
    let case = Case::new("guard-owner");
    case.directory("first", &[("a.yaml", &config_map("a", "first"))], "first");
    case.directory(
        "second",
        &[
            ("a.yaml", &config_map("a", "second")),
            ("b.yaml", &config_map("b", "second")),
        ],
        "second",
    );
    case.repository();
    case.unit("first", "first", json!({}));
    case.map_is("a", "key", "first");
    case.unit("second", "second", json!({}));
    case.ready(
        "kustomizations",
        "second",
        "False",
        "Kustomization `guard-owner/first` applies it too",
    );
    // The conflict holds up its object alone.
    case.map_is("b", "key", "second");
    case.has_event(
        "OwnerConflict",
        "is rendered by Kustomization `guard-owner/second` too",
    );
    case.map_is("a", "key", "first");

    // By name it goes over, and the former owner does not take it back.
    let handed = config_map("a", "second").replace(
        "  name: a\n",
        "  name: a\n  annotations: {overlayd.dev/take-over: guard-owner/first}\n",
    );
    case.directory(
        "second",
        &[("a.yaml", &handed), ("b.yaml", &config_map("b", "second"))],
        "hand-over",
    );
    case.map_is("a", "key", "second");
    case.ready("kustomizations", "second", "True", "Applied revision");
    case.ready(
        "kustomizations",
        "first",
        "False",
        "Kustomization `guard-owner/second` applies it too",
    );
    case.map_is("a", "key", "second");
}

#[test]
fn what_moves_to_another_kustomization_is_not_deleted_on_the_way() {
    let case = Case::new("guard-move");
    let (a, b, c) = (
        config_map("a", "v"),
        config_map("b", "v"),
        config_map("c", "v"),
    );
    case.directory("first", &[("a.yaml", &a), ("b.yaml", &b)], "first");
    case.directory("second", &[("c.yaml", &c)], "second");
    case.repository();
    case.unit("first", "first", json!({}));
    case.unit("second", "second", json!({}));
    for name in ["a", "b", "c"] {
        case.map_is(name, "key", "v");
    }
    let uids = [case.uid("a"), case.uid("c")];
    // One goes either way, whichever of the two runs first.
    case.work
        .write(
            "first/kustomization.yaml",
            "namespace: guard-move\nresources: [b.yaml, c.yaml]\n",
        )
        .unwrap();
    case.work.write("first/c.yaml", &c).unwrap();
    case.work.write("second/a.yaml", &a).unwrap();
    case.directory("second", &[("a.yaml", &a)], "they change places");
    for (name, owner) in [("a", "second"), ("c", "first")] {
        case.wait("configmaps", name, "the new owner", |map| {
            map["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] == owner
        });
    }
    for unit in ["first", "second"] {
        case.ready("kustomizations", unit, "True", "Applied revision");
    }
    assert_eq!([case.uid("a"), case.uid("c")], uids, "neither was deleted");
}

#[test]
fn one_bad_object_holds_up_the_others_only_if_that_is_wanted() {
    let case = Case::new("guard-continue");
    let bad = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 0}]}\n";
    let worse = "apiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: worse}\n";
    case.directory(
        "app",
        &[
            ("a.yaml", &config_map("a", "v")),
            ("bad.yaml", bad),
            ("worse.yaml", worse),
        ],
        "two bad ones",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    for name in ["Service/guard-continue/bad", "Nothing/guard-continue/worse"] {
        case.ready("kustomizations", "app", "False", name);
    }
    assert!(case.get("configmaps", "a").is_none());
    case.ask("app", "on-error", "continue");
    case.map_is("a", "key", "v");
    for name in ["Service/guard-continue/bad", "Nothing/guard-continue/worse"] {
        case.ready("kustomizations", "app", "False", name);
    }
    // Nothing is deleted while something fails.
    case.directory(
        "app",
        &[("b.yaml", &config_map("b", "v")), ("bad.yaml", bad)],
        "a moved",
    );
    case.map_is("b", "key", "v");
    assert!(case.get("configmaps", "a").is_some());
    case.directory("app", &[("b.yaml", &config_map("b", "v"))], "mended");
    case.wait_gone("configmaps", "a");
    case.ask("app", "on-error", "perhaps");
    let reason = case.ready(
        "kustomizations",
        "app",
        "False",
        "must be `stop` or `continue`",
    );
    assert_eq!(reason, "InvalidAnnotation");
}

#[test]
fn waves_wait_for_health() {
    let case = Case::new("guard-waves");
    let later = |name: &str, annotation: &str| {
        config_map(name, "v").replace(
            "metadata:\n",
            &format!("metadata:\n  annotations: {{{annotation}}}\n"),
        )
    };
    let depends = "config.kubernetes.io/depends-on: apps/namespaces/guard-waves/Deployment/web";
    let objects = [
        ("web.yaml", deployment("one")),
        ("after.yaml", later("after", depends)),
        ("last.yaml", later("last", "overlayd.dev/wave: '1'")),
        ("first.yaml", later("first", "overlayd.dev/wave: '-1'")),
    ];
    let objects: Vec<(&str, &str)> = objects
        .iter()
        .map(|(file, text)| (*file, text.as_str()))
        .collect();
    case.directory("app", &objects, "in waves");
    case.repository();
    case.unit("app", "app", json!({}));
    case.map_is("first", "key", "v");
    case.ready(
        "kustomizations",
        "app",
        "Unknown",
        "Deployment/guard-waves/web status: 'InProgress'",
    );
    for name in ["after", "last"] {
        assert!(case.get("configmaps", name).is_none(), "{name} waits");
    }
    testbed::wait_for("ready pods", crate::bed::PATIENCE, || {
        testbed::mark_pods_ready(&case.bed.cluster, "guard-waves")?;
        anyhow::ensure!(case.get("configmaps", "last").is_some(), "not there");
        Ok(())
    })
    .unwrap();
    case.ready("kustomizations", "app", "True", "Applied revision");
    assert!(case.get("configmaps", "after").is_some());
}

#[test]
fn drift_is_reported_or_ignored_where_that_is_wanted() {
    let case = Case::new("guard-drift");
    let mode = |name: &str, mode: &str| {
        config_map(name, "v").replace(
            "metadata:\n",
            &format!("metadata:\n  annotations: {{overlayd.dev/drift: {mode}}}\n"),
        )
    };
    let (report, ignore, correct) = (
        mode("report", "report"),
        mode("ignore", "ignore"),
        config_map("correct", "v"),
    );
    case.directory(
        "app",
        &[
            ("report.yaml", &report),
            ("ignore.yaml", &ignore),
            ("correct.yaml", &correct),
        ],
        "modes",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    case.ready("kustomizations", "app", "True", "Applied revision");
    for name in ["report", "ignore", "correct"] {
        case.edit(name, "by hand");
    }
    case.map_is("correct", "key", "v");
    let unit = case.wait("kustomizations", "app", "the report", |unit| {
        condition(unit, "Drifted")["status"] == "True"
    });
    assert_eq!(
        condition(&unit, "Drifted")["message"],
        "ConfigMap/guard-drift/report: data.key: by hand → v"
    );
    assert_eq!(condition(&unit, "Ready")["status"], "True");
    for name in ["report", "ignore"] {
        case.map_is(name, "key", "by hand");
    }
    // What is new in git is applied nevertheless.
    case.directory(
        "app",
        &[
            ("report.yaml", &report.replace("key: v", "key: w")),
            ("ignore.yaml", &ignore),
            ("correct.yaml", &correct),
        ],
        "new",
    );
    case.map_is("report", "key", "w");
    case.wait("kustomizations", "app", "no report", |unit| {
        condition(unit, "Drifted").is_null()
    });
    case.map_is("ignore", "key", "by hand");
}

#[test]
fn report_only_changes_nothing_and_says_what_it_would_do() {
    let case = Case::applied("guard-report");
    case.ask("app", "mode", "report");
    case.ready("kustomizations", "app", "True", "would change nothing");
    case.directory("app", &[("b.yaml", &config_map("b", "two"))], "another");
    let message =
        "ConfigMap/guard-report/a would be deleted; ConfigMap/guard-report/b would be created";
    let reason = case.ready("kustomizations", "app", "False", message);
    assert_eq!(reason, "OutOfSync");
    case.has_event("OutOfSync", "ConfigMap/guard-report/b would be created");
    case.map_is("a", "key", "one");
    assert!(case.get("configmaps", "b").is_none());
    case.ask("app", "mode", "apply");
    case.map_is("b", "key", "two");
    case.wait_gone("configmaps", "a");
}

#[test]
fn outside_of_its_windows_a_kustomization_stays_as_it_is() {
    let case = Case::applied("guard-windows");
    case.ask("app", "sync-windows", "deny @every 1s 24h");
    case.wait("kustomizations", "app", "the window", |unit| {
        condition(unit, "SyncWindow")["reason"] == "Closed"
    });
    case.directory("app", &[("a.yaml", &config_map("a", "two"))], "later");
    case.wait("gitrepositories", "app", "the commit", |source| {
        source["status"]["artifact"]["revision"]
            != case.get("kustomizations", "app").unwrap()["status"]["lastAppliedRevision"]
    });
    assert_eq!(case.get("configmaps", "a").unwrap()["data"]["key"], "one");
    assert!(
        case.message_of("app", "SyncWindow")
            .contains("nothing is applied, corrected or deleted")
    );
    case.ask("app", "sync-windows", "allow @every 1s 24h UTC");
    case.map_is("a", "key", "two");
    case.wait("kustomizations", "app", "the window to open", |unit| {
        condition(unit, "SyncWindow").is_null()
    });
}

#[test]
fn what_opts_out_is_listed_and_what_was_there_before_is_kept() {
    let case = Case::new("guard-opt-out");
    let kept = config_map("kept", "v").replace(
        "metadata:\n",
        "metadata:\n  annotations: {kustomize.toolkit.fluxcd.io/prune: Disabled}\n",
    );
    let left = config_map("left", "v").replace(
        "metadata:\n",
        "metadata:\n  labels: {kustomize.toolkit.fluxcd.io/reconcile: disabled}\n",
    );
    // The namespace of the test was there before.
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: guard-opt-out}\n";
    case.directory(
        "app",
        &[
            ("kept.yaml", &kept),
            ("left.yaml", &left),
            ("ns.yaml", namespace),
        ],
        "opted out",
    );
    case.repository();
    case.unit("app", "app", json!({}));
    case.ready("kustomizations", "app", "True", "Applied revision");
    let message = case.message_of("app", "OptedOut");
    assert!(
        message.contains("ConfigMap/guard-opt-out/kept: `prune: disabled` is set on it"),
        "{message}"
    );
    assert!(
        message.contains("ConfigMap/guard-opt-out/left: `reconcile: disabled` is set on it"),
        "{message}"
    );
    assert!(case.get("configmaps", "left").is_none());
    let (_, metrics) = testbed::http_get(case.bed.port, "/metrics").unwrap();
    let line = metrics
        .lines()
        .find(|line| line.contains("opted_out_objects{") && line.contains("guard-opt-out"));
    assert!(line.is_some_and(|line| line.ends_with(" 2")), "{line:?}");

    case.delete("kustomizations", "app");
    case.wait_gone("kustomizations", "app");
    let namespace = case
        .bed
        .cluster
        .get("/api/v1/namespaces/guard-opt-out")
        .unwrap()
        .unwrap();
    assert!(namespace["metadata"]["deletionTimestamp"].is_null());
    assert!(case.get("configmaps", "kept").is_some());
}

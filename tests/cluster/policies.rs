//! What becomes of the Secret: who owns it, when it is refreshed, when it goes.

use serde_json::json;

use crate::bed::Case;

#[test]
fn a_secret_goes_when_its_values_go() {
    let case = Case::new("policy-delete");
    case.bed.aws.put("policy/delete", "v");
    let spec = |policy: &str, name: &str| {
        json!({
            "refreshInterval": "1s",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"},
            "data": [{"secretKey": "k", "remoteRef": {"key": "policy/delete"}}],
            "target": {"deletionPolicy": policy, "name": name},
        })
    };
    case.apply("externalsecrets", "goes", spec("Delete", "goes"));
    case.apply("externalsecrets", "stays", spec("Retain", "stays"));
    case.apply("externalsecrets", "empties", spec("Merge", "empties"));
    for name in ["goes", "stays", "empties"] {
        case.secret_is(name, "k", "v");
    }
    // Each owns its Secret, so that a deleted definition must not take the Secret along.
    for name in ["goes", "stays", "empties"] {
        let held = case.get("externalsecrets", name).unwrap();
        assert_eq!(
            held["metadata"]["finalizers"][0],
            "externalsecrets.external-secrets.io/externalsecret-cleanup"
        );
    }
    case.bed.aws.remove("policy/delete");
    case.wait_gone("secrets", "goes");
    let message = "secret deleted due to DeletionPolicy=Delete";
    assert_eq!(
        case.ready("externalsecrets", "goes", "True", message),
        "SecretDeleted"
    );
    case.has_event("Deleted", "secret deleted");
    case.has_event("MissingProviderSecret", "policy/delete");
    case.ready(
        "externalsecrets",
        "stays",
        "False",
        "secret `policy/delete` does not exist",
    );
    case.wait("secrets", "empties", "no key", |secret| {
        secret["data"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
    });
    case.secret_is("stays", "k", "v");
    case.bed.aws.put("policy/delete", "again");
    case.secret_is("goes", "k", "again");
    case.secret_is("empties", "k", "again");
    case.delete("externalsecrets", "goes");
    case.wait_gone("externalsecrets", "goes");
    case.wait_gone("secrets", "goes");
}

#[test]
fn a_renamed_target_leaves_nothing_behind() {
    let case = Case::new("policy-rename");
    case.fake_store(&[("a", "v")]);
    case.of_fake("db", "a", json!({"name": "first"}), json!({}));
    case.secret_is("first", "k", "v");
    // Somebody wrote our label on a Secret of their own: the label alone deletes nothing.
    let label = case.get("secrets", "first").unwrap()["metadata"]["labels"]
        ["reconcile.external-secrets.io/created-by"]
        .clone();
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "theirs", "labels": {
            "reconcile.external-secrets.io/created-by": label,
            "reconcile.external-secrets.io/managed": "true",
        }},
    });
    case.bed
        .cluster
        .apply(&case.path("secrets", "theirs"), &theirs)
        .unwrap();
    case.of_fake("db", "a", json!({"name": "second"}), json!({}));
    case.secret_is("second", "k", "v");
    case.wait_gone("secrets", "first");
    case.has_event("Deleted", "secret first deleted");
    assert!(case.get("secrets", "theirs").is_some());
}

#[test]
fn labels_and_annotations_go_along_and_are_taken_back() {
    let case = Case::new("policy-labels");
    case.fake_store(&[("a", "v")]);
    // A name so long that its field manager is hashed.
    let name = "a-name-of-more-than-twenty-eight-letters";
    case.of_fake(name, "a", json!({}), json!({}));
    case.secret_is(name, "k", "v");
    case.patch(
        "secrets",
        name,
        json!({"metadata": {"labels": {"theirs": "yes"}}}),
    );
    case.patch(
        "externalsecrets",
        name,
        json!({"metadata": {"labels": {"ours": "one"}, "annotations": {"note": "n"}}}),
    );
    case.wait("secrets", name, "the label", |secret| {
        secret["metadata"]["labels"]["ours"] == "one"
            && secret["metadata"]["annotations"]["note"] == "n"
    });
    case.patch(
        "externalsecrets",
        name,
        json!({"metadata": {"labels": {"ours": null}, "annotations": {"note": null}}}),
    );
    case.wait("secrets", name, "the label to go", |secret| {
        secret["metadata"]["labels"]["ours"].is_null()
            && secret["metadata"]["annotations"]["note"].is_null()
    });
    let secret = case.get("secrets", name).unwrap();
    assert_eq!(secret["metadata"]["labels"]["theirs"], "yes");
}

#[test]
fn refresh_policies() {
    let case = Case::new("policy-refresh");
    case.bed.aws.put("policy/refresh", "one");
    let store = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"}});
    let with = |more: serde_json::Value| {
        let mut spec = store.clone();
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        spec
    };
    for (name, more) in [
        (
            "once",
            json!({"refreshPolicy": "CreatedOnce", "refreshInterval": "1s"}),
        ),
        (
            "on-change",
            json!({"refreshPolicy": "OnChange", "refreshInterval": "1s"}),
        ),
        ("never", json!({"refreshInterval": "0"})),
        ("periodic", json!({"refreshInterval": "1s"})),
        ("forced", json!({"refreshInterval": "1h"})),
    ] {
        case.of_fake(name, "policy/refresh", json!({}), with(more));
        case.secret_is(name, "k", "one");
    }
    case.bed.aws.put("policy/refresh", "two");
    case.secret_is("periodic", "k", "two");
    let force = json!({"metadata": {"annotations": {"force-sync": "1"}}});
    for name in ["forced", "on-change", "once", "never"] {
        case.patch("externalsecrets", name, force.clone());
    }
    case.secret_is("forced", "k", "two");
    case.secret_is("on-change", "k", "two");
    case.bed.aws.put("policy/refresh", "three");
    case.secret_is("periodic", "k", "three");
    for name in ["once", "never"] {
        case.secret_is(name, "k", "one");
    }
    // A Secret that is deleted is made anew, of what there is now.
    for name in ["once", "never"] {
        case.delete("secrets", name);
        case.secret_is(name, "k", "three");
    }
    case.secret_is("on-change", "k", "two");
}

#[test]
fn an_orphan_outlives_its_external_secret() {
    let case = Case::new("policy-orphan");
    case.fake_store(&[("a", "v")]);
    let orphan = json!({"creationPolicy": "Orphan"});
    case.of_fake("kept", "a", orphan.clone(), json!({}));
    case.of_fake("once", "a", orphan, json!({"refreshPolicy": "CreatedOnce"}));
    case.of_fake("owned", "a", json!({}), json!({}));
    for name in ["kept", "once", "owned"] {
        case.secret_is(name, "k", "v");
    }
    case.delete("secrets", "once");
    for name in ["kept", "owned"] {
        case.delete("externalsecrets", name);
    }
    case.wait_gone("secrets", "owned");
    case.secret_is("kept", "k", "v");
    let kept = case.get("secrets", "kept").unwrap();
    assert!(kept["metadata"]["ownerReferences"].is_null());
    assert_eq!(
        kept["metadata"]["labels"]["reconcile.external-secrets.io/managed"],
        "true"
    );
    assert!(case.get("secrets", "once").is_none());
}

#[test]
fn a_password_in_use_stays_when_its_external_secret_is_made_anew() {
    let case = Case::new("policy-created-once");
    case.apply("passwords", "strong", json!({"length": 20}));
    let reference = json!({"apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "Password", "name": "strong"});
    let spec = |creation: &str| {
        json!({
            "refreshPolicy": "CreatedOnce",
            "dataFrom": [{"sourceRef": {"generatorRef": reference}}],
            "target": {"creationPolicy": creation},
        })
    };
    case.apply("externalsecrets", "db", spec("Orphan"));
    case.ready("externalsecrets", "db", "True", "secret synced");
    let first = case.get("secrets", "db").unwrap();
    case.delete("externalsecrets", "db");
    case.wait_gone("externalsecrets", "db");
    case.apply("externalsecrets", "db", spec("Owner"));
    case.ready("externalsecrets", "db", "True", "is kept");
    let second = case.get("secrets", "db").unwrap();
    assert_eq!(second["data"], first["data"]);
    let object = case.get("externalsecrets", "db").unwrap();
    let owner = &second["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], object["metadata"]["uid"]);
    // A Secret that is gone is no password in use.
    case.delete("secrets", "db");
    case.wait("secrets", "db", "a new password", |secret| {
        secret["data"] != first["data"] && !secret["data"].is_null()
    });
}

#[test]
fn a_writer_that_adds_a_key_again_and_again_is_damped_and_named() {
    let case = Case::new("policy-contended");
    case.fake_store(&[("a", "v")]);
    case.of_fake("db", "a", json!({}), json!({}));
    case.secret_is("db", "k", "v");
    let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"theirs": "t"}});
    // Some repairs come at once.
    for _ in 0..6 {
        case.bed
            .cluster
            .apply(&case.path("secrets", "db"), &theirs)
            .unwrap();
        case.wait("secrets", "db", "the key to go", |secret| {
            secret["data"]["theirs"].is_null()
        });
    }
    case.ready(
        "externalsecrets",
        "db",
        "True",
        "changed again and again by `testbed`",
    );
    case.has_event("SecretContended", "with `creationPolicy: Merge`");
    // A new value does not wait for the pause of the repairs.
    case.bed
        .cluster
        .apply(&case.path("secrets", "db"), &theirs)
        .unwrap();
    case.fake_store(&[("a", "new")]);
    case.secret_is("db", "k", "new");
}

#[test]
fn an_immutable_secret_keeps_its_values() {
    let case = Case::new("policy-immutable");
    case.fake_store(&[("a", "one"), ("b", "two")]);
    let target = json!({"immutable": true});
    case.of_fake("db", "a", target.clone(), json!({}));
    case.secret_is("db", "k", "one");
    assert_eq!(case.get("secrets", "db").unwrap()["immutable"], true);
    case.of_fake("db", "b", target, json!({}));
    case.ready(
        "externalsecrets",
        "db",
        "True",
        "target.immutable keeps its old values until the Secret is deleted",
    );
    case.secret_is("db", "k", "one");
    case.delete("secrets", "db");
    case.secret_is("db", "k", "two");
    // One that is immutable without our asking cannot be changed, and that is said.
    case.of_fake("other", "a", json!({}), json!({}));
    case.secret_is("other", "k", "one");
    case.patch("secrets", "other", json!({"immutable": true}));
    case.of_fake("other", "b", json!({}), json!({}));
    case.ready(
        "externalsecrets",
        "other",
        "False",
        "could not update secret, target is immutable",
    );
    case.secret_is("other", "k", "one");
}

#[test]
fn secrets_that_are_shared_keep_what_is_not_ours() {
    let case = Case::new("policy-shared");
    case.fake_store(&[("a", "v")]);
    case.of_fake(
        "made",
        "a",
        json!({"creationPolicy": "CreateOrMerge"}),
        json!({}),
    );
    case.secret_is("made", "k", "v");
    let made = case.get("secrets", "made").unwrap();
    assert!(made["metadata"]["ownerReferences"].is_null());
    case.patch("secrets", "made", json!({"stringData": {"theirs": "t"}}));
    // Somebody else's key is a change of the data: it is taken into the hash, not taken away.
    case.wait("externalsecrets", "made", "a look at it", |_| {
        let secret = case.get("secrets", "made").unwrap();
        secret["data"]["theirs"] == "dA==" && secret["data"]["k"] == "dg=="
    });
    case.of_fake("read", "a", json!({"creationPolicy": "None"}), json!({}));
    case.ready("externalsecrets", "read", "True", "secret synced");
    assert!(case.get("secrets", "read").is_none());
    // One that is to be merged waits for its Secret, and follows at once.
    case.of_fake("merged", "a", json!({"creationPolicy": "Merge"}), json!({}));
    let message = "secret will not be created due to CreationPolicy=Merge";
    assert_eq!(
        case.ready("externalsecrets", "merged", "True", message),
        "SecretMissing"
    );
    let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "merged"}, "stringData": {"x": "y"}});
    case.bed
        .cluster
        .apply(&case.path("secrets", "merged"), &theirs)
        .unwrap();
    case.secret_is("merged", "k", "v");
    case.secret_is("merged", "x", "y");
}

#[test]
fn a_policy_that_changes_gives_the_secret_free() {
    let case = Case::new("policy-change");
    case.fake_store(&[("a", "v")]);
    case.of_fake("db", "a", json!({}), json!({}));
    case.secret_is("db", "k", "v");
    case.of_fake("db", "a", json!({"creationPolicy": "Orphan"}), json!({}));
    let label = "reconcile.external-secrets.io/created-by";
    case.wait("secrets", "db", "no owner", |secret| {
        secret["metadata"]["ownerReferences"].is_null()
            && secret["metadata"]["labels"][label].is_null()
    });
    case.of_fake("db", "a", json!({}), json!({}));
    case.wait("secrets", "db", "an owner", |secret| {
        secret["metadata"]["ownerReferences"][0]["controller"] == true
            && !secret["metadata"]["labels"][label].is_null()
    });
}

#[test]
fn a_success_is_written_once() {
    let case = Case::new("policy-quiet");
    case.bed.aws.put("policy/quiet", "v");
    case.external_secret(
        "db",
        json!([{"secretKey": "k", "remoteRef": {"key": "policy/quiet"}}]),
    );
    case.secret_is("db", "k", "v");
    case.ready("externalsecrets", "db", "True", "secret synced");
    // The write of the Secret and of the status wake it again, and that is no reason to read again.
    case.bed.aws.put("policy/once", "v");
    let once = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"}});
    for number in 0..5 {
        let name = format!("once-{number}");
        let entry = json!([{"secretKey": "k", "remoteRef": {"key": "policy/once"}}]);
        let mut spec = once.clone();
        spec["data"] = entry;
        case.apply("externalsecrets", &name, spec);
        case.secret_is(&name, "k", "v");
        case.ready("externalsecrets", &name, "True", "secret synced");
    }
    let before = case.bed.aws.reads("policy/quiet");
    let (object, secret) = (
        case.version("externalsecrets", "db"),
        case.version("secrets", "db"),
    );
    // Several refreshes later nothing was written.
    let result = testbed::wait_for("refreshes", crate::bed::PATIENCE, || {
        anyhow::ensure!(case.bed.aws.reads("policy/quiet") > before + 4);
        Ok(())
    });
    result.unwrap();
    assert_eq!(case.bed.aws.reads("policy/once"), 5, "one read for each");
    assert_eq!(case.version("externalsecrets", "db"), object);
    assert_eq!(case.version("secrets", "db"), secret);
}

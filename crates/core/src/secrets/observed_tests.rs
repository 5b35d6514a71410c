//! Pure: decision tests of the rules in `observed`: values in, decision out, without a runtime.

use serde_json::{Value, json};

use super::*;
use crate::api::external_secret::StoreKind;
use crate::secrets::desired::resolve;
use crate::secrets::sync_status::SecretWriteResult;

/// The time of all tests. The last refresh was ten minutes before.
const NOW: &str = "2026-01-01T00:10:00Z";
const REFRESHED: &str = "2026-01-01T00:00:00Z";

const OPTIONS: SyncOptions<'static> = SyncOptions {
    status_heartbeat: None,
    stores: StoreOptions {
        controller_class: "default",
        serves_cluster_stores: true,
        requires_readiness: true,
    },
};

fn this_moment() -> Timestamp {
    NOW.parse().unwrap()
}

/// The ExternalSecret `team/db` of version 1, which reads the SecretStore `aws` every hour. Fields of `spec` are added.
#[expect(clippy::needless_pass_by_value, reason = "tests pass literals")]
fn external_secret(spec: Value) -> ExternalSecret {
    let mut full = json!({
        "secretStoreRef": {"name": "aws"},
        "refreshInterval": "1h",
        "data": [{"secretKey": "k", "remoteRef": {"key": "a"}}],
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        full[field] = value.clone();
    }
    let mut object = ExternalSecret::new("db", serde_json::from_value(full).unwrap());
    object.metadata.namespace = Some("team".to_owned());
    object.metadata.uid = Some("u".to_owned());
    object.metadata.generation = Some(1);
    object
}

/// An ExternalSecret that was synced ten minutes ago, and whose status says so.
fn synced(spec: Value) -> ExternalSecret {
    let mut object = external_secret(spec);
    let version = version(&object);
    object.status = Some(status(&version, "True", "SecretSynced"));
    object
}

fn status(version: &str, ready: &str, reason: &str) -> ExternalSecretStatus {
    serde_json::from_value(json!({
        "refreshTime": REFRESHED,
        "syncedResourceVersion": version,
        "binding": {"name": "db"},
        "conditions": [{"type": "Ready", "status": ready, "reason": reason}],
    }))
    .unwrap()
}

/// A SecretStore `aws` with this `Ready` condition, created a year before.
fn store(ready: Option<&str>) -> ObservedStore {
    let metadata = json!({"name": "aws", "namespace": "team", "generation": 3, "creationTimestamp": "2025-01-01T00:00:00Z"});
    let metadata = serde_json::from_value(metadata).unwrap();
    let spec = serde_json::from_value(json!({"provider": {}})).unwrap();
    let status = ready.map(|status| {
        serde_json::from_value(json!({"conditions": [{"type": "Ready", "status": status}]}))
            .unwrap()
    });
    let state = StoreState::new(StoreKind::SecretStore, &metadata, &spec, status.as_ref());
    ObservedStore {
        reference: state.reference.clone(),
        state: Ok(state),
    }
}

fn missing_store() -> ObservedStore {
    let reference = store(None).reference;
    ObservedStore {
        state: Err(StoreUnusable::missing(&reference, "team")),
        reference,
    }
}

/// Observed just after the sync that the status tells of, by the process that made it.
fn observed(object: &ExternalSecret) -> ObservedExternalSecret<'_> {
    let mut observed = ObservedExternalSecret {
        object,
        desired: resolve("db", &object.spec),
        stores: vec![store(Some("True"))],
        namespace_labels: Some(BTreeMap::new()),
        last_sync: None,
        watched_secret_version: Some("7".to_owned()),
        has_refresh_request: false,
        has_stale_sources: false,
        has_changed_values: false,
        confirmed_ago: None,
        uptime: Duration::from_secs(3600),
    };
    if object.status.is_some() {
        let outcome = SyncOutcome {
            secret_version: "7".to_owned(),
            ..SyncOutcome::new(false, REFRESHED.parse().unwrap())
        };
        observed.last_sync = Some(observed.last_sync_of(&outcome));
    }
    observed
}

/// Checks when a refresh is due, and the place in the queue.
#[track_caller]
fn check_due(observed: &ObservedExternalSecret<'_>, expected: Due, urgency: Urgency) {
    let standing = observed.standing(&OPTIONS, this_moment());
    assert_eq!((standing.due, standing.urgency), (expected, urgency));
}

#[track_caller]
fn check_read(observed: &ObservedExternalSecret<'_>, expected: ReadDecision) {
    let standing = observed.standing(&OPTIONS, this_moment());
    let decision = observed.before_read(&standing, &OPTIONS.stores, this_moment());
    assert_eq!(decision, expected, "{standing:?}");
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

#[test]
fn a_refresh_is_due_first_after_the_interval_and_after_a_change() {
    use Urgency::{Changed, NeverSynced, Periodic};
    let new = external_secret(json!({}));
    check_due(&observed(&new), Due::Now, NeverSynced);
    let mut failed = external_secret(json!({}));
    failed.status = Some(ExternalSecretStatus {
        refresh_time: None,
        ..status("", "False", "SecretSyncedError")
    });
    let mut failed = observed(&failed);
    failed.last_sync = None;
    check_due(&failed, Due::Now, Periodic);
    let current = synced(json!({}));
    check_due(&observed(&current), Due::In(minutes(50)), Periodic);
    let frequent = synced(json!({"refreshInterval": "10m"}));
    check_due(&observed(&frequent), Due::Now, Periodic);
    let mut changed = synced(json!({}));
    changed.metadata.generation = Some(2);
    check_due(&observed(&changed), Due::Now, Changed);
}

#[test]
fn changed_templates_are_followed_unless_values_are_generated() {
    let object = synced(json!({}));
    let mut stale = observed(&object);
    stale.has_stale_sources = true;
    check_due(&stale, Due::Now, Urgency::Changed);
    let generator = json!({"sourceRef": {"generatorRef": {"kind": "UUID", "name": "u"}}});
    let object = synced(json!({"data": [], "dataFrom": [generator]}));
    let mut stale = observed(&object);
    stale.has_stale_sources = true;
    check_due(&stale, Due::In(minutes(50)), Urgency::Periodic);
    assert!(
        stale.ignores_backoff(),
        "a failure is tried again all the same"
    );
}

#[test]
fn a_changed_value_or_another_store_is_read_at_once() {
    let object = synced(json!({}));
    let mut changed = observed(&object);
    changed.has_changed_values = true;
    check_due(&changed, Due::Now, Urgency::Periodic);
    let with_other_stores = |ready| {
        let mut observed = observed(&object);
        let mut other = store(ready);
        other.state.as_mut().unwrap().generation = 4;
        observed.stores = vec![other];
        observed
    };
    check_due(
        &with_other_stores(Some("True")),
        Due::Now,
        Urgency::Periodic,
    );
    // A store that cannot be read is waited for, and the Secret keeps its values meanwhile.
    let waiting = with_other_stores(Some("False"));
    check_due(&waiting, Due::In(minutes(50)), Urgency::Periodic);
}

#[test]
fn a_secret_that_another_writer_changed_is_repaired_before_periodic_refreshes() {
    let object = synced(json!({}));
    let mut edited = observed(&object);
    edited.watched_secret_version = Some("8".to_owned());
    check_due(&edited, Due::In(minutes(50)), Urgency::Changed);
    assert!(!edited.standing(&OPTIONS, this_moment()).is_secret_unchanged);
    edited.watched_secret_version = None;
    check_due(&edited, Due::In(minutes(50)), Urgency::Changed);
    // Another process has made the last sync: nothing is known of the Secret.
    edited.last_sync = None;
    check_due(&edited, Due::In(minutes(50)), Urgency::Periodic);
}

#[test]
fn confirmed_values_count_as_read() {
    let confirmed = |object| ObservedExternalSecret {
        confirmed_ago: Some(minutes(2)),
        ..observed(object)
    };
    // The refresh was long ago, but the values are watched and have not changed.
    let object = synced(json!({"refreshInterval": "5m"}));
    check_due(&observed(&object), Due::Now, Urgency::Periodic);
    check_due(&confirmed(&object), Due::In(minutes(60)), Urgency::Periodic);
    let refreshed = confirmed(&object)
        .standing(&OPTIONS, this_moment())
        .last_sync;
    assert_eq!(refreshed.unwrap().refreshed, this_moment() - minutes(2));
    let mut unusable = confirmed(&object);
    unusable.stores = vec![missing_store()];
    check_due(&unusable, Due::Now, Urgency::Periodic);
    // An orphan has no hash of its own, so only its resource version tells that it is kept.
    let orphan = synced(json!({"refreshInterval": "5m", "target": {"creationPolicy": "Orphan"}}));
    check_due(&confirmed(&orphan), Due::In(minutes(60)), Urgency::Periodic);
    let mut edited = confirmed(&orphan);
    edited.watched_secret_version = Some("8".to_owned());
    check_due(&edited, Due::Now, Urgency::Periodic);
}

#[test]
fn the_status_of_watched_values_is_written_once_per_heartbeat() {
    let object = synced(json!({}));
    let check = |heartbeat: Option<Duration>, expected: Due| {
        let options = SyncOptions {
            status_heartbeat: heartbeat,
            ..OPTIONS
        };
        let confirmed = ObservedExternalSecret {
            confirmed_ago: Some(minutes(2)),
            ..observed(&object)
        };
        assert_eq!(confirmed.standing(&options, this_moment()).due, expected);
    };
    check(None, Due::In(minutes(60)));
    check(Some(minutes(11)), Due::In(minutes(11)));
    check(Some(minutes(120)), Due::In(minutes(60)));
    check(Some(minutes(10)), Due::Now);
}

#[test]
fn an_object_rests_while_it_is_ready_and_its_secret_is_unchanged() {
    let object = synced(json!({}));
    let rest = ReadDecision::Rest(Requeue::After(minutes(50)));
    check_read(&observed(&object), rest);
    let mut edited = observed(&object);
    edited.watched_secret_version = None;
    check_read(&edited, ReadDecision::Read);
    let once = synced(json!({"refreshPolicy": "CreatedOnce"}));
    check_read(&observed(&once), ReadDecision::Rest(Requeue::OnChange));
    let due = synced(json!({"refreshInterval": "10m"}));
    check_read(&observed(&due), ReadDecision::Read);
    let mut invalid = observed(&object);
    invalid.desired = Err(SpecError::Empty);
    check_read(&invalid, ReadDecision::Read);
}

#[test]
fn the_cache_tells_readiness_before_the_status_comes_back() {
    let mut object = synced(json!({}));
    let mut failed = observed(&object);
    failed.last_sync.as_mut().unwrap().is_ready = false;
    check_read(&failed, ReadDecision::Read);
    let failure = status(&version(&object), "False", "SecretSyncedError");
    object.status = Some(failure);
    let mut another = observed(&object);
    check_read(&another, ReadDecision::Rest(Requeue::After(minutes(50))));
    // A status that was written later than the last sync of this process counts.
    another.last_sync.as_mut().unwrap().refreshed = "2025-12-31T23:59:00Z".parse().unwrap();
    check_read(&another, ReadDecision::Read);
}

#[test]
fn the_first_condition_of_a_new_store_is_waited_for() {
    let object = external_secret(json!({}));
    let mut starting = observed(&object);
    starting.stores = vec![store(None)];
    check_read(&starting, ReadDecision::Read);
    starting.uptime = Duration::from_secs(3);
    check_read(&starting, ReadDecision::AwaitStore(Duration::from_secs(2)));
    starting.stores = vec![store(Some("False"))];
    check_read(&starting, ReadDecision::Read);
    starting.stores = vec![missing_store()];
    check_read(&starting, ReadDecision::Read);
    starting.stores = vec![store(None)];
    let lax = StoreOptions {
        requires_readiness: false,
        ..OPTIONS.stores
    };
    let standing = starting.standing(&OPTIONS, this_moment());
    let decision = starting.before_read(&standing, &lax, this_moment());
    assert_eq!(decision, ReadDecision::Read);
}

#[test]
fn stores_of_other_controllers_are_left_alone() {
    let check = |stores: &[ObservedStore], expected| {
        assert_eq!(are_served(stores, &OPTIONS.stores), expected);
    };
    let mut other = store(None);
    other.state.as_mut().unwrap().spec.controller = Some("another".to_owned());
    check(&[], true);
    check(&[store(None), missing_store()], true);
    check(&[store(None), other], false);
}

/// The live Secret as a sync wrote it, or with an edited value.
fn live(value: &str) -> LiveSecret {
    use crate::secrets::hash::data_hash;
    use crate::secrets::{SecretData, SecretValue};
    let written = SecretData::from([("k".to_owned(), SecretValue::from(b"v".to_vec()))]);
    let secret = json!({
        "metadata": {
            "name": "db", "resourceVersion": "9",
            "labels": {"reconcile.external-secrets.io/managed": "true"},
            "annotations": {"reconcile.external-secrets.io/data-hash": data_hash(&written)},
        },
        "data": {"k": value},
    });
    LiveSecret::Read(Some(Box::new(serde_json::from_value(secret).unwrap())))
}

#[test]
fn a_live_secret_that_is_as_it_was_written_is_kept() {
    let object = synced(json!({}));
    let check = |object: &ExternalSecret, live: &LiveSecret, is_kept: bool| {
        let observed = observed(object);
        let standing = observed.standing(&OPTIONS, this_moment());
        let decision = observed.before_sync(&standing, live);
        let kept = matches!(decision, SyncDecision::Keep { .. });
        assert_eq!(kept, is_kept, "{live:?}: {decision:?}");
    };
    let none = LiveSecret::Read(None);
    check(&object, &LiveSecret::Unchanged, true);
    check(&object, &live("dg=="), true);
    check(&object, &live("ZWRpdGVk"), false);
    check(&object, &none, false);
    // With these policies a Secret may be missing.
    let mut deleted = synced(json!({"target": {"deletionPolicy": "Delete"}}));
    deleted.status = Some(status(&version(&deleted), "True", "SecretDeleted"));
    check(&deleted, &none, true);
    let merge = synced(json!({"target": {"creationPolicy": "Merge"}}));
    check(&merge, &none, true);
    // What is due, or has failed, is synced whatever the Secret is.
    let due = synced(json!({"refreshInterval": "10m"}));
    check(&due, &live("dg=="), false);
    let invalid = synced(json!({"data": []}));
    check(&invalid, &live("dg=="), false);
}

#[test]
fn a_secret_that_was_retained_and_never_existed_is_not_missed() {
    let mut object = synced(json!({}));
    let mut status = status(&version(&object), "True", "SecretSynced");
    status.binding.name.clear();
    status.conditions[0].message = Some(
        "secret retained due to DeletionPolicy=Retain: the stores have no values for it".into(),
    );
    object.status = Some(status);
    let observed = observed(&object);
    let standing = observed.standing(&OPTIONS, this_moment());
    let decision = observed.before_sync(&standing, &LiveSecret::Read(None));
    let requeue = Requeue::After(minutes(50));
    let last_sync = None;
    assert_eq!(decision, SyncDecision::Keep { last_sync, requeue });
}

#[test]
fn the_sync_of_another_process_is_remembered_without_its_hash() {
    let object = synced(json!({}));
    let mut observed = observed(&object);
    observed.last_sync = None;
    let standing = observed.standing(&OPTIONS, this_moment());
    let decision = observed.before_sync(&standing, &live("dg=="));
    let expected = LastSync {
        uid: "u".to_owned(),
        version: version(&object),
        refreshed: REFRESHED.parse().unwrap(),
        is_ready: true,
        stores: observed.stores_fingerprint(),
        secret_version: "9".to_owned(),
        rendered: None,
        repairs: RepairHistory::default(),
    };
    let expected = SyncDecision::Keep {
        last_sync: Some(Box::new(expected)),
        requeue: Requeue::After(minutes(50)),
    };
    assert_eq!(decision, expected);
}

#[test]
fn a_failure_is_tried_again_when_something_that_decides_changes() {
    let object = synced(json!({}));
    let before = observed(&object).sync_fingerprint(&LiveSecret::Unchanged);
    let check = |observed: &ObservedExternalSecret<'_>, live: &LiveSecret, is_same: bool| {
        assert_eq!(observed.sync_fingerprint(live) == before, is_same);
    };
    check(&observed(&object), &LiveSecret::Unchanged, true);
    check(&observed(&object), &LiveSecret::Read(None), false);
    check(&observed(&object), &live("dg=="), false);
    let mut recovered = observed(&object);
    for other in [store(Some("False")), store(None), missing_store()] {
        recovered.stores = vec![other];
        check(&recovered, &LiveSecret::Unchanged, false);
    }
    let mut changed = object.clone();
    changed.metadata.generation = Some(2);
    check(&observed(&changed), &LiveSecret::Unchanged, false);
    let mut again = object.clone();
    again.metadata.uid = Some("another".to_owned());
    check(&observed(&again), &LiveSecret::Unchanged, false);
}

#[test]
fn backoff_is_ignored_after_a_change_that_the_failure_may_have_come_from() {
    let object = synced(json!({}));
    assert!(!observed(&object).ignores_backoff());
    let requested = ObservedExternalSecret {
        has_refresh_request: true,
        ..observed(&object)
    };
    assert!(requested.ignores_backoff());
    let changed = ObservedExternalSecret {
        has_changed_values: true,
        ..observed(&object)
    };
    assert!(changed.ignores_backoff());
}

#[test]
fn a_sync_that_succeeded_is_remembered() {
    let object = external_secret(json!({}));
    let observed = observed(&object);
    let outcome = SyncOutcome {
        written: SecretWriteResult::Created,
        secret_version: "8".to_owned(),
        ..SyncOutcome::new(false, this_moment())
    };
    let last = observed.last_sync_of(&outcome);
    assert_eq!(
        (last.uid.as_str(), last.secret_version.as_str()),
        ("u", "8")
    );
    assert_eq!((last.refreshed, last.is_ready), (this_moment(), true));
    assert_eq!(last.stores, observed.stores_fingerprint());
}

#[test]
fn a_secret_that_another_writer_changes_again_and_again_is_repaired_ever_more_rarely() {
    let object = synced(json!({}));
    let mut now = observed(&object);
    let repair = SyncOutcome {
        written: SecretWriteResult::Updated,
        cause: SyncCause::Repair,
        secret_version: "8".to_owned(),
        ..SyncOutcome::new(false, REFRESHED.parse().unwrap())
    };
    for _ in 0..8 {
        now.last_sync = Some(now.last_sync_of(&repair));
    }
    // The watch has brought another change.
    now.watched_secret_version = Some("9".to_owned());
    let standing = now.standing(&OPTIONS, this_moment());
    assert_eq!(standing.cause(), SyncCause::Repair);
    check_read(
        &now,
        ReadDecision::Rest(Requeue::After(Duration::from_secs(4))),
    );
    now.uptime += Duration::from_secs(4);
    check_read(&now, ReadDecision::Read);
    now.uptime -= Duration::from_secs(4);
    // A new value, and a sync that has failed, do not wait.
    now.has_changed_values = true;
    check_read(&now, ReadDecision::Read);
    now.has_changed_values = false;
    if let Some(last) = &mut now.last_sync {
        last.is_ready = false;
    }
    check_read(&now, ReadDecision::Read);
    // A refresh that was due is no repair.
    let refresh = SyncOutcome {
        cause: SyncCause::Refresh,
        ..repair
    };
    let history = now.last_sync_of(&refresh).repairs;
    assert_eq!(Some(history), now.last_sync.map(|last| last.repairs));
}

#[test]
fn the_next_reconcile_is_at_the_interval_or_seldom_if_values_are_watched() {
    let check = |spec: Value, is_watched, heartbeat, expected: Requeue| {
        let object = external_secret(spec);
        let double = |interval| interval * 2;
        let requeue = requeue_after_sync(&object, is_watched, heartbeat, double);
        assert_eq!(requeue, expected);
    };
    check(json!({}), false, None, Requeue::After(minutes(120)));
    let once = json!({"refreshInterval": "0"});
    check(once, false, None, Requeue::OnChange);
    check(
        json!({"refreshInterval": "1m"}),
        true,
        None,
        Requeue::After(minutes(60)),
    );
    check(
        json!({}),
        true,
        Some(minutes(5)),
        Requeue::After(minutes(5)),
    );
}

#[test]
fn values_are_watched_where_an_interval_alone_decides() {
    let check = |spec: Value, expected: bool| {
        assert_eq!(can_be_watched(&external_secret(spec)), expected);
    };
    check(json!({}), true);
    check(json!({"refreshInterval": "0"}), false);
    check(json!({"refreshPolicy": "OnChange"}), false);
    let windows = json!({"kind": "allow", "windows": []});
    check(json!({"syncWindows": windows}), false);
}

#[test]
fn the_target_has_the_name_of_the_spec_or_of_the_object() {
    let check = |target: Value, name: &str, end: SecretEnd, at_the_end_of_the_kind: SecretEnd| {
        let object = external_secret(json!({"target": target}));
        assert_eq!(target_name(&object), name);
        assert_eq!(secret_end(&object, false), end);
        assert_eq!(secret_end(&object, true), at_the_end_of_the_kind);
        assert_eq!(
            owns_secret(&object),
            at_the_end_of_the_kind == SecretEnd::Release
        );
    };
    use SecretEnd::{Delete, Leave, Release};
    check(json!({}), "db", Leave, Release);
    check(json!({"name": ""}), "db", Leave, Release);
    let deleted = json!({"name": "t", "deletionPolicy": "Delete"});
    check(deleted, "t", Delete, Release);
    let orphan = json!({"creationPolicy": "Orphan", "deletionPolicy": "Delete"});
    check(orphan, "db", Leave, Leave);
}

//! Who may have an object, and what deletions wait for.

use super::*;

const UNITS: &str = "kustomize.toolkit.fluxcd.io/v1";

fn unit(name: &str) -> NamespacedName {
    NamespacedName::new("team", name)
}

fn ids(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Asserts what `app` may do with object `x`, which the labels give to `owner`.
fn check(
    owner: NamespacedName,
    other: Option<OtherKustomization>,
    take_over: Option<&str>,
    expected: &Claim<'_>,
) {
    let owners = LiveOwners {
        by_object: [("x".to_owned(), owner.clone())].into(),
        kustomizations: other.map(|other| (owner, other)).into_iter().collect(),
        going: BTreeSet::new(),
    };
    assert_eq!(&owners.claim(&unit("app"), "x", take_over), expected);
}

#[test]
fn an_object_that_another_owner_renders_is_a_conflict() {
    let other = unit("other");
    let renders = |text: &str| Some(OtherKustomization::Renders(ids(text)));
    check(
        other.clone(),
        renders("x y"),
        None,
        &Claim::Conflict(&other),
    );
    check(other.clone(), renders("y"), None, &Claim::Free);
    check(
        other.clone(),
        Some(OtherKustomization::Gone),
        None,
        &Claim::Free,
    );
    check(other.clone(), None, None, &Claim::Free);
    check(unit("app"), renders("x"), None, &Claim::Free);
    let partial = NamespacedName::new("", "other");
    check(partial, renders("x"), None, &Claim::Free);
}

#[test]
fn an_object_is_taken_over_by_the_name_of_its_owner() {
    let other = unit("other");
    let renders = || Some(OtherKustomization::Renders(ids("x")));
    let named = Some("team/other");
    check(other.clone(), renders(), named, &Claim::TakeOver(&other));
    check(
        other.clone(),
        renders(),
        Some("team/b"),
        &Claim::Conflict(&other),
    );
    let unreadable = || Some(OtherKustomization::Unreadable("forbidden".to_owned()));
    let unknown = Claim::Unreadable(&other, "forbidden");
    check(other.clone(), unreadable(), None, &unknown);
    check(other.clone(), unreadable(), named, &Claim::TakeOver(&other));
}

fn claims(text: &str) -> WantedObjects {
    WantedObjects {
        objects: ids(text),
        ..WantedObjects::default()
    }
}

fn map(name: &str) -> ObjectRef {
    ObjectRef::new("v1", "ConfigMap", "team", name)
}

/// A registry in which these Kustomizations follow the source `repo`.
fn followed(units: &[&str]) -> Ownership {
    let ownership = Ownership::default();
    for name in units {
        ownership.follows(&unit(name), Some(unit("repo")));
    }
    ownership
}

/// The Kustomization that deletions of `a` wait for at a revision, while these exist; `?` marks one that has failed.
fn waits_for(ownership: &Ownership, revision: &str, existing: &str) -> String {
    waits_but_for(ownership, revision, existing, "")
}

/// The same, where these are deleted with it.
fn waits_but_for(ownership: &Ownership, revision: &str, existing: &str, going: &str) -> String {
    let names = |text: &str| text.split_whitespace().map(unit).collect();
    let (going, existing) = (names(going), names(existing));
    let deletion = PendingDeletion {
        unit: &unit("a"),
        source: &unit("repo"),
        revision: Some(revision).filter(|revision| !revision.is_empty()),
        objects: &[map("m")],
        going: &going,
    };
    let existing = ExistingUnits {
        all: existing.clone(),
        served: existing,
    };
    let undecided = ownership.undecided(&deletion, &existing);
    undecided.map_or_else(String::new, |undecided| {
        let mark = match undecided.reason {
            UndecidedReason::Open => "",
            UndecidedReason::NotBuilt => "?",
            UndecidedReason::NotApplied => "!",
        };
        format!("{}{mark}", undecided.unit.name)
    })
}

#[test]
fn an_object_that_moves_is_known_before_it_is_let_go() {
    let ownership = followed(&["a", "b"]);
    let (a, b, none) = (unit("a"), unit("b"), BTreeSet::new());
    assert_eq!(ownership.rendered(&a), None, "not built yet");
    assert!(ownership.claim(&a, "1", claims("x y")).is_empty());
    assert_eq!(waits_for(&ownership, "1", "a b"), "b");
    let woken = ownership.claim(&b, "1", claims("z"));
    assert_eq!(woken, std::slice::from_ref(&a), "its deletions wait");
    assert_eq!(waits_for(&ownership, "1", "a b"), "");

    // The next revision moves x from a to b.
    ownership.claim(&b, "2", claims("x z"));
    assert_eq!(
        ownership.rendered(&a),
        Some(ids("x y")),
        "a conflict, for now"
    );
    let wanted = |id: &str, going| {
        let claimant = ownership.wanted_elsewhere(&a, id, going);
        claimant.map(|claimant| claimant.unit)
    };
    assert_eq!(wanted("x", &none), Some(b.clone()));
    let going = [b.clone()].into();
    assert_eq!(wanted("x", &going), None);
    let woken = ownership.claim(&a, "2", claims("y"));
    assert_eq!(woken, std::slice::from_ref(&b), "b can go on");
    assert_eq!(ownership.rendered(&a), Some(ids("y")));
    ownership.going(&b);
    assert_eq!(wanted("x", &none), None);
    assert!(ownership.is_dropped(&b));
    assert_eq!(waits_for(&ownership, "3", "a b"), "", "b is being deleted");
}

#[test]
fn a_suspended_kustomization_holds_up_no_other() {
    let ownership = followed(&["b"]);
    let b = unit("b");
    assert_eq!(waits_for(&ownership, "1", "b"), "b");
    ownership.settle(&b, "1", Settlement::Decided);
    assert_eq!(waits_for(&ownership, "1", "b"), "");
    assert_eq!(waits_for(&ownership, "2", "b"), "b");
    ownership.follows(&b, None);
    assert_eq!(waits_for(&ownership, "2", "b"), "");
    ownership.claim(&b, "2", claims("x"));
    assert!(ownership.forget(&b).is_empty());
    let wanted = ownership.wanted_elsewhere(&unit("a"), "x", &BTreeSet::new());
    assert_eq!(wanted, None);
}

#[test]
fn a_kustomization_that_cannot_be_built_has_not_said_what_it_wants() {
    let ownership = followed(&["b", "c"]);
    ownership.settle(&unit("b"), "1", Settlement::NotBuilt);
    assert_eq!(
        waits_for(&ownership, "1", "b c"),
        "c",
        "it was not tried yet"
    );
    let woken = ownership.settle(&unit("c"), "1", Settlement::Decided);
    assert_eq!(woken, [unit("a")]);
    assert_eq!(waits_for(&ownership, "1", "b c"), "b?");
    ownership.settle(&unit("b"), "1", Settlement::Decided);
    assert_eq!(
        waits_but_for(&ownership, "1", "b c", "b"),
        "",
        "it goes too"
    );
    assert_eq!(waits_for(&ownership, "1", "b c"), "b?", "it has failed");
    assert_eq!(ownership.forget(&unit("b")), [unit("a")]);
    assert_eq!(waits_for(&ownership, "1", "c"), "");
}

#[test]
fn a_kustomization_that_has_just_come_is_waited_for() {
    let ownership = followed(&["a", "parent"]);
    let desired = Desired {
        reference: ObjectRef::new(UNITS, "Kustomization", "team", "new"),
        manifest: serde_json::Value::Null,
        source: None,
        hash: [0; 32],
    };
    let held = [ObjectRef::new(UNITS, "Kustomization", "team", "old")];
    let claims = WantedObjects::of(&[desired], &held, true);
    assert_eq!(claims.dropped, [unit("old")].into());
    ownership.claim(&unit("a"), "1", WantedObjects::default());
    ownership.claim(&unit("parent"), "1", claims);
    assert!(ownership.is_dropped(&unit("old")));
    assert!(!ownership.is_dropped(&unit("new")));
    let waits = waits_for(&ownership, "1", "a parent");
    assert_eq!(waits, "new", "its parent is about to create it");
    let waits = waits_for(&ownership, "1", "a parent new");
    assert_eq!(waits, "new", "no watch event has told it yet");
    let all = [unit("a"), unit("new")].into();
    assert_eq!(ownership.unknown(&all), [unit("new")]);
    ownership.follows(&unit("new"), Some(unit("repo")));
    assert!(ownership.unknown(&all).is_empty());
    assert_eq!(
        waits_for(&ownership, "1", "a parent new"),
        "new",
        "not built"
    );
    ownership.claim(&unit("new"), "1", WantedObjects::default());
    assert_eq!(waits_for(&ownership, "1", "a parent new"), "");
    let claims = WantedObjects::of(&[], &held, false);
    assert_eq!(claims, WantedObjects::default(), "it prunes nothing");
}

#[test]
fn a_claim_counts_when_the_object_was_applied_and_not_if_the_account_may_not() {
    let ownership = followed(&["a", "b"]);
    let (id, b) = (map("m").id(), unit("b"));
    let one: BTreeSet<String> = [id.clone()].into();
    let (none, nobody) = (BTreeSet::new(), BTreeSet::new());
    let claims = WantedObjects {
        objects: one.clone(),
        ..WantedObjects::default()
    };
    ownership.claim(&b, "1", claims);
    assert_eq!(waits_for(&ownership, "1", "a b"), "b!");
    let wanted = || {
        let claimant = ownership.wanted_elsewhere(&unit("a"), &id, &nobody);
        claimant.map(|claimant| claimant.has_applied)
    };
    assert_eq!(wanted(), Some(false));
    assert_eq!(ownership.tried(&b, &none, &one), [unit("a")]);
    assert_eq!(wanted(), None, "it is not kept from being deleted");
    assert_eq!(waits_for(&ownership, "1", "a b"), "");
    assert_eq!(ownership.rendered(&b), Some(none.clone()), "no conflict");
    // With more rights it is applied.
    ownership.tried(&b, &one, &none);
    assert_eq!(wanted(), Some(true));
    assert_eq!(waits_for(&ownership, "1", "a b"), "");
    assert!(ownership.tried(&b, &one, &none).is_empty(), "no news");
}

#[test]
fn after_a_restart_a_status_tells_what_was_applied() {
    let ownership = followed(&["a", "b", "c"]);
    ownership.resume(&unit("b"), "1", ids("x"));
    assert_eq!(waits_for(&ownership, "1", "a b c"), "c");
    ownership.resume(&unit("c"), "1", ids("y"));
    assert_eq!(waits_for(&ownership, "1", "a b c"), "");
    assert_eq!(
        waits_for(&ownership, "", "a b c"),
        "",
        "nothing is fetched yet"
    );
    assert_eq!(waits_for(&ownership, "2", "a b c"), "b");
    let wanted = ownership.wanted_elsewhere(&unit("a"), "x", &BTreeSet::new());
    let unit_of = |claimant: &Claimant| (claimant.unit.clone(), claimant.has_applied);
    assert_eq!(wanted.as_ref().map(unit_of), Some((unit("b"), true)));
    ownership.claim(&unit("b"), "2", claims("z"));
    ownership.resume(&unit("b"), "1", ids("x"));
    assert_eq!(ownership.rendered(&unit("b")), Some(ids("z")), "newer");
}

#[test]
fn a_kustomization_that_the_plan_deletes_claims_nothing() {
    let child = unit("child");
    let renders = OtherKustomization::Renders(ids("x"));
    let mut owners = LiveOwners {
        by_object: [("x".to_owned(), child.clone())].into(),
        kustomizations: [(child.clone(), renders)].into(),
        going: BTreeSet::new(),
    };
    let claim = |owners: &LiveOwners| owners.claim(&unit("app"), "x", None) == Claim::Free;
    assert!(!claim(&owners));
    owners.going.insert(child);
    assert!(claim(&owners));
}

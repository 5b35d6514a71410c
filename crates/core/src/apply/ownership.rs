//! Pure: which Kustomization owns an object, and which others render it.
//!
//! Two sources tell it. The labels of a live object name the Kustomization that applied it last ([`LiveOwners`]); the
//! last build of each Kustomization tells which objects it renders ([`Ownership`]). Both together decide whether two
//! Kustomizations would take an object from each other in turn, and keep an object that moves from one to the other
//! from being deleted on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use parking_lot::{Mutex, MutexGuard};

use crate::api::annotations::TAKE_OVER;
use crate::apply::desired::Desired;
use crate::apply::object_ref::ObjectRef;
use crate::apply::skip::Skip;
use crate::names::NamespacedName;

/// The Kustomizations that own the objects of a build in the cluster, as they were before a plan is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LiveOwners {
    /// The Kustomization that the labels of an object name, by the id of the object. Objects that nobody owns, or of
    /// which nothing is known, are left out.
    pub by_object: BTreeMap<String, NamespacedName>,
    /// Every other Kustomization that `by_object` names.
    pub kustomizations: BTreeMap<NamespacedName, OtherKustomization>,
    /// The Kustomizations that the plan deletes, directly or with another one: they claim nothing any more.
    pub going: BTreeSet<NamespacedName>,
}

/// A Kustomization that owns an object which another one renders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtherKustomization {
    /// It does not exist, so labels that name it mean nothing.
    Gone,
    /// It exists and renders the objects with these ids: those of its last build or, before its first build, those of
    /// its inventory.
    Renders(BTreeSet<String>),
    /// The API server does not tell, for this reason. It must not be taken for a Kustomization that is gone.
    Unreadable(String),
}

/// What another owner of an object means for the Kustomization that renders it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim<'o> {
    /// No other Kustomization stands in the way.
    Free,
    /// The object names its owner to take it over.
    TakeOver(&'o NamespacedName),
    /// The owner renders the object too.
    Conflict(&'o NamespacedName),
    /// Whether the owner renders the object cannot be read, for this reason.
    Unreadable(&'o NamespacedName, &'o str),
}

/// An object that another Kustomization owns and renders too. The text form is the reason without the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The object.
    pub object: ObjectRef,
    /// The file that it was rendered from, for messages.
    pub source: Option<String>,
    /// The Kustomization that owns it.
    pub owner: NamespacedName,
}

impl fmt::Display for Conflict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = &self.owner;
        write!(
            formatter,
            "Kustomization `{owner}` applies it too; take it out of one of them, or let it go over to this one with the annotation `{TAKE_OVER}: {owner}` on the object"
        )
    }
}

impl LiveOwners {
    /// The owner of an object, if it is a Kustomization other than `unit`.
    pub fn other(&self, unit: &NamespacedName, id: &str) -> Option<&NamespacedName> {
        let owner = self.by_object.get(id)?;
        let is_other = owner != unit && !owner.namespace.is_empty() && !owner.name.is_empty();
        is_other.then_some(owner)
    }

    /// Whether a Kustomization can have an object; `take_over` is the object's annotation of this name.
    pub fn claim(&self, unit: &NamespacedName, id: &str, take_over: Option<&str>) -> Claim<'_> {
        let Some(owner) = self.other(unit, id) else {
            return Claim::Free;
        };
        if take_over == Some(owner.to_string().as_str()) {
            return Claim::TakeOver(owner);
        }
        // A child that is folded into its parent would otherwise keep the parent from applying, and so from deleting it.
        if self.going.contains(owner) {
            return Claim::Free;
        }
        match self.kustomizations.get(owner) {
            Some(OtherKustomization::Renders(ids)) if ids.contains(id) => Claim::Conflict(owner),
            Some(OtherKustomization::Unreadable(reason)) => Claim::Unreadable(owner, reason),
            Some(OtherKustomization::Renders(_) | OtherKustomization::Gone) | None => Claim::Free,
        }
    }
}

/// What a Kustomization wants of the cluster at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// The ids of the objects that it renders.
    pub objects: BTreeSet<String>,
    /// The Kustomizations among them, which may want objects too as soon as they exist.
    pub children: BTreeSet<NamespacedName>,
    /// The Kustomizations that it has applied and no longer renders, so that it deletes them.
    pub dropped: BTreeSet<NamespacedName>,
}

impl Claims {
    /// The claims of a build. `held` is the inventory of the Kustomization; `prunes` tells whether it deletes what it no
    /// longer renders.
    pub fn of(desired: &[Desired], held: &[ObjectRef], prunes: bool) -> Self {
        let objects: BTreeSet<String> = desired.iter().map(|of| of.reference.id()).collect();
        let applied = desired
            .iter()
            .filter(|of| Skip::opt_out(&of.manifest).is_none());
        let dropped = held
            .iter()
            .filter(|object| prunes && !objects.contains(&object.id()));
        Self {
            children: applied.filter_map(|of| of.reference.unit()).collect(),
            dropped: dropped.filter_map(ObjectRef::unit).collect(),
            objects,
        }
    }
}

/// The claims of all Kustomizations, and which of them are known for which revision.
///
/// Nothing is deleted before every Kustomization of the source has said what it wants: a build that moves an object
/// from one Kustomization to another must not delete it on the way ([`Ownership::undecided`]).
#[derive(Debug, Default)]
pub struct Ownership(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    units: BTreeMap<NamespacedName, Unit>,
    /// Kustomizations whose deletions wait, with their source.
    waiting: BTreeMap<NamespacedName, NamespacedName>,
}

#[derive(Debug, Default)]
struct Unit {
    /// The source that it follows; none while it is suspended or being deleted.
    source: Option<NamespacedName>,
    decision: Decision,
    /// None before the first build.
    claims: Option<Claims>,
    /// It is being deleted, so that no other needs to leave its objects to it.
    is_going: bool,
}

/// Whether the claims of a Kustomization are known.
#[derive(Debug, Default, PartialEq, Eq)]
enum Decision {
    /// They are not known yet.
    #[default]
    Open,
    /// They are known for this revision.
    Made(String),
    /// This revision cannot be built.
    Failed(String),
}

/// Whether a Kustomization has told its claims, after a reconcile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It has, or it has none.
    Decided,
    /// It could not be built, so its claims are not known.
    NotBuilt,
}

/// A Kustomization that may want objects that are about to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// Its name.
    pub unit: NamespacedName,
    /// It was tried, and cannot be built: only a person can change that.
    pub has_failed: bool,
}

/// Deletions that a Kustomization is about to carry out.
#[derive(Debug, Clone, Copy)]
pub struct PendingDeletion<'d> {
    /// The Kustomization that deletes.
    pub unit: &'d NamespacedName,
    /// Its source.
    pub source: &'d NamespacedName,
    /// The revision in service; none if the source has fetched nothing yet.
    pub revision: Option<&'d str>,
    /// The Kustomizations that are deleted with it, which claim nothing any more.
    pub going: &'d BTreeSet<NamespacedName>,
}

/// The Kustomizations that the API server has now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExistingUnits {
    /// All of them.
    pub all: BTreeSet<NamespacedName>,
    /// Those that this process serves.
    pub served: BTreeSet<NamespacedName>,
}

impl Ownership {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock()
    }

    /// Notes the source that a Kustomization follows; none while it is suspended or being deleted.
    pub fn follows(&self, unit: &NamespacedName, source: Option<NamespacedName>) {
        self.lock().unit(unit).source = source;
    }

    /// Notes what a Kustomization has applied before this process began, as its status tells, unless a build has told
    /// more since.
    pub fn resume(&self, unit: &NamespacedName, revision: &str, objects: BTreeSet<String>) {
        let mut registry = self.lock();
        let known = registry.unit(unit);
        if known.claims.is_none() {
            known.decision = Decision::Made(revision.to_owned());
            known.claims = Some(Claims {
                objects,
                ..Claims::default()
            });
        }
    }

    /// Notes the claims of a Kustomization at a revision. Returns the others that can go on: those that render an object
    /// which it has let go of, and those whose deletions wait.
    pub fn claim(
        &self,
        unit: &NamespacedName,
        revision: &str,
        claims: Claims,
    ) -> Vec<NamespacedName> {
        let mut registry = self.lock();
        let known = registry.unit(unit);
        known.decision = Decision::Made(revision.to_owned());
        let before = known.claims.replace(claims).unwrap_or_default().objects;
        let now = known.claims.as_ref().map(|claims| &claims.objects);
        let left = now.map(|now| before.difference(now).cloned().collect());
        registry.woken(unit, &left.unwrap_or_default())
    }

    /// Notes that a reconcile has ended, so that no other waits for its claims. Returns the others that can go on.
    pub fn settle(
        &self,
        unit: &NamespacedName,
        revision: &str,
        settlement: Settlement,
    ) -> Vec<NamespacedName> {
        let mut registry = self.lock();
        let known = registry.unit(unit);
        let before = known.decision.at(Some(revision));
        // What could not be built is known by its next build alone.
        if before == Some(settlement) || before == Some(Settlement::NotBuilt) {
            return Vec::new();
        }
        let decision = match settlement {
            Settlement::Decided => Decision::Made(revision.to_owned()),
            Settlement::NotBuilt => Decision::Failed(revision.to_owned()),
        };
        known.decision = decision;
        registry.woken(unit, &BTreeSet::new())
    }

    /// Notes that a Kustomization is being deleted.
    pub fn going(&self, unit: &NamespacedName) {
        if let Some(unit) = self.lock().units.get_mut(unit) {
            unit.is_going = true;
        }
    }

    /// Forgets a Kustomization that is gone. Returns the others that can go on.
    pub fn forget(&self, unit: &NamespacedName) -> Vec<NamespacedName> {
        let mut registry = self.lock();
        registry.waiting.remove(unit);
        let left = registry
            .units
            .get_mut(unit)
            .and_then(|unit| unit.claims.take());
        let woken = registry.woken(unit, &left.unwrap_or_default().objects);
        registry.units.remove(unit);
        woken
    }

    /// The ids of the objects that a Kustomization renders; none before its first build.
    pub fn rendered(&self, unit: &NamespacedName) -> Option<BTreeSet<String>> {
        let registry = self.lock();
        let claims = registry.units.get(unit)?.claims.as_ref()?;
        Some(claims.objects.clone())
    }

    /// True if a Kustomization is being deleted, or another one that has applied it no longer renders it: its objects
    /// are free to be taken.
    pub fn is_dropped(&self, unit: &NamespacedName) -> bool {
        let registry = self.lock();
        let mut all = registry.units.iter();
        all.any(|(name, known)| {
            let is_itself = name == unit && known.is_going;
            let claims = known.claims.as_ref().filter(|_| !known.is_going);
            is_itself || claims.is_some_and(|claims| claims.dropped.contains(unit))
        })
    }

    /// Another Kustomization that renders an object and is not being deleted; those in `going` do not count.
    pub fn wanted_elsewhere(
        &self,
        unit: &NamespacedName,
        id: &str,
        going: &BTreeSet<NamespacedName>,
    ) -> Option<NamespacedName> {
        let registry = self.lock();
        let renders = |known: &Unit| !known.is_going && known.renders(id);
        let mut others = registry.others(unit, renders);
        others.find(|other| !going.contains(other))
    }

    /// A Kustomization that has not said yet whether it wants what is about to be deleted: one of the same source that
    /// was not built of this revision, one that has just come, or one that is about to be created by another. The
    /// deleting Kustomization is returned by [`claim`](Self::claim), [`settle`](Self::settle) and
    /// [`forget`](Self::forget) as soon as it is worth asking again.
    pub fn undecided(
        &self,
        deletion: &PendingDeletion<'_>,
        existing: &ExistingUnits,
    ) -> Option<Undecided> {
        let mut registry = self.lock();
        let found = registry.undecided(deletion, existing);
        let (unit, source) = (deletion.unit.clone(), deletion.source.clone());
        match &found {
            Some(_) => drop(registry.waiting.insert(unit, source)),
            None => drop(registry.waiting.remove(&unit)),
        }
        found
    }
}

impl Registry {
    fn unit(&mut self, unit: &NamespacedName) -> &mut Unit {
        self.units.entry(unit.clone()).or_default()
    }

    /// The others that can go on after a Kustomization has told something, or is gone; `left` are the objects that it no
    /// longer renders.
    fn woken(&mut self, unit: &NamespacedName, left: &BTreeSet<String>) -> Vec<NamespacedName> {
        let source = self.units.get(unit).and_then(|unit| unit.source.clone());
        let waiting = std::mem::take(&mut self.waiting);
        let (woken, waiting) = waiting
            .into_iter()
            .partition(|(other, of)| other != unit && source.as_ref().is_none_or(|own| own == of));
        self.waiting = waiting;
        let mut woken: BTreeSet<NamespacedName> =
            BTreeMap::<_, NamespacedName>::into_keys(woken).collect();
        woken.extend(self.others(unit, |other| other.renders_any(left)));
        woken.into_iter().collect()
    }

    /// The other Kustomizations that meet a condition.
    fn others(
        &self,
        unit: &NamespacedName,
        holds: impl Fn(&Unit) -> bool,
    ) -> impl Iterator<Item = NamespacedName> {
        let others = self
            .units
            .iter()
            .filter(move |(other, known)| *other != unit && holds(known));
        others.map(|(other, _)| other.clone())
    }

    fn undecided(
        &self,
        deletion: &PendingDeletion<'_>,
        existing: &ExistingUnits,
    ) -> Option<Undecided> {
        let counts =
            |name: &NamespacedName| name != deletion.unit && !deletion.going.contains(name);
        let open = |unit: &NamespacedName| Undecided {
            unit: unit.clone(),
            has_failed: false,
        };
        // The API server has a Kustomization that no watch event has told yet.
        let mut unknown = existing.served.iter();
        let unknown = unknown.find(|name| counts(name) && !self.units.contains_key(*name));
        if let Some(unknown) = unknown {
            return Some(open(unknown));
        }
        let mut failed = None;
        for (name, unit) in &self.units {
            if unit.source.as_ref() != Some(deletion.source) || unit.is_going {
                continue;
            }
            let children = unit.claims.iter().flat_map(|claims| &claims.children);
            let mut coming =
                children.filter(|child| counts(child) && !existing.all.contains(*child));
            if let Some(child) = coming.next().filter(|_| !deletion.going.contains(name)) {
                return Some(open(child));
            }
            if !counts(name) {
                continue;
            }
            match unit.decision.at(deletion.revision) {
                Some(Settlement::Decided) => {}
                Some(Settlement::NotBuilt) => failed = Some(name),
                None => return Some(open(name)),
            }
        }
        failed.map(|unit| Undecided {
            has_failed: true,
            ..open(unit)
        })
    }
}

impl Decision {
    /// What was decided at a revision; at any revision, if none is in service. None if nothing was.
    fn at(&self, revision: Option<&str>) -> Option<Settlement> {
        let (of, settlement) = match self {
            Self::Open => return None,
            Self::Made(of) => (of, Settlement::Decided),
            Self::Failed(of) => (of, Settlement::NotBuilt),
        };
        revision
            .is_none_or(|revision| revision == of)
            .then_some(settlement)
    }
}

impl Unit {
    fn renders(&self, id: &str) -> bool {
        let claims = self.claims.as_ref();
        claims.is_some_and(|claims| claims.objects.contains(id))
    }

    fn renders_any(&self, ids: &BTreeSet<String>) -> bool {
        let claims = self.claims.as_ref();
        claims.is_some_and(|claims| !claims.objects.is_disjoint(ids))
    }
}

#[cfg(test)]
mod tests {
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

    fn claims(text: &str) -> Claims {
        Claims {
            objects: ids(text),
            ..Claims::default()
        }
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
            going: &going,
        };
        let existing = ExistingUnits {
            all: existing.clone(),
            served: existing,
        };
        let undecided = ownership.undecided(&deletion, &existing);
        undecided.map_or_else(String::new, |undecided| {
            let mark = if undecided.has_failed { "?" } else { "" };
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
        assert_eq!(ownership.wanted_elsewhere(&a, "x", &none), Some(b.clone()));
        let going = [b.clone()].into();
        assert_eq!(ownership.wanted_elsewhere(&a, "x", &going), None);
        let woken = ownership.claim(&a, "2", claims("y"));
        assert_eq!(woken, std::slice::from_ref(&b), "b can go on");
        assert_eq!(ownership.rendered(&a), Some(ids("y")));
        ownership.going(&b);
        assert_eq!(ownership.wanted_elsewhere(&a, "x", &none), None);
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
        let claims = Claims::of(&[desired], &held, true);
        assert_eq!(claims.dropped, [unit("old")].into());
        ownership.claim(&unit("a"), "1", Claims::default());
        ownership.claim(&unit("parent"), "1", claims);
        assert!(ownership.is_dropped(&unit("old")));
        assert!(!ownership.is_dropped(&unit("new")));
        let waits = waits_for(&ownership, "1", "a parent");
        assert_eq!(waits, "new", "its parent is about to create it");
        let waits = waits_for(&ownership, "1", "a parent new");
        assert_eq!(waits, "new", "no watch event has told it yet");
        ownership.follows(&unit("new"), Some(unit("repo")));
        assert_eq!(
            waits_for(&ownership, "1", "a parent new"),
            "new",
            "not built"
        );
        ownership.claim(&unit("new"), "1", Claims::default());
        assert_eq!(waits_for(&ownership, "1", "a parent new"), "");
        let claims = Claims::of(&[], &held, false);
        assert_eq!(claims, Claims::default(), "it prunes nothing");
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
        assert_eq!(wanted, Some(unit("b")));
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
}

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
use crate::apply::object_ref::ObjectRef;
use crate::names::NamespacedName;

/// The Kustomizations that own the objects of a build in the cluster, as they were before a plan is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LiveOwners {
    /// The Kustomization that the labels of an object name, by the id of the object. Objects that nobody owns, or of
    /// which nothing is known, are left out.
    pub by_object: BTreeMap<String, NamespacedName>,
    /// Every other Kustomization that `by_object` names.
    pub kustomizations: BTreeMap<NamespacedName, OtherKustomization>,
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
        match self.kustomizations.get(owner) {
            Some(OtherKustomization::Renders(ids)) if ids.contains(id) => Claim::Conflict(owner),
            Some(OtherKustomization::Unreadable(reason)) => Claim::Unreadable(owner, reason),
            Some(OtherKustomization::Renders(_) | OtherKustomization::Gone) | None => Claim::Free,
        }
    }
}

/// The objects that each Kustomization renders, as its last build has them.
#[derive(Debug, Default)]
pub struct Ownership(Mutex<BTreeMap<NamespacedName, Build>>);

#[derive(Debug, Default)]
struct Build {
    /// The source that it follows; none while it is suspended or being deleted.
    source: Option<NamespacedName>,
    /// The revision that it was built of, or cannot be built of.
    settled: Option<String>,
    /// Ids of objects; none before the first build.
    objects: Option<BTreeSet<String>>,
    /// It is being deleted, so that no other needs to leave its objects to it.
    is_going: bool,
}

impl Ownership {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NamespacedName, Build>> {
        self.0.lock()
    }

    /// Notes the source that a Kustomization follows; none while it is suspended or being deleted.
    pub fn follows(&self, unit: &NamespacedName, source: Option<NamespacedName>) {
        self.lock().entry(unit.clone()).or_default().source = source;
    }

    /// Notes the ids of the objects that a Kustomization renders at a revision. Returns the others that render an
    /// object which it has let go of.
    pub fn claim(
        &self,
        unit: &NamespacedName,
        revision: &str,
        objects: &BTreeSet<String>,
    ) -> Vec<NamespacedName> {
        let mut all = self.lock();
        let build = all.entry(unit.clone()).or_default();
        build.settled = Some(revision.to_owned());
        let before = build.objects.replace(objects.clone()).unwrap_or_default();
        let left = before.difference(objects).cloned().collect();
        others(&all, unit, |build| build.renders_any(&left)).collect()
    }

    /// Notes that a revision cannot be built, so that no other waits for the result.
    pub fn settle(&self, unit: &NamespacedName, revision: &str) {
        self.lock().entry(unit.clone()).or_default().settled = Some(revision.to_owned());
    }

    /// Notes that a Kustomization is being deleted.
    pub fn going(&self, unit: &NamespacedName) {
        if let Some(build) = self.lock().get_mut(unit) {
            build.is_going = true;
        }
    }

    /// Forgets a Kustomization that is gone. Returns the others that render an object of it.
    pub fn forget(&self, unit: &NamespacedName) -> Vec<NamespacedName> {
        let mut all = self.lock();
        let build = all.remove(unit);
        let left = build.and_then(|build| build.objects).unwrap_or_default();
        others(&all, unit, |build| build.renders_any(&left)).collect()
    }

    /// The ids of the objects that a Kustomization renders; none before its first build.
    pub fn rendered(&self, unit: &NamespacedName) -> Option<BTreeSet<String>> {
        self.lock().get(unit)?.objects.clone()
    }

    /// Another Kustomization that renders an object and is not being deleted.
    pub fn wanted_elsewhere(&self, unit: &NamespacedName, id: &str) -> Option<NamespacedName> {
        let all = self.lock();
        let renders = |build: &Build| !build.is_going && build.renders(id);
        others(&all, unit, renders).next()
    }

    /// Another Kustomization of the same source that was not built of this revision yet.
    pub fn unsettled(
        &self,
        unit: &NamespacedName,
        source: &NamespacedName,
        revision: &str,
    ) -> Option<NamespacedName> {
        let all = self.lock();
        let waits = |build: &Build| {
            build.source.as_ref() == Some(source) && build.settled.as_deref() != Some(revision)
        };
        others(&all, unit, waits).next()
    }
}

impl Build {
    fn renders(&self, id: &str) -> bool {
        let objects = self.objects.as_ref();
        objects.is_some_and(|objects| objects.contains(id))
    }

    fn renders_any(&self, ids: &BTreeSet<String>) -> bool {
        let objects = self.objects.as_ref();
        objects.is_some_and(|objects| !objects.is_disjoint(ids))
    }
}

/// The other Kustomizations whose builds meet a condition.
fn others(
    all: &BTreeMap<NamespacedName, Build>,
    unit: &NamespacedName,
    holds: impl Fn(&Build) -> bool,
) -> impl Iterator<Item = NamespacedName> {
    let others = all
        .iter()
        .filter(move |(other, build)| *other != unit && holds(build));
    others.map(|(other, _)| other.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn an_object_that_moves_is_known_before_it_is_let_go() {
        let ownership = Ownership::default();
        let (a, b, repo) = (unit("a"), unit("b"), unit("repo"));
        for unit in [&a, &b] {
            ownership.follows(unit, Some(repo.clone()));
        }
        assert_eq!(ownership.rendered(&a), None, "not built yet");
        assert!(ownership.claim(&a, "1", &ids("x y")).is_empty());
        assert_eq!(ownership.unsettled(&a, &repo, "1"), Some(b.clone()));
        ownership.claim(&b, "1", &ids("z"));
        assert_eq!(ownership.unsettled(&a, &repo, "1"), None);

        // The next revision moves x from a to b.
        ownership.claim(&b, "2", &ids("x z"));
        assert_eq!(
            ownership.rendered(&a),
            Some(ids("x y")),
            "a conflict, for now"
        );
        assert_eq!(ownership.wanted_elsewhere(&a, "x"), Some(b.clone()));
        let woken = ownership.claim(&a, "2", &ids("y"));
        assert_eq!(woken, std::slice::from_ref(&b), "b can go on");
        assert_eq!(ownership.rendered(&a), Some(ids("y")));
        ownership.going(&b);
        assert_eq!(
            ownership.wanted_elsewhere(&a, "x"),
            None,
            "b is being deleted"
        );
    }

    #[test]
    fn a_suspended_kustomization_holds_up_no_other() {
        let ownership = Ownership::default();
        let (a, b, repo) = (unit("a"), unit("b"), unit("repo"));
        ownership.follows(&b, Some(repo.clone()));
        assert_eq!(ownership.unsettled(&a, &repo, "1"), Some(b.clone()));
        ownership.settle(&b, "1");
        assert_eq!(ownership.unsettled(&a, &repo, "1"), None);
        assert_eq!(ownership.unsettled(&a, &repo, "2"), Some(b.clone()));
        ownership.follows(&b, None);
        assert_eq!(ownership.unsettled(&a, &repo, "2"), None);
        ownership.claim(&b, "2", &ids("x"));
        assert!(ownership.forget(&b).is_empty());
        assert_eq!(ownership.wanted_elsewhere(&a, "x"), None);
    }
}

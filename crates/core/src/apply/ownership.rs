//! Pure: which Kustomization wants which objects, so that two do not take an object from each other in turn, and one
//! that moves from one to the other is not deleted on the way.

use crate::names::NamespacedName;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};

/// What each Kustomization wants, as its last build had it.
#[derive(Debug, Default)]
pub struct Claims(Mutex<BTreeMap<NamespacedName, Claim>>);

#[derive(Debug, Default)]
struct Claim {
    /// Namespace and name of its source; nothing while it is suspended or going.
    source: Option<NamespacedName>,
    /// The revision that it knows what it wants of.
    settled: Option<String>,
    /// Ids of objects; nothing if it was not built yet.
    objects: Option<BTreeSet<String>>,
    /// It is being deleted: what it wants, nobody need leave to it.
    is_going: bool,
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NamespacedName, Claim>> {
        self.0.lock()
    }

    /// Takes note of a Kustomization and the source that it follows; of none while it does nothing.
    pub fn follows(&self, unit: &NamespacedName, source: Option<NamespacedName>) {
        self.lock().entry(unit.clone()).or_default().source = source;
    }

    /// Says what a Kustomization wants of a revision. Gives those that want something it has let go of.
    pub fn claim(
        &self,
        unit: &NamespacedName,
        revision: &str,
        objects: &BTreeSet<String>,
    ) -> Vec<NamespacedName> {
        let mut all = self.lock();
        let claim = all.entry(unit.clone()).or_default();
        claim.settled = Some(revision.to_owned());
        let before = claim.objects.replace(objects.clone()).unwrap_or_default();
        let left = before.difference(objects).cloned().collect();
        others(&all, unit, |claim| claim.wants_any(&left)).collect()
    }

    /// Says that a revision cannot be built, so that nobody waits to know what is wanted of it.
    pub fn settle(&self, unit: &NamespacedName, revision: &str) {
        self.lock().entry(unit.clone()).or_default().settled = Some(revision.to_owned());
    }

    /// Says that a Kustomization is being deleted.
    pub fn going(&self, unit: &NamespacedName) {
        if let Some(claim) = self.lock().get_mut(unit) {
            claim.is_going = true;
        }
    }

    /// Forgets a Kustomization that is gone. Gives those that want something it wanted.
    pub fn forget(&self, unit: &NamespacedName) -> Vec<NamespacedName> {
        let mut all = self.lock();
        let left = all
            .remove(unit)
            .and_then(|claim| claim.objects)
            .unwrap_or_default();
        others(&all, unit, |claim| claim.wants_any(&left)).collect()
    }

    /// Whether a Kustomization wants an object, if that is known.
    pub fn wants(&self, unit: &NamespacedName, id: &str) -> Option<bool> {
        let all = self.lock();
        all.get(unit)?.wants(id)
    }

    /// Another Kustomization that wants an object.
    pub fn wanted_elsewhere(&self, unit: &NamespacedName, id: &str) -> Option<NamespacedName> {
        let all = self.lock();
        let wants = |claim: &Claim| !claim.is_going && claim.wants(id) == Some(true);
        others(&all, unit, wants).next()
    }

    /// Another Kustomization of the same source that does not know yet what it wants of a revision.
    pub fn unsettled(
        &self,
        unit: &NamespacedName,
        source: &NamespacedName,
        revision: &str,
    ) -> Option<NamespacedName> {
        let all = self.lock();
        let waits = |claim: &Claim| {
            claim.source.as_ref() == Some(source) && claim.settled.as_deref() != Some(revision)
        };
        others(&all, unit, waits).next()
    }
}

impl Claim {
    fn wants(&self, id: &str) -> Option<bool> {
        let objects = self.objects.as_ref()?;
        Some(objects.contains(id))
    }

    fn wants_any(&self, ids: &BTreeSet<String>) -> bool {
        let objects = self.objects.as_ref();
        objects.is_some_and(|objects| !objects.is_disjoint(ids))
    }
}

/// The other Kustomizations whose claims are such.
fn others(
    all: &BTreeMap<NamespacedName, Claim>,
    unit: &NamespacedName,
    holds: impl Fn(&Claim) -> bool,
) -> impl Iterator<Item = NamespacedName> {
    let others = all
        .iter()
        .filter(move |(other, claim)| *other != unit && holds(claim));
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

    #[test]
    fn what_moves_is_known_before_it_is_let_go() {
        let claims = Claims::default();
        let (a, b, repo) = (unit("a"), unit("b"), unit("repo"));
        for unit in [&a, &b] {
            claims.follows(unit, Some(repo.clone()));
        }
        assert_eq!(claims.wants(&a, "x"), None, "not built yet");
        assert!(claims.claim(&a, "1", &ids("x y")).is_empty());
        assert_eq!(claims.unsettled(&a, &repo, "1"), Some(b.clone()));
        claims.claim(&b, "1", &ids("z"));
        assert_eq!(claims.unsettled(&a, &repo, "1"), None);

        // The next revision moves x from a to b.
        claims.claim(&b, "2", &ids("x z"));
        assert_eq!(claims.wants(&a, "x"), Some(true), "a conflict, for now");
        assert_eq!(claims.wanted_elsewhere(&a, "x"), Some(b.clone()));
        let woken = claims.claim(&a, "2", &ids("y"));
        assert_eq!(woken, std::slice::from_ref(&b), "b can go on");
        assert_eq!(claims.wants(&a, "x"), Some(false));
    }

    #[test]
    fn nobody_waits_for_those_that_do_nothing() {
        let claims = Claims::default();
        let (a, b, repo) = (unit("a"), unit("b"), unit("repo"));
        claims.follows(&b, Some(repo.clone()));
        assert_eq!(claims.unsettled(&a, &repo, "1"), Some(b.clone()));
        claims.settle(&b, "1");
        assert_eq!(claims.unsettled(&a, &repo, "1"), None);
        assert_eq!(claims.unsettled(&a, &repo, "2"), Some(b.clone()));
        claims.follows(&b, None);
        assert_eq!(claims.unsettled(&a, &repo, "2"), None);
        claims.claim(&b, "2", &ids("x"));
        assert!(claims.forget(&b).is_empty());
        assert_eq!(claims.wanted_elsewhere(&a, "x"), None);
    }
}

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
pub struct WantedObjects {
    /// The ids of the objects that it renders.
    pub objects: BTreeSet<String>,
    /// The Kustomizations among them, which may want objects too as soon as they exist.
    pub children: BTreeSet<NamespacedName>,
    /// The Kustomizations that it has applied and no longer renders, so that it deletes them.
    pub dropped: BTreeSet<NamespacedName>,
}

impl WantedObjects {
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
    units: BTreeMap<NamespacedName, UnitOwnership>,
    /// Kustomizations whose deletions wait, with their source.
    waiting: BTreeMap<NamespacedName, NamespacedName>,
}

#[derive(Debug, Default)]
struct UnitOwnership {
    /// The source that it follows; none while it is suspended or being deleted.
    source: Option<NamespacedName>,
    decision: Decision,
    /// None before the first build.
    claims: Option<WantedObjects>,
    /// The ids of objects that it claims and has not applied yet.
    pending: BTreeSet<String>,
    /// The ids of objects that its account may not apply. It claims them in vain.
    denied: BTreeSet<String>,
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
    /// What is missing.
    pub reason: UndecidedReason,
}

/// Why it is not decided who gets an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndecidedReason {
    /// The Kustomization was not tried yet.
    Open,
    /// It was tried, and cannot be built: only a person can change that.
    NotBuilt,
    /// It renders the object and has not applied it yet, so that it may still turn out that its account may not.
    NotApplied,
}

/// Another Kustomization that wants an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// Its name.
    pub unit: NamespacedName,
    /// It has applied the object, so that it is its owner.
    pub has_applied: bool,
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
    /// The objects that are deleted unless another Kustomization has them by then.
    pub objects: &'d [ObjectRef],
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

    /// Notes the source that a Kustomization follows; none while it is suspended or being deleted. Returns the others
    /// whose deletions no longer wait for it.
    pub fn follows(
        &self,
        unit: &NamespacedName,
        source: Option<NamespacedName>,
    ) -> Vec<NamespacedName> {
        let mut registry = self.lock();
        let before = std::mem::replace(&mut registry.unit(unit).source, source);
        let has_stopped = before.is_some() && registry.unit(unit).source.is_none();
        if has_stopped {
            registry.woken(unit, &BTreeSet::new())
        } else {
            Vec::new()
        }
    }

    /// Notes what a Kustomization has applied before this process began, as its status tells, unless a build has told
    /// more since.
    pub fn resume(&self, unit: &NamespacedName, revision: &str, objects: BTreeSet<String>) {
        let mut registry = self.lock();
        let known = registry.unit(unit);
        if known.claims.is_none() {
            known.decision = Decision::Made(revision.to_owned());
            known.claims = Some(WantedObjects {
                objects,
                ..WantedObjects::default()
            });
        }
    }

    /// Notes the claims of a Kustomization at a revision. Returns the others that can go on: those that render an object
    /// which it has let go of, and those whose deletions wait.
    pub fn claim(
        &self,
        unit: &NamespacedName,
        revision: &str,
        claims: WantedObjects,
    ) -> Vec<NamespacedName> {
        let mut registry = self.lock();
        let known = registry.unit(unit);
        known.decision = Decision::Made(revision.to_owned());
        let before = known.claims.take().unwrap_or_default().objects;
        let is_pending = |id: &&String| !before.contains(*id) || known.pending.contains(*id);
        known.pending = claims.objects.iter().filter(is_pending).cloned().collect();
        known.denied.retain(|id| claims.objects.contains(id));
        let left = before.difference(&claims.objects).cloned().collect();
        known.claims = Some(claims);
        registry.woken(unit, &left)
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

    /// Notes that a Kustomization is being deleted. Returns the others that can take its objects over.
    pub fn going(&self, unit: &NamespacedName) -> Vec<NamespacedName> {
        let mut registry = self.lock();
        let Some(known) = registry.units.get_mut(unit) else {
            return Vec::new();
        };
        if std::mem::replace(&mut known.is_going, true) {
            return Vec::new();
        }
        let claims = known.claims.as_ref();
        let left = claims.map(|claims| claims.objects.clone());
        registry.woken(unit, &left.unwrap_or_default())
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

    /// Notes which objects a Kustomization has just tried to apply, and which of them its account may not. Returns the
    /// others whose deletions wait.
    pub fn tried(
        &self,
        unit: &NamespacedName,
        applied: &BTreeSet<String>,
        denied: &BTreeSet<String>,
    ) -> Vec<NamespacedName> {
        let mut registry = self.lock();
        let known = registry.unit(unit);
        let before = (known.pending.len(), known.denied.clone());
        known.pending.retain(|id| !applied.contains(id));
        known.denied.retain(|id| !applied.contains(id));
        known.denied.extend(denied.iter().cloned());
        let is_news = before != (known.pending.len(), known.denied.clone());
        if is_news {
            registry.woken(unit, &BTreeSet::new())
        } else {
            Vec::new()
        }
    }

    /// The ids of the objects that a Kustomization renders and may apply; none before its first build.
    pub fn rendered(&self, unit: &NamespacedName) -> Option<BTreeSet<String>> {
        let registry = self.lock();
        let unit = registry.units.get(unit)?;
        let claims = unit.claims.as_ref()?;
        Some(claims.objects.difference(&unit.denied).cloned().collect())
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

    /// Another Kustomization that renders an object, may apply it, and is not being deleted; those in `going` do not count.
    pub fn wanted_elsewhere(
        &self,
        unit: &NamespacedName,
        id: &str,
        going: &BTreeSet<NamespacedName>,
    ) -> Option<Claimant> {
        let registry = self.lock();
        let renders = |known: &UnitOwnership| !known.is_going && known.renders(id);
        let mut others = registry.others(unit, renders);
        let other = others.find(|other| !going.contains(other))?;
        let has_applied = !registry.units.get(&other)?.pending.contains(id);
        Some(Claimant {
            unit: other,
            has_applied,
        })
    }

    /// The Kustomizations among these that are not registered yet.
    pub fn unknown(&self, units: &BTreeSet<NamespacedName>) -> Vec<NamespacedName> {
        let registry = self.lock();
        let unknown = units
            .iter()
            .filter(|unit| !registry.units.contains_key(*unit));
        unknown.cloned().collect()
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
        let found = found.or_else(|| registry.not_applied(deletion));
        let (unit, source) = (deletion.unit.clone(), deletion.source.clone());
        match &found {
            Some(_) => drop(registry.waiting.insert(unit, source)),
            None => drop(registry.waiting.remove(&unit)),
        }
        found
    }
}

impl Registry {
    fn unit(&mut self, unit: &NamespacedName) -> &mut UnitOwnership {
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
        holds: impl Fn(&UnitOwnership) -> bool,
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
            reason: UndecidedReason::Open,
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
            reason: UndecidedReason::NotBuilt,
            ..open(unit)
        })
    }

    /// A Kustomization that renders one of the objects and has not applied it yet.
    fn not_applied(&self, deletion: &PendingDeletion<'_>) -> Option<Undecided> {
        let ids: BTreeSet<String> = deletion.objects.iter().map(ObjectRef::id).collect();
        let wants = |unit: &UnitOwnership| {
            let mut ids = ids.iter();
            let is_served = !unit.is_going && unit.source.is_some();
            is_served && ids.any(|id| unit.renders(id) && unit.pending.contains(id))
        };
        let mut others = self.others(deletion.unit, wants);
        let unit = others.find(|other| !deletion.going.contains(other))?;
        Some(Undecided {
            unit,
            reason: UndecidedReason::NotApplied,
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

impl UnitOwnership {
    fn renders(&self, id: &str) -> bool {
        let claims = self.claims.as_ref();
        claims.is_some_and(|claims| claims.objects.contains(id)) && !self.denied.contains(id)
    }

    fn renders_any(&self, ids: &BTreeSet<String>) -> bool {
        let claims = self.claims.as_ref();
        claims.is_some_and(|claims| !claims.objects.is_disjoint(ids))
    }
}

#[cfg(test)]
mod tests;

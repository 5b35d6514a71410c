//! Pure: what goes with a Kustomization that is deleted: the objects that it holds, and those of Kustomizations among
//! them.
//!
//! The deletion guard counts these objects too: dropping a Kustomization from git deletes them as surely as dropping
//! them one by one.

use std::collections::{BTreeMap, BTreeSet};

use crate::apply::guard::{Guard, GuardError};
use crate::apply::object_ref::ObjectRef;
use crate::apply::skip::Protected;
use crate::names::NamespacedName;

/// The inventories of Kustomizations that are about to be deleted, by their names. A Kustomization that leaves its
/// objects when it is deleted has none here.
pub type Children = BTreeMap<NamespacedName, Vec<ObjectRef>>;

/// Checks deletions, with the objects that deleted Kustomizations take along.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeletionGuard {
    /// How much may be deleted without an approval.
    pub guard: Guard,
    /// What may never be deleted.
    pub protected: Protected,
    /// What the deleted Kustomizations hold.
    pub children: Children,
    /// The ids of the objects that the deleting Kustomization renders.
    pub rendered: BTreeSet<String>,
    /// The number of objects in its inventory.
    pub inventory: usize,
}

impl DeletionGuard {
    /// Checks deletions. What a deleted Kustomization holds stays if this one renders it, or if it has `moved` to
    /// another.
    ///
    /// # Errors
    /// The deletions look like an accident, and have no approval.
    pub fn check(
        &self,
        deleted: &[ObjectRef],
        moved: impl Fn(&ObjectRef) -> bool,
    ) -> Result<(), GuardError> {
        let stays = |object: &ObjectRef| self.rendered.contains(&object.id()) || moved(object);
        let held = held(deleted, &self.children, &self.protected, stays);
        let inventory = self.inventory + held.total;
        let mut all = deleted.to_vec();
        all.extend(held.deleted);
        if self.rendered.is_empty() {
            self.guard.check_empty_build(&all, inventory)
        } else {
            self.guard.check(&all, inventory)
        }
    }
}

/// The objects that go with deleted Kustomizations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// The objects that are deleted, in the order of the inventories.
    pub deleted: Vec<ObjectRef>,
    /// The number of all objects of the inventories, also of those that stay.
    pub total: usize,
}

/// The objects that are deleted with the Kustomizations among `deleted`. An object that `stays` (since another
/// Kustomization renders it) is not, and neither are protected ones.
pub fn held(
    deleted: &[ObjectRef],
    children: &Children,
    protected: &Protected,
    stays: impl Fn(&ObjectRef) -> bool,
) -> Held {
    let mut held = Held::default();
    let mut seen = BTreeSet::new();
    let mut queue: Vec<NamespacedName> = deleted.iter().filter_map(ObjectRef::unit).collect();
    while let Some(unit) = queue.pop() {
        let inventory = children.get(&unit).into_iter().flatten();
        if !seen.insert(unit) {
            continue;
        }
        for object in inventory {
            held.total += 1;
            if stays(object) || protected.protection(object).is_some() {
                continue;
            }
            queue.extend(object.unit());
            held.deleted.push(object.clone());
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Objects written as words: `k:name` is a Kustomization, any other word a ConfigMap.
    fn objects(text: &str) -> Vec<ObjectRef> {
        let words = text.split_whitespace();
        let object = |word: &str| match word.strip_prefix("k:") {
            Some(name) => {
                let api_version = "kustomize.toolkit.fluxcd.io/v1";
                ObjectRef::new(api_version, "Kustomization", "team", name)
            }
            None => ObjectRef::new("v1", "ConfigMap", "team", word),
        };
        words.map(object).collect()
    }

    /// Asserts what goes with `deleted`, where these Kustomizations hold these objects.
    fn check(deleted: &str, children: &[(&str, &str)], stays: &str, expected: (&str, usize)) {
        let children = children
            .iter()
            .map(|(name, held)| (NamespacedName::new("team", *name), objects(held)))
            .collect();
        let stays = objects(stays);
        let held = held(
            &objects(deleted),
            &children,
            &Protected::default(),
            |object| stays.contains(object),
        );
        let names: Vec<&str> = held.deleted.iter().map(|of| of.name.as_str()).collect();
        assert_eq!((names.join(" ").as_str(), held.total), expected);
    }

    #[test]
    fn a_kustomization_takes_what_it_holds_along() {
        check("a", &[("x", "b")], "", ("", 0));
        check("a k:x", &[("x", "b c")], "c", ("b", 2));
        check("k:gone", &[], "", ("", 0));
        let nested = [("x", "a k:y"), ("y", "b k:x")];
        check("k:x", &nested, "", ("a y b x", 4));
        check("k:x", &nested, "k:y", ("a", 2));
    }

    #[test]
    fn what_is_protected_is_not_deleted_with_it_either() {
        let namespaces =
            ["kube-system", "shop"].map(|name| ObjectRef::new("v1", "Namespace", "", name));
        let children = [(NamespacedName::new("team", "x"), namespaces.to_vec())].into();
        let held = held(&objects("k:x"), &children, &Protected::default(), |_| false);
        assert_eq!((held.deleted.as_slice(), held.total), (&namespaces[1..], 2));
    }
}

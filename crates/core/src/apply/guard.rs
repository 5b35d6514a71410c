//! Pure: which deletions look like an accident, so that a person must approve them.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::apply::object_ref::ObjectRef;

/// Deletions that a person must approve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{why}; {stage}: {}. To approve exactly this, set the annotation `overlayd.dev/approve-deletions: {hash}`",
    .objects.join(", ")
)]
pub struct GuardError {
    /// What looks like an accident.
    pub why: String,
    /// How far the plan was carried out.
    pub stage: GuardStage,
    /// The objects; of more than [`LISTED`] the first ones, how many more there are, and what lists them all.
    pub objects: Vec<String>,
    /// The number of all objects.
    pub count: usize,
    /// The hash that approves this list of deletions and no other.
    pub hash: String,
}

/// How far a plan was carried out when its deletions were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GuardStage {
    /// Nothing was done.
    #[default]
    Planned,
    /// Nothing was done, and there is nothing to apply.
    EmptyBuild,
    /// Everything is applied.
    Applied,
    /// The Kustomization is being deleted.
    Deleting,
}

impl std::fmt::Display for GuardStage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Planned => "nothing was applied or deleted. These would go",
            Self::EmptyBuild => "nothing was deleted",
            Self::Applied => "everything is applied, and nothing was deleted. These would go",
            Self::Deleting => "nothing was deleted. These would go",
        })
    }
}

/// A message lists this many objects; a longer list does not fit into a condition.
pub const LISTED: usize = 250;

/// How much may be deleted without an approval.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Guard {
    /// A plan may delete this many objects; without a limit, any number.
    pub limit: Option<usize>,
    /// A plan may delete this share of the inventory, in percent.
    pub share: usize,
    /// The hash of the list of deletions that a person has approved.
    pub approved: Option<String>,
    /// Nothing is refused, since nothing is going to be done.
    pub is_open: bool,
}

/// Kinds whose deletion deletes more than the object.
const GRAVE: [(&str, &str); 4] = [
    ("", "Namespace"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
];

impl Guard {
    /// A guard that refuses nothing, for a preview.
    pub fn open() -> Self {
        Self {
            is_open: true,
            ..Self::default()
        }
    }

    /// Refuses deletions that look like an accident: too many of an inventory of this size, or of kinds whose deletion
    /// deletes more.
    ///
    /// # Errors
    /// The deletions need an approval, and have none.
    pub fn check(&self, prune: &[ObjectRef], inventory: usize) -> Result<(), GuardError> {
        if self.is_open {
            return Ok(());
        }
        let too_many = self
            .limit
            .is_some_and(|limit| prune.len() > limit && prune.len() * 100 > inventory * self.share);
        let why = if too_many {
            format!("{} of {inventory} objects would be deleted", prune.len())
        } else if let Some(object) = prune.iter().find(|object| Self::is_grave(object)) {
            format!("deleting {object} would take everything in it along")
        } else {
            return Ok(());
        };
        self.ask(why, prune)
    }

    /// Refuses all deletions of a build that renders nothing, since an empty build is nearly always a mistake. Without
    /// a limit, they are checked as those of any other build are.
    ///
    /// # Errors
    /// The deletions need an approval, and have none.
    pub fn check_empty_build(
        &self,
        prune: &[ObjectRef],
        inventory: usize,
    ) -> Result<(), GuardError> {
        if self.is_open || self.limit.is_none() || prune.is_empty() {
            return self.check(prune, inventory);
        }
        let why = format!("the build is empty while {inventory} objects are applied");
        let stage = GuardStage::EmptyBuild;
        let asked = self.ask(why, prune);
        asked.map_err(|error| GuardError { stage, ..error })
    }

    fn ask(&self, why: String, prune: &[ObjectRef]) -> Result<(), GuardError> {
        let hash = list_hash(prune);
        if self.approved.as_ref() == Some(&hash) {
            return Ok(());
        }
        let shown = prune.iter().take(LISTED).map(ToString::to_string);
        let mut objects: Vec<String> = shown.collect();
        if prune.len() > objects.len() {
            let more = prune.len() - objects.len();
            objects.push(format!("and {more} more, which `overlayd diff` lists"));
        }
        Err(GuardError {
            why,
            stage: GuardStage::default(),
            objects,
            count: prune.len(),
            hash,
        })
    }

    /// True for a kind whose deletion deletes more than the object.
    pub fn is_grave(object: &ObjectRef) -> bool {
        GRAVE.contains(&(object.group.as_str(), object.kind.as_str()))
    }
}

/// Names a list of objects, in any order, so that an approval is for this list and no other.
pub fn list_hash(objects: &[ObjectRef]) -> String {
    let ids: BTreeSet<String> = objects.iter().map(ObjectRef::id).collect();
    let text = ids.into_iter().collect::<Vec<_>>().join("\n");
    let digest = Sha256::digest(text.as_bytes());
    HEXLOWER.encode(&digest[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(count: usize) -> Vec<ObjectRef> {
        let maps = (0..count).map(|number| format!("m{number}"));
        maps.map(|name| ObjectRef::new("v1", "ConfigMap", "a", &name))
            .collect()
    }

    /// Asserts why a guard refuses deletions of an inventory of this size; empty if it does not.
    fn check(guard: &Guard, prune: &[ObjectRef], inventory: usize, expected: &str) {
        let why = guard.check(prune, inventory).err().map(|error| error.why);
        assert_eq!(why.unwrap_or_default(), expected);
    }

    #[test]
    fn many_deletions_of_a_large_share_are_refused() {
        let guard = Guard {
            limit: Some(2),
            share: 50,
            ..Guard::default()
        };
        check(&guard, &maps(2), 2, "");
        check(&guard, &maps(3), 6, "");
        check(&guard, &maps(3), 5, "3 of 5 objects would be deleted");
        let unlimited = Guard::default();
        check(&unlimited, &maps(3), 3, "");
        check(&Guard::open(), &maps(3), 3, "");
    }

    #[test]
    fn kinds_that_hold_others_are_refused() {
        for (api_version, kind) in [
            ("v1", "Namespace"),
            ("v1", "PersistentVolume"),
            ("v1", "PersistentVolumeClaim"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ] {
            let object = [ObjectRef::new(api_version, kind, "", "x")];
            let expected = format!("deleting {kind}/x would take everything in it along");
            check(&Guard::default(), &object, 100, &expected);
            check(&Guard::open(), &object, 100, "");
        }
        let other = [ObjectRef::new("example.com/v1", "Namespace", "", "x")];
        check(&Guard::default(), &other, 100, "");
    }

    #[test]
    fn an_approval_is_for_one_list_in_any_order() {
        let namespaces = ["a", "b"].map(|name| ObjectRef::new("v1", "Namespace", "", name));
        let refused = Guard::default().check(&namespaces, 2).unwrap_err();
        let approved = Guard {
            approved: Some(refused.hash),
            ..Guard::default()
        };
        let [a, b] = namespaces;
        check(&approved, &[b, a.clone()], 2, "");
        check(
            &approved,
            &[a],
            2,
            "deleting Namespace/a would take everything in it along",
        );
    }

    #[test]
    fn a_long_list_is_cut_in_the_message() {
        let guard = Guard {
            limit: Some(0),
            ..Guard::default()
        };
        let error = guard.check(&maps(LISTED), LISTED).unwrap_err();
        assert_eq!((error.count, error.objects.len()), (LISTED, LISTED));
        let error = guard.check(&maps(LISTED + 2), LISTED + 2).unwrap_err();
        assert_eq!((error.count, error.objects.len()), (LISTED + 2, LISTED + 1));
        let last = error.objects.last().unwrap();
        assert_eq!(last, "and 2 more, which `overlayd diff` lists");
    }

    #[test]
    fn an_empty_build_is_asked_about_unless_there_is_no_limit() {
        let limited = Guard {
            limit: Some(20),
            ..Guard::default()
        };
        let check = |guard: &Guard, prune: &[ObjectRef], expected: &str| {
            let refused = guard.check_empty_build(prune, prune.len()).err();
            let why = refused.map(|error| error.why).unwrap_or_default();
            assert_eq!(why, expected);
        };
        check(&limited, &maps(0), "");
        check(
            &limited,
            &maps(1),
            "the build is empty while 1 objects are applied",
        );
        let refused = limited.check_empty_build(&maps(1), 1).unwrap_err();
        let approved = Guard {
            approved: Some(refused.hash),
            ..limited
        };
        check(&approved, &maps(1), "");
        check(&Guard::default(), &maps(1), "");
        let namespace = [ObjectRef::new("v1", "Namespace", "", "x")];
        let grave = "deleting Namespace/x would take everything in it along";
        check(&Guard::default(), &namespace, grave);
        check(&Guard::open(), &namespace, "");
    }
}

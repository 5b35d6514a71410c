//! Pure: the ordered set of a build's objects, and an index over all names they ever had.

use std::collections::{BTreeMap, BTreeSet};

use goyaml::Text;

use super::{ResId, Resource};
use crate::error::{BuildError, Problem};

/// An ordered list of resources with distinct ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResMap {
    resources: Vec<Resource>,
}

impl ResMap {
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.resources.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Resource> {
        self.resources.iter_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.resources.len()
    }

    pub(crate) fn get(&self, index: usize) -> &Resource {
        &self.resources[index]
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> &mut Resource {
        &mut self.resources[index]
    }

    pub(crate) fn into_inner(self) -> Vec<Resource> {
        self.resources
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&Resource) -> bool) {
        self.resources.retain(keep);
    }

    /// Removes the resources at the given indexes.
    pub(crate) fn remove_all(&mut self, indexes: &BTreeSet<usize>) {
        let mut index = 0;
        self.resources.retain(|_| {
            index += 1;
            !indexes.contains(&(index - 1))
        });
    }

    /// Appends resources, none of which may have an id that is there already.
    pub(crate) fn append_all(&mut self, more: Vec<Resource>) -> Result<(), BuildError> {
        let mut ids: BTreeSet<_> = self
            .resources
            .iter()
            .map(|resource| resource.id().canonical())
            .collect();
        for resource in more {
            if !ids.insert(resource.id().canonical()) {
                let id = resource.id().show_long();
                let message = format!("may not add resource with an already registered id: {id}");
                let mut error = BuildError::from(Problem::Identity(message));
                if let Some(origin) = &resource.origin {
                    error = error.at(origin.file.clone(), resource.node().line as usize);
                }
                return Err(
                    error.hint("two files or bases bring the same object; keep one, or patch it")
                );
            }
            self.resources.push(resource);
        }
        Ok(())
    }

    /// Checks that the ids are still distinct after a transformer changed them.
    pub(crate) fn check_distinct(&self) -> Result<(), Vec<ResId>> {
        let mut ids = BTreeSet::new();
        let repeated = self
            .resources
            .iter()
            .filter(|resource| !ids.insert(resource.id().canonical()));
        let repeated: Vec<ResId> = repeated.map(|resource| resource.id().clone()).collect();
        if repeated.is_empty() {
            Ok(())
        } else {
            Err(repeated)
        }
    }
}

impl From<Vec<Resource>> for ResMap {
    fn from(resources: Vec<Resource>) -> Self {
        Self { resources }
    }
}

/// Where each name that a resource has or had can be found.
#[derive(Debug, Default)]
pub(crate) struct NameIndex {
    by_name: BTreeMap<Text, Vec<usize>>,
}

impl NameIndex {
    pub(crate) fn of(resources: &ResMap) -> Self {
        let mut index = Self::default();
        for (position, resource) in resources.iter().enumerate() {
            let current = std::iter::once(&resource.id().name);
            for name in resource
                .previous
                .iter()
                .map(|previous| &previous.name)
                .chain(current)
            {
                let positions = index.by_name.entry(name.clone()).or_default();
                if positions.last() != Some(&position) {
                    positions.push(position);
                }
            }
        }
        index
    }

    /// The positions of all that have or had the name, in order.
    pub(crate) fn named(&self, name: &str) -> &[usize] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// The positions of all that have or had an id equal to the given one.
    pub(crate) fn with_any_id(&self, resources: &ResMap, id: &ResId) -> Vec<usize> {
        let named = self.named(&id.name).iter().copied();
        named
            .filter(|&position| resources.get(position).any_ids().any(|any| any.means(id)))
            .collect()
    }
}

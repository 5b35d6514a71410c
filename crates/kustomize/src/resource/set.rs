//! Pure: the ordered set of a build's objects, with an index over all that they are and were called.

use super::id::ResId;
use super::index::{Index, Key};
use super::object::Resource;
use crate::error::{BuildError, Problem};

/// An ordered list of resources with distinct ids.
///
/// The index is made when it is first asked, follows appends and single changes, and is dropped when all
/// resources may change at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResMap {
    resources: Vec<Resource>,
    index: Option<Index>,
    /// Positions of resources that a patch deleted, until the next [`Self::compact`].
    gone: Vec<bool>,
}

impl ResMap {
    /// All resources, in order, also those that a patch deleted, until the next [`Self::compact`].
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.resources.iter()
    }

    /// All resources, to be changed in any way.
    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Resource> {
        self.index = None;
        self.resources.iter_mut()
    }

    /// How many there are, as [`Self::iter`] counts.
    pub(crate) fn len(&self) -> usize {
        self.resources.len()
    }

    /// The resource at a position.
    pub(crate) fn get(&self, position: usize) -> &Resource {
        &self.resources[position]
    }

    /// All resources, in order.
    pub(crate) fn into_inner(self) -> Vec<Resource> {
        self.resources
    }

    /// Removes the resources that are not to be kept.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Resource) -> bool) {
        self.index = None;
        self.resources.retain(keep);
    }

    /// Changes one resource; what it is called then can be found, too.
    pub(crate) fn change_at<T>(
        &mut self,
        position: usize,
        change: impl FnOnce(&mut Resource) -> T,
    ) -> T {
        let resource = &mut self.resources[position];
        let before = (resource.id().clone(), resource.previous.len());
        let result = change(resource);
        if let Some(index) = &mut self.index
            && (before.0 != *resource.id() || before.1 != resource.previous.len())
        {
            index.add(position, resource);
        }
        result
    }

    /// Takes a resource out. Positions stay what they are until [`Self::compact`].
    pub(crate) fn remove(&mut self, position: usize) {
        self.gone.resize(self.resources.len(), false);
        self.gone[position] = true;
    }

    /// Closes the gaps of removed resources.
    pub(crate) fn compact(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let gone = std::mem::take(&mut self.gone);
        let mut position = 0;
        self.retain(|_| {
            position += 1;
            !gone[position - 1]
        });
    }

    /// False for what a patch deleted.
    fn is_there(&self, position: usize) -> bool {
        !self.gone.get(position).copied().unwrap_or_default()
    }

    /// The index of names and kinds, which is made when it is first asked for.
    fn index(&mut self) -> &Index {
        self.index.get_or_insert_with(|| Index::of(&self.resources))
    }

    /// Makes the index, so that [`Self::found`] can be asked while resources are borrowed.
    pub(crate) fn ensure_index(&mut self) {
        self.index();
    }

    /// The positions that may answer to a key; more than those that do. Needs the index.
    pub(crate) fn found(&self, key: Key<'_>) -> &[u32] {
        self.index
            .as_ref()
            .expect("the index was made before it is asked")
            .get(key)
    }

    /// The positions of all that have or had an id equal to the given one, in order.
    pub(crate) fn with_any_id(&mut self, id: &ResId) -> Vec<usize> {
        self.index();
        let found = self.found(Key::Id(id)).iter().map(|&at| at as usize);
        found
            .filter(|&at| self.is_there(at))
            .filter(|&at| self.resources[at].any_ids().any(|any| any.means(id)))
            .collect()
    }

    /// The positions of all that have or had the name, or else the kind, or else all.
    pub(crate) fn by_name_or_kind(&mut self, name: Option<&str>, kind: Option<&str>) -> Vec<usize> {
        let key = match (name, kind) {
            (Some(name), _) => Key::Name(name),
            (None, Some(kind)) => Key::Kind(kind),
            (None, None) => {
                let all = 0..self.resources.len();
                return all.filter(|&at| self.is_there(at)).collect();
            }
        };
        self.index();
        let found = self.found(key).iter().map(|&at| at as usize);
        found.filter(|&at| self.is_there(at)).collect()
    }

    /// Appends resources, none of which may have an id that is there already.
    pub(crate) fn append_all(&mut self, more: Vec<Resource>) -> Result<(), BuildError> {
        self.resources.reserve(more.len());
        for resource in more {
            self.append(resource)?;
        }
        Ok(())
    }

    /// Adds a resource. One of the same id that is there already is an error.
    fn append(&mut self, resource: Resource) -> Result<(), BuildError> {
        let position = self.resources.len();
        self.index();
        let same = self.found(Key::Id(resource.id())).iter();
        let taken = same
            .map(|&at| self.get(at as usize))
            .any(|other| other.id().means(resource.id()));
        if taken {
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
        if let Some(index) = &mut self.index {
            index.add(position, &resource);
        }
        self.resources.push(resource);
        Ok(())
    }

    /// Refuses repeated ids in kustomize's words, where it appends the whole set anew (resmap's `Append`).
    pub(crate) fn refuse_repeated(&mut self) -> Result<(), BuildError> {
        self.check_distinct().map_err(|ids| {
            let ids: Vec<String> = ids.iter().map(ResId::show_long).collect();
            let ids = ids.join(", ");
            let message = format!("may not add resource with an already registered id: {ids}");
            Problem::Identity(message).into()
        })
    }

    /// Checks that the ids are still distinct after a transformer changed them.
    pub(crate) fn check_distinct(&mut self) -> Result<(), Vec<ResId>> {
        self.index();
        let mut repeated = Vec::new();
        for (position, resource) in self.resources.iter().enumerate() {
            let earlier = self.found(Key::Id(resource.id())).iter();
            let is_taken = earlier
                .map(|&at| at as usize)
                .take_while(|&at| at < position)
                .any(|at| self.resources[at].id().means(resource.id()));
            if is_taken {
                repeated.push(resource.id().clone());
            }
        }
        if repeated.is_empty() {
            Ok(())
        } else {
            Err(repeated)
        }
    }
}

impl From<Vec<Resource>> for ResMap {
    fn from(resources: Vec<Resource>) -> Self {
        Self {
            resources,
            ..Self::default()
        }
    }
}

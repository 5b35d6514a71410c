//! Pure: where each id, name and kind that a resource has or had can be found, without looking through all.
//!
//! Keys are kept as hashes, so that nothing is copied: the caller compares what is found, which may be more than
//! was meant, never less.

#![expect(
    clippy::disallowed_types,
    reason = "a hash table whose order is never seen: positions are kept in order within a key"
)]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use super::id::{ResId, effective_namespace};
use super::object::Resource;

/// What to look for.
#[derive(Clone, Copy)]
pub(crate) enum Key<'k> {
    /// An id, today's or a former one.
    Id(&'k ResId),
    /// A name, today's or a former one.
    Name(&'k str),
    /// A name within an effective namespace of today.
    NameIn(&'k str, &'k str),
    /// A kind, today's or a former one.
    Kind(&'k str),
}

/// The positions of each key, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    /// By the hash of the key. Two keys with one hash share their positions, so a reader compares again.
    positions: HashMap<u64, Positions, BuildHasherDefault<Hashed>>,
}

/// The positions of one key.
#[derive(Debug, Clone)]
enum Positions {
    /// Most keys are those of one resource.
    One([u32; 1]),
    /// In order.
    Many(Vec<u32>),
}

/// The keys are hashes already.
#[derive(Debug, Clone, Copy, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Key<'_> {
    fn hash(self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Id(id) => {
                id.gvk.hash(&mut hasher);
                id.name.hash(&mut hasher);
                effective_namespace(id).hash(&mut hasher);
            }
            Self::Name(name) => (1_u8, name).hash(&mut hasher),
            Self::NameIn(name, namespace) => (2_u8, name, namespace).hash(&mut hasher),
            Self::Kind(kind) => (3_u8, kind).hash(&mut hasher),
        }
        hasher.finish()
    }
}

impl Index {
    /// The index of a list of objects.
    pub(super) fn of(resources: &[Resource]) -> Self {
        let mut index = Self::default();
        index.positions.reserve(resources.len() * 3);
        for (position, resource) in resources.iter().enumerate() {
            index.add(position, resource);
        }
        index
    }

    /// Adds all that the resource is and was called.
    pub(super) fn add(&mut self, position: usize, resource: &Resource) {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let namespace = effective_namespace(resource.id());
        let mut last: Option<ResId> = None;
        for id in resource.any_ids() {
            // A step that changes nothing leaves the same id behind.
            if last.as_ref() == Some(&id) {
                continue;
            }
            self.insert(Key::Id(&id), position);
            if last.as_ref().is_none_or(|last| last.name != id.name) {
                self.insert(Key::Name(&id.name), position);
                self.insert(Key::NameIn(&id.name, namespace), position);
            }
            if last
                .as_ref()
                .is_none_or(|last| last.gvk.kind != id.gvk.kind)
            {
                self.insert(Key::Kind(&id.gvk.kind), position);
            }
            last = Some(id);
        }
    }

    /// Adds a position to a key.
    fn insert(&mut self, key: Key<'_>, position: u32) {
        use std::collections::hash_map::Entry;
        match self.positions.entry(key.hash()) {
            Entry::Vacant(vacant) => drop(vacant.insert(Positions::One([position]))),
            Entry::Occupied(mut occupied) => match occupied.get_mut() {
                Positions::One([one]) if *one == position => {}
                Positions::One([one]) => {
                    let pair = vec![position.min(*one), position.max(*one)];
                    occupied.insert(Positions::Many(pair));
                }
                Positions::Many(many) if many.last().is_some_and(|last| *last < position) => {
                    many.push(position);
                }
                Positions::Many(many) => {
                    if let Err(at) = many.binary_search(&position) {
                        many.insert(at, position);
                    }
                }
            },
        }
    }

    /// The positions of what may have the key, in order.
    pub(crate) fn get(&self, key: Key<'_>) -> &[u32] {
        match self.positions.get(&key.hash()) {
            None => &[],
            Some(Positions::One(one)) => one,
            Some(Positions::Many(many)) => many,
        }
    }
}

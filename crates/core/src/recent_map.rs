//! Pure: a map of bounded size, whose key that was used longest ago makes room for a new one.
//!
//! It is for values that are made anew at little cost, such as clients, and whose keys a tenant can choose.

use std::collections::BTreeMap;

/// The map.
#[derive(Debug)]
pub struct RecentMap<K, V> {
    most: usize,
    /// Grows with every use.
    clock: u64,
    entries: BTreeMap<K, (u64, V)>,
}

impl<K: Ord + Clone, V: Clone> RecentMap<K, V> {
    /// A map of this many entries at most, and of one at least.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            clock: 0,
            entries: BTreeMap::new(),
        }
    }

    /// The value of a key, which is used by that.
    pub fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value.clone())
    }

    /// Puts a value. Where that is too much, the entry goes that was used longest ago.
    pub fn insert(&mut self, key: K, value: V) {
        self.clock += 1;
        self.entries.insert(key, (self.clock, value));
        if self.entries.len() > self.most {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.entries.remove(&oldest);
            }
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let mut map = RecentMap::new(2);
        assert!(map.is_empty());
        map.insert("a", 1);
        map.insert("b", 2);
        assert_eq!(map.get(&"a"), Some(1));
        map.insert("c", 3);
        assert_eq!(
            (map.get(&"a"), map.get(&"b"), map.get(&"c")),
            (Some(1), None, Some(3))
        );
        map.insert("c", 4);
        assert_eq!(
            (map.len(), map.get(&"a"), map.get(&"c")),
            (2, Some(1), Some(4))
        );
    }
}

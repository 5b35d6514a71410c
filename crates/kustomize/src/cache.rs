//! Pure: the documents of files that were parsed before, by the name of their content, within a bound.
//!
//! Nodes share their parts, so a base that a hundred overlays use is parsed and held once. The cache has two
//! generations: what is used moves to the young one; when that is full, the old one goes. So nothing that is in
//! use is dropped, and no clock or list of uses is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::documents::Documents;
use crate::files::ContentId;

/// Parsed files, shared by builds.
#[derive(Debug)]
pub struct DocumentCache {
    generations: Mutex<Generations>,
    /// Bytes of text per generation.
    limit: usize,
}

/// The two generations.
#[derive(Debug, Default)]
struct Generations {
    /// What was used since the last change of generations.
    young: BTreeMap<ContentId, Parsed>,
    /// Its size.
    young_bytes: usize,
    /// What was used before.
    old: BTreeMap<ContentId, Parsed>,
}

/// One file.
#[derive(Debug, Clone)]
struct Parsed {
    documents: Arc<Documents>,
    bytes: usize,
}

impl DocumentCache {
    /// A cache of files of so many bytes of text in all. Parsed, they take about four times as much.
    pub fn new(bytes: usize) -> Self {
        Self {
            generations: Mutex::default(),
            limit: bytes / 2,
        }
    }

    /// The documents of a content, if they are there. They move to the young generation.
    pub(crate) fn get(&self, id: &ContentId) -> Option<Arc<Documents>> {
        let mut generations = self.lock();
        if let Some(parsed) = generations.young.get(id) {
            return Some(parsed.documents.clone());
        }
        let parsed = generations.old.remove(id)?;
        let documents = parsed.documents.clone();
        generations.put(id.clone(), parsed, self.limit);
        Some(documents)
    }

    /// Adds the documents of a content, of this size.
    pub(crate) fn put(&self, id: ContentId, documents: Arc<Documents>, bytes: usize) {
        // What would fill a generation alone is not worth the others.
        if bytes <= self.limit {
            self.lock().put(id, Parsed { documents, bytes }, self.limit);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn put(&mut self, id: ContentId, parsed: Parsed, limit: usize) {
        if self.young_bytes + parsed.bytes > limit {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += parsed.bytes;
        self.young.insert(id, parsed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &DocumentCache, name: &str) {
        cache.put(ContentId::new(name), Arc::default(), 10);
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let cache = DocumentCache::new(40);
        put(&cache, "used");
        for name in ["a", "b", "c", "d", "e", "f"] {
            put(&cache, name);
            assert!(cache.get(&ContentId::new("used")).is_some(), "{name}");
        }
        assert!(cache.get(&ContentId::new("a")).is_none());
        cache.put(ContentId::new("huge"), Arc::default(), 41);
        assert!(cache.get(&ContentId::new("huge")).is_none());
    }
}

//! Pure: which Kustomization reads which ConfigMaps and Secrets for its variables, so that a change of them wakes it.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::api::kustomization::SubstituteKind;
use crate::names::NamespacedName;

/// A ConfigMap or Secret with values of variables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VariableSource {
    /// ConfigMap or Secret.
    pub kind: SubstituteKind,
    /// Its namespace and name.
    pub name: NamespacedName,
}

/// The sources of variables, each with the Kustomizations that read it and the resource version that they read.
#[derive(Debug, Default)]
pub struct VariableIndex(Mutex<BTreeMap<VariableSource, BTreeMap<NamespacedName, String>>>);

impl VariableIndex {
    /// Records everything that a Kustomization has read, with resource versions. The version of a source that does not
    /// exist is empty.
    pub fn record(&self, reader: &NamespacedName, sources: Vec<(VariableSource, String)>) {
        let mut all = self.0.lock();
        for readers in all.values_mut() {
            readers.remove(reader);
        }
        for (source, version) in sources {
            let readers = all.entry(source).or_default();
            readers.insert(reader.clone(), version);
        }
        all.retain(|_, readers| !readers.is_empty());
    }

    /// The Kustomizations that have read another version of a source.
    pub fn readers_of_other_versions(
        &self,
        source: &VariableSource,
        version: &str,
    ) -> Vec<NamespacedName> {
        let all = self.0.lock();
        let readers = all.get(source).into_iter().flatten();
        let readers = readers.filter(|(_, read)| *read != version);
        readers.map(|(reader, _)| reader.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_of_another_version_are_named() {
        let index = VariableIndex::default();
        let reader = |name: &str| NamespacedName::new("team", name);
        let map = || VariableSource {
            kind: SubstituteKind::ConfigMap,
            name: NamespacedName::new("team", "vars"),
        };
        let check = |version: &str, expected: &[NamespacedName]| {
            assert_eq!(index.readers_of_other_versions(&map(), version), expected);
        };
        check("1", &[]);
        index.record(&reader("a"), vec![(map(), "1".to_owned())]);
        index.record(&reader("b"), vec![(map(), String::new())]);
        check("1", &[reader("b")]);
        check("2", &[reader("a"), reader("b")]);
        index.record(&reader("a"), Vec::new());
        check("2", &[reader("b")]);
    }
}

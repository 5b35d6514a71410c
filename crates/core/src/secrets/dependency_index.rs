//! Pure: which ExternalSecret depends on which objects, so that a change re-queues its dependents and no others.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::{Mutex, MutexGuard};

use crate::api::external_secret::{ExternalSecret, StoreKind};
use crate::names::NamespacedName;
use crate::secrets::desired::DesiredSecret;
use crate::secrets::template_from::{TemplateSourceKind, references};

/// An object that an ExternalSecret depends on. Objects of the cluster have an empty namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// A store that is read from.
    Store(StoreKind, NamespacedName),
    /// A generator.
    Generator {
        /// The kind: `Password`, `UUID`, `Fake` or `ClusterGenerator`.
        kind: String,
        /// Where it is.
        name: NamespacedName,
    },
    /// A ConfigMap that holds templates.
    ConfigMap(NamespacedName),
    /// A Secret that holds templates.
    Secret(NamespacedName),
    /// The Secret that the ExternalSecret writes.
    Target(NamespacedName),
}

impl Dependency {
    /// An object that holds templates.
    pub fn template_source(kind: TemplateSourceKind, name: NamespacedName) -> Self {
        match kind {
            TemplateSourceKind::ConfigMap => Self::ConfigMap(name),
            TemplateSourceKind::Secret => Self::Secret(name),
        }
    }
}

/// Everything that an ExternalSecret depends on.
pub fn dependencies(object: &ExternalSecret, desired: &DesiredSecret) -> BTreeSet<Dependency> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let here = |name: &str| NamespacedName::new(namespace, name);
    let of_cluster = |name: &str| NamespacedName::new("", name);
    let mut all = BTreeSet::from([Dependency::Target(here(&desired.target))]);
    all.extend(desired.stores().into_iter().map(|store| {
        let name = match store.kind {
            StoreKind::SecretStore => here(&store.name),
            StoreKind::ClusterSecretStore => of_cluster(&store.name),
        };
        Dependency::Store(store.kind, name)
    }));
    all.extend(desired.generators().map(|entry| {
        let generator = &entry.generator;
        let name = match generator.kind.as_str() {
            "ClusterGenerator" => of_cluster(&generator.name),
            _ => here(&generator.name),
        };
        Dependency::Generator {
            kind: generator.kind.clone(),
            name,
        }
    }));
    let template = object.spec.target.template.as_deref();
    let sources = template.map(references).unwrap_or_default();
    let sources = sources.into_iter();
    all.extend(sources.map(|(kind, name)| Dependency::template_source(kind, here(&name))));
    all
}

/// What each ExternalSecret depends on, and the version of each dependency that it has read.
#[derive(Debug, Default)]
pub struct DependencyIndex(Mutex<IndexState>);

/// Most objects have one dependent; a tree for each would be most of the memory.
#[derive(Debug)]
enum Dependents {
    One(NamespacedName),
    Many(BTreeSet<NamespacedName>),
}

impl Dependents {
    fn insert(&mut self, name: NamespacedName) {
        match self {
            Self::One(one) => *self = Self::Many([one.clone(), name].into()),
            Self::Many(many) => drop(many.insert(name)),
        }
    }

    /// True if no dependent is left.
    fn remove(&mut self, name: &NamespacedName) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Many(many) => {
                many.remove(name);
                many.is_empty()
            }
        }
    }

    fn all(&self) -> Vec<NamespacedName> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::Many(many) => many.iter().cloned().collect(),
        }
    }
}

#[derive(Debug, Default)]
struct IndexState {
    dependencies: BTreeMap<NamespacedName, Vec<Dependency>>,
    dependents: BTreeMap<Dependency, Dependents>,
    /// The resource version that each ExternalSecret has read last; empty for an object that did not exist.
    read_versions: BTreeMap<NamespacedName, BTreeMap<Dependency, String>>,
    /// ExternalSecrets whose dependencies have changed since they were read.
    stale: BTreeSet<NamespacedName>,
    /// ExternalSecrets that may succeed now, and are not to wait for the end of their backoff.
    refresh_requests: BTreeSet<NamespacedName>,
}

impl DependencyIndex {
    fn state(&self) -> MutexGuard<'_, IndexState> {
        self.0.lock()
    }

    /// Sets all dependencies of an ExternalSecret.
    pub fn set(&self, name: &NamespacedName, dependencies: BTreeSet<Dependency>) {
        let mut state = self.state();
        if state
            .dependencies
            .get(name)
            .is_some_and(|known| known.iter().eq(&dependencies))
        {
            return;
        }
        state.remove(name);
        for dependency in &dependencies {
            match state.dependents.get_mut(dependency) {
                Some(dependents) => dependents.insert(name.clone()),
                None => {
                    let one = Dependents::One(name.clone());
                    state.dependents.insert(dependency.clone(), one);
                }
            }
        }
        let dependencies = dependencies.into_iter().collect();
        state.dependencies.insert(name.clone(), dependencies);
    }

    /// Forgets an ExternalSecret that is gone.
    pub fn forget(&self, name: &NamespacedName) {
        let mut state = self.state();
        state.remove(name);
        state.read_versions.remove(name);
        state.stale.remove(name);
        state.refresh_requests.remove(name);
    }

    /// The ExternalSecrets that depend on an object.
    pub fn dependents(&self, dependency: &Dependency) -> Vec<NamespacedName> {
        let state = self.state();
        let dependents = state.dependents.get(dependency);
        dependents.map(Dependents::all).unwrap_or_default()
    }

    /// Everything that an ExternalSecret depends on.
    pub fn dependencies_of(&self, name: &NamespacedName) -> Vec<Dependency> {
        let state = self.state();
        state.dependencies.get(name).cloned().unwrap_or_default()
    }

    /// The ExternalSecrets of a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<NamespacedName> {
        let state = self.state();
        let from = NamespacedName::new(namespace, "");
        let names = state.dependencies.range(from..).map(|(name, _)| name);
        names
            .take_while(|name| name.namespace == namespace)
            .cloned()
            .collect()
    }

    /// Records the resource version at which an ExternalSecret has read an object; empty if the object does not exist.
    pub fn record_read(&self, name: &NamespacedName, dependency: Dependency, version: &str) {
        let mut state = self.state();
        let versions = state.read_versions.entry(name.clone()).or_default();
        versions.insert(dependency, version.to_owned());
    }

    /// Marks the dependents that have read another version of an object as stale, and gives their names.
    ///
    /// A dependent that has not read the object in this process is taken to have read this version.
    pub fn mark_stale(&self, dependency: &Dependency, version: &str) -> Vec<NamespacedName> {
        let mut state = self.state();
        let dependents = state.dependents.get(dependency);
        let mut stale = dependents.map(Dependents::all).unwrap_or_default();
        stale.retain(|name| {
            let versions = state.read_versions.entry(name.clone()).or_default();
            let read = versions
                .entry(dependency.clone())
                .or_insert_with(|| version.to_owned());
            read != version
        });
        state.stale.extend(stale.iter().cloned());
        stale
    }

    /// Requests a refresh of ExternalSecrets for which something has changed that a failure may have come from. Gives
    /// their names back, to be re-queued.
    pub fn request_refresh(&self, names: Vec<NamespacedName>) -> Vec<NamespacedName> {
        self.state().refresh_requests.extend(names.iter().cloned());
        names
    }

    /// True if a refresh was requested; the request is taken, so that it counts once.
    pub fn take_refresh_request(&self, name: &NamespacedName) -> bool {
        self.state().refresh_requests.remove(name)
    }

    /// True if a dependency has changed since it was read.
    pub fn is_stale(&self, name: &NamespacedName) -> bool {
        self.state().stale.contains(name)
    }

    /// Records that an ExternalSecret is about to read all its dependencies.
    pub fn clear_stale(&self, name: &NamespacedName) {
        self.state().stale.remove(name);
    }
}

impl IndexState {
    fn remove(&mut self, name: &NamespacedName) {
        for dependency in self.dependencies.remove(name).unwrap_or_default() {
            let Some(dependents) = self.dependents.get_mut(&dependency) else {
                continue;
            };
            if dependents.remove(name) {
                self.dependents.remove(&dependency);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secrets::desired::resolve;

    fn name(name: &str) -> NamespacedName {
        NamespacedName::new("team", name)
    }

    fn map(of: &str) -> Dependency {
        Dependency::ConfigMap(name(of))
    }

    #[test]
    fn a_change_requeues_the_dependents_that_have_not_read_it() {
        let index = DependencyIndex::default();
        index.set(&name("a"), [map("x"), map("y")].into());
        index.set(&name("b"), [map("x")].into());
        index.record_read(&name("a"), map("x"), "1");
        index.record_read(&name("b"), map("x"), "1");
        assert!(index.mark_stale(&map("x"), "1").is_empty(), "an echo");
        // One of them has read the new one already, the other has not.
        index.record_read(&name("a"), map("x"), "2");
        assert_eq!(index.mark_stale(&map("x"), "2"), [name("b")]);
        assert_eq!(index.mark_stale(&map("x"), "3"), [name("a"), name("b")]);
        assert!(index.is_stale(&name("a")));
        index.clear_stale(&name("a"));
        assert!(!index.is_stale(&name("a")));
        assert!(index.mark_stale(&map("y"), "1").is_empty(), "never read");
        assert_eq!(index.mark_stale(&map("y"), "2"), [name("a")]);
        index.request_refresh(index.dependents(&map("y")));
        assert!(index.take_refresh_request(&name("a")));
        assert!(!index.take_refresh_request(&name("a")), "once");
        index.set(&name("a"), [map("y")].into());
        assert_eq!(index.dependents(&map("x")), [name("b")]);
        assert_eq!(index.dependencies_of(&name("a")), [map("y")]);
        index.forget(&name("b"));
        assert!(index.dependents(&map("x")).is_empty());
        assert_eq!(index.in_namespace("team"), [name("a")]);
        assert!(index.in_namespace("tea").is_empty());
    }

    #[test]
    fn an_external_secret_depends_on_stores_generators_templates_and_its_target() {
        let generator = |kind: &str, name: &str| json!({"sourceRef": {"generatorRef": {"kind": kind, "name": name}}});
        let spec = json!({
            "secretStoreRef": {"name": "own"},
            "dataFrom": [
                generator("UUID", "id"),
                generator("ClusterGenerator", "all"),
                {"extract": {"key": "a"}, "sourceRef": {"storeRef": {"name": "shared", "kind": "ClusterSecretStore"}}},
                {"extract": {"key": "b"}},
            ],
            "target": {"name": "out", "template": {"templateFrom": [{"configMap": {"name": "c", "items": []}, "secret": {"name": "s", "items": []}}]}},
        });
        let mut object = ExternalSecret::new("db", serde_json::from_value(spec).unwrap());
        object.metadata.namespace = Some("team".to_owned());
        let desired = resolve("db", &object.spec).unwrap();
        let generator = |kind: &str, name| Dependency::Generator {
            kind: kind.to_owned(),
            name,
        };
        let of_cluster = |name| NamespacedName::new("", name);
        let expected = [
            Dependency::Store(StoreKind::SecretStore, name("own")),
            Dependency::Store(StoreKind::ClusterSecretStore, of_cluster("shared")),
            generator("ClusterGenerator", of_cluster("all")),
            generator("UUID", name("id")),
            map("c"),
            Dependency::Secret(name("s")),
            Dependency::Target(name("out")),
        ];
        assert_eq!(dependencies(&object, &desired), expected.into());
    }
}

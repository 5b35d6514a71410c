//! `dependsOn`: what must be ready first, and whom a change sets free.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;
use kube::api::Api;
use parking_lot::{Mutex, MutexGuard};

use crate::controllers::Context;
use crate::controllers::context::memory_key;
use crate::controllers::kustomization::{SyncError, source_key};
use crate::expression::Expression;
use overlayd_core::api::kustomization::{DependencyReference, Kustomization};
use overlayd_core::apply::written_status::unit_of;
use overlayd_core::names::NamespacedName;

/// How Kustomizations stand, as far as their dependents care.
#[derive(Debug, Default)]
pub(crate) struct Dependencies(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How each stands, and its version.
    units: BTreeMap<NamespacedName, (String, String)>,
    /// Those that judge their dependencies themselves.
    judges: BTreeSet<NamespacedName>,
    /// Whom each depends on.
    needs: BTreeMap<NamespacedName, BTreeSet<NamespacedName>>,
    /// How the dependencies of one stood when it was found to be blocked.
    blocked: BTreeMap<String, String>,
}

impl Dependencies {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Takes note of how a Kustomization stands; gives those that depend on it, if it stands otherwise than before.
    pub(crate) fn changed(&self, object: &Kustomization) -> Vec<NamespacedName> {
        let unit = unit_of(object);
        let mut state = self.state();
        let needs = needs(object).map(|(_, unit)| unit).collect();
        state.needs.insert(unit.clone(), needs);
        if judges(object) {
            state.judges.insert(unit.clone());
        } else {
            state.judges.remove(&unit);
        }
        let stands = if object.metadata.deletion_timestamp.is_some() {
            "going".to_owned()
        } else {
            let status = object.status.as_ref();
            let revision = status.and_then(|status| status.last_applied_revision.as_deref());
            format!("{} {revision:?}", is_ready(object))
        };
        let version = object.resource_version().unwrap_or_default();
        let before = state
            .units
            .insert(unit.clone(), (stands.clone(), version.clone()));
        let is_same = before.as_ref().is_some_and(|(before, _)| *before == stands);
        if is_same && before.is_some_and(|(_, before)| before == version) {
            return Vec::new();
        }
        // What an expression looks at may be anything of it.
        let dependents = state.needs.iter();
        let dependents = dependents.filter(|(dependent, needs)| {
            needs.contains(&unit) && (!is_same || state.judges.contains(*dependent))
        });
        dependents.map(|(dependent, _)| dependent.clone()).collect()
    }

    /// Forgets a Kustomization; gives those that depend on it.
    pub(super) fn gone(&self, unit: &NamespacedName) -> Vec<NamespacedName> {
        let mut state = self.state();
        state.needs.remove(unit);
        state.judges.remove(unit);
        state.units.remove(unit);
        let dependents = state.needs.iter();
        let dependents = dependents.filter(|(_, needs)| needs.contains(unit));
        dependents.map(|(dependent, _)| dependent.clone()).collect()
    }

    /// How the dependencies of a Kustomization stand now.
    pub(super) fn stand(&self, object: &Kustomization) -> String {
        self.state().stand(object)
    }

    /// Remembers how the dependencies stood, before they were looked at, that block a Kustomization.
    pub(super) fn block(&self, key: &str, stand: String) {
        self.state().blocked.insert(key.to_owned(), stand);
    }

    /// True once for a blocked Kustomization whose dependencies stand otherwise than they did.
    pub(super) fn is_freed(&self, key: &str, object: &Kustomization) -> bool {
        let mut state = self.state();
        let stand = state.stand(object);
        let freed = state
            .blocked
            .get(key)
            .is_some_and(|blocked| *blocked != stand);
        if freed {
            state.blocked.remove(key);
        }
        freed
    }

    /// The way from a Kustomization back to itself, if there is one.
    fn cycle(&self, unit: &NamespacedName) -> Option<Vec<NamespacedName>> {
        let state = self.state();
        let mut seen = BTreeSet::new();
        let mut ways = vec![vec![unit.clone()]];
        while let Some(way) = ways.pop() {
            let last = way.last()?;
            for next in state.needs.get(last).into_iter().flatten() {
                let mut longer = way.clone();
                longer.push(next.clone());
                if next == unit {
                    return Some(longer);
                }
                if seen.insert(next.clone()) {
                    ways.push(longer);
                }
            }
        }
        None
    }
}

impl State {
    fn stand(&self, object: &Kustomization) -> String {
        let judges = judges(object);
        let stands = needs(object).map(|(_, unit)| {
            let known = self.units.get(&unit);
            let stands = known.map(|(stands, _)| stands);
            let version = known.map(|(_, version)| version).filter(|_| judges);
            format!("{unit:?} {stands:?} {version:?}")
        });
        stands.collect::<Vec<_>>().join(";")
    }
}

/// True if an expression says when a dependency is met.
fn judges(object: &Kustomization) -> bool {
    let mut dependencies = object.spec.depends_on.iter();
    dependencies.any(|dependency| dependency.ready_expr.is_some())
}

fn needs(object: &Kustomization) -> impl Iterator<Item = (&DependencyReference, NamespacedName)> {
    let own = object.namespace().unwrap_or_default();
    object.spec.depends_on.iter().map(move |dependency| {
        let namespace = dependency.namespace.clone().unwrap_or_else(|| own.clone());
        (dependency, NamespacedName::new(namespace, &dependency.name))
    })
}

fn is_ready(object: &Kustomization) -> bool {
    let status = object.status.as_ref();
    let observed = status.map(|status| status.observed_generation);
    status.is_some_and(super::is_ready) && observed == object.metadata.generation
}

/// Checks every dependency, read anew.
pub(super) async fn check(
    object: &Kustomization,
    context: &Context,
    revision: &str,
) -> Result<Result<(), SyncError>, kube::Error> {
    if object.spec.depends_on.is_empty() {
        return Ok(Ok(()));
    }
    if let Some(cycle) = context.dependencies.cycle(&unit_of(object)) {
        let way: Vec<String> = cycle.iter().map(ToString::to_string).collect();
        let message = format!("dependencies go in a circle: {}", way.join(" → "));
        return Ok(Err(SyncError::Dependency(message)));
    }
    for (dependency, unit) in needs(object) {
        let api: Api<Kustomization> = Api::namespaced(context.client.clone(), &unit.namespace);
        let found = api.get_opt(&unit.name).await?;
        let why = match (&dependency.ready_expr, &found) {
            (Some(text), Some(found)) => match judged(text, object, found).await {
                Ok(why) => why,
                Err(error) => return Ok(Err(error)),
            },
            (_, found) => unmet(object, found.as_ref(), revision),
        };
        if let Some(why) = why {
            let message = format!("dependency '{}' {why}", unit);
            return Ok(Err(SyncError::Dependency(message)));
        }
    }
    tracing::debug!(kustomization = memory_key(object), "dependencies are ready");
    Ok(Ok(()))
}

/// What keeps a dependency from being met, as an expression judges it.
async fn judged(
    text: &str,
    object: &Kustomization,
    dependency: &Kustomization,
) -> Result<Option<String>, SyncError> {
    let invalid = |error| SyncError::Expression(format!("`dependsOn[].readyExpr`: {error}"));
    let expression = Expression::parse(text).map_err(invalid)?;
    let value = |object: &Kustomization| serde_json::to_value(object).unwrap_or_default();
    let variables = vec![
        ("dep".to_owned(), value(dependency)),
        ("self".to_owned(), value(object)),
    ];
    Ok(match expression.holds(variables).await {
        Ok(true) => None,
        Ok(false) => Some("is not ready: `readyExpr` does not hold".to_owned()),
        Err(error) => Some(format!("is not ready: `readyExpr`: {error}")),
    })
}

/// What keeps a dependency from being met.
fn unmet(
    object: &Kustomization,
    dependency: Option<&Kustomization>,
    revision: &str,
) -> Option<String> {
    let Some(dependency) = dependency else {
        return Some("does not exist".to_owned());
    };
    if !is_ready(dependency) {
        return Some("is not ready".to_owned());
    }
    let same_source = source_key(object) == source_key(dependency)
        && object.spec.source_ref.kind == dependency.spec.source_ref.kind;
    let status = dependency.status.as_ref();
    let applied = status.and_then(|status| status.last_applied_revision.as_deref());
    (same_source && applied != Some(revision)).then(|| {
        let applied = applied.unwrap_or("nothing");
        format!("has applied {applied}, not yet {revision}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn unit(name: &str, needs: &[&str], status: &Value) -> Kustomization {
        let needs: Vec<Value> = needs.iter().map(|name| json!({"name": name})).collect();
        serde_json::from_value(json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": name, "namespace": "team", "generation": 1},
            "spec": {
                "interval": "1m", "prune": true, "dependsOn": needs,
                "sourceRef": {"kind": "GitRepository", "name": "repo"},
            },
            "status": status,
        }))
        .unwrap()
    }

    fn ready(revision: &str) -> Value {
        json!({
            "observedGeneration": 1, "lastAppliedRevision": revision,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "r", "message": "m",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        })
    }

    #[test]
    fn a_dependency_is_met_when_it_has_applied_the_same_revision() {
        let app = unit("app", &["infra"], &json!({}));
        let check = |dependency: Option<Kustomization>, expected: Option<&str>| {
            let why = unmet(&app, dependency.as_ref(), "main@sha1:b");
            assert_eq!(why.as_deref(), expected);
        };
        check(None, Some("does not exist"));
        check(Some(unit("infra", &[], &json!({}))), Some("is not ready"));
        check(
            Some(unit("infra", &[], &ready("main@sha1:a"))),
            Some("has applied main@sha1:a, not yet main@sha1:b"),
        );
        check(Some(unit("infra", &[], &ready("main@sha1:b"))), None);
        let mut other = unit("infra", &[], &ready("main@sha1:a"));
        other.spec.source_ref.name = "another".to_owned();
        check(Some(other), None);
    }

    #[test]
    fn a_change_wakes_dependents_and_sets_the_blocked_free() {
        let dependencies = Dependencies::default();
        let app = unit("app", &["infra"], &json!({}));
        assert!(dependencies.changed(&app).is_empty());
        dependencies.changed(&unit("infra", &[], &json!({})));
        dependencies.block("app", dependencies.stand(&app));
        assert!(!dependencies.is_freed("app", &app));
        let woken = dependencies.changed(&unit("infra", &[], &ready("a")));
        assert_eq!(woken, [NamespacedName::new("team", "app")]);
        assert!(dependencies.is_freed("app", &app));
        assert!(!dependencies.is_freed("app", &app), "once");
        assert!(
            dependencies
                .changed(&unit("infra", &[], &ready("a")))
                .is_empty()
        );
        let gone = dependencies.gone(&NamespacedName::new("team", "infra"));
        assert_eq!(gone, woken);
        dependencies.changed(&unit("infra", &["app"], &ready("a")));
        let cycle = dependencies.cycle(&NamespacedName::new("team", "app"));
        assert_eq!(cycle.unwrap().len(), 3);
    }
}

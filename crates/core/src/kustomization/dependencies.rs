//! Pure: `dependsOn`: what must be ready first, and which Kustomizations a change unblocks.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;
use parking_lot::{Mutex, MutexGuard};

use crate::api::kustomization::{DependencyReference, Kustomization};
use crate::kustomization::{is_ready, source_of};
use crate::names::NamespacedName;

/// The states of all Kustomizations, as far as their dependents care.
#[derive(Debug, Default)]
pub struct Dependencies(Mutex<DependencyGraph>);

#[derive(Debug, Default)]
struct DependencyGraph {
    readiness: BTreeMap<NamespacedName, DependencyState>,
    /// Kustomizations with a `readyExpr`, which can depend on anything of the other object.
    with_expressions: BTreeSet<NamespacedName>,
    /// The dependencies of each.
    needs: BTreeMap<NamespacedName, BTreeSet<NamespacedName>>,
    /// The [state](Dependencies::state_of) that each blocked Kustomization was blocked by.
    blocked: BTreeMap<NamespacedName, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct DependencyState {
    /// All that dependents without an expression look at.
    summary: String,
    resource_version: String,
}

/// Why a Kustomization has to wait for others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// A way from a Kustomization back to itself.
    #[error("dependencies go in a circle: {}", way(.0))]
    Cycle(Vec<NamespacedName>),
    /// A dependency that is not met.
    #[error("dependency '{dependency}' {reason}")]
    Unmet {
        /// The dependency.
        dependency: NamespacedName,
        /// What is missing.
        reason: UnmetReason,
    },
}

/// What a dependency lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnmetReason {
    /// There is no such Kustomization.
    #[error("does not exist")]
    Missing,
    /// It is not ready, or not for its current spec.
    #[error("is not ready")]
    NotReady,
    /// It has the same source, and is ready with another revision.
    #[error("has applied {applied}, not yet {wanted}")]
    OtherRevision {
        /// The revision that it has applied, or `nothing`.
        applied: String,
        /// The revision that its dependent is about to apply.
        wanted: String,
    },
    /// The expression of the dependent is false.
    #[error("is not ready: `readyExpr` does not hold")]
    ExpressionIsFalse,
    /// The expression of the dependent cannot be evaluated on it.
    #[error("is not ready: `readyExpr`: {0}")]
    ExpressionFailed(String),
}

fn way(names: &[NamespacedName]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(" → ")
}

impl Dependencies {
    fn lock(&self) -> MutexGuard<'_, DependencyGraph> {
        self.0.lock()
    }

    /// Records the state of a Kustomization. Returns those that depend on it, if it has changed for them.
    pub fn changed(&self, object: &Kustomization) -> Vec<NamespacedName> {
        let name = NamespacedName::of(object);
        let mut graph = self.lock();
        let dependencies = dependencies(object).map(|(_, name)| name).collect();
        graph.needs.insert(name.clone(), dependencies);
        if has_expression(object) {
            graph.with_expressions.insert(name.clone());
        } else {
            graph.with_expressions.remove(&name);
        }
        let new = DependencyState::of(object);
        let before = graph.readiness.insert(name.clone(), new.clone());
        if before.as_ref() == Some(&new) {
            return Vec::new();
        }
        let is_same = before.is_some_and(|before| before.summary == new.summary);
        let dependents = graph.needs.iter().filter(|(dependent, needs)| {
            needs.contains(&name) && (!is_same || graph.with_expressions.contains(*dependent))
        });
        dependents.map(|(dependent, _)| dependent.clone()).collect()
    }

    /// Forgets a Kustomization that was deleted. Returns those that depend on it.
    pub fn gone(&self, name: &NamespacedName) -> Vec<NamespacedName> {
        let mut graph = self.lock();
        graph.needs.remove(name);
        graph.with_expressions.remove(name);
        graph.readiness.remove(name);
        graph.blocked.remove(name);
        let dependents = graph.needs.iter();
        let dependents = dependents.filter(|(_, needs)| needs.contains(name));
        dependents.map(|(dependent, _)| dependent.clone()).collect()
    }

    /// The state of the dependencies of a Kustomization, as a text to compare.
    pub fn state_of(&self, object: &Kustomization) -> String {
        self.lock().state_of(object)
    }

    /// Records the state that blocks a Kustomization. It is the state from before the dependencies were read, so that a
    /// change in between unblocks it.
    pub fn block(&self, name: &NamespacedName, state: String) {
        self.lock().blocked.insert(name.clone(), state);
    }

    /// True once for a blocked Kustomization whose dependencies have changed.
    pub fn take_unblocked(&self, object: &Kustomization) -> bool {
        let name = NamespacedName::of(object);
        let mut graph = self.lock();
        let state = graph.state_of(object);
        let blocked = graph.blocked.get(&name);
        let is_unblocked = blocked.is_some_and(|blocked| *blocked != state);
        if is_unblocked {
            graph.blocked.remove(&name);
        }
        is_unblocked
    }

    /// Refuses dependencies that lead back to the Kustomization itself.
    ///
    /// # Errors
    /// The circle.
    pub fn check_cycle(&self, name: &NamespacedName) -> Result<(), DependencyError> {
        match self.lock().cycle(name) {
            Some(cycle) => Err(DependencyError::Cycle(cycle)),
            None => Ok(()),
        }
    }
}

impl DependencyGraph {
    fn state_of(&self, object: &Kustomization) -> String {
        let has_expression = has_expression(object);
        let states = dependencies(object).map(|(_, name)| {
            let known = self.readiness.get(&name);
            let summary = known.map(|known| &known.summary);
            let version = known.map(|known| &known.resource_version);
            let version = version.filter(|_| has_expression);
            format!("{name:?} {summary:?} {version:?}")
        });
        states.collect::<Vec<_>>().join(";")
    }

    fn cycle(&self, name: &NamespacedName) -> Option<Vec<NamespacedName>> {
        let mut seen = BTreeSet::new();
        let mut ways = vec![vec![name.clone()]];
        while let Some(way) = ways.pop() {
            let last = way.last()?;
            for next in self.needs.get(last).into_iter().flatten() {
                let mut longer = way.clone();
                longer.push(next.clone());
                if next == name {
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

impl DependencyState {
    fn of(object: &Kustomization) -> Self {
        let summary = if object.metadata.deletion_timestamp.is_some() {
            "being deleted".to_owned()
        } else {
            let status = object.status.as_ref();
            let revision = status.and_then(|status| status.last_applied_revision.as_deref());
            format!("{} {revision:?}", is_current(object))
        };
        Self {
            summary,
            resource_version: object.resource_version().unwrap_or_default(),
        }
    }
}

/// True if an expression decides when a dependency is met.
fn has_expression(object: &Kustomization) -> bool {
    let mut dependencies = object.spec.depends_on.iter();
    dependencies.any(|dependency| dependency.ready_expr.is_some())
}

/// The dependencies of a Kustomization with their names.
pub fn dependencies(
    object: &Kustomization,
) -> impl Iterator<Item = (&DependencyReference, NamespacedName)> {
    let own = object.namespace().unwrap_or_default();
    object.spec.depends_on.iter().map(move |dependency| {
        let namespace = dependency.namespace.clone().unwrap_or_else(|| own.clone());
        (dependency, NamespacedName::new(namespace, &dependency.name))
    })
}

/// True if a Kustomization is ready for its current spec.
fn is_current(object: &Kustomization) -> bool {
    let status = object.status.as_ref();
    let observed = status.map(|status| status.observed_generation);
    status.is_some_and(is_ready) && observed == object.metadata.generation
}

/// What a dependency lacks for `object` to be applied at `revision`; `None` if it is met. A dependency of the same source
/// must have applied the same revision, as Flux has it.
pub fn unmet(
    object: &Kustomization,
    dependency: Option<&Kustomization>,
    revision: &str,
) -> Option<UnmetReason> {
    let Some(dependency) = dependency else {
        return Some(UnmetReason::Missing);
    };
    if !is_current(dependency) {
        return Some(UnmetReason::NotReady);
    }
    let same_source = source_of(object) == source_of(dependency)
        && object.spec.source_ref.kind == dependency.spec.source_ref.kind;
    let status = dependency.status.as_ref();
    let applied = status.and_then(|status| status.last_applied_revision.as_deref());
    (same_source && applied != Some(revision)).then(|| UnmetReason::OtherRevision {
        applied: applied.unwrap_or("nothing").to_owned(),
        wanted: revision.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kustomization::fixture::kustomization;

    fn unit(name: &str, needs: &[&str], status: &Value) -> Kustomization {
        let needs: Vec<Value> = needs.iter().map(|name| json!({"name": name})).collect();
        kustomization(name, &json!({"dependsOn": needs}), status)
    }

    fn name(name: &str) -> NamespacedName {
        NamespacedName::new("team", name)
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
            let reason = unmet(&app, dependency.as_ref(), "main@sha1:b");
            let reason = reason.map(|reason| reason.to_string());
            assert_eq!(reason.as_deref(), expected);
        };
        check(None, Some("does not exist"));
        check(Some(unit("infra", &[], &json!({}))), Some("is not ready"));
        check(
            Some(unit("infra", &[], &ready("main@sha1:a"))),
            Some("has applied main@sha1:a, not yet main@sha1:b"),
        );
        check(Some(unit("infra", &[], &ready("main@sha1:b"))), None);
        let mut newer = unit("infra", &[], &ready("main@sha1:b"));
        newer.metadata.generation = Some(2);
        check(Some(newer), Some("is not ready"));
        let mut other = unit("infra", &[], &ready("main@sha1:a"));
        other.spec.source_ref.name = "another".to_owned();
        check(Some(other), None);
    }

    #[test]
    fn a_change_wakes_dependents_and_unblocks_them() {
        let dependencies = Dependencies::default();
        let app = unit("app", &["infra"], &json!({}));
        assert!(dependencies.changed(&app).is_empty());
        dependencies.changed(&unit("infra", &[], &json!({})));
        dependencies.block(&name("app"), dependencies.state_of(&app));
        assert!(!dependencies.take_unblocked(&app));
        let woken = dependencies.changed(&unit("infra", &[], &ready("a")));
        assert_eq!(woken, [name("app")]);
        assert!(dependencies.take_unblocked(&app));
        assert!(!dependencies.take_unblocked(&app), "once");
        assert!(
            dependencies
                .changed(&unit("infra", &[], &ready("a")))
                .is_empty()
        );
        let gone = dependencies.gone(&name("infra"));
        assert_eq!(gone, woken);
        dependencies.changed(&unit("infra", &["app"], &ready("a")));
        let cycle = dependencies.check_cycle(&name("app")).unwrap_err();
        assert_eq!(
            cycle.to_string(),
            "dependencies go in a circle: team/app → team/infra → team/app"
        );
        assert_eq!(dependencies.check_cycle(&name("other")), Ok(()));
    }

    #[test]
    fn an_expression_is_woken_by_every_change_and_others_by_readiness_alone() {
        let dependencies = Dependencies::default();
        let mut judge = unit("judge", &["infra"], &json!({}));
        judge.spec.depends_on[0].ready_expr = Some("true".to_owned());
        dependencies.changed(&judge);
        dependencies.changed(&unit("app", &["infra"], &json!({})));
        let infra = |version: &str| {
            let mut infra = unit("infra", &[], &ready("a"));
            infra.metadata.resource_version = Some(version.to_owned());
            infra
        };
        assert_eq!(
            dependencies.changed(&infra("1")),
            [name("app"), name("judge")]
        );
        assert_eq!(dependencies.changed(&infra("2")), [name("judge")]);
        assert!(dependencies.changed(&infra("2")).is_empty());
    }

    #[test]
    fn messages_name_the_dependency() {
        for (reason, expected) in [
            (
                UnmetReason::Missing,
                "dependency 'team/infra' does not exist",
            ),
            (
                UnmetReason::ExpressionIsFalse,
                "dependency 'team/infra' is not ready: `readyExpr` does not hold",
            ),
            (
                UnmetReason::ExpressionFailed("no such key".to_owned()),
                "dependency 'team/infra' is not ready: `readyExpr`: no such key",
            ),
        ] {
            let dependency = name("infra");
            let error = DependencyError::Unmet { dependency, reason };
            assert_eq!(error.to_string(), expected);
        }
    }
}

//! Pure: waves: the objects that must be healthy before others are applied.
//!
//! The annotation [`WAVE`] holds a number, 0 where it is missing. [`DEPENDS_ON`] names objects of the same build as
//! Config Sync does: `group/namespaces/NAMESPACE/KIND/NAME`, or `group/KIND/NAME` for objects without a namespace, with
//! an empty group for the core (`/namespaces/shop/ConfigMap/settings`), separated by commas.

use std::collections::BTreeMap;

use crate::api::annotations::{DEPENDS_ON, WAVE};
use crate::apply::desired::Desired;
use crate::apply::object_ref::ObjectRef;

/// Why there is no order. Objects are named as messages name them: `Kind/namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A wave is not a number.
    #[error("{object}: annotation `{WAVE}: {text}` is no whole number")]
    Wave {
        /// The object with the annotation.
        object: String,
        /// Its value.
        text: String,
    },
    /// A dependency is not written as a reference.
    #[error(
        "{object}: annotation `{DEPENDS_ON}` names `{text}`; write `group/namespaces/NAMESPACE/KIND/NAME`, or `group/KIND/NAME` for what has no namespace"
    )]
    Reference {
        /// The object with the annotation.
        object: String,
        /// The part of its value that is no reference.
        text: String,
    },
    /// A dependency is not rendered.
    #[error("{object} depends on {dependency}, which is not part of this build")]
    Missing {
        /// The object with the annotation.
        object: String,
        /// The object that it names.
        dependency: String,
    },
    /// A dependency belongs to a later wave.
    #[error("{object} of wave {wave} depends on {dependency}, which is of a later wave")]
    Later {
        /// The object with the annotation.
        object: String,
        /// Its wave.
        wave: i32,
        /// The object that it names.
        dependency: String,
    },
    /// Objects depend on each other; the first is named again at the end.
    #[error("objects depend on each other in a circle: {}", .0.join(" → "))]
    Circle(Vec<String>),
}

/// Divides objects into waves, by their numbers and, within a number, by their dependencies. Objects keep their order
/// within a wave.
///
/// # Errors
/// An annotation cannot be read, or the dependencies have no order.
pub fn waves(objects: Vec<Desired>) -> Result<Vec<Vec<Desired>>, OrderError> {
    let order = Order::new(&objects)?;
    let depths = order.depths()?;
    let mut waves: BTreeMap<(i32, usize), Vec<Desired>> = BTreeMap::new();
    for ((desired, depth), wave) in objects.into_iter().zip(depths).zip(&order.waves) {
        waves.entry((*wave, depth)).or_default().push(desired);
    }
    Ok(waves.into_values().collect())
}

/// The name, wave and dependencies of each object, by its place in the list.
struct Order {
    names: Vec<String>,
    waves: Vec<i32>,
    needs: Vec<Vec<usize>>,
}

impl Order {
    fn new(objects: &[Desired]) -> Result<Self, OrderError> {
        let names: Vec<String> = objects.iter().map(|of| of.reference.to_string()).collect();
        let waves: Vec<i32> = objects.iter().map(wave).collect::<Result<_, _>>()?;
        // Most builds have no dependencies, and then need no index.
        if objects.iter().all(|object| depends_on(object).is_none()) {
            let needs = vec![Vec::new(); objects.len()];
            return Ok(Self {
                names,
                waves,
                needs,
            });
        }
        let places: BTreeMap<String, usize> = objects
            .iter()
            .map(|of| of.reference.id())
            .zip(0..)
            .collect();
        let needs = objects.iter().map(|object| {
            let named = depends_on(object).unwrap_or_default().split(',');
            let named = named.map(str::trim).filter(|text| !text.is_empty());
            named.map(|text| place(object, text, &places)).collect()
        });
        let order = Self {
            needs: needs.collect::<Result<_, _>>()?,
            names,
            waves,
        };
        order.check_waves()?;
        Ok(order)
    }

    fn check_waves(&self) -> Result<(), OrderError> {
        for (index, needs) in self.needs.iter().enumerate() {
            if let Some(later) = needs
                .iter()
                .find(|need| self.waves[**need] > self.waves[index])
            {
                return Err(OrderError::Later {
                    object: self.names[index].clone(),
                    wave: self.waves[index],
                    dependency: self.names[*later].clone(),
                });
            }
        }
        Ok(())
    }

    /// For each object, the length of the longest chain of dependencies within its wave.
    fn depths(&self) -> Result<Vec<usize>, OrderError> {
        let mut open: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let mut users = vec![Vec::new(); self.needs.len()];
        for (user, needs) in self.needs.iter().enumerate() {
            for need in needs {
                users[*need].push(user);
            }
        }
        let mut depths = vec![0; self.needs.len()];
        let mut free: Vec<usize> = (0..open.len()).filter(|place| open[*place] == 0).collect();
        let mut done = 0;
        while let Some(place) = free.pop() {
            done += 1;
            for user in &users[place] {
                if self.waves[*user] == self.waves[place] {
                    depths[*user] = depths[*user].max(depths[place] + 1);
                }
                open[*user] -= 1;
                if open[*user] == 0 {
                    free.push(*user);
                }
            }
        }
        if done == depths.len() {
            Ok(depths)
        } else {
            Err(OrderError::Circle(self.circle(&open)))
        }
    }

    /// A chain of dependencies that ends where it begins, among the objects whose dependencies are not all placed.
    fn circle(&self, open: &[usize]) -> Vec<String> {
        let mut way: Vec<usize> = Vec::new();
        let mut passed = vec![false; open.len()];
        let mut next = open.iter().position(|needs| *needs > 0);
        while let Some(place) = next.filter(|place| !passed[*place]) {
            passed[place] = true;
            way.push(place);
            next = self.needs[place]
                .iter()
                .copied()
                .find(|need| open[*need] > 0);
        }
        let start = way.iter().position(|place| Some(*place) == next);
        let circle = way[start.unwrap_or_default()..].iter().chain(&next);
        circle.map(|place| self.names[*place].clone()).collect()
    }
}

fn depends_on(object: &Desired) -> Option<&str> {
    object.annotation(DEPENDS_ON)
}

fn wave(object: &Desired) -> Result<i32, OrderError> {
    let Some(text) = object.annotation(WAVE) else {
        return Ok(0);
    };
    text.trim().parse().map_err(|_| OrderError::Wave {
        object: object.reference.to_string(),
        text: text.to_owned(),
    })
}

/// The place of the object that a dependency names.
fn place(
    object: &Desired,
    text: &str,
    places: &BTreeMap<String, usize>,
) -> Result<usize, OrderError> {
    let parts: Vec<&str> = text.split('/').collect();
    let (group, namespace, kind, name) = match parts[..] {
        [group, kind, name] => (group, "", kind, name),
        [group, "namespaces", namespace, kind, name] => (group, namespace, kind, name),
        _ => {
            return Err(OrderError::Reference {
                object: object.reference.to_string(),
                text: text.to_owned(),
            });
        }
    };
    let api_version = if group.is_empty() {
        "v1".to_owned()
    } else {
        format!("{group}/v1")
    };
    // The version is no part of an id.
    let dependency = ObjectRef::new(&api_version, kind, namespace, name);
    places
        .get(&dependency.id())
        .copied()
        .ok_or_else(|| OrderError::Missing {
            object: object.reference.to_string(),
            dependency: dependency.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Objects written `name`, `name@wave` or `name>dependency,dependency`.
    fn object(text: &str) -> Desired {
        let (text, needs) = text.split_once('>').unwrap_or((text, ""));
        let (name, wave) = text.split_once('@').unwrap_or((text, ""));
        let mut annotations = json!({});
        if !wave.is_empty() {
            annotations[WAVE] = json!(wave);
        }
        if !needs.is_empty() {
            let needs = needs.split(',').map(|need| {
                if need.contains('/') {
                    need.to_owned()
                } else {
                    format!("/namespaces/n/ConfigMap/{need}")
                }
            });
            annotations[DEPENDS_ON] = json!(needs.collect::<Vec<_>>().join(", "));
        }
        Desired {
            reference: ObjectRef::new("v1", "ConfigMap", "n", name),
            manifest: json!({"metadata": {"annotations": annotations}}),
            source: None,
            hash: [0; 32],
        }
    }

    fn check(objects: &[&str], expected: &str) {
        let ordered = waves(objects.iter().map(|text| object(text)).collect());
        let text = match ordered {
            Ok(waves) => {
                let waves = waves.iter().map(|wave| {
                    let names = wave.iter().map(|object| object.reference.name.clone());
                    names.collect::<Vec<_>>().join(" ")
                });
                waves.collect::<Vec<_>>().join(" | ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn waves_and_dependencies() {
        check(&["a", "b"], "a b");
        check(&["b@1", "a", "z@-1"], "z | a | b");
        check(&["a>b", "b>c,d", "c", "d", "e"], "c d e | b | a");
        check(&["a@2>b", "b@1>c", "c@1"], "c | b | a");
        check(
            &["a@x"],
            "ConfigMap/n/a: annotation `overlayd.dev/wave: x` is no whole number",
        );
        check(
            &["a>b", "b>a"],
            "objects depend on each other in a circle: ConfigMap/n/a → ConfigMap/n/b → ConfigMap/n/a",
        );
        check(
            &["a>x"],
            "ConfigMap/n/a depends on ConfigMap/n/x, which is not part of this build",
        );
        check(
            &["a@1>b", "b@2"],
            "ConfigMap/n/a of wave 1 depends on ConfigMap/n/b, which is of a later wave",
        );
        check(
            &["a>apps/Deployment"],
            "ConfigMap/n/a: annotation `config.kubernetes.io/depends-on` names `apps/Deployment`; write `group/namespaces/NAMESPACE/KIND/NAME`, or `group/KIND/NAME` for what has no namespace",
        );
    }

    #[test]
    fn a_long_chain_is_taken() {
        let chain: Vec<String> = (0..30_000)
            .map(|n| format!("m{n}>m{}", n + 1))
            .chain(["m30000".to_owned()])
            .collect();
        let objects = chain.iter().map(|text| object(text)).collect();
        assert_eq!(waves(objects).unwrap().len(), 30_001);
    }
}

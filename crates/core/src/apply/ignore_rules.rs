//! Pure: fields that are left to other managers, as `spec.ignore` names them.
//!
//! A new object gets the value of the manifest. Later, a field that another manager applies is left out of what we
//! apply, so that it belongs to that manager alone; any other field keeps its live value, so that it is not reset.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kustomize::{Selector, Target};
use serde_json::Value;

use crate::api::kustomization::IgnoreRule;

/// A rule that leaves fields to other managers.
#[derive(Debug)]
pub struct IgnoredFields {
    /// JSON pointers, as lists of names.
    paths: Vec<Vec<String>>,
    /// The objects it is for; none for all objects.
    target: Option<Target>,
}

/// A rule of `spec.ignore` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreRuleError {
    /// A path is not written as a JSON pointer (RFC 6901), or names the whole object.
    #[error("`spec.ignore[].paths`: `{0}` is no JSON pointer such as `/spec/replicas`")]
    Path(String),
    /// A selector of the target cannot be read, for this reason.
    #[error("`spec.ignore[].target`: {0}")]
    Target(String),
}

impl IgnoredFields {
    /// Checks a rule.
    ///
    /// # Errors
    /// A path that is no JSON pointer, or a selector that cannot be read.
    pub fn new(rule: &IgnoreRule) -> Result<Self, IgnoreRuleError> {
        let paths = rule.paths.iter().map(|path| {
            let path_of = |path: &str| {
                path.split('/')
                    .map(|name| name.replace("~1", "/").replace("~0", "~"))
                    .collect()
            };
            let found = path
                .strip_prefix('/')
                .filter(|path| !path.is_empty())
                .map(path_of);
            found.ok_or_else(|| IgnoreRuleError::Path(path.clone()))
        });
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let target = rule.target.as_ref().map(|target| {
            let selector = Selector {
                group: text(&target.group),
                version: text(&target.version),
                kind: text(&target.kind),
                name: text(&target.name),
                namespace: text(&target.namespace),
                label_selector: text(&target.label_selector),
                annotation_selector: text(&target.annotation_selector),
            };
            selector
                .target()
                .map_err(|problem| IgnoreRuleError::Target(problem.to_string()))
        });
        Ok(Self {
            paths: paths.collect::<Result<_, _>>()?,
            target: target.transpose()?,
        })
    }

    /// True for an object that the rule is for.
    pub fn is_for(&self, manifest: &Value) -> bool {
        self.target
            .as_ref()
            .is_none_or(|target| target.matches(manifest))
    }

    /// Changes a manifest so that an apply leaves the fields to other managers. `live` is the object in the cluster,
    /// `managers` its managed fields, and `own` our own manager.
    pub fn leave(
        &self,
        manifest: &mut Value,
        live: &Value,
        managers: &[ManagedFieldsEntry],
        own: &str,
    ) {
        for path in &self.paths {
            if at(manifest, path).is_none() {
                continue;
            }
            let theirs = managers.iter().any(|entry| {
                entry.operation.as_deref() == Some("Apply")
                    && entry.manager.as_deref() != Some(own)
                    && entry
                        .fields_v1
                        .as_ref()
                        .is_some_and(|fields| owns(&fields.0, path))
            });
            let value = at(live, path).filter(|_| !theirs).cloned();
            set(manifest, path, value);
        }
    }
}

fn at<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, name| match value {
        Value::Object(map) => map.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Sets or removes what stands at a path that is there.
fn set(value: &mut Value, path: &[String], new: Option<Value>) {
    let Some((last, above)) = path.split_last() else {
        return;
    };
    let parent = above.iter().try_fold(value, |value, name| match value {
        Value::Object(map) => map.get_mut(name),
        Value::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    });
    match (parent, new) {
        (Some(Value::Object(map)), Some(new)) => drop(map.insert(last.clone(), new)),
        (Some(Value::Object(map)), None) => drop(map.remove(last)),
        (Some(Value::Array(items)), new) => {
            if let Some(place) = last
                .parse::<usize>()
                .ok()
                .filter(|place| *place < items.len())
            {
                match new {
                    Some(new) => items[place] = new,
                    None => drop(items.remove(place)),
                }
            }
        }
        _ => {}
    }
}

/// True if a set of managed fields has a path. Items of lists have keys there in place of indexes, and are not found.
fn owns(fields: &Value, path: &[String]) -> bool {
    let mut fields = fields;
    for name in path {
        match fields.get(format!("f:{name}")) {
            Some(below) => fields = below,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "values are written where they are checked"
)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(rule: Value, live: Value, manager: Value, expected: Value) {
        let rule: IgnoreRule = serde_json::from_value(rule).unwrap();
        let rule = IgnoredFields::new(&rule).unwrap();
        let mut manifest = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "n", "labels": {"a": "b"}},
            "spec": {"replicas": 1, "args": ["x", "y"]},
        });
        let managers: Vec<ManagedFieldsEntry> = serde_json::from_value(json!([manager])).unwrap();
        if rule.is_for(&manifest) {
            rule.leave(&mut manifest, &live, &managers, "overlayd");
        }
        assert_eq!(manifest["spec"], expected);
    }

    #[test]
    fn fields_are_left_to_others() {
        let nobody = || json!({"manager": "overlayd", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        let other = || json!({"manager": "scaler", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        let live = || json!({"spec": {"replicas": 5, "args": ["x", "z"]}});
        let replicas = || json!({"paths": ["/spec/replicas"]});
        check(
            replicas(),
            live(),
            nobody(),
            json!({"replicas": 5, "args": ["x", "y"]}),
        );
        check(replicas(), live(), other(), json!({"args": ["x", "y"]}));
        check(
            replicas(),
            json!({"spec": {}}),
            nobody(),
            json!({"args": ["x", "y"]}),
        );
        check(
            json!({"paths": ["/spec/args/1", "/spec/nothing"]}),
            live(),
            nobody(),
            json!({"replicas": 1, "args": ["x", "z"]}),
        );
        let target = |target: Value| json!({"paths": ["/spec/replicas"], "target": target});
        check(
            target(json!({"kind": "Deploy.*", "labelSelector": "a=b"})),
            live(),
            nobody(),
            json!({"replicas": 5, "args": ["x", "y"]}),
        );
        check(
            target(json!({"kind": "StatefulSet"})),
            live(),
            nobody(),
            json!({"replicas": 1, "args": ["x", "y"]}),
        );
        check(
            target(json!({"labelSelector": "a!=b"})),
            live(),
            nobody(),
            json!({"replicas": 1, "args": ["x", "y"]}),
        );
    }

    #[test]
    fn a_rule_that_cannot_be_used_is_refused() {
        let new = |rule: Value| {
            let rule = serde_json::from_value(rule).unwrap();
            IgnoredFields::new(&rule).unwrap_err().to_string()
        };
        assert!(new(json!({"paths": ["spec.replicas"]})).contains("is no JSON pointer"));
        assert!(
            new(json!({"paths": ["/a"], "target": {"name": "("}}))
                .contains("`spec.ignore[].target`")
        );
    }
}

//! Pure: fields that are left to others, as `spec.ignore` names them.
//!
//! The value of the manifest seeds a new object. Later, a field that another manager applies is left out of what we
//! apply, so that it is theirs alone; and any other has the value that is there, so that it is not reset.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kustomize::{Selector, Target};
use serde_json::Value;

use crate::api::kustomization::IgnoreRule;

/// One rule.
#[derive(Debug)]
pub struct Ignored {
    /// JSON pointers, as names.
    paths: Vec<Vec<String>>,
    /// All objects, if there is none.
    target: Option<Target>,
}

impl Ignored {
    /// Checks a rule.
    ///
    /// # Errors
    /// A path that is no JSON pointer, or a selector that cannot be read.
    pub fn new(rule: &IgnoreRule) -> Result<Self, String> {
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
            found.ok_or_else(|| {
                format!(
                    "`spec.ignore[].paths`: `{path}` is no JSON pointer such as `/spec/replicas`"
                )
            })
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
                .map_err(|problem| format!("`spec.ignore[].target`: {problem}"))
        });
        Ok(Self {
            paths: paths.collect::<Result<_, _>>()?,
            target: target.transpose()?,
        })
    }

    /// True for an object whose fields are left.
    pub fn is_for(&self, manifest: &Value) -> bool {
        self.target
            .as_ref()
            .is_none_or(|target| target.matches(manifest))
    }

    /// Leaves the fields of a manifest to others, by what is there and who applies it.
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

/// True if a set of managed fields has a path, or all of a map above it. Items of lists are told apart by their keys
/// there, and are not looked for.
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
        let rule = Ignored::new(&rule).unwrap();
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
    fn what_is_no_rule_is_refused() {
        let new = |rule: Value| Ignored::new(&serde_json::from_value(rule).unwrap()).unwrap_err();
        assert!(new(json!({"paths": ["spec.replicas"]})).contains("is no JSON pointer"));
        assert!(
            new(json!({"paths": ["/a"], "target": {"name": "("}}))
                .contains("`spec.ignore[].target`")
        );
    }
}

//! Pure: drift: the fields in which a live object differs from what an apply would make of it, and what is done about it.

use std::fmt;

use serde_json::Value;

use crate::apply::object_ref::ObjectRef;

/// What is done about changes of other managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriftMode {
    /// They are reverted.
    #[default]
    Correct,
    /// They are left and shown.
    Report,
    /// They are left.
    Ignore,
}

impl DriftMode {
    /// The mode of this name.
    pub fn named(text: &str) -> Option<Self> {
        match text.trim() {
            "correct" => Some(Self::Correct),
            "report" => Some(Self::Report),
            "ignore" => Some(Self::Ignore),
            _ => None,
        }
    }
}

/// One field that an apply would change.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The field as people write it: `spec.template.spec.containers[0].image`.
    pub path: String,
    /// The value that it has; none for a field that is not there.
    pub live: Option<Value>,
    /// The value that it would have; none for a field that would be removed.
    pub wanted: Option<Value>,
}

/// Values longer than this are cut where they are shown.
const SHOWN: usize = 80;

/// The fields that an apply would change in a live object, by the answer to its dry run, sorted by their paths.
///
/// Labels, annotations, and all fields but metadata and status are compared, as Flux does. The values of a Secret are
/// hidden; that they differ is shown.
pub fn differences(object: &ObjectRef, live: &Value, tried: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    for field in ["labels", "annotations"] {
        let path = format!("metadata.{field}");
        let at = |value: &Value| present(value["metadata"].get(field));
        compare(&path, at(live).as_ref(), at(tried).as_ref(), &mut found);
    }
    let fields = |value: &Value| {
        let map = value.as_object().into_iter().flatten();
        let map = map.filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status"));
        map.map(|(key, _)| key.clone()).collect::<Vec<_>>()
    };
    let mut names = fields(live);
    names.extend(fields(tried));
    names.sort();
    names.dedup();
    for name in names {
        let (live, tried) = (present(live.get(&name)), present(tried.get(&name)));
        compare(&name, live.as_ref(), tried.as_ref(), &mut found);
    }
    if object.kind == "Secret" && object.group.is_empty() {
        let is_value = |difference: &&mut Difference| {
            ["data", "stringData", "metadata.annotations"]
                .iter()
                .any(|field| difference.path.starts_with(field))
        };
        found.iter_mut().filter(is_value).for_each(Difference::hide);
    }
    found
}

/// A null and an empty map or list mean the same as a missing field, since the API server drops them.
fn present(value: Option<&Value>) -> Option<Value> {
    value.filter(|value| !is_empty(value)).cloned()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn compare(path: &str, live: Option<&Value>, wanted: Option<&Value>, found: &mut Vec<Difference>) {
    match (live, wanted) {
        (Some(Value::Object(live)), Some(Value::Object(wanted))) => {
            let mut keys: Vec<&String> = live.keys().chain(wanted.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = if key.contains('.') || key.contains('/') {
                    format!("{path}[{key:?}]")
                } else {
                    format!("{path}.{key}")
                };
                let (live, wanted) = (present(live.get(key)), present(wanted.get(key)));
                compare(&path, live.as_ref(), wanted.as_ref(), found);
            }
        }
        (Some(Value::Array(live)), Some(Value::Array(wanted))) => {
            for index in 0..live.len().max(wanted.len()) {
                let path = format!("{path}[{index}]");
                compare(&path, live.get(index), wanted.get(index), found);
            }
        }
        (live, wanted) if live == wanted => {}
        (live, wanted) => found.push(Difference {
            path: path.to_owned(),
            live: live.cloned(),
            wanted: wanted.cloned(),
        }),
    }
}

impl Difference {
    /// Replaces the values by markers, where they may be secret.
    pub fn hide(&mut self) {
        let changes = self.live.is_some() && self.wanted.is_some();
        let (before, after) = if changes {
            ("*** (before)", "*** (after)")
        } else {
            ("***", "***")
        };
        self.live = self.live.take().map(|_| before.into());
        self.wanted = self.wanted.take().map(|_| after.into());
    }
}

/// `path: live → wanted`, in one line.
impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| {
            let text = match value {
                None => return "(none)".to_owned(),
                Some(Value::String(text)) => text.replace('\n', "\\n"),
                Some(value) => value.to_string(),
            };
            let mut letters = text.chars();
            let mut start: String = letters.by_ref().take(SHOWN).collect();
            if !letters.as_str().is_empty() {
                start.push('…');
            }
            start
        };
        write!(
            formatter,
            "{}: {} → {}",
            self.path,
            show(&self.live),
            show(&self.wanted)
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(kind: &str, live: &Value, tried: &Value, expected: &[&str]) {
        let object = ObjectRef::new("v1", kind, "n", "x");
        let found = differences(&object, live, tried);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn changes_of_an_apply_are_listed() {
        let live = json!({
            "metadata": {"labels": {"a": "1"}, "resourceVersion": "1", "finalizers": ["f"]},
            "data": {"gone": "x", "same": "y", "a.b": "1"}, "spec": {"ports": [{"port": 80}], "empty": {}},
            "status": {"ready": true},
        });
        let tried = json!({
            "metadata": {"labels": {"a": "2"}, "annotations": {"new": "n"}, "resourceVersion": "2"},
            "data": {"same": "y", "a.b": "2"}, "spec": {"ports": [{"port": 81}, {"port": 82}]},
        });
        let expected = [
            "metadata.labels.a: 1 → 2",
            "metadata.annotations: (none) → {\"new\":\"n\"}",
            "data[\"a.b\"]: 1 → 2",
            "data.gone: x → (none)",
            "spec.ports[0].port: 80 → 81",
            "spec.ports[1]: (none) → {\"port\":82}",
        ];
        check("ConfigMap", &live, &tried, &expected);
        check("ConfigMap", &live, &live, &[]);
    }

    #[test]
    fn values_of_a_secret_are_hidden() {
        let live = json!({"type": "Opaque", "data": {"a": "b2xk", "old": "eA=="}});
        let tried = json!({"type": "other", "data": {"a": "bmV3", "new": "eQ=="}});
        let expected = [
            "data.a: *** (before) → *** (after)",
            "data.new: (none) → ***",
            "data.old: *** → (none)",
            "type: Opaque → other",
        ];
        check("Secret", &live, &tried, &expected);
    }
}

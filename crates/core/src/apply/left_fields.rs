//! Pure: fields that other managers habitually write: what of them is left, by field and by manager.
//!
//! A field that git does not set, and that a controller writes, is never touched: a server-side apply leaves it. Two cases
//! need the table [`LEFT_FIELDS`]. Fields of kubectl become ours, so that what a person leaves behind is removed with the
//! next apply; those that are meant to stay are not taken over. And a field that git does set is corrected, unless a
//! controller keeps it: then the live value is left until the manifest changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Map, Value};

/// A field that is left to managers that habitually write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftField {
    /// The keys of the field as managed fields write them. `*` is any key, and a key that ends in `*` any that begins so.
    path: &'static [&'static str],
    writer: Writer,
    /// The end of the API group of the objects, with the version left out; empty for all.
    group: &'static str,
    git: IfGitSetsIt,
}

/// The managers to which a field is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Any manager.
    Anybody,
    /// A manager of this name.
    Named(&'static str),
    /// kubectl, by whatever command.
    Kubectl,
    /// Any manager besides kubectl.
    Controller,
    /// Any manager, by the subresource `scale`: `HorizontalPodAutoscaler`, KEDA, `kubectl scale`.
    Scale,
}

/// What is done where git sets the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IfGitSetsIt {
    /// It is corrected.
    Correct,
    /// The live value is left until the manifest changes.
    Leave,
}

/// The fields that are left. `docs/compat/flux.md` has the same table.
pub const LEFT_FIELDS: [LeftField; 10] = [
    // `kubectl rollout restart`, and the consoles that do the same under names of their own.
    left_field(
        &[
            "f:spec",
            "f:template",
            "f:metadata",
            "f:annotations",
            "f:kubectl.kubernetes.io/restartedAt",
        ],
        Writer::Anybody,
        IfGitSetsIt::Leave,
    ),
    // `kubectl rollout pause`
    left_field(
        &["f:spec", "f:paused"],
        Writer::Named("kubectl-rollout"),
        IfGitSetsIt::Correct,
    ),
    left_field(
        &["f:metadata", "f:labels", "*"],
        Writer::Named("kubectl-label"),
        IfGitSetsIt::Correct,
    ),
    left_field(
        &["f:metadata", "f:annotations", "*"],
        Writer::Named("kubectl-annotate"),
        IfGitSetsIt::Correct,
    ),
    // A reconcile that is requested by `kubectl patch` or `kubectl edit`.
    left_field(
        &["f:metadata", "f:annotations", "f:reconcile.fluxcd.io/*"],
        Writer::Kubectl,
        IfGitSetsIt::Correct,
    ),
    // A child that is suspended by hand stays so, as after `flux suspend`.
    LeftField {
        group: ".toolkit.fluxcd.io",
        ..left_field(
            &["f:spec", "f:suspend"],
            Writer::Kubectl,
            IfGitSetsIt::Correct,
        )
    },
    left_field(&["f:spec", "f:replicas"], Writer::Scale, IfGitSetsIt::Leave),
    // The injectors of cert-manager and of meshes: webhooks, conversions of definitions, API services.
    left_field(
        &["f:webhooks", "*", "f:clientConfig", "f:caBundle"],
        Writer::Controller,
        IfGitSetsIt::Leave,
    ),
    left_field(
        &[
            "f:spec",
            "f:conversion",
            "f:webhook",
            "f:clientConfig",
            "f:caBundle",
        ],
        Writer::Controller,
        IfGitSetsIt::Leave,
    ),
    LeftField {
        group: "apiregistration.k8s.io",
        ..left_field(
            &["f:spec", "f:caBundle"],
            Writer::Controller,
            IfGitSetsIt::Leave,
        )
    },
];

const fn left_field(path: &'static [&'static str], writer: Writer, git: IfGitSetsIt) -> LeftField {
    LeftField {
        path,
        writer,
        group: "",
        git,
    }
}

impl LeftField {
    /// True if the manager of an entry is one to which the field is left.
    fn is_of(&self, entry: &ManagedFieldsEntry) -> bool {
        let manager = entry.manager.as_deref().unwrap_or_default();
        let subresource = entry.subresource.as_deref().unwrap_or_default();
        let api_version = entry.api_version.as_deref().unwrap_or_default();
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let is_kubectl = manager.starts_with("kubectl");
        let is_writer = match self.writer {
            Writer::Scale => subresource == "scale",
            _ if !subresource.is_empty() => false,
            Writer::Anybody => true,
            Writer::Named(name) => manager == name,
            Writer::Kubectl => is_kubectl,
            Writer::Controller => !is_kubectl,
        };
        is_writer && group.ends_with(self.group)
    }

    fn is_at(&self, path: &[&str]) -> bool {
        let matches = |(pattern, key): (&&str, &&str)| match pattern.strip_suffix('*') {
            Some(beginning) => key.starts_with(beginning),
            None => pattern == key,
        };
        self.path.len() == path.len() && self.path.iter().zip(path).all(matches)
    }
}

/// Managed fields of one manager, divided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DividedFields {
    /// The fields that are taken over.
    pub(crate) taken: Option<Value>,
    /// The fields that are left to the manager.
    pub(crate) left: Option<Value>,
}

/// Divides the fields of a manager that are taken over from those that are left to it.
pub(crate) fn divide(entry: &ManagedFieldsEntry) -> DividedFields {
    let rules: Vec<&LeftField> = LEFT_FIELDS
        .iter()
        .filter(|rule| rule.is_of(entry))
        .collect();
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
    match fields {
        Some(fields) if !rules.is_empty() => divide_at(&mut Vec::new(), fields, &rules),
        fields => DividedFields {
            taken: fields.cloned(),
            left: None,
        },
    }
}

fn divide_at<'f>(
    path: &mut Vec<&'f str>,
    fields: &'f Value,
    rules: &[&LeftField],
) -> DividedFields {
    if rules.iter().any(|rule| rule.is_at(path)) {
        return DividedFields {
            taken: None,
            left: Some(fields.clone()),
        };
    }
    let Some(map) = fields.as_object().filter(|map| !map.is_empty()) else {
        return DividedFields {
            taken: Some(fields.clone()),
            left: None,
        };
    };
    let (mut taken, mut left) = (Map::new(), Map::new());
    for (key, fields) in map {
        path.push(key);
        let divided = divide_at(path, fields, rules);
        path.pop();
        taken.extend(divided.taken.map(|fields| (key.clone(), fields)));
        left.extend(divided.left.map(|fields| (key.clone(), fields)));
    }
    // The entry `.` is the parent itself, which an apply creates where it needs it.
    let is_more = taken.keys().any(|key| key != ".");
    let parts = |map: Map<String, Value>| (!map.is_empty()).then_some(Value::Object(map));
    DividedFields {
        taken: parts(taken).filter(|_| is_more || left.is_empty()),
        left: parts(left),
    }
}

/// Takes out of a manifest what other managers habitually write although git sets it, so that an apply leaves the live
/// value. `managers` are the managed fields of the live object, and `own` is our own manager. True if something was taken
/// out.
pub fn leave(manifest: &mut Value, managers: &[ManagedFieldsEntry], own: &str) -> bool {
    let mut paths = Vec::new();
    for entry in managers
        .iter()
        .filter(|entry| entry.manager.as_deref() != Some(own))
    {
        let kept = LEFT_FIELDS
            .iter()
            .filter(|rule| rule.git == IfGitSetsIt::Leave);
        let rules: Vec<&LeftField> = kept.filter(|rule| rule.is_of(entry)).collect();
        if let Some(fields) = entry.fields_v1.as_ref().filter(|_| !rules.is_empty()) {
            find(&mut Vec::new(), &fields.0, &rules, &mut paths);
        }
    }
    let mut is_changed = false;
    for path in paths {
        is_changed |= remove(manifest, &path);
    }
    is_changed
}

/// Finds the paths of managed fields that are left.
fn find<'f>(
    path: &mut Vec<&'f str>,
    fields: &'f Value,
    rules: &[&LeftField],
    found: &mut Vec<Vec<String>>,
) {
    if rules.iter().any(|rule| rule.is_at(path)) {
        found.push(path.iter().map(|&key| key.to_owned()).collect());
        return;
    }
    for (key, fields) in fields.as_object().into_iter().flatten() {
        path.push(key);
        find(path, fields, rules, found);
        path.pop();
    }
}

/// Removes the field at a path of managed fields, if it is there.
fn remove(value: &mut Value, path: &[String]) -> bool {
    let Some((key, rest)) = path.split_first() else {
        return false;
    };
    if let (Some(name), Value::Object(map)) = (key.strip_prefix("f:"), &mut *value) {
        return if rest.is_empty() {
            map.remove(name).is_some()
        } else {
            map.get_mut(name).is_some_and(|inner| remove(inner, rest))
        };
    }
    let Some(Ok(Value::Object(keys))) = key.strip_prefix("k:").map(serde_json::from_str) else {
        return false;
    };
    let items = value.as_array_mut().into_iter().flatten();
    let mut is_changed = false;
    for item in items.filter(|item| keys.iter().all(|(name, wanted)| item[name] == *wanted)) {
        is_changed |= remove(item, rest);
    }
    is_changed
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "fields are written where they are checked"
)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(
        manager: &str,
        subresource: &str,
        api_version: &str,
        fields: Value,
    ) -> ManagedFieldsEntry {
        let entry = json!({
            "manager": manager, "operation": "Update", "apiVersion": api_version, "subresource": subresource,
            "fieldsType": "FieldsV1", "fieldsV1": fields,
        });
        serde_json::from_value(entry).unwrap()
    }

    /// Asserts what of the fields of a manager is left to it.
    fn check(manager: &str, api_version: &str, fields: Value, taken: Value, left: Value) {
        let divided = divide(&entry(manager, "", api_version, fields));
        let value = |fields: Option<Value>| fields.unwrap_or_default();
        assert_eq!(
            (value(divided.taken), value(divided.left)),
            (taken, left),
            "{manager}"
        );
    }

    #[test]
    fn what_kubectl_habitually_writes_is_not_taken_over() {
        let restarted = json!({"f:spec": {"f:template": {"f:metadata": {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}}}});
        let left = json!({"f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}}});
        for manager in ["kubectl-rollout", "kubectl-edit", "k9s"] {
            check(
                manager,
                "apps/v1",
                restarted.clone(),
                Value::Null,
                left.clone(),
            );
        }
        let labels =
            json!({"f:metadata": {"f:labels": {"f:team": {}}, "f:annotations": {"f:note": {}}}});
        let label = json!({"f:metadata": {"f:labels": {"f:team": {}}}});
        let annotation = json!({"f:metadata": {"f:annotations": {"f:note": {}}}});
        check(
            "kubectl-label",
            "v1",
            labels.clone(),
            annotation.clone(),
            label.clone(),
        );
        check("kubectl-annotate", "v1", labels.clone(), label, annotation);
        check("kubectl-edit", "v1", labels.clone(), labels, Value::Null);
        let requested =
            json!({"f:metadata": {"f:annotations": {"f:reconcile.fluxcd.io/requestedAt": {}}}});
        check(
            "kubectl-patch",
            "v1",
            requested.clone(),
            Value::Null,
            requested,
        );
        let suspended = json!({"f:spec": {"f:suspend": {}}});
        let flux = "kustomize.toolkit.fluxcd.io/v1";
        check(
            "kubectl-patch",
            flux,
            suspended.clone(),
            Value::Null,
            suspended.clone(),
        );
        check(
            "kubectl-patch",
            "batch/v1",
            suspended.clone(),
            suspended,
            Value::Null,
        );
        let both = json!({"f:spec": {"f:paused": {}, "f:replicas": {}}});
        check(
            "kubectl-rollout",
            "apps/v1",
            both,
            json!({"f:spec": {"f:replicas": {}}}),
            json!({"f:spec": {"f:paused": {}}}),
        );
    }

    /// Asserts what is left of a manifest beside the fields of another manager.
    fn check_left(entry: ManagedFieldsEntry, mut manifest: Value, expected: Value) {
        let before = manifest.clone();
        let is_changed = leave(&mut manifest, &[entry], "overlayd");
        assert_eq!(manifest, expected);
        assert_eq!(is_changed, before != expected);
    }

    #[test]
    fn what_a_controller_habitually_writes_wins_over_git_until_the_manifest_changes() {
        let replicas = || json!({"f:spec": {"f:replicas": {}}});
        let manifest = || json!({"spec": {"replicas": 2, "paused": false}});
        let without = json!({"spec": {"paused": false}});
        for manager in ["kube-controller-manager", "keda-operator", "kubectl"] {
            let scaled = entry(manager, "scale", "apps/v1", replicas());
            check_left(scaled, manifest(), without.clone());
        }
        check_left(
            entry("hand", "", "apps/v1", replicas()),
            manifest(),
            manifest(),
        );
        check_left(
            entry("overlayd", "scale", "apps/v1", replicas()),
            manifest(),
            manifest(),
        );
        let restarted = json!({"f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}}});
        check_left(
            entry("k9s", "", "apps/v1", restarted),
            manifest(),
            manifest(),
        );
    }

    #[test]
    fn an_injected_certificate_is_left() {
        let bundle =
            json!({"f:webhooks": {"k:{\"name\":\"b\"}": {"f:clientConfig": {"f:caBundle": {}}}}});
        let hook = |name: &str, config: Value| json!({"name": name, "clientConfig": config});
        let ours = json!({"caBundle": "b3Vycw==", "url": "u"});
        let manifest = json!({"webhooks": [hook("a", ours.clone()), hook("b", ours.clone())]});
        let expected = json!({"webhooks": [hook("a", ours), hook("b", json!({"url": "u"}))]});
        let injector = "cert-manager-cainjector";
        let group = "admissionregistration.k8s.io/v1";
        check_left(
            entry(injector, "", group, bundle.clone()),
            manifest.clone(),
            expected,
        );
        check_left(
            entry("kubectl-edit", "", group, bundle),
            manifest.clone(),
            manifest,
        );
        let service = || json!({"spec": {"caBundle": "x", "group": "g"}});
        let bundle = || json!({"f:spec": {"f:caBundle": {}}});
        let without = json!({"spec": {"group": "g"}});
        check_left(
            entry(injector, "", "apiregistration.k8s.io/v1", bundle()),
            service(),
            without,
        );
        check_left(
            entry(injector, "", "example.com/v1", bundle()),
            service(),
            service(),
        );
    }
}

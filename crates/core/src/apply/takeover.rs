//! Pure: fields that kubectl or Flux own become ours, so that a field which is no longer in git is removed from the
//! object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::Value;

use crate::apply::left_fields::{DividedFields, divide};

/// The field manager of the daemon.
pub const FIELD_MANAGER: &str = "overlayd";
/// The field manager of `overlayd apply`, and of what the daemon applies at its start.
pub const BOOTSTRAP_MANAGER: &str = "overlayd-bootstrap";

/// True for an entry whose fields are taken over.
fn is_taken(entry: &ManagedFieldsEntry, more: &[String]) -> bool {
    if entry
        .subresource
        .as_deref()
        .is_some_and(|name| !name.is_empty())
    {
        return false;
    }
    let manager = entry.manager.as_deref().unwrap_or_default();
    manager.starts_with("kubectl")
        || matches!(manager, "before-first-apply" | "kustomize-controller")
        || more.iter().any(|other| other == manager)
}

/// The managed fields of an object with those of kubectl, Flux and the managers `more` moved to the entry of `manager`;
/// none if there are none to move.
pub fn take_over(
    fields: &[ManagedFieldsEntry],
    manager: &str,
    more: &[String],
) -> Option<Vec<ManagedFieldsEntry>> {
    let (mut taken, mut kept) = (Vec::new(), Vec::new());
    for entry in fields {
        let divided = if is_taken(entry, more) {
            divide(entry)
        } else {
            DividedFields::default()
        };
        let Some(fields) = divided.taken else {
            kept.push(entry.clone());
            continue;
        };
        taken.push((entry, fields));
        kept.extend(divided.left.map(|left| ManagedFieldsEntry {
            fields_v1: Some(FieldsV1(left)),
            ..entry.clone()
        }));
    }
    let (first, _) = taken.first()?;
    let ours = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(manager)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    };
    let at = kept.iter().position(ours).unwrap_or_else(|| {
        kept.push(ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some("Apply".to_owned()),
            fields_v1: None,
            ..(*first).clone()
        });
        kept.len() - 1
    });
    let mut union = kept[at]
        .fields_v1
        .take()
        .map_or(Value::Null, |fields| fields.0);
    for (_, fields) in &taken {
        merge(&mut union, fields);
    }
    kept[at].fields_v1 = Some(FieldsV1(union));
    Some(kept)
}

/// The managed fields of an object with those of one manager moved to another; none if there are none to move. Fields of
/// subresources, such as the status, stay.
pub fn hand_over(
    fields: &[ManagedFieldsEntry],
    from: &str,
    to: &str,
) -> Option<Vec<ManagedFieldsEntry>> {
    let is_main =
        |entry: &&ManagedFieldsEntry| entry.subresource.as_deref().unwrap_or_default().is_empty();
    let is_from =
        |entry: &ManagedFieldsEntry| entry.manager.as_deref() == Some(from) && is_main(&entry);
    let (ours, others): (Vec<_>, Vec<_>) = fields.iter().cloned().partition(is_from);
    let first = ours.first()?;
    let (mut theirs, mut kept): (Vec<_>, Vec<_>) = others.into_iter().partition(|entry| {
        entry.manager.as_deref() == Some(to)
            && entry.operation.as_deref() == Some("Apply")
            && is_main(&entry)
    });
    let mut union = Value::Null;
    for entry in ours.iter().chain(&theirs) {
        if let Some(fields) = &entry.fields_v1 {
            merge(&mut union, &fields.0);
        }
    }
    let mut entry = theirs.pop().unwrap_or_else(|| first.clone());
    entry.manager = Some(to.to_owned());
    entry.operation = Some("Apply".to_owned());
    entry.fields_v1 = Some(FieldsV1(union));
    kept.push(entry);
    Some(kept)
}

/// True if we own every field that would be taken over, in the answer to a dry run of ours. Then the object has nothing
/// that an apply would remove, and if the dry run changes no value either, the object can stay as its former manager
/// left it: the former manager may take up its work again without a trace of ours.
pub fn leaves_nothing(fields: &[ManagedFieldsEntry], manager: &str, more: &[String]) -> bool {
    let ours = fields.iter().filter(|entry| {
        entry.manager.as_deref() == Some(manager) && entry.operation.as_deref() == Some("Apply")
    });
    let mut own = Value::Null;
    for entry in ours {
        if let Some(fields) = &entry.fields_v1 {
            merge(&mut own, &fields.0);
        }
    }
    let mut taken = fields.iter().filter(|entry| is_taken(entry, more));
    taken.all(|entry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_none_or(|fields| covers(&own, &fields.0))
    })
}

/// True if one set of fields has all paths of another. `.` stands for a map or element itself, which goes with its fields.
fn covers(own: &Value, other: &Value) -> bool {
    let Value::Object(other) = other else {
        return true;
    };
    let mut paths = other.iter().filter(|(key, _)| *key != ".");
    paths.all(|(key, fields)| own.get(key).is_some_and(|own| covers(own, fields)))
}

/// Adds the paths of one set of fields to another.
fn merge(into: &mut Value, from: &Value) {
    let Value::Object(from) = from else {
        return;
    };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(into) = into {
        for (key, value) in from {
            merge(
                into.entry(key.clone())
                    .or_insert_with(|| Value::Object(serde_json::Map::new())),
                value,
            );
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "fields are written where they are checked"
)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(fields: Value, expected: Value) {
        let fields: Vec<ManagedFieldsEntry> = serde_json::from_value(fields).unwrap();
        let taken = take_over(&fields, "overlayd", &["lens".to_owned()]);
        assert_eq!(serde_json::to_value(taken).unwrap(), expected);
    }

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn fields_of_former_managers_become_ours() {
        let data = |key: &str| json!({"f:data": {key: {}}});
        check(
            json!([
                entry("overlayd", "Apply", data("f:a")),
                entry("kubectl-edit", "Update", data("f:b")),
                entry("kustomize-controller", "Apply", data("f:c")),
                entry("helm", "Update", data("f:d")),
            ]),
            json!([
                entry(
                    "overlayd",
                    "Apply",
                    json!({"f:data": {"f:a": {}, "f:b": {}, "f:c": {}}})
                ),
                entry("helm", "Update", data("f:d")),
            ]),
        );
        check(
            json!([entry("kubectl-client-side-apply", "Update", data("f:a"))]),
            json!([entry("overlayd", "Apply", data("f:a"))]),
        );
        check(
            json!([entry("lens", "Update", data("f:a"))]),
            json!([entry("overlayd", "Apply", data("f:a"))]),
        );
        check(json!([entry("helm", "Update", data("f:d"))]), Value::Null);
        // What kubectl habitually writes stays with it, and the rest becomes ours.
        let labels = |key: &str| json!({"f:metadata": {"f:labels": {key: {}}}});
        let mut both = labels("f:l");
        both["f:data"] = json!({"f:b": {}});
        check(
            json!([entry("kubectl-label", "Update", both)]),
            json!([
                entry("kubectl-label", "Update", labels("f:l")),
                entry("overlayd", "Apply", data("f:b")),
            ]),
        );
        check(
            json!([entry("kubectl-label", "Update", labels("f:l"))]),
            Value::Null,
        );
        let mut scale = entry("kubectl", "Update", json!({"f:spec": {}}));
        scale["subresource"] = json!("scale");
        check(json!([scale]), Value::Null);
    }

    #[test]
    fn an_object_whose_former_manager_owns_no_more_than_we_do_can_stay() {
        let data = |keys: &[&str]| {
            let keys = keys.iter().map(|key| ((*key).to_owned(), json!({})));
            let fields: serde_json::Map<String, Value> = keys.collect();
            json!({"f:data": fields})
        };
        let flux = |fields: Value| entry("kustomize-controller", "Apply", fields);
        let ours = || entry("overlayd", "Apply", data(&["f:a", "f:b"]));
        let check = |fields: Value, expected: bool| {
            let fields: Vec<ManagedFieldsEntry> = serde_json::from_value(fields).unwrap();
            assert_eq!(leaves_nothing(&fields, "overlayd", &[]), expected);
        };
        check(json!([ours(), flux(data(&["f:a"]))]), true);
        check(json!([ours(), flux(data(&[".", "f:b"]))]), true);
        check(json!([ours(), flux(data(&["f:c"]))]), false);
        check(
            json!([
                ours(),
                flux(data(&["f:a"])),
                entry("kubectl", "Update", data(&["f:d"]))
            ]),
            false,
        );
        check(
            json!([ours(), entry("helm", "Update", data(&["f:d"]))]),
            true,
        );
        check(json!([flux(data(&["f:a"]))]), false);
    }

    #[test]
    fn fields_go_back_to_their_former_manager() {
        let data = |key: &str| json!({"f:data": {key: {}}});
        let back = |fields: Value| {
            let fields: Vec<ManagedFieldsEntry> = serde_json::from_value(fields).unwrap();
            serde_json::to_value(hand_over(&fields, "overlayd", "kustomize-controller")).unwrap()
        };
        let helm = || entry("helm", "Update", data("f:d"));
        assert_eq!(
            back(json!([entry("overlayd", "Apply", data("f:a")), helm()])),
            json!([helm(), entry("kustomize-controller", "Apply", data("f:a"))])
        );
        assert_eq!(
            back(json!([
                entry("kustomize-controller", "Apply", data("f:b")),
                entry("overlayd", "Apply", data("f:a")),
            ])),
            json!([entry(
                "kustomize-controller",
                "Apply",
                json!({"f:data": {"f:a": {}, "f:b": {}}})
            )])
        );
        assert_eq!(back(json!([helm()])), Value::Null);
        let mut status = entry("overlayd", "Apply", json!({"f:status": {}}));
        status["subresource"] = json!("status");
        assert_eq!(back(json!([status])), Value::Null);
    }
}

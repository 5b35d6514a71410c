//! Pure: what becomes of a custom resource definition that the cluster has already, from the peers or from another
//! version of overlayd.
//!
//! ```text
//! our definition, live definition ─to_apply→ what is missing in the live one added to it, or nothing
//! ```
//! What the live definition has stays: versions, fields, conversion, labels and annotations. A poorer definition would
//! cut fields off stored objects, and the API server refuses one that lacks a stored version.
//!
//! A definition of the peers ([`is_of_peers`]) decides where both have a field: its pattern, default or description
//! stays. Our own definition of another version is replaced there.

use serde_json::{Map, Value, json};

use crate::api::annotations::LAST_APPLIED;
use crate::apply::skip::control;

/// The annotation that the generator of the peers' definitions writes, and ours does not.
const GENERATOR: &str = "controller-gen.kubebuilder.io/version";
/// The annotation that keeps an object of a Helm release when the release is uninstalled.
pub const HELM_POLICY: &str = "helm.sh/resource-policy";
/// The annotation with the name of the Helm release that installed an object.
pub const HELM_RELEASE: &str = "meta.helm.sh/release-name";

/// True for a definition that one of the peers installed.
pub fn is_of_peers(live: &Value) -> bool {
    live["metadata"]["annotations"].get(GENERATOR).is_some()
}

/// The Helm release whose end would delete a definition, and with it every object of its kind; none if the definition
/// is kept.
pub fn deleted_with_release(live: &Value) -> Option<&str> {
    let annotations = &live["metadata"]["annotations"];
    let release = annotations.get(HELM_RELEASE)?.as_str()?;
    let is_kept = annotations
        .get(HELM_POLICY)
        .is_some_and(|policy| policy == "keep")
        || control(live, "prune", "disabled");
    (!is_kept).then_some(release)
}

/// True if a live definition serves every version that ours serves.
pub fn serves(live: &Value, ours: &Value) -> bool {
    let of_live = versions(&live["spec"]);
    let mut needed = versions(&ours["spec"])
        .iter()
        .filter(|version| version["served"] == true);
    needed.all(|version| {
        let mut of_live = of_live.iter();
        of_live.any(|live| live["name"] == version["name"] && live["served"] == true)
    })
}

/// The definition to apply: the live one with what ours adds. None if the live one has everything already.
pub fn to_apply(ours: &Value, live: &Value) -> Option<Value> {
    let spec = completed(&ours["spec"], &live["spec"], is_of_peers(live));
    if spec == live["spec"] {
        return None;
    }
    let mut definition = json!({
        "apiVersion": ours["apiVersion"],
        "kind": ours["kind"],
        "metadata": {"name": ours["metadata"]["name"]},
        "spec": spec,
    });
    if !is_of_peers(live)
        && let Some(labels) = ours["metadata"].get("labels")
    {
        definition["metadata"]["labels"] = labels.clone();
    }
    Some(definition)
}

/// A rendered definition with what ours adds, so that a repository that holds the peers' definitions does not take
/// versions and fields away that overlayd uses.
pub fn with_ours(ours: &Value, rendered: &Value) -> Value {
    let mut definition = rendered.clone();
    definition["spec"] = completed(&ours["spec"], &rendered["spec"], true);
    definition
}

/// A definition of overlayd's own manifests over the live one: what the live one has stays, with its labels and
/// annotations. A definition of the peers in a repository is what its authors want, and stays as it is.
pub fn over_live(rendered: &Value, live: &Value) -> Value {
    let mut definition = rendered.clone();
    if is_of_peers(rendered) {
        return definition;
    }
    definition["spec"] = completed(&rendered["spec"], &live["spec"], is_of_peers(live));
    for field in ["labels", "annotations"] {
        let kept = live["metadata"][field].as_object().into_iter().flatten();
        for (name, value) in kept.filter(|(name, _)| *name != LAST_APPLIED) {
            let own = &mut definition["metadata"][field];
            if own.get(name).is_none() {
                own[name] = value.clone();
            }
        }
    }
    definition
}

fn completed(ours: &Value, live: &Value, of_peers: bool) -> Value {
    let mut spec = live.clone();
    let of_live = versions(live);
    let has_storage = of_live.iter().any(|version| version["storage"] == true);
    let mut result = Vec::new();
    for version in of_live {
        // Our old versions only keep what is stored, and add nothing to those of the peers.
        let same = versions(ours)
            .iter()
            .find(|own| own["name"] == version["name"] && own["served"] == true);
        result.push(match same {
            Some(own) => merge_version(own, version, of_peers),
            None => version.clone(),
        });
    }
    for own in versions(ours) {
        let is_there = of_live.iter().any(|version| version["name"] == own["name"]);
        // Old versions that nothing is stored in are of no use.
        if is_there || own["served"] != true {
            continue;
        }
        let mut own = without_nulls(own);
        own["storage"] = json!(!has_storage);
        result.push(own);
    }
    spec["versions"] = Value::Array(result);
    if !of_peers && let Some(names) = ours["names"].as_object() {
        for (field, name) in names.iter().filter(|(_, name)| !name.is_null()) {
            spec["names"][field] = name.clone();
        }
    }
    spec
}

fn versions(spec: &Value) -> &[Value] {
    spec["versions"].as_array().map_or(&[], Vec::as_slice)
}

/// One version that both have and ours serves: it is served, and stored as the live one says.
fn merge_version(own: &Value, live: &Value, of_peers: bool) -> Value {
    let own = without_nulls(own);
    let mut version = live.clone();
    version["served"] = json!(true);
    let path = "/schema/openAPIV3Schema";
    if let (Some(of_ours), Some(of_live)) = (own.pointer(path), live.pointer(path)) {
        let schema = if of_peers {
            union(of_live, of_ours)
        } else {
            union(of_ours, of_live)
        };
        version["schema"] = json!({"openAPIV3Schema": schema});
    }
    for field in [
        "subresources",
        "additionalPrinterColumns",
        "selectableFields",
    ] {
        let is_missing = version.get(field).is_none_or(Value::is_null);
        if let Some(of_ours) = own.get(field)
            && (is_missing || !of_peers)
        {
            version[field] = of_ours.clone();
        }
    }
    version
}

/// The schema `first` with the fields of `other` that it does not have. Where both have a field, `first` decides on it.
fn union(first: &Value, other: &Value) -> Value {
    let mut schema = first.clone();
    if first["type"] != other["type"] {
        return schema;
    }
    let Some(fields) = schema.as_object_mut() else {
        return schema;
    };
    // A map of any keys cannot have named fields besides.
    let is_map = fields.contains_key("additionalProperties");
    if let Some(Value::Object(more)) = other.get("properties").filter(|_| !is_map) {
        let properties = fields
            .entry("properties")
            .or_insert_with(|| Value::Object(Map::new()));
        for (name, field) in more {
            let merged = match properties.get(name) {
                Some(own) => union(own, field),
                None => field.clone(),
            };
            properties[name] = merged;
        }
    }
    for nested in ["items", "additionalProperties"] {
        let merged = match (fields.get(nested), other.get(nested)) {
            (Some(own @ Value::Object(_)), Some(more @ Value::Object(_))) => union(own, more),
            _ => continue,
        };
        fields.insert(nested.to_owned(), merged);
    }
    schema
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            let kept = kept.map(|(name, value)| (name.clone(), without_nulls(value)));
            Value::Object(kept.collect())
        }
        // A null in a list is a value, as in an enum.
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str, served: bool, storage: bool, fields: &Value) -> Value {
        json!({
            "name": name, "served": served, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": fields}},
        })
    }

    fn definition(metadata: &Value, versions: &[Value]) -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": metadata, "spec": {"group": "example.com", "versions": versions},
        })
    }

    fn ours() -> Value {
        let fields = json!({"url": {"type": "string"}, "timeout": {"type": "string"}});
        let metadata = json!({"name": "x.example.com", "labels": {"a": "overlayd"}});
        definition(
            &metadata,
            &[
                version("v1", true, true, &fields),
                version("v1beta1", false, false, &json!({})),
            ],
        )
    }

    fn of_peers(versions: &[Value]) -> Value {
        let annotations = json!({GENERATOR: "v0.19.0", HELM_POLICY: "keep"});
        definition(
            &json!({"name": "x.example.com", "annotations": annotations}),
            versions,
        )
    }

    fn names(definition: &Value) -> Vec<(String, bool, bool)> {
        versions(&definition["spec"])
            .iter()
            .map(|version| {
                let is = |field: &str| version[field] == true;
                let name = version["name"].as_str().unwrap_or_default();
                (name.to_owned(), is("served"), is("storage"))
            })
            .collect()
    }

    fn listed(name: &str, served: bool, storage: bool) -> (String, bool, bool) {
        (name.to_owned(), served, storage)
    }

    #[test]
    fn a_richer_definition_of_the_peers_is_left() {
        let fields = json!({
            "url": {"type": "string", "pattern": "^(http|https|ssh)://.*$"},
            "timeout": {"type": "string"}, "newer": {"type": "boolean"},
        });
        let live = of_peers(&[
            version("v1", true, true, &fields),
            version("v2", true, false, &fields),
        ]);
        assert_eq!(to_apply(&ours(), &live), None);
        assert!(serves(&live, &ours()));
    }

    #[test]
    fn an_older_definition_of_the_peers_gains_what_it_lacks_and_loses_nothing() {
        let fields =
            json!({"url": {"type": "string", "pattern": "^ssh:"}, "old": {"type": "string"}});
        let mut live = of_peers(&[
            version("v1", true, true, &fields),
            version("v1beta2", false, false, &json!({})),
        ]);
        live["spec"]["conversion"] = json!({"strategy": "Webhook"});
        let applied = to_apply(&ours(), &live).unwrap();
        let fields = &applied["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        assert_eq!(fields["url"]["pattern"], "^ssh:", "theirs decides");
        assert_eq!(fields["old"]["type"], "string");
        assert_eq!(fields["timeout"]["type"], "string", "ours is added");
        assert_eq!(applied["spec"]["conversion"]["strategy"], "Webhook");
        assert_eq!(
            names(&applied),
            [listed("v1", true, true), listed("v1beta2", false, false)]
        );
        let metadata = json!({"name": "x.example.com"});
        assert_eq!(applied["metadata"], metadata, "labels and annotations stay");
    }

    #[test]
    fn a_version_that_overlayd_needs_is_added_and_the_stored_one_stays() {
        let live = of_peers(&[version("v1beta2", true, true, &json!({}))]);
        assert!(!serves(&live, &ours()));
        let applied = to_apply(&ours(), &live).unwrap();
        assert_eq!(
            names(&applied),
            [listed("v1beta2", true, true), listed("v1", true, false)]
        );
        let unserved = version("v1", false, false, &json!({}));
        let live = of_peers(&[version("v1beta2", true, true, &json!({})), unserved]);
        assert_eq!(
            names(&to_apply(&ours(), &live).unwrap()),
            [listed("v1beta2", true, true), listed("v1", true, false)]
        );
    }

    #[test]
    fn our_own_definition_is_renewed_and_keeps_stored_versions() {
        let fields =
            json!({"url": {"type": "string", "pattern": "^ssh:"}, "old": {"type": "string"}});
        let stored = version("v1alpha1", false, false, &json!({}));
        let live = definition(
            &json!({"name": "x.example.com"}),
            &[version("v1", true, true, &fields), stored],
        );
        let applied = to_apply(&ours(), &live).unwrap();
        let fields = &applied["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        assert_eq!(fields["url"], json!({"type": "string"}), "ours decides");
        assert_eq!(fields["old"]["type"], "string", "nothing is cut off");
        assert_eq!(applied["metadata"]["labels"]["a"], "overlayd");
        assert_eq!(
            names(&applied),
            [listed("v1", true, true), listed("v1alpha1", false, false)]
        );
        assert_eq!(to_apply(&ours(), &applied), None, "once is enough");
    }

    #[test]
    fn fields_are_joined_at_every_depth_and_types_are_not_mixed() {
        let list = |fields: Value| json!({"type": "array", "items": {"type": "object", "properties": fields}});
        let first = json!({"type": "object", "properties": {
            "list": list(json!({"a": {"type": "string"}})),
            "open": {"type": "object", "additionalProperties": {"type": "string"}},
            "text": {"type": "string"},
        }});
        let other = json!({"type": "object", "properties": {
            "list": list(json!({"b": {"type": "string"}})),
            "open": {"type": "object", "properties": {"a": {"type": "string"}}},
            "text": {"type": "object", "properties": {"a": {"type": "string"}}},
        }});
        let joined = union(&first, &other);
        let items = &joined["properties"]["list"]["items"]["properties"];
        assert!(items["a"].is_object() && items["b"].is_object());
        assert_eq!(joined["properties"]["open"], first["properties"]["open"]);
        assert_eq!(joined["properties"]["text"], first["properties"]["text"]);
    }

    #[test]
    fn our_manifests_are_applied_over_a_definition_of_the_peers_without_taking_anything_away() {
        let live = of_peers(&[
            version("v1", true, true, &json!({"newer": {"type": "boolean"}})),
            version("v2", true, false, &json!({})),
        ]);
        let applied = over_live(&ours(), &live);
        assert_eq!(
            names(&applied),
            [listed("v1", true, true), listed("v2", true, false)]
        );
        let fields = &applied["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        assert!(fields["newer"].is_object() && fields["url"].is_object());
        assert_eq!(applied["metadata"]["annotations"][HELM_POLICY], "keep");
        assert_eq!(applied["metadata"]["labels"]["a"], "overlayd");
        let theirs = of_peers(&[version("v1", true, true, &json!({}))]);
        assert_eq!(over_live(&theirs, &live), theirs);
    }

    #[test]
    fn a_definition_of_a_release_that_is_not_kept_is_named() {
        let of = |annotations: Value| json!({"metadata": {"annotations": annotations}});
        let check = |annotations: Value, expected: Option<&str>| {
            assert_eq!(deleted_with_release(&of(annotations)), expected);
        };
        check(json!({HELM_RELEASE: "eso"}), Some("eso"));
        check(json!({HELM_RELEASE: "eso", HELM_POLICY: "keep"}), None);
        check(json!({}), None);
    }

    #[test]
    fn a_rendered_definition_of_the_peers_keeps_what_overlayd_uses() {
        let rendered = of_peers(&[version("v1beta2", true, true, &json!({}))]);
        let applied = with_ours(&ours(), &rendered);
        assert_eq!(applied["metadata"], rendered["metadata"]);
        assert_eq!(
            names(&applied),
            [listed("v1beta2", true, true), listed("v1", true, false)]
        );
    }
}

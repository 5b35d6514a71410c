//! Pure: what the definitions in a cluster mean: versions that are stored, the conversion between them, and who would
//! delete them.

use serde_json::Value;

use crate::api::crds;
use crate::apply::definition::{HELM_POLICY, deleted_with_release, to_apply};
use crate::apply::object_ref::ObjectRef;
use crate::migrate::{Finding, MigrationVerdict};

/// The findings about a definition of a kind that overlayd serves; none of another one.
pub fn judge_definition(live: &Value) -> Vec<Finding> {
    let name = live["metadata"]["name"].as_str().unwrap_or_default();
    let Some(ours) = crds::named(name) else {
        return Vec::new();
    };
    let needed = served(&ours["spec"]);
    let mut reasons = Vec::new();
    reasons.extend(missing_versions(live, &needed));
    reasons.extend(stored_versions(live, &needed));
    reasons.extend(conversion(live));
    if let Some(release) = deleted_with_release(live) {
        reasons.push(format!(
            "the Helm release `{release}` owns it, and its uninstallation would delete every object of the kind; run `kubectl annotate crd {name} {HELM_POLICY}=keep` first"
        ));
    }
    if reasons.is_empty() && to_apply(ours, live).is_some() {
        let reason = "overlayd adds the fields that it lacks, and keeps all others";
        reasons.push(reason.to_owned());
    }
    let (api, kind) = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let findings = reasons.into_iter().map(|reason| Finding {
        object: ObjectRef::new(api, kind, "", name),
        file: None,
        verdict: MigrationVerdict::Difference,
        reason,
    });
    findings.collect()
}

/// The names of the versions that are served.
fn served(spec: &Value) -> Vec<&str> {
    let versions = spec["versions"].as_array().into_iter().flatten();
    let served = versions.filter(|version| version["served"] == true);
    served
        .filter_map(|version| version["name"].as_str())
        .collect()
}

fn missing_versions(live: &Value, needed: &[&str]) -> Option<String> {
    let there = served(&live["spec"]);
    let mut missing = needed.iter().filter(|version| !there.contains(version));
    let version = missing.next()?;
    Some(format!(
        "it does not serve version `{version}`, which overlayd needs; overlayd adds the version at its start, unless `--install-crds=false` is set"
    ))
}

fn stored_versions(live: &Value, needed: &[&str]) -> Option<String> {
    let stored = live["status"]["storedVersions"].as_array();
    let stored = stored.into_iter().flatten().filter_map(Value::as_str);
    let old: Vec<&str> = stored.filter(|version| !needed.contains(version)).collect();
    (!old.is_empty()).then(|| {
        format!(
            "objects may still be stored as `{}`; overlayd keeps these versions",
            old.join("`, `")
        )
    })
}

fn conversion(live: &Value) -> Option<String> {
    let conversion = &live["spec"]["conversion"];
    if conversion["strategy"] != "Webhook" {
        return None;
    }
    let service = &conversion["webhook"]["clientConfig"]["service"];
    let text = |field: &str| service[field].as_str().unwrap_or("?");
    Some(format!(
        "Service `{}/{}` converts its versions; keep this service running, or no object of the kind can be read",
        text("namespace"),
        text("name")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NAME: &str = "receivers.notification.toolkit.fluxcd.io";

    fn check(change: impl Fn(&mut Value), expected: &[&str]) {
        let mut live = crds::named(NAME).unwrap().clone();
        live["status"] = json!({"storedVersions": ["v1"]});
        change(&mut live);
        let found = judge_definition(&live);
        let found: Vec<&str> = found
            .iter()
            .map(|finding| finding.reason.as_str())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_definition_is_judged_by_versions_conversion_and_owner() {
        check(|_| {}, &[]);
        check(
            |live| live["status"]["storedVersions"] = json!(["v1beta2", "v1"]),
            &["objects may still be stored as `v1beta2`; overlayd keeps these versions"],
        );
        check(
            |live| live["spec"]["versions"][0]["served"] = json!(false),
            &[
                "it does not serve version `v1`, which overlayd needs; overlayd adds the version at its start, unless `--install-crds=false` is set",
            ],
        );
        check(
            |live| live["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"clientConfig": {"service": {"namespace": "eso", "name": "hook"}}}}),
            &[
                "Service `eso/hook` converts its versions; keep this service running, or no object of the kind can be read",
            ],
        );
        check(
            |live| live["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "eso"}),
            &[
                "the Helm release `eso` owns it, and its uninstallation would delete every object of the kind; run `kubectl annotate crd receivers.notification.toolkit.fluxcd.io helm.sh/resource-policy=keep` first",
            ],
        );
        let other = json!({"metadata": {"name": "shops.example.com"}});
        assert_eq!(judge_definition(&other), []);
    }
}

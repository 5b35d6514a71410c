//! Pure: what the definitions in a cluster mean: versions that are stored, the conversion between them, and who would
//! delete them.

use serde_json::Value;

use crate::api::crds;
use crate::api::definition::{HELM_POLICY, deleted_with_release, to_apply};
use crate::migrate::{Finding, Verdict};

/// The findings about a definition of a kind that overlayd serves; none of another one.
pub fn judge_definition(live: &Value) -> Vec<Finding> {
    let name = live["metadata"]["name"].as_str().unwrap_or_default();
    let Some(ours) = crds::named(name) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut add = |reason: String| {
        let mut finding = Finding::new(live, Verdict::Difference, reason);
        finding.object.kind = "CustomResourceDefinition".to_owned();
        finding.object.group = "apiextensions.k8s.io".to_owned();
        finding.object.version = "v1".to_owned();
        findings.push(finding);
    };
    let served = |spec: &Value| -> Vec<String> {
        let versions = spec["versions"].as_array().into_iter().flatten();
        let served = versions.filter(|version| version["served"] == true);
        served
            .filter_map(|version| version["name"].as_str().map(str::to_owned))
            .collect()
    };
    let (needed, there) = (served(&ours["spec"]), served(&live["spec"]));
    for version in needed.iter().filter(|version| !there.contains(version)) {
        add(format!(
            "it does not serve version `{version}`, which overlayd needs; overlayd adds the version at its start, unless `--install-crds=false` is set"
        ));
    }
    let stored = live["status"]["storedVersions"].as_array();
    let stored = stored.into_iter().flatten().filter_map(Value::as_str);
    let old: Vec<&str> = stored
        .filter(|version| !needed.iter().any(|own| own == version))
        .collect();
    if !old.is_empty() {
        add(format!(
            "objects may still be stored as `{}`; overlayd keeps these versions",
            old.join("`, `")
        ));
    }
    let conversion = &live["spec"]["conversion"];
    if conversion["strategy"] == "Webhook" {
        let service = &conversion["webhook"]["clientConfig"]["service"];
        let text = |field: &str| service[field].as_str().unwrap_or("?");
        add(format!(
            "Service `{}/{}` converts its versions; keep this service running, or no object of the kind can be read",
            text("namespace"),
            text("name")
        ));
    }
    if let Some(release) = deleted_with_release(live) {
        add(format!(
            "the Helm release `{release}` owns it, and its uninstallation would delete every object of the kind; run `kubectl annotate crd {name} {HELM_POLICY}=keep` first"
        ));
    }
    if findings.is_empty() && to_apply(ours, live).is_some() {
        let reason = "overlayd adds the fields that it lacks, and keeps all others";
        let mut finding = Finding::new(live, Verdict::Difference, reason);
        finding.object.kind = "CustomResourceDefinition".to_owned();
        findings.push(finding);
    }
    findings
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

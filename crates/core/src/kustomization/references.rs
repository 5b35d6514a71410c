//! Pure: the names of other objects in a spec. They become part of the path of a request, so a name that is none must not
//! reach the API server: it could lead to another object.

use crate::api::kustomization::KustomizationSpec;
use crate::names::{is_dns_subdomain, is_path_segment};

/// A reference that cannot be the name of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`spec.{field}`: `{text}` is no name of an object: letters, digits, `-` and `.` are allowed"
)]
pub struct InvalidReference {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub text: String,
}

/// Checks every reference of a spec.
///
/// # Errors
/// The first one that cannot be the name of an object.
pub fn check_references(spec: &KustomizationSpec) -> Result<(), InvalidReference> {
    let mut names: Vec<(&'static str, Option<&String>)> = vec![
        ("sourceRef.name", Some(&spec.source_ref.name)),
        ("sourceRef.namespace", spec.source_ref.namespace.as_ref()),
        ("serviceAccountName", spec.service_account_name.as_ref()),
    ];
    for dependency in &spec.depends_on {
        names.push(("dependsOn[].name", Some(&dependency.name)));
        names.push(("dependsOn[].namespace", dependency.namespace.as_ref()));
    }
    let post_build = spec.post_build.iter();
    for source in post_build.flat_map(|post_build| &post_build.substitute_from) {
        names.push(("postBuild.substituteFrom[].name", Some(&source.name)));
    }
    for check in &spec.health_checks {
        names.push(("healthChecks[].namespace", check.namespace.as_ref()));
        // Some kinds have names that are no DNS names.
        if !is_path_segment(&check.name) {
            return Err(invalid("healthChecks[].name", &check.name));
        }
        let api_version = check.api_version.as_deref().unwrap_or("v1");
        let mut parts = api_version.split('/');
        if parts.clone().count() > 2 || !parts.all(is_dns_subdomain) {
            return Err(invalid("healthChecks[].apiVersion", api_version));
        }
    }
    let given = names
        .into_iter()
        .filter_map(|(field, name)| Some((field, name?)));
    // An empty account is none.
    let mut given = given.filter(|(_, name)| !name.is_empty());
    match given.find(|(_, name)| !is_dns_subdomain(name)) {
        Some((field, name)) => Err(invalid(field, name)),
        None => Ok(()),
    }
}

fn invalid(field: &'static str, text: &str) -> InvalidReference {
    InvalidReference {
        field,
        text: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kustomization::fixture::kustomization;

    #[test]
    fn references_lead_nowhere_else() {
        let check = |fields: Value, expected: &str| {
            let spec = kustomization("app", &fields, &json!({})).spec;
            let refused = check_references(&spec).err();
            assert_eq!(
                refused.map_or("", |refused| refused.field),
                expected,
                "{fields}"
            );
        };
        check(json!({}), "");
        let fine = json!({
            "serviceAccountName": "", "dependsOn": [{"name": "a.b"}],
            "postBuild": {"substituteFrom": [{"kind": "Secret", "name": "vars"}]},
            "healthChecks": [{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": "system:x"}, {"kind": "Deployment", "name": "web"}],
        });
        check(fine, "");
        let bad = "x:80/proxy/path";
        let source = json!({"kind": "GitRepository", "name": bad});
        check(json!({"sourceRef": source}), "sourceRef.name");
        check(json!({"serviceAccountName": bad}), "serviceAccountName");
        check(json!({"dependsOn": [{"name": "../b"}]}), "dependsOn[].name");
        let from = json!({"substituteFrom": [{"kind": "Secret", "name": "../../b/secrets/c"}]});
        check(
            json!({"postBuild": from}),
            "postBuild.substituteFrom[].name",
        );
        let health = |field: &str, text: &str| {
            let mut check = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "a", "namespace": "b"});
            check[field] = json!(text);
            json!({"healthChecks": [check]})
        };
        check(health("name", "a/b"), "healthChecks[].name");
        check(health("namespace", "a/b"), "healthChecks[].namespace");
        check(health("apiVersion", "a/b/c"), "healthChecks[].apiVersion");
        check(health("apiVersion", "../v1"), "healthChecks[].apiVersion");
    }
}

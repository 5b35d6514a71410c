//! Pure: which namespaces may use a store: `spec.conditions` of a ClusterSecretStore.

use std::collections::BTreeMap;

use gocompat::regex::ErrorCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::api::secret_store::StoreCondition;

/// A condition that cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`spec.conditions[{index}].namespaceRegexes`: {reason}")]
pub struct AdmissionError {
    /// The position of the condition, from 0.
    pub index: usize,
    /// What is wrong with its regular expression, in the words of Go's `regexp/syntax`.
    pub reason: ErrorCode,
}

/// True if a namespace with these labels may use the store: it meets at least one condition, by selector, name or
/// regular expression, or there are no conditions. `None` are the labels of a namespace that is not known yet: it meets no
/// selector, since one such as `NotIn` would take it for a namespace without labels.
///
/// # Errors
/// A regular expression that is reached is invalid.
pub fn admits(
    conditions: &[StoreCondition],
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<bool, AdmissionError> {
    if conditions.is_empty() {
        return Ok(true);
    }
    for (index, condition) in conditions.iter().enumerate() {
        if condition.namespaces.iter().any(|name| name == namespace) {
            return Ok(true);
        }
        let selector = condition.namespace_selector.as_ref();
        let selects = |(selector, labels)| selects(selector, labels);
        if selector.zip(labels).is_some_and(selects) {
            return Ok(true);
        }
        for expression in &condition.namespace_regexes {
            let compiled = gocompat::regex::compile(expression).map_err(|error| {
                let reason = error.code();
                AdmissionError { index, reason }
            })?;
            if compiled.is_match(namespace) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// True if the labels match the selector. An empty selector matches everything; an unknown operator nothing.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let wanted = selector.match_labels.iter().flatten();
    let mut wanted = wanted.map(|(key, value)| labels.get(key) == Some(value));
    let expressions = selector.match_expressions.iter().flatten();
    let mut expressions = expressions.map(|expression| {
        let value = labels.get(&expression.key);
        let listed = || {
            let mut values = expression.values.iter().flatten();
            value.is_some_and(|value| values.any(|wanted| wanted == value))
        };
        match expression.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    wanted.all(|holds| holds) && expressions.all(|holds| holds)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(conditions: Value, expected: &str) {
        let conditions: Vec<StoreCondition> = serde_json::from_value(conditions).unwrap();
        let labels = [("team", "web"), ("env", "prod")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let text = match admits(&conditions, "shop", Some(&labels.into())) {
            Ok(admitted) => admitted.to_string(),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected, "{conditions:?}");
    }

    #[test]
    fn a_namespace_that_is_not_known_meets_no_selector() {
        let not_in = json!({"key": "env", "operator": "NotIn", "values": ["prod"]});
        let absent = json!({"key": "env", "operator": "DoesNotExist"});
        for selector in [
            json!({}),
            json!({"matchExpressions": [not_in]}),
            json!({"matchExpressions": [absent]}),
        ] {
            let conditions = json!([{"namespaceSelector": selector}]);
            let conditions: Vec<StoreCondition> = serde_json::from_value(conditions).unwrap();
            assert_eq!(admits(&conditions, "shop", None), Ok(false));
            let labels = BTreeMap::new();
            assert_eq!(admits(&conditions, "shop", Some(&labels)), Ok(true));
        }
        let by_name: Vec<StoreCondition> =
            serde_json::from_value(json!([{"namespaces": ["shop"]}])).unwrap();
        assert_eq!(admits(&by_name, "shop", None), Ok(true));
    }

    #[test]
    fn one_condition_must_be_met_in_one_way() {
        let selector = |labels: Value| json!([{"namespaceSelector": {"matchLabels": labels}}]);
        let expression = |key: &str, operator: &str, values: Value| json!([{"namespaceSelector": {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}}]);
        check(json!([]), "true");
        check(json!([{"namespaces": ["a", "shop"]}]), "true");
        check(json!([{"namespaces": ["a"]}]), "false");
        check(
            json!([{"namespaces": ["a"]}, {"namespaceRegexes": ["^sh"]}]),
            "true",
        );
        check(json!([{"namespaceRegexes": ["op$"]}]), "true");
        check(json!([{"namespaceRegexes": ["^op"]}]), "false");
        check(
            json!([{"namespaceRegexes": ["("]}]),
            "error: `spec.conditions[0].namespaceRegexes`: missing closing )",
        );
        check(selector(json!({"team": "web"})), "true");
        check(selector(json!({"team": "web", "env": "test"})), "false");
        check(json!([{"namespaceSelector": {}}]), "true");
        check(expression("team", "In", json!(["web"])), "true");
        check(expression("team", "NotIn", json!(["web"])), "false");
        check(expression("nobody", "NotIn", json!(["web"])), "true");
        check(expression("nobody", "Exists", json!(null)), "false");
        check(expression("nobody", "DoesNotExist", json!(null)), "true");
    }
}

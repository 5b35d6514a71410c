//! Pure: `rewrite` operations, which rename keys or merge values.

use std::collections::{BTreeMap, BTreeSet};

use gocompat::regex::{self, ErrorCode, SyntaxError};
use gotemplate::{Environment, Template};
use serde_json::{Map, Value};

use crate::api::external_secret::{
    ConflictPolicy, MergeStrategy, PriorityPolicy, Rewrite, RewriteMerge, RewriteRegexp,
};
use crate::secrets::composition_budget::{CompositionBudget, OverBudget, shortened};
use crate::secrets::{SecretData, SecretValue};

/// Why keys cannot be rewritten. The text names operations (by position, from 0) and keys, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// The operation has no kind, or several.
    #[error("rewrite[{0}] must have exactly one of `regexp`, `transform` and `merge`")]
    Ambiguous(usize),
    /// The regular expression is invalid.
    #[error("rewrite[{at}].regexp.source: {reason}")]
    Regexp {
        /// The operation.
        at: usize,
        /// What is wrong with the expression.
        reason: ErrorCode,
    },
    /// The template is invalid, or fails on a key.
    #[error("rewrite[{at}].transform.template, for key `{key}`: {source}")]
    Transform {
        /// The operation.
        at: usize,
        /// The key.
        key: String,
        /// The error of the template engine.
        #[source]
        source: gotemplate::TemplateError,
    },
    /// A value that is to be merged is not a JSON object.
    #[error("rewrite[{at}].merge: the value of `{key}` is not a JSON object")]
    NotAnObject {
        /// The operation.
        at: usize,
        /// The key.
        key: String,
    },
    /// A merge into one key does not name it.
    #[error("rewrite[{0}].merge: `into` is needed with `strategy: JSON`")]
    NoInto(usize),
    /// A member occurs in several values.
    #[error(
        "rewrite[{at}].merge: `{member}` stands in more than one value; `conflictPolicy: Ignore` takes the last"
    )]
    Conflict {
        /// The operation.
        at: usize,
        /// The member.
        member: String,
    },
    /// The keys or values would take more memory or work than one ExternalSecret may use.
    #[error("rewrite[{at}], for key `{key}`: {over}")]
    TooMuch {
        /// The operation.
        at: usize,
        /// The beginning of the key, or the field of the operation.
        key: String,
        /// How much it would need.
        #[source]
        over: OverBudget,
    },
    /// A key of `priority` does not exist.
    #[error(
        "rewrite[{at}].merge: there is no key `{key}` of `priority`; `priorityPolicy: IgnoreNotFound` allows that"
    )]
    NoPriority {
        /// The operation.
        at: usize,
        /// The key.
        key: String,
    },
}

/// Applies the operations in order. Where two keys are renamed to the same key, the last in the order of the old keys
/// counts. The environment is that of `transform` templates, whose missing fields print as `<no value>`.
///
/// # Errors
/// An operation is invalid, cannot be applied to the data, or would go over the budget.
pub(crate) fn rewrite(
    operations: &[Rewrite],
    mut data: SecretData,
    environment: &Environment<'_>,
    budget: &CompositionBudget,
) -> Result<SecretData, RewriteError> {
    for (at, operation) in operations.iter().enumerate() {
        data = match (&operation.regexp, &operation.transform, &operation.merge) {
            (Some(regexp), None, None) => by_expression(at, regexp, data, budget)?,
            (None, Some(transform), None) => {
                by_template(at, &transform.template, data, environment, budget)?
            }
            (None, None, Some(merge)) => merged(at, merge, data, budget)?,
            _ => return Err(RewriteError::Ambiguous(at)),
        };
    }
    Ok(data)
}

/// Replaces the matches of an expression in each key.
fn by_expression(
    at: usize,
    regexp: &RewriteRegexp,
    data: SecretData,
    budget: &CompositionBudget,
) -> Result<SecretData, RewriteError> {
    let invalid = |error: SyntaxError| {
        let reason = error.code();
        RewriteError::Regexp { at, reason }
    };
    let states = regex::states(&regexp.source).map_err(invalid)?;
    let too_much = |over| too_much(at, "regexp.source", over);
    budget.charge_search(states, 0).map_err(too_much)?;
    let compiled = regex::compile(&regexp.source).map_err(invalid)?;
    // Each variable of the replacement stands for a whole match at most.
    let variables = regexp.target.matches('$').count();
    let renamed = |key: &str| {
        let charge = || {
            let mut longest = key.len();
            for found in compiled.find_iter(key) {
                // The search for the next match may read all that is left.
                budget.charge_search(states, key.len() - found.end())?;
                let of_groups = found.len().saturating_mul(variables);
                longest = longest
                    .saturating_add(regexp.target.len())
                    .saturating_add(of_groups);
            }
            budget.charge_search(states, key.len())?;
            budget.charge_entries(1, longest)
        };
        charge().map_err(|over| self::too_much(at, key, over))?;
        Ok(regex::replace_all(&compiled, key, &regexp.target))
    };
    rename(data, renamed)
}

/// Renders a template for each key.
fn by_template(
    at: usize,
    template: &str,
    data: SecretData,
    environment: &Environment<'_>,
    budget: &CompositionBudget,
) -> Result<SecretData, RewriteError> {
    let parsed = Template::parse("t", template);
    let renamed = |key: &str| {
        let rendered = parsed.as_ref().map_err(Clone::clone);
        let rendered = rendered
            .and_then(|template| template.render([("value", key.as_bytes())], environment))
            .map_err(|source| RewriteError::Transform {
                at,
                key: shortened(key),
                source,
            })?;
        let charged = budget.charge_entries(1, rendered.len());
        charged.map_err(|over| too_much(at, key, over))?;
        Ok(String::from_utf8_lossy(&rendered).into_owned())
    };
    rename(data, renamed)
}

/// The error of an operation that would go over the budget, at a key or a field of it.
fn too_much(at: usize, key: &str, over: OverBudget) -> RewriteError {
    RewriteError::TooMuch {
        at,
        key: shortened(key),
        over,
    }
}

fn rename(
    data: SecretData,
    renamed: impl Fn(&str) -> Result<String, RewriteError>,
) -> Result<SecretData, RewriteError> {
    data.into_iter()
        .map(|(key, value)| Ok((renamed(&key)?, value)))
        .collect()
}

/// The members of all values in one map. Those of `priority` keys are merged last, so that they win.
fn merged(
    at: usize,
    merge: &RewriteMerge,
    data: SecretData,
    budget: &CompositionBudget,
) -> Result<SecretData, RewriteError> {
    /// A value of one letter, `[1,1]`, takes about this many bytes as JSON in memory.
    const JSON_GROWTH: usize = 16;
    let is_json = merge.strategy == MergeStrategy::Json;
    if is_json && merge.into.is_empty() {
        return Err(RewriteError::NoInto(at));
    }
    let absent = merge.priority.iter().find(|key| !data.contains_key(*key));
    if let Some(key) = absent.filter(|_| merge.priority_policy == PriorityPolicy::Strict) {
        let key = key.clone();
        return Err(RewriteError::NoPriority { at, key });
    }
    let plain = data.keys().filter(|key| !merge.priority.contains(key));
    let order = plain.chain(&merge.priority);
    let (mut members, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for key in order {
        let Some(value) = data.get(key) else { continue };
        let bytes = value.expose().len().saturating_mul(JSON_GROWTH);
        let charged = budget.charge_bytes(bytes);
        charged.map_err(|over| too_much(at, key, over))?;
        let object: Map<String, Value> =
            serde_json::from_slice(value.expose()).map_err(|_| RewriteError::NotAnObject {
                at,
                key: key.clone(),
            })?;
        for (member, value) in object {
            if !seen.insert(member.clone()) && merge.conflict_policy == ConflictPolicy::Error {
                return Err(RewriteError::Conflict { at, member });
            }
            members.insert(member, value);
        }
    }
    if is_json {
        let mut data = data;
        let object: Map<String, Value> = members.into_iter().collect();
        let text = gotemplate::print_json(Value::Object(object));
        data.insert(merge.into.clone(), SecretValue::from(text.into_bytes()));
        return Ok(data);
    }
    let text = |value| match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => gotemplate::print_json(other),
    };
    let data = members
        .into_iter()
        .map(|(member, value)| (member, SecretValue::from(text(value).into_bytes())));
    Ok(data.collect())
}

#[cfg(test)]
mod tests {
    use gotemplate::MissingKey;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::secrets::shown;

    fn with(
        operations: &[Rewrite],
        data: SecretData,
        environment: &Environment<'_>,
    ) -> Result<SecretData, RewriteError> {
        rewrite(operations, data, environment, &CompositionBudget::default())
    }

    #[test]
    fn a_chain_that_makes_keys_longer_is_refused_before_it_is_made() {
        let longer = json!({"regexp": {"source": "(.+)", "target": "$1".repeat(10)}});
        let chain: Vec<Value> = std::iter::repeat_n(longer, 12).collect();
        check(
            json!(chain),
            &format!(
                "error: rewrite[6], for key `{}…`: the data would need 37891224 bytes with it; one ExternalSecret may use 33554432",
                "a.b".repeat(85).get(..253).unwrap()
            ),
        );
        let by_template = json!({"transform": {"template": "{{ repeat 10 .value }}"}});
        let chain: Vec<Value> = std::iter::repeat_n(by_template, 12).collect();
        let operations: Vec<Rewrite> = serde_json::from_value(json!(chain)).unwrap();
        let data = SecretData::from([("a".to_owned(), SecretValue::default())]);
        let error = with(&operations, data, &Environment::fixed()).unwrap_err();
        assert!(error.to_string().starts_with("rewrite["), "{error}");
        assert!(error.to_string().len() < 1_000, "{error}");
    }

    #[test]
    fn expressions_are_charged_for_their_states_times_the_key() {
        let operations = json!([{"regexp": {"source": "(x{100}){10}|b", "target": "c"}}]);
        let operations: Vec<Rewrite> = serde_json::from_value(operations).unwrap();
        let key = "b".repeat(100_000);
        let data = SecretData::from([(key, SecretValue::default())]);
        let error = with(&operations, data, &Environment::fixed()).unwrap_err();
        assert!(error.to_string().contains(" steps with it; one"), "{error}");
    }

    fn check(operations: Value, expected: &str) {
        let operations: Vec<Rewrite> = serde_json::from_value(operations).unwrap();
        let data = [
            (
                "a.b",
                r#"{"x": 1.50, "z": {"b": "<", "a": 10000000000000000}}"#,
            ),
            ("c", r#"{"x": null, "y": "text"}"#),
        ];
        let data =
            data.map(|(key, value)| (key.to_owned(), SecretValue::from(value.as_bytes().to_vec())));
        let environment = Environment::fixed().with_missing_key(MissingKey::Invalid);
        let text = match with(&operations, data.into(), &environment) {
            Ok(data) => shown(&data),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn keys_are_renamed() {
        let values = [
            r#"{"x": 1.50, "z": {"b": "<", "a": 10000000000000000}}"#,
            r#"{"x": null, "y": "text"}"#,
        ];
        let both = |one: &str, other: &str| format!("{one}={} {other}={}", values[0], values[1]);
        check(
            json!([{"regexp": {"source": "(.*)", "target": "my_$1"}}]),
            &both("my_a.b", "my_c"),
        );
        check(
            json!([{"regexp": {"source": "\\.", "target": "-"}}, {"transform": {"template": "{{ .value | upper }}"}}]),
            &both("A-B", "C"),
        );
        check(
            json!([{"transform": {"template": "{{ .other }}"}}]),
            &format!("<no value>={}", values[1]),
        );
        check(
            json!([{"regexp": {"source": "(", "target": ""}}]),
            "error: rewrite[0].regexp.source: missing closing )",
        );
        check(
            json!([{"regexp": {"source": "a", "target": ""}, "merge": {}}]),
            "error: rewrite[0] must have exactly one of `regexp`, `transform` and `merge`",
        );
    }

    #[test]
    fn values_are_merged() {
        check(
            json!([{"merge": {"conflictPolicy": "Ignore"}}]),
            r#"x= y=text z={"a":10000000000000000,"b":"\u003c"}"#,
        );
        check(
            json!([{"merge": {"conflictPolicy": "Ignore", "priority": ["a.b"], "strategy": "JSON", "into": "all"}}, {"regexp": {"source": "^[ac].?b?$", "target": "rest"}}]),
            r#"all={"x":1.5,"y":"text","z":{"a":10000000000000000,"b":"\u003c"}} rest={"x": null, "y": "text"}"#,
        );
        check(
            json!([{"merge": {}}]),
            "error: rewrite[0].merge: `x` stands in more than one value; `conflictPolicy: Ignore` takes the last",
        );
        check(
            json!([{"merge": {"priority": ["no"]}}]),
            "error: rewrite[0].merge: there is no key `no` of `priority`; `priorityPolicy: IgnoreNotFound` allows that",
        );
        check(
            json!([{"merge": {"conflictPolicy": "Ignore", "strategy": "JSON"}}]),
            "error: rewrite[0].merge: `into` is needed with `strategy: JSON`",
        );
        check(
            json!([{"merge": {"conflictPolicy": "Ignore"}}, {"merge": {}}]),
            "error: rewrite[1].merge: the value of `x` is not a JSON object",
        );
    }

    proptest! {
        /// An expression that matches nothing changes nothing, and one that matches everything is applied to each key.
        #[test]
        fn keys_that_do_not_match_stay(keys in proptest::collection::btree_set("[a-z]{1,6}", 0..8)) {
            let data: SecretData = keys.iter().map(|key| (key.clone(), SecretValue::from(key.clone().into_bytes()))).collect();
            let rename = |source: &str, target: &str| {
                let operation = serde_json::json!([{"regexp": {"source": source, "target": target}}]);
                let operations: Vec<Rewrite> = serde_json::from_value(operation).unwrap();
                with(&operations, data.clone(), &Environment::fixed()).unwrap()
            };
            prop_assert_eq!(rename("[0-9]+", "x"), data.clone());
            let renamed = rename("^(.*)$", "a-$1");
            prop_assert_eq!(renamed.len(), data.len());
            for (key, value) in &data {
                prop_assert_eq!(renamed.get(&format!("a-{key}")), Some(value));
            }
        }

        /// Objects that share no member are merged whole, whatever the order.
        #[test]
        fn a_merge_keeps_every_member(members in proptest::collection::btree_map("[a-z]{1,4}", "[a-z]{0,4}", 1..8)) {
            let object = |(key, value): (&String, &String)| {
                let text = serde_json::json!({key: value}).to_string();
                (format!("of-{key}"), SecretValue::from(text.into_bytes()))
            };
            let data: SecretData = members.iter().map(object).collect();
            let operations: Vec<Rewrite> = serde_json::from_value(serde_json::json!([{"merge": {}}])).unwrap();
            let merged = with(&operations, data, &Environment::fixed()).unwrap();
            let expected: SecretData = members.iter().map(|(key, value)| (key.clone(), SecretValue::from(value.clone().into_bytes()))).collect();
            prop_assert_eq!(merged, expected);
        }

        /// Any operation on any data ends in data or in an error.
        #[test]
        fn nothing_panics(source in "[a-c(|)*$^.\\\\]{0,6}", target in "[a$1{}]{0,5}", template in "[.{} a-z|]{0,12}", json in r#"[{}":a,0-9\[\]]{0,12}"#) {
            let data: SecretData = [("a".to_owned(), SecretValue::from(json.into_bytes()))].into();
            let operations: Vec<Rewrite> = serde_json::from_value(serde_json::json!([
                {"merge": {"priority": ["a"]}},
                {"regexp": {"source": source, "target": target}},
                {"transform": {"template": template}},
            ])).unwrap();
            for operation in operations {
                let _ = with(&[operation], data.clone(), &Environment::fixed());
            }
        }
    }
}

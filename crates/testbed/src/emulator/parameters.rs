//! Parameter Store: parameters with versions, read one by one, in tens, by path, and described.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answer, page, refusal, tag_list, tags_of};

/// The parameters of an account, by name.
#[derive(Debug, Default)]
pub(super) struct Parameters(BTreeMap<String, Parameter>);

#[derive(Debug, Default)]
struct Parameter {
    /// The first is version 1.
    values: Vec<String>,
    tags: BTreeMap<String, String>,
}

impl Parameters {
    pub(super) fn put(&mut self, name: &str, value: &str, tags: &[(&str, &str)]) {
        let parameter = self.0.entry(name.to_owned()).or_default();
        parameter.values.push(value.to_owned());
        let tags = tags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        parameter.tags.extend(tags);
    }

    pub(super) fn act(&mut self, action: &str, request: &Value) -> Answer {
        match action {
            "PutParameter" => {
                let name = request["Name"].as_str().unwrap_or_default();
                self.put(name, request["Value"].as_str().unwrap_or_default(), &[]);
                let parameter = self.0.entry(name.to_owned()).or_default();
                parameter.tags.extend(tags_of(request));
                Ok(json!({"Version": parameter.values.len()}))
            }
            "GetParameter" => {
                let name = request["Name"].as_str().unwrap_or_default();
                match self.value(name) {
                    Some(value) => Ok(json!({"Parameter": value})),
                    None if self
                        .0
                        .contains_key(name.split(':').next().unwrap_or_default()) =>
                    {
                        refusal("ParameterVersionNotFound", "")
                    }
                    None => refusal("ParameterNotFound", ""),
                }
            }
            "GetParameters" => {
                let names = request["Names"].as_array().cloned().unwrap_or_default();
                if names.len() > 10 {
                    return refusal("ValidationException", "more than 10 names");
                }
                let names = names.iter().filter_map(Value::as_str);
                let (found, missing): (Vec<_>, Vec<_>) = names
                    .map(|name| (name, self.value(name)))
                    .partition(|(_, value)| value.is_some());
                let found: Vec<_> = found.into_iter().filter_map(|(_, value)| value).collect();
                let missing: Vec<_> = missing.into_iter().map(|(name, _)| name).collect();
                Ok(json!({"Parameters": found, "InvalidParameters": missing}))
            }
            "GetParametersByPath" => {
                let path = request["Path"].as_str().unwrap_or_default();
                let (names, next) = page(self.below(path), request, 10);
                let found: Vec<_> = names.iter().filter_map(|name| self.value(name)).collect();
                Ok(json!({"Parameters": found, "NextToken": next}))
            }
            "DescribeParameters" => {
                let (names, next) = page(self.matching(request), request, 50);
                let found: Vec<_> = names.iter().map(|name| json!({"Name": name})).collect();
                Ok(json!({"Parameters": found, "NextToken": next}))
            }
            "ListTagsForResource" => {
                let id = request["ResourceId"].as_str().unwrap_or_default();
                match self.0.get(id) {
                    Some(parameter) => Ok(json!({"TagList": tag_list(&parameter.tags)})),
                    None => refusal("InvalidResourceId", ""),
                }
            }
            other => refusal("UnknownOperationException", other),
        }
    }

    /// The value of `name` or `name:version`.
    fn value(&self, name: &str) -> Option<Value> {
        let (name, version) = match name.split_once(':') {
            Some((name, version)) => (name, Some(version.parse::<usize>().ok()?)),
            None => (name, None),
        };
        let parameter = self.0.get(name)?;
        let version = version.unwrap_or(parameter.values.len());
        let value = parameter.values.get(version.checked_sub(1)?)?;
        Some(json!({"Name": name, "Value": value, "Version": version, "Type": "SecureString"}))
    }

    fn below(&self, path: &str) -> Vec<String> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let names = self.0.keys().filter(|name| name.starts_with(&prefix));
        names.cloned().collect()
    }

    fn matching(&self, request: &Value) -> Vec<String> {
        let filters = request["ParameterFilters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let passes = |name: &String, parameter: &Parameter, filter: &Value| {
            let values = filter["Values"].as_array().into_iter().flatten();
            let mut values = values.filter_map(Value::as_str);
            let key = filter["Key"].as_str().unwrap_or_default();
            match key.strip_prefix("tag:") {
                Some(tag) => {
                    values.any(|value| parameter.tags.get(tag).is_some_and(|is| is == value))
                }
                None => values.any(|path| self.below(path).contains(name)),
            }
        };
        let found = self.0.iter().filter(|(name, parameter)| {
            filters.iter().all(|filter| passes(name, parameter, filter))
        });
        found.map(|(name, _)| name.clone()).collect()
    }
}

//! Secrets Manager: secrets with versions and stages, read one by one, in batches, and listed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Answer, page, refusal, tag_list, tags_of};

/// The secrets of an account, by name.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    secrets: BTreeMap<String, Secret>,
    /// A version is seen only after this time.
    pub(super) lag: Duration,
}

/// Old versions are kept, so that they can be read by their id.
#[derive(Debug, Default)]
struct Secret {
    /// Each has `SecretString` or `SecretBinary`, and an id. The last is current, the one before it previous.
    versions: Vec<(String, Value)>,
    /// When the last one was put.
    put: Option<Instant>,
    tags: BTreeMap<String, String>,
    is_deleted: bool,
    /// Nobody may read it.
    is_denied: bool,
}

impl Secret {
    /// How many versions are seen by now.
    fn seen(&self, lag: Duration) -> usize {
        let is_new = self.put.is_some_and(|put| put.elapsed() < lag);
        match self.versions.len() {
            many @ 2.. if is_new => many - 1,
            seen => seen,
        }
    }

    /// The stages of the version at a place, by what is seen now. AWS moves both stages in one step, and so does
    /// this.
    fn stages(&self, at: usize, lag: Duration) -> Vec<&'static str> {
        match self.seen(lag).checked_sub(at) {
            Some(1) => vec!["AWSCURRENT"],
            Some(2) => vec!["AWSPREVIOUS"],
            _ => vec![],
        }
    }
}

/// As AWS makes it: six letters that are not in the name end it.
fn arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf")
}

impl Secrets {
    pub(super) fn put(&mut self, name: &str, value: &Value) {
        let secret = self.secrets.entry(name.to_owned()).or_default();
        if secret
            .versions
            .last()
            .is_some_and(|(_, last)| last == value)
        {
            return;
        }
        let id = format!("{:08}-0000-4000-8000-{:012}", secret.versions.len() + 1, 0);
        secret.versions.push((id, value.clone()));
        secret.put = Some(Instant::now());
    }

    pub(super) fn tag(&mut self, name: &str, tags: &[(&str, &str)]) {
        let tags = tags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.secrets.entry(name.to_owned()).or_default().tags = tags.collect();
    }

    pub(super) fn deny(&mut self, name: &str) {
        self.secrets.entry(name.to_owned()).or_default().is_denied = true;
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.secrets.remove(name);
    }

    /// Carries out an action. The permissions of the caller have been checked.
    pub(super) fn act(&mut self, action: &str, request: &Value) -> Answer {
        match action {
            "CreateSecret" => {
                let name = request["Name"].as_str().unwrap_or_default();
                if self.secrets.contains_key(name) {
                    return refusal("ResourceExistsException", name);
                }
                self.put(name, &value_of(request));
                self.secrets.entry(name.to_owned()).or_default().tags = tags_of(request);
                Ok(json!({"Name": name, "ARN": arn(name)}))
            }
            "PutSecretValue" => {
                let name = self.find(request["SecretId"].as_str().unwrap_or_default())?;
                self.put(&name, &value_of(request));
                let version = &self.secrets[&name].versions.last();
                Ok(json!({"Name": name, "VersionId": version.map(|(id, _)| id)}))
            }
            "DeleteSecret" => {
                let name = self.find(request["SecretId"].as_str().unwrap_or_default())?;
                if request["ForceDeleteWithoutRecovery"] == true {
                    self.remove(&name);
                } else {
                    self.secrets.entry(name.clone()).or_default().is_deleted = true;
                }
                Ok(json!({"Name": name}))
            }
            "GetSecretValue" => self.value(
                request["SecretId"].as_str().unwrap_or_default(),
                request["VersionId"].as_str(),
                request["VersionStage"].as_str(),
            ),
            "BatchGetSecretValue" => self.batch(request),
            "DescribeSecret" => {
                let name = self.find(request["SecretId"].as_str().unwrap_or_default())?;
                Ok(self.described(&name, "VersionIdsToStages"))
            }
            "ListSecrets" => {
                let (names, next) = page(self.matching(request), request, 100);
                let list = names.iter();
                let list = list.map(|name| self.described(name, "SecretVersionsToStages"));
                Ok(json!({"SecretList": list.collect::<Vec<_>>(), "NextToken": next}))
            }
            other => refusal("UnknownOperationException", other),
        }
    }

    /// The name of a secret by its name, its ARN, or its ARN without the last letters.
    fn find(&self, id: &str) -> Result<String, super::Refusal> {
        let resource = id.split(":secret:").nth(1);
        let names = [
            Some(id),
            resource,
            resource.and_then(|name| name.strip_suffix("-AbCdEf")),
        ];
        let found = names
            .into_iter()
            .flatten()
            .find(|name| self.secrets.contains_key(*name));
        match found {
            Some(name) => Ok(name.to_owned()),
            None => refusal(
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret.",
            ),
        }
    }

    fn value(&self, id: &str, version: Option<&str>, stage: Option<&str>) -> Answer {
        let name = self.find(id)?;
        let secret = &self.secrets[&name];
        if secret.is_deleted {
            return refusal(
                "InvalidRequestException",
                "You can't perform this operation on the secret because it was marked for deletion.",
            );
        }
        if secret.is_denied {
            return refusal("AccessDeniedException", "not for you");
        }
        let stage = stage.unwrap_or("AWSCURRENT");
        let found = secret
            .versions
            .iter()
            .enumerate()
            .rev()
            .find(|(at, (id, _))| {
                version.map_or_else(
                    || secret.stages(*at, self.lag).contains(&stage),
                    |version| version == id,
                )
            });
        let Some((at, (version, value))) = found else {
            return refusal(
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret value for the version.",
            );
        };
        let mut answer = value.clone();
        answer["Name"] = json!(name);
        answer["ARN"] = json!(arn(&name));
        answer["VersionId"] = json!(version);
        answer["VersionStages"] = json!(secret.stages(at, self.lag));
        Ok(answer)
    }

    fn batch(&self, request: &Value) -> Answer {
        let ids = request["SecretIdList"].as_array();
        if ids.is_some_and(|ids| ids.len() > 20) {
            return refusal("InvalidParameterException", "more than 20 ids");
        }
        let (ids, next) = match ids {
            Some(ids) => {
                let ids = ids.iter().filter_map(Value::as_str);
                (ids.map(str::to_owned).collect(), None)
            }
            None => page(self.matching(request), request, 20),
        };
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for id in ids {
            match self.value(&id, None, None) {
                Ok(value) => values.push(value),
                Err(refusal) => errors.push(json!({
                    "SecretId": id, "ErrorCode": refusal.code, "Message": refusal.message,
                })),
            }
        }
        Ok(json!({"SecretValues": values, "Errors": errors, "NextToken": next}))
    }

    /// The names that all filters let through.
    fn matching(&self, request: &Value) -> Vec<String> {
        let filters = request["Filters"].as_array().cloned().unwrap_or_default();
        let passes = |name: &str, secret: &Secret, filter: &Value| {
            let values = filter["Values"].as_array().into_iter().flatten();
            let mut values = values.filter_map(Value::as_str);
            match filter["Key"].as_str().unwrap_or_default() {
                "name" => values.any(|value| name.starts_with(value)),
                "tag-key" => {
                    values.any(|value| secret.tags.keys().any(|key| key.starts_with(value)))
                }
                "tag-value" => {
                    values.any(|value| secret.tags.values().any(|tag| tag.starts_with(value)))
                }
                _ => false,
            }
        };
        let found = self.secrets.iter().filter(|(name, secret)| {
            !secret.is_deleted && filters.iter().all(|filter| passes(name, secret, filter))
        });
        found.map(|(name, _)| name.clone()).collect()
    }

    fn described(&self, name: &str, versions: &str) -> Value {
        let secret = &self.secrets[name];
        let ids = secret.versions.iter().enumerate();
        let ids = ids.filter(|(at, _)| !secret.stages(*at, self.lag).is_empty());
        let ids: BTreeMap<&str, _> = ids
            .map(|(at, (id, _))| (id.as_str(), secret.stages(at, self.lag)))
            .collect();
        json!({"Name": name, "ARN": arn(name), "Tags": tag_list(&secret.tags), versions: ids})
    }
}

fn value_of(request: &Value) -> Value {
    let mut value = json!({});
    for key in ["SecretString", "SecretBinary"] {
        if !request[key].is_null() {
            value[key] = request[key].clone();
        }
    }
    value
}

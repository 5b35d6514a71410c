//! Talks to AWS: Parameter Store of Systems Manager.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::operation::describe_parameters::DescribeParametersOutput;
use aws_sdk_ssm::operation::get_parameters_by_path::GetParametersByPathOutput;
use aws_sdk_ssm::types::{Parameter, ParameterStringFilter, ResourceTypeForTagging};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::aws::call::{CallTarget, Caller};
use crate::aws::environment::AwsEnvironment;
use crate::aws::service::{SecretService, values_of};
use overlayd_core::aws::read_scheduler::{CallResult, Origin, ReadAnswer, SecretId};
use overlayd_core::aws::throttle::Api;
use overlayd_core::secrets::compose::LookupResult;
use overlayd_core::secrets::desired::Search;
use overlayd_core::secrets::provider_error::ProviderError;
use overlayd_core::secrets::search::{FoundValues, name_pattern, tags_as_json};
use overlayd_core::secrets::{SecretData, SecretValue};

/// Parameter Store in one region, as one identity.
#[derive(Debug)]
pub(super) struct ParameterStore {
    client: Client,
    caller: Caller,
}

/// A call of the service. All its actions take from one bucket.
fn target<'a>(action: &'static str, key: &'a str) -> CallTarget<'a> {
    CallTarget {
        api: Api::Parameter,
        action,
        key,
    }
}

impl ParameterStore {
    /// A client with the configuration of the caller's session, at the address of the environment if there is one.
    pub(super) fn new(environment: &AwsEnvironment, caller: Caller) -> Self {
        let mut service = aws_sdk_ssm::config::Builder::from(&caller.session.config);
        if let Some(endpoint) = &environment.parameter_store_endpoint {
            service = service.endpoint_url(endpoint);
        }
        Self {
            client: Client::from_conf(service.build()),
            caller,
        }
    }

    /// The value of a parameter, by its name with the version.
    async fn value(&self, name: &str) -> (ReadAnswer, Origin) {
        let answer = self.caller.call(target("ssm:GetParameter", name), || {
            let request = self.client.get_parameter().name(name);
            request.with_decryption(true).send()
        });
        match answer.await {
            Ok(Some(answer)) => match answer.parameter {
                Some(parameter) => given(name, parameter),
                None => (Err(no_value(name)), Origin::default()),
            },
            Ok(None) => (Ok(LookupResult::Missing), Origin::default()),
            Err(error) => (Err(error), Origin::default()),
        }
    }

    /// Reads up to ten parameters in one call. A name that the answer leaves out without saying why is left out here too,
    /// and is then read alone.
    async fn get_parameters(&self, groups: &[Vec<Arc<SecretId>>]) -> CallResult {
        let names: Vec<String> = groups.iter().map(|group| name_of(&group[0])).collect();
        let key = names.first().cloned().unwrap_or_default();
        let answer = self.caller.call(target("ssm:GetParameters", &key), || {
            let request = self.client.get_parameters();
            let request = request.set_names(Some(names.clone()));
            request.with_decryption(true).send()
        });
        let answer = match answer.await {
            Ok(Some(answer)) => answer,
            Ok(None) => return CallResult::Answers(Vec::new()),
            Err(error) => return CallResult::Failed(error),
        };
        let mut values: BTreeMap<String, Parameter> = BTreeMap::new();
        for parameter in answer.parameters.unwrap_or_default() {
            let name = parameter.name.clone().unwrap_or_default();
            let selector = parameter.selector.clone().unwrap_or_default();
            let arn = parameter.arn.clone().unwrap_or_default();
            // The answer has the name also where the request has the ARN.
            let asked = names.iter().find(|asked| {
                **asked == format!("{name}{selector}") || **asked == format!("{arn}{selector}")
            });
            values.insert(asked.cloned().unwrap_or(name), parameter);
        }
        let invalid = answer.invalid_parameters.unwrap_or_default();
        let mut answers = Vec::new();
        for (group, name) in groups.iter().zip(&names) {
            let (answer, origin) = match values.remove(name) {
                Some(parameter) => given(name, parameter),
                // The batch does not say whether the version or the parameter is missing. A call for it alone does.
                None if invalid.contains(name) && group[0].version.is_empty() => {
                    (Ok(LookupResult::Missing), Origin::default())
                }
                None => continue,
            };
            for secret in group {
                answers.push((secret.clone(), answer.clone(), origin.clone()));
            }
        }
        CallResult::Answers(answers)
    }

    /// The values below a path, whose names match. AWS filters by path alone, so every value below it is read.
    async fn find_by_path(&self, search: &Search) -> Result<SecretData, ProviderError> {
        let pattern = name_pattern(search)?;
        let path = search.path.as_deref().unwrap_or("/");
        let send = |token| {
            let request = self.client.get_parameters_by_path().path(path);
            let request = request.recursive(true).with_decryption(true);
            request.max_results(10).set_next_token(token).send()
        };
        let mut found = FoundValues::default();
        let take = |page: GetParametersByPathOutput| {
            for parameter in page.parameters.unwrap_or_default() {
                let (Some(name), Some(value)) = (parameter.name, parameter.value) else {
                    continue;
                };
                if pattern.is_match(&name) {
                    found.insert(name, SecretValue::from(value.into_bytes()))?;
                }
            }
            Ok(page.next_token)
        };
        let target = target("ssm:GetParametersByPath", path);
        self.caller.pages(target, send, take).await?;
        Ok(found.into_data())
    }

    /// The values whose names or tags match: lists the names first, which needs fewer rights than reading a whole path.
    async fn find_described(&self, search: &Search) -> Result<SecretData, ProviderError> {
        let pattern = name_pattern(search)?;
        let filters = Some(filters(search)?).filter(|filters| !filters.is_empty());
        let send = |token| {
            let request = self.client.describe_parameters().max_results(50);
            let request = request.set_parameter_filters(filters.clone());
            request.set_next_token(token).send()
        };
        let mut names = Vec::new();
        let take = |page: DescribeParametersOutput| {
            let described = page.parameters.unwrap_or_default().into_iter();
            names.extend(described.filter_map(|parameter| parameter.name));
            Ok(page.next_token)
        };
        let target = target("ssm:DescribeParameters", "*");
        self.caller.pages(target, send, take).await?;
        names.retain(|name| pattern.is_match(name));
        let read = async |name: String| {
            let (answer, _) = self.value(&name).await;
            (name, answer)
        };
        values_of(names, read).await
    }
}

/// `name`, or `name:version`.
fn name_of(secret: &SecretId) -> String {
    let SecretId { id, version } = secret;
    if version.is_empty() {
        id.clone()
    } else {
        format!("{id}:{version}")
    }
}

/// A parameter as the answer of a read, with the version that it has.
fn given(name: &str, parameter: Parameter) -> (ReadAnswer, Origin) {
    let origin = Origin {
        arn: parameter.arn,
        version_id: Some(parameter.version.to_string()),
    };
    match parameter.value {
        Some(text) => (
            Ok(LookupResult::Value(SecretValue::from(text.into_bytes()))),
            origin,
        ),
        None => (Err(no_value(name)), origin),
    }
}

/// AWS has answered without an error and without a value.
fn no_value(name: &str) -> ProviderError {
    ProviderError::Other {
        key: name.to_owned(),
        reason: "the answer holds no value".to_owned(),
    }
}

/// The filters of a search by path and tags. Names are matched here, since AWS knows no regular expressions.
///
/// # Errors
/// The SDK does not take a filter.
fn filters(search: &Search) -> Result<Vec<ParameterStringFilter>, ProviderError> {
    let filter = |key: String, option: &str, value: &str| {
        let filter = ParameterStringFilter::builder().key(key).option(option);
        filter
            .values(value)
            .build()
            .map_err(|_| ProviderError::Other {
                key: value.to_owned(),
                reason: "the search cannot be asked".to_owned(),
            })
    };
    let path = search.path.iter();
    let path = path.map(|path| filter("Path".to_owned(), "Recursive", path));
    let tags = search.tags.iter();
    let tags = tags.map(|(key, value)| filter(format!("tag:{key}"), "Equals", value));
    path.chain(tags).collect()
}

impl SecretService for ParameterStore {
    fn batch<'a>(&'a self, groups: &'a [Vec<Arc<SecretId>>]) -> BoxFuture<'a, CallResult> {
        self.get_parameters(groups).boxed()
    }

    fn single<'a>(&'a self, secret: &'a Arc<SecretId>) -> BoxFuture<'a, CallResult> {
        async move {
            let (answer, origin) = self.value(&name_of(secret)).await;
            CallResult::Answers(vec![(secret.clone(), answer, origin)])
        }
        .boxed()
    }

    fn list(&self, most_pages: usize) -> BoxFuture<'_, CallResult> {
        // No list of Parameter Store tells versions in fewer calls than batches read values.
        futures::future::ready(CallResult::ListTooLong { pages: most_pages }).boxed()
    }

    fn tags<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<LookupResult, ProviderError>> {
        async move {
            let answer = self.caller.call(target("ssm:ListTagsForResource", id), || {
                let request = self.client.list_tags_for_resource();
                let request = request.resource_type(ResourceTypeForTagging::Parameter);
                request.resource_id(id).send()
            });
            let Some(answer) = answer.await? else {
                return Ok(LookupResult::Missing);
            };
            let own = answer.tag_list.unwrap_or_default().into_iter();
            Ok(LookupResult::Value(tags_as_json(
                own.map(|tag| (tag.key, tag.value)),
            )))
        }
        .boxed()
    }

    fn find<'a>(
        &'a self,
        search: &'a Search,
    ) -> BoxFuture<'a, Result<LookupResult, ProviderError>> {
        async {
            if search.name.is_none() {
                return self.find_described(search).await.map(LookupResult::Found);
            }
            let found = match self.find_by_path(search).await {
                // Some policies allow DescribeParameters and GetParameter, but not GetParametersByPath.
                Err(ProviderError::AccessDenied { .. }) => {
                    let search = Search {
                        tags: BTreeMap::new(),
                        ..search.clone()
                    };
                    self.find_described(&search).await
                }
                result => result,
            };
            found.map(LookupResult::Found)
        }
        .boxed()
    }
}

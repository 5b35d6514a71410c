//! Talks to AWS: Parameter Store of Systems Manager.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{ParameterStringFilter, ResourceTypeForTagging};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use super::aws::{AwsEnvironment, classify, failed, has_credentials};
use super::{Provider, ProviderError, Validation};
use crate::api::secret_store::Capabilities;
use crate::metrics::Metrics;
use crate::secrets::compose::Answer;
use crate::secrets::desired::{Ask, Search};
use crate::secrets::{SecretData, SecretValue};

/// Parameter Store in one region, as one identity.
#[derive(Debug)]
pub(crate) struct ParameterStore {
    client: Client,
    config: SdkConfig,
    prefix: String,
    metrics: Arc<Metrics>,
}

/// How many parameters are read at once for one search.
const AT_ONCE: usize = 8;

impl ParameterStore {
    pub(crate) fn new(
        environment: &AwsEnvironment,
        config: SdkConfig,
        prefix: String,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut service = aws_sdk_ssm::config::Builder::from(&config);
        if let Some(endpoint) = &environment.parameter_store_endpoint {
            service = service.endpoint_url(endpoint);
        }
        Self {
            client: Client::from_conf(service.build()),
            config,
            prefix,
            metrics,
        }
    }

    fn count<T, E>(&self, call: &'static str, answer: &Result<T, E>) {
        self.metrics
            .provider_call("AWS/ParameterStore", call, answer.is_ok());
    }

    /// The value of a parameter, `name` or `name:version`; nothing if there is none.
    async fn value(&self, name: &str) -> Result<Option<SecretValue>, ProviderError> {
        let request = self.client.get_parameter().name(name).with_decryption(true);
        let answer = request.send().await;
        self.count("GetParameter", &answer);
        match answer {
            Ok(answer) => match answer.parameter.and_then(|parameter| parameter.value) {
                Some(text) => Ok(Some(SecretValue::from(text.into_bytes()))),
                None => Err(ProviderError::Other {
                    key: name.to_owned(),
                    reason: "the answer holds no value".to_owned(),
                }),
            },
            Err(error) => classify(name, "ssm:GetParameter", &error).map_or(Ok(None), Err),
        }
    }

    async fn tags(&self, name: &str) -> Result<Option<SecretValue>, ProviderError> {
        let request = self.client.list_tags_for_resource();
        let request = request
            .resource_type(ResourceTypeForTagging::Parameter)
            .resource_id(name);
        let answer = request.send().await;
        self.count("ListTagsForResource", &answer);
        match answer {
            Ok(answer) => {
                let tags = answer.tag_list.unwrap_or_default().into_iter();
                Ok(Some(super::tags(tags.map(|tag| (tag.key, tag.value)))))
            }
            Err(error) => classify(name, "ssm:ListTagsForResource", &error).map_or(Ok(None), Err),
        }
    }

    async fn find(&self, search: &Search) -> Result<SecretData, ProviderError> {
        if search.name.is_none() {
            return self.find_described(search).await;
        }
        match self.find_by_path(search).await {
            // Some policies allow to describe and to get, but not to get by path.
            Err(ProviderError::AccessDenied { .. }) => {
                let search = Search {
                    tags: std::collections::BTreeMap::new(),
                    ..search.clone()
                };
                self.find_described(&search).await
            }
            result => result,
        }
    }

    async fn find_by_path(&self, search: &Search) -> Result<SecretData, ProviderError> {
        let pattern = super::pattern(search)?;
        let path = search.path.as_deref().unwrap_or("/");
        let request = self.client.get_parameters_by_path();
        let request = request.path(path).recursive(true).with_decryption(true);
        let mut pages = request.max_results(10).into_paginator().send();
        let mut found = SecretData::new();
        while let Some(page) = pages.next().await {
            self.count("GetParametersByPath", &page);
            let page = page.map_err(|error| failed(path, "ssm:GetParametersByPath", &error))?;
            for parameter in page.parameters.unwrap_or_default() {
                let (Some(name), Some(value)) = (parameter.name, parameter.value) else {
                    continue;
                };
                if pattern.is_match(&name) {
                    found.insert(name, SecretValue::from(value.into_bytes()));
                }
            }
        }
        Ok(found)
    }

    async fn find_described(&self, search: &Search) -> Result<SecretData, ProviderError> {
        let pattern = super::pattern(search)?;
        let filters = filters(search)?;
        let request = self.client.describe_parameters().max_results(50);
        let request =
            request.set_parameter_filters(Some(filters).filter(|filters| !filters.is_empty()));
        let mut pages = request.into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            self.count("DescribeParameters", &page);
            let page = page.map_err(|error| failed("*", "ssm:DescribeParameters", &error))?;
            let described = page.parameters.unwrap_or_default().into_iter();
            names.extend(described.filter_map(|parameter| parameter.name));
        }
        names.retain(|name| pattern.is_match(name));
        let values = futures::stream::iter(names).map(async |name| {
            let value = self.value(&name).await?;
            // One that went between the list and the read was not found.
            Ok(value.map(|value| (name, value)))
        });
        let found: Vec<_> = values.buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}

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

impl Provider for ParameterStore {
    fn read<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, ProviderError>> {
        async move {
            let value = match ask {
                Ask::Value { key, version } if version.is_empty() => {
                    self.value(&format!("{}{key}", self.prefix)).await
                }
                Ask::Value { key, version } => {
                    let name = format!("{}{key}:{version}", self.prefix);
                    self.value(&name).await
                }
                Ask::Tags { key } => self.tags(&format!("{}{key}", self.prefix)).await,
                Ask::Find(search) => return self.find(search).await.map(Answer::Found),
            };
            value.map(|value| value.map_or(Answer::Missing, Answer::Value))
        }
        .boxed()
    }

    fn validate(&self) -> BoxFuture<'_, Result<Validation, ProviderError>> {
        async {
            has_credentials(&self.config)
                .await
                .map(|()| Validation::Ready)
        }
        .boxed()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ReadWrite
    }
}

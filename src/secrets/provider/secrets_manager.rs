//! Talks to AWS: Secrets Manager.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::types::{ApiErrorType, Filter, FilterNameStringType};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use super::aws::{AwsEnvironment, classify, failed, has_credentials};
use super::{Provider, ProviderError, Validation};
use crate::api::secret_store::Capabilities;
use crate::metrics::Metrics;
use crate::secrets::compose::Answer;
use crate::secrets::desired::{Ask, Search};
use crate::secrets::{SecretData, SecretValue};

/// Secrets Manager in one region, as one identity.
#[derive(Debug)]
pub(crate) struct SecretsManager {
    client: Client,
    config: SdkConfig,
    prefix: String,
    metrics: Arc<Metrics>,
}

/// How many secrets are read at once for one search.
const AT_ONCE: usize = 8;

impl SecretsManager {
    pub(crate) fn new(
        environment: &AwsEnvironment,
        config: SdkConfig,
        prefix: String,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut service = aws_sdk_secretsmanager::config::Builder::from(&config);
        if let Some(endpoint) = &environment.secrets_manager_endpoint {
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
            .provider_call("AWS/SecretsManager", call, answer.is_ok());
    }

    /// The value of a secret by its whole name; nothing if there is none.
    async fn value(&self, id: &str, version: &str) -> Result<Option<SecretValue>, ProviderError> {
        let mut request = self.client.get_secret_value().secret_id(id);
        request = match version.strip_prefix("uuid/") {
            Some(version_id) => request.version_id(version_id),
            None if version.is_empty() => request.version_stage("AWSCURRENT"),
            None => request.version_stage(version),
        };
        let answer = request.send().await;
        self.count("GetSecretValue", &answer);
        match answer {
            Ok(answer) => held(id, answer.secret_string, answer.secret_binary).map(Some),
            Err(error) => {
                classify(id, "secretsmanager:GetSecretValue", &error).map_or(Ok(None), Err)
            }
        }
    }

    /// The tags of a secret as a JSON object.
    async fn tags(&self, id: &str) -> Result<Option<SecretValue>, ProviderError> {
        let answer = self.client.describe_secret().secret_id(id).send().await;
        self.count("DescribeSecret", &answer);
        match answer {
            Ok(answer) => {
                let tags = answer.tags.unwrap_or_default().into_iter();
                Ok(Some(super::tags(
                    tags.filter_map(|tag| Some((tag.key?, tag.value?))),
                )))
            }
            Err(error) => {
                classify(id, "secretsmanager:DescribeSecret", &error).map_or(Ok(None), Err)
            }
        }
    }

    async fn find(&self, search: &Search) -> Result<SecretData, ProviderError> {
        // A batch gives the values at once, but knows no expression; names alone are cheaper to list first.
        if search.name.is_some() && search.path.is_none() {
            self.find_names(search).await
        } else {
            self.find_batches(search).await
        }
    }

    async fn find_names(&self, search: &Search) -> Result<SecretData, ProviderError> {
        const ACTION: &str = "secretsmanager:ListSecrets";
        let pattern = super::pattern(search)?;
        let filters = filters(search);
        let request = self.client.list_secrets().max_results(100);
        let request = request.set_filters(Some(filters).filter(|filters| !filters.is_empty()));
        let mut pages = request.into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            self.count("ListSecrets", &page);
            let page = page.map_err(|error| failed("*", ACTION, &error))?;
            let found = page.secret_list.unwrap_or_default().into_iter();
            names.extend(found.filter_map(|secret| secret.name));
        }
        names.retain(|name| pattern.is_match(name));
        let values = futures::stream::iter(names).map(async |name| {
            let value = self.value(&name, "").await?;
            // One that went between the list and the read was not found.
            Ok(value.map(|value| (name, value)))
        });
        let found: Vec<_> = values.buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn find_batches(&self, search: &Search) -> Result<SecretData, ProviderError> {
        const ACTION: &str = "secretsmanager:BatchGetSecretValue";
        let pattern = super::pattern(search)?;
        let request = self.client.batch_get_secret_value();
        let request = request.set_filters(Some(filters(search))).max_results(20);
        let mut pages = request.into_paginator().send();
        let mut found = SecretData::new();
        while let Some(page) = pages.next().await {
            self.count("BatchGetSecretValue", &page);
            let page = page.map_err(|error| failed("*", ACTION, &error))?;
            // A secret that could not be read must not look as if it were gone.
            if let Some(error) = page.errors.unwrap_or_default().into_iter().next() {
                return Err(refused(&error));
            }
            for secret in page.secret_values.unwrap_or_default() {
                let Some(name) = secret.name.filter(|name| pattern.is_match(name)) else {
                    continue;
                };
                let value = held(&name, secret.secret_string, secret.secret_binary)?;
                found.insert(name, value);
            }
        }
        Ok(found)
    }
}

/// The text of a secret, or its bytes.
fn held(
    id: &str,
    text: Option<String>,
    bytes: Option<aws_sdk_secretsmanager::primitives::Blob>,
) -> Result<SecretValue, ProviderError> {
    match (text, bytes) {
        (Some(text), _) => Ok(SecretValue::from(text.into_bytes())),
        (None, Some(blob)) => Ok(SecretValue::from(blob.into_inner())),
        (None, None) => Err(ProviderError::Other {
            key: id.to_owned(),
            reason: "the answer holds no value".to_owned(),
        }),
    }
}

/// The error of one secret in a batch. Its code and name alone are used.
fn refused(error: &ApiErrorType) -> ProviderError {
    let key = error.secret_id().unwrap_or_default().to_owned();
    let code = error.error_code().unwrap_or_default().to_owned();
    match code.as_str() {
        "AccessDeniedException" | "AccessDenied" => ProviderError::AccessDenied {
            key,
            action: "secretsmanager:GetSecretValue",
            code,
        },
        _ => ProviderError::Other { key, reason: code },
    }
}

fn filters(search: &Search) -> Vec<Filter> {
    let filter =
        |key: FilterNameStringType, value: &str| Filter::builder().key(key).values(value).build();
    let path = search.path.iter();
    let mut filters: Vec<Filter> = path
        .map(|path| filter(FilterNameStringType::Name, path))
        .collect();
    for (key, value) in &search.tags {
        filters.push(filter(FilterNameStringType::TagKey, key));
        filters.push(filter(FilterNameStringType::TagValue, value));
    }
    filters
}

impl Provider for SecretsManager {
    fn read<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, ProviderError>> {
        async move {
            let value = match ask {
                Ask::Value { key, version } => {
                    self.value(&format!("{}{key}", self.prefix), version).await
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

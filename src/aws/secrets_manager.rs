//! Talks to AWS: Secrets Manager.

use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::batch_get_secret_value::BatchGetSecretValueOutput;
use aws_sdk_secretsmanager::operation::list_secrets::ListSecretsOutput;
use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::{
    ApiErrorType, Filter, FilterNameStringType, SecretListEntry, SecretValueEntry,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::aws::call::{CallTarget, Caller};
use crate::aws::environment::AwsEnvironment;
use crate::aws::service::{SecretService, values_of};
use overlayd_core::aws::batch_answers::{BatchValue, batch_answers};
use overlayd_core::aws::error_code::error_of_code;
use overlayd_core::aws::read_scheduler::{CallResult, ListedSecret, Origin, ReadAnswer, SecretId};
use overlayd_core::aws::throttle::Api;
use overlayd_core::secrets::compose::LookupResult;
use overlayd_core::secrets::desired::Search;
use overlayd_core::secrets::provider_error::ProviderError;
use overlayd_core::secrets::search::{FoundValues, name_pattern, tags_as_json};
use overlayd_core::secrets::{SecretData, SecretValue};

/// Secrets Manager in one region, as one identity.
#[derive(Debug)]
pub(super) struct SecretsManager {
    client: Client,
    caller: Caller,
}

/// Secrets of a page.
const PAGE: i32 = 100;

/// The name of an action in the policies of IAM.
const GET: &str = "secretsmanager:GetSecretValue";
const BATCH_GET: &str = "secretsmanager:BatchGetSecretValue";
const DESCRIBE: &str = "secretsmanager:DescribeSecret";
const LIST: &str = "secretsmanager:ListSecrets";

/// A call of an API, since each API of the service has a quota of its own.
fn target<'a>(api: Api, action: &'static str, key: &'a str) -> CallTarget<'a> {
    CallTarget { api, action, key }
}

impl SecretsManager {
    /// A client with the configuration of the caller's session, at the address of the environment if there is one.
    pub(super) fn new(environment: &AwsEnvironment, caller: Caller) -> Self {
        let mut service = aws_sdk_secretsmanager::config::Builder::from(&caller.session.config);
        if let Some(endpoint) = &environment.secrets_manager_endpoint {
            service = service.endpoint_url(endpoint);
        }
        Self {
            client: Client::from_conf(service.build()),
            caller,
        }
    }

    /// The value of a secret.
    async fn value(&self, secret: &SecretId) -> (ReadAnswer, Origin) {
        let (id, version) = (&secret.id, &secret.version);
        let answer = self.caller.call(target(Api::Secret, GET, id), || {
            let request = self.client.get_secret_value().secret_id(id);
            let request = match version.strip_prefix("uuid/") {
                Some(version_id) => request.version_id(version_id),
                None if version.is_empty() => request.version_stage("AWSCURRENT"),
                None => request.version_stage(version),
            };
            request.send()
        });
        match answer.await {
            Ok(Some(answer)) => {
                let origin = Origin {
                    arn: answer.arn,
                    version_id: answer.version_id,
                };
                let value = value_of(id, answer.secret_string, answer.secret_binary);
                (value.map(LookupResult::Value), origin)
            }
            Ok(None) => (Ok(LookupResult::Missing), Origin::default()),
            Err(error) => (Err(error), Origin::default()),
        }
    }

    /// Reads up to twenty secrets in one call: always the current version, since a batch cannot ask for another.
    async fn batch_get(&self, groups: &[Vec<Arc<SecretId>>]) -> CallResult {
        let ids: Vec<String> = groups.iter().map(|group| group[0].id.clone()).collect();
        let key = ids.first().cloned().unwrap_or_default();
        let answer = self.caller.call(target(Api::Batch, BATCH_GET, &key), || {
            let request = self.client.batch_get_secret_value();
            request.set_secret_id_list(Some(ids.clone())).send()
        });
        match answer.await {
            Ok(Some(answer)) => CallResult::Answers(answers(groups, answer)),
            Ok(None) => CallResult::Answers(Vec::new()),
            Err(error) => CallResult::Failed(error),
        }
    }

    /// Lists which version of each secret has which stage, without a value. Ends after `most_pages` pages, because a
    /// longer list costs more than the reads that it would replace.
    async fn versions(&self, most_pages: usize) -> CallResult {
        let (mut all, mut token, mut pages) = (Vec::new(), None::<String>, 0);
        loop {
            if pages == most_pages {
                return CallResult::ListTooLong { pages: pages + 1 };
            }
            let page = self.caller.call(target(Api::List, LIST, "*"), || {
                let request = self.client.list_secrets().max_results(PAGE);
                request.set_next_token(token.clone()).send()
            });
            let page = match page.await {
                Ok(page) => page,
                Err(error) => return CallResult::Failed(error),
            };
            pages += 1;
            let Some(page) = page else { break };
            all.extend(page.secret_list.unwrap_or_default().into_iter().map(listed));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        CallResult::List {
            secrets: all,
            pages,
        }
    }

    /// The values whose names match a pattern: lists the names, then reads each secret that matches.
    async fn find_names(&self, search: &Search) -> Result<SecretData, ProviderError> {
        let pattern = name_pattern(search)?;
        let filters = filters(search);
        let filters = Some(filters).filter(|filters| !filters.is_empty());
        let send = |token| {
            let request = self.client.list_secrets().max_results(PAGE);
            let request = request.set_filters(filters.clone());
            request.set_next_token(token).send()
        };
        let mut names = Vec::new();
        let take = |page: ListSecretsOutput| {
            let found = page.secret_list.unwrap_or_default().into_iter();
            names.extend(found.filter_map(|secret| secret.name));
            Ok(page.next_token)
        };
        let target = target(Api::List, LIST, "*");
        self.caller.pages(target, send, take).await?;
        names.retain(|name| pattern.is_match(name));
        let read = async |id| {
            let secret = SecretId::current(id);
            let (answer, _) = self.value(&secret).await;
            (secret.id, answer)
        };
        values_of(names, read).await
    }

    /// The values that a search by path or tags finds, in batches.
    ///
    /// # Errors
    /// Also if one secret of a batch cannot be read, because it would look as if it were gone.
    async fn find_batches(&self, search: &Search) -> Result<SecretData, ProviderError> {
        let pattern = name_pattern(search)?;
        let send = |token| {
            let request = self.client.batch_get_secret_value().max_results(20);
            let request = request.set_filters(Some(filters(search)));
            request.set_next_token(token).send()
        };
        let mut found = FoundValues::default();
        let take = |page: BatchGetSecretValueOutput| {
            // A secret that could not be read must not look as if it were gone.
            if let Some(error) = page.errors.unwrap_or_default().into_iter().next() {
                let id = error.secret_id().unwrap_or_default();
                return Err(refused(&error, id).unwrap_or_else(|| ProviderError::Other {
                    key: id.to_owned(),
                    reason: error.error_code().unwrap_or_default().to_owned(),
                }));
            }
            for secret in page.secret_values.unwrap_or_default() {
                let Some(name) = secret.name.filter(|name| pattern.is_match(name)) else {
                    continue;
                };
                let value = value_of(&name, secret.secret_string, secret.secret_binary)?;
                found.insert(name, value)?;
            }
            Ok(page.next_token)
        };
        let target = target(Api::Batch, BATCH_GET, "*");
        self.caller.pages(target, send, take).await?;
        Ok(found.into_data())
    }
}

/// The answers of a batch, each for its secret.
fn answers(
    groups: &[Vec<Arc<SecretId>>],
    batch: BatchGetSecretValueOutput,
) -> Vec<(Arc<SecretId>, ReadAnswer, Origin)> {
    let values = batch.secret_values.unwrap_or_default();
    let errors = batch.errors.unwrap_or_default();
    // A secret that is asked by two ids may be answered twice, or once.
    let values: Vec<BatchValue> = values.into_iter().map(batch_value).collect();
    batch_answers(groups, &values, |id| {
        let error = errors.iter().find(|error| error.secret_id() == Some(id))?;
        Some(refused(error, id).map_or(Ok(LookupResult::Missing), Err))
    })
}

/// An entry of a batch, by its name.
fn batch_value(entry: SecretValueEntry) -> BatchValue {
    let id = entry.name.clone().unwrap_or_default();
    BatchValue {
        answer: value_of(&id, entry.secret_string, entry.secret_binary).map(LookupResult::Value),
        origin: Origin {
            arn: entry.arn,
            version_id: entry.version_id,
        },
        name: entry.name,
    }
}

/// The value of a secret: its text, or its bytes.
fn value_of(
    id: &str,
    text: Option<String>,
    bytes: Option<Blob>,
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

/// The error of a batch about one secret; nothing if it says that there is no such secret.
fn refused(error: &ApiErrorType, id: &str) -> Option<ProviderError> {
    let code = error.error_code().unwrap_or_default();
    error_of_code(id, GET, code, error.message().unwrap_or_default())
}

/// An entry of a list: the version of each stage.
fn listed(entry: SecretListEntry) -> ListedSecret {
    let mut stages = std::collections::BTreeMap::new();
    for (id, names) in entry.secret_versions_to_stages.unwrap_or_default() {
        stages.extend(names.into_iter().map(|stage| (stage, id.clone())));
    }
    ListedSecret {
        name: entry.name.unwrap_or_default(),
        arn: entry.arn.unwrap_or_default(),
        stages,
    }
}

/// The filters of a search. A filter by name matches prefixes, which is what a path is.
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

impl SecretService for SecretsManager {
    fn batch<'a>(&'a self, groups: &'a [Vec<Arc<SecretId>>]) -> BoxFuture<'a, CallResult> {
        self.batch_get(groups).boxed()
    }

    fn single<'a>(&'a self, secret: &'a Arc<SecretId>) -> BoxFuture<'a, CallResult> {
        async {
            let (answer, origin) = self.value(secret).await;
            CallResult::Answers(vec![(secret.clone(), answer, origin)])
        }
        .boxed()
    }

    fn list(&self, most_pages: usize) -> BoxFuture<'_, CallResult> {
        self.versions(most_pages).boxed()
    }

    fn tags<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<LookupResult, ProviderError>> {
        async move {
            let answer = self.caller.call(target(Api::Secret, DESCRIBE, id), || {
                self.client.describe_secret().secret_id(id).send()
            });
            let Some(answer) = answer.await? else {
                return Ok(LookupResult::Missing);
            };
            let own = answer.tags.unwrap_or_default().into_iter();
            let own = own.filter_map(|tag| Some((tag.key?, tag.value?)));
            Ok(LookupResult::Value(tags_as_json(own)))
        }
        .boxed()
    }

    fn find<'a>(
        &'a self,
        search: &'a Search,
    ) -> BoxFuture<'a, Result<LookupResult, ProviderError>> {
        async {
            // A batch gives the values at once, but knows no regular expression. Where names alone are searched, fewer calls
            // list them first.
            let found = if search.name.is_some() && search.path.is_none() {
                self.find_names(search).await
            } else {
                self.find_batches(search).await
            };
            found.map(LookupResult::Found)
        }
        .boxed()
    }
}

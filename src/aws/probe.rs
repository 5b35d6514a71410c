//! Talks to AWS: tries what policies must allow, without harm: values that are read on the way are dropped at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::aws::fetcher::Fetcher;
use crate::aws::reader::Reader;
use overlayd_core::aws::read_scheduler::{CallResult, SecretId};
use overlayd_core::aws::reader_key::{ReaderKey, Service};
use overlayd_core::aws::usage::Usage;
use overlayd_core::secrets::desired::Lookup;
use overlayd_core::secrets::provider_error::{Class, ProviderError};

/// What came of trying an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProbeOutcome {
    Allowed,
    Denied,
    /// It could not be answer.
    Unknown(String),
}

/// What was tried: an action, on an id or on everything (`*`).
pub(crate) type ProbedAction = (&'static str, String);

/// Tries every action once for each id, as each identity.
pub(crate) async fn probe(
    fetcher: &Fetcher,
    usage: &Usage,
) -> BTreeMap<ReaderKey, BTreeMap<ProbedAction, ProbeOutcome>> {
    let (asked, _) = usage.asked();
    let mut wanted: BTreeMap<&ReaderKey, BTreeSet<&Lookup>> = BTreeMap::new();
    for asked in &asked {
        wanted.entry(&asked.key).or_default().insert(&asked.ask);
    }
    let mut all = BTreeMap::new();
    for (key, asks) in wanted {
        let reader = fetcher.reader(key).await;
        let mut tried = BTreeMap::new();
        match reader.session.credentials.get().await {
            Err(error) => {
                let trial = ("sts:AssumeRole", "*".to_owned());
                tried.insert(trial, ProbeOutcome::Unknown(error.to_string()));
            }
            Ok(_) => {
                for ask in asks {
                    try_one(&reader, ask, &mut tried).await;
                }
                if key.service == Service::SecretsManager {
                    let result = reader.service.list(1).await;
                    let trial = ("secretsmanager:ListSecrets", "*".to_owned());
                    tried.insert(trial, of_call(&result));
                }
            }
        }
        all.insert(key.clone(), tried);
    }
    all
}

async fn try_one(
    reader: &Arc<Reader>,
    ask: &Lookup,
    tried: &mut BTreeMap<ProbedAction, ProbeOutcome>,
) {
    let (get, batch, tags) = match reader.key.service {
        Service::SecretsManager => (
            "secretsmanager:GetSecretValue",
            "secretsmanager:BatchGetSecretValue",
            "secretsmanager:DescribeSecret",
        ),
        Service::ParameterStore => (
            "ssm:GetParameter",
            "ssm:GetParameters",
            "ssm:ListTagsForResource",
        ),
    };
    match ask {
        Lookup::Value { key, version } => {
            let secret = Arc::new(SecretId::new(key, version));
            let result = reader.service.batch(&[vec![secret.clone()]]).await;
            let place = match reader.key.service {
                Service::SecretsManager => "*".to_owned(),
                Service::ParameterStore => key.clone(),
            };
            tried.insert((batch, place), of_call(&result));
            // What the batch says of the one tells whether it may be read; otherwise it is asked alone.
            let of_one = match result {
                CallResult::Answers(answers) if !answers.is_empty() => CallResult::Answers(answers),
                _ => reader.service.single(&secret).await,
            };
            tried.insert((get, key.clone()), of_answer(&of_one));
        }
        Lookup::Tags { key } => {
            let answer = reader.service.tags(key).await;
            tried.insert((tags, key.clone()), of_result(answer.err()));
        }
        // A search would read every value that it finds.
        Lookup::Find(_) => {}
    }
}

fn of_call(result: &CallResult) -> ProbeOutcome {
    match result {
        CallResult::Failed(error) => of_result(Some(error.clone())),
        _ => ProbeOutcome::Allowed,
    }
}

fn of_answer(result: &CallResult) -> ProbeOutcome {
    match result {
        CallResult::Failed(error) => of_result(Some(error.clone())),
        CallResult::Answers(answers) => {
            let error = answers
                .iter()
                .find_map(|(_, answer, _)| answer.as_ref().err());
            of_result(error.cloned())
        }
        _ => ProbeOutcome::Allowed,
    }
}

fn of_result(error: Option<ProviderError>) -> ProbeOutcome {
    match error {
        None => ProbeOutcome::Allowed,
        Some(error) if error.class() == Class::Denied => ProbeOutcome::Denied,
        Some(error) => ProbeOutcome::Unknown(error.to_string()),
    }
}

//! Talks to AWS: tries the actions that policies must allow. Nothing is changed, and values that are read are dropped at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::aws::fetcher::Fetcher;
use crate::aws::reader::Reader;
use overlayd_core::aws::read_scheduler::{CallResult, SecretId};
use overlayd_core::aws::reader_key::{ReaderKey, Service};
use overlayd_core::aws::usage::Usage;
use overlayd_core::secrets::desired::Lookup;
use overlayd_core::secrets::provider_error::{Class, ProviderError};

/// The result of trying an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProbeOutcome {
    /// The call worked.
    Allowed,
    /// A policy denies the action.
    Denied,
    /// The call failed for another reason.
    Unknown(String),
}

/// An action, and the id that it was tried on; `*` for an action without resources.
pub(crate) type ProbedAction = (&'static str, String);

/// Tries every action once for each id, as each identity.
pub(crate) async fn probe(
    fetcher: &Fetcher,
    usage: &Usage,
) -> BTreeMap<ReaderKey, BTreeMap<ProbedAction, ProbeOutcome>> {
    let (reads, _) = usage.reads();
    let mut wanted: BTreeMap<&ReaderKey, BTreeSet<&Lookup>> = BTreeMap::new();
    for read in &reads {
        wanted.entry(&read.key).or_default().insert(&read.lookup);
    }
    let mut all = BTreeMap::new();
    for (key, lookups) in wanted {
        let reader = fetcher.reader(key).await;
        let mut tried = BTreeMap::new();
        match reader.session.credentials.get().await {
            Err(error) => {
                let action = ("sts:AssumeRole", "*".to_owned());
                tried.insert(action, ProbeOutcome::Unknown(error.to_string()));
            }
            Ok(_) => {
                for lookup in lookups {
                    try_one(&reader, lookup, &mut tried).await;
                }
                if key.service == Service::SecretsManager {
                    let result = reader.service.list(1).await;
                    let action = ("secretsmanager:ListSecrets", "*".to_owned());
                    tried.insert(action, of_call(&result));
                }
            }
        }
        all.insert(key.clone(), tried);
    }
    all
}

/// Tries the actions that one lookup needs, and notes their outcomes.
async fn try_one(
    reader: &Arc<Reader>,
    lookup: &Lookup,
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
    match lookup {
        Lookup::Value { key, version } => {
            let secret = Arc::new(SecretId::new(key, version));
            let result = reader.service.batch(&[vec![secret.clone()]]).await;
            let place = match reader.key.service {
                Service::SecretsManager => "*".to_owned(),
                Service::ParameterStore => key.clone(),
            };
            tried.insert((batch, place), of_call(&result));
            // The batch tells of each secret whether it may be read. A secret that it leaves out is read alone.
            let of_secret = match result {
                CallResult::Answers(answers) if !answers.is_empty() => CallResult::Answers(answers),
                _ => reader.service.single(&secret).await,
            };
            tried.insert((get, key.clone()), of_answer(&of_secret));
        }
        Lookup::Tags { key } => {
            let answer = reader.service.tags(key).await;
            tried.insert((tags, key.clone()), of_result(answer.err()));
        }
        // A search would read every value that it finds.
        Lookup::Find(_) => {}
    }
}

/// The outcome of an action on the call as a whole.
fn of_call(result: &CallResult) -> ProbeOutcome {
    match result {
        CallResult::Failed(error) => of_result(Some(error.clone())),
        _ => ProbeOutcome::Allowed,
    }
}

/// The outcome of an action on the secrets of a call.
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

/// An error of the class `Denied` is a denial; every other error says nothing about rights.
fn of_result(error: Option<ProviderError>) -> ProbeOutcome {
    match error {
        None => ProbeOutcome::Allowed,
        Some(error) if error.class() == Class::Denied => ProbeOutcome::Denied,
        Some(error) => ProbeOutcome::Unknown(error.to_string()),
    }
}

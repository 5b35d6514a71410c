//! Pure: which answer of a batch belongs to which secret.
//!
//! `BatchGetSecretValue` answers with names and whole ARNs, in any order, and leaves secrets out:
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_BatchGetSecretValue.html>.

use std::sync::Arc;

use crate::aws::arn::{answer_to, is_same_secret};
use crate::aws::read_scheduler::{Origin, ReadAnswer, SecretId};

/// One secret of an answer.
#[derive(Debug)]
pub struct BatchValue {
    /// The name of the secret.
    pub name: Option<String>,
    /// Its whole ARN, and the version that was read.
    pub origin: Origin,
    /// Its value.
    pub answer: ReadAnswer,
}

/// The answer for each secret of a batch. `error_of` gives what the batch says of an id instead of a value. A secret about
/// which the batch says nothing is left out.
pub fn batch_answers(
    groups: &[Vec<Arc<SecretId>>],
    values: &[BatchValue],
    error_of: impl Fn(&str) -> Option<ReadAnswer>,
) -> Vec<(Arc<SecretId>, ReadAnswer, Origin)> {
    let mut answers = Vec::new();
    for group in groups {
        let Some(first) = group.first() else { continue };
        let value = answer_to(
            &first.id,
            values,
            |value| value.name.as_deref(),
            |value| value.origin.arn.as_deref(),
        );
        let answer = match value {
            Some(value) => Some((value.answer.clone(), value.origin.clone())),
            None => error_of(&first.id).map(|answer| (answer, Origin::default())),
        };
        let Some((answer, origin)) = answer else {
            continue;
        };
        // The ids of a group meant one secret before. Those that mean another by now are left out.
        let same = group.iter().filter(|secret| {
            secret.id == first.id || value.is_some_and(|value| is_of(value, secret))
        });
        answers.extend(same.map(|secret| (secret.clone(), answer.clone(), origin.clone())));
    }
    answers
}

/// True if an id means the secret of an answer.
fn is_of(value: &BatchValue, secret: &SecretId) -> bool {
    let arn = value.origin.arn.as_deref();
    value.name.as_deref() == Some(&secret.id)
        || arn.is_some_and(|arn| is_same_secret(arn, &secret.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::compose::LookupResult;
    use crate::secrets::provider_error::ProviderError;

    const ARN: &str = "arn:aws:secretsmanager:r:1:secret:a-AbCdEf";

    /// `groups` are ids, with `=` between those of one group. The batch has the secret `a`, and an error for `denied`.
    #[track_caller]
    fn check(groups: &[&str], expected: &[&str]) {
        let group = |ids: &&str| {
            let ids = ids.split('=').map(|id| Arc::new(SecretId::current(id)));
            ids.collect::<Vec<_>>()
        };
        let groups: Vec<_> = groups.iter().map(group).collect();
        let value = BatchValue {
            name: Some("a".to_owned()),
            origin: Origin {
                arn: Some(ARN.to_owned()),
                version_id: Some("v1".to_owned()),
            },
            answer: Ok(LookupResult::Missing),
        };
        let error = |id: &str| {
            (id == "denied").then(|| {
                Err(ProviderError::Other {
                    key: id.to_owned(),
                    reason: "no".to_owned(),
                })
            })
        };
        let answers = batch_answers(&groups, &[value], error);
        let text = answers.iter().map(|(secret, answer, origin)| {
            let version = origin.version_id.as_deref().unwrap_or("-");
            format!("{} {version} {}", secret.id, answer.is_ok())
        });
        assert_eq!(text.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_id_gets_the_answer_of_its_secret() {
        check(&["a"], &["a v1 true"]);
        check(
            &["a=arn:aws:secretsmanager:r:1:secret:a"],
            &["a v1 true", "arn:aws:secretsmanager:r:1:secret:a v1 true"],
        );
        check(&["denied", "a"], &["denied - false", "a v1 true"]);
    }

    #[test]
    fn a_secret_that_the_batch_does_not_mention_is_left_out() {
        check(&["b"], &[]);
        // This id meant the secret `a` when the batch was made.
        check(&["a=b"], &["a v1 true"]);
    }
}

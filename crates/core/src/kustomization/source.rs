//! Pure: a Kustomization whose source has no commit in service.

use kube::Resource as _;

use crate::api::git_repository::GitRepository;
use crate::api::kustomization::{Kustomization, KustomizationStatus};
use crate::kustomization::is_ready;

/// Why a source has no commit in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbsentSource {
    /// There is no such source.
    Missing,
    /// The source has not fetched anything since it was created.
    NothingFetched,
    /// The source has fetched before, and this process, which has just begun, has not yet.
    NotFetchedAgain,
}

impl AbsentSource {
    /// Decides by the object of the source, as the API server has it.
    pub fn of(source: Option<&GitRepository>) -> Self {
        let artifact = |source: &GitRepository| source.status.as_ref()?.artifact.clone();
        match source {
            None => Self::Missing,
            Some(source) if artifact(source).is_some() => Self::NotFetchedAgain,
            Some(_) => Self::NothingFetched,
        }
    }

    /// True if the status of a Kustomization still holds, so that a restart of the process does not make it unready: it
    /// is ready for its present specification, and its source will be in service again.
    pub fn keeps_status(self, object: &Kustomization, status: &KustomizationStatus) -> bool {
        let is_current = object.meta().generation == Some(status.observed_generation);
        self == Self::NotFetchedAgain && is_current && is_ready(status)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kustomization::fixture::kustomization;

    fn source(status: &Value) -> GitRepository {
        serde_json::from_value(json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "metadata": {"name": "repo", "namespace": "team"},
            "spec": {"url": "https://git.example/app.git", "interval": "5m"},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_missing_source_a_new_one_and_a_restart_are_told_apart() {
        let check = |source: Option<GitRepository>, expected: AbsentSource| {
            assert_eq!(AbsentSource::of(source.as_ref()), expected);
        };
        check(None, AbsentSource::Missing);
        check(Some(source(&json!({}))), AbsentSource::NothingFetched);
        let artifact = json!({"path": "p", "url": "u", "revision": "main@sha1:a", "lastUpdateTime": "2026-01-01T00:00:00Z"});
        let fetched = source(&json!({"artifact": artifact}));
        check(Some(fetched), AbsentSource::NotFetchedAgain);
    }

    #[test]
    fn only_a_restart_keeps_a_status_and_only_that_of_the_present_spec() {
        let ready = |status: &str, generation: i64| {
            let status = json!({
                "observedGeneration": generation,
                "conditions": [{"type": "Ready", "status": status, "reason": "R", "message": "m",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            });
            kustomization("app", &json!({}), &status)
        };
        let check = |absent: AbsentSource, object: Kustomization, expected: bool| {
            let status = object.status.clone().unwrap_or_default();
            assert_eq!(absent.keeps_status(&object, &status), expected);
        };
        check(AbsentSource::NotFetchedAgain, ready("True", 1), true);
        check(AbsentSource::NotFetchedAgain, ready("True", 0), false);
        check(AbsentSource::NotFetchedAgain, ready("False", 1), false);
        check(AbsentSource::NothingFetched, ready("True", 1), false);
        check(AbsentSource::Missing, ready("True", 1), false);
    }
}

//! Health by the CEL expressions that a Kustomization gives for a kind in `healthCheckExprs`, as in Flux.

use serde_json::Value;

use crate::expression::{Expression, ExpressionError};
use overlayd_core::api::kustomization::HealthCheckExpression;
use overlayd_core::apply::health::{Health, Report, report, waiting};

/// An expression of `healthCheckExprs` that cannot be read. Its cause is part of the text, which a condition shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`healthCheckExprs[].{field}`: {error}")]
pub(crate) struct HealthExpressionError {
    field: &'static str,
    error: ExpressionError,
}

/// The expressions for the objects of one kind, or of a whole group.
#[derive(Debug, Clone)]
pub(crate) struct Custom {
    group: String,
    kind: Option<String>,
    /// In the order in which they are asked; the first that holds decides.
    checks: Vec<(Health, Expression)>,
}

impl Custom {
    /// Reads the expressions.
    ///
    /// # Errors
    /// The first expression that cannot be read.
    pub(crate) fn new(given: &HealthCheckExpression) -> Result<Self, HealthExpressionError> {
        let texts = [
            (
                Health::InProgress,
                "inProgress",
                given.in_progress.as_deref(),
            ),
            (Health::Failed, "failed", given.failed.as_deref()),
            (Health::Current, "current", Some(given.current.as_str())),
        ];
        let mut checks = Vec::new();
        for (health, name, text) in texts {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                let expression = Expression::parse(text);
                let expression =
                    expression.map_err(|error| HealthExpressionError { field: name, error })?;
                checks.push((health, expression));
            }
        }
        Ok(Self {
            group: group(&given.api_version).to_owned(),
            kind: given.kind.clone().filter(|kind| !kind.is_empty()),
            checks,
        })
    }

    /// True for an object of the group and kind that the expressions name.
    pub(crate) fn is_for(&self, object: &Value) -> bool {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let kind = self.kind.as_deref();
        group(text("apiVersion")) == self.group && kind.is_none_or(|kind| kind == text("kind"))
    }

    /// The health of an object. An expression that cannot be evaluated leaves it in progress, so that a rollout waits.
    pub(crate) async fn health(&self, object: &Value) -> Report {
        let observed = object["status"]["observedGeneration"].as_i64();
        if observed.is_some_and(|observed| object["metadata"]["generation"] != observed) {
            return waiting("its controller has not seen the last change yet");
        }
        let fields = object.as_object().cloned().unwrap_or_default();
        for (health, expression) in &self.checks {
            match expression.holds(fields.clone().into_iter().collect()).await {
                Ok(true) if *health == Health::Current => return report(*health, ""),
                Ok(true) => return report(*health, "so says its expression in `healthCheckExprs`"),
                Ok(false) => {}
                Err(error) => return waiting(format!("`healthCheckExprs`: {error}")),
            }
        }
        waiting("none of its expressions in `healthCheckExprs` holds")
    }
}

/// The group of an API version; empty for the core group.
fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

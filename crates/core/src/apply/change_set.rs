//! Pure: what became of the objects of a plan.

use std::fmt;

use crate::apply::object_ref::ObjectRef;
use crate::apply::plan::Desired;

/// What happened to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Created,
    Configured,
    Unchanged,
    Deleted,
    /// Left as it is, and why.
    Skipped(&'static str),
    /// Others have changed it, and it was left as it is; in what.
    Drifted(Vec<String>),
}

/// What happened, object by object.
#[derive(Debug, Clone, Default)]
pub struct ChangeSet(pub Vec<(ObjectRef, Change)>);

/// Why an apply stopped.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{}", failures(.0))]
    Refused(Vec<ObjectFailure>),
    #[error("{} to prune: {}", count(.0.len()), failures(.0))]
    Prune(Vec<ObjectFailure>),
    #[error("timed out waiting for {0}")]
    NotEstablished(String),
}

/// One object that the API server did not take.
#[derive(Debug)]
pub struct ObjectFailure {
    pub object: ObjectRef,
    pub source: Option<String>,
    pub reason: String,
}

impl ObjectFailure {
    pub fn new(desired: &Desired, reason: String) -> Self {
        Self {
            object: desired.reference.clone(),
            source: desired.source.clone(),
            reason,
        }
    }
}

fn count(objects: usize) -> String {
    format!(
        "{objects} object{} failed",
        if objects == 1 { "" } else { "s" }
    )
}

fn failures(failures: &[ObjectFailure]) -> String {
    failures
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

impl fmt::Display for ObjectFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.object)?;
        if let Some(source) = &self.source {
            write!(formatter, " (from {source})")?;
        }
        write!(formatter, ": {}", self.reason)
    }
}

impl ChangeSet {
    /// The objects that were left as they are.
    pub fn left(&self) -> impl Iterator<Item = &ObjectRef> {
        let left = self
            .0
            .iter()
            .filter(|(_, change)| matches!(change, Change::Skipped(_) | Change::Drifted(_)));
        left.map(|(object, _)| object)
    }

    /// The objects that were really changed, one per line, as Flux reports them.
    pub fn describe_changes(&self) -> String {
        let changed = self.0.iter().filter(|(_, change)| {
            !matches!(
                change,
                Change::Unchanged | Change::Skipped(_) | Change::Drifted(_)
            )
        });
        changed
            .map(|(object, change)| format!("{object} {change}"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::Skipped(_) => "skipped",
            Self::Drifted(_) => "drifted",
        })
    }
}

//! Pure: the result of a plan, object by object.

use std::fmt;

use crate::apply::desired::Desired;
use crate::apply::object_ref::ObjectRef;
use crate::apply::ownership::Conflict;
use crate::apply::skip::Skip;

/// What happened to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectChange {
    /// It did not exist.
    Created,
    /// It existed and was changed.
    Configured,
    /// It is as it was.
    Unchanged,
    /// It is deleted, or did not exist.
    Deleted,
    /// It was left as it is, for this reason.
    Skipped(Skip),
    /// Other managers have changed it, in these fields, and it was left as it is.
    Drifted(Vec<String>),
}

/// What happened, object by object, in the order of execution.
#[derive(Debug, Clone, Default)]
pub struct ChangeSet(pub Vec<(ObjectRef, ObjectChange)>);

/// Why an apply stopped.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server refused objects.
    #[error("{}", failures(.0))]
    Refused(Vec<ObjectFailure>),
    /// Objects could not be deleted.
    #[error("{} to prune: {}", count(.0.len()), failures(.0))]
    Prune(Vec<ObjectFailure>),
    /// A definition or namespace did not become usable in time.
    #[error("timed out waiting for {0}")]
    NotEstablished(ObjectRef),
}

/// An object that could not be applied or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFailure {
    /// The object.
    pub object: ObjectRef,
    /// The file that it was rendered from.
    pub source: Option<String>,
    /// The reason in words, without values of Secrets.
    pub reason: String,
    /// The account has no right to it.
    pub is_denied: bool,
}

impl ObjectFailure {
    /// The failure of a rendered object.
    pub fn new(desired: &Desired, reason: String) -> Self {
        Self {
            object: desired.reference.clone(),
            source: desired.source.clone(),
            reason,
            is_denied: false,
        }
    }
}

impl From<&Conflict> for ObjectFailure {
    fn from(conflict: &Conflict) -> Self {
        Self {
            object: conflict.object.clone(),
            source: conflict.source.clone(),
            reason: conflict.to_string(),
            is_denied: false,
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
        let left = self.0.iter().filter(|(_, change)| {
            matches!(change, ObjectChange::Skipped(_) | ObjectChange::Drifted(_))
        });
        left.map(|(object, _)| object)
    }

    /// The objects that ask to be left as they are, each with its reason: `ConfigMap/n/a: reason`.
    pub fn opt_outs(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|(object, change)| match change {
            ObjectChange::Skipped(skip) if skip.is_opt_out() => Some(format!("{object}: {skip}")),
            _ => None,
        })
    }

    /// The objects that drifted and were left, each with its fields: `ConfigMap/n/a: data.key: a → b, …`.
    pub fn drifted(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|(object, change)| match change {
            ObjectChange::Drifted(fields) => Some(format!("{object}: {}", fields.join(", "))),
            _ => None,
        })
    }

    /// The objects that were changed, one per line, as Flux reports them: `ConfigMap/n/a created`.
    pub fn describe_changes(&self) -> String {
        let changed = self.0.iter().filter(|(_, change)| {
            !matches!(
                change,
                ObjectChange::Unchanged | ObjectChange::Skipped(_) | ObjectChange::Drifted(_)
            )
        });
        changed
            .map(|(object, change)| format!("{object} {change}"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl fmt::Display for ObjectChange {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NamespacedName;

    fn object(name: &str) -> ObjectRef {
        ObjectRef::new("v1", "ConfigMap", "n", name)
    }

    fn changes() -> ChangeSet {
        let fields = ["data.a: 1 → 2", "data.b: 3 → 4"].map(str::to_owned);
        ChangeSet(vec![
            (object("new"), ObjectChange::Created),
            (object("other"), ObjectChange::Configured),
            (object("same"), ObjectChange::Unchanged),
            (object("gone"), ObjectChange::Deleted),
            (object("out"), ObjectChange::Skipped(Skip::SsaIgnore)),
            (object("once"), ObjectChange::Skipped(Skip::IfNotPresent)),
            (object("drift"), ObjectChange::Drifted(fields.to_vec())),
        ])
    }

    #[test]
    fn an_event_lists_what_changed() {
        assert_eq!(
            changes().describe_changes(),
            "ConfigMap/n/new created\nConfigMap/n/other configured\nConfigMap/n/gone deleted"
        );
    }

    #[test]
    fn objects_that_were_left_are_listed_with_their_reason() {
        let changes = changes();
        let left: Vec<_> = changes.left().map(|object| object.name.as_str()).collect();
        assert_eq!(left, ["out", "once", "drift"]);
        let opt_outs: Vec<_> = changes.opt_outs().collect();
        assert_eq!(opt_outs, ["ConfigMap/n/out: `ssa: Ignore` is set on it"]);
        let drifted: Vec<_> = changes.drifted().collect();
        assert_eq!(drifted, ["ConfigMap/n/drift: data.a: 1 → 2, data.b: 3 → 4"]);
    }

    #[test]
    fn failures_name_the_object_and_its_file() {
        let conflict = Conflict {
            object: object("a"),
            source: Some("a.yaml".to_owned()),
            owner: NamespacedName::new("team", "other"),
        };
        let failure = ObjectFailure::from(&conflict);
        let text = failure.to_string();
        assert!(
            text.starts_with(
                "ConfigMap/n/a (from a.yaml): Kustomization `team/other` applies it too;"
            ),
            "{text}"
        );
        let simple = ObjectFailure {
            object: object("b"),
            source: None,
            reason: "no".to_owned(),
            is_denied: false,
        };
        let error = ApplyError::Prune(vec![simple.clone()]);
        assert_eq!(
            error.to_string(),
            "1 object failed to prune: ConfigMap/n/b: no"
        );
        let error = ApplyError::Refused(vec![simple.clone(), simple]);
        assert_eq!(error.to_string(), "ConfigMap/n/b: no; ConfigMap/n/b: no");
        let error = ApplyError::NotEstablished(object("c"));
        assert_eq!(error.to_string(), "timed out waiting for ConfigMap/n/c");
    }
}

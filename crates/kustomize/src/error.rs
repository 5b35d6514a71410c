//! Pure: why a build failed. A [`BuildError`] says what, where (file, line, field, object) and what to do next.

use std::fmt;

/// One thing that is wrong with a tree. A build reports all that are independent of each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct BuildError {
    /// What is wrong.
    pub problem: Problem,
    /// The file and line, if it has one.
    pub place: Option<Place>,
    /// The field of the kustomization that led here, such as `patches[2]`.
    pub field: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// The directories on the way, from the root of the build to the kustomization that failed.
    pub trail: Vec<String>,
}

/// A file and a line of it (from 1; 0 if the whole file is meant).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path, from the root of the tree.
    pub file: String,
    /// The line.
    pub line: usize,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A file or directory that is named is not there.
    #[error("{0}")]
    NotFound(String),
    /// A path leaves what may be read.
    #[error("security; {0}")]
    Restricted(String),
    /// A file is not YAML, or not of the expected form.
    #[error("{0}")]
    Malformed(String),
    /// The kustomization file has a field of an unknown name or a wrong type.
    #[error("invalid kustomization: {0}")]
    Kustomization(String),
    /// A directory leads to itself.
    #[error("cycle detected: {0}")]
    Cycle(String),
    /// Two objects have the same id, or none has the one that is wanted.
    #[error("{0}")]
    Identity(String),
    /// A transformer or generator cannot do its work.
    #[error("{0}")]
    Transform(String),
    /// A feature that this engine refuses.
    #[error("{0}")]
    Unsupported(String),
    /// The build is larger than its limits.
    #[error("{0}")]
    Limit(String),
    /// The build would take more work than its budget.
    #[error("{0}")]
    Budget(String),
    /// The objects of the build would need more memory than its budget. With a larger one the build may succeed.
    #[error("{0}")]
    Memory(String),
}

impl Problem {
    /// The same problem, with a place before its message where it is one of a budget.
    pub(crate) fn in_budget_at(self, place: &str) -> Self {
        match self {
            Self::Budget(message) => Self::Budget(format!("{place}: {message}")),
            Self::Memory(message) => Self::Memory(format!("{place}: {message}")),
            other => other,
        }
    }
}

/// All errors of one build; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildErrors(pub Vec<BuildError>);

impl From<BuildError> for BuildErrors {
    fn from(error: BuildError) -> Self {
        Self(vec![error])
    }
}

const OVER_BUDGET_HINT: &str = "this field makes the build much larger than its files: copy, patch or generate less there, or split the build";

impl From<Problem> for BuildError {
    fn from(problem: Problem) -> Self {
        let hint = matches!(problem, Problem::Budget(_) | Problem::Memory(_))
            .then(|| OVER_BUDGET_HINT.to_owned());
        Self {
            problem,
            place: None,
            field: None,
            hint,
            trail: Vec::new(),
        }
    }
}

impl From<Problem> for BuildErrors {
    fn from(problem: Problem) -> Self {
        BuildError::from(problem).into()
    }
}

impl BuildError {
    /// Says where, unless a deeper place is known.
    #[must_use]
    pub fn at(mut self, file: impl Into<String>, line: usize) -> Self {
        self.place.get_or_insert_with(|| Place {
            file: file.into(),
            line,
        });
        self
    }

    /// Says which field of the kustomization led here, unless a deeper one is known.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field.get_or_insert_with(|| field.into());
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }
}

impl BuildErrors {
    /// Changes each error.
    #[must_use]
    pub fn map(self, change: impl FnMut(BuildError) -> BuildError) -> Self {
        Self(self.0.into_iter().map(change).collect())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => formatter.write_str(&self.file),
            line => write!(formatter, "{}:{line}", self.file),
        }
    }
}

impl fmt::Display for BuildErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("; ")?;
            }
            if let Some(place) = &error.place {
                write!(formatter, "{place}: ")?;
            }
            if let Some(field) = &error.field {
                write!(formatter, "{field}: ")?;
            }
            write!(formatter, "{}", error.problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for BuildErrors {}

/// Gathers the errors of steps that do not depend on each other.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<BuildError>);

impl Errors {
    /// The value, or nothing if there was an error, which is kept.
    pub(crate) fn take<T, E: Into<BuildErrors>>(&mut self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(errors) => {
                self.0.extend(errors.into().0);
                None
            }
        }
    }

    pub(crate) fn push(&mut self, error: impl Into<BuildError>) {
        self.0.push(error.into());
    }

    pub(crate) fn finish(self) -> Result<(), BuildErrors> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(BuildErrors(self.0))
        }
    }
}

//! Why a revision was not applied, and how that is told: reason, class, and a message without values of Secrets.

use kustomize::{BuildErrors, Problem};
use overlayd_core::api::annotations::OVERLAYD_PREFIX;
use overlayd_core::api::kustomization::SubstituteKind;
use overlayd_core::apply::change_set::ApplyError;
use overlayd_core::apply::ignore_rules::IgnoreRuleError;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::plan::PlanError;
use overlayd_core::apply::unit_settings::SettingError;
use overlayd_core::kustomization::dependencies::DependencyError;
use overlayd_core::kustomization::references::InvalidReference;
use overlayd_core::kustomization::status::{ErrorClass, HEALTH_CHECK_FAILED, SyncFailure};
use overlayd_core::names::NamespacedName;
use overlayd_core::render::spec_overlay::SpecOverlayError;
use overlayd_core::render::substitution::SubstituteError;
use overlayd_core::rollout::{RolloutError, UnhealthyError};

use crate::cluster::error::describe;
use crate::cluster::impersonation::IdentityError;
use crate::controllers::builds::NotBuilt;
use crate::controllers::kustomization::owners::ObserveError;
use crate::controllers::kustomization::redaction::Redaction;
use crate::expression;
use crate::expression::health::HealthExpressionError;

/// Why a reconcile stopped before its end.
#[derive(Debug)]
pub(super) enum Interruption {
    /// The revision cannot be applied; the status says why.
    Sync(SyncError),
    /// The API server did not take a status, so there is no way to say anything.
    Api(kube::Error),
}

impl<E: Into<SyncError>> From<E> for Interruption {
    fn from(error: E) -> Self {
        Self::Sync(error.into())
    }
}

/// Why a revision was not applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    /// There are no files to build.
    #[error(transparent)]
    Source(#[from] SourceUnavailable),
    /// A field that would be ignored otherwise.
    #[error("`spec.{0}` is not supported yet; remove it or wait for a later version")]
    Unsupported(&'static str),
    /// The objects cannot be rendered.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Another Kustomization must be ready first.
    #[error(transparent)]
    Dependency(#[from] DependencyError),
    /// The service account cannot be impersonated.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The source is in another namespace, which a flag forbids.
    #[error(
        "can't access `{0}`: cross-namespace references are blocked (`--no-cross-namespace-refs`)"
    )]
    CrossNamespace(NamespacedName),
    /// An annotation has an invalid value.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A CEL expression of the spec cannot be read.
    #[error(transparent)]
    Expression(#[from] InvalidExpression),
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    #[error(transparent)]
    Rule(#[from] IgnoreRuleError),
    /// The live objects or their owners cannot be read, so there is no plan.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// There is no plan, or its deletions need an approval.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The API server refuses objects.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The objects are applied and do not become healthy.
    #[error(transparent)]
    Unhealthy(#[from] UnhealthyError),
}

/// The files of the source cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceUnavailable {
    #[error("source not found: GitRepository `{0}` does not exist")]
    Missing(NamespacedName),
    #[error("source artifact not found: GitRepository `{0}` has fetched nothing yet")]
    NothingFetched(NamespacedName),
    /// The mirror has lost the commit, or cannot be read.
    #[error("cannot read the mirror: {}", .0.message())]
    Mirror(#[source] git2::Error),
    /// The path is not in the source, or leads out of it.
    #[error("kustomization path not found: {0}")]
    Path(String),
}

/// The objects cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    /// A source of variables does not exist, and is not optional.
    #[error(
        "`postBuild`: {kind:?} `{}` does not exist in namespace `{}`; `optional: true` allows that", .of.name, .of.namespace
    )]
    VariablesMissing {
        kind: SubstituteKind,
        of: NamespacedName,
    },
    /// A source of variables cannot be read.
    #[error("`postBuild`: {kind:?} `{name}` cannot be read: {}", describe(.source))]
    VariablesUnreadable {
        kind: SubstituteKind,
        name: String,
        source: kube::Error,
    },
    /// A name that no `${…}` can hold.
    #[error(
        "`postBuild`: `{0}` is no name of a variable: letters, digits and `_` are, and no digit comes first"
    )]
    VariableName(String),
    /// The build would change the name of a Namespace object.
    #[error(
        "`targetNamespace` would rename Namespace `{0}`, and a later prune would delete the namespace of that name; take it out of the build, or set the annotation `{OVERLAYD_PREFIX}rename-namespaces: \"true\"`"
    )]
    RenamedNamespace(String),
    #[error("{}", list(.0))]
    Substitution(Vec<ObjectSubstitutionError>),
    /// The spec cannot be laid over the kustomization file.
    #[error(transparent)]
    SpecOverlay(#[from] SpecOverlayError),
    /// The errors of the build, each with its place and hint.
    #[error("{}", with_hints(.0))]
    Kustomize(BuildErrors),
    /// The runtime ended meanwhile.
    #[error("the build task ended early")]
    TaskEnded,
}

/// The variables cannot be put into one object.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {reason}{}", in_file(.file.as_ref()))]
pub(super) struct ObjectSubstitutionError {
    pub(super) object: ObjectRef,
    /// The file that the object was read from, if the build knows it.
    pub(super) file: Option<String>,
    pub(super) reason: ObjectSubstitutionReason,
}

/// The file of the object, for the end of a message.
fn in_file(file: Option<&String>) -> String {
    file.map(|file| format!(" (in `{file}`)"))
        .unwrap_or_default()
}

/// Why the variables cannot be put into one object.
#[derive(Debug, thiserror::Error)]
pub(super) enum ObjectSubstitutionReason {
    /// A variable is not defined, or the text is malformed.
    #[error(transparent)]
    Variable(#[from] SubstituteError),
    /// The YAML reader's own message is left out because it may quote a value.
    #[error(
        "with its variables put in, it is no YAML of an object; a value with `: ` or `#` must stand in quotes"
    )]
    NoObject,
}

/// A CEL expression of the spec cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidExpression {
    /// Of a dependency.
    #[error("`dependsOn[].readyExpr`: {0}")]
    Ready(#[source] expression::ExpressionError),
    /// Of a kind of objects.
    #[error(transparent)]
    Health(#[from] HealthExpressionError),
}

impl From<RolloutError> for SyncError {
    fn from(error: RolloutError) -> Self {
        match error {
            RolloutError::Unhealthy(error) => Self::Unhealthy(error),
            RolloutError::Apply(error) => Self::Apply(error),
            RolloutError::Guarded(error) => Self::Plan(error.into()),
        }
    }
}

impl BuildError {
    /// True if the build needs more memory than it had.
    fn needs_memory(&self) -> bool {
        match self {
            Self::Kustomize(BuildErrors(errors)) => {
                let mut errors = errors.iter();
                errors.any(|error| matches!(error.problem, Problem::Memory(_)))
            }
            Self::Substitution(errors) => errors.iter().any(|error| {
                matches!(&error.reason, ObjectSubstitutionReason::Variable(reason) if reason.needs_memory())
            }),
            _ => false,
        }
    }
}

impl From<NotBuilt> for SyncError {
    fn from(reason: NotBuilt) -> Self {
        match reason {
            NotBuilt::Mirror(error) => SourceUnavailable::Mirror(error).into(),
            NotBuilt::Path(text) => SourceUnavailable::Path(text).into(),
            NotBuilt::SpecOverlay(error) => BuildError::SpecOverlay(error).into(),
            NotBuilt::Errors(errors) => BuildError::Kustomize(errors).into(),
        }
    }
}

impl SyncError {
    /// True if the build needs more memory than it had.
    pub(super) fn needs_memory(&self) -> bool {
        matches!(self, Self::Build(error) if error.needs_memory())
    }

    /// A fixed word for the reason of the condition and of the event, in Flux's words.
    pub(super) fn category(&self) -> &'static str {
        match self {
            Self::Source(_) => "ArtifactFailed",
            Self::Unsupported(_) => "FeatureGateDisabled",
            Self::Build(_) => "BuildFailed",
            Self::Dependency(_) => "DependencyNotReady",
            Self::Apply(ApplyError::Prune(_)) => "PruneFailed",
            Self::Plan(PlanError::Guarded { .. }) => "PruneFailed",
            Self::CrossNamespace(_) => "AccessDenied",
            Self::Setting(_) => "InvalidAnnotation",
            Self::Expression(_) => "InvalidCELExpression",
            Self::Reference(_) => "InvalidReference",
            Self::Rule(_) => "InvalidIgnoreRule",
            Self::Plan(_) | Self::Apply(_) | Self::Identity(_) | Self::Observe(_) => {
                "ReconciliationFailed"
            }
            Self::Unhealthy(_) => HEALTH_CHECK_FAILED,
        }
    }

    /// When it is worth another try.
    pub(super) fn class(&self) -> ErrorClass {
        match self {
            // The first commit of the source wakes the Kustomization.
            Self::Dependency(_) | Self::Source(SourceUnavailable::NothingFetched(_)) => {
                ErrorClass::Waiting
            }
            Self::Unsupported(_)
            | Self::CrossNamespace(_)
            | Self::Setting(_)
            | Self::Expression(_)
            | Self::Reference(_)
            | Self::Rule(_)
            | Self::Plan(PlanError::Guarded { .. }) => ErrorClass::Permanent,
            Self::Source(_)
            | Self::Build(_)
            | Self::Identity(_)
            | Self::Observe(_)
            | Self::Plan(_)
            | Self::Apply(_)
            | Self::Unhealthy(_) => ErrorClass::Transient,
        }
    }

    /// True if nothing is applied and yet the objects can be built, so that it is known what the Kustomization wants.
    pub(super) fn leaves_claims(&self) -> bool {
        matches!(self, Self::Unsupported("decryption"))
    }

    /// What leaves the reconcile of the error: the only place where its text is made, without values of Secrets that the
    /// API server or a build may quote.
    pub(super) fn into_failure(self, redaction: &Redaction) -> SyncFailure {
        SyncFailure {
            class: self.class(),
            reason: self.category(),
            pending_deletions: match &self {
                Self::Plan(PlanError::Guarded(guard)) => guard.count,
                _ => 0,
            },
            message: self.into_message(redaction),
        }
    }

    /// The text, redacted where the API server or a build may quote a value. Names of objects stay, since a value may be
    /// a common word.
    fn into_message(mut self, redaction: &Redaction) -> String {
        match &mut self {
            // Of a refused object only the reason is of the API server's making.
            Self::Apply(ApplyError::Refused(failures) | ApplyError::Prune(failures)) => {
                for failure in failures {
                    failure.reason = redaction.apply(std::mem::take(&mut failure.reason));
                }
                self.to_string()
            }
            // The reason is of the API server's making.
            Self::Plan(PlanError::OwnerUnreadable { .. }) => redaction.apply(self.to_string()),
            // Names of fields and objects, and the hash that approves deletions.
            Self::Unsupported(_)
            | Self::Setting(_)
            | Self::Plan(_)
            | Self::Apply(ApplyError::NotEstablished(_)) => self.to_string(),
            _ => redaction.apply(self.to_string()),
        }
    }
}

/// Several errors in one line.
fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join("; ")
}

/// All errors of a build, each with its place, and their hints.
fn with_hints(errors: &BuildErrors) -> String {
    let hints: Vec<&str> = errors
        .0
        .iter()
        .filter_map(|error| error.hint.as_deref())
        .collect();
    if hints.is_empty() {
        errors.to_string()
    } else {
        format!("{errors} (hint: {})", hints.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use overlayd_core::apply::guard::{GuardError, GuardStage};

    use super::*;
    use overlayd_core::apply::change_set::ObjectFailure;

    fn failure(reason: &str) -> ObjectFailure {
        ObjectFailure {
            object: ObjectRef::new("v1", "ConfigMap", "team", "s3cret"),
            source: None,
            reason: reason.to_owned(),
            is_denied: false,
        }
    }

    #[test]
    fn values_are_taken_out_of_foreign_text_and_names_stay() {
        let redaction = Redaction::new(["s3cret".to_owned()]);
        let check = |error: SyncError, expected: &str| {
            assert_eq!(error.into_failure(&redaction).message, expected);
        };
        check(
            ApplyError::Refused(vec![failure("`s3cret` is no number")]).into(),
            "ConfigMap/team/s3cret: `***` is no number",
        );
        check(
            BuildError::VariableName("s3cret".to_owned()).into(),
            "`postBuild`: `***` is no name of a variable: letters, digits and `_` are, and no digit comes first",
        );
        check(
            ApplyError::NotEstablished(ObjectRef::new("v1", "Namespace", "", "s3cret")).into(),
            "timed out waiting for Namespace/s3cret",
        );
        let unreadable = PlanError::OwnerUnreadable {
            owner: NamespacedName::new("team", "other"),
            object: "ConfigMap/team/a".to_owned(),
            reason: "`s3cret` is forbidden".to_owned(),
        };
        check(
            unreadable.into(),
            "Kustomization `team/other`, which owns ConfigMap/team/a, cannot be read: `***` is forbidden",
        );
    }

    #[test]
    fn reasons_and_classes_are_those_that_users_know() {
        let name = NamespacedName::new("team", "repo");
        let guarded = PlanError::Guarded(GuardError {
            why: "2 of 2 objects would be deleted".to_owned(),
            stage: GuardStage::Planned,
            objects: Vec::new(),
            count: 2,
            hash: "h".to_owned(),
        });
        let dependency = DependencyError::Cycle(Vec::new());
        let check = |error: SyncError, reason: &str, class, pending_deletions: usize| {
            let failure = error.into_failure(&Redaction::default());
            assert_eq!(
                (failure.reason, failure.class, failure.pending_deletions),
                (reason, class, pending_deletions),
                "{failure:?}"
            );
        };
        let (transient, permanent) = (ErrorClass::Transient, ErrorClass::Permanent);
        check(
            SourceUnavailable::Missing(name.clone()).into(),
            "ArtifactFailed",
            transient,
            0,
        );
        check(
            SourceUnavailable::NothingFetched(name.clone()).into(),
            "ArtifactFailed",
            ErrorClass::Waiting,
            0,
        );
        check(BuildError::TaskEnded.into(), "BuildFailed", transient, 0);
        check(
            dependency.into(),
            "DependencyNotReady",
            ErrorClass::Waiting,
            0,
        );
        check(
            SyncError::CrossNamespace(name),
            "AccessDenied",
            permanent,
            0,
        );
        check(
            SyncError::Unsupported("kubeConfig"),
            "FeatureGateDisabled",
            permanent,
            0,
        );
        check(
            InvalidExpression::Ready(expression::ExpressionError::TooLong).into(),
            "InvalidCELExpression",
            permanent,
            0,
        );
        check(
            IgnoreRuleError::Path("spec".to_owned()).into(),
            "InvalidIgnoreRule",
            permanent,
            0,
        );
        check(guarded.into(), "PruneFailed", permanent, 2);
        let repeated = PlanError::Repeated {
            object: "a".to_owned(),
        };
        check(repeated.into(), "ReconciliationFailed", transient, 0);
        check(
            ApplyError::Prune(Vec::new()).into(),
            "PruneFailed",
            transient,
            0,
        );
        check(
            ApplyError::Refused(Vec::new()).into(),
            "ReconciliationFailed",
            transient,
            0,
        );
        let unhealthy = UnhealthyError {
            cause: overlayd_core::rollout::UnhealthyCause::Stalled,
            objects: Vec::new(),
        };
        check(unhealthy.into(), "HealthCheckFailed", transient, 0);
    }
}

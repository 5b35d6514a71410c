//! Pure: why a sync fails: its condition's message, its category for logs, and what trying again can do.

use crate::cluster::error::{describe, describe_fields};
use overlayd_core::secrets::compose::ComposeError;
use overlayd_core::secrets::decide::DecideError;
use overlayd_core::secrets::desired::{SpecError, StoreRef};
use overlayd_core::secrets::generate::GenerateError;
use overlayd_core::secrets::provider_error::{ProviderError, StoreError};
use overlayd_core::secrets::render_error::RenderError;
use overlayd_core::secrets::retry::SyncErrorClass;
use overlayd_core::secrets::store_state::StoreUnusable;
use overlayd_core::secrets::template_from::TemplateSourceKind;

/// Why a sync failed.
///
/// Errors of the API server are no `source`, since their text may quote a value: they are redacted here.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretSyncError {
    /// The spec contradicts itself. It is wrong until it is changed.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A store is missing, is not ready, or does not admit the namespace.
    #[error(transparent)]
    Store(#[from] StoreUnusable),
    /// The spec of a store gives no provider.
    #[error("{reference}: {error}")]
    StoreSpec {
        reference: StoreRef,
        error: StoreError,
    },
    /// The store's identity depends on a namespace that is not known.
    #[error("{0} has no identity")]
    NoIdentity(StoreRef),
    /// A lookup names a store that the spec does not list, which is a defect of overlayd.
    #[error("{0} is not known")]
    UnknownStore(StoreRef),
    /// The provider does not answer, or refuses.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A generator makes nothing; `field` names the entry of the spec.
    #[error("`{field}`: {error}")]
    Generator {
        field: String,
        error: GeneratorError,
    },
    /// The values that were read do not have the form that the spec asks for.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The template fails, or its result is no Secret.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// An object that holds templates cannot be read.
    #[error("cannot read {kind:?} `{name}`: {}", describe(.error))]
    TemplateSource {
        kind: TemplateSourceKind,
        name: String,
        error: kube::Error,
    },
    /// The Secret belongs to another owner, or cannot be written as the policies ask.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// The API server refuses the Secret.
    #[error("{}", describe_fields(.0))]
    Write(kube::Error),
    /// A Secret of a former target cannot be deleted.
    #[error("{}", describe_fields(.0))]
    Orphans(kube::Error),
    /// Another writer changes the Secret at the same time. It is tried again soon, and no condition tells it.
    #[error("another writer changes the Secret at the same time")]
    Conflict(kube::Error),
}

/// Why a generator made nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum GeneratorError {
    /// The reference names no object.
    #[error("{kind} `{name}` does not exist")]
    NotFound { kind: String, name: String },
    #[error("{kind} `{name}` cannot be read: {}", describe(.error))]
    Unreadable {
        kind: String,
        name: String,
        error: kube::Error,
    },
    /// Generators of External Secrets that overlayd does not have.
    #[error("generators of kind {0} are not supported by overlayd")]
    UnsupportedKind(String),
    /// The generator belongs to another controller.
    #[error("Fake `{name}` is of the class `{class}`, which another controller serves")]
    OtherClass { name: String, class: String },
    /// The generator's spec makes no value.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

impl SecretSyncError {
    /// The fixed part of the condition's message, in the words of External Secrets.
    pub(super) fn summary(&self) -> &'static str {
        match self {
            Self::Spec(_)
            | Self::Store(_)
            | Self::StoreSpec { .. }
            | Self::NoIdentity(_)
            | Self::UnknownStore(_)
            | Self::Provider(_)
            | Self::Generator { .. }
            | Self::Compose(_) => "could not get secret data from provider",
            Self::Decide(error) => error.summary(),
            Self::Render(_) | Self::TemplateSource { .. } | Self::Write(_) | Self::Conflict(_) => {
                "could not update secret"
            }
            Self::Orphans(_) => "could not delete orphaned secrets",
        }
    }

    /// A fixed word for logs.
    pub(super) fn category(&self) -> &'static str {
        match self {
            Self::Spec(_) => "spec",
            Self::Store(_)
            | Self::StoreSpec { .. }
            | Self::NoIdentity(_)
            | Self::UnknownStore(_) => "store",
            Self::Provider(_) => "provider",
            Self::Generator { .. } => "generator",
            Self::Compose(_) => "values",
            Self::Render(_) | Self::TemplateSource { .. } => "template",
            Self::Decide(_) => "ownership",
            Self::Write(_) | Self::Orphans(_) => "write",
            Self::Conflict(_) => "conflict",
        }
    }

    /// What can be expected of trying again.
    pub(super) fn class(&self) -> SyncErrorClass {
        match self {
            // A ConfigMap or Secret that a template refers to may be created.
            Self::Render(RenderError::Missing { .. })
            | Self::Store(_)
            | Self::StoreSpec { .. }
            | Self::NoIdentity(_)
            | Self::UnknownStore(_)
            | Self::Generator { .. } => SyncErrorClass::Waiting,
            Self::Spec(_) | Self::Decide(_) | Self::Render(_) => SyncErrorClass::Permanent,
            Self::Provider(_)
            | Self::Compose(_)
            | Self::TemplateSource { .. }
            | Self::Write(_)
            | Self::Orphans(_)
            | Self::Conflict(_) => SyncErrorClass::Transient,
        }
    }

    /// The message of the condition.
    pub(super) fn condition_message(&self) -> String {
        format!("{}: {self}", self.summary())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &SecretSyncError, class: SyncErrorClass, message: &str) {
        assert_eq!(error.condition_message(), message);
        assert_eq!(error.class(), class, "{message}");
        assert!(!error.category().is_empty());
    }

    #[test]
    fn errors_have_a_message_and_a_class() {
        use SyncErrorClass::{Permanent, Transient, Waiting};
        check(
            &SpecError::Empty.into(),
            Permanent,
            "could not get secret data from provider: either `data` or `dataFrom` must be given",
        );
        check(
            &ProviderError::Credentials("none".into()).into(),
            Transient,
            "could not get secret data from provider: no credentials: none",
        );
        let missing = GeneratorError::NotFound {
            kind: "UUID".into(),
            name: "id".into(),
        };
        check(
            &SecretSyncError::Generator {
                field: "dataFrom[0].sourceRef.generatorRef".into(),
                error: missing,
            },
            Waiting,
            "could not get secret data from provider: `dataFrom[0].sourceRef.generatorRef`: UUID `id` does not exist",
        );
        let missing = RenderError::Missing {
            field: "templateFrom[0].configMap".into(),
            what: "ConfigMap `c` does not exist".into(),
        };
        check(
            &missing.into(),
            Waiting,
            "could not update secret: `target.template.templateFrom[0].configMap`: ConfigMap `c` does not exist",
        );
        check(
            &RenderError::InvalidKey(1, 2).into(),
            Permanent,
            "could not update secret: key 1 of 2, in the order of their names, is no valid key of a Secret: letters, digits, `-`, `_` and `.` are",
        );
        check(
            &DecideError::NotMade("db".into()).into(),
            Permanent,
            "could not delete secret: the stores have no values left, and Secret `db` was not made by this ExternalSecret",
        );
    }

    #[test]
    fn the_text_of_the_api_server_about_a_secret_is_left_out() {
        let status =
            kube::core::Status::failure("Invalid value: \"canary\"", "Invalid").with_code(422);
        let error = SecretSyncError::Write(kube::Error::Api(Box::new(status)));
        check(
            &error,
            SyncErrorClass::Transient,
            "could not update secret: the API server refuses the Secret: Invalid (422)",
        );
    }
}

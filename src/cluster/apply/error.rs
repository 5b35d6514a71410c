//! The errors of requests about an object, and what of them may be shown.

use overlayd_core::apply::guard::GuardError;
use overlayd_core::apply::object_ref::ObjectRef;

use crate::cluster::error::{describe, is_denied, may_quote};

/// Why the API server did not answer or accept a request about one object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The server does not serve the kind in this version.
    #[error(
        "no matches for kind `{kind}` in version `{api_version}`; is its definition applied first?"
    )]
    NoSuchKind { kind: String, api_version: String },
    /// An object of a namespaced kind has no namespace.
    #[error("namespace not specified; set `namespace` in the kustomization")]
    NoNamespace,
    /// The server refused the request, or cannot be reached.
    #[error("{}", describe(.0))]
    Api(#[from] kube::Error),
    /// The server refused a Secret, with this reason and a message that may quote a value.
    #[error("the API server refuses it ({0}; details are left out, since they may quote a value)")]
    Hidden(String),
    /// An object does not have the form that every object has.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    /// An object that is to be created again still exists.
    #[error("it was deleted to be made anew, and is not gone yet")]
    NotGone,
    /// A field would have to change that cannot.
    #[error("{0}; `force: true` deletes the object and makes it anew")]
    Immutable(Box<Self>),
    /// The same, and the deletion of the object needs an approval.
    #[error("{refused}; `force: true` does not delete it without an approval: {guard}")]
    Guarded {
        refused: Box<Self>,
        guard: Box<GuardError>,
    },
    /// The same, and the object cannot be created again either.
    #[error("{refused}; and it could not be made anew: {reason}")]
    NotRecreated {
        refused: Box<Self>,
        reason: Box<Self>,
    },
}

impl RequestError {
    /// The error of a request that held an object's values.
    ///
    /// The server and its webhooks quote what they refuse, and in a Secret that may be a value. Of a Secret, only
    /// refusals that speak of names and rights are passed on.
    pub(super) fn about(reference: &ObjectRef, error: kube::Error) -> Self {
        let is_secret = reference.kind == "Secret" && reference.group.is_empty();
        match error {
            kube::Error::Api(status) if is_secret && may_quote(&status) => {
                Self::Hidden(status.reason)
            }
            error => Self::Api(error),
        }
    }

    /// True if the account has no right to what it was asked for.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Api(error) if is_denied(error))
    }

    /// The error of a kind that the server does not serve.
    pub(super) fn no_such_kind(reference: &ObjectRef) -> Self {
        Self::NoSuchKind {
            kind: reference.kind.clone(),
            api_version: reference.api_version(),
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn check(kind: &str, code: u16, message: &str, expected: &str) {
        let status = Status::failure(message, "Invalid").with_code(code);
        let reference = ObjectRef::new("v1", kind, "n", "a");
        let error = RequestError::about(&reference, kube::Error::Api(status.boxed()));
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_refused_secret_is_not_quoted() {
        let hidden = "the API server refuses it (Invalid; details are left out, since they may quote a value)";
        check("Secret", 422, "Invalid value: \"hunter2\"", hidden);
        check("Secret", 403, "denied: hunter2 is weak", hidden);
        let rights = "secrets \"a\" is forbidden: User \"x\" cannot patch resource";
        check("Secret", 403, rights, rights);
        check("Secret", 409, "conflict", "conflict");
        check("ConfigMap", 422, "Invalid value: 0", "Invalid value: 0");
    }
}

//! Pure: one object that a build renders and that is to be applied.

use serde_json::Value;

use crate::api::annotations::DRIFT;
use crate::apply::drift::DriftMode;
use crate::apply::object_ref::ObjectRef;

/// The hash of a manifest (SHA-256).
pub type Hash = [u8; 32];

/// One object to apply.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Its name in the cluster.
    pub reference: ObjectRef,
    /// All of it, as it is sent to the API server.
    pub manifest: Value,
    /// The file that it was rendered from, for messages.
    pub source: Option<String>,
    /// The hash of the manifest; zeros before it is planned, since the plan changes the manifest.
    pub hash: Hash,
}

/// The annotation [`DRIFT`] has a value that is no [`DriftMode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: annotation `{DRIFT}: {text}` is none of `correct`, `report` and `ignore`")]
pub struct DriftModeError {
    /// The object, as messages name it.
    pub object: String,
    /// The value of the annotation.
    pub text: String,
}

impl Desired {
    /// An annotation of the manifest, if it is there and a text.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.manifest["metadata"]["annotations"].get(name)?.as_str()
    }

    /// True for a Job that is removed some time after it has finished, so that it has done its work when it is gone.
    pub fn expires(&self) -> bool {
        self.reference.kind == "Job"
            && self.reference.group == "batch"
            && self.manifest["spec"]["ttlSecondsAfterFinished"].is_number()
    }

    /// The drift mode that the object asks for, if it asks for one.
    ///
    /// # Errors
    /// The annotation has another value.
    pub fn drift_mode(&self) -> Result<Option<DriftMode>, DriftModeError> {
        let Some(text) = self.annotation(DRIFT) else {
            return Ok(None);
        };
        let mode = DriftMode::named(text).ok_or_else(|| DriftModeError {
            object: self.reference.to_string(),
            text: text.to_owned(),
        });
        mode.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(annotation: &Value, expected: Result<Option<DriftMode>, &str>) {
        let desired = Desired {
            reference: ObjectRef::new("v1", "ConfigMap", "n", "a"),
            manifest: json!({"metadata": {"annotations": {DRIFT: annotation}}}),
            source: None,
            hash: [0; 32],
        };
        let mode = desired.drift_mode().map_err(|error| error.to_string());
        assert_eq!(mode, expected.map_err(str::to_owned));
    }

    #[test]
    fn an_object_may_ask_for_a_drift_mode() {
        check(&json!("report"), Ok(Some(DriftMode::Report)));
        check(&json!(" ignore "), Ok(Some(DriftMode::Ignore)));
        check(&json!(null), Ok(None));
        check(
            &json!("Correct"),
            Err(
                "ConfigMap/n/a: annotation `overlayd.dev/drift: Correct` is none of `correct`, `report` and `ignore`",
            ),
        );
    }
}

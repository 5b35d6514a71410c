//! Talks to the API server: moves fields of an object from one field manager to another, in one write.

use kube::api::{Patch, PatchParams};
use kube::core::ObjectMeta;
use serde_json::{Value, json};

use overlayd_core::api::annotations::LAST_APPLIED;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::takeover::{hand_over, take_over};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use crate::cluster::apply::Applier;
use crate::cluster::apply::error::RequestError;
use crate::cluster::error::is_conflict;

impl Applier {
    /// Moves the fields of former managers to our own. The apply then removes those that the manifest does not have. A
    /// write of another manager in between is no reason to wait, so it is tried again at once.
    pub(super) async fn take_over(&self, reference: &ObjectRef) -> Result<(), RequestError> {
        const TRIES: usize = 10;
        for _ in 1..TRIES {
            match self.try_take_over(reference).await {
                Err(RequestError::Api(error)) if is_conflict(&error) => {}
                result => return result,
            }
        }
        self.try_take_over(reference).await
    }

    async fn try_take_over(&self, reference: &ObjectRef) -> Result<(), RequestError> {
        let Some(metadata) = self.metadata(reference).await? else {
            return Ok(());
        };
        let fields = metadata.managed_fields.as_deref().unwrap_or_default();
        let Some(fields) = take_over(fields, self.manager, &self.config.override_managers) else {
            return Ok(());
        };
        let mut more = Vec::new();
        let annotations = metadata.annotations.as_ref();
        if annotations.is_some_and(|all| all.contains_key(LAST_APPLIED)) {
            let path = format!("/metadata/annotations/{}", LAST_APPLIED.replace('/', "~1"));
            more.push(json!({"op": "remove", "path": path}));
        }
        self.move_fields(reference, &metadata, &fields, more).await
    }

    /// True if we own fields of an object.
    pub(crate) async fn owns_fields(&self, reference: &ObjectRef) -> Result<bool, RequestError> {
        let metadata = self.metadata(reference).await?;
        let fields = metadata.and_then(|metadata| metadata.managed_fields);
        Ok(hand_over(&fields.unwrap_or_default(), self.manager, "").is_some())
    }

    /// Lets another manager own what we own in an object, so that a field which leaves its manifests later is removed.
    pub(crate) async fn hand_over(
        &self,
        reference: &ObjectRef,
        to: &str,
    ) -> Result<(), RequestError> {
        let Some(metadata) = self.metadata(reference).await? else {
            return Ok(());
        };
        let fields = metadata.managed_fields.as_deref().unwrap_or_default();
        match hand_over(fields, self.manager, to) {
            Some(fields) => {
                self.move_fields(reference, &metadata, &fields, Vec::new())
                    .await
            }
            None => Ok(()),
        }
    }

    /// The metadata of the live object; none if it or its kind is gone.
    async fn metadata(&self, reference: &ObjectRef) -> Result<Option<ObjectMeta>, RequestError> {
        let api = match self.api(reference).await {
            Err(RequestError::NoSuchKind { .. }) => return Ok(None),
            api => api?,
        };
        let live = api.get_metadata_opt(&reference.name).await?;
        Ok(live.map(|live| live.metadata))
    }

    async fn move_fields(
        &self,
        reference: &ObjectRef,
        metadata: &ObjectMeta,
        fields: &[ManagedFieldsEntry],
        more: Vec<Value>,
    ) -> Result<(), RequestError> {
        let mut operations = vec![
            json!({"op": "replace", "path": "/metadata/managedFields", "value": fields}),
            json!({"op": "replace", "path": "/metadata/resourceVersion", "value": metadata.resource_version}),
        ];
        operations.extend(more);
        let patch: json_patch::Patch = serde_json::from_value(Value::Array(operations))?;
        let params = PatchParams {
            field_manager: Some(self.manager.to_owned()),
            ..PatchParams::default()
        };
        let (api, patch) = (self.api(reference).await?, Patch::<()>::Json(patch));
        let patched = api.patch_metadata(&reference.name, &params, &patch).await;
        patched
            .map(drop)
            .map_err(|error| RequestError::about(reference, error))
    }
}

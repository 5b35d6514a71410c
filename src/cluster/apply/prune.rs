//! Talks to the API server: deletes objects that a build no longer renders.

use futures::FutureExt as _;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::json;

use overlayd_core::api::annotations::APPROVE_DELETIONS;
use overlayd_core::apply::change_set::{ApplyError, ChangeSet, ObjectChange, ObjectFailure};
use overlayd_core::apply::guard::{Guard, list_hash};
use overlayd_core::apply::inventory;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::scope::namesakes;
use overlayd_core::apply::skip::Skip;
use overlayd_core::names::NamespacedName;

use crate::cluster::apply::Applier;
use crate::cluster::apply::error::RequestError;
use crate::cluster::error::is_not_found;
use crate::failpoints;

impl Applier {
    /// Deletes the objects that still belong to `owner` and are none of the rendered ones under another id. All are
    /// tried; the error names those that failed.
    pub(crate) async fn prune(
        &self,
        objects: &[ObjectRef],
        rendered: &[ObjectRef],
        owner: &NamespacedName,
    ) -> (ChangeSet, Result<(), ApplyError>) {
        let (mut changes, mut failed) = (ChangeSet::default(), Vec::new());
        // Kinds go one after the other, the objects of a kind together.
        for kind in objects.chunk_by(|one, next| one.kind == next.kind && one.group == next.group) {
            let mut deletions = Vec::new();
            for object in kind {
                deletions.push(self.delete(object, rendered, owner).boxed());
            }
            for (object, result) in kind.iter().zip(self.in_order(deletions).await) {
                match result {
                    Ok(change) => changes.0.push((object.clone(), change)),
                    Err(reason) => failed.push(ObjectFailure {
                        object: object.clone(),
                        source: None,
                        reason: reason.to_string(),
                        is_denied: reason.is_denied(),
                    }),
                }
            }
        }
        let result = if failed.is_empty() {
            Ok(())
        } else {
            Err(ApplyError::Prune(failed))
        };
        (changes, result)
    }

    /// The live object, in whatever version its kind is served now. None if the object or its kind is gone.
    async fn find(
        &self,
        object: &ObjectRef,
    ) -> Result<Option<(Api<DynamicObject>, DynamicObject)>, RequestError> {
        match self.api(object).await {
            Ok(api) => match api.get(&object.name).await {
                Ok(live) => return Ok(Some((api, live))),
                // The server knows the kind, and names what it did not find.
                Err(kube::Error::Api(status)) if status.code == 404 && names_object(&status) => {
                    return Ok(None);
                }
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error.into()),
            },
            Err(RequestError::NoSuchKind { .. }) => {}
            // The API server refused it when it was to be applied, so that it never existed.
            Err(RequestError::NoNamespace) => return Ok(None),
            Err(error) => return Err(error),
        }
        let Some(version) = self.served_version(object).await? else {
            return Ok(None);
        };
        let served = ObjectRef {
            version,
            ..object.clone()
        };
        let api = self.api(&served).await?;
        let live = api.get_opt(&object.name).await?;
        Ok(live.map(|live| (api, live)))
    }

    /// The version in which a kind is served now.
    pub(super) async fn served_version(
        &self,
        object: &ObjectRef,
    ) -> Result<Option<String>, RequestError> {
        match kube::discovery::group(&self.client, &object.group).await {
            Ok(group) => {
                let kind = group.recommended_kind(&object.kind);
                Ok(kind.map(|(resource, _)| resource.version))
            }
            Err(kube::Error::Discovery(_)) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// True if one of the rendered objects is this object, by its uid. Nothing that a build renders is ever deleted,
    /// whatever went wrong when ids were made.
    async fn is_rendered(
        &self,
        object: &ObjectRef,
        uid: &str,
        rendered: &[ObjectRef],
    ) -> Result<bool, RequestError> {
        for namesake in namesakes(object, rendered) {
            let live = self.find(namesake).await?;
            if live.is_some_and(|(_, live)| live.uid().as_deref() == Some(uid)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets a Kustomization that is about to be deleted take what it holds along: the guard has asked about all of it
    /// before.
    async fn approve(
        &self,
        api: &Api<DynamicObject>,
        live: &DynamicObject,
    ) -> Result<(), RequestError> {
        let held = serde_json::from_value(live.data["status"]["inventory"].clone());
        let held = inventory::objects(held.ok().as_ref());
        if !held
            .iter()
            .any(|object| Guard::is_grave(object) || object.unit().is_some())
        {
            return Ok(());
        }
        let annotations = json!({APPROVE_DELETIONS: list_hash(&held)});
        let patch = json!({"metadata": {"annotations": annotations}});
        let params = PatchParams {
            field_manager: Some(self.manager.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&patch);
        match api.patch_metadata(&live.name_any(), &params, &patch).await {
            Err(error) if !is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn delete(
        &self,
        object: &ObjectRef,
        rendered: &[ObjectRef],
        owner: &NamespacedName,
    ) -> Result<ObjectChange, RequestError> {
        let Some((api, live)) = self.find(object).await? else {
            // A Job that has done its work runs again if it comes back.
            if let Some(watched) = &self.live {
                watched.last_applied().forget(object);
            }
            return Ok(ObjectChange::Deleted);
        };
        let value = serde_json::to_value(&live)?;
        if let Some(skip) = Skip::of_deletion(&value, owner) {
            tracing::info!(%object, reason = %skip, "kept");
            return Ok(ObjectChange::Skipped(skip));
        }
        let uid = live.uid().unwrap_or_default();
        if self.is_rendered(object, &uid, rendered).await? {
            tracing::warn!(%object, "kept, since the build renders the same object under another id");
            return Ok(ObjectChange::Skipped(Skip::StillRendered));
        }
        if let Some(watched) = &self.live {
            // Another manager may have taken the wish away since, for example while the Kustomization was suspended.
            if watched.last_applied().is_kept(object) {
                return Ok(ObjectChange::Skipped(Skip::PruneDisabled));
            }
            if watched.is_of_another_group(object, &uid) {
                return Ok(ObjectChange::Skipped(Skip::InOtherGroup));
            }
            watched.last_applied().forget(object);
        }
        if object.unit().is_some() {
            self.approve(&api, &live).await?;
        }
        // The object may have been replaced by another of the same name, which was not checked.
        let preconditions = Preconditions {
            uid: Some(uid),
            resource_version: None,
        };
        let params = DeleteParams::background().preconditions(preconditions);
        failpoints::point("prune");
        let deleted = api.delete(&object.name, &params).await;
        failpoints::point("pruned");
        match deleted {
            Ok(_) => Ok(ObjectChange::Deleted),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(ObjectChange::Deleted),
            Err(error) => Err(error.into()),
        }
    }
}

/// True if a 404 is about the object; one without a name is about a kind that is not served.
fn names_object(status: &kube::core::Status) -> bool {
    status
        .details
        .as_ref()
        .is_some_and(|details| !details.name.is_empty())
}

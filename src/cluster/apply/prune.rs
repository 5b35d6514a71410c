//! Talks to the API server: deletes what left the set.

use futures::FutureExt as _;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Preconditions};

use crate::cluster::apply::Applier;
use crate::cluster::apply::kinds::no_such_kind;
use crate::cluster::error::{describe, is_not_found};
use crate::failpoints;
use overlayd_core::apply::change_set::{ApplyError, Change, ChangeSet, ObjectFailure};
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::plan::{Owner, keeps};

impl Applier {
    /// Deletes what left the set, if it is still ours. All are tried; those that failed are named.
    pub(crate) async fn prune(
        &self,
        objects: &[ObjectRef],
        owner: &Owner,
    ) -> (ChangeSet, Result<(), ApplyError>) {
        let (mut changes, mut failed) = (ChangeSet::default(), Vec::new());
        // Kinds go one after the other, the objects of a kind together.
        for kind in objects.chunk_by(|one, next| one.kind == next.kind && one.group == next.group) {
            let mut deletions = Vec::new();
            for object in kind {
                deletions.push(self.delete(object, owner).boxed());
            }
            for (object, result) in kind.iter().zip(self.in_order(deletions).await) {
                match result {
                    Ok(change) => changes.0.push((object.clone(), change)),
                    Err(reason) => failed.push(ObjectFailure {
                        object: object.clone(),
                        source: None,
                        reason,
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

    /// An object as it is now, whatever version of its kind is served. Nothing if it is gone; a kind that is gone took its
    /// objects along.
    async fn find(
        &self,
        object: &ObjectRef,
    ) -> Result<Option<(Api<DynamicObject>, DynamicObject)>, String> {
        match self.api(object).await {
            Ok(api) => match api.get(&object.name).await {
                Ok(live) => return Ok(Some((api, live))),
                // The server knows the kind, and names what it did not find.
                Err(kube::Error::Api(status)) if status.code == 404 && names_object(&status) => {
                    return Ok(None);
                }
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(describe(&error)),
            },
            Err(reason) if reason == no_such_kind(object) => {}
            Err(reason) => return Err(reason),
        }
        let Some(version) = self.served_version(object).await? else {
            return Ok(None);
        };
        let served = ObjectRef {
            version,
            ..object.clone()
        };
        let api = self.api(&served).await?;
        let live = api.get_opt(&object.name).await;
        let live = live.map_err(|error| describe(&error))?;
        Ok(live.map(|live| (api, live)))
    }

    /// The version in which a kind is served now.
    async fn served_version(&self, object: &ObjectRef) -> Result<Option<String>, String> {
        match kube::discovery::group(&self.client, &object.group).await {
            Ok(group) => {
                let kind = group.recommended_kind(&object.kind);
                Ok(kind.map(|(resource, _)| resource.version))
            }
            Err(kube::Error::Discovery(_)) => Ok(None),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(describe(&error)),
        }
    }

    async fn delete(&self, object: &ObjectRef, owner: &Owner) -> Result<Change, String> {
        let Some((api, live)) = self.find(object).await? else {
            return Ok(Change::Deleted);
        };
        let value = serde_json::to_value(&live).map_err(|error| error.to_string())?;
        if let Some(reason) = keeps(&value, owner) {
            tracing::info!(%object, reason, "kept");
            return Ok(Change::Skipped(reason));
        }
        let uid = live.uid().unwrap_or_default();
        if let Some(watched) = &self.live {
            if watched.is_of_another_group(object, &uid) {
                return Ok(Change::Skipped(
                    "it is applied under another group of its kind",
                ));
            }
            watched.records().forget(object);
        }
        // Only the object that was looked at: another of the same name may have taken its place.
        let preconditions = Preconditions {
            uid: Some(uid),
            resource_version: None,
        };
        let params = DeleteParams::background().preconditions(preconditions);
        failpoints::point("prune");
        let deleted = api.delete(&object.name, &params).await;
        failpoints::point("pruned");
        match deleted {
            Ok(_) => Ok(Change::Deleted),
            Err(error) if is_not_found(&error) => Ok(Change::Deleted),
            Err(error) => Err(describe(&error)),
        }
    }
}

fn names_object(status: &kube::core::Status) -> bool {
    status
        .details
        .as_ref()
        .is_some_and(|details| !details.name.is_empty())
}

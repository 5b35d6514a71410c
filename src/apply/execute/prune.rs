//! Talks to the API server: deletes what left the set.

use futures::FutureExt as _;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Preconditions};

use super::kinds::{describe, no_such_kind};
use super::{Applier, ApplyError, Change, ChangeSet, ObjectFailure};
use crate::apply::ObjectRef;
use crate::apply::plan::{Owner, keeps};
use crate::faults;

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

    async fn delete(&self, object: &ObjectRef, owner: &Owner) -> Result<Change, String> {
        let api = match self.api(object).await {
            Ok(api) => api,
            // A kind that is gone took its objects along.
            Err(reason) if reason == no_such_kind(object) => return Ok(Change::Deleted),
            Err(reason) => return Err(reason),
        };
        let live = api
            .get_opt(&object.name)
            .await
            .map_err(|error| describe(&error))?;
        let Some(live) = live else {
            return Ok(Change::Deleted);
        };
        let value = serde_json::to_value(&live).map_err(|error| error.to_string())?;
        if let Some(reason) = keeps(&value, owner) {
            tracing::info!(%object, reason, "kept");
            return Ok(Change::Skipped(reason));
        }
        if let Some(watched) = &self.live {
            watched.records().forget(object);
        }
        // Only the object that was looked at: another of the same name may have taken its place.
        let preconditions = Preconditions {
            uid: live.uid(),
            resource_version: None,
        };
        let params = DeleteParams::background().preconditions(preconditions);
        faults::point("prune");
        let deleted = api.delete(&object.name, &params).await;
        faults::point("pruned");
        match deleted {
            Ok(_) => Ok(Change::Deleted),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Change::Deleted),
            Err(error) => Err(describe(&error)),
        }
    }
}

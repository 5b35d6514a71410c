//! Talks to the API server: carries out an apply plan, stage by stage, and the deletions after it.
//!
//! A server-side dry run tries each stage as a whole before any object of it changes, and all errors of the stage are
//! reported at once. Objects of earlier stages stay applied.

mod dry_run;
mod error;
mod kinds;
mod managers;
mod prune;
mod scopes;

pub(crate) use dry_run::PredictedChange;
pub(crate) use error::RequestError;
pub(crate) use scopes::Placement;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::ObjectMeta;
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};

use overlayd_core::api::annotations::{EXISTED, OWNER_NAME};
use overlayd_core::apply::change_set::{ApplyError, ChangeSet, ObjectChange, ObjectFailure};
use overlayd_core::apply::desired::{Desired, Hash};
use overlayd_core::apply::drift::DriftMode;
use overlayd_core::apply::guard::Guard;
use overlayd_core::apply::ignore_rules::IgnoredFields;
use overlayd_core::apply::last_applied::{AfterApply, AppliedState, account_hash, change_token};
use overlayd_core::apply::object_ref::{Gvk, ObjectRef};
use overlayd_core::apply::owner_labels::{label_owner, manifest_owner};
use overlayd_core::apply::plan::{ApplyPlan, OnError, Wave};
use overlayd_core::apply::slim::Slim;
pub(crate) use overlayd_core::apply::takeover::{BOOTSTRAP_MANAGER, FIELD_MANAGER};
use overlayd_core::apply::watched::WatchedState;
use overlayd_core::names::NamespacedName;

use crate::cluster::apply::dry_run::{DryRunDecision, Fit};
use crate::cluster::watch::WatchedObjects;
use crate::failpoints;

/// How long definitions and namespaces may take to become usable.
const STAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether the objects of a definition or namespace can be applied.
enum Usability {
    Usable,
    NotYet,
    /// It does not exist.
    Gone,
}

fn failure(desired: &Desired, reason: &RequestError) -> ObjectFailure {
    ObjectFailure {
        is_denied: reason.is_denied(),
        ..ObjectFailure::new(desired, reason.to_string())
    }
}

/// The flags that hold for every apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApplierConfig {
    /// The number of requests of one stage that are in flight at once.
    pub(crate) concurrency: usize,
    /// Managers whose fields are taken over, besides those of kubectl and Flux.
    pub(crate) override_managers: Vec<String>,
}

impl Default for ApplierConfig {
    fn default() -> Self {
        Self {
            concurrency: 16,
            override_managers: Vec::new(),
        }
    }
}

/// The resource of each kind, and whether it is namespaced.
type DiscoveredKinds = BTreeMap<Gvk, (ApiResource, bool)>;

/// Applies plans to one cluster. Remembers the kinds that the server serves.
pub(crate) struct Applier {
    /// Sends the requests, as the identity that applies.
    client: Client,
    /// The field manager of what is applied.
    manager: &'static str,
    /// The service account as which it applies; empty for its own identity.
    account: String,
    /// The kinds that discovery has found. A kind that is missing is looked up again, since its definition may be new.
    kinds: Mutex<DiscoveredKinds>,
    /// What the flags say.
    config: ApplierConfig,
    /// The watches of what was applied; none for a single apply.
    live: Option<Arc<WatchedObjects>>,
}

/// How the objects of a plan are applied, where they do not say otherwise.
#[derive(Debug, Clone, Default)]
pub(crate) struct ApplyOptions {
    /// Objects may be deleted and created again where a field would have to change that cannot.
    pub(crate) force: bool,
    /// What is done with the other objects of a stage when one is refused.
    pub(crate) on_error: OnError,
    /// What is done about changes of other managers.
    pub(crate) drift: DriftMode,
    /// The same build was applied before, so that other managers have made every difference.
    pub(crate) is_same_build: bool,
    /// Any field may hold a value of a Secret, so that differences are shown without values.
    pub(crate) hides_values: bool,
    /// Fields that are left to other managers.
    pub(crate) ignored: Arc<Vec<IgnoredFields>>,
    /// What becomes of the fields that kubectl and Flux own.
    pub(crate) former_managers: FormerManagers,
    /// Checks objects that would be deleted to be created again.
    pub(crate) deletion_guard: Guard,
}

/// What becomes of the fields that kubectl and Flux own in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FormerManagers {
    /// They become ours, so that fields that are not in the manifest are removed.
    #[default]
    TakeOver,
    /// They stay as they are, with everything that is not in the manifest.
    Keep,
}

impl ApplyOptions {
    /// The options of a plan, with drift corrected.
    pub(crate) fn of(plan: &ApplyPlan) -> Self {
        Self {
            force: plan.force,
            on_error: plan.on_error,
            ..Self::default()
        }
    }

    /// The drift mode of an object: its annotation's, or else the one of all objects. An invalid annotation was refused by
    /// the plan.
    fn drift_of(&self, desired: &Desired) -> DriftMode {
        desired.drift_mode().ok().flatten().unwrap_or(self.drift)
    }
}

impl fmt::Debug for Applier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Applier").finish_non_exhaustive()
    }
}

impl Applier {
    /// An applier that watches nothing, for a single apply.
    pub(crate) fn new(client: Client, manager: &'static str) -> Self {
        Self {
            client,
            manager,
            account: String::new(),
            kinds: Mutex::default(),
            config: ApplierConfig::default(),
            live: None,
        }
    }

    /// An applier that knows its last apply, and sends no request for an object that has not changed since.
    pub(crate) fn watching(
        client: Client,
        manager: &'static str,
        live: Arc<WatchedObjects>,
    ) -> Self {
        Self {
            live: Some(live),
            ..Self::new(client, manager)
        }
    }

    /// The same applier, as the flags want it.
    pub(crate) fn with(self, config: ApplierConfig) -> Self {
        Self { config, ..self }
    }

    /// The applier of a service account. An object that another account has applied is not unchanged for it, since it
    /// may not be allowed to apply it.
    pub(crate) fn named(self, account: &str) -> Self {
        Self {
            account: account.to_owned(),
            ..self
        }
    }

    /// The client of its identity, for reads that the identity must be allowed to make.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The hash of a manifest as this identity applies it.
    fn hash(&self, desired: &Desired) -> Hash {
        account_hash(&self.account, desired.hash)
    }

    /// True if the object is as it was applied from this manifest.
    fn is_unchanged(&self, desired: &Desired) -> bool {
        let Some(live) = &self.live else {
            return false;
        };
        let WatchedState::Token(token) = live.get(&desired.reference) else {
            return false;
        };
        live.last_applied().is_applied(
            &desired.reference,
            &self.hash(desired),
            &token,
            Timestamp::now(),
        )
    }

    /// Notes that an object was applied, and watches its kind. An object that another manager has changed meanwhile is
    /// compared again.
    fn applied(&self, desired: &Desired, patched: &ObjectMeta, since: u64) {
        let Some(live) = &self.live else {
            return;
        };
        let state = AppliedState {
            hash: self.hash(desired),
            token: change_token(patched),
            since,
        };
        let after = live.last_applied().end(desired, state, Timestamp::now());
        if after == AfterApply::ChangedMeanwhile {
            live.wake(&manifest_owner(&desired.manifest));
        }
        if let Some((resource, _)) = self.known(&desired.reference) {
            live.watch(&desired.reference, &resource);
        }
    }

    /// The Kustomizations that the labels of live objects name, by the id of the object. Watches the kinds of the
    /// objects. Without a watch, each object is read. Of kinds that may not be read, or are not served yet, nothing is
    /// known.
    pub(crate) async fn owners(&self, objects: &[&ObjectRef]) -> BTreeMap<String, NamespacedName> {
        let owners = match &self.live {
            Some(live) => self.watched_owners(live, objects).await,
            None => self.read_owners(objects).await,
        };
        let ids = objects.iter().map(|object| object.id());
        let known = ids.zip(owners);
        known.filter_map(|(id, owner)| Some((id, owner?))).collect()
    }

    /// The owners as the watches of the kinds know them, in the order of the objects.
    async fn watched_owners(
        &self,
        live: &WatchedObjects,
        objects: &[&ObjectRef],
    ) -> Vec<Option<NamespacedName>> {
        let mut watched = BTreeSet::new();
        for object in objects {
            if watched.insert(object.gvk())
                && let Ok((resource, _)) = self.kind(object).await
            {
                live.watch(object, &resource);
                live.listed(object).await;
            }
        }
        // Labels can be edited; what this process has applied is known better.
        let last_applied = live.last_applied();
        let owner = |object: &&ObjectRef| last_applied.owner(object).or_else(|| live.owner(object));
        objects.iter().map(owner).collect()
    }

    /// The owners by one request for each object, in the order of the objects.
    async fn read_owners(&self, objects: &[&ObjectRef]) -> Vec<Option<NamespacedName>> {
        let mut requests = Vec::new();
        for object in objects {
            requests.push(self.read_owner(object).boxed());
        }
        let owners = self.in_order(requests).await;
        owners
            .into_iter()
            .map(|owner| owner.ok().flatten())
            .collect()
    }

    /// The owner that the labels of a live object name; `None` if there is no such object.
    async fn read_owner(&self, object: &ObjectRef) -> Result<Option<NamespacedName>, RequestError> {
        let api = self.api(object).await?;
        let live = api.get_metadata_opt(&object.name).await?;
        Ok(live.map(|live| label_owner(&live.metadata)))
    }

    /// Applies the stages of a wave, one after the other. Objects of earlier stages stay applied. Under
    /// [`OnError::Continue`] objects that the server refuses are left out, and the error names all of them.
    pub(crate) async fn apply(
        &self,
        wave: &Wave,
        options: &ApplyOptions,
    ) -> (ChangeSet, Result<(), ApplyError>) {
        let (mut changes, mut failed) = (ChangeSet::default(), Vec::new());
        for stage in &wave.0 {
            let result = self
                .apply_stage(stage, options, &mut changes, &mut failed)
                .await;
            if result.is_err() {
                return (changes, result);
            }
            if !failed.is_empty() && options.on_error == OnError::Stop {
                break;
            }
        }
        let result = if failed.is_empty() {
            Ok(())
        } else {
            Err(ApplyError::Refused(failed))
        };
        (changes, result)
    }

    /// Tries a stage, and applies it if all of it fits. Refused objects are added to `failed`.
    ///
    /// # Errors
    /// A definition or a namespace of the stage does not become usable in time.
    async fn apply_stage(
        &self,
        stage: &[Desired],
        options: &ApplyOptions,
        changes: &mut ChangeSet,
        failed: &mut Vec<ObjectFailure>,
    ) -> Result<(), ApplyError> {
        let represented = self.represented(stage, options).await;
        let tries = stage.iter().enumerate().map(|(place, desired)| {
            if represented.contains(&place) {
                std::future::ready(Ok(DryRunDecision::Fits(Fit::default()))).boxed()
            } else {
                self.try_one(desired, options).boxed()
            }
        });
        let mut tried = Vec::new();
        for (desired, result) in stage.iter().zip(self.in_order(tries.collect()).await) {
            match result {
                Ok(outcome) => tried.push((desired, outcome)),
                Err(reason) => failed.push(failure(desired, &reason)),
            }
        }
        if !failed.is_empty() && options.on_error == OnError::Stop {
            return Ok(());
        }
        let (objects, works): (Vec<&Desired>, Vec<_>) = tried
            .into_iter()
            .map(|(desired, tried)| (desired, self.apply_one(desired, tried).boxed()))
            .unzip();
        let mut applied = Vec::new();
        for (desired, result) in objects.into_iter().zip(self.in_order(works).await) {
            match result {
                Ok(change) => {
                    applied.push(desired);
                    changes.0.push((desired.reference.clone(), change));
                }
                Err(reason) => failed.push(failure(desired, &reason)),
            }
        }
        if !failed.is_empty() && options.on_error == OnError::Stop {
            return Ok(());
        }
        self.wait_established(&applied).await
    }

    /// Sends requests, several at once; the answers are in the order of the requests. A slow request delays no other.
    pub(super) async fn in_order<T>(
        &self,
        requests: Vec<BoxFuture<'_, Result<T, RequestError>>>,
    ) -> Vec<Result<T, RequestError>> {
        let mut placed = Vec::new();
        for (place, request) in requests.into_iter().enumerate() {
            placed.push(request.map(move |answer| (place, answer)));
        }
        let answers = futures::stream::iter(placed).buffer_unordered(self.config.concurrency);
        let mut answers: Vec<_> = answers.collect().await;
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Deletes an object that is to be created again, and waits until it is gone.
    async fn delete_old(
        &self,
        reference: &ObjectRef,
        uid: Option<String>,
    ) -> Result<(), RequestError> {
        let api = self.api(reference).await?;
        let preconditions = Preconditions {
            uid,
            resource_version: None,
        };
        let params = DeleteParams::background().preconditions(preconditions);
        match api.delete(&reference.name, &params).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
        let deadline = tokio::time::Instant::now() + STAGE_TIMEOUT;
        while api.get_metadata_opt(&reference.name).await?.is_some() {
            if tokio::time::Instant::now() >= deadline {
                return Err(RequestError::NotGone);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn apply_one(
        &self,
        desired: &Desired,
        tried: DryRunDecision,
    ) -> Result<ObjectChange, RequestError> {
        let fit = match tried {
            DryRunDecision::Unchanged => return Ok(ObjectChange::Unchanged),
            DryRunDecision::AsApplied(metadata) => {
                self.compared(desired, &metadata);
                return Ok(ObjectChange::Unchanged);
            }
            DryRunDecision::Present(skip) => return Ok(ObjectChange::Skipped(skip)),
            DryRunDecision::Drifted(changes) => return Ok(ObjectChange::Drifted(changes)),
            DryRunDecision::Fits(fit) => {
                self.begin(desired);
                fit
            }
            DryRunDecision::Immutable { uid } => {
                self.begin(desired);
                tracing::info!(object = %desired.reference, "deleted to be made anew");
                self.delete_old(&desired.reference, uid).await?;
                Fit {
                    since: self.changes(desired),
                    ..Fit::default()
                }
            }
        };
        self.apply_fit(desired, fit).await
    }

    /// Applies an object that the server has accepted in a dry run.
    async fn apply_fit(&self, desired: &Desired, fit: Fit) -> Result<ObjectChange, RequestError> {
        let reference = &desired.reference;
        if fit.is_foreign {
            self.take_over(reference).await?;
        }
        let is_namespace = reference.kind == "Namespace" && reference.group.is_empty();
        if fit.version.is_some() && is_namespace && self.live.is_some() {
            self.mark_existing(reference).await?;
        }
        let params = PatchParams::apply(self.manager).force();
        failpoints::point("apply");
        let manifest = fit.adjusted.as_deref().unwrap_or(&desired.manifest);
        let patched = self.patch(reference, manifest, &params).await?;
        failpoints::point("applied");
        self.applied(desired, &patched.metadata, fit.since);
        let change = match fit.version {
            None => ObjectChange::Created,
            before if before == patched.metadata.resource_version => ObjectChange::Unchanged,
            _ => ObjectChange::Configured,
        };
        if let Some(live) = &self.live
            && fit.corrects
            && change != ObjectChange::Unchanged
        {
            live.last_applied().corrected(reference, Timestamp::now());
        }
        Ok(change)
    }

    /// Notes that an apply of an object begins.
    fn begin(&self, desired: &Desired) {
        if let Some(live) = &self.live {
            let unit = manifest_owner(&desired.manifest);
            live.last_applied().begin(&desired.reference, &unit);
        }
    }

    /// Notes that an object was compared and needs no apply, and watches its kind.
    fn compared(&self, desired: &Desired, metadata: &ObjectMeta) {
        let Some(live) = &self.live else {
            return;
        };
        let unit = manifest_owner(&desired.manifest);
        let state = (self.hash(desired), change_token(metadata));
        let now = Timestamp::now();
        live.last_applied().compared(desired, &unit, state, now);
        if let Some((resource, _)) = self.known(&desired.reference) {
            live.watch(&desired.reference, &resource);
        }
    }

    /// Marks a namespace without an owner as one that existed before: it holds objects of others, so that it is never
    /// deleted. The mark has a field manager of its own, so that an apply does not remove it.
    async fn mark_existing(&self, reference: &ObjectRef) -> Result<(), RequestError> {
        let note = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": reference.name, "annotations": {EXISTED: "true"}},
        });
        let api = self.api(reference).await?;
        let live = api.get_metadata_opt(&reference.name).await?;
        // A namespace that a Kustomization has applied before was checked then.
        if live.is_none_or(|live| live.labels().contains_key(OWNER_NAME)) {
            return Ok(());
        }
        let params = PatchParams::apply("overlayd-existed").force();
        let patched = api
            .patch_metadata(&reference.name, &params, &Patch::Apply(&note))
            .await;
        Ok(patched.map(drop)?)
    }

    /// One server-side apply. Its error quotes no value of a Secret.
    async fn patch(
        &self,
        reference: &ObjectRef,
        manifest: &Value,
        params: &PatchParams,
    ) -> Result<Slim, RequestError> {
        let api: Api<Slim> = self.api_as(reference).await?;
        let patch = Patch::Apply(manifest);
        // Nothing but the metadata of the answer is used.
        let patched = api.patch(&reference.name, params, &patch).await;
        patched.map_err(|error| RequestError::about(reference, error))
    }

    /// Waits until the definitions of a stage are established and its namespaces active.
    async fn wait_established(&self, stage: &[&Desired]) -> Result<(), ApplyError> {
        let deadline = tokio::time::Instant::now() + STAGE_TIMEOUT;
        for desired in stage {
            let reference = &desired.reference;
            if !matches!(&*reference.kind, "CustomResourceDefinition" | "Namespace") {
                continue;
            }
            loop {
                match self.usability(desired).await {
                    Usability::Usable => break,
                    // It was being deleted when it was applied.
                    Usability::Gone => drop(self.apply_fit(desired, Fit::default()).await),
                    Usability::NotYet => {}
                }
                if tokio::time::Instant::now() >= deadline {
                    return Err(ApplyError::NotEstablished(reference.clone()));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    async fn usability(&self, desired: &Desired) -> Usability {
        let live = match self.get(&desired.reference).await {
            Ok(Some(live)) => live,
            Ok(None) => return Usability::Gone,
            Err(_) => return Usability::NotYet,
        };
        let is_going = live["metadata"]["deletionTimestamp"].is_string();
        if !is_going && self.is_established(desired, &live).await {
            Usability::Usable
        } else {
            Usability::NotYet
        }
    }

    async fn is_established(&self, desired: &Desired, live: &Value) -> bool {
        if desired.reference.kind == "Namespace" {
            return live["status"]["phase"] == "Active";
        }
        let conditions = live["status"]["conditions"].as_array();
        let established = conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
        // A definition is established a moment before its kind is served.
        established && self.serves(&desired.manifest["spec"]).await
    }

    /// True if the server knows the kind of every served version of a definition.
    async fn serves(&self, definition: &Value) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (group, kind) = (
            text(&definition["group"]),
            text(&definition["names"]["kind"]),
        );
        let versions = definition["versions"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        for version in versions.iter().filter(|version| version["served"] == true) {
            let api_version = format!("{group}/{}", text(&version["name"]));
            let reference = ObjectRef::new(&api_version, &kind, "", "");
            if self.discover(&reference).await.is_err() {
                return false;
            }
        }
        true
    }
}

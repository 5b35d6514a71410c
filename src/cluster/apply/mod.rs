//! Talks to the API server: carries out an apply plan, stage by stage, and the prune after it.
//!
//! Each stage is tried as a whole (server-side dry run) before any object of it changes, and all that is
//! wrong with it is reported at once. What earlier stages applied stays.

mod dry_run;
mod kinds;
mod prune;

pub(crate) use dry_run::Would;

use std::collections::BTreeMap;
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

use crate::cluster::apply::dry_run::Tried;
use crate::cluster::error::{describe, describe_about, is_not_found};
use crate::cluster::watch::{Known, Live};
use crate::failpoints;
use overlayd_core::api::annotations::{EXISTED, LAST_APPLIED, OWNER_NAME, OWNER_NAMESPACE};
use overlayd_core::apply::change_set::{ApplyError, Change, ChangeSet, ObjectFailure};
use overlayd_core::apply::ignore_rules::Ignored;
use overlayd_core::apply::last_applied::{Hash, account_hash, shape};
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::plan::{ApplyPlan, Desired, DriftMode, OnError, Wave, drift_of};
use overlayd_core::apply::slim::Slim;
use overlayd_core::apply::takeover::take_over;
use overlayd_core::names::NamespacedName;

/// The name under which the daemon owns fields.
pub(crate) const FIELD_MANAGER: &str = "overlayd";
/// The name under which fields are owned that a person or the start of the daemon applied.
pub(crate) const BOOTSTRAP_MANAGER: &str = "overlayd-bootstrap";
/// How long definitions and namespaces may take to become usable.
const STAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// What flags say of every apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Habits {
    /// How many requests of one stage are in flight.
    pub(crate) concurrency: usize,
    /// Managers whose fields are taken over, besides those of kubectl and Flux.
    pub(crate) override_managers: Vec<String>,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            concurrency: 16,
            override_managers: Vec::new(),
        }
    }
}

/// Group, version and kind, to how it is reached and whether it has namespaces.
type KnownKinds = BTreeMap<(String, String, String), (ApiResource, bool)>;

/// Applies plans to one cluster. Remembers what kinds the server knows.
pub(crate) struct Applier {
    client: Client,
    manager: &'static str,
    /// The service account as which it applies; empty for its own identity.
    account: String,
    kinds: Mutex<KnownKinds>,
    habits: Habits,
    /// What is watched of what was applied; nothing for whom applies once.
    live: Option<Arc<Live>>,
}

/// What decides how objects are applied, besides themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct How {
    /// Objects may be deleted and made anew where a field that cannot change would have to.
    pub(crate) force: bool,
    pub(crate) on_error: OnError,
    /// What is done about what others change, where an object does not say.
    pub(crate) drift: DriftMode,
    /// All of it was applied before, so that what differs was changed by others.
    pub(crate) is_same_build: bool,
    /// Values of Secrets may stand anywhere, so that what differs is told by its place alone.
    pub(crate) hides_values: bool,
    /// Fields that are left to others.
    pub(crate) ignored: Arc<Vec<Ignored>>,
}

impl How {
    /// As a plan wants it, and with drift corrected.
    pub(crate) fn of(plan: &ApplyPlan) -> Self {
        Self {
            force: plan.force,
            on_error: plan.on_error,
            ..Self::default()
        }
    }

    fn drift_of(&self, desired: &Desired) -> DriftMode {
        drift_of(desired).ok().flatten().unwrap_or(self.drift)
    }
}

impl fmt::Debug for Applier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Applier").finish_non_exhaustive()
    }
}

impl Applier {
    pub(crate) fn new(client: Client, manager: &'static str) -> Self {
        Self {
            client,
            manager,
            account: String::new(),
            kinds: Mutex::default(),
            habits: Habits::default(),
            live: None,
        }
    }

    /// An applier that knows what it has applied, and asks for nothing that has not changed since.
    pub(crate) fn watching(client: Client, manager: &'static str, live: Arc<Live>) -> Self {
        Self {
            live: Some(live),
            ..Self::new(client, manager)
        }
    }

    pub(crate) fn with(self, habits: Habits) -> Self {
        Self { habits, ..self }
    }

    /// What another account has applied, this one asks for again: it may not be allowed to.
    pub(crate) fn named(self, account: &str) -> Self {
        Self {
            account: account.to_owned(),
            ..self
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    fn hash(&self, desired: &Desired) -> Hash {
        account_hash(&self.account, desired.hash)
    }

    /// True if the object is as it was applied from this manifest.
    fn is_unchanged(&self, desired: &Desired) -> bool {
        let Some(live) = &self.live else {
            return false;
        };
        let Known::Shape(shape) = live.get(&desired.reference) else {
            return false;
        };
        live.records().is_applied(
            &desired.reference,
            &self.hash(desired),
            &shape,
            Timestamp::now(),
        )
    }

    /// Takes note of what was applied, and watches its kind.
    fn applied(&self, desired: &Desired, patched: &ObjectMeta) {
        let Some(live) = &self.live else {
            return;
        };
        live.records().end(
            &desired.reference,
            self.hash(desired),
            shape(patched),
            Timestamp::now(),
        );
        if let Some((resource, _)) = self.known(&desired.reference) {
            live.watch(&desired.reference, &resource);
        }
    }

    /// Watches the kinds of objects that are about to be applied, and tells who owns which of them already. Of kinds
    /// that may not be watched, or are not there yet, nothing is known.
    pub(crate) async fn owners(&self, objects: &[&ObjectRef]) -> Vec<Option<NamespacedName>> {
        let Some(live) = &self.live else {
            return vec![None; objects.len()];
        };
        let mut kinds = BTreeMap::new();
        for object in objects {
            kinds
                .entry((&object.group, &object.version, &object.kind))
                .or_insert(*object);
        }
        for object in kinds.into_values() {
            if let Ok((resource, _)) = self.kind(object).await {
                live.watch(object, &resource);
                live.listed(object).await;
            }
        }
        objects.iter().map(|object| live.owner(object)).collect()
    }

    /// Applies the stages of a wave, one after the other. What earlier stages applied stays. Under
    /// [`OnError::Continue`] objects that the server does not take are left out and named with the rest.
    pub(crate) async fn apply(
        &self,
        wave: &Wave,
        how: &How,
    ) -> (ChangeSet, Result<(), ApplyError>) {
        let (mut changes, mut failed) = (ChangeSet::default(), Vec::new());
        for stage in &wave.0 {
            let result = self
                .apply_stage(stage, how, &mut changes, &mut failed)
                .await;
            if result.is_err() {
                return (changes, result);
            }
            if !failed.is_empty() && how.on_error == OnError::Stop {
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

    async fn apply_stage(
        &self,
        stage: &[Desired],
        how: &How,
        changes: &mut ChangeSet,
        failed: &mut Vec<ObjectFailure>,
    ) -> Result<(), ApplyError> {
        let represented = self.represented(stage, how).await;
        let tries = stage.iter().enumerate().map(|(place, desired)| {
            if represented.contains(&place) {
                let fits = Tried::Fits {
                    version: None,
                    is_foreign: false,
                    adjusted: None,
                };
                std::future::ready(Ok(fits)).boxed()
            } else {
                self.try_one(desired, how).boxed()
            }
        });
        let mut tried = Vec::new();
        for (desired, result) in stage.iter().zip(self.in_order(tries.collect()).await) {
            match result {
                Ok(outcome) => tried.push((desired, outcome)),
                Err(reason) => failed.push(ObjectFailure::new(desired, reason)),
            }
        }
        if !failed.is_empty() && how.on_error == OnError::Stop {
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
                Err(reason) => failed.push(ObjectFailure::new(desired, reason)),
            }
        }
        if !failed.is_empty() && how.on_error == OnError::Stop {
            return Ok(());
        }
        self.wait_established(&applied).await
    }

    /// Waits for requests, several at once. A slow one holds up no other; the answers are in the order of the requests.
    pub(super) async fn in_order<T>(
        &self,
        requests: Vec<BoxFuture<'_, Result<T, String>>>,
    ) -> Vec<Result<T, String>> {
        let mut placed = Vec::new();
        for (place, request) in requests.into_iter().enumerate() {
            placed.push(request.map(move |answer| (place, answer)));
        }
        let answers = futures::stream::iter(placed).buffer_unordered(self.habits.concurrency);
        let mut answers: Vec<_> = answers.collect().await;
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Deletes an object and waits until it is gone.
    async fn make_room(&self, reference: &ObjectRef, uid: Option<String>) -> Result<(), String> {
        let api = self.api(reference).await?;
        let preconditions = Preconditions {
            uid,
            resource_version: None,
        };
        let params = DeleteParams::background().preconditions(preconditions);
        match api.delete(&reference.name, &params).await {
            Ok(_) => {}
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(describe(&error)),
        }
        let deadline = tokio::time::Instant::now() + STAGE_TIMEOUT;
        while api
            .get_metadata_opt(&reference.name)
            .await
            .map_err(|error| describe(&error))?
            .is_some()
        {
            if tokio::time::Instant::now() >= deadline {
                return Err("it was deleted to be made anew, and is not gone yet".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Makes the fields of former managers ours. What they own and the manifest does not have goes with the apply.
    async fn take_over(&self, reference: &ObjectRef) -> Result<(), String> {
        let api = self.api(reference).await?;
        let live = api.get_metadata_opt(&reference.name).await;
        let Some(live) = live.map_err(|error| describe(&error))? else {
            return Ok(());
        };
        let metadata = live.metadata;
        let fields = metadata.managed_fields.unwrap_or_default();
        let Some(fields) = take_over(&fields, self.manager, &self.habits.override_managers) else {
            return Ok(());
        };
        let mut operations = vec![
            json!({"op": "replace", "path": "/metadata/managedFields", "value": fields}),
            json!({"op": "replace", "path": "/metadata/resourceVersion", "value": metadata.resource_version}),
        ];
        if metadata
            .annotations
            .is_some_and(|all| all.contains_key(LAST_APPLIED))
        {
            let path = format!("/metadata/annotations/{}", LAST_APPLIED.replace('/', "~1"));
            operations.push(json!({"op": "remove", "path": path}));
        }
        let patch: json_patch::Patch =
            serde_json::from_value(Value::Array(operations)).map_err(|error| error.to_string())?;
        let params = PatchParams {
            field_manager: Some(self.manager.to_owned()),
            ..PatchParams::default()
        };
        let patch: Patch<()> = Patch::Json(patch);
        let patched = api.patch_metadata(&reference.name, &params, &patch).await;
        patched
            .map(drop)
            .map_err(|error| describe_about(reference, &error))
    }

    async fn apply_one(&self, desired: &Desired, tried: Tried) -> Result<Change, String> {
        if let (Tried::Fits { .. } | Tried::Immutable { .. }, Some(live)) = (&tried, &self.live) {
            let unit = unit_of(&desired.manifest);
            live.records().begin(&desired.reference, &unit);
        }
        let (before, is_foreign, adjusted) = match tried {
            Tried::Unchanged => return Ok(Change::Unchanged),
            Tried::Present(reason) => return Ok(Change::Skipped(reason)),
            Tried::Drifted(changes) => return Ok(Change::Drifted(changes)),
            Tried::Fits {
                version,
                is_foreign,
                adjusted,
            } => (version, is_foreign, adjusted),
            Tried::Immutable { uid } => {
                tracing::info!(object = %desired.reference, "deleted to be made anew");
                self.make_room(&desired.reference, uid).await?;
                (None, false, None)
            }
        };
        if is_foreign {
            self.take_over(&desired.reference).await?;
        }
        let reference = &desired.reference;
        let is_namespace = reference.kind == "Namespace" && reference.group.is_empty();
        if before.is_some() && is_namespace && self.live.is_some() {
            self.mark_existing(reference).await?;
        }
        let params = PatchParams::apply(self.manager).force();
        failpoints::point("apply");
        let manifest = adjusted.as_deref().unwrap_or(&desired.manifest);
        let patched = self.patch(&desired.reference, manifest, &params).await?;
        failpoints::point("applied");
        self.applied(desired, &patched.metadata);
        Ok(match before {
            None => Change::Created,
            before if before == patched.metadata.resource_version => Change::Unchanged,
            _ => Change::Configured,
        })
    }

    /// Notes on a namespace that nobody owns that it was there before: what is in it is not all of ours, so it is never pruned. Under a
    /// manager of its own, so that the note outlives what is applied.
    async fn mark_existing(&self, reference: &ObjectRef) -> Result<(), String> {
        let note = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": reference.name, "annotations": {EXISTED: "true"}},
        });
        let api = self.api(reference).await?;
        let live = api.get_metadata_opt(&reference.name).await;
        let live = live.map_err(|error| describe(&error))?;
        // One that a Kustomization has applied before was looked at then.
        if live.is_none_or(|live| live.labels().contains_key(OWNER_NAME)) {
            return Ok(());
        }
        let params = PatchParams::apply("overlayd-existed").force();
        let patched = api
            .patch_metadata(&reference.name, &params, &Patch::Apply(&note))
            .await;
        patched.map(drop).map_err(|error| describe(&error))
    }

    async fn patch(
        &self,
        reference: &ObjectRef,
        manifest: &Value,
        params: &PatchParams,
    ) -> Result<Slim, String> {
        let api: Api<Slim> = self.api_as(reference).await?;
        let patch = Patch::Apply(manifest);
        // The rest of the answer would only be read and dropped.
        let patched = api.patch(&reference.name, params, &patch).await;
        patched.map_err(|error| describe_about(reference, &error))
    }

    /// Waits until the definitions of a stage are established and its namespaces active.
    async fn wait_established(&self, stage: &[&Desired]) -> Result<(), ApplyError> {
        let deadline = tokio::time::Instant::now() + STAGE_TIMEOUT;
        for desired in stage {
            let reference = &desired.reference;
            if !matches!(&*reference.kind, "CustomResourceDefinition" | "Namespace") {
                continue;
            }
            while !self.is_usable(desired).await {
                if tokio::time::Instant::now() >= deadline {
                    return Err(ApplyError::NotEstablished(reference.to_string()));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    async fn is_usable(&self, desired: &Desired) -> bool {
        let reference = &desired.reference;
        let Ok(Some(live)) = self.get(reference).await else {
            return false;
        };
        if reference.kind == "Namespace" {
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
            if self
                .kind(&ObjectRef::new(&api_version, &kind, "", ""))
                .await
                .is_err()
            {
                return false;
            }
        }
        true
    }
}

/// The Kustomization that owns a manifest.
fn unit_of(manifest: &Value) -> NamespacedName {
    let label = |name: &str| {
        let label = manifest["metadata"]["labels"][name].as_str();
        label.unwrap_or_default().to_owned()
    };
    NamespacedName::new(label(OWNER_NAMESPACE), label(OWNER_NAME))
}

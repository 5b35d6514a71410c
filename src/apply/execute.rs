//! Talks to the API server: carries out an apply plan, stage by stage, and the prune after it.
//!
//! Each stage is tried as a whole (server-side dry run) before any object of it changes, and all that is
//! wrong with it is reported at once. What earlier stages applied stays.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::{GroupVersionKind, ObjectMeta};
use kube::discovery::{ApiCapabilities, Scope};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::ObjectRef;
use super::live::{Known, Live};
use super::plan::{ApplyPlan, Desired, OWNER_NAME, OWNER_NAMESPACE, Owner, control, keeps};
use super::records::{manifest_hash, shape};
use super::takeover::take_over;
use crate::causes::causes;

/// The name under which the daemon owns fields.
pub(crate) const FIELD_MANAGER: &str = "overlayd";
/// The name under which fields are owned that a person or the start of the daemon applied.
pub(crate) const BOOTSTRAP_MANAGER: &str = "overlayd-bootstrap";
/// What kubectl remembers of an apply.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// How many requests of one stage are in flight.
const CONCURRENCY: usize = 8;
/// How long definitions and namespaces may take to become usable.
const STAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// What happened to one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Created,
    Configured,
    Unchanged,
    Deleted,
    Skipped,
}

/// What happened, object by object.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChangeSet(pub(crate) Vec<(ObjectRef, Change)>);

/// Why an apply stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("{}", failures(.0))]
    Refused(Vec<ObjectFailure>),
    #[error("{} to prune: {}", count(.0.len()), failures(.0))]
    Prune(Vec<ObjectFailure>),
    #[error("timed out waiting for {0}")]
    NotEstablished(String),
}

/// One object that the API server did not take.
#[derive(Debug)]
pub(crate) struct ObjectFailure {
    pub(crate) object: ObjectRef,
    pub(crate) source: Option<String>,
    pub(crate) reason: String,
}

fn count(objects: usize) -> String {
    format!(
        "{objects} object{} failed",
        if objects == 1 { "" } else { "s" }
    )
}

fn failures(failures: &[ObjectFailure]) -> String {
    failures
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

impl fmt::Display for ObjectFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.object)?;
        if let Some(source) = &self.source {
            write!(formatter, " (from {source})")?;
        }
        write!(formatter, ": {}", self.reason)
    }
}

impl ChangeSet {
    /// The objects that were really changed, one per line, as Flux reports them.
    pub(crate) fn describe_changes(&self) -> String {
        let changed = self
            .0
            .iter()
            .filter(|(_, change)| !matches!(change, Change::Unchanged | Change::Skipped));
        changed
            .map(|(object, change)| format!("{object} {change}"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::Skipped => "skipped",
        })
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
    /// What is watched of what was applied; nothing for whom applies once.
    live: Option<Arc<Live>>,
}

impl fmt::Debug for Applier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Applier").finish_non_exhaustive()
    }
}

/// What a dry run told of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tried {
    /// It is known to be as it was applied, so nothing was asked.
    Unchanged,
    /// It would be applied.
    Fits {
        /// The version that it has now, if it is there.
        version: Option<String>,
        /// Others own fields of it that are to be ours.
        is_foreign: bool,
    },
    /// It is there, and wants to be left as it is.
    Present,
    /// It can only be deleted and made anew.
    Immutable { uid: Option<String> },
}

impl Applier {
    pub(crate) fn new(client: Client, manager: &'static str) -> Self {
        Self {
            client,
            manager,
            account: String::new(),
            kinds: Mutex::default(),
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

    /// True if the object is as it was applied from this manifest.
    fn is_unchanged(&self, desired: &Desired) -> bool {
        let Some(live) = &self.live else {
            return false;
        };
        let Known::Shape(shape) = live.get(&desired.reference) else {
            return false;
        };
        let hash = manifest_hash(&self.account, &desired.manifest);
        live.records().is_applied(&desired.reference, &hash, &shape)
    }

    /// Takes note of what was applied, and watches its kind.
    fn applied(&self, desired: &Desired, patched: &ObjectMeta) {
        let Some(live) = &self.live else {
            return;
        };
        let hash = manifest_hash(&self.account, &desired.manifest);
        live.records().end(&desired.reference, hash, shape(patched));
        let key = (
            desired.reference.group.clone(),
            desired.reference.version.clone(),
            desired.reference.kind.clone(),
        );
        let kinds = self
            .kinds
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((resource, _)) = kinds.get(&key) {
            live.watch(&desired.reference, resource);
        }
    }

    /// Applies all stages. Stops at the first stage that fails; earlier ones stay applied.
    pub(crate) async fn apply(&self, plan: &ApplyPlan) -> Result<ChangeSet, ApplyError> {
        let mut changes = ChangeSet::default();
        for stage in &plan.stages {
            let tries = stage
                .iter()
                .map(|desired| self.try_one(desired, plan.force).boxed());
            let tried = in_order(stage, tries.collect()).await?;
            let works = stage.iter().zip(tried);
            let works = works.map(|(desired, tried)| self.apply_one(desired, tried).boxed());
            let applied = in_order(stage, works.collect()).await?;
            let objects = stage.iter().map(|desired| desired.reference.clone());
            changes.0.extend(objects.zip(applied));
            self.wait_established(stage).await?;
        }
        let skipped = plan
            .skipped
            .iter()
            .map(|(object, _)| (object.clone(), Change::Skipped));
        changes.0.extend(skipped);
        Ok(changes)
    }

    /// Asks the server whether it would take an object.
    async fn try_one(&self, desired: &Desired, force: bool) -> Result<Tried, String> {
        if self.is_unchanged(desired) {
            return Ok(Tried::Unchanged);
        }
        let reference = &desired.reference;
        let api = self.api(reference).await?;
        let params = PatchParams::apply(self.manager).force().dry_run();
        let patch = Patch::Apply(&desired.manifest);
        let tried = match api.patch(&reference.name, &params, &patch).await {
            Ok(tried) => tried,
            Err(error) => {
                let told = hide_values(reference, &describe(&error));
                if !is_immutable(&error) {
                    return Err(told);
                }
                if !force && !control(&desired.manifest, "force", "enabled") {
                    return Err(format!(
                        "{told}; `force: true` deletes the object and makes it anew"
                    ));
                }
                return self
                    .try_anew(&api, desired)
                    .await
                    .map_err(|reason| format!("{told}; and it could not be made anew: {reason}"));
            }
        };
        // One that would be created has no version yet.
        let version = tried.metadata.resource_version;
        let version = version.filter(|version| !version.is_empty());
        if version.is_some() && control(&desired.manifest, "ssa", "IfNotPresent") {
            return Ok(Tried::Present);
        }
        let fields = tried.metadata.managed_fields.unwrap_or_default();
        let merges = control(&desired.manifest, "ssa", "Merge");
        Ok(Tried::Fits {
            version,
            is_foreign: !merges && take_over(&fields, self.manager).is_some(),
        })
    }

    /// Asks whether the object could be made anew, under another name, for its own is taken.
    async fn try_anew(&self, api: &Api<DynamicObject>, desired: &Desired) -> Result<Tried, String> {
        let live = api.get_opt(&desired.reference.name).await;
        let live = live.map_err(|error| describe(&error))?;
        let uid = live.and_then(|live| live.uid());
        let mut manifest = desired.manifest.clone();
        manifest["metadata"]["name"] = json!(format!("{}-anew", desired.reference.name));
        let object: DynamicObject =
            serde_json::from_value(manifest).map_err(|error| error.to_string())?;
        let params = PostParams {
            dry_run: true,
            field_manager: Some(self.manager.to_owned()),
        };
        match api.create(&params, &object).await {
            Ok(_) => Ok(Tried::Immutable { uid }),
            Err(error) => Err(hide_values(&desired.reference, &describe(&error))),
        }
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
            Err(kube::Error::Api(status)) if status.code == 404 => {}
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
        let Some(fields) = take_over(&fields, self.manager) else {
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
            .map_err(|error| hide_values(reference, &describe(&error)))
    }

    async fn apply_one(&self, desired: &Desired, tried: Tried) -> Result<Change, String> {
        if let (Tried::Fits { .. } | Tried::Immutable { .. }, Some(live)) = (&tried, &self.live) {
            let unit = unit_of(&desired.manifest);
            live.records().begin(&desired.reference, &unit);
        }
        let (before, is_foreign) = match tried {
            Tried::Unchanged => return Ok(Change::Unchanged),
            Tried::Present => return Ok(Change::Skipped),
            Tried::Fits {
                version,
                is_foreign,
            } => (version, is_foreign),
            Tried::Immutable { uid } => {
                tracing::info!(object = %desired.reference, "deleted to be made anew");
                self.make_room(&desired.reference, uid).await?;
                (None, false)
            }
        };
        if is_foreign {
            self.take_over(&desired.reference).await?;
        }
        let params = PatchParams::apply(self.manager).force();
        let patched = self.patch(desired, &params).await?;
        self.applied(desired, &patched.metadata);
        Ok(match before {
            None => Change::Created,
            before if before == patched.metadata.resource_version => Change::Unchanged,
            _ => Change::Configured,
        })
    }

    async fn patch(
        &self,
        desired: &Desired,
        params: &PatchParams,
    ) -> Result<DynamicObject, String> {
        let reference = &desired.reference;
        let api = self.api(reference).await?;
        let patch = Patch::Apply(&desired.manifest);
        let patched = api.patch(&reference.name, params, &patch).await;
        patched.map_err(|error| hide_values(reference, &describe(&error)))
    }

    /// The API of an object's kind. A namespaced object must say its namespace.
    async fn api(&self, reference: &ObjectRef) -> Result<Api<DynamicObject>, String> {
        let (resource, namespaced) = self.kind(reference).await?;
        match (namespaced, reference.namespace.as_str()) {
            (false, _) => Ok(Api::all_with(self.client.clone(), &resource)),
            (true, "") => {
                Err("namespace not specified; set `namespace` in the kustomization".to_owned())
            }
            (true, namespace) => Ok(Api::namespaced_with(
                self.client.clone(),
                namespace,
                &resource,
            )),
        }
    }

    async fn kind(&self, reference: &ObjectRef) -> Result<(ApiResource, bool), String> {
        let key = (
            reference.group.clone(),
            reference.version.clone(),
            reference.kind.clone(),
        );
        let known = self
            .kinds
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let gvk = GroupVersionKind::gvk(&reference.group, &reference.version, &reference.kind);
        let found = kube::discovery::pinned_kind(&self.client, &gvk).await;
        let (resource, capabilities): (ApiResource, ApiCapabilities) =
            found.map_err(|error| match &error {
                kube::Error::Api(status) if status.code == 404 => no_such_kind(reference),
                kube::Error::Discovery(_) => no_such_kind(reference),
                _ => describe(&error),
            })?;
        let entry = (resource, capabilities.scope == Scope::Namespaced);
        self.kinds
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(key, entry.clone());
        Ok(entry)
    }

    /// Waits until the definitions of a stage are established and its namespaces active.
    async fn wait_established(&self, stage: &[Desired]) -> Result<(), ApplyError> {
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

    /// Deletes what left the set, if it is still ours. All are tried; those that failed are named.
    pub(crate) async fn prune(
        &self,
        objects: &[ObjectRef],
        owner: &Owner,
    ) -> (ChangeSet, Result<(), ApplyError>) {
        let (mut changes, mut failed) = (ChangeSet::default(), Vec::new());
        for object in objects {
            match self.delete(object, owner).await {
                Ok(change) => changes.0.push((object.clone(), change)),
                Err(reason) => failed.push(ObjectFailure {
                    object: object.clone(),
                    source: None,
                    reason,
                }),
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
            return Ok(Change::Skipped);
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
        match api.delete(&object.name, &params).await {
            Ok(_) => Ok(Change::Deleted),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Change::Deleted),
            Err(error) => Err(describe(&error)),
        }
    }

    /// The live object, for waits and messages.
    pub(crate) async fn get(&self, reference: &ObjectRef) -> Result<Option<Value>, String> {
        let api = self.api(reference).await?;
        let live = api
            .get_opt(&reference.name)
            .await
            .map_err(|error| describe(&error))?;
        live.map(|live| serde_json::to_value(live).map_err(|error| error.to_string()))
            .transpose()
    }
}

/// Waits for requests about the objects of a stage, several at once; all that fail are named.
async fn in_order<T>(
    stage: &[Desired],
    requests: Vec<BoxFuture<'_, Result<T, String>>>,
) -> Result<Vec<T>, ApplyError> {
    let results: Vec<_> = futures::stream::iter(requests)
        .buffered(CONCURRENCY)
        .collect()
        .await;
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (desired, result) in stage.iter().zip(results) {
        match result {
            Ok(result) => done.push(result),
            Err(reason) => failed.push(ObjectFailure {
                object: desired.reference.clone(),
                source: desired.source.clone(),
                reason,
            }),
        }
    }
    if failed.is_empty() {
        Ok(done)
    } else {
        Err(ApplyError::Refused(failed))
    }
}

/// True if all that the server minds are fields that cannot change.
fn is_immutable(error: &kube::Error) -> bool {
    const WORDS: [&str; 4] = [
        "field is immutable",
        "is immutable",
        "may not change once set",
        "updates to statefulset spec for fields other than",
    ];
    let says = |text: &str| WORDS.iter().any(|words| text.contains(words));
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let causes: Vec<&str> = causes.map(|cause| cause.message.as_str()).collect();
    status.code == 422 && !causes.is_empty() && causes.iter().all(|cause| says(cause))
}

/// The Kustomization that owns a manifest.
fn unit_of(manifest: &Value) -> (String, String) {
    let label = |name: &str| {
        let label = manifest["metadata"]["labels"][name].as_str();
        label.unwrap_or_default().to_owned()
    };
    (label(OWNER_NAMESPACE), label(OWNER_NAME))
}

fn no_such_kind(reference: &ObjectRef) -> String {
    format!(
        "no matches for kind `{}` in version `{}`; is its definition applied first?",
        reference.kind,
        reference.api_version()
    )
}

/// The server's own words, without the wrapping.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => causes(other),
    }
}

/// The server quotes what it refuses, and in a Secret that may be a value.
fn hide_values(reference: &ObjectRef, message: &str) -> String {
    if reference.kind == "Secret" && reference.group.is_empty() && message.contains("Invalid value")
    {
        return "the API server refuses it as invalid (details are left out, since they may quote a value)".to_owned();
    }
    message.to_owned()
}

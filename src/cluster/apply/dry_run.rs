//! Talks to the API server: asks whether it would take objects, before any of them changes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use overlayd_core::apply::desired::Desired;
use overlayd_core::apply::drift::{Difference, DriftMode, differences};
use overlayd_core::apply::ignore_rules::IgnoredFields;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::plain::is_plain;
use overlayd_core::apply::skip::{Skip, control};
use overlayd_core::apply::takeover::{leaves_nothing, take_over};

use crate::cluster::apply::error::RequestError;
use crate::cluster::apply::{Applier, ApplyOptions, FormerManagers};

/// What is to be done with an object, by the answer to its dry run.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum DryRunDecision {
    /// It is known to be as it was applied, so that it needs no request.
    Unchanged,
    /// A former manager has left it as it should be.
    AsLeft(Box<ObjectMeta>),
    /// It would be applied.
    Fits {
        /// Its resource version, if it exists.
        version: Option<String>,
        /// Other managers own fields of it that are to be taken over.
        is_foreign: bool,
        /// The manifest without the fields that are left to other managers, if there are such fields.
        adjusted: Option<Box<Value>>,
    },
    /// It exists and is left as it is.
    Present(Skip),
    /// Other managers have changed it, in these fields, and it is not to be corrected.
    Drifted(Vec<String>),
    /// It can only be deleted and created again.
    Immutable { uid: Option<String> },
}

/// Of more plain objects than this in one namespace, one represents all in the dry run.
const MANY: usize = 16;

impl Applier {
    /// The places of objects of a stage that need no dry run, since another one represents them: they are new, every
    /// field was checked here, and no webhook or policy can refuse them.
    pub(super) async fn represented(
        &self,
        stage: &[Desired],
        options: &ApplyOptions,
    ) -> BTreeSet<usize> {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, desired) in stage.iter().enumerate() {
            let is_simple = options.drift_of(desired) == DriftMode::Correct
                && self.contested_by(desired).is_none();
            if is_simple && is_plain(desired) && !self.is_unchanged(desired) {
                groups
                    .entry(&desired.reference.namespace)
                    .or_default()
                    .push(place);
            }
        }
        groups.retain(|_, places| places.len() > MANY);
        if groups.is_empty() || self.others_decide().await {
            return BTreeSet::new();
        }
        let mut represented = BTreeSet::new();
        for places in groups.into_values() {
            let Ok(there) = self.names(&stage[places[0]]).await else {
                continue;
            };
            let new = places
                .into_iter()
                .filter(|place| !there.contains(&stage[*place].reference.name));
            represented.extend(new.skip(1));
        }
        represented
    }

    /// The names of all objects of a kind in a namespace.
    async fn names(&self, desired: &Desired) -> Result<BTreeSet<String>, RequestError> {
        let api = self.api(&desired.reference).await?;
        let (mut names, mut params) = (BTreeSet::new(), ListParams::default().limit(1000));
        loop {
            let page = api.list_metadata(&params).await?;
            names.extend(page.items.iter().map(ResourceExt::name_any));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(names),
            }
        }
    }

    /// True if webhooks or policies might refuse or change objects; also if that cannot be known.
    async fn others_decide(&self) -> bool {
        let params = ListParams::default().limit(1);
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let policies: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client.clone());
        let (mutating, validating, policies) = futures::join!(
            mutating.list_metadata(&params),
            validating.list_metadata(&params),
            policies.list_metadata(&params),
        );
        !(mutating.is_ok_and(|list| list.items.is_empty())
            && validating.is_ok_and(|list| list.items.is_empty())
            && policies.is_ok_and(|list| list.items.is_empty()))
    }

    /// Asks the server whether it would take an object.
    pub(super) async fn try_one(
        &self,
        desired: &Desired,
        options: &ApplyOptions,
    ) -> Result<DryRunDecision, RequestError> {
        if self.is_unchanged(desired) {
            return Ok(DryRunDecision::Unchanged);
        }
        if let Some(manager) = self.contested_by(desired) {
            return Ok(DryRunDecision::Drifted(vec![format!(
                "left alone for a while, since `{manager}` changes it again and again"
            )]));
        }
        let mode = options.drift_of(desired);
        if mode != DriftMode::Correct && (options.is_same_build || self.was_applied(desired)) {
            return self.drifted(desired, mode, options).await;
        }
        let api = self.api(&desired.reference).await?;
        let adjusted = self.adjusted(&api, desired, options).await?;
        let manifest = adjusted.as_deref().unwrap_or(&desired.manifest);
        let tried = match self.dry_run(&api, &desired.reference, manifest).await {
            Ok(tried) => tried,
            Err(error) => return self.refused(&api, desired, options, error).await,
        };
        // The answer has the labels and annotations of the live object too.
        let left_alone = left_alone(desired, &tried);
        // One that would be created has no version yet.
        let version = tried.metadata.resource_version.clone();
        let version = version.filter(|version| !version.is_empty());
        if let (Some(_), Some(reason)) = (&version, left_alone) {
            return Ok(DryRunDecision::Present(reason));
        }
        if version.is_some() && self.is_as_left(&api, desired, options, &tried).await? {
            return Ok(DryRunDecision::AsLeft(Box::new(tried.metadata)));
        }
        let fields = tried.metadata.managed_fields.unwrap_or_default();
        let merges = options.former_managers == FormerManagers::Keep
            || control(&desired.manifest, "ssa", "Merge");
        Ok(DryRunDecision::Fits {
            version,
            is_foreign: !merges
                && take_over(&fields, self.manager, &self.config.override_managers).is_some(),
            adjusted,
        })
    }

    /// True if kubectl or Flux own the object, and an apply would change nothing of it but the owner of its fields.
    async fn is_as_left(
        &self,
        api: &Api<DynamicObject>,
        desired: &Desired,
        options: &ApplyOptions,
        tried: &DynamicObject,
    ) -> Result<bool, RequestError> {
        let fields = tried.metadata.managed_fields.as_deref().unwrap_or_default();
        let others = &self.config.override_managers;
        let is_foreign = take_over(fields, self.manager, others).is_some();
        if options.former_managers == FormerManagers::Keep
            || !is_foreign
            || !leaves_nothing(fields, self.manager, others)
        {
            return Ok(false);
        }
        let Some(live) = api.get_opt(&desired.reference.name).await? else {
            return Ok(false);
        };
        let (live, tried) = (serde_json::to_value(live)?, serde_json::to_value(tried)?);
        Ok(differences(&desired.reference, &live, &tried).is_empty())
    }

    async fn dry_run(
        &self,
        api: &Api<DynamicObject>,
        reference: &ObjectRef,
        manifest: &Value,
    ) -> Result<DynamicObject, kube::Error> {
        let params = PatchParams::apply(self.manager).force().dry_run();
        api.patch(&reference.name, &params, &Patch::Apply(manifest))
            .await
    }

    /// The manifest of an existing object as it is applied, if fields are left to other managers.
    async fn adjusted(
        &self,
        api: &Api<DynamicObject>,
        desired: &Desired,
        options: &ApplyOptions,
    ) -> Result<Option<Box<Value>>, RequestError> {
        let rules: Vec<&IgnoredFields> = options
            .ignored
            .iter()
            .filter(|rule| rule.is_for(&desired.manifest))
            .collect();
        if rules.is_empty() {
            return Ok(None);
        }
        let Some(mut live) = api.get_opt(&desired.reference.name).await? else {
            return Ok(None);
        };
        let managers = live.metadata.managed_fields.take().unwrap_or_default();
        let live = serde_json::to_value(&live)?;
        let mut manifest = desired.manifest.clone();
        for rule in rules {
            rule.leave(&mut manifest, &live, &managers, self.manager);
        }
        Ok(Some(Box::new(manifest)))
    }

    /// What can be done about an object that the server refuses.
    async fn refused(
        &self,
        api: &Api<DynamicObject>,
        desired: &Desired,
        options: &ApplyOptions,
        error: kube::Error,
    ) -> Result<DryRunDecision, RequestError> {
        // An object that asks to be left is left, also where the server would not accept the manifest.
        let live = api.get_opt(&desired.reference.name).await?;
        if let Some(skip) = live.as_ref().and_then(|live| left_alone(desired, live)) {
            return Ok(DryRunDecision::Present(skip));
        }
        let is_immutable = is_immutable(&error);
        let refused = RequestError::about(&desired.reference, error);
        if !is_immutable {
            return Err(refused);
        }
        if !options.force && !control(&desired.manifest, "force", "enabled") {
            return Err(RequestError::Immutable(Box::new(refused)));
        }
        let uid = live.and_then(|live| live.uid());
        let recreated = self.try_recreate(api, desired, uid).await;
        recreated.map_err(|reason| RequestError::NotRecreated {
            refused: Box::new(refused),
            reason: Box::new(reason),
        })
    }

    /// Asks whether the object could be created again, under another name, since its own is taken.
    async fn try_recreate(
        &self,
        api: &Api<DynamicObject>,
        desired: &Desired,
        uid: Option<String>,
    ) -> Result<DryRunDecision, RequestError> {
        let mut manifest = desired.manifest.clone();
        manifest["metadata"]["name"] = json!(format!("{}-anew", desired.reference.name));
        let object: DynamicObject = serde_json::from_value(manifest)?;
        let params = PostParams {
            dry_run: true,
            field_manager: Some(self.manager.to_owned()),
        };
        match api.create(&params, &object).await {
            Ok(_) => Ok(DryRunDecision::Immutable { uid }),
            Err(error) => Err(RequestError::about(&desired.reference, error)),
        }
    }

    /// The changes of other managers in an object that is not to be corrected.
    async fn drifted(
        &self,
        desired: &Desired,
        mode: DriftMode,
        options: &ApplyOptions,
    ) -> Result<DryRunDecision, RequestError> {
        if mode == DriftMode::Ignore {
            return Ok(DryRunDecision::Present(Skip::DriftIgnored));
        }
        Ok(match self.predict(desired, options).await? {
            PredictedChange::Create => DryRunDecision::Drifted(vec!["it is gone".to_owned()]),
            PredictedChange::Change(changes) if changes.is_empty() => {
                DryRunDecision::Present(Skip::DriftIgnored)
            }
            PredictedChange::Change(changes) => {
                DryRunDecision::Drifted(changes.iter().map(ToString::to_string).collect())
            }
        })
    }

    /// What an apply would do, without doing it.
    ///
    /// # Errors
    /// The server refuses the object.
    pub(crate) async fn predict(
        &self,
        desired: &Desired,
        options: &ApplyOptions,
    ) -> Result<PredictedChange, RequestError> {
        let reference = &desired.reference;
        let api = self.api(reference).await?;
        let live = api.get_opt(&reference.name).await?;
        if live
            .as_ref()
            .is_some_and(|live| left_alone(desired, live).is_some())
        {
            return Ok(PredictedChange::Change(Vec::new()));
        }
        let adjusted = self.adjusted(&api, desired, options).await?;
        let manifest = adjusted.as_deref().unwrap_or(&desired.manifest);
        let tried = self.dry_run(&api, reference, manifest).await;
        let tried = tried.map_err(|error| RequestError::about(reference, error))?;
        let Some(live) = live else {
            return Ok(PredictedChange::Create);
        };
        let (live, tried) = (serde_json::to_value(live)?, serde_json::to_value(tried)?);
        let mut changes = differences(reference, &live, &tried);
        if options.hides_values {
            changes.iter_mut().for_each(Difference::hide);
        }
        Ok(PredictedChange::Change(changes))
    }

    /// The manager to which a contested object is left for now.
    fn contested_by(&self, desired: &Desired) -> Option<String> {
        let last_applied = self.live.as_ref()?.last_applied();
        last_applied.contested_by(&desired.reference, Timestamp::now())
    }

    /// True if the object was applied from this manifest before, also if it has changed since.
    fn was_applied(&self, desired: &Desired) -> bool {
        let Some(live) = &self.live else {
            return false;
        };
        live.last_applied()
            .was_applied(&desired.reference, &self.hash(desired))
    }
}

/// What an apply would do to an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PredictedChange {
    Create,
    /// Nothing, if nothing differs.
    Change(Vec<Difference>),
}

/// Why an existing object is left as it is, if it or its manifest asks for it.
fn left_alone(desired: &Desired, live: &DynamicObject) -> Option<Skip> {
    let once = control(&desired.manifest, "ssa", "IfNotPresent").then_some(Skip::IfNotPresent);
    let says = json!({"metadata": {"labels": live.labels(), "annotations": live.annotations()}});
    once.or_else(|| Skip::opt_out(&says))
}

/// True if the server refuses nothing but changes of fields that cannot change.
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

//! Talks to the API server: asks whether it would take objects, before any of them changes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use serde_json::{Value, json};

use overlayd_core::apply::desired::Desired;
use overlayd_core::apply::drift::{Difference, DriftMode, differences};
use overlayd_core::apply::ignore_rules::IgnoredFields;
use overlayd_core::apply::left_fields;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::plain::is_plain;
use overlayd_core::apply::skip::{Skip, control};
use overlayd_core::apply::takeover::{leaves_nothing, take_over};
use overlayd_core::apply::watched::{WatchedState, last_manager};

use crate::cluster::apply::error::RequestError;
use crate::cluster::apply::{Applier, ApplyOptions, FormerManagers};

/// What is to be done with an object, by the answer to its dry run.
#[derive(Debug, Clone)]
pub(super) enum DryRunDecision {
    /// It is known to be as it was applied, so that it needs no request.
    Unchanged,
    /// It was compared, and an apply would change no field.
    AsApplied(Box<ObjectMeta>),
    /// It would be applied.
    Fits(Fit),
    /// It exists and is left as it is.
    Present(Skip),
    /// Other managers have changed it, in these fields, and it is not to be corrected.
    Drifted(Vec<String>),
    /// It can only be deleted and created again.
    Immutable { uid: Option<String> },
}

/// How an object is applied.
#[derive(Debug, Clone, Default)]
pub(super) struct Fit {
    /// Its resource version, if it exists.
    pub(super) version: Option<String>,
    /// Other managers own fields of it that are to be taken over.
    pub(super) is_foreign: bool,
    /// The manifest without the fields that are left to other managers, if there are such fields.
    pub(super) adjusted: Option<Box<Value>>,
    /// The same manifest was applied before, so that an apply corrects what others have changed.
    pub(super) corrects: bool,
    /// The number of changes that the watch had told before it was tried.
    pub(super) since: u64,
}

/// The answer to a dry run.
struct Tried {
    answer: DynamicObject,
    /// The manifest that was tried, if it is another than that of git.
    adjusted: Option<Box<Value>>,
    age: ManifestAge,
    /// The number of changes that the watch had told before.
    since: u64,
    former: FormerManagers,
}

/// Whether an object was applied from the same manifest before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ManifestAge {
    New,
    AppliedBefore,
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
        if self.is_unchanged(desired) || self.is_spent(desired) {
            return Ok(DryRunDecision::Unchanged);
        }
        if let Some(manager) = self.contested_by(desired) {
            return Ok(left_to(&manager));
        }
        let since = self.changes(desired);
        let mode = options.drift_of(desired);
        let age = self.age(desired, options);
        if mode != DriftMode::Correct && age == ManifestAge::AppliedBefore {
            return self.drifted(desired, mode, options).await;
        }
        let api = self.api(&desired.reference).await?;
        let live = self.live_for(&api, desired, options, age).await?;
        let adjusted = self.adjusted(desired, options, live.as_ref(), age)?;
        let manifest = adjusted.as_deref().unwrap_or(&desired.manifest);
        let tried = match self.dry_run(&api, &desired.reference, manifest).await {
            Ok(tried) => tried,
            Err(error) => return self.refused(&api, desired, options, error).await,
        };
        if let Some(metadata) = self
            .as_left(&api, desired, options, &tried, live.as_ref())
            .await?
        {
            return Ok(DryRunDecision::AsApplied(Box::new(metadata)));
        }
        let tried = Tried {
            answer: tried,
            adjusted,
            age,
            since,
            former: options.former_managers,
        };
        self.decide(desired, live, tried)
    }

    /// Decides by the answer to a dry run. `live` is the object, if it exists and the same manifest was applied before.
    fn decide(
        &self,
        desired: &Desired,
        live: Option<DynamicObject>,
        tried: Tried,
    ) -> Result<DryRunDecision, RequestError> {
        let Tried {
            answer: tried,
            adjusted,
            age,
            since,
            former,
        } = tried;
        // The answer has the labels and annotations of the live object too.
        let left_alone = left_alone(desired, &tried);
        // One that would be created has no version yet.
        let version = tried.metadata.resource_version.clone();
        let version = version.filter(|version| !version.is_empty());
        if let (Some(_), Some(reason)) = (&version, left_alone) {
            return Ok(DryRunDecision::Present(reason));
        }
        let fields = tried.metadata.managed_fields.clone().unwrap_or_default();
        let merges = former == FormerManagers::Keep || control(&desired.manifest, "ssa", "Merge");
        let is_foreign =
            !merges && take_over(&fields, self.manager, &self.config.override_managers).is_some();
        let corrects = age == ManifestAge::AppliedBefore;
        let manager = live.as_ref().map(|live| last_manager(&live.metadata));
        if let Some(live) = live.filter(|_| corrects && !is_foreign) {
            let metadata = live.metadata.clone();
            let (live, tried) = (serde_json::to_value(live)?, serde_json::to_value(tried)?);
            if differences(&desired.reference, &live, &tried).is_empty() {
                return Ok(DryRunDecision::AsApplied(Box::new(metadata)));
            }
        }
        let manager = manager.unwrap_or_else(|| "somebody who deletes it".to_owned());
        if corrects && self.contest(desired, &manager) {
            return Ok(left_to(&manager));
        }
        Ok(DryRunDecision::Fits(Fit {
            version,
            is_foreign,
            adjusted,
            corrects,
            since,
        }))
    }

    /// The metadata of an object that kubectl or Flux own, if an apply would change nothing of it but the owner of its
    /// fields.
    async fn as_left(
        &self,
        api: &Api<DynamicObject>,
        desired: &Desired,
        options: &ApplyOptions,
        tried: &DynamicObject,
        live: Option<&DynamicObject>,
    ) -> Result<Option<ObjectMeta>, RequestError> {
        let fields = tried.metadata.managed_fields.as_deref().unwrap_or_default();
        let others = &self.config.override_managers;
        let is_foreign = take_over(fields, self.manager, others).is_some();
        if options.former_managers == FormerManagers::Keep
            || !is_foreign
            || !leaves_nothing(fields, self.manager, others)
            || left_alone(desired, tried).is_some()
        {
            return Ok(None);
        }
        let live = match live {
            Some(live) => Some(live.clone()),
            None => api.get_opt(&desired.reference.name).await?,
        };
        let Some(live) = live else {
            return Ok(None);
        };
        let metadata = live.metadata.clone();
        let (live, tried) = (serde_json::to_value(live)?, serde_json::to_value(tried)?);
        let changes = differences(&desired.reference, &live, &tried);
        Ok(changes.is_empty().then_some(metadata))
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

    /// The live object, if it decides which fields are applied.
    async fn live_for(
        &self,
        api: &Api<DynamicObject>,
        desired: &Desired,
        options: &ApplyOptions,
        age: ManifestAge,
    ) -> Result<Option<DynamicObject>, RequestError> {
        let mut rules = options.ignored.iter();
        let decides =
            age == ManifestAge::AppliedBefore || rules.any(|rule| rule.is_for(&desired.manifest));
        if !decides {
            return Ok(None);
        }
        Ok(api.get_opt(&desired.reference.name).await?)
    }

    /// The manifest of an existing object as it is applied, if fields are left to other managers: those that the
    /// Kustomization names, and what controllers habitually write, unless the manifest is new.
    fn adjusted(
        &self,
        desired: &Desired,
        options: &ApplyOptions,
        live: Option<&DynamicObject>,
        age: ManifestAge,
    ) -> Result<Option<Box<Value>>, RequestError> {
        let Some(live) = live else {
            return Ok(None);
        };
        let managers = live.metadata.managed_fields.clone().unwrap_or_default();
        let mut manifest = desired.manifest.clone();
        let is_left = age == ManifestAge::AppliedBefore
            && left_fields::leave(&mut manifest, &managers, self.manager);
        let rules = options.ignored.iter();
        let rules: Vec<&IgnoredFields> = rules
            .filter(|rule| rule.is_for(&desired.manifest))
            .collect();
        if rules.is_empty() {
            return Ok(is_left.then(|| Box::new(manifest)));
        }
        let mut live = live.clone();
        live.metadata.managed_fields = None;
        let live = serde_json::to_value(&live)?;
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
        let may_be_immutable = live.is_some() && refuses_a_change(&error);
        let refused = RequestError::about(&desired.reference, error);
        if !may_be_immutable {
            return Err(refused);
        }
        // A manifest that is wrong in itself would be refused for a new object, too.
        match self.try_recreate(api, desired).await {
            Ok(()) => {}
            Err(kube::Error::Api(status)) if status.code == 422 => return Err(refused),
            Err(error) => {
                return Err(RequestError::NotRecreated {
                    refused: Box::new(refused),
                    reason: Box::new(RequestError::about(&desired.reference, error)),
                });
            }
        }
        if !options.force && !control(&desired.manifest, "force", "enabled") {
            return Err(RequestError::Immutable(Box::new(refused)));
        }
        let object = std::slice::from_ref(&desired.reference);
        if let Err(guard) = options.deletion_guard.check(object, 1) {
            return Err(RequestError::Guarded {
                refused: Box::new(refused),
                guard: Box::new(guard),
            });
        }
        let uid = live.and_then(|live| live.uid());
        Ok(DryRunDecision::Immutable { uid })
    }

    /// Asks whether the object could be created, under another name, since its own is taken.
    async fn try_recreate(
        &self,
        api: &Api<DynamicObject>,
        desired: &Desired,
    ) -> Result<(), kube::Error> {
        let mut manifest = desired.manifest.clone();
        manifest["metadata"]["name"] = json!(another_name(&desired.reference.name));
        let object: DynamicObject =
            serde_json::from_value(manifest).map_err(kube::Error::SerdeError)?;
        let params = PostParams {
            dry_run: true,
            field_manager: Some(self.manager.to_owned()),
        };
        api.create(&params, &object).await.map(drop)
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
        let age = self.age(desired, options);
        let adjusted = self.adjusted(desired, options, live.as_ref(), age)?;
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
        let hash = self.hash(desired);
        last_applied.contested_by(&desired.reference, &hash, Timestamp::now())
    }

    /// True if a difference is left to its manager, which has made it again and again.
    fn contest(&self, desired: &Desired, manager: &str) -> bool {
        let Some(live) = &self.live else {
            return false;
        };
        let now = Timestamp::now();
        let is_contested = live
            .last_applied()
            .contest(&desired.reference, manager, now);
        if is_contested {
            tracing::warn!(object = %desired.reference, manager, "corrected again and again; left alone for two minutes, since another manager changes it back each time");
        }
        is_contested
    }

    /// The number of changes of the object that the watch has told.
    pub(super) fn changes(&self, desired: &Desired) -> u64 {
        let live = self.live.as_ref();
        live.map_or(0, |live| live.last_applied().changes(&desired.reference))
    }

    /// True if the object has done its work and was removed for that.
    fn is_spent(&self, desired: &Desired) -> bool {
        let Some(live) = &self.live else {
            return false;
        };
        live.get(&desired.reference) == WatchedState::Missing
            && live
                .last_applied()
                .is_spent(&desired.reference, &self.hash(desired))
    }

    fn age(&self, desired: &Desired, options: &ApplyOptions) -> ManifestAge {
        let was_applied = self.live.as_ref().is_some_and(|live| {
            let last_applied = live.last_applied();
            last_applied.was_applied(&desired.reference, &self.hash(desired))
        });
        if options.is_same_build || was_applied {
            ManifestAge::AppliedBefore
        } else {
            ManifestAge::New
        }
    }
}

/// The decision about an object that another manager changes back each time.
fn left_to(manager: &str) -> DryRunDecision {
    DryRunDecision::Drifted(vec![format!(
        "left alone for a while, since `{manager}` changes it again and again"
    )])
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

/// A name that is free and not longer than the kind allows.
fn another_name(name: &str) -> String {
    let beginning: String = name.chars().take(40).collect();
    let beginning = beginning.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
    format!("{beginning}-anew")
}

/// True if the server may refuse nothing but changes of fields that cannot change: it names fields whose values it does not
/// take. Whether it would take them in a new object, only a dry run of its creation can tell.
fn refuses_a_change(error: &kube::Error) -> bool {
    const CAUSES: [&str; 2] = ["FieldValueInvalid", "FieldValueForbidden"];
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut causes = causes.peekable();
    status.code == 422
        && causes.peek().is_some()
        && causes.all(|cause| CAUSES.contains(&cause.reason.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_refused_change_is_told_by_the_types_of_its_causes() {
        let check = |code: u16, causes: &[&str], expected: bool| {
            let causes: Vec<Value> = causes.iter().map(|reason| json!({"reason": reason, "field": "roleRef", "message": "cannot change roleRef"})).collect();
            let status = json!({"status": "Failure", "code": code, "reason": "Invalid", "message": "m", "details": {"causes": causes}});
            let error = kube::Error::Api(serde_json::from_value(status).unwrap());
            assert_eq!(refuses_a_change(&error), expected, "{causes:?}");
        };
        check(422, &["FieldValueInvalid"], true);
        check(422, &["FieldValueForbidden", "FieldValueInvalid"], true);
        check(422, &["FieldValueInvalid", "FieldValueRequired"], false);
        check(422, &["FieldValueTypeInvalid"], false);
        check(422, &[""], false);
        check(422, &[], false);
        check(409, &["FieldValueInvalid"], false);
        assert!(!refuses_a_change(
            &kube::Error::LinesCodecMaxLineLengthExceeded
        ));
    }

    #[test]
    fn another_name_is_a_name() {
        assert_eq!(another_name("web"), "web-anew");
        let long = format!("{}.{}", "a".repeat(39), "b".repeat(20));
        assert_eq!(another_name(&long), format!("{}-anew", "a".repeat(39)));
    }
}

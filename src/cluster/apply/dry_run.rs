//! Talks to the API server: asks whether it would take objects, before any of them changes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::apply::{Applier, How};
use crate::cluster::error::{describe, describe_about};
use overlayd_core::apply::drift::{Difference, differences};
use overlayd_core::apply::ignore_rules::Ignored;
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::plain::is_plain;
use overlayd_core::apply::plan::{Desired, DriftMode, control, opted_out};
use overlayd_core::apply::takeover::take_over;

/// What a dry run told of an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tried {
    /// It is known to be as it was applied, so nothing was asked.
    Unchanged,
    /// It would be applied.
    Fits {
        /// The version that it has now, if it is there.
        version: Option<String>,
        /// Others own fields of it that are to be ours.
        is_foreign: bool,
        /// The manifest, where fields of it are left to others.
        adjusted: Option<Box<Value>>,
    },
    /// It is there, and is left as it is, for this reason.
    Present(&'static str),
    /// Others have changed it, and it is not to be corrected; in what, if that is asked for.
    Drifted(Vec<String>),
    /// It can only be deleted and made anew.
    Immutable { uid: Option<String> },
}

/// Why objects are left that were asked to be made once.
const IF_NOT_PRESENT: &str = "`ssa: IfNotPresent` is set on it";
/// Why objects are left whose drift is nobody's business.
const AS_WISHED: &str = "what others change in it is left";

/// From so many plain objects of one namespace on, one stands for all in the dry run.
const MANY: usize = 16;

impl Applier {
    /// The places of objects of a stage that need no dry run: new ones, of which everything was checked here, where
    /// nothing but the server itself has a say, and of which one more is tried for all.
    pub(super) async fn represented(&self, stage: &[Desired], how: &How) -> BTreeSet<usize> {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, desired) in stage.iter().enumerate() {
            let is_simple =
                how.drift_of(desired) == DriftMode::Correct && self.fought(desired).is_none();
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
    async fn names(&self, desired: &Desired) -> Result<BTreeSet<String>, String> {
        let api = self.api(&desired.reference).await?;
        let (mut names, mut params) = (BTreeSet::new(), ListParams::default().limit(1000));
        loop {
            let page = api
                .list_metadata(&params)
                .await
                .map_err(|error| describe(&error))?;
            names.extend(page.items.iter().map(kube::ResourceExt::name_any));
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
    pub(super) async fn try_one(&self, desired: &Desired, how: &How) -> Result<Tried, String> {
        if self.is_unchanged(desired) {
            return Ok(Tried::Unchanged);
        }
        if let Some(manager) = self.fought(desired) {
            return Ok(Tried::Drifted(vec![format!(
                "left alone for a while, since `{manager}` changes it again and again"
            )]));
        }
        let mode = how.drift_of(desired);
        if mode != DriftMode::Correct && (how.is_same_build || self.was_applied(desired)) {
            return self.drifted(desired, mode, how).await;
        }
        let api = self.api(&desired.reference).await?;
        let adjusted = self.adjusted(&api, desired, how).await?;
        let manifest = adjusted.as_deref().unwrap_or(&desired.manifest);
        let tried = match self.dry_run(&api, &desired.reference, manifest).await {
            Ok(tried) => tried,
            Err(error) => return self.refused(&api, desired, how, &error).await,
        };
        // The answer has the labels and annotations of the live object too.
        let left_alone = left_alone(desired, &tried);
        // One that would be created has no version yet.
        let version = tried.metadata.resource_version;
        let version = version.filter(|version| !version.is_empty());
        if let (Some(_), Some(reason)) = (&version, left_alone) {
            return Ok(Tried::Present(reason));
        }
        let fields = tried.metadata.managed_fields.unwrap_or_default();
        let merges = control(&desired.manifest, "ssa", "Merge");
        Ok(Tried::Fits {
            version,
            is_foreign: !merges
                && take_over(&fields, self.manager, &self.habits.override_managers).is_some(),
            adjusted,
        })
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

    /// The manifest of an object that is there, with the fields that are left to others; nothing if there are none.
    async fn adjusted(
        &self,
        api: &Api<DynamicObject>,
        desired: &Desired,
        how: &How,
    ) -> Result<Option<Box<Value>>, String> {
        let rules: Vec<&Ignored> = how
            .ignored
            .iter()
            .filter(|rule| rule.is_for(&desired.manifest))
            .collect();
        if rules.is_empty() {
            return Ok(None);
        }
        let live = api.get_opt(&desired.reference.name).await;
        let Some(mut live) = live.map_err(|error| describe(&error))? else {
            return Ok(None);
        };
        let managers = live.metadata.managed_fields.take().unwrap_or_default();
        let live = serde_json::to_value(&live).map_err(|error| error.to_string())?;
        let mut manifest = desired.manifest.clone();
        for rule in rules {
            rule.leave(&mut manifest, &live, &managers, self.manager);
        }
        Ok(Some(Box::new(manifest)))
    }

    /// What can be done about an object that the server does not take.
    async fn refused(
        &self,
        api: &Api<DynamicObject>,
        desired: &Desired,
        how: &How,
        error: &kube::Error,
    ) -> Result<Tried, String> {
        // Who wants to be left alone is left alone, also where the server would not take the manifest.
        let live = api.get_opt(&desired.reference.name).await;
        let live = live.map_err(|error| describe(&error))?;
        if let Some(reason) = live.as_ref().and_then(|live| left_alone(desired, live)) {
            return Ok(Tried::Present(reason));
        }
        let told = describe_about(&desired.reference, error);
        if !is_immutable(error) {
            return Err(told);
        }
        if !how.force && !control(&desired.manifest, "force", "enabled") {
            return Err(format!(
                "{told}; `force: true` deletes the object and makes it anew"
            ));
        }
        let uid = live.and_then(|live| live.uid());
        let anew = self.try_anew(api, desired, uid).await;
        anew.map_err(|reason| format!("{told}; and it could not be made anew: {reason}"))
    }

    /// Asks whether the object could be made anew, under another name, for its own is taken.
    async fn try_anew(
        &self,
        api: &Api<DynamicObject>,
        desired: &Desired,
        uid: Option<String>,
    ) -> Result<Tried, String> {
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
            Err(error) => Err(describe_about(&desired.reference, &error)),
        }
    }

    /// What others have changed in an object that is not to be corrected.
    async fn drifted(
        &self,
        desired: &Desired,
        mode: DriftMode,
        how: &How,
    ) -> Result<Tried, String> {
        if mode == DriftMode::Ignore {
            return Ok(Tried::Present(AS_WISHED));
        }
        Ok(match self.would(desired, how).await? {
            Would::Create => Tried::Drifted(vec!["it is gone".to_owned()]),
            Would::Change(changes) if changes.is_empty() => Tried::Present(AS_WISHED),
            Would::Change(changes) => {
                Tried::Drifted(changes.iter().map(ToString::to_string).collect())
            }
        })
    }

    /// What an apply would do, without doing it.
    ///
    /// # Errors
    /// The server does not take the object.
    pub(crate) async fn would(&self, desired: &Desired, how: &How) -> Result<Would, String> {
        let reference = &desired.reference;
        let api = self.api(reference).await?;
        let live = api.get_opt(&reference.name).await;
        let live = live.map_err(|error| describe(&error))?;
        if live
            .as_ref()
            .is_some_and(|live| left_alone(desired, live).is_some())
        {
            return Ok(Would::Change(Vec::new()));
        }
        let adjusted = self.adjusted(&api, desired, how).await?;
        let manifest = adjusted.as_deref().unwrap_or(&desired.manifest);
        let tried = self.dry_run(&api, reference, manifest).await;
        let tried = tried.map_err(|error| describe_about(reference, &error))?;
        let Some(live) = live else {
            return Ok(Would::Create);
        };
        let value = |object| serde_json::to_value(object).map_err(|error| error.to_string());
        let (live, tried): (Value, Value) = (value(live)?, value(tried)?);
        let mut changes = differences(reference, &live, &tried);
        if how.hides_values {
            changes.iter_mut().for_each(Difference::hide);
        }
        Ok(Would::Change(changes))
    }

    /// The manager that wants an object otherwise, while it is left alone.
    fn fought(&self, desired: &Desired) -> Option<String> {
        let records = self.live.as_ref()?.records();
        records.fought(&desired.reference, Timestamp::now())
    }

    /// True if the object was applied from this manifest before, whatever has become of it.
    fn was_applied(&self, desired: &Desired) -> bool {
        let Some(live) = &self.live else {
            return false;
        };
        live.records()
            .was_applied(&desired.reference, &self.hash(desired))
    }
}

/// What an apply would do to an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Would {
    Create,
    /// Nothing, if nothing differs.
    Change(Vec<Difference>),
}

/// Why an object that is there is left as it is, if it or its manifest says so.
fn left_alone(desired: &Desired, live: &DynamicObject) -> Option<&'static str> {
    let once = control(&desired.manifest, "ssa", "IfNotPresent").then_some(IF_NOT_PRESENT);
    let says = json!({"metadata": {"labels": live.labels(), "annotations": live.annotations()}});
    once.or_else(|| opted_out(&says))
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

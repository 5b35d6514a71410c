//! Pure: what will be done to a cluster: stages of apply, then what is pruned and what is kept, each with its reason.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::annotations::{DRIFT, EXISTED, KUSTOMIZE_PREFIX, OWNER_NAME, OWNER_NAMESPACE};
use crate::api::kustomization::KustomizationSpec;
use crate::apply::last_applied::{Hash, manifest_hash};
use crate::apply::object_ref::ObjectRef;
use crate::apply::order::{OrderError, waves};

/// The Kustomization that owns what is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub name: String,
    pub namespace: String,
}

/// One object to apply.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    pub reference: ObjectRef,
    pub manifest: Value,
    /// Where it was rendered from, for messages.
    pub source: Option<String>,
    /// Of the manifest; nothing before it is planned.
    pub hash: Hash,
}

/// What is applied before the next wave, which waits until all of it is healthy.
///
/// Stages: definitions and namespaces first, then classes, then the rest; empty stages are left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wave(pub Vec<Vec<Desired>>);

impl Wave {
    pub fn objects(&self) -> impl Iterator<Item = &Desired> {
        self.0.iter().flatten()
    }
}

/// What the failure of one object means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Nothing of its stage is applied, nor what comes after.
    #[default]
    Stop,
    /// The others are applied; nothing is deleted.
    Continue,
}

/// What is done about what others change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriftMode {
    #[default]
    Correct,
    Report,
    Ignore,
}

impl DriftMode {
    /// The mode of this name.
    pub fn named(text: &str) -> Option<Self> {
        match text.trim() {
            "correct" => Some(Self::Correct),
            "report" => Some(Self::Report),
            "ignore" => Some(Self::Ignore),
            _ => None,
        }
    }
}

/// Everything that will be done; no choice is left for later but what only the cluster knows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ApplyPlan {
    pub waves: Vec<Wave>,
    /// What left the set, in order of deletion.
    pub prune: Vec<ObjectRef>,
    /// Objects may be deleted and made anew where a field that cannot change would have to.
    pub force: bool,
    pub on_error: OnError,
    /// What is rendered but not applied, or left the set but is not deleted, and why.
    pub skipped: Vec<(ObjectRef, &'static str)>,
}

/// Why nothing may be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("the build is empty while {count} objects are applied; nothing was deleted{}", list(.objects))]
    EmptyRender { count: usize, objects: Vec<String> },
    #[error(
        "{why}; nothing was applied or deleted. These would go: {}. To approve exactly this, set the annotation `overlayd.dev/approve-deletions: {hash}`",
        .objects.join(", ")
    )]
    Guarded {
        why: String,
        objects: Vec<String>,
        /// How many they are; not all may be shown.
        count: usize,
        hash: String,
    },
    #[error("object `{object}` is rendered twice")]
    Repeated { object: String },
    #[error("{object}: annotation `{DRIFT}: {text}` is none of `correct`, `report` and `ignore`")]
    Drift { object: String, text: String },
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error(
        "Secret `{object}` is encrypted with SOPS, and `spec.decryption` is not supported yet; it was not applied"
    )]
    Encrypted { object: String },
}

fn list(objects: &[String]) -> String {
    format!(": {}", objects.join(", "))
}

/// Kinds that come first, in this order, as Flux has it.
const FIRST: [&str; 23] = [
    "CustomResourceDefinition",
    "Namespace",
    "ClusterRole",
    "ClusterClass",
    "RuntimeClass",
    "PriorityClass",
    "StorageClass",
    "VolumeSnapshotClass",
    "IngressClass",
    "GatewayClass",
    "ClusterRoleBinding",
    "ResourceQuota",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
    "LimitRange",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];
/// Kinds that come last.
const LAST: [&str; 2] = [
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

fn stage(kind: &str, early: &[String]) -> usize {
    match kind {
        "CustomResourceDefinition" | "Namespace" | "ClusterRole" => 0,
        _ if kind.ends_with("Class") => 1,
        _ if early.iter().any(|other| other == kind) => 2,
        _ => 3,
    }
}

/// The position of a kind among all.
fn rank(kind: &str) -> usize {
    let first = FIRST.iter().position(|other| *other == kind);
    let last = || {
        LAST.iter()
            .position(|other| *other == kind)
            .map(|at| FIRST.len() + 1 + at)
    };
    first.or_else(last).unwrap_or(FIRST.len())
}

fn sort_key(object: &ObjectRef) -> (usize, &str, &str, &str, &str) {
    (
        rank(&object.kind),
        &object.group,
        &object.kind,
        &object.namespace,
        &object.name,
    )
}

/// What may never be deleted: where we run, and what every cluster has.
#[derive(Debug, Clone, Default)]
pub struct Protected {
    /// The namespace of this process.
    pub own_namespace: String,
}

impl Protected {
    fn reason(&self, object: &ObjectRef) -> Option<&'static str> {
        if object.kind == "CustomResourceDefinition" {
            // Its deletion would take every object of the kind along, whoever owns them.
            let ours = ["external-secrets.io", "toolkit.fluxcd.io"]
                .iter()
                .any(|group| object.name.ends_with(group));
            return ours.then_some("overlayd serves this kind");
        }
        if object.kind != "Namespace" || !object.group.is_empty() {
            return None;
        }
        let system = object.name == "default" || object.name.starts_with("kube-");
        if object.name == self.own_namespace {
            return Some("overlayd runs in this namespace");
        }
        system.then_some("the namespace belongs to the cluster")
    }
}

/// How much may be deleted without being asked.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// So many objects may go; without a limit, as many as there are.
    pub limit: Option<usize>,
    /// So many percent of the inventory may go.
    pub share: usize,
    /// The hash of a list of deletions that somebody has approved.
    pub approved: Option<String>,
    /// Nothing is refused: nothing is going to be done.
    pub is_open: bool,
}

/// Kinds whose deletion takes more along than the object.
const GRAVE: [(&str, &str); 4] = [
    ("", "Namespace"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
];

impl Guard {
    /// One that refuses nothing.
    pub fn open() -> Self {
        Self {
            is_open: true,
            ..Self::default()
        }
    }

    /// Refuses deletions that look like an accident: too many, or of kinds that take others along.
    pub fn check(&self, prune: &[ObjectRef], inventory: usize) -> Result<(), PlanError> {
        if self.is_open {
            return Ok(());
        }
        let grave =
            |object: &&ObjectRef| GRAVE.contains(&(object.group.as_str(), object.kind.as_str()));
        let too_many = self
            .limit
            .is_some_and(|limit| prune.len() > limit && prune.len() * 100 > inventory * self.share);
        let why = if too_many {
            format!("{} of {inventory} objects would be deleted", prune.len())
        } else if let Some(object) = prune.iter().find(grave) {
            format!("deleting {object} would take everything in it along")
        } else {
            return Ok(());
        };
        let hash = list_hash(prune);
        if self.approved.as_ref() == Some(&hash) {
            return Ok(());
        }
        let shown = prune.iter().take(30).map(ToString::to_string);
        let mut objects: Vec<String> = shown.collect();
        if prune.len() > objects.len() {
            objects.push(format!("and {} more", prune.len() - objects.len()));
        }
        Err(PlanError::Guarded {
            why,
            objects,
            count: prune.len(),
            hash,
        })
    }
}

/// Names a list of objects, so that an approval is for this list and no other.
fn list_hash(objects: &[ObjectRef]) -> String {
    use sha2::Digest as _;
    let ids: BTreeSet<String> = objects.iter().map(ObjectRef::id).collect();
    let text = ids.into_iter().collect::<Vec<_>>().join("\n");
    let digest = sha2::Sha256::digest(text.as_bytes());
    let bytes = digest.iter().take(6);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// What a plan is made under.
#[derive(Debug)]
pub struct Terms<'t> {
    pub spec: &'t KustomizationSpec,
    /// Nobody, for what a person applies.
    pub owner: Option<Owner>,
    pub protected: Protected,
    pub guard: Guard,
    pub on_error: OnError,
    /// Kinds that come in a stage of their own, before the rest.
    pub stage_kinds: &'t [String],
}

/// Decides what to apply and what to prune.
pub fn plan(
    objects: Vec<Desired>,
    inventory: &[ObjectRef],
    terms: &Terms<'_>,
) -> Result<ApplyPlan, PlanError> {
    let spec = terms.spec;
    if objects.is_empty() && !inventory.is_empty() && spec.prune {
        let objects = inventory.iter().take(10).map(ToString::to_string).collect();
        return Err(PlanError::EmptyRender {
            count: inventory.len(),
            objects,
        });
    }
    let mut plan = ApplyPlan {
        force: spec.force,
        on_error: terms.on_error,
        ..ApplyPlan::default()
    };
    let (mut applied, mut left) = (Vec::new(), BTreeSet::new());
    let mut wanted = BTreeSet::new();
    for mut desired in objects {
        if !wanted.insert(desired.reference.id()) {
            return Err(PlanError::Repeated {
                object: desired.reference.to_string(),
            });
        }
        refuse_encrypted(&desired)?;
        drift_of(&desired)?;
        if let Some(reason) = opted_out(&desired.manifest) {
            plan.skipped.push((desired.reference.clone(), reason));
            left.insert(desired.reference.id());
            applied.push(desired);
            continue;
        }
        normalize(&mut desired.manifest);
        own(&mut desired.manifest, terms.owner.as_ref(), spec);
        desired.hash = manifest_hash(&desired.manifest);
        applied.push(desired);
    }
    // Others may depend on what is left alone, so that it has its place, too.
    let waves = waves(applied)?.into_iter().map(|mut wave| {
        wave.retain(|desired| !left.contains(&desired.reference.id()));
        wave
    });
    let waves = waves.filter(|wave| !wave.is_empty());
    plan.waves = waves.map(|wave| staged(wave, terms.stage_kinds)).collect();
    if spec.prune {
        let left: Vec<ObjectRef> = inventory
            .iter()
            .filter(|object| !wanted.contains(&object.id()))
            .cloned()
            .collect();
        let deletion = deletion(&left, &terms.protected);
        plan.prune = deletion.prune;
        plan.skipped.extend(deletion.skipped);
        terms.guard.check(&plan.prune, inventory.len())?;
    }
    Ok(plan)
}

/// The objects of a wave in their stages and order.
fn staged(objects: Vec<Desired>, early: &[String]) -> Wave {
    let mut stages: [Vec<Desired>; 4] = Default::default();
    for desired in objects {
        stages[stage(&desired.reference.kind, early)].push(desired);
    }
    for stage in &mut stages {
        stage.sort_by(|a, b| sort_key(&a.reference).cmp(&sort_key(&b.reference)));
    }
    let stages = stages.into_iter().filter(|stage| !stage.is_empty());
    Wave(stages.collect())
}

/// Everything of an inventory goes, but what is protected: the user's word when a Kustomization is deleted.
pub fn deletion(inventory: &[ObjectRef], protected: &Protected) -> ApplyPlan {
    let mut plan = ApplyPlan::default();
    for object in inventory {
        match protected.reason(object) {
            Some(reason) => plan.skipped.push((object.clone(), reason)),
            None => plan.prune.push(object.clone()),
        }
    }
    plan.prune.sort_by(|a, b| sort_key(b).cmp(&sort_key(a)));
    plan
}

/// Reads a control from a label or an annotation, without regard to the case of its value.
pub fn control(object: &Value, name: &str, value: &str) -> bool {
    ["annotations", "labels"].iter().any(|field| {
        let found = object["metadata"][field].get(format!("{KUSTOMIZE_PREFIX}{name}"));
        found
            .and_then(Value::as_str)
            .is_some_and(|found| found.eq_ignore_ascii_case(value))
    })
}

/// Why an object is not to be touched, if it says so.
pub fn opted_out(object: &Value) -> Option<&'static str> {
    if control(object, "reconcile", "disabled") {
        return Some("`reconcile: disabled` is set on it");
    }
    control(object, "ssa", "Ignore").then_some("`ssa: Ignore` is set on it")
}

/// Why an object is not to be deleted, if the live one says so or is not ours.
pub fn keeps(live: &Value, owner: &Owner) -> Option<&'static str> {
    let label = |name: &str| live["metadata"]["labels"][name].as_str();
    if label(OWNER_NAME) != Some(&owner.name) || label(OWNER_NAMESPACE) != Some(&owner.namespace) {
        return Some("it belongs to another owner");
    }
    if live["metadata"]["annotations"][EXISTED] == "true" {
        return Some("it was there before it was applied");
    }
    if control(live, "prune", "disabled") {
        return Some("`prune: disabled` is set on it");
    }
    opted_out(live)
}

/// The mode that an object asks for, if it asks for one.
pub fn drift_of(desired: &Desired) -> Result<Option<DriftMode>, PlanError> {
    let text = desired.manifest["metadata"]["annotations"][DRIFT].as_str();
    let mode = text.map(|text| {
        DriftMode::named(text).ok_or_else(|| PlanError::Drift {
            object: desired.reference.to_string(),
            text: text.to_owned(),
        })
    });
    mode.transpose()
}

fn refuse_encrypted(desired: &Desired) -> Result<(), PlanError> {
    let is_encrypted = desired.reference.kind == "Secret" && desired.manifest.get("sops").is_some();
    if is_encrypted {
        Err(PlanError::Encrypted {
            object: desired.reference.to_string(),
        })
    } else {
        Ok(())
    }
}

/// Drops what is not ours to say.
fn normalize(manifest: &mut Value) {
    let is_definition = manifest["kind"] == "CustomResourceDefinition";
    if let Some(fields) = manifest.as_object_mut()
        && !is_definition
    {
        fields.remove("status");
    }
    if let Some(metadata) = manifest["metadata"].as_object_mut() {
        metadata.remove("creationTimestamp");
        metadata.remove("managedFields");
    }
}

/// Puts the owner's labels, and the metadata common to all, on an object.
fn own(manifest: &mut Value, owner: Option<&Owner>, spec: &KustomizationSpec) {
    let common = spec.common_metadata.clone().unwrap_or_default();
    let mut labels = common.labels;
    if let Some(owner) = owner {
        labels.insert(OWNER_NAME.to_owned(), owner.name.clone());
        labels.insert(OWNER_NAMESPACE.to_owned(), owner.namespace.clone());
    }
    for (field, pairs) in [("labels", labels), ("annotations", common.annotations)] {
        if pairs.is_empty() {
            continue;
        }
        if !manifest["metadata"][field].is_object() {
            manifest["metadata"][field] = json!({});
        }
        for (key, value) in pairs {
            manifest["metadata"][field][key] = Value::String(value);
        }
    }
}

/// The text form of a plan, for golden tests and for people.
impl std::fmt::Display for ApplyPlan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, wave) in self.waves.iter().enumerate() {
            if self.waves.len() > 1 {
                writeln!(formatter, "wave {}", index + 1)?;
            }
            for (index, stage) in wave.0.iter().enumerate() {
                writeln!(formatter, "stage {}", index + 1)?;
                for desired in stage {
                    writeln!(formatter, "  apply {}", desired.reference)?;
                }
            }
        }
        for object in &self.prune {
            writeln!(formatter, "prune {object}")?;
        }
        for (object, reason) in &self.skipped {
            writeln!(formatter, "skip {object}: {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(api_version: &str, kind: &str, namespace: &str, name: &str) -> Desired {
        let manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}});
        Desired {
            reference: ObjectRef::new(api_version, kind, namespace, name),
            manifest,
            source: None,
            hash: [0; 32],
        }
    }

    fn check(objects: Vec<Desired>, inventory: &[ObjectRef], expected: &str) {
        let spec = KustomizationSpec {
            prune: true,
            ..KustomizationSpec::default()
        };
        let terms = Terms {
            spec: &spec,
            owner: Some(Owner {
                name: "app".into(),
                namespace: "team".into(),
            }),
            protected: Protected {
                own_namespace: "overlayd".into(),
            },
            guard: Guard {
                limit: Some(2),
                share: 50,
                ..Guard::default()
            },
            on_error: OnError::Stop,
            stage_kinds: &["Special".to_owned()],
        };
        let text = match plan(objects, inventory, &terms) {
            Ok(plan) => plan.to_string(),
            Err(error) => format!("error: {error}\n"),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn definitions_and_namespaces_come_before_what_needs_them() {
        check(
            vec![
                desired("apps/v1", "Deployment", "a", "web"),
                desired("example.com/v1", "Special", "a", "s"),
                desired("v1", "ConfigMap", "a", "conf"),
                desired("v1", "Namespace", "", "a"),
                desired("storage.k8s.io/v1", "StorageClass", "", "fast"),
                desired(
                    "apiextensions.k8s.io/v1",
                    "CustomResourceDefinition",
                    "",
                    "x.y",
                ),
            ],
            &[],
            "stage 1\n  apply CustomResourceDefinition/x.y\n  apply Namespace/a\n\
             stage 2\n  apply StorageClass/fast\n\
             stage 3\n  apply Special/a/s\n\
             stage 4\n  apply ConfigMap/a/conf\n  apply Deployment/a/web\n",
        );
    }

    #[test]
    fn what_left_the_set_is_pruned_in_reverse_order() {
        let inventory = [
            ObjectRef::new("v1", "ConfigMap", "a", "old"),
            ObjectRef::new("apps/v1", "Deployment", "a", "web"),
            ObjectRef::new("v1", "ConfigMap", "a", "conf"),
        ];
        check(
            vec![desired("v1", "ConfigMap", "a", "conf")],
            &inventory,
            "stage 1\n  apply ConfigMap/a/conf\nprune Deployment/a/web\nprune ConfigMap/a/old\n",
        );
    }

    #[test]
    fn an_empty_build_deletes_nothing() {
        let inventory = [ObjectRef::new("v1", "ConfigMap", "a", "conf")];
        check(
            vec![],
            &inventory,
            "error: the build is empty while 1 objects are applied; nothing was deleted: ConfigMap/a/conf\n",
        );
    }

    #[test]
    fn namespaces_of_the_cluster_and_our_own_are_never_deleted() {
        let namespaces = ["overlayd", "default", "kube-system"];
        let inventory: Vec<_> = namespaces
            .iter()
            .map(|name| ObjectRef::new("v1", "Namespace", "", name))
            .collect();
        check(
            vec![desired("v1", "ConfigMap", "a", "conf")],
            &inventory,
            "stage 1\n  apply ConfigMap/a/conf\n\
             skip Namespace/overlayd: overlayd runs in this namespace\n\
             skip Namespace/default: the namespace belongs to the cluster\n\
             skip Namespace/kube-system: the namespace belongs to the cluster\n",
        );
    }

    #[test]
    fn an_encrypted_secret_is_never_applied() {
        let mut secret = desired("v1", "Secret", "a", "s");
        secret.manifest["sops"] = json!({"mac": "x"});
        check(
            vec![secret],
            &[],
            "error: Secret `Secret/a/s` is encrypted with SOPS, and `spec.decryption` is not supported yet; it was not applied\n",
        );
    }

    #[test]
    fn the_plan_of_an_applied_plan_prunes_nothing() {
        let objects = vec![
            desired("v1", "ConfigMap", "a", "conf"),
            desired("v1", "Namespace", "", "a"),
        ];
        let inventory: Vec<_> = objects
            .iter()
            .map(|object| object.reference.clone())
            .collect();
        check(
            objects,
            &inventory,
            "stage 1\n  apply Namespace/a\nstage 2\n  apply ConfigMap/a/conf\n",
        );
    }

    #[test]
    fn what_looks_like_an_accident_is_asked_about() {
        let many: Vec<ObjectRef> = (0..4)
            .map(|number| ObjectRef::new("v1", "ConfigMap", "a", &format!("m{number}")))
            .collect();
        let kept = || vec![desired("v1", "ConfigMap", "a", "m0")];
        check(
            kept(),
            &many,
            "error: 3 of 4 objects would be deleted; nothing was applied or deleted. These would go: ConfigMap/a/m3, ConfigMap/a/m2, ConfigMap/a/m1. To approve exactly this, set the annotation `overlayd.dev/approve-deletions: 5213f4a0955b`\n",
        );
        let grave = [ObjectRef::new("v1", "Namespace", "", "shop")];
        check(
            kept(),
            &grave,
            "error: deleting Namespace/shop would take everything in it along; nothing was applied or deleted. These would go: Namespace/shop. To approve exactly this, set the annotation `overlayd.dev/approve-deletions: d75cfdd46dfc`\n",
        );
        let hash = list_hash(&grave);
        let approved = Guard {
            approved: Some(hash),
            ..Guard::default()
        };
        assert_eq!(approved.check(&grave, 1), Ok(()));
        assert!(approved.check(&many, 4).is_ok(), "no limit");
        let other = [ObjectRef::new("v1", "Namespace", "", "other")];
        assert!(
            approved.check(&other, 1).is_err(),
            "an approval is for one list"
        );
    }

    proptest::proptest! {
        /// Whatever is built: what was applied is planned again as it was, and nothing of it is deleted.
        #[test]
        fn the_plan_of_an_applied_plan_is_the_same_and_deletes_nothing(
            objects in proptest::collection::vec((0_usize..6, 0_usize..3, 0_usize..20, -2_i32..3), 1..40)
        ) {
            const KINDS: [(&str, &str); 6] = [
                ("v1", "ConfigMap"), ("v1", "Namespace"), ("apps/v1", "Deployment"), ("storage.k8s.io/v1", "StorageClass"),
                ("rbac.authorization.k8s.io/v1", "ClusterRole"), ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
            ];
            let objects: std::collections::BTreeMap<_, _> = objects.into_iter().map(|(kind, namespace, name, wave)| ((kind, namespace, name), wave)).collect();
            let objects = || objects.iter().map(|((kind, namespace, name), wave)| {
                let (api_version, kind) = KINDS[*kind];
                let mut object = desired(api_version, kind, &format!("n{namespace}"), &format!("x:{name}"));
                object.manifest["metadata"]["annotations"][crate::api::annotations::WAVE] = json!(wave.to_string());
                object
            }).collect::<Vec<_>>();
            let spec = KustomizationSpec { prune: true, ..KustomizationSpec::default() };
            let terms = Terms {
                spec: &spec,
                owner: Some(Owner { name: "app".into(), namespace: "team".into() }),
                protected: Protected::default(),
                guard: Guard::default(),
                on_error: OnError::Stop,
                stage_kinds: &[],
            };
            let first = plan(objects(), &[], &terms).unwrap();
            let applied: Vec<&ObjectRef> = first.waves.iter().flat_map(Wave::objects).map(|object| &object.reference).collect();
            let status = crate::apply::inventory::of(applied.iter().copied());
            let held = crate::apply::inventory::objects(Some(&status));
            proptest::prop_assert_eq!(held.len(), applied.len());
            let second = plan(objects(), &held, &terms).unwrap();
            proptest::prop_assert!(second.prune.is_empty());
            proptest::prop_assert_eq!(second.to_string(), first.to_string());
            // And when all goes, everything goes, in the reverse of some order of kinds.
            proptest::prop_assert_eq!(deletion(&held, &Protected::default()).prune.len(), held.len());
        }
    }
}

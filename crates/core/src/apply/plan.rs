//! Pure: the plan of a reconcile: the waves and stages of objects to apply, the objects to delete, and the objects that
//! are left as they are, each with its reason.
//!
//! ```text
//! objects of a build, Observed, PlanOptions ─plan→ ApplyPlan
//! ```
//! The daemon, `overlayd apply` and `overlayd diff` call [`plan`] with options of [`crate::apply::plan_options`], so
//! that a preview shows what the daemon does. A plan has a text form, which tests compare.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::api::annotations::{OWNER_NAME, OWNER_NAMESPACE, TAKE_OVER};
use crate::api::crds;
use crate::api::kustomization::KustomizationSpec;
use crate::apply::definition::with_ours;
use crate::apply::desired::{Desired, DriftModeError};
use crate::apply::guard::{Guard, GuardError};
use crate::apply::held::{Children, DeletionGuard};
use crate::apply::last_applied::manifest_hash;
use crate::apply::object_ref::ObjectRef;
use crate::apply::order::{OrderError, waves};
use crate::apply::ownership::{Claim, Conflict, LiveOwners};
use crate::apply::peers::{Peer, PeerControllers};
use crate::apply::scope::GroupKind;
use crate::apply::skip::{Protected, Skip, control};
use crate::apply::stages::{sort_key, stages};
use crate::names::{NamespacedName, is_path_segment};

/// The state of the cluster that a plan is made for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The inventory of the last apply.
    pub inventory: Vec<ObjectRef>,
    /// The owners of the objects that the build renders.
    pub owners: LiveOwners,
    /// Other Kustomizations that render an object which this build no longer does, or which a Kustomization in `children`
    /// holds, by the id of the object.
    pub rendered_elsewhere: BTreeMap<String, NamespacedName>,
    /// Rendered kinds of which it is not known whether their objects have a namespace. Nothing of them is deleted, since
    /// the id of a rendered object may be another one than the inventory has.
    pub scope_unknown: BTreeSet<GroupKind>,
    /// What the Kustomizations hold that this build no longer renders, and those that they hold in turn.
    pub children: Children,
    /// Another Kustomization has not said yet which objects it wants, so that more of them may stay than is known.
    pub is_undecided: bool,
}

/// What a plan depends on, besides the objects and the cluster.
#[derive(Debug)]
pub struct PlanOptions<'o> {
    /// The spec of the Kustomization.
    pub spec: &'o KustomizationSpec,
    /// The Kustomization, whose name becomes a label of each object; none for objects that a person applies.
    pub owner: Option<NamespacedName>,
    /// What may never be deleted.
    pub protected: Protected,
    /// How much may be deleted without an approval.
    pub guard: Guard,
    /// What the failure of one object means for the others.
    pub on_error: OnError,
    /// Whether controllers of Flux and External Secrets are applied. A person who applies them by hand wants them.
    pub peer_controllers: PeerControllers,
    /// Kinds that get a stage of their own, before most others.
    pub stage_kinds: &'o [String],
}

/// What the failure of one object means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Nothing of its stage is applied, nor of a later one.
    #[default]
    Stop,
    /// The others are applied; nothing is deleted.
    Continue,
}

/// Objects that are applied before those of the next wave, which waits until all of them are healthy.
///
/// They are divided into stages: definitions and namespaces first, then classes, then the rest. No stage is empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wave(pub Vec<Vec<Desired>>);

impl Wave {
    /// The objects of all stages.
    pub fn objects(&self) -> impl Iterator<Item = &Desired> {
        self.0.iter().flatten()
    }
}

/// Everything that a reconcile does. Later decisions depend only on what the cluster answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ApplyPlan {
    /// The objects to apply.
    pub waves: Vec<Wave>,
    /// The objects to delete, in this order.
    pub prune: Vec<ObjectRef>,
    /// Objects may be deleted and created again where a field would have to change that cannot.
    pub force: bool,
    /// What the failure of one object means for the others.
    pub on_error: OnError,
    /// Rendered objects that are not applied, then inventory objects that are not deleted.
    pub skipped: Vec<(ObjectRef, Skip)>,
    /// Rendered objects that are not applied, since another Kustomization owns and renders them. The others are applied,
    /// and nothing is deleted.
    pub conflicts: Vec<Conflict>,
    /// The Kustomizations whose objects move to this one.
    pub taken_over_from: BTreeSet<NamespacedName>,
    /// Rendered objects that ask not to be applied or not to be deleted.
    pub opt_outs: Vec<(ObjectRef, Skip)>,
    /// The objects that the inventory names after the apply.
    pub inventory: Vec<ObjectRef>,
    /// The Kustomizations that are deleted, directly or with another one.
    pub going: BTreeSet<NamespacedName>,
    /// What the deletions are checked by once every Kustomization has said what it wants. None if they are checked.
    pub deferred_guard: Option<DeletionGuard>,
}

/// Why there is no plan, so that nothing is applied or deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The deletions need an approval.
    #[error(transparent)]
    Guarded(#[from] GuardError),
    /// A name or namespace is none that Kubernetes has, and would lead a request elsewhere.
    #[error("object `{object}`: its name or namespace is no name of an object")]
    Name {
        /// The object, as messages name it.
        object: String,
    },
    /// Two objects have the same id.
    #[error("object `{object}` is rendered twice")]
    Repeated {
        /// The object, as messages name it.
        object: String,
    },
    /// An object asks for an unknown drift mode.
    #[error(transparent)]
    Drift(#[from] DriftModeError),
    /// The objects have no order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A Secret would be applied with its encrypted values.
    #[error(
        "Secret `{object}` is encrypted with SOPS, and `spec.decryption` is not supported yet; it was not applied"
    )]
    Encrypted {
        /// The Secret, as messages name it.
        object: String,
    },
    /// Whether another Kustomization renders an object that it owns is not known.
    #[error("Kustomization `{owner}`, which owns {object}, cannot be read: {reason}")]
    OwnerUnreadable {
        /// The owner.
        owner: NamespacedName,
        /// The object, as messages name it.
        object: String,
        /// The answer of the API server.
        reason: String,
    },
}

/// Decides what to apply, what to delete, and what to leave.
///
/// # Errors
/// The build cannot be applied as a whole, or its deletions look like an accident.
pub fn plan(
    objects: Vec<Desired>,
    observed: &Observed,
    options: &PlanOptions<'_>,
) -> Result<ApplyPlan, PlanError> {
    let mut planner = Planner {
        observed,
        options,
        plan: ApplyPlan {
            force: options.spec.force,
            on_error: options.on_error,
            ..ApplyPlan::default()
        },
        rendered: BTreeSet::new(),
        left_out: BTreeSet::new(),
    };
    let mut admitted = Vec::new();
    for desired in objects {
        admitted.push(planner.admit(desired)?);
    }
    planner.arrange(admitted)?;
    if options.spec.prune {
        planner.prune()?;
    }
    Ok(planner.plan)
}

/// Deletes every object of an inventory but protected ones: what a user asks for who deletes a Kustomization.
pub fn deletion(inventory: &[ObjectRef], protected: &Protected) -> ApplyPlan {
    let mut plan = ApplyPlan::default();
    for object in inventory {
        match protected.protection(object) {
            Some(protection) => plan
                .skipped
                .push((object.clone(), Skip::Protected(protection))),
            None => plan.prune.push(object.clone()),
        }
    }
    sort_deletions(&mut plan.prune);
    plan
}

/// The objects of an inventory that a build no longer renders.
pub fn leaving<'i>(
    inventory: &'i [ObjectRef],
    objects: &[Desired],
) -> impl Iterator<Item = &'i ObjectRef> {
    let rendered: BTreeSet<String> = objects.iter().map(|of| of.reference.id()).collect();
    inventory
        .iter()
        .filter(move |object| !rendered.contains(&object.id()))
}

/// A plan in the making.
struct Planner<'p> {
    observed: &'p Observed,
    options: &'p PlanOptions<'p>,
    plan: ApplyPlan,
    /// Ids of all rendered objects.
    rendered: BTreeSet<String>,
    /// Ids of the rendered objects that are not applied.
    left_out: BTreeSet<String>,
}

impl Planner<'_> {
    /// Checks a rendered object and completes its manifest, if it is to be applied.
    fn admit(&mut self, mut desired: Desired) -> Result<Desired, PlanError> {
        let id = desired.reference.id();
        refuse_bad_name(&desired.reference)?;
        if !self.rendered.insert(id.clone()) {
            return Err(PlanError::Repeated {
                object: desired.reference.to_string(),
            });
        }
        refuse_encrypted(&desired)?;
        desired.drift_mode()?;
        if let Some(skip) = self.left_alone(&desired.manifest) {
            self.opt_out(&desired, skip.clone());
            self.plan.skipped.push((desired.reference.clone(), skip));
            self.plan.inventory.push(desired.reference.clone());
            self.left_out.insert(id);
            return Ok(desired);
        }
        if control(&desired.manifest, "prune", "disabled") {
            self.opt_out(&desired, Skip::PruneDisabled);
        }
        normalize(&mut desired.manifest);
        complete(&mut desired);
        label(&mut desired.manifest, self.options);
        desired.hash = manifest_hash(&desired.manifest);
        if self.may_have(&desired, &id)? {
            self.plan.inventory.push(desired.reference.clone());
        } else {
            self.left_out.insert(id);
        }
        Ok(desired)
    }

    /// Why a rendered object is not applied, whatever the cluster holds.
    fn left_alone(&self, manifest: &Value) -> Option<Skip> {
        let peer = match self.options.peer_controllers {
            PeerControllers::Leave => Peer::of(manifest),
            PeerControllers::Apply => None,
        };
        Skip::opt_out(manifest).or_else(|| peer.map(Skip::PeerController))
    }

    fn opt_out(&mut self, desired: &Desired, skip: Skip) {
        self.plan.opt_outs.push((desired.reference.clone(), skip));
    }

    /// False if another Kustomization owns and renders the object.
    fn may_have(&mut self, desired: &Desired, id: &str) -> Result<bool, PlanError> {
        let Some(unit) = &self.options.owner else {
            return Ok(true);
        };
        let take_over = desired.annotation(TAKE_OVER);
        match self.observed.owners.claim(unit, id, take_over) {
            Claim::Free => Ok(true),
            Claim::TakeOver(owner) => {
                self.plan.taken_over_from.insert(owner.clone());
                Ok(true)
            }
            Claim::Conflict(owner) => {
                self.plan.conflicts.push(Conflict {
                    object: desired.reference.clone(),
                    source: desired.source.clone(),
                    owner: owner.clone(),
                });
                Ok(false)
            }
            Claim::Unreadable(owner, reason) => Err(PlanError::OwnerUnreadable {
                owner: owner.clone(),
                object: desired.reference.to_string(),
                reason: reason.to_owned(),
            }),
        }
    }

    /// Divides the objects into waves and stages.
    fn arrange(&mut self, admitted: Vec<Desired>) -> Result<(), PlanError> {
        // Objects that are left out take part in the order, since others may depend on them.
        for mut wave in waves(admitted)? {
            wave.retain(|desired| !self.left_out.contains(&desired.reference.id()));
            if !wave.is_empty() {
                let stages = stages(wave, self.options.stage_kinds);
                self.plan.waves.push(Wave(stages));
            }
        }
        Ok(())
    }

    /// Deletes inventory objects that are not rendered, but for protected ones and those that move elsewhere.
    fn prune(&mut self) -> Result<(), PlanError> {
        let observed = self.observed;
        let inventory = &observed.inventory;
        let left = inventory
            .iter()
            .filter(|object| !self.rendered.contains(&object.id()));
        let (left, unknown): (Vec<ObjectRef>, Vec<ObjectRef>) = left
            .cloned()
            .partition(|object| !observed.scope_unknown.contains(&GroupKind::of(object)));
        for object in unknown {
            self.plan.inventory.push(object.clone());
            self.plan.skipped.push((object, Skip::ScopeUnknown));
        }
        let deletion = deletion(&left, &self.options.protected);
        self.plan.skipped.extend(deletion.skipped);
        self.guard(&deletion.prune)?;
        for object in deletion.prune {
            match observed.rendered_elsewhere.get(&object.id()) {
                Some(to) => {
                    let skip = Skip::HandedOver { to: to.clone() };
                    self.plan.skipped.push((object, skip));
                }
                None => self.plan.prune.push(object),
            }
        }
        Ok(())
    }

    /// Refuses deletions that look like an accident.
    ///
    /// Objects that move count too: the move is decided again right before the deletion, and may not come. What a
    /// deleted Kustomization holds counts as soon as every other one has said what it wants of it.
    fn guard(&mut self, prune: &[ObjectRef]) -> Result<(), GuardError> {
        let observed = self.observed;
        self.plan.going = observed.children.keys().cloned().collect();
        let guard = DeletionGuard {
            guard: self.options.guard.clone(),
            protected: self.options.protected.clone(),
            children: observed.children.clone(),
            rendered: self.rendered.clone(),
            inventory: observed.inventory.len(),
        };
        if !observed.is_undecided || observed.children.is_empty() {
            let moved = &observed.rendered_elsewhere;
            return guard.check(prune, |object| moved.contains_key(&object.id()));
        }
        let children = Children::new();
        let direct = DeletionGuard {
            children,
            ..guard.clone()
        };
        self.plan.deferred_guard = Some(guard);
        direct.check(prune, |_| false)
    }
}

impl ApplyPlan {
    /// All objects to apply, in order.
    pub fn objects(&self) -> impl Iterator<Item = &Desired> {
        self.waves.iter().flat_map(Wave::objects)
    }

    /// The ids of the Jobs that are removed some time after they have finished, so that one that is gone has done its work.
    pub fn expiring(&self) -> BTreeSet<String> {
        let jobs = self.objects().filter(|desired| desired.expires());
        jobs.map(|desired| desired.reference.id()).collect()
    }

    /// The objects that are deleted unless another Kustomization renders them by then: those to delete, and those that
    /// move as things are now; in order of deletion.
    pub fn leaving(&self) -> Vec<ObjectRef> {
        let moving = self
            .skipped
            .iter()
            .filter_map(|(object, skip)| matches!(skip, Skip::HandedOver { .. }).then_some(object));
        let mut leaving: Vec<ObjectRef> = self.prune.iter().chain(moving).cloned().collect();
        sort_deletions(&mut leaving);
        leaving
    }

    /// Inventory objects that are not rendered and stay nevertheless, each with its reason.
    pub fn kept(&self) -> impl Iterator<Item = &(ObjectRef, Skip)> {
        self.skipped.iter().filter(|(_, skip)| {
            matches!(
                skip,
                Skip::HandedOver { .. } | Skip::Protected(_) | Skip::ScopeUnknown
            )
        })
    }

    /// Names the content of the applied objects: `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::default();
        for desired in self.objects() {
            hash.update(desired.hash);
        }
        format!(
            "sha256:{}",
            data_encoding::HEXLOWER.encode(&hash.finalize())
        )
    }
}

fn sort_deletions(objects: &mut [ObjectRef]) {
    objects.sort_by(|a, b| sort_key(b).cmp(&sort_key(a)));
}

fn refuse_bad_name(reference: &ObjectRef) -> Result<(), PlanError> {
    let ObjectRef {
        name, namespace, ..
    } = reference;
    if is_path_segment(name) && (namespace.is_empty() || is_path_segment(namespace)) {
        return Ok(());
    }
    Err(PlanError::Name {
        object: reference.to_string(),
    })
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

/// Removes fields that the API server sets, and certificates that are none.
fn normalize(manifest: &mut Value) {
    drop_placeholders(manifest);
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

/// Adds to a definition of a kind that overlayd serves what overlayd uses of it. A repository may hold the definitions of
/// the peers, in an older version.
fn complete(desired: &mut Desired) {
    if desired.reference.kind == "CustomResourceDefinition"
        && let Some(ours) = crds::named(&desired.reference.name)
    {
        desired.manifest = with_ours(ours, &desired.manifest);
    }
}

/// Removes a `caBundle` that is empty or a line break (`Cg==`): generators write it where an injector puts a certificate in
/// later. Applied, it would take the injected certificate away, and a conversion webhook with it is refused.
fn drop_placeholders(manifest: &mut Value) {
    let drop = |config: Option<&mut Value>| {
        let config = config.and_then(Value::as_object_mut);
        if let Some(config) = config
            && config.get("caBundle").is_some_and(is_placeholder)
        {
            config.remove("caBundle");
        }
    };
    match manifest["kind"].as_str() {
        Some("CustomResourceDefinition") => {
            drop(manifest.pointer_mut("/spec/conversion/webhook/clientConfig"));
        }
        Some("MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            let webhooks = manifest["webhooks"].as_array_mut();
            for webhook in webhooks.into_iter().flatten() {
                drop(webhook.get_mut("clientConfig"));
            }
        }
        Some("APIService") => drop(manifest.get_mut("spec")),
        _ => {}
    }
}

fn is_placeholder(bundle: &Value) -> bool {
    bundle
        .as_str()
        .is_none_or(|text| matches!(text.trim(), "" | "Cg=="))
}

/// Adds the owner's labels and `spec.commonMetadata`.
fn label(manifest: &mut Value, options: &PlanOptions<'_>) {
    let common = options.spec.common_metadata.clone().unwrap_or_default();
    let mut labels = common.labels;
    if let Some(owner) = &options.owner {
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

/// The text form of a plan, for tests and for people.
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
        for owner in &self.taken_over_from {
            writeln!(formatter, "take over from {owner}")?;
        }
        for object in &self.prune {
            writeln!(formatter, "prune {object}")?;
        }
        for conflict in &self.conflicts {
            writeln!(formatter, "conflict {}: {conflict}", conflict.object)?;
        }
        for (object, skip) in &self.skipped {
            writeln!(formatter, "skip {object}: {skip}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

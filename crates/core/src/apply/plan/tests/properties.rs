//! Properties of all plans.

use proptest::prelude::*;

use super::*;

const KINDS: [(&str, &str); 6] = [
    ("v1", "ConfigMap"),
    ("v1", "Namespace"),
    ("apps/v1", "Deployment"),
    ("storage.k8s.io/v1", "StorageClass"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    (
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
    ),
];

/// What a generated object says of itself and what the cluster knows of it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    Plain,
    OptsOut,
    OwnedElsewhere,
    RenderedElsewhere,
    TakesOver,
}

/// Objects by kind, namespace and name; each with its wave, its case, whether the old inventory has it, and whether the
/// build still renders it.
type Objects = BTreeMap<(usize, usize, usize), (i32, Case, bool, bool)>;

fn objects() -> impl Strategy<Value = Objects> {
    use Case::{OptsOut, OwnedElsewhere, Plain, RenderedElsewhere, TakesOver};
    let cases = [Plain, OptsOut, OwnedElsewhere, RenderedElsewhere, TakesOver];
    let key = (0_usize..6, 0_usize..3, 0_usize..20);
    let value = (
        -2_i32..3,
        proptest::sample::select(cases.to_vec()),
        proptest::bool::ANY,
        proptest::bool::weighted(0.8),
    );
    proptest::collection::btree_map(key, value, 1..40)
}

fn generated((kind, namespace, name): (usize, usize, usize), wave: i32, case: Case) -> Desired {
    let (api_version, kind) = KINDS[kind];
    let mut object = desired(
        api_version,
        kind,
        &format!("n{namespace}"),
        &format!("x:{name}"),
    );
    let mut annotations = json!({WAVE: wave.to_string()});
    match case {
        Case::OptsOut => annotations["kustomize.toolkit.fluxcd.io/reconcile"] = json!("disabled"),
        Case::TakesOver => annotations[TAKE_OVER] = json!("team/other"),
        _ => {}
    }
    object.manifest["metadata"]["annotations"] = annotations;
    object
}

fn rendered(objects: &Objects) -> Vec<Desired> {
    let rendered = objects.iter().filter(|(_, (.., is_rendered))| *is_rendered);
    rendered
        .map(|(key, (wave, case, ..))| generated(*key, *wave, *case))
        .collect()
}

fn observed(objects: &Objects) -> Observed {
    let mut observed = Observed::default();
    let other = NamespacedName::new("team", "other");
    let mut elsewhere = BTreeSet::new();
    for (key, (wave, case, is_held, is_rendered)) in objects {
        let object = generated(*key, *wave, *case).reference;
        if *is_held {
            observed.inventory.push(object.clone());
        }
        if matches!(
            case,
            Case::OwnedElsewhere | Case::RenderedElsewhere | Case::TakesOver
        ) {
            let owners = &mut observed.owners.by_object;
            owners.insert(object.id(), other.clone());
        }
        if matches!(case, Case::RenderedElsewhere | Case::TakesOver) {
            elsewhere.insert(object.id());
            if !is_rendered {
                let moved = &mut observed.rendered_elsewhere;
                moved.insert(object.id(), other.clone());
            }
        }
    }
    let other = (other, OtherKustomization::Renders(elsewhere));
    observed.owners.kustomizations = [other].into();
    observed
}

/// What the cluster is like after a plan was applied.
fn applied(plan: &ApplyPlan, before: &Observed) -> Observed {
    let mut after = before.clone();
    let status = inventory::of(&plan.inventory);
    after.inventory = inventory::objects(Some(&status));
    for desired in plan.objects() {
        after.owners.by_object.insert(desired.reference.id(), app());
    }
    after
}

fn open(spec: &KustomizationSpec) -> PlanOptions<'_> {
    PlanOptions {
        guard: Guard::open(),
        on_error: OnError::Continue,
        ..options(spec)
    }
}

proptest! {
    /// Every rendered object is applied, skipped or in conflict; every other object of the inventory is deleted or
    /// skipped; and none is in two lists.
    #[test]
    fn a_plan_decides_about_every_object_once(objects in objects()) {
        let (rendered, observed, spec) = (rendered(&objects), observed(&objects), spec());
        prop_assume!(!rendered.is_empty());
        let mut all: Vec<String> = rendered.iter().map(|desired| desired.reference.id()).collect();
        all.extend(leaving(&observed.inventory, &rendered).map(ObjectRef::id));
        let plan = plan(rendered, &observed, &open(&spec)).unwrap();
        let mut decided: Vec<String> = plan.objects().map(|desired| desired.reference.id()).collect();
        decided.extend(plan.prune.iter().map(ObjectRef::id));
        decided.extend(plan.conflicts.iter().map(|conflict| conflict.object.id()));
        decided.extend(plan.skipped.iter().map(|(object, _)| object.id()));
        all.sort();
        decided.sort();
        prop_assert_eq!(decided, all);
    }

    /// After a plan was applied, the next plan applies the same manifests, deletes nothing and takes over nothing.
    #[test]
    fn the_plan_of_an_applied_plan_is_empty(objects in objects()) {
        let spec = spec();
        prop_assume!(!rendered(&objects).is_empty());
        let before = observed(&objects);
        let first = plan(rendered(&objects), &before, &open(&spec)).unwrap();
        let hashes: BTreeMap<String, _> = first.objects().map(|desired| (desired.reference.id(), desired.hash)).collect();
        let after = applied(&first, &before);
        prop_assert_eq!(after.inventory.len(), first.inventory.len());
        // A build whose objects are all in conflict leaves an empty inventory behind.
        let second = plan(rendered(&objects), &after, &open(&spec)).unwrap();
        let changes = second.objects().filter(|desired| hashes.get(&desired.reference.id()) != Some(&desired.hash));
        prop_assert_eq!(changes.count(), 0);
        prop_assert!(second.leaving().is_empty() && second.taken_over_from.is_empty());
        prop_assert_eq!(second.digest(), first.digest());
        prop_assert_eq!(&second.conflicts, &first.conflicts);
        let third = plan(rendered(&objects), &applied(&second, &after), &open(&spec)).unwrap();
        prop_assert_eq!(third.to_string(), second.to_string());
        // And when everything is deleted, nothing stays.
        let all = deletion(&after.inventory, &Protected::default());
        prop_assert_eq!(all.prune.len(), after.inventory.len());
    }
}

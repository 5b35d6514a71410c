//! Plans, compared by their text form.

mod properties;

use super::*;
use crate::api::annotations::{DEPENDS_ON, WAVE};
use crate::apply::inventory;
use crate::apply::ownership::OtherKustomization;

fn desired(api_version: &str, kind: &str, namespace: &str, name: &str) -> Desired {
    let manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}});
    Desired {
        reference: ObjectRef::new(api_version, kind, namespace, name),
        manifest,
        source: None,
        hash: [0; 32],
    }
}

fn map(name: &str) -> Desired {
    desired("v1", "ConfigMap", "a", name)
}

fn annotated(name: &str, annotations: Value) -> Desired {
    let mut desired = map(name);
    desired.manifest["metadata"]["annotations"] = annotations;
    desired
}

fn app() -> NamespacedName {
    NamespacedName::new("team", "app")
}

fn spec() -> KustomizationSpec {
    KustomizationSpec {
        prune: true,
        ..KustomizationSpec::default()
    }
}

fn options(spec: &KustomizationSpec) -> PlanOptions<'_> {
    PlanOptions {
        spec,
        owner: Some(app()),
        protected: Protected {
            own_namespace: "overlayd".to_owned(),
        },
        guard: Guard {
            limit: Some(2),
            share: 50,
            ..Guard::default()
        },
        on_error: OnError::Stop,
        peer_controllers: PeerControllers::Leave,
        stage_kinds: &[],
    }
}

fn inventory_of(objects: &[Desired]) -> Observed {
    Observed {
        inventory: objects.iter().map(|of| of.reference.clone()).collect(),
        ..Observed::default()
    }
}

/// Lets the labels of objects name `team/other`, of which this is known.
fn owned(objects: &[Desired], other: &OtherKustomization) -> Observed {
    let owner = NamespacedName::new("team", "other");
    let ids = objects.iter().map(|desired| desired.reference.id());
    Observed {
        owners: LiveOwners {
            by_object: ids.map(|id| (id, owner.clone())).collect(),
            kustomizations: [(owner.clone(), other.clone())].into(),
            going: BTreeSet::new(),
        },
        ..Observed::default()
    }
}

fn text(plan: Result<ApplyPlan, PlanError>) -> String {
    match plan {
        Ok(plan) => plan.to_string(),
        Err(error) => format!("error: {error}\n"),
    }
}

fn check(objects: Vec<Desired>, observed: &Observed, expected: &str) {
    assert_eq!(text(plan(objects, observed, &options(&spec()))), expected);
}

/// The same, where the objects that fail do not hold up the others.
fn check_continued(objects: Vec<Desired>, observed: &Observed, expected: &str) {
    let spec = spec();
    let options = PlanOptions {
        on_error: OnError::Continue,
        ..options(&spec)
    };
    assert_eq!(text(plan(objects, observed, &options)), expected);
}

#[test]
fn definitions_and_namespaces_come_before_what_needs_them() {
    let objects = vec![
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
    ];
    let spec = spec();
    let options = PlanOptions {
        stage_kinds: &["Special".to_owned()],
        ..options(&spec)
    };
    assert_eq!(
        text(plan(objects, &Observed::default(), &options)),
        "stage 1\n  apply CustomResourceDefinition/x.y\n  apply Namespace/a\n\
         stage 2\n  apply StorageClass/fast\n\
         stage 3\n  apply Special/a/s\n\
         stage 4\n  apply ConfigMap/a/conf\n  apply Deployment/a/web\n",
    );
}

#[test]
fn objects_that_left_the_set_are_pruned_in_reverse_order() {
    let held = [
        map("old"),
        desired("apps/v1", "Deployment", "a", "web"),
        map("conf"),
    ];
    check(
        vec![map("conf")],
        &inventory_of(&held),
        "stage 1\n  apply ConfigMap/a/conf\nprune Deployment/a/web\nprune ConfigMap/a/old\n",
    );
}

#[test]
fn nothing_is_pruned_without_the_wish() {
    let spec = KustomizationSpec::default();
    let held = inventory_of(&[map("old")]);
    let plan = plan(vec![map("conf")], &held, &options(&spec));
    assert_eq!(text(plan), "stage 1\n  apply ConfigMap/a/conf\n");
}

#[test]
fn an_empty_build_deletes_nothing() {
    check(
        vec![],
        &inventory_of(&[map("conf")]),
        "error: the build is empty while 1 objects are applied; nothing was deleted: ConfigMap/a/conf. To approve exactly this, set the annotation `overlayd.dev/approve-deletions: 02fd46b9950a`\n",
    );
    check(vec![], &Observed::default(), "");
}

#[test]
fn namespaces_of_the_cluster_and_our_own_are_never_deleted() {
    let namespaces = ["overlayd", "default", "kube-system"];
    let namespaces = namespaces.map(|name| desired("v1", "Namespace", "", name));
    check(
        vec![map("conf")],
        &inventory_of(&namespaces),
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
        &Observed::default(),
        "error: Secret `Secret/a/s` is encrypted with SOPS, and `spec.decryption` is not supported yet; it was not applied\n",
    );
}

#[test]
fn an_object_is_rendered_once() {
    check(
        vec![map("a"), map("a")],
        &Observed::default(),
        "error: object `ConfigMap/a/a` is rendered twice\n",
    );
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    check(
        vec![map("x/../../secrets/y")],
        &Observed::default(),
        "error: object `ConfigMap/a/x/../../secrets/y`: its name or namespace is no name of an object\n",
    );
}

#[test]
fn an_unknown_drift_mode_is_refused() {
    check(
        vec![annotated("a", json!({"overlayd.dev/drift": "maybe"}))],
        &Observed::default(),
        "error: ConfigMap/a/a: annotation `overlayd.dev/drift: maybe` is none of `correct`, `report` and `ignore`\n",
    );
}

#[test]
fn the_plan_of_an_applied_plan_prunes_nothing() {
    let objects = vec![map("conf"), desired("v1", "Namespace", "", "a")];
    let held = inventory_of(&objects);
    let expected = "stage 1\n  apply Namespace/a\nstage 2\n  apply ConfigMap/a/conf\n";
    check(objects, &held, expected);
}

#[test]
fn deletions_that_look_like_an_accident_need_an_approval() {
    let many: Vec<Desired> = (0..4).map(|number| map(&format!("m{number}"))).collect();
    check(
        vec![map("m0")],
        &inventory_of(&many),
        "error: 3 of 4 objects would be deleted; nothing was applied or deleted. These would go: ConfigMap/a/m3, ConfigMap/a/m2, ConfigMap/a/m1. To approve exactly this, set the annotation `overlayd.dev/approve-deletions: 5213f4a0955b`\n",
    );
    check(
        vec![map("m0")],
        &inventory_of(&[desired("v1", "Namespace", "", "shop")]),
        "error: deleting Namespace/shop would take everything in it along; nothing was applied or deleted. These would go: Namespace/shop. To approve exactly this, set the annotation `overlayd.dev/approve-deletions: d75cfdd46dfc`\n",
    );
}

fn child(name: &str) -> Desired {
    let api_version = "kustomize.toolkit.fluxcd.io/v1";
    desired(api_version, "Kustomization", "team", name)
}

/// Lets a build no longer render the Kustomization `team/child`, which holds these objects.
fn dropped(held: &[Desired]) -> Observed {
    let held = held.iter().map(|desired| desired.reference.clone());
    let name = NamespacedName::new("team", "child");
    Observed {
        children: [(name.clone(), held.collect())].into(),
        owners: LiveOwners {
            going: [name].into(),
            ..LiveOwners::default()
        },
        ..inventory_of(&[map("conf"), child("child")])
    }
}

#[test]
fn the_guard_does_not_end_at_a_child() {
    let refused = |why: &str, objects: &str, hash: &str| {
        format!(
            "error: {why}; nothing was applied or deleted. These would go: {objects}. To approve exactly this, set the annotation `overlayd.dev/approve-deletions: {hash}`\n"
        )
    };
    let claim = desired("v1", "PersistentVolumeClaim", "a", "disk");
    let grave = refused(
        "deleting PersistentVolumeClaim/a/disk would take everything in it along",
        "Kustomization/team/child, PersistentVolumeClaim/a/disk",
        "a4e386fb05d5",
    );
    check(
        vec![map("conf")],
        &dropped(std::slice::from_ref(&claim)),
        &grave,
    );
    let many = [map("m1"), map("m2")];
    let limit = refused(
        "3 of 4 objects would be deleted",
        "Kustomization/team/child, ConfigMap/a/m1, ConfigMap/a/m2",
        "a0a0d5effad1",
    );
    check(vec![map("conf")], &dropped(&many), &limit);
    // An object that moves to the parent or to another Kustomization is not deleted.
    let expected = "stage 1\n  apply ConfigMap/a/conf\n  apply PersistentVolumeClaim/a/disk\nprune Kustomization/team/child\n";
    check(
        vec![map("conf"), claim.clone()],
        &dropped(std::slice::from_ref(&claim)),
        expected,
    );
    let mut moved = dropped(std::slice::from_ref(&claim));
    let to = NamespacedName::new("team", "other");
    moved.rendered_elsewhere = [(claim.reference.id(), to)].into();
    let expected = "stage 1\n  apply ConfigMap/a/conf\nprune Kustomization/team/child\n";
    check(vec![map("conf")], &moved, expected);
}

#[test]
fn the_guard_waits_until_everybody_has_said_what_it_wants() {
    let claim = desired("v1", "PersistentVolumeClaim", "a", "disk");
    let observed = Observed {
        is_undecided: true,
        ..dropped(std::slice::from_ref(&claim))
    };
    let spec = spec();
    let plan = plan(vec![map("conf")], &observed, &options(&spec)).unwrap();
    let leaving = plan.leaving();
    assert_eq!(leaving, [child("child").reference]);
    let guard = plan.deferred_guard.unwrap();
    let refused = guard.check(&leaving, |_| false).unwrap_err();
    assert_eq!(
        refused.objects,
        ["Kustomization/team/child", "PersistentVolumeClaim/a/disk"]
    );
    let moved = guard.check(&leaving, |object| *object == claim.reference);
    assert_eq!(moved, Ok(()));
}

#[test]
fn a_child_that_is_folded_into_its_parent_keeps_nothing_from_it() {
    let name = NamespacedName::new("team", "child");
    let mut observed = dropped(&[map("one")]);
    let id = map("one").reference.id();
    observed.owners.by_object = [(id.clone(), name.clone())].into();
    observed.owners.kustomizations = [(name, OtherKustomization::Renders([id].into()))].into();
    let expected = "stage 1\n  apply ConfigMap/a/conf\n  apply ConfigMap/a/one\nprune Kustomization/team/child\n";
    check(vec![map("conf"), map("one")], &observed, expected);
    observed.owners.going.clear();
    let plan = text(plan(
        vec![map("conf"), map("one")],
        &observed,
        &options(&spec()),
    ));
    assert!(plan.contains("conflict ConfigMap/a/one"), "{plan}");
}

#[test]
fn an_object_that_opts_out_is_not_applied_and_stays_in_the_inventory() {
    let left = annotated(
        "left",
        json!({"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}),
    );
    let ignored = annotated(
        "ignored",
        json!({"kustomize.toolkit.fluxcd.io/ssa": "Ignore"}),
    );
    let kept = annotated(
        "kept",
        json!({"kustomize.toolkit.fluxcd.io/prune": "Disabled"}),
    );
    let objects = vec![left, ignored, kept];
    let held = inventory_of(&objects);
    let plan = plan(objects, &held, &options(&spec())).unwrap();
    assert_eq!(
        plan.to_string(),
        "stage 1\n  apply ConfigMap/a/kept\n\
         skip ConfigMap/a/left: `reconcile: disabled` is set on it\n\
         skip ConfigMap/a/ignored: `ssa: Ignore` is set on it\n",
    );
    let opt_outs: Vec<&Skip> = plan.opt_outs.iter().map(|(_, skip)| skip).collect();
    assert_eq!(
        opt_outs,
        [
            &Skip::ReconcileDisabled,
            &Skip::SsaIgnore,
            &Skip::PruneDisabled
        ]
    );
    assert_eq!(plan.inventory, held.inventory);
    assert_eq!(plan.kept().count(), 0, "they are rendered");
}

#[test]
fn others_may_depend_on_an_object_that_opts_out() {
    let left = annotated(
        "left",
        json!({"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}),
    );
    let user = annotated("user", json!({DEPENDS_ON: "/namespaces/a/ConfigMap/left"}));
    check(
        vec![user, left],
        &Observed::default(),
        "stage 1\n  apply ConfigMap/a/user\nskip ConfigMap/a/left: `reconcile: disabled` is set on it\n",
    );
}

const CONFLICT: &str = "conflict ConfigMap/a/one: Kustomization `team/other` applies it too; take it out of one of them, or let it go over to this one with the annotation `overlayd.dev/take-over: team/other` on the object\n";

#[test]
fn an_object_that_another_kustomization_renders_is_a_conflict() {
    let rendered = OtherKustomization::Renders([map("one").reference.id()].into());
    let observed = owned(&[map("one"), map("two")], &rendered);
    let objects = || vec![map("one"), map("two")];
    check(
        objects(),
        &observed,
        &format!("stage 1\n  apply ConfigMap/a/two\n{CONFLICT}"),
    );
    check_continued(
        objects(),
        &observed,
        &format!("stage 1\n  apply ConfigMap/a/two\n{CONFLICT}"),
    );
    let plan = plan(objects(), &observed, &options(&spec())).unwrap();
    assert_eq!(plan.inventory, [map("two").reference]);
    let gone = owned(&objects(), &OtherKustomization::Gone);
    check(
        objects(),
        &gone,
        "stage 1\n  apply ConfigMap/a/one\n  apply ConfigMap/a/two\n",
    );
}

#[test]
fn an_object_of_a_conflict_is_not_deleted_either() {
    let rendered = OtherKustomization::Renders([map("one").reference.id()].into());
    let observed = Observed {
        inventory: vec![map("one").reference],
        ..owned(&[map("one")], &rendered)
    };
    check_continued(vec![map("one")], &observed, CONFLICT);
}

#[test]
fn an_object_is_taken_over_from_the_owner_that_it_names() {
    let one = || annotated("one", json!({TAKE_OVER: "team/other"}));
    let rendered = OtherKustomization::Renders([one().reference.id()].into());
    let expected = "stage 1\n  apply ConfigMap/a/one\ntake over from team/other\n";
    check(vec![one()], &owned(&[one()], &rendered), expected);
    let unreadable = OtherKustomization::Unreadable("forbidden".to_owned());
    check(vec![one()], &owned(&[one()], &unreadable), expected);
    // `spec.commonMetadata` may name it for all objects.
    let mut spec = spec();
    let common = json!({"annotations": {TAKE_OVER: "team/other"}});
    spec.common_metadata = serde_json::from_value(common).unwrap();
    let observed = owned(&[map("one")], &rendered);
    assert_eq!(
        text(plan(vec![map("one")], &observed, &options(&spec))),
        expected
    );
}

#[test]
fn an_owner_that_cannot_be_read_is_not_taken_for_one_that_is_gone() {
    check(
        vec![map("one")],
        &owned(
            &[map("one")],
            &OtherKustomization::Unreadable("forbidden".to_owned()),
        ),
        "error: Kustomization `team/other`, which owns ConfigMap/a/one, cannot be read: forbidden\n",
    );
}

#[test]
fn objects_that_a_person_applies_have_no_owner() {
    let spec = KustomizationSpec::default();
    let options = PlanOptions {
        owner: None,
        ..options(&spec)
    };
    let rendered = OtherKustomization::Renders([map("one").reference.id()].into());
    let observed = owned(&[map("one")], &rendered);
    let plan = plan(vec![map("one")], &observed, &options).unwrap();
    assert_eq!(plan.to_string(), "stage 1\n  apply ConfigMap/a/one\n");
    let applied = plan.objects().next().unwrap();
    assert_eq!(applied.manifest, map("one").manifest);
}

#[test]
fn an_object_that_moved_is_handed_over_and_may_still_be_deleted() {
    let held = inventory_of(&[map("moved"), map("old"), map("conf")]);
    let to = NamespacedName::new("team", "b");
    let observed = Observed {
        rendered_elsewhere: [(map("moved").reference.id(), to)].into(),
        ..held
    };
    let plan = plan(vec![map("conf")], &observed, &options(&spec())).unwrap();
    assert_eq!(
        plan.to_string(),
        "stage 1\n  apply ConfigMap/a/conf\nprune ConfigMap/a/old\n\
         skip ConfigMap/a/moved: Kustomization `team/b` applies it now\n",
    );
    assert_eq!(
        plan.leaving(),
        [map("old").reference, map("moved").reference]
    );
    assert_eq!(plan.kept().count(), 1);
    let objects = [map("conf")];
    let leaving: Vec<&ObjectRef> = leaving(&observed.inventory, &objects).collect();
    assert_eq!(leaving, [&map("moved").reference, &map("old").reference]);
}

#[test]
fn a_manifest_is_completed_before_it_is_named_by_its_hash() {
    let mut spec = spec();
    let common = json!({"labels": {"team": "shop"}, "annotations": {"a": "b"}});
    spec.common_metadata = serde_json::from_value(common).unwrap();
    let mut one = map("one");
    one.manifest["status"] = json!({"ready": true});
    one.manifest["metadata"]["creationTimestamp"] = json!(null);
    one.manifest["metadata"]["managedFields"] = json!([]);
    let first = plan(vec![one], &Observed::default(), &options(&spec)).unwrap();
    let applied = first.objects().next().unwrap();
    assert_eq!(
        applied.manifest,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "one", "namespace": "a", "annotations": {"a": "b"},
            "labels": {"team": "shop", OWNER_NAME: "app", OWNER_NAMESPACE: "team"},
        }})
    );
    assert_eq!(applied.hash, manifest_hash(&applied.manifest));
    let other = plan(vec![map("two")], &Observed::default(), &options(&spec)).unwrap();
    assert_ne!(first.digest(), other.digest());
    assert_eq!(first.digest().len(), "sha256:".len() + 64);
}

#[test]
fn the_status_of_a_definition_is_part_of_it() {
    let kind = "CustomResourceDefinition";
    let mut definition = desired("apiextensions.k8s.io/v1", kind, "", "x.y");
    definition.manifest["status"] = json!({"storedVersions": ["v1"]});
    let plan = plan(vec![definition], &Observed::default(), &options(&spec())).unwrap();
    let applied = plan.objects().next().unwrap();
    assert!(applied.manifest["status"].is_object());
}

#[test]
fn a_certificate_that_is_none_is_dropped() {
    let check = |kind: &str, manifest: Value, expected: Value| {
        let mut object = desired("example.com/v1", kind, "", "x");
        json_patch::merge(&mut object.manifest, &manifest);
        let spec = KustomizationSpec::default();
        let options = PlanOptions {
            owner: None,
            ..options(&spec)
        };
        let plan = plan(vec![object], &Observed::default(), &options).unwrap();
        let applied = &plan.objects().next().unwrap().manifest;
        let mut whole = applied.clone();
        json_patch::merge(&mut whole, &expected);
        assert_eq!(*applied, whole);
        assert!(!applied.to_string().contains("Cg=="));
    };
    for kind in [
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ] {
        let hook = |bundle: &str| json!({"clientConfig": {"url": "u", "caBundle": bundle}});
        check(
            kind,
            json!({"webhooks": [hook("Cg=="), hook(""), hook("eA==")]}),
            json!({"webhooks": [{"clientConfig": {"url": "u"}}, {"clientConfig": {"url": "u"}}, hook("eA==")]}),
        );
    }
    let conversion =
        |config: Value| json!({"spec": {"conversion": {"webhook": {"clientConfig": config}}}});
    let kind = "CustomResourceDefinition";
    check(
        kind,
        conversion(json!({"url": "u", "caBundle": "Cg=="})),
        conversion(json!({"url": "u"})),
    );
    check(
        "APIService",
        json!({"spec": {"caBundle": "Cg==", "group": "g"}}),
        json!({"spec": {"group": "g"}}),
    );
}

#[test]
fn while_a_scope_is_not_known_nothing_of_the_kind_is_pruned() {
    let pool = |namespace: &str| desired("karpenter.sh/v1", "NodePool", namespace, "pool-a");
    let mut observed = inventory_of(&[pool(""), map("a"), map("gone")]);
    observed.scope_unknown = [GroupKind::of(&pool("").reference)].into();
    let spec = spec();
    let plan = plan(
        vec![pool("karpenter"), map("a")],
        &observed,
        &options(&spec),
    )
    .unwrap();
    let expected = "stage 1
  apply ConfigMap/a/a
  apply NodePool/karpenter/pool-a
prune ConfigMap/a/gone
skip NodePool/pool-a: whether objects of its kind have a namespace is not known yet, and the build renders objects of this kind
";
    assert_eq!(plan.to_string(), expected);
    let ids: Vec<String> = plan.inventory.iter().map(ObjectRef::id).collect();
    assert!(
        ids.contains(&"_pool-a_karpenter.sh_NodePool".to_owned()),
        "the entry stays in the inventory: {ids:?}"
    );
    assert_eq!(plan.leaving(), [map("gone").reference]);
    assert_eq!(plan.kept().count(), 1);
}

#[test]
fn controllers_of_flux_are_left_and_their_definitions_keep_what_overlayd_uses() {
    let mut controller = desired(
        "apps/v1",
        "Deployment",
        "flux-system",
        "kustomize-controller",
    );
    controller.manifest["metadata"]["labels"] = json!({"app.kubernetes.io/part-of": "flux"});
    let name = "kustomizations.kustomize.toolkit.fluxcd.io";
    let mut definition = desired(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "",
        name,
    );
    let old = json!({"name": "v1beta2", "served": true, "storage": true});
    definition.manifest["spec"] =
        json!({"group": "kustomize.toolkit.fluxcd.io", "versions": [old]});
    let objects = || vec![controller.clone(), definition.clone()];
    let spec = spec();
    let left = plan(objects(), &Observed::default(), &options(&spec)).unwrap();
    let text = left.to_string();
    let expected = "stage 1
  apply CustomResourceDefinition/kustomizations.kustomize.toolkit.fluxcd.io
skip Deployment/flux-system/kustomize-controller: it is a controller of Flux,";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(left.inventory.len(), 2, "it is not pruned either");
    let versions = &left.waves[0].0[0][0].manifest["spec"]["versions"];
    assert_eq!(versions[0], old);
    assert_eq!(
        (&versions[1]["name"], &versions[1]["served"]),
        (&json!("v1"), &json!(true))
    );
    let applied = PlanOptions {
        peer_controllers: PeerControllers::Apply,
        ..options(&spec)
    };
    let plan = plan(objects(), &Observed::default(), &applied).unwrap();
    assert_eq!(plan.objects().count(), 2);
}

//! `overlayd diff`: the effect of a change: on a cluster, or between two states of a repository.

mod show;

use std::path::Path;

use futures::{FutureExt as _, StreamExt as _};
use kube::Client;
use kube::api::Api;
use kustomize::{BuildOptions, FileTree, LoadRestriction, Rendered, Reorder, RepoPath};

use overlayd_core::api::kustomization::{Kustomization, KustomizationSpec};
use overlayd_core::apply::change_set::ObjectFailure;
use overlayd_core::apply::desired::Desired;
use overlayd_core::apply::drift::{Difference, differences};
use overlayd_core::apply::object_ref::ObjectRef;
use overlayd_core::apply::plan::{ApplyPlan, Observed, PlanOptions, plan};
use overlayd_core::apply::plan_options::PlanFlags;
use overlayd_core::apply::skip::Skip;
use overlayd_core::names::NamespacedName;
use overlayd_core::render::spec_overlay::overlay_spec;

use crate::cli::args::{DiffArgs, DiffForm};
use crate::cli::diff::show::{DiffAction, DiffEntry};
use crate::cli::report::Failure;
use crate::cli::{build, cluster, disk, output};
use crate::cluster::apply::{
    Applier, ApplyOptions, BOOTSTRAP_MANAGER, FIELD_MANAGER, PredictedChange,
};
use crate::cluster::error::describe;
use crate::controllers::kustomization::{desired, preview};
use crate::git::snapshot;

/// The result of a comparison, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiffResult {
    /// Nothing would change.
    Same,
    /// At least one object would be created, changed or deleted.
    Different,
    /// The server would refuse an object, or cannot be asked about it.
    Refused,
}

/// The number of objects that are compared at once.
const AT_ONCE: usize = 16;

/// Compares and prints. The result decides the exit code.
///
/// # Errors
/// The comparison itself fails; an object that the API server refuses is a result.
pub(super) async fn diff(args: DiffArgs) -> Result<DiffResult, Failure> {
    let mut entries = match (&args.old_or_new, &args.new) {
        (old, Some(new)) => offline(old, new).await?,
        (new, None) => online(new, &args).await?,
    };
    show::sort(&mut entries);
    let text = match args.output {
        DiffForm::Text => show::text(&entries),
        DiffForm::Json => format!("{:#}\n", show::to_json(&entries)),
        DiffForm::Markdown => show::markdown(&entries),
    };
    output::write(&text)?;
    Ok(result(&entries))
}

/// The result of all entries: a refusal counts more than a difference.
fn result(entries: &[DiffEntry]) -> DiffResult {
    let any = |holds: fn(&DiffAction) -> bool| entries.iter().any(|entry| holds(&entry.action));
    if any(|action| matches!(action, DiffAction::Refuse(_))) {
        DiffResult::Refused
    } else if any(|action| !matches!(action, DiffAction::Keep(_))) {
        DiffResult::Different
    } else {
        DiffResult::Same
    }
}

/// Compares two directories, each on the disk or of a commit.
async fn offline(old: &str, new: &str) -> Result<Vec<DiffEntry>, Failure> {
    let (old, new) = (render(old, None).await?, render(new, None).await?);
    Ok(between(&desired(&old), &desired(&new)))
}

/// The objects that leave a set, join it, or change.
fn between(old: &[Desired], new: &[Desired]) -> Vec<DiffEntry> {
    let find =
        |set: &[Desired], id: &str| set.iter().position(|desired| desired.reference.id() == id);
    let mut entries = Vec::new();
    for desired in old {
        if find(new, &desired.reference.id()).is_none() {
            entries.push(DiffEntry {
                object: desired.reference.clone(),
                action: DiffAction::Delete,
            });
        }
    }
    for desired in new {
        let object = desired.reference.clone();
        let action = match find(old, &object.id()) {
            None => DiffAction::Create,
            Some(at) => {
                let mut found = differences(&object, &old[at].manifest, &desired.manifest);
                if old[at].reference.version != object.version {
                    found.retain(|difference| difference.path != "apiVersion");
                    let version = |desired: &Desired| Some(desired.reference.api_version().into());
                    found.push(Difference {
                        path: "apiVersion".to_owned(),
                        live: version(&old[at]),
                        wanted: version(desired),
                    });
                }
                if found.is_empty() {
                    continue;
                }
                DiffAction::Change(found)
            }
        };
        entries.push(DiffEntry { object, action });
    }
    entries
}

/// Compares a directory with the cluster.
async fn online(directory: &str, args: &DiffArgs) -> Result<Vec<DiffEntry>, Failure> {
    let config = cluster::configure(&args.cluster).await?;
    let namespace = args.namespace.as_ref().unwrap_or(&config.default_namespace);
    let name = args.kustomization.as_ref();
    let unit = name.map(|name| NamespacedName::new(namespace, name));
    let client = cluster::connect_with(config, &std::sync::Arc::default()).await?;
    let flags = PlanFlags {
        own_namespace: args.overlayd_namespace.clone(),
        ..PlanFlags::default()
    };
    match unit {
        Some(unit) => as_unit(directory, &unit, client, &flags).await,
        None => by_hand(directory, client, &flags).await,
    }
}

/// The failure of a comparison with the cluster, with its reason.
fn cannot_compare(directory: &str, reason: String) -> Failure {
    Failure::new(format!("cannot compare `{directory}` with the cluster")).because(reason, None)
}

/// As `overlayd apply` would apply a directory.
async fn by_hand(
    directory: &str,
    client: Client,
    flags: &PlanFlags,
) -> Result<Vec<DiffEntry>, Failure> {
    let rendered = render(directory, None).await?;
    let spec = KustomizationSpec::default();
    let options = PlanOptions::by_hand(&spec, flags);
    let applier = Applier::new(client, BOOTSTRAP_MANAGER);
    let mut desired = desired(&rendered);
    output::notes(&applier.place(&mut desired, &[]).await.renewed);
    let plan = plan(desired, &Observed::default(), &options)
        .map_err(|error| cannot_compare(directory, error.to_string()))?;
    Ok(against(&plan, &applier, None, &ApplyOptions::of(&plan)).await)
}

/// As the daemon would apply a directory for a Kustomization.
async fn as_unit(
    directory: &str,
    name: &NamespacedName,
    client: Client,
    flags: &PlanFlags,
) -> Result<Vec<DiffEntry>, Failure> {
    let failed = |reason| cannot_compare(directory, reason);
    let api: Api<Kustomization> = Api::namespaced(client.clone(), &name.namespace);
    let unit = api.get(&name.name).await;
    let unit = unit.map_err(|error| failed(describe(&error)))?;
    let rendered = render(directory, Some(&unit.spec)).await?;
    let applier = Applier::new(client, FIELD_MANAGER);
    let preview = preview::preview(&unit, &applier, &rendered, flags).await;
    let preview = preview.map_err(|error| failed(error.to_string()))?;
    output::notes(&preview.renewed);
    if let Some(refusal) = preview.refusal {
        output::note(&format!("note: the daemon would refuse this: {refusal}"));
    }
    let (plan, options) = (&preview.plan, &preview.options);
    let mut entries = against(plan, &applier, Some(name), options).await;
    if options.hides_values {
        // A variable may hold a value of a Secret, in any field.
        entries.iter_mut().for_each(hide);
    }
    Ok(entries)
}

/// Hides the reason of a refusal; differences hide their values themselves.
fn hide(entry: &mut DiffEntry) {
    if let DiffAction::Refuse(reason) = &mut entry.action {
        "the API server refuses it (details are left out, since they may quote a value of a Secret)"
            .clone_into(reason);
    }
}

/// The effect of a plan on a cluster.
async fn against(
    plan: &ApplyPlan,
    applier: &Applier,
    owner: Option<&NamespacedName>,
    options: &ApplyOptions,
) -> Vec<DiffEntry> {
    let mut asked = Vec::new();
    for desired in plan.objects() {
        asked.push(predict(applier, desired, options).boxed());
    }
    for object in &plan.prune {
        asked.push(predict_deletion(applier, object, owner).boxed());
    }
    let entries = futures::stream::iter(asked).buffered(AT_ONCE);
    let mut entries: Vec<DiffEntry> = entries.filter_map(std::future::ready).collect().await;
    entries.extend(decided(plan));
    entries
}

/// The objects of which the plan alone decides.
fn decided(plan: &ApplyPlan) -> Vec<DiffEntry> {
    let conflicts = plan.conflicts.iter().map(|conflict| DiffEntry {
        object: conflict.object.clone(),
        action: DiffAction::Refuse(ObjectFailure::from(conflict).reason),
    });
    let kept = plan.kept().map(|(object, skip)| DiffEntry {
        object: object.clone(),
        action: DiffAction::Keep(skip.to_string()),
    });
    conflicts.chain(kept).collect()
}

/// What applying an object would do to it; nothing if it would change nothing.
async fn predict(
    applier: &Applier,
    desired: &Desired,
    options: &ApplyOptions,
) -> Option<DiffEntry> {
    let action = match applier.predict(desired, options).await {
        Ok(PredictedChange::Create) => DiffAction::Create,
        Ok(PredictedChange::Change(fields)) if fields.is_empty() => return None,
        Ok(PredictedChange::Change(fields)) => DiffAction::Change(fields),
        Err(error) => DiffAction::Refuse(error.to_string()),
    };
    Some(DiffEntry {
        object: desired.reference.clone(),
        action,
    })
}

/// What pruning an object would do; nothing if it is gone already.
async fn predict_deletion(
    applier: &Applier,
    object: &ObjectRef,
    owner: Option<&NamespacedName>,
) -> Option<DiffEntry> {
    let action = match applier.get(object).await {
        Ok(None) => return None,
        Ok(Some(live)) => match owner.and_then(|owner| Skip::of_deletion(&live, owner)) {
            Some(skip) => DiffAction::Keep(skip.to_string()),
            None => DiffAction::Delete,
        },
        Err(error) => DiffAction::Refuse(error.to_string()),
    };
    Some(DiffEntry {
        object: object.clone(),
        action,
    })
}

/// Builds a directory of the disk, or `COMMIT:DIRECTORY` of the repository around us.
async fn render(target: &str, spec: Option<&KustomizationSpec>) -> Result<Rendered, Failure> {
    let (target, spec) = (target.to_owned(), spec.cloned());
    let render = move || {
        let options = BuildOptions {
            reorder: Reorder::None,
            load_restriction: if spec.is_some() {
                LoadRestriction::None
            } else {
                LoadRestriction::RootOnly
            },
            ..BuildOptions::default()
        };
        let (tree, directory) = open(&target, spec.is_some())?;
        let tree = match &spec {
            Some(spec) => {
                overlay_spec(tree, &directory, spec)
                    .map_err(|error| {
                        let failure = Failure::new(format!("cannot build `{target}`"));
                        failure.because(error.to_string(), None)
                    })?
                    .tree
            }
            None => tree,
        };
        build::render_tree(&target, tree, &directory, &options)
    };
    build::apart(render).await
}

/// The tree and the directory that an argument names. `as_source` opens it as the daemon would, whose files may be named
/// from anywhere in the repository.
fn open(target: &str, as_source: bool) -> Result<(FileTree, RepoPath), Failure> {
    let revision = target
        .split_once(':')
        .filter(|_| !Path::new(target).exists());
    let Some((revision, directory)) = revision else {
        return if as_source {
            disk::open_as_source(Path::new(target))
        } else {
            disk::open(Path::new(target))
        };
    };
    let failed = |reason: String| {
        Failure::new(format!("cannot read `{target}`"))
            .because(reason, Some("write COMMIT:DIRECTORY, with the directory as seen from the root of the repository"))
    };
    let tree = snapshot::of_work_tree(Path::new("."), revision);
    let tree = tree.map_err(|error| failed(error.message().to_owned()))?;
    let directory = RepoPath::root()
        .join(directory)
        .map_err(|problem| failed(problem.to_string()))?;
    Ok((tree, directory))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use overlayd_core::apply::ownership::Conflict;
    use overlayd_core::apply::skip::Protection;

    use super::*;

    /// The preview dropped what the plan keeps, and showed the deletion of overlayd's own namespace.
    #[test]
    fn objects_that_the_plan_keeps_are_shown_with_their_reason() {
        let object = |kind: &str, name: &str| ObjectRef::new("v1", kind, "", name);
        let other = || NamespacedName::new("team", "other");
        let plan = ApplyPlan {
            skipped: vec![
                (object("ConfigMap", "out"), Skip::ReconcileDisabled),
                (
                    object("ConfigMap", "moved"),
                    Skip::HandedOver { to: other() },
                ),
                (
                    object("Namespace", "own"),
                    Skip::Protected(Protection::OwnNamespace),
                ),
            ],
            ..ApplyPlan::default()
        };
        let mut entries = decided(&plan);
        show::sort(&mut entries);
        assert_eq!(
            show::text(&entries),
            "  keep ConfigMap/moved\n    Kustomization `team/other` applies it now\n\
             \x20 keep Namespace/own\n    overlayd runs in this namespace\n2 to keep\n"
        );
        assert_eq!(result(&entries), DiffResult::Same);
        let plan = ApplyPlan {
            conflicts: vec![Conflict {
                object: object("ConfigMap", "a"),
                source: None,
                owner: other(),
            }],
            ..plan
        };
        assert_eq!(result(&decided(&plan)), DiffResult::Refused);
    }

    #[test]
    fn between_two_states() {
        let object = |api_version: &str, name: &str, value: &str| Desired {
            reference: ObjectRef::new(api_version, "Thing", "n", name),
            manifest: json!({"apiVersion": api_version, "spec": {"value": value}}),
            source: None,
            hash: [0; 32],
        };
        let old = [
            object("g/v1", "same", "a"),
            object("g/v1", "gone", "a"),
            object("g/v1", "other", "a"),
            object("g/v1", "moved", "a"),
        ];
        let new = [
            object("g/v1", "same", "a"),
            object("g/v1", "other", "b"),
            object("g/v2", "moved", "a"),
            object("g/v1", "new", "a"),
        ];
        let mut entries = between(&old, &new);
        show::sort(&mut entries);
        assert_eq!(
            show::text(&entries),
            "- delete Thing/n/gone\n+ create Thing/n/new\n~ change Thing/n/moved\n    apiVersion: g/v1 → g/v2\n~ change Thing/n/other\n    spec.value: a → b\n1 to delete, 1 to create, 2 to change\n"
        );
    }
}

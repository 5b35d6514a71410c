//! `overlayd diff`: what a change would do: to a cluster, or between two states of a repository.

mod show;

use std::path::Path;

use futures::{FutureExt as _, StreamExt as _};
use kube::ResourceExt as _;
use kube::api::Api;
use kustomize::{BuildOptions, FileTree, LoadRestriction, Rendered, Reorder, RepoPath};

use crate::cli::args::{DiffArgs, DiffForm};
use crate::cli::diff::show::{Entry, Fate};
use crate::cli::report::Failure;
use crate::cli::{build, cluster, disk, output};
use crate::cluster::apply::{Applier, BOOTSTRAP_MANAGER, FIELD_MANAGER};
use crate::cluster::apply::{How, Would};
use crate::cluster::error::describe;
use crate::controllers::kustomization::{desired, preview as desk};
use crate::git::snapshot;
use overlayd_core::api::kustomization::{Kustomization, KustomizationSpec};
use overlayd_core::apply::drift::{Difference, differences};
use overlayd_core::apply::inventory;
use overlayd_core::apply::plan::{
    ApplyPlan, Desired, Guard, OnError, Owner, Protected, Terms, Wave, keeps, plan,
};
use overlayd_core::render::spec_overlay::amend;

/// Whether there are differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Differences,
    /// Something would not be taken, or could not be asked about.
    Refusals,
}

/// How many objects are asked about at once.
const AT_ONCE: usize = 16;

pub(super) async fn diff(args: DiffArgs) -> Result<Found, Failure> {
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
    let any = |holds: fn(&Fate) -> bool| entries.iter().any(|entry| holds(&entry.fate));
    Ok(if any(|fate| matches!(fate, Fate::Refuse(_))) {
        Found::Refusals
    } else if any(|fate| !matches!(fate, Fate::Keep(_))) {
        Found::Differences
    } else {
        Found::Nothing
    })
}

/// Two directories, each on the disk or of a commit.
async fn offline(old: &str, new: &str) -> Result<Vec<Entry>, Failure> {
    let (old, new) = (render(old, None).await?, render(new, None).await?);
    Ok(between(&desired(&old), &desired(&new)))
}

/// What leaves a set of objects, comes to it, or changes.
fn between(old: &[Desired], new: &[Desired]) -> Vec<Entry> {
    let find =
        |set: &[Desired], id: &str| set.iter().position(|desired| desired.reference.id() == id);
    let mut entries = Vec::new();
    for desired in old {
        if find(new, &desired.reference.id()).is_none() {
            entries.push(Entry {
                object: desired.reference.clone(),
                fate: Fate::Delete,
            });
        }
    }
    for desired in new {
        let object = desired.reference.clone();
        let fate = match find(old, &object.id()) {
            None => Fate::Create,
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
                Fate::Change(found)
            }
        };
        entries.push(Entry { object, fate });
    }
    entries
}

/// A directory beside what is in the cluster.
async fn online(directory: &str, args: &DiffArgs) -> Result<Vec<Entry>, Failure> {
    let config = cluster::configure(&args.cluster).await?;
    let namespace = args
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = cluster::connect_with(config, &std::sync::Arc::default()).await?;
    let what = || format!("cannot compare `{directory}` with the cluster");
    let failed = |reason: String| Failure::new(what()).because(reason, None);
    let Some(name) = &args.kustomization else {
        let rendered = render(directory, None).await?;
        let spec = KustomizationSpec::default();
        let plan = plan(
            desired(&rendered),
            &[],
            &terms(&spec, None, Guard::default()),
        );
        let plan = plan.map_err(|error| failed(error.to_string()))?;
        return Ok(against(
            &plan,
            &Applier::new(client, BOOTSTRAP_MANAGER),
            None,
            &How::default(),
        )
        .await);
    };
    let api: Api<Kustomization> = Api::namespaced(client.clone(), &namespace);
    let unit = api
        .get(name)
        .await
        .map_err(|error| failed(describe(&error)))?;
    let rendered = render(directory, Some(&unit.spec)).await?;
    let objects = desk::desired(&unit, &client, &rendered).await;
    let (objects, settings) = objects.map_err(failed)?;
    let held = inventory::objects(
        unit.status
            .as_ref()
            .and_then(|status| status.inventory.as_ref()),
    );
    let owner = Owner {
        name: unit.name_any(),
        namespace: unit.namespace().unwrap_or_default(),
    };
    let plan = plan(
        objects,
        &held,
        &terms(&unit.spec, Some(owner.clone()), Guard::open()),
    );
    let plan = plan.map_err(|error| failed(error.to_string()))?;
    if let Err(error) = settings.guard().check(&plan.prune, held.len()) {
        output::note(&format!("note: the daemon would refuse this: {error}"));
    }
    let applier = Applier::new(client, FIELD_MANAGER);
    let mut entries = against(&plan, &applier, Some(&owner), settings.how()).await;
    if settings.how().hides_values {
        // A variable may hold a value of a Secret, wherever it was put.
        entries.iter_mut().for_each(hide);
    }
    Ok(entries)
}

fn terms(spec: &KustomizationSpec, owner: Option<Owner>, guard: Guard) -> Terms<'_> {
    Terms {
        spec,
        owner,
        protected: Protected::default(),
        guard,
        on_error: OnError::Stop,
        stage_kinds: &[],
    }
}

/// Leaves out why something was refused; what would change hides its values itself.
fn hide(entry: &mut Entry) {
    if let Fate::Refuse(reason) = &mut entry.fate {
        "the API server refuses it (details are left out, since they may quote a value of a Secret)"
            .clone_into(reason);
    }
}

/// What a plan would do to a cluster.
async fn against(
    plan: &ApplyPlan,
    applier: &Applier,
    owner: Option<&Owner>,
    how: &How,
) -> Vec<Entry> {
    let mut asked = Vec::new();
    for desired in plan.waves.iter().flat_map(Wave::objects) {
        asked.push(
            async move {
                let fate = match applier.would(desired, how).await {
                    Ok(Would::Create) => Some(Fate::Create),
                    Ok(Would::Change(found)) => (!found.is_empty()).then_some(Fate::Change(found)),
                    Err(reason) => Some(Fate::Refuse(reason)),
                };
                let object = desired.reference.clone();
                fate.map(|fate| Entry { object, fate })
            }
            .boxed(),
        );
    }
    for object in &plan.prune {
        asked.push(
            async move {
                let fate = match applier.get(object).await {
                    Ok(None) => return None,
                    Ok(Some(live)) => match owner.and_then(|owner| keeps(&live, owner)) {
                        Some(reason) => Fate::Keep(reason.to_owned()),
                        None => Fate::Delete,
                    },
                    Err(reason) => Fate::Refuse(reason),
                };
                Some(Entry {
                    object: object.clone(),
                    fate,
                })
            }
            .boxed(),
        );
    }
    let entries = futures::stream::iter(asked).buffered(AT_ONCE);
    entries.filter_map(std::future::ready).collect().await
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
                amend(tree, &directory, spec)
                    .map_err(|reason| {
                        Failure::new(format!("cannot build `{target}`")).because(reason, None)
                    })?
                    .tree
            }
            None => tree,
        };
        build::render_tree(&target, tree, &directory, &options)
    };
    build::apart(render).await
}

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

    use super::*;
    use overlayd_core::apply::object_ref::ObjectRef;

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

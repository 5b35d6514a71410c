//! Pure: `patches`, `patchesStrategicMerge` and `patchesJson6902`: reading them, and finding what they are for.

use std::collections::BTreeSet;

use goyaml::{Node, ReadOptions};

use super::{json_patch, merge};
use crate::accumulate::{Context, Level};
use crate::error::{BuildError, BuildErrors, Problem};
use crate::kustomization::Patch;
use crate::load::{Loaded, did_you_mean, read_text};
use crate::resource::{NameIndex, ResId, ResMap, Resource};
use crate::schema::MergeSchema;
use crate::selector::SelectorRegex;

/// A patch, read.
enum Parsed {
    Strategic(Vec<Node>),
    Json(::json_patch::Patch),
    Empty,
}

/// Runs the entries of `patches`.
pub(crate) fn patches(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    let mut index = None;
    for (position, patch) in loaded.kustomization.patches.iter().enumerate() {
        entry(context, loaded, &mut level.resources, patch, &mut index)
            .map_err(|error| error.field(format!("patches[{position}]")))?;
    }
    Ok(())
}

/// Runs one entry of `patches`, or a `PatchTransformer`. The index lives as long as no name changes.
pub(crate) fn entry(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    resources: &mut ResMap,
    patch: &Patch,
    index: &mut Option<NameIndex>,
) -> Result<(), BuildError> {
    let (shown, text) = text_of(context, loaded, patch)?;
    let selector = patch
        .target
        .as_ref()
        .map(crate::selector::Selector::compile)
        .transpose()?;
    let parsed = parse(&text, &shown)?;
    match (parsed, selector) {
        (Parsed::Empty, _) => Ok(()),
        (Parsed::Strategic(nodes), None) => nodes
            .iter()
            .try_for_each(|node| by_id(context.schema(), resources, node, patch, index, &shown)),
        (Parsed::Strategic(nodes), Some(selector)) => {
            let [node] = &nodes[..] else {
                let message =
                    "multiple strategic-merge patches in one entry are not allowed with a target"
                        .to_owned();
                return Err(Problem::Transform(message).into());
            };
            *index = None;
            by_target(context.schema(), resources, node, patch, &selector)
        }
        (Parsed::Json(operations), Some(selector)) => {
            *index = None;
            json_by_target(resources, &operations, &selector, History::Kept)
                .map_err(|error| error.at(shown, 0))
        }
        (Parsed::Json(_), None) => {
            Err(Problem::Transform("must specify a target for JSON patch".to_owned()).into())
        }
    }
}

fn text_of(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    patch: &Patch,
) -> Result<(String, String), BuildError> {
    match (patch.path.as_str(), patch.patch.as_str()) {
        ("", "") => Err(Problem::Transform("must specify one of patch and path".to_owned()).into()),
        ("", inline) => Ok((context.loader.show(&loaded.file), inline.to_owned())),
        (path, "") => {
            let (path, text) = context.loader.text(&loaded.directory, path)?;
            Ok((context.loader.show(&path), text))
        }
        _ => Err(
            Problem::Transform("patch and path can't be set at the same time".to_owned()).into(),
        ),
    }
}

/// Tried as a list of operations, then as resources.
fn parse(text: &str, shown: &str) -> Result<Parsed, BuildError> {
    let unreadable = |reason: &dyn std::fmt::Display| {
        BuildError::from(Problem::Malformed(format!(
            "unable to parse SM or JSON patch: {reason}"
        )))
        .at(shown, 0)
    };
    let nodes = goyaml::read(text, &ReadOptions::default())
        .map_err(|error| unreadable(&error).at(shown, error.line()))?;
    match &nodes[..] {
        [] => Ok(Parsed::Empty),
        [single] if single.as_sequence().is_some() => json_patch::parse(single)
            .map(Parsed::Json)
            .map_err(|problem| unreadable(&problem)),
        _ => {
            let nodes = read_text(text, shown)?;
            for node in &nodes {
                Resource::new(node.clone()).map_err(|error| unreadable(&error.problem))?;
            }
            Ok(Parsed::Strategic(nodes))
        }
    }
}

/// Patches the one resource that has, or had, the patch's id.
fn by_id(
    schema: &MergeSchema,
    resources: &mut ResMap,
    node: &Node,
    patch: &Patch,
    index: &mut Option<NameIndex>,
    shown: &str,
) -> Result<(), BuildError> {
    let id = ResId::of(node);
    let names = index.get_or_insert_with(|| NameIndex::of(resources));
    let found = names.with_any_id(resources, &id);
    let position = match found[..] {
        [position] => position,
        [] => return Err(no_match(resources, &id).at(shown, node.line as usize)),
        _ => {
            let message = format!(
                "multiple matches for Id {}; failed to find unique target for patch",
                id.show_long()
            );
            return Err(BuildError::from(Problem::Identity(message)).at(shown, node.line as usize));
        }
    };
    let removed = strategic(schema, resources.get_mut(position), node, patch)
        .map_err(|problem| BuildError::from(problem).at(shown, node.line as usize))?;
    if removed {
        resources.remove_all(&BTreeSet::from([position]));
    }
    if removed || patch.allow_name_change || patch.allow_kind_change {
        *index = None;
    }
    Ok(())
}

/// Says which object the patch names, and what there is instead.
fn no_match(resources: &ResMap, id: &ResId) -> BuildError {
    let message = format!(
        "no resource matches strategic merge patch: no matches for Id {}",
        id.show_long()
    );
    let error = BuildError::from(Problem::Identity(message));
    let same_name = resources.iter().find(|resource| {
        resource
            .any_ids()
            .any(|any| any.name == id.name && any.gvk.kind == id.gvk.kind)
    });
    if let Some(other) = same_name {
        let other = other.id();
        return error.hint(format!(
            "there is {} with id {}",
            other.show(),
            other.show_long()
        ));
    }
    let of_kind = resources
        .iter()
        .filter(|resource| resource.id().gvk.kind == id.gvk.kind)
        .map(|resource| &*resource.id().name);
    let names: Vec<&str> = of_kind.take(20).collect();
    match did_you_mean(&id.name, names.iter().copied()) {
        Some(hint) => error.hint(hint),
        None if names.is_empty() => error.hint(format!("the base has no {}", id.gvk.kind)),
        None => error.hint(format!(
            "the base has {} `{}`; the patch names `{}`",
            id.gvk.kind,
            names.join("`, `"),
            id.name
        )),
    }
}

fn by_target(
    schema: &MergeSchema,
    resources: &mut ResMap,
    node: &Node,
    patch: &Patch,
    selector: &SelectorRegex,
) -> Result<(), BuildError> {
    let mut removed = BTreeSet::new();
    for (position, resource) in resources.iter_mut().enumerate() {
        if selector.matches_target(resource)
            && strategic(schema, resource, node, patch)
                .map_err(|problem| super::about(problem, resource))?
        {
            removed.insert(position);
        }
    }
    resources.remove_all(&removed);
    Ok(())
}

/// Merges; true if the patch deletes the resource. Name, kind and namespace stay unless allowed to change.
fn strategic(
    schema: &MergeSchema,
    resource: &mut Resource,
    patch: &Node,
    options: &Patch,
) -> Result<bool, Problem> {
    let before = resource.id().clone();
    let mut adapted = patch.clone();
    if let Some(map) = adapted.as_mapping_mut() {
        // The target's own version decides which schema merges it.
        if options.target.is_some() {
            match resource.node().get("apiVersion") {
                Some(version) => drop(map.insert("apiVersion", version.clone())),
                None => drop(map.remove("apiVersion")),
            }
        }
        if !options.allow_kind_change {
            map.insert("kind", Node::string(before.gvk.kind.clone()));
        }
    }
    let Some(mut merged) = merge::merge(resource.node().clone(), &adapted, schema)? else {
        return Ok(true);
    };
    if merged.is_empty_collection() {
        return Ok(true);
    }
    if !options.allow_name_change {
        crate::resource::set_metadata(&mut merged, "name", &before.name);
    }
    if options.allow_name_change || options.allow_kind_change {
        resource.remember_id();
    }
    resource.change(|node| *node = merged);
    resource.set_namespace(&before.namespace);
    Ok(false)
}

/// Whether a patched resource remembers its former id.
#[derive(Clone, Copy, PartialEq)]
enum History {
    Kept,
    Forgotten,
}

fn json_by_target(
    resources: &mut ResMap,
    operations: &::json_patch::Patch,
    selector: &SelectorRegex,
    history: History,
) -> Result<(), BuildError> {
    for resource in resources
        .iter_mut()
        .filter(|resource| selector.matches_target(resource))
    {
        let patched = json_patch::apply(resource.node(), operations)
            .map_err(|problem| super::about(problem, resource))?;
        if history == History::Kept {
            resource.remember_id();
        }
        resource.change(|node| *node = patched);
    }
    Ok(())
}

/// Runs `patchesStrategicMerge`: each entry is a patch in place, or a file of them.
pub(crate) fn strategic_merge_list(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    strategic_merge_entries(
        context,
        loaded,
        &mut level.resources,
        &loaded.kustomization.patches_strategic_merge,
    )
}

/// Runs a list of patches in place or in files.
pub(crate) fn strategic_merge_entries(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    resources: &mut ResMap,
    entries: &[String],
) -> Result<(), BuildErrors> {
    let mut index = None;
    for (position, text) in entries.iter().enumerate() {
        let patch = if is_inline(text) {
            Patch {
                patch: text.clone(),
                ..Patch::default()
            }
        } else {
            Patch {
                path: text.clone(),
                ..Patch::default()
            }
        };
        entry(context, loaded, resources, &patch, &mut index)
            .map_err(|error| error.field(format!("patchesStrategicMerge[{position}]")))?;
    }
    Ok(())
}

/// A map, or several documents, is a patch; anything else is a path.
fn is_inline(text: &str) -> bool {
    goyaml::read(text, &ReadOptions::default()).is_ok_and(|nodes| {
        !nodes.is_empty() && nodes.iter().all(|node| node.as_mapping().is_some())
    })
}

/// Runs `patchesJson6902`. These leave no trace in the history, so references do not follow them.
pub(crate) fn json_patches(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    for (position, patch) in loaded.kustomization.patches_json6902.iter().enumerate() {
        json_entry(context, loaded, &mut level.resources, patch)
            .map_err(|error| error.field(format!("patchesJson6902[{position}]")))?;
    }
    Ok(())
}

/// Runs one entry of `patchesJson6902`.
pub(crate) fn json_entry(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    resources: &mut ResMap,
    patch: &Patch,
) -> Result<(), BuildError> {
    let target = patch.target.clone().unwrap_or_default();
    if target.name.is_empty() {
        return Err(Problem::Transform("must specify the target name".to_owned()).into());
    }
    let (shown, text) = text_of(context, loaded, patch)?;
    match parse(&text, &shown)? {
        Parsed::Json(operations) => json_by_target(
            resources,
            &operations,
            &target.compile()?,
            History::Forgotten,
        ),
        _ => Err(BuildError::from(Problem::Malformed("not a JSON patch".to_owned())).at(shown, 0)),
    }
}

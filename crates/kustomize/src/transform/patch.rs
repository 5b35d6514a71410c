//! Pure: `patches`, `patchesStrategicMerge` and `patchesJson6902`: reading them, and finding what they are for.

use goyaml::{Keys, Mapping, NOT_A_STRING, Node, ReadOptions};

use super::{json_patch, merge};
use crate::budget::{Budget, Cost, weigh};
use crate::decode::did_you_mean;
use crate::documents::read_text_as;
use crate::error::{BuildError, BuildErrors, Problem};
use crate::kustomization::Patch;
use crate::level::{Context, Level};
use crate::load::Loaded;
use crate::resource::{NOTE_PREFIX, ResId, ResMap, Resource};
use crate::schema::{MergeSchema, SchemaComments};
use crate::selector::SelectorRegex;

/// A patch, read.
enum Parsed {
    Strategic(Vec<Node>, SchemaComments),
    Json(json_patch::Operations),
    Empty,
}

/// The text of a patch, and where it stands.
struct Source {
    /// The file of its own; a patch in place has none, and the entry of the kustomization is its place.
    file: Option<String>,
    text: String,
}

impl Source {
    /// Says at which line of the patch an error is (0 for none).
    fn locate(&self, error: BuildError, line: usize) -> BuildError {
        match &self.file {
            Some(file) => error.at(file.clone(), line),
            None => error,
        }
    }
}

/// Runs the entries of `patches`.
pub(crate) fn patches(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    for (position, patch) in loaded.kustomization.patches.iter().enumerate() {
        entry(context, loaded, &mut level.resources, patch)
            .map_err(|error| error.field(format!("patches[{position}]")))?;
        context.ran_builtin(loaded, level, "PatchTransformer")?;
    }
    level.resources.compact();
    Ok(())
}

/// Runs one entry of `patches`, or a `PatchTransformer`. What it deletes is gone after [`ResMap::compact`].
pub(crate) fn entry(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    resources: &mut ResMap,
    patch: &Patch,
) -> Result<(), BuildError> {
    let budget = context.loader.budget;
    let mut source = text_of(context, loaded, patch)?;
    // kustomize trims a patch in place, so that a block scalar at its end has no line break (PatchTransformer.go).
    if source.file.is_none() {
        source.text = source.text.trim().to_owned();
    }
    let selector = patch
        .target
        .as_ref()
        .map(crate::selector::Selector::compile)
        .transpose()?;
    let apply = |nodes, comments| Apply {
        schema: context.schema(),
        nodes,
        comments,
        patch,
        metadata: match patch.target {
            Some(_) => Metadata::Texts,
            None => Metadata::AsWritten,
        },
        budget,
    };
    match (parse(&source, budget)?, selector) {
        (Parsed::Empty, _) => Ok(()),
        (Parsed::Strategic(nodes, comments), None) => {
            let apply = apply(&nodes, &comments);
            nodes
                .iter()
                .try_for_each(|node| apply.by_id(resources, node, &source))
        }
        (Parsed::Strategic(nodes, comments), Some(selector)) => {
            refuse_several(&nodes, &source)?;
            apply(&nodes, &comments).by_target(resources, &selector, &source)
        }
        (Parsed::Json(operations), Some(selector)) => {
            json_by_target(
                resources,
                &operations,
                &selector,
                History::Kept,
                &source,
                budget,
            )?;
            operations.release(budget);
            Ok(())
        }
        (Parsed::Json(_), None) => {
            let error = Problem::Transform("must specify a target for JSON patch".to_owned());
            Err(source
                .locate(error.into(), 0)
                .hint("add `target` with a kind and a name"))
        }
    }
}

/// A patch with a target is one document.
fn refuse_several(nodes: &[Node], source: &Source) -> Result<(), BuildError> {
    if nodes.len() == 1 {
        return Ok(());
    }
    let message = "multiple strategic-merge patches in one entry are not allowed with a target";
    let error = source.locate(Problem::Transform(message.to_owned()).into(), 0);
    Err(error.hint("give each patch an entry of its own"))
}

fn text_of(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    patch: &Patch,
) -> Result<Source, BuildError> {
    match (patch.path.as_str(), patch.patch.trim()) {
        ("", "") => {
            let error = Problem::Transform("must specify one of patch and path".to_owned());
            Err(BuildError::from(error).hint("`path` names a file, `patch` holds the text itself"))
        }
        ("", _) => Ok(Source {
            file: None,
            text: patch.patch.clone(),
        }),
        (path, "") => {
            let (path, text) = context.loader.text(&loaded.directory, path)?;
            let file = Some(context.loader.show(&path));
            Ok(Source { file, text })
        }
        _ => {
            let message = "patch and path can't be set at the same time".to_owned();
            Err(BuildError::from(Problem::Transform(message)).hint("remove one of the two"))
        }
    }
}

/// Tried as a list of operations, then as resources.
fn parse(source: &Source, budget: &Budget) -> Result<Parsed, BuildError> {
    let text = source.text.as_str();
    budget.charge_steps(text.len())?;
    let unreadable = |reason: &dyn std::fmt::Display, line: usize| {
        let message = format!("unable to parse SM or JSON patch: {reason}");
        source.locate(Problem::Malformed(message).into(), line)
    };
    // A key `6443:` of a patch meets the key "6443" of an object.
    let options = ReadOptions {
        keys: Keys::Marked,
        ..ReadOptions::default()
    };
    let nodes = goyaml::read(text, &options).map_err(|error| unreadable(&error, error.line()))?;
    match &nodes[..] {
        [] => Ok(Parsed::Empty),
        [single] if single.as_sequence().is_some() => {
            let lines = single.as_sequence().into_iter().flatten();
            let lines: Vec<usize> = lines.map(|node| node.line as usize).collect();
            let line_of = |index: usize| lines.get(index).copied().unwrap_or_default();
            json_patch::read(text, line_of, budget)
                .map(Parsed::Json)
                .map_err(|problem| match problem {
                    Problem::Budget(_) | Problem::Memory(_) => source.locate(problem.into(), 0),
                    _ => unreadable(&problem, 0),
                })
        }
        _ => {
            let nodes =
                read_text_as(text, "", &options).map_err(|error| unreadable(&error.problem, 0))?;
            for node in &nodes {
                Resource::new(node.clone())
                    .map_err(|error| unreadable(&error.problem, node.line as usize))?;
            }
            Ok(Parsed::Strategic(nodes, SchemaComments::read(text)))
        }
    }
}

/// A strategic merge patch, ready to be applied.
struct Apply<'a> {
    schema: &'a MergeSchema,
    nodes: &'a [Node],
    comments: &'a SchemaComments,
    patch: &'a Patch,
    metadata: Metadata,
    budget: &'a Budget,
}

/// What becomes of a patch's labels and annotations before it is merged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Metadata {
    /// They are merged as they are.
    AsWritten,
    /// Their values are texts: null is the text `null` and removes nothing. kustomize does this wherever it merges by
    /// `ResMap.ApplySmPatch`: in `patches` with a target, and in `patchesStrategicMerge` (resource.go,
    /// `CopyMergeMetaDataFieldsFrom`).
    Texts,
}

impl Apply<'_> {
    /// Patches the one resource that has, or had, the patch's id.
    fn by_id(
        &self,
        resources: &mut ResMap,
        node: &Node,
        source: &Source,
    ) -> Result<(), BuildError> {
        let id = ResId::of(node);
        let line = node.line as usize;
        let position = match resources.with_any_id(&id)[..] {
            [position] => position,
            [] => return Err(source.locate(no_match(resources, &id), line)),
            _ => {
                let message = format!(
                    "multiple matches for Id {}; failed to find unique target for patch",
                    id.show_long()
                );
                let error = BuildError::from(Problem::Identity(message))
                    .hint("name the namespace in the patch, or give it a `target`");
                return Err(source.locate(error, line));
            }
        };
        let removed = resources
            .change_at(position, |resource| self.strategic(resource, node))
            .map_err(|problem| {
                let error = source.locate(problem.into(), line);
                error.hint(format!(
                    "the object is {}",
                    resources.get(position).show_with_place()
                ))
            })?;
        if removed {
            resources.remove(position);
        }
        Ok(())
    }

    fn by_target(
        &self,
        resources: &mut ResMap,
        selector: &SelectorRegex,
        source: &Source,
    ) -> Result<(), BuildError> {
        for position in selector.candidates(resources) {
            self.budget
                .charge_steps(resources.get(position).previous.len() + 8)?;
            if !selector.matches_target(resources.get(position)) {
                continue;
            }
            let merged = resources.change_at(position, |resource| {
                self.strategic(resource, &self.nodes[0])
            });
            let removed = merged.map_err(|problem| {
                let error = source.locate(problem.into(), self.nodes[0].line as usize);
                error.hint(format!(
                    "the object is {}",
                    resources.get(position).show_with_place()
                ))
            })?;
            if removed {
                resources.remove(position);
            }
        }
        if self.patch.allow_name_change || self.patch.allow_kind_change {
            self.refuse_repeated(resources, source)?;
        }
        Ok(())
    }

    /// kustomize appends all resources anew after a patch with a target (reswrangler.go, `ApplySmPatch`), which finds those
    /// that the patch gave one name.
    fn refuse_repeated(&self, resources: &mut ResMap, source: &Source) -> Result<(), BuildError> {
        resources.refuse_repeated().map_err(|error| {
            let error = error.hint("the patch gives several objects one name: narrow its `target`, or do not let it change the name");
            source.locate(error, self.nodes[0].line as usize)
        })
    }

    /// Merges; true if the patch deletes the resource. Name, kind and namespace stay unless allowed to change.
    fn strategic(&self, resource: &mut Resource, node: &Node) -> Result<bool, Problem> {
        let before = resource.id().clone();
        // The merge adds no more than the patch, and walks the object some times; then the result is measured.
        let (added, walk) = (weigh(node), resource.walk_steps());
        self.budget.charge(Cost::Steps, added.nodes + 8 * walk)?;
        self.budget.charge(Cost::Bytes, added.bytes)?;
        self.budget.release(added.bytes);
        let mut adapted = node.clone();
        // The target's own version, with the patch's kind, decides which schema merges it where the target's
        // kind has none (PatchTransformer.go).
        if self.patch.target.is_some()
            && let Some(map) = adapted.as_mapping_mut()
        {
            match resource.node().get("apiVersion") {
                Some(version) => drop(map.insert("apiVersion", version.clone())),
                None => drop(map.remove("apiVersion")),
            }
        }
        if self.metadata == Metadata::Texts {
            texts_of(&mut adapted, "labels");
        }
        if self.metadata == Metadata::Texts
            || self.patch.allow_name_change
            || self.patch.allow_kind_change
        {
            texts_of(&mut adapted, "annotations");
        }
        let merged = merge::merge(
            resource.node().clone(),
            &adapted,
            self.schema,
            [resource.schema_comments(), self.comments],
            self.budget,
        )?;
        let Some(mut merged) = merged.filter(|merged| !merged.is_empty_collection()) else {
            return Ok(true);
        };
        if !self.patch.allow_name_change {
            crate::resource::set_metadata(&mut merged, "name", &before.name);
        }
        if !self.patch.allow_kind_change
            && let Some(map) = merged.as_mapping_mut()
        {
            map.insert("kind", Node::string(before.gvk.kind.clone()));
        }
        if self.patch.allow_name_change || self.patch.allow_kind_change {
            resource.remember_id();
        }
        resource.change(|node| *node = merged);
        resource.set_namespace(&before.namespace);
        resource.charge_again(self.budget)?;
        Ok(false)
    }
}

/// Makes texts of the values of a map in `metadata`; one that is no map, or is empty, is left out.
fn texts_of(patch: &mut Node, field: &str) {
    let Some(metadata) = patch.get_mut("metadata").and_then(Node::as_mapping_mut) else {
        return;
    };
    let Some(map) = metadata.get(field) else {
        return;
    };
    let Some(map) = map.as_mapping().filter(|map| !map.is_empty()) else {
        metadata.remove(field);
        return;
    };
    let texts = map.iter().map(|entry| {
        let key = entry.key.strip_prefix(NOT_A_STRING).unwrap_or(&entry.key);
        let text = entry.value.as_scalar().map(|scalar| scalar.text.clone());
        (key.to_owned(), Node::string(text.unwrap_or_default()))
    });
    let texts: Mapping = texts.collect();
    metadata.insert(field, texts.into());
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

/// Whether a patched resource remembers its former id.
#[derive(Clone, Copy, PartialEq)]
enum History {
    Kept,
    Forgotten,
}

fn json_by_target(
    resources: &mut ResMap,
    operations: &json_patch::Operations,
    selector: &SelectorRegex,
    history: History,
    source: &Source,
    budget: &Budget,
) -> Result<(), BuildError> {
    let replaces_annotations = operations.replaces_annotations();
    for position in selector.candidates(resources) {
        let resource = resources.get(position);
        budget.charge_steps(resource.previous.len() + 8)?;
        if !selector.matches_target(resource) {
            continue;
        }
        budget.charge(Cost::Steps, 4 * resource.walk_steps())?;
        let charged = budget.bytes();
        let patched = json_patch::apply(&with_notes(resource, history), operations, budget)
            .map_err(|failure| {
                let error = source.locate(failure.problem.into(), failure.line);
                error.hint(format!("the object is {}", resource.show_with_place()))
            })?;
        resources.change_at(position, |resource| {
            if history == History::Kept {
                resource.remember_id();
            }
            let notes = resource.notes();
            resource.change(|node| {
                *node = patched;
                remove_notes(node, &notes);
            });
            resource.rewrite_annotations();
            if replaces_annotations {
                resource.forget_origin();
            }
            // What the operations were charged gives way to what the result weighs.
            budget.release(budget.bytes() - charged);
            resource.charge_again(budget)
        })?;
    }
    Ok(())
}

/// The tree as kustomize patches it: with its notes among the annotations. A patch of `patches` notes the id first, so
/// its objects always have annotations (PatchTransformer.go); afterwards the notes are put back as they were.
fn with_notes(resource: &Resource, history: History) -> Node {
    let mut noted = resource.clone();
    if history == History::Kept {
        noted.note_id();
    }
    let notes = noted.notes();
    let mut node = noted.into_node();
    if notes.is_empty() {
        return node;
    }
    if let Some(metadata) = node.get_mut("metadata").and_then(Node::as_mapping_mut) {
        let annotations = metadata.entry_or("annotations", Node::empty_mapping);
        if let Some(annotations) = annotations.as_mapping_mut() {
            for (name, value) in notes {
                annotations.insert(format!("{NOTE_PREFIX}{name}"), Node::string(value));
            }
        }
    }
    node
}

/// Takes the notes out again; without them, annotations that nobody else wrote are gone.
fn remove_notes(node: &mut Node, notes: &[(&str, String)]) {
    let Some(metadata) = node.get_mut("metadata").and_then(Node::as_mapping_mut) else {
        return;
    };
    let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Node::as_mapping_mut)
    else {
        return;
    };
    annotations.retain(|key, _| {
        let note = key.strip_prefix(NOTE_PREFIX);
        note.is_none_or(|note| notes.iter().all(|(name, _)| *name != note))
    });
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
}

/// Runs `patchesStrategicMerge`: each entry is a patch in place, or a file of them.
pub(crate) fn strategic_merge_list(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    let entries = &loaded.kustomization.patches_strategic_merge;
    if entries.is_empty() {
        return Ok(());
    }
    strategic_merge_entries(context, loaded, &mut level.resources, entries)?;
    context.ran_builtin(loaded, level, "PatchStrategicMergeTransformer")?;
    Ok(())
}

/// Runs a list of patches in place or in files.
pub(crate) fn strategic_merge_entries(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    resources: &mut ResMap,
    entries: &[String],
) -> Result<(), BuildErrors> {
    let mut patches = 0;
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
        let field = format!("patchesStrategicMerge[{position}]");
        patches += strategic_merge_entry(context, loaded, resources, &patch)
            .map_err(|error| error.field(field))?;
    }
    resources.compact();
    if patches == 0 {
        let problem = Problem::Transform(format!(
            "patch appears to be empty; files: {}",
            entries.join(", ")
        ));
        return Err(BuildError::from(problem)
            .field("patchesStrategicMerge")
            .hint("write a patch into a file that is named there, or remove the entry")
            .into());
    }
    Ok(())
}

/// Runs one entry and gives the number of patches in it.
fn strategic_merge_entry(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    resources: &mut ResMap,
    patch: &Patch,
) -> Result<usize, BuildError> {
    let budget = context.loader.budget;
    let source = text_of(context, loaded, patch)?;
    match parse(&source, budget)? {
        Parsed::Empty => Ok(0),
        Parsed::Strategic(nodes, comments) => {
            let apply = Apply {
                schema: context.schema(),
                nodes: &nodes,
                comments: &comments,
                patch,
                metadata: Metadata::Texts,
                budget,
            };
            nodes
                .iter()
                .try_for_each(|node| apply.by_id(resources, node, &source))?;
            Ok(nodes.len())
        }
        Parsed::Json(_) => {
            let message = "a list of JSON patch operations is no strategic merge patch";
            let error = Problem::Malformed(message.to_owned());
            Err(source
                .locate(error.into(), 0)
                .hint("put it under `patches`, with a target"))
        }
    }
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
        context.ran_builtin(loaded, level, "PatchJson6902Transformer")?;
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
    let source = text_of(context, loaded, patch)?;
    let budget = context.loader.budget;
    match parse(&source, budget)? {
        Parsed::Json(operations) => {
            let selector = target.compile()?;
            let history = History::Forgotten;
            json_by_target(resources, &operations, &selector, history, &source, budget)?;
            operations.release(budget);
            Ok(())
        }
        Parsed::Empty | Parsed::Strategic(..) => {
            let error = Problem::Malformed("not a list of JSON patch operations".to_owned());
            Err(source
                .locate(error.into(), 0)
                .hint("put a strategic merge patch under `patches`"))
        }
    }
}

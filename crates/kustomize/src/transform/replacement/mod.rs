//! Pure: `replacements`: a field of one object copied into fields of others.

pub(crate) mod path;
mod structured;

use goyaml::{Node, NodeKind, ReadOptions, Scalar};

use crate::budget::{Budget, Cost, NODE_BYTES, Weight, as_u64, check_depth, weigh};
use crate::decode::Decoder;
use crate::error::{BuildError, BuildErrors, Errors, Problem};
use crate::kustomization::{
    Replacement, ReplacementEntry, ReplacementOptions, ReplacementSource, ReplacementTarget,
};
use crate::level::{Context, Level};
use crate::link::Writes;
use crate::load::{Loaded, Loader};
use crate::resource::{ResId, ResMap, Resource, effective_namespace};
use crate::selector::{Selector, SelectorRegex};
use path::FieldPathSegments;

/// Runs the entries in order; each sees what those before it did.
pub(crate) fn transform_all(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    let replacements = &loaded.kustomization.replacements;
    if replacements.is_empty() {
        return Ok(());
    }
    entries(context.loader, loaded, replacements, &mut level.resources)?;
    context.ran_builtin(loaded, level, "ReplacementTransformer")?;
    Ok(())
}

pub(crate) fn entries(
    loader: &Loader<'_>,
    loaded: &Loaded,
    entries: &[ReplacementEntry],
    resources: &mut ResMap,
) -> Result<(), BuildErrors> {
    let budget = loader.budget;
    for (index, entry) in entries.iter().enumerate() {
        let result = match entry {
            ReplacementEntry::Inline(replacement) => {
                apply(replacement, resources, budget).map_err(BuildErrors::from)
            }
            ReplacementEntry::File(path) => file(loader, loaded, path).and_then(|all| {
                all.iter()
                    .try_for_each(|one| apply(one, resources, budget))
                    .map_err(BuildErrors::from)
            }),
        };
        result
            .map_err(|errors| errors.map(|error| error.field(format!("replacements[{index}]"))))?;
    }
    Ok(())
}

/// A file holds one replacement or a list of them.
fn file(loader: &Loader<'_>, loaded: &Loaded, name: &str) -> Result<Vec<Replacement>, BuildErrors> {
    let (path, text) = loader.text(&loaded.directory, name)?;
    let shown = loader.show(&path);
    let nodes = goyaml::read(&text, &ReadOptions::default()).map_err(|error| {
        BuildError::from(Problem::Malformed(error.to_string())).at(shown.clone(), error.line())
    })?;
    for node in &nodes {
        loader.budget.charge_expansion(node)?;
    }
    let mut errors = Errors::default();
    let mut decoder = Decoder::new(&mut errors, &shown, false);
    let mut replacements = Vec::new();
    for node in &nodes {
        let one = std::slice::from_ref(node);
        let all: Vec<&Node> = node
            .as_sequence()
            .map_or_else(|| one.iter().collect(), |list| list.iter().collect());
        replacements.extend(
            all.into_iter()
                .filter_map(|node| Replacement::decode(&mut decoder, node, "replacement")),
        );
    }
    errors.finish()?;
    Ok(replacements)
}

fn apply(
    replacement: &Replacement,
    resources: &mut ResMap,
    budget: &Budget,
) -> Result<(), BuildError> {
    let fail = |message: &str| Err(BuildError::from(Problem::Transform(message.to_owned())));
    let value = match (&replacement.source, &replacement.source_value) {
        (Some(_), Some(_)) => return fail("value and resource selectors are mutually exclusive"),
        (None, None) => return fail("replacements must specify a source and at least one target"),
        (None, Some(text)) => Node::string(text.as_str()),
        (Some(source), None) => source_value(source, resources, budget)?,
    };
    if replacement.targets.is_empty() {
        return fail("replacements must specify a source and at least one target");
    }
    let value = Value {
        weight: weigh(&value),
        node: value,
    };
    budget.charge(Cost::Steps, value.weight.nodes)?;
    replacement
        .targets
        .iter()
        .try_for_each(|target| apply_target(target, &value, resources, budget))
}

/// What is copied, and how large it is.
struct Value {
    node: Node,
    weight: Weight,
}

fn source_value(
    source: &ReplacementSource,
    resources: &mut ResMap,
    budget: &Budget,
) -> Result<Node, BuildError> {
    let given = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    let (name, kind) = (given(&source.id.name), given(&source.id.kind));
    let positions = resources.by_name_or_kind(name.as_deref(), kind.as_deref());
    for &position in &positions {
        budget.charge_steps(8 + resources.get(position).previous.len())?;
    }
    let candidates = positions.iter().map(|&position| resources.get(position));
    let found: Vec<&Resource> = candidates
        .filter(|resource| is_source(&source.id, resource))
        .collect();
    let resource = match found[..] {
        [resource] => resource,
        [] => {
            let message = format!("nothing selected by {}", shown(&source.id));
            let error = BuildError::from(Problem::Identity(message));
            return Err(error.hint(
                "each given part of `source` must equal that of one object, under its name of now or before",
            ));
        }
        _ => {
            let found: Vec<String> = found.iter().map(|resource| resource.show()).collect();
            let message = format!(
                "multiple matches for {}: {}",
                shown(&source.id),
                found.join(", ")
            );
            let error = BuildError::from(Problem::Identity(message));
            return Err(error.hint("give `source` a kind, name and namespace that only one has"));
        }
    };
    let field_path = if source.field_path.is_empty() {
        "metadata.name"
    } else {
        &source.field_path
    };
    let missing = || {
        let message = format!(
            "fieldPath `{field_path}` is missing for replacement source {}",
            resource.show()
        );
        BuildError::from(Problem::Transform(message))
    };
    let segments = parse_path(field_path)?;
    let node = path::lookup(resource.node(), &segments)
        .filter(|node| !node.is_null() && !node.is_empty_collection())
        .ok_or_else(missing)?;
    part_of(node, &source.options)
}

/// Reads a path, which may have no more levels than an object.
fn parse_path(text: &str) -> Result<FieldPathSegments, Problem> {
    check_depth(text.matches('.').count(), text)?;
    Ok(FieldPathSegments::parse(text))
}

/// The source as it was written.
fn shown(source: &Selector) -> String {
    let text = source.show();
    if text.is_empty() {
        "a source that names nothing".to_owned()
    } else {
        format!("the source {text}")
    }
}

/// Exact comparison with any id; no namespace and `default` are the same.
fn is_source(wanted: &Selector, resource: &Resource) -> bool {
    let empty_or = |wanted: &str, actual: &str| wanted.is_empty() || wanted == actual;
    resource.any_ids().any(|id: ResId| {
        empty_or(&wanted.group, &id.gvk.group)
            && empty_or(&wanted.version, &id.gvk.version)
            && empty_or(&wanted.kind, &id.gvk.kind)
            && empty_or(&wanted.name, &id.name)
            && empty_or(&wanted.namespace, effective_namespace(&id))
    })
}

/// With a delimiter, one part of a scalar's text.
fn part_of(node: &Node, options: &ReplacementOptions) -> Result<Node, BuildError> {
    if options.delimiter.is_empty() {
        return Ok(node.clone());
    }
    let Some(scalar) = node.as_scalar() else {
        return Err(Problem::Transform(
            "delimiter option can only be used with scalar nodes".to_owned(),
        )
        .into());
    };
    let part = usize::try_from(options.index)
        .ok()
        .and_then(|index| scalar.text.split(&options.delimiter).nth(index))
        .ok_or_else(|| {
            Problem::Transform(format!(
                "options.index {} is out of bounds for the value's {} parts",
                options.index,
                scalar.text.split(&options.delimiter).count()
            ))
        })?;
    let mut result = node.clone();
    result.kind = NodeKind::Scalar(Scalar::new(part, scalar.tag));
    Ok(result)
}

fn apply_target(
    target: &ReplacementTarget,
    value: &Value,
    resources: &mut ResMap,
    budget: &Budget,
) -> Result<(), BuildError> {
    let Some(select) = &target.select else {
        return Err(
            Problem::Transform("target must specify resources to select".to_owned()).into(),
        );
    };
    let select_regex = select.compile()?;
    let rejects = target
        .reject
        .iter()
        .map(|selector| Ok((selector, selector.compile()?)));
    let rejects: Vec<(&Selector, SelectorRegex)> = rejects.collect::<Result<_, Problem>>()?;
    let default_paths = ["metadata.name".to_owned()];
    let paths = if target.field_paths.is_empty() {
        &default_paths[..]
    } else {
        &target.field_paths
    };
    let paths: Vec<FieldPathSegments> = paths
        .iter()
        .map(|path| parse_path(path))
        .collect::<Result<_, Problem>>()?;
    let write = Write {
        value,
        options: &target.options,
        budget,
    };
    for position in select_regex.candidates(resources) {
        let ids = 8 + resources.get(position).previous.len();
        budget.charge_steps(ids.saturating_mul(1 + rejects.len()))?;
        if !is_target(resources.get(position), &select_regex, &rejects) {
            continue;
        }
        for path in &paths {
            write.at(resources, position, path)?;
        }
    }
    Ok(())
}

fn is_target(
    resource: &Resource,
    select: &SelectorRegex,
    rejects: &[(&Selector, SelectorRegex)],
) -> bool {
    let literal = |id: ResId| {
        // Former namespaces are remembered as effective ones; these compare as they were written.
        let namespace = if matches!(
            &*id.namespace,
            "default" | crate::resource::NON_NAMESPACEABLE
        ) {
            "".into()
        } else {
            id.namespace.clone()
        };
        [
            ResId {
                namespace,
                ..id.clone()
            },
            id,
        ]
    };
    let selected = resource
        .any_ids()
        .flat_map(literal)
        .any(|id| select.matches_id(&id));
    selected
        && select.matches_metadata(resource.node())
        && !rejects.iter().any(|(selector, reject)| {
            !selector.show().is_empty()
                && resource
                    .any_ids()
                    .flat_map(literal)
                    .any(|id| reject.matches_id(&id))
                && reject.matches_metadata(resource.node())
        })
}

/// How a value is written into a field.
struct Write<'w> {
    value: &'w Value,
    options: &'w ReplacementOptions,
    budget: &'w Budget,
}

impl Write<'_> {
    /// Writes the value into the fields of one object that a path leads to; at least one, unless it may be made.
    fn at(
        &self,
        resources: &mut ResMap,
        position: usize,
        path: &FieldPathSegments,
    ) -> Result<(), BuildError> {
        let create = self.options.create;
        let result = resources.change_at(position, |resource| {
            let walk = resource.walk_steps();
            resource.metered(self.budget, |resource| {
                resource.change(|node| self.fields(node, path, walk))
            })
        });
        let resource = resources.get(position);
        let in_path = |problem: Problem| problem.in_budget_at(&format!("at `{}`", path.show()));
        let found = result.map_err(|problem| resource.about(in_path(problem)))?;
        if found || create {
            return Ok(());
        }
        let problem = Problem::Transform(format!(
            "unable to find field `{}` in replacement target",
            path.show()
        ));
        let hint = format!(
            "the object is {}; `options.create: true` makes the field",
            resource.show()
        );
        Err(resource.about(BuildError::from(problem).hint(hint)))
    }

    /// Writes all fields, and then what is linked to them; each write to a linked value looks through the object.
    fn fields(
        &self,
        node: &mut Node,
        path: &FieldPathSegments,
        walk: u64,
    ) -> Result<bool, Problem> {
        let mut writes = Writes::default();
        let update = path::Update {
            path,
            create: self.options.create,
            value: &self.value.node,
            budget: self.budget,
        };
        let found = update.run(node, &mut |field| self.field(field, path, &mut writes))?;
        let walks = as_u64(writes.len()).saturating_mul(walk);
        self.budget.charge(Cost::Steps, walks)?;
        writes.settle(node);
        Ok(found)
    }

    /// A scalar changes its text and keeps its type, which is an error once it is printed if the text cannot have it.
    /// Anything else is replaced by a copy.
    fn field(
        &self,
        field: &mut Node,
        path: &FieldPathSegments,
        writes: &mut Writes,
    ) -> Result<(), Problem> {
        let has_delimiter = !self.options.delimiter.is_empty();
        self.budget.charge(Cost::Steps, 1)?;
        let Some(target) = field.as_scalar() else {
            if has_delimiter {
                return Err(Problem::Transform(
                    "delimiter option can only be used with scalar nodes".to_owned(),
                ));
            }
            self.budget.charge(Cost::Bytes, self.value.weight.bytes)?;
            self.budget
                .charge(Cost::Steps, self.value.weight.bytes / NODE_BYTES)?;
            check_depth(path.levels() + self.value.weight.depth, path.show())?;
            let line = field.line;
            *field = self.value.node.clone();
            field.line = line;
            return Ok(());
        };
        let text = self
            .value
            .node
            .as_scalar()
            .map_or("", |scalar| &*scalar.text);
        let old = target.text.len();
        let text = if has_delimiter {
            let longest = old + text.len() + self.options.delimiter.len();
            self.budget.charge_bytes(longest)?;
            self.budget.charge_steps(1 + longest / 16)?;
            let new = self.with_part(&target.text, text);
            self.budget.release(as_u64(longest));
            new
        } else {
            text.to_owned()
        };
        self.budget.resize(as_u64(old), as_u64(text.len()))?;
        let tag = target.tag;
        writes.scalar(field, text, tag);
        Ok(())
    }

    /// The whole with one part replaced; a negative index puts the part before all, one beyond the end after all.
    fn with_part(&self, whole: &str, part: &str) -> String {
        let delimiter = self.options.delimiter.as_str();
        let Ok(index) = usize::try_from(self.options.index) else {
            return [part, delimiter, whole].concat();
        };
        let start = match index.checked_sub(1) {
            None => Some(0),
            Some(before) => whole
                .match_indices(delimiter)
                .nth(before)
                .map(|(at, _)| at + delimiter.len()),
        };
        let Some((head, rest)) = start.and_then(|start| whole.split_at_checked(start)) else {
            return [whole, delimiter, part].concat();
        };
        match rest.split_once(delimiter) {
            Some((_, tail)) => [head, part, delimiter, tail].concat(),
            None => [head, part].concat(),
        }
    }
}

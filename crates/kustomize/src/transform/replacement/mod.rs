//! Pure: `replacements`: a field of one object copied into fields of others.

pub(crate) mod path;
mod structured;

use goyaml::{Node, NodeKind, ReadOptions, Scalar};

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
    context.ran_builtin(loaded, level, "ReplacementTransformer");
    Ok(())
}

pub(crate) fn entries(
    loader: &Loader<'_>,
    loaded: &Loaded,
    entries: &[ReplacementEntry],
    resources: &mut ResMap,
) -> Result<(), BuildErrors> {
    for (index, entry) in entries.iter().enumerate() {
        let result = match entry {
            ReplacementEntry::Inline(replacement) => {
                apply(replacement, resources).map_err(BuildErrors::from)
            }
            ReplacementEntry::File(path) => file(loader, loaded, path).and_then(|all| {
                all.iter()
                    .try_for_each(|one| apply(one, resources))
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

fn apply(replacement: &Replacement, resources: &mut ResMap) -> Result<(), BuildError> {
    let fail = |message: &str| Err(BuildError::from(Problem::Transform(message.to_owned())));
    let value = match (&replacement.source, &replacement.source_value) {
        (Some(_), Some(_)) => return fail("value and resource selectors are mutually exclusive"),
        (None, None) => return fail("replacements must specify a source and at least one target"),
        (None, Some(text)) => Node::string(text.as_str()),
        (Some(source), None) => source_value(source, resources)?,
    };
    if replacement.targets.is_empty() {
        return fail("replacements must specify a source and at least one target");
    }
    replacement
        .targets
        .iter()
        .try_for_each(|target| apply_target(target, &value, resources))
}

fn source_value(source: &ReplacementSource, resources: &mut ResMap) -> Result<Node, BuildError> {
    let given = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    let (name, kind) = (given(&source.id.name), given(&source.id.kind));
    let positions = resources.by_name_or_kind(name.as_deref(), kind.as_deref());
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
    let segments = FieldPathSegments::parse(field_path);
    let node = path::lookup(resource.node(), &segments)
        .filter(|node| !node.is_null() && !node.is_empty_collection())
        .ok_or_else(missing)?;
    part_of(node, &source.options)
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
    let parts: Vec<&str> = scalar.text.split(&options.delimiter).collect();
    let part = usize::try_from(options.index)
        .ok()
        .and_then(|index| parts.get(index))
        .ok_or_else(|| {
            Problem::Transform(format!(
                "options.index {} is out of bounds for the value's {} parts",
                options.index,
                parts.len()
            ))
        })?;
    let mut result = node.clone();
    result.kind = NodeKind::Scalar(Scalar::new(*part, scalar.tag));
    Ok(result)
}

fn apply_target(
    target: &ReplacementTarget,
    value: &Node,
    resources: &mut ResMap,
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
        .map(|path| FieldPathSegments::parse(path))
        .collect();
    for position in select_regex.candidates(resources) {
        if !is_target(resources.get(position), &select_regex, &rejects) {
            continue;
        }
        for path in &paths {
            write_at(resources, position, path, value, &target.options)?;
        }
    }
    Ok(())
}

/// Writes the value into the fields of one object that a path leads to; at least one, unless it may be made.
fn write_at(
    resources: &mut ResMap,
    position: usize,
    path: &FieldPathSegments,
    value: &Node,
    options: &ReplacementOptions,
) -> Result<(), BuildError> {
    let write = Write { value, options };
    let mut writes = Writes::default();
    let result = resources.change_at(position, |resource| {
        resource.change(|node| {
            let found = path::update(node, path, options.create, value, &mut |field| {
                write.field(field, &mut writes)
            });
            writes.settle(node);
            found
        })
    });
    let resource = resources.get(position);
    let found = result.map_err(|problem| resource.about(problem))?;
    if found || options.create {
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
    value: &'w Node,
    options: &'w ReplacementOptions,
}

impl Write<'_> {
    /// A scalar changes its text and keeps its type, which is an error once it is printed if the text cannot have it.
    /// Anything else is replaced by a copy.
    fn field(&self, field: &mut Node, writes: &mut Writes) -> Result<(), Problem> {
        let has_delimiter = !self.options.delimiter.is_empty();
        let Some(target) = field.as_scalar() else {
            if has_delimiter {
                return Err(Problem::Transform(
                    "delimiter option can only be used with scalar nodes".to_owned(),
                ));
            }
            let line = field.line;
            *field = self.value.clone();
            field.line = line;
            return Ok(());
        };
        let text = self.value.as_scalar().map_or("", |scalar| &*scalar.text);
        let text = if has_delimiter {
            self.with_part(&target.text, text)
        } else {
            text.to_owned()
        };
        let tag = target.tag;
        writes.scalar(field, text, tag);
        Ok(())
    }

    fn with_part(&self, whole: &str, part: &str) -> String {
        let mut parts: Vec<&str> = whole.split(&self.options.delimiter).collect();
        match usize::try_from(self.options.index) {
            Err(_) => parts.insert(0, part),
            Ok(index) if index >= parts.len() => parts.push(part),
            Ok(index) => parts[index] = part,
        }
        parts.join(&self.options.delimiter)
    }
}

//! Pure: what happens once, at the root: hashes, references, vars, local objects, order, clean-up.

use goyaml::{Node, Tag};

use crate::accumulate::Accumulated;
use crate::budget::Budget;
use crate::error::{BuildError, BuildErrors, Errors, Problem};
use crate::generate::hash;
use crate::level::BuildMetadata;
use crate::options::BuildOptions;
use crate::order;
use crate::path::RepoPath;
use crate::rendered::Object;
use crate::resource::{NOTE_PREFIX, Origin, Resource};
use crate::transform;
use crate::tree::FileTree;

/// Annotations of the engine's Go ancestor that never reach the output.
const INTERNAL: [&str; 16] = [
    "previousKinds",
    "previousNames",
    "previousNamespaces",
    "prefixes",
    "suffixes",
    "refBy",
    "allowNameChange",
    "allowKindChange",
    "generatorBehavior",
    "needsHashSuffix",
    "path",
    "index",
    "seqindent",
    "id",
    "annotations-migration-resource-id",
    "helm-generated",
];
/// Annotations that tell kustomize something and are not part of the output.
const REMOVED: [&str; 5] = [
    "config.kubernetes.io/index",
    "config.kubernetes.io/path",
    "config.k8s.io/id",
    "config.kubernetes.io/origin",
    "alpha.config.kubernetes.io/transformations",
];
/// Objects with this annotation configure tools and are left out of the output.
const LOCAL_CONFIG: &str = "config.kubernetes.io/local-config";

/// Finishes the root level and gives out its objects, and what a user should know.
pub(crate) fn finish(
    accumulated: Accumulated,
    options: &BuildOptions,
    tree: &FileTree,
    budget: &Budget,
) -> Result<(Vec<Object>, Vec<String>), BuildErrors> {
    let Accumulated {
        level,
        sort,
        metadata,
        root,
    } = accumulated;
    let mut resources = level.resources;
    hash::append_suffixes(&mut resources, budget)?;
    transform::name_ref::transform(&mut resources, &level.tables, budget)?;
    let unused = transform::vars::substitute(&mut resources, &level.vars, &level.tables, budget)?;
    resources.retain(|resource| !is_local(resource));
    let listed = sort.as_ref().and_then(|sort| sort.legacy.as_ref());
    let kinds = listed.map_or(0, |(first, last)| first.len() + last.len());
    budget.charge_steps(resources.len().saturating_mul(1 + kinds))?;
    let mut resources = order::sorted(resources, sort.as_ref(), options.reorder)?;
    if options.managed_by_label || metadata.managed_by {
        transform::managed_by(&mut resources, budget)?;
    }
    let provenance = Provenance {
        metadata,
        root,
        tree,
        budget,
    };
    let mut errors = Errors::default();
    let mut objects = Vec::with_capacity(resources.len());
    for resource in resources.into_inner() {
        objects.extend(errors.take(object(resource, &provenance)));
    }
    errors.finish()?;
    let warnings = (!unused.is_empty()).then(|| {
        let names = unused.join(", ");
        format!("well-defined vars that were never replaced: {names}")
    });
    Ok((objects, warnings.into_iter().collect()))
}

/// True for an object that is left out of the output.
fn is_local(resource: &Resource) -> bool {
    let annotation = resource
        .node()
        .at(&["metadata", "annotations", LOCAL_CONFIG]);
    annotation
        .and_then(Node::as_scalar)
        .is_some_and(|scalar| &*scalar.text != "false")
}

/// The object of the output: without internal annotations, with what `buildMetadata` asks for.
fn object(mut resource: Resource, provenance: &Provenance<'_>) -> Result<Object, BuildError> {
    let origin = resource.origin.clone();
    let shown = resource.show();
    let line = resource.node().line as usize;
    if !annotations_are_clean(resource.node()) {
        resource.change_body(clean_annotations);
    }
    // Values that were one text for several fields are printed in each of them.
    resource
        .charge_again(provenance.budget)
        .map_err(|problem| resource.about(problem))?;
    resource.change_body(goyaml::settle_folds);
    provenance
        .annotate(&mut resource)
        .map_err(|problem| resource.about(problem))?;
    let source = origin.map(|origin| origin.file.clone());
    let node = resource.into_node();
    // Checked here once, so that later steps cannot fail on it.
    goyaml::check(&node).map_err(|error| {
        let line = if error.line() == 0 {
            line
        } else {
            error.line() as usize
        };
        let error = BuildError::from(Problem::Malformed(error.to_string()))
            .hint(format!("the object is {shown}"));
        source
            .iter()
            .fold(error, |error, file| error.at(file.clone(), line))
    })?;
    Ok(Object { node, source })
}

/// Says in annotations where objects come from, if the root asks for it.
struct Provenance<'p> {
    metadata: BuildMetadata,
    /// Paths are relative to the directory that is built.
    root: RepoPath,
    tree: &'p FileTree,
    budget: &'p Budget,
}

impl Provenance<'_> {
    fn annotate(&self, resource: &mut Resource) -> Result<(), Problem> {
        if self.metadata.origins
            && let Some(origin) = resource.origin.clone()
        {
            let text = self.lines(&origin).join("\n") + "\n";
            resource.change_body(|node| annotate(node, "config.kubernetes.io/origin", &text));
        }
        if self.metadata.transformations && !resource.transformations.is_empty() {
            let items = resource.transformations.iter();
            let items: Vec<String> = items
                .map(|by| format!("- {}\n", self.lines(by).join("\n  ")))
                .collect();
            let text = items.concat();
            self.budget.charge_bytes(2 * text.len())?;
            resource.change_body(|node| {
                annotate(node, "alpha.config.kubernetes.io/transformations", &text);
            });
        }
        Ok(())
    }

    fn lines(&self, origin: &Origin) -> Vec<String> {
        let mut lines = Vec::new();
        let path = self.tree.relative(&origin.path, &self.root);
        let key = if origin.configured_by.is_some() {
            "configuredIn"
        } else {
            "path"
        };
        lines.push(format!("{key}: {path}"));
        if let Some((repository, reference)) = self.tree.remote_of(&origin.path) {
            lines.push(format!("repo: {repository}"));
            lines.extend(reference.map(|reference| format!("ref: {reference}")));
        }
        if let Some(by) = &origin.configured_by {
            lines.push("configuredBy:".to_owned());
            let fields = [
                ("apiVersion", &by.api_version),
                ("kind", &by.kind),
                ("name", &by.name),
                ("namespace", &by.namespace),
            ];
            let given = fields.iter().filter(|(_, value)| !value.is_empty());
            lines.extend(given.map(|(name, value)| format!("  {name}: {value}")));
        }
        lines
    }
}

fn annotate(node: &mut Node, key: &str, value: &str) {
    if let Some(metadata) = node.get_mut("metadata").and_then(Node::as_mapping_mut) {
        let annotations = metadata.entry_or("annotations", Node::empty_mapping);
        if let Some(annotations) = annotations.as_mapping_mut() {
            annotations.insert(key, Node::string(value));
        }
    }
}

/// Annotations become strings of their raw text; internal ones go; an empty map of them goes, and what is no map.
fn clean_annotations(node: &mut Node) {
    let Some(metadata) = node.get_mut("metadata").and_then(Node::as_mapping_mut) else {
        return;
    };
    let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Node::as_mapping_mut)
    else {
        metadata.remove("annotations");
        return;
    };
    annotations.retain(|key, _| !is_internal(key));
    for (_, value) in annotations.iter_mut() {
        let text = value.as_scalar().map(|scalar| scalar.text.clone());
        // What is no scalar has no text.
        *value = Node::string(text.unwrap_or_default());
    }
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
}

/// True for annotations that are printed as they are.
fn annotations_are_clean(node: &Node) -> bool {
    let Some(annotations) = node.at(&["metadata", "annotations"]) else {
        return true;
    };
    let is_plain = |node: &Node| {
        node.as_scalar()
            .is_some_and(|scalar| scalar.tag == Tag::Str && !scalar.folded)
    };
    annotations.as_mapping().is_some_and(|map| {
        !map.is_empty()
            && map
                .iter()
                .all(|entry| is_plain(&entry.value) && !is_internal(&entry.key))
    })
}

/// True for an annotation of kustomize's own bookkeeping.
fn is_internal(key: &str) -> bool {
    REMOVED.contains(&key)
        || key
            .strip_prefix(NOTE_PREFIX)
            .is_some_and(|rest| INTERNAL.contains(&rest))
}

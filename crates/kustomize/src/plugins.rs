//! Pure: the built-in plugins of `generators`, `transformers` and `validators`.

use std::sync::Arc;

use goyaml::{Mapping, Node};

use crate::budget::{Budget, Cost};
use crate::decode::{Decoder, Fields, did_you_mean};
use crate::documents::read_text;
use crate::error::{BuildError, BuildErrors, Errors, Problem};
use crate::generate::{self, Behavior, Generated, absorb};
use crate::kustomization::{GeneratorArgs, Image, Patch, Replacement, ReplacementEntry, Replica};
use crate::level::{Context, Level};
use crate::load::Loaded;
use crate::path::RepoPath;
use crate::resource::{ConfiguredBy, Origin, ResMap, Resource};
use crate::schema::{FieldSpec, Rows};
use crate::transform::{affix, image, metadata, namespace, patch, replacement, replica};

/// One built-in plugin's configuration.
pub(crate) struct Plugin {
    node: Node,
    kind: String,
    /// Where it is configured.
    file: String,
    path: RepoPath,
    /// It stands in the kustomization itself, whose entry is its place.
    inline: bool,
    /// The entry that named it, such as `transformers[0]`.
    field: String,
}

/// The kinds of built-in generators.
const GENERATORS: [&str; 3] = [
    "ConfigMapGenerator",
    "SecretGenerator",
    "IAMPolicyGenerator",
];

/// Runs the entries of `generators`.
pub(crate) fn generators(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
    plugins: &[Plugin],
) -> Result<(), BuildErrors> {
    for plugin in plugins {
        let (mut resource, behavior) = match plugin.kind.as_str() {
            "ConfigMapGenerator" => generated(context, loaded, plugin, Generated::ConfigMap)?,
            "SecretGenerator" => generated(context, loaded, plugin, Generated::Secret)?,
            "IAMPolicyGenerator" => (service_account(plugin)?, Behavior::Create),
            _ => return Err(unknown(plugin, &GENERATORS).into()),
        };
        resource.origin = Some(Arc::new(plugin.origin()));
        context.loader.count(1)?;
        absorb(&mut level.resources, resource, behavior)?;
    }
    Ok(())
}

/// The objects that a generator makes.
fn generated(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    plugin: &Plugin,
    generated: Generated,
) -> Result<(Resource, Behavior), BuildErrors> {
    let args = plugin.decode(generator_args)?;
    let behavior = Behavior::parse(&args.behavior);
    let resource = generate::generate(context.loader, &loaded.directory, generated, &args)?;
    Ok((resource, behavior))
}

/// `IAMPolicyGenerator`: a service account that stands for one of Google's.
fn service_account(plugin: &Plugin) -> Result<Resource, BuildErrors> {
    if plugin.text(&["cloud"]) != "gke" {
        let message = "cloud provider must be `gke`".to_owned();
        return Err(Problem::Kustomization(message).into());
    }
    let name = plugin.text(&["kubernetesService", "name"]);
    let namespace = plugin.text(&["kubernetesService", "namespace"]);
    let account = format!(
        "{}@{}.iam.gserviceaccount.com",
        plugin.text(&["serviceAccount", "name"]),
        plugin.text(&["serviceAccount", "projectId"])
    );
    let annotations = Mapping::from_iter([(
        "iam.gke.io/gcp-service-account",
        Node::string(account.as_str()),
    )]);
    let mut metadata = Mapping::from_iter([
        ("annotations", annotations.into()),
        ("name", Node::string(name)),
    ]);
    if !namespace.is_empty() {
        metadata.insert("namespace", Node::string(namespace));
    }
    let object = Mapping::from_iter([
        ("apiVersion", Node::string("v1")),
        ("kind", Node::string("ServiceAccount")),
        ("metadata", metadata.into()),
    ]);
    Ok(Resource::new(object.into())?)
}

/// Name and namespace may also stand in `metadata`.
fn generator_args(decoder: &mut Decoder<'_>, node: &Node) -> Option<GeneratorArgs> {
    let mut args = GeneratorArgs::decode(decoder, node, "")?;
    let metadata = |name: &str| {
        node.at(&["metadata", name])
            .and_then(Node::as_text)
            .unwrap_or_default()
            .to_owned()
    };
    if args.name.is_empty() {
        args.name = metadata("name");
    }
    if args.namespace.is_empty() {
        args.namespace = metadata("namespace");
    }
    args.envs.extend(args.env.take());
    Some(args)
}

/// The kinds of built-in transformers.
const TRANSFORMERS: [&str; 12] = [
    "AnnotationsTransformer",
    "LabelTransformer",
    "PrefixTransformer",
    "SuffixTransformer",
    "PrefixSuffixTransformer",
    "NamespaceTransformer",
    "ImageTagTransformer",
    "ReplicaCountTransformer",
    "PatchTransformer",
    "PatchStrategicMergeTransformer",
    "PatchJson6902Transformer",
    "ReplacementTransformer",
];

/// Runs the entries of `transformers`.
pub(crate) fn transformers(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
    plugins: &[Plugin],
) -> Result<(), BuildErrors> {
    for plugin in plugins {
        transformer(context, loaded, &mut level.resources, plugin)
            .map_err(|errors| errors.map(|error| plugin.blame(error)))?;
        level.resources.compact();
        context.ran(level, || plugin.origin())?;
    }
    Ok(())
}

/// Runs the entries of `validators`: transformers that must not change anything.
pub(crate) fn validators(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    level: &Level,
    plugins: &[Plugin],
) -> Result<(), BuildErrors> {
    let budget = context.loader.budget;
    for plugin in plugins {
        let walks = level.resources.iter().map(Resource::walk_steps).sum();
        budget.charge(Cost::Steps, walks)?;
        let charged = budget.bytes();
        let mut copy = level.resources.clone();
        transformer(context, loaded, &mut copy, plugin)
            .map_err(|errors| errors.map(|error| plugin.blame(error)))?;
        copy.compact();
        let changed = level
            .resources
            .iter()
            .zip(copy.iter())
            .find(|(before, after)| before.node() != after.node());
        if changed.is_some() || copy.len() != level.resources.len() {
            let message = "validator shouldn't modify the resource map".to_owned();
            let hint = changed.map_or_else(
                || "it removes objects".to_owned(),
                |(object, _)| format!("it changes {}", object.show_with_place()),
            );
            let error = plugin.blame(Problem::Transform(message).into());
            return Err(error.hint(hint).into());
        }
        budget.release(budget.bytes().saturating_sub(charged));
    }
    Ok(())
}

/// Runs one transformer over a level.
fn transformer(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    resources: &mut ResMap,
    plugin: &Plugin,
) -> Result<(), BuildErrors> {
    let budget = context.loader.budget;
    match plugin.kind.as_str() {
        "AnnotationsTransformer" => metadata_plugin(resources, plugin, "annotations", budget),
        "LabelTransformer" => metadata_plugin(resources, plugin, "labels", budget),
        "PrefixTransformer" | "SuffixTransformer" | "PrefixSuffixTransformer" => {
            affix_plugin(resources, plugin, budget)
        }
        "NamespaceTransformer" => namespace_plugin(resources, plugin, budget),
        "ImageTagTransformer" => {
            let (image, rows) = plugin.fields(|decoder, fields| {
                let image = fields.object(decoder, "imageTag", Image::decode);
                (image, field_specs(decoder, fields))
            })?;
            Ok(image::transform(
                resources,
                &[image.unwrap_or_default()],
                &rows,
                budget,
            )?)
        }
        "ReplicaCountTransformer" => {
            let (replica, rows) = plugin.fields(|decoder, fields| {
                let replica = fields.object(decoder, "replica", Replica::decode);
                (replica, field_specs(decoder, fields))
            })?;
            Ok(replica::transform(
                resources,
                &replica.unwrap_or_default(),
                &rows,
                budget,
            )?)
        }
        "PatchTransformer" => {
            let patch = plugin.decode(|decoder, node| Patch::decode(decoder, node, ""))?;
            Ok(patch::entry(context, loaded, resources, &patch)?)
        }
        "PatchStrategicMergeTransformer" => {
            strategic_merge_plugin(context, loaded, resources, plugin)
        }
        "PatchJson6902Transformer" => {
            let patch = plugin.decode(|decoder, node| {
                let mut patch = Patch::decode(decoder, node, "")?;
                let operations = node.get("jsonOp").and_then(Node::as_text);
                patch.patch = operations.map(str::to_owned).unwrap_or_default();
                Some(patch)
            })?;
            Ok(patch::json_entry(context, loaded, resources, &patch)?)
        }
        "ReplacementTransformer" => replacement_plugin(context, loaded, resources, plugin),
        _ => Err(unknown(plugin, &TRANSFORMERS).into()),
    }
}

fn field_specs(decoder: &mut Decoder<'_>, fields: &mut Fields<'_>) -> Rows {
    Rows::of(fields.list(decoder, "fieldSpecs", FieldSpec::decode))
}

fn metadata_plugin(
    resources: &mut ResMap,
    plugin: &Plugin,
    field: &'static str,
    budget: &Budget,
) -> Result<(), BuildErrors> {
    let (pairs, rows) = plugin.fields(|decoder, fields| {
        let pairs = fields.string_map(decoder, field);
        (pairs, field_specs(decoder, fields))
    })?;
    Ok(metadata::transform(resources, &pairs, &rows, budget)?)
}

fn affix_plugin(
    resources: &mut ResMap,
    plugin: &Plugin,
    budget: &Budget,
) -> Result<(), BuildErrors> {
    let (prefix, suffix, rows) = plugin.fields(|decoder, fields| {
        let prefix = fields.string(decoder, "prefix");
        let suffix = fields.string(decoder, "suffix");
        (prefix, suffix, field_specs(decoder, fields))
    })?;
    if rows.iter().next().is_none() {
        let error = Problem::Transform("fieldSpecs is not expected to be nil".to_owned());
        let error = BuildError::from(error).hint("add `fieldSpecs: [{path: metadata/name}]`");
        return Err(error.into());
    }
    for (affix, text) in [
        (affix::Affix::Prefix, prefix),
        (affix::Affix::Suffix, suffix),
    ] {
        affix::transform(resources, affix, &text, &rows, budget)?;
    }
    Ok(())
}

fn strategic_merge_plugin(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    resources: &mut ResMap,
    plugin: &Plugin,
) -> Result<(), BuildErrors> {
    let (mut entries, inline) = plugin.fields(|decoder, fields| {
        let paths = fields.strings(decoder, "paths");
        (paths, fields.string(decoder, "patches"))
    })?;
    entries.extend(Some(inline).filter(|text| !text.is_empty()));
    if entries.is_empty() {
        let message = "empty file path and empty patch content".to_owned();
        return Err(Problem::Transform(message).into());
    }
    patch::strategic_merge_entries(context, loaded, resources, &entries)
}

fn replacement_plugin(
    context: &Context<'_, '_>,
    loaded: &Loaded,
    resources: &mut ResMap,
    plugin: &Plugin,
) -> Result<(), BuildErrors> {
    let entries = plugin.fields(|decoder, fields| {
        fields.list(decoder, "replacements", |decoder, node, name| {
            match node.get("path").and_then(Node::as_text) {
                Some(path) => Some(ReplacementEntry::File(path.to_owned())),
                None => Replacement::decode(decoder, node, name)
                    .map(|one| ReplacementEntry::Inline(Box::new(one))),
            }
        })
    })?;
    replacement::entries(context.loader, loaded, &entries, resources)
}

fn namespace_plugin(
    resources: &mut ResMap,
    plugin: &Plugin,
    budget: &Budget,
) -> Result<(), BuildErrors> {
    let (rows, unset_only, subjects) = plugin.fields(|decoder, fields| {
        let rows = Rows::of(fields.list(decoder, "fieldSpecs", FieldSpec::decode));
        (
            rows,
            fields.flag(decoder, "unsetOnly"),
            fields.string(decoder, "setRoleBindingSubjects"),
        )
    })?;
    let subjects = match subjects.as_str() {
        "" | "defaultOnly" => namespace::Subjects::DefaultOnly,
        "allServiceAccounts" => namespace::Subjects::AllServiceAccounts,
        "none" => namespace::Subjects::None,
        other => {
            return Err(Problem::Kustomization(format!(
                "invalid value `{other}` of `setRoleBindingSubjects`"
            ))
            .into());
        }
    };
    let text = plugin
        .node
        .at(&["metadata", "namespace"])
        .and_then(Node::as_text)
        .unwrap_or_default();
    if text.is_empty() {
        return Ok(());
    }
    namespace::transform(
        resources,
        &namespace::Options {
            namespace: text,
            rows: &rows,
            unset_only,
            subjects,
        },
        budget,
    )?;
    Ok(())
}

/// The error of a kind that does not exist, with the ones that do.
fn unknown(plugin: &Plugin, known: &[&str]) -> BuildError {
    let message = format!("unable to load builtin {}.builtin.[noGrp]", plugin.kind);
    let error = plugin.blame(Problem::Unsupported(message).into());
    match did_you_mean(&plugin.kind, known.iter().copied()) {
        Some(hint) => error.hint(hint),
        None => error.hint(format!("built in are {}", known.join(", "))),
    }
}

impl Plugin {
    /// True for an entry that is YAML itself, and no path.
    pub(crate) fn is_inline(entry: &str) -> bool {
        entry.contains('\n') || entry.trim_start().starts_with('{')
    }

    /// The plugins of an entry in place.
    pub(crate) fn inline(
        entry: &str,
        file: &str,
        path: &RepoPath,
    ) -> Result<Vec<Self>, BuildError> {
        let nodes = read_text(entry, file)?;
        let plugins = nodes.into_iter().map(|node| Self {
            inline: true,
            ..Self::new(node, file, path)
        });
        Ok(plugins.collect())
    }

    /// The plugin that a resource configures; `entry` and `path` name it where it knows no origin.
    pub(crate) fn of(resource: Resource, entry: &str, path: &RepoPath) -> Self {
        let origin = resource.origin.clone();
        let node = resource.into_node();
        match origin {
            None => Self::new(node, entry, path),
            Some(origin) => Self::new(node, &origin.file, &origin.path),
        }
    }

    fn new(node: Node, file: &str, path: &RepoPath) -> Self {
        let kind = node.get("kind").and_then(Node::as_text);
        Self {
            kind: kind.unwrap_or_default().to_owned(),
            node,
            file: file.to_owned(),
            path: path.clone(),
            inline: false,
            field: String::new(),
        }
    }

    /// The same, named by an entry of a field.
    pub(crate) fn named(mut self, field: &str, index: usize) -> Self {
        self.field = format!("{field}[{index}]");
        self
    }

    /// Says of an error which plugin it is about.
    fn blame(&self, error: BuildError) -> BuildError {
        let error = if self.inline {
            error
        } else {
            error.at(self.file.clone(), self.node.line as usize)
        };
        if self.field.is_empty() {
            return error;
        }
        error.field(self.field.clone())
    }

    /// Refuses what is not built in.
    pub(crate) fn check_builtin(&self) -> Result<(), BuildError> {
        if self.text(&["apiVersion"]) == "builtin" {
            return Ok(());
        }
        let message = format!(
            "external plugins disabled; unable to load external plugin '{}'",
            self.kind
        );
        let error = self.blame(Problem::Unsupported(message).into());
        Err(error.hint("only plugins with `apiVersion: builtin` run here"))
    }

    /// A text at a path; empty if there is none.
    fn text(&self, path: &[&str]) -> &str {
        self.node
            .at(path)
            .and_then(Node::as_text)
            .unwrap_or_default()
    }

    /// What annotations say of it.
    fn origin(&self) -> Origin {
        let own = |path: &[&str]| self.text(path).to_owned();
        Origin {
            file: self.file.clone(),
            path: self.path.clone(),
            configured_by: Some(ConfiguredBy {
                api_version: own(&["apiVersion"]),
                kind: self.kind.clone(),
                name: own(&["metadata", "name"]),
                namespace: own(&["metadata", "namespace"]),
            }),
        }
    }

    /// Decodes leniently: unknown fields are ignored, as kustomize does for plugins.
    fn decode<T>(
        &self,
        decode: impl FnOnce(&mut Decoder<'_>, &Node) -> Option<T>,
    ) -> Result<T, BuildErrors> {
        let mut errors = Errors::default();
        let mut decoder = Decoder::new(&mut errors, &self.file, false);
        let value = decode(&mut decoder, &self.node);
        errors.finish()?;
        value.ok_or_else(|| {
            Problem::Kustomization("the configuration is not a map".to_owned()).into()
        })
    }

    fn fields<T>(
        &self,
        decode: impl FnOnce(&mut Decoder<'_>, &mut Fields<'_>) -> T,
    ) -> Result<T, BuildErrors> {
        self.decode(|decoder, node| {
            let mut fields = decoder.fields(node, "")?;
            Some(decode(decoder, &mut fields))
        })
    }
}

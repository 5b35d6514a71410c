//! Pure: what is configured in files of its own: field tables, schemas, and the built-in plugins of
//! `generators`, `transformers` and `validators`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use goyaml::{Booleans, Mapping, Node, ReadOptions};
use serde_json::Value;

use super::{affix, image, metadata, namespace, patch, replacement, replica};
use crate::accumulate::{Context, Level};
use crate::decode::{Decoder, Fields};
use crate::error::{BuildError, BuildErrors, Errors, Problem};
use crate::generate::{self, Behavior, Generated, absorb};
use crate::kustomization::{GeneratorArgs, Image, Patch, Replacement, ReplacementEntry, Replica};
use crate::load::{Entry, Loaded, Loader, did_you_mean, read_text};
use crate::resource::{ConfiguredBy, Origin, ResMap, Resource};
use crate::schema::{FieldSpec, FieldTables, ListMerge, MergeSchema, NameReference, Rows};
use crate::tree::RepoPath;

/// Reads the files of `configurations`.
pub(crate) fn configurations(
    loader: &Loader<'_>,
    loaded: &Loaded,
) -> Result<Vec<FieldTables>, BuildErrors> {
    let mut all = Vec::new();
    for name in &loaded.kustomization.configurations {
        let (path, text) = loader.text(&loaded.directory, name)?;
        let shown = loader.show(&path);
        let options = ReadOptions {
            booleans: Booleans::Yaml11,
            ..ReadOptions::default()
        };
        let nodes = goyaml::read(&text, &options).map_err(|error| malformed(&error, &shown))?;
        let mut errors = Errors::default();
        let mut decoder = Decoder::new(&mut errors, &shown, true);
        all.extend(
            nodes
                .first()
                .and_then(|node| FieldTables::parse_configuration(&mut decoder, node)),
        );
        errors.finish()?;
    }
    Ok(all)
}

fn malformed(error: &goyaml::ReadError, shown: &str) -> BuildError {
    BuildError::from(Problem::Malformed(format!("invalid YAML: {error}"))).at(shown, error.line())
}

/// Reads the files of `crds`: maps from type names to schemas, as Go's openapi-gen writes them.
pub(crate) fn crds(loader: &Loader<'_>, loaded: &Loaded) -> Result<Vec<FieldTables>, BuildErrors> {
    let mut all = Vec::new();
    for (index, name) in loaded.kustomization.crds.iter().enumerate() {
        let json = json_file(loader, loaded, name)
            .map_err(|error| error.field(format!("crds[{index}]")))?;
        let types = json
            .as_object()
            .filter(|types| types.values().all(|value| value.get("Schema").is_some()));
        let Some(types) = types else {
            let problem =
                Problem::Malformed(format!("`{name}` is not a map of type names to schemas"));
            let hint =
                "`crds` takes the output of openapi-gen; name a CRD manifest under `resources`";
            return Err(BuildError::from(problem)
                .field(format!("crds[{index}]"))
                .hint(hint)
                .into());
        };
        for (type_name, definition) in types {
            let properties = &definition["Schema"]["properties"];
            let is_object = ["apiVersion", "kind", "metadata"]
                .iter()
                .all(|name| properties.get(name).is_some());
            if is_object {
                let kind = type_name.rsplit(['.', '/']).next().unwrap_or_default();
                let mut walk = CrdWalk {
                    types,
                    kind,
                    tables: FieldTables::default(),
                    visited: BTreeSet::new(),
                };
                walk.properties(properties, "")?;
                all.push(walk.tables);
            }
        }
    }
    Ok(all)
}

fn json_file(loader: &Loader<'_>, loaded: &Loaded, name: &str) -> Result<Value, BuildError> {
    let (path, text) = loader.text(&loaded.directory, name)?;
    let shown = loader.show(&path);
    let nodes =
        goyaml::read(&text, &ReadOptions::default()).map_err(|error| malformed(&error, &shown))?;
    let node = nodes.first().cloned().unwrap_or_default();
    goyaml::to_json(&node)
        .map_err(|error| BuildError::from(Problem::Malformed(error.to_string())).at(shown, 0))
}

/// Follows the properties of one type to those that say what they are.
struct CrdWalk<'w> {
    types: &'w serde_json::Map<String, Value>,
    kind: &'w str,
    tables: FieldTables,
    visited: BTreeSet<String>,
}

impl CrdWalk<'_> {
    fn properties(&mut self, properties: &Value, path: &str) -> Result<(), Problem> {
        for (name, property) in properties.as_object().into_iter().flatten() {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}/{name}")
            };
            self.property(property, &path)?;
            let target = property
                .get("$ref")
                .or_else(|| property["items"].get("$ref"))
                .and_then(Value::as_str);
            if let Some(target) = target
                && self.visited.insert(target.to_owned())
            {
                let types = self.types;
                if let Some(definition) = types.get(target) {
                    self.properties(&definition["Schema"]["properties"], &path)?;
                }
                self.visited.remove(target);
            }
        }
        Ok(())
    }

    fn property(&mut self, property: &Value, path: &str) -> Result<(), Problem> {
        let has = |name: &str| property.get(name).is_some();
        let row = |path: &str| {
            let mut row = FieldSpec::new(path, false);
            row.gvk.kind = self.kind.into();
            row
        };
        if has("x-kubernetes-annotation") {
            self.tables.common_annotations.merge_one(row(path))?;
        }
        if has("x-kubernetes-label-selector") {
            self.tables.common_labels.merge_one(row(path))?;
        }
        if has("x-kubernetes-identity") {
            self.tables.name_prefix.merge_one(row(path))?;
        }
        let text = |name: &str| property.get(name).and_then(Value::as_str);
        let version = text("x-kubernetes-object-ref-api-version");
        if let (Some(version), Some(kind)) = (version, text("x-kubernetes-object-ref-kind")) {
            let key = text("x-kubernetes-object-ref-name-key").unwrap_or("name");
            let referrers = vec![row(&format!("{path}/{key}"))];
            let target = crate::resource::Gvk::new(version, kind);
            let reference = FieldTables {
                name_references: vec![NameReference { target, referrers }],
                ..FieldTables::default()
            };
            self.tables.merge(&reference)?;
        }
        Ok(())
    }
}

/// Reads a swagger document into a merge schema. Definitions that it lacks may be those of the built-in one.
pub(crate) fn openapi(
    loader: &Loader<'_>,
    loaded: &Loaded,
    name: &str,
    built_in: Option<&MergeSchema>,
) -> Result<MergeSchema, BuildErrors> {
    let json = json_file(loader, loaded, name).map_err(|error| error.field("openapi"))?;
    let definitions = json["definitions"].as_object().cloned().unwrap_or_default();
    let mut kinds = BTreeMap::new();
    for definition in definitions.values() {
        for gvk in definition["x-kubernetes-group-version-kind"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let text = |name: &str| gvk[name].as_str().unwrap_or_default();
            let group = text("group");
            let api_version = if group.is_empty() {
                text("version").to_owned()
            } else {
                format!("{group}/{}", text("version"))
            };
            let mut lists = BTreeMap::new();
            let mut swagger = Swagger {
                definitions: &definitions,
                built_in,
                visited: BTreeSet::new(),
                lists: &mut lists,
            };
            swagger.walk(definition, String::new());
            kinds.insert(format!("{api_version} {}", text("kind")), lists);
        }
    }
    Ok(MergeSchema::of(kinds))
}

/// Collects the lists of one kind that merge.
struct Swagger<'s> {
    definitions: &'s serde_json::Map<String, Value>,
    built_in: Option<&'s MergeSchema>,
    visited: BTreeSet<String>,
    lists: &'s mut BTreeMap<String, ListMerge>,
}

impl Swagger<'_> {
    fn walk(&mut self, schema: &Value, path: String) {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return self.refer(target.rsplit('/').next().unwrap_or_default(), path);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            if let Some(items) = property.get("items") {
                self.list(property, &path);
                self.walk(items, format!("{path}[]"));
            } else if let Some(values) = property.get("additionalProperties") {
                self.walk(values, format!("{path}.*"));
            } else {
                self.walk(property, path);
            }
        }
    }

    fn refer(&mut self, name: &str, path: String) {
        let definitions = self.definitions;
        match definitions.get(name) {
            Some(definition) => {
                if self.visited.insert(name.to_owned()) {
                    self.walk(definition, path);
                    self.visited.remove(name);
                }
            }
            None => {
                let position = self.built_in.and_then(|schema| schema.definition(name));
                let below = position.iter().flat_map(crate::schema::Position::below);
                self.lists
                    .extend(below.map(|(rest, keys)| (format!("{path}{rest}"), keys)));
            }
        }
    }

    fn list(&mut self, property: &Value, path: &str) {
        let strategy = property["x-kubernetes-patch-strategy"].as_str();
        if !strategy.is_some_and(|strategy| strategy.contains("merge")) {
            return;
        }
        let map_keys = property["x-kubernetes-list-map-keys"].as_array();
        let keys = map_keys.map(|keys| {
            keys.iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        });
        let merge_key = property["x-kubernetes-patch-merge-key"].as_str();
        self.lists.insert(
            path.to_owned(),
            keys.unwrap_or_else(|| merge_key.map(str::to_owned).into_iter().collect()),
        );
    }
}

/// One built-in plugin's configuration.
struct Plugin {
    node: Node,
    kind: String,
    /// Where it is configured.
    file: String,
    path: RepoPath,
}

/// Reads the entries of a plugin field: in place, a file, or a kustomization whose output it is.
fn plugins(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    entries: &[String],
) -> Result<Vec<Plugin>, BuildErrors> {
    let mut plugins = Vec::new();
    for entry in entries {
        for plugin in plugin_entry(context, loaded, entry)? {
            let api_version = plugin.text(&["apiVersion"]);
            if api_version != "builtin" {
                let message = format!(
                    "external plugins disabled; unable to load external plugin '{}'",
                    plugin.kind
                );
                let error = BuildError::from(Problem::Unsupported(message))
                    .at(plugin.file.clone(), plugin.node.line as usize);
                return Err(error
                    .hint("only plugins with `apiVersion: builtin` run here")
                    .into());
            }
            plugins.push(plugin);
        }
    }
    Ok(plugins)
}

fn plugin_entry(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    entry: &str,
) -> Result<Vec<Plugin>, BuildErrors> {
    let in_file = |file: &str, path: &RepoPath, node: Node| Plugin {
        kind: node
            .get("kind")
            .and_then(Node::as_text)
            .unwrap_or_default()
            .to_owned(),
        node,
        file: file.to_owned(),
        path: path.clone(),
    };
    let of_resources = |resources: Vec<Resource>| {
        let plugins = resources.into_iter().map(|resource| {
            let origin = resource.origin.clone();
            let node = resource.into_node();
            origin.map_or_else(
                || in_file(entry, &loaded.file, node.clone()),
                |origin| in_file(&origin.file, &origin.path, node.clone()),
            )
        });
        plugins.collect()
    };
    if entry.contains('\n') || entry.trim_start().starts_with('{') {
        let shown = context.loader.show(&loaded.file);
        let nodes = read_text(entry, &shown)?;
        let plugins = nodes
            .into_iter()
            .map(|node| in_file(&shown, &loaded.file, node));
        return Ok(plugins.collect());
    }
    match context.loader.resource_entry(&loaded.directory, entry)? {
        None => Ok(Vec::new()),
        Some(Entry::Resources(resources)) => Ok(of_resources(resources)),
        Some(Entry::Directory(path)) => context
            .configuration_directory(loaded, &path)
            .map(of_resources),
    }
}

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
) -> Result<(), BuildErrors> {
    for plugin in plugins(context, loaded, &loaded.kustomization.generators)? {
        let (mut resource, behavior) = match plugin.kind.as_str() {
            "ConfigMapGenerator" => generated(context, loaded, &plugin, Generated::ConfigMap)?,
            "SecretGenerator" => generated(context, loaded, &plugin, Generated::Secret)?,
            "IAMPolicyGenerator" => (service_account(&plugin)?, Behavior::Create),
            _ => return Err(unknown(&plugin, &GENERATORS).into()),
        };
        resource.origin = Some(Arc::new(plugin.origin()));
        context.loader.count(1)?;
        absorb(&mut level.resources, resource, behavior)?;
    }
    Ok(())
}

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
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    for plugin in plugins(context, loaded, &loaded.kustomization.transformers)? {
        transformer(context, loaded, &mut level.resources, &plugin)
            .map_err(|errors| errors.map(|error| error.at(plugin.file.clone(), 0)))?;
        level.resources.compact();
        context.ran(level, || plugin.origin());
    }
    Ok(())
}

/// Runs the entries of `validators`: transformers that must not change anything.
pub(crate) fn validators(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    level: &mut Level,
) -> Result<(), BuildErrors> {
    for plugin in plugins(context, loaded, &loaded.kustomization.validators)? {
        let mut copy = level.resources.clone();
        transformer(context, loaded, &mut copy, &plugin)?;
        copy.compact();
        let same = copy.len() == level.resources.len()
            && copy
                .iter()
                .zip(level.resources.iter())
                .all(|(a, b)| a.node() == b.node());
        if !same {
            let message = "validator shouldn't modify the resource map".to_owned();
            return Err(BuildError::from(Problem::Transform(message))
                .field("validators")
                .into());
        }
    }
    Ok(())
}

fn transformer(
    context: &mut Context<'_, '_>,
    loaded: &Loaded,
    resources: &mut ResMap,
    plugin: &Plugin,
) -> Result<(), BuildErrors> {
    let field_specs = |decoder: &mut Decoder<'_>, fields: &mut Fields<'_>| {
        Rows::of(fields.list(decoder, "fieldSpecs", FieldSpec::decode))
    };
    match plugin.kind.as_str() {
        "AnnotationsTransformer" | "LabelTransformer" => {
            let name = if plugin.kind == "LabelTransformer" {
                "labels"
            } else {
                "annotations"
            };
            let (pairs, rows) = plugin.fields(|decoder, fields| {
                (
                    fields.string_map(decoder, name),
                    field_specs(decoder, fields),
                )
            })?;
            metadata::transform(resources, &pairs, &rows)?;
        }
        "PrefixTransformer" | "SuffixTransformer" | "PrefixSuffixTransformer" => {
            let (prefix, suffix, rows) = plugin.fields(|decoder, fields| {
                (
                    fields.string(decoder, "prefix"),
                    fields.string(decoder, "suffix"),
                    field_specs(decoder, fields),
                )
            })?;
            if rows.iter().next().is_none() {
                return Err(
                    Problem::Transform("fieldSpecs is not expected to be nil".to_owned()).into(),
                );
            }
            affix::transform(resources, affix::Affix::Prefix, &prefix, &rows)?;
            affix::transform(resources, affix::Affix::Suffix, &suffix, &rows)?;
        }
        "NamespaceTransformer" => namespace_plugin(resources, plugin)?,
        "ImageTagTransformer" => {
            let (image, rows) = plugin.fields(|decoder, fields| {
                (
                    fields.object(decoder, "imageTag", Image::decode),
                    field_specs(decoder, fields),
                )
            })?;
            image::transform(resources, &[image.unwrap_or_default()], &rows)?;
        }
        "ReplicaCountTransformer" => {
            let (replica, rows) = plugin.fields(|decoder, fields| {
                (
                    fields.object(decoder, "replica", Replica::decode),
                    field_specs(decoder, fields),
                )
            })?;
            replica::transform(resources, &replica.unwrap_or_default(), &rows)?;
        }
        "PatchTransformer" => {
            let patch = plugin.decode(|decoder, node| Patch::decode(decoder, node, ""))?;
            patch::entry(context, loaded, resources, &patch)?;
        }
        "PatchStrategicMergeTransformer" => {
            let (mut entries, inline) = plugin.fields(|decoder, fields| {
                (
                    fields.strings(decoder, "paths"),
                    fields.string(decoder, "patches"),
                )
            })?;
            entries.extend(Some(inline).filter(|text| !text.is_empty()));
            if entries.is_empty() {
                return Err(Problem::Transform(
                    "empty file path and empty patch content".to_owned(),
                )
                .into());
            }
            patch::strategic_merge_entries(context, loaded, resources, &entries)?;
        }
        "PatchJson6902Transformer" => {
            let patch = plugin.decode(|decoder, node| {
                let mut patch = Patch::decode(decoder, node, "")?;
                let operations = node.get("jsonOp").and_then(Node::as_text);
                patch.patch = operations.map(str::to_owned).unwrap_or_default();
                Some(patch)
            })?;
            patch::json_entry(context, loaded, resources, &patch)?;
        }
        "ReplacementTransformer" => {
            let entries = plugin.fields(|decoder, fields| {
                fields.list(decoder, "replacements", |decoder, node, name| {
                    match node.get("path").and_then(Node::as_text) {
                        Some(path) => Some(ReplacementEntry::File(path.to_owned())),
                        None => Replacement::decode(decoder, node, name)
                            .map(|one| ReplacementEntry::Inline(Box::new(one))),
                    }
                })
            })?;
            replacement::entries(context.loader, loaded, &entries, resources)?;
        }
        _ => return Err(unknown(plugin, &TRANSFORMERS).into()),
    }
    Ok(())
}

fn namespace_plugin(resources: &mut ResMap, plugin: &Plugin) -> Result<(), BuildErrors> {
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
    )?;
    Ok(())
}

fn unknown(plugin: &Plugin, known: &[&str]) -> BuildError {
    let message = format!("unable to load builtin {}.builtin.[noGrp]", plugin.kind);
    let error = BuildError::from(Problem::Unsupported(message))
        .at(plugin.file.clone(), plugin.node.line as usize);
    match did_you_mean(&plugin.kind, known.iter().copied()) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

impl Plugin {
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
